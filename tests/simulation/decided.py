"""What a milestone says when it is decided: its numbers follow from its rule or target, and from the rows of that moment."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from tests.simulation.broken import BrokenError
from tests.simulation.committed import order_of
from tests.simulation.periods import period_before, year_before

if TYPE_CHECKING:
    from streams.settings_sections import RuleSettings
    from tests.simulation.committed import Committed
    from tests.simulation.thresholds import Thresholds

RETRACTED: Final = "milestone.retracted.v1"
_IS_NEWS: Final = {"milestone.raised.v1": True, "milestone.recorded.v1": False}


class Decided:
    """Hears of each milestone once: when it is published or, if it waits for its unit, when that is remembered.

    Args:
        so_far: What has been committed.
        thresholds: Is told which numbers stand.
    """

    def __init__(self, so_far: Committed, thresholds: Thresholds) -> None:
        self._so_far = so_far
        self._world = so_far.world
        self._thresholds = thresholds
        self._rules = {rule.name: rule for rule in so_far.world.settings.rule}

    def hear(self, event: dict[str, Any]) -> None:
        """Takes a decision, and checks what it says."""
        data, name = event["data"], event["data"]["milestone_id"]
        if event["type"] == RETRACTED:
            self._so_far.decided.pop(name, None)
        else:
            self._so_far.decided[name] = data
            self._check_over(name, data)
            self._check_number(name, data)
            if event["type"] in _IS_NEWS and data["kind"] in {"threshold", "multiple", "target"}:
                self._check_news(name, data, is_news=_IS_NEWS[event["type"]])
        self._thresholds.turn(event)

    def _check_over(self, name: str, data: dict[str, Any]) -> None:
        """Checks that what is decided at the end of a period is not decided before."""
        kind, rule = data["kind"], self._rules.get(data["rule"])
        is_by_the_end = kind in {"record", "scope_share", "leader"} or (
            kind == "factor" and rule is not None and rule.as_ != "passed"
        )
        row = self._so_far.table.get((data["metric"], data["scope"], data["period"]))
        if is_by_the_end and (row is None or row["status"] == "open"):
            raise BrokenError("called over", f"{name} is a {kind} of a period that is not over")

    def _check_news(self, name: str, data: dict[str, Any], *, is_news: bool) -> None:
        """Checks what was published for the first time: it is news if the step has passed the number with more than history.

        Not those of campaigns, which may be known later than their units, and of rolling windows, where days before are no news.
        """
        key = (data["metric"], data["scope"], data["period"])
        plan = self._world.plan
        if (
            data["period"].startswith(("campaign:", "rolling:"))
            or plan.part_rows < plan.series_records
            or plan.keep_days
        ):
            return
        row, before = self._so_far.table[key], self._so_far.before.get(key, self._so_far.table[key]) or {}
        known = before.get("count", 0) + (0 if before.get("balance", 0) else row.get("balance", 0))
        loaded = row.get("backfilled", 0) - before.get("backfilled", 0)
        passes = known + (data["operator"] == "reaches") > data["threshold"]
        expected = not passes and not 0 < loaded >= row["count"] - known
        if is_news != expected:
            what = "news" if is_news else "no news"
            raise BrokenError("news", f"{name} is {what}; its row was {before}, and is {row}")
        self._world.seen["milestones that are no news"] += not is_news

    def _check_number(self, name: str, data: dict[str, Any]) -> None:
        """Checks the number that was passed, and which unit passed it."""
        if data["kind"] in {"record", "record_passed"}:
            wanted = self._after_the_best(data)
        else:
            rule = self._rules.get(data["rule"])
            threshold = self._number_of_target(data) if rule is None else self._number_of(rule, data)
            if data["threshold"] != threshold:
                raise BrokenError("numbers", f"{name} says that {data['threshold']} were passed, not {threshold}")
            wanted = max(1, threshold + (data["operator"] == "exceeds"))
        if data.get("position") not in {None, wanted} and wanted is not None:
            raise BrokenError("numbers", f"unit {data['position']} of {name} is said to have passed it, not {wanted}")
        self._world.seen["numbers of milestones"] += 1

    def _number_of(self, rule: RuleSettings, data: dict[str, Any]) -> int:
        kind, period = data["kind"], data["period"]
        if kind == "multiple":
            assert rule.every is not None
            return int(data["threshold"]) // rule.every * rule.every
        if kind == "leader":
            return int(data["compared_count"])
        if kind == "scope_share":
            return ceil(Fraction(str(rule.share)) * int(data["compared_count"]))
        if kind == "factor":
            before = period_before(period, data["start"], self._so_far.calendar)
            compared = before if rule.than == "previous" else year_before(period)
            if data["compared_with"] != compared:
                raise BrokenError("numbers", f"{period} is compared with {data['compared_with']}, not {compared}")
            self._check_compared(data)
            return ceil(Fraction(str(rule.factor)) * int(data["compared_count"]))
        number = rule.reaches if rule.exceeds is None else rule.exceeds
        assert number is not None
        return number

    def _check_compared(self, data: dict[str, Any]) -> None:
        """Checks the count that a period is compared with, if rows of one scope are not in several transactions."""
        row = self._so_far.table.get((data["metric"], data["scope"], data["compared_with"]))
        count = None if row is None else row["count"]
        if count != data["compared_count"] and self._world.plan.part_rows >= self._world.plan.series_records:
            raise BrokenError("numbers", f"{data['compared_with']} had {data['compared_count']}, its row says {count}")

    def _number_of_target(self, data: dict[str, Any]) -> int:
        """The value of a target, or a share of it, as the id of the milestone says: a target may be replaced meanwhile."""
        _, value, *share = data["milestone_id"].split("/")[-1].partition(":")[2].split(":")
        return ceil(Fraction(share[0]) * int(value)) if share else int(value)

    def _after_the_best(self, data: dict[str, Any]) -> int | None:
        """The first unit beyond the best earlier period; None if rows of one scope may be in several transactions."""
        if self._world.plan.part_rows < self._world.plan.series_records:
            return None
        so_far, scope = self._so_far, data["scope"]
        window = data["period"].rpartition(":")[0]
        mine = order_of(so_far, data["period"], scope)
        counts = [
            int(row["count"])
            for (metric, of, period), row in so_far.table.items()
            if (metric, of) == (data["metric"], scope)
            and period.rpartition(":")[0] == window
            and order_of(so_far, period, scope) < mine
            and (row["status"] != "open" or data["kind"] == "record_passed")
            and not so_far.is_left_as_it_is((metric, of, period))
        ]
        return max(counts, default=0) + 1
