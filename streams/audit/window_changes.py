"""`explain` for a window: each unit that entered or left it between two append times, and why.

The events come from the ledger's changelog, through an index of their dates; of the source topics only what was appended between the
two times is read, which also shows exact copies. With `from_sources`, all of them are read again instead.

Where deliveries are judged by production, an order is not enough to say what its delivery does: that of the vehicle is looked up too.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from schemas.facts import BEYOND_LIMITS, DIMENSIONS, ID_CONFLICT, METRICS_OF, TOO_MANY_EVENTS, Fact, Kind
from schemas.texts import ALL, template_of
from streams.audit.dead_letters import Letters, accepted, read_letters
from streams.audit.judging import EFFECTS, Reading, time_order
from streams.audit.production import KIND as NOT_PRODUCED
from streams.audit.production import ProductionRecount, Wrong
from streams.audit.report import KIND_OF_METRIC, describe_event
from streams.audit.scopes import business_of
from streams.audit.sources import Sources, Stops, coordinates_of
from streams.audit.targets import read_targets
from streams.kafka.clients import reader
from streams.listener import ignore
from streams.lookup.finder import Finder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from schemas.rows import RowKey
    from streams.audit.sums import Business
    from streams.domain.time.periods import Period
    from streams.listener import Listener
    from streams.settings import Settings

SAME_AGAIN: Final = "no effect: the same event again"


class UnitChange(NamedTuple):
    """A unit that entered or left.

    Attributes:
        event: The unit's event.
        entered: True if the unit entered, false if it left.
        effect: The event's effect now, a key of `judging.EFFECTS`.
        because: The order's events that arrived in between, each with its effect.
    """

    event: Fact
    entered: bool
    effect: str
    because: tuple[tuple[Fact, str], ...]


@dataclass
class WindowExplanation:
    """How a window changed between two times.

    Attributes:
        before: Its count at the first time.
        after: Its count at the second time.
        changes: The changes, by (time, id) of the units.
        without_effect: Reason → number of events in the window that arrived in between but do not count.
        waiting: Number of records of all orders that have arrived but are not counted yet; `None` if unknown.
        has_copies: Whether `without_effect` includes exact copies of events.
        production: Which deliveries of the orders that were compared were of vehicles not produced.
    """

    key: RowKey
    period: Period
    business: Business
    names: Mapping[int, str]
    before: int = 0
    after: int = 0
    changes: list[UnitChange] = field(default_factory=list)
    without_effect: Counter[str] = field(default_factory=Counter)
    waiting: int | None = 0
    has_copies: bool = True
    production: ProductionRecount = field(init=False)

    def __post_init__(self) -> None:
        self.production = ProductionRecount(self.business)

    def judge_by_production(self) -> None:
        """Says of deliveries of vehicles that were not produced that they were not, once all production is known."""
        wrong = {each for found in self.production.found().values() for each in found}
        if not wrong:
            return

        def judged(event: Fact, effect: str) -> str:
            is_wrong = effect == EFFECTS["delivered"] and Wrong(event.order_id, event.source, event.id) in wrong
            return EFFECTS[NOT_PRODUCED] if is_wrong else effect

        self.changes = [
            change._replace(
                effect=judged(change.event, change.effect),
                because=tuple((event, judged(event, effect)) for event, effect in change.because),
            )
            for change in self.changes
        ]

    def described(self, change: UnitChange) -> dict[str, Any]:
        """A change as JSON."""
        return {
            **describe_event(change.event, self.business, self.names),
            "change": "entered" if change.entered else "left",
            "effect": change.effect,
            "because": [
                {**describe_event(event, self.business, self.names), "effect": effect}
                for event, effect in change.because
            ],
        }

    def document(self) -> dict[str, Any]:
        """Everything, as JSON."""
        return {
            "row": "/".join(self.key),
            "start": self.period.start.isoformat(),
            "end": self.period.end.isoformat(),
            "before": self.before,
            "after": self.after,
            "changes": [self.described(change) for change in self.changes],
            "without_effect": dict(self.without_effect.most_common()),
            "waiting": self.waiting,
            "has_copies": self.has_copies,
        }


async def explain_window(
    settings: Settings,
    key: RowKey,
    between: tuple[int, int] | None,
    listener: Listener,
    *,
    from_sources: bool = False,
) -> WindowExplanation:
    """Finds the units that entered and left a window.

    Args:
        settings: The installation.
        key: Metric, scope, period.
        between: Two append times, microseconds since 1970; `None` means from the beginning until now.
        listener: Told about progress.
        from_sources: Read the whole source topics, not what the ledger has taken in.

    Raises:
        ValueError: The scope or the period is malformed or not counted.
        ExpectedError: The cluster is unreachable, or a source topic is missing.
    """
    _check_scope(key.scope, settings)
    async with reader(settings) as consumer:
        settings = (await read_targets(settings, consumer)).counted_by(settings)
        business = await business_of(settings)
        period = business.calendar.period(key.period)
        await Sources(settings, consumer).check()
        letters = await read_letters(settings, consumer)
        sources = letters.sources(settings, consumer, listener.progress if from_sources else ignore)
        explanation = WindowExplanation(key, period, business, sources.names)
        if between is None:
            first, last = dict.fromkeys(await sources.ends(), 0), await sources.ends()
        else:
            first, last = await sources.stops_at(between[0]), await sources.stops_at(between[1])
        if from_sources:
            listener.plan(2 * sum(last.values()))
            listener.say("reading the sources")
            strangers = await sources.strangers(last)
            for number in range(settings.partitions):
                home = await sources.home(number, last, strangers)
                for records in home.orders.values():
                    _compare(explanation, records, first, letters)
        else:
            explanation.has_copies = between is not None
            came = await (sources.between(first, last) if between is not None else _conflicting(sources, letters))
            async with Finder.opened(settings) as finder:
                listener.say("reading the ledger")
                await finder.read_on(listener=listener)
                reach = await finder.reach()
                explanation.waiting = None if reach.waiting is None else reach.waiting.records
                # Without times, everything that the ledger has counts, including what came while it was read.
                points = first, last if between is not None else {}
                await _compare_known(explanation, finder, came, points, letters)
    explanation.judge_by_production()
    explanation.changes.sort(key=lambda change: time_order(change.event))
    return explanation


async def _conflicting(sources: Sources, letters: Letters) -> dict[str, list[Fact]]:
    """Order → valid events that were rejected because of other records of the order."""
    found: dict[str, list[Fact]] = {}
    for place, letter in letters.by_record.items():
        if (
            letter.reason in {ID_CONFLICT, TOO_MANY_EVENTS, BEYOND_LIMITS}
            and (record := await sources.at(place)) is not None
        ):
            ((_, outcome),) = sources.decoded([record], place[0])
            if isinstance(outcome, Fact):
                found.setdefault(outcome.order_id, []).append(outcome)
    return found


async def _compare_known(
    explanation: WindowExplanation,
    finder: Finder,
    came: dict[str, list[Fact]],
    points: tuple[Stops, Stops],
    letters: Letters,
) -> None:
    """Compares before and after for what the ledger has of the window's orders, with all that came in between."""
    first, last = points
    of_vehicles = dict(came)

    def all_of(facts: Sequence[Fact], more: Sequence[Fact]) -> list[Fact]:
        # Former topics have no stops: what came from them was there before.
        known = {coordinates_of(fact): fact for fact in facts if _is_before(fact, last)}
        every = known | {coordinates_of(fact): fact for fact in more}
        return [every[place] for place in sorted(every)]

    def compare(facts: Sequence[Fact], more: Sequence[Fact]) -> None:
        _compare(explanation, all_of(facts, more), first, letters)

    start, end = explanation.period.start, explanation.period.end
    async for order in finder.orders_within(start, end, of_vehicles=explanation.key.metric not in METRICS_OF["orders"]):
        compare(order.facts, came.pop(order.order_id, ()))
    for order_id, facts in came.items():
        if any(_is_dated_here(explanation, fact) for fact in facts):
            found = await finder.order(order_id)
            compare([] if found is None else found.facts, facts)
    vehicles = {vin: of_vehicles.get(vin, []) for vin in explanation.production.found()}
    async for vehicle in finder.orders_named(vehicles):
        vehicles[vehicle.order_id] = all_of(vehicle.facts, vehicles[vehicle.order_id])
    for vin, facts in vehicles.items():
        explanation.production.take(vin, _judged(explanation, facts, letters)[0])


def _is_before(record: Fact, stops: Stops) -> bool:
    stop = stops.get((record.topic, record.partition))
    return stop is None or record.offset < stop


def _check_scope(scope: str, settings: Settings) -> None:
    templates = [tuple(name for name in DIMENSIONS if name in template) for template in settings.scopes]
    if template_of(scope) not in templates:
        counted = ", ".join(",".join(f"{name}=..." for name in template) or ALL for template in templates)
        raise ValueError(f"scope {scope!r} is not counted here; the settings count {counted}")


def _compare(explanation: WindowExplanation, records: Sequence[Fact], first: Stops, letters: Letters) -> None:
    """Compares an order before and after."""
    if not records:
        return
    then = [record for record in records if _is_before(record, first)]
    reading, same_again = _judged(explanation, records, letters)
    explanation.production.take(records[0].order_id, reading)
    after = _units(explanation, reading)
    effects = {coordinates_of(event): EFFECTS[effect] for event, effect in reading.effects}
    explanation.after += len(after)
    if len(then) == len(records):
        explanation.before += len(after)
        return
    before = _units(explanation, _judged(explanation, then, letters)[0])
    explanation.before += len(before)
    known = {coordinates_of(record) for record in then}
    came = tuple(
        (record, effects.get(coordinates_of(record)) or (SAME_AGAIN if record in same_again else "dead letter"))
        for record in records
        if coordinates_of(record) not in known
    )
    for identity in after.keys() - before.keys():
        event = after[identity]
        explanation.changes.append(UnitChange(event, entered=True, effect=effects[coordinates_of(event)], because=came))
    for identity in before.keys() - after.keys():
        event = before[identity]
        explanation.changes.append(
            UnitChange(event, entered=False, effect=effects.get(coordinates_of(event), ""), because=came)
        )
    for record, effect in came:
        unit = after.get((record.source, record.id))
        if unit is None or coordinates_of(unit) != coordinates_of(record):
            _note_without_effect(explanation, record, effect)


def _judged(explanation: WindowExplanation, records: Sequence[Fact], letters: Letters) -> tuple[Reading, list[Fact]]:
    """The judgement of the records of an order or a vehicle, and their duplicates."""
    if not records:
        return Reading(), []
    found = accepted(records, letters.by_record)
    return explanation.business.read_order(found.events), found.duplicates


def _units(explanation: WindowExplanation, reading: Reading) -> dict[tuple[str, str], Fact]:
    """Units of the window by identity."""
    metric, scope, _ = explanation.key
    return {
        (unit.event.source, unit.event.id): unit.event
        for unit in reading.units
        if unit.metric == metric
        and scope in explanation.business.scopes_at(unit.dims, unit.event)
        and _is_dated_here(explanation, unit.event)
    }


def _note_without_effect(explanation: WindowExplanation, record: Fact, effect: str) -> None:
    metric, scope, _ = explanation.key
    kind = KIND_OF_METRIC[metric]
    has_dims = record.kind in (Kind.PLACED, Kind.DELIVERED, Kind.PRODUCED)
    in_scope = not has_dims or scope in explanation.business.scopes_at(record.dims, record)
    if record.kind == kind and in_scope and _is_dated_here(explanation, record):
        explanation.without_effect[effect] += 1


def _is_dated_here(explanation: WindowExplanation, event: Fact) -> bool:
    return explanation.business.is_in(explanation.period, event.time_us)
