"""The pace of a series of daily counts: level, trend and day effects, estimated from complete days only.

    expected(h) = max(0, level + slope * (lag + 1 + phi + ... + phi^h)) * weight(type of day)

for the day that is `h` days after the first one to come, where

- `level` = sum(r^k * units) / sum(r^k * weight) over the last `LEVEL_WEEKS` weeks counted back from the last complete
  day, the k-th of them k weeks old: exponential smoothing with r = 1/2 (Brown 1959; Hyndman, Athanasopoulos, Forecasting:
  Principles and Practice, 3rd ed., section 8.1). Whole weeks have every weekday once, so the level does not depend on the
  day effects, and more recent units never lower it. `lag` is the mean age of those days, by which such a level lags behind
  a trend.
- `weight` of a weekday: the median, over the last `EFFECT_WEEKS` weeks, of its count as a ratio of the mean of the seven
  days around it (classical multiplicative decomposition, same book, section 3.4), shrunk towards 1 as if `PRIOR_DAYS`
  days at 1 had been seen too, scaled to a mean of 1. `weight` of a holiday: the mean ratio of the holidays seen so far to
  the ordinary days within `AROUND_HOLIDAY_DAYS` before and after each, likewise shrunk towards 1. A working weekend day has
  the mean weight of Monday to Friday. There is no month-end effect: the series of the back-test show none, so it would not
  earn its keep.
- `slope`, units a day per day: a share of Sen's median of pairwise slopes (Sen 1968, J. Am. Stat. Assoc. 63) between the levels
  of the last `TREND_WEEKS` weeks, if the Mann-Kendall test (Mann 1945, Econometrica 13) finds a trend there at the 5 % level,
  else 0. `phi` damps it by a tenth a week (Gardner, McKenzie 1985, Management Science 31): a trend lasts for weeks, not
  forever.
- The share of the trend is what the series' own past says of it: every Monday, the next `JUDGED_DAYS` days are forecast
  with all of the trend and without it, and each is weighted by its mean error to the power of -`SHARPNESS` (as forecasts are
  combined by their errors: Bates, Granger 1969, Oper. Res. Quarterly 20). Errors count half as much as ones `HALF_LIFE_DAYS`
  later. It is one half as long as nothing is known, as in the theta method (Hyndman, Billah 2003, Int. J. Forecasting 19).
- A shift: if each of the last weeks, two to `LEVEL_WEEKS` - `WEEKS_BEFORE` of them, is above (or below) all of the `WEEKS_BEFORE`
  weeks before them, by more than those differ among themselves, then the level and the trend come from these last weeks alone.

Medians and signs keep a launch day, an outage or its catch-up from distorting the day effects and the trend.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import accumulate, combinations
from statistics import median
from typing import TYPE_CHECKING, Final

import numpy as np

from streams.domain.daytypes import HOLIDAY, WEEKDAYS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from numpy.typing import NDArray

    from streams.domain.daytypes import DayTypes

MODEL: Final = "weekday-level-trend"
MODEL_VERSION: Final = "3"

LEVEL_WEEKS: Final = 10
DECAY_PER_WEEK: Final = 0.5
EFFECT_WEEKS: Final = 8
PRIOR_DAYS: Final = 2
HOLIDAY_PRIOR_DAYS: Final = 7
AROUND_HOLIDAY_DAYS: Final = 14
TREND_WEEKS: Final = 8
LEAST_TREND_WEEKS: Final = 5
DAMPING_PER_WEEK: Final = 0.9
WEEKS_BEFORE: Final = 5
JUDGED_DAYS: Final = 28
HALF_LIFE_DAYS: Final = 90
SHARPNESS: Final = 4

_PHI = DAMPING_PER_WEEK ** (1 / 7)
_SIGNIFICANT = 1.96  # two-sided 5 %
_WEEK = 7
_HALF_WEEK = 3
#: Days between two points at which trends are judged, and of history that the first one needs.
_JUDGING_STEP = 7
_LEAST_JUDGED = 35
_KEPT_PER_STEP = 0.5 ** (_JUDGING_STEP / HALF_LIFE_DAYS)


@dataclass(frozen=True, slots=True)
class Pace:
    """An estimate at one point in time.

    Attributes:
        level: Units of an average day.
        slope: Units a day per day; 0 where the data support no trend.
        lag_days: How far the level lags behind, in days.
        weights: By day type, its units as a multiple of an average day's.
    """

    level: float
    slope: float
    lag_days: float
    weights: tuple[float, ...]

    @property
    def rate(self) -> float:
        """Units of an average day at this point in time."""
        return max(0.0, self.level + self.slope * self.lag_days)

    def with_trend(self, share: float) -> Pace:
        """The same with a share of the trend."""
        return Pace(self.level, self.slope * share, self.lag_days, self.weights)

    def expected(self, day_types: Sequence[int]) -> list[float]:
        """Units of each day to come, given their types; the first is the day after the last complete one."""
        level, step = self.level + self.slope * self.lag_days, self.slope
        weights = self.weights
        if not step:
            return [max(0.0, level) * weights[day_type] for day_type in day_types]
        units = []
        for day_type in day_types:
            level += step
            step *= _PHI
            units.append(max(0.0, level) * weights[day_type])
        return units


class PaceModel:
    """Estimates of one series at any point in it, each from the days before that point only.

    Args:
        start: Date of the first count.
        counts: Units of consecutive complete days.
        day_types: Types of dates.
    """

    def __init__(self, start: date, counts: Sequence[int], day_types: DayTypes) -> None:
        self.start = start
        self.counts = counts
        self.types = day_types.from_date(start, len(counts))
        #: Prefix sums: units of the first n days.
        self.sums = [0, *accumulate(counts)]
        #: Prefix sums: holidays and working weekend days among the first n days.
        self._special = [0, *accumulate(day_type >= WEEKDAYS for day_type in self.types)]
        self._ratios = self._weekday_ratios()
        self._holidays, self._holiday_sums = self._holiday_ratios()
        self._known: dict[int, Pace] = {}
        self._whole: dict[int, Pace] = {}

    def units(self, first: int, end: int) -> int:
        """Units of the days with these numbers, `end` excluded."""
        return self.sums[end] - self.sums[first]

    def at(self, days: int) -> Pace:
        """The estimate from the first `days` days, at least one."""
        found = self._known.get(days)
        if found is None:
            found = self._known[days] = self._estimate(days)
        return found

    def _estimate(self, days: int) -> Pace:
        whole = self._with_whole_trend(days)
        return whole.with_trend(self.trend_share(days)) if whole.slope else whole

    def trend_share(self, days: int) -> float:
        """How much of a trend to believe, 0 to 1, by how forecasts with and without trends have done.

        Nothing of the last week is used, so that late units, which are part of the level, do not change it.
        """
        found = bisect_right(self._judged, days - _WEEK)
        return self._shares[found]

    @cached_property
    def _shares(self) -> list[float]:
        """The share of a trend after each of `_judged`, and one half before the first."""
        forecasts = []
        for end in self._judged:
            pace, types = self._with_whole_trend(end - JUDGED_DAYS), self.types[end - JUDGED_DAYS : end]
            without = sum(pace.with_trend(0).expected(types))
            forecasts.append((without, sum(pace.expected(types)) if pace.slope else without))
        came = [(self.units(end - JUDGED_DAYS, end),) for end in self._judged]
        shares, without_error, with_error = [0.5], 0.0, 0.0
        for without, with_ in relative_errors(np.reshape(forecasts, (-1, 2)), np.reshape(came, (-1, 1))).tolist():
            without_error = without_error * _KEPT_PER_STEP + without
            with_error = with_error * _KEPT_PER_STEP + with_
            for_it, against_it = without_error**SHARPNESS, with_error**SHARPNESS
            shares.append(for_it / (for_it + against_it) if for_it + against_it else 0.5)
        return shares

    @cached_property
    def _judged(self) -> range:
        """The numbers of days after which there is one more error to learn from: every Monday, whenever a history begins."""
        first = _LEAST_JUDGED + JUDGED_DAYS
        first += -(self.start.toordinal() - 1 + first) % _JUDGING_STEP
        return range(first, len(self.counts) + 1, _JUDGING_STEP)

    def _with_whole_trend(self, days: int) -> Pace:
        found = self._whole.get(days)
        if found is None:
            found = self._whole[days] = self._estimate_whole(days)
        return found

    def _estimate_whole(self, days: int) -> Pace:
        weights = self._weights(days)
        weeks = self._weeks(days, weights)
        weeks = weeks[: weeks_since_shift([units / weight for units, weight, _ in weeks])]
        decay, weighed_units, weighed_days, weighed_ages = 1.0, 0.0, 0.0, 0.0
        for units, weight, age_days in weeks:
            weighed_units += decay * units
            weighed_days += decay * weight
            weighed_ages += decay * weight * age_days
            decay *= DECAY_PER_WEEK
        levels = [units / weight for units, weight, _ in reversed(weeks[:TREND_WEEKS])]
        slope = _supported_slope(levels) / _WEEK if len(levels) >= LEAST_TREND_WEEKS else 0.0
        return Pace(weighed_units / weighed_days, slope, weighed_ages / weighed_days, weights)

    def _weeks(self, days: int, weights: Sequence[float]) -> list[tuple[int, float, float]]:
        """Units, weight and mean age in days of the weeks before a point, latest first; a shorter one if none is whole."""
        found = []
        whole, special = sum(weights[:WEEKDAYS]), self._special
        for end in range(days, max(_WEEK - 1, days - LEVEL_WEEKS * _WEEK), -_WEEK):
            first = end - _WEEK
            # An ordinary week has every weekday once.
            is_ordinary = special[first] == special[end]
            weight = whole if is_ordinary else sum([weights[each] for each in self.types[first:end]])
            found.append((self.sums[end] - self.sums[first], weight, days - end + 3.0))
        if not found:
            found.append((self.units(0, days), sum(weights[each] for each in self.types[:days]), (days - 1) / 2))
        return found

    def _weights(self, days: int) -> tuple[float, ...]:
        weekdays = []
        for numbers, ratios in self._ratios:
            end = bisect_left(numbers, days - _HALF_WEEK)
            seen = ratios[max(0, end - EFFECT_WEEKS) : end]
            middle = median(seen) if seen else 1.0
            weekdays.append((middle * len(seen) + PRIOR_DAYS) / (len(seen) + PRIOR_DAYS))
        scale = WEEKDAYS / sum(weekdays)
        weekdays = [weight * scale for weight in weekdays]
        holidays = bisect_left(self._holidays, days - AROUND_HOLIDAY_DAYS)
        holiday = (self._holiday_sums[holidays] + HOLIDAY_PRIOR_DAYS) / (holidays + HOLIDAY_PRIOR_DAYS)
        return (*weekdays, holiday, sum(weekdays[:5]) / 5)

    def _weekday_ratios(self) -> list[tuple[list[int], list[float]]]:
        """By weekday: numbers of its ordinary days, and their ratios to the seven days around."""
        found: list[tuple[list[int], list[float]]] = [([], []) for _ in range(WEEKDAYS)]
        for number in range(_HALF_WEEK, len(self.counts) - _HALF_WEEK):
            around = self.units(number - _HALF_WEEK, number + _HALF_WEEK + 1)
            if around and self.types[number] < WEEKDAYS:
                numbers, ratios = found[self.types[number]]
                numbers.append(number)
                ratios.append(self.counts[number] * _WEEK / around)
        return found

    def _holiday_ratios(self) -> tuple[list[int], list[float]]:
        """Numbers of the holidays with enough days around them, and the sums of their ratios up to each."""
        numbers: list[int] = []
        sums = [0.0]
        for number in range(AROUND_HOLIDAY_DAYS, len(self.counts) - AROUND_HOLIDAY_DAYS):
            if self.types[number] == HOLIDAY:
                around = range(number - AROUND_HOLIDAY_DAYS, number + AROUND_HOLIDAY_DAYS + 1)
                usual = [self.counts[other] for other in around if self.types[other] < WEEKDAYS]
                if sum(usual):
                    numbers.append(number)
                    sums.append(sums[-1] + self.counts[number] * len(usual) / sum(usual))
        return numbers, sums


def relative_errors(forecasts: NDArray[np.float64], came: NDArray[np.float64]) -> NDArray[np.float64]:
    """Errors as fractions of the forecasts, or of the mean of forecast and actual if the actual was higher; of at least one unit."""
    most = np.maximum(np.maximum(forecasts, (forecasts + came) / 2), 1.0)
    return np.abs(came - forecasts) / most


def weeks_since_shift(levels: Sequence[float]) -> int:
    """How many of the latest weeks belong to another level than those before; all of them if there was no shift.

    Args:
        levels: Units a day by week, latest first.
    """
    for since in range(2, len(levels) - WEEKS_BEFORE + 1):
        last = levels[since - 1]
        before = levels[since : since + WEEKS_BEFORE]
        lowest, highest = min(before), max(before)
        apart = highest - lowest
        if last - highest > apart:
            if min(levels[:since]) - highest > apart:
                return since
        elif lowest - last > apart and lowest - max(levels[:since]) > apart:
            return since
    return len(levels)


@cache
def _pairs(count: int) -> list[tuple[int, int]]:
    return list(combinations(range(count), 2))


def _supported_slope(levels: Sequence[float]) -> float:
    """Sen's slope per step where the Mann-Kendall test supports a trend, else 0."""
    count = len(levels)
    pairs = _pairs(count)
    gaps = [levels[second] - levels[first] for first, second in pairs]
    rises = len([gap for gap in gaps if gap > 0]) - len([gap for gap in gaps if gap < 0])
    deviation = math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    if abs(rises) - 1 < _SIGNIFICANT * deviation:
        return 0.0
    return median([gap / (second - first) for gap, (first, second) in zip(gaps, pairs, strict=True)])
