"""The parts of a Kafka cluster that correctness depends on, in memory: logs, transactions, their coordinator, compaction.

Everything here happens at once and in one order, as in a replicated log. `client` simulates how long requests and answers
take and whether they arrive.
"""

from __future__ import annotations

import asyncio
import contextvars
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

from streams.kafka.log import Bounds, Partition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Set as AbstractSet
    from random import Random

    from schemas.topics import Catalogue
    from streams.kafka.outbox import Outgoing
    from tests.simulation.loop import Process, SimulatedLoop


Headers = Sequence[tuple[str, bytes | None]]


class FencedRequestError(Exception):
    """The producer's epoch is not the current one."""


class NotLeaderError(Exception):
    """The partition has no leader at the moment, or a different one."""


class Outcome(Enum):
    """How a transaction ends."""

    OPEN = "open"
    COMMITTED = "committed"
    ABORTED = "aborted"


class Transaction:
    """A transaction and where it has written."""

    __slots__ = ("epoch", "expiry", "meta", "outcome", "records", "transactional_id", "unmarked")

    def __init__(self, transactional_id: str, epoch: int) -> None:
        self.transactional_id = transactional_id
        self.epoch = epoch
        self.outcome = Outcome.OPEN
        self.unmarked: dict[Partition, int] = {}  # partition without marker yet → offset of its first record there
        self.records: list[Entry] = []
        self.meta: Any = None
        self.expiry: asyncio.Handle | None = None


class Entry:
    """A record or a transaction marker in a partition; has the attributes of a consumer's record."""

    __slots__ = (
        "appended_s",
        "headers",
        "is_marker",
        "key",
        "offset",
        "partition",
        "timestamp",
        "timestamp_type",
        "topic",
        "transaction",
        "value",
    )

    def __init__(  # noqa: PLR0917 - the fields of an entry
        self,
        tp: Partition,
        offset: int,
        timestamp: int,
        appended_s: float,
        transaction: Transaction | None,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        is_marker: bool,
    ) -> None:
        self.topic, self.partition = tp
        self.offset = offset
        self.timestamp = timestamp
        self.timestamp_type = 1
        self.appended_s = appended_s
        self.transaction = transaction
        self.key = key
        self.value = value
        self.headers = headers
        self.is_marker = is_marker

    @property
    def is_visible(self) -> bool:
        """Whether a reader of committed records sees it, once it is below the last stable offset."""
        return not self.is_marker and (self.transaction is None or self.transaction.outcome is Outcome.COMMITTED)

    @property
    def is_aborted(self) -> bool:
        """Whether no one will ever see it."""
        return self.transaction is not None and self.transaction.outcome is Outcome.ABORTED


class _PartitionLog:
    __slots__ = (
        "away_until_s",
        "behind_from",
        "behind_until_s",
        "compacted",
        "entries",
        "first",
        "kept_s",
        "leader",
        "next",
        "offsets",
        "open",
    )

    def __init__(self, *, compacted: bool, kept_s: float) -> None:
        self.compacted = compacted
        self.kept_s = kept_s
        self.entries: list[Entry] = []
        self.offsets: list[int] = []
        self.first = 0
        self.next = 0
        #: Transactions without a marker here → their first offset, in order of offsets.
        self.open: dict[Transaction, int] = {}
        #: The leading broker; until when there is none; until when a new leader shows only records before an offset.
        self.leader = 0
        self.away_until_s = 0.0
        self.behind_until_s = 0.0
        self.behind_from = 0

    @property
    def stable(self) -> int:
        """The last stable offset."""
        for first in self.open.values():
            return first
        return self.next


class _Coordinated:
    """State of one transactional id."""

    __slots__ = ("completed", "epoch", "last_outcome", "transaction")

    def __init__(self) -> None:
        self.epoch = -1
        self.transaction: Transaction | None = None
        self.completed = asyncio.Event()
        self.completed.set()
        self.last_outcome: Outcome | None = None


class Cluster:
    """The topics of one installation.

    Args:
        catalogue: Its topics.
        now_ms: The brokers' clock.
        dice: Decides how long markers take.
        loop: Its clock.
        protocol: Version of the transaction protocol. With version 2, each transaction has its own epoch.
    """

    def __init__(
        self, catalogue: Catalogue, now_ms: Callable[[], int], dice: Random, loop: SimulatedLoop, protocol: int
    ) -> None:
        self._protocol = protocol
        self._now_ms = now_ms
        self._dice = dice
        self._loop = loop
        self._own = contextvars.copy_context()  # what the brokers do continues when the client is dead
        self._logs: dict[Partition, _PartitionLog] = {}
        self._counts: dict[str, int] = {}
        #: How often each topic was made again.
        self._made_again: Counter[str] = Counter()
        self.add(catalogue)
        self._coordinated: dict[str, _Coordinated] = defaultdict(_Coordinated)
        self._waiters: dict[asyncio.Future[None], AbstractSet[Partition]] = {}
        #: Called with each transaction at the moment its commit is decided.
        self.on_commit: list[Callable[[Transaction], None]] = []
        self.transaction_timeout_s = 10.0
        #: The readers and their processes.
        self.readers: dict[object, Process] = {}
        self.compactions = 0

    def add(self, catalogue: Catalogue) -> None:
        """Creates missing topics."""
        for topic in catalogue.all():
            if topic.name in self._counts:
                continue
            self._counts[topic.name] = topic.partitions
            for number in range(topic.partitions):
                self._logs[Partition(topic.name, number)] = _PartitionLog(
                    compacted="compact" in topic.configs.get("cleanup.policy", ""),
                    kept_s=int(topic.configs.get("min.compaction.lag.ms", "0")) / 1000,
                )

    # Plain appends and reads ----------------------------------------------------------------------------------------

    def append(self, tp: Partition, key: bytes | None, value: bytes | None, headers: Headers) -> Entry:
        """Appends a record that belongs to no transaction."""
        log = self._logs[tp]
        entry = self._append(log, tp, None, key, value, headers)
        if not log.open:
            self._tell_readers(tp)
        return entry

    def _append(  # noqa: PLR0917 - the fields of an entry
        self,
        log: _PartitionLog,
        tp: Partition,
        transaction: Transaction | None,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        *,
        is_marker: bool = False,
    ) -> Entry:
        offset = log.next
        entry = Entry(tp, offset, self._now_ms(), self._loop.now_s, transaction, key, value, headers, is_marker)
        log.entries.append(entry)
        log.offsets.append(offset)
        log.next = offset + 1
        return entry

    def _tell_readers(self, tp: Partition) -> None:
        """Wakes the readers of a partition whose last stable offset has moved."""
        for waiter, wanted in self._waiters.items():
            if tp in wanted and not waiter.done():
                waiter.set_result(None)

    async def change(self, wanted: AbstractSet[Partition], timeout_s: float) -> None:
        """Waits, like a long poll, until more of one of the partitions can be read, at most `timeout_s`."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters[waiter] = wanted
        timer = self._loop.call_later(timeout_s, _wake, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiters.pop(waiter, None)

    def partition_count(self, topic: str) -> int:
        """Number of partitions, 0 for a topic that does not exist."""
        return self._counts.get(topic, 0)

    def topic_id(self, topic: str) -> str:
        """The id of a topic."""
        again = self._made_again[topic]
        return f"{topic} {again}" if again else topic

    def partitions(self) -> Iterable[Partition]:
        """All of them."""
        return self._logs

    def bounds(self, tp: Partition) -> Bounds:
        """First offset and last stable offset."""
        log = self._logs[tp]
        return Bounds(log.first, log.stable)

    def high_water(self, tp: Partition) -> int:
        """The next offset."""
        return self._logs[tp].next

    # Leaders --------------------------------------------------------------------------------------------------------

    def move(self, tp: Partition, *, away_s: float, behind_s: float) -> None:
        """Removes the leader of a partition; after a while another one takes over.

        The new one does not know yet that all replicas have the last records; until it does, it shows less than its predecessor.
        """
        log, now_s = self._logs[tp], self._loop.now_s
        log.leader += 1
        log.away_until_s = now_s + away_s
        log.behind_until_s = log.away_until_s + behind_s
        log.behind_from = next((entry.offset for entry in log.entries if entry.appended_s > now_s - 0.5), log.next)

    def leader(self, tp: Partition) -> int:
        """The broker that leads a partition, or is about to lead it."""
        return self._logs[tp].leader

    def answer(self, tp: Partition) -> tuple[float, int, int]:
        """Until when the partition has no leader, which broker leads it then, and its next offset as known to the leader."""
        log = self._logs[tp]
        if not log.behind_until_s:  # its first leader
            return 0.0, 0, log.next
        return log.away_until_s, log.leader, self._shown(log)

    def stands_at(self, tp: Partition, position: int) -> bool:
        """Whether a partition that has its first leader ends at a position."""
        log = self._logs[tp]
        return log.next == position and not log.behind_until_s

    def _shown(self, log: _PartitionLog) -> int:
        return log.next if self._loop.now_s >= log.behind_until_s else min(log.next, log.behind_from)

    async def led(self, partitions: Iterable[tuple[str, int]], *, caught_up: bool = False) -> None:
        """Waits until each partition has a leader, optionally one that knows what all followers have: clients retry."""
        logs_of: dict[Any, _PartitionLog] = self._logs
        logs = [logs_of[tp] for tp in partitions]
        while True:
            now_s = until_s = self._loop.now_s
            for log in logs:
                known_s = log.behind_until_s if caught_up else log.away_until_s
                until_s = max(until_s, known_s)
            if until_s <= now_s:
                return
            await self._loop.pause(until_s - now_s)

    def fetch(self, tp: Partition, offset: int, most: int) -> tuple[list[Entry], int]:
        """Committed records from an offset on, and the offset after the last entry examined.

        Args:
            tp: The partition.
            offset: Where to begin.
            most: Entries to examine, including markers and aborted records.
        """
        log = self._logs[tp]
        stable = min(log.stable, self._shown(log))
        index = bisect_left(log.offsets, max(offset, log.first))
        found: list[Entry] = []
        position = max(offset, log.first)
        looked_at = 0
        while index < len(log.entries) and looked_at < most:
            entry = log.entries[index]
            if entry.offset >= stable:
                break
            if entry.is_visible:
                found.append(entry)
            position = entry.offset + 1
            looked_at += 1
            index += 1
        else:
            if looked_at < most:
                position = max(position, stable)
        if index < len(log.entries) and log.entries[index].offset >= stable:
            position = max(position, stable)
        return found, position

    def entries(self, tp: Partition) -> list[Entry]:
        """Everything in a partition, for the checks."""
        return self._logs[tp].entries

    # Transactions ---------------------------------------------------------------------------------------------------

    def ends(self) -> Iterable[tuple[Partition, int]]:
        """All partitions with their last stable offsets."""
        return [(tp, log.stable) for tp, log in self._logs.items()]

    @property
    def is_at_rest(self) -> bool:
        """Whether each transaction has ended with all its markers, and each partition has a leader that shows everything."""
        now_s = self._loop.now_s
        return not any(log.open or log.behind_until_s > now_s for log in self._logs.values())

    def open_transactions(self) -> list[Transaction]:
        """The transactions that are open."""
        return [
            state.transaction
            for state in self._coordinated.values()
            if state.transaction is not None and state.transaction.outcome is Outcome.OPEN
        ]

    async def init(self, transactional_id: str) -> int:
        """Returns the next epoch, after aborting an open transaction."""
        state = self._coordinated[transactional_id]
        while True:
            if state.transaction is not None and state.transaction.outcome is Outcome.OPEN:
                state.epoch += 1  # the previous writer is fenced from here on
                self._decide(state, Outcome.ABORTED)
            if state.completed.is_set():
                state.epoch += 1
                state.last_outcome = None
                return state.epoch
            await state.completed.wait()

    async def may_begin(self, transactional_id: str) -> None:
        """Waits until the markers of the previous transaction are written."""
        await self._coordinated[transactional_id].completed.wait()

    def produce(self, transactional_id: str, epoch: int, records: Sequence[Outgoing], meta: Any = None) -> Transaction:
        """Appends records to the open transaction, or to a new one.

        Raises:
            FencedRequestError: Another epoch is current.
        """
        state = self._coordinated[transactional_id]
        if epoch != state.epoch:
            raise FencedRequestError
        now_s, now_ms = self._loop.now_s, self._now_ms()
        # Records of the same partition are mostly consecutive.
        logs: dict[tuple[str, int], tuple[Partition, _PartitionLog]] = {}
        for record in records:
            place = record.topic, record.partition
            if place not in logs:
                tp = Partition(*place)
                log = self._logs[tp]
                if log.away_until_s > now_s:
                    raise NotLeaderError
                logs[place] = tp, log
        transaction = state.transaction
        if transaction is None or transaction.outcome is not Outcome.OPEN:
            assert state.completed.is_set(), "a producer began before its last transaction was complete"
            transaction = state.transaction = Transaction(transactional_id, epoch)
            transaction.expiry = self._loop.call_later(
                self.transaction_timeout_s, self._expire, transactional_id, transaction, context=self._own
            )
        transaction.meta = meta
        for tp, log in logs.values():
            if transaction not in log.open:
                transaction.unmarked[tp] = log.open[transaction] = log.next
        add = transaction.records.append
        for record in records:
            tp, log = logs[record.topic, record.partition]
            offset = log.next
            entry = Entry(tp, offset, now_ms, now_s, transaction, record.key, record.value, record.headers, False)
            log.entries.append(entry)
            log.offsets.append(offset)
            log.next = offset + 1
            add(entry)
        return transaction

    def end(self, transactional_id: str, epoch: int, *, commit: bool) -> int:
        """Ends the open transaction. Returns the epoch of the next one.

        Raises:
            FencedRequestError: Another epoch is current.
        """
        state = self._coordinated[transactional_id]
        if epoch != state.epoch:
            raise FencedRequestError
        if state.transaction is None or state.transaction.outcome is not Outcome.OPEN:
            return epoch  # asked again
        if self._protocol >= 2:
            state.epoch += 1
        self._decide(state, Outcome.COMMITTED if commit else Outcome.ABORTED)
        return state.epoch

    def _expire(self, transactional_id: str, transaction: Transaction) -> None:
        state = self._coordinated[transactional_id]
        if state.transaction is transaction and transaction.outcome is Outcome.OPEN:
            state.epoch += 1
            self._decide(state, Outcome.ABORTED)

    def _decide(self, state: _Coordinated, outcome: Outcome) -> None:
        transaction = state.transaction
        assert transaction is not None
        transaction.outcome = state.last_outcome = outcome
        if transaction.expiry is not None:
            transaction.expiry.cancel()
        if outcome is Outcome.COMMITTED:
            for heard in self.on_commit:
                heard(transaction)
        transaction.records = []  # they know it, and both would wait for the collector
        state.completed.clear()
        if not transaction.unmarked:
            state.completed.set()
        slow = self._dice.random() < 0.05
        for tp in list(transaction.unmarked):
            delay_s = self._dice.uniform(0.0, 1.5 if slow else 0.004)
            self._loop.call_later(delay_s, self._mark, state, transaction, tp, context=self._own)

    def _mark(self, state: _Coordinated, transaction: Transaction, tp: Partition) -> None:
        log = self._logs[tp]
        if log.away_until_s > self._loop.now_s:
            self._loop.call_at(log.away_until_s, self._mark, state, transaction, tp, context=self._own)
            return
        del transaction.unmarked[tp]
        if transaction in log.open:  # otherwise the topic has been deleted meanwhile
            is_first = next(iter(log.open)) is transaction
            del log.open[transaction]
            self._append(log, tp, transaction, None, None, (), is_marker=True)
            if is_first:
                self._tell_readers(tp)
        if not transaction.unmarked:
            state.completed.set()

    # Cleaning -------------------------------------------------------------------------------------------------------

    def compact(self, tp: Partition) -> None:
        """Removes records replaced by a later committed one with the same key, and old tombstones if no one is reading.

        The age of a record is by the loop's clock, since the machines' clock jumps.
        """
        log = self._logs[tp]
        if not log.compacted:
            return
        stable = log.stable
        is_read = any(process.alive for process in self.readers.values())
        latest: dict[bytes | None, int] = {}
        for entry in log.entries:
            if entry.offset < stable and entry.is_visible:
                latest[entry.key] = entry.offset
        kept = []
        for entry in log.entries:
            last = entry.offset >= log.next - 1
            if entry.offset >= stable or last or entry.appended_s > self._loop.now_s - log.kept_s:
                kept.append(entry)
            elif entry.is_marker or entry.is_aborted:
                continue
            elif latest[entry.key] == entry.offset and not (entry.value is None and not is_read):
                kept.append(entry)
        if len(kept) < len(log.entries):
            self.compactions += 1
            log.entries = kept
            log.offsets = [entry.offset for entry in kept]

    def drop(self, tp: Partition, is_meant: Callable[[bytes], bool]) -> None:
        """Removes all records with some keys, as if they had never existed, and this was another topic."""
        self._made_again[tp.topic] += 1
        log = self._logs[tp]
        log.entries = [entry for entry in log.entries if entry.is_marker or not is_meant(entry.key or b"")]
        log.offsets = [entry.offset for entry in log.entries]

    def resize(self, topic: str, partitions: int) -> None:
        """Changes the number of partitions of an empty topic."""
        for number in range(partitions, self._counts[topic]):
            del self._logs[Partition(topic, number)]
        self.grow(topic, partitions)
        self._counts[topic] = partitions

    def trim(self, tp: Partition, first: int) -> None:
        """Retention removes everything before an offset, at most up to the last stable one."""
        log = self._logs[tp]
        log.first = max(log.first, min(first, log.stable))

    def grow(self, topic: str, partitions: int) -> None:
        """Adds partitions to a topic."""
        before = self._logs[Partition(topic, 0)]
        for number in range(self._counts[topic], partitions):
            self._logs[Partition(topic, number)] = _PartitionLog(compacted=before.compacted, kept_s=before.kept_s)
        self._counts[topic] = max(self._counts[topic], partitions)

    def delete(self, topic: str) -> None:
        """Deletes a topic and creates it again, empty."""
        self._made_again[topic] += 1
        for number in range(self._counts[topic]):
            old = self._logs[Partition(topic, number)]
            self._logs[Partition(topic, number)] = _PartitionLog(compacted=old.compacted, kept_s=old.kept_s)

    def take_apart(self) -> None:
        """Separates records from their transactions, which would otherwise wait for the collector."""
        for log in self._logs.values():
            for entry in log.entries:
                entry.transaction = None
        self.on_commit.clear()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
