"""What the events of an order amount to: what each did, what counts today and in which windows, and what would correct it."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

from pydantic import BaseModel, ConfigDict

from schemas.events import VIN_CHARACTERS
from schemas.facts import DIMENSIONS, FIRST_OF_PRODUCTION, METRICS, TYPES_OF_VEHICLES, Fact, Metric, type_of
from schemas.texts import template_of
from streams.domain.orders.orders import (
    CANCELLED,
    DELIVERED,
    DELIVERIES_METRIC,
    PLACED,
    PRODUCED,
    REVERSED,
    SCRAPPED,
    VOIDED,
    Judgement,
    judge,
    produced_within,
)
from streams.domain.scopes.overflow import counted_in
from streams.domain.scopes.scopes import Scopes
from streams.domain.time.zone import BusinessZone

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from streams.domain.time.calendar import Calendar
    from streams.lookup.finder import FoundOrder, Reach
    from streams.settings import Settings

#: Kind of event → the metric of its unit, and the event's effect while the unit stands, and once another event has ended it.
_MAKES: Final = {
    PLACED: ("orders", "placed", "placed_cancelled"),
    DELIVERED: ("deliveries", "delivered", "delivered_reversed"),
    PRODUCED: ("produced", "produced", "produced_scrapped"),
}
#: The effects of the other kinds of events.
_ENDS: Final = {CANCELLED: "cancelled", REVERSED: "reversed", SCRAPPED: "scrapped", VOIDED: "voids"}
_NOT_PRODUCED: Final = "delivered_without_production"
_VIN: Final = re.compile(f"[{VIN_CHARACTERS}]{{17}}")
#: Violations of events that count nevertheless.
_COUNTED: Final = frozenset(("delivered_without_order", "delivered_after_cancellation"))

OrderState = Literal["counted", "not_counted", "rejected", "waiting", "not_known", "unknown"]
STATES: Final[dict[str, str]] = {
    "counted": "counted",
    "not_counted": "not counted: none of its events has an effect today",
    "rejected": "not counted: all its records were rejected",
    "waiting": "not known yet: records of it have arrived and are not counted yet",
    "not_known": "not known yet: not everything that has arrived is counted",
    "unknown": "nothing of it has ever arrived",
}


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class OrderEvent(_Model):
    """An event of an order: what it is, which record brought it, and its effect (a key of `EVENT_EFFECTS`).

    `vin` is left out if vehicle identifiers are not shown; `voids` is the source and id of the event that it voids.
    """

    type: str
    time: str
    source: str
    id: str
    topic: str
    partition: int
    offset: int
    backfill: bool
    dimensions: dict[str, str]
    vin: str | None
    voids: tuple[str, str] | None
    effect: str
    correction: str | None

    @property
    def place(self) -> str:
        """The record's place, such as `vehicle.orders.v1-2@48211`."""
        return f"{self.topic}-{self.partition}@{self.offset}"


class OrderUnit(_Model):
    """A unit that an order counts as: of a metric on a date, in each of these scopes and periods."""

    metric: Metric
    date: str
    scopes: list[str]
    periods: list[str]
    source: str
    id: str


class OrderCopy(_Model):
    """A record that repeats an event of an order: source and id of the event, and the copy's place."""

    source: str
    id: str
    topic: str
    partition: int
    offset: int


class OrderLetter(_Model):
    """A rejected record of an order; `command` publishes it again once it has been repaired."""

    reason: str
    message: str
    topic: str
    partition: int
    offset: int
    rejected_at: str
    command: str


class OrderContradiction(_Model):
    """A contradiction among the events of an order: the offending event, and what is wrong.

    `order_id` is where that event is one of another order: of a vehicle, the one that it was delivered under.
    """

    kind: str
    source: str
    id: str
    order_id: str | None = None


class OrderStory(_Model):
    """Everything known about an order.

    Attributes:
        state: Its state in a word.
        events: Its events in the order in which the ledger applied them.
        units: What it counts as today.
        letters: Its rejected records, the oldest first.
        waiting: Number of records of all orders that have arrived but are not counted yet; `None` if unknown.
        waiting_of_order: How many of them belong to this order; `None` if unknown.
        rebuilding: Whether its ledger partition is being rebuilt.
        copies_in_partition: Number of exact copies of events that its ledger partition has met, of all orders: they change
            nothing and are not kept. `None` if unknown.
        copies: Copies of this order's events, if they were searched for, which takes reading the source topics.
        read_at: When this was true.
    """

    order_id: str
    partition: int
    state: OrderState
    events: list[OrderEvent]
    units: list[OrderUnit]
    violations: list[OrderContradiction]
    letters: list[OrderLetter]
    waiting: int | None
    waiting_of_order: int | None
    rebuilding: bool
    copies_in_partition: int | None
    copies: list[OrderCopy] | None
    read_at: str

    @property
    def is_vehicle(self) -> bool:
        """Whether it is not an order but a vehicle, with the VIN as its number: produced, or only delivered."""
        if not self.events:
            return any(each.order_id is not None for each in self.violations)
        return all(event.type in TYPES_OF_VEHICLES for event in self.events)


class DayUnit(_Model):
    """A unit of a date: its order, and the event that dates it.

    For a produced vehicle, `order_id` is its VIN, or empty if vehicle identifiers are not shown.
    """

    order_id: str
    metric: Metric
    time: str
    type: str
    source: str
    id: str
    topic: str
    partition: int
    offset: int
    backfill: bool
    vin: str | None


class Teller:
    """Makes the stories of orders.

    Args:
        settings: For scopes, time zone and topics.
        calendar: The calendar of the counted periods.
        vins_shown: Whether vehicle identifiers may be shown.
    """

    def __init__(self, settings: Settings, calendar: Calendar, *, vins_shown: bool) -> None:
        self._zone = BusinessZone(settings.timezone, settings.day_starts_hour)
        self._scopes = Scopes(settings.scopes, settings.values.listed(), settings.aliases)
        self._names = settings.catalogue.names()
        self._orders_known = "orders" in settings.families
        self._produced_since_us = settings.produced_since_us(self._zone)
        self._calendar = calendar
        self._vins_shown = vins_shown

    def vehicle_of(self, found: FoundOrder | None) -> str:
        """The VIN by whose production an order's delivery is judged; empty if there is none."""
        delivery = self._judged_by_production(found)
        return "" if delivery is None else delivery.vin

    def _judged_by_production(self, found: FoundOrder | None) -> Fact | None:
        """The delivery of an order, if it stands and is judged by production."""
        if found is None or self._produced_since_us is None:
            return None
        delivery = _standing(judge(found.facts, orders_known=self._orders_known))
        return None if delivery is None or delivery.time_us < self._produced_since_us else delivery

    def may_be_vehicle(self, number: str) -> bool:
        """Whether a number may be the VIN of a vehicle whose deliveries are judged by its production."""
        return self._produced_since_us is not None and _VIN.fullmatch(number) is not None

    def story(  # noqa: PLR0913 - what is known, from wherever
        self,
        order_id: str,
        partition: int,
        found: FoundOrder | None,
        reach: Reach,
        letters: Sequence[OrderLetter],
        *,
        copies: Sequence[Fact] | None = None,
        vehicle: Sequence[Fact] | None = None,
        delivered: Sequence[FoundOrder] = (),
    ) -> OrderStory:
        """Everything about an order.

        Args:
            order_id: The order number.
            partition: Its home.
            found: The order as the ledger has it.
            reach: How complete that is.
            letters: Its rejected records.
            copies: Copies of its events, if they were searched for.
            vehicle: What is known about the VIN of `vehicle_of`, if there is one.
            delivered: The orders that name the number as VIN.
        """
        facts = [] if found is None else found.facts
        judgement = judge(facts, orders_known=self._orders_known)
        effects = _effects(facts, judgement)
        contradictions = [
            OrderContradiction(kind=each.kind, source=each.source, id=each.id) for each in judgement.violations
        ]
        delivery = _standing(judgement)
        if vehicle is not None and delivery is not None and not _stood(vehicle, delivery.time_us):
            at = delivery.source, delivery.id
            contradictions.append(OrderContradiction(kind=_NOT_PRODUCED, source=at[0], id=at[1]))
            if effects[at] == "delivered":
                effects[at] = _NOT_PRODUCED
        contradictions += self._not_produced(order_id, facts, delivered)
        units = self._units(judgement)
        waiting = reach.waiting
        return OrderStory(
            order_id=order_id,
            partition=partition,
            state=_state(facts, units, letters, reach),
            events=[self._event(fact, effects[fact.source, fact.id]) for fact in facts],
            units=units,
            violations=contradictions,
            letters=list(letters),
            waiting=None if waiting is None else waiting.records,
            waiting_of_order=None if waiting is None else waiting.of_order,
            rebuilding=partition in reach.rebuilding,
            copies_in_partition=reach.copies.get(partition),
            copies=None
            if copies is None
            else [
                OrderCopy(
                    source=fact.source,
                    id=fact.id,
                    topic=self._topic(fact),
                    partition=fact.partition,
                    offset=fact.offset,
                )
                for fact in copies
            ],
            read_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )

    def _not_produced(
        self, vin: str, vehicle: Sequence[Fact], delivered: Sequence[FoundOrder]
    ) -> list[OrderContradiction]:
        """The deliveries of a vehicle at times when no production of it stood, in order; without those of order id = VIN."""
        standing = [
            (fact, order.order_id)
            for order in delivered
            if order.order_id != vin
            and (fact := self._judged_by_production(order)) is not None
            and fact.vin == vin
            and not _stood(vehicle, fact.time_us)
        ]
        standing.sort(key=lambda one: (one[0].time_us, one[0].id, one[0].source))
        return [
            OrderContradiction(kind=_NOT_PRODUCED, source=fact.source, id=fact.id, order_id=order_id)
            for fact, order_id in standing
        ]

    def units_on(
        self, found: FoundOrder, metric: str, scope: str, day: str, with_rows: Collection[str] | None = None
    ) -> list[DayUnit]:
        """The units that an order counts as on an ISO date, in a metric and scope; see `units_within`."""
        return self.units_within(found, metric, scope, (day, day), with_rows)

    def units_within(
        self,
        found: FoundOrder,
        metric: str,
        scope: str,
        dates: tuple[str, str],
        with_rows: Collection[str] | None = None,
    ) -> list[DayUnit]:
        """The units that an order counts as between two dates, in a metric and scope.

        Args:
            found: The order.
            metric: Such as `deliveries`.
            scope: Such as `model=SU7`.
            dates: The first and the last date, ISO.
            with_rows: If units of scopes without rows count in another scope: the scopes with rows, at least all of the same
                dimensions.
        """
        units = []
        for unit in judge(found.facts, orders_known=self._orders_known).units:
            cause = unit.cause
            day = self._zone.date_of(cause.time_us)
            if unit.metric != metric or not dates[0] <= day.isoformat() <= dates[1]:
                continue
            scopes = self._scopes.scopes_on(unit.dims, day)
            if scope in (scopes if with_rows is None else [counted_in(each, with_rows) for each in scopes]):
                units.append(
                    DayUnit(
                        order_id=found.order_id if self._vins_shown or cause.topic < FIRST_OF_PRODUCTION else "",
                        metric=unit.metric,
                        time=self._time(cause),
                        type=type_of(cause),
                        source=cause.source,
                        id=cause.id,
                        topic=self._topic(cause),
                        partition=cause.partition,
                        offset=cause.offset,
                        backfill=cause.backfill,
                        vin=cause.vin if cause.vin and self._vins_shown else None,
                    )
                )
        return units

    def _time(self, fact: Fact) -> str:
        return self._zone.datetime_of(fact.time_us).isoformat(timespec="milliseconds")

    def _topic(self, fact: Fact) -> str:
        return self._names.get(fact.topic, f"topic {fact.topic}")

    def _event(self, fact: Fact, effect: str) -> OrderEvent:
        return OrderEvent(
            type=type_of(fact),
            time=self._time(fact),
            source=fact.source,
            id=fact.id,
            topic=self._topic(fact),
            partition=fact.partition,
            offset=fact.offset,
            backfill=fact.backfill,
            dimensions={name: value for name, value in zip(DIMENSIONS, fact.dims, strict=True) if value},
            vin=fact.vin if fact.vin and self._vins_shown else None,
            voids=fact.voids,
            effect=effect,
            correction=None if fact.kind == VOIDED or effect == "voided" else correction(fact),
        )

    def _units(self, judgement: Judgement) -> list[OrderUnit]:
        order = {metric: number for number, metric in enumerate(METRICS)}
        units = []
        for unit in sorted(judgement.units, key=lambda each: (each.cause.time_us, order[each.metric])):
            day = self._zone.date_of(unit.cause.time_us)
            scopes = list(self._scopes.scopes_on(unit.dims, day))
            campaigns = [
                period
                for period in self._calendar.campaigns_at(unit.cause.time_us)
                if any(self._calendar.has(period, template_of(scope)) for scope in scopes)
            ]
            units.append(
                OrderUnit(
                    metric=unit.metric,
                    date=day.isoformat(),
                    scopes=scopes,
                    periods=[period.id for period in (*self._calendar.periods_of(day), *campaigns)],
                    source=unit.cause.source,
                    id=unit.cause.id,
                )
            )
        return units


def _state(
    facts: Sequence[Fact], units: Sequence[OrderUnit], letters: Sequence[OrderLetter], reach: Reach
) -> OrderState:
    if units:
        return "counted"
    if not reach.is_complete:
        return "waiting" if reach.waiting is not None and reach.waiting.of_order else "not_known"
    if facts:
        return "not_counted"
    return "rejected" if letters else "unknown"


def _standing(judgement: Judgement) -> Fact | None:
    """The delivery of an order that stands."""
    return next((unit.cause for unit in judgement.units if unit.metric == DELIVERIES_METRIC), None)


def _stood(vehicle: Sequence[Fact], time_us: int) -> bool:
    """Whether a production stood at a time, by what is known about the VIN."""
    return any(first_us <= time_us <= last_us for first_us, last_us in produced_within(vehicle))


def _effects(facts: Sequence[Fact], judgement: Judgement) -> dict[tuple[str, str], str]:
    """(source, id) of each event → its effect."""
    violations = {(each.source, each.id): each.kind for each in judgement.violations}
    voided = {fact.voids for fact in facts if fact.voids is not None}
    counted: dict[tuple[str, str], set[str]] = defaultdict(set)
    for unit in judgement.units:
        counted[unit.cause.source, unit.cause.id].add(unit.metric)
    effects = {}
    for fact in facts:
        at = fact.source, fact.id
        if fact.kind != VOIDED and at in voided:
            effects[at] = "voided"
        elif at in violations and (violations[at] not in _COUNTED or "deliveries" in counted[at]):
            effects[at] = violations[at]
        elif fact.kind in _MAKES:
            metric, stands, is_over = _MAKES[fact.kind]
            effects[at] = stands if metric in counted[at] else is_over
        else:
            effects[at] = _ENDS[fact.kind]
    return effects


def correction(fact: Fact) -> str:
    """The command that voids an event."""
    return f"milestones correct void {shlex.quote(fact.order_id)} --event {shlex.quote(fact.id)} --reason TEXT"


def replay_command(topic: str, partition: int, offset: int) -> str:
    """The command that shows what publishing a dead letter again would publish."""
    return f"milestones dead-letters replay --offset {topic}:{partition}:{offset} --dry-run"
