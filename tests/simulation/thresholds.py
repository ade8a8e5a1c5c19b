"""Thresholds and multiples: they stand exactly where their windows pass, except while a retraction is held back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tests.simulation.broken import BrokenError

if TYPE_CHECKING:
    from tests.simulation.committed import Committed, TotalsPart
    from tests.simulation.periods import Cell

#: More units than any window has.
_MOST_UNITS: Final = 300


class Thresholds:
    """Compares standing numbers with the rows.

    Args:
        so_far: What has been committed.
    """

    def __init__(self, so_far: Committed) -> None:
        self._so_far = so_far
        self._world = so_far.world
        #: Windows that pass a threshold.
        self._passing: set[tuple[str, str, str, int]] = set()
        #: How long each rule holds a retraction back, microseconds.
        self._held_us = {rule.name: rule.retract_after_s * 1_000_000 for rule in so_far.world.settings.rule}
        #: Milestones that were waiting when the memory was lost: the first complete step records them.
        self.forgotten: set[tuple[str, str, str, int]] = set()

    def turn(self, event: dict[str, Any], *, back: bool = False) -> None:
        """Notes that a milestone stands, or no longer does; with `back`, undoes that."""
        data = event["data"]
        if data["kind"] in ("threshold", "multiple"):
            number = number_of(data)
            self._so_far.parts[self._so_far.home(data["scope"])].wrong ^= {number}
            if event["type"] == "milestone.retracted.v1" and not back:
                self._check_held(number)

    def judge(self, key: Cell, count: int) -> None:
        """Finds the thresholds that a window passes now."""
        metric, scope, period = key
        for rule in self._world.settings.rule:
            if rule.metric != metric or (scope == "all") != (rule.scope == ()):
                continue
            if not f"{period}:".startswith(f"{rule.window}:"):
                continue
            numbers = {} if rule.exceeds is None else {rule.exceeds: count > rule.exceeds}
            if rule.reaches is not None:
                numbers[rule.reaches] = count >= rule.reaches
            if rule.every is not None:
                numbers |= {number: count >= number for number in range(rule.every, _MOST_UNITS, rule.every)}
            for number, passes in numbers.items():
                name = (rule.name, scope, period, number)
                if (name in self._passing) != passes:
                    self._passing ^= {name}
                    self._so_far.parts[self._so_far.home(scope)].wrong ^= {name}

    def check(self, part: TotalsPart, *, is_whole: bool) -> None:
        """Checks that thresholds stand exactly where their windows pass, except those that a rule holds back for a time.

        Args:
            part: The totals partition that they are in.
            is_whole: Whether everything has been judged by the clock of the step.
        """
        before, part.below_since_us = part.below_since_us, {}
        for name in sorted(part.wrong):
            rule, scope, period, number = name
            what = f"{rule} {number} of {scope} in {period}"
            if name in self.forgotten and (not is_whole or self._so_far.is_left_as_it_is(("", scope, period))):
                continue
            held_us = self._held_us[rule]
            if not held_us or name in self._passing:
                which = "passes and does not stand" if name in self._passing else "stands and does not pass"
                raise BrokenError("milestones", f"{what} {which}")
            if name not in before and not part.step_us:
                continue  # nothing has been judged by this writer yet
            since_us = part.below_since_us[name] = before.get(name, part.step_us)
            if is_whole and part.step_us >= since_us + held_us:
                raise BrokenError("held back", f"{what} has not passed for {(part.step_us - since_us) / 1e6} s")

        if is_whole:
            self.forgotten = {
                name
                for name in self.forgotten
                # One of an announced campaign that the totals do not know again yet is recorded when they do.
                if self._so_far.parts[self._so_far.home(name[1])] is not part
                or self._so_far.is_left_as_it_is(("", *name[1:3]))
            }

    def check_end(self) -> None:
        for part in self._so_far.parts:
            if self._world.settings.clock != "events":
                part.step_us = self._world.now_us()
            self.check(part, is_whole=True)

    def _check_held(self, name: tuple[str, str, str, int]) -> None:
        """Checks that a held-back retraction comes once its reason has lasted as long as the rule says."""
        held_us = self._held_us[name[0]]
        # In small parts, a held-back retraction is remembered before its row shows the reason.
        if not held_us or self._world.plan.part_rows < self._world.plan.series_records:
            return
        self._world.seen["retractions held back"] += 1
        part = self._so_far.parts[self._so_far.home(name[1])]
        since_us = part.below_since_us.get(name, part.step_us)
        if part.step_us < since_us + held_us:
            raise BrokenError("held back", f"{name} was retracted after {(part.step_us - since_us) / 1e6} s")


def number_of(data: dict[str, Any]) -> tuple[str, str, str, int]:
    return data["rule"], data["scope"], data["period"], data["threshold"]
