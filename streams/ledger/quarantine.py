"""Operators' decisions: records that a ledger partition skips, and gaps after which it continues.

They are written by `milestones quarantine` and `milestones gaps`; `streams.operations.quarantine` says when they take effect.
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
        """Adds records; those that are there already keep their message."""
        self._lines = {**lines, **self._lines}

    def line(self, topic: str, partition: int, offset: int) -> str | None:
        """The message of a record to skip, else `None`."""
        return self._lines.get(Place(topic, partition, offset))

    def touches(self, topic: str, partition: int, first: int, last: int) -> bool:
        """Whether any of them lies between two offsets, both included."""
        return any(
            place.topic == topic and place.partition == partition and first <= place.offset <= last
            for place in self._lines
        )


class Decisions(NamedTuple):
    """The decisions in force.

    Attributes:
        orders: Records to skip.
        gaps: Source partition → the gap that was accepted last.
    """

    orders: dict[Place, Quarantine]
    gaps: dict[tuple[str, int], Gap]


async def read_decisions(context: Context, reader: LogReader) -> Decisions:
    """Reads the decisions that were not taken back.

    Every one that was committed before: commands write them under different transactional ids, and one that was killed leaves
    its transaction open until the broker ends it.
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
    """Reads the quarantine orders that were not lifted."""
    return (await read_decisions(context, reader)).orders
