"""The type of a date for forecasts: one of the seven weekdays, a holiday, or a working weekend day."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.domain.time.calendar import HolidayYear

#: 0 Monday to 6 Sunday on ordinary dates.
WEEKDAYS: Final = 7
#: A day off of any named holiday, whatever its weekday.
HOLIDAY: Final = 7
#: A Saturday or Sunday that is worked to make up for a holiday.
WORK_DAY: Final = 8

_MONDAY_OF_ALL = date.min.toordinal()  # 1 January of the year 1 was a Monday


class DayTypes:
    """Day types by date; if no calendar is known, dates are ordinary.

    Args:
        years: Holiday calendars; all their holidays matter here, not only those that are counted as windows.
    """

    def __init__(self, years: Iterable[HolidayYear] = ()) -> None:
        self._special: dict[int, int] = {}
        for entry in years:
            for holiday in entry.holidays:
                self._special.update(dict.fromkeys((day.toordinal() for day in holiday.work_days), WORK_DAY))
        for entry in years:
            for holiday in entry.holidays:
                days = range(holiday.start.toordinal(), holiday.end.toordinal() + 1)
                self._special.update(dict.fromkeys(days, HOLIDAY))

    def of(self, day: date) -> int:
        """The type of a date."""
        ordinal = day.toordinal()
        return self._special.get(ordinal, (ordinal - _MONDAY_OF_ALL) % WEEKDAYS)

    def from_date(self, first: date, count: int) -> list[int]:
        """The types of a number of consecutive dates."""
        special, ordinals = self._special, range(first.toordinal(), first.toordinal() + count)
        return [special.get(ordinal, (ordinal - _MONDAY_OF_ALL) % WEEKDAYS) for ordinal in ordinals]
