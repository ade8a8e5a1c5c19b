"""The earliest period that passes a rule's number, which decides on milestones `for the first time`."""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streams.domain.rows.window_row import Row
    from streams.domain.rules import Rule
    from streams.domain.time.periods import Ordering


class FirstPassing:
    """The periods of one rule and scope that pass now, in order of time."""

    def __init__(self, rule: Rule, scope: str) -> None:
        self.rule = rule
        self.scope = scope
        #: Whether any period had passed before a step: then a milestone that was never published is no news.
        self.passed_before = False
        self._passing: list[Ordering] = []

    @property
    def earliest(self) -> str | None:
        """Id of the earliest period that passes."""
        return self._passing[0][-1] if self._passing else None

    def put(self, row: Row, *, passes: bool) -> None:
        """Notes a row of the rule's window that may have changed, and whether it counts as passing."""
        self.passed_before = self.passed_before or self.rule.passed_by(row.published_count)
        index = bisect_left(self._passing, row.ordering)
        held = index < len(self._passing) and self._passing[index] == row.ordering
        if passes and not held:
            insort(self._passing, row.ordering)
        elif held and not passes:
            del self._passing[index]
