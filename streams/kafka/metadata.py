"""Keeps our clients from creating topics just by asking for them.

A broker with `auto.create.topics.enable`, Kafka's default, creates missing topics when it is asked for their metadata by name.
The request can forbid it, but aiokafka has no option for that, so its clients get a request that always does. Only
`milestones topics apply` creates topics.
"""

from __future__ import annotations

import aiokafka.admin.client
import aiokafka.client
from aiokafka.protocol.metadata import MetadataRequest


class _CreatingNothing(MetadataRequest):
    def __init__(self, topics: list[str] | None = None, allow_auto_topic_creation: bool | None = False) -> None:  # noqa: FBT001, FBT002 - aiokafka's signature
        super().__init__(topics, allow_auto_topic_creation)


def create_nothing() -> None:
    """Makes every aiokafka client in this process use that request; idempotent."""
    for module in (aiokafka.client, aiokafka.admin.client):
        module.MetadataRequest = _CreatingNothing
