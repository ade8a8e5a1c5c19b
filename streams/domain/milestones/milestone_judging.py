"""Which rows pass which rules and targets, and what milestones that raises or retracts: a method for each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from schemas.rows import RowKey
from schemas.texts import ALL, template_of
from streams.domain.milestones.among_scopes import AmongScopes
from streams.domain.milestones.comparisons import Comparisons
from streams.domain.milestones.firsts import FirstPassing
from streams.domain.milestones.milestones import Claim, MilestoneBook
from streams.domain.milestones.records import RecordPeriods, records_among
from streams.domain.milestones.step_parts import pause
from streams.domain.milestones.streaks import Streaks
from streams.domain.rules import (
    Rule,
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
from streams.domain.time.campaigns import CAMPAIGN

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence

    from schemas.outputs import MilestoneKind
    from streams.domain.milestones.delayed_retractions import HeldBack
    from streams.domain.rows.window_row import Row
    from streams.domain.rows.windows import Windows
    from streams.domain.time.calendar import Calendar
    from streams.domain.time.periods import Period

#: A record of a period that is over, or of one that may still be running.
_BestKind = Literal["record", "record_passed"]


class MilestoneJudging:
    """Judges the rows of a step. What is decided is in the book, and retractions that wait are in `held`.

    Args:
        rules: What raises milestones; records, streaks and the like are kept for each.
        calendar: Periods of a date.
        windows: All rows.
        book: The standing milestones.
        held: Retractions that are delayed.
    """

    def __init__(
        self, rules: Sequence[Rule], calendar: Calendar, windows: Windows, book: MilestoneBook, held: HeldBack
    ) -> None:
        self._rules = tuple(rules)
        self._calendar = calendar
        self._windows = windows
        self._book = book
        self._held = held
        #: Whether everything has been judged once, so that milestones agree with the published rows.
        self.started = False
        self._now_us = 0
        self._rules_by_window: dict[tuple[str, tuple[str, ...], str], tuple[Rule, ...]] = {}
        self._template_of: tuple[str, tuple[str, ...]] = ALL, ()
        self._firsts: dict[tuple[str, str], FirstPassing] = {}
        self._streaks: dict[tuple[str, str, str], Streaks] = {}
        self._comparisons: dict[tuple[str, str, str], Comparisons] = {}
        self._records: dict[tuple[str, str, str], RecordPeriods] = {}
        self._records_passed: dict[tuple[str, str, str], RecordPeriods] = {}
        self._among_scopes = AmongScopes(windows, calendar)
        self._comparing_scopes = tuple(rule for rule in self._rules if rule.compares_scopes)

    def begin_step(self, now_us: int) -> None:
        """Begins a step at a time by the clock, microseconds since 1970."""
        self._now_us = now_us
        self._book.begin_step(now_us)

    def due(self) -> set[RowKey]:
        """The rows to judge though none of their counts has changed."""
        due = set(self._held.due(self._now_us))
        self._among_scopes.begin_step()
        due.update(self._among_scopes.touched(self._comparing_scopes))
        return due

    def judge(self, rows: Sequence[Row], due: Container[RowKey]) -> Iterator[None]:
        """Judges rows of one scope by all rules and targets, with pauses."""
        yield from self._judge_numbers(rows)
        yield from self._judge_factors(rows)
        if self._comparing_scopes:
            yield from self._judge_scopes(rows)
        yield from self._judge_records(rows, [row for row in rows if row.key in due])

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
            yield from pause(number)
        for number, (row, rule, passes) in enumerate(numbered):
            if rule.first:
                first = touched[rule.name, row.scope] = self._first(rule, row.scope)
                first.put(row, passes=passes)
            yield from pause(number)
        for number, (row, rule, passes) in enumerate(numbered):
            self._judge_threshold(row, rule, passes=passes)
            yield from pause(number)
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
        if self.started and passes == passed and not rule.retract_after_s:
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
        number = 1 if not self.started else min(reached, before) + 1
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
            yield from pause(number)

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
                yield from pause(number)

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
            is_new = rule.passed_by(row.count) and not rule.passed_by(row.known_count)
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
            yield from pause(number)
        for (_, scope, _), (rule, comparisons) in touched.items():
            for number, period in enumerate(comparisons.stale()):
                self._judge_factor(rule, self._row_of(rule, scope, period.id), comparisons)
                yield from pause(number)
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
                and base.earlier_count > 0
                and comparisons.has_history(base, before=True)
                and row.earlier_count >= rule.units_of(base.earlier_count)
                and (rule.while_running or row.was_over)
            )
            self._book.pass_(claim, row, news=not passed and _has_news(row))
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
            yield from pause(number)

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
            had_enough = row.was_over and row.earlier_count >= claim.position
            is_own = (row.grew or not row.was_over) and not had_enough
            self._book.pass_(claim, row, news=is_own and _has_news(row))
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
            yield from pause(number)
        for (_, scope, window), (rule, periods) in touched.items():
            before_step: list[Row] = []
            if not self.started:
                # Only a takeover can bring a new rule; what was already a record is then not news.
                for number, period_id in enumerate(periods):
                    row = self._row_of(rule, scope, period_id)
                    if row.was_over or kind == "record_passed":
                        before_step.append(row)
                    yield from pause(number)
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
            self._book.pass_(claim, row, news=not was_record and _has_news(row))
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


def _records_before(rows: Sequence[Row]) -> set[str]:
    """The records among periods, given in order, by their counts before the step."""
    found = records_among(row.earlier_count for row in rows)
    return {row.period.id for row, is_record in zip(rows, found, strict=True) if is_record}


def _has_news(row: Row) -> bool:
    """Whether a period that is compared with others has more than loaded history, and more than was there when its row was added.

    The clock may have decided: then no unit of the step tells history from news.
    """
    return not (row.only_backfilled or row.count == row.backfilled or row.only_met)
