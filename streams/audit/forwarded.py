"""Checks records published away from the home of their order, and what was forwarded there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aiokafka import TopicPartition

from schemas.facts import Fact
from schemas.partitioner import homes
from streams.audit.sources import coordinates_of
from streams.kafka.admin import catalogue_of
from streams.kafka.forwarding import unwrap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.audit.report import Check
    from streams.audit.sources import Coordinates, Sources
    from streams.settings import Settings


class Arrival(NamedTuple):
    """A forwarded record: its home, its offset there, and its event, `None` if invalid."""

    home: int
    offset: int
    event: Fact | None


class Arrivals(NamedTuple):
    """The forwarded records.

    Attributes:
        by_record: Source record → its first arrival.
        applied: Home → the forwarded records applied there.
    """

    by_record: dict[Coordinates, Arrival]
    applied: dict[int, list[Coordinates]]


async def read_arrivals(settings: Settings, sources: Sources, positions: Mapping[int, int], check: Check) -> Arrivals:
    """Reads the forwarded records and checks that each was forwarded once and to its home.

    Args:
        settings: Topic names and number of partitions.
        sources: For reading and decoding.
        positions: Home → offset up to which it has applied the forwarded records.
        check: Gets the differences.
    """
    topic = catalogue_of(settings).rerouted
    found = Arrivals({}, {home: [] for home in range(topic.partitions)})
    ends = await sources.ends_of(topic.name)
    for home in range(topic.partitions):
        async for records in sources.read(TopicPartition(topic.name, home), ends[home]):
            for record in records:
                number, original = unwrap(record)
                ((_, outcome),) = sources.decoded([original], number)
                at = number, original.partition, original.offset
                where = f"{sources.names[number]}-{original.partition}@{original.offset}"
                if at in found.by_record:
                    check.differ(f"{where}: was forwarded twice", record=list(at))
                if homes([record.key or b""], settings.partitions)[0] != home:
                    check.differ(f"{where}: was forwarded to partition {home}, which is not its home", record=list(at))
                event = outcome if isinstance(outcome, Fact) else None
                found.by_record.setdefault(at, Arrival(home, record.offset, event))
                if record.offset < positions[home]:
                    found.applied[home].append(at)
    return found


def strangers_applied(
    strangers: Mapping[int, list[Fact]], arrivals: Arrivals, sources: Sources, check: Check
) -> dict[int, list[Fact]]:
    """The events published away from home that their home has applied; each must have been forwarded unchanged."""
    applied: dict[int, list[Fact]] = {}
    known = {home: set(coordinates) for home, coordinates in arrivals.applied.items()}
    for home, events in strangers.items():
        applied[home] = []
        for event in events:
            at = coordinates_of(event)
            check.compared += 1
            arrival = arrivals.by_record.get(at)
            where = f"{sources.names[event.topic]}-{event.partition}@{event.offset}"
            if arrival is None:
                check.differ(f"{where}: belongs to partition {home} and was not forwarded to it", record=list(at))
            elif arrival.event != event:
                check.differ(f"{where}: was forwarded with different content", record=list(at))
            if at in known[home]:
                applied[home].append(event)
    return applied
