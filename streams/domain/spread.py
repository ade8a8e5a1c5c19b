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
        """Half the width of the range of a forecast of so many units in so many days, units."""
        stretch = math.sqrt(max(1.0, days_ahead / self.measured_days))
        return self.relative * stretch * max(forecast, 1.0)


def measure(model: PaceModel, days_ahead: int) -> Spread | None:
    """The spread for a forecast of so many days, at least one; None where too little is known for any."""
    length = len(model.counts)
    # As many errors as days that each spans, or they would all tell of the same few weeks.
    measured = min(days_ahead, (length - LEAST_DAYS + 1) // 2, length - LEAST_DAYS - LEAST_ERRORS + 1)
    measured = min(measured, _LONGEST_MEASURED_DAYS)
    if measured < min(days_ahead, _LEAST_MEASURED_DAYS):
        return None
    last = length - measured
    errors = []
    for origin in range(max(LEAST_DAYS, last - MOST_ERRORS + 1), last + 1):
        forecast = sum(model.at(origin).expected(model.types[origin : origin + measured]))
        errors.append(abs(model.units(origin, origin + measured) - forecast) / max(forecast, 1.0))
    errors.sort()
    rank = min(len(errors), math.ceil((len(errors) + 1) * COVERAGE))
    return Spread(errors[rank - 1], measured, len(errors))
