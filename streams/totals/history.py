"""Which versions of rows go to `vehicle.window-history.v1`: at most one a minute and row, and the last before a pause.

A version is written at once when the last one written is a minute old. Otherwise it waits, and when the minute is over
the version that is then current is written. So what is current is never missing for longer than a minute, however often
a row changes. The version with which a row closes is written at once, because it is asked for as the figure first closed.
The minute is one of real time, also where the service's clock is that of the events: that one runs by in
no time while history is loaded, and stands still afterwards.

Which version was written last, and when, is remembered in `milestones.internal.<prefix>totals` by the transaction that
writes it; without that memory the history itself is read.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final

from schemas.codec import decode_history_mark, decode_row, encode_memory
from schemas.memory import HISTORY, HistoryMark, key_of
from schemas.rows import RowKey
from streams.kafka.records import record_key, record_value
from streams.kafka.transactions import Outgoing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from schemas.outputs import WindowRow
    from streams.context import Context
    from streams.kafka.log import LogReader

MINUTE_US: Final = 60_000_000
_NEVER: Final = HistoryMark(0, -(1 << 62))


class History:
    """The history of all rows: open once, then name what is published, and collect records to commit."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._topic, self._memory = context.catalogue.history.name, context.catalogue.totals.name
        self._marks: dict[str, HistoryMark] = {}
        #: Rows whose current version is not in the history yet: key → when it is due, its version and value.
        self._waiting: dict[str, tuple[int, int, bytes]] = {}
        #: When each of them is due, by real time; an entry that says another time than `_waiting` is void.
        self._due: list[tuple[int, str]] = []

    async def open(
        self, memory: Mapping[str, bytes], rows: Iterable[tuple[WindowRow, bytes]], reader: LogReader
    ) -> None:
        """Takes over what is published.

        Args:
            memory: Key of a row → what is remembered of it.
            rows: Every current row, as model and as value.
            reader: To read the history with.
        """
        now_us = self._context.now_us()
        self._marks = {key: decode_history_mark(value) for key, value in memory.items()}
        if not memory:
            async for records in reader.read([(self._topic, 0)]):
                for record in records:
                    mark = HistoryMark(decode_row(record_value(record)).version, record.timestamp * 1000)
                    self._marks[record_key(record).decode()] = mark
        for row, value in rows:
            key = str(RowKey.of(row))
            mark = self._marks.get(key, _NEVER)
            if mark.version < row.version:
                # A former writer whose clock was ahead holds nothing back for longer than a minute.
                self._wait(key, row.version, value, HistoryMark(mark.version, min(mark.written_us, now_us)))

    def publish(self, row: WindowRow, value: bytes) -> None:
        """A version of a row is being published; the same transaction is to hold `records`."""
        key = str(RowKey.of(row))
        if row.status == "closed" and row.restated == 0:
            self._wait(key, row.version, value, _NEVER)
        elif key in self._waiting:
            self._waiting[key] = self._waiting[key][0], row.version, value
        else:
            self._wait(key, row.version, value, self._marks.get(key, _NEVER))

    def records(self, now_us: int) -> list[Outgoing]:
        """The versions that are due, and what is to be remembered of them.

        Args:
            now_us: Real time, microseconds since 1970.
        """
        records: list[Outgoing] = []
        while self._due and self._due[0][0] <= now_us:
            due_us, key = heapq.heappop(self._due)
            if key not in self._waiting or self._waiting[key][0] != due_us:
                continue
            _, version, value = self._waiting.pop(key)
            mark = self._marks[key] = HistoryMark(version, now_us)
            records.append(Outgoing(self._topic, 0, key.encode(), value))
            records.append(Outgoing(self._memory, 0, key_of(HISTORY, key), encode_memory(mark)))
        return records

    def _wait(self, key: str, version: int, value: bytes, mark: HistoryMark) -> None:
        due_us = mark.written_us + MINUTE_US
        self._waiting[key] = due_us, version, value
        heapq.heappush(self._due, (due_us, key))
