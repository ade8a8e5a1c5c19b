"""The pace of a series of daily counts: level, trend and day effects, estimated from complete days only.

    expected(h) = max(0, level + slope * (lag + 1 + phi + ... + phi^h)) * weight(type of day)

for the day that is `h` days after the first one to come, where

- `level` = sum(r^k * units) / sum(r^k * weight) over the last `LEVEL_WEEKS` weeks counted back from the last complete
  day, the k-th of them k weeks old: exponential smoothing with r = 0.55 (Brown 1959; Hyndman, Athanasopoulos, Forecasting:
  Principles and Practice, 3rd ed., section 8.1). Whole weeks have every weekday once, so the level does not depend on the
  day effects, and more recent units never lower it. `lag` is the mean age of those days, by which such a level lags behind
  a trend.
- `weight` of a type of day is that of `streams.domain.forecasts.day_effects`.
- `slope`, units a day per day: a share of Sen's median of pairwise slopes (Sen 1968, J. Am. Stat. Assoc. 63) between the levels
  of the last `TREND_WEEKS` weeks, if the Mann-Kendall test (Mann 1945, Econometrica 13) finds a trend there at the 5 % level,
  else 0. `phi` damps it by a twentieth a week (Gardner, McKenzie 1985, Management Science 31): a trend lasts for weeks, not
  forever.
- The share of the trend is what the series' own past says of it: every Monday, the next `JUDGED_DAYS` days are forecast
  with all of the trend and without it, and each is weighted by its mean error to the power of -`SHARPNESS` (as forecasts are
  combined by their errors: Bates, Granger 1969, Oper. Res. Quarterly 20). Errors count half as much as ones `HALF_LIFE_DAYS`
  later. It is one half as long as nothing is known, as in the theta method (Hyndman, Billah 2003, Int. J. Forecasting 19).
- After a shift to another level (`streams.domain.forecasts.level_shift`), the level rests on the whole weeks since then alone, and there is no
  trend.

Medians and signs keep a launch day, an outage or its catch-up from distorting the trend.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import accumulate, combinations
from typing import TYPE_CHECKING, Final

import numpy as np

from streams.domain.forecasts.day_effects import weights_by_point
from streams.domain.forecasts.level_shift import weeks_since_shift
from streams.domain.time.daytypes import WEEKDAYS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from numpy.typing import NDArray

    from streams.domain.time.daytypes import DayTypes

MODEL: Final = "weekday-level-trend"
MODEL_VERSION: Final = "4"

LEVEL_WEEKS: Final = 10
DECAY_PER_WEEK: Final = 0.55
TREND_WEEKS: Final = 8
LEAST_TREND_WEEKS: Final = 5
DAMPING_PER_WEEK: Final = 0.95
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

    A forecast needs some hundred of them, to learn from its past; they are made together, as arrays by number of days.

    Args:
        start: Date of the first count.
        counts: Units of consecutive complete days.
        day_types: Types of dates.
    """

    def __init__(self, start: date, counts: Sequence[int], day_types: DayTypes) -> None:
        self.start = start
        self.counts = counts
        self.types = day_types.from_date(start, len(counts))
        self._counts = np.array(counts, dtype=np.int64)
        self._types = np.array(self.types, dtype=np.int64)
        #: Prefix sums: units of the first n days.
        self.sums = np.concatenate(([0], self._counts.cumsum()))
        self._weights = weights_by_point(self._counts, self._types)
        self._level, self._lag_days, self._slope = self._estimates()

    def units(self, first: int, end: int) -> int:
        """Units of the days with these numbers, `end` excluded."""
        return int(self.sums[end] - self.sums[first])

    def at(self, days: int) -> Pace:
        """The estimate from the first `days` days, at least one."""
        slope = float(self._slope[days])
        return Pace(
            float(self._level[days]),
            slope * self.trend_share(days) if slope else 0.0,
            float(self._lag_days[days]),
            tuple(self._weights[days].tolist()),
        )

    def sums_ahead(self, points: NDArray[np.int64], days: int, trend_share: float) -> NDArray[np.float64]:
        """What would have been forecast at points in the past.

        Args:
            points: Numbers of days, at least one each.
            days: How far ahead.
            trend_share: How much of a trend to believe, 0 to 1.

        Returns:
            By point and day ahead, from one on: units up to there; NaN where the days are not over yet.
        """
        slope = (self._slope[points] * trend_share)[:, np.newaxis]
        level = self._level[points][:, np.newaxis] + slope * self._lag_days[points][:, np.newaxis]
        numbers = points[:, np.newaxis] + np.arange(days)
        is_over = numbers < len(self.counts)
        types = self._types[np.where(is_over, numbers, 0)]
        units = np.maximum(0.0, level + slope * _damped_days(days)) * self._weights[points[:, np.newaxis], types]
        return np.where(is_over, units, np.nan).cumsum(axis=1)

    def has_trend(self, points: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the data support a trend at points in the past."""
        has: NDArray[np.bool_] = self._slope[points] != 0
        return has

    def trend_share(self, days: int) -> float:
        """How much of a trend to believe, 0 to 1, by how forecasts with and without trends have done.

        Nothing of the last week is used, so that late units, which are part of the level, do not change it.
        """
        return self._shares[bisect_right(self._judged, days - _WEEK)]

    @cached_property
    def _shares(self) -> list[float]:
        """The share of a trend after each of `_judged`, and one half before the first."""
        ends = np.array(self._judged, dtype=np.int64)
        points = ends - JUDGED_DAYS
        forecasts = np.stack([self.sums_ahead(points, JUDGED_DAYS, share)[:, -1] for share in (0.0, 1.0)], axis=1)
        came = (self.sums[ends] - self.sums[points])[:, np.newaxis]
        shares, without_error, with_error = [0.5], 0.0, 0.0
        for without, with_ in relative_errors(forecasts, came).tolist():
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

    def _estimates(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """By point: the level, how many days it lags behind, and all of the trend that the test supports."""
        units, weights, ages_days = self._weeks()
        with np.errstate(invalid="ignore"):
            levels = units / weights
        slopes = _supported_slopes(levels) / _WEEK
        weeks = weeks_since_shift(self._units_of_average_days(), levels, slopes != 0)
        decay, weighed_units, weighed_days, weighed_ages = 1.0, np.zeros(units.shape[1]), *np.zeros((2, units.shape[1]))
        for week in range(LEVEL_WEEKS):
            counts = np.where(weeks > week, decay, 0.0)
            weighed_units += counts * units[week]
            weighed_days += counts * weights[week]
            weighed_ages += counts * weights[week] * ages_days[week]
            decay *= DECAY_PER_WEEK
        weighed_days[0] = 1.0  # there is nothing to weigh before the first day
        # What looks like a trend after a shift is the shift.
        slopes[weeks < LEVEL_WEEKS] = 0.0
        return weighed_units / weighed_days, weighed_ages / weighed_days, slopes

    def _units_of_average_days(self) -> NDArray[np.float64]:
        """By day: its units by the day effects known a week before, so that late units do not change them; NaN for special days."""
        points = np.maximum(np.arange(len(self.counts)) - _WEEK, 0)
        return np.where(self._types < WEEKDAYS, self._counts / self._weights[points, self._types], np.nan)

    def _weeks(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """By week before a point, latest first, and by point: units, weight, and mean age in days; 0 where there is no such week.

        A point without a whole week before it has one shorter week.
        """
        count = len(self.counts)
        units, weights, ages_days = np.zeros((3, LEVEL_WEEKS, count + 1))
        for short in range(1, min(_WEEK, count + 1)):
            units[0, short] = self.sums[short]
            weights[0, short] = self._weights[short, self._types[:short]].sum()
            ages_days[0, short] = (short - 1) / 2
        of_weeks = self.sums[_WEEK:] - self.sums[:-_WEEK]
        whole = self._weights[:, 0]
        for weekday in range(1, WEEKDAYS):
            whole = whole + self._weights[:, weekday]
        types = self._days_by_type[_WEEK:] - self._days_by_type[:-_WEEK]
        # An ordinary week has every weekday once.
        special = np.flatnonzero(types[:, WEEKDAYS:].any(axis=1))
        for week in range(min(LEVEL_WEEKS, count // _WEEK)):
            first = (week + 1) * _WEEK
            units[week, first:] = of_weeks[: count + 1 - first]
            weights[week, first:] = whole[first:]
            ages_days[week, first:] = week * _WEEK + _HALF_WEEK
            there = special[special <= count - first]
            weights[week, first + there] = (types[there] * self._weights[first + there]).sum(axis=1)
        return units, weights, ages_days

    @cached_property
    def _days_by_type(self) -> NDArray[np.int64]:
        """Prefix sums: how many of the first n days were of each type."""
        of_type = self._types[:, np.newaxis] == np.arange(WEEKDAYS + 2)
        return np.concatenate((np.zeros((1, WEEKDAYS + 2), dtype=np.int64), of_type.cumsum(axis=0)))


def relative_errors(forecasts: NDArray[np.float64], came: NDArray[np.float64]) -> NDArray[np.float64]:
    """Errors as fractions of the forecasts, or of the mean of forecast and actual if the actual was higher; of at least one unit."""
    most = np.maximum(np.maximum(forecasts, (forecasts + came) / 2), 1.0)
    return np.abs(came - forecasts) / most


@cache
def _pairs(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The numbers of the earlier and later of each two, of `count` values in order."""
    first, second = np.array(list(combinations(range(count), 2))).T
    return first, second


@cache
def _damped_days(days: int) -> NDArray[np.float64]:
    """By day ahead: of how many days the slope is added until then, each damped."""
    return np.array(list(accumulate(_PHI**number for number in range(days))))


def _supported_slopes(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """By point: Sen's slope per week where the Mann-Kendall test supports a trend, else 0.

    Args:
        levels: By week, latest first, and point, 0 to the number of days.
    """
    known = np.minimum(np.arange(levels.shape[1]) // _WEEK, TREND_WEEKS)
    slopes = np.zeros(levels.shape[1])
    for count in range(LEAST_TREND_WEEKS, TREND_WEEKS + 1):
        points = np.flatnonzero(known == count)
        first, second = _pairs(count)
        of_points = levels[:count][::-1][:, points]
        gaps = of_points[second] - of_points[first]
        rises = (gaps > 0).sum(axis=0) - (gaps < 0).sum(axis=0)
        deviation = math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
        supported = np.abs(rises) - 1 >= _SIGNIFICANT * deviation
        each = np.sort(gaps[:, supported] / (second - first)[:, np.newaxis], axis=0)
        slopes[points[supported]] = (each[(len(each) - 1) // 2] + each[len(each) // 2]) / 2
    return slopes
