"""A world around `Totals` for tests: what is published stays, and the writer may restart at any time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from schemas.codec import encode_day_count, encode_row, full_row, read_row
from schemas.counts import CampaignHour
from schemas.facts import DayCount, LatestUnit, Metric
from schemas.outputs import MilestoneEvent, WindowRow
from schemas.rows import RowKey
from streams.domain.announced.balances import BalanceChange
from streams.domain.announced.targets import TargetChange
from streams.domain.rules import Rule, Target
from streams.domain.time.calendar import DEFAULT_WINDOWS
from streams.domain.time.zone import BusinessZone
from streams.domain.totals import Totals
from streams.holidays import load_calendar
from tests.support.count_keys import encode_day_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from streams.domain.milestones.step_parts import Step
    from streams.domain.rows.kept_days import KeptState
    from streams.domain.time.campaigns import Campaign

METRIC: Final = "deliveries"
SCOPE = "model=SU7"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def us(text: str) -> int:
    """Microseconds since 1970 of an RFC 3339 instant."""
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)


def rule(name: str = "daily", window: str = "day", **given: Any) -> Rule:
    """A rule on SU7 deliveries."""
    fields: dict[str, Any] = {"metric": METRIC, "scope": ("model",), "operator": None, "threshold": None}
    for operator in ("exceeds", "reaches"):
        if operator in given:
            fields |= {"operator": operator, "threshold": given.pop(operator)}
    return Rule(name=name, window=window, **(fields | given))


def target(value: int, target_id: str = "aim", period: str = "month:2024-10", **given: Any) -> Target:
    """A target for SU7 deliveries."""
    return Target(target_id=target_id, value=value, period=period, **({"metric": METRIC, "scope": SCOPE} | given))


class World:
    """The topics that the totals writer reads and writes, and the writer."""

    def __init__(
        self,
        *rules: Rule,
        targets: tuple[Target, ...] = (),
        holidays: tuple[str, ...] = ("national-day",),
        timezone: str = "Asia/Shanghai",
        closed_after_s: int = 259_200,
        windows: tuple[str, ...] = DEFAULT_WINDOWS,
        rolling: Mapping[int, tuple[tuple[str, ...], ...]] = MappingProxyType({}),
        keeps_inventory: bool = False,
        keep_days: dict[tuple[str, ...], int] | None = None,
        campaigns: tuple[Campaign, ...] = (),
    ) -> None:
        self.campaigns = campaigns
        #: What is remembered of them: period → definition.
        self.counted: dict[str, str] = {}
        self.keeps_inventory = keeps_inventory
        self.keep_days = keep_days or {}
        self.kept: dict[tuple[str, ...], KeptState] = {}
        self.rules, self.targets = rules, targets
        self.holidays, self.timezone, self.closed_after_s = holidays, timezone, closed_after_s
        self.windows = windows
        self.rolling = rolling
        self.counts: dict[tuple[int, Metric, str, date], DayCount] = {}
        self.hours: dict[tuple[int, Metric, str, CampaignHour], DayCount] = {}
        self.rows: dict[str, WindowRow] = {}
        #: The topic of rows before compaction: versions, and keys of removed rows.
        self.topic: list[WindowRow | RowKey] = []
        self.events: list[MilestoneEvent] = []
        self.changes: list[TargetChange] = []
        self.balances: list[BalanceChange] = []
        self.held: dict[str, int] = {}
        self.decided: dict[str, MilestoneEvent] = {}
        #: Rows with milestones that are decided but not yet published.
        self.waiting: set[RowKey] = set()
        #: Versions of rows that were replaced or removed, as far as the history was told at once.
        self.replaced: dict[str, WindowRow] = {}
        #: The records of the largest part.
        self.largest = 0
        self._offset = 0
        self.totals = self._make()

    def _make(self) -> Totals:
        return Totals(
            calendar=load_calendar(
                self.holidays,
                BusinessZone(self.timezone),
                windows=self.windows,
                rolling=self.rolling,
                campaigns=self.campaigns,
            ),
            rules=self.rules,
            targets=self.targets,
            timezone=self.timezone,
            closed_after_s=self.closed_after_s,
            keeps_inventory=self.keeps_inventory,
            keep_days=self.keep_days,
        )

    def restart(
        self,
        *rules: Rule,
        targets: tuple[Target, ...] | None = None,
        holidays: tuple[str, ...] | None = None,
        windows: tuple[str, ...] | None = None,
        keep_days: dict[tuple[str, ...], int] | None = None,
        campaigns: tuple[Campaign, ...] | None = None,
    ) -> None:
        """Another writer takes over from what is on the topics; rules and settings may be new."""
        self.windows = windows or self.windows
        self.rules = rules or self.rules
        self.targets = self.targets if targets is None else targets
        self.holidays = self.holidays if holidays is None else holidays
        self.keep_days = self.keep_days if keep_days is None else keep_days
        self.campaigns = self.campaigns if campaigns is None else campaigns
        self.totals = self._make()
        for period_id, definition in self.counted.items():
            self.totals.restore_campaign(period_id, definition)
        for template, state in self.kept.items():
            self.totals.restore_kept(template, state)
        for milestone_id, since_us in self.held.items():
            self.totals.restore_held(milestone_id, since_us)
        self._restore_counts()
        for record in self.topic:
            if isinstance(record, WindowRow):
                self.totals.restore_rows([encode_row(read_row(encode_row(record)))])
            else:
                self.totals.restore_left(record)
        for event in self.events:
            self.totals.restore_milestone(MilestoneEvent.model_validate_json(event.model_dump_json()))
        for event in self.decided.values():
            self.totals.restore_decided(event)
        for change in self.changes:
            self.totals.take_target(change)
        for balance in self.balances:
            self.totals.take_balance(balance)

    def _restore_counts(self) -> None:
        self.totals.take([(encode_day_key(*key), encode_day_count(count)) for key, count in self.counts.items()])
        for (shard, metric, scope, hour), count in self.hours.items():
            self.totals.update(shard, metric, scope, hour, count)

    def change(self, time: str | int, aim: Target | str, name: str = "", source: str = "/plan") -> str:
        """An event sets a target, or withdraws the one with that id; returns the event's disposition."""
        time_us = us(time) if isinstance(time, str) else time
        target_id = aim if isinstance(aim, str) else aim.target_id
        target = None if isinstance(aim, str) else aim
        change = TargetChange(time_us, name or f"c{len(self.changes)}", source, target_id, target)
        self.changes.append(change)
        return self.totals.take_target(change)

    def balance(self, time: str | int, units: int, name: str = "", metric: Metric = METRIC, scope: str = SCOPE) -> str:
        """An event sets an opening balance; returns the event's disposition."""
        time_us = us(time) if isinstance(time, str) else time
        change = BalanceChange(time_us, name or f"b{len(self.balances)}", "/plan", metric, scope, units)
        self.balances.append(change)
        return self.totals.take_balance(change)

    def put(
        self,
        day: str | date,
        count: int,
        *,
        backfilled: int = 0,
        shard: int = 0,
        hour: int = 12,
        metric: Metric = METRIC,
        scope: str = SCOPE,
    ) -> None:
        """A shard's absolute count of a day arrives; every unit is of one local hour."""
        day = date.fromisoformat(day) if isinstance(day, str) else day
        key = (shard, metric, scope, day)
        old = self.counts.get(key)
        latest = old.latest if old is not None else None
        if count > (old.count if old is not None else 0):
            self._offset += 1
            noon = datetime(day.year, day.month, day.day, hour, 0, count % 60, tzinfo=ZoneInfo(self.timezone))
            latest = LatestUnit(
                (noon - _EPOCH) // timedelta(microseconds=1), f"e{self._offset}", "/bj1", 1, shard, self._offset
            )
        by_hour = [0] * 24
        by_hour[hour] = count
        self.counts[key] = DayCount(count, backfilled, by_hour, latest)
        self.totals.take([(encode_day_key(*key), encode_day_count(self.counts[key]))])

    def put_minute(
        self,
        campaign: str,
        minute: int,
        count: int,
        *,
        backfilled: int = 0,
        shard: int = 0,
        metric: Metric = "orders_placed",
        scope: str = SCOPE,
    ) -> None:
        """A shard's absolute count of a minute of a campaign arrives, with those of the hour that it is in."""
        hour = CampaignHour(campaign, minute // 60)
        key = (shard, metric, scope, hour)
        old = self.hours.get(key)
        by_minute = list(old.by_hour) if old is not None else [0] * 60
        by_minute[minute % 60] = count
        self.hours[key] = DayCount(sum(by_minute), backfilled, by_minute, None)
        self.totals.update(shard, metric, scope, hour, self.hours[key])

    def step(self, now: str | int, *, caught_up: bool = True) -> Step:
        """The writer evaluates; checks what it publishes against what is on the topics."""
        now_us = us(now) if isinstance(now, str) else now
        step = self.totals.evaluate(now_us=now_us, caught_up=caught_up)
        self._publish(step)
        return step

    def parts(self, now: int, *, caught_up: bool, most: int, dies_after: int | None = None) -> None:
        """The same in parts; after some of them the writer dies and another one continues."""
        for number, part in enumerate(filter(None, self._steps(now, caught_up=caught_up, most=most))):
            if number == dies_after:
                self.restart()
                self.parts(now, caught_up=caught_up, most=most)
                return
            self._publish(part)

    def _steps(self, now: int, *, caught_up: bool, most: int) -> Iterator[Step | None]:
        return self.totals.steps(now_us=now, caught_up=caught_up, most=most, waiting=lambda: self.waiting)

    def _publish(self, step: Step) -> None:
        self.largest = max(self.largest, step.size)
        self._publish_rows(step)
        for event in step.milestones:
            before_revisions = [e.data.revision for e in self.events if e.subject == event.subject]
            assert event.data.revision == len(before_revisions) + 1, event.id
            assert event.id == f"{event.subject}@{event.data.revision}"
            self.events.append(event)
        for event_id, decided in step.decided.items():
            if decided is not None:
                self.decided[event_id] = decided
            else:
                self.decided.pop(event_id, None)
        for milestone_id, since_us in step.held.items():
            if since_us is None:
                del self.held[milestone_id]
            else:
                self.held[milestone_id] = since_us

    def _publish_rows(self, step: Step) -> None:
        plain = [(key.decode(), read_row(value)) for key, value in step.plain.records]
        assert [key for key, _ in plain] == [str(RowKey.of(row)) for _, row in plain]
        rows = [*step.rows, *(row for _, row in plain)]
        made = {str(RowKey.of(row)): full_row(row) for row in rows}
        for row in (*step.replaced, *(read_row(value) for _, value in step.plain.replaced)):
            key = f"{row.metric}/{row.scope}/{row.period}"
            assert full_row(row) in (self.rows.get(key), made.get(key)), key
            assert key not in self.replaced or self.replaced[key].version < row.version
            self.replaced[key] = full_row(row)
        for period_id, definition in step.campaigns.items():
            if definition is not None:
                self.counted[period_id] = definition
            else:
                del self.counted[period_id]
        for template, state in step.kept.items():
            if state is not None:
                self.kept[template] = state
            else:
                del self.kept[template]
        for row in rows:
            key = f"{row.metric}/{row.scope}/{row.period}"
            before = self.rows.get(key)
            assert row.version == 1 or key in self.replaced, key
            assert row.version == (before.version + 1 if before is not None else 1), key
            self.rows[key] = full_row(row)
            self.topic.append(self.rows[key])
        for left in step.left:
            # Nothing is lost: the history has its last version.
            assert self.replaced.pop(str(left)) == self.rows.pop(str(left)), left
            self.topic.append(left)

    def standing(self) -> dict[str, str]:
        """The standing milestones: id → period."""
        last = {event.subject: event for event in self.events}
        return {i: event.data.period for i, event in last.items() if event.type != "milestone.retracted.v1"}

    def row(self, period: str, metric: Metric = METRIC, scope: str = SCOPE) -> WindowRow:
        """The published row of a window."""
        return self.rows[f"{metric}/{scope}/{period}"]


def told(step: Step) -> list[tuple[str, str]]:
    """The milestones of a step as (what happened, id without metric and scope)."""
    return [(event.type.split(".")[1], event.subject.split("/", 2)[2]) for event in step.milestones]
