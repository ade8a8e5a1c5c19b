"""Recounts everything from the source topics under another output prefix, next to the live installation.

The other installation is complete: its own topics, consumer group and transactional ids, and the same program counting. It shares
only the source topics, which it reads. A dedicated worker runs until it has applied what was there at the start and published the
sums; if the prefix is already in use, it continues from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from schemas.codec import decode_day_count, decode_marker, decode_row
from schemas.counts import CampaignHour, CountKey, decode_counts_key
from schemas.instants import utc_text
from schemas.memory import SIDE, WAITING, key_of
from schemas.notes import Quarantine
from schemas.outputs import source_name, source_of
from schemas.rows import RowKey, date_of_day
from schemas.source_hours import decode_hours_key
from schemas.texts import template_of
from streams.context import Context, wall_clock_us
from streams.domain.time.campaigns import CAMPAIGN, Campaigns
from streams.errors import ExpectedError
from streams.holidays import calendar_of
from streams.kafka.admin import apply_topics
from streams.kafka.log import Partition
from streams.kafka.records import record_key, record_value
from streams.operations.gaps import accept_gap, find_gaps
from streams.operations.quarantine import lines_in_force, quarantine
from streams.totals.announcing import announces
from streams.worker.child_process import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from schemas.outputs import Marker
    from streams.domain.time.calendar import Calendar
    from streams.kafka.log import LogReader
    from streams.kafka.records import LogRecord
    from streams.listener import Listener
    from streams.settings import Settings

_POLL_S = 0.3
_WAITING = key_of(SIDE, WAITING)
_STANDSTILL_S = 5.0
_SPATE_S = 15.0
_LONGEST_LINE = 256


class Counting(Protocol):
    """A worker of the other installation."""

    def check(self) -> object:
        """Checks that the worker is still running.

        Raises:
            ExpectedError: The worker has ended.
        """


@dataclass
class _Published:
    """What the other installation has published so far, to tell whether it has caught up.

    Attributes:
        counts: Topic of the day counts.
        memory: Topic of what the totals remember.
        since: Partition of that topic → offset. Markers before it are from an earlier worker; only a new one shows that this
            worker has taken over the ledger partition.
        partitions: Number of ledger partitions.
        calendar: The windows that a day is in.
        kept_days: Set of dimensions → how many days before the latest one keep their rows, for sets that do not keep all.
        announces: Whether events announce campaigns, or withdraw those of the settings, which ledger partitions have to be told.
    """

    counts: str
    memory: str
    since: Mapping[int, int]
    partitions: int
    calendar: Calendar
    kept_days: Mapping[tuple[str, ...], int] = field(default_factory=dict)
    announces: bool = False
    #: Partition of the day counts → ledger partition → its last marker in it.
    markers_by_part: dict[int, dict[int, Marker]] = field(init=False)
    rows: dict[RowKey, int] = field(default_factory=dict)
    caught_up: set[int] = field(default_factory=set)
    _cells: dict[tuple[int, CountKey], int] = field(default_factory=dict)
    _sums: dict[RowKey, int] = field(default_factory=lambda: defaultdict(int))
    _latest_day: date = date.min
    _unsummed: set[RowKey] | None = None
    _wanted: dict[RowKey, int] = field(default_factory=dict)
    #: Milestones that have been decided and are published once it is known which unit passed their number, by their keys in memory.
    waiting: set[bytes] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.markers_by_part = {part: {} for part in self.since}

    @property
    def markers(self) -> dict[int, Marker]:
        """The last marker seen of each ledger partition."""
        return self.markers_by_part[0]

    def take(self, record: LogRecord) -> None:
        """Takes a record of the day counts, of the totals' memory or of the window rows."""
        if record.topic == self.counts:
            self._take_count(record)
        elif record.topic == self.memory:
            key = record_key(record)
            if key.startswith(_WAITING):
                (self.waiting.discard if record.value is None else self.waiting.add)(key)
        elif record.value is None:
            self.rows.pop(RowKey.parse(record_key(record).decode()), None)
        else:
            row = decode_row(record.value)
            self.rows[RowKey.of(row)] = row.count - row.balance

    def _take_count(self, record: LogRecord) -> None:
        if decode_hours_key(record_key(record)) is not None:
            return
        shard, key = decode_counts_key(record_key(record))
        if key is not None:
            metric, scope, day = key
            count = decode_day_count(record_value(record)).count
            more = count - self._cells.get((shard, key), 0)
            self._cells[shard, key] = count
            if isinstance(day, CampaignHour):
                self._sums[RowKey(metric, scope, f"{CAMPAIGN}:{day.campaign}")] += more
                return
            self._latest_day = max(self._latest_day, day)
            for period in self.calendar.periods_of(day):
                self._sums[RowKey(metric, scope, period.id)] += more
        elif record.offset >= self.since[record.partition]:
            marker = self.markers_by_part[record.partition][shard] = decode_marker(record_value(record))
            if marker.caught_up:
                self.caught_up.add(shard)

    def applied(self, ends: Mapping[tuple[str, int], int]) -> int:
        """Number of source offsets, up to the ends, that have been applied."""
        return sum(min(end, self._position(topic, number)) for (topic, number), end in ends.items())

    def read(self, sources: set[str]) -> int:
        """Number of records read from the source topics."""
        return sum(
            books.read
            for number, marker in self.markers.items()
            for name, books in marker.books.items()
            if source_of(name, number)[0] in sources
        )

    def _position(self, topic: str, partition: int, markers: Mapping[int, Marker] | None = None) -> int:
        """How far a source partition has been applied."""
        ledger = partition % self.partitions
        marker = (self.markers if markers is None else markers).get(ledger)
        return 0 if marker is None else marker.positions.get(source_name(topic, partition, ledger), (0, ""))[0]

    def all_applied(self, ends: Mapping[tuple[str, int], int]) -> bool:
        """Whether each partition of the counts shows everything up to the ends as applied, forwarded records included."""
        return all(self._all_applied(ends, markers) for markers in self.markers_by_part.values())

    def _all_applied(self, ends: Mapping[tuple[str, int], int], markers: Mapping[int, Marker]) -> bool:
        if len(markers) < self.partitions or any(marker.rebuilding for marker in markers.values()):
            return False
        if any(self._position(topic, number, markers) < end for (topic, number), end in ends.items()):
            return False
        announced = {marker.announced for marker in markers.values()}
        if len(announced) > 1 or (self.announces and announced == {""}):
            return False
        sources = {topic for topic, _ in ends}
        books = [
            (source_of(name, number)[0], found)
            for number, marker in markers.items()
            for name, found in marker.books.items()
        ]
        sent = sum(found.rerouted for _, found in books)
        return sum(found.read for topic, found in books if topic not in sources) >= sent

    def all_summed(self) -> bool:
        """Whether all rows hold what the ledger partitions had counted at the first call.

        All windows are checked, since a step of the totals may publish a scope's days before its months. Events may keep
        arriving, so for a row that later ones have changed it is enough to have been seen to hold this, or a later sum.
        """
        if self._unsummed is None:
            self._wanted, self._unsummed = dict(self._sums), set(self._sums)
        self._unsummed = self._not_holding(self._unsummed)
        if not self._unsummed:
            # A row that held once may have been overtaken: by a part of an earlier step that was published after it was seen.
            unchanged = (row for row, wanted in self._wanted.items() if self._sums[row] == wanted)
            self._unsummed = self._not_holding(unchanged)
        return not self._unsummed

    def _not_holding(self, some: Iterable[RowKey]) -> set[RowKey]:
        """Those of some rows that hold neither what was counted at the first call nor what is counted now."""
        counted = [Campaigns.parse(marker.campaigns) for marker in self.markers.values()]
        return {row for row in some if not self._holds(row) and not self._has_no_row(row, counted)}

    def _holds(self, row: RowKey) -> bool:
        count = self.rows.get(row)
        # What has come and gone within a step of the totals has no row.
        return self._sums[row] == 0 if count is None else count in {self._wanted[row], self._sums[row]}

    def _has_no_row(self, row: RowKey, counted: Sequence[Campaigns]) -> bool:
        """Whether a row need not exist: its day is no longer kept, or its campaign is not counted, or not for its scope."""
        kind, _, name = row.period.partition(":")
        if kind == CAMPAIGN:
            found = [campaigns.get(name) for campaigns in counted]
            return not all(campaign is not None and campaign.has(row.scope) for campaign in found)
        day = date_of_day(row.period)
        if day is None or row in self.rows:
            return False
        days = self.kept_days.get(template_of(row.scope))
        return days is not None and day < self._latest_day - timedelta(days=days)


async def check_sources(settings: Settings) -> list[tuple[str, int, int]]:
    """Checks that there is something to count: a rebuild must not create source topics.

    Returns:
        Topic, partition and first offset of each source partition whose beginning has been removed.

    Raises:
        ExpectedError: A source topic does not exist.
    """
    context = Context(settings)
    async with context.log.reader() as reader:
        found = await reader.partition_counts(context.catalogue.names().values())
        for name, partitions in found.items():
            if not partitions:
                raise ExpectedError(
                    f"{name} does not exist: name the source topics with source_prefix or [topics]", exit_code=3
                )
        tps = [Partition(name, number) for name, partitions in found.items() for number in range(partitions)]
        bounds = await reader.bounds(tps)
    return [(*tp, bounds[tp].first) for tp in sorted(tps) if bounds[tp].first]


async def prepare(
    live: Context, other: Context, by: str | None, listener: Listener, *, incomplete_by: str | None = None
) -> None:
    """Settles before counting begins where the sources start, and what to skip; see `counted_again`."""
    if incomplete_by is not None:
        await _go_on_without(other, incomplete_by)
    if by is not None and await _exists(live):
        await _take_over_quarantine(live, other, by, listener.warn)


async def _go_on_without(other: Context, by: str | None) -> None:
    """Makes the other installation continue where the sources begin now.

    Raises:
        ExpectedError: That takes an operator's consent, and there is none.
    """
    for gap in await find_gaps(other):
        if gap.state != "open":
            continue
        if by is None:
            raise ExpectedError(
                f"history is incomplete: {gap.source.topic}-{gap.source.partition} begins at offset {gap.first}, records from "
                f"{gap.read} on were deleted while they were being counted; --incomplete counts what is left",
                exit_code=1,
            )
        reason = "a rebuild of what is left, asked for with --incomplete"
        await accept_gap(other, gap.source, reason=reason, by=by, at=utc_text(wall_clock_us()))


async def _take_over_quarantine(live: Context, other: Context, by: str, warn: Callable[[str], None]) -> None:
    """Quarantines in the other installation the records that the live one skips, so that both count the same."""
    prefix = live.settings.output_prefix
    wanted = await lines_in_force(live)
    known = await lines_in_force(other)
    for place, line in sorted(wanted.items()):
        if place in known:
            continue
        reason = f"as under output_prefix {prefix!r}: {line or 'quarantined there'}"[:_LONGEST_LINE]
        try:
            await quarantine(other, place, Quarantine(reason=reason, by=by, at=utc_text(wall_clock_us())))
        except ExpectedError as error:
            warn(f"not skipped as under {prefix!r}: {error}")


@contextlib.asynccontextmanager
async def counted_again(  # noqa: PLR0913 - what a rebuild is of, and how
    live: Settings,
    settings: Settings,
    config: Path | None,
    by: str | None,
    listener: Listener,
    *,
    incomplete_by: str | None = None,
) -> AsyncIterator[int]:
    """Runs a worker; inside the context everything that was there at the start is applied, summed and published.

    Args:
        live: Settings of the live installation.
        settings: Settings of the other installation.
        config: The settings file that they came from, if one was named.
        by: Operator for the copied quarantine orders; with `None` those records are counted.
        listener: Told about progress.
        incomplete_by: Operator who accepts that the beginnings of sources have been removed.

    Yields:
        The number of source records read.

    Raises:
        ExpectedError: The cluster refuses, or the worker has ended; the message quotes its last line.
    """
    await apply_topics(settings)
    context = Context(settings)
    await prepare(Context(live), context, by, listener, incomplete_by=incomplete_by)
    environment = {
        **os.environ,
        "MILESTONES_OUTPUT_PREFIX": settings.output_prefix,
        "MILESTONES_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
    }
    if config is not None:
        environment["MILESTONES_CONFIG"] = str(config)  # the worker also starts in this directory
    # Kept after a failure, since it holds the log.
    directory = Path(tempfile.mkdtemp(prefix="milestones-rebuild-"))
    worker = WorkerProcess(directory, environment, Path.cwd(), instance=f"rebuild-{os.getpid()}")
    async with caught_up(context, worker, listener, incomplete_by=incomplete_by) as records:
        yield records
    shutil.rmtree(directory, ignore_errors=True)


@contextlib.asynccontextmanager
async def caught_up(
    context: Context,
    worker: AbstractContextManager[Counting],
    listener: Listener,
    *,
    incomplete_by: str | None = None,
) -> AsyncIterator[int]:
    """Runs a worker; inside the context everything that was there at the start is applied, summed and published.

    Args:
        context: The other installation.
        worker: The worker that counts for it.
        listener: Told about progress.
        incomplete_by: Operator who accepts what retention removes meanwhile.

    Yields:
        The number of source records read.
    """
    counts = context.catalogue.counts
    async with context.log.reader() as reader:
        ends = await _source_ends(context, reader)
        since = {part: bounds.end for (_, part), bounds in (await reader.bounds(counts.whole)).items()}
        published = _Published(
            counts.name,
            context.catalogue.totals.name,
            since,
            context.settings.partitions,
            calendar_of(context.settings),
            context.settings.kept_days,
            announces=await announces(context, reader),
        )

        async def on_standstill() -> None:
            await _go_on_without(context, incomplete_by)
            # Announcements that have been withdrawn meanwhile are not passed on, so do not wait for them.
            published.announces = published.announces and await announces(context, reader)

        with worker as counting:
            topics = [*counts.whole, *context.catalogue.windows.whole, *context.catalogue.totals.whole]
            await _until_caught_up(reader, topics, published, ends, counting, listener, on_standstill=on_standstill)
            yield published.read({topic for topic, _ in ends})


async def as_it_is(live: Settings) -> Settings:
    """The settings with the partition counts with which the live installation was created, whatever the other one's are."""
    context = Context(live)
    ledger, counts = context.catalogue.ledger.name, context.catalogue.counts.name
    async with context.log.reader() as reader:
        found = await reader.partition_counts([ledger, counts])
    return live.model_copy(
        update={
            "partitions": found[ledger] or live.partitions,
            "totals_partitions": found[counts] or live.totals_partitions,
        }
    )


async def _exists(live: Context) -> bool:
    """Whether the live installation exists: its topics may have other names, or be gone."""
    async with live.log.reader() as reader:
        name = live.catalogue.quarantine.name
        return bool((await reader.partition_counts([name]))[name])


async def _source_ends(context: Context, reader: LogReader) -> dict[tuple[str, int], int]:
    counts = await reader.partition_counts(context.catalogue.names().values())
    tps = [Partition(name, number) for name, count in counts.items() for number in range(count)]
    return {tp: bounds.end for tp, bounds in (await reader.bounds(tps)).items()}


async def _until_caught_up(  # noqa: PLR0913, PLR0917 - what is read, and who is told
    reader: LogReader,
    topics: Sequence[tuple[str, int]],
    published: _Published,
    ends: Mapping[tuple[str, int], int],
    worker: Counting,
    listener: Listener,
    *,
    on_standstill: Callable[[], Awaitable[None]],
) -> None:
    loop = asyncio.get_running_loop()
    applied, moved_s = 0, loop.time()
    positions: dict[tuple[str, int], int] = {}

    async def step() -> None:
        nonlocal applied, moved_s
        worker.check()
        async for records in reader.read(topics, since=positions):
            for record in records:
                published.take(record)
        for tp in topics:
            positions[tp] = await reader.position(tp)
        before, applied = applied, published.applied(ends)
        listener.progress(applied - before)
        if applied > before:
            moved_s = loop.time()
        elif loop.time() - moved_s > _STANDSTILL_S:
            # A ledger partition with a gap says so only in the worker's log, and waits.
            await on_standstill()
            moved_s = loop.time()

    listener.plan(sum(ends.values()))
    await step()
    while not (published.all_applied(ends) and published.all_summed()):
        await asyncio.sleep(_POLL_S)
        await step()
    # Rows may have been read further than the memory of their milestones.
    await step()
    milestones = set(published.waiting)
    while not milestones.isdisjoint(published.waiting):
        await asyncio.sleep(_POLL_S)
        await step()
    # Days close only when there is nothing left to read, which may never happen on a busy stream.
    deadline = loop.time() + _SPATE_S
    while len(published.caught_up) < published.partitions and loop.time() < deadline:
        await asyncio.sleep(_POLL_S)
        await step()
