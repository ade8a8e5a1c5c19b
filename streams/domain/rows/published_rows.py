"""What has been published of each window row, and what is attached to it: targets, control totals, opening balances."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.instants import micros_of_text
from schemas.rows import RowKey
from schemas.texts import template_of
from streams.domain import hotpath
from streams.domain.counts import packed_days
from streams.domain.rows.counted_rows import CountedRows
from streams.domain.rows.known_periods import Dates
from streams.domain.rows.row_columns import OPEN, STATUS_CODES
from streams.domain.rows.row_table import NOTHING
from streams.domain.time.campaigns import CAMPAIGN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from schemas.outputs import RowControl
    from schemas.rows import PublishedRow
    from streams.domain.announced.controls import Control
    from streams.domain.rows.kept_days import KeptDays
    from streams.domain.rules import Target
    from streams.domain.time.calendar import Calendar


class PublishedRows(CountedRows):
    """Rows with the last published version of each, and with what is attached to them; see `CountedRows`."""

    def __init__(
        self, calendar: Calendar, closed_after_s: int, watched: Callable[[str, str], bool], kept: KeptDays | None
    ) -> None:
        super().__init__(calendar, closed_after_s, watched, kept)
        self._targets: dict[int, tuple[Target, ...]] = {}
        self._controls: dict[int, tuple[Control, ...]] = {}
        #: Units that rows have in addition to those of their days.
        self._balances: dict[int, int] = {}
        self._published_balances: dict[int, int] = {}
        self._published_targets: dict[int, tuple[tuple[str, int, bool], ...]] = {}
        self._published_controls: dict[int, dict[str, RowControl]] = {}
        #: Rows published with other dates, or with or without hours contrary to what they would be now → the published dates.
        self._redated: dict[int, Dates] = {}
        #: Rows whose targets or control totals have changed in this step.
        self._retargeted: set[int] = set()
        #: Rows in the topic whose days are no longer kept, and which the previous writer has not removed yet.
        self._left_over: dict[RowKey, PublishedRow] = {}
        #: The instant that was parsed last: all rows of a step have the same.
        self._instant = "", 0

    # Published versions ---------------------------------------------------------------------------------------------

    def _place_of_published(self, row: PublishedRow) -> tuple[int, int] | None:
        """Number of the period, and place, of a published row, which is created if needed; None if it has no place."""
        number = self._known.numbers.get(row.period)
        if number is None:
            try:
                number = self._known.number_of(self._calendar.period(row.period))
            except ValueError:
                return None
        if not self._calendar.has(self._known.periods[number], template_of(row.scope)):
            return None
        series = self._scopes.get(row.scope, NOTHING).get(row.metric)
        place = series.rows.get(number) if series is not None else None
        if place is None:
            if self._is_gone(row.metric, row.scope, number):
                self._left_over[RowKey.of(row)] = row
                return None
            place = self._place(row.metric, row.scope, number)
        return number, place

    def restore(self, row: PublishedRow) -> None:
        """Restores a published row, the last version last; a row of a holiday that is no longer counted stays as published."""
        found = self._place_of_published(row)
        if found is None:
            return
        number, place = found
        columns = self.columns
        columns.version[place] = row.version
        columns.restated[place] = row.restated
        columns.status[place] = columns.published_status[place] = STATUS_CODES[row.status]
        columns.published_count[place] = row.count
        columns.published_backfilled[place] = row.backfilled
        columns.updated_us[place] = self._micros_of(row.updated_at)
        by_hour = row.by_hour
        if by_hour is not None:
            hours = columns.published_hours[place] = packed_days.fingerprint(by_hour)
            if row.version == 1 and hours != columns.hours[place]:
                self._first_cells[place] = packed_days.of_hours(by_hour)
            elif self._first_cells:
                self._first_cells.pop(place, None)
        if row.by_minute is not None:
            self._restore_minutes(place, row.version, row.by_minute)
        published = Dates(row.start, row.end, row.calendar, row.starts_at, row.ends_at)
        if published != self._known.dates[number] or (by_hour is None) is self._known.is_day[number]:
            self._redated[place] = published
            if row.starts_at is not None and self._known.periods[number].kind == CAMPAIGN:
                # Whether it is over by its present instants is a different question from whether it was.
                columns.status[place] = OPEN
                self._note_late(place)
        elif self._redated:
            self._redated.pop(place, None)
        if row.targets or row.controls or row.balance or self._is_published_with_more(place):
            self._set_published(
                place,
                tuple((target.target_id, target.value, target.reached) for target in row.targets),
                {control.source: control for control in row.controls},
                row.balance,
            )

    def restore_many(self, values: Iterable[bytes], others: Callable[[bytes], None]) -> None:
        """As `restore`, for rows as they are in their topic, in order. Those that are not plain are passed to `others` instead."""
        if hotpath.rows is None:
            for value in values:
                others(value)
            return
        rare = self._redated, self._published_targets, self._published_controls, self._published_balances
        hotpath.rows.restore(
            self.columns,
            self._scopes,
            self._known.numbers,
            self._known.texts,
            self._first_cells,
            rare,
            values,
            self._micros_of,
            others,
        )

    def _restore_minutes(self, place: int, version: int, by_minute: Sequence[int]) -> None:
        minutes = self.columns.published_hours[place] = packed_days.fingerprint_of_minutes(by_minute)
        if version == 1 and minutes != self.columns.hours[place]:
            self._first_minutes[place] = list(by_minute)
        else:
            self._first_minutes.pop(place, None)

    def _is_published_with_more(self, place: int) -> bool:
        """Whether the columns cannot reproduce the published version."""
        return (
            place in self._published_targets or place in self._published_controls or place in self._published_balances
        )

    def _set_published(
        self, place: int, targets: tuple[tuple[str, int, bool], ...], controls: dict[str, RowControl], balance: int
    ) -> None:
        if balance:
            self._published_balances[place] = balance
        else:
            self._published_balances.pop(place, None)
        if targets:
            self._published_targets[place] = targets
        else:
            self._published_targets.pop(place, None)
        if controls:
            self._published_controls[place] = controls
        else:
            self._published_controls.pop(place, None)

    def _micros_of(self, text: str) -> int:
        if text != self._instant[0]:
            self._instant = text, micros_of_text(text) or 0
        return self._instant[1]

    # What is attached to rows ---------------------------------------------------------------------------------------

    def set_targets(self, targets: Iterable[Target]) -> None:
        """Puts these targets in force and no others; creates missing rows.

        One of a period that the calendar does not know, or of a day that is no longer kept, has no row.
        """
        by_row: dict[int, list[Target]] = {}
        for target in targets:
            place = self._place_of_target(RowKey.of(target))
            if place is not None:
                by_row.setdefault(place, []).append(target)
        self._retargeted |= self._targets.keys() | by_row.keys()
        self._targets = {
            place: tuple(sorted(found, key=lambda target: (target.value, target.target_id)))
            for place, found in by_row.items()
        }

    def set_balances(self, balances: Mapping[RowKey, int]) -> None:
        """Puts these opening balances in force and no others; creates missing rows.

        Args:
            balances: Row → units, at least 1. One of a period that the calendar does not know has no row.
        """
        by_row = {place: units for key, units in balances.items() if (place := self._place_of_target(key)) is not None}
        for place in self._balances.keys() | by_row.keys():
            change = by_row.get(place, 0) - self._balances.get(place, 0)
            if change:
                self.columns.count[place] += change
                self._retargeted.add(place)
        self._balances = by_row

    def set_controls(self, key: RowKey, controls: tuple[Control, ...]) -> None:
        """Puts the totals of other systems on a row, which is created if needed.

        One of a period that the calendar does not know, or of a day that is no longer kept, has no row.
        """
        place = self._place_of_target(key)
        if place is not None:
            self._controls[place] = controls
            self._retargeted.add(place)
