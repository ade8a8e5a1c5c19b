"""Silences: the alerts about units, or events of a source, that fail to come are those that the counts give.

An hour of a date is usual if something was dated in it on at least three of the last four earlier dates of the same sort on which
there was anything.
"""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

import streams
from schemas.counts import CampaignHour
from schemas.memory import JUDGED, QUIET, SIDE, key_of
from schemas.outputs import ALERT_ENDED
from tests.simulation.broken import BrokenError
from tests.simulation.periods import day_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from streams.settings_sections import RuleSettings
    from tests.simulation.cluster import Entry
    from tests.simulation.committed import Committed, TotalsPart
    from tests.simulation.over import Over
    from tests.simulation.source_hours import ToldHours

_HOLIDAYS: Final = Path(streams.__file__).parent / "data/holidays"
_HOURS: Final = 24
#: How far back what is usual, and the usual hours of a silence, are looked for.
_REACH: Final = timedelta(days=63)
_SPAN_HOURS: Final = 21 * _HOURS
_MOST_ALIKE, _LEAST_ALIKE = 4, 3
_FAMILIES: Final = {"orders_placed": "orders", "orders": "orders", "deliveries": "deliveries", "produced": "production"}

#: Units of each hour of some dates.
Days = dict[date, list[int]]


class Look(NamedTuple):
    """What is found looking back from an hour: the first of the usual hours, if there are that many, and units since then."""

    since: int | None
    units: int
    usual: Fraction

    def is_silent(self, below: float | None, *, already: bool) -> bool | None:
        """Whether that is a silence; None if rounding decides.

        Args:
            below: The share of the usual units below which it is one.
            already: Whether it was one before: then it takes twice that share to end it, at most all that is usual.
        """
        if self.since is None or self.units == 0 or below is None:
            return self.since is not None and self.units == 0
        least = self.usual * min(Fraction(1), Fraction(str(below)) * (2 if already else 1))
        return None if abs(least - self.units) < Fraction(1, 10**6) else self.units < least


class Silences:
    """Compares alerts with the counts.

    Args:
        so_far: What has been committed.
        over: Checks what was counted by an hour.
    """

    def __init__(self, so_far: Committed, over: Over) -> None:
        self._so_far = so_far
        self._world = so_far.world
        self._over = over
        self._rules = [rule for rule in so_far.world.settings.rule if rule.stalled_hours is not None]
        self._standing: dict[str, dict[str, Any]] = {}
        #: By totals partition: the rules that all scopes were looked at for, and the silences that are older than that.
        self._judged: defaultdict[int, set[str]] = defaultdict(set)
        self._quiet: defaultdict[int, set[str]] = defaultdict(set)
        #: The latest hour, by the clock of a step.
        self._latest: defaultdict[int, int] = defaultdict(int)

    def forget_internals(self) -> None:
        """The internal topics are deleted: silences that there are now are no news."""
        self._judged.clear()
        self._quiet.clear()

    def hear(
        self,
        number: int,
        part: TotalsPart,
        sources: ToldHours,
        memory: Iterable[Entry],
        alerts: Sequence[dict[str, Any]],
    ) -> None:
        """Takes what a transaction says of silences.

        Args:
            number: The totals partition.
            part: What it has committed, this transaction included.
            sources: The hours of event sources that are known with it.
            memory: Its records of the memory.
            alerts: Its events of alerts about silences.
        """
        if not self._rules:
            return
        now = self._cell_at(part.step_us)
        for alert in alerts:
            if alert["type"] == ALERT_ENDED:
                self._check_end_of(alert, number, part, sources, now)
            else:
                self._check_raised(alert, number, part, sources, now)
        for entry in memory:
            key = (entry.key or b"").decode(errors="replace")
            if key.startswith(key_of(SIDE, JUDGED).decode()):
                self._judged[number].add(key.removeprefix(key_of(SIDE, JUDGED).decode()))
            elif key.startswith(key_of(SIDE, QUIET).decode()):
                name = key.removeprefix(key_of(SIDE, QUIET).decode())
                self._hear_quiet(name, number, part, sources, now, is_quiet=entry.value is not None)
        self._latest[number] = max(self._latest[number], now)

    def _check_raised(self, alert: dict[str, Any], number: int, part: TotalsPart, sources: ToldHours, now: int) -> None:
        data, name = alert["data"], alert["data"]["milestone_id"]
        rule, said = self._rule_of(name, data["scope"]), data["silence"]
        if name in self._standing or name in self._quiet[number] or self._name(rule, None) not in self._judged[number]:
            raise BrokenError("silences", f"{name} is raised, and is no news")
        self._standing[name] = data
        until = datetime.fromisoformat(said["until"])
        at = self._cell_of(until)
        if until.minute or until.second or until.timestamp() > part.step_us / 1e6:
            raise BrokenError("silences", f"{name} is said to last until {until}")
        look = self._look(rule, data["scope"], part, sources, at, now)
        since = None if look.since is None else self._beginning_of(look.since)
        if (
            look.is_silent(rule.stalled_below, already=False) is False
            or (since, look.units) != (datetime.fromisoformat(said["since"]), data["count"])
            or abs(look.usual - Fraction(str(said["usual"]))) > Fraction(1, 10)
        ):
            raise BrokenError("silences", f"{name} is raised with {said} and {data['count']}, the counts give {look}")
        self._over.check_read_up_to(f"{name} until {until}", until, part.summed)

    def _check_end_of(self, alert: dict[str, Any], number: int, part: TotalsPart, sources: ToldHours, now: int) -> None:
        data, name = alert["data"], alert["data"]["milestone_id"]
        if self._standing.pop(name, None) is None:
            raise BrokenError("silences", f"{name} has ended and did not stand")
        rule = self._rule_of(name, data["scope"])
        looks = self._looks(rule, data["scope"], number, part, sources, now)
        has_units = data["ended"] == "back"
        if not any(
            look.is_silent(rule.stalled_below, already=True) is not True and (look.units > 0) is has_units
            for look in looks
        ):
            raise BrokenError("silences", f"{name} has ended ({data['ended']}), the counts give {looks}")

    def _hear_quiet(
        self, name: str, number: int, part: TotalsPart, sources: ToldHours, now: int, *, is_quiet: bool
    ) -> None:
        """Takes that a silence is older than its rule, or no longer one."""
        scope = name.split("/")[1]
        rule = self._rule_of(name, scope)
        looks = self._looks(rule, scope, number, part, sources, now)
        found = [look.is_silent(rule.stalled_below, already=not is_quiet) for look in looks]
        if is_quiet and ((True not in found and None not in found) or self._name(rule, None) in self._judged[number]):
            raise BrokenError("silences", f"{name} is said to be older than its rule, the counts give {looks}")
        if not is_quiet and False not in found and None not in found:
            raise BrokenError("silences", f"{name} is said to be over, the counts give {looks}")
        (self._quiet[number].add if is_quiet else self._quiet[number].discard)(name)
        self._world.seen["silences older than their rules"] += is_quiet

    def check_end(self, sources: ToldHours) -> None:
        """Checks that in the end exactly the silences stand, those aside that are no news."""
        if self._world.settings.clock == "events":
            return  # corrections may have come since the last hour of the events, and units since the last minute
        now = self._cell_at(self._world.now_us())
        for number, part in enumerate(self._so_far.parts):
            for rule, scope in self._watched(number, part, sources):
                name = self._name(rule, scope)
                is_known = name in self._standing or name in self._quiet[number]
                look = self._look(rule, scope, part, sources, now, now)
                if look.is_silent(rule.stalled_below, already=is_known) is (not is_known):
                    stands = "stands" if is_known else "does not stand"
                    raise BrokenError("silences", f"{name} {stands}, the counts give {look}")
                self._world.seen["silences at the end"] += name in self._standing

    def _watched(self, number: int, part: TotalsPart, sources: ToldHours) -> list[tuple[RuleSettings, str]]:
        """The rules, each with the scopes that it watches in a totals partition."""
        counted = {(metric, scope) for _, (metric, scope, _) in part.summed.cells}
        found = []
        for rule in self._rules:
            if rule.scope == ("source",):
                family = _FAMILIES[rule.metric]
                found += [(rule, _scope_of(of.source)) for of in sources.hours if of.family == family and number == 0]
            else:
                found += [
                    (rule, scope)
                    for metric, scope in sorted(counted)
                    if metric == rule.metric and (scope == "all") == (rule.scope == ())
                ]
        return found

    def _looks(  # noqa: PLR0917 - as `_look`
        self, rule: RuleSettings, scope: str, number: int, part: TotalsPart, sources: ToldHours, now: int
    ) -> list[Look]:
        """What is found from any hour that the service may be looking back from: it looks again while an hour lasts."""
        first = min(now, self._latest[number] or now) - 1
        return [
            self._look(rule, scope, part, sources, at, now) for at in range(first, max(now, self._latest[number]) + 1)
        ]

    def _look(  # noqa: PLR0917 - what to look at, and from where
        self, rule: RuleSettings, scope: str, part: TotalsPart, sources: ToldHours, at: int, now: int
    ) -> Look:
        days = self._days_of(rule, scope, part, sources)
        reported = days if rule.scope == ("source",) else self._reported(days, rule, scope, part)
        usual, since = Fraction(0), None
        wanted = rule.stalled_hours or 0
        before = (at - _SPAN_HOURS) // _HOURS
        alike = {day: _alike(reported, date.fromordinal(day)) for day in range(before, at // _HOURS + 1)}
        for cell in range(at - 1, at - _SPAN_HOURS, -1):
            here = _usual(alike[cell // _HOURS], cell % _HOURS)
            # An hour that the clocks skip is none.
            if not here or self._beginning_of(cell) >= self._beginning_of(cell + 1):
                continue
            usual += here
            wanted -= 1
            if not wanted:
                since = cell
                break
        first = at - _SPAN_HOURS + 1 if since is None else since
        units = sum(
            units
            for day, of_day in days.items()
            for hour, units in enumerate(of_day)
            if first <= day.toordinal() * _HOURS + hour <= max(at, now)
        )
        return Look(since, units, usual)

    def _days_of(self, rule: RuleSettings, scope: str, part: TotalsPart, sources: ToldHours) -> Days:
        days: Days = defaultdict(lambda: [0] * _HOURS)
        if rule.scope == ("source",):
            for of, hours in sources.hours.items():
                if (of.family, _scope_of(of.source)) == (_FAMILIES[rule.metric], scope):
                    for day, hour in hours:
                        days[day][hour] = 1
            return days
        for (_, (metric, of_scope, at)), units in part.summed.hours.items():
            day = day_of(at)
            if (metric, of_scope) == (rule.metric, scope):
                days[day] = [sum(both) for both in zip(days[day], units, strict=True)]
        return days

    @staticmethod
    def _reported(days: Days, rule: RuleSettings, scope: str, part: TotalsPart) -> Days:
        """The dates whose units were not all loaded as history."""
        loaded: defaultdict[date, int] = defaultdict(int)
        for (_, (metric, of_scope, at)), units in part.summed.loaded_cells.items():
            if (metric, of_scope) == (rule.metric, scope) and not isinstance(at, CampaignHour):
                loaded[day_of(at)] += units
        return {day: hours for day, hours in days.items() if sum(hours) > loaded[day]}

    def _rule_of(self, name: str, scope: str) -> RuleSettings:
        for rule in self._rules:
            of = "source" if scope.startswith("source=") else "all" if scope == "all" else "model"
            if self._name(rule, scope) == name and (rule.scope or ("all",)) == (of,):
                return rule
        raise BrokenError("silences", f"{name} is of no rule")

    @staticmethod
    def _name(rule: RuleSettings, scope: str | None) -> str:
        """The id of an alert or, without a scope, what is remembered of its rule."""
        below = "" if rule.stalled_below is None else f":{rule.stalled_below}"
        return f"{rule.metric}/{','.join(rule.scope) if scope is None else scope}/hours/stalled:{rule.stalled_hours}{below}"

    def _cell_at(self, clock_us: int) -> int:
        return self._cell_of(datetime.fromtimestamp(clock_us / 1e6, self._so_far.zone))

    def _beginning_of(self, cell: int) -> datetime:
        """The first instant of an hour."""
        day, hour = date.fromordinal(cell // _HOURS), cell % _HOURS + self._so_far.starts
        local = datetime.combine(day, time()) + timedelta(hours=hour)
        return local.replace(tzinfo=self._so_far.zone).astimezone(UTC)

    def _cell_of(self, instant: datetime) -> int:
        """The number of an hour: 24 for each business date."""
        local = instant.astimezone(self._so_far.zone)
        hour = (local.hour - self._so_far.starts) % _HOURS
        return self._so_far.date_of(instant.isoformat()).toordinal() * _HOURS + hour


def _alike(days: Mapping[date, Sequence[int]], day: date) -> list[Sequence[int]]:
    """The hours of the dates that a date is compared with."""
    return [
        hours for of, hours in sorted(days.items(), reverse=True)
        if day - _REACH <= of < day and _sort(of) == _sort(day) and any(hours)
    ][:_MOST_ALIKE]  # fmt: skip


def _usual(alike: Sequence[Sequence[int]], hour: int) -> Fraction | int:
    """What usually comes in an hour; 0 if nothing does."""
    if sum(hours[hour] > 0 for hours in alike) < _LEAST_ALIKE:
        return 0
    return Fraction(sum(hours[hour] for hours in alike), len(alike))


def _scope_of(source: str) -> str:
    """The scope of an event source, as ids name it."""
    return "source=" + "".join(quote(each, safe="") if each in "/,=|%" else each for each in source)


@cache
def _sort(day: date) -> str:
    """The sort of a date: a weekday, a holiday, or a day worked to make up for one."""
    found = f"{day:%A}"
    for path in sorted(_HOLIDAYS.glob("cn-*.json")):
        for holiday in json.loads(path.read_text())["holidays"]:
            if str(day) in holiday["work_days"]:
                found = "a day worked"
    for path in sorted(_HOLIDAYS.glob("cn-*.json")):
        for holiday in json.loads(path.read_text())["holidays"]:
            if holiday["start"] <= str(day) <= holiday["end"]:
                found = "a holiday"
    return found
