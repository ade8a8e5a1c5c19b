"""Targets as events: which are in force at an instant, whatever the order in which they arrived.

Of one `target_id` the event with the greatest (time, id, source) among those whose time has come decides: a target that
is set replaces the one before, one that is withdrawn leaves none. Targets of the settings are start values: any event of
their `target_id` comes after them. A target for a window that the calendar does not know (a holiday that is not counted)
replaces the one before all the same, and is in force nowhere until the calendar knows it.

What a target has achieved is history once it is no longer in force: its milestone stands, also when the count falls
below its value later. Set again with the same value, it is judged again.
"""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING, NamedTuple

from schemas.events import TargetSet
from schemas.facts import ID_CONFLICT
from streams.domain.disposition import APPLIED, DUPLICATE
from streams.domain.rules import Target

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.events import TargetEvent
    from streams.domain.disposition import Disposition


class TargetChange(NamedTuple):
    """One event of a target. In the order of (time, id, source) later ones replace earlier ones.

    Attributes:
        time_us: From when on, microseconds since 1970.
        id: The event's own; unique within its source and target.
        source: The CloudEvents source.
        target_id: Which target.
        target: What is in force from then on; None when it is withdrawn.
        reason: Free text of a withdrawal; tells two events apart and goes no further.
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
        self._seen: dict[tuple[str, str, str], TargetChange] = {}
        self._changes: dict[str, list[TargetChange]] = {}
        self._in_force: tuple[Target, ...] = ()
        #: The answer holds from the first of these instants until before the second.
        self._holds = (1, 0)

    def take(self, change: TargetChange) -> Disposition:
        """Takes one event; of several contents under one identity the first that is taken counts."""
        known = self._seen.setdefault((change.target_id, change.source, change.id), change)
        if known is not change:
            return DUPLICATE if known == change else ID_CONFLICT
        if change.target is not None:
            self._series.add((change.target.metric, change.target.scope))
        insort(self._changes.setdefault(change.target_id, []), change, key=_order)
        self._holds = (1, 0)
        return APPLIED

    def has(self, metric: str, scope: str) -> bool:
        """Whether any target is or was one of a metric and scope, or will be."""
        return (metric, scope) in self._series

    def in_force(self, now_us: int) -> tuple[Target, ...]:
        """The targets at an instant, by id; the same object as long as nothing has changed."""
        since_us, until_us = self._holds
        if not since_us <= now_us < until_us:
            self._judge(now_us)
        return self._in_force

    def _judge(self, now_us: int) -> None:
        found: dict[str, Target | None] = dict(self._start_values)
        since_us, until_us = -(1 << 63), 1 << 63
        for target_id, changes in self._changes.items():
            for change in changes:
                if change.time_us > now_us:
                    until_us = min(until_us, change.time_us)
                    break
                since_us = max(since_us, change.time_us)
                found[target_id] = change.target
        in_force = tuple(target for _, target in sorted(found.items()) if target is not None)
        if in_force != self._in_force:
            self._in_force = in_force
        self._holds = (since_us, until_us)


def _order(change: TargetChange) -> tuple[int, str, str]:
    return change.time_us, change.id, change.source
