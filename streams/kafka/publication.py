"""Records on their way to the source topics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

from schemas.codec import decode_batch, decode_control, decode_target
from schemas.facts import FAMILIES, topic_number
from schemas.partitioner import homes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.events import Event
    from schemas.facts import Fact, Rejection

#: Kinds of source topics, after the families of `schemas.facts`.
TARGETS: Final = len(FAMILIES)
CONTROLS: Final = TARGETS + 1

STRUCTURED_HEADERS = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)


class Publication(NamedTuple):
    """A record to publish.

    Attributes:
        topic: Kind of its source topic: `ORDERS`, `DELIVERIES`, `PRODUCTION`, `TARGETS` or `CONTROLS`.
        crc32_partitioner: Whether it is placed as by librdkafka's default partitioner, not at the key's home.
        story_s: When it is due, seconds since 1970; 0 if that does not matter.
    """

    topic: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = STRUCTURED_HEADERS
    crc32_partitioner: bool = False
    story_s: int = 0


class Candidate(NamedTuple):
    """A record as the codec would see it if it were published at `timestamp`, milliseconds since 1970."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    timestamp: int
    partition: int = 0
    offset: int = 0


def verdicts_on(
    records: Sequence[Candidate], *, topic: int, future_limit_us: int, framed: bool = False
) -> Sequence[Event | Fact | Rejection]:
    """How a worker would decode the records, in order.

    Args:
        records: All of one kind of topic.
        topic: As in `Publication`; facts get the number of the first topic of that kind.
        future_limit_us: How far an event's time may be ahead of its append time, microseconds.
        framed: Whether JSON in the wire format of a schema registry is accepted.
    """
    if topic == TARGETS:
        return [decode_target(record, future_limit_us=future_limit_us, framed=framed) for record in records]
    if topic == CONTROLS:
        return [decode_control(record, future_limit_us=future_limit_us, framed=framed) for record in records]
    return decode_batch(records, topic=topic_number(topic, 0), future_limit_us=future_limit_us, framed=framed)


def foreign_partition(key: bytes, partitions: int) -> int:
    """Where a publisher that uses librdkafka's CRC-32 partitioner puts a key."""
    return crc32(key) % partitions


def partitions_for(records: Sequence[Publication], counts: Sequence[int]) -> list[int]:
    """The partition of each record.

    Args:
        records: The records to place.
        counts: Kind → number of partitions of its topic.
    """
    placed = [0] * len(records)
    for topic, count in enumerate(counts):
        at_home = [at for at, record in enumerate(records) if record.topic == topic and not record.crc32_partitioner]
        for at, home in zip(at_home, homes([records[at].key or b"" for at in at_home], count), strict=True):
            placed[at] = int(home)
    for at, record in enumerate(records):
        if record.crc32_partitioner:
            placed[at] = foreign_partition(record.key or b"", counts[record.topic])
    return placed
