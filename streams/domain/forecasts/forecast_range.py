"""How far a pace was off in its own past: the range of a forecast.

At up to `MOST_ERRORS` points of the last year, the model forecasts the units of the `measured_days` after the point (rolling
origin; Tashman 2000, Int. J. Forecasting 16) from what was before it only; of a trend, it follows as much as it would today. The range is
plus and minus the 80 % quantile of the absolute errors relative to the forecast, or to the mean of forecast and actual if the actual was
higher: a launch from almost nothing says little about how far a running series is off. Three corrections:

- An error counts half as much as one that came `HALF_LIFE_DAYS` later: a series has calm and restless times (weighted conformal
  prediction; Barber et al. 2023, Ann. Stat. 51).
- Where there is a trend now, errors at points without one count a tenth, and the other way round: a growing series was farther off while
  its growth was not known yet (the same weights, by likeness instead of age).
- Errors over months that begin a few days apart are one experience rather than many: only as many are independent as
  `measured_days` fit into the past. The fewer they are, the more of the errors the range has to hold, as in split conformal prediction
  (Lei et al. 2018, J. Am. Stat. Assoc. 113). How many more is what series of other trades have shown to be enough.

If the past is too short for the days ahead that are asked for, errors are measured over fewer days and stretched with the
square root of time, as errors of a level in a random walk grow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from streams.domain.forecasts.pace import relative_errors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streams.domain.forecasts.pace import PaceModel

COVERAGE: Final = 0.8
#: Days of history that a point in the past needs.
LEAST_DAYS: Final = 14
LEAST_ERRORS: Final = 10
MOST_ERRORS: Final = 60
HALF_LIFE_DAYS: Final = 120
#: What is added to the coverage for few errors: always, and for a past as long as the days ahead.
MARGIN: Final = 0.03
CORRECTION: Final = 0.2
#: Weight of an error at a point with a trend where there is none now, or the other way round.
WEIGHT_IF_UNLIKE: Final = 0.1
_WEEK: Final = 7
#: Errors are stretched from at least a week, which has all weekdays.
_LEAST_MEASURED_DAYS = 7
_LONGEST_MEASURED_DAYS = 84
#: Days after which a model has settled; length of a past that is too short to leave any of them out.
_SETTLED_DAYS = 70
_SHORT_DAYS = 32
#: Sums of weights in another order may be slightly smaller.
_ALL_BUT_ROUNDING = 1 - 1e-9


@dataclass(frozen=True, slots=True)
class Spread:
    """The range around a forecast, relative to it.

    Attributes:
        relative: Half the width of the range, as a fraction of the forecast, over `measured_days` days.
        measured_days: Days ahead over which errors were measured.
        errors: How many errors there were.
    """

    relative: float
    measured_days: int
    errors: int

    def units(self, forecast: float, days_ahead: int) -> float:
        """Half the width of the range, in units, for a forecast of this many units in this many days."""
        stretch = math.sqrt(max(1.0, days_ahead / self.measured_days))
        return self.relative * stretch * max(forecast, 1.0)


class Spreads:
    """The spreads of one model by days ahead.

    Args:
        model: Whose past it is.
    """

    def __init__(self, model: PaceModel) -> None:
        self._model = model

    def at(self, days_ahead: int) -> Spread | None:
        """The spread for a forecast of this many days, at least one; None if too little is known."""
        length = len(self._model.counts)
        # At least as many errors as days that each spans, or they would all be about the same few weeks.
        measured = min(days_ahead, (length - LEAST_DAYS + 1) // 2, length - LEAST_DAYS - LEAST_ERRORS + 1)
        measured = min(measured, _LONGEST_MEASURED_DAYS)
        if measured < min(days_ahead, _LEAST_MEASURED_DAYS):
            return None
        return self._measured[measured - 1]

    @cached_property
    def _measured(self) -> list[Spread]:
        """By days ahead, from one on, as far as there is an error."""
        length, origins, errors = len(self._model.counts), self._origins, self._errors
        has_trend = self._model.has_trend(np.append(origins, length))
        likeness = np.where(has_trend[:-1] == has_trend[-1], 1.0, WEIGHT_IF_UNLIKE)
        weights = likeness * 0.5 ** ((length - origins) / HALF_LIFE_DAYS)
        # Where there is no error, as the days are not over yet, it comes last, and its weight is nothing.
        order = errors.argsort(axis=0)
        known = ~np.isnan(errors)
        below = np.take_along_axis(np.where(known, weights[:, np.newaxis], 0.0), order, axis=0).cumsum(axis=0)
        days = np.arange(1, errors.shape[1] + 1)
        independent = (length - origins[-1]) / days
        wanted = np.minimum(1.0, COVERAGE + MARGIN + CORRECTION / independent) * below[-1] * _ALL_BUT_ROUNDING
        at = (below < wanted).sum(axis=0)
        relative = errors[order[at, days - 1], days - 1]
        counts = known.sum(axis=0)
        return [
            Spread(*each) for each in zip(relative.tolist(), days.tolist(), counts.tolist(), strict=True) if each[2]
        ]

    @cached_property
    def _errors(self) -> NDArray[np.float64]:
        """By point and days ahead, from one on: the relative errors of what would have been forecast there.

        Where the days are not over yet, there is no error.
        """
        model, origins = self._model, self._origins
        share = model.trend_share(len(model.counts))
        forecasts = model.sums_ahead(origins, _LONGEST_MEASURED_DAYS, share)
        ends = np.minimum(origins[:, np.newaxis] + np.arange(1, _LONGEST_MEASURED_DAYS + 1), len(model.counts))
        return relative_errors(forecasts, model.sums[ends] - model.sums[origins][:, np.newaxis])

    @cached_property
    def _origins(self) -> NDArray[np.int64]:
        """The points of the past, latest first: evenly spaced, and on every weekday.

        A model with little history errs more than one with a long one: the first weeks of a long past are left out.
        """
        length = len(self._model.counts)
        first = max(LEAST_DAYS, min(_SETTLED_DAYS, (length - _SHORT_DAYS) // 2))
        step = max(1, math.ceil((length - first) / MOST_ERRORS))
        step += step % _WEEK == 0
        return np.arange(length - step, first - 1, -step)


def measure(model: PaceModel, days_ahead: int) -> Spread | None:
    """The spread for a forecast of this many days, at least one; None if too little is known."""
    return Spreads(model).at(days_ahead)
