"""Streaks: how many periods in a row, up to and including each, pass a rule's number."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streams.domain.time.calendar import Calendar
    from streams.domain.time.periods import Period


class Streaks:
    """The periods of one rule, window and scope, with the length of the streak that each ends; 0 if it does not pass.

    Args:
        calendar: Says which period comes after another.
    """

    def __init__(self, calendar: Calendar) -> None:
        self._calendar = calendar
        self._lengths: dict[str, int] = {}
        self._stale: dict[str, tuple[Period, bool]] = {}

    def put(self, period: Period, *, passes: bool) -> None:
        """Notes a period that may have flipped, or is new."""
        length = self._lengths.get(period.id)
        if length is None or (length > 0) is not passes:
            self._stale[period.id] = period, passes

    def judge(self) -> list[tuple[Period, int]]:
        """The periods that are new or whose length has changed since the last call, with their lengths, in order of time."""
        changed: list[tuple[Period, int]] = []
        stale, self._stale = self._stale, {}
        for period, passes in stale.values():
            # The following periods are judged by what is known now; later iterations correct the rest.
            self._lengths[period.id] = int(passes)
        for period, passes in sorted(stale.values(), key=lambda one: one[0].start):
            length = self._length_after(self._calendar.before(period)) if passes else 0
            self._lengths[period.id] = length
            changed.append((period, length))
            following = self._calendar.after(period)
            while following is not None and following.id not in stale and self._lengths.get(following.id):
                length += 1
                if self._lengths[following.id] == length:
                    break
                self._lengths[following.id] = length
                changed.append((following, length))
                following = self._calendar.after(following)
        return changed

    def _length_after(self, earlier: Period | None) -> int:
        return 1 + (self._lengths.get(earlier.id, 0) if earlier is not None else 0)
