"""Early warnings: alerts about the forecasts of targets.

Two things are watched: whether the projected total is below the target (`forecast_behind`), and by how many days the projected
date has moved (`forecast_moved`). Alerts are judged by each forecast that is published, in the same transaction, so an alert says
what was expected then. It ends when that is no longer so, and is never retracted.

A first forecast raises nothing: for a new rule, a new target, or after the memory was lost, the forecast at that time is the baseline
of comparisons. Backfill moves that baseline and raises nothing.
"""

from __future__ import annotations

from datetime import date, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.memory import LastExpected
from schemas.outputs import (
    ALERT_ENDED,
    ALERT_RAISED,
    AlertForecast,
    MilestoneData,
    MilestoneKind,
)
from schemas.texts import template_of
from streams.domain.alerts.alerts import AlertBook
from streams.domain.rules import forecast_behind_id, forecast_moved_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from schemas.outputs import AlertEnd, Forecast, MilestoneEvent
    from streams.domain.rules import Rule, Target
    from streams.domain.time.periods import Period

_DAY: Final = timedelta(days=1)
_KINDS: Final[tuple[MilestoneKind, ...]] = ("forecast_behind", "forecast_moved")
#: States in which a target is decided.
_DECIDED: Final = ("reached", "missed")


class TargetPlace(NamedTuple):
    """Identifies a target whatever its value, as the key of its forecast does."""

    metric: str
    scope: str
    period: str
    target_id: str

    @classmethod
    def of(cls, what: Target | Forecast) -> TargetPlace:
        """The place of a target, or of its forecast."""
        return cls(what.metric, what.scope, what.period, what.target_id)

    @classmethod
    def parse(cls, text: str) -> TargetPlace | None:
        """Parses what `str` returned; None for anything else."""
        parts = text.split("/", 3)
        return cls(*parts) if len(parts) == len(cls._fields) else None

    def __str__(self) -> str:
        return "/".join(self)


class Warned(NamedTuple):
    """What a forecast leads to, in its own transaction.

    Attributes:
        events: Alerts raised and ended.
        expected: What must be remembered of its target from now on; None if nothing has changed.
    """

    events: list[MilestoneEvent]
    expected: LastExpected | None


class Projected(NamedTuple):
    """When a target is expected to be reached: if that is not in sight, the first date after the forecast's horizon."""

    on: date
    is_in_sight: bool

    @classmethod
    def of(cls, day: str | None, made: Forecast) -> Projected:
        """From the date in a forecast or an alert; None (not in sight) becomes the day after the forecast's horizon."""
        if day is None:
            return cls(date.fromisoformat(made.horizon) + _DAY, is_in_sight=False)
        return cls(date.fromisoformat(day), is_in_sight=True)

    def days_to(self, other: Projected) -> int:
        """By how many days the two differ; two that are not in sight do not."""
        return abs((self.on - other.on).days) if self.is_in_sight or other.is_in_sight else 0


class _Case(NamedTuple):
    """What one forecast is judged by.

    Attributes:
        target: The target, which is in force.
        was: What is remembered of it.
        before: The previously published forecast, if it says what was expected.
        made: The forecast to judge.
        is_news: Whether something other than backfill has changed it.
    """

    target: Target
    was: LastExpected
    before: Forecast | None
    made: Forecast
    is_news: bool


class EarlyWarnings(AlertBook):
    """The alerts about forecasts. Restore first, then `begin` with the targets in force, and `judge` each published forecast.

    Args:
        rules: Those that watch no forecasts are ignored.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        super().__init__()
        self._rules = [rule for rule in rules if rule.watches_forecasts]
        self._expected: dict[TargetPlace, LastExpected] = {}
        #: Business date of the last event of a target.
        self._told_on: dict[TargetPlace, str] = {}

    def restore(self, event: MilestoneEvent) -> None:
        """Restores a published alert about a forecast."""
        super().restore(event)
        data = event.data
        if data.forecast is not None:
            self._told_on[_place_of(data)] = data.forecast.business_date

    def restore_expected(self, place: TargetPlace, expected: LastExpected) -> None:
        """Restores what is remembered of a target."""
        self._expected[place] = expected

    def begin(
        self, targets: Mapping[TargetPlace, tuple[Target, Period]], *, detected_at: str
    ) -> Iterator[MilestoneEvent]:
        """Ends the alerts of targets that are no longer in force with their value, and of rules that are gone.

        Args:
            targets: Those in force, with their windows.
            detected_at: `detected_at` of the events.
        """
        for data in self._all_standing():
            found = targets.get(_place_of(data))
            is_watched = found is not None and found[0].value == data.threshold and self.rule_of(data.kind, *found)
            if not is_watched:
                yield self._event(ALERT_ENDED, data, detected_at, "gone")

    def forget(self, targets: Mapping[TargetPlace, tuple[Target, Period]]) -> list[TargetPlace]:
        """Forgets the targets that are no longer watched. Returns those of which something was remembered."""
        gone = [place for place in self._expected if place not in targets or not self.is_watched(*targets[place])]
        for place in gone:
            del self._expected[place]
        return gone

    def rule_of(self, kind: MilestoneKind, target: Target, period: Period) -> Rule | None:
        """The rule that raises alerts of a kind about a target."""
        for rule in self._rules:
            share_or_days = rule.forecast_behind if kind == "forecast_behind" else rule.forecast_moves_days
            if share_or_days is not None and rule.is_about(target.metric, template_of(target.scope), period.id):
                return rule
        return None

    def is_watched(self, target: Target, period: Period) -> bool:
        """Whether any rule is about a target."""
        return bool(self._rules) and any(self.rule_of(kind, target, period) for kind in _KINDS)

    def judge(self, target: Target, period: Period, before: Forecast | None, made: Forecast, backfilled: int) -> Warned:
        """What a forecast that is published now leads to.

        Args:
            target: The target, which is in force.
            period: Its window.
            before: The forecast that is replaced; None if there is none.
            made: The new forecast.
            backfilled: Units of its metric and scope that were loaded as history.
        """
        place = TargetPlace.of(target)
        known = self._expected.get(place)
        was = (
            known
            if known is not None and known.value == target.value
            else LastExpected(target.value, backfilled=backfilled)
        )
        behind, moved = (self.rule_of(kind, target, period) for kind in _KINDS)
        if made.state in _DECIDED:
            events = self._decide(target, made)
            now = LastExpected(target.value, False if behind is not None else None, backfilled=backfilled)
        else:
            tells = before is not None and before.value == target.value and before.state not in _DECIDED
            case = _Case(
                target,
                was,
                before if tells and before is not None and _is_projected(before) else None,
                made,
                was.backfilled == backfilled,
            )
            events = []
            is_behind = self._judge_behind(behind, case, events) if behind is not None else None
            projected = self._judge_moved(moved, case, events) if moved is not None else None
            expected_on, is_in_sight = projected or (None, True)
            now = LastExpected(target.value, is_behind, expected_on, is_in_sight, backfilled)
        self._expected[place] = now
        return Warned(events, now if now != known else None)

    def _decide(self, target: Target, made: Forecast) -> list[MilestoneEvent]:
        """Ends the alerts of a target that is reached, or whose period is over."""
        ended: AlertEnd = "reached" if made.state == "reached" else "over"
        standing = map(self._standing, (forecast_behind_id(target), forecast_moved_id(target)))
        return [self._event(ALERT_ENDED, _at(data, made), made.as_of, ended) for data in standing if data is not None]

    def _judge_behind(self, rule: Rule, case: _Case, events: list[MilestoneEvent]) -> bool | None:
        """Whether the target is expected to be missed, as far as readers know; before any event, the baseline."""
        target, made = case.target, case.made
        stands = self._standing(forecast_behind_id(target)) is not None
        known = stands or case.was.is_behind
        if known is None and case.before is not None:
            known = _is_behind(rule, case.before, was_behind=False)
        if not _is_projected(made):
            return known
        found = _is_behind(rule, made, was_behind=bool(known))
        if known is None or found is known:
            return found
        if not stands and not (found and case.is_news):
            return found
        if self._is_told(made):
            return known
        data = _data(rule, "forecast_behind", forecast_behind_id(target), made)
        events.append(
            self._event(*(ALERT_RAISED, data, made.as_of) if found else (ALERT_ENDED, data, made.as_of, "back"))
        )
        return found

    def _judge_moved(self, rule: Rule, case: _Case, events: list[MilestoneEvent]) -> Projected | None:
        """When the target is expected to be reached, likewise."""
        target, made, days = case.target, case.made, rule.forecast_moves_days or 0
        alert = self._standing(forecast_moved_id(target))
        told = alert.forecast if alert is not None else None
        known = Projected(case.was.expected_on, case.was.is_in_sight) if case.was.expected_on is not None else None
        if known is None and told is not None:
            known = Projected.of(told.projected_date, made)
        if known is None and case.before is not None:
            known = Projected.of(case.before.projected_date.p50, case.before)
        if not _is_projected(made):
            return known
        found = Projected.of(made.projected_date.p50, made)
        if known is None:
            return found
        former = Projected.of(told.former_date, made) if told is not None else known
        is_back = told is not None and former.days_to(found) <= days // 2
        if not is_back and known.days_to(found) <= days:
            return known
        if not is_back and not case.is_news:
            return found
        if self._is_told(made):
            return known
        data = _data(rule, "forecast_moved", forecast_moved_id(target), made, former)
        events.append(
            self._event(*(ALERT_ENDED, data, made.as_of, "back") if is_back else (ALERT_RAISED, data, made.as_of))
        )
        return found

    def _is_told(self, made: Forecast) -> bool:
        """Whether an event about the target was published on the same business date."""
        return self._told_on.get(TargetPlace.of(made)) == made.business_date


def _is_projected(made: Forecast) -> bool:
    return made.projected_total.p50 is not None


def _is_behind(rule: Rule, made: Forecast, *, was_behind: bool) -> bool:
    """Whether a target is expected to be missed: by more than the rule's share at first, then by any unit at all."""
    missing = made.value - (made.projected_total.p50 or 0)
    return missing > (0 if was_behind else Fraction(str(rule.forecast_behind)) * made.value)


def _place_of(data: MilestoneData) -> TargetPlace:
    return TargetPlace(data.metric, data.scope, data.period, data.target_id or "")


def _data(
    rule: Rule, kind: MilestoneKind, milestone_id: str, made: Forecast, former: Projected | None = None
) -> MilestoneData:
    """The data of an event about a forecast."""
    data = MilestoneData(
        milestone_id=milestone_id,
        revision=1,
        kind=kind,
        rule=rule.name,
        target_id=made.target_id,
        metric=made.metric,
        scope=made.scope,
        period=made.period,
        start=made.start,
        end=made.end,
        timezone=made.timezone,
        operator="reaches",
        threshold=made.value,
        count=made.count,
        first=False,
        achieved_at=None,
        detected_at=made.as_of,
        cause=None,
    )
    return _at(data, made, former.on.isoformat() if former is not None and former.is_in_sight else None)


def _at(data: MilestoneData, made: Forecast, former_date: str | None = None) -> MilestoneData:
    """The same data with the numbers of another forecast."""
    told = AlertForecast(
        as_of=made.as_of,
        business_date=made.business_date,
        projected_total=made.projected_total,
        projected_date=made.projected_date.p50,
        former_date=former_date or (data.forecast.former_date if data.forecast is not None else None),
    )
    return data.model_copy(update={"count": made.count, "forecast": told})
