"""Follows the ledger's changelog, finds orders in it, and knows how far the ledger has got.

It finds what the ledger has committed; `Reach` says whether that is everything. Both are as of one moment: first the ends of the
sources are asked for, then the changelog is read to its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import shutil
import stat
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import IO, TYPE_CHECKING, Final, NamedTuple, Self

from aiokafka import TopicPartition

from schemas.changelog import STATE_KEY, decode_entries, is_chunk
from schemas.codec import decode_batch
from schemas.facts import Fact
from schemas.outputs import source_name
from schemas.partitioner import homes
from schemas.texts import tidy_key
from streams.domain.announced.announcements import Announcement
from streams.domain.orders.packing import has_event_between, terms, unpack
from streams.domain.time.campaigns import Campaigns
from streams.domain.time.zone import BusinessZone
from streams.errors import ExpectedError
from streams.kafka.clients import Silence, meet, partition_counts, read_to_end, reader
from streams.kafka.forwarding import unwrap
from streams.kafka.records import record_key
from streams.kafka.topic_ids import topic_ids
from streams.listener import Listener
from streams.lookup.index import EVENT, ORDER, VIN, PartitionIndex
from streams.lookup.moments import Moment
from streams.settings import state_dir

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
    from datetime import date
    from pathlib import Path

    from aiokafka import AIOKafkaConsumer

    from schemas.changelog import Entries
    from schemas.outputs import Marker
    from streams.kafka.records import LogRecord
    from streams.settings import Settings

#: At most this many waiting records are searched for those of the requested order.
_LOOKED_AT: Final = 20_000
_FETCH_BYTES: Final = 1 << 20
_IN_A_THREAD: Final = 50
_CHECK_INTERVAL_S: Final = 30.0
#: The last ledger marker of an idle partition is at most this many offsets before its end, Kafka's transaction marker included.
_TAIL: Final = 64
#: Chunks fetched together: at most this many, each at most so many offsets from the previous one.
_BLOCK: Final = 32
_NEAR: Final = 16
#: Earlier moments to remember; one less than a minute old is asked for again, since brokers' clocks may differ.
_MOMENTS: Final = 64
_SETTLED_US: Final = 60_000_000
#: No limit on how far in the future: that was checked on arrival.
_NO_LIMIT_US: Final = 1 << 62


class Waiting(NamedTuple):
    """Records that were published but not taken yet by the ledger.

    Attributes:
        records: How many, over all sources.
        of_order: How many of them belong to the requested order; `None` if there are too many to search.
    """

    records: int
    of_order: int | None


@dataclass
class FoundOrder:
    """An order as the ledger has it.

    Attributes:
        order_id: The order number.
        home: Its ledger partition.
        facts: Its events, in the order in which they were applied.
    """

    order_id: str
    home: int
    facts: list[Fact]


@dataclass
class Reach:
    """How complete an answer is.

    Attributes:
        waiting: What the ledger has not taken yet; `None` if unknown, because a partition has not written a marker yet.
        rebuilding: Ledger partitions that are being rebuilt: they read from the beginning, without publishing.
        copies: Ledger partition → number of exact copies of events it has met; only partitions that have a marker.
    """

    waiting: Waiting | None
    rebuilding: list[int] = field(default_factory=list)
    copies: dict[int, int] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether no event of the order can be missing."""
        return self.waiting is not None and 0 in (self.waiting.records, self.waiting.of_order) and not self.rebuilding


class Finder:
    """Finds orders; see `opened`.

    Attributes:
        ready: Whether the changelog has been read to its end once.
        done: Offsets of the changelog read so far, of `total`.
    """

    def __init__(self, settings: Settings, reading: AIOKafkaConsumer, fetching: AIOKafkaConsumer) -> None:
        self._settings = settings
        self._catalogue = settings.catalogue
        self._reading, self._fetching = reading, fetching
        self._zone = BusinessZone(settings.timezone, settings.day_starts_hour)
        self._framed = settings.accept_schema_registry_json
        self._indexes = {number: PartitionIndex(self._zone) for number in range(settings.partitions)}
        self._lock, self._fetch_lock = asyncio.Lock(), asyncio.Lock()
        self._kept: _Kept | None = None
        self._checked_s: dict[int, float] = {}
        self._saved = 0
        self._is_there = False
        self._moments: dict[int, Moment] = {}
        self.ready = False
        self.done = self.total = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(cls, settings: Settings) -> AsyncIterator[Self]:
        """A finder with its own connections; it continues from the index kept on this machine, and keeps its own there."""
        async with (
            reader(settings) as reading,
            reader(settings) as fetching,
        ):
            found = cls(settings, reading, fetching)
            found._kept = _Kept(settings)
            await asyncio.to_thread(found._kept.load, found._indexes)
            try:
                yield found
            finally:
                await found.keep()
                found._kept.close()

    @property
    def _topic(self) -> str:
        return self._catalogue.ledger.name

    def home(self, order_id: str) -> int:
        """The ledger partition of an order."""
        return homes([order_id.encode()], self._settings.partitions)[0]

    # Reading --------------------------------------------------------------------------------------------------------

    async def read_on(self, partitions: Iterable[int] | None = None, listener: Listener = Listener()) -> None:  # noqa: B008 - frozen
        """Reads the changelog to its end.

        Args:
            partitions: Only these; by default all.
            listener: Told about progress.

        Raises:
            ExpectedError: The changelog does not exist or may not be read.
        """
        wanted = sorted(self._indexes if partitions is None else partitions)
        async with self._lock:
            tps = {number: TopicPartition(self._topic, number) for number in wanted}
            await self._check(tps)
            ends = await self._reading.end_offsets(list(tps.values()))
            self.total = sum(ends.values())
            self.done = sum(self._indexes[number].next for number in wanted)
            listener.plan(self.total - self.done)
            behind = [number for number, tp in tps.items() if self._indexes[number].next < ends[tp]]
            since = {(self._topic, number): self._indexes[number].next for number in behind}
            async for records in self._read(self._reading, since):
                index = self._indexes[records[0].partition]
                before = index.next
                if len(records) > _IN_A_THREAD or any(len(each.value or b"") > _FETCH_BYTES // 8 for each in records):
                    await asyncio.to_thread(index.add, records)
                else:
                    index.add(records)
                self.done += index.next - before
                listener.progress(index.next - before)
            for number in behind:
                # Only transaction markers remain before the end.
                self._indexes[number].next = max(self._indexes[number].next, ends[tps[number]])
            if partitions is None:
                self.ready = True

    async def _read(
        self, consumer: AIOKafkaConsumer, since: dict[tuple[str, int], int]
    ) -> AsyncIterator[list[LogRecord]]:
        """The records of partitions, from the given offsets up to their ends."""
        if since:
            async for records in read_to_end(self._settings, list(since), consumer=consumer, since=since):
                yield records
            consumer.unsubscribe()

    async def _check(self, tps: dict[int, TopicPartition]) -> None:
        """Starts over on a partition that is not the one read before: the topic was recreated, or the partition ends earlier."""
        if not self._is_there:
            await self._require_topic()
        now_s = time.monotonic()
        asked = [n for n in tps if now_s - self._checked_s.get(n, -_CHECK_INTERVAL_S) >= _CHECK_INTERVAL_S]
        if not asked:
            return
        client = self._reading._client  # noqa: SLF001 - aiokafka has no request for it
        topic_id = (await topic_ids(client, [self._topic])).get(self._topic, "")
        ends = await self._reading.end_offsets([tps[number] for number in asked])
        kept = [number for number in asked if self._indexes[number].next]
        younger = {} if topic_id else await self._younger([tps[number] for number in kept])
        for number in asked:
            self._checked_s[number] = now_s
            index, first = self._indexes[number], younger.get(tps[number])
            # Without topic ids: in the same topic, no offset that was read has a record newer than the newest one read.
            if (
                ends[tps[number]] < index.next
                or index.topic_id != topic_id
                or (first is not None and first <= index.last)
            ):
                index.reset()
            index.topic_id = topic_id

    async def _younger(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        """Partition → the first offset whose record is newer than everything read; only partitions that have one."""
        asked = {tp: self._indexes[tp.partition].newest_ms + 1 for tp in tps}
        found = await self._reading.offsets_for_times(asked) if asked else {}
        return {tp: each.offset for tp, each in found.items() if each is not None}

    async def _require_topic(self) -> None:
        found = (await partition_counts(self._reading, [self._topic]))[self._topic]
        if found < self._settings.partitions:
            raise ExpectedError(
                f"{self._topic} has {found} partitions, the settings say {self._settings.partitions}: milestones topics plan "
                "tells what to do"
                if found
                else f"there is no topic {self._topic}; create it with: milestones topics apply",
                exit_code=3,
            )
        self._is_there = True

    async def keep(self) -> None:
        """Keeps the index for the next process, if this one holds the folder."""
        if self._kept is None:
            return
        now = sum(index.next for index in self._indexes.values())
        if now != self._saved:
            async with self._lock:
                await asyncio.to_thread(self._kept.save, self._indexes)
            self._saved = now

    # Finding --------------------------------------------------------------------------------------------------------

    async def order(self, order_id: str) -> FoundOrder | None:
        """An order as the ledger had it when last read; `None` if there is none with this number."""
        home = self.home(order_id)
        blob = await self._blob(home, order_id)
        if blob is None:
            return None
        return FoundOrder(order_id, home, unpack(order_id, blob, self._indexes[home].vocabulary.words))

    async def orders_named(self, numbers: Iterable[str]) -> AsyncIterator[FoundOrder]:
        """The orders with these numbers, as the ledger had them when last read; each chunk is read once, for all of its orders."""
        by_home: dict[int, set[str]] = {}
        for number in numbers:
            by_home.setdefault(self.home(number), set()).add(number)
        for home, wanted in sorted(by_home.items()):
            index = self._indexes[home]
            offsets = {offset for number in wanted for offset in index.find(ORDER, number.encode())}
            for block in _blocks(sorted(offsets, reverse=True)):
                found = await self._chunks(home, block)
                for offset in block:
                    for order_id, blob in found.get(offset, ()):
                        # The latest chunk with an order has it whole.
                        if order_id in wanted:
                            wanted.remove(order_id)
                            yield FoundOrder(order_id, home, unpack(order_id, blob, index.vocabulary.words))

    async def _blob(self, home: int, order_id: str) -> bytes | None:
        index = self._indexes[home]
        for offset in index.find(ORDER, order_id.encode()):
            for each, blob in await self._chunk(home, offset):
                if each == order_id:
                    return blob
        return None

    async def orders_with(self, *, vin: str = "", event_id: str = "") -> list[str]:
        """Numbers of the orders that have an event with a VIN or an event id, sorted."""
        kind, text = (VIN, vin.encode()) if vin else (EVENT, event_id.encode())
        at = 1 if vin else 0
        found: set[str] = set()
        for number, index in self._indexes.items():
            for offset in index.find(kind, text):
                found |= {
                    order_id
                    for order_id, blob in await self._chunk(number, offset)
                    if text in blob and any(term[at] == text for term in terms(blob))
                }
        return sorted(found)

    async def orders_on(self, day: date, *, of_vehicles: bool = False) -> AsyncIterator[FoundOrder]:
        """Every order that has an event on a date; see `orders_within`."""
        async for found in self.orders_within(day, day, of_vehicles=of_vehicles):
            yield found

    async def orders_within(self, first: date, last: date, *, of_vehicles: bool = False) -> AsyncIterator[FoundOrder]:
        """Every order that has an event between two dates, inclusive.

        Args:
            first: The first date.
            last: The last one.
            of_vehicles: Only events that name a vehicle, deliveries and reversals: fewer chunks have those of a date, since they
                were written on it.
        """
        first_us, end_us = self._zone.first_us(first), self._zone.first_us(last + timedelta(days=1))
        days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
        for number, index in self._indexes.items():
            # The latest chunk with an order has it whole; older ones have earlier versions of it.
            seen: set[str] = set()
            for block in _blocks(index.find_days(days, of_vehicles=of_vehicles)):
                found = await self._chunks(number, block)
                for offset in block:
                    for order_id, blob in found.get(offset, ()):
                        if order_id not in seen and has_event_between(blob, first_us, end_us):
                            seen.add(order_id)
                            yield FoundOrder(order_id, number, unpack(order_id, blob, index.vocabulary.words))

    async def orders(self) -> AsyncIterator[FoundOrder]:
        """Every order."""
        for number, index in self._indexes.items():
            seen: set[str] = set()
            for block in _blocks(sorted(index.chunks, reverse=True)):
                found = await self._chunks(number, block)
                for offset in block:
                    for order_id, blob in found.get(offset, ()):
                        if order_id not in seen:
                            seen.add(order_id)
                            yield FoundOrder(order_id, number, unpack(order_id, blob, index.vocabulary.words))

    async def _chunk(self, number: int, offset: int) -> Entries:
        """The entries of the chunk at an offset; none if it is gone."""
        return (await self._chunks(number, [offset])).get(offset, [])

    async def _chunks(self, number: int, offsets: Sequence[int]) -> dict[int, Entries]:
        """The entries of chunks at neighbouring offsets, without chunks that are gone."""
        tp = TopicPartition(self._topic, number)
        last = max(offsets)
        found: dict[int, Entries] = {}
        async with self._fetch_lock:
            self._fetching.assign([tp])
            self._fetching.seek(tp, min(offsets))
            silence = Silence(self._settings)
            try:
                while (position := await self._fetching.position(tp)) <= last:
                    silence.note({tp: position})
                    fetched = await self._fetching.getmany(tp, timeout_ms=500, max_records=last - min(offsets) + 1)
                    for record in fetched.get(tp, ()):
                        if record.offset in offsets and is_chunk(record_key(record)) and record.value:
                            found[record.offset] = decode_entries(record.value)
            finally:
                self._fetching.unsubscribe()
        return found

    async def moment(self, appended_us: int) -> Moment:
        """What the sources held at a moment: everything appended up to a time, microseconds since 1970."""
        if (known := self._moments.get(appended_us)) is not None:
            return known
        found = await Moment.at(self._fetching, self._catalogue.names(), appended_us)
        if appended_us < time.time() * 1_000_000 - _SETTLED_US:
            while len(self._moments) >= _MOMENTS:
                del self._moments[next(iter(self._moments))]
            self._moments[appended_us] = found
        return found

    async def copies(self, found: FoundOrder, listener: Listener = Listener()) -> list[Fact]:  # noqa: B008 - frozen
        """The records that repeat an event of an order; reads all source partitions of its home for that."""
        numbers = {name: number for number, name in self._catalogue.names().items()}
        rerouted = self._catalogue.rerouted.name
        counts = await partition_counts(self._fetching, [*numbers, rerouted])
        places = {(fact.topic, fact.partition, fact.offset) for fact in found.facts}
        events = {(fact.source, fact.id): fact for fact in found.facts}
        since = {
            (name, number): 0
            for name, count in counts.items()
            for number in range(count)
            if number % self._settings.partitions == found.home
        }
        copies = []
        async with self._fetch_lock:
            tps = [TopicPartition(*place) for place in since]
            since = {(tp.topic, tp.partition): at for tp, at in (await self._fetching.beginning_offsets(tps)).items()}
            ends = await self._fetching.end_offsets(tps)
            listener.plan(sum(ends.values()) - sum(since.values()))
            async for records in self._read(self._fetching, since):
                listener.progress(len(records))
                for record in records:
                    if tidy_key(record.key or b"") != found.order_id.encode():
                        continue
                    topic, original = unwrap(record) if record.topic == rerouted else (numbers[record.topic], record)
                    ((fact),) = decode_batch([original], topic=topic, future_limit_us=_NO_LIMIT_US, framed=self._framed)
                    if isinstance(fact, Fact) and (fact.topic, fact.partition, fact.offset) not in places:
                        known = events.get((fact.source, fact.id))
                        if known is not None and _content(known) == _content(fact):
                            copies.append(fact)
        return copies

    # How far the ledger is ------------------------------------------------------------------------------------------

    async def look(self, order_id: str, partitions: Iterable[int] | None = None) -> tuple[FoundOrder | None, Reach]:
        """An order and how complete it is, both as of the moment of asking.

        Args:
            order_id: The order number.
            partitions: Partitions of the changelog to read; by default all.
        """
        ends = await self._source_ends()
        # Read after the ends were asked for, so that it has everything the ledger had taken by then.
        await self.read_on(partitions)
        return await self.order(order_id), await self._reach(ends, order_id)

    async def reach(self) -> Reach:
        """How complete everything is that can be found, as of the moment of asking."""
        ends = await self._source_ends()
        await self.read_on()
        return await self._reach(ends, None)

    async def _source_ends(self) -> dict[TopicPartition, int]:
        sources = [*self._catalogue.names().values(), self._catalogue.rerouted.name]
        async with self._fetch_lock:
            counts = await partition_counts(self._fetching, sources)
            tps = [TopicPartition(name, number) for name, count in counts.items() for number in range(count)]
            await meet(self._fetching, {tp.topic for tp in tps})
            return dict(await self._fetching.end_offsets(tps))

    async def _reach(self, ends: dict[TopicPartition, int], order_id: str | None) -> Reach:
        markers = await self._markers()
        gaps: dict[TopicPartition, int] = {}
        unheard = False
        for tp, end in ends.items():
            ledger = tp.partition % self._settings.partitions
            marker = markers.get(ledger)
            position = None if marker is None else marker.positions.get(source_name(tp.topic, tp.partition, ledger))
            first = 0 if position is None else position[0]
            unheard |= marker is None and end > 0
            if end > first:
                gaps[tp] = first
        rebuilding = [number for number, marker in markers.items() if marker is not None and marker.rebuilding]
        copies = {
            number: sum(books.duplicates for books in marker.books.values())
            for number, marker in markers.items()
            if marker is not None
        }
        return Reach(None if unheard else await self._waiting(gaps, ends, order_id), rebuilding, copies)

    async def _waiting(
        self, gaps: dict[TopicPartition, int], ends: dict[TopicPartition, int], order_id: str | None
    ) -> Waiting:
        between = sum(ends[tp] - first for tp, first in gaps.items())
        if not between:
            return Waiting(0, 0)
        if between > _LOOKED_AT:
            return Waiting(between, None)
        # Some of these offsets are transaction markers, not events, so the records are read.
        records = of_order = 0
        async with self._fetch_lock:
            since = {(tp.topic, tp.partition): first for tp, first in gaps.items()}
            async for found in self._read(self._fetching, since):
                for record in found:
                    records += 1
                    of_order += order_id is not None and tidy_key(record.key or b"") == order_id.encode()
        return Waiting(records, of_order)

    async def counted_by(self) -> Settings:
        """The settings with the campaigns that the ledger counts now: events may have announced other ones."""
        markers = [marker for marker in (await self._markers()).values() if marker is not None]
        last = max(markers, key=lambda each: Announcement.parse(each.announced).number, default=None)
        if last is None or last.campaigns == Campaigns(self._settings.campaigns).text:
            return self._settings
        return self._settings.with_campaigns(Campaigns.parse(last.campaigns))

    async def _markers(self) -> dict[int, Marker | None]:
        """The last marker of each partition; if its changelog has not been read, it is looked up at the end."""
        missing = {n: index for n, index in self._indexes.items() if index.marker is None or not self.ready}
        markers = {number: index.marker for number, index in self._indexes.items()}
        if not missing:
            return markers
        async with self._fetch_lock:
            tps = {number: TopicPartition(self._topic, number) for number in missing}
            ends = await self._fetching.end_offsets(list(tps.values()))
            since = {(self._topic, n): max(ends[tp] - _TAIL, 0) for n, tp in tps.items() if ends[tp]}
            tails = {number: PartitionIndex(self._zone) for number in missing}
            async for records in self._read(self._fetching, since):
                tails[records[0].partition].add([record for record in records if record.key == STATE_KEY])
        return markers | {number: tail.marker or markers[number] for number, tail in tails.items()}


def _content(fact: Fact) -> tuple[object, ...]:
    """What makes two records with one identity the same event."""
    return fact.kind, fact.time_us, fact.vin, fact.dims, fact.extra, fact.voids


def _blocks(offsets: Sequence[int]) -> Iterator[list[int]]:
    """Descending offsets in groups for one fetch each: near each other, and not too many."""
    block: list[int] = []
    for offset in offsets:
        if block and (len(block) == _BLOCK or block[-1] - offset > _NEAR):
            yield block
            block = []
        block.append(offset)
    if block:
        yield block


class _Kept:
    """The folder that keeps the index; one process at a time writes there."""

    def __init__(self, settings: Settings) -> None:
        cluster = re.sub(r"[^A-Za-z0-9.:-]", "-", settings.bootstrap_servers)[:200]
        self.folder: Path = state_dir(settings) / "orders" / cluster / f"{settings.output_prefix}milestones"
        self._lock: IO[bytes] | None = None
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            found = self.folder.stat()
            # In a world-writable folder, someone else could have created it first.
            if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                self.folder = self.folder / "none"
                return
            lock = (self.folder / "lock").open("ab")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._lock = lock
            except OSError:
                lock.close()

    def load(self, indexes: dict[int, PartitionIndex]) -> None:
        """Loads what was kept."""
        for number, index in indexes.items():
            index.load(self.folder / str(number))

    def save(self, indexes: dict[int, PartitionIndex]) -> None:
        """Keeps the index, unless another process holds the folder."""
        if self._lock is None:
            return
        with contextlib.suppress(OSError):
            for number, index in indexes.items():
                if index.next:
                    index.save(self.folder / str(number))
                else:
                    shutil.rmtree(self.folder / str(number), ignore_errors=True)

    def close(self) -> None:
        """Releases the folder for the next process."""
        if self._lock is not None:
            self._lock.close()
