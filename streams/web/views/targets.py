"""Targets in force with their forecasts, what was forecast over time, and how targets have changed."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Final

from pydantic import Field

from schemas.outputs import CivilDate, Forecast, Instant, RowTarget
from streams.web.readmodel import WindowQuery
from streams.web.views.common import Ask, Parameters, View
from streams.web.views.now import Span, span_of

_POINTS: Final = 400


class TargetsParameters(Parameters):
    """`points`: forecasts of the past at most, spread evenly."""

    points: Annotated[int, Field(ge=2, le=1000)] = _POINTS


class ForecastPoint(View):
    """What a forecast said at a time: totals at the end of the period, and the date of reaching the target."""

    as_of: Instant
    count: int
    p10: int | None
    p50: int | None
    p90: int | None
    reach_p50: CivilDate | None


class TargetsVersion(View):
    """The targets of a window from this version on."""

    at: Instant
    version: int
    targets: list[RowTarget]


class WindowTargets(View):
    """A window with targets: how it goes (`days` up to today), its forecasts by target, and how its targets changed."""

    metric: str
    scope: str
    span: Span
    forecasts: dict[str, Forecast]
    said: dict[str, list[ForecastPoint]]
    changes: list[TargetsVersion]


class TargetsView(View):
    """Every window with a target in force; those that end last come first."""

    parameters: TargetsParameters
    windows: list[WindowTargets]


def targets(ask: Ask, parameters: TargetsParameters) -> TargetsView:
    """Every window with a target in force."""
    rows = ask.view.windows.page(WindowQuery(has="targets", limit=200)).rows
    rows.sort(key=lambda row: (row.end, row.start), reverse=True)
    found = []
    for row in rows:
        period = (row.period, date.fromisoformat(row.start), date.fromisoformat(row.end))
        span = span_of(ask, row.metric, row.scope, row, period)
        forecasts = {aim.target_id: aim.forecast for aim in span.aims if aim.forecast is not None}
        key = row.metric, row.scope, row.period
        found.append(
            WindowTargets(
                metric=row.metric,
                scope=row.scope,
                span=span,
                forecasts=forecasts,
                said={
                    aim.target_id: _thinned(ask.view.forecasts.history(*key, aim.target_id), parameters.points)
                    for aim in span.aims
                },
                changes=[
                    TargetsVersion(at=version.updated_at, version=version.version, targets=version.targets)
                    for version in ask.view.windows.target_changes(*key)
                ],
            )
        )
    return TargetsView(parameters=parameters, windows=found)


def _thinned(forecasts: list[Forecast], points: int) -> list[ForecastPoint]:
    """At most `points` forecasts, evenly spread and including the latest."""
    step = max(1, -(-len(forecasts) // points))
    kept = forecasts[::-1][::step][::-1]
    return [
        ForecastPoint(
            as_of=each.as_of,
            count=each.count,
            p10=each.projected_total.p10,
            p50=each.projected_total.p50,
            p90=each.projected_total.p90,
            reach_p50=each.projected_date.p50,
        )
        for each in kept
    ]
