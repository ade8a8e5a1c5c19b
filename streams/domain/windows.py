"""Window rows: day counts of all shards summed to days, months, years and holidays, campaigns by minute; status and version.

Sums are updated count by count, so a step costs only what it changes. Everything is packed in columns (`row_columns.py`,
`packed_days.py`); row objects are created for a step and dropped after it.
"""

from __future__ import annotations

import heapq
from datetime import date
from itertools import chain, compress, islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from schemas import vectors
from schemas.codec import decode_day_count, encode_document, encode_row
from schemas.facts import INVENTORY, ROW_METRICS
from schemas.instants import micros_of_text, utc_text
from schemas.outputs import RowControl, RowTarget, WindowRow
from schemas.rows import PlainRow, PublishedRow, RowKey, full_fields, of_campaign
from schemas.texts import template_of
from streams.domain import hotpath, packed_days
from streams.domain.campaigns import CAMPAIGN, MINUTES
from streams.domain.controls import compare
from streams.domain.kept_days import KeptDays
from streams.domain.orders import DELIVERIES_METRIC, PRODUCED_METRIC
from streams.domain.pauses import telling_pauses
from streams.domain.periods import ROLLING, TOTAL
from streams.domain.row_columns import STATUS_CODES, STATUSES, UNPUBLISHED, Columns

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping, Sequence

    from schemas.counts import CampaignHour
    from schemas.facts import DayCount, LatestUnit, Metric, RowMetric
    from schemas.outputs import WindowStatus
    from streams.domain.calendar import Calendar
    from streams.domain.controls import Control
    from streams.domain.kept_days import KeptSet
    from streams.domain.periods import Ordering, Period
    from streams.domain.rules import Target

_MICROSECONDS = 1_000_000
_NEVER_US = 1 << 62
_OPEN, _PROVISIONAL, _CLOSED = range(len(STATUSES))
#: More rows than this are not collected before a step, but found scope by scope while it runs.
_FEW_ROWS = 20_000
#: A pause, in the form of a scope without rows.
_NO_ROWS: tuple[str, list[int]] = "", []
#: Changed days to process between two pauses.
_PAUSE_DAYS = 500
#: Entries of a dictionary to free between two pauses.
_LET_GO = 10_000
#: Rows to search for marked ones between two pauses.
_LOOK_ROWS = 2_000
#: Rows to search for ones with counts between two pauses.
_LOOK_CELLS = 20_000


class Row:
    """One window of one metric and scope during a step: its current and its last published state.

    The published state is the one before the step, which milestones are compared with; `publish` ends the step for this row.
    """

    __slots__ = (
        "_windows",
        "backfilled",
        "balance",
        "begun_with",
        "controls",
        "count",
        "grew",
        "key",
        "latest",
        "metric",
        "period",
        "place",
        "published_backfilled",
        "published_balance",
        "published_count",
        "published_status",
        "scope",
        "status",
        "targets",
    )

    def __init__(
        self, metric: RowMetric, scope: str, period: Period, windows: Windows | None = None, place: int = -1
    ) -> None:
        self.key = RowKey(metric, scope, period.id)
        self.metric = metric
        self.scope = scope
        self.period = period
        self._windows = windows
        #: Its place in the columns.
        self.place = place
        self.count = 0
        self.backfilled = 0
        #: For a rolling window: units, and those loaded as history, of its days before the last one.
        self.begun_with = 0, 0
        #: The part of the count that is an opening balance.
        self.balance = 0
        self.targets: tuple[Target, ...] = ()
        self.controls: tuple[Control, ...] = ()
        self.status: WindowStatus = "open"
        self.published_count = 0
        self.published_backfilled = 0
        self.published_balance = 0
        self.published_status: WindowStatus | None = None
        #: Whether a day in it grew in this step, and the latest unit of the cells that did.
        self.grew = False
        self.latest: LatestUnit | None = None

    @property
    def ordering(self) -> Ordering:
        """Sort key: periods of one window in order of time."""
        return self.period.ordering

    @property
    def is_over(self) -> bool:
        """Whether the period has ended and everything from before its end has been read."""
        return self.status != "open"

    @property
    def was_over(self) -> bool:
        """Whether that was already so before this step."""
        return self.published_status not in (None, "open")

    @property
    def known_count(self) -> int:
        """The count that is no news: the published one, plus the opening balance if it is the first.

        In a rolling window, the days before its last one are no news either.
        """
        return max(self._published_with_balance, self.begun_with[0])

    @property
    def _published_with_balance(self) -> int:
        return self.published_count + (self.balance if not self.published_balance else 0)

    @property
    def only_backfilled(self) -> bool:
        """Whether, in the end, this step added nothing but backfill."""
        before, loaded = self._published_with_balance, self.published_backfilled
        if self.published_status is None:
            before, loaded = before + self.begun_with[0], self.begun_with[1]
        return 0 < self.backfilled - loaded >= self.count - before

    @property
    def is_balance_corrected(self) -> bool:
        """Whether a published opening balance has changed."""
        return bool(self.published_balance) and self.balance != self.published_balance

    def publish(self, timezone: str, updated_at: str) -> PublishedRow | None:
        """Ends the step: the next version, or None if it equals the published one or has never held anything."""
        if self._windows is None:
            raise RuntimeError(f"{self.key} belongs to no table")
        return self._windows.publish(self, timezone, updated_at)


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


class Cut(NamedTuple):
    """Consecutive rows: numbers by column, packed days, and the published versions that these cannot reproduce."""

    columns: dict[str, bytes]
    cells: list[bytes | None]
    others: list[PublishedRow]


class PlainVersions(NamedTuple):
    """The next versions of plain rows, as key and value of their records.

    Attributes:
        places: Of the rows.
        records: Their next versions.
        replaced: First versions that were replaced: from now on only the history has them.
    """

    places: list[int]
    records: list[tuple[bytes, bytes]]
    replaced: list[tuple[bytes, bytes]]

    def extend(self, other: PlainVersions) -> None:
        """Adds others."""
        self.places.extend(other.places)
        self.records.extend(other.records)
        self.replaced.extend(other.replaced)


class PublishedRecord(NamedTuple):
    """The published version of a row, as its record."""

    key: bytes
    value: bytes
    version: int


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


class _Dates(NamedTuple):
    """The dates of a row's period, as in the published row."""

    start: str
    end: str
    calendar: str | None = None
    starts_at: str | None = None
    ends_at: str | None = None


class _Series:
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
        #: The last day with a count, and the latest unit of each ledger partition on it, if known.
        self.newest_day = date.min
        self.newest: dict[int, LatestUnit | None] = {}
        #: Before the first step: the latest unit by row of a day and shard, if the series can have milestones.
        self.latest: dict[tuple[int, int], LatestUnit] | None = None


class _Touched:
    """A day that this step has changed: the rows that contain it (its own first), and its shards' counts before."""

    __slots__ = ("after", "before", "latest", "rows")

    def __init__(self, rows: tuple[int, ...]) -> None:
        self.rows = rows
        self.before: dict[int, int] = {}
        self.after: dict[int, int] = {}
        self.latest: dict[int, LatestUnit | None] = {}


class Windows:
    """All rows, and which of them a step has touched.

    Args:
        calendar: Which periods a date belongs to, and when they end.
        closed_after_s: Seconds after the end of a period until it is closed.
        watched: Whether a metric and scope can have milestones; otherwise the units by which its rows grew do not matter.
        keeps_inventory: Whether scopes with production have a row of what was produced and not delivered.
        kept: Which days have rows. Counts of other days are stored with their month, so that all sums stay exact.
    """

    def __init__(  # noqa: PLR0915 - what is known of rows, each with its comment
        self,
        calendar: Calendar,
        closed_after_s: int,
        watched: Callable[[str, str], bool] = lambda metric, scope: True,  # noqa: ARG005 - all are
        kept: KeptDays | None = None,
        *,
        keeps_inventory: bool = False,
    ) -> None:
        self._calendar = calendar
        self._closed_after_us = closed_after_s * _MICROSECONDS
        self._watched = watched
        self._keeps_inventory = keeps_inventory
        self.kept = kept or KeptDays()
        #: Rows that had to stay when others of their days left.
        self.stayed: set[RowKey] = set()
        #: Called for each row that is removed: its place, and the former place of the row that has it now.
        self.on_move: Callable[[int, int], None] = lambda _place, _moved: None
        self.columns = Columns()
        #: The latest business date with a count.
        self.newest_day = date.min
        self._scopes: dict[str, dict[str, _Series]] = {}
        self._series: list[_Series] = []
        self._periods: list[Period] = []
        self._ends_us: list[int] = []
        self._begins_us: list[int] = []
        #: For each period: its dates as published in rows, and whether it is a day.
        self._dates: list[_Dates] = []
        self._is_day: list[bool] = []
        #: For each period, what the compiled way writes and reads of it; see `_texts_of`.
        self._texts: list[tuple[bytes, bytes, bytes, bool, bool]] = []
        self._campaign_numbers: set[int] = set()
        self._numbers: dict[str, int] = {}
        self._numbers_of_day: dict[date, tuple[int, ...]] = {}
        #: The same by the date as in keys of counts.
        self._days_by_text: dict[bytes, tuple[date, tuple[int, ...]]] = {}
        #: Date and rolling windows → the numbers of these periods, after the others.
        self._numbers_with_rolling: dict[tuple[date, tuple[int, ...]], tuple[int, ...]] = {}
        #: Rows with counts whose period has not begun: those of rolling windows that end on a later date.
        self._put_off: set[int] = set()
        self._put_off_until_us = _NEVER_US
        #: The least status of a period's rows, and (instant, period) of each future change of it.
        self._levels = bytearray()
        self._due: list[tuple[int, int]] = []
        #: Rows created after their period had ended; if there are many, they are not collected but searched for among all.
        self._late: set[int] = set()
        self._is_late_many = False
        self._targets: dict[int, tuple[Target, ...]] = {}
        self._controls: dict[int, tuple[Control, ...]] = {}
        #: Units that rows have in addition to those of their days.
        self._balances: dict[int, int] = {}
        self._published_balances: dict[int, int] = {}
        self._published_targets: dict[int, tuple[tuple[str, int, bool], ...]] = {}
        self._published_controls: dict[int, dict[str, RowControl]] = {}
        #: Rows published with other dates, or with or without hours contrary to what they would be now → the published dates.
        self._redated: dict[int, _Dates] = {}
        #: Rows whose targets or control totals have changed in this step.
        self._retargeted: set[int] = set()
        #: By place, or by series and period if the day has no row.
        self._touched: dict[int | tuple[int, int], _Touched] = {}
        #: What this step has changed of days that nothing watches: the rows that contain the day, shard, its units before and now,
        #: and its count as it came.
        self._changed: list[tuple[tuple[int, ...], int, int, int, bytes]] = []
        #: Rows in the topic whose days are no longer kept, and which the previous writer has not removed yet.
        self._left_over: dict[RowKey, PublishedRow] = {}
        #: Rows that must be judged once more, however old their days are.
        self._must_stay: set[RowKey] = set()
        #: Days that have changed since their first version, which only the row itself has → its counts by hour.
        self._first_cells: dict[int, bytes | None] = {}
        #: Rows of campaigns → their packed hours by number; and the minutes of those changed since their first version.
        self._campaign_hours: dict[int, dict[int, bytes]] = {}
        self._first_minutes: dict[int, list[int]] = {}
        #: Rows of campaigns → the last hour with a count, and the latest unit of each ledger partition in it.
        self._newest_of_campaigns: dict[int, tuple[int, dict[int, LatestUnit | None]]] = {}
        #: Campaigns whose growth before the first step is news, as the previous writer counted them too.
        self._known_campaigns: set[str] = set()
        self._replaced: list[PublishedRow] = []
        self._grown: dict[int, LatestUnit | None] = {}
        self._loaded: dict[int, Row] = {}
        #: Scopes whose units before the first step were known before, though their rows are new.
        self._known_before: set[str] = set()
        #: The instants that were parsed and formatted last: all rows of a step have the same.
        self._instant, self._text = ("", 0), ("", 0)
        self._started = False
        self._is_first = False
        self._is_caught_up = False

    def __len__(self) -> int:
        return len(self.columns)

    # What is there --------------------------------------------------------------------------------------------------

    def find(self, key: tuple[str, str, str]) -> int | None:
        """The place of a row; None if there is none."""
        metric, scope, period_id = key
        number = self._numbers.get(period_id)
        series = self._scopes.get(scope, _NOTHING).get(metric)
        return series.rows.get(number) if series is not None and number is not None else None

    def get(self, key: RowKey) -> Row | None:
        """The row with a key, if there is one."""
        place = self.find(key)
        return self._row_at(place) if place is not None else None

    def rows_of(self, metric: str, period_id: str) -> Iterator[Row]:
        """The rows of a metric and period in all scopes, during a step."""
        return (self._row_at(place) for _, place in self._places_of(metric, period_id))

    def scopes_over(self, metric: str, period_id: str) -> Iterator[str]:
        """The scopes whose row of a metric and period is published as over."""
        over = self.columns.published_status
        return (scope for scope, place in self._places_of(metric, period_id) if over[place] not in (UNPUBLISHED, _OPEN))

    def _places_of(self, metric: str, period_id: str) -> Iterator[tuple[str, int]]:
        number = self._numbers.get(period_id)
        if number is None:
            return
        for scope, by_metric in self._scopes.items():
            place = by_metric[metric].rows.get(number) if metric in by_metric else None
            if place is not None:
                yield scope, place

    def changed(self) -> Iterator[tuple[RowMetric, str, Period]]:
        """Metric, scope and period of the rows in which a day has changed since the last step."""
        columns = self.columns
        touched = chain((touched.rows for touched in self._touched.values()), (rows for rows, *_ in self._changed))
        for place in set(chain.from_iterable(touched)):
            series = self._series[columns.series[place]]
            yield series.metric, series.scope, self._periods[columns.period[place]]

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
        series = self._scopes.get(scope, _NOTHING).get(metric)
        for number, place in series.rows.items() if series is not None else ():
            period = self._periods[number]
            if period.kind == "day":
                yield period.start, self.columns.count[place]
            elif self.columns.cells[place] is not None:
                for day, units, _ in packed_days.in_month(self.columns.cells[place]):
                    yield period.start.replace(day=day), units

    def backfilled(self, metric: str, scope: str) -> int:
        """Units of all days of a metric and scope that were loaded as history."""
        series, columns, backfilled = self._scopes.get(scope, _NOTHING).get(metric), self.columns, 0
        for number, place in series.rows.items() if series is not None else ():
            if self._periods[number].kind == "day":
                backfilled += columns.backfilled[place]
            elif columns.cells[place] is not None:
                backfilled += sum(units for _, _, units in packed_days.in_month(columns.cells[place]))
        return backfilled

    def hour_of_unit(self, metric: str, scope: str, first: date, last: date, number: int) -> tuple[date, int] | None:
        """Date and local hour of the N-th unit (from 1) between two dates; None if there are not that many."""
        counts = [counted for counted in self.day_counts(metric, scope) if first <= counted[0] <= last]
        for day, count in sorted(counts):
            if number > count:
                number -= count
                continue
            counted = self.day(metric, scope, day)
            for hour, units in enumerate(counted.by_hour if counted is not None else ()):
                if number <= units:
                    return day, hour
                number -= units
        return None

    def newest_unit(self, metric: str, scope: str, first: date, last: date) -> LatestUnit | None:
        """The latest unit between two dates, if the ledger partitions have published which it is."""
        series = self._scopes.get(scope, _NOTHING).get(metric)
        if series is None or not first <= series.newest_day <= last:
            return None
        with_units = [day for day, count in self.day_counts(metric, scope) if count and first <= day <= last]
        packed = self._cell(metric, scope, series.newest_day)
        if packed is None or max(with_units, default=None) != series.newest_day:
            return None
        return _latest_of(packed, series.newest)

    # What comes in --------------------------------------------------------------------------------------------------

    def _place_of_published(self, row: PublishedRow) -> tuple[int, int] | None:
        """Number of the period, and place, of a published row, which is created if needed; None if it has no place."""
        number = self._numbers.get(row.period)
        if number is None:
            try:
                number = self._number_of(self._calendar.period(row.period))
            except ValueError:
                return None
        if not self._calendar.has(self._periods[number], template_of(row.scope)):
            return None
        series = self._scopes.get(row.scope, _NOTHING).get(row.metric)
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
        published = _Dates(row.start, row.end, row.calendar, row.starts_at, row.ends_at)
        if published != self._dates[number] or (by_hour is None) is self._is_day[number]:
            self._redated[place] = published
            if row.starts_at is not None and self._periods[number].kind == CAMPAIGN:
                # Whether it is over by its present instants is a different question from whether it was.
                columns.status[place] = _OPEN
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
            self._numbers,
            self._texts,
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

    def _is_gone(self, metric: str, scope: str, number: int) -> bool:
        """Whether a period is a day of a scope that is no longer kept."""
        period = self._periods[number]
        return (
            period.kind == "day"
            and period.start < self.kept.of(template_of(scope)).since
            and RowKey(metric, scope, period.id) not in self._must_stay
        )

    def must_stay(self, key: RowKey) -> None:
        """Marks a row to be judged in the first step, whatever its day is; call it before the counts."""
        self._must_stay.add(key)

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
        columns.status[place] = _OPEN
        if self._levels[columns.period[place]] > _OPEN:
            self._note_late(place)
        columns.updated_us[place] = columns.history_version[place] = columns.history_us[place] = 0
        self._redated.pop(place, None)
        self._first_cells.pop(place, None)
        self._set_published(place, (), {}, 0)

    @property
    def left_over(self) -> Mapping[RowKey, int]:
        """Rows that are to leave and have no place, with their published versions."""
        return {key: row.version for key, row in self._left_over.items()}

    def know_before(self, scope: str) -> None:
        """Notes that counts of a scope before the first step are no news: they were counted in another scope."""
        self._known_before.add(scope)

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

    def update(self, shard: int, metric: Metric, scope: str, day: date, count: DayCount) -> None:
        """Replaces one shard's count of a day."""
        self.newest_day = max(self.newest_day, day)
        numbers = self._numbers_of_day.get(day)
        if numbers is None:
            numbers = self._learn(day)
        series = self._scopes.get(scope, _NOTHING).get(metric) or self._new_series(metric, scope)
        if series.rolling:
            numbers = self._numbers_of(day, series)
        elif day < series.kept.since and numbers[0] not in series.rows and self._is_gone(metric, scope, numbers[0]):
            self._update_without_row(shard, series, day, count)
            return
        try:
            rows = series.rows
            places = tuple([rows[number] for number in numbers])
        except KeyError:
            places = tuple([self._place(metric, scope, number) for number in numbers])
        own, cells_of = places[0], self.columns.cells
        if self.columns.version[own] == 1 and own not in self._first_cells and self._is_as_published(own):
            self._first_cells[own] = cells_of[own]
        replaced = packed_days.replace(cells_of[own], shard, count)
        cells_of[own], before = replaced.packed, replaced.units
        self.columns.add_to(places, count.count - before, count.backfilled - replaced.backfilled, replaced.hours)
        self._note_newest(series, day, shard, count)
        if self._started:
            self._touch(own, places, shard, before, count)
        elif count.latest is not None and series.is_watched:
            if series.latest is None:
                series.latest = {}
            series.latest[own, shard] = count.latest

    def take(self, counts: Iterable[tuple[bytes, bytes]], others: Callable[[bytes, bytes], None]) -> None:
        """Takes counts as they are in their topic: keys and values, in order. What is not plain is passed to `others` instead."""
        if hotpath.rows is None:
            for key, value in counts:
                others(key, value)
            return
        made: list[int] = []
        newest = hotpath.rows.take(
            self.columns,
            self._scopes,
            self._days_by_text,
            self._first_cells,
            self._changed if self._started else None,
            counts,
            made,
            others,
        )
        periods = self.columns.period
        for place in made:
            if self._levels[periods[place]] > _OPEN:
                self._note_late(place)
        if newest is not None:
            self.newest_day = max(self.newest_day, newest)

    def update_campaign(self, shard: int, metric: Metric, scope: str, hour: CampaignHour, count: DayCount) -> None:
        """Replaces one shard's count of an hour of a campaign; does nothing if there is no such campaign."""
        place = self._place_of_campaign(metric, scope, hour.campaign)
        if place is None:
            return
        columns, hours = self.columns, self._campaign_hours.setdefault(place, {})
        is_first = columns.version[place] == 1 and place not in self._first_minutes
        if is_first and self._is_as_published(place):
            self._first_minutes[place] = packed_days.minutes_of(hours)
        replaced = packed_days.replace(hours.get(hour.hour), shard, count)
        hours[hour.hour] = replaced.packed
        columns.add_to(
            (place,),
            count.count - replaced.units,
            count.backfilled - replaced.backfilled,
            packed_days.in_hour(replaced.hours, hour.hour),
        )
        if self._series[columns.series[place]].is_watched:
            newest_hour, newest = self._newest_of_campaigns.get(place, (-1, {}))
            if hour.hour >= newest_hour:
                newest = newest if hour.hour == newest_hour else {}
                newest[shard] = count.latest if count.is_newest else None
                self._newest_of_campaigns[place] = hour.hour, newest
        if self._started:
            # No series has a negative number.
            self._touch((-1 - place, hour.hour), (place,), shard, replaced.units, count)

    def _place_of_campaign(self, metric: Metric, scope: str, name: str) -> int | None:
        period_id = f"{CAMPAIGN}:{name}"
        number = self._numbers.get(period_id)
        if number is None:
            try:
                number = self._number_of(self._calendar.period(period_id))
            except ValueError:
                return None
        return self._place(metric, scope, number)

    def know_campaigns(self, period_ids: Iterable[str]) -> None:
        """Notes campaigns whose growth before the first step is news; that of others was counted before."""
        self._known_campaigns.update(period_ids)

    def campaign_count(self, shard: int, metric: str, scope: str, hour: CampaignHour) -> DayCount:
        """One ledger partition's count of an hour of a campaign, without its latest unit; zero if there is no row."""
        place = self.find((metric, scope, f"{CAMPAIGN}:{hour.campaign}"))
        packed = self._campaign_hours.get(place, _NO_HOURS).get(hour.hour) if place is not None else None
        return packed_days.of_shard(packed, shard, MINUTES)

    def minute_of_unit(self, key: RowKey, number: int) -> int | None:
        """The minute, from its start, of the N-th unit (from 1) of a campaign; None if there are not that many."""
        place = self.find(key)
        for hour, packed in sorted(self._campaign_hours.get(place, _NO_HOURS).items()) if place is not None else ():
            units = sum(units for _, units in packed_days.counts_of(packed))
            if number > units:
                number -= units
                continue
            for minute, units in enumerate(packed_days.hours_of(packed, MINUTES)):
                if number <= units:
                    return hour * MINUTES + minute
                number -= units
        return None

    def newest_unit_of_campaign(self, key: RowKey) -> LatestUnit | None:
        """The latest unit of a campaign, if the ledger partitions have published which it is."""
        place = self.find(key)
        if place is None:
            return None
        hours = self._campaign_hours.get(place, _NO_HOURS)
        newest_hour, newest = self._newest_of_campaigns.get(place, (-1, {}))
        with_units = [
            hour for hour, packed in hours.items() if any(units for _, units in packed_days.counts_of(packed))
        ]
        if max(with_units, default=None) != newest_hour:
            return None
        return _latest_of(hours[newest_hour], newest)

    def _update_without_row(self, shard: int, series: _Series, day: date, count: DayCount) -> None:
        """The same for a day that is no longer kept: only the longer periods that contain it have rows."""
        own, *others = self._numbers_without_rolling(day)
        places = tuple([self._place(series.metric, series.scope, number) for number in others])
        month, cells = places[self._month_among(others)], self.columns.cells
        replaced = packed_days.replace(packed_days.taken_out(cells[month], day.day), shard, count)
        cells[month] = packed_days.put_away(cells[month], day.day, replaced.packed)
        columns = self.columns
        columns.add_to(places, count.count - replaced.units, count.backfilled - replaced.backfilled, 0)
        self._note_newest(series, day, shard, count)
        if self._started:
            self._touch((series.number, own), places, shard, replaced.units, count)

    def _month_among(self, numbers: Sequence[int]) -> int:
        """The number of the month among the periods of a day."""
        return next(at for at, number in enumerate(numbers) if self._periods[number].kind == "month")

    @staticmethod
    def _note_newest(series: _Series, day: date, shard: int, count: DayCount) -> None:
        if series.is_watched and day >= series.newest_day:
            if day > series.newest_day:
                series.newest_day, series.newest = day, {}
            series.newest[shard] = count.latest if count.is_newest else None

    def _touch(
        self, key: int | tuple[int, int], rows: tuple[int, ...], shard: int, before: int, count: DayCount
    ) -> None:
        touched = self._touched.get(key)
        if touched is None:
            touched = self._touched[key] = _Touched(rows)
        touched.before.setdefault(shard, before)
        touched.after[shard] = count.count
        touched.latest[shard] = count.latest

    def _learn(self, day: date) -> tuple[int, ...]:
        """Numbers the periods of a date."""
        numbers = self._numbers_of_day[day] = tuple(map(self._number_of, self._calendar.periods_of(day)))
        self._days_by_text[day.isoformat().encode()] = day, numbers
        for period in self._rolling_of(day):
            self._number_of(period)
        return numbers

    def _numbers_without_rolling(self, day: date) -> tuple[int, ...]:
        """The numbers of the periods of a date: all that a series whose days leave can have."""
        return self._numbers_of_day.get(day) or self._learn(day)

    def _rolling_of(self, day: date) -> Iterator[Period]:
        """The periods of all rolling windows that a date is in."""
        return chain.from_iterable(self._calendar.rolling_of(day, days) for days in self._calendar.rolling)

    def _numbers_of(self, day: date, series: _Series) -> tuple[int, ...]:
        """The numbers of those periods of a date that a series has."""
        key = day, series.rolling
        found = self._numbers_with_rolling.get(key)
        if found is None:
            found = self._numbers_with_rolling[key] = (
                *self._numbers_of_day.get(day, ()),
                *(
                    self._number_of(period)
                    for days in series.rolling
                    for period in self._calendar.rolling_of(day, days)
                ),
            )
        return found

    # All of it, in blocks -------------------------------------------------------------------------------------------

    @property
    def last_update_us(self) -> int:
        """When the latest version was made, microseconds since 1970; 0 without rows."""
        return self.columns.last_update_us

    @property
    def sizes(self) -> tuple[int, int, int]:
        """The numbers of rows, series (a metric and scope each) and periods, each numbered from 0."""
        return len(self.columns), len(self._series), len(self._periods)

    def series_names(self, first: int, end: int) -> list[tuple[str, str]]:
        """Metric and scope of the series from number `first` up to, but not including, `end`."""
        return [(series.metric, series.scope) for series in self._series[first:end]]

    def period_dates(self, first: int, end: int) -> list[tuple[str, str, str, str | None]]:
        """Id, first date, last date and further definition of the periods from `first` up to, but not including, `end`."""
        return [
            (period.id, *dates[:2], period.definition)
            for period, dates in zip(self._periods[first:end], self._dates[first:end], strict=True)
        ]

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
            period.start: (*self._calendar.periods_of(period.start), *self._rolling_of(period.start))
            for period in found
            if period.kind == "day"
        }
        if not known.issuperset(period.id for of_day in days.values() for period in of_day):
            raise ValueError("days belong to more periods now")
        yield
        for number, period in enumerate(found):
            self._number_of(period)
            if number % _PAUSE_DAYS == _PAUSE_DAYS - 1:
                yield
        for day in days:
            self._learn(day)
        for number, (metric, scope) in enumerate(series):
            # As `series_names` gave them.
            self._new_series(cast("RowMetric", metric), scope)
            if number % _LOOK_ROWS == _LOOK_ROWS - 1:
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
        numbers, series = list(self._numbers.values()), self._series
        places = range(first, len(self.columns))
        for place, number, of in zip(
            places, self.columns.period[first : places.stop], self.columns.series[first : places.stop], strict=True
        ):
            series[of].rows[numbers[number]] = place
            if self._periods[number].kind == CAMPAIGN:
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
        parents: list[tuple[int, ...]] = [()] * len(self._periods)
        of_some: set[int] = set()
        for day, (number, *others) in self._numbers_of_day.items():
            rolling = [self._number_of(period) for period in self._rolling_of(day)]
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
        is_day = self._is_day
        with_days: set[int] = set()
        for first in range(0, len(columns), _LOOK_CELLS):
            yield
            cells = columns.cells[first : first + _LOOK_CELLS]
            periods = columns.period[first : first + len(cells)]
            numbers = list(compress(periods, [packed is not None for packed in cells]))
            with_days.update(numbers)
            if not all(is_day[number] for number in numbers):
                for place, (number, packed) in enumerate(zip(periods, cells, strict=True), first):
                    if packed is not None and not is_day[number]:
                        self._add_month(self._series[columns.series[place]], self._periods[number], packed)
        for place, hours in self._campaign_hours.items():
            for packed in hours.values():
                units, backfilled = packed_days.sums_of(packed)
                columns.add_to((place,), units, backfilled, 0)
        with_days = {number for number in with_days if is_day[number]}
        self.newest_day = max([self.newest_day, *(self._periods[number].start for number in with_days)])

    def _add_month(self, series: _Series, month: Period, packed: bytes) -> None:
        """Adds the days of a month that have no row to all rows that contain them."""
        sums: dict[int, list[int]] = {}
        for day, units, backfilled in packed_days.in_month(packed):
            for number in self._numbers_without_rolling(month.start.replace(day=day))[1:]:
                of = sums.setdefault(number, [0, 0])
                of[0] += units
                of[1] += backfilled
        for number, (units, backfilled) in sums.items():
            self.columns.add_to((series.rows[number],), units, backfilled, 0)

    @property
    def days(self) -> Iterable[date]:
        """The dates that have, or had, counts."""
        return self._numbers_of_day.keys()

    def _is_as_published(self, day: int) -> bool:
        """Whether a day's counts by hour are those of its published version, which only the row itself has so far."""
        columns = self.columns
        return not columns.history_version[day] and columns.hours[day] == columns.published_hours[day]

    # A step ---------------------------------------------------------------------------------------------------------

    def begin_step(
        self, *, now_us: int, caught_up: bool, also: Iterable[RowKey] = ()
    ) -> Iterator[tuple[str, list[int]]]:
        """Updates the status. Returns the rows that may have changed, scope by scope; the first time, all that matter.

        A scope without rows is a pause.

        Status advances only while everything has been read: a period that ended during an outage is not over before its
        events have arrived.

        Args:
            now_us: The clock, microseconds since 1970.
            caught_up: Whether everything has been read.
            also: Keys of further rows.
        """
        self._is_first, self._started = not self._started, True
        self._is_caught_up = caught_up
        places, self._retargeted = self._retargeted, set()
        places.update(place for place in map(self.find, also) if place is not None)
        yield from telling_pauses(self._unwatched(places), _NO_ROWS)
        changed, self._touched = self._touched, {}
        for number, touched in enumerate(changed.values()):
            self._grow(touched)
            places.update(touched.rows)
            if number % _PAUSE_DAYS == _PAUSE_DAYS - 1:
                yield _NO_ROWS
        yield from telling_pauses(self._taking_stock(places), _NO_ROWS)
        advanced = (yield from telling_pauses(self._advancing(now_us, places), _NO_ROWS)) if caught_up else None
        places = yield from telling_pauses(self._beginning(places, now_us), _NO_ROWS)
        if self._is_first:
            yield from self._marked((yield from telling_pauses(self._mattering(places), _NO_ROWS)))
        elif advanced is not None and len(places) + advanced.count(1) > _FEW_ROWS:
            for place in places:
                advanced[place] = 1
            yield from self._marked(advanced)
        else:
            places.update(vectors.places(advanced or b""))
            yield from self._by_scope(places).items()

    def _unwatched(self, places: set[int]) -> Generator[None, None, None]:
        """Adds the rows that counts of days which nothing watches have changed. With targets, some of these may be watched now."""
        counts, self._changed = self._changed, []
        for number, (rows, shard, before, _, value) in enumerate(counts, 1):
            if self._targets:
                self._touch(rows[0], rows, shard, before, decode_day_count(value))
            else:
                places.update(rows)
            if number % _PAUSE_DAYS == 0:
                yield

    def _taking_stock(self, places: set[int]) -> Generator[None, None, None]:
        """Updates the inventories whose production or deliveries have changed; the first time, all. Adds their rows."""
        total = self._numbers.get(TOTAL)
        if not self._keeps_inventory or total is None:
            return
        if self._is_first:
            scopes: Iterable[str] = list(self._scopes)
        else:
            # Every unit produced or delivered changes the total of its scope.
            period, series = self.columns.period, self.columns.series
            scopes = {self._series[series[place]].scope for place in places if period[place] == total}
        for number, scope in enumerate(scopes, 1):
            produced, delivered = (
                self._count(PRODUCED_METRIC, scope, total),
                self._count(DELIVERIES_METRIC, scope, total),
            )
            if produced is not None:
                # No rule is about inventory, and no unit counts in it.
                place = self._place(INVENTORY, scope, total)
                self.columns.count[place] = produced - (delivered or 0)
                places.add(place)
            if number % _LOOK_ROWS == 0:
                yield

    def _count(self, metric: str, scope: str, number: int) -> int | None:
        """The count of a row; None if there is none, or it has never held anything."""
        series = self._scopes[scope].get(metric)
        place = series.rows.get(number) if series is not None else None
        if place is None or not (self.columns.count[place] or self.columns.version[place]):
            return None
        return self.columns.count[place]

    def _beginning(self, places: set[int], now_us: int) -> Generator[None, None, set[int]]:
        """Those changed rows whose period has begun, and the ones that were deferred until now.

        A row that is published has begun by the clock of an earlier writer, which may have been ahead of this one.
        """
        if not self._calendar.rolling:
            return places
        if now_us >= self._put_off_until_us:
            places |= self._put_off
            self._put_off, self._put_off_until_us = set(), _NEVER_US
        begins_us, period, version = self._begins_us, self.columns.period, self.columns.version
        if self._is_first:
            looked_at = 0
            for series in self._series:
                if series.rolling:
                    places |= {place for number, place in series.rows.items() if begins_us[number] > now_us}
                    looked_at += len(series.rows)
                if looked_at > _LOOK_CELLS:
                    looked_at = 0
                    yield
        later = {place for place in places if begins_us[period[place]] > now_us and not version[place]}
        if later:
            self._put_off |= later
            self._put_off_until_us = min(self._put_off_until_us, *(begins_us[period[place]] for place in later))
        return places - later

    def _mattering(self, places: Iterable[int]) -> Generator[None, None, bytearray]:
        """Mask of the rows to process in the first step: those that differ, and those that can have milestones."""
        watched = yield from self.columns.of_series([series.is_watched for series in self._series])
        marked = vectors.either((yield from self.columns.differing()), watched)
        for place in self._put_off:
            marked[place] = 0
        published = self._published_targets, self._published_controls, self._published_balances
        for place in (*places, *self._redated, *chain(*published)):
            marked[place] = 1
        return marked

    def by_metric(self, places: Iterable[int]) -> list[list[int]]:
        """Rows of one scope, split by metric."""
        by_series: dict[int, list[int]] = {}
        for place in places:
            by_series.setdefault(self.columns.series[place], []).append(place)
        return list(by_series.values())

    def begin_group(self) -> None:
        """Begins the rows of another scope; those of the previous one have been published."""
        self._loaded = {}

    def load(self, places: Iterable[int]) -> None:
        """Creates the row objects of the group."""
        for place in places:
            if not self._leaves_unseen(place):
                self._loaded[place] = self._load(place)

    def _leaves_unseen(self, place: int) -> bool:
        """Whether a row is of a day that is no longer kept and was never published: it leaves unpublished."""
        columns = self.columns
        if columns.version[place]:
            return False
        series = self._series[columns.series[place]]
        return series.kept.since > date.min and self._is_gone(series.metric, series.scope, columns.period[place])

    def group(self) -> list[Row]:
        """All rows of the group, by key."""
        if self._is_first:
            self._grow_at_first(self._loaded.values())
        return sorted(self._loaded.values(), key=_key)

    def end_step(self, *, now_us: int, caught_up: bool) -> list[Row]:
        """A step without parts: every row that may have changed."""
        self.begin_group()
        for _, places in self.begin_step(now_us=now_us, caught_up=caught_up):
            self.load(places)
        self.group()
        rows = list(self._loaded.values())
        self.finish_step()
        return rows

    def finish_step(self) -> None:
        """Ends the step, once all its rows have been loaded."""
        for _ in self.finishing_step():
            pass

    def finishing_step(self) -> Iterator[None]:
        """The same with pauses: freeing what a million days have reported before the first step takes a second."""
        yield from _let_go(self._first_cells)
        if self._is_first:
            let_go = 0
            for series in self._series:
                let_go += 1 + len(series.latest or ())
                series.latest = None
                if let_go > _LET_GO:
                    let_go = 0
                    yield
        self._first_minutes = {}
        self._is_first = False
        self._grown = {}
        self._loaded = {}
        self._first_cells = {}
        self._known_before = set()
        self._must_stay = set()

    # Days that are no longer kept -----------------------------------------------------------------------------------

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
                periods = self._periods
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
            day = self._periods[number].start
            others = self._numbers_without_rolling(day)[1:]
            month = series.rows[others[self._month_among(others)]]
            columns.cells[month] = packed_days.put_away(columns.cells[month], day.day, packed)
        del series.rows[number]
        self._latest_moves(place, len(columns) - 1)
        moved = columns.remove(place)
        if moved != place:
            of = self._series[columns.series[place]]
            # The number as it is kept once.
            of.rows[self._numbers[self._periods[columns.period[place]].id]] = place
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

    def _latest_moves(self, place: int, moved: int) -> None:
        """Moves the known latest units of a day along with its row, before the first step."""
        if self._started:
            return
        columns = self.columns
        latest = self._series[columns.series[place]].latest or {}
        for shard, _ in packed_days.counts_of(columns.cells[place]):
            latest.pop((place, shard), None)
        if moved != place and self._periods[columns.period[moved]].kind == "day":
            latest = self._series[columns.series[moved]].latest or {}
            for shard, _ in packed_days.counts_of(columns.cells[moved]):
                unit = latest.pop((moved, shard), None)
                if unit is not None:
                    latest[place, shard] = unit

    # Versions -------------------------------------------------------------------------------------------------------

    def changes(self, row: Row) -> int:
        """Number of records of a row's next version: 0 if it equals the published one or has never held anything."""
        place, columns = row.place, self.columns
        version = columns.version[place]
        if not version:
            return 1 if row.count or row.targets or row.controls else 0
        if (
            not columns.differs(place)
            and place not in self._redated
            and row.balance == self._published_balances.get(place, 0)
        ):
            targets = self._published_targets.get(place, ())
            if len(targets) == len(row.targets) and targets == tuple(
                (target.target_id, target.value, row.count >= target.value) for target in row.targets
            ):
                before = self._published_controls.get(place, _NOTHING).values()
                if [(one.source, one.count, one.difference, one.as_of) for one in before] == [
                    (control.source, control.total, row.count - control.total, control.as_of)
                    for control in row.controls
                ]:
                    return 0
        return 2 if version == 1 and not columns.history_version[place] else 1

    def publish(self, row: Row, timezone: str, updated_at: str) -> PublishedRow | None:
        """The next version of a row, or None if it equals the published one or has never held anything."""
        place = row.place
        row.grew, row.latest = False, None
        self._grown.pop(place, None)
        if not self.changes(row):
            return None
        self._go_on(place, timezone, self._micros_of(updated_at), only_backfilled=row.only_backfilled)
        row.published_count, row.published_backfilled = row.count, row.backfilled
        row.published_status = row.status
        row.published_balance = row.balance
        self._redated.pop(place, None)
        controls = compare(row.controls, row.count, self._published_controls.get(place, {}), updated_at)
        targets = tuple((target.target_id, target.value, row.count >= target.value) for target in row.targets)
        self._set_published(place, targets, {control.source: control for control in controls}, row.balance)
        return self._version(place, timezone)

    def _go_on(self, place: int, timezone: str, updated_us: int, *, only_backfilled: bool) -> None:
        """Advances the columns of a row to its next version."""
        columns = self.columns
        if columns.version[place] == 1 and not columns.history_version[place]:
            self._replaced.append(self._version(place, timezone, self._first_cells, self._first_minutes))
            columns.history_version[place] = 1
        # Backfill was known before: it completes the closed figure, and restates nothing.
        if columns.published_status[place] == _CLOSED and not only_backfilled:
            columns.restated[place] += 1
        columns.version[place] += 1
        columns.published_count[place] = columns.count[place]
        columns.published_backfilled[place] = columns.backfilled[place]
        columns.published_status[place] = columns.status[place]
        columns.published_hours[place] = columns.hours[place]
        columns.updated_us[place] = updated_us

    # Rows that nothing watches: no objects are created for them -----------------------------------------------------

    def parted(self, places: list[int]) -> tuple[list[int], list[int]]:
        """Rows that must be judged, and plain ones, which cannot have milestones and have none of the rare fields."""
        rare = (
            self._targets,
            self._controls,
            self._balances,
            self._published_targets,
            self._published_controls,
            self._published_balances,
            self._redated,
        )
        if hotpath.rows is not None:
            found: tuple[list[int], list[int]] = hotpath.rows.parted(
                self.columns, places, self._series, self._campaign_numbers, rare
            )
            return found
        series, column = self._series, self.columns.series
        more = [each for each in rare if each]
        campaigns, period = self._campaign_numbers, self.columns.period
        judged: list[int] = []
        plain: list[int] = []
        for place in places:
            is_judged = (
                series[column[place]].is_watched
                or (campaigns and period[place] in campaigns)
                or (more and any(place in each for each in more))
            )
            (judged if is_judged else plain).append(place)
        return judged, plain

    def metric(self, place: int) -> RowMetric:
        """The metric of a row."""
        return self._series[self.columns.series[place]].metric

    def changes_plain(self, place: int) -> int:
        """As `changes`, for a plain row."""
        columns = self.columns
        version = columns.version[place]
        if not version:
            return 1 if columns.count[place] and not self._leaves_unseen(place) else 0
        if not columns.differs(place):
            return 0
        return 2 if version == 1 and not columns.history_version[place] else 1

    def all_plain(self, places: list[int]) -> bool:
        """Whether rows are all plain."""
        return not self.parted(places)[0]

    def publish_plain(self, places: Iterable[int], updated_at: str) -> PlainVersions:
        """As `publish`, for plain rows."""
        updated_us = self._micros_of(updated_at)
        if hotpath.rows is not None:
            return PlainVersions(
                *hotpath.rows.publish(
                    self.columns,
                    list(places),
                    self._series,
                    self._texts,
                    self._first_cells,
                    updated_us,
                    self._text_of,
                    self._opens,
                    not self.kept.keeps_all,
                    not self._is_caught_up,
                )
            )
        columns, timezone = self.columns, self._calendar.timezone
        changed: list[int] = []
        records: list[tuple[bytes, bytes]] = []
        for place in places:
            if not (self._opens(place) if not columns.version[place] else columns.differs(place)):
                continue
            loaded = columns.backfilled[place] - columns.published_backfilled[place]
            is_loaded = loaded > 0 and loaded >= columns.count[place] - columns.published_count[place]
            self._go_on(place, timezone, updated_us, only_backfilled=is_loaded)
            changed.append(place)
            records.append(_record(self._plain_version(place, timezone, updated_at, columns.cells[place])))
        return PlainVersions(changed, records, list(map(_record, self.replaced())))

    def _opens(self, place: int) -> bool:
        """Whether a row that was never published is to be now."""
        self._open_late(place)
        return self.changes_plain(place) > 0

    def replaced(self) -> list[PublishedRow]:
        """First versions that were replaced since the last call: from now on only the history has them."""
        found, self._replaced = self._replaced, []
        return found

    def published(self, places: Iterable[int]) -> list[PublishedRecord | None]:
        """The published version of each of these rows again; None if another one is about to be published."""
        found: list[PublishedRecord | None] = []
        plain: list[int] = []
        for place in places:
            version = self.columns.version[place]
            is_another = self._balances.get(place) != self._published_balances.get(place)
            if is_another or self.columns.differs(place) or place in self._redated or not version:
                found.append(None)
            elif hotpath.rows is not None and self.all_plain([place]):
                plain.append(place)
                found.append(PublishedRecord(b"", b"", version))
            else:
                key, value = _record(self._version(place, self._calendar.timezone))
                found.append(PublishedRecord(key, value, version))
        if plain:
            made = iter(hotpath.rows.encode(self.columns, plain, self._series, self._texts, self._text_of))
            for number, each in enumerate(found):
                if each is not None and not each.key:
                    key, value = next(made)
                    found[number] = PublishedRecord(key, value, each.version)
        return found

    def mark(self, place: int, version: int, written_us: int) -> None:
        """Notes the last version of a row in the history, and when it was written, microseconds since 1970."""
        self.columns.history_version[place] = version
        self.columns.history_us[place] = written_us

    def marked_us(self, place: int) -> int:
        """When the last version in the history was written, or the first one published; 0 for never."""
        return self.columns.history_us[place]

    def not_in_history(self, since_us: int) -> Iterator[list[int]]:
        """Rows whose published version is not in the history, although it is not their first, and dates from an instant on.

        Some at a time, so that the caller can pause in between.

        Args:
            since_us: By the service's clock, microseconds since 1970.
        """
        return self.columns.not_in_history(since_us)

    def _version(
        self,
        place: int,
        timezone: str,
        earlier: Mapping[int, bytes | None] = MappingProxyType({}),
        earlier_minutes: Mapping[int, list[int]] = MappingProxyType({}),
    ) -> PublishedRow:
        """The published version; `earlier` has the packed days, or minutes of campaigns, of rows that have changed since."""
        columns = self.columns
        period = self._periods[columns.period[place]]
        by_minute = earlier_minutes.get(place) if period.kind == CAMPAIGN else None
        if by_minute is None and period.kind == CAMPAIGN:
            by_minute = packed_days.minutes_of(self._campaign_hours.get(place, _NO_HOURS))
        updated_at = self._text_of(columns.updated_us[place])
        plain = self._plain_version(place, timezone, updated_at, earlier.get(place, columns.cells[place]), by_minute)
        if not self._is_published_with_more(place):
            return plain
        targets = self._published_targets.get(place, ())
        added = {
            "balance": self._published_balances.get(place, 0),
            "targets": [RowTarget(target_id=name, value=value, reached=reached) for name, value, reached in targets],
            "controls": list(self._published_controls.get(place, _NOTHING).values()),
        }
        return WindowRow(**(full_fields(plain) | added))

    def _plain_version(
        self, place: int, timezone: str, updated_at: str, packed: bytes | None, by_minute: list[int] | None = None
    ) -> PlainRow:
        """The published version without the rare fields; `packed` has its counts by hour if it is a day."""
        columns = self.columns
        series, number = self._series[columns.series[place]], columns.period[place]
        dates = (self._redated.get(place) if self._redated else None) or self._dates[number]
        by_hour = packed_days.hours_of(packed) if self._is_day[number] else None
        # Up to fifteen keywords are passed without a dictionary, which takes a quarter of the time.
        row = PlainRow(
            metric=series.metric,
            scope=series.scope,
            period=self._periods[number].id,
            start=dates.start,
            end=dates.end,
            timezone=timezone,
            count=columns.published_count[place],
            by_hour=by_hour,
            targets=[],
            status=STATUSES[columns.published_status[place]],
            restated=columns.restated[place],
            version=columns.version[place],
            updated_at=updated_at,
            calendar=dates.calendar,
            backfilled=columns.published_backfilled[place],
        )
        if by_minute is None and dates.starts_at is None:
            return row
        return of_campaign(row, dates.starts_at, dates.ends_at, by_minute)

    def _text_of(self, instant_us: int) -> str:
        if instant_us != self._text[1]:
            self._text = utc_text(instant_us), instant_us
        return self._text[0]

    def _micros_of(self, text: str) -> int:
        if text != self._instant[0]:
            self._instant = text, micros_of_text(text) or 0
        return self._instant[1]

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

    # Rows as objects ------------------------------------------------------------------------------------------------

    def _row_at(self, place: int) -> Row:
        return self._loaded.get(place) or self._load(place)

    def _load(self, place: int) -> Row:
        columns = self.columns
        if not columns.version[place]:
            self._open_late(place)
        series = self._series[columns.series[place]]
        row = Row(series.metric, series.scope, self._periods[columns.period[place]], self, place)
        row.count, row.backfilled = columns.count[place], columns.backfilled[place]
        row.status = STATUSES[columns.status[place]]
        row.published_count = columns.published_count[place]
        row.published_backfilled = columns.published_backfilled[place]
        row.balance, row.published_balance = self._balances.get(place, 0), self._published_balances.get(place, 0)
        status = columns.published_status[place]
        row.published_status = None if status == UNPUBLISHED else STATUSES[status]
        row.targets = self._targets.get(place, ())
        row.controls = self._controls.get(place, ())
        if row.period.kind == ROLLING:
            last = self.find((row.metric, row.scope, f"day:{row.period.end.isoformat()}"))
            of_last = (columns.count[last], columns.backfilled[last]) if last is not None else (0, 0)
            row.begun_with = row.count - of_last[0], row.backfilled - of_last[1]
        if place in self._grown:
            row.grew, row.latest = True, self._grown[place]
        return row

    def _open_late(self, place: int) -> None:
        """Opens an unpublished row as long as not everything has been read."""
        columns = self.columns
        if not self._is_caught_up and columns.status[place] != _OPEN:
            # Nothing says that it was over before: for a new writer, it begins with this step.
            columns.status[place] = _OPEN
            self._note_late(place)

    def _grow(self, touched: _Touched) -> None:
        """Tells the rows which hours of a day have grown since the last step; not needed for rows that nothing watches."""
        if not (self._targets or self._series[self.columns.series[touched.rows[0]]].is_watched):
            return
        for shard, before in touched.before.items():
            if touched.after[shard] > before:
                latest = touched.latest[shard]
                for place in touched.rows:
                    self._grown[place] = _later(self._grown.get(place), latest)

    def _grow_at_first(self, rows: Iterable[Row]) -> None:
        """The same in the first step after a takeover, when the shards' earlier counts are unknown.

        Only the whole day's published count is known: if that has risen, any hour of it may be the one that grew.
        """
        for row in rows:
            if row.count <= row.published_count or row.scope in self._known_before:
                continue
            if row.period.kind != "day":
                row.grew |= row.period.id in self._known_campaigns
                if self.columns.cells[row.place] is not None:
                    self._grow_without_rows(row)
                continue
            if (
                not self.columns.version[row.place]
                and row.period.start < self.kept.of(template_of(row.scope)).known_until
            ):
                continue  # it has come back
            series = self._series[self.columns.series[row.place]]
            latest_of = series.latest or {}
            places = [series.rows[number] for number in self._numbers_of(row.period.start, series)]
            for shard, count in packed_days.counts_of(self.columns.cells[row.place]):
                if count > 0:
                    latest = latest_of.get((row.place, shard))
                    for place in places:
                        of = self._loaded.get(place)
                        if of is not None:
                            of.grew, of.latest = True, _later(of.latest, latest)

    def _grow_without_rows(self, month: Row) -> None:
        """The same for days that have no row: growth that the other days do not explain is theirs."""
        columns = self.columns
        series = self._series[columns.series[month.place]]
        risen = month.count - month.published_count
        for number, place in series.rows.items():
            period = self._periods[number]
            if period.kind == "day" and month.period.start <= period.start <= month.period.end:
                risen -= columns.count[place] - columns.published_count[place]
        if risen <= 0:
            return
        month.grew = True
        for day, _, _ in packed_days.in_month(columns.cells[month.place]):
            for number in self._numbers_without_rolling(month.period.start.replace(day=day))[1:]:
                of = self._loaded.get(series.rows[number])
                if of is not None and of.count > of.published_count:
                    # A row that was never published, although its month was, is of a window that the settings have added.
                    of.grew |= bool(columns.version[of.place] or not columns.version[month.place])

    # Which rows -----------------------------------------------------------------------------------------------------

    def _marked(self, marked: bytearray) -> Iterator[tuple[str, list[int]]]:
        looked_at = 0
        for scope, by_metric in list(self._scopes.items()):
            found: list[int] = []
            for series in by_metric.values():
                places = list(series.rows.values())
                found += compress(places, [marked[place] for place in places])
                looked_at += _LOOK_ROWS // 100 + len(places)
            if found or looked_at > _LOOK_ROWS:
                looked_at = 0
                yield scope, found

    def _by_scope(self, places: Iterable[int]) -> dict[str, list[int]]:
        if hotpath.rows is not None:
            found: dict[str, list[int]] = hotpath.rows.by_scope(self.columns, places, self._series)
            return found
        by_scope: dict[str, list[int]] = {}
        series, column = self._series, self.columns.series
        for place in sorted(places):
            by_scope.setdefault(series[column[place]].scope, []).append(place)
        return by_scope

    def _advancing(self, now_us: int, places: set[int]) -> Generator[None, None, bytearray | None]:
        """Sets status by the clock. Adds rows created after the end of their period; returns a mask of the changed ones.

        None if no period has ended.
        """
        is_due = bool(self._due and self._due[0][0] <= now_us)
        while self._due and self._due[0][0] <= now_us:
            _, number = heapq.heappop(self._due)
            closes_us = self._ends_us[number] + self._closed_after_us
            if closes_us <= now_us:
                self._levels[number] = _CLOSED
            else:
                self._levels[number] = _PROVISIONAL
                heapq.heappush(self._due, (closes_us, number))
        late, self._late = self._late, set()
        is_many, self._is_late_many = self._is_late_many, False
        if is_due or is_many:
            return (yield from self.columns.advance(self._levels))
        columns = self.columns
        for place in late:
            columns.status[place] = max(columns.status[place], self._levels[columns.period[place]])
            places.add(place)
        return None

    def _note_late(self, place: int) -> None:
        if len(self._late) < _FEW_ROWS:
            self._late.add(place)
        else:
            self._is_late_many = True

    # Making rows ----------------------------------------------------------------------------------------------------

    def _place_of_target(self, key: RowKey) -> int | None:
        metric, scope, period_id = key
        try:
            number = self._number_of(self._calendar.period(period_id))
        except ValueError:
            return None
        if self._is_gone(metric, scope, number) or not self._calendar.has(self._periods[number], template_of(scope)):
            return None
        # Events of targets and control totals are checked to name a metric.
        return self._place(cast("Metric", metric), scope, number)

    def _place(self, metric: RowMetric, scope: str, number: int) -> int:
        series = self._scopes.get(scope, _NOTHING).get(metric) or self._new_series(metric, scope)
        place = series.rows.get(number)
        if place is None:
            # The one int object that is kept for this number: a million rows share a thousand of them.
            place = self.columns.add(series.number, number, _OPEN)
            series.rows[self._numbers[self._periods[number].id]] = place
            if self._levels[number] > _OPEN:
                self._note_late(place)
        return place

    def _new_series(self, metric: RowMetric, scope: str) -> _Series:
        by_metric = self._scopes.setdefault(scope, {})
        # One string object for each, however many records name it.
        kept = next(iter(by_metric.values())).scope if by_metric else scope
        metric = ROW_METRICS[ROW_METRICS.index(metric)]
        series = by_metric[metric] = _Series(
            metric,
            kept,
            len(self._series),
            self.kept.of(template_of(kept)),
            is_watched=self._watched(metric, kept),
            rolling=self._calendar.rolling_for(template_of(kept)) if self._calendar.rolling else (),
        )
        self._series.append(series)
        return series

    def _number_of(self, period: Period) -> int:
        number = self._numbers.get(period.id)
        if number is None:
            number = self._numbers[period.id] = len(self._periods)
            self._periods.append(period)
            self._dates.append(_dates_of(period))
            self._is_day.append(period.kind == "day")
            self._texts.append(_texts_of(period, self._dates[number], self._calendar.timezone))
            if period.kind == CAMPAIGN:
                self._campaign_numbers.add(number)
            self._levels.append(_OPEN)
            self._ends_us.append(self._calendar.ends_at_us(period))
            self._begins_us.append(self._calendar.begins_at_us(period))
            heapq.heappush(self._due, (self._ends_us[number], number))
        return number


_NOTHING: Mapping[str, Any] = {}
_NO_HOURS: Mapping[int, bytes] = {}


def _dates_of(period: Period) -> _Dates:
    """The dates of a period as published in a row."""
    start, end = period.start.isoformat(), period.end.isoformat()
    if period.instants is None:
        return _Dates(start, end, period.calendar)
    return _Dates(start, end, None, period.instants.starts_at, period.instants.ends_at)


def _texts_of(period: Period, dates: _Dates, timezone: str) -> tuple[bytes, bytes, bytes, bool, bool]:
    """Of a period's rows as they are published: the id, the fields from the period to the count, those of the calendar.

    And whether it is a day, and whether its rows can be plain whoever wrote them: the rolling windows of a scope are a setting.
    """
    fields = {"period": period.id, "start": dates.start, "end": dates.end, "timezone": timezone}
    calendar = b',"calendar":' + encode_document(dates.calendar) if dates.calendar is not None else b""
    return (
        period.id.encode(),
        b"," + encode_document(fields)[1:-1] + b',"count":',
        calendar,
        period.kind == "day",
        period.kind not in {CAMPAIGN, ROLLING},
    )


def _record(row: PublishedRow) -> tuple[bytes, bytes]:
    return str(RowKey.of(row)).encode(), encode_row(row)


def _day_id(day: date) -> str:
    return f"day:{day.isoformat()}"


def _month_id(day: date) -> str:
    return f"month:{day.isoformat()[:7]}"


def _move(kept: dict[int, Any], place: int, moved: int) -> None:
    """Forgets the entry of a place, and moves that of the row which is now there to it."""
    kept.pop(place, None)
    if moved in kept:
        kept[place] = kept.pop(moved)


def _let_go(kept: dict[Any, Any]) -> Iterator[None]:
    """Removes nearly all of many entries, with pauses."""
    while len(kept) > _LET_GO:
        for key in list(islice(kept, _LET_GO)):
            del kept[key]
        yield


def _latest_of(packed: bytes, newest: Mapping[int, LatestUnit | None]) -> LatestUnit | None:
    """The latest unit of a day or an hour, if each ledger partition with units in it has published its own."""
    shards = [shard for shard, units in packed_days.counts_of(packed) if units]
    found = [unit for unit in map(newest.get, shards) if unit is not None]
    return max(found, key=_unit_order) if len(found) == len(shards) else None


def _unit_order(unit: LatestUnit) -> tuple[int, str, str, int, int, int]:
    return unit.time_us, unit.id, unit.source, unit.topic, unit.partition, unit.offset


def _later(one: LatestUnit | None, other: LatestUnit | None) -> LatestUnit | None:
    if one is None or other is None:
        return one or other
    return other if (other.time_us, other.id) > (one.time_us, one.id) else one


def _key(row: Row) -> RowKey:
    return row.key
