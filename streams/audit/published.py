"""A consistent snapshot of what the service has published.

The ledger partitions publish day counts; each transaction ends with a marker that says how far the sources have been applied. The
window rows are sums of these counts, published a moment later. Since a live stream never stops, this module searches for the last
state of the day counts whose sums equal the published rows.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.codec import decode_day_count, decode_marker, decode_milestone, decode_row
from schemas.counts import CampaignHour, decode_counts_key
from schemas.memory import SIDE, WAITING, key_of
from schemas.rows import RowKey
from schemas.source_hours import decode_hours_key
from streams.audit.kept_days import KeptSince, read_kept
from streams.audit.sums import Day, within_limits
from streams.errors import ExpectedError
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import partition_counts, read_latest, read_to_end
from streams.kafka.records import record_key, record_value

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiokafka import AIOKafkaConsumer

    from schemas.counts import CountKey
    from schemas.facts import DayCount
    from schemas.outputs import Marker, MilestoneEvent, WindowRow
    from streams.audit.sums import Business
    from streams.kafka.records import LogRecord
    from streams.settings import Settings

#: How often to look at least, and for how long while the stream goes on.
_TRIES: Final = 6
_LONGEST_S: Final = 60.0
_PAUSE_S: Final = 0.7


class ShardDay(NamedTuple):
    """A day count of one ledger partition, or a count of an hour of a campaign."""

    shard: int
    day: CountKey


@dataclass
class Published:
    """A consistent snapshot of all totals partitions or, if they have summed up to different moments, of one.

    Attributes:
        markers: Shard → how far it had applied the sources, and its books.
        shards: Shard → its day counts, including those of campaigns.
        rows: The window rows.
        milestones: All milestone events, including those that wait for their units; for each partition in the order of the topic.
        counts_offset: Offset in the day counts topic at which the snapshot ends; the sum over its partitions.
        counts_after: Number of records that followed in that topic when it was read.
        number: The totals partition; `None` for all.
        kept: Which days have rows.
        is_moving: Whether no moment was found at which rows and milestones followed from the counts, while all of them went on.
    """

    markers: dict[int, Marker]
    shards: dict[int, dict[CountKey, Day]]
    rows: dict[RowKey, WindowRow]
    milestones: list[MilestoneEvent]
    counts_offset: int
    counts_after: int
    number: int | None = None
    kept: KeptSince = field(default_factory=KeptSince)
    is_moving: bool = False

    def extent(self) -> tuple[int, ...]:
        """Numbers that are the same at two looks only if nothing was published in between."""
        return (
            self.counts_offset + self.counts_after,
            len(self.rows),
            sum(row.version for row in self.rows.values()),
            len(self.milestones),
        )


@dataclass
class _Sums:
    """Running sums of the day counts, and which of them differ from the published rows."""

    business: Business
    rows: dict[RowKey, WindowRow]
    kept: KeptSince = field(default_factory=KeptSince)
    counts: dict[RowKey, int] = field(default_factory=lambda: defaultdict(int))
    hours: dict[RowKey, list[int]] = field(default_factory=dict)
    differing: set[RowKey] = field(default_factory=set)
    with_rows: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.with_rows = {key.scope for key in self.rows}
        # An inventory is not a sum of days; it is in the same transaction as the rows it is derived from.
        self.differing = {
            key
            for key, row in self.rows.items()
            if _units(row) and key.metric != "inventory" and self.business.is_counted(key.period)
        }

    def replace(self, key: CountKey, old: DayCount | None, new: DayCount | None) -> None:
        """Replaces one shard's count; `None` means there is none."""
        metric, scope, day = key
        scope = within_limits(scope, self.with_rows, self.business.settings)
        added = (new.count if new else 0) - (old.count if old else 0)
        if isinstance(day, CampaignHour):
            row = RowKey(metric, scope, f"campaign:{day.campaign}")
            if self.business.has_rows_of(row):
                self.counts[row] += added
                self._judge(row)
            return
        for period in self.business.periods_at(day, scope):
            row = RowKey(metric, scope, period.id)
            self.counts[row] += added
            if period.kind == "day":
                hours = self.hours.setdefault(row, [0] * 24)
                for hour in range(24):
                    hours[hour] += (new.by_hour[hour] if new else 0) - (old.by_hour[hour] if old else 0)
            self._judge(row)

    def _judge(self, key: RowKey) -> None:
        row = self.rows.get(key)
        if row is None and self.kept.lacks(key):
            return
        same = self.counts[key] == (_units(row) if row is not None else 0)
        if same and row is not None and row.by_hour is not None:
            same = row.by_hour == self.hours.get(key, [0] * 24)
        if same:
            self.differing.discard(key)
        else:
            self.differing.add(key)


def _units(row: WindowRow) -> int:
    """The part of a row that is the sum of days."""
    return row.count - row.balance


class _Replay:
    """Replays the day counts topic and remembers the last state with the fewest differences from the rows."""

    def __init__(self, sums: _Sums, partitions: int) -> None:
        self._sums = sums
        self._partitions = partitions
        self._cells: dict[ShardDay, DayCount] = {}
        self._waiting: dict[int, dict[ShardDay, DayCount]] = defaultdict(dict)
        self._markers: dict[int, Marker] = {}
        self._undo: dict[ShardDay, DayCount | None] = {}
        self.best: tuple[int, int, dict[int, Marker]] | None = None
        self.taken_since = 0

    def take(self, record: LogRecord) -> None:
        """Takes a record; a marker applies the changes of its transaction."""
        self.taken_since += 1
        if decode_hours_key(record_key(record)) is not None:
            return
        shard, day = decode_counts_key(record_key(record))
        if day is not None:
            self._waiting[shard][ShardDay(shard, day)] = decode_day_count(record_value(record))
            return
        self._markers[shard] = decode_marker(record_value(record))
        for cell, count in self._waiting.pop(shard, {}).items():
            old = self._cells.get(cell)
            if self.best is not None:
                self._undo.setdefault(cell, old)
            self._cells[cell] = count
            self._sums.replace(cell.day, old, count)
        self._weigh(record.offset + 1)

    def _weigh(self, offset: int) -> None:
        if len(self._markers) < self._partitions or any(marker.rebuilding for marker in self._markers.values()):
            return
        differing = len(self._sums.differing)
        if self.best is None or differing <= self.best[0]:
            self.best = differing, offset, dict(self._markers)
            self._undo.clear()
            self.taken_since = 0

    def shards(self) -> dict[int, dict[CountKey, Day]]:
        """The day counts of the best state."""
        cells: dict[ShardDay, DayCount | None] = {**self._cells, **self._undo}
        shards: dict[int, dict[CountKey, Day]] = {number: {} for number in range(self._partitions)}
        for (shard, day), count in cells.items():
            if count is not None:
                shards[shard][day] = Day(count.count, list(count.by_hour))
        return shards

    def why_not(self) -> str:
        """Why there is no usable state."""
        rebuilding = sorted(shard for shard, marker in self._markers.items() if marker.rebuilding)
        if rebuilding:
            return f"ledger partitions {rebuilding} are being rebuilt: wait until they have caught up"
        missing = sorted(set(range(self._partitions)) - self._markers.keys())
        return f"ledger partitions {missing} have not reported yet: is a worker running?"


async def read_published(
    settings: Settings,
    business: Business,
    consumer: AIOKafkaConsumer,
    consistent: Callable[[Published], bool],
    *,
    say: Callable[[str], None] = lambda _line: None,
) -> list[Published]:
    """Reads a snapshot in which rows, milestones and day counts are consistent; several if the totals partitions differ.

    If nothing is published between two looks, what differs then really does. While the stream goes on, looks are repeated for a
    minute; then differences may also be what was on its way.

    Args:
        settings: Topic names and number of partitions.
        business: Gives the periods of a day.
        consumer: Not used by anything else.
        consistent: Whether the milestones match the sums; if not, a later moment is tried.
        say: Called with what is being waited for.

    Raises:
        ExpectedError: There is nothing to compare with, or it is being rebuilt (exit code 1).
    """
    await _check(settings, consumer)
    parts: dict[int, Published] = {}
    why, wanted = "", set(range(settings.totals_partitions))
    began_s = time.monotonic()
    extents: dict[int, tuple[int, ...]] = {}
    for look in itertools.count(1):
        # At first without milestones that wait for their units; on a busy stream some are always waiting.
        found, exact, why = await _read(settings, business, consumer, waiting=look > 1)
        parts |= {number: found[number] for number in wanted & found.keys()}
        # Partitions that were consistent once are done: there may never be a moment at which all are.
        wanted -= {number for number in wanted & exact if consistent(found[number])}
        before, extents = extents, {number: parts[number].extent() for number in wanted & parts.keys()}
        is_over = look >= _TRIES and (extents == before or time.monotonic() - began_s > _LONGEST_S)
        if not wanted or is_over:
            break
        say("rows and milestones are on their way; looking again")
        await asyncio.sleep(_PAUSE_S)
    for number, extent in extents.items():
        parts[number].is_moving = extent != before.get(number)
    if len(parts) < settings.totals_partitions:
        raise ExpectedError(f"nothing to verify: {why}", exit_code=1)
    return _united([parts[number] for number in sorted(parts)])


def _united(parts: list[Published]) -> list[Published]:
    """Merges the parts into one snapshot, if all have applied the same."""
    first, *others = parts
    if any(_applied(other) != _applied(first) for other in others):
        return parts
    for other in others:
        first.is_moving |= other.is_moving
        first.rows |= other.rows
        first.milestones += other.milestones
        first.counts_offset += other.counts_offset
        first.counts_after += other.counts_after
        for shard, days in other.shards.items():
            first.shards[shard] |= days
    first.number = None
    return [first]


def _applied(published: Published) -> dict[int, tuple[object, ...]]:
    """What each ledger partition had applied, regardless of when it said so."""
    return {
        shard: (marker.positions, marker.books, marker.lost, marker.moved, marker.forwarded, marker.arrived)
        for shard, marker in published.markers.items()
    }


async def _check(settings: Settings, consumer: AIOKafkaConsumer) -> None:
    catalogue = catalogue_of(settings)
    names = (catalogue.counts.name, catalogue.windows.name, catalogue.milestones.name)
    missing = [name for name, found in (await partition_counts(consumer, names)).items() if not found]
    if missing:
        raise ExpectedError(
            f"{missing[0]} does not exist: name the installation with output_prefix, or create it with milestones topics apply",
            exit_code=3,
        )


async def _read(
    settings: Settings, business: Business, consumer: AIOKafkaConsumer, *, waiting: bool
) -> tuple[dict[int, Published], set[int], str]:
    """What each totals partition has published, which of them equal the day counts, and why there is nothing.

    Args:
        settings: Topic names and number of partitions.
        business: Gives the periods of a day.
        consumer: Not used by anything else.
        waiting: Whether to include milestones that have been decided but wait for their units.
    """
    # Rows first, so that the day counts they were summed from are certain to be among those read next.
    rows, milestones = await _rows_and_milestones(settings, consumer, waiting=waiting)
    kept = await read_kept(settings, consumer)
    parts = range(settings.totals_partitions)
    replays = [_Replay(_Sums(business, rows[number], kept), settings.partitions) for number in parts]
    async for records in read_to_end(settings, catalogue_of(settings).counts.whole, consumer=consumer):
        for record in records:
            replays[record.partition].take(record)
    found: dict[int, Published] = {}
    exact: set[int] = set()
    why = ""
    for number, replay in enumerate(replays):
        if replay.best is None:
            why = replay.why_not()
            continue
        differing, offset, markers = replay.best
        if not differing:
            exact.add(number)
        found[number] = Published(
            markers, replay.shards(), rows[number], milestones[number], offset, replay.taken_since, number, kept
        )
    return found, exact, why


async def _rows_and_milestones(
    settings: Settings, consumer: AIOKafkaConsumer, *, waiting: bool
) -> tuple[list[dict[RowKey, WindowRow]], list[list[MilestoneEvent]]]:
    """Rows and milestones by totals partition."""
    catalogue = catalogue_of(settings)
    rows: list[dict[RowKey, WindowRow]] = []
    for part in catalogue.windows.whole:
        values = await read_latest(settings, [part], consumer=consumer)
        decoded = map(decode_row, values.values())
        rows.append({RowKey.of(row): row for row in decoded})
    decided: dict[int, list[MilestoneEvent]] = {}
    beginning = key_of(SIDE, WAITING)
    for number in range(len(rows)) if waiting else ():
        # Before the milestones: one that is released in between is found on both topics, and counts once.
        memory = [(catalogue.totals.name, number)]
        values = await read_latest(settings, memory, consumer=consumer, wanted=lambda key: key.startswith(beginning))
        decided[number] = [decode_milestone(value) for value in values.values()]
    milestones: list[list[MilestoneEvent]] = [[] for _ in rows]
    async for records in read_to_end(settings, catalogue.milestones.whole, consumer=consumer):
        for record in records:
            milestones[record.partition].append(decode_milestone(record_value(record)))
    for number, events in decided.items():
        known = {event.id for event in milestones[number]}
        milestones[number] += sorted((event for event in events if event.id not in known), key=_revision)
    return rows, milestones


def _revision(event: MilestoneEvent) -> int:
    return event.data.revision
