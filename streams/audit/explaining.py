"""`explain` for a milestone: the unit that passed the threshold, its order's whole history, and its neighbours."""

from __future__ import annotations

import difflib
from collections import Counter
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from schemas.codec import decode_milestone
from schemas.facts import Fact
from schemas.outputs import RETRACTED
from streams.audit.judging import EFFECTS, read_order
from streams.audit.letters import Letters, accepted, read_letters
from streams.audit.report import describe_event
from streams.audit.sources import Sources, Stops, audit_reader, coordinates_of
from streams.audit.sums import Business
from streams.domain.periods import window_of
from streams.errors import ExpectedError
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import partition_counts, read_to_end
from streams.kafka.records import record_value

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer

    from schemas.outputs import MilestoneData, MilestoneEvent
    from streams.domain.periods import Period
    from streams.listener import Listener
    from streams.settings import Settings

_SUGGESTED: Final = 3


@dataclass
class MilestoneExplanation:
    """What raised a milestone.

    Attributes:
        data: Of its last event.
        standing: Whether that event leaves it standing.
        revisions: All of its events.
        count: Units of its period that the source topics hold now.
        position: Which unit passes the threshold, in the order of (time, id), from 1.
        unit: That unit; `None` if there are no longer that many.
        before: The one before it.
        after: The one after it.
        history: Every record of the unit's order in append order, with its effect.
        earlier_best: For a record: the best earlier period of its window and its count.
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

    def document(self) -> dict[str, Any]:
        """Everything, as JSON."""
        best = self.earlier_best
        return {
            "milestone_id": self.data.milestone_id,
            "kind": self.data.kind,
            "standing": self.standing,
            "period": self.data.period,
            "count": self.count,
            "position": self.position,
            "unit": self.unit,
            "before": self.before,
            "after": self.after,
            "earlier_best": None if best is None else _described_best(*best),
            "history": self.history,
            "revisions": [event.model_dump(mode="json") for event in self.revisions],
        }


async def explain_milestone(settings: Settings, milestone_id: str, listener: Listener) -> MilestoneExplanation:
    """Finds what raised a milestone, from the source topics as they are now.

    Raises:
        ExpectedError: There is no such milestone (exit code 2; the message suggests similar ids), or no cluster.
    """
    async with audit_reader(settings) as consumer:
        await Sources(settings, consumer).check()
        listener.say("reading the milestones")
        revisions = await _revisions(settings, consumer, milestone_id)
        letters = await read_letters(settings, consumer)
        sources = letters.sources(settings, consumer, listener.progress)
        stops = await sources.ends()
        listener.plan(3 * sum(stops.values()))
        listener.say("reading the sources")
        data = revisions[-1].data
        counted = await _count(data, Business(settings), sources, stops, letters)
        return await _explanation(revisions, counted, sources, stops, letters)


@dataclass
class _Counted:
    """Units of a milestone's window in the order of (time, id), and the count of each day of its metric and scope."""

    business: Business
    units: list[Fact]
    days: Counter[date]


async def _revisions(settings: Settings, consumer: AIOKafkaConsumer, milestone_id: str) -> list[MilestoneEvent]:
    topic = catalogue_of(settings).milestones.name
    if not (await partition_counts(consumer, [topic]))[topic]:
        raise ExpectedError(f"{topic} does not exist: name the installation with output_prefix", exit_code=3)
    found: list[MilestoneEvent] = []
    known: set[str] = set()
    async for records in read_to_end(settings, [(topic, 0)], consumer=consumer):
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
            for unit in read_order(accepted(records, letters.by_record).events).units:
                if unit.metric == data.metric and data.scope in business.scopes_at(unit.dims, unit.event):
                    day = business.local(unit.event.time_us).date()
                    counted.days[day] += 1
                    if start <= day <= end:
                        counted.units.append(unit.event)
    counted.units.sort(key=lambda event: (event.time_us, event.id, event.source))
    return counted


async def _explanation(
    revisions: list[MilestoneEvent], counted: _Counted, sources: Sources, stops: Stops, letters: Letters
) -> MilestoneExplanation:
    data = revisions[-1].data
    best = _earlier_best(data, counted.days, counted.business)
    position = _position(data, best)
    units = counted.units

    def described(at: int) -> dict[str, Any] | None:
        if not 1 <= at <= len(units):
            return None
        return describe_event(units[at - 1], counted.business, sources.names)

    history: list[dict[str, Any]] = []
    if 1 <= position <= len(units):
        history = await order_history(units[position - 1].order_id, counted.business, sources, stops, letters)
    return MilestoneExplanation(
        data=data,
        standing=revisions[-1].type != RETRACTED,
        revisions=revisions,
        count=len(units),
        position=position,
        unit=described(position),
        before=described(position - 1),
        after=described(position + 1),
        history=history,
        earlier_best=best,
    )


def _position(data: MilestoneData, best: tuple[Period, int] | None) -> int:
    """Which unit passes the threshold."""
    if data.kind == "record":
        return (best[1] if best is not None else 0) + 1
    return (data.threshold or 0) + (1 if data.operator == "exceeds" else 0)


def _earlier_best(data: MilestoneData, days: Counter[date], business: Business) -> tuple[Period, int] | None:
    """The earlier period with the highest count; of equal ones the first."""
    if data.kind != "record":
        return None
    window = window_of(data.period)
    counts: Counter[Period] = Counter()
    for day, count in days.items():
        for period in business.periods_of(day):
            if period.window == window and period.start.isoformat() < data.start:
                counts[period] += count
    if not counts:
        return None
    most = max(counts.values())
    return min((period for period, count in counts.items() if count == most), key=lambda period: period.start), most


def _described_best(period: Period, count: int) -> dict[str, Any]:
    day = {"day": period.start.isoformat()} if period.kind == "day" else {}
    return {**day, "period": period.id, "count": count}


async def order_history(
    order_id: str, business: Business, sources: Sources, stops: Stops, letters: Letters
) -> list[dict[str, Any]]:
    """Every record of an order in append order: what it is, where it is, what it does."""
    records = await sources.history({order_id}, stops)
    # Read in the recount's order, so that the same one of two contents with one id counts.
    events = sorted((one for _, one in records if isinstance(one, Fact)), key=coordinates_of)
    found = accepted(events, letters.by_record)
    effects = {coordinates_of(event): effect for event, effect in read_order(found.events).effects}
    duplicates = {coordinates_of(event) for event in found.duplicates}
    history = []
    for record, outcome in records:
        appended = business.exact(record.timestamp * 1000).isoformat(timespec="milliseconds")
        if not isinstance(outcome, Fact):
            described = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
            history.append(
                {**described, "appended_at": appended, "effect": f"dead letter: {outcome.reason}: {outcome.message}"}
            )
            continue
        at = coordinates_of(outcome)
        letter = letters.by_record.get(at)
        if at in effects:
            effect = EFFECTS[effects[at]]
        elif at in duplicates:
            effect = "no effect: the same event again"
        else:
            effect = (
                f"dead letter: {letter.reason}" if letter is not None else "no effect: contradicts an earlier event"
            )
        history.append({**describe_event(outcome, business, sources.names), "appended_at": appended, "effect": effect})
    return history
