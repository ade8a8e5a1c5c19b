"""Milestones: the timeline, and a single one with its revisions."""

from __future__ import annotations

import shlex
from typing import Annotated, Literal

from pydantic import Field

from schemas.outputs import MilestoneKind, WindowRow
from streams.web.readmodel import MilestoneQuery
from streams.web.readmodel.milestones import MILESTONE_ORDER
from streams.web.views.common import (
    Ask,
    DatedParameters,
    EarlierMoment,
    MetricName,
    MilestoneLine,
    Text,
    View,
    checked_place,
    milestone_line,
    place_of,
    text_of_place,
)

_Place = Annotated[str, Field(max_length=2048), checked_place(lambda _: len(MILESTONE_ORDER))]


class MilestonesParameters(DatedParameters):
    """Which milestones: `show` the latest event of each (`latest`), only those that stand, or all events.

    `after` is the `next` of a page, and `before` its `previous`.
    """

    kind: Literal["", MilestoneKind] = ""
    metric: MetricName = ""
    scope: Text = ""
    show: Literal["latest", "standing", "all"] = "latest"
    after: _Place = ""
    before: _Place = ""
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class MilestonesView(View):
    """A page of the timeline, the newest first; `total` is over all pages, `next` and `previous` lead to the adjacent pages."""

    parameters: MilestonesParameters
    metrics: list[str]
    scopes: list[str]
    scope_count: int
    total: int
    previous: str | None
    next: str | None
    milestones: list[MilestoneLine]
    past: EarlierMoment | None


class MilestoneView(View):
    """A milestone: its latest event, all revisions (oldest first), and its window's current row.

    `command` shows which unit passed the threshold.
    """

    milestone_id: str
    latest: MilestoneLine
    revisions: list[MilestoneLine]
    row: WindowRow | None
    command: str
    past: EarlierMoment | None


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
            after=place_of(parameters.after),
            before=place_of(parameters.before),
            limit=parameters.limit,
        )
    )
    return MilestonesView(
        parameters=parameters,
        metrics=ask.view.windows.metrics(),
        scopes=ask.scopes(parameters.scope),
        scope_count=ask.view.windows.scope_count(),
        total=page.total,
        previous=text_of_place(page.previous),
        next=text_of_place(page.next),
        milestones=[milestone_line(event) for event in page.events],
        past=ask.past,
    )


def milestone(ask: Ask, milestone_id: str) -> MilestoneView | None:
    """A milestone; `None` if there is no such one."""
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
        command=f"milestones explain {shlex.quote(milestone_id)}",
        past=ask.past,
    )
