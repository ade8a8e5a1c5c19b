"""Record days: days that are over and have strictly more than every earlier one."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date

    from streams.domain.windows import Row


def records_among(counts: Iterable[int]) -> Iterator[bool]:
    """For counts in the order of days: whether each exceeds all before it, one of which is above zero."""
    peak = 0
    for count in counts:
        yield 0 < peak < count
        peak = max(peak, count)


class RecordDays:
    """The days of one metric and scope that are over, in order, with the highest count up to each.

    A changed day is judged again together with those after it, up to where the highest count is what it was.
    """

    def __init__(self) -> None:
        self._dates: list[date] = []
        self._rows: list[Row] = []
        self._peaks: list[int] = []
        self._stale: set[date] = set()

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def put(self, row: Row) -> None:
        """Takes a day that is over, for the first time or because its count may have changed."""
        day = row.period.start
        index = bisect_left(self._dates, day)
        if index == len(self._dates) or self._dates[index] != day:
            self._dates.insert(index, day)
            self._rows.insert(index, row)
            self._peaks.insert(index, -1)
        self._stale.add(day)

    def judge(self) -> list[tuple[Row, bool]]:
        """The days whose standing may have changed since the last call, in order, and whether each is a record."""
        if not self._stale:
            return []
        judged = []
        last_stale = max(self._stale)
        index = bisect_left(self._dates, min(self._stale))
        self._stale.clear()
        peak = self._peaks[index - 1] if index else 0
        for position in range(index, len(self._dates)):
            row = self._rows[position]
            judged.append((row, 0 < peak < row.count))
            peak = max(peak, row.count)
            settled = self._peaks[position] == peak
            self._peaks[position] = peak
            if settled and self._dates[position] >= last_stale:
                break
        return judged
