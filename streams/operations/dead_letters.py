"""Reads dead letters from their topic, and which of them were published again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas.codec import decode_replayed
from schemas.notes import Place, Replayed
from schemas.outputs import ControlHeaders
from streams.kafka.dead_letter_headers import rejected_place
from streams.kafka.records import record_key
from streams.lookup.rejected_records import said_by

if TYPE_CHECKING:
    from collections.abc import Collection

    from streams.context import Context
    from streams.kafka.log import LogReader
    from streams.kafka.records import LogRecord


@dataclass(frozen=True)
class DeadLetter:
    """A rejected record.

    Attributes:
        place: Where it was published.
        reason: Why it was rejected, by name.
        message: The same in words.
        key: As published.
        value: As published.
        headers: As published.
        rejected_us: When the dead letter was appended, microseconds since 1970.
        at: Partition and offset of the dead letter.
    """

    place: Place
    reason: str
    message: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    rejected_us: int
    at: tuple[int, int]


@dataclass(frozen=True)
class Wanted:
    """Selects dead letters; `None` or empty selects all.

    Attributes:
        reason: Only this reason.
        topic: Only this source topic.
        since_us: Only those appended at or after this time, microseconds since 1970.
        until_us: Only those appended before this time.
        places: Only these.
        order_id: Only those of this order, as far as a record says; likewise `vin` and the event's `source`.
    """

    reason: str | None = None
    topic: str | None = None
    since_us: int | None = None
    until_us: int | None = None
    places: Collection[Place] = ()
    order_id: str | None = None
    vin: str | None = None
    source: str | None = None

    def takes(self, letter: DeadLetter) -> bool:
        """Whether a dead letter is selected."""
        return (
            self.reason in (None, letter.reason)
            and self.topic in (None, letter.place.topic)
            and (self.since_us is None or letter.rejected_us >= self.since_us)
            and (self.until_us is None or letter.rejected_us < self.until_us)
            and (not self.places or letter.place in self.places)
            and self._is_said_by(letter)
        )

    def _is_said_by(self, letter: DeadLetter) -> bool:
        if (self.order_id, self.vin, self.source) == (None, None, None):
            return True
        said = said_by(letter.key, letter.value, letter.headers)
        return (
            self.order_id in (None, said.order_id)
            and self.vin in (None, said.vin.upper())
            and self.source in (None, said.source)
        )


async def read_letters(context: Context, wanted: Wanted, reader: LogReader) -> list[DeadLetter]:
    """The selected dead letters, in order of rejection."""
    topic = context.catalogue.dead_letters
    found = []
    partitions = [(topic.name, number) for number in range(topic.partitions)]
    async for records in reader.read(partitions):
        found += [letter for record in records if (letter := _letter(record)) is not None and wanted.takes(letter)]
    return sorted(found, key=lambda letter: (letter.rejected_us, letter.place))


async def read_replayed(context: Context, reader: LogReader) -> dict[Place, Replayed]:
    """Place of the rejected record → the note that its dead letter was published again."""
    topic = context.catalogue.replayed
    found: dict[Place, Replayed] = {}
    async for records in reader.read([(topic.name, 0)]):
        found.update(
            (Place.of_key(record_key(record)), decode_replayed(record.value)) for record in records if record.value
        )
    return found


def _letter(record: LogRecord) -> DeadLetter | None:
    """The dead letter in a record; `None` if this service did not write it."""
    added = {name: value for name, value in record.headers if name in ControlHeaders.ALL and value is not None}
    place = rejected_place(record)
    if len(added) < len(ControlHeaders.ALL) or place is None:
        return None
    return DeadLetter(
        place,
        added[ControlHeaders.REASON].decode(errors="replace"),
        added[ControlHeaders.MESSAGE].decode(errors="replace"),
        record.key,
        record.value,
        tuple((name, value) for name, value in record.headers if not _is_added(name)),
        record.timestamp * 1000,
        (record.partition, record.offset),
    )


def _is_added(header: str) -> bool:
    return header in ControlHeaders.ALL or header.startswith("__dlq.")
