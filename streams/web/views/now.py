"""The first page: today, the month, the year, holiday orders, the newest milestones."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Final

from schemas.facts import INVENTORY, METRICS
from schemas.messages import Message
from schemas.outputs import CivilDate, WindowRow
from streams.domain.time.periods import PERIOD_OF, TOTAL, month_period, rolling_period, year_period
from streams.web.filters import sum_of
from streams.web.readmodel import MilestoneQuery, WindowQuery
from streams.web.views.common import (
    ORDERS_PLACED,
    Aim,
    Ask,
    DateCount,
    DatedParameters,
    EarlierMoment,
    GivenDate,
    Goal,
    MilestoneLine,
    Text,
    UnknownNameError,
    UsualDay,
    View,
    milestone_line,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.domain.time.periods import Period

_NEWEST: Final = 12
_ALERTS: Final = 6
#: How long a holiday is shown after its end.
_HOLIDAY_SHOWN_DAYS: Final = 60
_CAMPAIGNS_SHOWN: Final = 3
_MOST_DAYS: Final = 800


class NowParameters(DatedParameters):
    """`scope`: such as `model=SU7`; by default that of the targets. `first` and `last`: the dates of a custom range."""

    scope: Text = ""
    first: GivenDate = ""
    last: GivenDate = ""


class Today(View):
    """The day so far: its row, what is usual, its goal and targets, and how many hours it has.

    `count` is null if its value at the earlier moment is unknown, 0 if there was no row.
    """

    row: WindowRow | None
    count: int | None
    usual: UsualDay | None
    goal: Goal | None
    aims: list[Aim]
    hours: int
    others: dict[str, int | None]


class Span(View):
    """A period so far: its row, its targets (the greatest last), and the counts of its dates up to today.

    `count` is null if its value at the earlier moment is unknown, 0 if there was no row. The dates of `total` start with the first count.
    """

    period: str
    start: CivilDate
    end: CivilDate
    row: WindowRow | None
    count: int | None
    aims: list[Aim]
    days: list[DateCount]


class Now(View):
    """The first page, for the metric `metric`.

    `parts` are the current week, quarter and half-year, the total, recent campaigns (the orders placed if they are counted), and the
    inventory; `alerts` are the newest standing alerts, `alert_count`
    is the number of all; `sample` is an event that could be published now, for a first try.
    """

    business_date: CivilDate
    sample: str
    metric: str
    scope: str
    scopes: list[str]
    scope_count: int
    today: Today
    month: Span
    year: Span
    parts: list[WindowRow]
    holidays: list[Span]
    own: Span | None
    alerts: list[MilestoneLine]
    alert_count: int
    milestones: list[MilestoneLine]
    past: EarlierMoment | None


def now(ask: Ask, parameters: NowParameters) -> Now:
    """The first page."""
    scope, today = ask.scope(parameters.scope), ask.today
    windows = ask.view.windows
    day = f"day:{today.isoformat()}"
    alerts = ask.view.milestones.page(MilestoneQuery(alerts=True, standing=True, limit=_ALERTS))
    rows = windows.page(WindowQuery(scopes=[scope], period=day, limit=len(METRICS))).rows
    metric = ask.metric("")
    row = next((row for row in rows if row.metric == metric), None)
    return Now(
        business_date=today.isoformat(),
        sample=_sample(ask.status.business_now, ask.settings.families),
        metric=metric,
        scope=scope,
        scopes=ask.scopes(scope),
        scope_count=windows.scope_count(),
        today=Today(
            row=row,
            count=ask.count_of(metric, scope, day, row),
            usual=ask.usual(metric, scope, today),
            goal=ask.goal_of(metric, scope, row),
            aims=ask.aims(metric, scope, day, row),
            hours=ask.hours_of(today),
            others={name: count for name, count in others_of(ask, scope, day, rows).items() if name != metric},
        ),
        month=_span(ask, metric, scope, month_period(today)),
        year=_span(ask, metric, scope, year_period(today, ask.settings.reckoning)),
        parts=_parts(ask, metric, scope),
        holidays=_holidays(ask, scope),
        own=_own(ask, metric, scope, parameters),
        alerts=[milestone_line(event) for event in alerts.events],
        alert_count=alerts.total,
        milestones=[milestone_line(event) for event in ask.view.milestones.page(MilestoneQuery(limit=_NEWEST)).events],
        past=ask.past,
    )


def others_of(ask: Ask, scope: str, period: str, rows: list[WindowRow]) -> dict[str, int | None]:
    """Metric → count of a period with these rows; `None` if unknown."""
    unknown = ask.view.windows.unknown(WindowQuery(scopes=[scope], period=period))
    return dict.fromkeys(row.metric for row in unknown if row.period == period) | {
        row.metric: row.count for row in rows
    }


def _sample(now: str, families: Sequence[str]) -> str:
    data = {"order_id": "TRY-1", "model": "SU7"}
    kind = "order.placed.v1"
    if "orders" not in families:
        kind, data = "vehicle.delivered.v1", data | {"vin": "LNBSU7A10R1000001"}
    if "orders" not in families and "deliveries" not in families:
        kind, data = "vehicle.produced.v1", {"vin": "LNBSU7A10R1000001", "model": "SU7"}
    event = {"specversion": "1.0", "id": "first", "source": "/try", "type": kind, "time": now, "data": data}
    return json.dumps(event, separators=(",", ":"))


def _parts(ask: Ask, metric: str, scope: str) -> list[WindowRow]:
    periods = (PERIOD_OF[kind](ask.today, ask.settings.reckoning) for kind in ("week", "quarter", "half", TOTAL))
    rolling = (rolling_period(ask.today, window.days) for window in ask.settings.rolling)
    rows = [ask.view.windows.get(metric, scope, period.id) for period in (*periods, *rolling)]
    # A start of sale is told by its orders, whatever the page is about.
    rows += [
        ask.view.windows.get(ORDERS_PLACED, scope, name) or ask.view.windows.get(metric, scope, name)
        for name in _campaigns(ask, scope)
    ]
    rows.append(ask.view.windows.get(INVENTORY, scope, TOTAL))
    return [row for row in rows if row is not None]


def _campaigns(ask: Ask, scope: str) -> list[str]:
    """The campaigns that are running or have ended recently, the latest first."""
    now = datetime.fromisoformat(ask.status.business_now)
    since = now - timedelta(days=_HOLIDAY_SHOWN_DAYS)
    known = [each for each in ask.campaigns(scope) if not ask.is_left_out(each.name)]
    begun = [each for each in known if each.start <= now and each.end > since]
    return [f"campaign:{each.name}" for each in reversed(begun)][:_CAMPAIGNS_SHOWN]


def _own(ask: Ask, metric: str, scope: str, parameters: NowParameters) -> Span | None:
    """The requested custom range, from one date to another or up to today; `None` if none is requested."""
    if not parameters.first:
        return None
    start = date.fromisoformat(parameters.first)
    end = date.fromisoformat(parameters.last) if parameters.last else ask.today
    if not timedelta() <= end - start < timedelta(days=_MOST_DAYS):
        raise UnknownNameError(
            Message("%(start)s to %(end)s is no range of at most %(most)s days", start=start, end=end, most=_MOST_DAYS)
        )
    return span_of(ask, metric, scope, None, (f"{start}..{end}", start, end))


def _span(ask: Ask, metric: str, scope: str, period: Period) -> Span:
    row = ask.view.windows.get(metric, scope, period.id)
    return span_of(ask, metric, scope, row, (period.id, period.start, period.end))


def span_of(ask: Ask, metric: str, scope: str, row: WindowRow | None, period: tuple[str, date, date]) -> Span:
    """A period up to today."""
    period_id, start, end = period
    last = min(end, ask.today)
    counts = ask.day_counts(metric, scope, start.isoformat(), last.isoformat())
    if period_id == TOTAL:
        # Its dates begin with the first count.
        start = min((date.fromisoformat(day) for day in counts), default=last)
    count = sum_of(counts.values()) if ".." in period_id else ask.count_of(metric, scope, period_id, row)
    dates = [(start + timedelta(days=number)).isoformat() for number in range((last - start).days + 1)]
    return Span(
        period=period_id,
        start=start.isoformat(),
        end=end.isoformat(),
        row=row,
        count=count,
        aims=ask.aims(metric, scope, period_id, row),
        days=[DateCount(date=day, count=counts.get(day, 0)) for day in dates],
    )


def _holidays(ask: Ask, scope: str) -> list[Span]:
    """Orders placed in the current holiday, and in recent ones; the latest first."""
    today = ask.today
    first = (today - timedelta(days=_HOLIDAY_SHOWN_DAYS)).isoformat()
    query = WindowQuery(
        metrics=[ORDERS_PLACED], scopes=[scope], kinds=["holiday"], first=first, last=today.isoformat(), limit=4
    )
    return [
        span_of(
            ask, ORDERS_PLACED, scope, row, (row.period, date.fromisoformat(row.start), date.fromisoformat(row.end))
        )
        for row in ask.view.windows.page(query).rows
    ]
