"""Comparison: periods and scopes laid over each other, by day or by working day, and which scopes gained and lost."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field

from schemas.facts import Dimension
from schemas.messages import Message
from schemas.outputs import CivilDate
from schemas.texts import scope_names
from streams.domain.time.daytypes import HOLIDAY, WORK_DAY, DayTypes
from streams.domain.time.periods import month_period, parse_period
from streams.spreadsheets import defused
from streams.web.filters import sum_of
from streams.web.views.common import (
    Ask,
    Chosen,
    DatedParameters,
    EarlierMoment,
    MetricName,
    Text,
    UnknownNameError,
    View,
    csv_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_LINES: Final = 6
_MOST_DAYS: Final = 800
_ENDS: Final = 10
_SATURDAY: Final = 5
_FORMS: Final = Message(
    "write a period, such as month:2024-10, year:2024 or holiday:national-day:2024, or two dates, such as "
    "2024-10-01..2024-10-15"
)


RankSort = Literal["count", "-count", "difference", "-difference", "share", "-share", "name", "-name"]


class CompareParameters(DatedParameters):
    """Each `period` with each `scope`, at most six lines.

    `period` is an id such as `month:2024-10`, or two dates, `2024-10-01..2024-10-15`; by default this month, last month, and the same
    month last year. `align` lays them over each other day by day, or by working day: a day off is added to the working day before it.
    `dimension` also lists its values, the first period against the second, in the order of `sort`.
    """

    metric: MetricName = ""
    period: Annotated[tuple[Text, ...], Chosen, Field(max_length=_MOST_LINES)] = ()
    scope: Annotated[tuple[Text, ...], Chosen, Field(max_length=_MOST_LINES)] = ()
    align: Literal["day", "working-day"] = "day"
    dimension: Literal["", Dimension] = ""
    sort: RankSort = "-difference"


class ComparedDay(View):
    """A point of a line: its dates, their count, and the running total; null after today, or if unknown."""

    first: CivilDate
    last: CivilDate
    count: int | None
    total: int | None


class ComparedLine(View):
    """A period of a scope.

    `whole` is its count up to today, `so_far` its count up to the point that the first line has reached today; null if their values at the
    earlier moment are unknown.
    """

    period: str
    scope: str
    start: CivilDate
    end: CivilDate
    whole: int | None
    so_far: int | None
    days: list[ComparedDay]


class Ranked(View):
    """A value of the dimension: its counts in the first and second period, up to the same point; null if unknown."""

    scope: str
    name: str
    count: int | None
    before: int | None

    @property
    def difference(self) -> int | None:
        """How much it has gained; `None` if unknown."""
        return None if self.count is None or self.before is None else self.count - self.before

    @property
    def share(self) -> float | None:
        """The relative change; `None` if it was 0 before, or if unknown."""
        return self.difference / self.before if self.before and self.difference is not None else None


class CompareView(View):
    """Lines laid over each other; the first and last ten values of the dimension, and their number and totals.

    `spans` are the dates over which these were counted, in the first and the second period.
    """

    parameters: CompareParameters
    metrics: list[str]
    lines: list[ComparedLine]
    place: int
    top: list[Ranked]
    bottom: list[Ranked]
    ranked: int
    spans: list[str]
    total: int | None
    total_before: int | None
    past: EarlierMoment | None


@dataclass(frozen=True)
class _Stretch:
    name: str
    start: date
    end: date


def compare(ask: Ask, parameters: CompareParameters) -> CompareView:
    """The comparison of periods and scopes.

    Raises:
        UnknownNameError: A period or scope does not exist.
    """
    parameters = parameters.model_copy(update={"metric": ask.metric(parameters.metric)})
    lines, place = _lines(ask, parameters)
    ranked = _ranked(ask, parameters, place) if parameters.dimension else []
    ends = ranked if len(ranked) <= 2 * _ENDS else [*ranked[:_ENDS], *ranked[-_ENDS:]]
    return CompareView(
        parameters=parameters,
        metrics=ask.view.windows.metrics(),
        lines=lines,
        place=place,
        top=ends[:_ENDS] if len(ranked) > 2 * _ENDS else ends,
        bottom=ends[_ENDS:] if len(ranked) > 2 * _ENDS else [],
        ranked=len(ranked),
        spans=_spans(ask, parameters, place) if parameters.dimension else [],
        total=sum_of(each.count for each in ranked),
        total_before=sum_of(each.before for each in ranked),
        past=ask.past,
    )


def compare_csv(ask: Ask, parameters: CompareParameters) -> Iterator[str]:
    """The lines point by point or, with a dimension, all its values, as CSV with a header and a byte order mark."""
    parameters = parameters.model_copy(update={"metric": ask.metric(parameters.metric)})
    lines, place = _lines(ask, parameters)
    if parameters.dimension:
        stretches = _stretches(ask, parameters)
        second = stretches[min(1, len(stretches) - 1)].name
        yield "\ufeff" + csv_text([("scope", stretches[0].name, second, "difference")])
        for each in _ranked(ask, parameters, place):
            yield csv_text([(defused(each.scope), each.count, each.before, each.difference)])
        return
    titles = [f"{line.period} {line.scope}" for line in lines]
    yield "\ufeff" + csv_text(
        [("place", *(f"{title} {what}" for title in titles for what in ("date", "count", "total")))]
    )
    for number in range(max((len(line.days) for line in lines), default=0)):
        cells: list[object] = [number + 1]
        for line in lines:
            day = line.days[number] if number < len(line.days) else None
            cells += ["", "", ""] if day is None else [day.first, day.count, day.total]
        yield csv_text([cells])


def _lines(ask: Ask, parameters: CompareParameters) -> tuple[list[ComparedLine], int]:
    """The lines, and the point that is today in the first line, from 1; its last point if it is over."""
    scopes = parameters.scope or (ask.scope(""),)
    ask.check_scopes(parameters.scope)
    stretches = _stretches(ask, parameters)
    pairs = [(stretch, scope) for stretch in stretches for scope in scopes][:_MOST_LINES]
    sorts = DayTypes(ask.holidays)
    groups = {stretch.name: _groups(stretch, sorts, parameters.align) for stretch in stretches}
    first = groups[pairs[0][0].name]
    place = sum(dates[0] <= ask.today for dates in first) or len(first)
    return [
        _line(ask, parameters.metric, scope, stretch, groups[stretch.name], place) for stretch, scope in pairs
    ], place


def _line(  # noqa: PLR0913, PLR0917 - what a line is made of
    ask: Ask, metric: str, scope: str, stretch: _Stretch, groups: list[list[date]], place: int
) -> ComparedLine:
    counts = ask.day_counts(metric, scope, stretch.start.isoformat(), stretch.end.isoformat())
    sums = [sum_of(counts.get(day.isoformat(), 0) for day in dates) for dates in groups]
    days = [
        ComparedDay(
            first=dates[0].isoformat(),
            last=dates[-1].isoformat(),
            count=count if dates[0] <= ask.today else None,
            total=total if dates[0] <= ask.today else None,
        )
        for dates, count, total in zip(groups, sums, _running(sums), strict=True)
    ]
    return ComparedLine(
        period=stretch.name,
        scope=scope,
        start=stretch.start.isoformat(),
        end=stretch.end.isoformat(),
        whole=sum_of(sums),
        so_far=sum_of(sums[:place]),
        days=days,
    )


def _running(sums: list[int | None]) -> Iterator[int | None]:
    """The running totals; `None` from the first unknown one on."""
    return accumulate(sums, lambda total, count: None if total is None or count is None else total + count)


def _groups(stretch: _Stretch, sorts: DayTypes, align: str) -> list[list[date]]:
    """The dates of each point: one, or a working day with the days off that follow it."""
    groups: list[list[date]] = []
    for number in range((stretch.end - stretch.start).days + 1):
        day = stretch.start + timedelta(days=number)
        sort = sorts.of(day)
        works = sort == WORK_DAY or (sort != HOLIDAY and day.weekday() < _SATURDAY)
        if align == "day" or works or not groups:
            groups.append([day])
        else:
            groups[-1].append(day)
    return groups


def _stretches(ask: Ask, parameters: CompareParameters) -> list[_Stretch]:
    if parameters.period:
        return [_stretch(ask, text) for text in dict.fromkeys(parameters.period)]
    month = month_period(ask.today)
    last = month_period(month.start - timedelta(days=1))
    year_ago = month_period(month.start.replace(year=month.start.year - 1))
    return [_Stretch(each.id, each.start, each.end) for each in (month, last, year_ago)]


def stretch_of(ask: Ask, text: str) -> tuple[str, str]:
    """The first and last date of a period id, or of a range of two dates.

    Raises:
        UnknownNameError: It is neither, or too long.
    """
    found = _stretch(ask, text)
    return found.start.isoformat(), found.end.isoformat()


def _stretch(ask: Ask, text: str) -> _Stretch:
    try:
        found = _parsed(ask, text)
    except (ValueError, OverflowError):
        found = None
    if found is None or found.end < found.start:
        raise UnknownNameError(Message("%(period)r is no period; %(forms)s", period=text, forms=_FORMS), "period")
    if (found.end - found.start).days >= _MOST_DAYS:
        raise UnknownNameError(
            Message("%(period)r has more than %(most)s days; compare shorter periods", period=text, most=_MOST_DAYS),
            "period",
        )
    return found


def _parsed(ask: Ask, text: str) -> _Stretch | None:
    if ".." in text:
        start, _, end = text.partition("..")
        return _Stretch(text, date.fromisoformat(start), date.fromisoformat(end))
    kind, _, rest = text.partition(":")
    if kind == "holiday":
        name, _, year = rest.rpartition(":")
        found = next((h for y in ask.holidays if str(y.year) == year for h in y.holidays if h.name == name), None)
        return None if found is None else _Stretch(text, found.start, found.end)
    period = parse_period(text, ask.settings.reckoning)
    return _Stretch(text, period.start, period.end) if period is not None else None


def _ranked(ask: Ask, parameters: CompareParameters, place: int) -> list[Ranked]:
    """All scopes with only this dimension, the first period against the second, up to the same point."""
    spans = (span.split("..") for span in _spans(ask, parameters, place))
    now, before = (
        ask.view.windows.sums_of(parameters.metric, parameters.dimension, first, last) for first, last in spans
    )
    ranked = [
        Ranked(scope=scope, name=", ".join(scope_names(scope)), count=now.get(scope, 0), before=before.get(scope, 0))
        for scope in sorted(now.keys() | before.keys())
    ]
    name, descending = parameters.sort.removeprefix("-"), parameters.sort.startswith("-")
    # Unknown values, and shares of scopes without an earlier count, come last in either direction.
    known = [each for each in ranked if getattr(each, name) is not None]
    known.sort(key=lambda each: getattr(each, name), reverse=descending)
    return [*known, *(each for each in ranked if getattr(each, name) is None)]


def _spans(ask: Ask, parameters: CompareParameters, place: int) -> list[str]:
    """The dates of the first and the second period, up to the same point."""
    stretches, sorts = _stretches(ask, parameters), DayTypes(ask.holidays)
    spans = []
    for stretch in (stretches[0], stretches[min(1, len(stretches) - 1)]):
        groups = _groups(stretch, sorts, parameters.align)
        spans.append(f"{stretch.start}..{groups[min(place, len(groups)) - 1][-1]}")
    return spans
