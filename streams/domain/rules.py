"""What raises milestones: rules over windows, and targets for one window each. Both are data that is checked before use."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Final, Literal

from schemas.facts import DIMENSIONS, METRICS, Metric
from schemas.texts import ALL, SOURCE, is_name, unescaped
from streams.domain.time.calendar import WINDOWS
from streams.domain.time.campaigns import CAMPAIGN
from streams.domain.time.periods import ROLLING, TOTAL, window_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from schemas.outputs import Operator
    from streams.domain.time.calendar import Calendar

#: Smallest number whose multiples a rule may raise, as each multiple is a milestone.
LEAST_EVERY: Final = 10
#: Fewest periods that make a streak.
LEAST_STREAK: Final = 2
#: Greatest `factor` of a rule, and how many digits it may have after the point.
MOST_FACTOR: Final = 1000
_FACTOR_DIGITS: Final = 4
#: Allowed values of `stalled_hours`.
STALLED_HOURS: Final = range(1, 73)
#: Allowed values of `forecast_moves_days`.
MOVES_DAYS: Final = range(1, 366)
_OPERATORS = ("exceeds", "reaches")

#: What a period is compared with.
Than = Literal["previous", "last-year"]


@dataclass(frozen=True, slots=True)
class Rule:
    """Raises a milestone when a window passes a number or each multiple of one, or when it is a record.

    Args:
        name: Unique among the rules.
        metric: One of `METRICS`.
        window: A kind of window such as `day`, `holiday:NAME` or `campaign:NAME`, `holiday` for each configured holiday, or
            `campaign` for each campaign.
        scope: Names of dimensions, in any order; () is `all`. `("source",)` with `stalled_hours` alone: event sources.
        operator: `exceeds` (count > threshold) or `reaches` (count >= threshold); None for a rule without a threshold.
        threshold: Units; None if and only if `operator` is.
        first: Also raise the first-ever milestone: the earliest period that passes.
        record: Raise a record for a period that is over and has strictly more than every earlier one of its window.
        retract_after_s: A retraction is published once the reason for it has lasted this many seconds.
        every: Raise each multiple of this number that a window reaches, units; excludes `operator`, `first` and `streak`.
        streak: Also raise a period that passes as the last of at least this many in a row, once for each length.
        factor: Raise a period that reaches this many times the count of the one that it is compared with, 1 or more.
        than: The period to compare with: the one before (`previous`), or the same one of the year before (`last-year`).
        share: Raise a scope with at least this share of the units of `all` in a period that is over, between 0 and 1.
        leader: Raise a scope with more units than any other of the same dimensions in a period that is over, if another one
            led in the period before.
        while_running: Raise `factor`, and records besides the confirmed ones, at the moment they are passed.
        forecast_behind: Warn when the forecast of a target is below it by more than this share of it, over 0 and under 1.
        forecast_moves_days: Warn when the projected date of a target moves by more than this many days.
        stalled_hours: Warn when no unit of a scope has come in this many hours in which some usually do.
        stalled_below: Warn when fewer than this share of the usual units have come in these hours, over 0 and under 1.
    """

    name: str
    metric: Metric
    window: str
    scope: tuple[str, ...]
    operator: Operator | None
    threshold: int | None
    first: bool = False
    record: bool = False
    retract_after_s: int = 0
    every: int | None = None
    streak: int | None = None
    factor: float | None = None
    than: Than = "previous"
    share: float | None = None
    leader: bool = False
    while_running: bool = False
    forecast_behind: float | None = None
    forecast_moves_days: int | None = None
    stalled_hours: int | None = None
    stalled_below: float | None = None

    def passed_by(self, count: int) -> bool:
        """Whether a count passes the threshold; never, for a rule without one."""
        if self.threshold is None:
            return False
        return count > self.threshold if self.operator == "exceeds" else count >= self.threshold

    @property
    def compares_scopes(self) -> bool:
        """Whether the outcome also depends on other scopes."""
        return self.share is not None or self.leader

    def units_of_all(self, count: int) -> int:
        """The smallest count that is at least the rule's share of a count of `all`."""
        return ceil(Fraction(str(self.share or 0)) * count)

    def units_of(self, compared: int) -> int:
        """The smallest count that is at least `factor` times another one; that one itself for a rule without a factor."""
        return ceil(Fraction(str(self.factor or 1)) * compared)

    @property
    def watches_forecasts(self) -> bool:
        """Whether the rule is about the forecasts of targets."""
        return self.forecast_behind is not None or self.forecast_moves_days is not None

    @property
    def watches_sources(self) -> bool:
        """Whether the rule is about event sources."""
        return self.scope == (SOURCE,)

    def is_about(self, metric: str, template: tuple[str, ...], period_id: str) -> bool:
        """Whether the rule applies to a metric, the scopes of some dimensions (in order), and a period."""
        windows = (window_of(period_id), period_id.partition(":")[0])
        return self.metric == metric and self.template == template and self.window in windows

    @property
    def template(self) -> tuple[str, ...]:
        """The scope's dimensions in the order of scope ids; `("source",)` for a rule about event sources."""
        return (SOURCE,) if self.watches_sources else tuple(name for name in DIMENSIONS if name in self.scope)


@dataclass(frozen=True, slots=True)
class Target:
    """A value that one window is to reach.

    Args:
        target_id: Unique among the targets in force.
        metric: One of `METRICS`.
        scope: A scope id such as `model=SU7` or `all`.
        period: A period id such as `month:2024-10`.
        value: Units, at least 1.
        label: For people.
        at: Shares of the value that are milestones too, between 0 and 1, in order.
    """

    target_id: str
    metric: Metric
    scope: str
    period: str
    value: int
    label: str | None = None
    at: tuple[float, ...] = ()

    def units_at(self, share: float) -> int:
        """The smallest count that is at least a share of the value."""
        return ceil(Fraction(str(share)) * self.value)


def threshold_id(rule: Rule, scope: str, period_id: str) -> str:
    """Id of the milestone that a window passes a rule's number."""
    return f"{rule.metric}/{scope}/{period_id}/{rule.operator}:{rule.threshold}"


def first_id(rule: Rule, scope: str) -> str:
    """Id of the milestone that a window passes a rule's number for the first time."""
    return f"{rule.metric}/{scope}/first:{rule.window}/{rule.operator}:{rule.threshold}"


def streak_id(rule: Rule, scope: str, period_id: str, length: int) -> str:
    """Id of the milestone that a period is the last of `length` in a row that pass a rule's number."""
    return f"{streaks_id(rule, scope, period_id)}:{length}"


def streaks_id(rule: Rule, scope: str, period_id: str) -> str:
    """The prefix of the streak ids of a period, whatever their length."""
    return f"{rule.metric}/{scope}/{period_id}/streak:{rule.operator}:{rule.threshold}"


def multiple_id(rule: Rule, scope: str, period_id: str, multiple: int) -> str:
    """Id of the milestone that a window reaches a multiple of a rule's number."""
    return f"{rule.metric}/{scope}/{period_id}/every:{rule.every}:{multiple}"


def target_milestone_id(target: Target) -> str:
    """Id of the milestone that a target is reached; another value is another milestone."""
    return f"{target.metric}/{target.scope}/{target.period}/target:{target.target_id}:{target.value}"


def share_id(target: Target, share: float) -> str:
    """Id of the milestone that a window reaches a share of a target."""
    return f"{target.metric}/{target.scope}/{target.period}/share:{target.target_id}:{target.value}:{share}"


def forecast_behind_id(target: Target) -> str:
    """Id of the alert that a target is expected to be missed."""
    return f"{target.metric}/{target.scope}/{target.period}/forecast-behind:{target.target_id}:{target.value}"


def forecast_moved_id(target: Target) -> str:
    """Id of the alert that a target is expected on another date."""
    return f"{target.metric}/{target.scope}/{target.period}/forecast-moved:{target.target_id}:{target.value}"


def stalled_id(rule: Rule, scope: str) -> str:
    """Id of the alert that no units, or few, arrive of a scope."""
    below = f":{rule.stalled_below}" if rule.stalled_below is not None else ""
    return f"{rule.metric}/{scope}/hours/stalled:{rule.stalled_hours}{below}"


def factor_id(rule: Rule, scope: str, period_id: str) -> str:
    """Id of the milestone that a period reaches a rule's factor of the count of another."""
    return f"{rule.metric}/{scope}/{period_id}/factor:{_factor_text(rule)}:{rule.than}"


def scope_share_id(rule: Rule, scope: str, period_id: str) -> str:
    """Id of the milestone that a scope has a share of `all`."""
    return f"{rule.metric}/{scope}/{period_id}/share-of-all:{rule.share}"


def leader_id(rule: Rule, scope: str, period_id: str) -> str:
    """Id of the milestone that a scope has taken the lead among those of the same dimensions."""
    return f"{rule.metric}/{scope}/{period_id}/leader"


def record_passed_id(rule: Rule, scope: str, period_id: str) -> str:
    """Id of the milestone that a period, over or not, has more units than all before it."""
    return f"{rule.metric}/{scope}/record-passed:{period_id}"


def record_id(rule: Rule, scope: str, period_id: str) -> str:
    """Id of the milestone that a period is a record."""
    return f"{rule.metric}/{scope}/record:{period_id}"


def check_rules(rules: Sequence[Rule], calendar: Calendar) -> None:
    """Checks a set of rules.

    Raises:
        ValueError: One line that names the first invalid rule and says why.
    """
    names: set[str] = set()
    claims: dict[str, str] = {}
    for rule in rules:
        reason = _fault(rule, calendar) or ("two rules have this name" if rule.name in names else None)
        if reason is not None:
            raise ValueError(f"rule {rule.name!r}: {reason}")
        names.add(rule.name)
        for claim in _claims(rule, calendar):
            other = claims.setdefault(claim, rule.name)
            if other != rule.name:
                raise ValueError(f"rule {rule.name!r}: raises the same milestones as rule {other!r}; drop one of them")


def check_targets(targets: Iterable[Target], calendar: Calendar) -> None:
    """Checks a set of targets.

    Raises:
        ValueError: One line that names the first invalid target and says why.
    """
    seen: set[str] = set()
    for target in targets:
        reason = "two targets have this id" if target.target_id in seen else _target_fault(target, calendar)
        if reason is not None:
            raise ValueError(f"target {target.target_id!r}: {reason}")
        seen.add(target.target_id)


def _fault(rule: Rule, calendar: Calendar) -> str | None:
    return (
        _metric_fault(rule.metric)
        or _window_fault(rule.window, calendar)
        or (_source_fault(rule) if SOURCE in rule.scope else _scope_fault(rule.scope))
        or _rolling_fault(rule, calendar)
        or _campaign_fault(rule, calendar)
        or _factor_fault(rule)
        or _scopes_fault(rule)
        or _forecast_fault(rule)
        or _stalled_fault(rule)
        or _number_fault(rule)
    )


def _metric_fault(metric: str) -> str | None:
    return None if metric in METRICS else f"no metric is called {metric!r}; choose from {', '.join(METRICS)}"


def _window_fault(window: str, calendar: Calendar) -> str | None:
    kind, _, name = window.partition(":")
    if kind == CAMPAIGN:
        # Campaigns announced by events are unknown here; rules for all campaigns apply to them too.
        known = [campaign.period_id for campaign in calendar.campaigns]
        if window not in (CAMPAIGN, *known):
            listed = ", ".join(known) or "there are none"
            return f"window {window!r} is not among the campaigns of the settings ({listed})"
        return None
    if kind == ROLLING:
        known = [f"{ROLLING}:{days}d" for days in calendar.rolling]
        if window not in known:
            return f"window {window!r} is not among the rolling windows of the settings ({', '.join(known) or 'there are none'})"
        return None
    if kind not in WINDOWS or (name and kind != "holiday") or window.endswith(":"):
        return f"no window is called {window!r}; choose from {', '.join(WINDOWS)}, holiday:NAME, rolling:7d, campaign, campaign:NAME"
    if not calendar.counts(kind):
        return f"{kind} is not among the windows of the settings; list it there"
    if kind == "holiday" and name and name not in calendar.holidays:
        return f"window {window!r}: {name} is not among the holidays of the settings"
    return None


def _scope_fault(scope: tuple[str, ...]) -> str | None:
    unknown = [name for name in scope if name not in DIMENSIONS]
    if unknown:
        return f"scope: no dimension is called {unknown[0]!r}; choose from {', '.join(DIMENSIONS)}"
    return "scope: list each dimension once" if len(set(scope)) != len(scope) else None


def _source_fault(rule: Rule) -> str | None:
    others = (rule.operator, rule.threshold, rule.every, rule.streak, rule.factor)
    is_other = any(each is not None for each in others) or rule.first or rule.record or rule.compares_scopes
    if not rule.watches_sources or rule.stalled_hours is None or is_other or rule.watches_forecasts:
        names = ", ".join(DIMENSIONS)
        return f"scope: {SOURCE} is for stalled_hours alone; other rules count scopes of {names}"
    if rule.stalled_below is not None:
        return "events of a source are known by the hour, not by number: leave stalled_below out"
    return None


def _rolling_fault(rule: Rule, calendar: Calendar) -> str | None:
    if not rule.window.startswith(f"{ROLLING}:"):
        return None
    if rule.window.removeprefix(f"{ROLLING}:") not in {f"{days}d" for days in calendar.rolling_for(rule.template)}:
        return f"{rule.window} is not kept for these scopes; list them under rolling"
    if rule.watches_forecasts:
        return "rolling windows have no targets and no forecasts: leave forecast_behind and forecast_moves_days out"
    others = (rule.every, rule.streak, rule.factor)
    if any(each is not None for each in others) or rule.while_running or rule.compares_scopes:
        return "rolling windows overlap: give exceeds or reaches, first, or record"
    return None


def _campaign_fault(rule: Rule, calendar: Calendar) -> str | None:
    kind, _, name = rule.window.partition(":")
    if kind != CAMPAIGN:
        return None
    meant = [campaign for campaign in calendar.campaigns if name in ("", campaign.name)]
    if meant and not any(rule.template in campaign.templates for campaign in meant):
        return f"{rule.window} is not counted for these scopes; list them under campaign"
    if rule.streak is not None or rule.factor is not None or rule.compares_scopes:
        return "campaigns are not compared so: give exceeds, reaches or every, first, or record"
    if rule.watches_forecasts:
        return "campaigns have no forecasts: leave forecast_behind and forecast_moves_days out"
    if name and (rule.first or rule.record):
        return f"{'first' if rule.first else 'record'} is among all campaigns: give the window {CAMPAIGN}"
    return None


def _factor_fault(rule: Rule) -> str | None:
    if rule.factor is None:
        if rule.than != "previous":
            return "than needs factor"
        return "as needs record or factor" if rule.while_running and not rule.record else None
    if rule.window == TOTAL:
        return "total has no earlier period to compare with: leave factor out"
    if not 1 <= rule.factor <= MOST_FACTOR or round(rule.factor, _FACTOR_DIGITS) != rule.factor:
        return f"factor must be from 1 to {MOST_FACTOR} with at most {_FACTOR_DIGITS} digits after the point, not {rule.factor}"
    return None


def _scopes_fault(rule: Rule) -> str | None:
    if not rule.compares_scopes:
        return None
    which = "share" if rule.share is not None else "leader"
    if rule.window == TOTAL:
        return f"total is never over: leave {which} out"
    if not rule.scope:
        return f"{which} compares scopes: name dimensions in scope"
    if rule.share is not None and not 0 < rule.share < 1:
        return f"share must be between 0 and 1, not {rule.share}"
    return None


def _forecast_fault(rule: Rule) -> str | None:
    if rule.forecast_behind is not None and not 0 < rule.forecast_behind < 1:
        return f"forecast_behind is a share of the target, more than 0 and less than 1, not {rule.forecast_behind}"
    days = rule.forecast_moves_days
    if days is None:
        return None
    if rule.window == "day":
        return "a day has one date, which cannot move: leave forecast_moves_days out"
    return (
        None
        if days in MOVES_DAYS
        else f"forecast_moves_days must be from {MOVES_DAYS[0]} to {MOVES_DAYS[-1]}, not {days}"
    )


def _stalled_fault(rule: Rule) -> str | None:
    if rule.stalled_hours is None:
        return None if rule.stalled_below is None else "stalled_below needs stalled_hours"
    if rule.window != "day":
        return 'stalled_hours counts hours of days: write window = "day"'
    if rule.stalled_hours not in STALLED_HOURS:
        return f"stalled_hours must be from {STALLED_HOURS[0]} to {STALLED_HOURS[-1]}, not {rule.stalled_hours}"
    if rule.stalled_below is not None and not 0 < rule.stalled_below < 1:
        return f"stalled_below is a share of the usual, more than 0 and less than 1, not {rule.stalled_below}"
    return None


def _factor_text(rule: Rule) -> str:
    return f"{rule.factor:.10g}"


def _number_fault(rule: Rule) -> str | None:
    if rule.every is not None:
        if rule.operator is not None:
            return "give every, or exceeds or reaches, in rules apart"
        if rule.first or rule.streak is not None:
            return f"{'first' if rule.first else 'streak'} needs exceeds or reaches"
        return None if rule.every >= LEAST_EVERY else f"every must be at least {LEAST_EVERY}, not {rule.every}"
    if rule.window == TOTAL and (rule.first or rule.record or rule.streak is not None):
        return "total has no earlier period to compare with: leave first, record and streak out"
    if rule.streak is not None and rule.streak < LEAST_STREAK:
        return f"streak must be at least {LEAST_STREAK}, not {rule.streak}"
    if rule.operator is None and rule.threshold is None:
        if rule.first or rule.streak is not None:
            return f"{'first' if rule.first else 'streak'} needs a number to pass: give exceeds or reaches"
        raises = rule.record or rule.factor is not None or rule.compares_scopes or rule.watches_forecasts
        raises = raises or rule.stalled_hours is not None
        keys = "exceeds, reaches, every, factor, share, leader, record, forecast_behind, forecast_moves_days or stalled_hours"
        return None if raises else f"raises nothing: give {keys}"
    if rule.operator not in _OPERATORS or rule.threshold is None:
        return "give a number with exceeds or reaches"
    least = 0 if rule.operator == "exceeds" else 1
    return f"{rule.operator} must be at least {least}, not {rule.threshold}" if rule.threshold < least else None


def _claims(rule: Rule, calendar: Calendar) -> list[str]:
    """What a rule raises, as keys that no two rules may share."""
    place = f"{rule.metric} {','.join(rule.template)}"
    windows = [rule.window]
    if rule.window == "holiday":
        windows = [f"holiday:{name}" for name in calendar.holidays]
    elif rule.window == CAMPAIGN:
        windows = [CAMPAIGN, *(campaign.period_id for campaign in calendar.campaigns)]
    claims = [f"{place} {window} record" for window in windows if rule.record]
    claims += [f"{place} {window} {_factor_text(rule)} {rule.than}" for window in windows if rule.factor is not None]
    claims += [f"{place} {window} share {rule.share}" for window in windows if rule.share is not None]
    claims += [f"{place} {window} leader" for window in windows if rule.leader]
    claims += [f"{place} {window} forecast behind" for window in windows if rule.forecast_behind is not None]
    claims += [f"{place} {window} forecast moved" for window in windows if rule.forecast_moves_days is not None]
    claims += [f"{place} stalled {rule.stalled_hours} {rule.stalled_below}"] if rule.stalled_hours is not None else []
    claims += [f"{place} {window} every {rule.every}" for window in windows if rule.every is not None]
    claims += [f"{place} {window} {rule.operator} {rule.threshold}" for window in windows if rule.operator is not None]
    return claims


def _target_fault(target: Target, calendar: Calendar) -> str | None:
    fault = _metric_fault(target.metric) or _scope_id_fault(target.scope)
    if fault is None:
        try:
            calendar.period(target.period)
        except ValueError as error:
            fault = f"period: {error}"
    if fault is None and target.period.startswith(f"{ROLLING}:"):
        fault = "period: rolling windows have no targets; a rule with exceeds or reaches raises their numbers"
    if fault is None and target.value < 1:
        fault = f"value must be at least 1, not {target.value}"
    return fault


def _scope_id_fault(scope: str) -> str | None:
    if scope == ALL:
        return None
    pairs = [part.partition("=") for part in scope.split(",")]
    names = [name for name, _, _ in pairs]
    in_order = names == [name for name in DIMENSIONS if name in names]
    if not in_order or not all(is_name(unescaped(value)) for _, _, value in pairs):
        return f"{scope!r} is no scope; write all, model=SU7 or model=SU7,region=CN-11"
    return None
