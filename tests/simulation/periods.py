"""Periods, and what counts in them, worked out as plainly as possible."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.facts import Metric

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

Cell = tuple[str, str, str]  # metric, scope, period id

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

#: The holiday that schedules count, and its dates.
_HOLIDAY = "holiday:national-day:2024", date(2024, 10, 1), date(2024, 10, 7)


@lru_cache(maxsize=1000)
def periods_of(day: date, windows: tuple[str, ...]) -> tuple[str, ...]:
    """Ids of the periods that a date is in."""
    quarter, half = (day.month + 2) // 3, (day.month + 5) // 6
    ids = [f"day:{day}", f"week:{day:%G-W%V}", f"month:{day:%Y-%m}", f"quarter:{day:%Y}-Q{quarter}"]
    ids += [f"half:{day:%Y}-H{half}", f"year:{day:%Y}", "total"]
    ids += [name for name, first, last in [_HOLIDAY] if first <= day <= last]
    rolling = [
        f"{name}:{day + timedelta(days=ahead)}"
        for name in windows
        if name.startswith("rolling:")
        for ahead in range(int(name.removeprefix("rolling:").removesuffix("d")))
    ]
    return (*(id_ for id_ in ids if id_.partition(":")[0] in windows), *rolling)


@lru_cache(maxsize=1000)
def end_of_day_s(day: str, zone: ZoneInfo, starts: int) -> float:
    """The end of a business day, seconds since 1970."""
    following = date.fromisoformat(day) + timedelta(days=1)
    return datetime.combine(following, time(starts), zone).timestamp()


def day_of(part: object) -> date:
    """The date of a part of a count key that is no hour of a campaign."""
    assert isinstance(part, date)
    return part
