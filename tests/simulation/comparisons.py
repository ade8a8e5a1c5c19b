"""Rules that compare periods or scopes, judged by the rows: firsts, streaks, records, factors, shares and leaders.

What compares periods of one scope is in one transaction with its rows, so it is judged after each one, for the rows and milestones in
it. What compares scopes is judged when a step is complete: until then, two scopes may show different moments. So is everything if parts
are so small that rows of one scope are in several transactions.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from tests.simulation.broken import BrokenError
from tests.simulation.committed import OTHERS, order_of
from tests.simulation.decided import HELD_BACK
from tests.simulation.periods import period_before, window_of, year_before

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from streams.settings_sections import RuleSettings
    from tests.simulation.committed import Committed, TotalsPart
    from tests.simulation.periods import Series

_AMONG_SCOPES: Final = frozenset({"scope_share", "leader"})
#: Periods, each for a streak with its length.
Standing = set[tuple[str, int]]


class Comparisons:
    """Compares standing milestones with the rows.

    Args:
        so_far: What has been committed.
    """

    def __init__(self, so_far: Committed) -> None:
        self._so_far = so_far
        self._world = so_far.world
        self._metrics = {rule.name: rule.metric for rule in so_far.world.settings.rule}
        self._kinds: dict[tuple[str, bool, str], list[tuple[RuleSettings, str]]] = {}
        self._judges: dict[str, Callable[[RuleSettings, Series], Standing]] = {
            "first": self._firsts,
            "streak": self._streaks,
            "record": lambda _, series: self._records(series, while_running=False),
            "record_passed": lambda _, series: self._records(series, while_running=True),
            "factor": self._factors,
            "scope_share": self._shares,
            "leader": self._leaders,
        }

    def check(self, part: TotalsPart, touched: set[Series], *, is_whole: bool) -> None:
        """Checks that after a transaction exactly the milestones stand that the rows give.

        Args:
            part: The totals partition whose transaction it is.
            touched: The series of its rows and milestones.
            is_whole: Whether everything has been judged by the clock of the step.
        """
        part.unjudged |= touched
        if is_whole:
            touched, part.unjudged = part.unjudged, set()
            touched |= {
                (self._metrics[rule], scope, window_of(period)) for rule, _, scope, period, _ in part.held_since_us
            }
        elif self._so_far.is_split():
            return
        for series in touched:
            for rule, kind in self._kinds_of(series):
                if kind not in _AMONG_SCOPES:
                    self._check_standing(part, rule, kind, series, is_whole=is_whole)
        if is_whole:
            self._check_among(part, touched)

    def check_end(self) -> None:
        """Checks everything at the end."""
        for part in self._so_far.parts:
            self.check(part, {each for each in self._so_far.series if part is self._part_of(each)}, is_whole=True)

    def _part_of(self, series: Series) -> TotalsPart:
        return self._so_far.parts[self._so_far.home(series[1])]

    def _check_among(self, part: TotalsPart, touched: Iterable[Series]) -> None:
        """The same of rules that compare scopes, all of whose scopes have to be judged if one has changed."""
        changed = {(metric, window) for metric, _, window in touched}
        for series in [each for each in self._so_far.series if each[1] != "all" and (each[0], each[2]) in changed]:
            for rule, kind in self._kinds_of(series):
                if kind in _AMONG_SCOPES:
                    self._check_standing(part, rule, kind, series, is_whole=True)

    def _kinds_of(self, series: Series) -> list[tuple[RuleSettings, str]]:
        """The rules that compare periods or scopes of a series, with the kinds of milestones that they raise."""
        metric, scope, window = series
        key = metric, scope == "all", window
        found = self._kinds.get(key)
        if found is None:
            found = self._kinds[key] = [
                (rule, kind)
                for rule in self._world.settings.rule
                if rule.metric == metric
                and (scope == "all") == (rule.scope == ())
                and f"{window}:".startswith(f"{rule.window}:")
                for kind, is_raised in (
                    ("first", rule.first),
                    ("streak", rule.streak is not None),
                    ("record", rule.record),
                    ("record_passed", rule.record and rule.as_ == "passed"),
                    ("factor", rule.factor is not None),
                    ("scope_share", rule.share is not None),
                    ("leader", rule.leader),
                )
                if is_raised
            ]
        return found

    def _rows_of(self, series: Series) -> dict[str, dict[str, Any]]:
        """The rows that are compared, by period."""
        rows = self._so_far.series.get(series, {})
        if series[2] != "campaign":
            return rows
        return {period: row for period, row in rows.items() if not self._so_far.is_left_as_it_is((*series[:2], period))}

    def _firsts(self, rule: RuleSettings, series: Series) -> Standing:
        """The earliest period whose threshold stands."""
        passing = self._passing(rule, series)
        if not passing:
            return set()
        return {(min(passing, key=lambda period: order_of(self._so_far, period, series[1])), 0)}

    def _streaks(self, rule: RuleSettings, series: Series) -> Standing:
        """Periods that end a run of periods whose thresholds stand, if it is long enough for the rule."""
        passing = self._passing(rule, series)
        found: Standing = set()
        for period in passing:
            length, at = 0, period
            while at in passing:
                length += 1
                at = period_before(at, passing[at], self._so_far.calendar)
            if length >= (rule.streak or 0):
                found.add((period, length))
        return found

    def _passing(self, rule: RuleSettings, series: Series) -> dict[str, str]:
        """The periods of the standing thresholds of a rule, with their first date; one may be held back."""
        metric, scope, _ = series
        return {
            data["period"]: data["start"]
            for data in self._so_far.decided_by[rule.name, scope].values()
            if data["kind"] == "threshold" and not self._so_far.is_left_as_it_is((metric, scope, data["period"]))
        }

    def _records(self, series: Series, *, while_running: bool) -> Standing:
        """Periods, over or not, that have more than every earlier one, at least one of which has units."""
        found: Standing = set()
        peak, rows = 0, self._rows_of(series)
        for period in sorted(rows, key=lambda period: order_of(self._so_far, period, series[1])):
            row = rows[period]
            if while_running or row["status"] != "open":
                if 0 < peak < row["count"]:
                    found.add((period, 0))
                peak = max(peak, row["count"])
        return found

    def _factors(self, rule: RuleSettings, series: Series) -> Standing:
        """Periods with so many times the count of another, which is over and not the first with units."""
        found: Standing = set()
        rows = self._rows_of(series)
        first = min(((row["start"], period) for period, row in rows.items() if row["count"]), default=("", ""))[1]
        for period, row in rows.items():
            if row["status"] == "open" and rule.as_ != "passed":
                continue
            base = year_before(period) if rule.than == "last-year" else self._before(period, row)
            compared = rows.get(base)
            if compared is None or compared["status"] == "open" or not compared["count"] or base == first:
                continue
            if row["count"] >= Fraction(str(rule.factor)) * compared["count"]:
                found.add((period, 0))
        return found

    def _shares(self, rule: RuleSettings, series: Series) -> Standing:
        """Periods that are over in which the scope has a share of `all`."""
        metric, _, window = series
        whole = self._so_far.series.get((metric, "all", window), {})
        found: Standing = set()
        for period, row in self._rows_of(series).items():
            count = whole[period]["count"] if period in whole else 0
            if row["status"] != "open" and count and row["count"] >= Fraction(str(rule.share)) * count:
                found.add((period, 0))
        return found

    def _leaders(self, _: RuleSettings, series: Series) -> Standing:
        """Periods that are over in which the scope leads, and another one led, or several were tied, in the one before."""
        metric, scope, window = series
        found: Standing = set()
        for period, row in self._rows_of(series).items():
            before = self._before(period, row)
            led = self._leaders_in(metric, window, before)
            if row["status"] != "open" and led:
                found |= {(period, 0)} if self._leaders_in(metric, window, period) == [scope] != led else set()
        return found

    def _leaders_in(self, metric: str, window: str, period: str) -> list[str]:
        """The scopes of models with the most units in a period, none without units."""
        found: list[str] = []
        most = 0
        for (of, scope, at), rows in self._so_far.series.items():
            if (of, at) != (metric, window) or scope == "all" or period not in rows:
                continue
            count = rows[period]["count"]
            if scope != OTHERS and count >= max(most, 1):
                found, most = [*(found if count == most else ()), scope], count
        return found

    def _before(self, period: str, row: dict[str, Any]) -> str:
        return period_before(period, row["start"], self._so_far.calendar)

    def _check_standing(
        self, part: TotalsPart, rule: RuleSettings, kind: str, series: Series, *, is_whole: bool
    ) -> None:
        """Compares what stands, of which more may stand for as long as retractions are held back."""
        metric, scope, _ = series
        expected, standing = self._judges[kind](rule, series), set()
        for data in self._so_far.decided_by[rule.name, scope].values():
            if data["kind"] != kind or window_of(data["period"]) != series[2]:
                continue
            if not self._so_far.is_left_as_it_is((metric, scope, data["period"])):
                standing.add((data["period"], data.get("streak") or 0))
            elif kind == "first":
                return  # the first of all campaigns has been withdrawn: that does not undo what was achieved
        held = standing - expected if rule.retract_after_s and kind in HELD_BACK else set()
        if standing - held != expected:
            raise BrokenError(
                kind, f"standing by {rule.name} in {scope} are {sorted(standing)}, the rows give {sorted(expected)}"
            )
        if rule.retract_after_s and kind in HELD_BACK:
            self._check_held(part, rule, kind, series, held, is_whole=is_whole)
        self._world.seen["comparisons judged again"] += 1

    def _check_held(
        self, part: TotalsPart, rule: RuleSettings, kind: str, series: Series, held: Standing, *, is_whole: bool
    ) -> None:
        """Checks that a retraction is held back no longer than its rule says."""
        names = {(rule.name, kind, series[1], *each) for each in held}
        for name in [
            each
            for each in part.held_since_us
            if each[:3] == (rule.name, kind, series[1]) and window_of(each[3]) == series[2] and each not in names
        ]:
            del part.held_since_us[name]
        for name in names if part.step_us else ():
            since_us = part.held_since_us.setdefault(name, part.step_us)
            if is_whole and part.step_us >= since_us + rule.retract_after_s * 1_000_000:
                raise BrokenError("held back", f"{name} does not stand for {(part.step_us - since_us) / 1e6} s")
