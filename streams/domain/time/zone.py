"""Business dates and hours: civil time in the business time zone, never UTC days.

A business day begins at midnight, or at a later hour of its civil date, and ends at that hour of the next one. An instant is an
int, microseconds since 1970-01-01T00:00Z. A *cell* is one local hour of one business day, as an int: the proleptic Gregorian
ordinal of its date times 24, plus the number of the hour, 0 for the first hour of the day.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

HOURS: Final = 24
MINUTE_US: Final = 60_000_000
QUARTER_HOUR_US: Final = 900_000_000
_SECOND_US: Final = 1_000_000
_QUARTER_HOUR_S: Final = 900
_HOUR_S: Final = 3600
_DAY_S: Final = 86_400
HOUR_US: Final = _HOUR_S * _SECOND_US
DAY_US: Final = _DAY_S * _SECOND_US
#: Before and after all instants.
EARLIEST_US: Final = -(1 << 63)
LATEST_US: Final = (1 << 63) - 1
#: The cell of the first hour of 1970, on the clock that counts the hours of business days.
EPOCH_CELL: Final = date(1970, 1, 1).toordinal() * HOURS
#: Quarter-hours to cache; a hundred thousand are almost three years of events without a gap.
_REMEMBERED_QUARTERS: Final = 100_000
_REMEMBERED_DAYS: Final = 10_000


def day_of_cell(cell: int) -> date:
    """The civil date of a cell."""
    return date.fromordinal(cell // HOURS)


def hour_of_cell(cell: int) -> int:
    """The number of the local hour of a cell in its business day, 0 to 23."""
    return cell % HOURS


class BusinessZone:
    """The time zone that decides which date an event belongs to.

    Args:
        name: IANA name, such as `Asia/Shanghai`.
        day_starts: Local hour at which a business day begins, 0 to 23.

    Raises:
        ValueError: There is no such zone.
    """

    def __init__(self, name: str, day_starts: int = 0) -> None:
        try:
            self._zone = ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"no IANA time zone is called {name!r}; Asia/Shanghai is one") from None
        self.name = name
        self.day_starts = day_starts
        self._cells: dict[int, int | None] = {}
        self._offsets_s: dict[int, int | None] = {}
        self._offsets_us: dict[int, int | None] = {}
        self._beginnings_us: dict[date, int] = {}

    @property
    def key(self) -> str:
        """Identifies the mapping of instants to business dates."""
        return f"{self.name} {self.day_starts:02}:00" if self.day_starts else self.name

    def cell_of(self, time_us: int) -> int:
        """The cell of an instant; exact for every UTC offset and every change of the clocks."""
        cell = self.cell_of_quarter(time_us // QUARTER_HOUR_US)
        return self._cell_of_second(time_us // _SECOND_US) if cell is None else cell

    def cell_of_quarter(self, quarter: int) -> int | None:
        """The one cell of a UTC quarter-hour, or `None` if the clocks change within it or it spans two cells.

        Args:
            quarter: Quarter-hours since 1970-01-01T00:00Z: an instant divided by `QUARTER_HOUR_US`, rounded down.
        """
        try:
            return self._cells[quarter]
        except KeyError:
            pass
        if len(self._cells) >= _REMEMBERED_QUARTERS:
            self._cells.clear()
            self._offsets_s.clear()
        cell = self._cells[quarter] = self._uniform_cell(quarter)
        return cell

    def offset_us(self, day: int) -> int | None:
        """What must be added to every instant of a UTC day to make it local time; `None` if the clocks change on that day.

        Divided by `HOUR_US` and counted from `EPOCH_CELL`, local time is a cell.

        Args:
            day: Days since 1970-01-01.
        """
        try:
            return self._offsets_us[day]
        except KeyError:
            pass
        if len(self._offsets_us) >= _REMEMBERED_DAYS:
            self._offsets_us.clear()
        first_s = day * _DAY_S
        samples = (*range(first_s, first_s + _DAY_S, _HOUR_S), first_s + _DAY_S - 1)
        offsets_s = {self._offset_s(second) for second in samples}
        offset_us = self._offsets_us[day] = offsets_s.pop() * _SECOND_US if len(offsets_s) == 1 else None
        return offset_us

    def date_of(self, time_us: int) -> date:
        """The business date of an instant."""
        return day_of_cell(self.cell_of(time_us))

    def day_of_cell(self, cell: int) -> date:
        """The civil date of a cell."""
        return day_of_cell(cell)

    def start_of_day_us(self, time_us: int) -> int:
        """The first instant of the business date that an instant belongs to.

        If a change of the clocks skips the hour at which days begin, the day starts at the change.
        """
        return self.first_us(self.date_of(time_us))

    def first_us(self, day: date) -> int:
        """The first instant of a business date, microseconds since 1970."""
        try:
            return self._beginnings_us[day]
        except KeyError:
            pass
        if len(self._beginnings_us) >= _REMEMBERED_DAYS:
            self._beginnings_us.clear()
        # In a gap, fold 0 uses the offset before the change, which gives the instant of the change itself.
        begins = datetime(day.year, day.month, day.day, self.day_starts, tzinfo=self._zone)
        first_us = self._beginnings_us[day] = int(begins.timestamp()) * _SECOND_US
        return first_us

    def beginning_us(self, cell: int) -> int:
        """The first instant of a local hour; if the clocks are put back, that of the first of the two hours."""
        begins = datetime.combine(day_of_cell(cell), time()) + timedelta(hours=hour_of_cell(cell) + self.day_starts)
        return int(begins.replace(tzinfo=self._zone).timestamp()) * _SECOND_US

    def skips(self, cell: int) -> bool:
        """Whether the clocks are put forward over a whole local hour, so that no instant is in it."""
        return self.beginning_us(cell) == self.beginning_us(cell + 1)

    def time_of_day(self, time_us: int) -> time:
        """How long after the beginning of its business day an instant is on the clock, as a time of day."""
        seconds = (time_us // _SECOND_US + self._offset_s(time_us // _SECOND_US)) % 86_400
        return time(seconds // _HOUR_S, seconds % _HOUR_S // 60, seconds % 60, time_us % _SECOND_US)

    def datetime_of(self, time_us: int) -> datetime:
        """The instant as an aware datetime of this zone."""
        utc = datetime.fromtimestamp(time_us // _SECOND_US, UTC) + timedelta(microseconds=time_us % _SECOND_US)
        return utc.astimezone(self._zone)

    def _cell_of_second(self, second: int) -> int:
        return (second + self._offset_s(second)) // _HOUR_S + EPOCH_CELL

    def _uniform_cell(self, quarter: int) -> int | None:
        hour, first_s = quarter // 4, quarter * _QUARTER_HOUR_S
        try:
            offset_s = self._offsets_s[hour]
        except KeyError:
            offset_s = self._offsets_s[hour] = self._uniform_offset_s(hour)
        if offset_s is None:
            return None
        cell = (first_s + offset_s) // _HOUR_S
        return cell + EPOCH_CELL if cell == (first_s + offset_s + _QUARTER_HOUR_S - 1) // _HOUR_S else None

    def _uniform_offset_s(self, hour: int) -> int | None:
        """The offset that holds for a whole UTC hour, if one does; the clocks of no zone change twice within one."""
        first_s = hour * _HOUR_S
        offset_s = self._offset_s(first_s)
        return offset_s if offset_s == self._offset_s(first_s + _HOUR_S - 1) else None

    def _offset_s(self, second: int) -> int:
        offset = datetime.fromtimestamp(second, self._zone).utcoffset() or timedelta()
        # The clock of the business day lags by the hours that the day begins after midnight.
        return offset.days * _DAY_S + offset.seconds - self.day_starts * _HOUR_S
