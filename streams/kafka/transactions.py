"""One Kafka transaction per commit, by a producer that never guesses the outcome.

aiokafka repeats EndTxn when its answer is lost. With the first version of the transaction protocol, the delayed first request
can then end the *next* transaction, half-written (KAFKA-17754). So EndTxn is sent once here. A lost answer is an error, after
which the caller drops its state and reads the outcome from the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.client import CoordinationType
from aiokafka.errors import (
    IllegalOperation,
    InvalidProducerEpoch,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFenced,
)
from aiokafka.producer.sender import AddPartitionsToTxnHandler, EndTxnHandler, Sender

from streams.errors import ExpectedError
from streams.kafka.clients import client_options
from streams.kafka.pacing import paced
from streams.kafka.permissions import denial
from streams.kafka.records import append_to

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.kafka.records import BatchBuilder
    from streams.settings import Settings

_MAX_REQUEST_BYTES = 16 << 20
_BATCH_BYTES = 512 * 1024
_STOP_TIMEOUT_S = 2.0
_ADD_BACKOFF_S = 0.003


def quiet_abandoned_futures() -> None:
    """Keeps asyncio from reporting the futures of failed transactions, whose error `commit` has already raised."""
    logging.getLogger("asyncio").addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, KafkaError) and "never retrieved" in record.getMessage())


class InDoubtError(Exception):
    """A transaction may or may not have been committed; only the log tells."""


class FencedError(InDoubtError):
    """Another owner has taken over this transactional id."""


class Outgoing(NamedTuple):
    """A record of a transaction."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


class _EndOnce(EndTxnHandler):
    """Ends the transaction with a single request; fails if there is no answer."""

    async def do(self, node_id: int) -> bool:
        try:
            response = await self._sender.client.send(node_id, self.create_request(), group=self.group)
        except KafkaError as error:
            raise KafkaError(f"no answer to EndTxn: {error!r}") from error
        # After a refusal (another coordinator, still loading) the outcome is certain, so asking again is safe.
        backoff_s = self.handle_response(response)
        if backoff_s is None:
            return True
        await asyncio.sleep(backoff_s)
        return False


class _AddSoon(AddPartitionsToTxnHandler):
    """Asks again after 3 ms, not 20, while the broker writes the markers of the previous transaction."""

    def handle_response(self, response: Any) -> float | None:
        backoff_s: float | None = super().handle_response(response)
        return None if backoff_s is None else min(backoff_s, _ADD_BACKOFF_S)


class _EndOnceSender(Sender):
    async def _do_add_partitions_to_txn(self, tps: Any) -> Any:
        node_id = await self._find_coordinator(CoordinationType.TRANSACTION, self._txn_manager.transactional_id)
        return await _AddSoon(self, tps).do(node_id)

    async def _do_txn_commit(self, commit_result: Any) -> None:
        await self._message_accumulator.flush_for_commit()
        manager = self._txn_manager
        if manager.is_empty_transaction():
            manager.complete_transaction()
            return
        node_id = await self._find_coordinator(CoordinationType.TRANSACTION, manager.transactional_id)
        await _EndOnce(self, commit_result).do(node_id)


class _Producer(AIOKafkaProducer):
    def __init__(self, *, retry_backoff_ms: int, request_timeout_ms: int, **options: Any) -> None:
        super().__init__(retry_backoff_ms=retry_backoff_ms, request_timeout_ms=request_timeout_ms, **options)
        self._sender = _EndOnceSender(
            self.client,
            acks=-1,
            txn_manager=self._txn_manager,
            retry_backoff_ms=retry_backoff_ms,
            message_accumulator=self._message_accumulator,
            request_timeout_ms=request_timeout_ms,
        )

    def failure(self) -> BaseException | None:
        """What ended the sender, if anything has."""
        task = self._sender.sender_task
        return task.exception() if task is not None and task.done() and not task.cancelled() else None

    def transaction_failure(self) -> BaseException | None:
        """Why the running transaction can only be aborted, if that is so."""
        end = self.transaction_end()
        return end.exception() if end.done() and not end.cancelled() else None

    def transaction_end(self) -> asyncio.Future[None]:
        """Done when the running transaction has ended, or failed."""
        end: asyncio.Future[None] = self._txn_manager.wait_for_transaction_end()
        return end


class TransactionalWriter:
    """Writes transactions under one transactional id; starting it fences the previous writer."""

    def __init__(self, settings: Settings, transactional_id: str) -> None:
        self._timeout_s = settings.transaction_timeout_s
        self._producer = _Producer(
            **client_options(settings),
            transactional_id=transactional_id,
            transaction_timeout_ms=int(settings.transaction_timeout_s * 1000),
            # aiokafka compresses with lz4 at level 9, which costs ten times as much for the same size as snappy.
            compression_type="snappy",
            max_batch_size=_BATCH_BYTES,
            max_request_size=_MAX_REQUEST_BYTES,
            request_timeout_ms=int(settings.transaction_timeout_s * 1000),
            retry_backoff_ms=5,
        )

    async def start(self) -> None:
        """Takes the transactional id over, which aborts its former owner's open transaction.

        Raises:
            RefusedError: This user may not write under the id.
            KafkaError: The brokers do not answer, or refuse for another reason.
        """
        try:
            await self._producer.start()
        except KafkaError as error:
            raise denial(error) or error from None

    async def commit(self, records: Sequence[Outgoing]) -> None:
        """Writes all records or none.

        Raises:
            FencedError: Another owner has taken over.
            RefusedError: This user is not allowed to.
            ExpectedError: A topic takes only smaller batches.
            InDoubtError: Anything else went wrong; it is not known whether the records are committed.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._write(records)
        except (KafkaError, OSError, TimeoutError, AssertionError, IllegalOperation) as error:
            # aiokafka raises many errors when a transaction has failed; its sender knows the first cause.
            cause = self._producer.failure() or error
            if isinstance(cause, (ProducerFenced, InvalidProducerEpoch)):
                raise FencedError("another producer has the transactional id") from error
            refusal = denial(cause) or denial(self._producer.transaction_failure())
            if refusal is not None:
                raise refusal from error
            raise InDoubtError(f"{type(cause).__name__}: {cause}") from error

    async def _write(self, records: Sequence[Outgoing]) -> None:
        producer = self._producer
        await producer.begin_transaction()
        _retrieved(producer.transaction_end())
        # The first batches of all partitions come first, so that one request adds them all to the transaction.
        queues = await self._batches(records)
        sent: dict[asyncio.Future[Any], str] = {}
        for round_of_batches in zip_longest(*queues.values()):
            for (topic, partition), batch in zip(queues, round_of_batches, strict=True):
                if batch is not None:
                    future = await producer.send_batch(batch, topic, partition=partition)
                    _retrieved(future)
                    sent[future] = topic
        for topic, outcome in zip(sent.values(), await asyncio.gather(*sent, return_exceptions=True), strict=True):
            if isinstance(outcome, MessageSizeTooLargeError):
                raise ExpectedError(
                    f"{topic} takes no batch as large as this service writes: its max.message.bytes is lower than milestones "
                    "topics plan wants it; run milestones topics apply",
                    exit_code=3,
                ) from outcome
            if isinstance(outcome, BaseException):
                raise outcome
        await producer.commit_transaction()

    async def _batches(self, records: Sequence[Outgoing]) -> dict[tuple[str, int], list[BatchBuilder]]:
        """The records in batches by topic and partition; sending them one by one costs ten times as much."""
        queues: dict[tuple[str, int], list[BatchBuilder]] = {}
        async for record in paced(records):
            queue = queues.setdefault((record.topic, record.partition), [])
            if not queue or not append_to(queue[-1], record):
                queue.append(self._producer.create_batch())
                if not append_to(queue[-1], record):
                    raise ValueError(f"a record for {record.topic}-{record.partition} does not fit a batch")
        return queues

    async def stop(self) -> None:
        """Closes the connections within a few seconds, whatever the state."""
        with contextlib.suppress(KafkaError, OSError, TimeoutError, ProducerFenced):
            await asyncio.wait_for(self._producer.stop(), _STOP_TIMEOUT_S)
        with contextlib.suppress(KafkaError, OSError, TimeoutError):
            await asyncio.wait_for(self._producer.client.close(), _STOP_TIMEOUT_S)


def _retrieved(future: asyncio.Future[None]) -> None:
    """Keeps asyncio from reporting failures of futures that are no longer awaited once the first was raised."""
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
