"""Counts everything again from the source topics under another output prefix, next to the live installation.

The other installation is complete: its own topics, consumer group and transactional ids, and the same program
counting. It shares only the source topics, which it reads. A dedicated worker runs until it has applied what was there
at the start and the sums are published; whatever exists under the prefix already is continued.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.codec import decode_day_count, decode_marker, decode_row
from schemas.counts import decode_counts_key
from schemas.instants import utc_text
from schemas.notes import Quarantine
from schemas.outputs import source_name, source_of
from schemas.rows import RowKey
from streams.context import Context, wall_clock_us
from streams.errors import ExpectedError
from streams.kafka.admin import apply_topics, catalogue_of
from streams.kafka.clients import partition_counts, reader
from streams.kafka.records import record_key, record_value
from streams.operations.gaps import accept_gap, find_gaps
from streams.operations.quarantine import lines_in_force, quarantine
from streams.worker.child_process import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from schemas.outputs import Marker
    from streams.kafka.records import LogRecord
    from streams.listener import Listener
    from streams.settings import Settings

_POLL_MS = 300
_SPATE_S = 15.0
_LONGEST_LINE = 256


@dataclass
class _Published:
    """What the other installation has published so far, to tell whether it has caught up.

    Attributes:
        counts: Topic of the day counts.
        since: Offset in it. Markers before it are from an earlier worker; only a new one shows that this worker has
            taken the partition over.
        partitions: Number of ledger partitions.
    """

    counts: str
    since: int
    partitions: int
    markers: dict[int, Marker] = field(default_factory=dict)
    rows: dict[RowKey, int] = field(default_factory=dict)
    caught_up: set[int] = field(default_factory=set)
    _cells: dict[tuple[int, RowKey], int] = field(default_factory=dict)
    _unsummed: set[RowKey] | None = None
    _wanted: dict[RowKey, int] = field(default_factory=dict)

    def take(self, record: LogRecord) -> None:
        """Takes a record of the day counts or of the window rows."""
        if record.topic == self.counts:
            self._take_count(record)
        elif record.value is not None:
            row = decode_row(record.value)
            self.rows[RowKey.of(row)] = row.count

    def _take_count(self, record: LogRecord) -> None:
        shard, key = decode_counts_key(record_key(record))
        if key is not None:
            metric, scope, day = key
            row = RowKey(metric, scope, f"day:{day.isoformat()}")
            self._cells[shard, row] = decode_day_count(record_value(record)).count
        elif record.offset >= self.since:
            marker = self.markers[shard] = decode_marker(record_value(record))
            if marker.caught_up:
                self.caught_up.add(shard)

    def applied(self, ends: Mapping[tuple[str, int], int]) -> int:
        """Offsets below the ends that are behind every ledger partition."""
        return sum(min(end, self._position(topic, number)) for (topic, number), end in ends.items())

    def read(self, sources: set[str]) -> int:
        """Records of the source topics that were read."""
        return sum(
            books.read
            for number, marker in self.markers.items()
            for name, books in marker.books.items()
            if source_of(name, number)[0] in sources
        )

    def _position(self, topic: str, partition: int) -> int:
        """How far a source partition was applied."""
        ledger = partition % self.partitions
        marker = self.markers.get(ledger)
        return 0 if marker is None else marker.positions.get(source_name(topic, partition, ledger), (0, ""))[0]

    def all_applied(self, ends: Mapping[tuple[str, int], int]) -> bool:
        """Whether everything below the ends is applied, forwarded records included."""
        markers = self.markers.values()
        if len(self.markers) < self.partitions or any(marker.rebuilding for marker in markers):
            return False
        if any(self._position(topic, number) < end for (topic, number), end in ends.items()):
            return False
        sources = {topic for topic, _ in ends}
        books = [
            (source_of(name, number)[0], found)
            for number, marker in self.markers.items()
            for name, found in marker.books.items()
        ]
        sent = sum(found.rerouted for _, found in books)
        return sum(found.read for topic, found in books if topic not in sources) >= sent

    def all_summed(self) -> bool:
        """Whether the rows of the days have been seen to hold what the ledger partitions counted when first asked.

        Events may keep arriving: a row with the sums of a later moment will do.
        """
        sums: dict[RowKey, int] = defaultdict(int)
        for (_, day), count in self._cells.items():
            sums[day] += count
        if self._unsummed is None:
            self._wanted, self._unsummed = dict(sums), set(sums)
        self._unsummed = {day for day in self._unsummed if self.rows.get(day, 0) not in {self._wanted[day], sums[day]}}
        return not self._unsummed


async def check_sources(settings: Settings) -> list[tuple[str, int, int]]:
    """Makes sure that there is something to count: a rebuild must not create source topics.

    Returns:
        Topic, partition and first offset of each source partition whose beginning was removed.

    Raises:
        ExpectedError: A source topic does not exist.
    """
    catalogue = catalogue_of(settings)
    async with reader(settings) as consumer:
        found = await partition_counts(consumer, catalogue.names().values())
        for name, partitions in found.items():
            if not partitions:
                raise ExpectedError(
                    f"{name} does not exist: name the source topics with source_prefix or [topics]", exit_code=3
                )
        tps = [TopicPartition(name, number) for name, partitions in found.items() for number in range(partitions)]
        firsts = await consumer.beginning_offsets(tps)
    return [(tp.topic, tp.partition, first) for tp, first in sorted(firsts.items()) if first]


async def _accept_beginnings(other: Settings, by: str) -> None:
    """Has the other installation begin where the sources begin."""
    context = Context(other)
    for gap in await find_gaps(context):
        if gap.state == "open":
            reason = "a rebuild of what is left, asked for with --incomplete"
            await accept_gap(context, gap.source, reason=reason, by=by, at=utc_text(wall_clock_us()))


async def _take_over_quarantine(live: Settings, other: Settings, by: str, warn: Callable[[str], None]) -> None:
    """Quarantines in the other installation what the live one skips, so that both count the same records."""
    context = Context(other)
    wanted = await lines_in_force(Context(live))
    known = await lines_in_force(context)
    for place, line in sorted(wanted.items()):
        if place in known:
            continue
        reason = f"as under output_prefix {live.output_prefix!r}: {line or 'quarantined there'}"[:_LONGEST_LINE]
        try:
            await quarantine(context, place, Quarantine(reason=reason, by=by, at=utc_text(wall_clock_us())))
        except ExpectedError as error:
            warn(f"not skipped as under {live.output_prefix!r}: {error}")


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
        settings: Those of the other one.
        config: The settings file that they came from, if it was named.
        by: Operator for the copied quarantine orders; `None` counts those records.
        listener: Told about progress.
        incomplete_by: Operator who accepts that the beginnings of sources were removed.

    Yields:
        How many source records were read.

    Raises:
        ExpectedError: The cluster refuses, or the worker has ended: its last words.
    """
    await apply_topics(settings)
    if incomplete_by is not None:
        await _accept_beginnings(settings, incomplete_by)
    if by is not None and await _exists(live):
        await _take_over_quarantine(live, settings, by, listener.warn)
    environment = {
        **os.environ,
        "MILESTONES_OUTPUT_PREFIX": settings.output_prefix,
        "MILESTONES_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
    }
    if config is not None:
        environment["MILESTONES_CONFIG"] = str(config)  # the worker starts in this directory too
    # Kept after a failure: the log is in it.
    directory = Path(tempfile.mkdtemp(prefix="milestones-rebuild-"))
    worker = WorkerProcess(directory, environment, Path.cwd(), instance=f"rebuild-{os.getpid()}")
    async with reader(settings) as consumer:
        ends = await _source_ends(settings, consumer)
        catalogue = catalogue_of(settings)
        counts, windows = TopicPartition(catalogue.counts.name, 0), TopicPartition(catalogue.windows.name, 0)
        published = _Published(counts.topic, (await consumer.end_offsets([counts]))[counts], settings.partitions)
        consumer.assign([counts, windows])
        await consumer.seek_to_beginning(counts, windows)
        with worker:
            await _until_caught_up(consumer, published, ends, worker, listener)
            yield published.read({topic for topic, _ in ends})
    shutil.rmtree(directory, ignore_errors=True)


async def as_it_is(live: Settings) -> Settings:
    """The settings with the number of homes that the live installation was begun with, whatever the other one's is."""
    name = catalogue_of(live).ledger.name
    async with reader(live) as consumer:
        homes = (await partition_counts(consumer, [name]))[name]
    return live.model_copy(update={"partitions": homes or live.partitions})


async def _exists(live: Settings) -> bool:
    """Whether there is a live installation at all: its topics may have other names, or no longer exist."""
    async with reader(live) as consumer:
        name = catalogue_of(live).quarantine.name
        return bool((await partition_counts(consumer, [name]))[name])


async def _source_ends(settings: Settings, consumer: AIOKafkaConsumer) -> dict[tuple[str, int], int]:
    catalogue = catalogue_of(settings)
    counts = await partition_counts(consumer, catalogue.names().values())
    tps = [TopicPartition(name, number) for name, count in counts.items() for number in range(count)]
    return {(tp.topic, tp.partition): end for tp, end in (await consumer.end_offsets(tps)).items()}


async def _until_caught_up(
    consumer: AIOKafkaConsumer,
    published: _Published,
    ends: Mapping[tuple[str, int], int],
    worker: WorkerProcess,
    listener: Listener,
) -> None:
    applied = 0

    async def step() -> None:
        nonlocal applied
        worker.check()
        for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
            for record in records:
                published.take(record)
        before, applied = applied, published.applied(ends)
        listener.progress(applied - before)

    listener.plan(sum(ends.values()))
    while not (published.all_applied(ends) and published.all_summed()):
        await step()
    # Days close only once nothing is left to read, which may never be seen on a busy stream.
    deadline = time.monotonic() + _SPATE_S
    while len(published.caught_up) < published.partitions and time.monotonic() < deadline:
        await step()
