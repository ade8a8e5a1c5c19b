"""The work for every event when facts are stored and counted: in Python here, or compiled in `_steps.pyx`, with the same results."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from schemas.facts import Fact, Kind
from streams.domain.packing import is_sole, pack, sole_event
from streams.domain.zone import QUARTER_HOUR_US

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from streams.domain.packing import Vocabulary

#: (reason, one line for people); with an empty reason if the order already has the fact.
Refused = tuple[str, str]
KNOWN: Final[Refused] = ("", "")

#: Packed events of an order before a step, then the facts that the step has added.
Touched = tuple[bytes | None, *tuple[Fact, ...]]

#: Packed events by order. Compiled, it is a class that takes a third of the memory and deletes nothing.
PackedOrders = dict[str, bytes]


class OrderLists:
    """Lists of orders, by number; compiled, an order takes a few bytes in each.

    Args:
        orders: The packed orders; orders that are not among them cannot be noted.
    """

    def __init__(self, orders: PackedOrders) -> None:
        del orders  # the compiled lists refer to them
        #: A line each: a list of strings takes four times the memory.
        self._lists: dict[int, bytearray] = {}

    def note(self, number: int, order_ids: list[str]) -> None:
        """Appends orders to a list."""
        known = self._lists.get(number)
        if known is None:
            known = self._lists[number] = bytearray()
        # No order id contains a line feed.
        known += "\n".join([*order_ids, ""]).encode()

    def noted(self, numbers: Iterable[int]) -> list[str]:
        """The orders in some lists, each once, in the order in which they were noted."""
        ids: list[str] = []
        for number in numbers:
            known = self._lists.get(number)
            if known is not None:
                ids += known.decode().split("\n")[:-1]
        return list(dict.fromkeys(ids))


_PLACED, _DELIVERED = int(Kind.PLACED), int(Kind.DELIVERED)
_time = attrgetter("time_us")


def store(  # noqa: PLR0913, PLR0917 - the parts of the state, so that the compiled one reads no attributes
    facts: Sequence[Fact],
    orders: PackedOrders,
    touched: dict[str, Touched],
    changed: dict[str, bytes],
    vocabulary: Vocabulary,
    last_by_source: dict[str, int],
    below_limit_bytes: int,
    refusal: Callable[[Fact, bytes, bytes], Refused | None],
    refused: list[tuple[int, str, str]],
) -> tuple[int, int, int]:
    """Stores facts, each completely or not at all.

    Args:
        facts: Facts of any orders.
        orders: Packed events by order.
        touched: The orders that the step has touched so far.
        changed: The present packed events of the touched orders.
        vocabulary: The vocabulary of the packed events.
        last_by_source: The greatest event time of each source.
        below_limit_bytes: An order with fewer bytes can certainly take one more event.
        refusal: Given a fact, the order's packed events and the packed fact: why it cannot be taken, `None` if it can.
        refused: Receives refused facts: (index, reason, message).

    Returns:
        Numbers of duplicates, of stored facts that were backfill, and of bytes added.
    """
    duplicates = backfilled = new_bytes = 0
    for index, fact in enumerate(facts):
        order_id = fact.order_id
        packed = pack(fact, vocabulary)
        blob = orders.get(order_id)
        if blob is None:
            orders[order_id] = changed[order_id] = packed
            touched[order_id] = (None, fact)
            new_bytes += len(order_id)
        else:
            # An order without the id's bytes has no event with that id: for most second events that is enough.
            if fact.id.encode() in blob or len(blob) >= below_limit_bytes:
                refused_for = refusal(fact, blob, packed)
                if refused_for is not None:
                    if refused_for[0]:
                        refused.append((index, *refused_for))
                    else:
                        duplicates += 1
                    continue
            orders[order_id] = changed[order_id] = blob + packed
            earlier = touched.get(order_id)
            touched[order_id] = (blob, fact) if earlier is None else (*earlier, fact)
        new_bytes += len(packed)
        if fact.backfill:
            backfilled += 1
        if fact.time_us > last_by_source.get(fact.source, 0):
            last_by_source[fact.source] = fact.time_us
    return duplicates, backfilled, new_bytes


def order_ids(orders: PackedOrders) -> Iterator[str]:
    """The orders, by first appearance; orders stored during the iteration are not included."""
    return iter(list(orders))


def part(  # noqa: C901, PLR0913, PLR0917 - likewise, in one pass
    entries: list[tuple[str, Touched]],
    known_violations: dict[str, Any],
    orders_known: bool,  # noqa: FBT001 - by position, as the compiled one takes it
    placed: list[Fact],
    delivered: list[Fact],
    early: list[Fact],
    late: list[Fact],
) -> list[tuple[str, Touched]]:
    """Separates touched orders with new events of the two most common kinds, which count unjudged, from the others.

    Args:
        entries: Touched orders.
        known_violations: Violations by order.
        orders_known: Whether orders are published; if not, a delivery without an order counts.
        placed: Receives the facts of new orders.
        delivered: Receives deliveries of orders that were only placed, and earlier; also if both events are new.
        early: Receives deliveries of orders without any other event, if these are violations.
        late: Receives order events that precede the delivery that was their order's only event so far.

    Returns:
        The other entries, in order.
    """
    others = []
    for order_id, entry in entries:
        if len(entry) == 2:
            blob, fact = entry
            if blob is not None and fact.kind == _PLACED:
                kind, time_us = sole_event(blob)
                if kind == _DELIVERED and fact.time_us < time_us:
                    late.append(fact)
                    continue
            elif order_id not in known_violations:
                if blob is None:
                    if fact.kind == _PLACED:
                        placed.append(fact)
                        continue
                    if fact.kind == _DELIVERED:
                        (early if orders_known else delivered).append(fact)
                        continue
                elif fact.kind == _DELIVERED and is_sole(blob, _PLACED, fact.time_us):
                    delivered.append(fact)
                    continue
        elif len(entry) == 3 and entry[0] is None and order_id not in known_violations:
            _, first, second = entry
            if first.time_us > second.time_us:
                first, second = second, first
            if first.kind == _PLACED and second.kind == _DELIVERED and first.time_us < second.time_us:
                placed.append(first)
                delivered.append(second)
                continue
        others.append((order_id, entry))
    return others


def add_own(  # noqa: PLR0913, PLR0917 - likewise
    causes: list[Fact],
    shifted: int,
    quarters: dict[int, dict[int, Any]],
    codes: dict[Any, int],
    cell_of: Callable[[int], dict[int, Any]],
    code_of: Callable[[Any], int],
    new_sum: Callable[[], Any],
) -> None:
    """Adds each event to the causes of its sum.

    Args:
        causes: The events.
        shifted: The group of metrics, shifted to its place in the key of a sum.
        quarters: Quarter-hour → the sums of its cell, by key.
        codes: Dimensions → code of their scopes, shifted to its place in the key.
        cell_of: Returns the sums of the cell of an instant whose quarter-hour is in no known cell, or in several.
        code_of: Returns the code of dimensions that have none yet.
        new_sum: Creates a sum.
    """
    for cause in causes:
        cell = quarters.get(cause.time_us // QUARTER_HOUR_US)
        if cell is None:
            cell = cell_of(cause.time_us)
        code = codes.get(cause.dims)
        if code is None:
            code = code_of(cause.dims)
        key = code | shifted | cause.backfill
        added = cell.get(key)
        if added is None:
            added = cell[key] = new_sum()
        added.causes.append(cause)


def latest(causes: list[Fact]) -> list[Fact]:
    """The events with the greatest time."""
    last_us = max(map(_time, causes))
    return [cause for cause in causes if cause.time_us == last_us]
