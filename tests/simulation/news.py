"""Which milestones are news when they are published for the first time, and which are only recorded, by the rows before and after.

News is what units have passed that are not loaded history; or, for what is decided at the end of its period, what has ended with
more than history. What stood by the rows before, and what a campaign had passed before it became known, is recorded.
"""

from __future__ import annotations

from datetime import date, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from tests.simulation.committed import order_of
from tests.simulation.periods import Cell, period_before, window_of, year_before

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.settings_sections import RuleSettings
    from tests.simulation.committed import Committed

_NOTHING: Final[dict[str, Any]] = {"count": 0, "status": "open"}
#: What is judged by the rows of other scopes, or of other periods, too: its own period may end without any new unit.
_BY_THE_END: Final = ("record", "record_passed", "factor", "scope_share", "leader")


class News:
    """Recounts which milestones are news.

    Args:
        so_far: What has been committed.
    """

    def __init__(self, so_far: Committed) -> None:
        self._so_far = so_far
        #: Kind → whether a milestone with its first revision was passed already, or by what is no news.
        self._was_passed: dict[str, Callable[[dict[str, Any], RuleSettings], bool]] = {
            "first": self._first_was_passed,
            "streak": self._streak_was_passed,
            "record": self._was_record,
            "record_passed": self._was_record,
            "factor": self._was_factor,
            "scope_share": self._had_enough,
            "leader": self._had_enough,
        }

    def expected(self, data: dict[str, Any], rule: RuleSettings | None) -> bool | None:
        """Whether a milestone is news; None if that is not determined.

        Args:
            data: It is published for the first time, or remembered until its unit is known, with the latest transaction.
            rule: Its rule; None for a target.
        """
        key = (data["metric"], data["scope"], data["period"])
        is_unknown = self._is_unknown(key)
        if self._so_far.is_split() or is_unknown is None:
            # In small parts, a takeover continues with what was decided by the rows of an earlier transaction.
            return None
        kind = data["kind"]
        # Any of the periods in a row may have been passed by more than history.
        if is_unknown or (kind != "streak" and self._is_loaded(key, at_the_end=kind in _BY_THE_END)):
            return False
        was_passed = self._was_passed.get(kind)
        if was_passed is not None and rule is not None:
            return not was_passed(data, rule)
        return not _passes(data, self._known(key))

    def _is_unknown(self, key: Cell) -> bool | None:
        """Whether a row is of a campaign that has only become known; None if the internal topics are lost that say so."""
        _, scope, period = key
        part = self._so_far.parts[self._so_far.home(scope)]
        if not period.startswith("campaign:") or not part.has_published:
            return False
        if part.judged is None:
            return None
        return part.judged.get(period) != self._so_far.campaigns_of(scope).get(period)

    def _days_before(self, key: Cell) -> tuple[int, int]:
        """Of the days of a rolling window before its last one: all units, and those loaded as history."""
        metric, scope, period = key
        if not period.startswith("rolling:"):
            return 0, 0
        last, length = (
            date.fromisoformat(period[-10:]),
            int(window_of(period).removeprefix("rolling:").removesuffix("d")),
        )
        days = self._so_far.series[metric, scope, "day"]
        rows = [days.get(f"day:{last - timedelta(days=ago)}", _NOTHING) for ago in range(1, length)]
        return sum(row["count"] for row in rows), sum(row.get("backfilled", 0) for row in rows)

    def _before(self, key: Cell) -> int:
        """The count of a row before the transaction, with an opening balance that is the first one."""
        row, before = self._so_far.table[key], self._so_far.was(key) or _NOTHING
        return int(before["count"]) + int(0 if before.get("balance", 0) else row.get("balance", 0))

    def _known(self, key: Cell) -> int:
        """The units of a row that are no news whatever they pass."""
        return max(self._before(key), self._days_before(key)[0])

    def _is_loaded(self, key: Cell, *, at_the_end: bool) -> bool:
        """Whether a row has nothing but loaded history in addition; with `at_the_end`, also if it has nothing else at all."""
        row, was = self._so_far.table[key], self._so_far.was(key)
        before, loaded = self._before(key), (was or _NOTHING).get("backfilled", 0)
        if was is None:
            earlier = self._days_before(key)
            before, loaded = before + earlier[0], loaded + earlier[1]
        added = row.get("backfilled", 0) - loaded
        return 0 < added >= row["count"] - before or (at_the_end and row["count"] == row.get("backfilled", 0))

    def _first_was_passed(self, data: dict[str, Any], _: RuleSettings) -> bool:
        """Whether any period had passed."""
        metric, scope, period = data["metric"], data["scope"], data["period"]
        series = self._so_far.series[metric, scope, window_of(period)]
        keys = [(metric, scope, each) for each in series]
        return any(_passes(data, (self._so_far.was(key) or _NOTHING)["count"]) for key in keys) or _passes(
            data, self._known((metric, scope, period))
        )

    def _streak_was_passed(self, data: dict[str, Any], _: RuleSettings) -> bool:
        """Whether none of its periods has been passed by more than history now: a correction has made a longer one shorter."""
        metric, scope, period = data["metric"], data["scope"], data["period"]
        for _number in range(data["streak"]):
            key = metric, scope, period
            row = self._so_far.table[key]
            is_new = _passes(data, row["count"]) and not _passes(data, (self._so_far.was(key) or _NOTHING)["count"])
            if is_new and not self._is_loaded(key, at_the_end=False):
                return False
            period = period_before(period, row["start"], self._so_far.calendar)
        return True

    def _was_record(self, data: dict[str, Any], _: RuleSettings) -> bool:
        """Whether it was a record by the rows before."""
        metric, scope, period = data["metric"], data["scope"], data["period"]
        mine, best = order_of(self._so_far, period, scope), 0
        own = self._so_far.was((metric, scope, period)) or _NOTHING
        for each in self._so_far.series[metric, scope, window_of(period)]:
            row = self._so_far.was((metric, scope, each)) or _NOTHING
            is_counted = row["status"] != "open" or data["kind"] == "record_passed"
            if is_counted and order_of(self._so_far, each, scope) < mine:
                best = max(best, row["count"])
        is_counted = own["status"] != "open" or data["kind"] == "record_passed"
        return bool(is_counted and 0 < best < own["count"])

    def _was_factor(self, data: dict[str, Any], rule: RuleSettings) -> bool:
        """Whether it had that many times the units by the rows before."""
        metric, scope, period = data["metric"], data["scope"], data["period"]
        series = self._so_far.series[metric, scope, window_of(period)]
        rows = {each: self._so_far.was((metric, scope, each)) or _NOTHING for each in series}
        compared = (
            period_before(period, data["start"], self._so_far.calendar)
            if rule.than == "previous"
            else year_before(period)
        )
        base, own = rows.get(compared, _NOTHING), rows[period]
        first = min((row["start"] for row in rows.values() if row["count"]), default="")
        is_compared = base["status"] != "open" and base["count"] and base["start"] > first
        return bool(
            is_compared
            and own["count"] >= Fraction(str(rule.factor)) * base["count"]
            and (own["status"] != "open" or rule.as_ == "passed")
        )

    def _had_enough(self, data: dict[str, Any], _: RuleSettings) -> bool:
        """Whether the scope had enough already when the period was over: then the units of others have decided."""
        own = self._so_far.was((data["metric"], data["scope"], data["period"])) or _NOTHING
        enough = max(1, int(data["threshold"]) + (data["operator"] == "exceeds"))
        return bool(own["status"] != "open" and own["count"] >= enough)


def _passes(data: dict[str, Any], count: int) -> bool:
    """Whether a count passes the number of a milestone."""
    return bool(count > data["threshold"] if data["operator"] == "exceeds" else count >= data["threshold"])
