"""Recounts the units of windows and compares them with other systems' lists: what is missing on which side, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from schemas.facts import Kind, Rejection
from streams.audit.dead_letters import accepted, read_letters
from streams.audit.judging import EFFECTS, time_order
from streams.audit.report import KIND_OF_METRIC, describe_event
from streams.audit.scopes import business_of
from streams.audit.sources import Sources
from streams.audit.targets import read_targets
from streams.kafka.clients import reader
from streams.kafka.records import record_key

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from schemas.facts import Fact
    from schemas.rows import RowKey
    from streams.audit.foreign_list import Entry, Theirs
    from streams.audit.judging import Reading
    from streams.audit.sources import Stops
    from streams.audit.sums import Business
    from streams.domain.time.periods import Period
    from streams.listener import Listener
    from streams.settings import Settings

NOT_KNOWN: Final = "not known here"


@dataclass
class Counted:
    """The units of a window, recounted from the source topics.

    Attributes:
        key: Metric, scope, period.
        units: The units in the order of (time, id).
    """

    key: RowKey
    period: Period
    units: list[Fact] = field(default_factory=list)


@dataclass
class Recounted:
    """Several windows, and what is known about the orders and vehicles asked about.

    Attributes:
        windows: Key → the window.
        asked: Order numbers and VINs to look for in all orders.
        readings: Order → its reading, for the orders asked about by number or VIN.
        refused: Order → its records that are not valid events, with the reason.
    """

    business: Business
    names: Mapping[int, str]
    windows: dict[RowKey, Counted]
    asked: frozenset[str] = frozenset()
    readings: dict[str, Reading] = field(default_factory=dict)
    refused: dict[str, list[str]] = field(default_factory=dict)

    def take(self, order_id: str, reading: Reading) -> None:
        """Takes an order, whichever windows it counts in."""
        for unit in reading.units:
            for (metric, scope, _), window in self.windows.items():
                if unit.metric != metric or not self.business.is_in(window.period, unit.event.time_us):
                    continue
                if scope in self.business.scopes_at(unit.dims, unit.event):
                    window.units.append(unit.event)
        named = self.asked and (order_id in self.asked or order_id.casefold() in self.asked)
        if self.asked and (named or any(event.vin in self.asked for event, _ in reading.effects)):
            self.readings[order_id] = reading

    def sort(self) -> None:
        """Sorts the units of each window by (time, id)."""
        for window in self.windows.values():
            window.units.sort(key=time_order)

    def described(self, key: RowKey) -> list[dict[str, Any]]:
        """The units of a window as JSON."""
        return [describe_event(unit, self.business, self.names) for unit in self.windows[key].units]


async def recount_windows(
    settings: Settings, keys: Collection[RowKey], asked: frozenset[str], listener: Listener
) -> Recounted:
    """Recounts windows from the source topics as they are now.

    Args:
        settings: The installation.
        keys: Metric, scope and period of each window.
        asked: Order numbers and VINs to look for in all orders.
        listener: Told about progress.

    Raises:
        ValueError: A period is malformed or not counted.
        ExpectedError: The cluster is unreachable, or a source topic is missing.
    """
    async with reader(settings) as consumer:
        await Sources(settings, consumer).check()
        business = await business_of((await read_targets(settings, consumer)).counted_by(settings))
        windows = {key: Counted(key, business.calendar.period(key.period)) for key in keys}
        letters = await read_letters(settings, consumer)
        sources = letters.sources(settings, consumer, listener.progress)
        found = Recounted(business, sources.names, windows, asked)
        stops = await sources.ends()
        listener.plan(2 * sum(stops.values()))
        listener.say("reading the sources")
        strangers = await sources.strangers(stops)
        for number in range(settings.partitions):
            home = await sources.home(number, stops, strangers)
            for order_id, records in home.orders.items():
                found.take(order_id, business.read_order(accepted(records, letters.by_record).events))
        await _add_refused(found, sources, stops)
    found.sort()
    return found


async def _add_refused(found: Recounted, sources: Sources, stops: Stops) -> None:
    """Finds out why orders asked about are unknown: their records may have been rejected."""
    missing = found.asked - found.readings.keys()
    for record, outcome in await sources.history(set(missing), stops) if missing else ():
        if isinstance(outcome, Rejection):
            where = f"{record.topic}-{record.partition}@{record.offset}"
            line = f"dead letter: {outcome.reason}: {outcome.message} ({where})"
            found.refused.setdefault(record_key(record).decode(), []).append(line)


# Against their list -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Match:
    """Compares their list with our units.

    Attributes:
        matched: Units that both have.
        only_ours: Units that their list lacks.
        only_theirs: Entries that we do not count there, each with what we know about it.
        repeated: Entry that occurs more than once in their list → how often.
        damaged: Unreadable row of their list → its text.
    """

    matched: int
    only_ours: list[Fact]
    only_theirs: list[tuple[Entry, str]]
    repeated: dict[str, int]
    damaged: dict[int, str] = field(default_factory=dict)

    @property
    def differs(self) -> bool:
        """Whether the two sides differ."""
        return bool(self.only_ours or self.only_theirs or self.repeated or self.damaged)


def match(found: Recounted, key: RowKey, theirs: Theirs) -> Match:
    """Which units are missing on which side of a window."""
    by_name: dict[str, list[Fact]] = {}
    for unit in found.windows[key].units:
        for name in {unit.order_id, unit.vin, unit.order_id.casefold()} - {""}:
            by_name.setdefault(name, []).append(unit)
    taken: set[int] = set()
    only_theirs = []
    for entry in theirs.entries:
        # Order numbers first, since a VIN can be delivered under two orders.
        names = (entry.order_id, entry.vin, entry.order_id.casefold())
        units = next((by_name[name] for name in names if name in by_name), [])
        free = next((unit for unit in units if id(unit) not in taken), None)
        if free is None:
            only_theirs.append((entry, _why(found, key, entry, counted=bool(units))))
        else:
            taken.add(id(free))
    only_ours = [unit for unit in found.windows[key].units if id(unit) not in taken]
    return Match(len(taken), only_ours, only_theirs, theirs.repeated, theirs.damaged)


def _why(found: Recounted, key: RowKey, entry: Entry, *, counted: bool) -> str:
    """Why an entry of theirs is not one of our units, in one line."""
    if counted:
        return "counted, and met by another entry of the list"
    readings = _readings_of(found, entry)
    if not readings:
        refused = found.refused.get(entry.order_id) or found.refused.get(entry.vin)
        return refused[0] if refused else NOT_KNOWN
    metric, scope, _ = key
    lines = []
    for order_id, reading in readings.items():
        named = f"order {order_id}: " if order_id not in (entry.order_id, entry.vin) else ""
        lines += [f"{named}{line}" for line in _effects(found.business, metric, scope, reading)]
    return "; ".join(lines)


def _readings_of(found: Recounted, entry: Entry) -> Mapping[str, Reading]:
    reading = found.readings.get(entry.order_id)
    if reading is not None:
        return {entry.order_id: reading}
    return {
        order_id: reading
        for order_id, reading in found.readings.items()
        if (entry.vin and any(event.vin == entry.vin for event, _ in reading.effects))
        or (entry.order_id and order_id.casefold() == entry.order_id.casefold())
    }


def _effects(business: Business, metric: str, scope: str, reading: Reading) -> list[str]:
    """Where an order's units are counted, or what became of the events that could have made some."""
    elsewhere = []
    for unit in reading.units:
        if unit.metric == metric:
            day = f"day:{business.local(unit.event.time_us).date()}"
            scopes = business.scopes_at(unit.dims, unit.event)
            where = day if scope in scopes else f"{day} of {' and '.join(scopes) or 'no scope'}"
            elsewhere.append(f"counted in {where}")
    if elsewhere:
        return elsewhere
    kind = KIND_OF_METRIC[metric]
    effects = [
        f"{business.exact(event.time_us).isoformat()} {EFFECTS[effect]}"
        for event, effect in reading.effects
        if event.kind == kind
    ]
    return effects or [f"known, but there is no event that {_DOES[kind]}"]


_DOES: Final[dict[Kind, str]] = {
    Kind.PLACED: "places it",
    Kind.CANCELLED: "cancels it",
    Kind.DELIVERED: "delivers it",
    Kind.REVERSED: "takes its delivery back",
    Kind.PRODUCED: "produces it",
    Kind.SCRAPPED: "scraps it",
}
