"""Judges one order's events: a second, deliberately plain implementation of the contract's table.

It shares no code with the service, since a shared bug would go unnoticed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.facts import Kind, Metric
from schemas.outputs import EVENT_EFFECTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.facts import Dims, Fact


class RecountedUnit(NamedTuple):
    """A unit of a metric: dated by `event`, in the scopes of `dims`."""

    metric: Metric
    dims: Dims
    event: Fact


#: Code as in `Reading.effects` → the effect of an event in words.
EFFECTS: Final[dict[str, str]] = EVENT_EFFECTS | {
    "delivered_unplaced": EVENT_EFFECTS["delivered_without_order"],
    "delivered_cancelled": EVENT_EFFECTS["delivered_after_cancellation"],
}


@dataclass
class Reading:
    """The judgement of an order's events.

    Attributes:
        units: The units that count.
        effects: Each event, in the order of (time, id, source), with a key of `EFFECTS`.
    """

    units: list[RecountedUnit] = field(default_factory=list)
    effects: list[tuple[Fact, str]] = field(default_factory=list)


def time_order(event: Fact) -> tuple[int, str, str]:
    """Key of the order in which events are judged and units are numbered."""
    return event.time_us, event.id, event.source


def read_order(  # noqa: C901, PLR0912, PLR0915 - follows the contract's table
    events: Sequence[Fact], *, orders_known: bool = True
) -> Reading:
    """Judges one order.

    Args:
        events: One event per identity (source, id), in any order.
        orders_known: Whether orders are published; if not, unplaced orders are not contradictions.
    """
    reading = Reading()
    kinds = {(event.source, event.id): event.kind for event in events}
    never_sent = {event.voids for event in events if event.voids is not None}
    taken_back: dict[int, str] = {}
    order: Fact | None = None
    cancellation: Fact | None = None
    delivery: Fact | None = None
    built: Fact | None = None
    for event in sorted(events, key=time_order):
        if event.kind == Kind.VOIDED:
            named = kinds.get(event.voids) if event.voids is not None else None
            effect = "void_of_unknown_event" if named is None else "void_of_void" if named == Kind.VOIDED else "voids"
        elif (event.source, event.id) in never_sent:
            effect = "voided"
        elif event.kind == Kind.PLACED:
            effect = "placed" if order is None else "second_placed"
            order = order or event
        elif event.kind == Kind.CANCELLED:
            if order is None:
                effect = "cancelled_without_order"
            elif cancellation is not None:
                effect = "cancelled_twice"
            elif delivery is not None:
                effect = "cancelled_while_delivered"
            else:
                effect, cancellation = "cancelled", event
        elif event.kind == Kind.DELIVERED:
            if delivery is not None:
                effect = "delivered_twice"
            else:
                delivery = event
                effect = "delivered"
                if order is None:
                    effect = "delivered_unplaced" if orders_known else "delivered"
                elif cancellation is not None:
                    effect = "delivered_cancelled"
        elif event.kind == Kind.PRODUCED:
            effect = "produced" if built is None else "produced_twice"
            built = built or event
        elif event.kind == Kind.SCRAPPED:
            if built is None:
                effect = "scrapped_without_production"
            else:
                reading.units.append(RecountedUnit("scrapped", built.dims, event))
                taken_back[id(built)] = "produced_scrapped"
                effect, built = "scrapped", None
        elif delivery is None:
            effect = "reversed_without_delivery"
        elif delivery.vin != event.vin:
            effect = "reversed_other_vin"
        else:
            reading.units.append(RecountedUnit("reversals", delivery.dims, event))
            taken_back[id(delivery)] = "delivered_reversed"
            effect, delivery = "reversed", None
        reading.effects.append((event, effect))
    if order is not None:
        if cancellation is not None:
            taken_back[id(order)] = "placed_cancelled"
        reading.units.append(RecountedUnit("orders_placed", order.dims, order))
        if cancellation is None:
            reading.units.append(RecountedUnit("orders", order.dims, order))
        else:
            reading.units.append(RecountedUnit("cancellations", order.dims, cancellation))
    if delivery is not None:
        reading.units.append(RecountedUnit("deliveries", delivery.dims, delivery))
    if built is not None:
        reading.units.append(RecountedUnit("produced", built.dims, built))
    if taken_back:
        reading.effects = [(event, taken_back.get(id(event), effect)) for event, effect in reading.effects]
    return reading


class Distinct(NamedTuple):
    """An order's records, classified.

    Attributes:
        events: One event per identity; these count.
        duplicates: Further copies of these events.
        contradicting: Records with the identity of another event but different content, and without a dead letter.
    """

    events: list[Fact]
    duplicates: list[Fact]
    contradicting: list[Fact]


def content_of(event: Fact) -> tuple[object, ...]:
    """The content that makes two records with one identity the same event."""
    return event.kind, event.time_us, event.vin, event.dims, event.extra, event.voids


def distinct(records: Sequence[Fact]) -> Distinct:
    """Classifies an order's accepted records; among those with one identity, the first counts."""
    if len(records) == 1:
        return Distinct([records[0]], [], [])
    first: dict[tuple[str, str], Fact] = {}
    duplicates: list[Fact] = []
    contradicting: list[Fact] = []
    for record in records:
        known = first.setdefault((record.source, record.id), record)
        if known is not record:
            (duplicates if content_of(known) == content_of(record) else contradicting).append(record)
    return Distinct(list(first.values()), duplicates, contradicting)
