"""What the forecast would have said in the past, next to two naive baselines, and how far each was off.

Every row knows the days before its date and nothing else. The day counts are those known today: corrections and events
that came later than the row's date are in them.

The baselines: *same pace* continues with the mean of the period's days so far (on its first day, which has none, like the
other), *last 28 days* with the mean of the last 28 days.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

from schemas.outputs import ProjectedDate, ProjectedTotal
from streams.domain.forecasts.forecast import DailyHistory, Known, project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from streams.domain.time.daytypes import DayTypes
    from streams.domain.time.periods import Period

RECENT_DAYS: Final = 28
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class DailyForecast:
    """The forecast of a period at the start of a day.

    Attributes:
        as_of: The day; only earlier days are known.
        period: Id of the period.
        count: Units of the period by then.
        total: Projected units at the end of the period.
        date: Projected date of reaching the value; all null if no value was asked about.
        same_pace: Units at the end by the period's pace so far.
        recent_pace: Units at the end by the pace of the last 28 days.
        actual: What the period counted in the end.
    """

    as_of: date
    period: str
    count: int
    total: ProjectedTotal
    date: ProjectedDate
    same_pace: int
    recent_pace: int
    actual: int

    def errors(self) -> tuple[float, float, float]:
        """Errors of the model, the same pace and the recent pace, as fractions of the actual total."""
        projected = self.total.p50 if self.total.p50 is not None else self.count
        model, same, recent = (
            (total - self.actual) / self.actual for total in (projected, self.same_pace, self.recent_pace)
        )
        return model, same, recent


@dataclass(frozen=True, slots=True)
class Score:
    """Mean absolute errors of the model and the baselines, as fractions of the actual total, and how often ranges held.

    Attributes:
        model: Error of the model.
        same_pace: Error of the period's pace so far.
        recent_pace: Error of the pace of the last 28 days.
        ranges: How many rows had a range.
        held: In how many of them the actual total lay within it.
    """

    model: float
    same_pace: float
    recent_pace: float
    ranges: int
    held: int


class Past:
    """A series of daily counts in which one can go back in time.

    Args:
        counts: Units by date; absent dates count 0.
        day_types: Types of dates.

    Raises:
        ValueError: There are no units at all.
    """

    def __init__(self, counts: Mapping[date, int], day_types: DayTypes) -> None:
        with_units = [day for day, count in counts.items() if count]
        if not with_units:
            raise ValueError("no units: there is no past to test on")
        self.first, self.last = min(with_units), max(with_units)
        self._counts = counts
        self._day_types = day_types

    def known_on(self, as_of: date) -> Known:
        """What was known at the start of a day, at least one day after the first."""
        days = (self.first + number * _DAY for number in range((as_of - self.first).days))
        return Known(DailyHistory(self.first, tuple(self._counts.get(day, 0) for day in days), self._day_types))

    def say(self, period: Period, as_of: date, value: int | None = None) -> DailyForecast:
        """The forecast of an unfinished period, and of reaching a value in it."""
        known = self.known_on(as_of)
        projection = project(known, period)
        if projection is None:
            raise ValueError(f"nothing is known before {as_of}")
        count, left = known.units(period), (period.end - max(as_of, period.start)).days + 1
        recent = known.history.counts[-RECENT_DAYS:]
        recent_pace = sum(recent) / len(recent)
        days = (as_of - max(period.start, self.first)).days
        same_pace = count / days if days > 0 else recent_pace
        return DailyForecast(
            as_of=as_of,
            period=period.id,
            count=count,
            total=projection.totals(period.end),
            date=projection.dates(value) if value is not None else ProjectedDate(p10=None, p50=None, p90=None),
            same_pace=count + round(same_pace * left),
            recent_pace=count + round(recent_pace * left),
            actual=self.actual(period),
        )

    def actual(self, period: Period) -> int:
        """What a period counts by everything that is known."""
        return sum(count for day, count in self._counts.items() if period.start <= day <= period.end)

    def date_reaching(self, period: Period, value: int) -> date | None:
        """The date on which a period's count reached a value; None if it never did."""
        return self.known_on(self.last + _DAY).date_reaching(period, value)

    def first_expected_by(self, period: Period, value: int, by: date) -> tuple[date | None, date | None]:
        """When the middle projection of reaching a value first was on or before a date, and since when it stayed so.

        Each is the date of the first such morning forecast; None if there was none. The last morning is the one after the
        value was reached, or after the period.
        """
        first = since = None
        for as_of in self._mornings(period):
            known = self.known_on(as_of)
            if known.units(period) >= value:
                break
            projection = project(known, period)
            middle = projection.dates(value).p50 if projection is not None else None
            if middle is None or middle > by.isoformat():
                since = None
                continue
            first = first or as_of
            since = since or as_of
        return first, since

    def dates(self, period: Period, days_of_month: Iterable[int]) -> Iterator[date]:
        """The dates of a period on these days of the month that have both something known and something to compare with."""
        chosen = set(days_of_month)
        return (day for day in self._mornings(period) if day.day in chosen)

    def _mornings(self, period: Period) -> Iterator[date]:
        day = max(period.start, self.first + _DAY)
        while day <= min(period.end, self.last):
            yield day
            day += _DAY


def score(rows: Iterable[DailyForecast]) -> Score:
    """The mean errors of rows.

    Raises:
        ValueError: There are none.
    """
    found = [row for row in rows if row.actual]
    if not found:
        raise ValueError("no period with units to compare with")
    errors = [row.errors() for row in found]
    model, same, recent = (sum(abs(error[at]) for error in errors) / len(errors) for at in range(3))
    ranges = [(row.total.p10, row.actual, row.total.p90) for row in found]
    bounded = [(low, actual, high) for low, actual, high in ranges if low is not None and high is not None]
    return Score(model, same, recent, len(bounded), sum(low <= actual <= high for low, actual, high in bounded))


def complete_periods(past: Past, period_of: Callable[[date], Period]) -> list[Period]:
    """The periods of one kind that are over within the past, from its second day on."""
    found: dict[str, Period] = {}
    day = past.first + _DAY
    while day <= past.last:
        period = period_of(day)
        if period.end <= past.last:
            found[period.id] = period
        day += _DAY
    return list(found.values())
