"""Forwards records to the home partition of their order, with the coordinates at which they were published."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from schemas import hotpath
from streams.kafka.outbox import Outgoing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.authority import SourceRecord
    from streams.kafka.records import LogRecord

#: Header of a forwarded record: `TOPIC PARTITION OFFSET APPEND_MS`; TOPIC is a number (`schemas.facts.topic_number`).
ORIGIN_HEADER = "milestones.origin"
_ORIGIN_NAME = ORIGIN_HEADER.encode()


class Origin(NamedTuple):
    """Where a forwarded record was published."""

    topic: int
    partition: int
    offset: int
    timestamp: int


class Original(NamedTuple):
    """A record as published, with its original coordinates and the append time by which it is judged."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    timestamp: int
    partition: int
    offset: int
    timestamp_type: int = 1


def forward(record: SourceRecord, topic: int, to_topic: str, home: int) -> Outgoing:
    """The record for its home partition, unchanged, with its coordinates in a header."""
    origin = b"%d %d %d %d" % (topic, record.partition, record.offset, record.timestamp)
    return Outgoing(to_topic, home, record.key, record.value, (*record.headers, (ORIGIN_HEADER, origin)))


def origin_of(headers: Sequence[tuple[str, bytes | None]]) -> Origin | None:
    """The coordinates in a forwarded record's headers; ours is the last such header, whatever the publisher sent."""
    for name, value in reversed(headers):
        if name == ORIGIN_HEADER and value is not None:
            return Origin(*map(int, value.split()))
    return None


def unwrapped(records: Sequence[LogRecord]) -> list[tuple[int, Sequence[SourceRecord], list[int]]]:
    """Forwarded records as they were published, in runs: topic number, source records, and their partitions.

    Raises:
        ValueError: A record was not forwarded by this service.
    """
    # Those in their original bytes stay there, unless something on the way has changed them.
    runs = records.unwrapped(_ORIGIN_NAME) if hotpath.is_whole(records) else None
    if runs is None:
        runs = []
        for topic, run in groupby(map(unwrap, records), itemgetter(0)):
            some = [original for _, original in run]
            runs.append((topic, some, [original.partition for original in some]))
    return runs


def unwrap(record: LogRecord) -> tuple[int, Original]:
    """The number of the source topic, and the source record, of a forwarded record.

    Raises:
        ValueError: The record was not forwarded by this service.
    """
    headers = record.headers
    origin = origin_of(headers)
    if origin is None:
        raise ValueError(f"{record.topic}-{record.partition}@{record.offset} is not a forwarded record")
    # Ours is the last one of all, unless something on the way has added others.
    ours = len(headers) - 1
    while headers[ours][0] != ORIGIN_HEADER:
        ours -= 1
    topic, partition, offset, timestamp = origin
    others = (*headers[:ours], *headers[ours + 1 :])
    return topic, Original(record.key, record.value, others, timestamp, partition, offset)
