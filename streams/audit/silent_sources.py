"""Checks alerts about silent event sources: while one stands, no event of its source may be dated since the silence began."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.codec import decode_marker
from schemas.counts import decode_counts_key
from schemas.facts import FAMILY_OF_METRIC, Kind
from schemas.instants import micros_of, parse_instant
from schemas.outputs import Marker, source_of
from schemas.partitioner import homes
from schemas.source_hours import decode_hours_key
from schemas.texts import source_of_scope
from streams.audit.sources import coordinates_of
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import read_to_end
from streams.kafka.records import record_key, record_value

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from aiokafka import AIOKafkaConsumer

    from schemas.facts import EventFamily, Fact
    from schemas.outputs import MilestoneEvent
    from streams.audit.report import Check
    from streams.audit.sources import Stops
    from streams.settings import Settings

#: Family → the kinds of events it publishes; without voids, which may be an operator's.
_KINDS: Final[Mapping[EventFamily, tuple[Kind, Kind]]] = {
    "orders": (Kind.PLACED, Kind.CANCELLED),
    "deliveries": (Kind.DELIVERED, Kind.REVERSED),
    "production": (Kind.PRODUCED, Kind.SCRAPPED),
}

#: By the service's clock, standing alerts are looked at so often.
_LOOKED_AT_EVERY_US: Final = 60_000_000


class SilentSources:
    """Collects the events of the sources that alerts call silent.

    Args:
        events: The events of alerts, in order.
    """

    def __init__(self, events: Iterable[MilestoneEvent]) -> None:
        last = {event.subject: event for event in events if event.data.silence is not None}
        #: (kind, source) of events → event of a standing alert → when the silence began, microseconds since 1970.
        self._since: dict[tuple[int, str], dict[str, int]] = {}
        #: Event of an alert → the events since then; and when the alert's silence was known, microseconds since 1970.
        self._found: dict[str, list[Fact]] = {}
        self._until_us: dict[str, int] = {}
        for event in last.values():
            source, silence = source_of_scope(event.data.scope), event.data.silence
            if not event.stands or source is None or silence is None:
                continue
            self._until_us[event.id] = micros_of(parse_instant(silence.until))
            for kind in _KINDS[FAMILY_OF_METRIC[event.data.metric]]:
                self._since.setdefault((kind, source), {})[event.id] = micros_of(parse_instant(silence.since))

    def __bool__(self) -> bool:
        return bool(self._since)

    @property
    def has_found(self) -> bool:
        """Whether anything has come that contradicts an alert."""
        return bool(self._found)

    def note(self, events: Iterable[Fact]) -> None:
        """Takes accepted events."""
        for event in events:
            for alert, since_us in self._since.get((event.kind, event.source), {}).items():
                if event.time_us >= since_us and not event.backfill:
                    self._found.setdefault(alert, []).append(event)

    async def compare(
        self, check: Check, standing: Mapping[str, str], stops_at: Callable[[int], Awaitable[Stops]], known_us: int
    ) -> None:
        """Adds what contradicts the alerts that are still standing.

        Args:
            check: Gets the differences.
            standing: Event of a standing alert → the alert's id.
            stops_at: Gives the ends of the source partitions at an instant, microseconds since 1970.
            known_us: Whatever was appended by then, or by the end of the silence, must have ended the alert.
        """
        for alert, events in self._found.items():
            if alert in standing:
                known = await stops_at(max(known_us, self._until_us[alert]))
                came = [event for event in events if event.offset < known.get(coordinates_of(event)[:2], 0)]
                _differ(check, alert, standing[alert], len(came))

    def compare_by_events(self, check: Check, standing: Mapping[str, str], seen: Stops, partitions: int) -> None:
        """The same where the clock is that of the events.

        Args:
            check: Gets the differences.
            standing: Event of an alert that stands → the id of the alert.
            seen: What those who raise alerts have surely seen and judged; see `surely_judged`.
            partitions: Number of ledger partitions. Events that were forwarded to their homes are not compared: when they arrived
                there is not known.
        """
        for alert, events in self._found.items():
            if alert in standing:
                homes_of = homes([event.order_id.encode() for event in events], partitions)
                came = [
                    event
                    for event, home in zip(events, homes_of, strict=True)
                    if home == event.partition % partitions and event.offset < seen.get(coordinates_of(event)[:2], 0)
                ]
                _differ(check, alert, standing[alert], len(came))


def _differ(check: Check, alert: str, milestone_id: str, came: int) -> None:
    if came:
        check.differ(
            f"{alert}: stands, and its source has sent {came:,} events dated since then", milestone_id=milestone_id
        )


class SaidAt(NamedTuple):
    """A marker of a ledger partition among the counts.

    Attributes:
        offset: Where it is.
        appended_us: When it was appended, microseconds since 1970.
        marker: What it says.
    """

    offset: int
    appended_us: int
    marker: Marker


async def read_markers(settings: Settings, consumer: AIOKafkaConsumer) -> dict[int, list[SaidAt]]:
    """Ledger partition → its markers in the first partition of the counts, in their order, as far as compaction has left them."""
    found: dict[int, list[SaidAt]] = {}
    async for records in read_to_end(settings, [(catalogue_of(settings).counts.name, 0)], consumer=consumer):
        for record in records:
            key = record_key(record)
            if decode_hours_key(key) is None and (of := decode_counts_key(key)).counted is None:
                said = SaidAt(record.offset, record.timestamp * 1000, decode_marker(record_value(record)))
                found.setdefault(of.shard, []).append(said)
    return found


def surely_judged(
    said: Mapping[int, Sequence[SaidAt]], partitions: int, numbers: Mapping[str, int], known_us: int
) -> Stops:
    """How far the sources had been applied when standing alerts were surely looked at for the last time, by the clock of the events.

    They are looked at once that clock, which is the latest event time of all ledger partitions, has moved on by a minute. Between two
    markers of a partition its clock is not known exactly, but it is not later than the second one says.

    Args:
        said: What `read_markers` has found.
        partitions: Number of ledger partitions.
        numbers: Source topic → its number.
        known_us: What had been appended by then has been summed, microseconds since 1970.

    Returns:
        Nothing while a partition is rebuilt, which tells no hours then, or where offsets are those of another cluster.
    """
    markers = [each.marker for some in said.values() for each in some]
    if len(said) < partitions or any(each.rebuilding or each.moved or not each.tells_hours for each in markers):
        return {}
    last_us = max(
        (each.marker.clock_us for some in said.values() for each in some if each.appended_us <= known_us), default=0
    )
    stops: Stops = {}
    for shard, some in said.items():
        for each in reversed(some):
            if each.appended_us <= known_us and _clock_at(each.offset, said) + _LOOKED_AT_EVERY_US <= last_us:
                for name, (position, _) in each.marker.positions.items():
                    topic, partition = source_of(name, shard)
                    if topic in numbers:
                        stops[numbers[topic], partition] = position
                break
    return stops


def _clock_at(offset: int, said: Mapping[int, Sequence[SaidAt]]) -> int:
    """The clock of the events up to an offset of the counts, or a later one."""
    found = 0
    for some in said.values():
        at = bisect_left(some, offset, key=lambda each: each.offset)
        found = max(found, some[min(at, len(some) - 1)].marker.clock_us)
    return found
