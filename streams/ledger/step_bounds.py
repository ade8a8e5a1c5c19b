"""How much a step of a ledger partition takes in: everything that it writes must fit into one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schemas import hotpath
from streams.ledger.vehicles import MOST_DELIVERIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.context import Context
    from streams.kafka.outbox import Outgoing
    from streams.kafka.records import LogRecord
    from streams.kafka.transport import Batch
    from streams.ledger.memory import Memory

#: Bytes of keys and values; with what is not estimated, a transaction stays below 4 MB.
_MOST_BYTES: Final = 3_000_000
#: Bytes of a count or a violation; what those of the step have, if they have more.
_RECORD_BYTES: Final = 450
#: Records to take at once, as far as there is room for whatever they may change: a few milliseconds.
_MOST_AT_ONCE: Final = 500
#: A step ends when there is no room for this many.
_LEAST_AT_ONCE: Final = 16


class StepBounds:
    """The bounds of the current step of a ledger partition.

    Args:
        memory: The memory of the partition, to which the step has applied what it has taken.
        context: The worker's context.
    """

    def __init__(self, memory: Memory, context: Context) -> None:
        self._memory = memory
        self._most_records = context.step_records
        self._told = context.catalogue.told.name
        self.begin()

    def begin(self) -> None:
        """Begins a step."""
        self._records = self._bytes = 0
        self._has_taken = False

    def note(self, out: Sequence[Outgoing]) -> None:
        """Notes dead letters and forwarded records."""
        self._records += len(out)
        self._bytes += sum(len(record.key or b"") + len(record.value or b"") for record in out)

    def next(self, batch: Batch) -> tuple[Batch | None, Batch | None]:
        """What the step may take of the batch that is next, and what is left of it.

        A step takes at least one record, whatever it changes.
        """
        records = batch.records
        if not records:
            return batch, None
        most, most_bytes = self._room(MOST_DELIVERIES if batch.topic == self._told else self._most_of_event())
        if self._has_taken and most < min(_LEAST_AT_ONCE, len(records)):
            return None, batch
        self._has_taken = True
        most = max(1, min(most, _MOST_AT_ONCE, len(records)))
        while most > 1 and _bytes_of(records[:most]) > most_bytes:
            most //= 2
        if most == len(records):
            return batch, None
        # Not the offset after the last one: what lies in between was never visible.
        following = records[most].offset
        return (
            batch._replace(next=following, records=records[:most]),
            batch._replace(first=following, records=records[most:]),
        )

    def _most_of_event(self) -> int:
        """How many records of the transaction a record may lead to."""
        return 1 if self._memory.recovery is not None else self._memory.ledger.most_of_event

    def _room(self, each: int) -> tuple[int, int]:
        """How many records there is room for if each leads to so many, and bytes."""
        records, record_bytes, order_bytes = self._memory.ledger.step_size
        if self._memory.recovery is not None:
            # They are held back, and leave in parts later.
            records = record_bytes = 0
        left = self._most_records - self._records - records
        left_bytes = _MOST_BYTES - self._bytes - record_bytes - order_bytes
        of_record = max(_RECORD_BYTES, record_bytes // max(records, 1))
        return max(0, min(left // each, left_bytes // (each * of_record))), max(0, left_bytes)


def _bytes_of(records: Sequence[LogRecord]) -> int:
    if hotpath.is_whole(records):
        size: int = records.size
        return size
    return sum(len(record.key or b"") + len(record.value or b"") for record in records)
