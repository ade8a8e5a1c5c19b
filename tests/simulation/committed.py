"""What has been committed so far, read from the log alone: the state that all checks share."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import orjson

from schemas.codec import decode_day_count, decode_marker
from schemas.counts import CampaignHour, CountKey, CountsKey, decode_counts_key
from schemas.notes import Place
from schemas.partitioner import homes, totals_partition
from streams.kafka.log import Partition
from tests.simulation.broken import BrokenError
from tests.simulation.periods import (
    LONGEST,
    Calendar,
    Campaign,
    Campaigns,
    Cell,
    Counted,
    Minute,
    Series,
    day_of,
    end_of_day_s,
    periods_of,
    window_of,
)
from tests.simulation.source_hours import ToldHours, hour_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from schemas.facts import DayCount, Metric
    from schemas.outputs import Books, Marker
    from tests.simulation.cluster import Entry
    from tests.simulation.vehicles import Delivery
    from tests.simulation.world import World

Contradiction = tuple[str, str, str]  # kind, source, id

#: The scope of the models that the limits keep out.
OTHERS: Final = "model=other"


class Shard:
    """What one ledger partition has committed."""

    def __init__(self, told_hours: ToldHours) -> None:
        self.told_hours = told_hours
        #: Orders with events whose hours must be published.
        self.without_hours: set[str] = set()
        self.positions: dict[Partition, int] = defaultdict(int)
        self.lost: dict[Partition, int] = defaultdict(int)
        self.books: dict[str, Books] = {}
        self.orders: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}
        #: Order → where its units are counted.
        self.cells: dict[str, list[Counted]] = {}
        #: Order → its units with their scopes by model and their events, by time, id and source.
        self.dated: dict[str, list[tuple[Metric, str, tuple[str, str, str]]]] = {}
        self.expected: Counter[Counted] = Counter()
        self.counts: dict[Counted, int] = {}
        #: Those of the units of dates that were loaded as history: by order, expected, and as published.
        self.loaded_cells: dict[str, list[Counted]] = {}
        self.loaded: Counter[Counted] = Counter()
        self.told_loaded: dict[Counted, int] = {}
        #: Cells that have changed since expected and published counts were compared.
        self.uncompared: set[Counted] = set()
        #: Order → (kind, source, id) of its events that contradict the others.
        self.contradictions: dict[str, list[Contradiction]] = {}
        #: The orders judged, or published, since expected and published violations were compared.
        self.unjudged: set[str] = set()
        #: Vehicle and order → the delivery that stands; and the orders whose deliveries were not yet compared with the reports.
        self.standing: dict[tuple[str, str], Delivery] = {}
        self.untold: set[str] = set()
        #: The orders with events in the last transaction.
        self.touched: set[str] = set()
        #: The models of the events taken, by the names under which they are counted.
        self.models: set[str] = set()
        #: Whether its last marker says that it is rebuilding; true before the first.
        self.is_rebuilding = True
        #: Up to when its last marker says that it has read everything, microseconds since 1970.
        self.caught_up_us = 0
        #: What its last marker says about announced campaigns, and the campaigns that it must count accordingly.
        self.announced = ""
        self.campaigns: Campaigns | None = None

    def hear(self, key: CountKey | None, value: bytes) -> None:
        """Takes a count."""
        if key is not None:
            count = decode_day_count(value)
            for cell, units in _cells_of(key, count):
                self.counts[cell] = units
                self.uncompared.add(cell)
            metric, scope, part = key
            if not isinstance(part, CampaignHour):
                self.told_loaded[metric, scope, part] = count.backfilled

    def check_hours(self, *, asked: bool) -> None:
        """Checks that the hours of all counted events have been published, if anyone needs them."""
        for order_id in self.without_hours if asked else ():
            self.told_hours.check_has(self.orders[order_id].values())
        self.without_hours = set()


class Summed:
    """The counts topic up to an offset, with whole transactions only."""

    def __init__(self, calendar: Calendar) -> None:
        self._calendar = calendar
        self.next = 0
        self.waiting: dict[int, list[tuple[CountKey, DayCount]]] = defaultdict(list)
        self.cells: dict[tuple[int, CountKey], int] = {}
        self.sums: Counter[Cell] = Counter()
        #: Those of the units that were loaded as history.
        self.loaded_cells: dict[tuple[int, CountKey], int] = {}
        self.loaded: Counter[Cell] = Counter()
        self.markers: dict[int, Marker] = {}
        self.changed: set[Cell] = set()
        #: The units of each hour of dates.
        self.hours: dict[tuple[int, CountKey], Sequence[int]] = {}

    def advance(self, entries: list[Entry], upto: int) -> None:
        for entry in entries[
            bisect_left(entries, self.next, key=offset_of) : bisect_left(entries, upto, key=offset_of)
        ]:
            key = counts_key_in(entry.key or b"")
            shard = key.shard
            if key.counted is not None:
                self.waiting[shard].append((key.counted, decode_day_count(entry.value or b"")))
                continue
            self.markers[shard] = marker_in(entry.value or b"")
            for found, count in self.waiting.pop(shard, ()):
                moved = count.count - self.cells.get((shard, found), 0)
                self.cells[shard, found] = count.count
                loaded = count.backfilled - self.loaded_cells.get((shard, found), 0)
                self.loaded_cells[shard, found] = count.backfilled
                metric, scope, part = found
                of_hour = (f"campaign:{part.campaign}",) if isinstance(part, CampaignHour) else None
                if of_hour is None:
                    self.hours[shard, found] = count.by_hour
                for period in of_hour or periods_of(day_of(part), self._calendar):
                    row = (metric, scope, period)
                    self.sums[row] += moved
                    self.loaded[row] += loaded
                    self.changed.add(row)
        self.next = upto


class TotalsPart:
    """What one totals partition has committed, and what it still has to do."""

    def __init__(self, calendar: Calendar) -> None:
        self._calendar = calendar
        #: Whether it has ever published rows.
        self.has_published = False
        #: Thresholds whose milestone stands without being passed, or the reverse.
        self.wrong: set[tuple[str, str, str, int]] = set()
        self.unchecked: set[Cell] = set()
        self.step_us = 0
        #: The last version of each row in the history.
        self.history: dict[Cell, int] = {}
        self.forget()

    def forget(self) -> None:
        """Notes that the internal topics are deleted."""
        self.summed = Summed(self._calendar)
        #: Every committed record of the counts by offset, including those removed by compaction since.
        self.counted: list[Entry] = []
        #: Since when thresholds stand without being passed, by the service's clock, microseconds: held-back retractions wait
        #: again from when they are found.
        self.below_since_us: dict[tuple[str, str, str, int], int] = {}
        #: The same for milestones that compare periods or scopes: rule, kind, scope, period and length.
        self.held_since_us: dict[tuple[str, str, str, str, int], int] = {}
        #: Milestones that compare scopes, with the time of their step, until it is complete.
        self.compared: tuple[int, list[dict[str, Any]]] | None = None
        #: What may have to be judged since everything was.
        self.unjudged: set[Series] = set()
        #: The campaigns whose rows have been judged; `None` while that is forgotten.
        self.judged: Campaigns | None = None
        #: The remembered first day for which models have rows.
        self.kept_since = ""
        #: The remembered announcement that it counts by, and the campaigns that are counted by it.
        self.announced = ""
        self.campaigns: Campaigns | None = None

    def advance(self, position: int) -> Summed:
        """The counts up to an offset; a lower offset than before is that of another writer, which started from the commits."""
        if position < self.summed.next:
            self.summed = Summed(self._calendar)
        self.summed.advance(self.counted, position)
        self.unchecked |= self.summed.changed
        self.summed.changed = set()
        return self.summed


class KeptOut:
    """What the rows of `other` have if limits keep models out, by the plain rule that a model with a row keeps it."""

    @staticmethod
    def _counted_in(scope: str, with_rows: set[str]) -> str:
        return scope if scope == "all" or scope in with_rows else OTHERS

    def folded(self, table: Mapping[Cell, Any], sums: Mapping[Cell, int]) -> Counter[Cell]:
        """The sums of the rows."""
        with_rows = {scope for _, scope, _ in table}
        found: Counter[Cell] = Counter()
        for (metric, scope, period), count in sums.items():
            found[metric, self._counted_in(scope, with_rows), period] += count
        return found

    def expected(self, table: Mapping[Cell, Any], sums: Mapping[Cell, int], key: Cell) -> int:
        """The sum of one row."""
        metric, _, period = key
        some = {found: sums[found] for found in sums if (found[0], found[2]) == (metric, period)}
        return self.folded(table, some)[key]


class Committed:
    """All of it.

    Args:
        world: The schedule.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.zone = ZoneInfo(world.settings.timezone)
        self.starts = world.settings.day_starts_hour
        rolling = (f"rolling:{window.days}d" for window in world.settings.rolling)
        settings = world.settings
        years_begin = date.fromisoformat(f"2000-{settings.fiscal_year_start}")
        self.calendar = Calendar(
            ("day", *(name for name in settings.windows if name != "day"), *rolling),
            weeks_begin={"monday": 0, "sunday": 6}[settings.week_starts],
            years_begin=(years_begin.month, years_begin.day),
        )
        self.of_settings = {
            f"campaign:{one.name}": Campaign(one.start, one.end or one.start + LONGEST)
            for one in world.settings.campaign
        }
        self.topics = world.context.source_topics
        self.catalogue = world.context.catalogue
        self.shards = [Shard(self.told_hours()) for _ in range(world.settings.partitions)]
        self.parts = [TotalsPart(self.calendar) for _ in range(world.settings.totals_partitions)]
        self.dead: dict[Place, Entry] = {}
        self.side_errors: set[Place] = set()
        self.lost: set[Place] = set()
        self.forwarded: dict[Place, tuple[int, int]] = {}
        #: Records that an operator asked to skip.
        self.asked: set[Place] = set()
        self.kept = KeptOut() if world.plan.bounded else None
        self.by_dimensions = world.settings.limits.beyond == "other"
        self.table: dict[Cell, dict[str, Any]] = {}
        #: The same by period, for each series.
        self.series: defaultdict[Series, dict[str, dict[str, Any]]] = defaultdict(dict)
        #: The rows of the latest transaction as they were before it; None for one that was not there.
        self.before: dict[Cell, dict[str, Any] | None] = {}
        self.revisions: dict[str, int] = {}
        self.standing: dict[str, dict[str, Any]] = {}
        #: The same, with those that stand but wait for their unit.
        self.decided: dict[str, dict[str, Any]] = {}
        #: The same by rule and scope.
        self.decided_by: defaultdict[tuple[str | None, str], dict[str, dict[str, Any]]] = defaultdict(dict)

    def decide(self, name: str, data: dict[str, Any]) -> None:
        """Notes that a milestone stands."""
        self.decided[name] = self.decided_by[data["rule"], data["scope"]][name] = data

    def undecide(self, name: str, data: dict[str, Any]) -> None:
        """Notes that a milestone no longer stands."""
        self.decided.pop(name, None)
        self.decided_by[data["rule"], data["scope"]].pop(name, None)

    def forget_decided(self) -> None:
        """Notes that those that wait for their unit are forgotten."""
        self.decided_by.clear()
        self.decided = {}
        for name, data in self.standing.items():
            self.decide(name, data)

    def put(self, key: Cell, row: dict[str, Any]) -> None:
        """Takes a version of a row."""
        metric, scope, period = key
        self.table[key] = self.series[metric, scope, window_of(period)][period] = row

    def remove(self, key: Cell) -> dict[str, Any]:
        """Removes a row; returns its last version."""
        metric, scope, period = key
        del self.series[metric, scope, window_of(period)][period]
        return self.table.pop(key)

    def was(self, key: Cell) -> dict[str, Any] | None:
        """A row as it was before the latest transaction; None if it was not there."""
        return self.before[key] if key in self.before else self.table.get(key)

    def is_split(self) -> bool:
        """Whether parts are so small that rows and milestones of one metric and scope may be in several transactions."""
        return self.world.plan.part_rows < self.world.plan.series_records

    def position(self, tp: Partition) -> int:
        """How far a source partition is applied according to the commits."""
        return self.shards[tp.partition % len(self.shards)].positions.get(tp, 0)

    def counted_as(self, model: str, day: date) -> str:
        since = self.world.aliased_from
        if model == "YU7" and since is not None and day >= since:
            model = "SU7"
        listed = self.world.settings.values.model
        return model if not listed or model in listed else "other"

    def date_of(self, text: str) -> date:
        return _date_of(text, self.zone, self.starts)

    @staticmethod
    def minutes_of(text: str, campaigns: Campaigns) -> list[Minute]:
        """The campaign minutes that an instant is in."""
        instant = datetime.fromisoformat(text)
        return [
            Minute(period, int((instant - campaign.start).total_seconds() // 60))
            for period, campaign in campaigns.items()
            if campaign.start <= instant < campaign.end
        ]

    def loaded(self, metric: str, scope: str) -> int:
        """The units of a metric and scope that were loaded as history, as the totals have them."""
        cells = self.parts[self.home(scope)].summed.loaded_cells
        return sum(
            units
            for (_, (of, of_scope, part)), units in cells.items()
            if (of, of_scope) == (metric, scope) and not isinstance(part, CampaignHour)
        )

    def announcements(self) -> list[dict[str, Any]]:
        """The valid events of campaigns, in the order of their records."""
        tp = Partition(self.world.context.side_topics[0], 0)
        entries = [entry for entry in self.world.cluster.entries(tp) if not entry.is_marker]
        valid = [entry for entry in entries if Place(entry.topic, 0, entry.offset) not in self.side_errors]
        events = [orjson.loads(entry.value or b"") for entry in valid]
        return [event for event in events if "campaign" in event["data"]]

    def campaigns_of(self, scope: str) -> Campaigns:
        """The campaigns that the rows of a scope are counted by."""
        found = self.parts[self.home(scope)].campaigns
        return self.of_settings if found is None else found

    def is_left_as_it_is(self, key: Cell) -> bool:
        """Whether a row is of a campaign that is no longer, or not yet, counted in its scope."""
        if not key[2].startswith("campaign:"):
            return False
        campaign = self.campaigns_of(key[1]).get(key[2])
        return campaign is None or not (campaign.is_of_all or key[1] != "all")

    def home(self, scope: str) -> int:
        """The totals partition that a scope belongs to."""
        is_named_by_dimension = self.by_dimensions and scope != "all"
        return totals_partition("model" if is_named_by_dimension else scope, len(self.parts))

    def end_s(self, period: str, row: dict[str, Any]) -> float:
        if period.startswith("campaign:"):
            return datetime.fromisoformat(row["ends_at"]).timestamp()
        return end_of_day_s(row["end"], self.zone, self.starts)

    def told_hours(self) -> ToldHours:
        return ToldHours(no_such_hours, lambda text: hour_of(text, self.zone, self.starts, self.date_of(text)))


@lru_cache(maxsize=64)
def marker_in(value: bytes) -> Marker:
    """Parses a marker; cached, as several checks need it."""
    return decode_marker(value)


@lru_cache(maxsize=4000)
def home_of(key: bytes | None, partitions: int) -> int:
    """The home partition of an order's key."""
    return homes([key or b""], partitions)[0]


def _cells_of(key: CountKey, count: DayCount) -> list[tuple[Counted, int]]:
    """The units in a count: of a date, or of each minute of a campaign hour."""
    metric, scope, part = key
    if not isinstance(part, CampaignHour):
        return [((metric, scope, part), count.count)]
    minutes = (Minute(f"campaign:{part.campaign}", part.hour * 60 + number) for number in range(60))
    return [((metric, scope, minute), units) for minute, units in zip(minutes, count.by_hour, strict=True)]


@lru_cache(maxsize=4000)
def counts_key_in(key: bytes) -> CountsKey:
    """Parses the key of a record of the counts topic; cached, as several checks need it."""
    return decode_counts_key(key)


@lru_cache(maxsize=4000)
def _date_of(text: str, zone: ZoneInfo, starts: int) -> date:
    local = datetime.fromisoformat(text).astimezone(zone)
    return local.date() - timedelta(days=local.hour < starts)


def offsets_in(marker: Marker) -> dict[str, int]:
    """Source → how far a ledger partition has read it."""
    return {source: offset for source, (offset, _) in marker.positions.items()}


def order_of(so_far: Committed, period: str, scope: str) -> tuple[float, str, str]:
    """Sort key for periods of one window: campaigns by first instant and last date, others by name."""
    campaign = so_far.campaigns_of(scope).get(period)
    if campaign is None:
        return 0.0, "", period
    last = (campaign.end - timedelta(microseconds=1)).isoformat()
    return campaign.start.timestamp(), str(so_far.date_of(last)), period


def units_in(row: dict[str, Any]) -> int:
    """The units of a row that are counted, without its opening balance."""
    return int(row["count"]) - int(row.get("balance", 0))


def offset_of(entry: Entry) -> int:
    return entry.offset


def no_such_hours(what: str) -> None:
    raise BrokenError("hours of sources", what)
