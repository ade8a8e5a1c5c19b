"""The forecast of one target: what its window will count, and when it reaches the value.

Days that are counted are taken as they are, and the model of `streams.domain.forecasts.pace` gives the days to come. For today, the units
so far count as they are, and the part of the day that usually comes after this hour is projected; the estimates themselves
rest on complete days. The range is that of `streams.domain.forecasts.forecast_range`: `p10` and `p90` had the truth between them in 8 of
10 cases of the series' own past. All in units (whole ones in results) and civil dates of the business time zone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, time, timedelta
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from schemas.outputs import Forecast, ForecastQuality, ForecastState, ProjectedDate, ProjectedTotal
from streams.domain.forecasts.forecast_range import Spread, Spreads
from streams.domain.forecasts.pace import MODEL, MODEL_VERSION, PaceModel
from streams.domain.time.periods import TOTAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.domain.rules import Target
    from streams.domain.time.daytypes import DayTypes
    from streams.domain.time.periods import Period

#: Complete days that a forecast looks back on: a year, plus room for a holiday that has moved.
HISTORY_DAYS: Final = 400
#: At most this many days after the end of a period, the date of reaching a target is still looked for.
BEYOND_DAYS: Final = 92
#: Days, today included, for which a window without an end is projected.
OPEN_DAYS: Final = 366
#: Complete days from which a history is called good.
GOOD_DAYS: Final = 56

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class DailyHistory:
    """The complete days of one metric and scope, without gaps, the last of them yesterday.

    Attributes:
        start: Date of the first of `counts`.
        counts: Units by day.
        day_types: Types of dates.
    """

    start: date
    counts: tuple[int, ...]
    day_types: DayTypes

    @property
    def business_date(self) -> date:
        """Today: the day after the last complete one."""
        return self.start + len(self.counts) * _DAY

    @cached_property
    def model(self) -> PaceModel | None:
        """The model of the recent days, from their first unit on; None without units."""
        recent = self.counts[-HISTORY_DAYS:]
        first = next((number for number, count in enumerate(recent) if count), None)
        if first is None:
            return None
        return PaceModel(self.business_date - (len(recent) - first) * _DAY, recent[first:], self.day_types)

    @cached_property
    def spreads(self) -> Spreads | None:
        """How far the model was off in its past; None without a model."""
        return Spreads(self.model) if self.model is not None else None

    @property
    def days(self) -> int:
        """Complete days that a forecast rests on."""
        return len(self.model.counts) if self.model is not None else 0


@dataclass(frozen=True)
class Known:
    """What is known of one metric and scope at one moment.

    Attributes:
        history: Complete days.
        today: Units of the business date so far.
        share: The part of a day's units that has usually come by this time of day, 0 to 1.
        balance: Units of all time from before the days.
    """

    history: DailyHistory
    today: int = 0
    share: float = 0.0
    balance: int = 0

    @property
    def business_date(self) -> date:
        """Today."""
        return self.history.business_date

    def units(self, period: Period) -> int:
        """What a period counts so far."""
        return self._before(period) + sum(self._within(period))

    def date_reaching(self, period: Period, value: int) -> date | None:
        """The date on which a period's count reached a value, by the present counts; None if it did so before these days."""
        first = max(period.start, self.history.start)
        if value <= self._before(period):
            return None
        sums = accumulate(self._within(period), initial=self._before(period))
        next(sums)
        return next((first + number * _DAY for number, total in enumerate(sums) if total >= value), None)

    def _before(self, period: Period) -> int:
        return self.balance if period.kind == TOTAL else 0

    def _within(self, period: Period) -> tuple[int, ...]:
        start, counts = self.history.start, (*self.history.counts, self.today)
        return counts[max(0, (period.start - start).days) : max(0, (period.end - start).days + 1)]


def usual_share(by_hour: Sequence[int], time_of_day: time) -> float:
    """The part of a day's units that has come by a time of day; evenly within an hour, and over the day if there were none.

    Args:
        by_hour: Units of recent days by local hour, 24 sums.
        time_of_day: Local time.
    """
    into_hour = (time_of_day.minute * 60 + time_of_day.second) / 3600
    total = sum(by_hour)
    if not total:
        return (time_of_day.hour + into_hour) / 24
    return (sum(by_hour[: time_of_day.hour]) + by_hour[time_of_day.hour] * into_hour) / total


@dataclass(frozen=True)
class Projection:
    """What a window will count at the end of each date to come.

    Attributes:
        first: The first of these dates: today, or the first of a period to come.
        middle: Units by date, never falling.
        low: The same at the lower end of the range, for as long as there is one, at least to the period's end; None without a range.
        high: The same at the upper end.
        days_ahead: From today to the period's end, both included.
        spread: What the range is based on.
    """

    first: date
    middle: Sequence[int]
    low: Sequence[int] | None
    high: Sequence[int] | None
    days_ahead: int
    spread: Spread | None

    def totals(self, last: date) -> ProjectedTotal:
        """The totals at the end of a date, not before `first`."""
        at = (last - self.first).days
        low, high = (path[at] if path is not None else None for path in (self.low, self.high))
        return ProjectedTotal(p10=low, p50=self.middle[at], p90=high)

    def dates(self, value: int) -> ProjectedDate:
        """When a value is reached; the upper end of the range is the early date."""
        early, middle, late = (self._reached(path, value) for path in (self.high, self.middle, self.low))
        return ProjectedDate(p10=early, p50=middle, p90=late)

    def _reached(self, path: Sequence[int] | None, value: int) -> str | None:
        at = next((at for at, units in enumerate(path or ()) if units >= value), None)
        return (self.first + at * _DAY).isoformat() if at is not None else None


def project(known: Known, period: Period) -> Projection | None:
    """Projects a period that is not over; None if there is no history to start from.

    The dates continue past the end of the period, as if its window did.
    """
    model, today, day_types = known.history.model, known.business_date, known.history.day_types
    spreads = known.history.spreads
    if model is None or spreads is None:
        return None
    pace = model.at(len(model.counts))
    units = pace.expected(day_types.from_date(today, (horizon(period) - today).days + 1))
    units[0] *= 1 - known.share
    before = max(0, (period.start - today).days)
    sums = list(accumulate(units[before:]))
    days_ahead = (period.end - today).days + 1
    spread = spreads.at(days_ahead)
    count = known.units(period)
    middle = [count + _whole(total) for total in sums]
    first = today + before * _DAY
    if spread is None:
        return Projection(first, middle, None, None, days_ahead, None)
    # Each date has the range for its distance, and neither of its ends is below that of an earlier date, so that the ranges of nested
    # periods agree. Dates after the period's end can be too far away for a range.
    halves = [
        each.units(total, number)
        for number, total in enumerate(sums, before + 1)
        if (each := spreads.at(number)) is not None
    ]
    low = accumulate((max(0.0, total - half) for total, half in zip(sums, halves, strict=False)), max)
    high = accumulate((total + half for total, half in zip(sums, halves, strict=False)), max)
    return Projection(
        first,
        middle,
        [count + _whole(units) for units in low],
        [count + _whole(units) for units in high],
        days_ahead,
        spread,
    )


def horizon(period: Period) -> date:
    """The last date on which reaching a target is looked for.

    As long after the period as it lasts, at most `BEYOND_DAYS`; for a day, whose target cannot be reached tomorrow, the day
    itself; for the result of `projected_part`, its end, which is only that
    of the projection.
    """
    if period.kind == TOTAL:
        return period.end
    length_days = (period.end - period.start).days + 1
    return period.end + (min(BEYOND_DAYS, length_days) if length_days > 1 else 0) * _DAY


def projected_part(period: Period, today: date) -> Period:
    """The period up to where it is projected: all of it, or a year from today if it has no end."""
    return replace(period, end=today + (OPEN_DAYS - 1) * _DAY) if period.kind == TOTAL else period


def forecast(target: Target, period: Period, known: Known, *, as_of: str, timezone: str) -> Forecast:
    """The forecast of a target.

    Args:
        target: A target in force.
        period: Its period.
        known: The day counts of its metric and scope, from the period's start or earlier.
        as_of: The moment, RFC 3339.
        timezone: IANA name of the business time zone.
    """
    whole, period = period, projected_part(period, known.business_date)
    count = known.units(period)
    reached_on = known.date_reaching(period, target.value)
    over = known.business_date > period.end
    projection = None if over else project(known, period)
    if over:
        totals = ProjectedTotal(p10=count, p50=count, p90=count)
    else:
        totals = projection.totals(period.end) if projection else ProjectedTotal(p10=None, p50=None, p90=None)
    dates = projection.dates(target.value) if projection else ProjectedDate(p10=None, p50=None, p90=None)
    if reached_on is not None:
        dates = ProjectedDate(p10=reached_on.isoformat(), p50=reached_on.isoformat(), p90=reached_on.isoformat())
    elif count >= target.value:
        dates = ProjectedDate(p10=None, p50=None, p90=None)
    plan = _Plan(target.value, period, known, expected=dates.p50 is not None)
    model = known.history.model
    left = target.value - count
    made = Forecast(
        metric=target.metric,
        scope=target.scope,
        period=period.id,
        target_id=target.target_id,
        label=target.label or None,
        value=target.value,
        start=whole.start.isoformat(),
        end=whole.end.isoformat(),
        timezone=timezone,
        count=count,
        business_date=known.business_date.isoformat(),
        as_of=as_of,
        projected_total=totals,
        projected_date=dates,
        horizon=horizon(period).isoformat(),
        remaining_days=round(plan.remaining_days, 2),
        plan_count=plan.units,
        ahead_units=count - plan.units,
        ahead_days=plan.ahead_days,
        history_days=known.history.days,
        note="",
        model=MODEL,
        model_version=MODEL_VERSION,
        state=_state(plan, reached=left <= 0, over=over),
        quality=_quality(known, projection, over=over),
        reached_on=reached_on.isoformat() if reached_on is not None else None,
        # One day has no pace per day: what is left is left today.
        pace_needed=round(left / plan.remaining_days, 1)
        if left > 0 < plan.remaining_days and not plan.is_one_day and period.kind != TOTAL
        else None,
        pace_recent=round(model.at(len(model.counts)).rate, 1) if model is not None else None,
    )
    return made.model_copy(update={"note": _note(made, projection)})


class _Plan:
    """The plan line: straight from 0 at the period's start to the target's value at its end.

    Within today it rises with the part of a day's units that has usually come by now, so that a target is not behind
    every morning. A window without an end has no such line: it is ahead if the value is expected within the projection.
    """

    def __init__(self, value: int, period: Period, known: Known, *, expected: bool) -> None:
        length_days = (period.end - period.start).days + 1
        begun_days = (known.business_date - period.start).days
        self.begun = begun_days >= 0
        if period.kind == TOTAL:
            self.is_one_day, self.is_ahead = False, expected
            self.units, self.ahead_days = known.units(period), 0.0
            self.remaining_days = OPEN_DAYS - known.share
            return
        self.is_one_day = length_days == 1
        elapsed_days = min(float(length_days), begun_days + known.share) if self.begun else 0.0
        exact = value * elapsed_days / length_days
        count = known.units(period)
        self.units = _whole(exact)
        self.remaining_days = length_days - elapsed_days
        self.is_ahead = count >= exact
        self.ahead_days = round((count - exact) * length_days / value, 1)


def _state(plan: _Plan, *, reached: bool, over: bool) -> ForecastState:
    if reached:
        return "reached"
    if over:
        return "missed"
    if not plan.begun:
        return "upcoming"
    return "ahead" if plan.is_ahead else "behind"


def _quality(known: Known, projection: Projection | None, *, over: bool) -> ForecastQuality:
    if over:
        return "good" if known.history.days else "none"  # counted, not projected
    if projection is None:
        return "none"
    if projection.spread is None:
        return "little"
    is_stretched = projection.spread.measured_days * 2 < projection.days_ahead
    return "fair" if is_stretched or known.history.days < GOOD_DAYS else "good"


def _note(made: Forecast, projection: Projection | None) -> str:
    if made.state == "reached":
        return f"reached on {made.reached_on}" if made.reached_on else "reached before the days that are counted here"
    if made.state == "missed":
        return f"not reached: {made.value - made.count:,} short at the end of the period"
    if projection is None:
        return "no complete day of history yet: nothing can be projected"
    return f"{_expectation(made)}{_caution(made, projection)}"


def _expectation(made: Forecast) -> str:
    early, middle, late = made.projected_date.p10, made.projected_date.p50, made.projected_date.p90
    if made.start == made.end:
        return _expectation_of_a_day(made)
    if middle is None:
        at_best = f", at the early end of the range on {early}" if early is not None else ""
        return f"not expected by {made.horizon} at this pace{at_best}"
    after = ", after the end of the period" if middle > made.end else ""
    if made.projected_total.p10 is None:
        return f"expected on {middle}{after}"
    if early == late:
        return f"expected on {middle}{after}"
    until = f"between {early} and {late}" if late is not None else f"not before {early}, perhaps not by {made.horizon},"
    return f"expected on {middle}{after}, {until} in 8 of 10 cases"


def _expectation_of_a_day(made: Forecast) -> str:
    when = "today" if made.business_date == made.end else f"on {made.end}"
    if made.projected_date.p90 is not None:
        return f"expected {when}"
    if made.projected_date.p50 is not None:
        return f"expected {when}" if made.projected_total.p10 is None else f"expected {when}, but not in 8 of 10 cases"
    return (
        f"not expected {when}" if made.projected_date.p10 is None else f"not expected {when}, though within the range"
    )


def _caution(made: Forecast, projection: Projection) -> str:
    if projection.spread is None:
        days = "1 day of history is" if made.history_days == 1 else f"{made.history_days} days of history are"
        return f"; {days} too little for a range"
    if made.quality == "fair":
        return f"; the range rests on {made.history_days} days of history, on errors over {projection.spread.measured_days} days"
    return ""


def _whole(units: float) -> int:
    return int(units + 0.5)
