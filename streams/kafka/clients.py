"""Kafka clients as the settings want them, and the few whole-topic reads that several modules need."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError
from aiokafka.helpers import create_ssl_context

from streams.errors import ExpectedError
from streams.kafka.refusals import refusal
from streams.settings import Settings, secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping

#: Whole-topic reads fetch large pieces: fewer round trips, bounded memory.
_FETCH_BYTES = 8 << 20

_CONNECT_TIMEOUT_S = 15.0
_LAST_PORT = 65_535


class _FileToken(AbstractTokenProvider):
    """An OAUTHBEARER token that another process keeps fresh in a file."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    async def token(self) -> str:
        return (await asyncio.to_thread(self._path.read_text, "utf-8")).strip()


def ssl_context(settings: Settings) -> ssl.SSLContext | None:
    """The TLS context of the settings, `None` where the protocol needs none.

    Raises:
        ExpectedError: A certificate or key file cannot be used.
    """
    if "SSL" not in settings.security_protocol:
        return None
    password = secret(settings.ssl_key_password, settings.ssl_key_password_file, "ssl_key_password")
    try:
        context: ssl.SSLContext = create_ssl_context(
            cafile=settings.ssl_ca_file or None,
            certfile=settings.ssl_certificate_file or None,
            keyfile=settings.ssl_key_file or None,
            password=password or None,
        )
    except (OSError, ssl.SSLError) as error:
        raise ExpectedError(
            f"ssl_ca_file, ssl_certificate_file or ssl_key_file cannot be used: {error}; check the paths and the key's password"
        ) from None
    return context


def servers_of(settings: Settings) -> list[str]:
    """The bootstrap servers, each `HOST:PORT`.

    Raises:
        ExpectedError: One is written otherwise.
    """
    servers = [server.strip() for server in settings.bootstrap_servers.split(",") if server.strip()]
    for server in servers:
        host, _, port = server.rpartition(":")
        if "://" in server or not host or not (port.isascii() and port.isdigit()) or int(port) > _LAST_PORT:
            plain = server.rpartition("://")[2].strip("/")
            raise ExpectedError(f"bootstrap_servers: {server!r} is not HOST:PORT, such as {_example(plain)}")
    if not servers:
        raise ExpectedError("bootstrap_servers is empty: name the cluster, such as 127.0.0.1:9092")
    return servers


def _example(server: str) -> str:
    host, _, port = server.rpartition(":")
    return server if host and port.isdigit() and int(port) <= _LAST_PORT else f"{server.partition(':')[0]}:9092"


def client_options(settings: Settings) -> dict[str, Any]:
    """Connection and security options, the same for every aiokafka client."""
    options: dict[str, Any] = {
        "bootstrap_servers": servers_of(settings),
        "security_protocol": settings.security_protocol,
        "ssl_context": ssl_context(settings),
    }
    if settings.security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.sasl_mechanism
        if settings.sasl_mechanism == "OAUTHBEARER":
            if not settings.sasl_token_file:
                raise ExpectedError("sasl_token_file: OAUTHBEARER needs the file that holds the token")
            options["sasl_oauth_token_provider"] = _FileToken(settings.sasl_token_file)
        else:
            options["sasl_plain_username"] = settings.sasl_username
            options["sasl_plain_password"] = secret(
                settings.sasl_password, settings.sasl_password_file, "sasl_password"
            )
    return options


async def connected(settings: Settings, start: Callable[[], Awaitable[Any]]) -> None:
    """Starts a client within a bounded time.

    Raises:
        ExpectedError: The cluster is unreachable or refuses, exit code 3.
    """
    with quiet_clients():
        try:
            await asyncio.wait_for(start(), _CONNECT_TIMEOUT_S)
        except (KafkaError, OSError, TimeoutError) as error:
            raise await refusal(settings, client_options(settings), error) from None


@contextlib.contextmanager
def quiet_clients() -> Any:
    """Keeps aiokafka's own log lines away while we report the same failure ourselves in one line."""
    logger = logging.getLogger("aiokafka")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextlib.asynccontextmanager
async def reader(settings: Settings, **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer without a group that sees committed records only."""
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=_FETCH_BYTES,
        **options,
    )
    try:
        await connected(settings, consumer.start)
        yield consumer
    finally:
        await consumer.stop()


async def read_to_end(
    settings: Settings,
    partitions: Iterable[tuple[str, int]],
    *,
    consumer: AIOKafkaConsumer | None = None,
    since: Mapping[tuple[str, int], int] | None = None,
) -> AsyncIterator[list[Any]]:
    """Yields every committed record of the partitions, in lists, at least up to the ends seen at the start.

    The end of a read_committed consumer is the last stable offset: an open transaction of another producer is not
    waited for. `since` names the offset to begin at, for partitions that are not wanted from their beginning.
    """
    if consumer is None:
        async with reader(settings) as own:
            async for records in read_to_end(settings, partitions, consumer=own, since=since):
                yield records
        return
    tps = [TopicPartition(topic, partition) for topic, partition in partitions]
    consumer.assign(tps)
    ends = await consumer.end_offsets(tps)
    await consumer.seek_to_beginning(*tps)
    for (topic, partition), offset in (since or {}).items():
        consumer.seek(TopicPartition(topic, partition), offset)
    waiting = set(tps)
    while waiting:
        # An empty partition, or one whose rest is aborted records and markers, is known by its position only.
        for tp in list(waiting):
            if await consumer.position(tp) >= ends[tp]:
                waiting.discard(tp)
                consumer.pause(tp)
        if not waiting:
            return
        fetched = await consumer.getmany(*waiting, timeout_ms=200)
        for records in fetched.values():
            # Whole, also what lies beyond the end: the consumer's position is then after what was yielded.
            yield records


async def read_latest(settings: Settings, partitions: Iterable[tuple[str, int]]) -> dict[bytes, bytes]:
    """The last value of each key of compacted partitions; tombstoned keys are left out."""
    latest: dict[bytes, bytes] = {}
    async for records in read_to_end(settings, partitions):
        for record in records:
            if record.value is None:
                latest.pop(record.key, None)
            else:
                latest[record.key] = record.value
    return latest


async def partition_counts(consumer: AIOKafkaConsumer, topics: Iterable[str]) -> dict[str, int]:
    """Partitions of each topic by the cluster's metadata; 0 for a topic that does not exist."""
    metadata = await consumer._client.fetch_all_metadata()  # noqa: SLF001 - the public calls answer from a cache
    return {topic: len(metadata.partitions_for_topic(topic) or ()) for topic in topics}
