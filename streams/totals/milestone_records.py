"""The record of a milestone or an alert."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.codec import encode_milestone
from schemas.outputs import MILESTONE_HEADERS
from streams.kafka.outbox import Outgoing

if TYPE_CHECKING:
    from schemas.outputs import MilestoneEvent


def milestone_record(topic: str, number: int, event: MilestoneEvent) -> Outgoing:
    """The record for a partition of the topic of milestones."""
    return Outgoing(topic, number, event.subject.encode(), encode_milestone(event), MILESTONE_HEADERS)
