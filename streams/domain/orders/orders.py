"""Judges all events of one order, or of the production of one vehicle, together: what counts, and what contradicts.

The judgement is a function of the set of events. Voided events count as never sent; the rest is processed in the order
of (time, id, source), whatever the order of arrival was.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from schemas.facts import METRICS, Dims, Fact, Kind, Metric

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

(
    ORDERS_PLACED_METRIC,
    ORDERS_METRIC,
    CANCELLATIONS_METRIC,
    DELIVERIES_METRIC,
    REVERSALS_METRIC,
    PRODUCED_METRIC,
    SCRAPPED_METRIC,
) = METRICS

# Plain ints: comparing with an enum member costs an attribute lookup each time.
PLACED = int(Kind.PLACED)
CANCELLED = int(Kind.CANCELLED)
DELIVERED = int(Kind.DELIVERED)
REVERSED = int(Kind.REVERSED)
VOIDED = int(Kind.VOIDED)
PRODUCED = int(Kind.PRODUCED)
SCRAPPED = int(Kind.SCRAPPED)

_NEVER_US = 1 << 62

_in_time = attrgetter("time_us", "id", "source")


class Unit(NamedTuple):
    """A unit that counts.

    Attributes:
        metric: One of `METRICS`.
        dims: Its dimensions: for a cancellation those of the order, for a reversal those of the delivery that it
            reverses, for a scrapped vehicle those that it was produced with, otherwise those of the event.
        cause: The event of the unit, which determines its date and whether it is backfill.
    """

    metric: Metric
    dims: Dims
    cause: Fact


class OrderViolation(NamedTuple):
    """One event of an order that contradicts the others.

    Attributes:
        kind: What is wrong, such as `delivered_twice`.
        source: CloudEvents source of the offending event.
        id: CloudEvents id of the offending event.
    """

    kind: str
    source: str
    id: str

    @property
    def order_id(self) -> str:
        """Empty: the violation belongs to the order whose events were judged."""
        return ""


class VehicleViolation(NamedTuple):
    """A delivery that contradicts the production of its vehicle; found when the production is judged.

    Attributes:
        kind: What is wrong.
        source: CloudEvents source of the delivery.
        id: CloudEvents id of the delivery.
        order_id: Its order.
    """

    kind: str
    source: str
    id: str
    order_id: str


#: In the order of (time, id, source) of the offending events; those of a vehicle's deliveries come last.
OrderViolations = tuple[OrderViolation | VehicleViolation, ...]


class Judgement(NamedTuple):
    """The result of judging one order's events."""

    units: list[Unit]
    violations: OrderViolations


def judge(facts: Sequence[Fact], *, orders_known: bool = True) -> Judgement:
    """Judges all events of one order.

    Args:
        facts: In any order, each (source, id) once.
        orders_known: Whether orders are published; if not, a delivery without an order is no contradiction.
    """
    return _lived(facts, orders_known=orders_known).judgement()


def produced_within(facts: Sequence[Fact]) -> list[tuple[int, int]]:
    """When a production of the vehicle stood: spans of event times, microseconds since 1970, in order, both ends inclusive.

    Args:
        facts: All events known under its VIN, in any order, each (source, id) once.
    """
    return _lived(facts, orders_known=True).produced_within()


def _lived(facts: Sequence[Fact], *, orders_known: bool) -> _Life:
    kinds = {(fact.source, fact.id): fact.kind for fact in facts}
    # A void cannot be voided: a void that names another is a violation, and the one it names stands.
    voided = {fact.voids for fact in facts if fact.voids is not None}
    life = _Life(orders_known=orders_known)
    for fact in sorted(facts, key=_in_time):
        if fact.kind == VOIDED:
            life.void(fact, None if fact.voids is None else kinds.get(fact.voids))
        elif (fact.source, fact.id) not in voided:
            life.step(fact)
    return life


class _Life:
    """The life of an order, event by event in order of time."""

    def __init__(self, *, orders_known: bool) -> None:
        self._orders_known = orders_known
        self._placed: Fact | None = None
        self._cancelled: Fact | None = None
        self._standing: Fact | None = None
        self._produced: Fact | None = None
        self._scrapped: list[tuple[int, int]] = []
        self._returned: list[Unit] = []
        self._violations: list[OrderViolation] = []

    def step(self, fact: Fact) -> None:
        """Processes an event that is neither a void nor voided."""
        violation = _STEPS[fact.kind](self, fact)
        if violation is not None:
            self._violate(violation, fact)

    def void(self, fact: Fact, target_kind: int | None) -> None:
        """Processes a void; its effect is that the event it names is never processed."""
        if target_kind is None:
            self._violate("void_of_unknown_event", fact)
        elif target_kind == VOIDED:
            self._violate("void_of_void", fact)

    def judgement(self) -> Judgement:
        """The result."""
        return Judgement([*self._order_units(), *self._returned, *self._standing_units()], tuple(self._violations))

    def produced_within(self) -> list[tuple[int, int]]:
        """See the function of this name."""
        return [*self._scrapped, *([(self._produced.time_us, _NEVER_US)] if self._produced is not None else [])]

    def _place(self, fact: Fact) -> str | None:
        if self._placed is not None:
            return "second_placed"
        self._placed = fact
        return None

    def _cancel(self, fact: Fact) -> str | None:
        if self._placed is None:
            return "cancelled_without_order"
        if self._cancelled is not None:
            return "cancelled_twice"
        if self._standing is not None:
            return "cancelled_while_delivered"
        self._cancelled = fact
        return None

    def _deliver(self, fact: Fact) -> str | None:
        if self._standing is not None:
            return "delivered_twice"
        self._standing = fact
        if self._placed is None:
            return "delivered_without_order" if self._orders_known else None
        return None if self._cancelled is None else "delivered_after_cancellation"

    def _reverse(self, fact: Fact) -> str | None:
        if self._standing is None:
            return "reversed_without_delivery"
        if self._standing.vin != fact.vin:
            return "reversed_other_vin"
        self._returned.append(Unit(REVERSALS_METRIC, self._standing.dims, fact))
        self._standing = None
        return None

    def _produce(self, fact: Fact) -> str | None:
        if self._produced is not None:
            return "produced_twice"
        self._produced = fact
        return None

    def _scrap(self, fact: Fact) -> str | None:
        if self._produced is None:
            return "scrapped_without_production"
        self._returned.append(Unit(SCRAPPED_METRIC, self._produced.dims, fact))
        self._scrapped.append((self._produced.time_us, fact.time_us))
        self._produced = None
        return None

    def _violate(self, kind: str, fact: Fact) -> None:
        self._violations.append(OrderViolation(kind, fact.source, fact.id))

    def _order_units(self) -> Iterable[Unit]:
        placed, cancelled = self._placed, self._cancelled
        if placed is not None:
            yield Unit(ORDERS_PLACED_METRIC, placed.dims, placed)
            if cancelled is None:
                yield Unit(ORDERS_METRIC, placed.dims, placed)
            else:
                yield Unit(CANCELLATIONS_METRIC, placed.dims, cancelled)

    def _standing_units(self) -> Iterable[Unit]:
        if self._standing is not None:
            yield Unit(DELIVERIES_METRIC, self._standing.dims, self._standing)
        if self._produced is not None:
            yield Unit(PRODUCED_METRIC, self._produced.dims, self._produced)


_STEPS = {
    PLACED: _Life._place,  # noqa: SLF001 - the table belongs to the class
    CANCELLED: _Life._cancel,  # noqa: SLF001 - likewise
    DELIVERED: _Life._deliver,  # noqa: SLF001 - likewise
    REVERSED: _Life._reverse,  # noqa: SLF001 - likewise
    PRODUCED: _Life._produce,  # noqa: SLF001 - likewise
    SCRAPPED: _Life._scrap,  # noqa: SLF001 - likewise
}
