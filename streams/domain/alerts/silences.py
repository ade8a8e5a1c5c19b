"""Silences: scopes of which no units, or few, arrive in hours in which they usually do.

An hour of a day is usual for a scope if units came in it on at least three of the last four days of the same type (weekday,
holiday, make-up work day) on which any unit of the scope came; units loaded as history do not make a day count here.
A silence lasts `stalled_hours` once that many usual hours have passed and no unit is dated since the first of them.

Silences follow from the rows; only whether one is older than its rule is remembered.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from schemas.instants import utc_text
from schemas.outputs import ALERT_ENDED, ALERT_RAISED, AlertSilence, MilestoneData
from schemas.texts import template_of
from streams.domain.alerts.alerts import AlertBook
from streams.domain.rules import stalled_id
from streams.domain.time.zone import HOURS, day_of_cell, hour_of_cell

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from schemas.facts import Metric
    from schemas.outputs import MilestoneEvent
    from streams.domain.rules import Rule
    from streams.domain.time.daytypes import DayTypes
    from streams.domain.time.zone import BusinessZone

#: Days of the same type that say what is usual, and on how many of them units must have come in an hour.
USUAL_DAYS: Final = 4
LEAST_DAYS: Final = 3
#: How far back such days are looked for.
REACH_DAYS: Final = 63
#: How far back the hours of a silence are looked for.
SPAN_DAYS: Final = 21
_DAY: Final = timedelta(days=1)
_NO_UNITS: Final = (0,) * HOURS


class HoursOfDay(Protocol):
    """The counts of a day."""

    @property
    def count(self) -> int: ...  # noqa: D102 - units
    @property
    def backfilled(self) -> int: ...  # noqa: D102 - those loaded as history
    @property
    def by_hour(self) -> Sequence[int]: ...  # noqa: D102 - 24 units by local hour


class Days(Protocol):
    """The source of the counts of days."""

    def day(self, metric: Metric, scope: str, day: date) -> HoursOfDay | None:
        """The counts of a business date; None if there are none."""


class Look(NamedTuple):
    """What was found about a scope, looking back from an hour.

    Attributes:
        since: The first of the usual hours, a cell; None if there are not that many.
        units: Units dated from then on, or from as far back as was looked.
        usual: Units that usually come in these hours.
    """

    since: int | None
    units: int
    usual: float


class ScopeHours:
    """The hours of one metric and scope, each day looked up once."""

    def __init__(self, days: Days, day_types: DayTypes, zone: BusinessZone, metric: Metric, scope: str) -> None:
        self._days, self._day_types, self._zone = days, day_types, zone
        self._metric, self._scope = metric, scope
        self._found: dict[date, HoursOfDay | None] = {}
        #: Type of day → the days on which any unit came, latest first, among the days looked at, which go back to a date.
        self._alike: defaultdict[int, list[tuple[date, Sequence[int]]]] = defaultdict(list)
        self._looked_to: date | None = None

    def look(self, at: int, now: int, hours: int, *, until_any: bool) -> Look:
        """Looks back from an hour until that many usual hours are found.

        Args:
            at: The first hour that is not known to be read, a cell.
            now: The current hour, a cell; units dated in between count.
            hours: How many usual hours to find.
            until_any: Whether to stop at the first unit.
        """
        count, usual, found = sum(map(self._units_of, range(at, max(at, now) + 1))), 0.0, 0
        after_last, last = at, at - SPAN_DAYS * HOURS
        while after_last - 1 > last:
            if count and until_any:
                break
            # Most scopes have days without units and usual hours: these are skipped as a whole.
            day = day_of_cell(after_last - 1)
            counted, usually = self._units(day), self._usual_hours(day)
            begins = max(after_last - 1 - hour_of_cell(after_last - 1), last + 1)
            for cell in range(after_last - 1, begins - 1, -1) if usually or any(counted) else ():
                if count and until_any:
                    break
                hour = hour_of_cell(cell)
                count += counted[hour]
                here = usually[hour] if usually else 0.0
                if here and self._zone.skips(cell):
                    continue  # nothing can be dated in it
                usual += here
                found += here > 0
                if found == hours:
                    return Look(cell, count, usual)
            after_last = begins
        return Look(None, count, usual)

    def _units_of(self, cell: int) -> int:
        return self._units(day_of_cell(cell))[hour_of_cell(cell)]

    def _units(self, day: date) -> Sequence[int]:
        counted = self._day(day)
        return counted.by_hour if counted is not None else _NO_UNITS

    def _day(self, day: date) -> HoursOfDay | None:
        if day not in self._found:
            self._found[day] = self._days.day(self._metric, self._scope, day)
        return self._found[day]

    def _usual_hours(self, day: date) -> list[float]:
        """Units that usually come in each hour of a day, 0 for an hour that is not usual; empty if no hour is."""
        alike = self._days_like(day)
        if len(alike) < LEAST_DAYS:
            return []
        usual = [
            sum(units) / len(alike) if sum(each > 0 for each in units) >= LEAST_DAYS else 0.0
            for units in zip(*alike, strict=True)
        ]
        return usual if any(usual) else []

    def _days_like(self, day: date) -> list[Sequence[int]]:
        """The hours of the last days of a day's type before it on which any unit came. Call it for ever earlier days."""
        found = self._alike[self._day_types.of(day)]
        begins = day - REACH_DAYS * _DAY
        earlier = self._looked_to or day
        while earlier > begins and (len(found) < USUAL_DAYS or found[-USUAL_DAYS][0] >= day):
            earlier -= _DAY
            counted = self._day(earlier)
            if counted is not None and counted.count > counted.backfilled:
                self._alike[self._day_types.of(earlier)].append((earlier, counted.by_hour))
        self._looked_to = earlier
        return [hours for of, hours in found if begins <= of < day][:USUAL_DAYS]


class Heard(NamedTuple):
    """The result of looking at a scope.

    Attributes:
        event: An alert raised or ended.
        quiet: Id of an alert, and whether its silence counts as older than its rule from now on (True) or no longer (False).
    """

    event: MilestoneEvent | None = None
    quiet: tuple[str, bool] | None = None


class SilenceAlerts(AlertBook):
    """The alerts about silences. Restore first, then judge one scope after another.

    Attributes:
        rules: The rules about silences.

    Args:
        rules: All rules; those not about silences are ignored.
        day_types: Types of dates.
        zone: The business time zone.
    """

    def __init__(self, rules: Iterable[Rule], day_types: DayTypes, zone: BusinessZone) -> None:
        super().__init__()
        self.rules = tuple(rule for rule in rules if rule.stalled_hours is not None)
        self._day_types, self._zone = day_types, zone
        self._quiet: set[str] = set()
        self._judged: set[str] = set()

    def restore_quiet(self, milestone_id: str) -> None:
        """Restores that a silence is older than its rule."""
        self._quiet.add(milestone_id)

    def restore_judged(self, rule_id: str) -> None:
        """Restores that all scopes have been looked at for a rule."""
        self._judged.add(rule_id)

    def first_judged(self, *, sources: bool = False) -> list[str]:
        """Notes that all scopes (and all sources, or none) were looked at. Returns the rules for which that was the first time."""
        found = [
            rule_id
            for rule in self.rules
            if (sources or not rule.watches_sources)
            and (rule_id := stalled_id(rule, ",".join(rule.template))) not in self._judged
        ]
        self._judged.update(found)
        return found

    def rules_of(self, metric: str, scope: str) -> list[Rule]:
        """The rules that watch a metric and scope."""
        return [rule for rule in self.rules if rule.metric == metric and rule.template == template_of(scope)]

    @property
    def standing(self) -> list[tuple[Rule, str]]:
        """The rule and scope of each alert that stands."""
        return [(rule, data.scope) for data in self._all_standing() for rule in self.rules_of(data.metric, data.scope)]

    def end_others(self, now_us: int) -> list[MilestoneEvent]:
        """Ends the alerts of rules that are gone."""
        return [
            self._event(ALERT_ENDED, data, utc_text(now_us), "gone")
            for data in self._all_standing()
            if not any(
                stalled_id(rule, data.scope) == data.milestone_id for rule in self.rules_of(data.metric, data.scope)
            )
        ]

    def judge(self, days: Days, rule: Rule, scope: str, at: int, now_us: int) -> Heard:
        """Looks at a scope.

        Args:
            days: Counts of days.
            rule: The rule to judge by.
            scope: A scope with the rule's dimensions.
            at: An hour, a cell, before which everything has been read.
            now_us: The clock, microseconds since 1970.
        """
        name, hours, below = stalled_id(rule, scope), rule.stalled_hours or 1, rule.stalled_below
        standing = self._standing(name)
        look = ScopeHours(days, self._day_types, self._zone, rule.metric, scope).look(
            at, self._zone.cell_of(now_us), hours, until_any=below is None
        )
        # If too few units are enough for an alert, it ends with twice as many.
        least = (
            look.usual * min(1.0, below * (2 if standing is not None or name in self._quiet else 1))
            if below is not None
            else 0.0
        )
        is_silent = look.since is not None and (look.units == 0 or look.units < least)
        if standing is not None:
            if is_silent:
                return Heard()
            data = standing.model_copy(update={"count": look.units})
            return Heard(self._event(ALERT_ENDED, data, utc_text(now_us), "back" if look.units else "gone"))
        if name in self._quiet:
            if is_silent:
                return Heard()
            self._quiet.discard(name)
            return Heard(quiet=(name, False))
        if not is_silent or look.since is None:
            return Heard()
        if stalled_id(rule, ",".join(rule.template)) not in self._judged:
            self._quiet.add(name)
            return Heard(quiet=(name, True))
        data = self._data(rule, scope, look, at, utc_text(now_us))
        return Heard(self._event(ALERT_RAISED, data, utc_text(now_us)))

    def _data(self, rule: Rule, scope: str, look: Look, at: int, detected_at: str) -> MilestoneData:
        day = day_of_cell(at - 1).isoformat()
        silence = AlertSilence(
            since=self._beginning(look.since or at),
            until=self._beginning(at),
            hours=rule.stalled_hours or 1,
            usual=round(look.usual, 1),
            below=rule.stalled_below,
        )
        return MilestoneData(
            milestone_id=stalled_id(rule, scope),
            revision=1,
            kind="stalled",
            rule=rule.name,
            metric=rule.metric,
            scope=scope,
            period=f"day:{day}",
            start=day,
            end=day,
            timezone=self._zone.name,
            operator=None,
            threshold=None,
            count=look.units,
            first=False,
            silence=silence,
            achieved_at=None,
            detected_at=detected_at,
            cause=None,
        )

    def _beginning(self, cell: int) -> str:
        return self._zone.datetime_of(self._zone.beginning_us(cell)).isoformat()
