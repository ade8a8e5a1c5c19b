"""Rules that compare periods or scopes, judged by the rows: firsts, streaks, records, factors, shares and leaders.

At the end of each schedule, and after each step of one with a history.
"""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tests.simulation import past
from tests.simulation.broken import BrokenError
from tests.simulation.committed import OTHERS, order_of
from tests.simulation.periods import period_before, year_before

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streams.settings_sections import RuleSettings
    from tests.simulation.committed import Committed

#: What depends on other scopes, which are judged one after another: it may stand a step later.
_AMONG_SCOPES: Final = frozenset({"scope_share", "leader"})
#: Scope and period, and for a streak its length.
Standing = set[tuple[str, str, int]]


class _Period(NamedTuple):
    """A row that a rule watches."""

    id: str
    start: str
    units: int
    is_over: bool


class Comparisons:
    """Compares standing milestones with the rows.

    Args:
        so_far: What has been committed.
    """

    def __init__(self, so_far: Committed) -> None:
        self._so_far = so_far
        self._world = so_far.world
        #: By rule: the milestones that stand. By metric and kind of window: the rows, with their scopes.
        self._standing: defaultdict[str | None, list[dict[str, Any]]] = defaultdict(list)
        self._rows: defaultdict[tuple[str, str], list[tuple[str, _Period]]] = defaultdict(list)

    def check_end(self) -> None:
        """Checks that in the end exactly the milestones stand that the rows give."""
        self._begin(self._so_far.standing)
        for rule in self._world.settings.rule:
            for kind, judge in self._kinds_of(rule).items():
                # By the time of events, a retraction may be held back for ever.
                self._check_standing(rule, kind, judge(rule), is_held=self._world.settings.clock == "events")

    def check_step(self, number: int) -> None:
        """Checks the same of a totals partition after a step, where there is a history: what passes stands at once."""
        if not self._world.plan.past:
            return
        self._begin(self._so_far.decided, number)
        for rule in self._world.settings.rule:
            kinds = self._kinds_of(rule) if rule.name in past.RULES else {}
            for kind in kinds.keys() - _AMONG_SCOPES:
                judge = kinds[kind]
                self._check_standing(rule, kind, judge(rule), is_held=True)
        self._world.seen["steps compared with a history"] += 1

    def _begin(self, standing: Mapping[str, dict[str, Any]], number: int | None = None) -> None:
        """Sorts what stands and the rows, of one totals partition or of all."""
        so_far = self._so_far
        self._standing, self._rows = defaultdict(list), defaultdict(list)
        for data in standing.values():
            if number is None or so_far.home(data["scope"]) == number:
                self._standing[data["rule"]].append(data)
        for (metric, scope, period), row in so_far.table.items():
            if (number is None or so_far.home(scope) == number) and not so_far.is_left_as_it_is(
                (metric, scope, period)
            ):
                found = _Period(period, row["start"], row["count"], row["status"] != "open")
                self._rows[metric, period.partition(":")[0]].append((scope, found))

    def _kinds_of(self, rule: RuleSettings) -> dict[str, Callable[[RuleSettings], Standing]]:
        """What a rule raises, besides numbers, and how that is judged."""
        found: dict[str, tuple[bool, Callable[[RuleSettings], Standing]]] = {
            "first": (rule.first, self._firsts),
            "streak": (rule.streak is not None, self._streaks),
            "record": (rule.record, lambda rule: self._records(rule, while_running=False)),
            "record_passed": (
                rule.record and rule.as_ == "passed",
                lambda rule: self._records(rule, while_running=True),
            ),
            "factor": (rule.factor is not None, self._factors),
            "scope_share": (rule.share is not None, self._shares),
            "leader": (rule.leader, self._leaders),
        }
        return {kind: judge for kind, (is_raised, judge) in found.items() if is_raised}

    def _firsts(self, rule: RuleSettings) -> Standing:
        """The earliest period whose threshold stands."""
        passing = self._passing(rule)
        found: Standing = set()
        for scope in {scope for scope, _ in passing}:
            periods = [period for of, period in passing if of == scope]
            found.add((scope, min(periods, key=lambda period: order_of(self._so_far, period, scope)), 0))
        return found

    def _streaks(self, rule: RuleSettings) -> Standing:
        """Periods that end a run of periods whose thresholds stand, if it is long enough for the rule."""
        passing = self._passing(rule)
        found: Standing = set()
        for scope, period in passing:
            length, at = 0, period
            while (scope, at) in passing:
                length += 1
                at = period_before(at, passing[scope, at], self._so_far.calendar)
            if length >= (rule.streak or 0):
                found.add((scope, period, length))
        return found

    def _passing(self, rule: RuleSettings) -> dict[tuple[str, str], str]:
        """Scope and period of the standing thresholds of a rule, with the first date; one may be held back."""
        return {
            (data["scope"], data["period"]): data["start"]
            for data in self._standing[rule.name]
            if data["kind"] == "threshold"
            and not self._so_far.is_left_as_it_is((data["metric"], data["scope"], data["period"]))
        }

    def _records(self, rule: RuleSettings, *, while_running: bool) -> Standing:
        """Periods, over or not, that have more than every earlier one, at least one of which has units."""
        found: Standing = set()
        for scope, rows in self._rows_of(rule).items():
            peak = 0
            for row in sorted(rows, key=lambda row: order_of(self._so_far, row.id, scope)):
                if row.is_over or while_running:
                    if 0 < peak < row.units:
                        found.add((scope, row.id, 0))
                    peak = max(peak, row.units)
        return found

    def _factors(self, rule: RuleSettings) -> Standing:
        """Periods with so many times the count of another, which is over and not the first with units."""
        found: Standing = set()
        for scope, rows in self._rows_of(rule).items():
            with_units = sorted((row.start, row.id) for row in rows if row.units)
            over = {row.id: row.units for row in rows if row.is_over and row.units}
            for row in rows:
                base = year_before(row.id) if rule.than == "last-year" else self._before(row)
                is_compared = base in over and base != with_units[0][1]
                wanted = Fraction(str(rule.factor)) * over.get(base, 0)
                if is_compared and row.units >= wanted and (row.is_over or rule.as_ == "passed"):
                    found.add((scope, row.id, 0))
        return found

    def _shares(self, rule: RuleSettings) -> Standing:
        """Scopes with a share of `all` in a period that is over."""
        found: Standing = set()
        for scope, rows in self._rows_of(rule).items():
            for row in rows:
                whole = self._so_far.table.get((rule.metric, "all", row.id), {"count": 0})["count"]
                if row.is_over and whole and row.units >= Fraction(str(rule.share)) * whole:
                    found.add((scope, row.id, 0))
        return found

    def _leaders(self, rule: RuleSettings) -> Standing:
        """Scopes that lead in a period that is over, where another one led, or several were tied, in the one before."""
        rows = self._rows_of(rule)
        over = {row.id for of_scope in rows.values() for row in of_scope if row.is_over}
        counts = {(scope, row.id): row.units for scope, of_scope in rows.items() for row in of_scope}
        found: Standing = set()
        for scope, of_scope in rows.items():
            for row in of_scope:
                before = self._before(row)
                led = _leaders_of(counts, before)
                if row.is_over and before in over and led and _leaders_of(counts, row.id) == [scope] != led:
                    found.add((scope, row.id, 0))
        return found

    def _before(self, row: _Period) -> str:
        return period_before(row.id, row.start, self._so_far.calendar)

    def _rows_of(self, rule: RuleSettings) -> dict[str, list[_Period]]:
        """The rows that a rule watches, by scope."""
        found: dict[str, list[_Period]] = defaultdict(list)
        for scope, row in self._rows[rule.metric, rule.window.partition(":")[0]]:
            if row.id.startswith(f"{rule.window}:") and (scope == "all") == (rule.scope == ()):
                found[scope].append(row)
        return found

    def _check_standing(self, rule: RuleSettings, kind: str, expected: Standing, *, is_held: bool) -> None:
        """Compares what stands, of which more may stand if retractions are held back."""
        standing: Standing = set()
        for data in self._standing[rule.name]:
            if data["kind"] != kind:
                continue
            if not self._so_far.is_left_as_it_is((data["metric"], data["scope"], data["period"])):
                standing.add((data["scope"], data["period"], data.get("streak") or 0))
            elif kind == "first":
                # The first of all campaigns has been withdrawn: that does not undo what was achieved.
                expected = {each for each in expected if each[0] != data["scope"]}
        if standing != (expected | standing if is_held and rule.retract_after_s else expected):
            raise BrokenError(kind, f"standing by {rule.name} are {sorted(standing)}, the rows give {sorted(expected)}")


def _leaders_of(counts: Mapping[tuple[str, str], int], period: str) -> list[str]:
    """The scopes of models with the most units in a period; empty without units."""
    named = {scope: count for (scope, of), count in counts.items() if of == period and scope != OTHERS and count}
    return [scope for scope, count in named.items() if count == max(named.values())]
