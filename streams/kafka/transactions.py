"""One Kafka transaction per commit, by a producer that never guesses the outcome.

Clients usually repeat EndTxn when its answer is lost. With the first version of the transaction protocol, the delayed first request
can then end the *next* transaction, half-written (KAFKA-17754). So EndTxn is sent once here. A lost answer is an error, after
which the caller drops its state and reads the outcome from the log.

A transaction is known completely before it begins, so it needs no background sender, which would be most of its cost: its
batches go out in one request per broker, and with the second version of the protocol its end is the only other request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.errors import (
    ConcurrentTransactions,
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    DuplicateSequenceNumber,
    IncompatibleBrokerVersion,
    InvalidProducerEpoch,
    InvalidTransactionTimeout,
    KafkaError,
    MessageSizeTooLargeError,
    NoError,
    NotCoordinatorError,
    OperationNotAttempted,
    ProducerFenced,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from streams.errors import ExpectedError
from streams.kafka.client_options import client_options
from streams.kafka.outbox import Outbox, Outgoing, OutgoingRun
from streams.kafka.pacing import pause
from streams.kafka.permissions import denial
from streams.kafka.transaction_requests import CommitRequest, ImplicitProduceRequest, transaction_version

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from streams.settings import Settings

_BATCH_BYTES: Final = 512 * 1024
_STOP_TIMEOUT_S: Final = 2.0
_BACKOFF_S: Final = 0.005
#: Retry interval while the broker writes the markers of the previous transaction.
_CONCURRENT_BACKOFF_S: Final = 0.003
_ALL_REPLICAS: Final = -1
#: Records to add to batches between two pauses; a few tenths of a millisecond.
_AT_ONCE: Final = 200
_MAGIC: Final = 2
_LAST_SEQUENCE: Final = 2**31 - 1
#: An error code that aiokafka does not know.
_PRODUCER_FENCED: Final = 90
#: Answers of a coordinator that has not done it yet, and of one that is no longer the coordinator.
_NOT_YET: Final = (CoordinatorLoadInProgressError, ConcurrentTransactions)
_ELSEWHERE: Final = (CoordinatorNotAvailableError, NotCoordinatorError)


def quiet_abandoned_futures() -> None:
    """Keeps asyncio from reporting the futures of failed transactions, whose error `commit` has already raised."""
    logging.getLogger("asyncio").addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, KafkaError) and "never retrieved" in record.getMessage())


class InDoubtError(Exception):
    """A transaction may or may not have been committed; only the log can tell."""


class FencedError(InDoubtError):
    """Another owner has taken over this transactional id."""


class _Batch:
    """Records of one partition that are sent together."""

    __slots__ = ("_append", "_builder", "count", "first")

    def __init__(self, producer_id: int, producer_epoch: int, first: int) -> None:
        """Begins a batch whose first record has the sequence number `first`."""
        self.first = first
        self.count = 0
        # aiokafka uses lz4 at level 9, which costs ten times as much as snappy for the same size.
        self._builder = DefaultRecordBatchBuilder(
            _MAGIC, DefaultRecordBatch.CODEC_SNAPPY, 1, producer_id, producer_epoch, first, _BATCH_BYTES
        )
        self._append = self._builder.append

    def append(self, record: Outgoing) -> bool:
        """Adds a record; false if there is no room for it."""
        _, _, key, value, headers = record
        if self._append(self.count, None, key, value, list(headers)) is None:
            return False
        self.count += 1
        return True

    def extend(self, records: Sequence[tuple[bytes | None, bytes | None]]) -> int:
        """Adds records, given their keys and values, as long as there is room. Returns how many it has added."""
        append, added = self._append, 0
        none: list[tuple[str, bytes | None]] = []
        for key, value in records:
            if append(self.count + added, None, key, value, none) is None:
                break
            added += 1
        self.count += added
        return added

    @property
    def next(self) -> int:
        """The sequence number after that of its last record."""
        return (self.first + self.count) & _LAST_SEQUENCE

    def build(self) -> bytes:
        """Its bytes; to be called only once."""
        return bytes(self._builder.build())


def _too_large(place: tuple[str, int]) -> ValueError:
    return ValueError("a record for {}-{} does not fit a batch".format(*place))


class TransactionalWriter:
    """Writes transactions under one transactional id; starting it fences the previous writer.

    Args:
        settings: The settings of the cluster.
        transactional_id: The id.
        newest: The newest version of the transaction protocol to use.
    """

    def __init__(self, settings: Settings, transactional_id: str, *, newest: int = 2) -> None:
        self._timeout_s = settings.transaction_timeout_s
        self._timeout_ms = int(settings.transaction_timeout_s * 1000)
        self._id = transactional_id
        self._newest = newest
        self._client = AIOKafkaClient(
            **client_options(settings),
            client_id=transactional_id,
            request_timeout_ms=self._timeout_ms,
            retry_backoff_ms=int(_BACKOFF_S * 1000),
        )
        self._coordinator: int | None = None
        self._version = 0
        self._producer_id = self._producer_epoch = -1
        #: Partition → its next sequence number in this epoch.
        self._sequences: dict[tuple[str, int], int] = {}
        self._is_usable = False

    async def start(self) -> None:
        """Takes over the transactional id, which aborts its former owner's open transaction.

        Raises:
            RefusedError: This user may not use the id.
            ExpectedError: The brokers do not allow transactions to take as long as the settings say.
            KafkaError: The brokers do not answer, or refuse for another reason.
        """
        try:
            await self._client.bootstrap()
            await self._take_over()
        except InvalidTransactionTimeout:
            raise ExpectedError(
                f"transaction_timeout_s is {self._timeout_s:g}, and the brokers allow less: set it to at most their "
                "transaction.max.timeout.ms, or raise that"
            ) from None
        except KafkaError as error:
            raise denial(error) or error from None

    async def _take_over(self) -> None:
        while True:
            try:
                node_id = await self._find_coordinator()
                self._version = min(await transaction_version(self._client, node_id), self._newest)
                request = InitProducerIdRequest(self._id, self._timeout_ms)
                answer: Any = await self._client.send(node_id, request, group=ConnectionGroup.COORDINATION)
            except KafkaError as error:
                if not error.retriable or isinstance(error, IncompatibleBrokerVersion):
                    raise
                await self._look_again()
                continue
            if not answer.error_code:
                break
            await self._wait_or_raise(answer.error_code)
        self._producer_id, self._producer_epoch = answer.producer_id, answer.producer_epoch
        self._is_usable = True

    async def commit(self, records: Collection[Outgoing]) -> None:
        """Writes all records or none.

        Raises:
            FencedError: Another owner has taken over.
            RefusedError: This user is not allowed to write.
            ExpectedError: A topic accepts only smaller batches.
            InDoubtError: Anything else went wrong; it is not known whether the records are committed.
        """
        if not self._is_usable:
            raise InDoubtError("the producer is not started, or a transaction of it has failed")
        self._is_usable = False
        try:
            async with asyncio.timeout(self._timeout_s):
                queues = await self._batches(records)
                if not queues:
                    self._is_usable = True
                    return
                await self._write(queues)
                await self._end_once()
        except (ProducerFenced, InvalidProducerEpoch) as error:
            raise FencedError("another producer has the transactional id") from error
        except (KafkaError, OSError, TimeoutError) as error:
            refusal = denial(error)
            if refusal is not None:
                raise refusal from error
            raise InDoubtError(f"{type(error).__name__}: {error}") from error
        self._is_usable = True

    async def _batches(self, records: Collection[Outgoing]) -> dict[TopicPartition, list[_Batch]]:
        """The records in batches by partition; sending them one by one costs ten times as much."""
        queues: dict[tuple[str, int], list[_Batch]] = {}
        for number, part in enumerate(records.parts if isinstance(records, Outbox) else records, 1):
            place = part[:2]
            queue = queues.get(place)
            if queue is None:
                queue = queues[place] = [self._new_batch(self._sequences.get(place, 0))]
            if isinstance(part, OutgoingRun):
                for first in range(0, len(part.records), _AT_ONCE):
                    self._add_run(queue, part.records[first : first + _AT_ONCE], place)
                    await pause()
            elif not queue[-1].append(part):
                queue.append(self._new_batch(queue[-1].next))
                if not queue[-1].append(part):
                    raise _too_large(place)
            if number % _AT_ONCE == 0:
                await pause()
        for place, queue in queues.items():
            self._sequences[place] = queue[-1].next
        return {TopicPartition(*place): queue for place, queue in queues.items()}

    def _add_run(
        self, queue: list[_Batch], records: Sequence[tuple[bytes | None, bytes | None]], place: tuple[str, int]
    ) -> None:
        while records := records[queue[-1].extend(records) :]:
            if not queue[-1].count:
                raise _too_large(place)
            queue.append(self._new_batch(queue[-1].next))

    def _new_batch(self, first: int) -> _Batch:
        return _Batch(self._producer_id, self._producer_epoch, first)

    async def _write(self, queues: Mapping[TopicPartition, Sequence[_Batch]]) -> None:
        for topic in {tp.topic for tp in queues}:
            # The client has no metadata of a topic that it was not asked about.
            await self._client._wait_on_metadata(topic)  # noqa: SLF001 - the public way asks one partition at a time
        if self._version < 2:
            await self._add_partitions(queues)
        # A request can hold only one batch per partition.
        for batches in zip_longest(*queues.values()):
            waiting = {tp: batch.build() for tp, batch in zip(queues, batches, strict=True) if batch is not None}
            while waiting:
                waiting = await self._append(waiting)

    async def _append(self, batches: Mapping[TopicPartition, bytes]) -> dict[TopicPartition, bytes]:
        """Sends each batch to its leader, all at once. Returns those to resend, which is safe: sequence numbers identify them."""
        by_leader: dict[int, dict[str, dict[int, bytes]]] = defaultdict(lambda: defaultdict(dict))
        for tp, batch in batches.items():
            leader = self._client.cluster.leader_for_partition(tp)
            if leader is None or leader < 0:
                await self._look_again()
                return {**batches}
            by_leader[leader][tp.topic][tp.partition] = batch
        answers = await asyncio.gather(
            *(self._client.send(leader, self._produce_request(topics)) for leader, topics in by_leader.items()),
            return_exceptions=True,
        )
        again: dict[TopicPartition, bytes] = {}
        errors: list[KafkaError] = []
        for topics, answer in zip(by_leader.values(), answers, strict=True):
            if isinstance(answer, BaseException):
                if not isinstance(answer, KafkaError) or not answer.retriable:
                    raise answer
                errors.append(answer)
                again.update(
                    (TopicPartition(name, number), topics[name][number]) for name in topics for number in topics[name]
                )
                continue
            for topic, partitions in ((found[0], found[1]) for found in answer.topics):
                for number, code, *_ in partitions:
                    error = self._produce_error(topic, code)
                    if error is not None:
                        errors.append(error)
                        again[TopicPartition(topic, number)] = topics[topic][number]
        if again:
            await self._wait_for(errors)
        return again

    def _produce_error(self, topic: str, code: int) -> KafkaError | None:
        """The leader's error if the batch is to be resent; `None` if it was appended.

        Raises:
            ExpectedError: The topic accepts only smaller batches.
            KafkaError: The leader will not accept the batch.
        """
        error = for_code(code)
        if error is NoError or error is DuplicateSequenceNumber:
            return None
        if error is ConcurrentTransactions or error.retriable:
            return error()
        if error is MessageSizeTooLargeError:
            raise ExpectedError(
                f"{topic} takes no batch as large as this service writes: its max.message.bytes is lower than milestones "
                "topics plan wants it; run milestones topics apply",
                exit_code=3,
            )
        if error is TopicAuthorizationFailedError:
            raise error(topic)
        raise self._refusal(code)

    def _produce_request(self, topics: Mapping[str, Mapping[int, bytes]]) -> Any:
        if self._version >= 2:
            return ImplicitProduceRequest(self._id, self._timeout_ms, topics)
        listed = [(topic, list(batches.items())) for topic, batches in topics.items()]
        return ProduceRequest(self._id, _ALL_REPLICAS, self._timeout_ms, listed)

    async def _wait_for(self, errors: Sequence[KafkaError]) -> None:
        if all(isinstance(error, ConcurrentTransactions) for error in errors):
            await asyncio.sleep(_CONCURRENT_BACKOFF_S)
        elif any(error.invalid_metadata for error in errors):
            await self._look_again()
        else:
            await asyncio.sleep(_BACKOFF_S)

    async def _add_partitions(self, partitions: Mapping[TopicPartition, object]) -> None:
        """Adds the partitions to the transaction, as the first version of the protocol requires."""
        topics: dict[str, list[int]] = defaultdict(list)
        for tp in partitions:
            topics[tp.topic].append(tp.partition)
        while True:
            request = AddPartitionsToTxnRequest(self._id, self._producer_id, self._producer_epoch, list(topics.items()))
            try:
                answer: Any = await self._client.send(
                    await self._find_coordinator(), request, group=ConnectionGroup.COORDINATION
                )
            except KafkaError as error:
                if not error.retriable:
                    raise
                await self._look_again()
                continue
            codes = {(topic, code) for topic, found in answer.errors for _, code in found if code}
            refused = {topic for topic, code in codes if code == TopicAuthorizationFailedError.errno}
            if refused:
                raise TopicAuthorizationFailedError(refused)
            # If one partition is refused, the others are not attempted.
            causes = {code for _, code in codes} - {OperationNotAttempted.errno}
            if not codes:
                return
            await self._wait_or_raise(min(causes, default=OperationNotAttempted.errno))

    async def _end_once(self) -> None:
        """Ends the transaction with a single request; fails if there is no answer."""
        while True:
            node_id = await self._find_coordinator()
            producer = self._id, self._producer_id, self._producer_epoch
            request: Any = CommitRequest(*producer) if self._version >= 2 else EndTxnRequest(*producer, True)  # noqa: FBT003 - to commit
            try:
                answer: Any = await self._client.send(node_id, request, group=ConnectionGroup.COORDINATION)
            except KafkaError as error:
                raise KafkaError(f"no answer to EndTxn: {error!r}") from error
            if not answer.error_code:
                break
            # After a refusal (another coordinator, still loading) the outcome is certain, so asking again is safe.
            await self._wait_or_raise(answer.error_code)
        if self._version >= 2:
            # The next transaction has its own epoch, in which sequence numbers start at 0 again.
            self._producer_id, self._producer_epoch = answer.producer_id, answer.producer_epoch
            self._sequences.clear()

    async def _find_coordinator(self) -> int:
        while self._coordinator is None:
            try:
                found = await self._client.coordinator_lookup(CoordinationType.TRANSACTION, self._id)
            except TransactionalIdAuthorizationFailed:
                raise TransactionalIdAuthorizationFailed(self._id) from None
            except KafkaError as error:
                if not error.retriable:
                    raise
                await self._look_again()
                continue
            if await self._client.ready(found, group=ConnectionGroup.COORDINATION):
                self._coordinator = found
            else:
                await asyncio.sleep(_BACKOFF_S)
        return self._coordinator

    async def _wait_or_raise(self, code: int) -> None:
        """Waits if the coordinator's error allows asking again, else raises."""
        error = for_code(code)
        if error in _NOT_YET:
            await asyncio.sleep(_CONCURRENT_BACKOFF_S)
        elif error in _ELSEWHERE or error is UnknownTopicOrPartitionError:
            await self._look_again()
        else:
            raise self._refusal(code)

    def _refusal(self, code: int) -> KafkaError:
        error = for_code(code)
        if error is InvalidProducerEpoch or code == _PRODUCER_FENCED:
            return ProducerFenced()
        if error is TransactionalIdAuthorizationFailed:
            return error(self._id)
        return error(f"error {code}")

    async def _look_again(self) -> None:
        """Makes the client look up leaders and the coordinator again, after a short pause."""
        self._coordinator = None
        await self._client.force_metadata_update()
        await asyncio.sleep(_BACKOFF_S)

    async def stop(self) -> None:
        """Closes the connections within a few seconds, whatever their state."""
        self._is_usable = False
        with contextlib.suppress(KafkaError, OSError, TimeoutError):
            await asyncio.wait_for(self._client.close(), _STOP_TIMEOUT_S)
