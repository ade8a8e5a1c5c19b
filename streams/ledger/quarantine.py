"""Operators' decisions: records that a ledger partition skips, and gaps in its sources that it passes over.

`milestones quarantine` and `milestones gaps` write them; `streams.operations.quarantine` says when they take effect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from schemas.codec import decode_gap, decode_quarantine
from schemas.notes import Gap, Place, Quarantine, gap_of_key
from streams.kafka.records import record_key, record_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.context import Context
    from streams.kafka.log import LogReader


class SkippedRecords:
    """The records to skip, by place, with the message for their dead letters."""

    def __init__(self, lines: Mapping[Place, str] | None = None) -> None:
        self._lines = dict(lines or {})

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, lines: Mapping[Place, str]) -> None:
        """Adds records; those already present keep their message."""
        self._lines = {**lines, **self._lines}

    def line(self, topic: str, partition: int, offset: int) -> str | None:
        """The message of a record to skip; `None` for any other record."""
        return self._lines.get(Place(topic, partition, offset))

    def touches(self, topic: str, partition: int, first: int, last: int) -> bool:
        """Whether any lies between two offsets, both included."""
        return any(
            place.topic == topic and place.partition == partition and first <= place.offset <= last
            for place in self._lines
        )


class Decisions(NamedTuple):
    """The decisions in force.

    Attributes:
        orders: Records to skip.
        gaps: Source partition → the gap accepted last.
    """

    orders: dict[Place, Quarantine]
    gaps: dict[tuple[str, int], Gap]


async def read_decisions(context: Context, reader: LogReader) -> Decisions:
    """Reads the decisions that have not been revoked, complete as of now.

    Commands write them under different transactional ids, and a killed one leaves a transaction open behind which other
    decisions may lie: the reader waits until the broker has ended it.
    """
    orders: dict[Place, Quarantine] = {}
    gaps: dict[tuple[str, int], Gap] = {}
    async for records in reader.read([(context.catalogue.quarantine.name, 0)], complete=True):
        for record in records:
            source = gap_of_key(record_key(record))
            if source is not None:
                gaps[source] = decode_gap(record_value(record))
                continue
            place = Place.of_key(record_key(record))
            if record.value is None:
                orders.pop(place, None)
            else:
                orders[place] = decode_quarantine(record.value)
    return Decisions(orders, gaps)


async def read_orders(context: Context, reader: LogReader) -> dict[Place, Quarantine]:
    """Reads the quarantine orders that have not been lifted."""
    return (await read_decisions(context, reader)).orders
