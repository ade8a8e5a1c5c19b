"""A reader of everything that the ledger commits, which fails on a position that moves without its data.

It reads the changelog, the sources, the forwarded records, the dead letters, the day counts and the milestones while the
service runs, `read_committed` as the service does, and goes through each partition's changelog transaction by transaction.
Between two positions of a source every record must have been applied, be a duplicate, a dead letter or forwarded; and the
books must say so. Of the service it uses the formats alone.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import cramjam
import msgspec
import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.changelog import STATE_KEY, is_chunk
from schemas.codec import decode_batch, decode_marker, encode_marker
from schemas.counts import decode_counts_key
from schemas.facts import Fact
from schemas.outputs import ControlHeaders, source_of
from schemas.partitioner import homes
from schemas.source_hours import decode_hours_key
from streams.domain.orders.packing import Vocabulary, unpack
from streams.kafka.client_options import client_options
from streams.kafka.forwarding import unwrap
from streams.kafka.records import header_values, record_key, record_value
from streams.ledger.vocabulary import is_vocabulary, vocabulary_of
from tests.support.time_limits import stretched

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from schemas.authority import SourceRecord
    from schemas.outputs import Marker
    from streams.kafka.records import LogRecord
    from tests.support.installation import Installation

#: Parts of one transaction show on different partitions at different moments, this far apart at most.
_PATIENCE_S: Final = 30.0
_ZSTD = b"\x28\xb5\x2f\xfd"
_decode_entries = msgspec.msgpack.Decoder(list[tuple[str, bytes]]).decode

#: Source topic (0 orders, 1 deliveries), partition and offset of a record as it was published.
Place = tuple[int, int, int]


class SpyError(AssertionError):
    """Something was committed that must never be."""


@dataclass
class _Shard:
    """What one partition of the ledger has committed so far.

    Attributes:
        waiting: Records of its changelog that are not gone through yet.
        events: Order → (source, id) → event, by the changelog.
        positions: Source topic → position of the last marker.
        books: Source topic → what the records below that position were, by this reader.
        markers: Every marker, as bytes.
        stalled_s: Since when the next marker waits for records of other partitions; monotonic.
    """

    waiting: deque[LogRecord] = field(default_factory=deque)
    vocabulary: list[LogRecord] = field(default_factory=list)
    words: Vocabulary = field(default_factory=Vocabulary)
    events: dict[str, dict[tuple[str, str], Fact]] = field(default_factory=lambda: defaultdict(dict))
    positions: dict[str, int] = field(default_factory=dict)
    books: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    markers: list[bytes] = field(default_factory=list)
    stalled_s: float | None = None


class Spy:
    """Reads while `run` runs, and raises what it finds wrong.

    Attributes:
        steps: Markers that were checked.
        became: Records by what they became.
    """

    def __init__(self, installation: Installation) -> None:
        catalogue = installation.catalogue
        self._settings = installation.settings
        self._catalogue = catalogue
        self._numbers = {catalogue.orders.name: 0, catalogue.deliveries.name: 1}
        self._names = (catalogue.orders.name, catalogue.deliveries.name)
        self._shards = {number: _Shard() for number in range(catalogue.partitions)}
        self._records: dict[TopicPartition, dict[int, LogRecord]] = defaultdict(dict)
        self._letters: dict[Place, LogRecord] = {}
        self._forwarded: dict[Place, LogRecord] = {}
        self._letters_due: set[Place] = set()
        self._forwarded_due: set[Place] = set()
        self._revisions: Counter[str] = Counter()
        self._said: dict[int, list[bytes]] = defaultdict(list)
        self._read: dict[TopicPartition, int] = {}
        self.steps = 0
        self.became: Counter[str] = Counter()
        self._consumer: Any = None

    async def run(self, enough: asyncio.Event) -> None:
        """Reads until there is enough, and on until everything that was read is checked.

        Raises:
            SpyError: A position has moved without its data, or something is there twice, out of order or changed.
        """
        catalogue = self._catalogue
        topics = (
            catalogue.orders,
            catalogue.deliveries,
            catalogue.rerouted,
            catalogue.dead_letters,
            catalogue.ledger,
            catalogue.counts,
            catalogue.milestones,
        )
        tps = [TopicPartition(topic.name, number) for topic in topics for number in range(topic.partitions)]
        self._consumer = AIOKafkaConsumer(
            **client_options(self._settings), isolation_level="read_committed", enable_auto_commit=False
        )
        await self._consumer.start()
        try:
            self._consumer.assign(tps)
            await self._consumer.seek_to_beginning(*tps)
            quiet = 0
            while not enough.is_set() or quiet < 3 or any(shard.waiting for shard in self._shards.values()):
                found = await self._consumer.getmany(timeout_ms=300)
                quiet = 0 if found else quiet + 1
                for tp, records in found.items():
                    for record in records:
                        self._take(tp, record)
                for tp in tps:
                    self._read[tp] = await self._consumer.position(tp)
                for number, shard in self._shards.items():
                    self._go_through(number, shard)
            self._end()
        finally:
            await self._consumer.stop()

    def _take(self, tp: TopicPartition, record: LogRecord) -> None:
        catalogue = self._catalogue
        if tp.topic in self._numbers:
            self._records[tp][record.offset] = record
        elif tp.topic == catalogue.rerouted.name:
            self._records[tp][record.offset] = record
            number, original = unwrap(record)
            self._once(self._forwarded, (number, original.partition, original.offset), record, "forwarded")
        elif tp.topic == catalogue.dead_letters.name:
            headers = header_values(record)
            number = self._numbers[headers[ControlHeaders.TOPIC].decode()]
            place = number, int(headers[ControlHeaders.PARTITION]), int(headers[ControlHeaders.OFFSET])
            self._once(self._letters, place, record, "a dead letter")
        elif tp.topic == catalogue.ledger.name:
            self._shards[tp.partition].waiting.append(record)
        elif tp.topic == catalogue.counts.name:
            if decode_hours_key(record_key(record)) is not None:
                return
            shard, cell = decode_counts_key(record_key(record))
            if cell is None:
                marker = decode_marker(record_value(record))
                self._said[shard].append(encode_marker(marker.with_answers([])))  # answers are for the totals alone
        else:
            self._milestone(orjson.loads(record_value(record))["data"])

    def _once(self, known: dict[Place, LogRecord], place: Place, record: LogRecord, what: str) -> None:
        if place in known:
            raise SpyError(f"{self._text(place)} is {what} twice: at offsets {known[place].offset} and {record.offset}")
        known[place] = record

    def _milestone(self, data: dict[str, Any]) -> None:
        name, revision = data["milestone_id"], data["revision"]
        if revision != self._revisions[name] + 1:
            raise SpyError(f"revision {revision} of {name} follows revision {self._revisions[name]}")
        self._revisions[name] = revision

    # One partition's changelog ------------------------------------------------------------------------------------------

    def _go_through(self, number: int, shard: _Shard) -> None:
        while shard.waiting:
            record = shard.waiting[0]
            key = record_key(record)
            if key == STATE_KEY:
                marker = decode_marker(record_value(record))
                missing = self._missing(number, shard, marker)
                if missing:
                    now = time.monotonic()
                    shard.stalled_s = shard.stalled_s or now
                    if now - shard.stalled_s > stretched(_PATIENCE_S):
                        raise SpyError(f"ledger {number}, marker at {record.offset}: {missing}")
                    return
                shard.stalled_s = None
                self._account(number, shard, marker)
                shard.markers.append(record_value(record))
                self.steps += 1
            elif is_vocabulary(key):
                shard.vocabulary.append(record)
                shard.words = Vocabulary()
                shard.words.restore(vocabulary_of(shard.vocabulary))
            elif is_chunk(key) and record.value is not None:
                self._chunk(number, shard, record)
            shard.waiting.popleft()

    def _chunk(self, number: int, shard: _Shard, record: LogRecord) -> None:
        value = record_value(record)
        for order_id, blob in _decode_entries(cramjam.zstd.decompress(value) if value.startswith(_ZSTD) else value):
            facts = unpack(order_id, blob, shard.words.words)
            now = {(fact.source, fact.id): fact for fact in facts}
            if len(now) != len(facts):
                raise SpyError(f"ledger {number}, {record.offset}: order {order_id} has an event twice")
            lost = [event for identity, event in shard.events[order_id].items() if now.get(identity) != event]
            if lost:
                raise SpyError(f"ledger {number}, {record.offset}: order {order_id} has lost {lost[0]}")
            shard.events[order_id] = now

    def _passed(self, number: int, shard: _Shard, marker: Marker) -> Iterator[tuple[str, LogRecord]]:
        """(topic, record) of everything between the last positions and those of the marker."""
        for topic, (position, _) in marker.positions.items():
            records = self._records[TopicPartition(*source_of(topic, number))]
            for offset in range(shard.positions.get(topic, 0), position):
                if offset in records:
                    yield topic, records[offset]

    def _missing(self, number: int, shard: _Shard, marker: Marker) -> str:
        """What is missing, or not yet read, and must be there before the marker can be checked."""
        for topic, (position, _) in marker.positions.items():
            if position < shard.positions.get(topic, 0):
                raise SpyError(f"ledger {number}: the position of {topic} goes back to {position}")
            if self._read.get(TopicPartition(*source_of(topic, number)), 0) < position:
                return f"{topic} is said to be applied up to {position}, readers get no further than {self._read}"
        for _, record in self._passed(number, shard, marker):
            place, _, what = self._judge(number, shard, record)
            if what == "forwarded" and place not in self._forwarded:
                return f"{self._text(place)} belongs elsewhere and was not forwarded"
            if what == "dead_letters" and place not in self._letters:
                return f"{self._text(place)} is neither applied nor a duplicate, and there is no dead letter of it"
        return ""

    def _judge(self, number: int, shard: _Shard, record: LogRecord) -> tuple[Place, SourceRecord, str]:
        """Where a record was published, the record, and what it must have become by the changelog."""
        original: SourceRecord
        if record.topic == self._catalogue.rerouted.name:
            source, original = unwrap(record)
        else:
            source, original = self._numbers[record.topic], record
        place = source, original.partition, original.offset
        limit_us = self._settings.future_limit_s * 1_000_000
        (outcome,) = decode_batch([original], topic=source, future_limit_us=limit_us)
        if not isinstance(outcome, Fact):
            return place, original, "dead_letters"
        if homes([original.key or b""], self._catalogue.partitions)[0] != number:
            return place, original, "forwarded"
        known = shard.events[outcome.order_id].get((outcome.source, outcome.id))
        if known is not None and (known.topic, known.partition, known.offset) == place:
            if known != outcome:
                raise SpyError(f"{self._text(place)} was applied as {known}, it is {outcome}")
            return place, original, "applied"
        if known is not None and (known.kind, known.time_us) == (outcome.kind, outcome.time_us):
            return place, original, "duplicates"
        return place, original, "dead_letters"

    def _account(self, number: int, shard: _Shard, marker: Marker) -> None:
        for topic, record in self._passed(number, shard, marker):
            place, original, what = self._judge(number, shard, record)
            if what == "dead_letters":
                self._letters_due.add(place)
                self._unchanged(place, original, self._letters[place], ControlHeaders.ALL)
            elif what == "forwarded":
                self._forwarded_due.add(place)
                _, forwarded = unwrap(self._forwarded[place])
                self._unchanged(place, original, forwarded, frozenset())
            shard.books[topic]["read"] += 1
            shard.books[topic]["rerouted" if what == "forwarded" else what] += 1
            self.became[what] += 1
        for topic, (position, _) in marker.positions.items():
            shard.positions[topic] = position
            said, found = marker.books[topic], shard.books[topic]
            for name in ("read", "applied", "duplicates", "dead_letters", "rerouted"):
                if getattr(said, name) != found[name]:
                    raise SpyError(
                        f"ledger {number}: {name} of {topic} is {getattr(said, name)}, there are {found[name]}"
                    )
        events = sum(map(len, shard.events.values()))
        applied = sum(books["applied"] for books in shard.books.values())
        if events != applied:
            raise SpyError(f"ledger {number}: {events} events in the changelog, {applied} below the positions")

    def _unchanged(self, place: Place, original: SourceRecord, copy: SourceRecord, added: frozenset[str]) -> None:
        headers = tuple(header for header in copy.headers if header[0] not in added)
        if (copy.key, copy.value, headers) != (original.key, original.value, tuple(original.headers)):
            raise SpyError(f"{self._text(place)} was changed on its way")

    def _end(self) -> None:
        """Every record is covered by a marker, and both topics with markers agree."""
        for what, found, due in (
            ("a dead letter", self._letters.keys(), self._letters_due),
            ("forwarded", self._forwarded.keys(), self._forwarded_due),
        ):
            if found - due:
                raise SpyError(f"{self._text(min(found - due))} is {what}, and no position has passed it")
        for number, shard in self._shards.items():
            if self._said[number] != shard.markers:
                raise SpyError(f"ledger {number}: the markers of the day counts are not those of the changelog")

    def _text(self, place: Place) -> str:
        return f"{self._names[place[0]]}-{place[1]}@{place[2]}"
