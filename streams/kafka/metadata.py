"""No client of ours creates a topic by asking for it.

Asked for metadata by name, a broker with `auto.create.topics.enable`, Kafka's default, creates what it does not have: with
one partition and settings that no one chose. The request can forbid it, and aiokafka offers no way to say so: here its
clients get a request that does, for whatever they ask. Topics are created by `milestones topics apply` alone.
"""

from __future__ import annotations

import aiokafka.admin.client
import aiokafka.client
from aiokafka.protocol.metadata import MetadataRequest


class _CreatingNothing(MetadataRequest):
    def __init__(self, topics: list[str] | None = None, allow_auto_topic_creation: bool | None = False) -> None:  # noqa: FBT001, FBT002 - aiokafka's signature
        super().__init__(topics, allow_auto_topic_creation)


def create_nothing() -> None:
    """Has every aiokafka client of this process ask so; doing it again changes nothing."""
    for module in (aiokafka.client, aiokafka.admin.client):
        module.MetadataRequest = _CreatingNothing
