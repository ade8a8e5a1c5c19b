"""The day effects of a series of daily counts: what a Monday, ..., a holiday has of an average day's units.

- Weekdays: the median, over the last `EFFECT_WEEKS` weeks, of a day's count as a ratio of the mean of the seven days around it
  (classical multiplicative decomposition; Hyndman, Athanasopoulos, Forecasting: Principles and Practice, 3rd ed., section 3.4),
  shrunk towards 1 as if `PRIOR_DAYS` days at 1 had been seen too, scaled to a mean of 1.
- Holidays: the mean ratio of the holidays seen so far to the ordinary days within `AROUND_HOLIDAY_DAYS` before and after each,
  likewise shrunk towards 1.
- A working weekend day has the mean weight of Monday to Friday.

There is no month-end effect: the series of the back-test show none, so it would not earn its keep. Medians keep a launch day, an
outage or its catch-up from distorting the effects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from streams.domain.time.daytypes import HOLIDAY, WEEKDAYS

if TYPE_CHECKING:
    from numpy.typing import NDArray

EFFECT_WEEKS: Final = 8
PRIOR_DAYS: Final = 2
HOLIDAY_PRIOR_DAYS: Final = 7
AROUND_HOLIDAY_DAYS: Final = 14

_WEEK = 7
_HALF_WEEK = 3
_WORKING_DAYS = 5


def weights_by_point(counts: NDArray[np.int64], types: NDArray[np.int64]) -> NDArray[np.float64]:
    """By point and day type: units of such a day as a multiple of an average day's.

    Args:
        counts: Units of consecutive days.
        types: Their types.

    Returns:
        A row for each number of days, 0 to all, that rests on the days before that point only.
    """
    sums = np.concatenate(([0], counts.cumsum()))
    weekdays = _weekday_weights(counts, types, sums)
    working = weekdays[0]
    for weekday in weekdays[1:_WORKING_DAYS]:
        working = working + weekday
    return np.stack([*weekdays, _holiday_weights(counts, types), working / _WORKING_DAYS], axis=1)


def _weekday_weights(
    counts: NDArray[np.int64], types: NDArray[np.int64], sums: NDArray[np.int64]
) -> list[NDArray[np.float64]]:
    points = np.arange(len(counts) + 1)
    around = sums[_WEEK:] - sums[:-_WEEK]
    numbers = np.flatnonzero((around > 0) & (types[_HALF_WEEK : _HALF_WEEK + len(around)] < WEEKDAYS)) + _HALF_WEEK
    ratios = counts[numbers] * _WEEK / around[numbers - _HALF_WEEK]
    of_types = types[numbers]
    weights = []
    for weekday in range(WEEKDAYS):
        of_weekday = of_types == weekday
        seen = numbers[of_weekday].searchsorted(points - _HALF_WEEK)
        weights.append(_shrunk_medians(ratios[of_weekday])[seen])
    total = weights[0]
    for weight in weights[1:]:
        total = total + weight
    scale = WEEKDAYS / total
    return [weight * scale for weight in weights]


def _shrunk_medians(ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    """After none, one, ... of the ratios: the median of the last `EFFECT_WEEKS` of them, shrunk towards 1."""
    found = np.ones(len(ratios) + 1)
    for seen in range(1, min(EFFECT_WEEKS, len(ratios) + 1)):
        found[seen] = _middle(np.sort(ratios[:seen]))
    if len(ratios) >= EFFECT_WEEKS:
        found[EFFECT_WEEKS:] = _middle(np.sort(sliding_window_view(ratios, EFFECT_WEEKS), axis=1).T)
    seen_days = np.minimum(np.arange(len(found)), EFFECT_WEEKS)
    shrunk: NDArray[np.float64] = (found * seen_days + PRIOR_DAYS) / (seen_days + PRIOR_DAYS)
    return shrunk


def _middle(ordered: NDArray[np.float64]) -> NDArray[np.float64]:
    """The median of values in order, along the first axis."""
    middle: NDArray[np.float64] = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    return middle


def _holiday_weights(counts: NDArray[np.int64], types: NDArray[np.int64]) -> NDArray[np.float64]:
    points = np.arange(len(counts) + 1)
    ordinary = types < WEEKDAYS
    days = np.concatenate(([0], ordinary.cumsum()))
    units = np.concatenate(([0], (counts * ordinary).cumsum()))
    numbers = np.flatnonzero(types == HOLIDAY)
    numbers = numbers[(numbers >= AROUND_HOLIDAY_DAYS) & (numbers < len(counts) - AROUND_HOLIDAY_DAYS)]
    first, end = numbers - AROUND_HOLIDAY_DAYS, numbers + AROUND_HOLIDAY_DAYS + 1
    usual_units, usual_days = units[end] - units[first], days[end] - days[first]
    known = usual_units > 0
    ratios = counts[numbers[known]] * usual_days[known] / usual_units[known]
    seen = numbers[known].searchsorted(points - AROUND_HOLIDAY_DAYS)
    return (np.concatenate(([0.0], ratios.cumsum()))[seen] + HOLIDAY_PRIOR_DAYS) / (seen + HOLIDAY_PRIOR_DAYS)
