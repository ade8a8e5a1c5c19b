"""Which forecasts are published, and when: `vehicle.forecasts.v1`.

A forecast is computed once a minute of the service's clock, and on a new business date. It is published, at most once a minute
per target, if it differs from the previous one: in the business date while the period lasts, the state, the projected date, a
range where there was none, 1 % of the target or more in the projected total, or the count of a period that is over. A target
that is no longer in force gets a tombstone. The topic says what was published, so a restart publishes only changes. Alerts about
forecasts are judged by each published forecast, in the same transaction (`domain/alerts/early_warnings.py`).

If events are the clock, a minute of it can pass in no time, or never. Such a clock is read at most once a second of real time,
and forecasts that it delays are published once it has stood still for two seconds.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from schemas.codec import decode_expected, decode_forecast, encode_forecast, encode_memory
from schemas.facts import Metric
from schemas.instants import micros_of, parse_instant, utc_text
from schemas.memory import EXPECTED, SIDE, key_of
from streams.domain.alerts.early_warnings import EarlyWarnings, TargetPlace
from streams.domain.forecasts.forecast import HISTORY_DAYS, DailyHistory, Known, forecast, usual_share
from streams.domain.time.campaigns import CAMPAIGN
from streams.domain.time.zone import MINUTE_US
from streams.holidays import calendar_of, day_types_of
from streams.installation import rules_of
from streams.kafka.outbox import Outgoing
from streams.totals.milestone_records import milestone_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import date

    from schemas.outputs import Forecast, MilestoneEvent
    from streams.context import Context
    from streams.domain.rules import Target
    from streams.domain.time.calendar import Calendar
    from streams.domain.time.daytypes import DayTypes
    from streams.domain.time.periods import Period
    from streams.domain.time.zone import BusinessZone

#: (metric, scope)
_Series = tuple[Metric, str]

#: Real time, in microseconds, after which a clock that stands still no longer delays anything.
STILL_US: Final = 2_000_000
#: Share of the target by which a projected total must move to be published.
NEWS_SHARE: Final = 0.01
_SECOND_US: Final = 1_000_000
_CURVE_DAYS: Final = 28
#: Most forecasts made in one step, so that many targets do not delay a commit.
_MOST_AT_ONCE: Final = 4
#: Each round is followed by a pause that is this many times as long: the clock runs fast while history is loaded.
_PAUSE_FACTOR: Final = 20


class DayRow(Protocol):
    """The row of a day."""

    @property
    def count(self) -> int: ...  # noqa: D102 - units
    @property
    def by_hour(self) -> Sequence[int] | None: ...  # noqa: D102 - 24 units by local hour


class DayRows(Protocol):
    """The source of the counts of days."""

    def day(self, metric: Metric, scope: str, day: date) -> DayRow | None:
        """The row of a date; None if there is none."""

    def day_counts(self, metric: Metric, scope: str) -> Iterable[tuple[date, int]]:
        """Dates and counts of the days that have any, in no particular order."""

    def balance(self, metric: Metric, scope: str) -> int:
        """The opening balance of the window of all time."""

    def backfilled(self, metric: Metric, scope: str) -> int:
        """Units, over all days, that were loaded as history."""


class Parts(NamedTuple):
    """Names of topics, and the partition to write in each.

    Attributes:
        forecasts: The topic of forecasts.
        milestones: The topic of milestones and alerts.
        memory: The topic of what the totals remember.
        number: The partition.
    """

    forecasts: str
    milestones: str
    memory: str
    number: int = 0


class _Watch:
    """A target in force, and its last published forecast."""

    __slots__ = ("due_us", "made_wall_us", "period", "published", "published_us", "target")

    def __init__(self, target: Target, period: Period) -> None:
        self.target = target
        self.period = period
        self.published: Forecast | None = None
        self.published_us = 0
        self.due_us = 0
        self.made_wall_us = 0

    def take_over(self, published: Forecast, now_us: int) -> None:
        """Restores what the topic has; a forecast from a later clock or for another value does not delay a new one."""
        self.published = published
        at_us = micros_of(parse_instant(published.as_of))
        if at_us <= now_us and published.value == self.target.value:
            self.published_us = at_us

    def is_news(self, made: Forecast, now_us: int, *, is_still: bool) -> bool:
        """Whether to publish a forecast now."""
        if self.published is None:
            return True
        return (is_still or now_us - self.published_us >= MINUTE_US) and is_news(self.published, made)


def is_news(before: Forecast, made: Forecast) -> bool:
    """Whether a forecast differs from the previous one by more than a few units."""
    if _fixed_part(before) != _fixed_part(made):
        return True
    if made.business_date > made.end:
        return before.count != made.count or before.business_date <= before.end
    if before.business_date != made.business_date:
        return True
    then, now = before.projected_total, made.projected_total
    if (then.p50 is None, then.p10 is None) != (now.p50 is None, now.p10 is None):
        return True
    moved = abs(now.p50 - then.p50) if now.p50 is not None and then.p50 is not None else 0
    return moved >= max(1.0, NEWS_SHARE * made.value)


def _fixed_part(made: Forecast) -> tuple[object, ...]:
    return (
        made.value,
        made.label,
        made.start,
        made.end,
        made.state,
        made.reached_on,
        made.projected_date.p50,
        made.model,
        made.model_version,
    )


class Forecasts:
    """The forecasts of the targets in force: restore first, then collect records at every commit.

    Args:
        parts: Where records are written.
        calendar: Periods by id.
        zone: The business time zone.
        day_types: Types of dates.
        warnings: Judges each published forecast.
        cpu_s: CPU seconds used so far; pauses are in proportion.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what it is made of, by name
        self,
        parts: Parts,
        calendar: Calendar,
        zone: BusinessZone,
        day_types: DayTypes,
        warnings: EarlyWarnings,
        cpu_s: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._parts = parts
        self._warnings = warnings
        self._calendar = calendar
        self._zone = zone
        self._day_types = day_types
        self._cpu_s = cpu_s
        self._restored: dict[bytes, Forecast] = {}
        self._watches: dict[bytes, _Watch] = {}
        self._targets: tuple[Target, ...] | None = None
        #: By metric and scope: the first date that any of its targets needs, and the known days.
        self._starts: dict[_Series, date] = {}
        self._histories: dict[_Series, DailyHistory] = {}
        self._date: date | None = None
        self._clock_us = 0
        self._still_from_us = 0
        self._made_wall_us = 0
        self._due_us = 0
        self._wall_due_us = 0
        self._round_s = 0.0

    def restore(self, key: bytes, value: bytes | None) -> None:
        """Restores a record of the topic, in order, before the first call of `records`."""
        if value is None:
            self._restored.pop(key, None)
        else:
            self._restored[key] = decode_forecast(value)

    def restore_alert(self, event: MilestoneEvent) -> None:
        """Restores a published alert about a forecast, in the order of its topic; likewise."""
        self._warnings.restore(event)

    def restore_expected(self, name: str, value: bytes) -> None:
        """Restores what is remembered of a target; the name is that of its record, without the common prefix."""
        place = TargetPlace.parse(name)
        if place is not None:
            self._warnings.restore_expected(place, decode_expected(value))

    def publish_as(self, source: str) -> None:
        """Sets the `source` of the alerts from now on, a URI reference."""
        self._warnings.source = source

    def records(self, days: DayRows, targets: Iterable[Target], *, now_us: int, wall_us: int) -> list[list[Outgoing]]:
        """The records for the current transaction, each with those that must be in the same one; cheap if nothing is due.

        Args:
            days: Counts of days, as they will be once the transaction is committed.
            targets: All targets in force.
            now_us: The service's clock, microseconds since 1970.
            wall_us: Real time, microseconds since 1970.
        """
        records = self._set_targets(tuple(targets), now_us)
        today = self._zone.date_of(now_us)
        if today != self._date:
            self._date, self._due_us = today, 0
            for watch in self._watches.values():
                watch.due_us = 0
        if now_us != self._clock_us:
            self._clock_us, self._still_from_us = now_us, wall_us + STILL_US
        is_still = wall_us >= self._still_from_us
        if wall_us < self._wall_due_us or not (
            now_us >= self._due_us or (is_still and self._is_due_still(self._made_wall_us, wall_us))
        ):
            return records
        started = self._cpu_s()
        due = [
            (key, watch)
            for key, watch in self._watches.items()
            if watch.due_us <= now_us or (is_still and self._is_due_still(watch.made_wall_us, wall_us))
        ]
        for key, watch in due[:_MOST_AT_ONCE]:
            made = self._make(watch, days, today, now_us)
            if watch.is_news(made, now_us, is_still=is_still):
                records.append(self._publish(key, watch, made, days))
                watch.published, watch.published_us = made, now_us
            watch.due_us, watch.made_wall_us = now_us + MINUTE_US, wall_us
        self._round_s += self._cpu_s() - started
        if len(due) <= _MOST_AT_ONCE:
            self._due_us = min((watch.due_us for watch in self._watches.values()), default=now_us + MINUTE_US)
            self._made_wall_us = min((watch.made_wall_us for watch in self._watches.values()), default=wall_us)
            self._wall_due_us = wall_us + int(max(1.0, self._round_s * _PAUSE_FACTOR) * _SECOND_US)
            self._round_s = 0.0
        return records

    def _publish(self, key: bytes, watch: _Watch, made: Forecast, days: DayRows) -> list[Outgoing]:
        """The records of a forecast and of the alerts that it leads to."""
        parts = self._parts
        records = [Outgoing(parts.forecasts, parts.number, key, encode_forecast(made))]
        target = watch.target
        if self._warnings.is_watched(target, watch.period):
            backfilled = days.backfilled(target.metric, target.scope)
            judged = self._warnings.judge(target, watch.period, watch.published, made, backfilled)
            records += map(self._alert, judged.events)
            if judged.expected is not None:
                records.append(self._remembered(TargetPlace.of(target), encode_memory(judged.expected)))
        return records

    def _alert(self, event: MilestoneEvent) -> Outgoing:
        return milestone_record(self._parts.milestones, self._parts.number, event)

    def _remembered(self, place: TargetPlace, value: bytes | None) -> Outgoing:
        return Outgoing(self._parts.memory, self._parts.number, key_of(SIDE, EXPECTED + str(place)), value)

    def _is_due_still(self, made_wall_us: int, wall_us: int) -> bool:
        """Whether to make a forecast while the clock stands still: once, and for late events once a minute."""
        return made_wall_us < self._still_from_us or wall_us - made_wall_us >= MINUTE_US

    def _set_targets(self, targets: tuple[Target, ...], now_us: int) -> list[list[Outgoing]]:
        """Sets the targets in force. Returns tombstones of those that no longer are, and the ends of their alerts."""
        if targets == self._targets:
            return []
        before, self._targets = self._watches, targets
        known = {key: watch.published for key, watch in before.items() if watch.published is not None} | self._restored
        self._restored, self._watches = {}, {}
        for target in targets:
            watch = self._watch(target)
            if watch is None:
                continue
            key = _key(target)
            former = before.get(key)
            if former is not None and former.target == target:
                watch = former
            elif key in known:
                watch.take_over(known[key], now_us)
            self._watches[key] = watch
        self._starts, self._histories = {}, {}
        for watch in self._watches.values():
            series = (watch.target.metric, watch.target.scope)
            self._starts[series] = min(watch.period.start, self._starts.get(series, watch.period.start))
        self._due_us = self._wall_due_us = 0
        parts = self._parts
        gone = [[Outgoing(parts.forecasts, parts.number, key, None)] for key in known if key not in self._watches]
        watched = {TargetPlace.of(each.target): (each.target, each.period) for each in self._watches.values()}
        ended = [[self._alert(event)] for event in self._warnings.begin(watched, detected_at=utc_text(now_us))]
        return [*gone, *ended, *([self._remembered(place, None)] for place in self._warnings.forget(watched))]

    def _watch(self, target: Target) -> _Watch | None:
        if target.period.startswith(f"{CAMPAIGN}:"):
            return None  # it is over in hours: days cannot project it
        try:
            return _Watch(target, self._calendar.period(target.period))
        except ValueError:
            return None  # a holiday that is no longer in any calendar has no window

    def _make(self, watch: _Watch, days: DayRows, today: date, now_us: int) -> Forecast:
        target = watch.target
        history = self._history(days, (target.metric, target.scope), today)
        row = days.day(target.metric, target.scope, today)
        share = usual_share(self._by_hour(days, target, today), self._zone.time_of_day(now_us))
        known = Known(history, row.count if row is not None else 0, share, days.balance(target.metric, target.scope))
        return forecast(target, watch.period, known, as_of=utc_text(now_us), timezone=self._zone.name)

    def _history(self, days: DayRows, series: _Series, today: date) -> DailyHistory:
        """The complete days; the same object as before if nothing has changed, because it caches results."""
        start = min(self._starts[series], today - timedelta(days=HISTORY_DAYS))
        counts = [0] * (today - start).days
        for day, count in days.day_counts(*series):
            if start <= day < today:
                counts[(day - start).days] = count
        history = DailyHistory(start, tuple(counts), self._day_types)
        before = self._histories.get(series)
        if before == history:
            return before
        self._histories[series] = history
        return history

    def _by_hour(self, days: DayRows, target: Target, today: date) -> list[int]:
        """Units of the last weeks by local hour."""
        dates = (today - timedelta(days=number) for number in range(1, _CURVE_DAYS + 1))
        rows = (days.day(target.metric, target.scope, day) for day in dates)
        curves = [row.by_hour for row in rows if row is not None and row.by_hour is not None]
        return [sum(hour) for hour in zip(*curves, strict=True)]


def make_forecasts(context: Context, number: int = 0) -> Forecasts:
    """The forecasts of a totals partition, without any state.

    Raises:
        ValueError: A configured holiday is in no calendar.
    """
    day_types = day_types_of(context.settings.calendar_name)
    catalogue = context.catalogue
    parts = Parts(catalogue.forecasts.name, catalogue.milestones.name, catalogue.totals.name, number)
    warnings = EarlyWarnings(rules_of(context.settings))
    return Forecasts(parts, calendar_of(context.settings), context.zone, day_types, warnings, context.cpu_s)


def _key(target: Target) -> bytes:
    return str(TargetPlace.of(target)).encode()
