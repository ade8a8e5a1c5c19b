"""A ledger partition that starts without state reads everything again, in silence.

What a former life has already said must not be said again: dead letters and forwarded records are recognised by their
coordinates in the source topics.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

from schemas.facts import DayCount
from schemas.outputs import ControlHeaders
from streams.kafka import read_to_end
from streams.reroute import origin_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiokafka import AIOKafkaConsumer

    from streams.context import Context
    from streams.domain.ledger import Changes
    from streams.domain.orders import Violations

Coordinates = tuple[str, int, int]  # topic, partition, offset
Cell = tuple[str, str, date]  # metric, scope, business date

#: A count that a former life published and that the events no longer make.
_NOTHING = DayCount(0, 0, [0] * 24, None)


@dataclass
class Rebuild:
    """How far to read before speaking, what has been said already, and what is to be said at the end."""

    ends: dict[str, int]
    dead: set[Coordinates] = field(default_factory=set)
    forwarded: set[Coordinates] = field(default_factory=set)
    counts: dict[Cell, DayCount] = field(default_factory=dict)
    violations: dict[str, Violations | None] = field(default_factory=dict)

    def hold_back(self, changes: Changes) -> None:
        """Keeps what must not be published yet, and takes it out of the changes."""
        self.counts.update(changes.counts)
        self.violations.update(changes.violations)
        changes.counts.clear()
        changes.violations.clear()

    def release(self, changes: Changes) -> None:
        """Puts everything held back into the changes."""
        changes.counts.update(self.counts)
        changes.violations.update(self.violations)

    def done(self, positions: Mapping[str, int]) -> bool:
        """Whether every source has been read to the end seen at opening."""
        return all(positions[topic] >= end for topic, end in self.ends.items())


async def prepare(context: Context, number: int, ends: Mapping[str, int], consumer: AIOKafkaConsumer) -> Rebuild:
    """Reads what partition `number` has said before.

    Dead letters lie in the partition they were read from; forwarded records lie in the partitions of their homes. What
    it has counted and found contradictory is to be taken back at the end unless it is so again.
    """
    rebuild = Rebuild(dict(ends))
    dead_letters, rerouted = context.catalogue.dead_letters.name, context.catalogue.rerouted
    async for records in read_to_end(context.settings, [(dead_letters, number)], consumer=consumer):
        rebuild.dead.update(_dead_coordinates(records))
    async for records in read_to_end(context.settings, [(context.catalogue.counts.name, 0)], consumer=consumer):
        rebuild.counts.update((cell, _NOTHING) for record in records if (cell := _cell(record.key, number)) is not None)
    async for records in read_to_end(
        context.settings, [(context.catalogue.violations.name, number)], consumer=consumer
    ):
        rebuild.violations.update((record.key.decode(), None) for record in records if record.value is not None)
    homes = [(rerouted.name, home) for home in range(rerouted.partitions) if home != number]
    if homes:
        async for records in read_to_end(context.settings, homes, consumer=consumer):
            for record in records:
                origin = origin_of(record.headers)
                if origin is not None and origin.partition == number:
                    rebuild.forwarded.add((context.source_topics[origin.topic], origin.partition, origin.offset))
    return rebuild


def _cell(key: bytes, number: int) -> Cell | None:
    shard, metric, *rest = key.decode().split("|")
    if int(shard) != number or len(rest) != 2:  # a marker has no scope and date
        return None
    return metric, rest[0], date.fromisoformat(rest[1])


def _dead_coordinates(records: Iterable[Any]) -> Iterable[Coordinates]:
    for record in records:
        headers = dict(record.headers)
        topic, partition, offset = (
            headers.get(name) for name in (ControlHeaders.TOPIC, ControlHeaders.PARTITION, ControlHeaders.OFFSET)
        )
        if topic is not None and partition is not None and offset is not None:
            yield topic.decode(), int(partition), int(offset)
