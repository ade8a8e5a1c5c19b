"""An order: what came, what counts, and what does not and why; and the units behind a number."""

from __future__ import annotations

import shlex
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field

from schemas.outputs import WindowRow
from schemas.texts import ALL, tidy
from streams.domain.hints.suggestions import period_fault, unknown
from streams.lookup.moments import Reason
from streams.lookup.order_history import DayUnit, OrderStory
from streams.web.filters import sum_of
from streams.web.orders import OrdersNotKnownError
from streams.web.readmodel import LetterQuery, MilestoneQuery
from streams.web.readmodel.windows import dimensions_of
from streams.web.views.common import (
    Ask,
    DatedParameters,
    EarlierMoment,
    MetricName,
    MilestoneLine,
    Text,
    UnknownNameError,
    View,
    micros,
    milestone_line,
)
from streams.web.views.compare import stretch_of

if TYPE_CHECKING:
    from streams.web.orders import Orders

_MAX_MILESTONES: Final = 200


class NotKnown(View):
    """Why there is no answer yet; `done` of `total` offsets of the ledger have been read.

    With a `reason` there will be none for this moment: the sources were `trimmed` beyond it, an event came from a `former` topic, the
    service's `clock` is that of the events, or the period is too `long` to be recounted.
    """

    reason: Reason | None
    why: str
    done: int
    total: int


class OrderView(View):
    """An order, with its number also quoted for a shell; if it is not known yet, there is no `story`, and `problem` says why.

    For an earlier moment (`past`), the events are those appended to the source topics by then.
    """

    past: EarlierMoment | None
    order_id: str
    quoted: str
    vins_shown: bool
    problem: NotKnown | None
    story: OrderStory | None


def order_view(ask: Ask, orders: Orders, number: str) -> OrderView:
    """Everything known about an order."""
    order_id = tidy(number)
    letters = ask.view.dead_letters.page(LetterQuery(order_id=order_id, limit=1000)).letters
    story, problem = None, None
    try:
        story = orders.story(order_id, ask.status, letters[::-1], _as_of_us(ask))
    except OrdersNotKnownError as error:
        problem = not_known(error)
    quoted = shlex.quote(order_id)
    return OrderView(
        past=ask.past, order_id=order_id, quoted=quoted, vins_shown=orders.vins_shown, problem=problem, story=story
    )


def _as_of_us(ask: Ask) -> int | None:
    return None if ask.past is None else micros(ask.past.at)


def not_known(error: OrdersNotKnownError) -> NotKnown:
    """The error as a model."""
    return NotKnown(reason=error.reason, why=error.detail, done=error.done, total=error.total)


class UnitsParameters(DatedParameters):
    """The units of a metric, scope and period, by (time, id); `position` is the first one to show, 0 for the latest.

    `period` is an id such as `day:2024-10-07`, or two dates, `2024-10-01..2024-10-15`; by default today. `scope` is by default `all` or, if
    that is not counted, the one that targets are about. `as_of` is an RFC 3339 instant with an offset, for the units from what had been
    appended to the source topics by then.
    """

    metric: MetricName = ""
    scope: Text = ""
    period: Text = ""
    position: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    limit: Annotated[int, Field(ge=1, le=500)] = 50


class UnitLine(View):
    """A unit and its position in the period, from 1; `passed` are the milestones that it decided."""

    position: int
    unit: DayUnit
    passed: list[MilestoneLine]


class UnitsView(View):
    """The units of a period as they count now; `count` is their number without an opening balance; `row` is null for a range of dates.

    For an earlier moment (`past`), they are recounted from what had been appended to the source topics by then; `published` is the figure
    published by then, null if unknown: what was appended last was published a moment later. `count` is null if the units cannot be
    determined.
    """

    past: EarlierMoment | None
    published: int | None
    parameters: UnitsParameters
    row: WindowRow | None
    count: int | None
    vins_shown: bool
    problem: NotKnown | None
    first: int
    lines: list[UnitLine]


def units_view(ask: Ask, orders: Orders, parameters: UnitsParameters) -> UnitsView:
    """The units behind a number.

    Raises:
        UnknownNameError: The period or the scope does not exist.
    """
    metric, period = ask.metric(parameters.metric), parameters.period or f"day:{ask.today.isoformat()}"
    scope = ask.scope(parameters.scope or (ALL if ask.view.windows.has_scope(ALL) else ""))
    if ".." in period:
        row, dates = None, stretch_of(ask, period)
        published = sum_of(ask.day_counts(metric, scope, *dates).values())
    else:
        if (impossible := period_fault(period)) is not None:
            raise UnknownNameError(impossible, "period")
        row = ask.view.windows.get(metric, scope, period)
        if row is None and (fault := orders.period_fault(period) or _campaign_fault(ask, scope, period)) is not None:
            raise UnknownNameError(fault, "period")
        published = ask.count_of(metric, scope, period, row)
        dates = (row.start, row.end) if row is not None else ("", "")
    passed = _passed(ask, row) if row is not None else {}
    lines, problem, first = [], None, 1
    balance = row.balance if row is not None else 0
    count = published - balance if published is not None and ask.past is None else None
    try:
        if ask.past is not None:
            span = (date.fromisoformat(dates[0]), date.fromisoformat(dates[1])) if dates[0] else orders.dates_of(period)
            units = [unit for unit in _units_then(ask, orders, (metric, scope), span) if _is_in(row, unit)]
            count = len(units)
            first = max(min(parameters.position or count - parameters.limit + 1, count), 1)
            shown = enumerate(units[first - 1 : first - 1 + parameters.limit], first)
            lines = [UnitLine(position=place, unit=unit, passed=passed.get(place, [])) for place, unit in shown]
        elif count:
            first = min(parameters.position or max(count - parameters.limit + 1, 1), count)
            if row is not None and row.by_minute is not None:
                lines = _lines_of_campaign(ask, orders, row, passed, first, parameters.limit)
            else:
                lines = _lines(ask, orders, (metric, scope, *dates), passed, first, parameters.limit)
    except OrdersNotKnownError as error:
        problem = not_known(error)
    return UnitsView(
        parameters=parameters.model_copy(update={"metric": metric, "scope": scope, "period": period}),
        past=ask.past,
        published=None if ask.past is None else published,
        row=row,
        count=count,
        vins_shown=orders.vins_shown,
        problem=problem,
        first=first,
        lines=lines,
    )


def _units_then(ask: Ask, orders: Orders, what: tuple[str, str], span: tuple[date, date] | None) -> list[DayUnit]:
    """The units of a metric and scope between two dates, from what the sources held at the earlier moment; none without dates."""
    moment = _as_of_us(ask)
    return [] if span is None or moment is None else orders.units_then(*what, span, moment, _rows(ask, what[1]))


def _lines(  # noqa: PLR0913, PLR0917 - which units
    ask: Ask,
    orders: Orders,
    what: tuple[str, str, str, str],
    passed: dict[int, list[MilestoneLine]],
    first: int,
    limit: int,
) -> list[UnitLine]:
    """Units from a position on, looking up only the dates that have them; `what` is metric, scope, first and last date."""
    metric, scope, start, last = what
    counts = ask.day_counts(metric, scope, start, last)
    with_rows = _rows(ask, scope)
    lines: list[UnitLine] = []
    before, day, end = 0, date.fromisoformat(start), date.fromisoformat(last)
    while day <= end and len(lines) < limit:
        count = counts.get(day.isoformat()) or 0
        if before + count >= first and count:
            for place, unit in enumerate(orders.units(metric, scope, day, with_rows), before + 1):
                if place >= first and len(lines) < limit:
                    lines.append(UnitLine(position=place, unit=unit, passed=passed.get(place, [])))
        before += count
        day += timedelta(days=1)
    return lines


def _lines_of_campaign(  # noqa: PLR0913, PLR0917 - which units
    ask: Ask,
    orders: Orders,
    row: WindowRow,
    passed: dict[int, list[MilestoneLine]],
    first: int,
    limit: int,
) -> list[UnitLine]:
    """Units of a campaign from a position on: those on its dates that lie between its instants."""
    with_rows = _rows(ask, row.scope)
    lines: list[UnitLine] = []
    place, day, end = 0, date.fromisoformat(row.start), date.fromisoformat(row.end)
    while day <= end and len(lines) < limit:
        for unit in orders.units(row.metric, row.scope, day, with_rows):
            place += _is_in(row, unit)
            if place >= first and len(lines) < limit and _is_in(row, unit):
                lines.append(UnitLine(position=place, unit=unit, passed=passed.get(place, [])))
        day += timedelta(days=1)
    return lines


def _is_in(row: WindowRow | None, unit: DayUnit) -> bool:
    """Whether a unit with the right date lies in a row's window; for a campaign, its instants decide."""
    if row is None or row.starts_at is None or row.ends_at is None:
        return True
    first, end = datetime.fromisoformat(row.starts_at), datetime.fromisoformat(row.ends_at)
    return first <= datetime.fromisoformat(unit.time) < end


def _rows(ask: Ask, scope: str) -> frozenset[str] | None:
    """The scopes with rows and the same dimensions, if units of others count in another scope."""
    if ask.settings.limits.beyond != "other":
        return None
    return frozenset(ask.view.windows.scopes(dimensions=[dimensions_of(scope)]))


def _campaign_fault(ask: Ask, scope: str, period: str) -> str | None:
    """Why there is no such campaign, in one line; `None` if there is, or if it is not known which are announced."""
    kind, _, name = period.partition(":")
    if kind != "campaign" or not ask.knows_campaigns:
        return None
    known = [campaign.name for campaign in ask.campaigns(scope)]
    return None if name in known else unknown("campaign", name, known)


def _passed(ask: Ask, row: WindowRow) -> dict[int, list[MilestoneLine]]:
    """Position → the window's milestones that the unit there decided."""
    query = MilestoneQuery(metric=row.metric, scope=row.scope, day=row.start, standing=True, limit=_MAX_MILESTONES)
    found: dict[int, list[MilestoneLine]] = {}
    for event in ask.view.milestones.page(query).events:
        data = event.data
        if data.period == row.period and data.threshold is not None and data.kind != "record":
            place = data.threshold + (1 if data.operator == "exceeds" else 0) - data.balance
            found.setdefault(place, []).append(milestone_line(event))
    return found
