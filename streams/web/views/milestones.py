"""Milestones: the timeline, and one with its revisions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.outputs import MilestoneKind, WindowRow
from streams.web.readmodel import MilestoneQuery
from streams.web.views.common import Ask, MetricName, MilestoneLine, Parameters, Text, View, milestone_line


class MilestonesParameters(Parameters):
    """Which milestones: `show` the latest event of each (`latest`), only those that stand, or every event."""

    kind: Literal["", MilestoneKind] = ""
    metric: MetricName = ""
    scope: Text = ""
    show: Literal["latest", "standing", "all"] = "latest"
    offset: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class MilestonesView(View):
    """A page of the timeline, the newest first; `total` on all pages."""

    parameters: MilestonesParameters
    metrics: list[str]
    scopes: list[str]
    scope_count: int
    total: int
    milestones: list[MilestoneLine]


class MilestoneView(View):
    """One milestone: its latest event, every revision (oldest first), its window's row as it is now.

    `command` shows which unit passed the line.
    """

    milestone_id: str
    latest: MilestoneLine
    revisions: list[MilestoneLine]
    row: WindowRow | None
    command: str


def milestones(ask: Ask, parameters: MilestonesParameters) -> MilestonesView:
    """A page of the timeline."""
    ask.check_scopes((parameters.scope,))
    page = ask.view.milestones.page(
        MilestoneQuery(
            kind=parameters.kind,
            metric=parameters.metric,
            scope=parameters.scope,
            standing=parameters.show == "standing",
            all_events=parameters.show == "all",
            offset=parameters.offset,
            limit=parameters.limit,
        )
    )
    return MilestonesView(
        parameters=parameters,
        metrics=ask.view.windows.metrics(),
        scopes=ask.scopes(parameters.scope),
        scope_count=ask.view.windows.scope_count(),
        total=page.total,
        milestones=[milestone_line(event) for event in page.events],
    )


def milestone(ask: Ask, milestone_id: str) -> MilestoneView | None:
    """One milestone; `None` where there is no such one."""
    events = ask.view.milestones.revisions(milestone_id)
    if not events:
        return None
    lines = [milestone_line(event) for event in events]
    data = events[-1].data
    return MilestoneView(
        milestone_id=milestone_id,
        latest=lines[-1],
        revisions=lines,
        row=ask.view.windows.get(data.metric, data.scope, data.period),
        command=f"milestones explain '{milestone_id}'",
    )
