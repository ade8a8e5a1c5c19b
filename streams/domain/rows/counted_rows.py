"""Counts of days, and of hours of campaigns, added to every window row that contains them."""

from __future__ import annotations

from datetime import date
from itertools import chain
from typing import TYPE_CHECKING

from schemas.facts import METRICS
from streams.domain import hotpath
from streams.domain.counts import packed_days
from streams.domain.counts.nth import InCell
from streams.domain.pauses import whole
from streams.domain.rows.row_columns import OPEN
from streams.domain.rows.row_table import NOTHING, RowTable, latest_of
from streams.domain.time.campaigns import CAMPAIGN, MINUTES

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping

    from schemas.counts import CampaignHour
    from schemas.facts import DayCount, LatestUnit, Metric, RowMetric
    from schemas.rows import RowKey
    from streams.domain.rows.kept_days import KeptDays
    from streams.domain.rows.row_table import Series, ToldCount
    from streams.domain.time.calendar import Calendar
    from streams.domain.time.periods import Period

#: Counts to take note of between two pauses.
_PAUSE_COUNTS = 500
NO_HOURS: Mapping[int, bytes] = {}


class TouchedDay:
    """A day that this step has changed: the rows that contain it (its own first), and its shards' counts before."""

    __slots__ = ("after", "before", "rows")

    def __init__(self, rows: tuple[int, ...]) -> None:
        self.rows = rows
        self.before: dict[int, int] = {}
        self.after: dict[int, int] = {}


class CountedRows(RowTable):
    """Rows that counts change; see `RowTable`. What a step is about is noted until it begins."""

    def __init__(
        self, calendar: Calendar, closed_after_s: int, watched: Callable[[str, str], bool], kept: KeptDays | None
    ) -> None:
        super().__init__(calendar, closed_after_s, watched, kept)
        #: The latest business date with a count.
        self.newest_day = date.min
        #: By place, or by series and period if the day has no row.
        self._touched: dict[int | tuple[int, int], TouchedDay] = {}
        #: What this step has changed of days that nothing watches: the rows that contain the day, shard, its units before and now.
        self._changed: list[tuple[tuple[int, ...], int, int, int]] = []
        #: The same of days that may be watched, to be taken by `_hear`.
        self._heard: list[tuple[tuple[int, ...], int, int, int]] = []
        #: Days that have changed since their first version, which only the row itself has → its counts by hour.
        self._first_cells: dict[int, bytes | None] = {}
        #: Rows of campaigns → their packed hours by number; and the minutes of those changed since their first version.
        self._campaign_hours: dict[int, dict[int, bytes]] = {}
        self._first_minutes: dict[int, list[int]] = {}
        #: Rows of campaigns → the last hour with a count, and the counts in it, as in `Series.newest`.
        self._newest_of_campaigns: dict[int, tuple[int, dict[int, ToldCount | None]]] = {}
        #: Whether the first step has begun.
        self._started = False

    def update(self, shard: int, metric: Metric, scope: str, day: date, count: DayCount) -> None:
        """Replaces one shard's count of a day."""
        self.newest_day = max(self.newest_day, day)
        numbers = self._known.numbers_of_day.get(day)
        if numbers is None:
            numbers = self._known.learn(day)
        series = self._scopes.get(scope, NOTHING).get(metric) or self._new_series(metric, scope)
        if series.rolling:
            numbers = self._known.of_series(day, series.rolling)
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
            whole(self._hear())
            self._touch(own, places, shard, before, count.count)

    def _update_without_row(self, shard: int, series: Series, day: date, count: DayCount) -> None:
        """The same for a day that is no longer kept: only the longer periods that contain it have rows."""
        own, *others = self._known.of_day(day)
        places = tuple([self._place(series.metric, series.scope, number) for number in others])
        month, cells = places[self._known.month_among(others)], self.columns.cells
        replaced = packed_days.replace(packed_days.taken_out(cells[month], day.day), shard, count)
        cells[month] = packed_days.put_away(cells[month], day.day, replaced.packed)
        columns = self.columns
        columns.add_to(places, count.count - replaced.units, count.backfilled - replaced.backfilled, 0)
        self._note_newest(series, day, shard, count)
        if self._started:
            self._touch((series.number, own), places, shard, replaced.units, count.count)

    @staticmethod
    def _note_newest(series: Series, day: date, shard: int, count: DayCount) -> None:
        if series.is_watched and day >= series.newest_day:
            if day > series.newest_day:
                series.newest_day, series.newest = day, {}
            series.newest[shard] = count if count.is_newest else None

    def _is_as_published(self, day: int) -> bool:
        """Whether a day's counts by hour are those of its published version, which only the row itself has so far."""
        columns = self.columns
        return not columns.history_version[day] and columns.hours[day] == columns.published_hours[day]

    def _touch(self, key: int | tuple[int, int], rows: tuple[int, ...], shard: int, before: int, after: int) -> None:
        touched = self._touched.get(key)
        if touched is None:
            touched = self._touched[key] = TouchedDay(rows)
        touched.before.setdefault(shard, before)
        touched.after[shard] = after

    def _hear(self) -> Generator[None, None, None]:
        """Takes note of counts of watched days that were taken together; with pauses."""
        heard = list(self._heard)
        # Not another list: `take` goes on with this one after a count that is not plain.
        self._heard.clear()
        for number, (rows, shard, before, after) in enumerate(heard, 1):
            self._touch(rows[0], rows, shard, before, after)
            if number % _PAUSE_COUNTS == 0:
                yield

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
            self._known.days_by_text,
            self._first_cells,
            self._changed if self._started else None,
            self._heard if self._started else None,
            counts,
            made,
            self._learn_text,
            self._learn_series,
            others,
        )
        periods = self.columns.period
        for place in made:
            if self._known.levels[periods[place]] > OPEN:
                self._note_late(place)
        if newest is not None:
            self.newest_day = max(self.newest_day, newest)

    def _learn_text(self, text: bytes) -> tuple[date, tuple[int, ...]] | None:
        """A date as in a key, and the numbers of its periods; None if it is none."""
        try:
            self._known.of_day(date.fromisoformat(text.decode()))
        except ValueError:
            return None
        return self._known.days_by_text.get(text)

    def _learn_series(self, metric: RowMetric, scope: str) -> Series | None:
        """The series of a metric and scope as in a key; None if there is no such metric."""
        return self._new_series(metric, scope) if metric in METRICS else None

    def changed(self) -> Iterator[tuple[RowMetric, str, Period]]:
        """Metric, scope and period of the rows in which a day has changed since the last step."""
        columns = self.columns
        noted = chain(self._changed, self._heard)
        touched = chain((touched.rows for touched in self._touched.values()), (rows for rows, *_ in noted))
        for place in set(chain.from_iterable(touched)):
            series = self._series[columns.series[place]]
            yield series.metric, series.scope, self._known.periods[columns.period[place]]

    # Campaigns ------------------------------------------------------------------------------------------------------

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
                newest[shard] = count if count.is_newest else None
                self._newest_of_campaigns[place] = hour.hour, newest
        if self._started:
            # No series has a negative number.
            self._touch((-1 - place, hour.hour), (place,), shard, replaced.units, count.count)

    def _place_of_campaign(self, metric: Metric, scope: str, name: str) -> int | None:
        period_id = f"{CAMPAIGN}:{name}"
        number = self._known.numbers.get(period_id)
        if number is None:
            try:
                number = self._known.number_of(self._calendar.period(period_id))
            except ValueError:
                return None
        return self._place(metric, scope, number)

    def campaign_count(self, shard: int, metric: str, scope: str, hour: CampaignHour) -> DayCount:
        """One ledger partition's count of an hour of a campaign, without its latest unit; zero if there is no row."""
        place = self.find((metric, scope, f"{CAMPAIGN}:{hour.campaign}"))
        packed = self._campaign_hours.get(place, NO_HOURS).get(hour.hour) if place is not None else None
        return packed_days.of_shard(packed, shard, MINUTES)

    def minute_of_unit(self, key: RowKey, number: int) -> InCell | None:
        """The minute, from its start, of the N-th unit (from 1) of a campaign; None if there are not that many."""
        place = self.find(key)
        for hour, packed in sorted(self._campaign_hours.get(place, NO_HOURS).items()) if place is not None else ():
            units = sum(units for _, units in packed_days.counts_of(packed))
            if number > units:
                number -= units
                continue
            for minute, units in enumerate(packed_days.hours_of(packed, MINUTES)):
                if number <= units:
                    return InCell(hour * MINUTES + minute, number, units)
                number -= units
        return None

    def newest_unit_of_campaign(self, key: RowKey) -> LatestUnit | None:
        """The latest unit of a campaign, if the ledger partitions have published which it is."""
        place = self.find(key)
        if place is None:
            return None
        hours = self._campaign_hours.get(place, NO_HOURS)
        newest_hour, newest = self._newest_of_campaigns.get(place, (-1, {}))
        with_units = [
            hour for hour, packed in hours.items() if any(units for _, units in packed_days.counts_of(packed))
        ]
        if max(with_units, default=None) != newest_hour:
            return None
        return latest_of(hours[newest_hour], newest)
