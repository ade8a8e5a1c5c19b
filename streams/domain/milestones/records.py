"""Records: periods that are over and have strictly more units than every earlier one of their window."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from streams.domain.rows.window_row import Row
    from streams.domain.time.periods import Ordering


def records_among(counts: Iterable[int]) -> Iterator[bool]:
    """For counts in order of periods: whether each exceeds all before it, at least one of which is above zero."""
    peak = 0
    for count in counts:
        yield 0 < peak < count
        peak = max(peak, count)


class RecordPeriods:
    """The periods of one window, metric and scope that are over, in order, with the highest count up to each.

    After a change, the periods from there on are judged again, up to where the highest count is unchanged.
    """

    def __init__(self) -> None:
        #: As in `Row.ordering`; the last part is the id.
        self._periods: list[Ordering] = []
        self._counts: list[int] = []
        self._peaks: list[int] = []
        self._records: list[bool | None] = []
        self._stale: set[Ordering] = set()

    def __iter__(self) -> Iterator[str]:
        """Ids of the periods, in order of time."""
        return (period_id for *_, period_id in self._periods)

    def best_before(self, row: Row) -> int:
        """The highest count of the periods before one."""
        index = bisect_left(self._periods, row.ordering)
        return max(0, self._peaks[index - 1]) if index else 0

    def put(self, row: Row) -> None:
        """Adds a period that is over, or notes that its count may have changed."""
        period = row.ordering
        index = bisect_left(self._periods, period)
        if index == len(self._periods) or self._periods[index] != period:
            self._periods.insert(index, period)
            self._counts.insert(index, 0)
            self._peaks.insert(index, -1)
            self._records.insert(index, None)
        self._counts[index] = row.count
        self._stale.add(period)

    def judge(self) -> list[tuple[str, bool]]:
        """Ids of the periods that are new or have flipped since the last call, in order, and whether each is a record."""
        if not self._stale:
            return []
        changed = []
        last_stale = bisect_left(self._periods, max(self._stale))
        index = bisect_left(self._periods, min(self._stale))
        self._stale.clear()
        peaks, records = self._peaks, self._records
        peak = peaks[index - 1] if index else 0
        for position in range(index, len(peaks)):
            count = self._counts[position]
            is_record = 0 < peak < count
            if is_record is not records[position]:
                records[position] = is_record
                changed.append((self._periods[position][-1], is_record))
            peak = max(peak, count)
            if peaks[position] != peak:
                peaks[position] = peak
            elif position >= last_stale:
                break
        return changed
