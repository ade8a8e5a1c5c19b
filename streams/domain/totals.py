"""Totals: the single writer's step from day counts to window rows and milestones.

All state is in the output topics. The published rows and milestones are the state before a step, so taking over is just
another step: the rows and milestones that differ are published, and nothing twice.

A step can be too large for one transaction and for one turn of the event loop. It is made scope by scope: rows of one scope
and the milestones that they lead to are published together, so each scope is consistent at every moment, and a step that is
interrupted continues after the takeover. If even one scope is too large, its milestones are first remembered as decided: once
some of the rows are published, it is no longer possible to tell what the others were judged by.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from schemas.codec import decode_day_count, read_row
from schemas.counts import CampaignHour, decode_counts_key
from schemas.instants import utc_text
from schemas.rows import PublishedRow, RowKey
from schemas.texts import ALL, template_of
from streams.domain.announced.balances import BalanceBook
from streams.domain.announced.controls import Controls
from streams.domain.announced.disposition import APPLIED
from streams.domain.announced.targets import TargetBook
from streams.domain.milestones.delayed_retractions import HeldBack
from streams.domain.milestones.milestone_judging import MilestoneJudging
from streams.domain.milestones.milestones import MilestoneBook
from streams.domain.milestones.step_parts import (
    PAUSE_ROWS,
    RECORDS_OF_ROW,
    RISEN,
    JudgedRows,
    Step,
    StepParts,
    departure,
    ordered,
    pause,
)
from streams.domain.rows.kept_days import KeptDays
from streams.domain.rows.row_versions import PlainVersions
from streams.domain.rows.windows import Windows
from streams.domain.rules import Rule, Target, check_rules, check_targets
from streams.domain.scopes.overflow import scope_of_others
from streams.domain.scopes.scopes import Scopes
from streams.domain.time.campaigns import CAMPAIGN, MINUTES
from streams.domain.time.periods import TOTAL
from streams.domain.time.zone import BusinessZone

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping, Sequence
    from datetime import date

    from schemas.facts import DayCount, LatestUnit, Metric
    from schemas.outputs import MilestoneEvent
    from streams.domain.announced.balances import BalanceChange
    from streams.domain.announced.controls import Control
    from streams.domain.announced.disposition import Disposition
    from streams.domain.announced.targets import TargetChange
    from streams.domain.counts.nth import InCell
    from streams.domain.rows.kept_days import KeptState
    from streams.domain.rows.row_table import CountedDay
    from streams.domain.scopes.overflow import ScopeBounds
    from streams.domain.time.calendar import Calendar
    from streams.domain.time.campaigns import Campaign

_NO_LIMIT: Final = 1 << 62


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
        self._book = MilestoneBook(timezone)
        self._days_seen: set[date] = set()
        self._zone = BusinessZone(timezone)
        self._held = HeldBack()
        self._has_left = False
        self._target_book = TargetBook(targets)
        self._watched = {(rule.metric, rule.template) for rule in rules}
        # If scopes are compared, the row of `all` matters too.
        self._watched |= {(rule.metric, ()) for rule in rules if rule.compares_scopes}
        self._kept = KeptDays(keep_days)
        self._windows = Windows(calendar, closed_after_s, self._is_watched, self._kept, keeps_inventory=keeps_inventory)
        self._judging = MilestoneJudging(rules, calendar, self._windows, self._book, self._held)
        self._parts = StepParts(self._windows, timezone)
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
        count = decode_day_count(value)
        if (len(count.by_hour) == MINUTES) is not isinstance(counted[2], CampaignHour):
            raise ValueError(
                f"the count of {key!r} has {len(count.by_hour)} parts, which are of another kind of window"
            )
        self.update(shard, *counted, count)

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
        if is_new and self._others_before and not self._judging.started:
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

    def hour_of_unit(self, metric: Metric, scope: str, first: date, last: date, number: int) -> InCell | None:
        """The local hour of the N-th unit (from 1) between two dates; None if there are not that many."""
        return self._windows.hour_of_unit(metric, scope, first, last, number)

    def newest_unit(self, metric: Metric, scope: str, first: date, last: date) -> LatestUnit | None:
        """The latest unit between two dates, if the ledger partitions have published which it is."""
        return self._windows.newest_unit(metric, scope, first, last)

    def instants_of(self, period_id: str) -> str | None:
        """The first instant of a campaign and the first one after it, in one text; None if it is not counted."""
        return self._calendar.period(period_id).definition if period_id in self._campaigns else None

    def minute_of_unit(self, key: RowKey, number: int) -> InCell | None:
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
        self._judging.begin_step(now_us)
        self._parts.updated_at = utc_text(now_us)
        gathered, size = Step(), 0
        for made in self._made(now_us, most, waiting, caught_up=caught_up):
            if made is None:
                yield None
                continue
            is_before_leaving = made is RISEN and (gathered.milestones or gathered.rows or gathered.plain.records)
            further = made.size
            if size and (size + further > most or is_before_leaving):
                yield ordered(gathered)
                gathered, size = Step(), 0
            gathered.add(made)
            size += further
        yield ordered(gathered, is_last=True)

    def _made(
        self, now_us: int, most: int, waiting: Callable[[], set[RowKey]], *, caught_up: bool
    ) -> Iterator[Step | None]:
        """The result of a step, in pieces that belong together; None is a pause."""
        for number, late in enumerate(self._windows.leaving_late()):
            yield departure(late)
            yield from pause(number)
        is_new = not self._judging.started and not self._has_published
        if is_new and self._campaigns:
            # Nothing has been counted yet: everything in campaigns is news, as it is in other windows.
            self._campaigns_before = dict(self._campaigns)
            yield Step(campaigns=dict(self._campaigns))
        known = self._campaigns.items() & self._campaigns_before.items()
        self._windows.know_campaigns(period_id for period_id, _ in known)
        yield from self._of_scopes(now_us, most, caught_up=caught_up)
        self._judging.started = True
        for _ in self._windows.finishing_step():
            yield None
        self._held.end_step()
        if held := self._held.drain():
            yield Step(held=held)
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
        due, judged = self._judging.due(), 0
        # Rows of scopes that have only plain ones, to publish together: whole scopes, and no more than fit into a transaction.
        plain: list[int] = []
        at_once = min(PAUSE_ROWS, most // RECORDS_OF_ROW)
        for places, are_plain in self._windows.begin_step(
            now_us=now_us, caught_up=caught_up, also=due, at_once=at_once
        ):
            if not places:
                yield None
                continue
            judged += len(places)
            is_plain = len(places) * RECORDS_OF_ROW <= most and (are_plain or self._windows.all_plain(places))
            if plain and (not is_plain or (len(plain) + len(places)) * RECORDS_OF_ROW > most):
                yield self._parts.plain_rows(plain)
                plain = []
            if is_plain:
                plain += places
            else:
                yield from self._judge_scope(places, due, most)
            # Most scopes have few rows: many such scopes are as much work as one with many rows.
            if judged >= PAUSE_ROWS:
                judged = 0
                if plain:
                    yield self._parts.plain_rows(plain)
                    plain = []
                yield None
        if plain:
            yield self._parts.plain_rows(plain)

    def _leave(self, waiting: Callable[[], set[RowKey]]) -> Iterator[Step | None]:
        """Removes the rows of days that are no longer kept, one by one; None is a pause."""
        changed = dict(self._kept.changed())
        if changed:
            # Rows that come back are published by now, and none of the leaving rows has left yet.
            yield Step(kept=changed)
        if not (changed or self._windows.stayed or not self._has_left):
            return
        yield RISEN  # otherwise it would not be known yet which of its milestones wait
        stay = self._held.rows() | waiting()
        if changed or not self._has_left or self._windows.stayed - stay:
            self._has_left = True
            for left in self._windows.leaving(stay):
                if left is None:
                    yield None
                else:
                    yield departure(left)

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
        is_much = len(places) * RECORDS_OF_ROW > most
        for part in self._windows.by_metric(places) if is_much else [places]:
            yield from self._judge(part, due, most)

    def _judge(self, places: list[int], due: Container[RowKey], most: int) -> Iterator[Step | None]:
        """Judges rows of one scope, all or those of a metric; None is a pause."""
        judged = yield from self._judged(places, due)
        fits = yield from self._parts.fits(judged, most)
        parts = [judged] if fits else judged.by_metric(self._windows.metric)
        for part in parts:
            if fits or (len(parts) > 1 and (yield from self._parts.fits(part, most))):
                yield from self._parts.in_one(part)
            else:
                yield from self._parts.in_pieces(part)

    def _judged(self, places: list[int], due: Container[RowKey]) -> Generator[None, None, JudgedRows]:
        """The same, not published yet."""
        to_judge, plain = self._windows.parted(places)
        if not to_judge:
            return JudgedRows([], plain, [], {}, [])
        self._windows.begin_group()
        for first in range(0, len(to_judge), PAUSE_ROWS):
            if first:
                yield
            self._windows.load(to_judge[first : first + PAUSE_ROWS])
        rows = self._windows.group()
        yield from self._judging.judge(rows, due)
        return JudgedRows(rows, plain, self._book.end_step(), self._held.drain(), list(self._book.settled()))

    def _is_watched(self, metric: str, scope: str) -> bool:
        """Whether a rule or a target, even one that is not in force, can raise milestones of a metric and scope."""
        return (metric, template_of(scope)) in self._watched or self._target_book.has(metric, scope)
