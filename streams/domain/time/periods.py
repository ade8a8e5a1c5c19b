"""Periods: the runs of civil dates that are counted as one window, and the form of their ids.

Weeks, quarters, halves and years depend on the reckoning of an installation: the day on which its weeks begin, and the date on
which its financial year does. Holidays are periods too, but their dates are data (`streams.domain.time.calendar`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

#: The days on which a week may begin, as named in the setting `week_starts`; indexed by `date.weekday`.
WEEK_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
#: Kind and id of the period of all time, which has no end.
TOTAL: Final = "total"
#: Kind of the periods that end on each date and have a fixed number of days.
ROLLING: Final = "rolling"
#: Bounds on the days of a rolling window.
LEAST_ROLLING: Final = 2
MOST_ROLLING: Final = 92
#: Events have times from 2000 to 2100 UTC; a business date can be a day beyond.
FIRST_DATE: Final = date(1999, 12, 31)
LAST_DATE: Final = date(2101, 1, 1)
#: Months in a year, a half and a quarter.
_MONTHS: Final[Mapping[str, int]] = {"year": 12, "half": 6, "quarter": 3}
_ID = re.compile(r"(FY)?([0-9]{4})(?:-(Q[1-4]|H[12]|W[0-9]{2}))?")
_ROLLING_ID = re.compile(r"([1-9][0-9]?)d:([0-9]{4}-[0-9]{2}-[0-9]{2})")
_DAY = timedelta(days=1)
_WEEK = timedelta(days=7)


#: First date, first instant of a campaign, last date, id.
Ordering = tuple[date, int, date, str]


class Instants(NamedTuple):
    """The first instant of a campaign and the first one after it, as microseconds since 1970 and as text in business time."""

    start_us: int
    end_us: int
    starts_at: str
    ends_at: str


@dataclass(frozen=True, slots=True)
class Period:
    """A run of civil dates that is counted as one window.

    Args:
        id: Such as `day:2024-10-07`, `quarter:2024-Q4`, `year:FY2025`, `holiday:national-day:2024`.
        kind: `day`, `week`, `month`, `quarter`, `half`, `year`, `total`, `holiday`, `rolling` or `campaign`.
        start: First date.
        end: Last date, inclusive.
        calendar: Version of the holiday calendar that the dates are from; None except for holidays.
        instants: The instants that a campaign is between; `start` and `end` are the dates of its first and last instant.
    """

    id: str
    kind: str
    start: date
    end: date
    calendar: str | None = None
    instants: Instants | None = None

    @property
    def ordering(self) -> Ordering:
        """Sort key: periods of one window in order of time."""
        return self.start, self.instants.start_us if self.instants is not None else 0, self.end, self.id

    @property
    def definition(self) -> str | None:
        """What a period depends on besides its dates: the version of a calendar, or two instants."""
        return f"{self.instants.starts_at}/{self.instants.ends_at}" if self.instants is not None else self.calendar

    @property
    def window(self) -> str:
        """The name of this window in rules: the kind, for a holiday with its name."""
        return window_of(self.id)


def window_of(period_id: str) -> str:
    """The window of a period: `month` for `month:2024-10`, `holiday:national-day` for `holiday:national-day:2024`."""
    return period_id.rpartition(":")[0] or period_id


@dataclass(frozen=True, slots=True)
class Reckoning:
    """When weeks and years begin in an installation.

    Args:
        week_starts: First day of a week, 0 for Monday to 6 for Sunday.
        year_starts: Month and day (1 to 28) on which a year begins. A year that does not begin on 1 January is a
            financial year, named after the calendar year in which it ends.
    """

    week_starts: int = 0
    year_starts: tuple[int, int] = (1, 1)

    @property
    def is_fiscal(self) -> bool:
        """Whether years, halves and quarters are those of a financial year."""
        return self.year_starts != (1, 1)

    def year_of(self, day: date) -> date:
        """The first date of the year that contains a date."""
        month, first = self.year_starts
        start = date(day.year, month, first)
        return start if start <= day else date(day.year - 1, month, first)

    def year_name(self, start: date) -> str:
        """`2024`, or `FY2025` for a financial year that ends in 2025."""
        return f"FY{start.year + 1:04}" if self.is_fiscal else f"{start.year:04}"


CIVIL: Final = Reckoning()


def day_period(day: date, _: Reckoning = CIVIL) -> Period:
    """The period of one civil date."""
    return Period(f"day:{day.isoformat()}", "day", day, day)


def week_period(day: date, reckoning: Reckoning = CIVIL) -> Period:
    """The week of a date; it belongs to the year of its fourth day, which gives ISO 8601 weeks for Mondays."""
    start = day - (day.weekday() - reckoning.week_starts) % 7 * _DAY
    middle = start + 3 * _DAY
    number = (middle.timetuple().tm_yday - 1) // 7 + 1
    return Period(f"week:{middle.year:04}-W{number:02}", "week", start, start + 6 * _DAY)


def month_period(day: date, _: Reckoning = CIVIL) -> Period:
    """The month of a date."""
    first = day.replace(day=1)
    return Period(f"month:{day.isoformat()[:7]}", "month", first, _months_later(first, 1) - _DAY)


def quarter_period(day: date, reckoning: Reckoning = CIVIL) -> Period:
    """The quarter of a date."""
    return _part_of_year("quarter", "Q", day, reckoning)


def half_period(day: date, reckoning: Reckoning = CIVIL) -> Period:
    """The half-year of a date."""
    return _part_of_year("half", "H", day, reckoning)


def year_period(day: date, reckoning: Reckoning = CIVIL) -> Period:
    """The year of a date."""
    start = reckoning.year_of(day)
    return Period(f"year:{reckoning.year_name(start)}", "year", start, _months_later(start, 12) - _DAY)


def total_period(_: date, __: Reckoning = CIVIL) -> Period:
    """The period of all dates that an event can have."""
    return Period(TOTAL, TOTAL, FIRST_DATE, LAST_DATE)


def rolling_period(end: date, days: int) -> Period:
    """The rolling window of `days` days that ends on a date."""
    return Period(f"{ROLLING}:{days}d:{end.isoformat()}", ROLLING, end - (days - 1) * _DAY, end)


#: The kinds of period that follow from dates alone, from the shortest to the longest → the function that finds a date's.
PERIOD_OF: Final[Mapping[str, Callable[[date, Reckoning], Period]]] = {
    "day": day_period,
    "week": week_period,
    "month": month_period,
    "quarter": quarter_period,
    "half": half_period,
    "year": year_period,
    TOTAL: total_period,
}


def parse_period(period_id: str, reckoning: Reckoning = CIVIL) -> Period | None:
    """The period with an id, other than a holiday; None if there is none.

    Raises:
        ValueError: There is no such date.
    """
    try:
        return _parsed(period_id, reckoning)
    except OverflowError:
        raise ValueError(f"{period_id!r} is not within the dates that there are") from None


def _parsed(period_id: str, reckoning: Reckoning) -> Period | None:
    kind, _, rest = period_id.partition(":")
    if kind == ROLLING:
        match = _ROLLING_ID.fullmatch(rest)
        return rolling_period(date.fromisoformat(match[2]), int(match[1])) if match else None
    made = PERIOD_OF.get(kind)
    if made is None:
        return None
    for day in _dates_in(kind, rest, reckoning):
        found = made(day, reckoning)
        if found.id == period_id:
            return found
    return None


def _dates_in(kind: str, rest: str, reckoning: Reckoning) -> Iterator[date]:
    """Dates of which at least one is in the period, if there is such a period."""
    if kind == TOTAL:
        yield FIRST_DATE
    elif kind == "day":
        yield date.fromisoformat(rest)
    elif kind == "month":
        yield date.fromisoformat(f"{rest}-01")
    elif match := _ID.fullmatch(rest):
        number = int((match[3] or "1").lstrip("QHW")) - 1
        if kind == "week":
            day = date(int(match[2]), 1, 1) + number * _WEEK
            yield from (day, day + 6 * _DAY)
        else:
            year = date(int(match[2]) - bool(match[1]), *reckoning.year_starts)
            yield _months_later(year, number * _MONTHS[kind])


def _part_of_year(kind: str, letter: str, day: date, reckoning: Reckoning) -> Period:
    year, months = reckoning.year_of(day), _MONTHS[kind]
    # Halves and quarters begin on the same day of the month as the year.
    passed = (day.year - year.year) * 12 + day.month - year.month - (day.day < year.day)
    number = passed // months
    start = _months_later(year, number * months)
    name = f"{kind}:{reckoning.year_name(year)}-{letter}{number + 1}"
    return Period(name, kind, start, _months_later(start, months) - _DAY)


def _months_later(day: date, months: int) -> date:
    passed = day.month - 1 + months
    return day.replace(year=day.year + passed // 12, month=passed % 12 + 1)
