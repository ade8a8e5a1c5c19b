"""Window rows: day counts of all shards summed to days, months, years and holidays, campaigns by minute; status and version.

Sums are updated count by count, so a step costs only what it changes. Everything is packed in columns (`row_columns.py`,
`packed_days.py`); row objects are created for a step and dropped after it.

`Windows` is made of layers, each of which adds one matter to the one below and knows nothing of those above:

row_table.py        where each row is, and what the days say; known_periods.py has the periods
counted_rows.py     counts, added to the rows that contain them
published_rows.py   the published versions; targets, control totals, opening balances
row_versions.py     the next versions
leaving_rows.py     days that are no longer kept
row_blocks.py       all rows in blocks, for snapshots
windows.py          a step: which rows it is about, and these as objects
"""

from __future__ import annotations

from datetime import date, timedelta
from itertools import chain, compress, islice
from typing import TYPE_CHECKING, Any

from schemas import vectors
from schemas.facts import INVENTORY
from schemas.texts import template_of
from streams.domain import hotpath
from streams.domain.counts import packed_days
from streams.domain.orders.orders import DELIVERIES_METRIC, PRODUCED_METRIC
from streams.domain.pauses import telling_pauses
from streams.domain.rows.row_blocks import RowBlocks
from streams.domain.rows.row_columns import OPEN, STATUSES, UNPUBLISHED
from streams.domain.rows.row_table import FEW_ROWS, NEVER_US
from streams.domain.rows.window_row import Row
from streams.domain.time.campaigns import CAMPAIGN
from streams.domain.time.periods import ROLLING, TOTAL

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from schemas.rows import RowKey
    from streams.domain.rows.counted_rows import TouchedDay
    from streams.domain.rows.kept_days import KeptDays
    from streams.domain.time.calendar import Calendar

#: A pause, in the form of a scope without rows.
_NO_ROWS: tuple[list[int], bool] = [], True
#: Changed days to process between two pauses.
_PAUSE_DAYS = 500
#: Entries of a dictionary to free between two pauses.
_LET_GO = 10_000
#: Rows to search for marked ones between two pauses.
_LOOK_ROWS = 2_000
#: Rows to search for ones with counts between two pauses.
_LOOK_CELLS = 20_000


class Windows(RowBlocks):
    """All rows, and which of them a step has touched.

    Args:
        calendar: Which periods a date belongs to, and when they end.
        closed_after_s: Seconds after the end of a period until it is closed.
        watched: Whether a metric and scope can have milestones; otherwise the units by which its rows grew do not matter.
        keeps_inventory: Whether scopes with production have a row of what was produced and not delivered.
        kept: Which days have rows. Counts of other days are stored with their month, so that all sums stay exact.
    """

    def __init__(
        self,
        calendar: Calendar,
        closed_after_s: int,
        watched: Callable[[str, str], bool] = lambda metric, scope: True,  # noqa: ARG005 - all are
        kept: KeptDays | None = None,
        *,
        keeps_inventory: bool = False,
    ) -> None:
        super().__init__(calendar, closed_after_s, watched, kept)
        self._keeps_inventory = keeps_inventory
        self._is_first = False
        self._loaded: dict[int, Row] = {}
        #: Days of the loaded scope that leave unpublished with the first step.
        self._unseen: list[int] = []
        #: Campaigns whose growth before the first step is news, as the previous writer counted them too.
        self._known_campaigns: set[str] = set()
        #: Scopes whose units before the first step were known before, though their rows are new.
        self._known_before: set[str] = set()

    def get(self, key: RowKey) -> Row | None:
        """The row with a key, if there is one."""
        place = self.find(key)
        return self._row_at(place) if place is not None else None

    def rows_of(self, metric: str, period_id: str) -> Iterator[Row]:
        """The rows of a metric and period in all scopes, during a step."""
        return (self._row_at(place) for _, place in self._places_of(metric, period_id))

    def know_before(self, scope: str) -> None:
        """Notes that counts of a scope before the first step are no news: they were counted in another scope."""
        self._known_before.add(scope)

    def know_campaigns(self, period_ids: Iterable[str]) -> None:
        """Notes campaigns whose growth before the first step is news; that of others was counted before."""
        self._known_campaigns.update(period_ids)

    # A step ---------------------------------------------------------------------------------------------------------

    def begin_step(
        self, *, now_us: int, caught_up: bool, also: Iterable[RowKey] = (), at_once: int = 1
    ) -> Iterator[tuple[list[int], bool]]:
        """Updates the status. Returns the rows that may have changed, scope by scope; the first time, all that matter.

        Whether they are known to be plain comes with them. Those of several scopes that are may come together; no rows are a pause.

        Status advances only while everything has been read: a period that ended during an outage is not over before its
        events have arrived.

        Args:
            now_us: The clock, microseconds since 1970.
            caught_up: Whether everything has been read.
            also: Keys of further rows.
            at_once: Most plain rows of several scopes that come together.
        """
        self._is_first, self._started = not self._started, True
        self._is_caught_up = caught_up
        places, self._retargeted = self._retargeted, set()
        places.update(place for place in map(self.find, also) if place is not None)
        yield from telling_pauses(self._hear(), _NO_ROWS)
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
        elif advanced is not None and len(places) + advanced.count(1) > FEW_ROWS:
            for place in places:
                advanced[place] = 1
            yield from self._marked(advanced)
        else:
            places.update(vectors.places(advanced or b""))
            yield from self._together(self._by_scope(places).values(), at_once)

    def _unwatched(self, places: set[int]) -> Generator[None, None, None]:
        """Adds the rows that counts of days which nothing watches have changed. With targets, some of these may be watched now."""
        counts, self._changed = self._changed, []
        for number, (rows, shard, before, after) in enumerate(counts, 1):
            if self._targets:
                self._touch(rows[0], rows, shard, before, after)
            else:
                places.update(rows)
            if number % _PAUSE_DAYS == 0:
                yield

    def _taking_stock(self, places: set[int]) -> Generator[None, None, None]:
        """Updates the inventories whose production or deliveries have changed; the first time, all. Adds their rows."""
        total = self._known.numbers.get(TOTAL)
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

    def _beginning(self, places: set[int], now_us: int) -> Generator[None, None, set[int]]:
        """Those changed rows whose period has begun, and the ones that were deferred until now.

        A row that is published has begun by the clock of an earlier writer, which may have been ahead of this one.
        """
        if not self._calendar.rolling:
            return places
        if now_us >= self._put_off_until_us:
            places |= self._put_off
            self._put_off, self._put_off_until_us = set(), NEVER_US
        begins_us, period, version = self._known.begins_us, self.columns.period, self.columns.version
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

    def begin_group(self) -> None:
        """Begins the rows of another scope; those of the previous one have been published."""
        self._loaded, self._unseen = {}, []

    def load(self, places: Iterable[int]) -> None:
        """Creates the row objects of the group."""
        for place in places:
            if not self._leaves_unseen(place):
                self._loaded[place] = self._load(place)
            elif self._is_first:
                self._unseen.append(place)

    def forget(self, places: Iterable[int]) -> None:
        """Forgets the objects of rows, which have been judged, and what they grew by; the rows are about to be published."""
        for place in places:
            self._loaded.pop(place, None)
            self._grown.discard(place)

    def group(self) -> list[Row]:
        """All rows of the group, by key."""
        if self._is_first:
            self._grow_at_first(self._loaded.values())
        return sorted(self._loaded.values(), key=_key)

    def end_step(self, *, now_us: int, caught_up: bool) -> list[Row]:
        """A step without parts: every row that may have changed."""
        self.begin_group()
        for places, _ in self.begin_step(now_us=now_us, caught_up=caught_up):
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
        self._first_minutes = {}
        self._is_first = False
        self._grown = set()
        self._loaded = {}
        self._first_cells = {}
        self._known_before = set()
        self._must_stay = set()

    # Rows as objects ------------------------------------------------------------------------------------------------

    def _row_at(self, place: int) -> Row:
        return self._loaded.get(place) or self._load(place)

    def _load(self, place: int) -> Row:
        columns = self.columns
        if not columns.version[place]:
            self._open_late(place)
        series = self._series[columns.series[place]]
        row = Row(series.metric, series.scope, self._known.periods[columns.period[place]], self, place)
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
        row.grew = place in self._grown
        return row

    def _grow(self, touched: TouchedDay) -> None:
        """Tells the rows which hours of a day have grown since the last step; not needed for rows that nothing watches."""
        if not (self._targets or self._series[self.columns.series[touched.rows[0]]].is_watched):
            return
        if any(touched.after[shard] > before for shard, before in touched.before.items()):
            self._grown.update(touched.rows)

    def _grow_at_first(self, rows: Iterable[Row]) -> None:
        """The same in the first step after a takeover, when the shards' earlier counts are unknown.

        Only the whole day's published count is known: if that has risen, any hour of it may be the one that grew.
        """
        for row in rows:
            self._add(row)
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
            self._grow_with(row.place)
        for place in self._unseen:
            self._grow_with(place)

    def _grow_with(self, place: int) -> None:
        """Tells the rows that a day in them has grown, if it has any units."""
        columns = self.columns
        series = self._series[columns.series[place]]
        if series.scope in self._known_before or not any(n > 0 for _, n in packed_days.counts_of(columns.cells[place])):
            return
        for number in self._known.of_series(self._known.periods[columns.period[place]].start, series.rolling):
            of = self._loaded.get(series.rows[number])
            if of is not None:
                of.grew = True

    def _add(self, row: Row) -> None:
        """Finds out whether a row is added in the first step: units of it were counted before, and it was not, or otherwise."""
        if row.scope in self._known_before or (
            row.period.kind == CAMPAIGN and row.period.id not in self._known_campaigns
        ):
            row.is_added, row.begun_with = True, (row.count, row.backfilled)
        elif not self.columns.version[row.place] and row.period.kind not in ("day", CAMPAIGN):
            known = self._counted_before(row)
            if known[0] > 0:
                row.is_added, row.begun_with = True, known

    def _counted_before(self, row: Row) -> tuple[int, int]:
        """The units in a row, and those loaded as history, that rows of its days said before the first step."""
        columns, series, known = self.columns, self._series[self.columns.series[row.place]], self._known
        first, last = row.period.start, min(row.period.end, self.newest_day)
        if row.period.kind == ROLLING:
            # Days before its last one are in rolling windows that were published.
            day = self.find((row.metric, row.scope, f"day:{row.period.end.isoformat()}"))
            if day is None or columns.published_status[day] in {UNPUBLISHED, OPEN}:
                return 0, 0
        numbers: Iterable[int]
        if (last - first).days < len(series.rows):
            days = (first + timedelta(days=number) for number in range((last - first).days + 1))
            numbers = (known.numbers_of_day[day][0] for day in days if day in known.numbers_of_day)
        else:
            of = ((number, known.periods[number]) for number in series.rows)
            numbers = (number for number, period in of if period.kind == "day" and first <= period.start <= last)
        places = [series.rows[number] for number in numbers if number in series.rows]
        units = sum(columns.published_count[place] for place in places)
        loaded = sum(columns.published_backfilled[place] for place in places)
        if series.kept.since > date.min:
            for number, place in series.rows.items():
                month = known.periods[number]
                if month.kind == "month" and columns.version[place]:
                    for day_of_month, count, backfilled in packed_days.in_month(columns.cells[place]):
                        if first <= month.start.replace(day=day_of_month) <= last:
                            units, loaded = units + count, loaded + backfilled
        return units, loaded

    def _grow_without_rows(self, month: Row) -> None:
        """The same for days that have no row: growth that the other days do not explain is theirs."""
        columns = self.columns
        series = self._series[columns.series[month.place]]
        risen = month.count - month.published_count
        for number, place in series.rows.items():
            period = self._known.periods[number]
            if period.kind == "day" and month.period.start <= period.start <= month.period.end:
                risen -= columns.count[place] - columns.published_count[place]
        if risen <= 0:
            return
        month.grew = True
        for day, _, _ in packed_days.in_month(columns.cells[month.place]):
            for number in self._known.of_day(month.period.start.replace(day=day))[1:]:
                of = self._loaded.get(series.rows[number])
                if of is not None and of.count > of.published_count:
                    # A row that was never published, although its month was, is of a window that the settings have added.
                    of.grew |= bool(columns.version[of.place] or not columns.version[month.place])

    # Which rows -----------------------------------------------------------------------------------------------------

    def _together(self, scopes: Iterable[list[int]], at_once: int) -> Iterator[tuple[list[int], bool]]:
        """The rows of scopes, together as far as they are plain."""
        several: list[list[int]] = []
        rows = 0
        for places in scopes:
            if several and rows + len(places) > at_once:
                yield from self._parted_scopes(several)
                several, rows = [], 0
            several.append(places)
            rows += len(places)
        yield from self._parted_scopes(several)

    def _parted_scopes(self, scopes: list[list[int]]) -> Iterator[tuple[list[int], bool]]:
        """The rows of scopes, those without any that must be judged together."""
        to_judge = set(self.parted([place for places in scopes for place in places])[0])
        plain: list[int] = []
        for places in scopes:
            if to_judge and not to_judge.isdisjoint(places):
                if plain:
                    yield plain, True
                    plain = []
                yield places, False
            else:
                plain += places
        if plain:
            yield plain, True

    def _marked(self, marked: bytearray) -> Iterator[tuple[list[int], bool]]:
        looked_at = 0
        for by_metric in list(self._scopes.values()):
            found: list[int] = []
            for series in by_metric.values():
                places = list(series.rows.values())
                found += compress(places, [marked[place] for place in places])
                looked_at += _LOOK_ROWS // 100 + len(places)
            if found or looked_at > _LOOK_ROWS:
                looked_at = 0
                yield found, False

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
        is_due = self._known.advance(now_us)
        late, self._late = self._late, set()
        is_many, self._is_late_many = self._is_late_many, False
        if is_due or is_many:
            return (yield from self.columns.advance(self._known.levels))
        columns = self.columns
        for place in late:
            columns.status[place] = max(columns.status[place], self._known.levels[columns.period[place]])
            places.add(place)
        return None


def _let_go(kept: dict[Any, Any]) -> Iterator[None]:
    """Removes nearly all of many entries, with pauses."""
    while len(kept) > _LET_GO:
        for key in list(islice(kept, _LET_GO)):
            del kept[key]
        yield


def _key(row: Row) -> RowKey:
    return row.key
