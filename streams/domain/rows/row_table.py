"""Where each window row is, and what the days say: rows by metric, scope and period, packed in columns."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, cast

from schemas.codec import decode_day_count
from schemas.facts import ROW_METRICS, DayCount
from schemas.rows import RowKey
from schemas.texts import template_of
from streams.domain.counts import packed_days
from streams.domain.counts.nth import InCell
from streams.domain.rows.kept_days import KeptDays
from streams.domain.rows.known_periods import KnownPeriods
from streams.domain.rows.row_columns import OPEN, UNPUBLISHED, Columns
from streams.domain.time.zone import HOURS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from schemas.facts import LatestUnit, Metric, RowMetric
    from streams.domain.rows.kept_days import KeptSet
    from streams.domain.time.calendar import Calendar

#: More rows than this are not collected before a step, but found scope by scope while it runs.
FEW_ROWS = 20_000
NEVER_US = 1 << 62

NOTHING: Mapping[str, Any] = {}


#: A count as a ledger partition has told it: decoded, or the value of its record, of which few are ever looked at.
ToldCount = DayCount | bytes


class CountedDay:
    """The counts of one business date: in total and by local hour."""

    __slots__ = ("_packed", "count")

    def __init__(self, count: int, packed: bytes | None) -> None:
        self.count = count
        self._packed = packed

    @property
    def by_hour(self) -> list[int]:
        """24 units by local hour."""
        return packed_days.hours_of(self._packed)

    @property
    def backfilled(self) -> int:
        """Units that were loaded as history."""
        return packed_days.sums_of(self._packed)[1]


class Series:
    """One metric and scope: its rows by the number of their period."""

    __slots__ = ("is_watched", "kept", "latest", "metric", "newest", "newest_day", "number", "rolling", "rows", "scope")

    def __init__(  # noqa: PLR0913 - what a series is
        self,
        metric: RowMetric,
        scope: str,
        number: int,
        kept: KeptSet,
        *,
        is_watched: bool,
        rolling: tuple[int, ...] = (),
    ) -> None:
        self.metric = metric
        self.scope = scope
        self.number = number
        self.kept = kept
        self.is_watched = is_watched
        #: Lengths, in days, of its rolling windows.
        self.rolling = rolling
        self.rows: dict[int, int] = {}
        #: The last day with a count, and the count of each ledger partition on it, None unless it names the latest unit of all.
        self.newest_day = date.min
        self.newest: dict[int, ToldCount | None] = {}


class RowTable:
    """All rows.

    Args:
        calendar: Which periods a date belongs to, and when they end.
        closed_after_s: Seconds after the end of a period until it is closed.
        watched: Whether a metric and scope can have milestones; otherwise the units by which its rows grew do not matter.
        kept: Which days have rows. Counts of other days are stored with their month, so that all sums stay exact.
    """

    def __init__(
        self, calendar: Calendar, closed_after_s: int, watched: Callable[[str, str], bool], kept: KeptDays | None
    ) -> None:
        self._calendar = calendar
        self._watched = watched
        self.kept = kept or KeptDays()
        self.columns = Columns()
        self._known = KnownPeriods(calendar, closed_after_s)
        self._scopes: dict[str, dict[str, Series]] = {}
        self._series: list[Series] = []
        #: Rows with counts whose period has not begun: those of rolling windows that end on a later date.
        self._put_off: set[int] = set()
        self._put_off_until_us = NEVER_US
        #: Rows created after their period had ended; if there are many, they are not collected but searched for among all.
        self._late: set[int] = set()
        self._is_late_many = False
        #: Rows that must be judged once more, however old their days are.
        self._must_stay: set[RowKey] = set()

    def __len__(self) -> int:
        return len(self.columns)

    def find(self, key: tuple[str, str, str]) -> int | None:
        """The place of a row; None if there is none."""
        metric, scope, period_id = key
        number = self._known.numbers.get(period_id)
        series = self._scopes.get(scope, NOTHING).get(metric)
        return series.rows.get(number) if series is not None and number is not None else None

    def scopes_over(self, metric: str, period_id: str) -> Iterator[str]:
        """The scopes whose row of a metric and period is published as over."""
        over = self.columns.published_status
        return (scope for scope, place in self._places_of(metric, period_id) if over[place] not in (UNPUBLISHED, OPEN))

    def _places_of(self, metric: str, period_id: str) -> Iterator[tuple[str, int]]:
        number = self._known.numbers.get(period_id)
        if number is None:
            return
        for scope, by_metric in self._scopes.items():
            place = by_metric[metric].rows.get(number) if metric in by_metric else None
            if place is not None:
                yield scope, place

    def metric(self, place: int) -> RowMetric:
        """The metric of a row."""
        return self._series[self.columns.series[place]].metric

    def by_metric(self, places: Iterable[int]) -> list[list[int]]:
        """Rows of one scope, split by metric."""
        by_series: dict[int, list[int]] = {}
        for place in places:
            by_series.setdefault(self.columns.series[place], []).append(place)
        return list(by_series.values())

    # What the days say ----------------------------------------------------------------------------------------------

    @property
    def days(self) -> Iterable[date]:
        """The dates that have, or had, counts."""
        return self._known.numbers_of_day.keys()

    def day(self, metric: str, scope: str, day: date) -> CountedDay | None:
        """The present counts of a business date; None if there are none."""
        packed = self._cell(metric, scope, day)
        if packed is None and self.find((metric, scope, _day_id(day))) is None:
            return None
        return CountedDay(sum(units for _, units in packed_days.counts_of(packed)), packed)

    def _cell(self, metric: str, scope: str, day: date) -> bytes | None:
        """The packed counts of a day, whether it has a row or not."""
        place = self.find((metric, scope, _day_id(day)))
        if place is not None:
            return self.columns.cells[place]
        month = self.find((metric, scope, _month_id(day)))
        return packed_days.taken_out(self.columns.cells[month], day.day) if month is not None else None

    def shard_count(self, shard: int, metric: str, scope: str, day: date) -> DayCount:
        """One ledger partition's count of a business date, without its latest unit; zero if there is no row."""
        return packed_days.of_shard(self._cell(metric, scope, day), shard)

    def day_counts(self, metric: str, scope: str) -> Iterator[tuple[date, int]]:
        """Dates and counts of the days of a metric and scope, in no particular order."""
        series = self._scopes.get(scope, NOTHING).get(metric)
        for number, place in series.rows.items() if series is not None else ():
            period = self._known.periods[number]
            if period.kind == "day":
                yield period.start, self.columns.count[place]
            elif self.columns.cells[place] is not None:
                for day, units, _ in packed_days.in_month(self.columns.cells[place]):
                    yield period.start.replace(day=day), units

    def backfilled(self, metric: str, scope: str) -> int:
        """Units of all days of a metric and scope that were loaded as history."""
        series, columns, backfilled = self._scopes.get(scope, NOTHING).get(metric), self.columns, 0
        for number, place in series.rows.items() if series is not None else ():
            if self._known.periods[number].kind == "day":
                backfilled += columns.backfilled[place]
            elif columns.cells[place] is not None:
                backfilled += sum(units for _, _, units in packed_days.in_month(columns.cells[place]))
        return backfilled

    def hour_of_unit(self, metric: str, scope: str, first: date, last: date, number: int) -> InCell | None:
        """The local hour of the N-th unit (from 1) between two dates; None if there are not that many."""
        counts = [counted for counted in self.day_counts(metric, scope) if first <= counted[0] <= last]
        for day, count in sorted(counts):
            if number > count:
                number -= count
                continue
            counted = self.day(metric, scope, day)
            for hour, units in enumerate(counted.by_hour if counted is not None else ()):
                if number <= units:
                    return InCell(day.toordinal() * HOURS + hour, number, units)
                number -= units
        return None

    def newest_unit(self, metric: str, scope: str, first: date, last: date) -> LatestUnit | None:
        """The latest unit between two dates, if the ledger partitions have published which it is."""
        series = self._scopes.get(scope, NOTHING).get(metric)
        if series is None or not first <= series.newest_day <= last:
            return None
        with_units = [day for day, count in self.day_counts(metric, scope) if count and first <= day <= last]
        packed = self._cell(metric, scope, series.newest_day)
        if packed is None or max(with_units, default=None) != series.newest_day:
            return None
        return latest_of(packed, series.newest)

    def _count(self, metric: str, scope: str, number: int) -> int | None:
        """The count of a row; None if there is none, or it has never held anything."""
        series = self._scopes[scope].get(metric)
        place = series.rows.get(number) if series is not None else None
        if place is None or not (self.columns.count[place] or self.columns.version[place]):
            return None
        return self.columns.count[place]

    # How many there are, and their names ----------------------------------------------------------------------------

    @property
    def last_update_us(self) -> int:
        """When the latest version was made, microseconds since 1970; 0 without rows."""
        return self.columns.last_update_us

    @property
    def sizes(self) -> tuple[int, int, int]:
        """The numbers of rows, series (a metric and scope each) and periods, each numbered from 0."""
        return len(self.columns), len(self._series), len(self._known.periods)

    def series_names(self, first: int, end: int) -> list[tuple[str, str]]:
        """Metric and scope of the series from number `first` up to, but not including, `end`."""
        return [(series.metric, series.scope) for series in self._series[first:end]]

    def period_dates(self, first: int, end: int) -> list[tuple[str, str, str, str | None]]:
        """Id, first date, last date and further definition of the periods from `first` up to, but not including, `end`."""
        return [
            (period.id, *dates[:2], period.definition)
            for period, dates in zip(self._known.periods[first:end], self._known.dates[first:end], strict=True)
        ]

    # Making rows ----------------------------------------------------------------------------------------------------

    def _is_gone(self, metric: str, scope: str, number: int) -> bool:
        """Whether a period is a day of a scope that is no longer kept."""
        period = self._known.periods[number]
        return (
            period.kind == "day"
            and period.start < self.kept.of(template_of(scope)).since
            and RowKey(metric, scope, period.id) not in self._must_stay
        )

    def must_stay(self, key: RowKey) -> None:
        """Marks a row to be judged in the first step, whatever its day is; call it before the counts."""
        self._must_stay.add(key)

    def _note_late(self, place: int) -> None:
        if len(self._late) < FEW_ROWS:
            self._late.add(place)
        else:
            self._is_late_many = True

    def _place_of_target(self, key: RowKey) -> int | None:
        metric, scope, period_id = key
        try:
            number = self._known.number_of(self._calendar.period(period_id))
        except ValueError:
            return None
        if self._is_gone(metric, scope, number) or not self._calendar.has(
            self._known.periods[number], template_of(scope)
        ):
            return None
        # Events of targets and control totals are checked to name a metric.
        return self._place(cast("Metric", metric), scope, number)

    def _place(self, metric: RowMetric, scope: str, number: int) -> int:
        series = self._scopes.get(scope, NOTHING).get(metric) or self._new_series(metric, scope)
        place = series.rows.get(number)
        if place is None:
            # The one int object that is kept for this number: a million rows share a thousand of them.
            place = self.columns.add(series.number, number, OPEN)
            series.rows[self._known.numbers[self._known.periods[number].id]] = place
            if self._known.levels[number] > OPEN:
                self._note_late(place)
        return place

    def _new_series(self, metric: RowMetric, scope: str) -> Series:
        by_metric = self._scopes.setdefault(scope, {})
        # One string object for each, however many records name it.
        kept = next(iter(by_metric.values())).scope if by_metric else scope
        metric = ROW_METRICS[ROW_METRICS.index(metric)]
        series = by_metric[metric] = Series(
            metric,
            kept,
            len(self._series),
            self.kept.of(template_of(kept)),
            is_watched=self._watched(metric, kept),
            rolling=self._calendar.rolling_for(template_of(kept)) if self._calendar.rolling else (),
        )
        self._series.append(series)
        return series


def unit_in(told: ToldCount | None) -> LatestUnit | None:
    """The unit that a count names."""
    if isinstance(told, bytes):
        told = decode_day_count(told)
    return told.latest if told is not None else None


def latest_of(packed: bytes, newest: Mapping[int, ToldCount | None]) -> LatestUnit | None:
    """The latest unit of a day or an hour, if each ledger partition with units in it has published its own."""
    shards = [shard for shard, units in packed_days.counts_of(packed) if units]
    found = [unit for unit in (unit_in(newest.get(shard)) for shard in shards) if unit is not None]
    return max(found, key=_unit_order) if len(found) == len(shards) else None


def _unit_order(unit: LatestUnit) -> tuple[int, str, str, int, int, int]:
    return unit.time_us, unit.id, unit.source, unit.topic, unit.partition, unit.offset


def _day_id(day: date) -> str:
    return f"day:{day.isoformat()}"


def _month_id(day: date) -> str:
    return f"month:{day.isoformat()[:7]}"
