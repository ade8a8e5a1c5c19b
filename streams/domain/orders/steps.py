"""The work for every event when facts are stored and counted: in Python here, or compiled in `_steps.pyx`, with the same results."""

from __future__ import annotations

from collections.abc import Callable
from struct import error as StructError  # noqa: N812 - it is a class
from typing import TYPE_CHECKING, Any, Final

from schemas.changelog import decode_entries, encode_chunks
from schemas.facts import Kind
from streams.domain.orders import packing
from streams.domain.orders.counted_days import CountedDays  # noqa: F401 - a part of this way
from streams.domain.orders.packed_columns import PlainUnits, places_of, restored
from streams.domain.orders.packing import dims_at, end_of, heads, is_sole, pack, sole_event, sole_id, source_at
from streams.domain.orders.sums import GROUP, GROUP_SHIFT, GROUPS_BITS, LEAVING, DaySum, EventOf, Sum, add_up  # noqa: F401 - likewise
from streams.domain.time.zone import DAY_US, EARLIEST_US, EPOCH_CELL, HOUR_US, HOURS, LATEST_US, QUARTER_HOUR_US

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from schemas.changelog import Chunk
    from schemas.facts import Dims, Fact
    from streams.domain.orders.packed_columns import Numbers, Places, Restored
    from streams.domain.orders.packing import Head, Vocabulary, Word

#: (reason, one line for people); with an empty reason if the order already has the fact.
Refused = tuple[str, str]
KNOWN: Final[Refused] = ("", "")
_DAMAGED: Final = "a chunk of the changelog is damaged"

#: Packed events by order. Compiled, it is a class that takes a third of the memory and deletes nothing.
PackedOrders = dict[str, bytes]
#: From a time to another, both inclusive.
Times = tuple[int, int]
ALWAYS: Final[Times] = (EARLIEST_US, LATEST_US)
#: Restored orders whose times are noted together.
MOST_PLACES: Final = 512
#: Size of a full stretch of a list of orders: some thousand orders compiled, and a hundred in Python.
STRETCH_BYTES: Final = 1 << 11
#: Gives memory of so many bytes, for as long as somebody refers to it.
Room = Callable[[int], memoryview]


def orders_in(room: Room | None) -> PackedOrders:
    """Packed orders, compiled in memory that `room` gives if it is not None; here always in that of the process."""
    del room
    return {}


class OrderLists:
    """Lists of orders, by number, each noted with the time of a unit; compiled, an order takes a few bytes in each.

    Args:
        orders: The packed orders; orders that are not among them cannot be noted.
        stretch_bytes: Size of a full stretch of a list, which has an entry about the times of its units.
    """

    def __init__(self, orders: PackedOrders, stretch_bytes: int = STRETCH_BYTES) -> None:
        del orders  # the compiled lists refer to them
        self._stretch_bytes = stretch_bytes
        self._lists: dict[int, list[_Stretch]] = {}

    def note(self, number: int, order_ids: list[str], first_us: int, last_us: int) -> None:
        """Appends orders to a list, with units between two times, both inclusive, microseconds since 1970."""
        stretches = self._lists.setdefault(number, [])
        if not stretches or stretches[-1].size >= self._stretch_bytes:
            stretches.append(_Stretch(first_us, last_us))
        stretches[-1].append(order_ids, first_us, last_us)

    def note_cell(self, number: int, cell: dict[int, Sum]) -> None:
        """Appends the orders of the units added in a cell to the lists of its number and their groups."""
        for key, change in cell.items():
            if not key & LEAVING:
                of = number << GROUPS_BITS | key >> GROUP_SHIFT & GROUP
                self.note(of, change.order_ids(), change.first_us, change.last_us)

    def note_places(self, number: int, places: Places, times_us: Numbers) -> None:
        """Appends orders to a list, given their places and the time of the unit of each."""
        for first in range(0, len(places), MOST_PLACES):
            times = times_us[first : first + MOST_PLACES]
            self.note(number, places[first : first + MOST_PLACES].tolist(), int(times.min()), int(times.max()))

    def noted(self, numbers: Iterable[int]) -> list[str]:
        """The orders in some lists, each once, in the order in which they were noted."""
        return self._noted(numbers, *ALWAYS)

    def places(self, numbers: Iterable[int], first_us: int = EARLIEST_US, last_us: int = LATEST_US) -> Places:
        """The places of the orders in some lists, each once: of all with units between two times, and of some others."""
        return places_of(self._noted(numbers, first_us, last_us))

    def _noted(self, numbers: Iterable[int], first_us: int, last_us: int) -> list[str]:
        ids: list[str] = []
        for number in numbers:
            for stretch in self._lists.get(number, ()):
                if stretch.first_us <= last_us and stretch.last_us >= first_us:
                    ids += stretch.order_ids()
        return list(dict.fromkeys(ids))


class _Stretch:
    """Orders that follow each other in a list, and the times of their units."""

    __slots__ = ("_lines", "first_us", "last_us")

    def __init__(self, first_us: int, last_us: int) -> None:
        #: A line each: a list of strings takes four times the memory.
        self._lines = bytearray()
        self.first_us, self.last_us = first_us, last_us

    @property
    def size(self) -> int:
        return len(self._lines)

    def append(self, order_ids: list[str], first_us: int, last_us: int) -> None:
        # No order id contains a line feed.
        self._lines += "\n".join([*order_ids, ""]).encode()
        self.first_us, self.last_us = min(self.first_us, first_us), max(self.last_us, last_us)

    def order_ids(self) -> list[str]:
        return self._lines.decode().split("\n")[:-1]


class UnitSearch:
    """Finds the units of a metric among orders of the most common kinds, and the orders that must be judged.

    These kinds are orders with a single event, and those with an order's placing and its later delivery.

    Args:
        orders: The packed orders.
        sole: Kinds of events that are units of some metric if they are their order's only event.
        kinds: The kinds among these that are units of the metric.
        label_of: Returns the label of units with the dimensions of a code; 0 for those that are not looked for.
    """

    def __init__(
        self, orders: PackedOrders, sole: Sequence[int], kinds: Sequence[int], label_of: Callable[[int], int]
    ) -> None:
        self._orders, self._sole, self._kinds, self._label_of = orders, sole, kinds, label_of
        self._labels: dict[int, int] = {}

    def look(self, places: Places) -> tuple[PlainUnits, Places]:
        """Looks at some orders. Returns the units found, and the places of those that may have one and must be judged."""
        found: list[tuple[int, int, str]] = []
        others: list[str] = []
        for order_id in places.tolist():
            events = heads(self._orders[order_id])
            in_time = sorted(events, key=_time_of)
            is_plain = events[0][0] in self._sole if len(events) == 1 else _is_delivered_later(in_time)
            if not is_plain:
                if any(self._label(dims) for _, _, _, dims, _ in events):
                    others.append(order_id)
                continue
            for kind, time_us, _, dims, _ in events:
                if kind in self._kinds and self._label(dims):
                    found.append((time_us, self._label(dims), order_id))
        return PlainUnits.of(found), places_of(others)

    def _label(self, dims: int) -> int:
        label = self._labels.get(dims)
        if label is None:
            label = self._labels[dims] = self._label_of(dims)
        return label


def _time_of(head: Head) -> int:
    return head[1]


def _is_delivered_later(events: Sequence[Head]) -> bool:
    """Whether these, in the order of their times, are an order's placing and its delivery, which is later."""
    return [kind for kind, *_ in events] == [_PLACED, _DELIVERED] and events[0][1] < events[1][1]


unpack, unpack_at = packing.unpack, packing.unpack_at


class Restoring:
    """Puts the orders in chunks of the changelog into a ledger.

    Args:
        orders: Where to put them.

    Attributes:
        runs_beside: Whether other threads can run while orders are put, and look at those that were put before with `order_at`.
    """

    runs_beside = False

    def __init__(self, orders: PackedOrders) -> None:
        self._orders = orders
        self._new: dict[str, bytes] = {}

    def __len__(self) -> int:
        """The number of orders put since they were last taken."""
        return len(self._new)

    def put(self, chunks: Iterable[Chunk]) -> None:
        """Puts those orders in chunks that are not there yet, one after the other.

        Raises:
            ValueError: One is no chunk, or has an order without any complete event.
        """
        for chunk in chunks:
            for order_id, blob in decode_entries(chunk):
                if order_id not in self._orders:
                    self._orders[order_id] = self._new[order_id] = blob

    def taken(self) -> Restored:
        """The orders put since this was last called."""
        new, self._new = self._new, {}
        return restored(list(new), list(new.values()))


def give_back() -> None:
    """Returns freed memory to the system; compiled, orders are stored beside it, and it would not be used again."""


def order_at(orders: PackedOrders, place: Any) -> tuple[str, bytes]:
    """The id and the packed events of a restored order."""
    return place, orders[place]


def follow(
    chunk: Chunk, orders: PackedOrders, touched: Touched, words: Sequence[Word], last_by_source: dict[str, int]
) -> tuple[int, int]:
    """Takes what a later chunk of the changelog has in addition: new orders, and new events of known ones.

    Args:
        chunk: Written after everything that is known.
        orders: Packed events by order.
        touched: Receives the present events of the orders that have new ones.
        words: The vocabulary of the packed events.
        last_by_source: The greatest event time of each source.

    Returns:
        Numbers of new events that were backfill, and of bytes added.

    Raises:
        ValueError: It is no chunk, or an order's events do not begin with those that are known.
    """
    backfilled = new_bytes = 0
    for order_id, blob in decode_entries(chunk):
        known = orders.get(order_id)
        if known == blob:
            continue
        start = 0 if known is None else len(known)
        if len(blob) <= start or (known is not None and not blob.startswith(known)):
            raise ValueError(f"order {order_id} has other events in a later chunk of the changelog")
        orders[order_id] = blob
        touched.put(order_id, known, blob)
        new_bytes += len(blob) - start + (len(order_id) if known is None else 0)
        try:
            for _, time_us, code, _, backfill in _whole_heads(blob[start:]):
                backfilled += backfill
                source = source_at(words, code)
                if time_us > last_by_source.get(source, 0):
                    last_by_source[source] = time_us
        except (StructError, IndexError) as error:
            raise ValueError(_DAMAGED) from error
    return backfilled, new_bytes


def _whole_heads(events: bytes) -> list[Head]:
    """The heads of events, the last of which must be complete."""
    at = 0
    while at < len(events):
        at = end_of(events, at)
    if at > len(events):
        raise ValueError(_DAMAGED)
    return heads(events)


_PLACED, _DELIVERED, _VOIDED = int(Kind.PLACED), int(Kind.DELIVERED), int(Kind.VOIDED)


# Storing ------------------------------------------------------------------------------------------------------------


class TouchedCounts:
    """At most how many counts a step touches, found while its events are stored: it ends before there are too many.

    Nothing is judged. An event that is the first of its order, or the delivery or the placing that is expected, touches what it adds
    to; any other one what any event of its order could add to.

    Args:
        scopes_of: Returns the numbers of the scopes in which units with the dimensions of a code may count.
        offset_of: Returns what to add to the instants of a UTC day for the local time; `None` if its units must be looked at one by one.
        places_of: Returns the numbers of the dates and of the hours of campaigns in which a unit of such a day counts, given its time.

    Attributes:
        counts: How many.
        contradictions: At most how many orders have other violations afterwards.
        order_bytes: Size of the touched orders, packed.
        event_bytes: That of the largest event.
    """

    def __init__(
        self,
        scopes_of: Callable[[int], tuple[int, ...]],
        offset_of: Callable[[int], int | None],
        places_of: Callable[[int], tuple[int, ...]],
    ) -> None:
        self._scopes_of, self._offset_of, self._places_of = scopes_of, offset_of, places_of
        #: By code of the dimensions.
        self._scopes: dict[int, tuple[int, ...]] = {}
        self.clear()

    def clear(self) -> None:
        """Begins a step."""
        self._seen: set[tuple[int, int, int]] = set()
        self.counts = self.contradictions = self.order_bytes = self.event_bytes = 0

    def note(self, order_id: str, known: bytes | None, event: bytes, *, is_touched: bool) -> None:
        """Notes a stored event.

        Args:
            order_id: Its order.
            known: The packed events before it.
            event: The event, packed.
            is_touched: Whether the step has touched the order before.
        """
        self.event_bytes = max(self.event_bytes, len(event))
        self.order_bytes += len(event) + (0 if is_touched else len(order_id.encode()) + len(known or b""))
        ((kind, time_us, _, dims, _),) = heads(event)
        if known is None:
            self.contradictions += kind != _PLACED
            self._touch(kind, time_us, dims)
            return
        known_kind, known_us = sole_event(known)
        is_expected = kind == _DELIVERED and known_kind == _PLACED and known_us < time_us
        is_late = kind == _PLACED and known_kind == _DELIVERED and time_us < known_us
        self.contradictions += not is_expected
        if is_expected or is_late:
            self._touch(kind, time_us, dims)
            return
        events = heads(known + event)
        for kind, time_us, *_ in events:
            for _, _, _, dims, _ in events:
                self._touch(kind, time_us, dims)

    def _touch(self, kind: int, time_us: int, dims: int) -> None:
        if kind == _VOIDED:
            return
        scopes = self._scopes.get(dims)
        if scopes is None:
            scopes = self._scopes[dims] = self._scopes_of(dims)
        offset_us = self._offset_of(time_us // DAY_US)
        if offset_us is None:
            places = self._places_of(time_us)
        else:
            places = (((time_us + offset_us) // HOUR_US + EPOCH_CELL) // HOURS,)
        for place in places:
            for scope in scopes:
                if (kind, place, scope) not in self._seen:
                    self._seen.add((kind, place, scope))
                    # Placing an order adds to two metrics.
                    self.counts += 2 if kind == _PLACED else 1


class Touched(dict[str, bytes]):
    """The orders that a step has touched, and all their packed events.

    Looking all of them up again at its end would cost as much as storing them.

    Args:
        orders: Where they are stored.
    """

    def __init__(self, orders: PackedOrders) -> None:
        super().__init__()
        del orders  # the compiled class refers to them
        #: Size of the packed events that orders had before the step, if they had any.
        self.before: dict[str, int] = {}
        self._ids: list[str] = []

    def put(self, order_id: str, known: bytes | None, now: bytes) -> None:
        """Puts the present events of an order, given those before."""
        if order_id not in self:
            self._ids.append(order_id)
            if known is not None:
                self.before[order_id] = len(known)
        self[order_id] = now

    def between(self, first: int, end: int) -> list[EventOf]:
        """Some orders by their numbers; each with the position of its first new event."""
        return [EventOf(order_id, self[order_id], self.before.get(order_id, 0)) for order_id in self._ids[first:end]]

    def chunks(self, full_bytes: int) -> Iterable[bytes]:
        """As chunks of the changelog; see `schemas.changelog.encode_chunks`."""
        return encode_chunks(self.items(), full_bytes)


def store(  # noqa: PLR0913, PLR0917 - the parts of the state, so that the compiled one reads no attributes
    facts: Sequence[Fact],
    orders: PackedOrders,
    touched: Touched,
    counts: TouchedCounts,
    vocabulary: Vocabulary,
    last_by_source: dict[str, int],
    below_limit_bytes: int,
    refusal: Callable[[str, bytes, bytes], Refused | None],
    refused: list[tuple[int, str, str]],
) -> tuple[int, int, int]:
    """Stores facts, each completely or not at all.

    Args:
        facts: Facts of any orders; `schemas.fast.Events`, or a compiled one, which holds them packed, or any others.
        orders: Packed events by order.
        touched: Receives the present events of all touched orders.
        counts: Notes the stored events.
        vocabulary: The vocabulary of the packed events.
        last_by_source: The greatest event time of each source.
        below_limit_bytes: An order with fewer bytes can certainly take one more event.
        refusal: Given an order, its packed events and another one: why it cannot be taken, `None` if it can.
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
            orders[order_id] = packed
            counts.note(order_id, None, packed, is_touched=False)
            touched.put(order_id, None, packed)
            new_bytes += len(order_id)
        else:
            # An order without the id's bytes has no event with that id: for most second events that is enough.
            if fact.id.encode() in blob or len(blob) >= below_limit_bytes:
                refused_for = refusal(order_id, blob, packed)
                if refused_for is not None:
                    if refused_for[0]:
                        refused.append((index, *refused_for))
                    else:
                        duplicates += 1
                    continue
            orders[order_id] = now = blob + packed
            counts.note(order_id, blob, packed, is_touched=order_id in touched)
            touched.put(order_id, blob, now)
        new_bytes += len(packed)
        if fact.backfill:
            backfilled += 1
        if fact.time_us > last_by_source.get(fact.source, 0):
            last_by_source[fact.source] = fact.time_us
    return duplicates, backfilled, new_bytes


def order_ids(orders: PackedOrders) -> Iterator[str]:
    """The orders, by first appearance; orders stored during the iteration are not included."""
    return iter(list(orders))


# Counting -----------------------------------------------------------------------------------------------------------


class OwnUnits:
    """Adds units that have the time and the dimensions of their own event to the sums of a step.

    Args:
        cells: The sums of each cell, by key.
        words: The vocabulary of the packed events.
        offset_of: Returns what to add to the instants of a UTC day for the local time; `None` if not each of its cells is a local
            hour.
        cell_of: Returns the sums of the cell of an instant of such a day.
        code_of: Returns the code of the scopes of some dimensions, shifted to its place in a key.
    """

    def __init__(
        self,
        cells: dict[int, dict[int, Sum]],
        words: Sequence[Word],
        offset_of: Callable[[int], int | None],
        cell_of: Callable[[int], dict[int, Any]],
        code_of: Callable[[Dims], int],
    ) -> None:
        self._cells = cells
        self._offset_of = offset_of
        self.words = words
        self._cell_of = cell_of
        self._code_of = code_of
        #: By the codes of the dimensions in the vocabulary.
        self._codes: dict[int, int] = {}

    def add(self, shifted: int, head: Head, event: EventOf) -> None:
        """Adds a unit.

        Args:
            shifted: Its group of metrics, shifted to its place in a key.
            head: The fields of its event that matter.
            event: Its event.
        """
        _, time_us, _, dims, backfill = head
        offset_us = self._offset_of(time_us // DAY_US)
        if offset_us is None:
            cell = self._cell_of(time_us)
        else:
            cell = self._cells.setdefault((time_us + offset_us) // HOUR_US + EPOCH_CELL, {})
        code = self._codes.get(dims)
        if code is None:
            code = self._codes[dims] = self._code_of(dims_at(self.words, dims))
        key = code | shifted | backfill
        found = cell.get(key)
        if found is None:
            found = cell[key] = Sum()
        found.add_packed(time_us, event)


def count_plain(  # noqa: C901, PLR0913, PLR0917 - likewise, in one pass
    touched: Touched,
    first: int,
    end: int,
    known_violations: dict[str, Any],
    orders_known: bool,  # noqa: FBT001 - by position, as the compiled one takes it
    units: OwnUnits,
    placing: int,
    delivering: int,
    deliveries: list[EventOf] | None,
    early: list[tuple[str, str, str]],
    late: list[str],
) -> list[EventOf]:
    """Counts, unjudged, the touched orders with new events of the two most common kinds.

    These are new orders, with their delivery or without; deliveries of orders that were only placed, and earlier; deliveries
    that are the only event; and the placing of orders whose only event so far was a later delivery.

    Args:
        touched: The orders that the step has touched.
        first: Number of the first one to count.
        end: The number after the last one; there may be fewer.
        known_violations: Violations by order.
        orders_known: Whether orders are published; if so, a delivery that is the only event is a violation.
        units: Receives the units.
        placing: The group of metrics that placing an order adds to, shifted to its place in a key.
        delivering: The same of a delivery.
        deliveries: Receives the deliveries counted, if given.
        early: Receives order, source and id of those of them that are violations.
        late: Receives the orders whose placing came after their delivery.

    Returns:
        The others, in order, each with its first new event.
    """
    others = []
    for event in touched.between(first, end):
        order_id, blob, start = event
        earlier = blob[:start] or None
        new = heads(blob[start:])
        head = new[0]
        kind, time_us, source, *_ = head
        if len(new) == 1 and earlier is not None and kind == _PLACED:
            known_kind, known_us = sole_event(earlier)
            if known_kind == _DELIVERED and time_us < known_us:
                units.add(placing, head, event)
                late.append(order_id)
                continue
        elif len(new) == 1 and order_id not in known_violations:
            if earlier is None and kind == _PLACED:
                units.add(placing, head, event)
                continue
            if kind == _DELIVERED and (earlier is None or is_sole(earlier, _PLACED, time_us)):
                units.add(delivering, head, event)
                if deliveries is not None:
                    deliveries.append(event)
                if earlier is None and orders_known:
                    early.append((order_id, source_at(units.words, source), sole_id(blob)))
                continue
        elif len(new) == 2 and earlier is None and order_id not in known_violations:
            pair = [(head, event), (new[1], EventOf(order_id, blob, end_of(blob, 0)))]
            (of_placed, placed), (of_delivered, delivered) = pair if time_us < new[1][1] else reversed(pair)
            if of_placed[0] == _PLACED and of_delivered[0] == _DELIVERED and of_placed[1] < of_delivered[1]:
                units.add(placing, of_placed, placed)
                units.add(delivering, of_delivered, delivered)
                if deliveries is not None:
                    deliveries.append(delivered)
                continue
        others.append(event)
    return others


def hours(touched: Touched) -> set[tuple[int, int, int]]:
    """Kind, code of the source and UTC quarter-hour of a step's events that are not backfill, each combination once."""
    found = set()
    for order_id, blob in touched.items():
        for kind, time_us, source, _, backfill in heads(blob[touched.before.get(order_id, 0) :]):
            if not backfill:
                found.add((kind, source, time_us // QUARTER_HOUR_US))
    return found
