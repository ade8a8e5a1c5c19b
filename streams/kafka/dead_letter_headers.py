"""The headers in which a dead letter names the rejected record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.notes import Place
from schemas.outputs import ControlHeaders
from streams.kafka.records import header_values

if TYPE_CHECKING:
    from streams.kafka.records import LogRecord


def rejected_place(letter: LogRecord) -> Place | None:
    """Where the rejected record was published; `None` if the headers do not say."""
    headers = header_values(letter)
    topic, partition, offset = (
        headers.get(name) for name in (ControlHeaders.TOPIC, ControlHeaders.PARTITION, ControlHeaders.OFFSET)
    )
    if topic is None or partition is None or offset is None:
        return None
    return Place(topic.decode(), int(partition), int(offset))
