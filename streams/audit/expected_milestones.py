"""The milestones that should stand, from counts, rules and targets: a second implementation of the rules."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from schemas.facts import DIMENSIONS
from schemas.outputs import ALERT_KINDS
from schemas.rows import RowKey
from schemas.texts import ALL, template_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import date

    from schemas.outputs import MilestoneData, MilestoneEvent, WindowRow
    from streams.audit.sums import Window
    from streams.domain.time.periods import Period
    from streams.settings import Settings
    from streams.settings_sections import RuleSettings


_YEAR = re.compile(r"[0-9]{4}")


class TargetInForce(NamedTuple):
    """A value that a window should reach."""

    target_id: str
    metric: str
    scope: str
    period: str
    value: int
    at: tuple[float, ...] = ()


@dataclass
class ExpectedStanding:
    """The milestones that should stand, and the rule behind each.

    Attributes:
        periods: Milestone id → the period for which it stands.
        rule_of: Milestone id → name of the rule; only for rules, not for targets.
    """

    periods: dict[str, str] = field(default_factory=dict)
    rule_of: dict[str, str] = field(default_factory=dict)

    def add(self, milestone_id: str, period_id: str, rule: RuleSettings) -> None:
        """Adds a milestone of a rule."""
        self.periods[milestone_id] = period_id
        self.rule_of[milestone_id] = rule.name


def expected_standing(
    settings: Settings,
    windows: Mapping[RowKey, Window],
    rows: Mapping[RowKey, WindowRow],
    targets: Iterable[TargetInForce],
) -> ExpectedStanding:
    """The milestones that should stand.

    Args:
        settings: The rules.
        windows: The counts; empty windows may be missing.
        rows: The rows as published; they tell which periods are over.
        targets: The targets in force.
    """
    standing = ExpectedStanding()
    for rule in settings.rule:
        _of_rule(rule, windows, rows, standing)
    for target in targets:
        window = windows.get(RowKey.of(target))
        if window is not None and window.count >= target.value:
            standing.periods[_target_id(target)] = target.period
        for share in target.at:
            if window is not None and window.count >= Decimal(str(share)) * target.value:
                standing.periods[_share_id(target, share)] = target.period
    return standing


def _of_rule(
    rule: RuleSettings,
    windows: Mapping[RowKey, Window],
    rows: Mapping[RowKey, WindowRow],
    standing: ExpectedStanding,
) -> None:
    """Adds the milestones of a rule; what each kind of rule adds takes only windows that the rule watches."""
    watched = {key: window for key, window in windows.items() if _is_of(rule, key)}
    _passed(rule, watched, standing)
    if rule.streak is not None:
        _streaks(rule, rule.streak, watched, standing)
    if rule.every is not None:
        _multiples(rule, rule.every, watched, standing)
    if rule.factor is not None:
        _factors(rule, Decimal(str(rule.factor)), watched, rows, standing)
    if rule.record:
        _records(rule, watched, rows, standing)
    if rule.record and rule.as_ == "passed":
        _records(rule, watched, None, standing)
    if rule.share is not None:
        _shares_of_all(rule, watched, windows, rows, standing)
    if rule.leader:
        _leaders(rule, watched, rows, standing)


def found_standing(milestones: Iterable[MilestoneEvent]) -> dict[str, MilestoneEvent]:
    """The milestones that stand after their last event, by id; without alerts."""
    last = {event.data.milestone_id: event for event in milestones if event.data.kind not in ALERT_KINDS}
    return {name: event for name, event in last.items() if event.stands}


def is_judged(settings: Settings, event: MilestoneEvent, targets: Iterable[TargetInForce]) -> bool:
    """Whether a current rule or target watches a milestone; milestones of former rules are never retracted."""
    if event.data.kind == "target":
        return event.data.milestone_id in {_target_id(target) for target in targets}
    if event.data.kind == "share":
        return event.data.milestone_id in {_share_id(target, share) for target in targets for share in target.at}
    return _rule_of(settings, event) is not None


def is_of_campaign_left_out(settings: Settings, data: MilestoneData) -> bool:
    """Whether a milestone belongs to a campaign that is no longer counted: it stays as it was."""
    kind, _, name = data.period.partition(":")
    if kind != "campaign":
        return False
    counted = (one.scopes or settings.scopes for one in settings.campaign if one.name == name)
    return frozenset(template_of(data.scope)) not in {frozenset(each) for scopes in counted for each in scopes}


def may_be_held(settings: Settings, event: MilestoneEvent) -> bool:
    """Whether a milestone may still stand although it should not, because its rule delays retractions."""
    rule = _rule_of(settings, event)
    return rule is not None and rule.retract_after_s > 0


def _rule_of(settings: Settings, event: MilestoneEvent) -> RuleSettings | None:
    """The current rule that watches a milestone, if any."""
    data = event.data
    row = RowKey(data.metric, data.scope, data.period)
    return next((rule for rule in settings.rule if _is_of(rule, row) and _raises(rule, data)), None)


def _raises(rule: RuleSettings, data: MilestoneData) -> bool:
    """Whether a rule that watches their window raises milestones of this kind and threshold."""
    if data.kind in ("record", "record_passed"):
        return rule.record and (data.kind == "record" or rule.as_ == "passed")
    if data.kind == "scope_share":
        return rule.share == data.share
    if data.kind == "leader":
        return rule.leader
    if data.kind == "factor":
        return (rule.factor, rule.than) == (data.factor, data.milestone_id.rpartition(":")[2])
    if data.kind == "multiple":
        return f"/every:{rule.every}:" in data.milestone_id
    if _number(rule) != (data.operator, data.threshold):
        return False
    if data.kind == "streak":
        return rule.streak is not None and (data.streak or 0) >= rule.streak
    return data.kind != "first" or (rule.first and f"/first:{rule.window}/" in data.milestone_id)


def passes(operator: str | None, threshold: int | None, count: int) -> bool:
    """Whether a count passes: `exceeds` means more than the threshold, `reaches` at least that."""
    if operator is None or threshold is None:
        return False
    return count > threshold if operator == "exceeds" else count >= threshold


def is_over(row: WindowRow | None) -> bool:
    """Whether, according to the service, a period has ended and has been read completely."""
    return row is not None and row.status != "open"


def _passed(rule: RuleSettings, windows: Mapping[RowKey, Window], standing: ExpectedStanding) -> None:
    operator, threshold = _number(rule)
    firsts: dict[str, tuple[date, str, date, str]] = {}
    for (metric, scope, period_id), window in windows.items():
        if not passes(operator, threshold, window.count):
            continue
        milestone_id = f"{metric}/{scope}/{period_id}/{operator}:{threshold}"
        standing.add(milestone_id, period_id, rule)
        when = *_when(window.period), period_id
        firsts[scope] = min(firsts.get(scope, when), when)
    if rule.first:
        for scope, (*_, period_id) in firsts.items():
            milestone_id = f"{rule.metric}/{scope}/first:{rule.window}/{operator}:{threshold}"
            standing.add(milestone_id, period_id, rule)


def _streaks(rule: RuleSettings, least: int, windows: Mapping[RowKey, Window], standing: ExpectedStanding) -> None:
    operator, threshold = _number(rule)
    runs: dict[tuple[str, str], list[Window]] = {}
    for (metric, scope, period_id), window in sorted(windows.items(), key=lambda each: each[1].period.start):
        if not passes(operator, threshold, window.count):
            continue
        run = runs.setdefault((scope, window.period.window), [])
        if run and not follows(run[-1].period, window.period):
            run.clear()
        run.append(window)
        if len(run) >= least:
            milestone_id = f"{metric}/{scope}/{period_id}/streak:{operator}:{threshold}:{len(run)}"
            standing.add(milestone_id, period_id, rule)


def follows(earlier: Period, period: Period) -> bool:
    """Whether one period of a window directly follows another: no date lies between or, for holidays, no year."""
    if period.kind == "holiday":
        return int(period.id.rpartition(":")[2]) - int(earlier.id.rpartition(":")[2]) == 1
    return (period.start - earlier.end).days == 1


def _multiples(rule: RuleSettings, every: int, windows: Mapping[RowKey, Window], standing: ExpectedStanding) -> None:
    for (metric, scope, period_id), window in windows.items():
        for multiple in range(every, window.count + 1, every):
            milestone_id = f"{metric}/{scope}/{period_id}/every:{every}:{multiple}"
            standing.add(milestone_id, period_id, rule)


def _shares_of_all(
    rule: RuleSettings,
    watched: Mapping[RowKey, Window],
    windows: Mapping[RowKey, Window],
    rows: Mapping[RowKey, WindowRow],
    standing: ExpectedStanding,
) -> None:
    share = Decimal(str(rule.share))
    for key, window in watched.items():
        whole = windows.get(RowKey(key.metric, ALL, key.period))
        if whole is not None and whole.count and is_over(rows.get(key)) and window.count >= share * whole.count:
            milestone_id = f"{key.metric}/{key.scope}/{key.period}/share-of-all:{rule.share}"
            standing.add(milestone_id, key.period, rule)


def _leaders(
    rule: RuleSettings, windows: Mapping[RowKey, Window], rows: Mapping[RowKey, WindowRow], standing: ExpectedStanding
) -> None:
    by_window: dict[str, list[Period]] = {}
    counts: dict[str, dict[str, int]] = {}
    for key, window in sorted(windows.items(), key=lambda each: each[1].period.start):
        if key.period not in counts:
            by_window.setdefault(window.period.window, []).append(window.period)
        is_other = any(part.endswith("=other") for part in key.scope.split(","))
        counts.setdefault(key.period, {})[key.scope] = 0 if is_other else window.count
    for series in by_window.values():
        for earlier, period in pairwise(series):
            before, now = counts[earlier.id], counts[period.id]
            most = max(now.values())
            (leader, *others) = [scope for scope, count in now.items() if count == most]
            if others or not most or not max(before.values()) or not follows(earlier, period):
                continue
            led_before = [scope for scope, count in before.items() if count == max(before.values())]
            if led_before != [leader] and is_over(rows.get(RowKey(rule.metric, leader, period.id))):
                milestone_id = f"{rule.metric}/{leader}/{period.id}/leader"
                standing.add(milestone_id, period.id, rule)


def _is_of(rule: RuleSettings, key: RowKey) -> bool:
    """Whether a rule watches a row."""
    return key.metric == rule.metric and template_of(key.scope) == _template(rule) and _watches(rule, key.period)


def _factors(
    rule: RuleSettings,
    factor: Decimal,
    windows: Mapping[RowKey, Window],
    rows: Mapping[RowKey, WindowRow],
    standing: ExpectedStanding,
) -> None:
    by_series: dict[tuple[str, str], list[Window]] = {}
    for key, window in sorted(windows.items(), key=lambda each: each[1].period.start):
        by_series.setdefault((key.scope, window.period.window), []).append(window)
    for (scope, _), series in by_series.items():
        counts = {window.period.id: window.count for window in series}
        with_units = [window.period for window in series if window.count]
        for window in series:
            period = window.period
            others = [other for other in with_units[1:] if _is_compared(rule, other, period)]
            over = [other for other in others if is_over(rows.get(RowKey(rule.metric, scope, other.id)))]
            is_done = rule.as_ == "passed" or is_over(rows.get(RowKey(rule.metric, scope, period.id)))
            if is_done and over and window.count >= factor * counts[over[0].id]:
                milestone_id = f"{rule.metric}/{scope}/{period.id}/factor:{factor.normalize():f}:{rule.than}"
                standing.add(milestone_id, period.id, rule)


def _is_compared(rule: RuleSettings, earlier: Period, period: Period) -> bool:
    """Whether a rule compares a period with a given earlier one."""
    if rule.than == "previous":
        return follows(earlier, period)
    year, of_earlier = (int(_YEAR.findall(one.id)[0]) for one in (period, earlier))
    return year - of_earlier == 1 and _YEAR.sub("", period.id, count=1) == _YEAR.sub("", earlier.id, count=1)


def _records(
    rule: RuleSettings,
    windows: Mapping[RowKey, Window],
    rows: Mapping[RowKey, WindowRow] | None,
    standing: ExpectedStanding,
) -> None:
    """Adds periods with more than any earlier one; if rows are given, only periods that are over."""
    name = "record-passed" if rows is None else "record"
    highest: dict[tuple[str, str], int] = {}
    for (metric, scope, period_id), window in sorted(windows.items(), key=lambda each: _when(each[1].period)):
        if rows is not None and not is_over(rows.get(RowKey(metric, scope, period_id))):
            continue
        series = scope, window.period.window
        before = highest.get(series, 0)
        if window.count > before > 0:
            milestone_id = f"{metric}/{scope}/{name}:{period_id}"
            standing.add(milestone_id, period_id, rule)
        highest[series] = max(before, window.count)


def _when(period: Period) -> tuple[date, str, date]:
    """A key that sorts periods of one window by time: campaigns by their instants, which are texts in one time zone."""
    return period.start, period.instants.starts_at if period.instants is not None else "", period.end


def _target_id(target: TargetInForce) -> str:
    return f"{target.metric}/{target.scope}/{target.period}/target:{target.target_id}:{target.value}"


def _share_id(target: TargetInForce, share: float) -> str:
    return f"{target.metric}/{target.scope}/{target.period}/share:{target.target_id}:{target.value}:{share}"


def _number(rule: RuleSettings) -> tuple[str | None, int | None]:
    if rule.exceeds is not None:
        return "exceeds", rule.exceeds
    return ("reaches", rule.reaches) if rule.reaches is not None else (None, None)


def _template(rule: RuleSettings) -> tuple[str, ...]:
    return tuple(name for name in DIMENSIONS if name in rule.scope)


def _watches(rule: RuleSettings, period_id: str) -> bool:
    """Whether a rule watches a period: `day` watches days; `holiday` all holidays, `holiday:national-day` only that one."""
    return f"{period_id}:".startswith(f"{rule.window}:")
