"""What a milestone says when it is decided: its numbers follow from its rule or target, and from the rows of that moment."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from tests.simulation.broken import BrokenError
from tests.simulation.committed import OTHERS, order_of
from tests.simulation.news import News
from tests.simulation.periods import period_before, window_of, year_before

if TYPE_CHECKING:
    from streams.settings_sections import RuleSettings
    from tests.simulation.committed import Committed, TotalsPart
    from tests.simulation.periods import Series
    from tests.simulation.thresholds import Thresholds

RETRACTED: Final = "milestone.retracted.v1"
#: What a milestone repeats of its row, where it has it.
_OF_ITS_ROW: Final = ("count", "balance", "start", "end", "starts_at", "ends_at", "timezone")
_AMONG_SCOPES: Final = ("scope_share", "leader")
#: What a rule's `retract_after_s` holds back by itself; firsts and streaks follow their thresholds.
HELD_BACK: Final = ("record", "record_passed", "factor", *_AMONG_SCOPES)
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
        self._news = News(so_far)
        #: The series of the milestones heard in this transaction, and what those that stand say.
        self.touched: set[Series] = set()
        self._told: list[dict[str, Any]] = []

    def hear(self, event: dict[str, Any]) -> None:
        """Takes a decision, and checks what it says."""
        data, name = event["data"], event["data"]["milestone_id"]
        self.touched.add((data["metric"], data["scope"], window_of(data["period"])))
        self._check_row(event)
        if event["type"] == RETRACTED:
            self._so_far.undecide(name, data)
            self._check_retracted(event)
        else:
            self._so_far.decide(name, data)
            self._check_over(name, data)
            self._check_name(name, data)
            self._check_number(name, data)
            self._check_type(event)
            self._told.append(data)
        self._thresholds.turn(event)

    def end(self, part: TotalsPart, *, is_whole: bool) -> set[Series]:
        """Checks what can be checked only when all of a transaction has been heard. Returns the series of its milestones.

        Args:
            part: The totals partition whose transaction it is.
            is_whole: Whether a step is complete, so that all scopes show the same moment.
        """
        told, self._told = self._told, []
        if not self._so_far.is_split():
            for data in told:
                self._check_first(data)
        among = [data for data in told if data["kind"] in _AMONG_SCOPES]
        if part.compared and part.compared[0] != part.step_us:
            part.compared = None  # another writer has judged everything again
        if among or part.compared:
            before = part.compared[1] if part.compared else []
            part.compared = part.step_us, [*before, *among]
        if is_whole and part.compared:
            for data in part.compared[1]:
                self._check_other_scope(data)
            part.compared = None
        touched, self.touched = self.touched, set()
        return touched

    def _check_first(self, data: dict[str, Any]) -> None:
        """Checks that the period which is said to be the first is the earliest whose threshold stands."""
        rule = self._rules.get(data["rule"])
        name = data["milestone_id"]
        if self._so_far.decided.get(name) is not data:
            return  # it changes once more in this transaction
        is_first = data["kind"] == "first"
        if data["kind"] == "threshold" and rule is not None and rule.first:
            metric, scope = data["metric"], data["scope"]
            standing = [
                each["period"]
                for each in self._so_far.decided_by[data["rule"], scope].values()
                if each["kind"] == "threshold"
                and window_of(each["period"]) == window_of(data["period"])
                and not self._so_far.is_left_as_it_is((metric, scope, each["period"]))
            ]
            is_first = data["period"] == min(standing, key=lambda period: order_of(self._so_far, period, scope))
        if data["first"] is not is_first:
            raise BrokenError("numbers", f"{name} says {data['first']} about being the first, it is {is_first}")

    def _check_other_scope(self, data: dict[str, Any]) -> None:
        """Checks the scope that a share or a leader is compared with, by the rows at the end of its step."""
        so_far, metric, period = self._so_far, data["metric"], data["period"]
        wanted: list[tuple[str | None, int]]
        if data["kind"] == "scope_share":
            wanted = [("all", so_far.table.get((metric, "all", period), {"count": 0})["count"])]
        else:
            others = [
                (scope, row["count"])
                for (of, scope, at), row in so_far.table.items()
                if (of, at) == (metric, period) and scope not in {"all", OTHERS, data["scope"]} and row["count"]
            ]
            most = max((count for _, count in others), default=0)
            wanted = [each for each in others if each[1] == most] or [(None, 0)]
        if (data.get("compared_scope"), data["compared_count"]) not in wanted:
            raise BrokenError("numbers", f"{data} is compared with another scope than {wanted}")

    def _check_retracted(self, event: dict[str, Any]) -> None:
        """Checks that a retraction names no unit, and does not come too early if its rule holds it back."""
        data = event["data"]
        named = [name for name in ("position", "achieved_on", "achieved_at", "cause") if data.get(name) is not None]
        if named or data["revision"] == 1:
            raise BrokenError("numbers", f"{event['id']} is a retraction and has {named}")
        rule = self._rules.get(data["rule"])
        # What compares scopes may have been found in a step that was never completed: since when it waits is then not seen.
        if rule is None or data["kind"] not in HELD_BACK or data["kind"] in _AMONG_SCOPES or self._so_far.is_split():
            return
        part = self._so_far.parts[self._so_far.home(data["scope"])]
        held = data["rule"], data["kind"], data["scope"], data["period"], data.get("streak") or 0
        since_us = part.held_since_us.get(held, part.step_us)
        if part.step_us < since_us + rule.retract_after_s * 1_000_000:
            raise BrokenError("held back", f"{held} was retracted after {(part.step_us - since_us) / 1e6} s")
        self._world.seen["retractions held back"] += 1

    def _check_over(self, name: str, data: dict[str, Any]) -> None:
        """Checks that what is decided at the end of a period is not decided before."""
        kind, rule = data["kind"], self._rules.get(data["rule"])
        is_by_the_end = kind in {"record", "scope_share", "leader"} or (
            kind == "factor" and rule is not None and rule.as_ != "passed"
        )
        row = self._so_far.table.get((data["metric"], data["scope"], data["period"]))
        if is_by_the_end and (row is None or row["status"] == "open"):
            raise BrokenError("called over", f"{name} is a {kind} of a period that is not over")

    def _check_type(self, event: dict[str, Any]) -> None:
        """Checks that only the first revision says that it is news, or that it is not, and that it is right."""
        data, kind = event["data"], event["type"]
        if (data["revision"] == 1) is not (kind in _IS_NEWS):
            raise BrokenError("news", f"{event['id']} is a {kind}")
        if kind not in _IS_NEWS:
            return
        expected = self._news.expected(data, self._rules.get(data["rule"]))
        if expected not in {None, _IS_NEWS[kind]}:
            key = (data["metric"], data["scope"], data["period"])
            what = "news" if _IS_NEWS[kind] else "no news"
            raise BrokenError(
                "news",
                f"{event['id']} is {what}; its row was {self._so_far.was(key)}, and is {self._so_far.table[key]}",
            )
        self._world.seen["milestones that are no news"] += not _IS_NEWS[kind]

    def _check_row(self, event: dict[str, Any]) -> None:
        """Checks what is said of the row, of which the milestone is published with a version."""
        data = event["data"]
        row = self._so_far.table[data["metric"], data["scope"], data["period"]]
        differing = [name for name in _OF_ITS_ROW if data.get(name) != row.get(name)]
        if differing:
            raise BrokenError("numbers", f"{event['id']} differs from its row in {differing}: {data}, {row}")
        if event["id"] != f"{data['milestone_id']}@{data['revision']}" or event["subject"] != data["milestone_id"]:
            raise BrokenError("numbers", f"{event['id']} is revision {data['revision']} of {data['milestone_id']}")
        if event["time"] != data["detected_at"]:
            raise BrokenError("numbers", f"{event['id']} is of {event['time']}, detected at {data['detected_at']}")

    def _check_name(self, name: str, data: dict[str, Any]) -> None:
        """Checks the id, by which readers know what has happened, and what it names of its rule."""
        rule, kind = self._rules.get(data["rule"]), data["kind"]
        wanted, operator = None, "exceeds" if kind == "leader" else "reaches"
        if rule is not None:
            if kind in {"threshold", "first", "streak"} and rule.exceeds is not None:
                operator = "exceeds"
            number = f"{operator}:{data['threshold']}"
            wanted = {
                "threshold": f"{data['period']}/{number}",
                "multiple": f"{data['period']}/every:{rule.every}:{data['threshold']}",
                "first": f"first:{rule.window}/{number}",
                "streak": f"{data['period']}/streak:{number}:{data.get('streak')}",
                "factor": f"{data['period']}/factor:{rule.factor or 0:.10g}:{rule.than}",
                "scope_share": f"{data['period']}/share-of-all:{rule.share}",
                "leader": f"{data['period']}/leader",
                "record": f"record:{data['period']}",
                "record_passed": f"record-passed:{data['period']}",
            }[kind]
            wanted = f"{data['metric']}/{data['scope']}/{wanted}"
        if wanted not in {None, name}:
            raise BrokenError("numbers", f"{name} is about {wanted}")
        has_number = kind not in {"record", "record_passed"}
        said = data["operator"], data["threshold"] is not None, data.get("factor"), data.get("share")
        own = (
            operator if has_number else None,
            has_number,
            rule.factor if rule is not None and kind == "factor" else None,
            rule.share if rule is not None and kind == "scope_share" else None,
        )
        if said != own:
            raise BrokenError("numbers", f"{name} says {said}, its rule {own}")

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
        mine = order_of(so_far, data["period"], scope)
        counts = [
            int(row["count"])
            for period, row in so_far.series[data["metric"], scope, window_of(data["period"])].items()
            if order_of(so_far, period, scope) < mine
            and (row["status"] != "open" or data["kind"] == "record_passed")
            and not so_far.is_left_as_it_is((data["metric"], scope, period))
        ]
        return max(counts, default=0) + 1
