"""Queries about window rows: a page of them, a single one, its versions, the days of a year, dimensions side by side."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.codec import decode_row
from schemas.facts import METRICS, ROW_METRICS
from schemas.texts import template_of
from streams.web.readmodel import keyset_pages
from streams.web.readmodel.keyset_pages import Selection

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from schemas.outputs import WindowRow
    from streams.domain.time.periods import Period
    from streams.domain.time.zone import BusinessZone
    from streams.web.readmodel.keyset_pages import LinePlace, SortOrder

#: Maximum rows per page.
MAX_ROWS: Final = 1000
#: Sort order → the columns; a `-` in front reverses it.
SORTS: Final[dict[str, tuple[str, ...]]] = {
    "start": ("start", "end", "period"),
    "count": ("count",),
    "metric": ("metric",),
    "scope": ("scope",),
    "status": ("status",),
    "updated": ("updated_us",),
    "restated": ("restated",),
    "version": ("version",),
    "key": ("metric", "scope", "start", "end", "period"),
}
#: Tie-breakers of every sort order: column → whether descending.
_TIES: Final = {"start": True, "period": False, "metric": False, "scope": False}

_COLUMNS: Final = "metric, scope, period, kind, start, end, targets, controls"
#: Columns by which rows are filtered and sorted; bodies are only fetched for the rows of the page.
_NOW: Final = f"""(SELECT id, NULL AS position, {_COLUMNS}, count, status, restated, version, updated_us
    FROM windows WHERE present = 1)"""
#: The current version was in force at the instant: it is that old.
_CURRENT: Final = "w.present = 1 AND w.updated_us <= :as_of"
_THERE: Final = "(w.deleted_us IS NULL OR w.deleted_us > :as_of)"
#: Otherwise it was the last version in the history up to the instant.
_LAST: Final = """(h.updated_us, h.position) = (SELECT updated_us, position FROM history
    WHERE window_id = w.id AND updated_us <= :as_of ORDER BY updated_us DESC, position DESC LIMIT 1)"""
# The history has one version per minute of real time, in which the clock of the events may advance by months: with that clock, a version
# is only known to have been in force if the next version is known, too.
_FOLLOWED: Final = """ AND h.version + 1 >= ifnull((SELECT n.version FROM history n WHERE n.window_id = w.id
    AND (n.updated_us, n.position) > (h.updated_us, h.position) ORDER BY n.updated_us, n.position LIMIT 1),
    CASE WHEN w.present = 1 THEN w.version ELSE 0 END)"""
_FIRST_VERSION: Final = """ifnull((SELECT version FROM history WHERE window_id = w.id ORDER BY updated_us, position LIMIT 1),
    w.version)"""


class _Sources(NamedTuple):
    """Where rows come from: as a table to select from, and as parts (tables, condition, alias of the table with the count).

    `unknown` selects the rows of which it is unknown whether they existed, or with which count; `None` for now.
    """

    rows: str
    parts: tuple[tuple[str, str, str], ...]
    unknown: str | None


def _of_past(*, events: bool) -> _Sources:
    last = _LAST + _FOLLOWED if events else _LAST
    joined, then = "windows w JOIN history h ON h.window_id = w.id", f"{last} AND NOT ({_CURRENT}) AND {_THERE}"
    rows = f"""(SELECT id, NULL AS position, {_COLUMNS}, count, status, restated, version, updated_us FROM windows w
    WHERE {_CURRENT}
    UNION ALL
    SELECT w.id, h.position, w.metric, w.scope, w.period, w.kind, w.start, w.end, w.targets, w.controls, h.count,
    h.status, h.restated, h.version, h.updated_us FROM {joined} WHERE {then})"""
    # By the wall clock, a row whose first version is known did not exist before it.
    unknown = f"""(SELECT id, NULL AS position, {_COLUMNS}, count, status, restated, version, updated_us FROM windows w
    WHERE {_THERE} AND w.start <= :as_of_day AND NOT ({_CURRENT})
    AND NOT EXISTS (SELECT 1 FROM history h WHERE h.window_id = w.id AND {last})
    AND {"1" if events else f"{_FIRST_VERSION} > 1"})"""
    return _Sources(rows, (("windows w", _CURRENT, "w"), (joined, then, "h")), unknown)


_OF_NOW: Final = _Sources(_NOW, (("windows w", "w.present = 1", "w"),), None)
_OF_WALL_TIME: Final = _of_past(events=False)
_OF_EVENT_TIME: Final = _of_past(events=True)


@dataclass(frozen=True)
class WindowQuery:
    """Which rows, in which order.

    Attributes:
        metrics: Any of these; empty for all.
        scopes: Any of these; empty for all.
        kinds: Any of these, such as `day`; empty for all.
        period: Prefix of the period's id, such as `day:2024-10`.
        statuses: Any of these; empty for all.
        first: Only periods that end on this date or later, `YYYY-MM-DD`.
        last: Only periods that start on this date or earlier.
        has: `targets` or `controls`: only rows that have any.
        sort: One of `SORTS`, descending with a `-` in front.
        after: The `place` of a row in this order; only rows after it.
        before: The `place` of a row in this order; only rows before it, the nearest ones.
        limit: Maximum number of rows, up to `MAX_ROWS`.
        as_of_us: The versions in force then, microseconds since 1970; `None` is now.
    """

    metrics: Sequence[str] = ()
    scopes: Sequence[str] = ()
    kinds: Sequence[str] = ()
    period: str = ""
    statuses: Sequence[str] = ()
    first: str = ""
    last: str = ""
    has: str = ""
    sort: str = "-start"
    after: LinePlace | None = None
    before: LinePlace | None = None
    limit: int = 100
    as_of_us: int | None = None


@dataclass(frozen=True)
class WindowPage:
    """A page of rows.

    Attributes:
        bodies: The rows as JSON as on the topic.
        total: The number of rows on all pages.
        previous: The place `before` which the previous page ends; `None` on the first page.
        next: The place `after` which the next page begins; `None` on the last page.
    """

    bodies: list[str]
    total: int
    previous: LinePlace | None = None
    next: LinePlace | None = None

    @property
    def rows(self) -> list[WindowRow]:
        """The rows as models."""
        return [decode_row(body.encode()) for body in self.bodies]


class UnknownRow(NamedTuple):
    """A row whose version at a moment is unknown."""

    metric: str
    scope: str
    period: str
    start: str
    end: str


class Restatement(NamedTuple):
    """A count that changed after its period was closed; `before` and `after` are versions in the history."""

    before: WindowRow
    after: WindowRow


class WindowReader:
    """Rows as one reader sees them. An unknown count is `None`, and has no row.

    Args:
        connection: A connection in a transaction.
        as_of_us: Rows and counts are those in force then, microseconds since 1970; `None` is now. The available scopes, metrics and years
            are those of now.
        zone: The business time zone; periods that begin later than `as_of_us` did not exist.
        events: Whether `as_of_us` is a time of the events' clock.
    """

    def __init__(
        self, connection: sqlite3.Connection, as_of_us: int | None, zone: BusinessZone, *, events: bool = False
    ) -> None:
        self._connection = connection
        self._as_of_us = as_of_us
        self._zone = zone
        self._past = _OF_EVENT_TIME if events else _OF_WALL_TIME
        self._from = self._sources(as_of_us)

    def _sources(self, as_of_us: int | None) -> _Sources:
        return _OF_NOW if as_of_us is None else self._past

    def _moment(self, as_of_us: int | None) -> dict[str, object]:
        """The parameters that all queries use."""
        if as_of_us is None:
            return {"as_of": None}
        return {
            "as_of": as_of_us,
            "as_of_day": self._zone.date_of(as_of_us).isoformat(),
        }

    def page(self, query: WindowQuery) -> WindowPage:
        """The rows that a query selects.

        Raises:
            ValueError: There is no such sort order.
        """
        selection = self._selection(query)
        limit = min(query.limit, MAX_ROWS)
        found = keyset_pages.page(
            self._connection, selection, _order(query.sort), after=query.after, before=query.before, limit=limit
        )
        bodies = self._bodies([(row[0], row[1], row[2]) for row in found.rows])
        return WindowPage(bodies, found.total, found.previous, found.next)

    def every(self, query: WindowQuery) -> Iterator[list[str]]:
        """All rows that a query selects, in its order, a thousand at a time; its limit is ignored.

        Raises:
            ValueError: There is no such sort order.
        """
        selection = self._selection(query)
        found = self._connection.execute(*keyset_pages.statement(selection, _order(query.sort), query.after))
        while batch := found.fetchmany(MAX_ROWS):
            yield self._bodies([(row[0], row[1], row[2]) for row in batch])

    def unknown(self, query: WindowQuery, limit: int = -1) -> list[UnknownRow]:
        """Rows that a query might select, but whose versions at its moment are unknown; none for now.

        Args:
            query: The query; its statuses and sort order are ignored.
            limit: Maximum number; by default all.
        """
        as_of_us = query.as_of_us if self._as_of_us is None else self._as_of_us
        source = self._sources(as_of_us).unknown
        if source is None:
            return []
        selection = self._selection(replace(query, statuses=()), source)
        found = self._connection.execute(
            f"""SELECT metric, scope, period, start, end FROM {source} WHERE {" AND ".join(selection.conditions) or "1"}
            ORDER BY start DESC, period, metric, scope LIMIT :most""",
            {**selection.values, "most": limit},
        )
        return [UnknownRow(*row) for row in found]

    def is_unknown(self, metric: str, scope: str, period: str) -> bool:
        """Whether a row's version at the moment is unknown."""
        query = WindowQuery(metrics=[metric], scopes=[scope], period=period)
        return any(row.period == period for row in self.unknown(query))

    def counts(self, metric: str, period: Period) -> list[tuple[str, int]]:
        """(scope, count) of all rows of a metric and period."""
        found = self._connection.execute(
            """SELECT scope, count FROM windows WHERE present = 1 AND metric = ? AND start = ? AND period = ?
            ORDER BY scope""",
            (metric, period.start.isoformat(), period.id),
        )
        return [(row["scope"], row["count"]) for row in found]

    def sums_of(self, metric: str, dimension: str, first: str, last: str) -> dict[str, int | None]:
        """Scope → sum of its day rows between two dates, inclusive; for scopes with only this dimension."""
        sums: Counter[str] = Counter()
        for tables, condition, counted in self._from.parts:
            found = self._connection.execute(
                f"""SELECT w.scope, sum({counted}.count) FROM scopes s CROSS JOIN {tables} WHERE w.scope = s.name
                AND s.depth = 1 AND s.dimensions = :dimension AND w.metric = :metric AND w.period BETWEEN :first AND :last
                AND {condition} GROUP BY w.scope""",
                {
                    "dimension": dimension,
                    "metric": metric,
                    "first": f"day:{first}",
                    "last": f"day:{last}",
                    **self._moment(self._as_of_us),
                },
            )
            sums.update({row[0]: row[1] for row in found})
        query = WindowQuery(metrics=[metric], kinds=["day"], first=first, last=last)
        missing = {row.scope for row in self.unknown(query) if dimensions_of(row.scope) == dimension}
        return {**sums, **dict.fromkeys(missing)}

    def has_scope(self, scope: str) -> bool:
        """Whether any row has a scope."""
        found = self._connection.execute("SELECT 1 FROM windows WHERE present = 1 AND scope = ? LIMIT 1", (scope,))
        return found.fetchone() is not None

    def _bodies(self, found: Sequence[tuple[int, int | None, int]]) -> list[str]:
        """The JSON of rows and versions, in the given order; for rows with a single query."""
        numbers = [number for number, position, _ in found if position is None]
        rows = self._connection.execute(
            f"SELECT id, head || tail FROM bodies WHERE id IN ({','.join('?' * len(numbers))})",
            numbers,
        )
        current: dict[int, str] = {row[0]: row[1] for row in rows}
        return [
            current[number] if position is None else self._body(number, position, updated_us)
            for number, position, updated_us in found
        ]

    def _body(self, number: int, position: int | None, updated_us: int) -> str:
        """The JSON of a row, or of a version of it."""
        if position is None:
            found = self._connection.execute("SELECT head || tail FROM bodies WHERE id = ?", (number,))
        else:
            found = self._connection.execute(
                """SELECT coalesce(h.head, b.head) || h.tail FROM bodies b JOIN history h ON h.window_id = b.id
                WHERE b.id = ? AND h.updated_us = ? AND h.position = ?""",
                (number, updated_us, position),
            )
        body: str = found.fetchone()[0]
        return body

    def get(self, metric: str, scope: str, period: str, as_of_us: int | None = None) -> WindowRow | None:
        """A row; `None` if there is none, or was none then."""
        as_of_us = self._as_of_us if as_of_us is None else as_of_us
        found = self._connection.execute(
            f"""SELECT id, position, updated_us FROM {self._sources(as_of_us).rows}
            WHERE metric = :metric AND scope = :scope AND period = :period""",
            {"metric": metric, "scope": scope, "period": period, **self._moment(as_of_us)},
        ).fetchone()
        return None if found is None else decode_row(self._body(*found).encode())

    def days(self, metric: str, scope: str, first: str, last: str) -> list[WindowRow]:
        """Day rows between two dates, inclusive, in order; without dates that have no row."""
        if self._as_of_us is None:
            found = self._connection.execute(
                """SELECT head || tail AS body FROM windows JOIN bodies USING (id) WHERE present = 1 AND metric = ?
                AND period BETWEEN 'day:' || ? AND 'day:' || ? AND scope = ? ORDER BY period""",
                (metric, first, last, scope),
            )
            return [decode_row(row["body"].encode()) for row in found]
        chosen = self._connection.execute(
            f"""SELECT id, position, updated_us FROM {self._from.rows} WHERE metric = :metric
            AND period BETWEEN 'day:' || :first AND 'day:' || :last AND scope = :scope ORDER BY period""",
            self._of_days(metric, scope, first, last),
        ).fetchall()
        return [decode_row(body.encode()) for body in self._bodies([(row[0], row[1], row[2]) for row in chosen])]

    def _of_days(self, metric: str, scope: str, first: str, last: str) -> dict[str, object]:
        return {"metric": metric, "scope": scope, "first": first, "last": last, **self._moment(self._as_of_us)}

    def day_counts(self, metric: str, scope: str, first: str, last: str) -> dict[str, int | None]:
        """Date → count, as `days` but only the counts, including unknown ones as `None`."""
        found = self._connection.execute(
            f"""SELECT start, count FROM {self._from.rows} WHERE metric = :metric
            AND period BETWEEN 'day:' || :first AND 'day:' || :last AND scope = :scope ORDER BY period""",
            self._of_days(metric, scope, first, last),
        )
        query = WindowQuery(metrics=[metric], scopes=[scope], kinds=["day"], first=first, last=last)
        return {row["start"]: row["count"] for row in found} | {row.start: None for row in self.unknown(query)}

    def versions(self, metric: str, scope: str, period: str, limit: int = MAX_ROWS) -> list[WindowRow]:
        """The latest known versions of a row, oldest first: those in the history, and the current one."""
        found = self._connection.execute(
            """SELECT coalesce(h.head, b.head) || h.tail AS body
            FROM windows w JOIN bodies b ON b.id = w.id JOIN history h ON h.window_id = w.id
            WHERE w.metric = ? AND w.scope = ? AND w.period = ? AND h.updated_us <= ifnull(?, h.updated_us)
            ORDER BY h.position DESC LIMIT ?""",
            (metric, scope, period, self._as_of_us, limit),
        )
        versions = [decode_row(row["body"].encode()) for row in found][::-1]
        current = self.get(metric, scope, period)
        if current is not None and (not versions or current.version > versions[-1].version):
            versions.append(current)
        return versions[-limit:]

    def restatements(self, metric: str, scope: str, period: str) -> list[Restatement]:
        """Changes of the count after the period was closed, oldest first, as far as the history distinguishes them."""
        found = []
        for before, after in pairwise(self.versions(metric, scope, period)):
            if after.restated > before.restated and after.count != before.count:
                found.append(Restatement(before, after))
        return found

    def side_by_side(  # noqa: PLR0913, PLR0917 - one question
        self, metric: str, kind: str, dimensions: str, first: str, last: str, beginning: str = ""
    ) -> dict[str, dict[str, int | None]]:
        """Period → scope → count, for scopes with exactly these dimensions.

        Args:
            metric: Such as `deliveries`.
            kind: Kind of period, such as `month`.
            dimensions: Such as `region`, or `model,region`; one of `dimension_sets`.
            first: Only periods that end on this date or later.
            last: Only periods that start on this date or earlier.
            beginning: Only scopes whose ids begin with this.
        """
        selected = " UNION ALL ".join(
            f"""SELECT w.period AS period, w.scope AS scope, {counted}.count AS count, w.start AS start
            FROM scopes s CROSS JOIN {tables} WHERE w.scope = s.name AND s.dimensions = :dimensions
            AND substr(s.name, 1, length(:beginning)) = :beginning AND w.metric = :metric
            AND w.period > :after AND w.period < :before AND w.end >= :first AND w.start <= :last AND {condition}"""
            for tables, condition, counted in self._from.parts
        )
        found = self._connection.execute(
            f"{selected} ORDER BY start, period, scope",
            {
                "dimensions": dimensions,
                "beginning": beginning,
                "metric": metric,
                "after": f"{kind}:",
                "before": f"{kind};",
                "first": first,
                "last": last,
                **self._moment(self._as_of_us),
            },
        )
        rows: list[tuple[str, str, str, int | None]] = [
            (row["start"], row["period"], row["scope"], row["count"]) for row in found
        ]
        query = WindowQuery(metrics=[metric], period=f"{kind}:", first=first, last=last)
        rows += [
            (row.start, row.period, row.scope, None)
            for row in self.unknown(query)
            if dimensions_of(row.scope) == dimensions and row.scope.startswith(beginning)
        ]
        table: dict[str, dict[str, int | None]] = {}
        for _, period, scope, count in sorted(rows, key=lambda row: row[:3]):
            table.setdefault(period, {})[scope] = count
        return table

    def dimension_sets(self) -> list[str]:
        """The sets of dimensions that are counted, such as `region` and `model,region`; the smallest first."""
        found = self._connection.execute(
            "SELECT dimensions FROM scopes WHERE depth > 0 GROUP BY dimensions ORDER BY min(depth), dimensions"
        )
        return [row[0] for row in found]

    def scopes(self, words: Sequence[str] = (), limit: int = -1, dimensions: Sequence[str] | None = None) -> list[str]:
        """Scopes that have a row, those with the fewest dimensions first, then by id.

        Args:
            words: Only scopes whose id or names contain all of these, in any case.
            limit: Maximum number; by default all.
            dimensions: Only scopes with one of these sets of dimensions, such as `model,region`.
        """
        names = [f"word{number}" for number in range(len(words))]
        conditions = [f"instr(folded, :{name}) > 0" for name in names]
        sets = {f"set{number}": each for number, each in enumerate(dimensions or ())}
        if dimensions is not None:
            conditions.append(f"dimensions IN ({', '.join(f':{name}' for name in sets)})")
        found = self._connection.execute(
            f"""SELECT name FROM scopes WHERE {" AND ".join((*conditions, "1"))}
            AND EXISTS (SELECT 1 FROM windows WHERE scope = name AND present = 1)
            ORDER BY depth, name LIMIT :limit""",
            dict(zip(names, (word.casefold() for word in words), strict=True)) | {"limit": limit, **sets},
        )
        return [row[0] for row in found]

    def scope_count(self, dimensions: str | None = None) -> int:
        """How many scopes have ever had a row, in total or with these dimensions."""
        found: int = self._connection.execute(
            "SELECT count(*) FROM scopes WHERE dimensions = coalesce(?, dimensions)", (dimensions,)
        ).fetchone()[0]
        return found

    def value_counts(self) -> dict[str, int]:
        """Dimension → number of distinct values that have ever had a row."""
        found = self._connection.execute("SELECT dimension, count(*) FROM scope_values GROUP BY dimension")
        return {row[0]: row[1] for row in found}

    def row_number(self) -> int:
        """The number of rows, determined without counting them; may include deleted ones."""
        found: int = self._connection.execute("SELECT coalesce(max(id), 0) FROM windows").fetchone()[0]
        return found

    def greatest_scope(self, metric: str, dimensions: str) -> str | None:
        """The scope with these dimensions that has the greatest count of a metric in any year; `None` if there is none."""
        found = self._connection.execute(
            """SELECT w.scope FROM scopes s CROSS JOIN windows w ON w.scope = s.name
            WHERE s.dimensions = ? AND w.metric = ? AND w.period > 'year:' AND w.period < 'year;' AND w.present = 1
            ORDER BY w.count DESC, w.scope LIMIT 1""",
            (dimensions, metric),
        ).fetchone()
        return None if found is None else str(found[0])

    def has_period(self, period: str, start: str) -> bool:
        """Whether any row has this period, which begins on this date."""
        found = self._connection.execute(
            "SELECT 1 FROM windows WHERE present = 1 AND start = ? AND period = ? LIMIT 1", (start, period)
        )
        return found.fetchone() is not None

    def units(self, kind: str, scopes: Sequence[str]) -> dict[str, int]:
        """Scope → sum of its rows of one kind of period, over all metrics."""
        found = self._connection.execute(
            f"SELECT scope, sum(count) FROM windows WHERE present = 1 AND kind = ?"
            f" AND scope IN ({', '.join('?' * len(scopes))}) GROUP BY scope",
            (kind, *scopes),
        )
        return dict(found.fetchall())

    def metrics(self) -> list[str]:
        """The metrics of units that have rows, in the order of the contract."""
        return [metric for metric in self.row_metrics() if metric in METRICS]

    def row_metrics(self) -> list[str]:
        """The metrics that have rows, including the inventory."""
        noted = {row[0] for row in self._connection.execute("SELECT name FROM metrics")}
        # The query goes from scope to scope until it finds a row of the metric; for a metric without rows it would scan all scopes.
        question = """SELECT EXISTS (SELECT 1 FROM scopes s CROSS JOIN windows w ON w.scope = s.name
            WHERE w.metric = ? AND w.present = 1)"""
        return [
            metric
            for metric in ROW_METRICS
            if metric in noted and self._connection.execute(question, (metric,)).fetchone()[0]
        ]

    def years(self) -> list[int]:
        """All years from that of the first day row to that of the last."""
        question = "SELECT start FROM windows WHERE present = 1 AND kind = 'day' ORDER BY {} LIMIT 1"
        ends = [
            self._connection.execute(question.format(order)).fetchone()
            for order in ("start, end, period", "start DESC, end DESC, period DESC")
        ]
        if ends[0] is None:
            return []
        return list(range(int(ends[0][0][:4]), int(ends[1][0][:4]) + 1))

    def history_since_us(self) -> int | None:
        """When the oldest known version was published, microseconds since 1970.

        If no row has been replaced yet, that is the oldest current one.
        """
        row = (
            self._connection.execute("SELECT updated_us FROM history_begins").fetchone()
            or self._connection.execute("SELECT min(updated_us) FROM windows WHERE present = 1").fetchone()
        )
        found: int | None = row[0]
        return found

    def target_changes(self, metric: str, scope: str, period: str) -> list[WindowRow]:
        """The versions of a row at which its targets changed, oldest first."""
        changed: list[WindowRow] = []
        for row in self.versions(metric, scope, period):
            aims = [(target.target_id, target.value) for target in row.targets]
            if not changed or aims != [(target.target_id, target.value) for target in changed[-1].targets]:
                changed.append(row)
        return changed if any(row.targets for row in changed) else []

    def _selection(self, query: WindowQuery, source: str = "") -> Selection:
        as_of_us = query.as_of_us if self._as_of_us is None else self._as_of_us
        values: dict[str, object] = self._moment(as_of_us)
        conditions: list[str] = []
        kind, colon, _ = query.period.partition(":")
        kinds = list(query.kinds) or ([kind] if colon else [])
        if kinds and "day" not in kinds:
            # In the words of the index of longer periods, since most rows are of days.
            conditions.append("kind <> 'day'")
        for column, wanted in (
            ("metric", query.metrics),
            ("scope", query.scopes),
            ("kind", kinds),
            ("status", query.statuses),
        ):
            if wanted:
                names = [f"{column}{number}" for number in range(len(wanted))]
                values.update(zip(names, wanted, strict=True))
                conditions.append(f"{column} IN ({', '.join(f':{name}' for name in names)})")
        if query.period:
            values["period"] = query.period
            conditions.append("substr(period, 1, length(:period)) = :period")
        if query.first:
            values["first"] = query.first
            conditions.append("end >= :first")
        if query.last:
            values["last"] = query.last
            conditions.append("start <= :last")
        if query.has in ("targets", "controls"):
            conditions.append(f"{query.has} > 0")
        return Selection(source or self._sources(as_of_us).rows, "id, position, updated_us", conditions, values)


def dimensions_of(scope: str) -> str:
    """The dimensions of a scope, such as `model,region` of `model=SU7,region=CN-11`; empty for `all`."""
    return ",".join(template_of(scope))


def _order(sort: str) -> SortOrder:
    """The columns of a sort order, each with whether descending."""
    name, descending = sort.removeprefix("-"), sort.startswith("-")
    if name not in SORTS:
        raise ValueError(f"rows are sorted by one of {', '.join(SORTS)}; with a - before it, the other way round")
    columns = dict.fromkeys(SORTS[name], descending)
    return list((columns | {column: first for column, first in _TIES.items() if column not in columns}).items())


def place_size(sort: str) -> int:
    """The number of values in a place of a sort order."""
    return len(_order(sort))
