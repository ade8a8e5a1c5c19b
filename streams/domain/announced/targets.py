"""Targets as events: which are in force at an instant, whatever the order in which they arrived.

For a `target_id`, the event with the greatest (time, id, source) among those whose time has come decides: a target that is
set replaces the previous one, and one that is withdrawn leaves none. Targets of the settings are initial values: any event of
their `target_id` comes after them. A target for a window that the calendar does not know (a holiday that is not counted)
still replaces the previous one, and is not in force until the calendar knows the window.

Once a target is no longer in force, its milestone stands, even if the count later falls below its value. If it is set again
with the same value, it is judged again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from schemas.events import TargetSet
from streams.domain.announced.dated_changes import DatedChanges
from streams.domain.announced.disposition import APPLIED
from streams.domain.rules import Target

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.events import TargetEvent
    from streams.domain.announced.disposition import Disposition


class TargetChange(NamedTuple):
    """One event of a target. In the order of (time, id, source) later ones replace earlier ones.

    Attributes:
        time_us: When it takes effect, microseconds since 1970.
        id: The event's own; unique within its source and target.
        source: The CloudEvents source.
        target_id: Which target.
        target: The target that is in force from then on; None when it is withdrawn.
        reason: Free text of a withdrawal; only distinguishes events and is not used otherwise.
    """

    time_us: int
    id: str
    source: str
    target_id: str
    target: Target | None
    reason: str | None = None


def change_of(event: TargetEvent) -> TargetChange:
    """The change that an event brings."""
    if isinstance(event, TargetSet):
        data = event.data
        target = Target(
            data.target_id, data.metric, data.scope, data.period, data.value, data.label, tuple(data.at or ())
        )
        return TargetChange(event.time_us, event.id, event.source, data.target_id, target)
    return TargetChange(event.time_us, event.id, event.source, event.data.target_id, None, event.data.reason)


class TargetBook:
    """Every change of every target, and the targets that result.

    Args:
        start_values: The targets of the settings.
    """

    def __init__(self, start_values: Iterable[Target]) -> None:
        self._start_values = {target.target_id: target for target in start_values}
        self._series: set[tuple[str, str]] = {(one.metric, one.scope) for one in self._start_values.values()}
        self._changes: DatedChanges[str, TargetChange] = DatedChanges()
        self._latest: dict[str, TargetChange] | None = None
        self._in_force: tuple[Target, ...] = ()

    def take(self, change: TargetChange) -> Disposition:
        """Takes one event; if one identity comes with several contents, the first counts."""
        taken = self._changes.take(change.target_id, change)
        if taken == APPLIED and change.target is not None:
            self._series.add((change.target.metric, change.target.scope))
        return taken

    def has(self, metric: str, scope: str) -> bool:
        """Whether any past, present or future target is for this metric and scope."""
        return (metric, scope) in self._series

    def in_force(self, now_us: int) -> tuple[Target, ...]:
        """The targets in force at an instant, sorted by id; the same object as long as nothing has changed."""
        latest = self._changes.in_force(now_us)
        if latest is not self._latest:
            self._latest = latest
            found: dict[str, Target | None] = {**self._start_values}
            found.update((target_id, change.target) for target_id, change in latest.items())
            in_force = tuple(target for _, target in sorted(found.items()) if target is not None)
            if in_force != self._in_force:
                self._in_force = in_force
        return self._in_force
