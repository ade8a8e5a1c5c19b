"""Reads the output topics into the read model: from the beginning, then as they grow, through outages of the brokers.

It reads committed records without a consumer group, so workers do not notice it. A lost connection is reopened, and reading continues
after the last record. If a topic was recreated (see `streams.web.topic_identity`), its tables are emptied and it is read from its
beginning.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from schemas.messages import Message, first_line
from streams.errors import ExpectedError
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import live_options, partition_counts, quiet_clients
from streams.kafka.long_poll import LongPollConsumer
from streams.web.bounded_waits import ended, within
from streams.web.readmodel import Changes, Feed
from streams.web.topic_identity import TopicIdentities

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streams.kafka.records import LogRecord
    from streams.settings import Settings
    from streams.web.readmodel import ReadModel

logger = logging.getLogger(__name__)

#: How long to wait for records before checking the positions again, which transaction markers also move; longer once everything
#: known has been read.
_LAGGING_POLL_MS: Final = 100
_POLL_MS: Final = 500
#: How long a broker waits when a record is looked up, which exists or does not.
_LOOK_UP_MS: Final = 100
_MAX_RECORDS: Final = 4000
_FETCH_BYTES: Final = 4 << 20
_PROBE_INTERVAL_S: Final = 1.0
_PROBE_TIMEOUT_S: Final = 2.5
_START_TIMEOUT_S: Final = 10.0
_STOP_TIMEOUT_S: Final = 3.0
_RETRY_S: Final = 1.0
#: How often to look for a missing topic.
_MISSING_INTERVAL_S: Final = 5.0
#: How often to check whether the topics are still the same ones.
_IDENTITY_INTERVAL_S: Final = 5.0
#: How often to note that the tables are complete.
_KEEP_INTERVAL_S: Final = 2.0


#: Errors that a cluster in trouble causes.
_OUTAGES: Final = (KafkaError, OSError, TimeoutError, ExpectedError)


class _StartAgainError(Exception):
    """Reconnect: a topic has appeared."""


@dataclass
class FollowState:
    """How far reading has come; written by the follower, read by everyone.

    Attributes:
        positions: (feed, partition) → next offset to read.
        ends: (feed, partition) → last known end.
        starts: (feed, partition) → first offset when reading started.
        missing: Topics that do not exist.
        broker_seen_s: When a broker last answered, monotonic seconds; `None` before the first answer.
        caught_up_s: When everything was last read, monotonic seconds; `None` before the first time.
        problem: Why there is no connection, in one line; empty while there is one.
        records: Feed → number of records read so far.
        newest_ms: Time of the newest record read, milliseconds since 1970.
        reconnects: Number of reconnections.
    """

    positions: dict[tuple[Feed, int], int] = field(default_factory=dict)
    ends: dict[tuple[Feed, int], int] = field(default_factory=dict)
    starts: dict[tuple[Feed, int], int] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    broker_seen_s: float | None = None
    caught_up_s: float | None = None
    problem: str = Message("not connected yet")
    records: Counter[Feed] = field(default_factory=Counter)
    newest_ms: int = 0
    reconnects: int = 0

    @property
    def rebuilt(self) -> bool:
        """Whether everything has been read once, so that the view is complete."""
        return self.caught_up_s is not None

    def lag(self) -> int:
        """Offsets between the positions and the ends."""
        return sum(max(end - self.positions.get(place, 0), 0) for place, end in list(self.ends.items()))

    def progress(self) -> list[tuple[Feed, int, int]]:
        """(feed, offsets read, offsets in total), over all its partitions."""
        done: Counter[Feed] = Counter()
        total: Counter[Feed] = Counter()
        for place, end in list(self.ends.items()):
            start = self.starts.get(place, 0)
            done[place[0]] += min(self.positions.get(place, start), end) - start
            total[place[0]] += end - start
        return [(feed, done[feed], total[feed]) for feed in Feed if feed in total]


def _options(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **options,
        "isolation_level": "read_committed",
        "enable_auto_commit": False,
        # A position that no longer exists means that the topic was recreated, which must never go unnoticed.
        "auto_offset_reset": "none",
        "request_timeout_ms": 10_000,
    }


class Follower:
    """Keeps a read model up to date until it is cancelled.

    Args:
        settings: The settings of the cluster, and the names of the topics.
        model: The read model to write to.
        changed: Called in the event loop with each batch's changes; `None` means that everything may have changed.
    """

    def __init__(
        self, settings: Settings, model: ReadModel, changed: Callable[[Changes | None], None] = lambda _changes: None
    ) -> None:
        self.state = FollowState()
        self._settings = settings
        self._model = model
        self.changed = changed
        catalogue = catalogue_of(settings)
        self._feeds: dict[str, Feed] = {
            catalogue.windows.name: Feed.WINDOWS,
            catalogue.history.name: Feed.HISTORY,
            catalogue.milestones.name: Feed.MILESTONES,
            catalogue.forecasts.name: Feed.FORECASTS,
            catalogue.violations.name: Feed.VIOLATIONS,
            catalogue.status.name: Feed.STATUS,
            catalogue.dead_letters.name: Feed.DEAD_LETTERS,
        }
        self._identities = TopicIdentities()
        self._in_order = model.complete_ms is not None
        self._resume()
        self._writing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-model")

    def _resume(self) -> None:
        """Continues with the read model kept by an earlier process, including its age."""
        complete_ms = self._model.complete_ms
        if complete_ms is None:
            return
        topics = {feed: topic for topic, feed in self._feeds.items()}
        for read in self._model.read_so_far():
            self.state.positions[read.feed, read.partition] = read.next
            self._identities.recall(TopicPartition(topics[read.feed], read.partition), read.last, read.digest)
        age_s = max(time.time() - complete_ms / 1000, 0.0)
        self.state.caught_up_s = time.monotonic() - age_s

    async def run(self) -> None:
        """Follows the topics until cancelled; retries every second while the brokers cannot answer."""
        try:
            while True:
                try:
                    with quiet_clients():
                        await self._connected()
                except _StartAgainError:
                    pass
                except _OUTAGES as error:
                    self._lost(error)
                    await asyncio.sleep(_RETRY_S)
                self.state.reconnects += 1
        finally:
            if self.state.rebuilt and not self.state.problem and not self.state.lag():
                self._writing.submit(self._model.complete)
            self._writing.shutdown(wait=True)

    def _lost(self, error: Exception) -> None:
        reason = first_line(error)
        if reason != self.state.problem:
            logger.warning("there is no connection to Kafka: %s", reason)
        self.state.problem = reason

    async def _connected(self) -> None:
        options = _options(await live_options(self._settings))
        consumer = LongPollConsumer(**options, max_partition_fetch_bytes=_FETCH_BYTES)
        prover = AIOKafkaConsumer(**options, max_partition_fetch_bytes=1, fetch_max_wait_ms=_LOOK_UP_MS)
        try:
            await within(_START_TIMEOUT_S, asyncio.gather(consumer.start(), prover.start()))
            await self._assign(consumer, prover)
            tasks = [asyncio.create_task(self._read(consumer)), asyncio.create_task(self._probe(consumer, prover))]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    if task.cancelled():
                        raise ConnectionError("the connection to the brokers was lost")
                    task.result()
            except _OUTAGES as error:
                self._lost(error)  # first, because closing takes a while without a broker
                raise
            finally:
                await ended(tasks)
        finally:
            with contextlib.suppress(*_OUTAGES):
                await within(_STOP_TIMEOUT_S, asyncio.gather(consumer.stop(), prover.stop()))

    async def _assign(self, consumer: AIOKafkaConsumer, prover: AIOKafkaConsumer) -> None:
        """Assigns the existing partitions, each at its last position."""
        counts = await within(_START_TIMEOUT_S, partition_counts(consumer, self._feeds))
        self.state.missing = tuple(name for name, count in counts.items() if not count)
        tps = [TopicPartition(topic, number) for topic, count in counts.items() for number in range(count)]
        consumer.assign(tps)
        # If a topic has fewer partitions now, the rows of the lost ones must go. The rows of a missing topic are kept, marked stale,
        # because a broker that has just started may not know the topic yet.
        there = {self._place(tp) for tp in tps}
        lost = {place[0] for place in self.state.positions if place not in there}
        for feed in lost & {feed for feed, _ in there}:
            await self._start_over(consumer, feed)
        beginnings, ends = await self._bounds(consumer)
        for tp in tps:
            self.state.starts.setdefault(self._place(tp), beginnings[tp])
            consumer.seek(tp, self.state.positions.setdefault(self._place(tp), beginnings[tp]))
        await self._check(consumer, prover, beginnings, ends)
        self._answered(ends)

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        if not consumer.assignment():
            await asyncio.Event().wait()  # no topic yet; the probe notices when one appears
        while True:
            try:
                poll_ms = _LAGGING_POLL_MS if self.state.lag() else _POLL_MS
                fetched = await consumer.getmany(timeout_ms=poll_ms, max_records=_MAX_RECORDS)
            except OffsetOutOfRangeError:
                await self._check_bounds(consumer, *await self._bounds(consumer))
                continue
            for tp, records in fetched.items():
                self._identities.note(tp, records[-1])
            if fetched:
                await self._take([(self._feeds[tp.topic], records) for tp, records in fetched.items()])
            for tp in consumer.assignment():
                self.state.positions[self._place(tp)] = await consumer.position(tp)
            if not self._in_order and self.state.ends and not self.state.lag():
                await asyncio.get_running_loop().run_in_executor(self._writing, self._model.loaded)
                self._in_order = True
            self._note_caught_up()

    async def _take(self, batch: list[tuple[Feed, list[LogRecord]]]) -> None:
        loop = asyncio.get_running_loop()
        changes = await loop.run_in_executor(self._writing, self._model.apply, batch)
        for feed, records in batch:
            self.state.records[feed] += len(records)
            self.state.newest_ms = max(self.state.newest_ms, records[-1].timestamp)
        if self.state.rebuilt:
            self.changed(changes)

    async def _probe(self, consumer: AIOKafkaConsumer, prover: AIOKafkaConsumer) -> None:
        """Asks every second where the topics end, which also shows whether the brokers answer."""
        looked_s = proved_s = kept_s = time.monotonic()
        while True:
            await asyncio.sleep(_PROBE_INTERVAL_S)
            now_s = time.monotonic()
            if self.state.rebuilt and now_s - proved_s > _IDENTITY_INTERVAL_S:
                proved_s = now_s
                beginnings, ends = await self._bounds(consumer)
                self._answered(ends)
                await self._check(consumer, prover, beginnings, ends)
            else:
                # If records that are still to be read have been removed, the fetch reports it.
                ends = await self._ends(consumer)
                self._answered(ends)
                await self._check_bounds(consumer, {}, ends)
            if self.state.rebuilt and not self.state.lag() and now_s - kept_s > _KEEP_INTERVAL_S:
                kept_s = now_s
                await asyncio.get_running_loop().run_in_executor(self._writing, self._model.complete)
            if self.state.missing and now_s - looked_s > _MISSING_INTERVAL_S:
                looked_s = now_s
                counts = await within(_PROBE_TIMEOUT_S, partition_counts(consumer, self.state.missing))
                if any(counts.values()):
                    raise _StartAgainError

    async def _check(
        self,
        consumer: AIOKafkaConsumer,
        prover: AIOKafkaConsumer,
        beginnings: Mapping[TopicPartition, int],
        ends: Mapping[TopicPartition, int],
    ) -> None:
        """Starts over on topics that are no longer the ones that were read."""
        await self._check_bounds(consumer, beginnings, ends)
        for feed in {self._feeds[tp.topic] for tp in await self._identities.recreated(prover, ends)}:
            await self._start_over(consumer, feed)

    async def _ends(self, consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
        tps = list(consumer.assignment())
        if not tps:
            return (await self._bounds(consumer))[1]
        ends: dict[TopicPartition, int] = await within(_PROBE_TIMEOUT_S, consumer.end_offsets(tps))
        return ends

    async def _bounds(self, consumer: AIOKafkaConsumer) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
        tps = list(consumer.assignment())
        if not tps:
            await within(_PROBE_TIMEOUT_S, partition_counts(consumer, ()))  # does a broker answer?
            return {}, {}
        both = asyncio.gather(consumer.beginning_offsets(tps), consumer.end_offsets(tps))
        beginnings, ends = await within(_PROBE_TIMEOUT_S, both)
        return beginnings, ends

    async def _check_bounds(
        self, consumer: AIOKafkaConsumer, beginnings: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> None:
        """Starts over on a topic that ends before the read position; skips what retention has removed."""
        restarted = {self._feeds[tp.topic] for tp, end in ends.items() if end < self.state.positions[self._place(tp)]}
        for tp, beginning in beginnings.items():
            if self.state.positions[self._place(tp)] < beginning:
                self.state.positions[self._place(tp)] = beginning
                consumer.seek(tp, beginning)
        for feed in restarted:
            await self._start_over(consumer, feed)

    async def _start_over(self, consumer: AIOKafkaConsumer, feed: Feed) -> None:
        """Empties the tables of a feed whose topic was recreated, and reads it from the beginning."""
        logger.warning("the topic of the %s was recreated: reading it from the beginning", feed)
        await asyncio.get_running_loop().run_in_executor(self._writing, self._model.forget, feed)
        for places in (self.state.positions, self.state.starts, self.state.ends):
            for place in [place for place in places if place[0] is feed]:
                del places[place]
        tps = [tp for tp in consumer.assignment() if self._feeds[tp.topic] is feed]
        self._identities.forget(tps)
        for tp in tps:
            self.state.positions[self._place(tp)] = self.state.starts[self._place(tp)] = 0
        if tps:
            await consumer.seek_to_beginning(*tps)
            _, ends = await self._bounds(consumer)
            self.state.ends |= {self._place(tp): ends[tp] for tp in tps}
        # Until it has been read to its end, its tables are incomplete.
        if self.state.rebuilt:
            self.state.caught_up_s = None
            self.changed(None)

    def _answered(self, ends: Mapping[TopicPartition, int]) -> None:
        self.state.ends = {self._place(tp): end for tp, end in ends.items()}
        self.state.broker_seen_s = time.monotonic()
        if self.state.problem:
            if self.state.rebuilt:
                logger.warning("Kafka answers again")
            self.state.problem = ""
        self._note_caught_up()

    def _note_caught_up(self) -> None:
        if not self.state.ends or self.state.lag() or not self._in_order:
            return
        first = not self.state.rebuilt
        self.state.caught_up_s = time.monotonic()
        if first:
            self.changed(None)

    def _place(self, tp: TopicPartition) -> tuple[Feed, int]:
        return self._feeds[tp.topic], tp.partition
