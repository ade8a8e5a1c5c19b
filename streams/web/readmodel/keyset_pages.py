"""Keyset pagination: pages of a list are addressed by the place of their first or last line.

The thousandth page is found as fast as the first, and lines that are added or removed meanwhile do not shift the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

#: A line's values in the columns that it is sorted by.
LinePlace = tuple[str | int, ...]
#: (column, whether descending); together the columns identify a line.
SortOrder = list[tuple[str, bool]]


class Selection(NamedTuple):
    """Which lines of a table, or of a subquery in parentheses.

    Attributes:
        table: The table's name, or the subquery.
        columns: The columns to select, as SQL.
        conditions: SQL conditions that must all hold.
        values: Name of a parameter in the conditions → its value.
    """

    table: str
    columns: str
    conditions: Sequence[str]
    values: Mapping[str, object]

    def where(self, *more: str) -> str:
        """The conditions as SQL."""
        every = [*self.conditions, *more]
        return f"WHERE {' AND '.join(every)}" if every else ""


class Lines(NamedTuple):
    """A page of lines.

    Attributes:
        rows: The lines in order.
        total: The number of lines on all pages.
        previous: The place `before` which the previous page ends; `None` on the first page.
        next: The place `after` which the next page begins; `None` on the last page.
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
    """The lines after a place, or the last ones before a place, or the first ones."""
    total = connection.execute(f"SELECT count(*) FROM {selection.table} {selection.where()}", selection.values)
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
    """The statement that selects lines in an order, after a place, and its parameters."""
    values = dict(selection.values) | {"limit": limit}
    where = selection.where()
    if place is not None:
        where = selection.where(*_beyond(order))
        values |= {f"place{number}": value for number, value in enumerate(place)}
    columns = ", ".join(f"{column} AS place_{column}" for column, _ in order)
    by = ", ".join(f"{column} DESC" if descending else column for column, descending in order)
    return (
        f"SELECT {selection.columns}, {columns} FROM {selection.table} {where} ORDER BY {by} LIMIT :limit",
        values,
    )


def _place(row: sqlite3.Row, order: SortOrder) -> LinePlace:
    return tuple(row[f"place_{column}"] for column, _ in order)


def _beyond(order: SortOrder) -> list[str]:
    """Conditions for lines after a place: first one that an index can use, then the exact one."""
    column, descending = order[0]
    whole = ""
    for number, (name, down) in reversed(list(enumerate(order))):
        further = f"{name} {'<' if down else '>'} :place{number}"
        whole = f"({further} OR ({name} = :place{number} AND {whole}))" if whole else f"({further})"
    return [f"{column} {'<=' if descending else '>='} :place0", whole]
