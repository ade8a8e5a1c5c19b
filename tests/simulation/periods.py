"""Periods, and what counts in them, worked out as plainly as possible."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.facts import Metric

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

Cell = tuple[str, str, str]  # metric, scope, period id
#: The periods of a window follow each other: metric, scope, and the window as `window_of` has it.
Series = tuple[str, str, str]

#: The length of a campaign without an end.
LONGEST: Final = timedelta(days=7)


class Minute(NamedTuple):
    """A minute of a campaign, from 0, by the id of its period."""

    period: str
    number: int


#: What a unit is counted by: its date, and its minute in each campaign that it is in.
Part = date | Minute
Counted = tuple[Metric, str, Part]


class Campaign(NamedTuple):
    """A campaign from the settings or from an event."""

    start: datetime
    end: datetime
    is_of_all: bool = True


#: Campaigns by the id of their period.
Campaigns = dict[str, Campaign]

#: The holiday that schedules count, with its dates in the years that they may be in.
_HOLIDAYS = (
    ("holiday:national-day:2024", date(2024, 10, 1), date(2024, 10, 7)),
    ("holiday:national-day:2025", date(2025, 10, 1), date(2025, 10, 8)),
)


class Calendar(NamedTuple):
    """The periods of an installation: its windows, rolling ones included, and when its weeks (0: on Mondays) and years begin."""

    windows: tuple[str, ...]
    weeks_begin: int = 0
    years_begin: tuple[int, int] = (1, 1)


@lru_cache(maxsize=4000)
def periods_of(day: date, calendar: Calendar) -> tuple[str, ...]:
    """Ids of the periods that a date is in."""
    windows = calendar.windows
    ids = [f"day:{day}", f"week:{_week_of(day, calendar.weeks_begin)}", f"month:{day:%Y-%m}"]
    year, months = _year_of(day, calendar.years_begin)
    ids += [f"quarter:{year}-Q{months // 3 + 1}", f"half:{year}-H{months // 6 + 1}", f"year:{year}", "total"]
    ids += [name for name, first, last in _HOLIDAYS if first <= day <= last]
    rolling = [
        f"{name}:{day + timedelta(days=ahead)}"
        for name in windows
        if name.startswith("rolling:")
        for ahead in range(int(name.removeprefix("rolling:").removesuffix("d")))
    ]
    return (*(id_ for id_ in ids if id_.partition(":")[0] in windows), *rolling)


def _week_of(day: date, begins: int) -> str:
    """The week, which belongs to the year of its fourth day."""
    fourth = day + timedelta(days=3 - (day.weekday() - begins) % 7)
    return f"{fourth.year}-W{(fourth.timetuple().tm_yday + 6) // 7:02}"


def _year_of(day: date, begins: tuple[int, int]) -> tuple[str, int]:
    """The year, named after the calendar year in which it ends if that is another one, and its whole months before the date."""
    first = date(day.year, *begins)
    if first > day:
        first = date(day.year - 1, *begins)
    months = (day.year - first.year) * 12 + day.month - first.month - (day.day < first.day)
    return (f"{day.year}" if begins == (1, 1) else f"FY{first.year + 1}"), months


def window_of(period: str) -> str:
    """The window of a period: its kind, of a holiday or a rolling window with its name, and empty for `total`."""
    return period.rpartition(":")[0]


def period_before(period: str, start: str, calendar: Calendar) -> str:
    """The previous period of its window, whatever that has counted; that of a holiday is in the year before.

    Args:
        period: An id; not a campaign, nor `total`.
        start: Its first date.
        calendar: Of the installation.
    """
    kind = period.partition(":")[0]
    if kind == "holiday":
        return year_before(period)
    (found,) = periods_of(date.fromisoformat(start) - timedelta(days=1), calendar._replace(windows=(kind,)))
    return found


def year_before(period: str) -> str:
    """The same period of the year before, which need not exist."""
    return re.sub(r"\d{4}", lambda year: f"{int(year[0]) - 1:04}", period, count=1)


@lru_cache(maxsize=1000)
def end_of_day_s(day: str, zone: ZoneInfo, starts: int) -> float:
    """The end of a business day, seconds since 1970."""
    following = date.fromisoformat(day) + timedelta(days=1)
    return datetime.combine(following, time(starts), zone).timestamp()


def day_of(part: object) -> date:
    """The date of a part of a count key that is no hour of a campaign."""
    assert isinstance(part, date)
    return part
