"""A campaign: how it went, minute by minute."""

from __future__ import annotations

from datetime import datetime, timedelta

from schemas.outputs import Instant, WindowRow
from streams.domain.hints.suggestions import unknown
from streams.web.readmodel import MilestoneQuery, WindowQuery
from streams.web.views.common import (
    Aim,
    Ask,
    DatedParameters,
    EarlierMoment,
    KnownCampaign,
    MetricName,
    MilestoneLine,
    Text,
    UnknownNameError,
    View,
    milestone_line,
)
from streams.web.views.now import others_of

_MAX_MILESTONES = 1000
_MINUTE = timedelta(minutes=1)


class CampaignParameters(DatedParameters):
    """Defaults: `metric` orders placed if there are any, `scope` that of the rules and targets."""

    metric: MetricName = ""
    scope: Text = ""


class CampaignView(View):
    """A campaign of a scope: the row of a metric with its minutes, the counts of other metrics, and its milestones.

    `minutes` is its length, `elapsed` how many of its minutes have begun, by the service's clock or by what is counted; `count` is null if its value at the
    earlier moment is unknown. `left_out` says that it is no longer counted. `others` are the other campaigns, by start.
    """

    name: str
    period: str
    starts_at: Instant
    ends_at: Instant
    minutes: int
    elapsed: int
    left_out: bool
    metric: str
    scope: str
    metrics: list[str]
    scopes: list[str]
    scope_count: int
    row: WindowRow | None
    count: int | None
    unknown: list[str]
    aims: list[Aim]
    rows: list[WindowRow]
    milestones: list[MilestoneLine]
    others: list[str]
    past: EarlierMoment | None


def campaign_view(ask: Ask, name: str, parameters: CampaignParameters) -> CampaignView:
    """The view of a campaign.

    Raises:
        UnknownNameError: Neither the settings nor any row have one with this name.
    """
    period = f"campaign:{name}"
    metrics = ask.view.windows.metrics()
    metric = parameters.metric or ("orders_placed" if "orders_placed" in metrics else ask.metric(""))
    scope = ask.scope(parameters.scope)
    rows = [
        row
        for row in ask.view.windows.page(WindowQuery(scopes=[scope], period=period, sort="metric")).rows
        if row.period == period
    ]
    campaigns = ask.campaigns(scope)
    span = _span(name, rows, campaigns)
    if span is None:
        raise UnknownNameError(unknown("campaign", name, [each.name for each in campaigns]))
    starts_at, ends_at = span
    start, end = datetime.fromisoformat(starts_at), datetime.fromisoformat(ends_at)
    minutes = (end - start) // _MINUTE
    now = datetime.fromisoformat(ask.status.business_now)
    row = next((row for row in rows if row.metric == metric), None)
    events = ask.view.milestones.page(
        MilestoneQuery(scope=scope, metric=metric, day=start.date().isoformat(), standing=True, limit=_MAX_MILESTONES)
    ).events
    return CampaignView(
        name=name,
        period=period,
        starts_at=starts_at,
        ends_at=ends_at,
        minutes=minutes,
        left_out=ask.is_left_out(name),
        # Rows may be ahead of the clock, which is heard of once a second.
        elapsed=min(max((now - start) // _MINUTE + 1, *(len(each.by_minute or ()) for each in rows), 0), minutes),
        metric=metric,
        scope=scope,
        metrics=metrics,
        scopes=ask.scopes(scope),
        scope_count=ask.view.windows.scope_count(),
        row=row,
        count=ask.count_of(metric, scope, period, row),
        unknown=[each for each, count in others_of(ask, scope, period, rows).items() if count is None],
        aims=ask.aims(metric, scope, period, row),
        rows=rows,
        milestones=[milestone_line(event) for event in events if event.data.period == period],
        others=[each.name for each in campaigns if each.name != name],
        past=ask.past,
    )


def _span(name: str, rows: list[WindowRow], campaigns: list[KnownCampaign]) -> tuple[str, str] | None:
    """Start and end (exclusive) of a campaign, from its rows or the settings."""
    for row in rows:
        if row.starts_at is not None and row.ends_at is not None:
            return row.starts_at, row.ends_at
    found = next((each for each in campaigns if each.name == name), None)
    return (found.start.isoformat(), found.end.isoformat()) if found is not None else None
