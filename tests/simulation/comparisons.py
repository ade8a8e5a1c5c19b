"""Rules that compare periods or scopes, judged by the rows at the end: streaks, records, factors, shares and leaders."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, timedelta
from typing import TYPE_CHECKING

from tests.simulation.broken import BrokenError
from tests.simulation.committed import OTHERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.settings_sections import RuleSettings
    from tests.simulation.committed import Committed


class Comparisons:
    """Compares standing milestones with the rows.

    Args:
        so_far: What has been committed.
    """

    def __init__(self, so_far: Committed) -> None:
        self._so_far = so_far
        self._world = so_far.world

    def check_streaks(self) -> None:
        """Checks streaks: a day ends one as long as the run of days with standing thresholds, if long enough for the rule."""
        for rule in self._world.settings.rule:
            mine = [data for data in self._so_far.standing.values() if data["rule"] == rule.name]
            passing = {(data["scope"], data["period"]) for data in mine if data["kind"] == "threshold"}
            expected = set()
            for scope, period in passing if rule.streak else ():
                kind, _, rest = period.partition(":")
                assert kind == "day", "only days are stepped back through here"
                length, day = 1, date.fromisoformat(rest)
                while (scope, f"day:{day - timedelta(days=length)}") in passing:
                    length += 1
                if length >= (rule.streak or 0):
                    expected.add((scope, period, length))
            standing = {(data["scope"], data["period"], data["streak"]) for data in mine if data["kind"] == "streak"}
            if standing != expected:
                raise BrokenError("streaks", f"standing are {sorted(standing)}, the days give {sorted(expected)}")

    def check_records(self) -> None:
        """Checks records: periods that are over and have more than every earlier one, at least one of which has units."""
        for rule in self._world.settings.rule:
            if not rule.record:
                continue
            for kind in ("record", "record_passed") if rule.as_ == "passed" else ("record",):
                expected = set()
                for scope, rows in self._rows_of(rule).items():
                    peak = 0
                    for period, count, is_over in sorted(rows, key=lambda row: self._order_of(row[0], scope)):
                        if kind == "record" and not is_over:
                            continue
                        if 0 < peak < count:
                            expected.add((scope, period))
                        peak = max(peak, count)
                self._check_standing(rule, kind, expected)

    def check_factors(self) -> None:
        """Checks factors: days with so many times the count of the day before, which is over and not the first with units."""
        for rule in self._world.settings.rule:
            if rule.factor is None:
                continue
            assert (rule.window, rule.than, rule.as_) == ("day", "previous", "passed"), "no other is recounted here"
            expected = set()
            for scope, rows in self._rows_of(rule).items():
                over = {period: count for period, count, is_over in sorted(rows) if is_over and count}
                first = min((period for period, count, _ in rows if count), default=None)
                for period, count, _ in rows:
                    before = f"day:{date.fromisoformat(period[4:]) - timedelta(days=1)}"
                    if before != first and before in over and count >= rule.factor * over[before]:
                        expected.add((scope, period))
            self._check_standing(rule, "factor", expected)

    def check_among_scopes(self) -> None:
        """Checks shares of `all` in days that are over, and leaders where another model led the day before."""
        for rule in self._world.settings.rule:
            if rule.share is None or not rule.leader:
                continue
            assert rule.window == "day", "no other is recounted here"
            shares, leaders = set(), set()
            rows = self._rows_of(rule)
            over = {period for of_scope in rows.values() for period, _, is_over in of_scope if is_over}
            counts = {(scope, period): count for scope, of_scope in rows.items() for period, count, _ in of_scope}
            for scope, of_scope in rows.items():
                for period, count, is_over in of_scope:
                    whole = self._so_far.table.get((rule.metric, "all", period), {"count": 0})["count"]
                    if is_over and whole and count >= rule.share * whole:
                        shares.add((scope, period))
                    before = f"day:{date.fromisoformat(period[4:]) - timedelta(days=1)}"
                    led = _leaders_of(counts, before)
                    if is_over and before in over and led and _leaders_of(counts, period) == [scope] != led:
                        leaders.add((scope, period))
            self._check_standing(rule, "scope_share", shares)
            self._check_standing(rule, "leader", leaders)

    def _order_of(self, period: str, scope: str) -> tuple[float, str, str]:
        """Sort key for periods of one window: campaigns by first instant and last date, others by name."""
        campaign = self._so_far.campaigns_of(scope).get(period)
        if campaign is None:
            return 0.0, "", period
        last = (campaign.end - timedelta(microseconds=1)).isoformat()
        return campaign.start.timestamp(), str(self._so_far.date_of(last)), period

    def _rows_of(self, rule: RuleSettings) -> dict[str, list[tuple[str, int, bool]]]:
        """For each scope that a rule watches: periods, counts, and whether they are over."""
        found: dict[str, list[tuple[str, int, bool]]] = defaultdict(list)
        for (metric, scope, period), row in self._so_far.table.items():
            is_judged = metric == rule.metric and period.startswith(f"{rule.window}:")
            if (
                is_judged
                and (scope == "all") == (rule.scope == ())
                and not self._so_far.is_left_as_it_is((metric, scope, period))
            ):
                found[scope].append((period, row["count"], row["status"] != "open"))
        return found

    def _check_standing(self, rule: RuleSettings, kind: str, expected: set[tuple[str, str]]) -> None:
        standing = {
            (data["scope"], data["period"])
            for data in self._so_far.standing.values()
            if data["kind"] == kind
            and data["rule"] == rule.name
            and not self._so_far.is_left_as_it_is((data["metric"], data["scope"], data["period"]))
        }
        if standing != expected:
            raise BrokenError(kind, f"standing are {sorted(standing)}, the rows give {sorted(expected)}")


def _leaders_of(counts: Mapping[tuple[str, str], int], period: str) -> list[str]:
    """The scopes of models with the most units in a period; empty without units."""
    named = {scope: count for (scope, of), count in counts.items() if of == period and scope != OTHERS and count}
    return [scope for scope, count in named.items() if count == max(named.values())]
