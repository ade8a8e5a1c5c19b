"""Window rows: filtered, sorted, side by side by a dimension, as of an instant, as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from schemas.codec import row_document
from schemas.facts import Dimension
from schemas.outputs import CivilDate, Instant, PeriodKind, WindowRow, WindowStatus
from streams.web.readmodel import WindowQuery
from streams.web.times import text_of_us
from streams.web.views.common import Ask, AsOf, MetricName, Parameters, PeriodStart, Text, View, micros

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.web.readmodel import Snapshot

_MAX_LINES: Final = 1000
#: What a spreadsheet takes for the beginning of a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
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
    "-updated", "restated", "-restated", "version", "-version",
]  # fmt: skip


def _named(values: object) -> object:
    # A form sends an empty value where nothing is chosen.
    return tuple(value for value in values if value != "") if isinstance(values, list | tuple) else values


_Chosen = BeforeValidator(_named)


class WindowsParameters(Parameters):
    """Which rows.

    `metric`, `scope`, `kind`, `status` may be repeated: any of them. `period` is how the id of a period starts
    (`day:2024-10`). `first` and `last` are dates: periods that have a day in between. `has` is `targets` or `controls`.
    `sort` is a column, with `-` before it the greatest first. `as_of` is an RFC 3339 instant with an offset: the version
    of each row that was in force then, by when it was published.
    """

    metric: Annotated[tuple[MetricName, ...], _Chosen, Field(max_length=10)] = ()
    scope: Annotated[tuple[Text, ...], _Chosen, Field(max_length=100)] = ()
    kind: Annotated[tuple[PeriodKind, ...], _Chosen, Field(max_length=4)] = ()
    period: PeriodStart = ""
    status: Annotated[tuple[WindowStatus, ...], _Chosen, Field(max_length=3)] = ()
    first: CivilDate | Literal[""] = ""
    last: CivilDate | Literal[""] = ""
    has: Literal["", "targets", "controls"] = ""
    sort: Sort = "-start"
    offset: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    as_of: AsOf = ""

    def query(self) -> WindowQuery:
        """For the read model."""
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
            offset=self.offset,
            limit=self.limit,
            as_of_us=micros(self.as_of),
        )


class WindowsView(View):
    """A page of rows; `total` on all pages.

    `as_of` is the instant that was asked for, null for now. What was in force then is told by the history of published
    versions, which goes back to `known_since`; before that (`as_of_known` is false), rows are missing. A version that was
    in force for less than a minute can be missing too.
    """

    parameters: WindowsParameters
    as_of: Instant | None
    as_of_known: bool
    known_since: Instant | None
    metrics: list[str]
    scopes: list[str]
    total: int
    rows: list[WindowRow]


class SideParameters(Parameters):
    """`dimension` `model`, `variant`, `factory` or `region`; `first` and `last` dates; the latest periods first."""

    dimension: Dimension = "model"
    metric: MetricName = "deliveries"
    kind: PeriodKind = "month"
    first: CivilDate | Literal[""] = ""
    last: CivilDate | Literal[""] = ""


class SideLine(View):
    """A period: its counts in the order of the view's `names`, null where there is no row."""

    period: str
    counts: list[int | None]


class SideView(View):
    """Counts by a dimension, side by side; `names` are its values."""

    parameters: SideParameters
    metrics: list[str]
    names: list[str]
    lines: list[SideLine]


@dataclass(frozen=True)
class WindowsTable:
    """A page of rows for the page of windows: `view` is without them, `rows` are their JSON as on the topic."""

    view: WindowsView
    rows: list[str]


def windows_table(ask: Ask, parameters: WindowsParameters) -> WindowsTable:
    """A page of rows as a table: they are not made into models a thousand times."""
    ask.check_scopes(parameters.scope)
    page = ask.view.windows.page(parameters.query())
    return WindowsTable(_view(ask, parameters, page.total), page.bodies)


def windows_json(ask: Ask, parameters: WindowsParameters) -> str:
    """The view as JSON: rows go out as they were published, without being read and written a thousand times."""
    ask.check_scopes(parameters.scope)
    page = ask.view.windows.page(parameters.query())
    frame = _view(ask, parameters, page.total).model_dump_json()
    return f"{frame.removesuffix('[]}')}[{','.join(page.bodies)}]}}"


def _view(ask: Ask, parameters: WindowsParameters, total: int) -> WindowsView:
    as_of_us, since_us = micros(parameters.as_of), ask.view.windows.history_since_us()
    return WindowsView(
        parameters=parameters,
        as_of=parameters.as_of or None,
        as_of_known=as_of_us is None or (since_us is not None and since_us <= as_of_us),
        known_since=None if since_us is None else text_of_us(since_us),
        metrics=ask.view.windows.metrics(),
        scopes=ask.view.windows.scopes(),
        total=total,
        rows=[],
    )


def side_by_side(ask: Ask, parameters: SideParameters) -> SideView:
    """Counts by a dimension."""
    table = ask.view.windows.side_by_side(
        parameters.metric, parameters.kind, parameters.dimension, parameters.first, parameters.last or "9999"
    )
    names = sorted({name for counts in table.values() for name in counts})
    lines = [SideLine(period=period, counts=[counts.get(name) for name in names]) for period, counts in table.items()]
    return SideView(
        parameters=parameters, metrics=ask.view.windows.metrics(), names=names, lines=lines[::-1][:_MAX_LINES]
    )


def csv_lines(view: Snapshot, parameters: WindowsParameters) -> Iterator[str]:
    """All rows that are asked for, from `offset`, as CSV with a header; text that could be a formula is defused.

    It begins with a byte order mark, without which Excel takes UTF-8 for something else.
    """
    yield f"\ufeff{_csv([_COLUMNS])}"
    for bodies in view.windows.every(parameters.query()):
        yield _csv([_cells(row_document(body), parameters.as_of) for body in bodies])


def json_lines(view: Snapshot, parameters: WindowsParameters) -> Iterator[str]:
    """All rows that are asked for, from `offset`, each as on the topic."""
    for bodies in view.windows.every(parameters.query()):
        yield "".join(f"{body}\n" for body in bodies)


def defused(text: str) -> str:
    """Text that a spreadsheet takes for text: an apostrophe before what would begin a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _cells(row: dict[str, Any], as_of: str) -> list[str | int]:
    targets = "; ".join(f"{target['target_id']}={target['value']}" for target in row["targets"])
    given: dict[str, str | int] = {**row, "targets": targets, "as_of": as_of}
    return [defused(cell) if isinstance(cell := given[name], str) else cell for name in _COLUMNS]


def _csv(rows: Iterable[Iterable[object]]) -> str:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue()
