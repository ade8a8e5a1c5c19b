"""Series and forecasts of them, for the tests of the forecast."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from schemas.outputs import Forecast
from streams.domain.forecasts.forecast import DailyHistory, Known, forecast
from streams.domain.rules import Target
from streams.domain.time.calendar import Calendar, Grade, Holiday, HolidayYear
from streams.domain.time.daytypes import DayTypes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streams.domain.time.periods import Period

#: A Monday.
START = date(2024, 1, 1)
DAY = timedelta(days=1)
AS_OF = "2024-05-20T16:00:00.000Z"

AUTUMN = HolidayYear(
    country="XX",
    year=2024,
    version="XX-2024.1",
    grade=Grade.OFFICIAL,
    source="test",
    holidays=(
        Holiday("spring", date(2024, 3, 4), date(2024, 3, 8), (date(2024, 3, 2),)),
        Holiday("autumn", date(2024, 10, 1), date(2024, 10, 7)),
    ),
)
NO_HOLIDAYS = DayTypes()
CALENDAR = Calendar(years=(AUTUMN,), holidays=("autumn",), timezone="Asia/Shanghai")


def known(
    counts: Sequence[int], *, today: int = 0, share: float = 0.0, start: date = START, day_types: DayTypes = NO_HOLIDAYS
) -> Known:
    """The history after these days."""
    return Known(DailyHistory(start, tuple(counts), day_types), today, share)


def of(count: int, units: Callable[[int, date], int]) -> list[int]:
    """Units of a number of days from `START` on, by number and date."""
    return [units(number, START + number * DAY) for number in range(count)]


def period(text: str) -> Period:
    """The period with an id."""
    return CALENDAR.period(text)


def forecast_of(world: Known, text: str, value: int) -> Forecast:
    """The forecast of a target of this value on the period with this id."""
    target = Target("aim", "deliveries", "all", text, value)
    return forecast(target, period(text), world, as_of=AS_OF, timezone="Asia/Shanghai")


def a_forecast(**said: Any) -> Forecast:
    """A forecast of October with these values, and arbitrary others."""
    plain: dict[str, Any] = {
        "start": "2024-10-01",
        "end": "2024-10-31",
        "timezone": "Asia/Shanghai",
        "reached_on": None,
        "remaining_days": 1.0,
        "pace_needed": None,
        "pace_recent": None,
        "plan_count": 0,
        "ahead_units": 0,
        "ahead_days": 0.0,
        "history_days": 100,
        "quality": "little",
        "note": "",
        "model": "m",
        "model_version": "1",
    }
    return Forecast(**(plain | said))
