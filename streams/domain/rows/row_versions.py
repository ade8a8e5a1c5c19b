"""The next version of each window row that has changed, as an object or, for rows that nothing watches, as a record."""

from __future__ import annotations

from datetime import date
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from schemas.codec import encode_row
from schemas.instants import utc_text
from schemas.outputs import RowTarget, WindowRow
from schemas.rows import PlainRow, RowKey, full_fields, of_campaign
from streams.domain import hotpath
from streams.domain.announced.controls import compare
from streams.domain.counts import packed_days
from streams.domain.rows.counted_rows import NO_HOURS
from streams.domain.rows.published_rows import PublishedRows
from streams.domain.rows.row_columns import CLOSED, OPEN, STATUSES
from streams.domain.rows.row_table import NOTHING
from streams.domain.time.campaigns import CAMPAIGN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from schemas.rows import PublishedRow
    from streams.domain.rows.kept_days import KeptDays
    from streams.domain.rows.window_row import Row
    from streams.domain.time.calendar import Calendar


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


class RowVersions(PublishedRows):
    """Rows of which the next version can be made; see `PublishedRows`."""

    def __init__(
        self, calendar: Calendar, closed_after_s: int, watched: Callable[[str, str], bool], kept: KeptDays | None
    ) -> None:
        super().__init__(calendar, closed_after_s, watched, kept)
        self._replaced: list[PublishedRow] = []
        #: Rows that have grown in this step.
        self._grown: set[int] = set()
        #: Whether this step has read everything; until then no period ends.
        self._is_caught_up = False
        #: The instant that was formatted last: all rows of a step have the same.
        self._text = "", 0

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
                before = self._published_controls.get(place, NOTHING).values()
                if [(one.source, one.count, one.difference, one.as_of) for one in before] == [
                    (control.source, control.total, row.count - control.total, control.as_of)
                    for control in row.controls
                ]:
                    return 0
        return 2 if version == 1 and not columns.history_version[place] else 1

    def publish(self, row: Row, timezone: str, updated_at: str) -> PublishedRow | None:
        """The next version of a row, or None if it equals the published one or has never held anything."""
        place = row.place
        row.grew = False
        self._grown.discard(place)
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
        if columns.published_status[place] == CLOSED and not only_backfilled:
            columns.restated[place] += 1
        columns.version[place] += 1
        columns.published_count[place] = columns.count[place]
        columns.published_backfilled[place] = columns.backfilled[place]
        columns.published_status[place] = columns.status[place]
        columns.published_hours[place] = columns.hours[place]
        columns.updated_us[place] = updated_us

    # Rows that nothing watches: no objects are created for them -----------------------------------------------------

    def parted(self, places: list[int], *, are_judged: bool = False) -> tuple[list[int], list[int]]:
        """Rows that must be judged, and plain ones, which cannot have milestones and have none of the rare fields.

        If they have been judged, only the fields matter.
        """
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
                self.columns, places, self._series, self._known.campaigns, rare, are_judged
            )
            return found
        series, column = self._series, self.columns.series
        more = [each for each in rare if each]
        campaigns, period = self._known.campaigns, self.columns.period
        judged: list[int] = []
        plain: list[int] = []
        for place in places:
            is_judged = (
                (series[column[place]].is_watched and not are_judged)
                or (campaigns and period[place] in campaigns)
                or (more and any(place in each for each in more))
            )
            (judged if is_judged else plain).append(place)
        return judged, plain

    def all_plain(self, places: list[int]) -> bool:
        """Whether rows are all plain."""
        return not self.parted(places)[0]

    def changes_plain(self, place: int) -> int:
        """As `changes`, for a plain row."""
        columns = self.columns
        version = columns.version[place]
        if not version:
            return 1 if columns.count[place] and not self._leaves_unseen(place) else 0
        if not columns.differs(place):
            return 0
        return 2 if version == 1 and not columns.history_version[place] else 1

    def publish_plain(self, places: Iterable[int], updated_at: str) -> PlainVersions:
        """As `publish`, for plain rows."""
        updated_us = self._micros_of(updated_at)
        if hotpath.rows is not None:
            return PlainVersions(
                *hotpath.rows.publish(
                    self.columns,
                    list(places),
                    self._series,
                    self._known.texts,
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

    def _open_late(self, place: int) -> None:
        """Opens an unpublished row as long as not everything has been read."""
        columns = self.columns
        if not self._is_caught_up and columns.status[place] != OPEN:
            # Nothing says that it was over before: for a new writer, it begins with this step.
            columns.status[place] = OPEN
            self._note_late(place)

    def _leaves_unseen(self, place: int) -> bool:
        """Whether a row is of a day that is no longer kept and was never published: it leaves unpublished."""
        columns = self.columns
        if columns.version[place]:
            return False
        series = self._series[columns.series[place]]
        return series.kept.since > date.min and self._is_gone(series.metric, series.scope, columns.period[place])

    # What is published ----------------------------------------------------------------------------------------------

    def replaced(self) -> list[PublishedRow]:
        """First versions that were replaced since the last call: from now on only the history has them."""
        found, self._replaced = self._replaced, []
        return found

    def published(self, places: Iterable[int]) -> list[PublishedRecord | None]:
        """The published version of each of these rows again; None if another one is about to be published."""
        columns = self.columns
        found: list[PublishedRecord | None] = []
        places = list(places)
        # Whether rules watch them does not matter: they have been judged.
        plain = set(self.parted(places, are_judged=True)[1]) if hotpath.rows is not None else ()
        of_plain: list[int] = []
        for place in places:
            version = columns.version[place]
            if columns.differs(place) or not version:
                found.append(None)
            elif place in plain:
                of_plain.append(place)
                found.append(PublishedRecord(b"", b"", version))
            elif self._balances.get(place) != self._published_balances.get(place) or place in self._redated:
                found.append(None)
            else:
                key, value = _record(self._version(place, self._calendar.timezone))
                found.append(PublishedRecord(key, value, version))
        if of_plain:
            made = iter(hotpath.rows.encode(columns, of_plain, self._series, self._known.texts, self._text_of))
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
        period = self._known.periods[columns.period[place]]
        by_minute = earlier_minutes.get(place) if period.kind == CAMPAIGN else None
        if by_minute is None and period.kind == CAMPAIGN:
            by_minute = packed_days.minutes_of(self._campaign_hours.get(place, NO_HOURS))
        updated_at = self._text_of(columns.updated_us[place])
        plain = self._plain_version(place, timezone, updated_at, earlier.get(place, columns.cells[place]), by_minute)
        if not self._is_published_with_more(place):
            return plain
        targets = self._published_targets.get(place, ())
        added = {
            "balance": self._published_balances.get(place, 0),
            "targets": [RowTarget(target_id=name, value=value, reached=reached) for name, value, reached in targets],
            "controls": list(self._published_controls.get(place, NOTHING).values()),
        }
        return WindowRow(**(full_fields(plain) | added))

    def _plain_version(
        self, place: int, timezone: str, updated_at: str, packed: bytes | None, by_minute: list[int] | None = None
    ) -> PlainRow:
        """The published version without the rare fields; `packed` has its counts by hour if it is a day."""
        columns = self.columns
        series, number = self._series[columns.series[place]], columns.period[place]
        dates = (self._redated.get(place) if self._redated else None) or self._known.dates[number]
        by_hour = packed_days.hours_of(packed) if self._known.is_day[number] else None
        # Up to fifteen keywords are passed without a dictionary, which takes a quarter of the time.
        row = PlainRow(
            metric=series.metric,
            scope=series.scope,
            period=self._known.periods[number].id,
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


def _record(row: PublishedRow) -> tuple[bytes, bytes]:
    return str(RowKey.of(row)).encode(), encode_row(row)
