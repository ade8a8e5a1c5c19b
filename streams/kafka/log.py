"""The log as the states see it: committed records to read, transactions to write.

States access Kafka only through `Log`. `KafkaLog` is a real cluster; the tests have a simulated one.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple, Protocol

from aiokafka import TopicPartition

from streams.errors import ExpectedError
from streams.kafka.clients import cluster_id, meet, partition_counts, read_one, read_to_end, reader
from streams.kafka.topic_ids import topic_ids
from streams.kafka.transactions import TransactionalWriter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from aiokafka import AIOKafkaConsumer

    from streams.kafka.outbox import Outgoing
    from streams.kafka.records import LogRecord
    from streams.settings import Settings


class Partition(NamedTuple):
    """A topic and the number of a partition; compares equal to Faust's and aiokafka's tuples."""

    topic: str
    partition: int


class Bounds(NamedTuple):
    """The first offset of a partition, and the next one to be written."""

    first: int
    end: int


class LogReader(Protocol):
    """Reads committed records, without a group."""

    def read(
        self,
        partitions: Iterable[tuple[str, int]],
        *,
        since: Mapping[tuple[str, int], int] | None = None,
        complete: bool = False,
    ) -> AsyncIterator[Sequence[LogRecord]]:
        """The committed records of the partitions, at least up to their ends at the start.

        Args:
            partitions: Topics and numbers.
            since: Partition → offset to start at; by default the first.
            complete: Wait for open transactions to end, which hide what others have committed after their first record. For
                partitions with several writers, where no committed record may be missed.
        """

    async def position(self, partition: tuple[str, int]) -> int:
        """The offset after what the last `read` of this partition has seen."""

    async def bounds(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Bounds]:
        """Bounds of each partition; the end is that of a read_committed consumer."""

    async def record_at(self, partition: tuple[str, int], offset: int) -> LogRecord | None:
        """The committed record at an offset below the end; `None` if there is none."""

    async def partition_counts(self, topics: Iterable[str]) -> dict[str, int]:
        """Number of partitions of each topic; 0 if there is no such topic."""

    async def cluster_id(self) -> str:
        """Id of the cluster; empty if it has none."""

    async def topic_ids(self, topics: Iterable[str]) -> dict[str, str]:
        """The id of each topic, which changes if the topic is recreated; topics without an id are left out."""


class LogWriter(Protocol):
    """Writes transactions under one transactional id."""

    async def start(self) -> None:
        """Takes over the id: fences its former owner and aborts the transaction it left open."""

    async def commit(self, records: Collection[Outgoing]) -> None:
        """Writes all records or none.

        Raises:
            FencedError: Another owner has taken over.
            InDoubtError: It is not known whether the records are committed.
        """

    async def stop(self) -> None:
        """Closes the writer; idempotent. An open transaction is left for the next owner to abort."""


class Log(Protocol):
    """Access to a cluster."""

    def reader(self) -> AbstractAsyncContextManager[LogReader]:
        """A reader for a while.

        Raises:
            ExpectedError: The cluster is unreachable or refuses, exit code 3.
        """

    def writer(self, transactional_id: str) -> LogWriter:
        """A writer that is not started."""


def require_topics(counts: Mapping[str, int]) -> None:
    """Raises if a topic does not exist.

    Args:
        counts: From `LogReader.partition_counts`.

    Raises:
        ExpectedError: One does not exist, exit code 3.
    """
    for name, partitions in counts.items():
        if not partitions:
            raise ExpectedError(f"{name} does not exist: run milestones topics apply", exit_code=3)


class KafkaLog:
    """The cluster that the settings name.

    Args:
        settings: Of the cluster.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @contextlib.asynccontextmanager
    async def reader(self) -> AsyncIterator[LogReader]:
        """A reader for a while."""
        async with reader(self._settings) as consumer:
            yield _KafkaReader(self._settings, consumer)

    def writer(self, transactional_id: str) -> LogWriter:
        """A writer that is not started."""
        return TransactionalWriter(self._settings, transactional_id)


class _KafkaReader:
    def __init__(self, settings: Settings, consumer: AIOKafkaConsumer) -> None:
        self._settings = settings
        self._consumer = consumer

    def read(
        self,
        partitions: Iterable[tuple[str, int]],
        *,
        since: Mapping[tuple[str, int], int] | None = None,
        complete: bool = False,
    ) -> AsyncIterator[Sequence[LogRecord]]:
        return read_to_end(self._settings, partitions, consumer=self._consumer, since=since, complete=complete)

    async def position(self, partition: tuple[str, int]) -> int:
        return int(await self._consumer.position(TopicPartition(*partition)))

    async def bounds(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Bounds]:
        tps = [TopicPartition(*partition) for partition in partitions]
        await meet(self._consumer, {tp.topic for tp in tps})
        firsts = await self._consumer.beginning_offsets(tps)
        ends = await self._consumer.end_offsets(tps)
        return {(tp.topic, tp.partition): Bounds(firsts[tp], ends[tp]) for tp in tps}

    async def record_at(self, partition: tuple[str, int], offset: int) -> LogRecord | None:
        return await read_one(self._settings, self._consumer, TopicPartition(*partition), offset)

    async def partition_counts(self, topics: Iterable[str]) -> dict[str, int]:
        return await partition_counts(self._consumer, topics)

    async def cluster_id(self) -> str:
        return await cluster_id(self._consumer)

    async def topic_ids(self, topics: Iterable[str]) -> dict[str, str]:
        return await topic_ids(self._consumer._client, topics)  # noqa: SLF001 - aiokafka has no request for it
