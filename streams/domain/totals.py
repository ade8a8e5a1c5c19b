"""Totals: the single writer's step from day counts to window rows and milestones.

All state is in the output topics. The published rows and milestones are the state before a step, so taking over is just
another step: the rows and milestones that differ are published, and nothing twice.

A step can be too large for one transaction and for one turn of the event loop. It is made scope by scope: rows of one scope
and the milestones that they lead to are published together, so each scope is consistent at every moment, and a step that is
interrupted continues after the takeover. If even one scope is too large, its milestones are first remembered as decided: once
some of the rows are published, it is no longer possible to tell what the others were judged by.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from schemas.codec import decode_day_count, read_row
from schemas.counts import CampaignHour, decode_counts_key
from schemas.instants import utc_text
from schemas.rows import PublishedRow, RowKey
from schemas.texts import ALL, template_of
from streams.domain.among_scopes import AmongScopes
from streams.domain.balances import BalanceBook
from streams.domain.campaigns import CAMPAIGN
from streams.domain.comparisons import Comparisons
from streams.domain.controls import Controls
from streams.domain.delayed_retractions import HeldBack
from streams.domain.disposition import APPLIED
from streams.domain.firsts import FirstPassing
from streams.domain.kept_days import KeptDays
from streams.domain.milestones import Claim, MilestoneBook, in_order
from streams.domain.overflow import scope_of_others
from streams.domain.periods import TOTAL
from streams.domain.records import RecordPeriods, records_among
from streams.domain.row_versions import PlainVersions
from streams.domain.rules import (
    Rule,
    Target,
    check_rules,
    check_targets,
    factor_id,
    first_id,
    leader_id,
    multiple_id,
    record_id,
    record_passed_id,
    scope_share_id,
    share_id,
    streak_id,
    streaks_id,
    target_milestone_id,
    threshold_id,
)
from streams.domain.scopes import Scopes
from streams.domain.streaks import Streaks
from streams.domain.targets import TargetBook
from streams.domain.windows import Windows
from streams.domain.zone import BusinessZone

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping, Sequence
    from datetime import date

    from schemas.facts import DayCount, LatestUnit, Metric
    from schemas.outputs import MilestoneEvent, MilestoneKind
    from streams.domain.balances import BalanceChange
    from streams.domain.calendar import Calendar
    from streams.domain.campaigns import Campaign
    from streams.domain.controls import Control
    from streams.domain.disposition import Disposition
    from streams.domain.kept_days import KeptState
    from streams.domain.leaving_rows import Left
    from streams.domain.overflow import ScopeBounds
    from streams.domain.periods import Period
    from streams.domain.row_table import CountedDay
    from streams.domain.targets import TargetChange
    from streams.domain.window_row import Row

#: Rows to judge, or publish, between two pauses; a millisecond or two.
_PAUSE_ROWS: Final = 200
_NO_LIMIT: Final = 1 << 62
#: Most records of a row in a step: its next version, and its first one if that is replaced.
_RECORDS_OF_ROW: Final = 2
#: Kinds of milestones that depend on one row; the others compare rows.
_OF_ONE_ROW: Final = ("threshold", "multiple", "share", "target")
#: A record of a period that is over, or of one that may still be running.
_BestKind = Literal["record", "record_passed"]


@dataclass(frozen=True, slots=True)
class Step:
    """What an evaluation, or a part of it, publishes in one transaction: changed rows, and milestones in order.

    `places` are those of the rows.
    `plain` are the changed rows that nothing watches, in the form of their records: the same for these rows.
    `held` must be remembered: id of a milestone → since when its retraction has been delayed, None once it is not.
    `decided` likewise: id of an event → an event that a later part publishes, None once it is published or void.
    `replaced` are versions of rows that nothing else has: first ones that have been replaced, and those of rows that left.
    `left` are the rows that have left their topic, because their days are no longer kept.
    `kept` must be remembered: dimensions → since when days of such scopes have rows, None if all do.
    `campaigns` must be remembered: id of the period → what defines the campaign, None once it is no longer counted.
    `is_last` says that this is the last part of the evaluation.
    """

    rows: list[PublishedRow] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    plain: PlainVersions = field(default_factory=lambda: PlainVersions([], [], []))
    milestones: list[MilestoneEvent] = field(default_factory=list)
    held: dict[str, int | None] = field(default_factory=dict)
    decided: dict[str, MilestoneEvent | None] = field(default_factory=dict)
    replaced: list[PublishedRow] = field(default_factory=list)
    left: list[RowKey] = field(default_factory=list)
    kept: dict[tuple[str, ...], KeptState | None] = field(default_factory=dict)
    campaigns: dict[str, str | None] = field(default_factory=dict)
    is_last: bool = False

    def add(self, other: Step) -> None:
        """Adds another part."""
        self.rows.extend(other.rows)
        self.places.extend(other.places)
        self.plain.extend(other.plain)
        self.milestones.extend(other.milestones)
        self.held.update(other.held)
        self.decided.update(other.decided)
        self.replaced.extend(other.replaced)
        self.left.extend(other.left)
        self.kept.update(other.kept)
        self.campaigns.update(other.campaigns)

    @property
    def size(self) -> int:
        """Number of its records."""
        rows = len(self.rows) + len(self.replaced) + len(self.plain.records) + len(self.plain.replaced) + len(self.left)
        remembered = len(self.held) + len(self.decided) + len(self.kept) + len(self.campaigns)
        return rows + len(self.milestones) + remembered


#: Separates the rows that rise in a step from those that leave with it: decided milestones must be published in between, and
#: the places of rows that have left get other rows.
_RISEN: Final = Step()


class _Judged(NamedTuple):
    """Rows of one scope, and what they lead to.

    Attributes:
        rows: The rows by key, without the plain ones.
        plain: The places of the plain rows.
        milestones: The decided events.
        held: Milestone → since when its retraction has been waiting, None if it no longer is.
        settled: Ids of the events that were remembered as decided and are settled now.
    """

    rows: list[Row]
    plain: list[int]
    milestones: list[MilestoneEvent]
    held: dict[str, int | None]
    settled: list[str]

    def by_metric(self, metric_of: Callable[[int], str]) -> list[_Judged]:
        """The same split by metric, with which the ids of milestones begin.

        Args:
            metric_of: Returns the metric of a place.
        """
        found: dict[str, _Judged] = {}

        def of(metric: str) -> _Judged:
            return found.setdefault(metric, _Judged([], [], [], {}, []))

        for row in self.rows:
            of(row.metric).rows.append(row)
        for place in self.plain:
            of(metric_of(place)).plain.append(place)
        for event in self.milestones:
            of(event.data.metric).milestones.append(event)
        for milestone_id, since_us in self.held.items():
            of(milestone_id.partition("/")[0]).held[milestone_id] = since_us
        for event_id in self.settled:
            of(event_id.partition("/")[0]).settled.append(event_id)
        return list(found.values())


class Totals:
    """Day counts in, rows and milestones out. Restore first, then update and evaluate in turn.

    Args:
        calendar: Periods of a date.
        rules: What raises milestones.
        targets: The targets to start with; events replace them.
        timezone: IANA name of the business time zone.
        closed_after_s: Seconds after the end of a period until its row is closed.
        scopes: The scopes that are counted; control totals of others cannot be compared with anything.
        is_home: Whether the rows of a scope are here; targets and control totals of other scopes have no effect here.
        bounds: Which scopes have rows; without it, all have.
        keeps_inventory: Whether scopes with production have a row of what was produced and not delivered.
        keep_days: Dimensions → how many days before the latest business date have rows; unlisted ones keep all.

    Raises:
        ValueError: A rule or target is invalid; the message names it.
    """

    def __init__(  # noqa: PLR0913 - the parts of a configuration, by name
        self,
        *,
        calendar: Calendar,
        rules: Sequence[Rule],
        targets: Sequence[Target],
        timezone: str,
        closed_after_s: int = 259_200,
        scopes: Scopes | None = None,
        is_home: Callable[[str], bool] = lambda _scope: True,
        bounds: ScopeBounds | None = None,
        keeps_inventory: bool = False,
        keep_days: Mapping[tuple[str, ...], int] | None = None,
    ) -> None:
        check_rules(rules, calendar)
        check_targets(targets, calendar)
        self._calendar = calendar
        self._timezone = timezone
        self._rules = tuple(rules)
        self._book = MilestoneBook(timezone)
        self._rules_by_window: dict[tuple[str, tuple[str, ...], str], tuple[Rule, ...]] = {}
        self._template_of: tuple[str, tuple[str, ...]] = ALL, ()
        self._firsts: dict[tuple[str, str], FirstPassing] = {}
        self._streaks: dict[tuple[str, str, str], Streaks] = {}
        self._comparisons: dict[tuple[str, str, str], Comparisons] = {}
        self._records: dict[tuple[str, str, str], RecordPeriods] = {}
        self._records_passed: dict[tuple[str, str, str], RecordPeriods] = {}
        self._days_seen: set[date] = set()
        self._zone = BusinessZone(timezone)
        self._held = HeldBack()
        self._now_us = 0
        self._updated_at = ""
        self._started = False
        self._has_left = False
        self._target_book = TargetBook(targets)
        self._watched = {(rule.metric, rule.template) for rule in self._rules}
        # If scopes are compared, the row of `all` matters too.
        self._watched |= {(rule.metric, ()) for rule in self._rules if rule.compares_scopes}
        self._kept = KeptDays(keep_days)
        self._windows = Windows(calendar, closed_after_s, self._is_watched, self._kept, keeps_inventory=keeps_inventory)
        self._among_scopes = AmongScopes(self._windows, calendar)
        self._comparing_scopes = tuple(rule for rule in self._rules if rule.compares_scopes)
        self._scopes = scopes or Scopes()
        self._is_home = is_home
        self._bounds = bounds
        self._others_before = False
        self._controls = Controls()
        #: The counted campaigns, and those that a previous writer has counted: id of the period → what defines the campaign.
        self._campaigns = {campaign.period_id: campaign.text for campaign in calendar.counted_campaigns}
        self._campaigns_before: dict[str, str] = {}
        self._has_published = False
        self._targets: tuple[Target, ...] = ()
        self._in_force: tuple[Target, ...] = ()
        self._balance_book = BalanceBook()
        self._balances: Mapping[tuple[Metric, str], int] = MappingProxyType({})

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings to show: years that have counts but no holiday calendar."""
        return self._calendar.warnings({*self._days_seen, *self._windows.days})

    @property
    def windows(self) -> Windows:
        """All rows."""
        return self._windows

    def end_snapshot(self) -> Iterator[None]:
        """Completes the rows that were restored from a snapshot in `windows`, with pauses; then restore what was published since."""
        yield from self._windows.add_up()
        self._days_seen.update(self._windows.days)
        self._has_published = True

    def count_campaigns(self, campaigns: Iterable[Campaign]) -> None:
        """Counts these campaigns instead of those of the settings; call it before anything is restored."""
        self._calendar.count_campaigns(campaigns)
        self._campaigns = {campaign.period_id: campaign.text for campaign in self._calendar.counted_campaigns}

    def restore_campaign(self, period_id: str, definition: str) -> None:
        """Restores that a campaign has been counted, before the first evaluation."""
        self._campaigns_before[period_id] = definition

    def restore_row(self, row: PublishedRow) -> None:
        """Restores the published version of a row, before the first evaluation."""
        self._has_published = True
        self._windows.restore(row)

    def restore_rows(self, values: Sequence[bytes]) -> None:
        """The same for rows as they are in their topic, in order."""
        self._has_published |= bool(values)
        self._windows.restore_many(values, lambda value: self._windows.restore(read_row(value)))

    def restore_left(self, key: RowKey) -> None:
        """Restores that a row has left its topic, after the counts and before the first evaluation."""
        self._windows.restore_left(key)

    def restore_kept(self, template: tuple[str, ...], state: KeptState) -> None:
        """Restores since when days of such scopes have rows, before any count."""
        self._kept.restore(template, state)

    def restore_milestone(self, event: MilestoneEvent) -> None:
        """Restores a published milestone event, in topic order, before the first evaluation."""
        self._book.restore(event)

    def restore_decided(self, event: MilestoneEvent) -> None:
        """Restores a milestone event that the previous writer had decided on, before the first evaluation."""
        self._book.restore_decided(event)

    def publish_as(self, source: str) -> None:
        """Sets the `source` of the milestone events from now on, a URI reference."""
        self._book.source = source

    def restore_held(self, milestone_id: str, since_us: int) -> None:
        """Restores since when a retraction has been held back, before the first evaluation."""
        self._held.restore(milestone_id, since_us)
        self._windows.must_stay(RowKey(*milestone_id.split("/")[:3]))

    def update(self, shard: int, metric: Metric, scope: str, part: date | CampaignHour, count: DayCount) -> None:
        """Takes the absolute count of one shard, metric, scope and business date or hour of a campaign; it replaces any earlier one."""
        if not isinstance(part, CampaignHour):
            self._days_seen.add(part)
        elif f"{CAMPAIGN}:{part.campaign}" not in self._campaigns:
            return
        if self._bounds is not None:
            scope, count = self._within(self._bounds, shard, metric, scope, part, count)
        self._put(shard, metric, scope, part, count)

    def take(self, counts: Iterable[tuple[bytes, bytes]]) -> None:
        """Takes counts as they are in their topic: keys and values, in order."""
        if self._bounds is None:
            self._windows.take(counts, self._take_one)
        else:
            for key, value in counts:
                self._take_one(key, value)

    def _take_one(self, key: bytes, value: bytes) -> None:
        shard, counted = decode_counts_key(key)
        if counted is None:
            raise ValueError(f"{key!r} is not the key of a count")
        self.update(shard, *counted, decode_day_count(value))

    def _put(self, shard: int, metric: Metric, scope: str, part: date | CampaignHour, count: DayCount) -> None:
        if isinstance(part, CampaignHour):
            self._windows.update_campaign(shard, metric, scope, part, count)
        else:
            self._windows.update(shard, metric, scope, part, count)

    def _counted(self, shard: int, metric: Metric, scope: str, part: date | CampaignHour) -> DayCount:
        if isinstance(part, CampaignHour):
            return self._windows.campaign_count(shard, metric, scope, part)
        return self._windows.shard_count(shard, metric, scope, part)

    @property
    def bounds(self) -> ScopeBounds | None:
        """Which scopes have rows; None if all have."""
        return self._bounds

    def let_in(self, scope: str) -> None:
        """Notes that a scope has published rows; report all such scopes before the first count."""
        if self._bounds is not None:
            self._others_before |= scope != ALL and scope == scope_of_others(scope)
            self._bounds.let_in(scope)

    def _give_rows(self, scope: str) -> None:
        """Lets in a scope that a target or control total gives a row, so everything that it counts is in its rows."""
        if self._bounds is not None and not self._bounds.is_in(scope):
            for shard, metric, of, part, count in self._bounds.release(scope):
                self._put(shard, metric, of, part, count)

    def _within(  # noqa: PLR0913, PLR0917 - a count and where it is from
        self, bounds: ScopeBounds, shard: int, metric: Metric, scope: str, part: date | CampaignHour, count: DayCount
    ) -> tuple[str, DayCount]:
        """The scope that a count counts in, and the partition's count there, this one included."""
        is_new = not bounds.is_in(scope)
        if not bounds.has_room(scope, len(self._windows)):
            others = scope_of_others(scope)
            return bounds.keep(shard, metric, scope, part, count, lambda: self._counted(shard, metric, others, part))
        if is_new and self._others_before and not self._started:
            self._windows.know_before(scope)
        return scope, bounds.add_kept(shard, metric, scope, part, count)

    def take_target(self, change: TargetChange) -> Disposition:
        """Takes a target event, which takes effect with the first evaluation at its time or later."""
        return self._target_book.take(change)

    def take_balance(self, change: BalanceChange) -> Disposition:
        """Takes an event of an opening balance, which takes effect with the first evaluation at its time or later."""
        return self._balance_book.take(change)

    def take_control(self, control: Control) -> Disposition:
        """Takes another system's total; the next evaluation puts it on its row, if such a row can exist."""
        taken = self._controls.take(control)
        scope = control.row.scope
        if taken == APPLIED and self._is_home(scope) and self._scopes.has(scope):
            self._give_rows(scope)
            self._windows.set_controls(control.row, self._controls.of(control.row))
        return taken

    @property
    def targets(self) -> tuple[Target, ...]:
        """The targets in force at the last evaluation whose rows are here, by id."""
        return self._targets

    def day(self, metric: Metric, scope: str, day: date) -> CountedDay | None:
        """The present counts of a business date; None if there are none."""
        return self._windows.day(metric, scope, day)

    def day_counts(self, metric: Metric, scope: str) -> Iterator[tuple[date, int]]:
        """Dates and counts of the business dates that have any, in no particular order."""
        return self._windows.day_counts(metric, scope)

    def balance(self, metric: Metric, scope: str) -> int:
        """The opening balance in force at the last evaluation; 0 without one."""
        return self._balances.get((metric, scope), 0)

    def backfilled(self, metric: Metric, scope: str) -> int:
        """Units of all business dates that were loaded as history."""
        return self._windows.backfilled(metric, scope)

    def hour_of_unit(self, metric: Metric, scope: str, first: date, last: date, number: int) -> tuple[date, int] | None:
        """Date and local hour of the N-th unit (from 1) between two dates; None if there are not that many."""
        return self._windows.hour_of_unit(metric, scope, first, last, number)

    def newest_unit(self, metric: Metric, scope: str, first: date, last: date) -> LatestUnit | None:
        """The latest unit between two dates, if the ledger partitions have published which it is."""
        return self._windows.newest_unit(metric, scope, first, last)

    def instants_of(self, period_id: str) -> str | None:
        """The first instant of a campaign and the first one after it, in one text; None if it is not counted."""
        return self._calendar.period(period_id).definition if period_id in self._campaigns else None

    def minute_of_unit(self, key: RowKey, number: int) -> int | None:
        """The minute, from its start, of the N-th unit (from 1) of a campaign; None if there are not that many."""
        return self._windows.minute_of_unit(key, number)

    def newest_unit_of_campaign(self, key: RowKey) -> LatestUnit | None:
        """The latest unit of a campaign, if the ledger partitions have published which it is."""
        return self._windows.newest_unit_of_campaign(key)

    def others_than(self, scope: str) -> list[str] | None:
        """For a scope `other`: the scopes of its dimensions that have rows; None for any other scope, or if all have rows."""
        if self._bounds is None or scope == ALL or scope != scope_of_others(scope):
            return None
        return self._bounds.with_rows(template_of(scope))

    def evaluate(self, *, now_us: int, caught_up: bool) -> Step:
        """Judges what has changed since the last call; the first time, everything.

        Args:
            now_us: The clock, microseconds since 1970.
            caught_up: Whether every shard has read everything; only then do periods end.
        """
        whole = Step(is_last=True)
        for part in self.steps(now_us=now_us, caught_up=caught_up, most=_NO_LIMIT):
            if part is not None:
                whole.add(part)
        plain = whole.plain
        rows = [*whole.rows, *(read_row(value) for _, value in plain.records)]
        made = zip(rows, [*whole.places, *plain.places], strict=True)
        in_order = sorted(made, key=lambda row_and_place: RowKey.of(row_and_place[0]))
        return replace(
            whole,
            rows=[row for row, _ in in_order],
            places=[place for _, place in in_order],
            replaced=[*(read_row(value) for _, value in plain.replaced), *whole.replaced],
            plain=PlainVersions([], [], []),
        )

    def steps(
        self, *, now_us: int, caught_up: bool, most: int, waiting: Callable[[], set[RowKey]] = set
    ) -> Iterator[Step | None]:
        """The same in parts, each to be committed before the next one is requested.

        Rows of one scope and the milestones that they lead to are in one part. If these are more than `most` records, those of
        each of its metrics are. If even these are more, a row is in one part with the milestones for its own number, and
        first-ever milestones and records come after all rows.

        Args:
            now_us: The clock, microseconds since 1970.
            caught_up: See above.
            most: Most records in a part; those of a single row may be a few more.
            waiting: Returns the rows with milestones that are decided and not yet published; they do not leave.

        Yields:
            A part, or None for a pause. Counts, targets and totals may only be taken before the first part and after the
            last.
        """
        # Only as far as events confirm it: a wrong clock must not remove rows.
        self._kept.advance(min(self._zone.date_of(now_us), self._windows.newest_day))
        self._put_in_force(self._target_book.in_force(now_us))
        self._put_balances(self._balance_book.in_force(now_us))
        self._now_us = now_us
        self._book.begin_step(now_us)
        self._updated_at = utc_text(now_us)
        gathered = Step()
        for made in self._made(now_us, most, waiting, caught_up=caught_up):
            if made is None:
                yield None
                continue
            is_before_leaving = made is _RISEN and (gathered.milestones or gathered.rows or gathered.plain.records)
            if gathered.size and (gathered.size + made.size > most or is_before_leaving):
                yield _ordered(gathered)
                gathered = Step()
            gathered.add(made)
        yield _ordered(gathered, is_last=True)

    def _made(
        self, now_us: int, most: int, waiting: Callable[[], set[RowKey]], *, caught_up: bool
    ) -> Iterator[Step | None]:
        """The result of a step, in pieces that belong together; None is a pause."""
        for number, late in enumerate(self._windows.leaving_late()):
            yield _departure(late)
            yield from _pause(number)
        is_new = not self._started and not self._has_published
        if is_new and self._campaigns:
            # Nothing has been counted yet: everything in campaigns is news, as it is in other windows.
            self._campaigns_before = dict(self._campaigns)
            yield Step(campaigns=dict(self._campaigns))
        known = self._campaigns.items() & self._campaigns_before.items()
        self._windows.know_campaigns(period_id for period_id, _ in known)
        yield from self._of_scopes(now_us, most, caught_up=caught_up)
        self._started = True
        for _ in self._windows.finishing_step():
            yield None
        self._held.end_step()
        yield Step(held=self._held.drain())
        if self._campaigns_before != self._campaigns:
            # What other campaigns had passed before they were known is recorded by now.
            gone = dict.fromkeys(self._campaigns_before.keys() - self._campaigns.keys())
            self._campaigns_before = dict(self._campaigns)
            yield Step(campaigns={**gone, **self._campaigns})
        void = self._book.forget_decided() if caught_up else []
        for first in range(0, len(void), most):
            yield Step(decided=dict.fromkeys(void[first : first + most]))
        yield from self._leave(waiting)

    def _of_scopes(self, now_us: int, most: int, *, caught_up: bool) -> Iterator[Step | None]:
        """The same for the rows that may have changed, and what they lead to, scope by scope."""
        due, judged = set(self._held.due(now_us)), 0
        self._among_scopes.begin_step()
        due.update(self._among_scopes.touched(self._comparing_scopes))
        # Rows of scopes that have only plain ones, to publish together: whole scopes, and no more than fit into a transaction.
        plain: list[int] = []
        for _, places in self._windows.begin_step(now_us=now_us, caught_up=caught_up, also=due):
            if not places:
                yield None
                continue
            judged += len(places)
            is_plain = len(places) * _RECORDS_OF_ROW <= most and self._windows.all_plain(places)
            if plain and (not is_plain or (len(plain) + len(places)) * _RECORDS_OF_ROW > most):
                yield self._plain_rows(plain)
                plain = []
            if is_plain:
                plain += places
            else:
                yield from self._judge_scope(places, due, most)
            # Most scopes have few rows: many such scopes are as much work as one with many rows.
            if judged >= _PAUSE_ROWS:
                judged = 0
                if plain:
                    yield self._plain_rows(plain)
                    plain = []
                yield None
        if plain:
            yield self._plain_rows(plain)

    def _leave(self, waiting: Callable[[], set[RowKey]]) -> Iterator[Step | None]:
        """Removes the rows of days that are no longer kept, one by one; None is a pause."""
        changed = dict(self._kept.changed())
        if changed:
            # Rows that come back are published by now, and none of the leaving rows has left yet.
            yield Step(kept=changed)
        if not (changed or self._windows.stayed or not self._has_left):
            return
        yield _RISEN  # otherwise it would not be known yet which of its milestones wait
        stay = self._held.rows() | waiting()
        if changed or not self._has_left or self._windows.stayed - stay:
            self._has_left = True
            for left in self._windows.leaving(stay):
                if left is None:
                    yield None
                else:
                    yield _departure(left)

    def _put_in_force(self, targets: tuple[Target, ...]) -> None:
        if targets is self._in_force:
            return
        self._in_force = targets
        self._targets = tuple(target for target in targets if self._is_home(target.scope))
        for target in self._targets:
            self._give_rows(target.scope)
        self._windows.set_targets(self._targets)

    def _put_balances(self, balances: Mapping[tuple[Metric, str], int]) -> None:
        if balances is self._balances:
            return
        self._balances = balances
        here = {
            RowKey(metric, scope, TOTAL): units
            for (metric, scope), units in balances.items()
            if self._is_home(scope) and self._scopes.has(scope)
        }
        for key in here if self._calendar.counts(TOTAL) else ():
            self._give_rows(key.scope)
        self._windows.set_balances(here)

    def _judge_scope(self, places: list[int], due: Container[RowKey], most: int) -> Iterator[Step | None]:
        """Judges rows of one scope, by metric if there are many; None is a pause."""
        is_much = len(places) * _RECORDS_OF_ROW > most
        for part in self._windows.by_metric(places) if is_much else [places]:
            yield from self._judge(part, due, most)

    def _judge(self, places: list[int], due: Container[RowKey], most: int) -> Iterator[Step | None]:
        """Judges rows of one scope, all or those of a metric; None is a pause."""
        judged = yield from self._judged(places, due)
        fits = yield from self._fits(judged, most)
        parts = [judged] if fits else judged.by_metric(self._windows.metric)
        for part in parts:
            if fits or (len(parts) > 1 and (yield from self._fits(part, most))):
                yield from self._in_one(part)
            else:
                yield from self._in_pieces(part)

    def _judged(self, places: list[int], due: Container[RowKey]) -> Generator[None, None, _Judged]:
        """The same, not published yet."""
        to_judge, plain = self._windows.parted(places)
        if not to_judge:
            return _Judged([], plain, [], {}, [])
        self._windows.begin_group()
        for first in range(0, len(to_judge), _PAUSE_ROWS):
            if first:
                yield
            self._windows.load(to_judge[first : first + _PAUSE_ROWS])
        rows = self._windows.group()
        yield from self._judge_numbers(rows)
        yield from self._judge_factors(rows)
        if self._comparing_scopes:
            yield from self._judge_scopes(rows)
        yield from self._judge_records(rows, [row for row in rows if row.key in due])
        return _Judged(rows, plain, self._book.end_step(), self._held.drain(), list(self._book.settled()))

    def _in_one(self, judged: _Judged) -> Iterator[Step | None]:
        """Publishes everything at once; None is a pause."""
        whole = Step(milestones=judged.milestones, held=judged.held, decided=dict.fromkeys(judged.settled))
        for number, row in enumerate(judged.rows):
            self._publish(row, whole)
            yield from _pause(number)
        for first in range(0, len(judged.plain), _PAUSE_ROWS):
            if first:
                yield None
            self._publish_plain(judged.plain[first : first + _PAUSE_ROWS], whole)
        if whole.size:
            yield whole

    def _fits(self, judged: _Judged, most: int) -> Generator[None, None, bool]:
        """Whether it comes to at most `most` records."""
        rest = len(judged.milestones) + len(judged.held) + len(judged.settled)
        if (len(judged.rows) + len(judged.plain)) * _RECORDS_OF_ROW + rest <= most:
            return True
        size = rest
        for number, row in enumerate(judged.rows):
            size += self._windows.changes(row)
            yield from _pause(number)
        for number, place in enumerate(judged.plain):
            size += self._windows.changes_plain(place)
            yield from _pause(number)
        return size <= most

    def _in_pieces(self, judged: _Judged) -> Iterator[Step | None]:
        """Rows of one scope and the milestones that they lead to, in the smallest possible parts; None is a pause."""
        # The start of a retraction's wait is remembered before its row shows the reason, and until it is decided.
        yield from (Step(held={id_: since_us}) for id_, since_us in judged.held.items() if since_us is not None)
        known = set(judged.settled)
        for event in judged.milestones:
            if event.id not in known:
                yield Step(decided={event.id: event})
        of_rows: dict[RowKey, list[MilestoneEvent]] = {}
        for event in judged.milestones:
            if event.data.kind in _OF_ONE_ROW:
                of_rows.setdefault(RowKey.of(event.data), []).append(event)
        for number, row in enumerate(judged.rows):
            piece = Step(milestones=of_rows.get(row.key, []))
            piece.decided.update((event.id, None) for event in piece.milestones)
            self._publish(row, piece)
            if piece.size:
                yield piece
            yield from _pause(number)
        yield from self._one_by_one(judged.plain)
        for event in judged.milestones:
            if event.data.kind not in _OF_ONE_ROW:
                yield Step(milestones=[event], decided={event.id: None})
        yield from (Step(held={id_: None}) for id_, since_us in judged.held.items() if since_us is None)

    def _one_by_one(self, plain: Sequence[int]) -> Iterator[Step | None]:
        for number, place in enumerate(plain):
            piece = self._plain_rows([place])
            if piece.size:
                yield piece
            yield from _pause(number)

    def _publish(self, row: Row, part: Step) -> None:
        """Adds the next version of a row to a part, if there is one."""
        made = row.publish(self._timezone, self._updated_at)
        if made is not None:
            part.rows.append(made)
            part.places.append(row.place)
            part.replaced.extend(self._windows.replaced())

    def _plain_rows(self, places: Sequence[int]) -> Step:
        """The next versions of plain rows."""
        part = Step()
        self._publish_plain(places, part)
        return part

    def _publish_plain(self, places: Sequence[int], part: Step) -> None:
        """The same for plain rows."""
        part.plain.extend(self._windows.publish_plain(places, self._updated_at))

    def _rules_of(self, row: Row) -> tuple[Rule, ...]:
        """The rules that watch a row: the same for all scopes of a metric, template and window."""
        if row.scope != self._template_of[0]:
            self._template_of = row.scope, template_of(row.scope)
        template = self._template_of[1]
        # A rule may be for one campaign; records are among all campaigns.
        window = row.period.id if row.period.kind == CAMPAIGN else row.period.window
        key = (row.metric, template, window)
        found = self._rules_by_window.get(key)
        if found is None:
            windows = (window, row.period.kind)
            found = tuple(
                rule
                for rule in self._rules
                if rule.metric == row.metric and rule.template == template and rule.window in windows
            )
            self._rules_by_window[key] = found
        return found

    def _is_watched(self, metric: str, scope: str) -> bool:
        """Whether a rule or a target, even one that is not in force, can raise milestones of a metric and scope."""
        return (metric, template_of(scope)) in self._watched or self._target_book.has(metric, scope)

    def _first(self, rule: Rule, scope: str) -> FirstPassing:
        return self._firsts.setdefault((rule.name, scope), FirstPassing(rule, scope))

    def _judge_numbers(self, rows: Sequence[Row]) -> Iterator[None]:
        """Judges thresholds, multiples, firsts, streaks and targets. Firsts come first, as thresholds mention them."""
        touched: dict[tuple[str, str], FirstPassing] = {}
        numbered: list[tuple[Row, Rule, bool]] = []
        for number, row in enumerate(rows):
            for rule in self._rules_of(row):
                if rule.operator is not None:
                    numbered.append((row, rule, self._counts_as_passing(row, rule)))
                if rule.every is not None:
                    yield from self._judge_multiples(row, rule, rule.every)
            yield from _pause(number)
        for number, (row, rule, passes) in enumerate(numbered):
            if rule.first:
                first = touched[rule.name, row.scope] = self._first(rule, row.scope)
                first.put(row, passes=passes)
            yield from _pause(number)
        for number, (row, rule, passes) in enumerate(numbered):
            self._judge_threshold(row, rule, passes=passes)
            yield from _pause(number)
        for first in touched.values():
            self._judge_first(first)
        yield from self._judge_streaks(numbered)
        self._judge_targets(rows)

    def _judge_targets(self, rows: Iterable[Row]) -> None:
        for row in rows:
            for target in row.targets:
                wanted: list[tuple[MilestoneKind, str, int]] = [
                    ("share", share_id(target, share), target.units_at(share)) for share in target.at
                ]
                for kind, name, units in (*wanted, ("target", target_milestone_id(target), target.value)):
                    claim = Claim(name, kind, units, target_id=target.target_id, operator="reaches", threshold=units)
                    self._judge_crossing(claim, row, passes=row.count >= units, passed=row.known_count >= units)

    def _counts_as_passing(self, row: Row, rule: Rule) -> bool:
        """Whether a row passes a rule's number, or has done so and its retraction is still held back."""
        passes = rule.passed_by(row.count)
        if not rule.retract_after_s:
            return passes
        milestone_id = threshold_id(rule, row.scope, row.period.id)
        if passes:
            self._held.end(milestone_id)
        return passes or (self._book.stands(milestone_id) and self._is_held_back(milestone_id, row, rule))

    def _is_held_back(self, milestone_id: str, row: Row, rule: Rule) -> bool:
        return self._held.holds(milestone_id, row, now_us=self._now_us, after_s=rule.retract_after_s)

    def _judge_threshold(self, row: Row, rule: Rule, *, passes: bool) -> None:
        passed = rule.passed_by(row.published_count)
        if self._started and passes == passed and not rule.retract_after_s:
            return  # rules change only with a takeover: since then the milestone stands if and only if the row passes
        claim = Claim(
            threshold_id(rule, row.scope, row.period.id),
            "threshold",
            _position(rule),
            rule=rule.name,
            operator=rule.operator,
            threshold=rule.threshold,
        )
        first = rule.first and self._first(rule, row.scope).earliest == row.period.id
        self._judge_crossing(claim, row, passes=passes, passed=rule.passed_by(row.known_count), first=first)

    def _judge_multiples(self, row: Row, rule: Rule, every: int) -> Iterator[None]:
        """Judges each multiple that a row has reached or fallen below. Those that stand are always the smallest ones."""
        reached, before, known = (count // every for count in (row.count, row.published_count, row.known_count))
        # Rules change only with a takeover: since then exactly the multiples that the row has reached stand.
        number = 1 if not self._started else min(reached, before) + 1
        while number <= reached or self._book.stands(multiple_id(rule, row.scope, row.period.id, number * every)):
            claim = Claim(
                multiple_id(rule, row.scope, row.period.id, number * every),
                "multiple",
                number * every,
                rule=rule.name,
                operator="reaches",
                threshold=number * every,
            )
            if number <= reached:
                self._held.end(claim.milestone_id)
                self._judge_crossing(claim, row, passes=True, passed=number <= known)
            elif not (rule.retract_after_s and self._is_held_back(claim.milestone_id, row, rule)):
                self._judge_crossing(claim, row, passes=False, passed=number <= known)
            number += 1
            yield from _pause(number)

    def _judge_crossing(self, claim: Claim, row: Row, *, passes: bool, passed: bool, first: bool = False) -> None:
        stands = self._book.stands(claim.milestone_id)
        if passes and not stands:
            # A window that had already passed is met by a new rule or target, or passes by its first opening balance; one in
            # which no day has grown has passed by a new calendar. None of these is news.
            by_units = (row.grew or row.is_balance_corrected) and not passed
            self._book.pass_(claim, row, news=by_units and not row.only_backfilled, first=first)
        elif stands and not passes:
            self._book.retract(claim, row, first=first)

    def _judge_first(self, first: FirstPassing) -> None:
        rule, scope = first.rule, first.scope
        claim = Claim(
            first_id(rule, scope),
            "first",
            _position(rule),
            rule=rule.name,
            operator=rule.operator,
            threshold=rule.threshold,
        )
        standing = self._book.get(claim.milestone_id)
        period, earliest = standing.period if standing is not None else None, first.earliest
        if period == earliest:
            return
        if period is not None:
            former = self._windows.get(RowKey(rule.metric, scope, period))
            if former is None:
                return  # its holiday is no longer counted: the setting does not undo what was achieved
            self._book.retract(claim, former, first=True)
        row = self._windows.get(RowKey(rule.metric, scope, earliest)) if earliest is not None else None
        if row is not None:
            by_units = row.grew and not rule.passed_by(row.known_count)
            news = by_units and not first.passed_before and not row.only_backfilled
            self._book.pass_(claim, row, news=news, first=True)

    def _judge_streaks(self, numbered: Iterable[tuple[Row, Rule, bool]]) -> Iterator[None]:
        touched: dict[tuple[str, str, str], tuple[Rule, Streaks]] = {}
        for row, rule, passes in numbered:
            if rule.streak is not None:
                # A rule for all holidays treats each holiday's years separately.
                of = (rule.name, row.scope, row.period.window)
                streaks = self._streaks.setdefault(of, Streaks(self._calendar))
                streaks.put(row.period, passes=passes)
                touched[of] = rule, streaks
        for (_, scope, _), (rule, streaks) in touched.items():
            for number, (period, length) in enumerate(streaks.judge()):
                self._judge_streak(rule, scope, period, length)
                yield from _pause(number)

    def _judge_streak(self, rule: Rule, scope: str, period: Period, length: int) -> None:
        """Judges a period that is now the last of `length` in a row that pass; lengths outside the rule are left alone."""
        least = rule.streak or 0
        row = self._row_of(rule, scope, period.id)
        for stands in self._book.streaks(streaks_id(rule, scope, period.id)):
            if stands >= least and stands != length:
                self._book.retract(self._streak(rule, row, stands), row)
        claim = self._streak(rule, row, length)
        if length >= least and not self._book.stands(claim.milestone_id):
            self._book.pass_(claim, row, news=self._is_newly_passed(rule, row, length))

    @staticmethod
    def _streak(rule: Rule, row: Row, length: int) -> Claim:
        return Claim(
            streak_id(rule, row.scope, row.period.id, length),
            "streak",
            _position(rule),
            rule=rule.name,
            operator=rule.operator,
            threshold=rule.threshold,
            streak=length,
        )

    def _is_newly_passed(self, rule: Rule, last: Row, length: int) -> bool:
        """Whether units of this step, other than backfill, have brought one of the last `length` periods over the number."""
        row: Row | None = last
        for _ in range(length):
            if row is None:
                break
            is_new = rule.passed_by(row.count) and not rule.passed_by(row.published_count)
            if is_new and row.grew and not row.only_backfilled:
                return True
            earlier = self._calendar.before(row.period)
            row = self._windows.get(RowKey(rule.metric, last.scope, earlier.id)) if earlier is not None else None
        return False

    def _judge_factors(self, rows: Sequence[Row]) -> Iterator[None]:
        touched: dict[tuple[str, str, str], tuple[Rule, Comparisons]] = {}
        for number, row in enumerate(rows):
            for rule in self._rules_of(row):
                if rule.factor is not None:
                    # A rule for all holidays treats each holiday's years separately.
                    of = (rule.name, row.scope, row.period.window)
                    comparisons = self._comparisons.setdefault(of, Comparisons(self._calendar, rule.than))
                    comparisons.put(row)
                    touched[of] = rule, comparisons
            yield from _pause(number)
        for (_, scope, _), (rule, comparisons) in touched.items():
            for number, period in enumerate(comparisons.stale()):
                self._judge_factor(rule, self._row_of(rule, scope, period.id), comparisons)
                yield from _pause(number)
            comparisons.end()

    def _judge_factor(self, rule: Rule, row: Row, comparisons: Comparisons) -> None:
        milestone_id = factor_id(rule, row.scope, row.period.id)
        stands = self._book.stands(milestone_id)
        may_pass = rule.while_running or row.is_over
        if not may_pass and not stands:
            return
        if row.period.id in comparisons.wanted:
            wanted = comparisons.wanted[row.period.id]
            if (may_pass and wanted is not None and row.count >= wanted) is stands and not rule.retract_after_s:
                return
        period = comparisons.base(row.period)
        base = self._windows.get(RowKey(rule.metric, row.scope, period.id)) if period is not None else None
        units = rule.units_of(base.count if base is not None else 0)
        is_compared = base is not None and base.is_over and base.count > 0 and comparisons.has_history(base)
        comparisons.wanted[row.period.id] = units if is_compared else None
        passes = may_pass and is_compared and row.count >= units
        if passes:
            self._held.end(milestone_id)
        if passes is stands:
            return
        claim = Claim(
            milestone_id,
            "factor",
            units,
            rule=rule.name,
            operator="reaches",
            threshold=units,
            factor=rule.factor,
            compared_with=period.id if period is not None else None,
            compared_count=base.count if base is not None else None,
        )
        if passes and base is not None:
            passed = (
                base.was_over
                and base.published_count > 0
                and comparisons.has_history(base, before=True)
                and row.published_count >= rule.units_of(base.published_count)
                and (rule.while_running or row.was_over)
            )
            # As with records, the clock may trigger it: then no unit of the step tells history from news.
            self._book.pass_(claim, row, news=not (passed or row.only_backfilled or row.count == row.backfilled))
        elif not self._is_held_back(milestone_id, row, rule):
            self._book.retract(claim, row)

    def _judge_scopes(self, rows: Iterable[Row]) -> Iterator[None]:
        """Judges shares of `all`, and leaders, in periods that are over."""
        for number, row in enumerate(rows):
            self._among_scopes.note(row)
            for rule in self._rules_of(row):
                if rule.share is not None:
                    self._judge_share(rule, rule.share, row)
                if rule.leader:
                    self._judge_leader(rule, row)
            yield from _pause(number)

    def _judge_share(self, rule: Rule, share: float, row: Row) -> None:
        milestone_id = scope_share_id(rule, row.scope, row.period.id)
        if not row.is_over and not self._book.stands(milestone_id):
            return
        whole = self._windows.get(RowKey(rule.metric, ALL, row.period.id))
        count = whole.count if whole is not None else 0
        units = rule.units_of_all(count)
        claim = Claim(
            milestone_id,
            "scope_share",
            max(1, units),
            rule=rule.name,
            operator="reaches",
            threshold=units,
            share=share,
            compared_scope=ALL,
            compared_count=count,
        )
        self._judge_among(claim, rule, row, passes=count > 0 and row.count >= units)

    def _judge_leader(self, rule: Rule, row: Row) -> None:
        milestone_id = leader_id(rule, row.scope, row.period.id)
        if not row.is_over and not self._book.stands(milestone_id):
            return
        leaders = self._among_scopes.leaders(rule.metric, rule.template, row.period.id)
        leads = row.scope == leaders.first
        led_before = self._among_scopes.led_before(row) if leads else None
        claim = Claim(
            milestone_id,
            "leader",
            leaders.second_units + 1,
            rule=rule.name,
            operator="exceeds",
            threshold=leaders.second_units if leads else leaders.units,
            compared_scope=leaders.second if leads else leaders.first,
            compared_count=leaders.second_units if leads else leaders.units,
        )
        self._judge_among(claim, rule, row, passes=led_before is not None and led_before != row.scope)

    def _judge_among(self, claim: Claim, rule: Rule, row: Row, *, passes: bool) -> None:
        """It is news if the scope's own units, or the end of its period, have decided it: nothing else is published with it."""
        passes = passes and row.is_over
        stands = self._book.stands(claim.milestone_id)
        if passes:
            self._held.end(claim.milestone_id)
        if passes and not stands:
            had_enough = row.was_over and row.published_count >= claim.position
            is_own = (row.grew or not row.was_over) and not had_enough
            news = is_own and not (row.only_backfilled or row.count == row.backfilled)
            self._book.pass_(claim, row, news=news)
        elif stands and not passes and not self._is_held_back(claim.milestone_id, row, rule):
            self._book.retract(claim, row)

    def _judge_records(self, rows: Sequence[Row], due: Sequence[Row]) -> Iterator[None]:
        """Judges records of periods that are over, and those that have just been passed if a rule asks for them."""
        yield from self._judge_best([row for row in rows if row.is_over], due, "record")
        yield from self._judge_best(rows, due, "record_passed")

    def _judge_best(self, rows: Sequence[Row], due: Sequence[Row], kind: _BestKind) -> Iterator[None]:
        touched: dict[tuple[str, str, str], tuple[Rule, RecordPeriods]] = {}
        of_kind = self._records if kind == "record" else self._records_passed
        for number, row in enumerate(rows):
            rule = next((rule for rule in self._rules_of(row) if _has(rule, kind)), None)
            if rule is not None:
                # A rule for all holidays treats each holiday's records separately.
                of = (rule.name, row.scope, row.period.window)
                periods = of_kind.setdefault(of, RecordPeriods())
                periods.put(row)
                touched[of] = (rule, periods)
            yield from _pause(number)
        for (_, scope, window), (rule, periods) in touched.items():
            before_step: list[Row] = []
            if not self._started:
                # Only a takeover can bring a new rule; what was already a record is then not news.
                for number, period_id in enumerate(periods):
                    row = self._row_of(rule, scope, period_id)
                    if row.was_over or kind == "record_passed":
                        before_step.append(row)
                    yield from _pause(number)
            before = _records_before(before_step)
            judged = {
                row.key: (row, False)
                for row in due
                if row.period.window == window
                and rule in self._rules_of(row)
                and _best_id(rule, row, kind) in self._held
            }
            for period_id, is_record in periods.judge():
                row = self._row_of(rule, scope, period_id)
                judged[row.key] = row, is_record
            for row, is_record in judged.values():
                claim = Claim(_best_id(rule, row, kind), kind, periods.best_before(row) + 1, rule=rule.name)
                self._judge_record(claim, rule, row, is_record=is_record, was_record=row.period.id in before)

    def _row_of(self, rule: Rule, scope: str, period_id: str) -> Row:
        row = self._windows.get(RowKey(rule.metric, scope, period_id))
        if row is None:
            raise RuntimeError(f"{rule.metric}/{scope}: the row of {period_id} is gone")
        return row

    def _judge_record(self, claim: Claim, rule: Rule, row: Row, *, is_record: bool, was_record: bool) -> None:
        stands = self._book.stands(claim.milestone_id)
        if is_record:
            self._held.end(claim.milestone_id)
        if is_record and not stands:
            # Periods loaded as history end by the clock: then no unit of the step tells them from news.
            news = not (was_record or row.only_backfilled or row.count == row.backfilled)
            self._book.pass_(claim, row, news=news)
        elif stands and not is_record and not self._is_held_back(claim.milestone_id, row, rule):
            self._book.retract(claim, row)


def _has(rule: Rule, kind: _BestKind) -> bool:
    """Whether a rule raises records of a kind."""
    return rule.record and (kind == "record" or rule.while_running)


def _best_id(rule: Rule, row: Row, kind: _BestKind) -> str:
    made = record_id if kind == "record" else record_passed_id
    return made(rule, row.scope, row.period.id)


def _position(rule: Rule) -> int:
    """The position of the unit that passes a rule's threshold."""
    return (rule.threshold or 0) + (rule.operator == "exceeds")


def _departure(left: Left) -> Step:
    version = [left.version] if left.version is not None else []
    return Step(replaced=version, left=[left.key] if left.is_published else [])


def _ordered(step: Step, *, is_last: bool = False) -> Step:
    return replace(step, milestones=in_order(step.milestones), is_last=is_last)


def _records_before(rows: Sequence[Row]) -> set[str]:
    """The records among periods, given in order, by their published counts."""
    published = records_among(row.published_count for row in rows)
    return {row.period.id for row, is_record in zip(rows, published, strict=True) if is_record}


def _pause(number: int) -> Iterator[None]:
    """Pauses after every `_PAUSE_ROWS` rows."""
    if number % _PAUSE_ROWS == _PAUSE_ROWS - 1:
        yield None
