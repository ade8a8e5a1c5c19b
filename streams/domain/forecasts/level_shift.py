"""Shifts of a series of daily counts to another level, found some days after they happened.

The last `SHORTEST_DAYS` to `LONGEST_DAYS` days are another level than those before if

- each of them is above each of the `DAYS_BEFORE` days before them, or below, but for `EXCEPTIONS` days at most on either side (five of
  the last seven days are enough). Each day is compared by its units as a multiple of what its weekday usually has; holidays and working
  weekend days say nothing,
- so is each of the last whole weeks in comparison to the other weeks that the level could rest on, so that more units never lower it,
- there was no trend in the weeks before, which would go on above (or below) all of them,
- and units still come: days without any are an outage, as far as anybody can know.

Days are compared by rank, not by mean: that needs no assumption of how they are distributed, and on the series of other trades a
week of bad weather seldom looked like a shift.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHORTEST_DAYS: Final = 7
LONGEST_DAYS: Final = 35
DAYS_BEFORE: Final = 56
EXCEPTIONS: Final = 2

_WEEK = 7
#: Of days in ascending order, the highest that is no exception.
_COUNTED_FROM_TOP = DAYS_BEFORE - 1 - EXCEPTIONS


def weeks_since_shift(
    units: NDArray[np.float64], levels: NDArray[np.float64], had_trend: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """By point: how many whole weeks there are since the latest shift; the number of weeks in `levels` if there was none.

    Args:
        units: By day: its units as units of an average day; NaN for days that say nothing.
        levels: By week before a point, latest first, and point, 0 to the number of days: units a day; NaN where there is no such week.
        had_trend: By point: whether there was a trend in the weeks before.
    """
    found = np.full(levels.shape[1], len(levels))
    first = SHORTEST_DAYS + DAYS_BEFORE
    if len(units) < first:
        return found
    # A shift downwards is one upwards with the signs changed. A day that says nothing is above no other day.
    signed = np.stack((units, -units))
    signed[np.isnan(signed)] = -np.inf
    highest_before = np.partition(sliding_window_view(signed, DAYS_BEFORE, axis=1), _COUNTED_FROM_TOP, axis=2)
    bounds = highest_before[:, :, _COUNTED_FROM_TOP]
    above = _weeks_above(np.stack((levels[:, first:], -levels[:, first:])))
    points = found[first:]
    lowest = np.full((EXCEPTIONS + 1, 2, len(points)), np.inf)
    for days in range(1, min(LONGEST_DAYS, len(units) - DAYS_BEFORE) + 1):
        _keep_lowest(lowest, signed[:, first - days : len(units) + 1 - days])
        if days < SHORTEST_DAYS:
            continue
        # Only points with as many days before these ones.
        skipped = days - SHORTEST_DAYS
        counted = lowest[-1, :, skipped:]
        is_above = (counted > bounds[:, : bounds.shape[1] - days]) & above[:, days // _WEEK, skipped:]
        is_above[1] &= counted[0] > 0
        is_shift = is_above.any(axis=0) & ~had_trend[DAYS_BEFORE : len(had_trend) - days]
        points[skipped:][is_shift & (points[skipped:] == len(levels))] = days // _WEEK
    return found


def _weeks_above(levels: NDArray[np.float64]) -> NDArray[np.bool_]:
    """By sign, number of weeks, and point: whether each of so many latest weeks is above each of the others."""
    lowest = np.fmin.accumulate(levels, axis=1)
    highest_before = np.fmax.accumulate(levels[:, ::-1], axis=1)[:, ::-1]
    above = np.zeros(levels.shape, dtype=np.bool_)
    above[:, 1:] = lowest[:, :-1] > highest_before[:, 1:]
    return above


def _keep_lowest(kept: NDArray[np.float64], values: NDArray[np.float64]) -> None:
    """Takes one more value each into the lowest ones so far, which are in order."""
    for number in range(len(kept) - 1, 0, -1):
        np.minimum(kept[number], np.maximum(kept[number - 1], values), out=kept[number])
    np.minimum(kept[0], values, out=kept[0])
