"""Periods compared with earlier ones: which one each is compared with, and which must be judged again after a change."""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.domain.rows.window_row import Row
    from streams.domain.rules import Than
    from streams.domain.time.calendar import Calendar
    from streams.domain.time.periods import Ordering, Period


class Comparisons:
    """The periods of one rule, window and scope.

    A period is compared with another only if there are units before that one: the first period with units may be counted only
    in part, all later ones are whole.

    Args:
        calendar: Says which period is the previous one, or that of the year before.
        than: Which of the two each is compared with.
    """

    def __init__(self, calendar: Calendar, than: Than) -> None:
        is_yearly = than == "last-year"
        self._find_base: Callable[[Period], Period | None] = calendar.year_before if is_yearly else calendar.before
        self._find_dependent: Callable[[Period], Period | None] = calendar.year_after if is_yearly else calendar.after
        #: For the periods looked up so far: the one that each is compared with, and the one that is compared with it.
        self._bases: dict[str, Period | None] = {}
        self._dependents: dict[str, Period | None] = {}
        self._known: dict[str, Period] = {}
        self._with_units: list[Ordering] = []
        #: The first period that had units before this step.
        self._first_before: Ordering | None = None
        self._stale: dict[str, Period] = {}
        #: Units that a period needs, None if there is nothing to compare it with; kept until that may have changed.
        self.wanted: dict[str, int | None] = {}

    def put(self, row: Row) -> None:
        """Notes a period that may have changed, or is new."""
        if row.period.id not in self._known and row.earlier_count > 0:
            self._first_before = min(self._first_before or row.ordering, row.ordering)
        self._known[row.period.id] = row.period
        index = bisect_left(self._with_units, row.ordering)
        held = index < len(self._with_units) and self._with_units[index] == row.ordering
        if row.count > 0 and not held:
            insort(self._with_units, row.ordering)
        elif held and row.count == 0:
            del self._with_units[index]
        self._stale[row.period.id] = row.period

    def stale(self) -> list[Period]:
        """The periods to judge, in order of time."""
        if (self._with_units[0] if self._with_units else None) != self._first_before:
            self._stale.update(self._known)
            self.wanted.clear()
        for period in list(self._stale.values()):
            dependent = self._dependent(period)
            if dependent is not None and dependent.id in self._known:
                self._stale[dependent.id] = dependent
                self.wanted.pop(dependent.id, None)
        return sorted(self._stale.values(), key=lambda period: (period.start, period.end))

    def end(self) -> None:
        """All of them are judged: from here on, the present state is the earlier one."""
        self._stale.clear()
        self._first_before = self._with_units[0] if self._with_units else None

    def base(self, period: Period) -> Period | None:
        """The period that one is compared with, if there is one."""
        if period.id not in self._bases:
            self._bases[period.id] = self._find_base(period)
        return self._bases[period.id]

    def _dependent(self, period: Period) -> Period | None:
        if period.id not in self._dependents:
            self._dependents[period.id] = self._find_dependent(period)
        return self._dependents[period.id]

    def has_history(self, base: Row, *, before: bool = False) -> bool:
        """Whether there are units before a period that others are compared with, or were before this step."""
        first = self._first_before if before else self._with_units[0] if self._with_units else None
        return first is not None and first < base.ordering
