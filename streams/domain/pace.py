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
- `slope`, units a day per day: Sen's median of pairwise slopes (Sen 1968, J. Am. Stat. Assoc. 63) between the levels of
  the last `TREND_WEEKS` weeks, used only if the Mann-Kendall test (Mann 1945, Econometrica 13) finds a trend there at
  the 5 % level, else 0. Half of it is used, as the theta method does (Hyndman, Billah 2003, Int. J. Forecasting 19), and
  `phi` damps it by a tenth a week (Gardner, McKenzie 1985, Management Science 31): a trend lasts for weeks, not forever.

Medians and signs keep a launch day, an outage or its catch-up from distorting the day effects and the trend.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate
from statistics import median
from typing import TYPE_CHECKING, Final

from streams.domain.daytypes import HOLIDAY, WEEKDAYS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from streams.domain.daytypes import DayTypes

MODEL: Final = "weekday-level-trend"
MODEL_VERSION: Final = "2"

LEVEL_WEEKS: Final = 10
DECAY_PER_WEEK: Final = 0.5
EFFECT_WEEKS: Final = 8
PRIOR_DAYS: Final = 2
HOLIDAY_PRIOR_DAYS: Final = 7
AROUND_HOLIDAY_DAYS: Final = 14
TREND_WEEKS: Final = 8
LEAST_TREND_WEEKS: Final = 5
TREND_SHARE: Final = 0.5
DAMPING_PER_WEEK: Final = 0.9

_PHI = DAMPING_PER_WEEK ** (1 / 7)
_SIGNIFICANT = 1.96  # two-sided 5 %
_WEEK = 7
_HALF_WEEK = 3


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
        weights = self._weights(days)
        weeks = self._weeks(days, weights)
        decay, weighed_units, weighed_days, weighed_ages = 1.0, 0.0, 0.0, 0.0
        for units, weight, age_days in weeks:
            weighed_units += decay * units
            weighed_days += decay * weight
            weighed_ages += decay * weight * age_days
            decay *= DECAY_PER_WEEK
        levels = [units / weight for units, weight, _ in reversed(weeks[:TREND_WEEKS])]
        slope = TREND_SHARE * _supported_slope(levels) / _WEEK if len(levels) >= LEAST_TREND_WEEKS else 0.0
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


def _supported_slope(levels: Sequence[float]) -> float:
    """Sen's slope per step where the Mann-Kendall test supports a trend, else 0."""
    count = len(levels)
    pairs = [(first, second) for first in range(count) for second in range(first + 1, count)]
    rises = sum((levels[second] > levels[first]) - (levels[second] < levels[first]) for first, second in pairs)
    deviation = math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    if abs(rises) - 1 < _SIGNIFICANT * deviation:
        return 0.0
    return median((levels[second] - levels[first]) / (second - first) for first, second in pairs)
