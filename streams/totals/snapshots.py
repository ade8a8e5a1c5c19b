"""Snapshots of all rows in `milestones.internal.<prefix>totals`: opening reads one, then what has been written since.

A snapshot is written block by block alongside other work, so its blocks are from different moments; the head, written last,
says from which offsets topics must be reread. The result is correct because records are absolute: counts replace counts, versions
replace versions, and days are summed when everything is there. Unchanged blocks are not written again. A snapshot is invalid
if topics were recreated since, or if the calendar or the campaigns have changed: then everything is read.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Final

from schemas.codec import (
    compress_snapshot_part,
    decode_period_block,
    decode_row_block,
    decode_series_block,
    decode_snapshot_head,
    encode_row,
    encode_snapshot_part,
    expand_snapshot_part,
    read_row,
    snapshot_generation,
)
from schemas.memory import SIDE, SNAPSHOT, PeriodBlock, RowBlock, SeriesBlock, SnapshotHead, TopicMark, key_of
from streams.errors import ExpectedError
from streams.kafka.digest import digest_of
from streams.kafka.outbox import Outgoing
from streams.kafka.pacing import pause

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.context import Context
    from streams.domain.rows.windows import Windows
    from streams.kafka.log import LogReader
    from streams.totals.shards import Shards

logger = logging.getLogger(__name__)

_HEAD: Final = "head"
#: Names in a block; there is room for a million years of both.
_NAMES: Final = 4096
#: Blocks written in one transaction; packing one takes five to ten milliseconds.
_BLOCKS_AT_ONCE: Final = 3
#: A snapshot is due when one in this many of all rows has been written again.
_PART_OF_ROWS: Final = 4
#: Time between the beginnings of two snapshots for each row. Writing one takes some 5 us, so all of them take at most a twentieth of a
#: core, however fast the rows change.
_A_ROW_US: Final = 100
_RETRY_US: Final = 60_000_000


class Snapshots:
    """The snapshots of one totals partition: recall all parts, open, then collect records to commit between steps."""

    def __init__(self, context: Context, windows: Windows, shards: Shards, number: int = 0) -> None:
        self._context = context
        self._windows = windows
        self._shards = shards
        self._number = number
        self._generation = ""
        #: Parts as they were last written, by name: compressed until everything is restored, then as digests.
        self._parts: dict[str, bytes] = {}
        self._digests: dict[str, int] = {}
        #: Records written or read since the last snapshot began.
        self._changes = 0
        self._head: SnapshotHead | None = None
        self._to_write: deque[str] = deque()
        self._not_before_us = 0
        self._is_given_up = False
        self._is_renumbered = False
        #: Names that are not part of the snapshot that is being written.
        self._surplus: set[str] = set()

    def recall(self, name: str, value: bytes | None) -> None:
        """Restores a part of a snapshot; call it in the order of the topic, as the last one of each name counts."""
        if value is None:
            self._parts.pop(name, None)
        else:
            self._parts[name] = value

    async def open(self, reader: LogReader) -> SnapshotHead | None:
        """Restores all rows if there is a valid snapshot. Returns its head, which says what to read on top of it.

        Args:
            reader: To look at the topics with.
        """
        try:
            head = await self._usable(reader)
        except ValueError as error:
            logger.info("no snapshot of the totals (%s): all rows and counts are read", error)
            head = None
        if head is not None:
            self._generation = head.generation
            for number in range(_blocks(head.rows, head.block_rows)):
                name = f"rows/{number}"
                value = expand_snapshot_part(self._parts.pop(name))
                self._digests[name] = hash(value)
                block = decode_row_block(value)
                # A newer, unfinished snapshot may have more rows in its last block.
                rows = min(head.block_rows, head.rows - number * head.block_rows)
                self._windows.restore_rows(block.columns, block.cells[:rows], map(read_row, block.others))
                await pause()
        else:
            # Never that of another numbering: there is one writer, and both numbers only grow.
            self._generation = self._new_generation(len(self._parts))
            self._digests = dict.fromkeys(self._parts, 0)
        self._parts = {}
        return head

    def _new_generation(self, number: int) -> str:
        return f"{self._context.now_us()}.{number}"

    def renumber(self) -> None:
        """Notes that rows have moved: the snapshot being written is abandoned, and the last complete one remains valid."""
        self._head = None
        self._to_write.clear()
        self._is_renumbered = True

    def note(self, records: int) -> None:
        """Notes that this many more records of counts, rows or versions must be read on top of the last snapshot."""
        self._changes += records

    async def begin(self, counts_next: int) -> None:
        """Begins a snapshot if one is due; to be called between two steps, when everything published is committed.

        Args:
            counts_next: Offset of the first count that is not in the rows.
        """
        if self._head is not None or not self.is_due:
            return
        catalogue = self._context.catalogue
        rows, series, periods = self._windows.sizes
        changes = self._changes
        try:
            async with self._context.log.reader() as reader:
                windows = await _mark_of(reader, (catalogue.windows.name, self._number))
                counts = await _mark_of(reader, (catalogue.counts.name, self._number))
                history = await _end_of(reader, (catalogue.history.name, self._number))
                cluster = await reader.cluster_id()
        except ExpectedError as error:
            logger.warning("no snapshot of the totals is made: %s", error)
            self._not_before_us = self._context.now_us() + _RETRY_US
            return
        self._changes -= changes
        self._not_before_us = self._context.now_us() + rows * _A_ROW_US
        if self._is_renumbered:
            # Parts from before and after do not belong together.
            self._generation, self._is_renumbered = self._new_generation(rows), False
            self._digests = dict.fromkeys(self._digests, 0)
        self._head = SnapshotHead(
            generation=self._generation,
            rows=rows,
            block_rows=self._context.block_rows,
            series=series,
            periods=periods,
            cluster=cluster,
            counts=TopicMark(counts_next, counts.first),
            windows=windows,
            history=history,
            campaigns=self._shards.campaigns,
            markers={shard: marker.with_answers([]) for shard, marker in self._shards.markers.items()},
        )
        names = list(_names(self._head))
        self._surplus = self._digests.keys() - set(names)
        self._to_write.extend([*names, *sorted(self._surplus)])

    def give_up(self) -> None:
        """Makes no further snapshots until it is reopened; the last complete one remains valid."""
        self._is_given_up = True
        self._head = None
        self._to_write.clear()

    async def records(self) -> list[Outgoing]:
        """The next records of the snapshot that is being written; to be called between two steps."""
        records: list[Outgoing] = []
        head = self._head
        while head is not None and self._to_write and len(records) < _BLOCKS_AT_ONCE:
            name = self._to_write.popleft()
            if name in self._surplus:
                del self._digests[name]
                records.append(self._record(name, None))
            else:
                value = encode_snapshot_part(self._part(name, head))
                if self._digests.get(name) != hash(value):
                    self._digests[name] = hash(value)
                    records.append(self._record(name, compress_snapshot_part(value, head.generation)))
            if not self._to_write:
                self._head = None
            await pause()
        return records

    def _record(self, name: str, body: bytes | None) -> Outgoing:
        return Outgoing(self._context.catalogue.totals.name, self._number, key_of(SIDE, SNAPSHOT + name), body)

    @property
    def is_due(self) -> bool:
        """Whether a snapshot is to be begun or continued."""
        if self._is_given_up or self._head is not None:
            return not self._is_given_up
        least = max(self._context.snapshot_after, len(self._windows) // _PART_OF_ROWS)
        return self._changes >= least and self._context.now_us() >= self._not_before_us

    def _part(self, name: str, head: SnapshotHead) -> RowBlock | SeriesBlock | PeriodBlock | SnapshotHead:
        kind, _, number = name.partition("/")
        if kind == _HEAD:
            return head
        first = int(number) * (head.block_rows if kind == "rows" else _NAMES)
        if kind == "series":
            return SeriesBlock(self._windows.series_names(first, min(first + _NAMES, head.series)))
        if kind == "periods":
            return PeriodBlock(self._windows.period_dates(first, min(first + _NAMES, head.periods)))
        cut = self._windows.cut(first, min(first + head.block_rows, head.rows))
        return RowBlock(cut.columns, cut.cells, [encode_row(row) for row in cut.others])

    async def _usable(self, reader: LogReader) -> SnapshotHead:
        """The head of the snapshot whose names have been restored.

        Raises:
            ValueError: There is no valid one.
        """
        if _HEAD not in self._parts:
            raise ValueError("there is none")
        if self._windows.kept.comes_back:
            raise ValueError("days come back that only the counts have")
        head = decode_snapshot_head(expand_snapshot_part(self._parts[_HEAD]))
        if head.block_rows != self._context.block_rows:
            raise ValueError("its blocks have another size")
        if head.campaigns != self._shards.campaigns:
            raise ValueError("other campaigns are counted now, which may have had rows before")
        for name in _names(head):
            if name not in self._parts or snapshot_generation(self._parts[name]) != head.generation:
                raise ValueError(f"its part {name} is of another one")
        await self._check_topics(head, reader)
        series: list[tuple[str, str]] = []
        periods: list[tuple[str, str, str, str | None]] = []
        for number in range(_blocks(head.series, _NAMES)):
            series += decode_series_block(expand_snapshot_part(self._parts[f"series/{number}"])).series
            await pause()
        for number in range(_blocks(head.periods, _NAMES)):
            periods += decode_period_block(expand_snapshot_part(self._parts[f"periods/{number}"])).periods
        for _ in self._windows.restore_names(series[: head.series], periods[: head.periods]):
            await pause()
        return head

    async def _check_topics(self, head: SnapshotHead, reader: LogReader) -> None:
        catalogue = self._context.catalogue
        if head.cluster != await reader.cluster_id():
            raise ValueError("it is of another cluster")
        for topic, mark in ((catalogue.counts, head.counts), (catalogue.windows, head.windows)):
            found = await _mark_of(reader, (topic.name, self._number))
            if found.next < mark.next or found.first != mark.first:
                raise ValueError(f"{topic.name} does not begin as it did")
        history = catalogue.history.name
        if await _end_of(reader, (history, self._number)) < head.history:
            raise ValueError(f"{history} ends before it did")


def _names(head: SnapshotHead) -> Iterator[str]:
    """The names of all parts, the head last."""
    yield from (f"rows/{number}" for number in range(_blocks(head.rows, head.block_rows)))
    yield from (f"series/{number}" for number in range(_blocks(head.series, _NAMES)))
    yield from (f"periods/{number}" for number in range(_blocks(head.periods, _NAMES)))
    yield _HEAD


def _blocks(things: int, of_block: int) -> int:
    return -(-things // of_block)


async def _end_of(reader: LogReader, part: tuple[str, int]) -> int:
    return (await reader.bounds([part]))[part].end


async def _mark_of(reader: LogReader, part: tuple[str, int]) -> TopicMark:
    """The present state of a topic's partition: its end, and what identifies its first record."""
    end = await _end_of(reader, part)
    async for records in reader.read([part]):
        first = records[0]
        return TopicMark(end, (first.offset, first.timestamp, digest_of(first)))
    return TopicMark(end, None)
