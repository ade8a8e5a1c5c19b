"""A year as a calendar, and a single day."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import Field

from schemas.outputs import ALERT_KINDS, CivilDate, MilestoneKind, WindowRow, WindowStatus
from streams.domain.time.daytypes import HOLIDAY, WORK_DAY, DayTypes
from streams.web.filters import sum_of
from streams.web.readmodel import DeadLetterEntry, LetterQuery, MilestoneQuery, WindowQuery
from streams.web.views.common import (
    Aim,
    Ask,
    DatedParameters,
    EarlierMoment,
    Goal,
    MetricName,
    MilestoneLine,
    Restated,
    Text,
    UsualDay,
    View,
    levels,
    milestone_line,
)
from streams.web.views.now import others_of

DaySort = Literal["working", "weekend", "holiday", "make-up"]
_MAX_LETTERS = 200
_MAX_MILESTONES = 1000


class CalendarParameters(DatedParameters):
    """Defaults: `year` that of the business date, `metric` deliveries, or orders placed if there are only these, `scope` that of the targets."""

    year: Annotated[int, Field(ge=1999, le=2101)] | None = None
    metric: MetricName = ""
    scope: Text = ""


class CalendarDay(View):
    """A date; `marks` are the kinds of milestones that stand on it.

    `count` is null if there is no row; it is not `known` if rows of that date are no longer kept, or if its value at the earlier moment
    is unknown. `level` is 1 to 6 by the rank of its count among the year's days, so that one huge day does not make the others pale; 0
    without any units.
    """

    date: CivilDate
    count: int | None
    known: bool
    level: int
    status: WindowStatus | None
    restated: int
    sort: DaySort
    holiday: str | None
    marks: list[MilestoneKind]

    @property
    def month(self) -> str:
        """The month, such as `2024-10`."""
        return self.date[:7]

    @property
    def weekday(self) -> int:
        """The day of the week, from 0 for Monday to 6 for Sunday."""
        return date.fromisoformat(self.date).weekday()


class CalendarHoliday(View):
    """A holiday period, with the days worked to make up for it.

    `count` is that of its row if the holiday is counted as a period, else the sum of its days; null if there are none, or if unknown.
    """

    name: str
    start: CivilDate
    end: CivilDate
    work_days: list[CivilDate]
    count: int | None


class CalendarView(View):
    """A year with all its dates in order; `total` is null if a count is unknown.

    `kept_since` is the first date whose rows the scope keeps, if the settings remove earlier ones.
    """

    year: int
    years: list[int]
    metric: str
    scope: str
    metrics: list[str]
    scopes: list[str]
    scope_count: int
    goal: Goal | None
    greatest: int
    total: int | None
    holidays_known: bool
    holidays: list[CalendarHoliday]
    days: list[CalendarDay]
    kept_since: CivilDate | None
    past: EarlierMoment | None


class DayView(View):
    """A date: its row and hours, the other metrics, what was restated, its milestones and dead letters.

    `count` is null if its value at the earlier moment is unknown, or if rows of that date are no longer kept (they are kept from
    `kept_since` on), and 0 if there was no row; `unknown` are the metrics for which it is null. `dead_letters` are those whose own time
    was on this date, or else that were rejected on it; `dead_letter_count` is their total.
    """

    date: CivilDate
    previous: CivilDate
    next: CivilDate
    metric: str
    scope: str
    metrics: list[str]
    scopes: list[str]
    scope_count: int
    sort: DaySort
    holiday: str | None
    row: WindowRow | None
    count: int | None
    unknown: list[str]
    usual: UsualDay | None
    goal: Goal | None
    aims: list[Aim]
    hours: int
    rows: list[WindowRow]
    restated: list[Restated]
    versions: list[WindowRow]
    milestones: list[MilestoneLine]
    dead_letters: list[DeadLetterEntry]
    dead_letter_count: int
    kept_since: CivilDate | None
    past: EarlierMoment | None


def calendar(ask: Ask, parameters: CalendarParameters) -> CalendarView:
    """The view of a year."""
    year, scope, metric = parameters.year or ask.today.year, ask.scope(parameters.scope), ask.metric(parameters.metric)
    first, last = date(year, 1, 1), date(year, 12, 31)
    rows = {row.start: row for row in ask.view.windows.days(metric, scope, first.isoformat(), last.isoformat())}
    every = ask.day_counts(metric, scope, first.isoformat(), last.isoformat())
    marks = _marks(ask, metric, scope)
    sorts, names = DayTypes(ask.holidays), _holiday_names(ask)
    level = levels([row.count for row in rows.values()])
    days = [
        _day(
            day,
            rows.get(day.isoformat()),
            every.get(day.isoformat(), 0) is not None,
            sorts,
            names,
            marks[day.isoformat()],
            level,
        )
        for day in (first + timedelta(days=number) for number in range((last - first).days + 1))
    ]
    counts = [row.count for row in rows.values()]
    return CalendarView(
        year=year,
        years=ask.view.windows.years(),
        metric=metric,
        scope=scope,
        metrics=ask.view.windows.metrics(),
        scopes=ask.scopes(scope),
        scope_count=ask.view.windows.scope_count(),
        goal=ask.goal(metric, scope),
        greatest=max(counts, default=0),
        total=_total(ask, metric, scope, year, every),
        holidays_known=not ask.holidays or any(entry.year == year for entry in ask.holidays),
        holidays=_holidays(ask, metric, scope, year),
        days=days,
        kept_since=_text(ask.kept_since(scope)),
        past=ask.past,
    )


def day_view(ask: Ask, day: date, parameters: CalendarParameters) -> DayView:
    """The view of a date."""
    scope, metric, text = ask.scope(parameters.scope), ask.metric(parameters.metric), day.isoformat()
    view = ask.view
    rows = view.windows.page(WindowQuery(scopes=[scope], period=f"day:{text}", sort="metric")).rows
    letters = view.dead_letters.page(LetterQuery(day=text, limit=_MAX_LETTERS))
    events = view.milestones.page(MilestoneQuery(scope=scope, day=text, all_events=True, limit=_MAX_MILESTONES)).events
    row = next((row for row in rows if row.metric == metric), None)
    return DayView(
        date=text,
        previous=(day - timedelta(days=1)).isoformat(),
        next=(day + timedelta(days=1)).isoformat(),
        metric=metric,
        scope=scope,
        metrics=view.windows.metrics(),
        scopes=ask.scopes(scope),
        scope_count=view.windows.scope_count(),
        sort=_sort(day, DayTypes(ask.holidays)),
        holiday=_holiday_names(ask).get(day),
        row=row,
        count=ask.count_of(metric, scope, f"day:{text}", row),
        unknown=[name for name, count in others_of(ask, scope, f"day:{text}", rows).items() if count is None],
        usual=ask.usual(metric, scope, day),
        goal=ask.goal_of(metric, scope, row),
        aims=ask.aims(metric, scope, f"day:{text}", row),
        hours=ask.hours_of(day),
        rows=rows,
        restated=[found for row in rows for found in ask.restated(row.metric, scope, row.period)],
        versions=view.windows.versions(metric, scope, f"day:{text}", limit=200),
        milestones=[milestone_line(event) for event in events],
        dead_letters=letters.letters,
        dead_letter_count=letters.total,
        kept_since=_text(ask.kept_since(scope)),
        past=ask.past,
    )


def _text(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def _total(ask: Ask, metric: str, scope: str, year: int, days: Mapping[str, int | None]) -> int | None:
    """The total of a year: the sum of its days, or its own row if not all days are kept."""
    found = sum_of(days.values())
    row = ask.view.windows.get(metric, scope, f"year:{year}") if found is None and ask.past is None else None
    return found if row is None or row.start != f"{year}-01-01" else row.count


def _day(  # noqa: PLR0913, PLR0917 - what is known of the year
    day: date,
    row: WindowRow | None,
    known: bool,  # noqa: FBT001 - what is known
    sorts: DayTypes,
    names: dict[date, str],
    marks: set[MilestoneKind],
    level: Callable[[int], int],
) -> CalendarDay:
    return CalendarDay(
        date=day.isoformat(),
        count=row.count if row is not None else None,
        known=known,
        level=level(row.count) if row is not None else 0,
        status=row.status if row is not None else None,
        restated=row.restated if row is not None else 0,
        sort=_sort(day, sorts),
        holiday=names.get(day),
        marks=sorted(marks),
    )


def _sort(day: date, sorts: DayTypes) -> DaySort:
    sort = sorts.of(day)
    if sort == HOLIDAY:
        return "holiday"
    if sort == WORK_DAY:
        return "make-up"
    return "weekend" if day.weekday() >= 5 else "working"


def _marks(ask: Ask, metric: str, scope: str) -> defaultdict[str, set[MilestoneKind]]:
    """Date → kinds of milestones that stand on it: those of the day, and those of longer windows that passed their number on it."""
    found: defaultdict[str, set[MilestoneKind]] = defaultdict(set)
    query = MilestoneQuery(metric=metric, scope=scope, standing=True, limit=_MAX_MILESTONES)
    for event in ask.view.milestones.page(query).events:
        data = event.data
        if data.kind in ALERT_KINDS:
            continue
        if data.period.startswith("day:"):
            found[data.start].add(data.kind)
        elif data.achieved_at is not None:
            moment = datetime.fromisoformat(data.achieved_at).astimezone(ZoneInfo(ask.settings.timezone))
            found[data.achieved_on or moment.date().isoformat()].add(data.kind)
    return found


def _holiday_names(ask: Ask) -> dict[date, str]:
    names: dict[date, str] = {}
    for entry in ask.holidays:
        for holiday in entry.holidays:
            for number in range((holiday.end - holiday.start).days + 1):
                names[holiday.start + timedelta(days=number)] = holiday.name
    return names


def _holidays(ask: Ask, metric: str, scope: str, year: int) -> list[CalendarHoliday]:
    query = WindowQuery(metrics=[metric], scopes=[scope], kinds=["holiday"], limit=1000)
    counts: dict[str, int | None] = {row.period: None for row in ask.view.windows.unknown(query)}
    counts |= {row.period: row.count for row in ask.view.windows.page(query).rows}

    def count(period: str, first: str, last: str) -> int | None:
        if period in counts:
            return counts[period]
        days = ask.day_counts(metric, scope, first, last)
        return sum_of(days.values()) if days else None

    return [
        CalendarHoliday(
            name=holiday.name,
            start=holiday.start.isoformat(),
            end=holiday.end.isoformat(),
            work_days=[day.isoformat() for day in holiday.work_days],
            count=count(f"holiday:{holiday.name}:{entry.year}", holiday.start.isoformat(), holiday.end.isoformat()),
        )
        for entry in ask.holidays
        for holiday in entry.holidays
        if year in (holiday.start.year, holiday.end.year)
    ]
