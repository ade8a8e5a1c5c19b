"""Retractions that are held back: a count that recovers within a rule's `retract_after_s` is never published.

Neither rows nor milestones say since when a retraction has been waiting, so that is stored separately.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from schemas.rows import RowKey
    from streams.domain.rows.window_row import Row

_MICROSECONDS = 1_000_000
_NEVER_US = 1 << 63


class _Waiting(NamedTuple):
    due_us: int
    row: RowKey


class HeldBack:
    """The milestones that stand although their windows no longer pass."""

    def __init__(self) -> None:
        self._since_us: dict[str, int] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._next_us = _NEVER_US
        self._changed: dict[str, int | None] = {}

    def restore(self, milestone_id: str, since_us: int) -> None:
        """Restores since when a retraction has been waiting, microseconds since 1970, before the first step."""
        self._since_us[milestone_id] = since_us

    def __contains__(self, milestone_id: str) -> bool:
        return milestone_id in self._waiting

    def holds(self, milestone_id: str, row: Row, *, now_us: int, after_s: int) -> bool:
        """Whether to hold back the retraction of a standing milestone; otherwise it is published.

        Args:
            milestone_id: Which milestone.
            row: The window that it stands for, to be judged again when the time is up.
            now_us: The clock, microseconds since 1970.
            after_s: How long the count has to stay below, seconds.
        """
        due_us = self._since_us.get(milestone_id, now_us) + after_s * _MICROSECONDS
        if now_us >= due_us:
            self.end(milestone_id)
            return False
        if milestone_id not in self._since_us:
            self._since_us[milestone_id] = self._changed[milestone_id] = now_us
        self._waiting[milestone_id] = _Waiting(due_us, row.key)
        self._next_us = min(self._next_us, due_us)
        return True

    def end(self, milestone_id: str) -> None:
        """Ends the wait: the count has recovered, or the retraction is published."""
        if self._since_us.pop(milestone_id, None) is not None:
            self._waiting.pop(milestone_id, None)
            self._changed[milestone_id] = None

    def rows(self) -> set[RowKey]:
        """The windows of all waiting retractions."""
        return {one.row for one in self._waiting.values()}

    def due(self, now_us: int) -> list[RowKey]:
        """The windows to be judged again although nothing has happened in them."""
        if now_us < self._next_us:
            return []
        self._next_us = min((one.due_us for one in self._waiting.values() if one.due_us > now_us), default=_NEVER_US)
        return [one.row for one in self._waiting.values() if one.due_us <= now_us]

    def drain(self) -> dict[str, int | None]:
        """Changes since the last call: milestone id → since when it has been waiting, or None if it no longer is."""
        changed, self._changed = self._changed, {}
        return changed

    def end_step(self) -> None:
        """Drops what was restored and not met in the first step: it belongs to rules that are gone."""
        for milestone_id in self._since_us.keys() - self._waiting.keys():
            self.end(milestone_id)
