"""Opening balances: units from before the events that are counted here, given by events for a metric and scope.

They are part of `total` and of no other window. For a metric and scope, the event with the greatest (time, id, source) among
those whose time has come decides, so a later one corrects an earlier one, and 0 takes it back. A balance belongs to its scope
alone: scopes overlap, so a model's cannot be added to that of all models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from streams.domain.announced.dated_changes import DatedChanges

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schemas.events import BalanceSet
    from schemas.facts import Metric
    from streams.domain.announced.disposition import Disposition


class BalanceChange(NamedTuple):
    """One event of an opening balance.

    Attributes:
        time_us: When it takes effect, microseconds since 1970.
        id: The event's own; unique within its source, metric and scope.
        source: The CloudEvents source.
        metric: One of the metrics.
        scope: A scope id.
        units: The balance from then on.
        label: For people.
    """

    time_us: int
    id: str
    source: str
    metric: Metric
    scope: str
    units: int
    label: str | None = None


def balance_of(event: BalanceSet) -> BalanceChange:
    """The change that an event brings."""
    data = event.data
    return BalanceChange(event.time_us, event.id, event.source, data.metric, data.scope, data.count, data.label)


class BalanceBook:
    """Every opening balance, and which are in force."""

    def __init__(self) -> None:
        self._changes: DatedChanges[tuple[Metric, str], BalanceChange] = DatedChanges()
        self._latest: dict[tuple[Metric, str], BalanceChange] = {}
        self._in_force: dict[tuple[Metric, str], int] = {}

    def take(self, change: BalanceChange) -> Disposition:
        """Takes one event; if one identity comes with several contents, the first counts."""
        return self._changes.take((change.metric, change.scope), change)

    def in_force(self, now_us: int) -> Mapping[tuple[Metric, str], int]:
        """Metric and scope → units at an instant, if there are any; the same object as long as nothing has changed."""
        latest = self._changes.in_force(now_us)
        if latest is not self._latest:
            self._latest = latest
            self._in_force = {key: change.units for key, change in latest.items() if change.units}
        return self._in_force
