"""Window rows: day counts of all shards summed to days, months, years and holidays, with status and version.

Sums are kept up to date cell by cell, so a step costs only what it changes.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, cast

from schemas.outputs import RowControl, RowTarget, WindowRow, WindowStatus
from schemas.rows import RowKey
from streams.domain.controls import compare

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date

    from schemas.counts import DayKey
    from schemas.facts import DayCount, LatestUnit, Metric
    from streams.domain.calendar import Calendar, Period
    from streams.domain.controls import Control
    from streams.domain.rules import Target

_NO_HOURS = (0,) * 24
_MICROSECONDS = 1_000_000


class Row:
    """One window of one metric and scope: its current and its last published state.

    What was published is the state before the step, which milestones are judged by; `publish` ends the step.
    """

    __slots__ = (
        "_published_content",
        "_published_controls",
        "backfilled",
        "by_hour",
        "controls",
        "count",
        "grew",
        "key",
        "latest",
        "metric",
        "period",
        "published_backfilled",
        "published_count",
        "published_status",
        "restated",
        "scope",
        "status",
        "targets",
        "version",
    )

    def __init__(self, metric: Metric, scope: str, period: Period) -> None:
        self.key = RowKey(metric, scope, period.id)
        self.metric = metric
        self.scope = scope
        self.period = period
        self.count = 0
        self.backfilled = 0
        self.by_hour = list(_NO_HOURS) if period.kind == "day" else None
        self.targets: tuple[Target, ...] = ()
        self.controls: tuple[Control, ...] = ()
        self.status: WindowStatus = "open"
        self.version = 0
        self.restated = 0
        self.published_count = 0
        self.published_backfilled = 0
        self.published_status: WindowStatus | None = None
        self._published_content: tuple[object, ...] | None = None
        self._published_controls: dict[str, RowControl] = {}
        #: Whether a day in it grew in this step, and the latest unit of the cells that did.
        self.grew = False
        self.latest: LatestUnit | None = None

    @property
    def ordering(self) -> tuple[date, date, str]:
        """Periods of one window in the order of time."""
        return self.period.start, self.period.end, self.period.id

    @property
    def is_over(self) -> bool:
        """Whether the period has ended and everything from before its end has been read."""
        return self.status != "open"

    @property
    def was_over(self) -> bool:
        """Whether that was so before this step."""
        return self.published_status not in (None, "open")

    @property
    def only_backfilled(self) -> bool:
        """Whether this step added history being loaded, and nothing else on balance."""
        backfilled = self.backfilled - self.published_backfilled
        return backfilled > 0 and self.count - self.published_count <= backfilled

    def restore(self, row: WindowRow) -> None:
        """Restores the published state."""
        self.version = row.version
        self.restated = row.restated
        self.status = self.published_status = row.status
        self.published_count = row.count
        self.published_backfilled = row.backfilled
        self._published_content = (
            row.count,
            row.backfilled,
            tuple(row.by_hour) if row.by_hour is not None else None,
            tuple((target.target_id, target.value, target.reached) for target in row.targets),
            row.status,
            row.start,
            row.end,
            row.calendar,
            tuple((control.source, control.count, control.difference, control.as_of) for control in row.controls),
        )
        self._published_controls = {control.source: control for control in row.controls}

    def add(self, count: int, backfilled: int) -> None:
        """Adds a difference to the sums."""
        self.count += count
        self.backfilled += backfilled

    def grow(self, latest: LatestUnit | None) -> None:
        """Notes that a cell of a day in it has grown, and by which unit."""
        self.grew = True
        if latest is not None and (
            self.latest is None or (latest.time_us, latest.id) > (self.latest.time_us, self.latest.id)
        ):
            self.latest = latest

    def publish(self, timezone: str, updated_at: str) -> WindowRow | None:
        """Ends the step: the next version, or None when it equals what is published or has never held anything."""
        self.grew, self.latest = False, None
        content = self._content()
        if content == self._published_content or not (self.version or self.count or self.targets or self.controls):
            return None
        if self.published_status == "closed":
            self.restated += 1
        self.version += 1
        self._published_content = content
        self.published_count, self.published_backfilled = self.count, self.backfilled
        self.published_status = self.status
        controls = compare(self.controls, self.count, self._published_controls, updated_at)
        self._published_controls = {control.source: control for control in controls}
        return WindowRow(
            metric=self.metric,
            scope=self.scope,
            period=self.period.id,
            start=self.period.start.isoformat(),
            end=self.period.end.isoformat(),
            timezone=timezone,
            count=self.count,
            by_hour=list(self.by_hour) if self.by_hour is not None else None,
            targets=[
                RowTarget(target_id=target.target_id, value=target.value, reached=self.count >= target.value)
                for target in self.targets
            ],
            status=self.status,
            restated=self.restated,
            version=self.version,
            updated_at=updated_at,
            calendar=self.period.calendar,
            backfilled=self.backfilled,
            controls=controls,
        )

    def _content(self) -> tuple[object, ...]:
        return (
            self.count,
            self.backfilled,
            tuple(self.by_hour) if self.by_hour is not None else None,
            tuple((target.target_id, target.value, self.count >= target.value) for target in self.targets),
            self.status,
            self.period.start.isoformat(),
            self.period.end.isoformat(),
            self.period.calendar,
            tuple(
                (control.source, control.total, self.count - control.total, control.as_of) for control in self.controls
            ),
        )


class _Day:
    """One metric, scope and date: the shards' counts, and the rows that contain it (its own first)."""

    __slots__ = ("before", "rows", "shards")

    def __init__(self, rows: tuple[Row, ...]) -> None:
        self.rows = rows
        self.shards: dict[int, DayCount] = {}
        #: Counts before this step of the shards that have changed in it.
        self.before: dict[int, int] = {}

    def replace(self, shard: int, count: DayCount) -> None:
        """Takes a shard's count in place of its earlier one, here and in the rows."""
        old = self.shards.get(shard)
        self.shards[shard] = count
        self.before.setdefault(shard, old.count if old is not None else 0)
        added = count.count - (old.count if old is not None else 0)
        backfilled = count.backfilled - (old.backfilled if old is not None else 0)
        for row in self.rows:
            row.add(added, backfilled)
        own = self.rows[0]
        if own.by_hour is not None:
            hours_before = old.by_hour if old is not None else _NO_HOURS
            hours = zip(own.by_hour, count.by_hour, hours_before, strict=True)
            own.by_hour = [total + now - before for total, now, before in hours]

    def end_step(self, *, first: bool) -> None:
        """Passes on to the rows which cells have grown since the last step.

        In the first step after a takeover the shards' earlier counts are unknown. What is published is known only of
        the whole day: when that has risen, each cell of it may be the one that grew.
        """
        if first:
            risen = self.rows[0].count > self.rows[0].published_count
            grown = [count for count in self.shards.values() if risen and count.count > 0]
        else:
            grown = [self.shards[shard] for shard, before in self.before.items() if self.shards[shard].count > before]
        for count in grown:
            for row in self.rows:
                row.grow(count.latest)
        self.before.clear()


class Windows:
    """All rows, and which of them a step has touched.

    Args:
        calendar: Which periods a date belongs to, and when they end.
        closed_after_s: Seconds after the end of a period until it is closed.
    """

    def __init__(self, calendar: Calendar, closed_after_s: int) -> None:
        self._calendar = calendar
        self._closed_after_us = closed_after_s * _MICROSECONDS
        self._rows: dict[RowKey, Row] = {}
        self._days: dict[DayKey, _Day] = {}
        self._touched: dict[DayKey, _Day] = {}
        #: Rows that have targets, and rows whose targets have changed in this step.
        self._targeted: set[RowKey] = set()
        self._retargeted: dict[RowKey, Row] = {}
        #: (instant, row key) of each change of status to come.
        self._due: list[tuple[int, RowKey]] = []
        self._ends_us: dict[str, int] = {}
        self._started = False

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, key: RowKey) -> Row | None:
        """The row with a key, if there is one."""
        return self._rows.get(key)

    def restore(self, row: WindowRow) -> None:
        """Restores a published row; that of a holiday that is no longer counted stays as published."""
        try:
            period = self._calendar.period(row.period)
        except ValueError:
            return
        self._row(row.metric, row.scope, period).restore(row)

    def set_targets(self, targets: Iterable[Target]) -> None:
        """Puts these targets in force and no others; rows that did not exist begin to.

        One of a period that the calendar does not know has no row.
        """
        by_row: dict[RowKey, list[Target]] = {}
        for target in targets:
            by_row.setdefault(RowKey.of(target), []).append(target)
        targeted: set[RowKey] = set()
        for key in by_row.keys() | self._targeted:
            row = self._rows.get(key) or self._row_of_target(key)
            if row is not None:
                found = sorted(by_row.get(key, ()), key=lambda target: (target.value, target.target_id))
                row.targets = tuple(found)
                self._retargeted[key] = row
                if found:
                    targeted.add(key)
        self._targeted = targeted

    def set_controls(self, key: RowKey, controls: tuple[Control, ...]) -> None:
        """Puts the totals of other systems on a row, which begins to exist with them.

        One of a period that the calendar does not know has no row.
        """
        row = self._rows.get(key) or self._row_of_target(key)
        if row is not None:
            row.controls = controls
            self._retargeted[key] = row

    def _row_of_target(self, key: RowKey) -> Row | None:
        metric, scope, period_id = key
        try:
            # The events of targets and control totals are checked to name one.
            return self._row(cast("Metric", metric), scope, self._calendar.period(period_id))
        except ValueError:
            return None

    def update(self, shard: int, metric: Metric, scope: str, day: date, count: DayCount) -> None:
        """Replaces one shard's count of a day."""
        key = (metric, scope, day)
        cell = self._days.get(key)
        if cell is None:
            cell = _Day(tuple(self._row(metric, scope, period) for period in self._calendar.periods_of(day)))
            self._days[key] = cell
        self._touched[key] = cell
        cell.replace(shard, count)

    def end_step(self, *, now_us: int, caught_up: bool) -> list[Row]:
        """Brings status up to date and returns the rows that may have changed; the first time, all of them.

        Status moves only while everything has been read: a period that ended during an outage is not over before what
        happened in it has arrived.
        """
        first, self._started = not self._started, True
        touched, self._retargeted = self._retargeted, {}
        for cell in self._touched.values():
            cell.end_step(first=first)
            for row in cell.rows:
                touched[row.key] = row
        self._touched = {}
        if caught_up:
            for row in self._advance(now_us):
                touched[row.key] = row
        return list(self._rows.values()) if first else list(touched.values())

    def _row(self, metric: Metric, scope: str, period: Period) -> Row:
        key = RowKey(metric, scope, period.id)
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = Row(metric, scope, period)
            heapq.heappush(self._due, (self._end_us(period), key))
        return row

    def _advance(self, now_us: int) -> Iterator[Row]:
        while self._due and self._due[0][0] <= now_us:
            _, key = heapq.heappop(self._due)
            row = self._rows[key]
            closes_us = self._end_us(row.period) + self._closed_after_us
            if row.status == "closed" or closes_us <= now_us:
                row.status = "closed"
            else:
                row.status = "provisional"
                heapq.heappush(self._due, (closes_us, key))
            yield row

    def _end_us(self, period: Period) -> int:
        end_us = self._ends_us.get(period.id)
        if end_us is None:
            end_us = self._ends_us[period.id] = self._calendar.ends_at_us(period)
        return end_us
