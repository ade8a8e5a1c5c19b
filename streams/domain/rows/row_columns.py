"""The numbers of all rows, in one column per field; a row is an index (its place) in them.

Objects would take ten times the memory. Fields that few rows have (targets, control totals) are elsewhere.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

from schemas import vectors

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from schemas.outputs import WindowStatus

STATUSES: Final[tuple[WindowStatus, ...]] = ("open", "provisional", "closed")
OPEN, PROVISIONAL, CLOSED = range(len(STATUSES))
STATUS_CODES: Final[dict[str, int]] = {status: code for code, status in enumerate(STATUSES)}
_MASK: Final = (1 << 64) - 1
#: Rows in the first block of memory.
_FIRST_BLOCK: Final = 256
_BLOCK: Final = 4096
#: Status of a row that has not been published.
UNPUBLISHED: Final = -1
#: The columns of a snapshot, and those that are written as differences from another column.
_KEPT: Final = (
    "series",
    "period",
    "count",
    "backfilled",
    "hours",
    "published_status",
    "version",
    "restated",
    "updated_us",
    "history_us",
)
_KEPT_DIFFERENCES: Final = {
    "published_count": "count",
    "published_backfilled": "backfilled",
    "published_hours": "hours",
    "history_version": "version",
}


class Columns:
    """Columns by name; `add` creates a row.

    Attributes:
        series: Number of the metric and scope.
        period: Number of the period.
        count: Units; `backfilled` has those of them that were loaded as history.
        hours: Fingerprint of the counts by hour; 0 except for days.
        status: Code of the status.
        published_count: Count of the published version; the next three are of that version too.
        version: Number of the published version; 0 if there is none.
        restated: Versions since the first closed one, except those to which only history was added.
        updated_us: When the published version was made, microseconds since 1970.
        history_version: The last version in the history; 0 for none, or if unknown.
        history_us: When that was written, or the first version was published; 0 if unknown.
        cells: For days, the packed counts of all partitions; for months, those of their days without a row.
    """

    def __init__(self) -> None:
        self._columns: list[array[int]] = []
        self.series, self.period = self._column("i"), self._column("i")
        self.count, self.backfilled = self._column("q"), self._column("q")
        self.hours = self._column("Q")
        self.status = self._column("b")
        self.published_count, self.published_backfilled = self._column("q"), self._column("q")
        self.published_hours = self._column("Q")
        self.published_status = self._column("b")
        self.version, self.restated, self.history_version = self._column("i"), self._column("i"), self._column("i")
        self.updated_us, self.history_us = self._column("q"), self._column("q")
        self.cells: list[bytes | None] = []
        self._room = 0

    def _column(self, code: str) -> array[int]:
        self._columns.append(array(code))
        return self._columns[-1]

    def __len__(self) -> int:
        return len(self.cells)

    def _make_room(self, rows: int) -> None:
        while rows > self._room:
            more = min(max(self._room, _FIRST_BLOCK), _BLOCK)
            self._room += more
            for column in self._columns:
                column.frombytes(bytes(column.itemsize * more))

    def add(self, series: int, period: int, status: int) -> int:
        """Adds an empty row; returns its place."""
        place = len(self.cells)
        self._make_room(place + 1)
        self.cells.append(None)
        self.series[place], self.period[place], self.status[place] = series, period, status
        self.published_status[place] = UNPUBLISHED
        return place

    def remove(self, place: int) -> int:
        """Removes a row; the last row moves to its place. Returns the place that the last row had, possibly the same."""
        last = len(self.cells) - 1
        for column in self._columns:
            column[place] = column[last]
            column[last] = 0
        self.cells[place] = self.cells[last]
        self.cells.pop()
        if self._room - last > 2 * _BLOCK:
            self._room -= _BLOCK
            for column in self._columns:
                del column[-_BLOCK:]
        return last

    def cut(self, first: int, end: int) -> dict[str, bytes]:
        """The rows from `first` up to, but not including, `end`, by column, for `extend`; without `cells`.

        The published columns are written as differences from the current ones, so nearly all zeros between two steps.
        """
        found = {name: getattr(self, name)[first:end].tobytes() for name in _KEPT}
        for name, current in _KEPT_DIFFERENCES.items():
            found[name] = vectors.exclusive(getattr(self, name)[first:end].tobytes(), found[current])
        return found

    def extend(self, columns: Mapping[str, bytes], cells: Sequence[bytes | None]) -> None:
        """Adds rows from `cut`, as many as there are `cells`. Their status is the published one; the clock does the rest.

        Raises:
            ValueError: A column has too few numbers.
        """
        first, rows = len(self.cells), len(cells)
        self._make_room(first + rows)
        values = {name: columns[name] for name in _KEPT}
        for name, current in _KEPT_DIFFERENCES.items():
            values[name] = vectors.exclusive(columns[name], columns[current])
        for name, value in values.items():
            column: array[int] = getattr(self, name)
            numbers = array(column.typecode, value[: rows * column.itemsize])
            if len(numbers) != rows:
                raise ValueError(f"{name}: {len(numbers)} numbers of {rows} rows")
            column[first : first + rows] = numbers
        published = self.published_status[first : first + rows]
        self.status[first : first + rows] = array("b", [max(code, 0) for code in published])
        self.cells.extend(cells)

    def add_to(self, rows: tuple[int, ...], count: int, backfilled: int, hours: int) -> None:
        """Adds differences to a day and the rows that contain it; `hours` to the fingerprint of the day, which is the first row."""
        if hours:
            self.hours[rows[0]] = (self.hours[rows[0]] + hours) & _MASK
        if count:
            column = self.count
            for row in rows:
                column[row] += count
        if backfilled:
            column = self.backfilled
            for row in rows:
                column[row] += backfilled

    def differs(self, row: int) -> bool:
        """Whether a row's numbers differ from the published ones."""
        return (
            self.count[row] != self.published_count[row]
            or self.hours[row] != self.published_hours[row]
            or self.backfilled[row] != self.published_backfilled[row]
            or self.status[row] != self.published_status[row]
        )

    # Of all rows, with pauses in which none may change --------------------------------------------------------------

    def differing(self) -> Generator[None, None, bytearray]:
        """Mask of the rows whose numbers differ from the published ones, or that have never been published."""
        return vectors.differing(
            len(self),
            (self.count, self.published_count),
            (self.backfilled, self.published_backfilled),
            (self.hours, self.published_hours),
            (self.status, self.published_status),
        )

    def of_series(self, flags: list[bool]) -> Generator[None, None, bytearray]:
        """Mask of the rows of all series whose flag is set."""
        return vectors.flagged(len(self), self.series, bytes(flags))

    def advance(self, levels: bytearray) -> Generator[None, None, bytearray]:
        """Raises the status of every row to the level of its period. Returns a mask of the raised ones."""
        return vectors.raised(len(self), self.status, self.period, bytes(levels))

    def not_in_history(self, since_us: int) -> Iterator[list[int]]:
        """Rows whose published version, not their first, is from an instant or later and missing in the history; in pieces."""
        return vectors.beyond(
            len(self), self.version, self.history_version, (self.version, 2), (self.updated_us, since_us)
        )

    @property
    def last_update_us(self) -> int:
        """When the latest version was made, microseconds since 1970; 0 without rows."""
        return vectors.greatest(len(self), self.updated_us)
