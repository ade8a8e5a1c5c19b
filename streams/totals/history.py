"""Which versions of rows go to `vehicle.window-history.v1`: at most one a minute and row, and the last before a pause.

A version is written at once if the last one written is a minute old. Otherwise it waits, and the version that is current at the
end of the minute is written: however often a row changes, its current version is never missing for more than a minute. The
version with which a row closes is written at once, since it is the figure as first closed. The first version is written with the
one that replaces it: until then the row itself has it, and most rows of the past never get another. The minute is real time even
if events are the service's clock, which races while history is loaded and stops afterwards.

Which version was written last, and when, is known from the snapshot (`snapshots.py`) and the history written since; without a
snapshot the whole history is read.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from schemas.codec import encode_row, read_row
from schemas.rows import RowKey
from streams.domain import hotpath
from streams.domain.rows.row_columns import STATUS_CODES
from streams.domain.time.zone import MINUTE_US
from streams.kafka.outbox import Outbox, Outgoing
from streams.kafka.pacing import ITEMS, paced, pause
from streams.kafka.records import record_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from schemas.rows import PublishedRow
    from streams.context import Context
    from streams.domain.rows.row_columns import Columns
    from streams.domain.rows.row_versions import PublishedRecord
    from streams.kafka.log import LogReader

_SECOND_US: Final = 1_000_000
_CLOSED: Final = STATUS_CODES["closed"]
#: Rows by which `_loaded` grows at a time.
_BLOCK: Final = 4096


class Rows(Protocol):
    """The rows of the totals, each at an index (its place)."""

    @property
    def columns(self) -> Columns:
        """Their numbers."""

    def find(self, key: tuple[str, str, str]) -> int | None:
        """The place of a row; None if there is none."""

    def published(self, places: Iterable[int]) -> list[PublishedRecord | None]:
        """The published version of each of these rows; None if another one is about to be published."""

    def mark(self, place: int, version: int, written_us: int) -> None:
        """Notes the last version that the history has, and when it was written."""

    def marked_us(self, place: int) -> int:
        """When the last version that the history has was written, or the first one published; 0 for never."""

    def not_in_history(self, since_us: int) -> Iterator[list[int]]:
        """Rows whose published version is not in the history, although it is not their first, and dates from an instant on.

        Some at a time, so that the caller can pause in between.
        """


class History:
    """The history of all rows: open once, then report what is published, and collect records to commit."""

    def __init__(self, context: Context, rows: Rows, number: int = 0) -> None:
        self._context = context
        self._rows = rows
        self._part = context.catalogue.history.name, number
        #: Rows whose current version is not in the history yet → when it is due.
        self._waiting: dict[int, int] = {}
        #: The same by time, and a heap of these times; rows whose time in `_waiting` is another one are obsolete. What changes
        #: together is due together, so there are far fewer times than rows.
        self._places: dict[int, deque[int]] = {}
        self._due: list[int] = []
        #: For each row, whether it is closed and of loaded history: then its later versions need not be written at once.
        self._loaded = bytearray()
        #: Rows that are to leave and whose published version is in the history: nothing else knows them.
        self._has: set[RowKey] = set()
        self._left_over: Mapping[RowKey, int] = {}
        #: Whether more were due than the last call of `records` was to return.
        self.has_more = False

    async def open(self, reader: LogReader, since: int = 0, left_over: Mapping[RowKey, int] | None = None) -> None:
        """Finds what is still to be written.

        Args:
            reader: To read the history with.
            since: Offset to read from; the history before it is known.
            left_over: Rows that are to leave and have no place, with their published versions.
        """
        kept_since_us = 0
        self._left_over = left_over or {}
        async for records in reader.read([self._part], since={self._part: since} if since else None):
            if not since and not kept_since_us and records[0].offset:
                # Older versions were in it too.
                kept_since_us = records[0].timestamp * 1000
            async for record in paced(records):
                row = read_row(record_value(record))
                self._take_over(RowKey.of(row), row.version, record.timestamp * 1000)
        self._left_over = {}
        for places in self._rows.not_in_history(kept_since_us):
            await pause()
            async for place in paced(places):
                self._wait(place)

    def publish(self, place: int, row: PublishedRow, now_us: int) -> None:
        """Notes that a version of the row at a place is being published, at an instant of real time, microseconds since 1970."""
        closes = row.status == "closed" and row.restated == 0 and not self._is_loaded(place)
        if closes and row.backfilled:
            self._note_loaded(place)
        if row.version == 1:
            self._rows.mark(place, 0, now_us)
        elif closes:
            self._wait_until(place, 0)
        elif place not in self._waiting:
            self._wait(place)

    def publish_plain(self, places: list[int], now_us: int) -> None:
        """The same for rows that their columns hold completely."""
        if hotpath.rows is not None:
            places = hotpath.rows.note_first(self._rows.columns, places, now_us)
        columns, waiting = self._rows.columns, self._waiting
        version, restated, backfilled = columns.version, columns.restated, columns.published_backfilled
        status, history_version, history_us = columns.published_status, columns.history_version, columns.history_us
        for place in places:
            closes = status[place] == _CLOSED and not restated[place] and not self._is_loaded(place)
            if closes and backfilled[place]:
                self._note_loaded(place)
            if version[place] == 1:
                history_version[place], history_us[place] = 0, now_us
            elif closes:
                self._wait_until(place, 0)
            elif place not in waiting:
                written_us = history_us[place]
                self._wait_until(place, written_us + MINUTE_US if written_us else 0)

    def replace(self, row: PublishedRow) -> Outgoing:
        """The record of a version that only the history will have from now on."""
        return Outgoing(*self._part, str(RowKey.of(row)).encode(), encode_row(row))

    def has(self, row: PublishedRow) -> bool:
        """Whether the version of a leaving row had been written before this writer took over."""
        key = RowKey.of(row)
        found = key in self._has
        self._has.discard(key)
        return found

    def move(self, place: int, moved: int) -> None:
        """Notes that a row has left, and that another one has taken its place."""
        self._waiting.pop(place, None)
        self._forget_loaded(place)
        if moved == place:
            return
        due_us = self._waiting.pop(moved, None)
        if due_us is not None:
            self._wait_until(place, due_us)
        if self._is_loaded(moved):
            self._forget_loaded(moved)
            self._note_loaded(place)

    def _is_loaded(self, place: int) -> bool:
        return place < len(self._loaded) and bool(self._loaded[place])

    def _note_loaded(self, place: int) -> None:
        if place >= len(self._loaded):
            self._loaded.extend(bytes(place + _BLOCK - len(self._loaded)))
        self._loaded[place] = 1

    def _forget_loaded(self, place: int) -> None:
        if place < len(self._loaded):
            self._loaded[place] = 0

    async def records(self, now_us: int, most: int) -> Outbox:
        """The versions that are due.

        Args:
            now_us: Real time, microseconds since 1970.
            most: The maximum number of records.
        """
        records = Outbox()
        due = self._take_due(now_us, most)
        self.has_more = bool(self._due) and self._due[0] <= now_us
        for first in range(0, len(due), ITEMS):
            places = due[first : first + ITEMS]
            made: list[tuple[bytes | None, bytes | None]] = []
            for place, found in zip(places, self._rows.published(places), strict=True):
                if found is None:
                    self._wait_until(place, now_us + _SECOND_US)
                else:
                    self._rows.mark(place, found.version, now_us)
                    made.append((found.key, found.value))
            records.add_run(*self._part, made)
            await pause()
        return records

    def _take_due(self, now_us: int, most: int) -> list[int]:
        due: list[int] = []
        waiting = self._waiting
        while self._due and self._due[0] <= now_us and len(due) < most:
            due_us = self._due[0]
            places = self._places[due_us]
            while places and len(due) < most:
                place = places.popleft()
                if waiting.get(place) == due_us:
                    del waiting[place]
                    due.append(place)
            if not places:
                heapq.heappop(self._due)
                del self._places[due_us]
        return due

    def _take_over(self, key: RowKey, version: int, written_us: int) -> None:
        place = self._rows.find(key)
        if place is None and self._left_over.get(key) == version:
            self._has.add(key)
        if place is not None:
            # A previous writer whose clock was ahead must not delay a version for longer than a minute.
            self._rows.mark(place, version, min(written_us, self._context.now_us()))

    def _wait(self, place: int) -> None:
        written_us = self._rows.marked_us(place)
        self._wait_until(place, written_us + MINUTE_US if written_us else 0)

    def _wait_until(self, place: int, due_us: int) -> None:
        self._waiting[place] = due_us
        places = self._places.get(due_us)
        if places is None:
            self._places[due_us] = deque((place,))
            heapq.heappush(self._due, due_us)
        else:
            places.append(place)
