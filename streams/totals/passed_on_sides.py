"""Targets and control totals in the totals partitions that do not read these topics themselves.

Partition 0 judges each event and passes the accepted ones on through `milestones.internal.<prefix>sides`, in the transaction that
remembers its judgement. Like the topics themselves, that one is read from its start at every takeover, so nothing is remembered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.domain.announced.disposition import APPLIED, DUPLICATE
from streams.kafka.forwarding import unwrap
from streams.kafka.log import Partition
from streams.kafka.pacing import paced
from streams.totals.side_topics import NO_LIMIT_US

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.context import Context
    from streams.kafka.log import LogReader
    from streams.kafka.outbox import Outgoing
    from streams.kafka.records import LogRecord
    from streams.kafka.transport import Batch
    from streams.totals.side_topics import Take


class PassedOnSides:
    """The side topics as passed on to totals partition `number`; used like `SideTopics`."""

    def __init__(self, context: Context, takes: Mapping[str, Take], number: int) -> None:
        self._takes = [takes[name] for name in context.side_topics]
        self._part = Partition(context.catalogue.sides.name, number)
        self._next = 0

    async def open(self, memory: Mapping[str, bytes], reader: LogReader) -> None:
        """Reads everything that was passed on; nothing is remembered of it, so `memory` is ignored."""
        del memory
        await self.read_on(reader)

    async def read_on(self, reader: LogReader) -> None:
        """Reads what has been passed on since."""
        async for records in reader.read([self._part], since={self._part: self._next} if self._next else None):
            async for record in paced(records):
                self._take(record)
        self._next = max(self._next, await reader.position(self._part))

    def positions(self) -> dict[Partition, int]:
        """Where to continue reading."""
        return {self._part: self._next}

    def __contains__(self, topic: str) -> bool:
        return topic == self._part.topic

    async def take(self, batch: Batch) -> None:
        """Takes the new records of a batch."""
        if batch.first > self._next:
            raise RuntimeError(f"{batch.topic}: taken up to {self._next}, fetched from {batch.first}")
        async for record in paced(batch.records):
            if record.offset >= self._next:
                self._take(record)
        self._next = max(self._next, batch.next)

    def records(self, now_us: int) -> list[Outgoing]:
        """Empty: dead letters, memory and books belong to partition 0."""
        del now_us
        return []

    def _take(self, record: LogRecord) -> None:
        number, original = unwrap(record)
        outcome = self._takes[number](original, future_limit_us=NO_LIMIT_US)
        if outcome not in (APPLIED, DUPLICATE):
            raise RuntimeError(f"{record.topic}@{record.offset}: was accepted by partition 0, here it is {outcome}")
