"""Questions about window rows: a page of them, one, its versions, days of a year, dimensions side by side."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.codec import decode_row
from schemas.facts import METRICS
from schemas.texts import scope_names

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from schemas.outputs import WindowRow

#: Rows of one page at most.
MAX_ROWS: Final = 1000
STATUSES: Final = ("open", "provisional", "closed")
#: What rows can be sorted by → the columns; a sort that begins with `-` is the other way round.
SORTS: Final[dict[str, tuple[str, ...]]] = {
    "start": ("start", "end", "period"),
    "count": ("count",),
    "metric": ("metric",),
    "scope": ("scope",),
    "status": ("status",),
    "updated": ("updated_us",),
    "restated": ("restated",),
    "version": ("version",),
}
_TIES: Final = ("start DESC", "period", "metric", "scope")

#: Columns that rows are filtered and sorted by; their bodies are fetched for those of the page only.
_NOW: Final = """(SELECT id, NULL AS position, metric, scope, period, kind, start, end, targets, controls, count, status,
    restated, version, updated_us FROM windows WHERE present = 1)"""
# The version in force at an instant: the current one if it is that old, else the last of the history up to then.
_AS_OF: Final = """(SELECT id, NULL AS position, metric, scope, period, kind, start, end, targets, controls, count,
    status, restated, version, updated_us FROM windows WHERE present = 1 AND updated_us <= :as_of
    UNION ALL
    SELECT w.id, h.position, w.metric, w.scope, w.period, w.kind, w.start, w.end, w.targets, w.controls, h.count,
    h.status, h.restated, h.version, h.updated_us
    FROM windows w JOIN history h ON h.window_id = w.id
    AND (h.updated_us, h.position) = (SELECT updated_us, position FROM history
        WHERE window_id = w.id AND updated_us <= :as_of ORDER BY updated_us DESC, position DESC LIMIT 1)
    WHERE NOT (w.present = 1 AND w.updated_us <= :as_of) AND (w.deleted_us IS NULL OR w.deleted_us > :as_of))"""
_DISTINCT: Final = """WITH RECURSIVE found(name) AS (
    SELECT min({column}) FROM windows WHERE present = 1
    UNION ALL
    SELECT (SELECT min({column}) FROM windows WHERE present = 1 AND {column} > name) FROM found WHERE name IS NOT NULL)
    SELECT name FROM found WHERE name IS NOT NULL"""


@dataclass(frozen=True)
class WindowQuery:
    """Which rows, in which order.

    Attributes:
        metrics: Any of these; empty is all.
        scopes: Any of these; empty is all.
        kinds: `day`, `month`, `year`, `holiday`; empty is all.
        period: Periods whose id starts so, such as `day:2024-10`.
        statuses: Any of these; empty is all.
        first: Periods that end on this date or later, `YYYY-MM-DD`.
        last: Periods that start on this date or earlier.
        has: `targets` or `controls`: only rows that have any.
        sort: One of `SORTS`, descending with a `-` before it.
        offset: Rows to skip.
        limit: Rows at most, up to `MAX_ROWS`.
        as_of_us: The version in force then, microseconds since 1970; `None` is now.
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
    offset: int = 0
    limit: int = 100
    as_of_us: int | None = None


@dataclass(frozen=True)
class WindowPage:
    """A page of rows: their JSON as on the topic, and how many there are on all pages."""

    bodies: list[str]
    total: int
    query: WindowQuery = field(default_factory=WindowQuery)

    @property
    def rows(self) -> list[WindowRow]:
        """The rows as models."""
        return [decode_row(body.encode()) for body in self.bodies]


class Restatement(NamedTuple):
    """A count that changed after its period was closed: `before` and `after` are versions of the history."""

    before: WindowRow
    after: WindowRow


class WindowReader:
    """Rows as one reader sees them.

    Args:
        connection: In a transaction.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def page(self, query: WindowQuery) -> WindowPage:
        """The rows that a query wants.

        Raises:
            ValueError: A sort that there is not.
        """
        source, where, values = _where(query)
        order = ", ".join((*_order(query.sort), *_TIES))
        connection = self._connection
        total = connection.execute(f"SELECT count(*) FROM {source} {where}", values).fetchone()[0]  # noqa: S608 - fixed texts
        found = connection.execute(
            f"SELECT id, position, updated_us FROM {source} {where} ORDER BY {order} LIMIT :limit OFFSET :offset",  # noqa: S608 - fixed texts
            {**values, "limit": min(query.limit, MAX_ROWS), "offset": query.offset},
        ).fetchall()
        return WindowPage(self._bodies([(row[0], row[1], row[2]) for row in found]), total, query)

    def every(self, query: WindowQuery) -> Iterator[list[str]]:
        """All rows that a query wants, in its order from its offset on, a thousand at a time; its limit is not looked at.

        Raises:
            ValueError: A sort that there is not.
        """
        source, where, values = _where(query)
        order = ", ".join((*_order(query.sort), *_TIES))
        found = self._connection.execute(
            f"SELECT id, position, updated_us FROM {source} {where} ORDER BY {order} LIMIT -1 OFFSET :offset",  # noqa: S608 - fixed texts
            {**values, "offset": query.offset},
        )
        while batch := found.fetchmany(MAX_ROWS):
            yield self._bodies([(row[0], row[1], row[2]) for row in batch])

    def counts(self, metric: str, period: str) -> list[tuple[str, int]]:
        """Scope and count of every row of a metric and period."""
        kind, _, start = period.partition(":")
        found = self._connection.execute(
            """SELECT scope, count FROM windows WHERE present = 1 AND metric = ? AND kind = ? AND start = ? AND period = ?
            ORDER BY scope""",
            (metric, kind, f"{start}-01-01"[: len("2024-01-01")], period),
        )
        return [(row["scope"], row["count"]) for row in found]

    def has_scope(self, scope: str) -> bool:
        """Whether any row has a scope."""
        found = self._connection.execute("SELECT 1 FROM windows WHERE present = 1 AND scope = ? LIMIT 1", (scope,))
        return found.fetchone() is not None

    def _bodies(self, found: Sequence[tuple[int, int | None, int]]) -> list[str]:
        """The JSON of rows and versions, in their order; those of rows in one question."""
        numbers = [number for number, position, _ in found if position is None]
        rows = self._connection.execute(
            f"SELECT id, head || tail FROM windows WHERE id IN ({','.join('?' * len(numbers))})",  # noqa: S608 - fixed texts
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
            found = self._connection.execute("SELECT head || tail FROM windows WHERE id = ?", (number,))
        else:
            found = self._connection.execute(
                """SELECT coalesce(h.head, w.head) || h.tail FROM windows w JOIN history h ON h.window_id = w.id
                WHERE w.id = ? AND h.updated_us = ? AND h.position = ?""",
                (number, updated_us, position),
            )
        body: str = found.fetchone()[0]
        return body

    def get(self, metric: str, scope: str, period: str, as_of_us: int | None = None) -> WindowRow | None:
        """One row; `None` if there is none (or was none then)."""
        source = _NOW if as_of_us is None else _AS_OF
        found = self._connection.execute(
            f"""SELECT id, position, updated_us FROM {source}
            WHERE metric = :metric AND scope = :scope AND period = :period""",  # noqa: S608 - fixed texts
            {"metric": metric, "scope": scope, "period": period, "as_of": as_of_us},
        ).fetchone()
        return None if found is None else decode_row(self._body(*found).encode())

    def days(self, metric: str, scope: str, first: str, last: str) -> list[WindowRow]:
        """Day rows from one date to another, inclusive, in order; dates without a row are left out."""
        found = self._connection.execute(
            """SELECT head || tail AS body FROM windows WHERE present = 1 AND metric = ? AND kind = 'day'
            AND start BETWEEN ? AND ? AND scope = ? ORDER BY start""",
            (metric, first, last, scope),
        )
        return [decode_row(row["body"].encode()) for row in found]

    def day_counts(self, metric: str, scope: str, first: str, last: str) -> dict[str, int]:
        """Date → count, as `days` but for what is only counts."""
        found = self._connection.execute(
            """SELECT start, count FROM windows WHERE present = 1 AND metric = ? AND kind = 'day'
            AND start BETWEEN ? AND ? AND scope = ? ORDER BY start""",
            (metric, first, last, scope),
        )
        return {row["start"]: row["count"] for row in found}

    def versions(self, metric: str, scope: str, period: str, limit: int = MAX_ROWS) -> list[WindowRow]:
        """The latest published versions of a row that the history holds, oldest first."""
        found = self._connection.execute(
            """SELECT coalesce(h.head, w.head) || h.tail AS body FROM windows w JOIN history h ON h.window_id = w.id
            WHERE w.metric = ? AND w.scope = ? AND w.period = ? ORDER BY h.position DESC LIMIT ?""",
            (metric, scope, period, limit),
        )
        return [decode_row(row["body"].encode()) for row in found][::-1]

    def restatements(self, metric: str, scope: str, period: str) -> list[Restatement]:
        """Changes of the count after the period was closed, oldest first, as far as the history tells them apart."""
        found = []
        versions = self.versions(metric, scope, period)
        current = self.get(metric, scope, period)
        if current is not None and versions and current.version > versions[-1].version:
            versions.append(current)
        for before, after in pairwise(versions):
            if after.restated > before.restated and after.count != before.count:
                found.append(Restatement(before, after))
        return found

    def side_by_side(self, metric: str, kind: str, dimension: str, first: str, last: str) -> dict[str, dict[str, int]]:
        """Period → (value of the dimension → count), for the scopes that have this dimension as their finest.

        Args:
            metric: Such as `deliveries`.
            kind: Of periods, such as `month`.
            dimension: `model`, `variant`, `factory` or `region`.
            first: Periods that end on this date or later.
            last: Periods that start on this date or earlier.
        """
        found = self._connection.execute(
            """SELECT period, scope, count FROM windows WHERE present = 1 AND metric = ? AND kind = ? AND end >= ?
            AND start <= ? AND (scope LIKE ? OR scope LIKE ?) ORDER BY start, scope""",
            (metric, kind, first, last, f"{dimension}=%", f"%,{dimension}=%"),
        ).fetchall()
        table: dict[str, dict[str, int]] = {}
        for row in found:
            parts = row["scope"].split(",")
            if parts[-1].startswith(f"{dimension}="):
                name = ", ".join(scope_names(row["scope"]))
                table.setdefault(row["period"], {})[name] = row["count"]
        return table

    def scopes(self) -> list[str]:
        """Every scope that has a row."""
        return self._distinct("scope")

    def metrics(self) -> list[str]:
        """Every metric that has a row, in the order of the contract."""
        found = set(self._distinct("metric"))
        return [metric for metric in METRICS if metric in found]

    def _distinct(self, column: str) -> list[str]:
        """The values of a column, one look into its index for each: with SELECT DISTINCT it would be one a row."""
        return [row[0] for row in self._connection.execute(_DISTINCT.format(column=column))]

    def years(self) -> list[int]:
        """Every year from the first that has a day row to the last."""
        first, last = self._connection.execute(
            """SELECT min(start), max(start) FROM (
            SELECT min(start) AS start FROM windows WHERE present = 1 AND metric = :metric AND kind = 'day'
            UNION ALL SELECT max(start) FROM windows WHERE present = 1 AND metric = :metric AND kind = 'day')""",
            {"metric": next(iter(self.metrics()), "")},
        ).fetchone()
        return [] if first is None else list(range(int(first[:4]), int(last[:4]) + 1))

    def history_since_us(self) -> int | None:
        """When the oldest version that is still known was published, microseconds since 1970."""
        row = self._connection.execute("SELECT updated_us FROM history_begins").fetchone()
        found: int | None = None if row is None else row[0]
        return found

    def target_changes(self, metric: str, scope: str, period: str) -> list[WindowRow]:
        """The versions of a row at which its targets changed, oldest first."""
        changed: list[WindowRow] = []
        for row in self.versions(metric, scope, period):
            aims = [(target.target_id, target.value) for target in row.targets]
            if not changed or aims != [(target.target_id, target.value) for target in changed[-1].targets]:
                changed.append(row)
        return changed if any(row.targets for row in changed) else []


def _order(sort: str) -> list[str]:
    name, descending = sort.removeprefix("-"), sort.startswith("-")
    if name not in SORTS:
        raise ValueError(f"rows are sorted by one of {', '.join(SORTS)}; with a - before it, the other way round")
    return [f"{column} DESC" if descending else column for column in SORTS[name]]


def _where(query: WindowQuery) -> tuple[str, str, dict[str, object]]:
    values: dict[str, object] = {"as_of": query.as_of_us}
    conditions = []
    for column, wanted in (
        ("metric", query.metrics),
        ("scope", query.scopes),
        ("kind", query.kinds),
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
    source = _NOW if query.as_of_us is None else _AS_OF
    return source, f"WHERE {' AND '.join(conditions)}" if conditions else "", values
