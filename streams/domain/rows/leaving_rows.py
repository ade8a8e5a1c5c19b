"""Window rows of days that are no longer kept: they leave, and their counts are stored with their months."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

from schemas.rows import RowKey
from streams.domain.counts import packed_days
from streams.domain.rows.row_columns import OPEN, UNPUBLISHED
from streams.domain.rows.row_versions import RowVersions

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping

    from schemas.rows import PublishedRow
    from streams.domain.rows.kept_days import KeptDays
    from streams.domain.time.calendar import Calendar

#: Rows to search for old days between two pauses.
_LOOK_ROWS = 2_000


class Left(NamedTuple):
    """A row that has left because its day is no longer kept.

    Attributes:
        key: Its key.
        version: The published version, unless it is in the history; None also if none was published.
        is_published: Whether it is in its topic.
    """

    key: RowKey
    version: PublishedRow | None
    is_published: bool


class LeavingRows(RowVersions):
    """Rows that leave; see `RowVersions`."""

    def __init__(
        self, calendar: Calendar, closed_after_s: int, watched: Callable[[str, str], bool], kept: KeptDays | None
    ) -> None:
        super().__init__(calendar, closed_after_s, watched, kept)
        #: Rows that had to stay when others of their days left.
        self.stayed: set[RowKey] = set()
        #: Called for each row that is removed: its place, and the former place of the row that has it now.
        self.on_move: Callable[[int, int], None] = lambda _place, _moved: None

    def restore_left(self, key: RowKey) -> None:
        """Restores that a row has left its topic; call it after the counts have been restored."""
        self._left_over.pop(key, None)
        place = self.find(key)
        if place is None:
            return
        if self._is_gone(*key[:2], self.columns.period[place]):
            self._remove(place)
        else:
            self._unpublish(place)

    def _unpublish(self, place: int) -> None:
        """Makes a row that had left, and whose day is kept again, unpublished: it keeps its counts and comes back as new."""
        columns = self.columns
        columns.version[place] = columns.restated[place] = 0
        columns.published_count[place] = columns.published_backfilled[place] = columns.published_hours[place] = 0
        columns.published_status[place] = UNPUBLISHED
        columns.status[place] = OPEN
        if self._known.levels[columns.period[place]] > OPEN:
            self._note_late(place)
        columns.updated_us[place] = columns.history_version[place] = columns.history_us[place] = 0
        self._redated.pop(place, None)
        self._first_cells.pop(place, None)
        self._set_published(place, (), {}, 0)

    @property
    def left_over(self) -> Mapping[RowKey, int]:
        """Rows that are to leave and have no place, with their published versions."""
        return {key: row.version for key, row in self._left_over.items()}

    def leaving_late(self) -> Iterator[Left]:
        """Removes the rows that a previous writer should have removed but did not.

        Call it before anything is published: counts of their days since then are only in the rows that contain them.
        """
        left_over, self._left_over = self._left_over, {}
        for key, row in left_over.items():
            yield Left(key, row, is_published=True)

    def leaving(self, stay: Container[RowKey]) -> Iterator[Left | None]:
        """Removes the rows of days that are no longer kept, after the step has been published; None is a pause.

        Their counts are stored with their months.

        Args:
            stay: Rows that must be judged once more; they leave later.
        """
        self.stayed = set()
        looked_at = 0
        for series in list(self._series):
            looked_at += _LOOK_ROWS // 100
            since = series.kept.since
            if since > date.min:
                looked_at += len(series.rows)
                periods = self._known.periods
                gone = [n for n in series.rows if periods[n].kind == "day" and periods[n].start < since]
                for number in gone:
                    key = RowKey(series.metric, series.scope, periods[number].id)
                    if key in stay:
                        self.stayed.add(key)
                    else:
                        yield self._leave(key, series.rows[number])
                if len(gone) > len(series.rows):
                    series.rows = dict(series.rows)  # a dict does not shrink by itself
            if looked_at > _LOOK_ROWS:
                looked_at = 0
                yield None

    def _leave(self, key: RowKey, place: int) -> Left:
        columns = self.columns
        version = columns.version[place]
        is_kept = not version or columns.history_version[place] == version
        left = Left(key, None if is_kept else self._version(place, self._calendar.timezone), bool(version))
        self._remove(place)
        return left

    def _remove(self, place: int) -> None:
        """Removes the row of a day; its counts are stored with its month."""
        columns = self.columns
        series, number = self._series[columns.series[place]], columns.period[place]
        packed = columns.cells[place]
        if packed is not None:
            day = self._known.periods[number].start
            others = self._known.of_day(day)[1:]
            month = series.rows[others[self._known.month_among(others)]]
            columns.cells[month] = packed_days.put_away(columns.cells[month], day.day, packed)
        del series.rows[number]
        moved = columns.remove(place)
        if moved != place:
            of = self._series[columns.series[place]]
            # The number as it is kept once.
            of.rows[self._known.numbers[self._known.periods[columns.period[place]].id]] = place
        for kept in (
            self._targets,
            self._controls,
            self._published_targets,
            self._published_controls,
            self._balances,
            self._published_balances,
            self._redated,
            self._first_cells,
            self._first_minutes,
            self._campaign_hours,
            self._newest_of_campaigns,
        ):
            _move(kept, place, moved)
        for places in (self._retargeted, self._late, self._put_off):
            places.discard(place)
            if moved in places and moved != place:
                places.discard(moved)
                places.add(place)
        self.on_move(place, moved)


def _move(kept: dict[int, Any], place: int, moved: int) -> None:
    """Forgets the entry of a place, and moves that of the row which is now there to it."""
    kept.pop(place, None)
    if moved in kept:
        kept[place] = kept.pop(moved)
