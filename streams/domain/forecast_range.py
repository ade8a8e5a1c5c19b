"""How far a pace was off in its own past: the range of a forecast.

The model is asked again at many earlier points for the units of the `measured_days` after each (rolling origin;
Tashman 2000, Int. J. Forecasting 16), from what was before that point only. The range is plus and minus the 80 %
quantile, with the correction for few errors of split conformal prediction (Lei et al. 2018, J. Am. Stat. Assoc. 113),
of the absolute errors relative to what was forecast: 8 of 10 times the truth was within it. Where no past is long enough
for as many days ahead as are asked for, errors are measured over fewer days and stretched with the square root of time,
as errors of a level that wanders grow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from streams.domain.pace import PaceModel

COVERAGE: Final = 0.8
#: Days that a point in the past needs before it.
LEAST_DAYS: Final = 14
LEAST_ERRORS: Final = 10
MOST_ERRORS: Final = 84
#: Nothing is stretched from less than a week, in which all weekdays are.
_LEAST_MEASURED_DAYS = 7
_LONGEST_MEASURED_DAYS = 84


@dataclass(frozen=True, slots=True)
class Spread:
    """The range around a forecast, relative to it.

    Attributes:
        relative: Half the width of the range, in parts of the forecast, over `measured_days` days.
        measured_days: Days ahead over which errors were measured.
        errors: How many there were.
    """

    relative: float
    measured_days: int
    errors: int

    def units(self, forecast: float, days_ahead: int) -> float:
        """Half the width of the range, in units, for a forecast of this many units in this many days."""
        stretch = math.sqrt(max(1.0, days_ahead / self.measured_days))
        return self.relative * stretch * max(forecast, 1.0)


class Spreads:
    """The spreads of one model by days ahead, each worked out once.

    Args:
        model: Whose past it is.
    """

    def __init__(self, model: PaceModel) -> None:
        self._model = model
        self._forecasts: dict[int, list[float]] = {}
        self._measured: dict[int, Spread] = {}

    def at(self, days_ahead: int) -> Spread | None:
        """The spread for a forecast of this many days, at least one; None if too little is known."""
        length = len(self._model.counts)
        # As many errors as days that each spans, or they would all tell of the same few weeks.
        measured = min(days_ahead, (length - LEAST_DAYS + 1) // 2, length - LEAST_DAYS - LEAST_ERRORS + 1)
        measured = min(measured, _LONGEST_MEASURED_DAYS)
        if measured < min(days_ahead, _LEAST_MEASURED_DAYS):
            return None
        found = self._measured.get(measured)
        if found is None:
            found = self._measured[measured] = self._measure(measured)
        return found

    def _measure(self, days: int) -> Spread:
        model = self._model
        last = len(model.counts) - days
        errors = []
        for origin in range(max(LEAST_DAYS, last - MOST_ERRORS + 1), last + 1):
            forecast = self._forecast(origin)[days - 1]
            errors.append(abs(model.units(origin, origin + days) - forecast) / max(forecast, 1.0))
        errors.sort()
        rank = min(len(errors), math.ceil((len(errors) + 1) * COVERAGE))
        return Spread(errors[rank - 1], days, len(errors))

    def _forecast(self, origin: int) -> list[float]:
        """What would have been forecast at a point of the past for 1, 2, 3, ... days."""
        found = self._forecasts.get(origin)
        if found is None:
            types = self._model.types[origin : origin + _LONGEST_MEASURED_DAYS]
            found = self._forecasts[origin] = list(accumulate(self._model.at(origin).expected(types)))
        return found


def measure(model: PaceModel, days_ahead: int) -> Spread | None:
    """The spread for a forecast of this many days, at least one; None if too little is known."""
    return Spreads(model).at(days_ahead)
