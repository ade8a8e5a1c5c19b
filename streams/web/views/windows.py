"""Window rows: filtered and sorted, side by side by a dimension, as of an instant, as CSV."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field

from schemas.codec import row_document
from schemas.facts import Dimension
from schemas.outputs import PERIOD_KINDS, Instant, PeriodKind, WindowRow, WindowStatus
from schemas.texts import scope_names
from streams.spreadsheets import defused
from streams.web.filters import natural, sum_of
from streams.web.readmodel import WindowPage, WindowQuery
from streams.web.readmodel.windows import UnknownRow, dimensions_of, place_size
from streams.web.times import text_of_us
from streams.web.views.common import (
    LISTED_SCOPES,
    Ask,
    Chosen,
    DatedParameters,
    GivenDate,
    MetricName,
    PeriodStart,
    RowMetricName,
    Text,
    View,
    checked_place,
    csv_text,
    levels,
    micros,
    place_of,
    text_of_place,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.web.readmodel import Snapshot

_MAX_LINES: Final = 1000
_MAX_NAMES: Final = 1000
_COLUMNS: Final = (
    "metric",
    "scope",
    "period",
    "start",
    "end",
    "timezone",
    "count",
    "targets",
    "status",
    "restated",
    "version",
    "updated_at",
    "as_of",
)

Sort = Literal[
    "start", "-start", "count", "-count", "metric", "-metric", "scope", "-scope", "status", "-status", "updated",
    "-updated", "restated", "-restated", "version", "-version", "key", "-key",
]  # fmt: skip


_Place = Annotated[str, Field(max_length=2048), checked_place(lambda given: place_size(given.get("sort", "-start")))]


class WindowsParameters(DatedParameters):
    """Which rows.

    `metric`, `scope`, `kind`, `status` may be repeated; any of the values matches. `period` is a prefix of period ids (`day:2024-10`).
    `first` and `last` are dates: only periods that have a day in between. `has` is `targets` or `controls`. `sort` is a column, descending
    with `-` in front. `after` is the `next` of a page, and `before` its `previous`, in the same order. `as_of` is an RFC 3339 instant with
    an offset, for the version of each row in force then, by time of publication.
    """

    metric: Annotated[tuple[RowMetricName, ...], Chosen, Field(max_length=10)] = ()
    scope: Annotated[tuple[Text, ...], Chosen, Field(max_length=100)] = ()
    kind: Annotated[tuple[PeriodKind, ...], Chosen, Field(max_length=len(PERIOD_KINDS))] = ()
    period: PeriodStart = ""
    status: Annotated[tuple[WindowStatus, ...], Chosen, Field(max_length=3)] = ()
    first: GivenDate = ""
    last: GivenDate = ""
    has: Literal["", "targets", "controls"] = ""
    sort: Sort = "-start"
    after: _Place = ""
    before: _Place = ""
    limit: Annotated[int, Field(ge=1, le=1000)] = 100

    def query(self) -> WindowQuery:
        """The query for the read model."""
        return WindowQuery(
            metrics=self.metric,
            scopes=self.scope,
            kinds=self.kind,
            period=self.period,
            statuses=self.status,
            first=self.first,
            last=self.last,
            has=self.has,
            sort=self.sort,
            after=place_of(self.after),
            before=place_of(self.before),
            limit=self.limit,
            as_of_us=micros(self.as_of),
        )


class WindowsView(View):
    """A page of rows; `total` is over all pages, `next` and `previous` lead to the adjacent pages, as `after` and `before`.

    `as_of` is the requested instant, null for now. What was in force then comes from the history of published versions, which goes back
    to `known_since`; before that, `as_of_known` is false and rows are missing. Versions in force for less than a minute may be missing
    too. `unknown` is the number of rows left out because their versions at that instant are unknown.
    """

    parameters: WindowsParameters
    as_of: Instant | None
    as_of_known: bool
    known_since: Instant | None
    unknown: int
    metrics: list[str]
    scopes: list[str]
    scope_count: int
    total: int
    previous: str | None
    next: str | None
    rows: list[WindowRow]


class SideParameters(DatedParameters):
    """`dimension` is `model`, `variant`, `factory` or `region`; `first` and `last` are dates; the latest periods come first.

    `within` is a scope, such as `model=SU7`, to show only its parts. `period` is the one whose counts are `ranked`, by default the latest;
    `sort` is `count`, the greatest first, or `name`.
    """

    dimension: Dimension = "model"
    within: Text = ""
    metric: MetricName = ""
    kind: PeriodKind = "month"
    first: GivenDate = ""
    last: GivenDate = ""
    period: Text = ""
    sort: Literal["count", "name"] = "count"


class SideLine(View):
    """A period: its counts in the order of the view's `names`, null if there is no row, or if unknown.

    `total` is over all values of the dimension, null if one of them is unknown.
    """

    period: str
    counts: list[int | None]
    total: int | None


class RankedCount(View):
    """A count of the ranked period and that of the period before, null if there is none, or if unknown.

    `rank` is 1 for the greatest, `level` 1 to 6 by the rank of the count among the others; 0 without any units.
    """

    scope: str
    name: str
    count: int | None
    before: int | None
    rank: int
    level: int


class Ranking(View):
    """The counts of one period, in the requested order; `total` is null if one is unknown."""

    period: str
    before: str | None
    total: int | None
    rows: list[RankedCount]


class SideView(View):
    """Counts by a dimension, side by side; `names` are its values and `scopes` their scopes.

    Of more than 1,000 names only the greatest are included, and `left_out` is the number of the others. `withins` are scopes whose parts
    are also counted by the dimension, only the first ones if there are many.
    """

    parameters: SideParameters
    metrics: list[str]
    withins: list[str]
    within_count: int
    names: list[str]
    scopes: list[str]
    left_out: int
    lines: list[SideLine]
    ranking: Ranking | None


@dataclass(frozen=True)
class WindowsTable:
    """A page of rows for the windows page: `view` is without the rows, `rows` has them as JSON as on the topic."""

    view: WindowsView
    rows: list[str]


def windows_table(ask: Ask, parameters: WindowsParameters) -> WindowsTable:
    """A page of rows as a table, without making a thousand models."""
    page = _page(ask, parameters)
    return WindowsTable(_view(ask, parameters, page), page.bodies)


def windows_json(ask: Ask, parameters: WindowsParameters) -> str:
    """The view as JSON; rows go out as published, without being decoded and encoded a thousand times."""
    page = _page(ask, parameters)
    frame = _view(ask, parameters, page).model_dump_json()
    return f"{frame.removesuffix('[]}')}[{','.join(page.bodies)}]}}"


def _page(ask: Ask, parameters: WindowsParameters) -> WindowPage:
    ask.check_scopes(parameters.scope)
    page = ask.view.windows.page(parameters.query())
    if not page.total:
        ask.check_period(parameters.period)
    return page


def check_asked(ask: Ask, parameters: WindowsParameters) -> None:
    """Checks that what is asked for exists, before the first line of a file.

    Raises:
        UnknownNameError: It does not.
    """
    ask.check_scopes(parameters.scope)
    if parameters.period and not ask.view.windows.page(parameters.model_copy(update={"limit": 1}).query()).rows:
        ask.check_period(parameters.period)


def _view(ask: Ask, parameters: WindowsParameters, page: WindowPage) -> WindowsView:
    past, since_us = ask.past, ask.view.windows.history_since_us()
    return WindowsView(
        parameters=parameters,
        as_of=parameters.as_of or None,
        as_of_known=past is None or past.known,
        known_since=None if since_us is None else text_of_us(since_us),
        unknown=len(ask.view.windows.unknown(parameters.query())),
        metrics=ask.view.windows.row_metrics(),
        scopes=ask.scopes(*parameters.scope),
        scope_count=ask.view.windows.scope_count(),
        total=page.total,
        previous=text_of_place(page.previous),
        next=text_of_place(page.next),
        rows=[],
    )


def side_by_side(
    ask: Ask, parameters: SideParameters, *, names: int | None = _MAX_NAMES, lines: int | None = _MAX_LINES
) -> SideView:
    """Counts by a dimension, with a maximum number of names and periods; `None` for all.

    Raises:
        UnknownScopeError: The scope in `within` has no rows.
    """
    parameters = parameters.model_copy(update={"metric": ask.metric(parameters.metric)})
    windows, within = ask.view.windows, parameters.within
    ask.check_scopes((within,), "within")
    sets = [each for each in windows.dimension_sets() if each.split(",")[-1] == parameters.dimension]
    wider = [each.rpartition(",")[0] for each in sets]
    wanted = dimensions_of(within) if within else next(iter(wider), "")
    dimensions = f"{wanted},{parameters.dimension}".strip(",")
    beginning = f"{within}," if within else ""
    table = windows.side_by_side(
        parameters.metric, parameters.kind, dimensions, parameters.first, parameters.last or "9999", beginning
    )
    totals: Counter[str] = Counter()
    for counts in table.values():
        totals.update({scope: count or 0 for scope, count in counts.items()})
    scopes = sorted(scope for scope, _ in totals.most_common(names))
    periods = list(table)[::-1]
    chosen = parameters.period if parameters.period in table else next(iter(periods), None)
    chosen_before = next(iter(periods[periods.index(chosen) + 1 :]), None) if chosen is not None else None
    withins = windows.scopes(limit=LISTED_SCOPES, dimensions=tuple(filter(None, wider)))
    return SideView(
        parameters=parameters,
        metrics=windows.metrics(),
        withins=list(dict.fromkeys([*filter(None, (within,)), *withins])),
        within_count=sum(windows.scope_count(each) for each in wider if each),
        names=[_name(scope) for scope in scopes],
        scopes=scopes,
        left_out=len(totals) - len(scopes),
        lines=[
            SideLine(
                period=period,
                counts=[table[period].get(scope) for scope in scopes],
                total=sum_of(table[period].values()),
            )
            for period in periods[:lines]
        ],
        ranking=None
        if chosen is None
        else _ranking(table, chosen, chosen_before, scopes, by_name=parameters.sort == "name"),
    )


def side_table(ask: Ask, parameters: SideParameters) -> Iterator[list[str | int | None]]:
    """The counts side by side: a header, then a line per scope and a column per period, the oldest first; the sums come last."""
    view = side_by_side(ask, parameters, names=None, lines=None)
    lines = view.lines[::-1]
    yield ["scope", "name", *(line.period for line in lines)]
    by_count = sorted(range(len(view.scopes)), key=lambda at: (-sum(line.counts[at] or 0 for line in lines), at))
    for at in by_count if parameters.sort == "count" else range(len(view.scopes)):
        yield [view.scopes[at], view.names[at], *(line.counts[at] for line in lines)]
    yield ["", "", *(line.total for line in lines)]


def side_csv(ask: Ask, parameters: SideParameters) -> Iterator[str]:
    """The table of `side_table` as CSV; text that could be a formula is defused."""
    yield "\ufeff"
    for line in side_table(ask, parameters):
        yield csv_text([[defused(cell) if isinstance(cell, str) else cell for cell in line]])


def _name(scope: str) -> str:
    return ", ".join(scope_names(scope))


def _ranking(
    table: dict[str, dict[str, int | None]], period: str, before: str | None, scopes: list[str], *, by_name: bool
) -> Ranking:
    counts, earlier = table[period], table.get(before or "", {})
    level = levels([counts.get(scope, 0) or 0 for scope in scopes])
    ordered = sorted(scopes, key=lambda scope: (-(counts.get(scope, 0) or 0), scope))
    ranks = {scope: rank for rank, scope in enumerate(ordered, 1)}
    return Ranking(
        period=period,
        before=before,
        total=sum_of(counts.values()),
        rows=[
            RankedCount(
                scope=scope,
                name=_name(scope),
                count=counts.get(scope, 0),
                before=earlier.get(scope, 0) if before is not None else None,
                rank=ranks[scope],
                level=level(counts.get(scope, 0) or 0),
            )
            for scope in (sorted(scopes, key=natural) if by_name else ordered)
        ],
    )


def csv_lines(view: Snapshot, parameters: WindowsParameters) -> Iterator[str]:
    """All requested rows, from `after` on, as CSV with a header; text that could be a formula is defused.

    It begins with a byte order mark, which Excel needs to recognise UTF-8. Rows whose version at the moment is unknown come last, without a
    count.
    """
    yield f"\ufeff{csv_text([_COLUMNS])}"
    for bodies in view.windows.every(parameters.query()):
        yield csv_text([_cells(row_document(body), parameters.as_of) for body in bodies])
    if unknown := view.windows.unknown(parameters.query()):
        of_row = len(UnknownRow._fields)
        empty = [""] * (len(_COLUMNS) - of_row - 1)
        yield csv_text([[*map(defused, row), *empty, parameters.as_of] for row in unknown])


def json_lines(view: Snapshot, parameters: WindowsParameters) -> Iterator[str]:
    """All requested rows, from `after` on, each as on the topic."""
    for bodies in view.windows.every(parameters.query()):
        yield "".join(f"{body}\n" for body in bodies)


def _cells(row: dict[str, Any], as_of: str) -> list[str | int]:
    targets = "; ".join(f"{target['target_id']}={target['value']}" for target in row["targets"])
    given: dict[str, str | int] = {**row, "targets": targets, "as_of": as_of}
    return [defused(cell) if isinstance(cell := given[name], str) else cell for name in _COLUMNS]
