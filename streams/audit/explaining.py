"""`explain` for a milestone: the unit that passed the threshold, its order's complete history, and its neighbours.

The events come from the ledger's changelog, judged here by the recount's own reading of the contract: an index finds the orders of the
day in question, and the rows of earlier days tell which unit of the day it is. If they disagree, the units of the whole period are
counted. With `from_sources`, all source topics are read again instead.
"""

from __future__ import annotations

import difflib
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final

from schemas.codec import decode_milestone, decode_row
from schemas.facts import METRICS_OF, Fact
from schemas.instants import micros_of
from schemas.outputs import ALERT_KINDS
from streams.audit import compared_periods
from streams.audit.alerts import AlertExplanation, read_alerts
from streams.audit.dead_letters import Letters, accepted, read_letters
from streams.audit.judging import time_order
from streams.audit.kept_days import read_kept
from streams.audit.record_history import known_history, not_produced, order_history
from streams.audit.report import describe_event
from streams.audit.scopes import business_of
from streams.audit.sources import Sources, Stops
from streams.audit.targets import read_targets
from streams.errors import ExpectedError
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import partition_counts, read_to_end, reader
from streams.kafka.records import record_key, record_value
from streams.listener import ignore
from streams.lookup.finder import Finder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiokafka import AIOKafkaConsumer

    from schemas.outputs import MilestoneData, MilestoneEvent
    from streams.audit.sums import Business
    from streams.domain.time.periods import Period
    from streams.listener import Listener
    from streams.lookup.finder import Reach
    from streams.settings import Settings

_SUGGESTED: Final = 3


@dataclass
class MilestoneExplanation:
    """What raised a milestone.

    Attributes:
        data: The data of its last event.
        standing: Whether it stands after that event.
        revisions: All its events.
        count: The units of its period now, with the opening balance that its last event names.
        position: Which unit passes the threshold, in the order of (time, id), from 1.
        unit: That unit; `None` if there are no longer that many.
        before: The unit before it.
        after: The unit after it.
        history: All records of the unit's order in append order, with their effects; see `order_history`.
        earlier_best: For a record: the best earlier period of its window, and its count.
        compared: For a period compared with another one: the latter, and its count now.
        in_a_row: For a streak: the earlier periods of the streak in order of time, and their counts.
        waiting: Number of records of all orders that have arrived but are not counted yet; `None` if unknown.
        from_sources: Whether it was counted from the source topics.
    """

    data: MilestoneData
    standing: bool
    revisions: list[MilestoneEvent]
    count: int
    position: int
    unit: dict[str, Any] | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    history: list[dict[str, Any]]
    earlier_best: tuple[Period, int] | None
    compared: tuple[Period, int] | None
    in_a_row: list[tuple[Period, int]]
    waiting: int | None = 0
    from_sources: bool = True

    def document(self) -> dict[str, Any]:
        """Everything, as JSON."""
        best = self.earlier_best
        return {
            "milestone_id": self.data.milestone_id,
            "kind": self.data.kind,
            "standing": self.standing,
            "period": self.data.period,
            "count": self.count,
            **({"balance": self.data.balance} if self.data.balance else {}),
            "position": self.position,
            "unit": self.unit,
            "before": self.before,
            "after": self.after,
            "earlier_best": None if best is None else _described_best(*best),
            "compared": None if self.compared is None else {"period": self.compared[0].id, "count": self.compared[1]},
            "in_a_row": [{"period": period.id, "count": count} for period, count in self.in_a_row],
            "history": self.history,
            "waiting": self.waiting,
            "from_sources": self.from_sources,
            "revisions": [event.model_dump(mode="json") for event in self.revisions],
        }


async def explain_milestone(
    settings: Settings, milestone_id: str, listener: Listener, *, from_sources: bool = False
) -> MilestoneExplanation | AlertExplanation:
    """Finds what raised a milestone or an alert.

    Args:
        settings: The installation.
        milestone_id: The id of the milestone.
        listener: Told about progress.
        from_sources: Count from the source topics as they are now, not from what the ledger has taken in.

    Raises:
        ExpectedError: There is no such milestone (exit code 2; the message suggests similar ids), or no cluster.
    """
    async with reader(settings) as consumer:
        await Sources(settings, consumer).check()
        listener.say("reading the milestones")
        revisions = await _revisions(settings, consumer, milestone_id)
        if revisions[-1].data.kind in ALERT_KINDS:
            listener.say("reading what the alert is about")
            alerts = await read_alerts(settings, consumer, [event.data for event in revisions])
            return AlertExplanation(revisions[-1].data, revisions[-1].stands, revisions, alerts)
        letters = await read_letters(settings, consumer)
        sources = letters.sources(settings, consumer, listener.progress if from_sources else ignore)
        settings = (await read_targets(settings, consumer)).counted_by(settings)
        data, business = revisions[-1].data, await business_of(settings)
        if from_sources:
            stops = await sources.ends()
            # Where deliveries are judged by production, that of the vehicle is looked for once its order is known.
            listener.plan((4 if settings.catalogue.judges_production else 3) * sum(stops.values()))
            listener.say("reading the sources")
            counted = await _count(data, business, sources, stops, letters)
            return await _explanation(revisions, counted, sources, stops, letters)
        async with Finder.opened(settings) as finder:
            listener.say("reading the ledger")
            await finder.read_on(listener=listener)
            reach = await finder.reach()
            listener.say("reading the rows")
            days = await _published_days(settings, consumer, data)
            units = await _Units.found(data, business, finder, days)
            return await _known(revisions, units, sources, letters, reach)


class _Units:
    """The units of a milestone's window; only the days asked about are looked up.

    Attributes:
        days: Date → number of units of its metric and scope, in all periods.
        business: For scopes and dates.
        finder: Finds orders.
    """

    def __init__(self, data: MilestoneData, business: Business, finder: Finder, days: Counter[date]) -> None:
        self.business, self.finder, self.days = business, finder, days
        self._data = data
        self._start, self._end = date.fromisoformat(data.start), date.fromisoformat(data.end)
        self._of_day: dict[date, list[Fact]] = {}
        self._campaigns: Counter[Period] = Counter()

    @classmethod
    async def found(cls, data: MilestoneData, business: Business, finder: Finder, days: Counter[date]) -> _Units:
        """Builds it from the counts of days, or from the units themselves if days have no rows, or if the two disagree."""
        units = cls(data, business, finder, days)
        if not await units.are_as_counted():
            await units.count_all()
        return units

    @property
    def count(self) -> int:
        """The number of units in the period, with the opening balance."""
        return self._data.balance + sum(self._in_period().values())

    @property
    def position(self) -> int:
        """Which unit passes the threshold."""
        return compared_periods.position(self._data, self.earlier_best, self.compared)

    @property
    def earlier_best(self) -> tuple[Period, int] | None:
        """For a record: the period and count it had to exceed."""
        return compared_periods.earlier_best(self._data, self.days, self._campaigns, self.business)

    @property
    def compared(self) -> tuple[Period, int] | None:
        """For a period compared with another one: the latter and its count."""
        return compared_periods.compared(self._data, self.days, self.business)

    @property
    def in_a_row(self) -> list[tuple[Period, int]]:
        """For a streak: the earlier periods of the streak and their counts."""
        return compared_periods.in_a_row(self._data, self.days, self.business)

    async def at(self, position: int) -> Fact | None:
        """The unit at a position, by (time, id), from 1; units of an opening balance are unknown."""
        before = self._data.balance
        for day, count in sorted(self._in_period().items()):
            if before < position <= before + count:
                units = await self._on(day)
                return units[position - before - 1] if position - before <= len(units) else None
            before += count
        return None

    async def are_as_counted(self) -> bool:
        """Whether the days of the unit and its neighbours have as many units as their rows say."""
        if not self.days:
            return False
        before, wanted = self._data.balance, self.position
        for day, count in sorted(self._in_period().items()):
            if before + count >= wanted - 1 and before <= wanted and len(await self._on(day)) != count:
                return False
            before += count
        return True

    async def count_all(self) -> None:
        """Counts the units of the whole period, and all others if it is compared with other periods.

        For a campaign, units on its dates only count between its instants.
        """
        self.days, self._of_day, self._campaigns = Counter(), {}, Counter()
        is_compared = self._data.kind in compared_periods.COMPARED
        within = self.finder.orders_within(
            self._start, self._end, of_vehicles=self._data.metric not in METRICS_OF["orders"]
        )
        async for order in self.finder.orders() if is_compared else within:
            for day, event in self._counted(order.facts):
                self._campaigns.update(self.business.campaigns_at(event.time_us, self._data.scope))
                if not _may_count(self._data, event):
                    continue
                self.days[day] += 1
                if self._start <= day <= self._end:
                    self._of_day.setdefault(day, []).append(event)
        for units in self._of_day.values():
            units.sort(key=time_order)

    def _in_period(self) -> dict[date, int]:
        return {day: count for day, count in self.days.items() if self._start <= day <= self._end and count}

    async def _on(self, day: date) -> list[Fact]:
        if day not in self._of_day:
            found = [
                event
                async for order in self.finder.orders_on(day, of_vehicles=self._data.metric not in METRICS_OF["orders"])
                for on, event in self._counted(order.facts)
                if on == day
            ]
            self._of_day[day] = sorted(found, key=time_order)
        return self._of_day[day]

    def _counted(self, facts: list[Fact]) -> Iterator[tuple[date, Fact]]:
        """An order's units of this metric and scope, each with its date."""
        for unit in self.business.read_order(facts).units:
            if unit.metric == self._data.metric and self._data.scope in self.business.scopes_at(unit.dims, unit.event):
                yield self.business.local(unit.event.time_us).date(), unit.event


def _may_count(data: MilestoneData, event: Fact) -> bool:
    """Whether a unit lies between the instants of a milestone's campaign; always true for other windows, where the date decides."""
    if data.starts_at is None or data.ends_at is None:
        return True
    first_us, end_us = (micros_of(datetime.fromisoformat(text)) for text in (data.starts_at, data.ends_at))
    return first_us <= event.time_us < end_us


async def _published_days(settings: Settings, consumer: AIOKafkaConsumer, data: MilestoneData) -> Counter[date]:
    """Date → its count of the milestone's metric and scope, by the rows of days.

    Empty if not all days have rows, or if days are not enough, as for campaigns.
    """
    if data.starts_at is not None:
        return Counter()
    wanted = f"{data.metric}/{data.scope}/day:".encode()
    latest: dict[bytes, bytes | None] = {}
    async for records in read_to_end(settings, settings.catalogue.windows.whole, consumer=consumer):
        latest.update((key, record.value) for record in records if (key := record_key(record)).startswith(wanted))
    if (await read_kept(settings, consumer)).of(data.scope) > date.min:
        return Counter()
    rows = (decode_row(value) for value in latest.values() if value is not None)
    return Counter({date.fromisoformat(row.start): row.count for row in rows})


async def _known(
    revisions: list[MilestoneEvent], units: _Units, sources: Sources, letters: Letters, reach: Reach
) -> MilestoneExplanation:
    """The explanation from what the ledger has."""
    data, position = revisions[-1].data, units.position
    around = [await units.at(position + step) for step in (-1, 0, 1)]
    before, unit, after = (
        None if each is None else describe_event(each, units.business, sources.names) for each in around
    )
    history: list[dict[str, Any]] = []
    if around[1] is not None:
        found = await units.finder.order(around[1].order_id)
        facts = [] if found is None else found.facts
        wrong = await not_produced(around[1].order_id, facts, units.business, units.finder)
        history = await known_history(around[1].order_id, facts, units.business, sources, letters, wrong)
    return MilestoneExplanation(
        data=data,
        standing=revisions[-1].stands,
        revisions=revisions,
        count=units.count,
        position=position,
        unit=unit,
        before=before,
        after=after,
        history=history,
        earlier_best=units.earlier_best,
        compared=units.compared,
        in_a_row=units.in_a_row,
        waiting=None if reach.waiting is None else reach.waiting.records,
        from_sources=False,
    )


@dataclass
class _Counted:
    """A milestone's units in the order of (time, id), and the counts of days and campaigns of its metric and scope."""

    business: Business
    units: list[Fact]
    days: Counter[date]
    campaigns: Counter[Period] = field(default_factory=Counter)


async def _revisions(settings: Settings, consumer: AIOKafkaConsumer, milestone_id: str) -> list[MilestoneEvent]:
    topic = catalogue_of(settings).milestones
    if not (await partition_counts(consumer, [topic.name]))[topic.name]:
        raise ExpectedError(f"{topic.name} does not exist: name the installation with output_prefix", exit_code=3)
    found: list[MilestoneEvent] = []
    known: set[str] = set()
    async for records in read_to_end(settings, topic.whole, consumer=consumer):
        for record in records:
            event = decode_milestone(record_value(record))
            known.add(event.data.milestone_id)
            if event.data.milestone_id == milestone_id:
                found.append(event)
    if not found:
        raise ExpectedError(f"there is no milestone {milestone_id}; {_near(milestone_id, known)}", exit_code=2)
    return found


def _near(milestone_id: str, known: set[str]) -> str:
    if not known:
        return "none has been published yet"
    close = difflib.get_close_matches(milestone_id, sorted(known), n=_SUGGESTED, cutoff=0.6)
    return f"did you mean {' or '.join(close)}?" if close else "milestones list shows those there are"


async def _count(data: MilestoneData, business: Business, sources: Sources, stops: Stops, letters: Letters) -> _Counted:
    start, end = date.fromisoformat(data.start), date.fromisoformat(data.end)
    counted = _Counted(business, [], Counter())
    strangers = await sources.strangers(stops)
    for number in range(business.settings.partitions):
        home = await sources.home(number, stops, strangers)
        for records in home.orders.values():
            for unit in business.read_order(accepted(records, letters.by_record).events).units:
                if unit.metric == data.metric and data.scope in business.scopes_at(unit.dims, unit.event):
                    day = business.local(unit.event.time_us).date()
                    counted.days[day] += 1
                    counted.campaigns.update(business.campaigns_at(unit.event.time_us, data.scope))
                    if start <= day <= end and _may_count(data, unit.event):
                        counted.units.append(unit.event)
    counted.units.sort(key=time_order)
    return counted


async def _explanation(
    revisions: list[MilestoneEvent], counted: _Counted, sources: Sources, stops: Stops, letters: Letters
) -> MilestoneExplanation:
    data = revisions[-1].data
    best = compared_periods.earlier_best(data, counted.days, counted.campaigns, counted.business)
    compared = compared_periods.compared(data, counted.days, counted.business)
    position = compared_periods.position(data, best, compared)
    units = counted.units

    def described(at: int) -> dict[str, Any] | None:
        if not 1 <= at - data.balance <= len(units):
            return None
        return describe_event(units[at - data.balance - 1], counted.business, sources.names)

    history: list[dict[str, Any]] = []
    if 1 <= position - data.balance <= len(units):
        history = await order_history(
            units[position - data.balance - 1].order_id, counted.business, sources, stops, letters
        )
    return MilestoneExplanation(
        data=data,
        standing=revisions[-1].stands,
        revisions=revisions,
        count=data.balance + len(units),
        position=position,
        unit=described(position),
        before=described(position - 1),
        after=described(position + 1),
        history=history,
        earlier_best=best,
        compared=compared,
        in_a_row=compared_periods.in_a_row(data, counted.days, counted.business),
    )


def _described_best(period: Period, count: int) -> dict[str, Any]:
    day = {"day": period.start.isoformat()} if period.kind == "day" else {}
    return {**day, "period": period.id, "count": count}
