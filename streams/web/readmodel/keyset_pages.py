"""Pages of a list by the place of their first and last line.

The thousandth page is found as fast as the first, and lines that come or go meanwhile shift none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

#: The values of a line in the columns that an order sorts by.
LinePlace = tuple[str | int, ...]
#: Columns, each with whether the greatest is first; together they tell every line from every other.
SortOrder = list[tuple[str, bool]]


class Selection(NamedTuple):
    """Which lines of a table, or of a question in parentheses.

    Attributes:
        table: Its name.
        columns: Those to select, in the words of SQL.
        conditions: All of them hold.
        values: By the names that the conditions use.
    """

    table: str
    columns: str
    conditions: Sequence[str]
    values: Mapping[str, object]

    def where(self, *more: str) -> str:
        """The conditions, in the words of SQL."""
        every = [*self.conditions, *more]
        return f"WHERE {' AND '.join(every)}" if every else ""


class Lines(NamedTuple):
    """A page of lines.

    Attributes:
        rows: In their order.
        total: How many there are on all pages.
        previous: The place to ask for what is before; `None` on the first page.
        next: The place to ask for what is after; `None` on the last page.
    """

    rows: list[sqlite3.Row]
    total: int
    previous: LinePlace | None
    next: LinePlace | None


def page(  # noqa: PLR0913 - after or before, by name
    connection: sqlite3.Connection,
    selection: Selection,
    order: SortOrder,
    *,
    after: LinePlace | None,
    before: LinePlace | None,
    limit: int,
) -> Lines:
    """The lines after a place, or the nearest before one, or the first ones."""
    total = connection.execute(f"SELECT count(*) FROM {selection.table} {selection.where()}", selection.values)  # noqa: S608 - fixed texts
    backwards = before is not None and after is None
    place = before if backwards else after
    direction = [(column, not greatest_first) for column, greatest_first in order] if backwards else order
    found = connection.execute(*statement(selection, direction, place, limit=limit + 1)).fetchall()
    more = len(found) > limit
    found = found[:limit]
    if backwards:
        found.reverse()
    earlier, later = (more, True) if backwards else (place is not None, more)
    return Lines(
        found,
        total.fetchone()[0],
        _place(found[0], order) if found and earlier else None,
        _place(found[-1], order) if found and later else None,
    )


def statement(
    selection: Selection, order: SortOrder, place: LinePlace | None, *, limit: int = -1
) -> tuple[str, dict[str, object]]:
    """The statement for the lines in an order, from a place on, and its values."""
    values = dict(selection.values) | {"limit": limit}
    where = selection.where()
    if place is not None:
        where = selection.where(*_beyond(order))
        values |= {f"place{number}": value for number, value in enumerate(place)}
    columns = ", ".join(f"{column} AS place_{column}" for column, _ in order)
    by = ", ".join(f"{column} DESC" if descending else column for column, descending in order)
    return (
        f"SELECT {selection.columns}, {columns} FROM {selection.table} {where} ORDER BY {by} LIMIT :limit",  # noqa: S608 - fixed texts
        values,
    )


def _place(row: sqlite3.Row, order: SortOrder) -> LinePlace:
    return tuple(row[f"place_{column}"] for column, _ in order)


def _beyond(order: SortOrder) -> list[str]:
    """Conditions for what follows a place: first one that an index can use, then the exact condition."""
    column, descending = order[0]
    whole = ""
    for number, (name, down) in reversed(list(enumerate(order))):
        further = f"{name} {'<' if down else '>'} :place{number}"
        whole = f"({further} OR ({name} = :place{number} AND {whole}))" if whole else f"({further})"
    return [f"{column} {'<=' if descending else '>='} :place0", whole]
