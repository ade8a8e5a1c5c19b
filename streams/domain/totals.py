"""Totals: the single writer's step from day counts to window rows and milestones.

Nothing is kept that the output topics do not say. What is published is the state before a step, so taking over is one
more step: the rows and milestones that differ are published, and nothing twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from schemas.instants import utc_text
from schemas.rows import RowKey
from streams.domain.controls import Controls
from streams.domain.disposition import APPLIED
from streams.domain.firsts import FirstPassing
from streams.domain.held import HeldBack
from streams.domain.milestones import Claim, MilestoneBook
from streams.domain.records import RecordDays, records_among
from streams.domain.rules import (
    Rule,
    Target,
    check_rules,
    check_targets,
    first_id,
    record_id,
    target_milestone_id,
    template_of,
    threshold_id,
)
from streams.domain.scopes import Scopes
from streams.domain.targets import TargetBook
from streams.domain.windows import Row, Windows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date

    from schemas.facts import DayCount, Metric
    from schemas.outputs import MilestoneEvent, WindowRow
    from streams.domain.calendar import Calendar
    from streams.domain.controls import Control
    from streams.domain.disposition import Disposition
    from streams.domain.targets import TargetChange

SOURCE_TOPICS: Final[Mapping[int, str]] = {0: "vehicle.orders.v1", 1: "vehicle.deliveries.v1"}


@dataclass(frozen=True, slots=True)
class Step:
    """What one evaluation publishes, in one transaction: changed rows by key, milestones in order.

    `held` is to be remembered: id of a milestone → since when its retraction is held back, None when it is no longer.
    """

    rows: list[WindowRow]
    milestones: list[MilestoneEvent]
    held: dict[str, int | None]


class Totals:
    """Day counts in, rows and milestones out. Restore first, then update and evaluate in turn.

    Args:
        calendar: Periods of a date.
        rules: What raises milestones.
        targets: The targets to start with; events replace them.
        timezone: IANA name of the business time zone.
        closed_after_s: Seconds after the end of a period until its row is closed.
        topics: Names of the source topics, orders first, for the causes of milestones.
        scopes: The scopes that are counted; control totals of others have nothing to be compared with.

    Raises:
        ValueError: A rule or target is not valid; the line names it.
    """

    def __init__(  # noqa: PLR0913 - the parts of a configuration, by name
        self,
        *,
        calendar: Calendar,
        rules: Sequence[Rule],
        targets: Sequence[Target],
        timezone: str,
        closed_after_s: int = 259_200,
        topics: Mapping[int, str] = SOURCE_TOPICS,
        scopes: Scopes | None = None,
    ) -> None:
        check_rules(rules, calendar)
        check_targets(targets, calendar)
        self._calendar = calendar
        self._timezone = timezone
        self._rules = tuple(rules)
        self._book = MilestoneBook(timezone, topics)
        self._rules_by_window: dict[tuple[str, str, str], tuple[Rule, ...]] = {}
        self._firsts: dict[tuple[str, str], FirstPassing] = {}
        self._records: dict[tuple[str, str], RecordDays] = {}
        self._days_seen: set[date] = set()
        self._held = HeldBack()
        self._now_us = 0
        self._started = False
        self._windows = Windows(calendar, closed_after_s)
        self._scopes = scopes or Scopes()
        self._controls = Controls()
        self._target_book = TargetBook(targets)
        self._targets: tuple[Target, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Lines to show: years that have counts but no holiday calendar."""
        return self._calendar.warnings(self._days_seen)

    def restore_row(self, row: WindowRow) -> None:
        """Takes over the published version of a row, before the first evaluation."""
        self._windows.restore(row)

    def restore_milestone(self, event: MilestoneEvent) -> None:
        """Restores a published milestone event, in topic order, before the first evaluation."""
        self._book.restore(event)

    def publish_as(self, source: str) -> None:
        """Sets the `source` of the milestone events from now on, a URI reference."""
        self._book.source = source

    def restore_held(self, milestone_id: str, since_us: int) -> None:
        """Takes over since when a retraction is held back, before the first evaluation."""
        self._held.restore(milestone_id, since_us)

    def update(self, shard: int, metric: Metric, scope: str, day: date, count: DayCount) -> None:
        """Takes the absolute count of one shard, metric, scope and business date; it replaces any earlier one."""
        self._days_seen.add(day)
        self._windows.update(shard, metric, scope, day, count)

    def take_target(self, change: TargetChange) -> Disposition:
        """Takes a target event, which takes effect with the first evaluation at its time or later."""
        return self._target_book.take(change)

    def take_control(self, control: Control) -> Disposition:
        """Takes another system's total; the next evaluation puts it on its row, if such a row can be."""
        taken = self._controls.take(control)
        if taken == APPLIED and self._scopes.has(control.row.scope):
            self._windows.set_controls(control.row, self._controls.of(control.row))
        return taken

    @property
    def targets(self) -> tuple[Target, ...]:
        """The targets in force at the last evaluation, by id."""
        return self._targets

    def day(self, metric: Metric, scope: str, day: date) -> Row | None:
        """The row of a business date as it is now; None where there is none."""
        return self._windows.get(RowKey(metric, scope, f"day:{day.isoformat()}"))

    def evaluate(self, *, now_us: int, caught_up: bool) -> Step:
        """Judges what has changed since the last call; the first time, everything.

        Args:
            now_us: The clock, microseconds since 1970.
            caught_up: Every shard has read all there is; only then do periods come to be over.
        """
        targets = self._target_book.in_force(now_us)
        if targets is not self._targets:
            self._targets = targets
            self._windows.set_targets(targets)
        rows = self._windows.end_step(now_us=now_us, caught_up=caught_up)
        due = self._held.due(now_us)
        if due:
            rows = list({row.key: row for row in (*rows, *due)}.values())
        rows.sort(key=lambda row: row.key)
        self._now_us = now_us
        self._book.begin_step(now_us)
        self._judge_numbers(rows)
        self._judge_records(rows, due)
        self._started = True
        updated_at = utc_text(now_us)
        published = [row.publish(self._timezone, updated_at) for row in rows]
        return Step([row for row in published if row is not None], self._book.end_step(), self._held.end_step())

    def _rules_of(self, row: Row) -> tuple[Rule, ...]:
        """The rules that watch a row: the same for all periods of a metric, scope and window."""
        key = (row.metric, row.scope, row.period.window)
        found = self._rules_by_window.get(key)
        if found is None:
            template, windows = template_of(row.scope), (row.period.window, row.period.kind)
            found = tuple(
                rule
                for rule in self._rules
                if rule.metric == row.metric and rule.template == template and rule.window in windows
            )
            self._rules_by_window[key] = found
        return found

    def _first(self, rule: Rule, scope: str) -> FirstPassing:
        return self._firsts.setdefault((rule.name, scope), FirstPassing(rule, scope))

    def _judge_numbers(self, rows: Iterable[Row]) -> None:
        """Thresholds, firsts and targets. Which period is the first must be known before thresholds can say so."""
        touched: dict[tuple[str, str], FirstPassing] = {}
        numbered = [
            (row, rule, self._counts_as_passing(row, rule))
            for row in rows
            for rule in self._rules_of(row)
            if rule.operator is not None
        ]
        for row, rule, passes in numbered:
            if rule.first:
                first = touched[rule.name, row.scope] = self._first(rule, row.scope)
                first.put(row, passes=passes)
        for row, rule, passes in numbered:
            self._judge_threshold(row, rule, passes=passes)
        for first in touched.values():
            self._judge_first(first)
        for row in rows:
            for target in row.targets:
                claim = Claim(
                    target_milestone_id(target),
                    "target",
                    target_id=target.target_id,
                    operator="reaches",
                    threshold=target.value,
                )
                passes, passed = row.count >= target.value, row.published_count >= target.value
                self._judge_crossing(claim, row, passes=passes, passed=passed)

    def _counts_as_passing(self, row: Row, rule: Rule) -> bool:
        """Whether a row passes the number of a rule, or has done so and may do so again soon."""
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
            return  # rules change with a takeover only: since then the milestone stands exactly when the row passes
        claim = Claim(
            threshold_id(rule, row.scope, row.period.id),
            "threshold",
            rule=rule.name,
            operator=rule.operator,
            threshold=rule.threshold,
        )
        first = rule.first and self._first(rule, row.scope).earliest == row.period.id
        self._judge_crossing(claim, row, passes=passes, passed=passed, first=first)

    def _judge_crossing(self, claim: Claim, row: Row, *, passes: bool, passed: bool, first: bool = False) -> None:
        stands = self._book.stands(claim.milestone_id)
        if passes and not stands:
            # A window that had passed before is met by a new rule or target; one in which no day has grown has
            # passed by a new calendar. Neither is news.
            by_units = row.grew and not passed
            self._book.pass_(claim, row, news=by_units and not row.only_backfilled, by_units=by_units, first=first)
        elif stands and not passes:
            self._book.retract(claim, row, first=first)

    def _judge_first(self, first: FirstPassing) -> None:
        rule, scope = first.rule, first.scope
        claim = Claim(first_id(rule, scope), "first", rule=rule.name, operator=rule.operator, threshold=rule.threshold)
        standing = self._book.get(claim.milestone_id)
        period, earliest = standing.period if standing is not None else None, first.earliest
        if period == earliest:
            return
        if period is not None:
            former = self._windows.get(RowKey(rule.metric, scope, period))
            if former is None:
                return  # its holiday is no longer counted: the setting does not take back what was achieved
            self._book.retract(claim, former, first=True)
        row = self._windows.get(RowKey(rule.metric, scope, earliest)) if earliest is not None else None
        if row is not None:
            by_units = row.grew and not rule.passed_by(row.published_count)
            news = by_units and not first.passed_before and not row.only_backfilled
            self._book.pass_(claim, row, news=news, by_units=by_units, first=True)

    def _judge_records(self, rows: Iterable[Row], due: Iterable[Row]) -> None:
        touched: dict[tuple[str, str], tuple[Rule, RecordDays]] = {}
        for row in rows:
            rule = next((rule for rule in self._rules_of(row) if rule.record), None) if row.is_over else None
            if rule is not None:
                days = self._records.setdefault((rule.name, row.scope), RecordDays())
                days.put(row)
                touched[rule.name, row.scope] = (rule, days)
        for rule, days in touched.values():
            # Only a takeover can bring a new rule; what was a record before it is then not news.
            before = set() if self._started else _records_before(days)
            judged = {row.key: (row, False) for row in due if self._waits_as_record(row, rule)}
            judged |= {row.key: (row, is_record) for row, is_record in days.judge()}
            for row, is_record in judged.values():
                self._judge_record(rule, row, is_record=is_record, was_record=row.period.id in before)

    def _waits_as_record(self, row: Row, rule: Rule) -> bool:
        return rule in self._rules_of(row) and record_id(rule, row.scope, row.period.id) in self._held

    def _judge_record(self, rule: Rule, row: Row, *, is_record: bool, was_record: bool) -> None:
        claim = Claim(record_id(rule, row.scope, row.period.id), "record", rule=rule.name)
        stands = self._book.stands(claim.milestone_id)
        if is_record:
            self._held.end(claim.milestone_id)
        if is_record and not stands:
            # Days loaded as history come to be over by the clock: no unit of that step tells them from news.
            news = not (was_record or row.only_backfilled or row.count == row.backfilled)
            by_clock = row.published_status == "open"
            self._book.pass_(claim, row, news=news, by_units=row.grew and not was_record and not by_clock)
        elif stands and not is_record and not self._is_held_back(claim.milestone_id, row, rule):
            self._book.retract(claim, row)


def _records_before(days: RecordDays) -> set[str]:
    over = [row for row in days if row.was_over]
    return {
        row.period.id
        for row, is_record in zip(over, records_among(row.published_count for row in over), strict=True)
        if is_record
    }
