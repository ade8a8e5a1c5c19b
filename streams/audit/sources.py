"""Rereads the source topics up to a fixed point, one ledger partition at a time.

Records that retention has removed are replaced by the events that the ledger keeps; see `kept_events`.

Memory: the valid events of one ledger partition, about 500 bytes each, plus those published away from the home of their order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar
from zlib import crc32

from aiokafka import TopicPartition

from schemas.authority import SourceRecord, leniencies
from schemas.codec import decode_batch
from schemas.facts import FUTURE_TIME, QUARANTINED, Fact, Rejection
from schemas.partitioner import homes
from schemas.texts import tidy_key
from schemas.wrappers import WRAPPERS
from streams.audit.kept_events import Kept
from streams.errors import ExpectedError
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import Silence, partition_counts
from streams.kafka.records import record_key
from streams.listener import ignore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence

    from aiokafka import AIOKafkaConsumer

    from streams.kafka.records import LogRecord
    from streams.settings import Settings

#: (topic number, partition, offset): the place of a source record.
Coordinates = tuple[int, int, int]
#: (topic number, partition) → the offset at which reading stops.
Stops = dict[tuple[int, int], int]


#: Kafka's `LogAppendTime`; timestamps of any other type are the publisher's.
_APPEND_TIME = 1
_NO_LIMIT_US = 1 << 62
#: Reasons that covered more cases in earlier versions.
_ONCE_WIDER = frozenset({"malformed_json", "not_an_event", "invalid_field"})
_TOLD_APART = frozenset({*WRAPPERS, "missing_offset", "wrong_key", "future_time"})

R = TypeVar("R", bound="_Timed")


def coordinates_of(event: Fact) -> Coordinates:
    """The place of an event's record."""
    return event.topic, event.partition, event.offset


class RejectedRecord(NamedTuple):
    """A record that is not a valid event; the digest covers its key and value."""

    at: Coordinates
    reason: str
    digest: int


def digest_of(key: bytes | None, value: bytes | None) -> int:
    """A checksum of key and value, for comparing records."""
    return crc32(value or b"", crc32(key or b""))


@dataclass
class Part:
    """What a ledger partition reads of a source topic: how many records, and what they are.

    Attributes:
        read: Number of records below the stop.
        firsts: Partition → its first offset after it was read; above 0 if the topic was trimmed.
        refused: Records that are not valid events.
        away: Valid records whose home is elsewhere.
    """

    read: int = 0
    firsts: dict[int, int] = field(default_factory=dict)
    refused: list[RejectedRecord] = field(default_factory=list)
    away: list[Coordinates] = field(default_factory=list)


@dataclass
class Home:
    """Everything whose home is one ledger partition.

    Attributes:
        orders: Order → its valid records in the order in which they were read: kept ones, source topics, then those from elsewhere.
        parts: Topic number → what was read of it.
        kept: The former places of events that only the ledger still has.
    """

    orders: dict[str, list[Fact]]
    parts: dict[int, Part]
    kept: list[Coordinates] = field(default_factory=list)


class _Timed(SourceRecord, Protocol):
    @property
    def timestamp_type(self) -> int: ...


class Sources:
    """The source topics of an installation.

    Args:
        settings: Topic names, number of partitions, how far ahead of the append time an event may be.
        consumer: Not used by anything else, since its assignment and positions change.
        skipped: Records to treat as invalid, whatever they contain.
        of_the_future: Records that a worker rejected as being in the future; in topics without append times, only these are.
        judged: Record → the reason for which a worker rejected it; kept if only an earlier version would reject it.
        progress: Called with the number of records read since the last call.

    Attributes:
        firsts: Partition that was read → its first remaining offset.
    """

    def __init__(  # noqa: PLR0913 - what the dead letters say, by name
        self,
        settings: Settings,
        consumer: AIOKafkaConsumer,
        *,
        skipped: frozenset[Coordinates] = frozenset(),
        of_the_future: frozenset[Coordinates] = frozenset(),
        judged: Mapping[Coordinates, str] | None = None,
        progress: Callable[[int], None] = ignore,
    ) -> None:
        self.names = catalogue_of(settings).names()
        self.numbers = {name: number for number, name in self.names.items()}
        self._settings = settings
        self._partitions = settings.partitions
        self._future_limit_us = settings.future_limit_s * 1_000_000
        self._consumer = consumer
        self._counts: dict[str, int] = {}
        self._skipped = skipped
        self._of_the_future = of_the_future
        self._judged = judged or {}
        self._framed = settings.accept_schema_registry_json
        self._progress = progress
        self._kept = Kept(settings, consumer)
        self.firsts: Stops = {}

    async def check(self) -> None:
        """Checks that the topics in the settings exist.

        Raises:
            ExpectedError: One does not.
        """
        for name, found in (await partition_counts(self._consumer, self.numbers)).items():
            if not found:
                raise ExpectedError(f"{name} does not exist: milestones topics plan tells what to do", exit_code=3)

    async def ends(self) -> Stops:
        """The current end of every partition."""
        ends = await self._consumer.end_offsets(await self._all())
        return {self._numbered(tp): offset for tp, offset in ends.items()}

    async def ends_of(self, topic: str) -> dict[int, int]:
        """The end offsets of a topic with one partition per home, by partition."""
        ends = await self._consumer.end_offsets([TopicPartition(topic, number) for number in range(self._partitions)])
        return {tp.partition: offset for tp, offset in ends.items()}

    async def stops_at(self, appended_us: int) -> Stops:
        """The end of each partition at an instant: the offset of the first record appended later.

        Args:
            appended_us: The instant, microseconds since 1970; Kafka keeps milliseconds.

        Raises:
            ExpectedError: Retention may have removed records appended by then; exit code 2.
        """
        stops = await self.ends()
        every = await self._all()
        firsts = await self._consumer.beginning_offsets(every)
        found = await self._consumer.offsets_for_times(dict.fromkeys(every, appended_us // 1000 + 1))
        for tp, later in found.items():
            if later is None:
                continue
            if 0 < firsts[tp] >= later.offset:
                begins = datetime.fromtimestamp(later.timestamp / 1000, UTC).isoformat(timespec="milliseconds")
                raise ExpectedError(
                    f"{tp.topic}-{tp.partition} begins with a record of {begins}, earlier ones were deleted: what was there at an "
                    "earlier time cannot be told any more, ask for a later one",
                    exit_code=2,
                )
            stops[self._numbered(tp)] = min(stops[self._numbered(tp)], later.offset)
        return stops

    async def strangers(self, stops: Stops) -> dict[int, list[Fact]]:
        """Valid events published away from the home of their order, by home."""
        found: dict[int, list[Fact]] = {home: [] for home in range(self._partitions)}
        for (topic, partition), stop in sorted(stops.items()):
            async for records in self.read(TopicPartition(self.names[topic], partition), stop):
                placed = homes([record.key or b"" for record in records], self._partitions)
                ledger = partition % self._partitions
                away = [record for record, home in zip(records, placed, strict=True) if home != ledger]
                for record, outcome in self.decoded(away, topic):
                    if isinstance(outcome, Fact):
                        found[homes([record_key(record)], self._partitions)[0]].append(outcome)
            await self._look_where_it_begins(topic, partition)
        return found

    async def home(
        self,
        number: int,
        stops: Stops,
        strangers: Mapping[int, list[Fact]],
        elsewhere: Mapping[Coordinates, Fact | None] | None = None,
    ) -> Home:
        """Reads everything that belongs to a ledger partition.

        Args:
            number: The ledger partition.
            stops: Where to stop.
            strangers: From `strangers`, which has to be called first; or those of them that count.
            elsewhere: Records with their events that are among the strangers if they count.
        """
        orders: dict[str, list[Fact]] = {}
        parts: dict[int, Part] = {}
        for topic, partition in sorted(stops):
            part = parts.setdefault(topic, Part())
            if partition % self._partitions != number:
                continue
            tp = TopicPartition(self.names[topic], partition)
            async for records in self.read(tp, stops[topic, partition]):
                part.read += len(records)
                placed = homes([record.key or b"" for record in records], self._partitions)
                for (record, outcome), home in zip(self.decoded(records, topic), placed, strict=True):
                    if isinstance(outcome, Rejection) and outcome.reason == QUARANTINED and home != number:
                        part.away.append((topic, partition, record.offset))  # skipped at its home, as always
                    elif isinstance(outcome, Rejection):
                        digest = digest_of(record.key, record.value)
                        part.refused.append(RejectedRecord((topic, partition, record.offset), outcome.reason, digest))
                    elif home == number:
                        orders.setdefault(outcome.order_id, []).append(outcome)
                    else:
                        part.away.append((topic, partition, record.offset))
            part.firsts[partition] = await self._look_where_it_begins(topic, partition)
        for event in strangers.get(number, ()):
            orders.setdefault(event.order_id, []).append(event)
        kept = await self._gone(number, stops, orders, elsewhere or {})
        for event in reversed(kept):
            orders.setdefault(event.order_id, []).insert(0, event)
        return Home(orders, parts, [coordinates_of(event) for event in kept])

    def is_gone(self, at: Coordinates) -> bool:
        """Whether a record had been removed by retention when its partition was read."""
        return at[2] < self.firsts.get(at[:2], 0)

    async def _look_where_it_begins(self, topic: int, partition: int) -> int:
        """Looks up a partition's first offset, after reading it: what retention has removed meanwhile may not have been read."""
        tp = TopicPartition(self.names[topic], partition)
        first = int((await self._consumer.beginning_offsets([tp]))[tp])
        self.firsts[topic, partition] = first
        return first

    async def _gone(
        self,
        number: int,
        stops: Stops,
        orders: Mapping[str, Sequence[Fact]],
        elsewhere: Mapping[Coordinates, Fact | None],
    ) -> list[Fact]:
        """The events of a ledger partition whose records are gone, in the order in which it took them."""
        moved = await self._kept.moved(number)
        if not moved and not any(self.firsts.values()):
            return []
        facts = await self._kept.facts(number)
        if moved:
            here = [event for events in orders.values() for event in events]
            here += [event for event in elsewhere.values() if event is not None]
            return await self._unread(facts, stops, here)
        read = {coordinates_of(event) for events in orders.values() for event in events}
        return [
            event
            for event in facts
            if self.is_gone(at := coordinates_of(event))
            and at[2] < stops.get(at[:2], 0)
            and at not in read
            and at not in elsewhere
        ]

    async def _unread(self, facts: Sequence[Fact], stops: Stops, here: Sequence[Fact]) -> list[Fact]:
        """As `_gone`, if coordinates may be those of another cluster: the events without a record on this cluster."""
        known = set(map(_identity, here))
        left = [event for event in facts if _identity(event) not in known]
        later = await self._later(stops) if left else set()
        return [event for event in left if _identity(event) not in later]

    async def _later(self, stops: Stops) -> set[tuple[str, str, str]]:
        """The identities of the events that arrived after the fixed point."""
        found: set[tuple[str, str, str]] = set()
        for (topic, partition), end in (await self.ends()).items():
            first = max(stops.get((topic, partition), 0), self.firsts.get((topic, partition), 0))
            if first < end:
                tp = TopicPartition(self.names[topic], partition)
                async for records in self.read(tp, end, first):
                    outcomes = (outcome for _, outcome in self.decoded(records, topic))
                    found |= {_identity(outcome) for outcome in outcomes if isinstance(outcome, Fact)}
        return found

    async def remembered(self, order_ids: set[str], stops: Stops, records: Iterable[Fact]) -> list[Fact]:
        """The events of some orders whose records are gone.

        Args:
            order_ids: The orders.
            stops: The offsets up to which `records` were read.
            records: All events of theirs that still have records, from `history`.
        """
        by_home: dict[int, dict[str, list[Fact]]] = {}
        for order_id in order_ids:
            by_home.setdefault(homes([order_id.encode()], self._partitions)[0], {})[order_id] = []
        for event in records:
            by_home.setdefault(homes([event.order_id.encode()], self._partitions)[0], {}).setdefault(
                event.order_id, []
            ).append(event)
        found = []
        for number, orders in by_home.items():
            found += [event for event in await self._gone(number, stops, orders, {}) if event.order_id in orders]
        return found

    async def orders_of(self, vin: str) -> set[str]:
        """The orders that have an event with a VIN, in ledger partitions that have events whose records are gone."""
        found: set[str] = set()
        for number in range(self._partitions):
            if any(self.firsts.values()) or await self._kept.moved(number):
                found |= {event.order_id for event in await self._kept.facts(number) if event.vin == vin}
        return found

    async def history(self, order_ids: set[str], stops: Stops) -> list[tuple[LogRecord, Fact | Rejection]]:
        """All records of some orders, valid or not, with their decoded outcomes, in append order."""
        keys = {order_id.encode() for order_id in order_ids}

        def is_asked_for(key: bytes | None) -> bool:
            return key is not None and (key in keys or tidy_key(key) in keys)

        found = []
        for (topic, partition), stop in sorted(stops.items()):
            async for records in self.read(TopicPartition(self.names[topic], partition), stop):
                found += list(self.decoded([record for record in records if is_asked_for(record.key)], topic))
            await self._look_where_it_begins(topic, partition)
        return sorted(found, key=lambda pair: (pair[0].timestamp, pair[0].topic, pair[0].partition, pair[0].offset))

    async def between(self, first: Stops, last: Stops) -> dict[str, list[Fact]]:
        """Order → its valid events between two points of the sources."""
        found: dict[str, list[Fact]] = {}
        for (topic, partition), stop in sorted(last.items()):
            begin = first[topic, partition]
            if begin >= stop:
                continue
            async for records in self.read(TopicPartition(self.names[topic], partition), stop, begin):
                for _, outcome in self.decoded(records, topic):
                    if isinstance(outcome, Fact):
                        found.setdefault(outcome.order_id, []).append(outcome)
        return found

    async def at(self, place: Coordinates) -> LogRecord | None:
        """A record; `None` if it is gone."""
        topic, partition, offset = place
        if topic not in self.names:
            return None
        tp = TopicPartition(self.names[topic], partition)
        begins, ends = await self._consumer.beginning_offsets([tp]), await self._consumer.end_offsets([tp])
        if not begins[tp] <= offset < ends[tp]:
            return None
        async for records in self.read(tp, offset + 1, offset):
            return records[0] if records[0].offset == offset else None
        return None

    def decoded(self, records: Sequence[R], topic: int) -> Iterator[tuple[R, Fact | Rejection]]:
        """Each record with its decoded outcome."""
        outcomes = self._decode(records, topic, self._future_limit_us)
        for record, by_own_time in zip(records, outcomes, strict=True):
            outcome = by_own_time if record.timestamp_type == _APPEND_TIME else self._undated(record, topic)
            if self._skipped and (topic, record.partition, record.offset) in self._skipped:
                yield record, Rejection(QUARANTINED, "skipped by an operator")
            elif self._judged and (reason := self._judged.get((topic, record.partition, record.offset))) is not None:
                yield record, self._as_judged_before(record, outcome, reason)
            else:
                yield record, outcome

    def _as_judged_before(self, record: R, outcome: Fact | Rejection, reason: str) -> Fact | Rejection:
        """Upholds a rejection by an earlier version, with the reason it gave."""
        if isinstance(outcome, Fact):
            earlier = bool(leniencies(record, framed=self._framed))
        else:
            earlier = outcome.reason in _TOLD_APART and reason in _ONCE_WIDER
        return Rejection(reason, "rejected by an earlier version") if earlier else outcome

    def _decode(self, records: Sequence[R], topic: int, limit_us: int) -> list[Fact | Rejection]:
        return decode_batch(records, topic=topic, future_limit_us=limit_us, framed=self._framed)

    def _undated(self, record: R, topic: int) -> Fact | Rejection:
        """Decodes a record with its publisher's timestamp: no limit, unless a worker rejected it as being in the future."""
        (outcome,) = self._decode([record], topic, _NO_LIMIT_US)
        if isinstance(outcome, Fact) and (topic, record.partition, record.offset) in self._of_the_future:
            return Rejection(FUTURE_TIME, "ahead of the clock when it was taken in")
        return outcome

    async def read(self, tp: TopicPartition, stop: int, begin: int | None = None) -> AsyncIterator[list[LogRecord]]:
        """Yields the committed records of a partition below an offset, in lists; from its first offset or from `begin`."""
        consumer = self._consumer
        consumer.assign([tp])
        if begin is None:
            await consumer.seek_to_beginning(tp)
        else:
            consumer.seek(tp, begin)
        silence = Silence(self._settings)
        while (position := await consumer.position(tp)) < stop:
            silence.note({tp: position})
            for records in (await consumer.getmany(tp, timeout_ms=500)).values():
                below = records if records[-1].offset < stop else [one for one in records if one.offset < stop]
                self._progress(len(below))
                if below:
                    yield below

    async def _all(self) -> list[TopicPartition]:
        if not self._counts:
            self._counts = await partition_counts(self._consumer, self.numbers)
        return [TopicPartition(name, number) for name in self.numbers for number in range(self._counts[name])]

    def _numbered(self, tp: TopicPartition) -> tuple[int, int]:
        return self.numbers[tp.topic], tp.partition


def _identity(event: Fact) -> tuple[str, str, str]:
    return event.order_id, event.source, event.id


def future_limit_us(record: _Timed, settings: Settings) -> int:
    """How far an event's time may be ahead of its record's, in microseconds; without an append time there is no limit."""
    return settings.future_limit_s * 1_000_000 if record.timestamp_type == _APPEND_TIME else _NO_LIMIT_US
