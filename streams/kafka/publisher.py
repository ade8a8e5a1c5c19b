"""Publishes records to the source topics, in whole batches, so that the producer is not the bottleneck."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Self

from aiokafka import AIOKafkaProducer
from aiokafka.admin.config_resource import ConfigResourceType
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.protocol.admin import DescribeConfigsRequest

from schemas.facts import FAMILIES, family_of
from schemas.topics import SOURCE_MAX_BYTES
from streams.errors import ExpectedError
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import connected, live_options, timeout_ms
from streams.kafka.permissions import denial, denied, topic_answers
from streams.kafka.publication import Publication, partitions_for
from streams.kafka.records import append_to
from streams.kafka.refusals import RefusedError
from streams.kafka.rights import Operation, Resource, Right

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from aiokafka.client import AIOKafkaClient

    from streams.kafka.records import BatchBuilder
    from streams.settings import Settings

_BATCH_BYTES = 512 * 1024
_BATCHES_IN_FLIGHT = 32
_STOP_TIMEOUT_S = 2.0
_MAX_BYTES = "max.message.bytes"
_RECORD_OVERHEAD_BYTES = 64
#: `Publication.topic` in words.
_KINDS = (*FAMILIES, "targets", "control totals")


def _choices(settings: Settings) -> list[list[str]]:
    """Kind → the topics that its records may go to."""
    catalogue = catalogue_of(settings)
    names = catalogue.names()
    return [
        *([name for number, name in names.items() if family_of(number) == family] for family, _ in enumerate(FAMILIES)),
        [catalogue.targets.name],
        [catalogue.controls.name],
    ]


def _chosen(names: Sequence[str], into: Sequence[str]) -> str:
    """The topic of a kind; empty if there are several and none has been chosen."""
    chosen = [name for name in names if name in into] or names
    if len(chosen) > 1 and set(chosen) <= set(into):
        raise ExpectedError(f"--topic {chosen[0]} and {chosen[1]} take the same events: name one of them")
    return chosen[0] if len(chosen) == 1 else ""


class Publisher:
    """An idempotent producer; the records of a partition arrive in the order in which they are sent.

    Use as an asynchronous context manager: entering connects, leaving without an error flushes.

    Args:
        settings: The settings of the installation.
        into: Which topics to use if there are several of a kind.

    Raises:
        ExpectedError: `into` names an unknown topic, or two of a kind; the cluster is unreachable or refuses.
    """

    def __init__(self, settings: Settings, into: Sequence[str] = ()) -> None:
        self._settings = settings
        self._choices = _choices(settings)
        self._topics = [_chosen(names, into) for names in self._choices]
        stray = next((name for name in into if name not in self._topics), None)
        if stray is not None:
            known = ", ".join(name for names in self._choices for name in names)
            raise ExpectedError(f"--topic {stray}: this service reads no such topic; it reads {known}")
        self._open: dict[tuple[int, int], BatchBuilder] = {}
        self._in_flight: deque[tuple[str, asyncio.Future[object]]] = deque()
        self._counts = [0] * len(self._topics)
        self._most_bytes = [_BATCH_BYTES] * len(self._topics)

    async def __aenter__(self) -> Self:
        self._producer = AIOKafkaProducer(
            **await live_options(self._settings),
            enable_idempotence=True,
            # aiokafka uses lz4 at its slowest level; zstd takes a quarter of the time and half the space.
            compression_type="zstd",
            max_batch_size=_BATCH_BYTES,
            request_timeout_ms=timeout_ms(self._settings),
        )
        try:
            await connected(self._settings, self._producer.start)
        except BaseException:
            await self._producer.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                await self.flush()
        finally:
            # Stopping sends what is left, but does not wait for brokers that do not answer.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._producer.stop(), _STOP_TIMEOUT_S)

    async def _look_up(self, topics: set[int]) -> None:
        """Checks that topics exist and may be written to, before the first record goes to each."""
        for number in sorted(topics):
            if not self._topics[number]:
                names = self._choices[number]
                if not names:
                    raise ExpectedError(
                        f"families: {_KINDS[number]} are not among the families of this installation, which does not read them"
                    )
                raise ExpectedError(
                    f"{', '.join(names)} are {len(names)} topics of {_KINDS[number]}: say which one the events go to with "
                    f"--topic, as in --topic {names[0]}"
                )
        answers = await topic_answers(self._producer.client, (self._topics[number] for number in sorted(topics)))
        for number in sorted(topics):
            name = self._topics[number]
            answer = answers[name]
            allowed = answer.operations is None or Operation.WRITE in answer.operations
            if answer.is_hidden or (answer.partitions and not allowed):
                raise RefusedError(denied([Right(Resource.TOPIC, name, (Operation.WRITE,))]))
            if not answer.partitions:
                raise ExpectedError(f"there is no topic {name}; create it with: milestones topics apply", exit_code=3)
            self._counts[number] = answer.partitions
        limits = await _batch_limits(self._producer.client, [self._topics[number] for number in topics])
        for number in topics:
            self._most_bytes[number] = min(_BATCH_BYTES, limits.get(self._topics[number], _BATCH_BYTES))

    async def send(self, records: Sequence[Publication]) -> None:
        """Takes records and sends full batches; `flush` sends the rest.

        Raises:
            ExpectedError: A topic is missing or may not be written to, exit code 3.
        """
        unknown = {record.topic for record in records if not self._counts[record.topic]}
        if unknown:
            await self._look_up(unknown)
        places = partitions_for(records, self._counts)
        for record, partition in zip(records, places, strict=True):
            place = (record.topic, partition)
            batch = self._open.get(place)
            if batch is None or not self._append(batch, record):
                if batch is not None:
                    await self._submit(place)
                self._open[place] = batch = self._producer.create_batch()
                self._append(batch, record)

    def _append(self, batch: BatchBuilder, record: Publication) -> bool:
        """Adds a record to a batch; false if that would exceed what its topic accepts."""
        most_bytes = self._most_bytes[record.topic]
        if most_bytes < _BATCH_BYTES and batch.record_count() and batch.size() + _size_of(record) > most_bytes:
            return False
        return append_to(batch, record)

    async def flush(self) -> None:
        """Sends the open batches and waits until the brokers have confirmed everything."""
        for place in list(self._open):
            await self._submit(place)
        await self._confirm(0)

    async def _submit(self, place: tuple[int, int]) -> None:
        topic, partition = place
        batch = self._open.pop(place)
        try:
            sent = await self._producer.send_batch(batch, self._topics[topic], partition=partition)
        except KafkaError as error:
            raise self._refused(error) from error
        self._in_flight.append((self._topics[topic], sent))
        await self._confirm(_BATCHES_IN_FLIGHT)

    async def _confirm(self, most: int) -> None:
        while len(self._in_flight) > most:
            topic, confirmed = self._in_flight.popleft()
            # Bounded, because an idempotent producer would resend for ever.
            await asyncio.wait([confirmed], timeout=self._settings.cluster_timeout_s)
            if not confirmed.done():
                raise self._refused(TimeoutError(f"no answer for {self._settings.cluster_timeout_s:.0f} s"))
            try:
                confirmed.result()
            except MessageSizeTooLargeError as error:
                raise ExpectedError(
                    f"{topic} takes no record as large as one of these: its max.message.bytes is lower; have it raised to "
                    f"{SOURCE_MAX_BYTES}, which fits every event, then publish them again, nothing counts twice",
                    exit_code=3,
                ) from error
            except KafkaError as error:
                raise self._refused(error) from error

    def _refused(self, error: Exception) -> ExpectedError:
        refusal = denial(error)
        if refusal is not None:
            return refusal
        return ExpectedError(
            f"Kafka at {self._settings.bootstrap_servers} did not take the records: {error}; publish them again once it "
            "does, nothing counts twice",
            exit_code=3,
        )


def _size_of(record: Publication) -> int:
    """Roughly the bytes that a record takes in a batch; an overestimate."""
    headers = sum(len(name) + len(value or b"") + 8 for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers + _RECORD_OVERHEAD_BYTES


async def _batch_limits(client: AIOKafkaClient, names: Sequence[str]) -> dict[str, int]:
    """Topic → its largest batch in bytes, for the topics whose settings this user may see."""
    request = DescribeConfigsRequest([(ConfigResourceType.TOPIC, name, [_MAX_BYTES]) for name in names])
    try:
        response = await client.send(client.get_random_node(), request)
    except KafkaError:
        return {}
    return {
        name: int(value)
        for error_code, _message, _kind, name, entries in response.resources
        if not error_code
        for setting, value, *_ in entries
        if setting == _MAX_BYTES and value
    }
