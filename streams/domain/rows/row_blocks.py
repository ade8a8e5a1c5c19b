"""All window rows in blocks of numbers, as snapshots have them, and from these again."""

from __future__ import annotations

from itertools import compress
from typing import TYPE_CHECKING, NamedTuple, cast

from schemas import vectors
from streams.domain.counts import packed_days
from streams.domain.rows.leaving_rows import LeavingRows
from streams.domain.time.campaigns import CAMPAIGN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from schemas.facts import RowMetric
    from schemas.rows import PublishedRow
    from streams.domain.rows.row_table import Series
    from streams.domain.time.periods import Period

#: Periods, series or rows to look at between two pauses.
_PAUSE_PERIODS = 500
_PAUSE_SERIES = 2_000
_PAUSE_ROWS = 20_000


class Cut(NamedTuple):
    """Consecutive rows: numbers by column, packed days, and the published versions that these cannot reproduce."""

    columns: dict[str, bytes]
    cells: list[bytes | None]
    others: list[PublishedRow]


class RowBlocks(LeavingRows):
    """Rows that can be cut into blocks and restored from them; see `LeavingRows`."""

    def cut(self, first: int, end: int) -> Cut:
        """The rows from place `first` up to, but not including, `end`, for `restore_rows`."""
        columns = self.columns
        more = self._published_targets, self._published_controls, self._published_balances, self._redated
        others = [place for place in range(first, end) if any(place in one for one in more)] if any(more) else []
        cells = columns.cells[first:end]
        for place, hours in self._campaign_hours.items():
            if first <= place < end:
                cells[place - first] = packed_days.put_together(hours)
        return Cut(
            columns.cut(first, end),
            cells,
            [self._version(place, self._calendar.timezone) for place in others if columns.version[place]],
        )

    def restore_names(
        self, series: Iterable[tuple[str, str]], periods: Sequence[tuple[str, str, str, str | None]]
    ) -> Iterator[None]:
        """Restores all series and periods with their numbers, with pauses; call it before anything else.

        Raises:
            ValueError: The calendar gives a period other dates, or a day other periods; nothing is restored then.
        """
        known = {period_id for period_id, *_ in periods}
        found = [self._calendar.period(period_id) for period_id, *_ in periods]
        for period, (_, start, end, definition) in zip(found, periods, strict=True):
            if (period.start.isoformat(), period.end.isoformat(), period.definition) != (start, end, definition):
                raise ValueError(f"{period.id} is another period now")
        days = {
            period.start: (*self._calendar.periods_of(period.start), *self._known.rolling_of(period.start))
            for period in found
            if period.kind == "day"
        }
        if not known.issuperset(period.id for of_day in days.values() for period in of_day):
            raise ValueError("days belong to more periods now")
        yield
        for number, period in enumerate(found):
            self._known.number_of(period)
            if number % _PAUSE_PERIODS == _PAUSE_PERIODS - 1:
                yield
        for day in days:
            self._known.learn(day)
        for number, (metric, scope) in enumerate(series):
            # As `series_names` gave them.
            self._new_series(cast("RowMetric", metric), scope)
            if number % _PAUSE_SERIES == _PAUSE_SERIES - 1:
                yield

    def restore_rows(
        self, columns: Mapping[str, bytes], kept: Sequence[bytes | None], others: Iterable[PublishedRow]
    ) -> None:
        """Restores the next rows; when all are restored, call `add_up`.

        Args:
            columns: As returned by `cut`; they may have more rows.
            kept: Packed days, one for each row to restore.
            others: PlainVersions versions that the columns cannot reproduce; also of other rows.
        """
        first = len(self.columns)
        self.columns.extend(columns, [packed_days.shared(packed) for packed in kept])
        # The numbers of periods as they are kept once.
        numbers, series = list(self._known.numbers.values()), self._series
        places = range(first, len(self.columns))
        for place, number, of in zip(
            places, self.columns.period[first : places.stop], self.columns.series[first : places.stop], strict=True
        ):
            series[of].rows[numbers[number]] = place
            if self._known.periods[number].kind == CAMPAIGN:
                self._campaign_hours[place] = packed_days.taken_apart(self.columns.cells[place])
                self.columns.cells[place] = None
        for other in others:
            found = self.find((other.metric, other.scope, other.period))
            if found is not None:
                hours = self.columns.published_hours[found]
                self.restore(other)
                self.columns.published_hours[found] = hours  # its counts by hour are those of the packed day

    def add_up(self) -> Iterator[None]:
        """Sums the restored days, whatever moment each is from, with pauses.

        Raises:
            ValueError: A day belongs to a row that is missing.
        """
        parents: list[tuple[int, ...]] = [()] * len(self._known.periods)
        of_some: set[int] = set()
        for day, (number, *others) in self._known.numbers_of_day.items():
            rolling = [self._known.number_of(period) for period in self._known.rolling_of(day)]
            parents[number] = (*others, *rolling)
            of_some.update(rolling)
        columns = self.columns
        yield from vectors.add_up(
            len(columns),
            columns.series,
            columns.period,
            parents,
            columns.count,
            columns.backfilled,
            of_some=of_some,
        )
        is_day = self._known.is_day
        with_days: set[int] = set()
        for first in range(0, len(columns), _PAUSE_ROWS):
            yield
            cells = columns.cells[first : first + _PAUSE_ROWS]
            periods = columns.period[first : first + len(cells)]
            numbers = list(compress(periods, [packed is not None for packed in cells]))
            with_days.update(numbers)
            if not all(is_day[number] for number in numbers):
                for place, (number, packed) in enumerate(zip(periods, cells, strict=True), first):
                    if packed is not None and not is_day[number]:
                        self._add_month(self._series[columns.series[place]], self._known.periods[number], packed)
        for place, hours in self._campaign_hours.items():
            for packed in hours.values():
                units, backfilled = packed_days.sums_of(packed)
                columns.add_to((place,), units, backfilled, 0)
        with_days = {number for number in with_days if is_day[number]}
        self.newest_day = max([self.newest_day, *(self._known.periods[number].start for number in with_days)])

    def _add_month(self, series: Series, month: Period, packed: bytes) -> None:
        """Adds the days of a month that have no row to all rows that contain them."""
        sums: dict[int, list[int]] = {}
        for day, units, backfilled in packed_days.in_month(packed):
            for number in self._known.of_day(month.start.replace(day=day))[1:]:
                of = sums.setdefault(number, [0, 0])
                of[0] += units
                of[1] += backfilled
        for number, (units, backfilled) in sums.items():
            self.columns.add_to((series.rows[number],), units, backfilled, 0)
