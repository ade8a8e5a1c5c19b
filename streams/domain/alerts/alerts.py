"""Alerts: which stand, and their next revisions. They are raised and ended, never retracted."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from schemas.outputs import MilestoneData, MilestoneEvent
from streams.domain.milestones.milestones import EARLIEST_SOURCE

if TYPE_CHECKING:
    from schemas.outputs import AlertEnd, MilestoneType


class _Alert(NamedTuple):
    """The last event of an alert."""

    revision: int
    stands: bool
    data: MilestoneData


class AlertBook:
    """The last event of every alert. Restore the published events, in order, before the first new one.

    Attributes:
        source: The CloudEvents source of the alerts, a URI reference.
    """

    def __init__(self) -> None:
        self.source = EARLIEST_SOURCE
        self._alerts: dict[str, _Alert] = {}

    def restore(self, event: MilestoneEvent) -> None:
        """Restores a published event."""
        self._alerts[event.subject] = _Alert(event.data.revision, event.stands, event.data)

    def _standing(self, milestone_id: str) -> MilestoneData | None:
        """The data of an alert, if it stands."""
        alert = self._alerts.get(milestone_id)
        return alert.data if alert is not None and alert.stands else None

    def _all_standing(self) -> list[MilestoneData]:
        """The data of all alerts that stand."""
        return [alert.data for alert in self._alerts.values() if alert.stands]

    def _event(
        self, event_type: MilestoneType, data: MilestoneData, detected_at: str, ended: AlertEnd | None = None
    ) -> MilestoneEvent:
        """The next event of an alert, which is in the book at once.

        Args:
            event_type: Raised or ended.
            data: Its data; the revision is set here.
            detected_at: RFC 3339.
            ended: Why it ends, if it does.
        """
        alert = self._alerts.get(data.milestone_id)
        revision = alert.revision + 1 if alert is not None else 1
        event = MilestoneEvent(
            id=f"{data.milestone_id}@{revision}",
            source=self.source,
            type=event_type,
            time=detected_at,
            subject=data.milestone_id,
            data=data.model_copy(update={"revision": revision, "detected_at": detected_at, "ended": ended}),
        )
        self.restore(event)
        return event
