"""Finds what `correct` works on: the events of an order, or of the orders of a VIN, and the one that is meant.

Everything is judged by the recount's code, from the source topics as they are now.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from aiokafka import TopicPartition

from schemas.events import VIN_CHARACTERS
from schemas.facts import DELIVERIES, Fact, Kind, family_of
from schemas.texts import tidy
from streams.audit.dead_letters import accepted, read_letters
from streams.audit.judging import EFFECTS
from streams.audit.sources import Sources, coordinates_of
from streams.audit.sums import Business
from streams.errors import ExpectedError
from streams.kafka.clients import reader

if TYPE_CHECKING:
    from streams.audit.sources import Stops
    from streams.kafka.records import LogRecord
    from streams.listener import Listener
    from streams.settings import Settings

_VIN_LENGTH: Final = 17


class Judged(NamedTuple):
    """An accepted event of an order.

    Attributes:
        event: The event.
        record: The record that brought it; `None` if that was deleted, and only the ledger still has the event.
        effect: Its effect: a key of `EFFECTS`.
        topic: Name of the topic on which it was published.
    """

    event: Fact
    record: LogRecord | None
    effect: str
    topic: str = ""

    @property
    def counts(self) -> bool:
        """Whether it does what its type says, or did so until another event took it back."""
        return self.event.kind != Kind.VOIDED and not EFFECTS[self.effect].startswith("no effect")


@dataclass
class OrderEvents:
    """The events of an order.

    Attributes:
        order_id: The order number.
        events: Its accepted events, in the order of (time, id, source).
        refused: Why each of its other records is a dead letter.
    """

    order_id: str
    events: list[Judged] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    @property
    def facts(self) -> list[Fact]:
        """The accepted events."""
        return [judged.event for judged in self.events]


@dataclass(frozen=True)
class FoundOrders:
    """The orders that a text names.

    Attributes:
        text: The text as an order number.
        vin: The text as a VIN; empty if it cannot be one.
        orders: Order number → the order.
        read_to: (topic, partition) of the sources → how far it has been read.
    """

    text: str
    vin: str
    orders: dict[str, OrderEvents]
    read_to: dict[tuple[str, int], int]


def vin_of(text: str) -> str:
    """A text as a VIN, in capitals; empty if it is not one."""
    vin = tidy(text).upper()
    return vin if len(vin) == _VIN_LENGTH and not set(vin) - set(VIN_CHARACTERS) else ""


async def find_orders(settings: Settings, text: str, listener: Listener) -> FoundOrders:
    """Finds the order with a number, and all orders that have an event with a VIN.

    Args:
        settings: The installation.
        text: Order number or VIN.
        listener: Told about progress.

    Raises:
        ExpectedError: The cluster is unreachable, or a source topic is missing.
    """
    order_id, vin, business = tidy(text), vin_of(text), Business(settings)
    async with reader(settings) as consumer:
        await Sources(settings, consumer).check()
        letters = await read_letters(settings, consumer)
        sources = letters.sources(settings, consumer, listener.progress)
        stops = await sources.ends()
        listener.plan(sum(stops.values()) * (2 if vin else 1))
        listener.say("looking for the order")
        asked = {order_id} | (await _orders_of(vin, sources, stops) if vin else set())
        records = await sources.history(asked, stops)
        events = [outcome for _, outcome in records if isinstance(outcome, Fact)]
        gone: dict[str, list[Fact]] = {}
        for event in await sources.remembered(asked, stops, events):
            gone.setdefault(event.order_id, []).append(event)
    orders: dict[str, OrderEvents] = {}
    by_place: dict[tuple[int, int, int], LogRecord] = {}
    facts: dict[str, list[Fact]] = {}
    for record, outcome in records:
        if isinstance(outcome, Fact):
            by_place[coordinates_of(outcome)] = record
            facts.setdefault(outcome.order_id, []).append(outcome)
        else:
            name = tidy((record.key or b"").decode(errors="replace"))
            orders.setdefault(name, OrderEvents(name)).refused.append(f"{outcome.reason}: {outcome.message}")
    for name, found in facts.items():
        order = orders.setdefault(name, OrderEvents(name))
        here = sorted(found, key=coordinates_of)
        brought = {id(event): by_place[coordinates_of(event)] for event in here}
        distinct = accepted([*gone.pop(name, ()), *here], letters.by_record)
        order.events = [
            Judged(event, brought.get(id(event)), effect, sources.names[event.topic])
            for event, effect in business.read_order(distinct.events).effects
        ]
    for name, found in gone.items():
        effects = business.read_order(accepted(found, letters.by_record).events).effects
        orders.setdefault(name, OrderEvents(name)).events = [
            Judged(event, None, effect, sources.names[event.topic]) for event, effect in effects
        ]
    return FoundOrders(
        order_id, vin, orders, {(sources.names[topic], partition): stop for (topic, partition), stop in stops.items()}
    )


async def _orders_of(vin: str, sources: Sources, stops: Stops) -> set[str]:
    """The orders that have an event with a VIN."""
    found: set[str] = set()
    for (topic, partition), stop in sorted(stops.items()):
        if family_of(topic) != DELIVERIES:
            continue
        async for records in sources.read(TopicPartition(sources.names[topic], partition), stop):
            found |= {
                outcome.order_id
                for _, outcome in sources.decoded(records, topic)
                if isinstance(outcome, Fact) and outcome.vin == vin
            }
    return found | await sources.orders_of(vin)


#: What `--what` calls the events.
KINDS: Final = {
    "order": Kind.PLACED,
    "delivery": Kind.DELIVERED,
    "cancellation": Kind.CANCELLED,
    "reversal": Kind.REVERSED,
    "production": Kind.PRODUCED,
    "scrapping": Kind.SCRAPPED,
}
_WORDS: Final = {
    Kind.PLACED: "order placed",
    Kind.CANCELLED: "order cancelled",
    Kind.DELIVERED: "delivery",
    Kind.REVERSED: "delivery reversed",
    Kind.VOIDED: "void",
    Kind.PRODUCED: "production",
    Kind.SCRAPPED: "scrapping",
}


class Meant(NamedTuple):
    """An order and its event that is to be corrected."""

    order: OrderEvents
    judged: Judged


def described(business: Business, event: Fact) -> str:
    """An event in a few words: what it is, and when."""
    vin = f" of {event.vin}" if event.vin else ""
    when = business.exact(event.time_us).isoformat(" ", "seconds")
    return f"{_WORDS[Kind(event.kind)]}{vin} at {when}"


def choose(found: FoundOrders, business: Business, *, moves: bool, what: str | None, event_id: str | None) -> Meant:
    """The event that is to be voided or moved.

    Args:
        found: The orders that were named.
        business: For showing times.
        moves: Whether it is to be moved: then the delivery is meant, if the order has one.
        what: A key of `KINDS`, if given.
        event_id: The id of the event, if given.

    Raises:
        ExpectedError: There is no such event, or several; exit code 2.
    """
    _require_events(found)
    everything = [Meant(order, judged) for order in found.orders.values() for judged in order.events]
    named = [meant for meant in everything if _is_named(found, meant, what, event_id)]
    candidates = [meant for meant in named if meant.judged.counts or event_id is not None]
    if what is None and event_id is None and moves:
        deliveries = [meant for meant in candidates if meant.judged.event.kind == Kind.DELIVERED]
        candidates = deliveries or candidates
    if len(candidates) > 1:
        standing = [meant for meant in candidates if meant.judged.effect != "delivered_reversed"]
        candidates = standing if len(standing) == 1 else candidates
    if len(candidates) == 1:
        (meant,) = candidates
        _refuse_voided(meant, business)
        return meant
    if candidates:
        raise ExpectedError(
            f"{found.text} is ambiguous: say which event with --event: "
            + "; ".join(
                f"{meant.judged.event.id} ({described(business, meant.judged.event)}, order {meant.order.order_id})"
                for meant in candidates
            ),
            exit_code=2,
        )
    if len(named) == 1:
        _refuse_voided(named[0], business)
    raise ExpectedError(f"{found.text}: no {_asked(found, what, event_id)}; {_all_of(found, business)}", exit_code=2)


def placed(found: FoundOrders, business: Business) -> Meant:
    """The event that placed the order which is to be cancelled.

    Raises:
        ExpectedError: There is no such order, or several; or it cannot be cancelled; exit code 2.
    """
    _require_events(found)
    candidates = [
        Meant(order, judged)
        for order in found.orders.values()
        for judged in order.events
        if judged.effect in {"placed", "placed_cancelled"}
    ]
    if len(candidates) > 1:
        raise ExpectedError(
            f"{found.text} is ambiguous: name the order, {' or '.join(meant.order.order_id for meant in candidates)}",
            exit_code=2,
        )
    if not candidates and "orders" not in business.settings.families:
        raise ExpectedError(
            f"{found.text}: orders are not among the families of this installation, so there is nothing to cancel; "
            f"{_all_of(found, business)}",
            exit_code=2,
        )
    if not candidates:
        raise ExpectedError(f"{found.text}: no order that was placed; {_all_of(found, business)}", exit_code=2)
    (meant,) = candidates
    for judged in meant.order.events:
        if judged.effect == "cancelled":
            when = business.exact(judged.event.time_us).isoformat(" ", "seconds")
            raise ExpectedError(
                f"order {meant.order.order_id} is cancelled already, at {when} by {judged.event.source} {judged.event.id}",
                exit_code=2,
            )
    return meant


def _require_events(found: FoundOrders) -> None:
    if not found.orders:
        of_vin = ", and no delivery of such a VIN" if found.vin else ""
        topics = ", ".join(sorted({topic for topic, _ in found.read_to}))
        raise ExpectedError(f"there is no order {found.text}{of_vin} in {topics}", exit_code=2)
    if not any(order.events for order in found.orders.values()):
        refused = next(iter(found.orders.values())).refused
        raise ExpectedError(
            f"order {found.text}: none of its {len(refused)} records is a valid event, the first is {refused[0]}; repair "
            "them with milestones dead-letters replay",
            exit_code=2,
        )


def _is_named(found: FoundOrders, meant: Meant, what: str | None, event_id: str | None) -> bool:
    event = meant.judged.event
    if event_id is not None and event.id != event_id:
        return False
    if what is not None and event.kind != KINDS[what]:
        return False
    if meant.order.order_id == found.text:
        return True
    # A VIN stands for its deliveries or, with --what or --event, for any other event of its order.
    is_of_vin = event.kind == Kind.DELIVERED and event.vin == found.vin
    return is_of_vin or ((what or event_id) is not None and event.kind not in {Kind.DELIVERED, Kind.VOIDED})


def _refuse_voided(meant: Meant, business: Business) -> None:
    event = meant.judged.event
    if event.kind == Kind.VOIDED:
        raise ExpectedError(
            f"{event.id} is a void, which cannot be voided or moved: milestones correct undo takes it back", exit_code=2
        )
    if meant.judged.effect == "voided":
        by = next(one.event for one in meant.order.events if one.event.voids == (event.source, event.id))
        raise ExpectedError(
            f"order {meant.order.order_id}: the {described(business, event)} is voided already, by {by.source} {by.id}",
            exit_code=2,
        )


def _asked(found: FoundOrders, what: str | None, event_id: str | None) -> str:
    if event_id is not None:
        return f"event with the id {event_id}"
    if what is None:
        what = "event" if found.text in found.orders else "delivery"
    return f"{what} that counts"


def _all_of(found: FoundOrders, business: Business) -> str:
    events = [
        f"{described(business, judged.event)} ({judged.event.id}): {EFFECTS[judged.effect]}"
        for order in found.orders.values()
        for judged in order.events
    ]
    return f"there is {'; '.join(events)}"
