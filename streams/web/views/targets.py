"""Targets in force with their forecasts, what was forecast over time, and how the targets changed."""

from __future__ import annotations

from datetime import date
from itertools import accumulate
from typing import Annotated, Final, Literal

from pydantic import Field

from schemas.outputs import CivilDate, Forecast, Instant, RowTarget, WindowRow
from streams.domain.time.periods import TOTAL
from streams.web.readmodel import WindowQuery
from streams.web.views.common import Ask, DatedParameters, EarlierMoment, PeriodStart, Text, View
from streams.web.views.now import Span, span_of

_POINTS: Final = 400


_FEW: Final = 5
_CURVE_POINTS: Final = 24

TargetState = Literal["upcoming", "ahead", "behind", "reached", "missed"]


class TargetsParameters(DatedParameters):
    """Targets of a `scope`, of periods whose id starts with `period`, in a `state`, or a single one by its id (`target`).

    `sort`: `force` for those in force first, by end of the period, or `behind` for those farthest behind their plan first. `points`: maximum
    number of past forecasts, evenly spread.
    """

    scope: Text = ""
    period: PeriodStart = ""
    state: Literal["", TargetState] = ""
    target: Text = ""
    sort: Literal["force", "behind"] = "force"
    points: Annotated[int, Field(ge=2, le=1000)] = _POINTS


class ForecastPoint(View):
    """What a forecast said at a time: the total at the end of the period, and the date of reaching the target."""

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
    """A window with targets: its progress (`days` up to today), its forecasts by target, and how its targets changed."""

    metric: str
    scope: str
    span: Span
    forecasts: dict[str, Forecast]
    said: dict[str, list[ForecastPoint]]
    changes: list[TargetsVersion]


class TargetLine(View):
    """A target in brief; `curve` has running totals at evenly spread dates up to today, `share` is how far it is ahead, relative to its value."""

    metric: str
    scope: str
    period: str
    start: CivilDate
    end: CivilDate
    target_id: str
    label: str
    value: int
    count: int
    in_force: bool
    state: TargetState | None
    ahead_units: int | None
    projected: int | None
    curve: list[int]

    @property
    def share(self) -> float:
        """How far it is ahead of the plan, as a fraction of the value; negative if behind."""
        return (self.ahead_units or 0) / self.value


class TargetsView(View):
    """The requested targets.

    `lines` has all of them, `windows` their windows with everything that was forecast, but only if there are at most five. Of the `running`
    ones in force, `on_plan` are reached or ahead of plan. `unknown` is the number of windows with targets now that are left out, because
    their state at the earlier moment is unknown.
    """

    parameters: TargetsParameters
    scopes: list[str]
    total: int
    running: int
    on_plan: int
    unknown: int
    lines: list[TargetLine]
    windows: list[WindowTargets]
    past: EarlierMoment | None


def targets(ask: Ask, parameters: TargetsParameters) -> TargetsView:
    """The requested targets."""
    rows = ask.view.windows.page(WindowQuery(has="targets", limit=1000)).rows
    rows.sort(key=lambda row: (row.end, row.start), reverse=True)
    every = [(row, line) for row in rows for line in _lines(ask, row)]
    wanted = [(row, line) for row, line in every if _is_wanted(line, parameters)]
    lines = [line for _, line in wanted]
    if not lines:
        # A target may have been withdrawn; a scope or a period that was counted stays.
        ask.check_scopes((parameters.scope,))
        ask.check_period(parameters.period)
    running = [line for line in lines if line.in_force]
    if parameters.sort == "behind":
        lines.sort(key=lambda line: (not line.in_force, line.share))
    else:
        lines.sort(key=lambda line: not line.in_force)
    chosen = {id(row): row for row, _ in wanted}
    return TargetsView(
        parameters=parameters,
        scopes=sorted({line.scope for _, line in every}),
        total=len(every),
        running=len(running),
        on_plan=sum(line.state in {"ahead", "reached"} for line in running),
        unknown=len(ask.view.windows.unknown(WindowQuery(has="targets"))),
        lines=lines,
        windows=_windows(ask, list(chosen.values()), parameters.points) if len(lines) <= _FEW else [],
        past=ask.past,
    )


def _is_wanted(line: TargetLine, parameters: TargetsParameters) -> bool:
    return (
        parameters.scope in {"", line.scope}
        and parameters.state in {"", line.state}
        and parameters.target in {"", line.target_id}
        and line.period.startswith(parameters.period)
    )


def _lines(ask: Ask, row: WindowRow) -> list[TargetLine]:
    today = ask.today.isoformat()
    last = min(row.end, today)
    counts = ask.day_counts(row.metric, row.scope, row.start, last)
    # Unknown counts are left out of the curve, whose end is the count.
    sums = list(accumulate((count for count in counts.values() if count is not None), initial=row.balance))[1:]
    step = max(1, -(-len(sums) // _CURVE_POINTS))
    curve = sums[::-1][::step][::-1]
    return [
        TargetLine(
            metric=row.metric,
            scope=row.scope,
            period=row.period,
            start=row.start,
            end=row.end,
            target_id=aim.target_id,
            label=aim.label,
            value=aim.value,
            count=row.count,
            in_force=row.start <= today <= row.end,
            state="reached" if aim.reached else (aim.forecast.state if aim.forecast is not None else None),
            ahead_units=None if aim.forecast is None or row.period == TOTAL else aim.forecast.ahead_units,
            projected=None if aim.forecast is None else aim.forecast.projected_total.p50,
            curve=curve,
        )
        for aim in ask.aims(row.metric, row.scope, row.period, row)
    ]


def _windows(ask: Ask, rows: list[WindowRow], points: int) -> list[WindowTargets]:
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
                    aim.target_id: _thinned(ask.view.forecasts.history(*key, aim.target_id), points)
                    for aim in span.aims
                },
                changes=[
                    TargetsVersion(at=version.updated_at, version=version.version, targets=version.targets)
                    for version in ask.view.windows.target_changes(*key)
                ],
            )
        )
    return found


def _thinned(forecasts: list[Forecast], points: int) -> list[ForecastPoint]:
    """At most `points` forecasts, evenly spread, including the latest."""
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
