"""Finds out what has become of a source record: not reached yet, applied, or a dead letter.

Reliable only while the caller holds the ledger partition's transactional id: then nothing is committed meanwhile.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError

from schemas.codec import decode_marker
from schemas.outputs import ControlHeaders, source_name
from schemas.partitioner import homes
from streams.errors import ExpectedError
from streams.kafka.dead_letter_headers import rejected_place
from streams.kafka.forwarding import origin_of
from streams.kafka.records import header_values, record_value
from streams.ledger.changelog import STATE_KEY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.notes import Place
    from schemas.outputs import Marker
    from streams.context import Context
    from streams.kafka.log import LogReader
    from streams.kafka.records import LogRecord


_TAIL_RECORDS = 200
_FORWARDING_TRIES = 20
_FORWARDING_PAUSE_S = 0.5


class Stage(Enum):
    """How far a source record has come."""

    WAITING = "waiting"
    APPLIED = "applied"
    DEAD_LETTER = "dead letter"


@dataclass(frozen=True)
class Fate:
    """What has become of a record; `reason` is its dead letter's, else empty."""

    stage: Stage
    reason: str = ""


def home_of(record: LogRecord, context: Context) -> int:
    """The ledger partition that a record's order belongs to, by its key alone."""
    return homes([record.key or b""], context.settings.partitions)[0]


def ledger_of(place: Place, context: Context) -> int:
    """The ledger partition that reads the partition of a place."""
    return place.partition % context.settings.partitions


async def record_at(context: Context, place: Place, reader: LogReader) -> LogRecord:
    """The record at a place in a topic whose records are counted.

    Raises:
        ExpectedError: There is none.
    """
    topics = context.source_topics.published
    if place.topic == context.source_topics.rerouted:
        raise ExpectedError(f"{place} is a forwarded record: name it by its origin, where it was published")
    if place.topic not in topics:
        raise ExpectedError(f"{place.topic} is none of the topics whose records are counted: {', '.join(topics)}")
    partitions = (await reader.partition_counts([place.topic]))[place.topic]
    if not 0 <= place.partition < partitions:
        raise ExpectedError(f"{place.topic} has {partitions} partitions, 0 to {partitions - 1}: there is no {place}")
    partition = (place.topic, place.partition)
    first, end = (await reader.bounds([partition]))[partition]
    record = await _read_one(reader, partition, place.offset) if first <= place.offset < end else None
    if record is None:
        raise ExpectedError(f"there is no record {place}: the partition holds offsets {first} to {end - 1}")
    return record


async def fate_of(context: Context, place: Place, home: int, reader: LogReader) -> Fate:
    """What has become of the record at `place`, whose order belongs to ledger partition `home`.

    Raises:
        ExpectedError: It was forwarded, but does not show up at its home within ten seconds.
    """
    ledger = ledger_of(place, context)
    letters = await reasons_of_dead_letters(context, {ledger, home}, reader)
    if place in letters:
        # True even if a ledger that is being rebuilt has not got that far yet.
        return Fate(Stage.DEAD_LETTER, letters[place])
    marker = await last_marker(context, ledger, reader)
    source = source_name(place.topic, place.partition, ledger)
    has_passed = marker is not None and marker.positions.get(source, (0, ""))[0] > place.offset
    if home == ledger:
        return Fate(Stage.APPLIED if has_passed else Stage.WAITING)
    # After a loss of state, the home may have applied again what was forwarded before, while the other partition is still behind.
    forwarded_at = await _forwarded_at(context, place, home, reader, must_be_there=has_passed)
    marker = await last_marker(context, home, reader)
    applied = (
        forwarded_at is not None
        and marker is not None
        and marker.positions[context.source_topics.rerouted][0] > forwarded_at
    )
    return Fate(Stage.APPLIED if applied else Stage.WAITING)


async def last_marker(context: Context, number: int, reader: LogReader) -> Marker | None:
    """The last commit of ledger partition `number`: each of its transactions ends with a marker."""
    partition = (context.catalogue.ledger.name, number)
    first, end = (await reader.bounds([partition]))[partition]
    tail = _TAIL_RECORDS
    while True:
        start = max(first, end - tail)
        found: Marker | None = None
        async for records in reader.read([partition], since={partition: start}):
            for record in records:
                if record.key == STATE_KEY:
                    found = decode_marker(record_value(record))
        if found is not None or start == first:
            return found
        tail *= 8


async def reasons_of_dead_letters(context: Context, numbers: Iterable[int], reader: LogReader) -> dict[Place, str]:
    """Place of each record with a dead letter in these partitions → the reason; the totals also write to the first one."""
    topic = context.catalogue.dead_letters.name
    found: dict[Place, str] = {}
    async for records in reader.read([(topic, number) for number in numbers], complete=True):
        for record in records:
            place = rejected_place(record)
            if place is not None:
                found[place] = (header_values(record).get(ControlHeaders.REASON) or b"").decode(errors="replace")
    return found


async def _forwarded_at(
    context: Context, place: Place, home: int, reader: LogReader, *, must_be_there: bool
) -> int | None:
    """The offset of a forwarded record in its home's partition; None if it need not be there and is not.

    Open transactions of other partitions can hide it from a read_committed reader for a moment.
    """
    topic = context.source_topics.numbers[place.topic]
    name = context.source_topics.rerouted
    for _ in range(_FORWARDING_TRIES):
        async for records in reader.read([(name, home)]):
            for record in records:
                origin = origin_of(record.headers)
                if origin is not None and origin[:3] == (topic, place.partition, place.offset):
                    return int(record.offset)
        if not must_be_there:
            return None
        await asyncio.sleep(_FORWARDING_PAUSE_S)
    raise ExpectedError(
        f"{place} was forwarded to ledger partition {home} and is not there yet: try again", exit_code=3
    )


async def _read_one(reader: LogReader, partition: tuple[str, int], offset: int) -> LogRecord | None:
    try:
        return await reader.record_at(partition, offset)
    except KafkaError as error:
        raise ExpectedError(f"{partition[0]}-{partition[1]}@{offset} cannot be read: {error}", exit_code=3) from error
