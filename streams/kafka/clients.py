"""Kafka clients configured by the settings, and reads of whole topics that several modules need."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, LeaderNotAvailableError, for_code
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.offset import OffsetRequest

from streams.errors import ExpectedError, UnreachableError
from streams.kafka.client_options import client_options
from streams.kafka.connection import throttling
from streams.kafka.metadata import create_nothing
from streams.kafka.permissions import denial, denied, topic_answers
from streams.kafka.records import record_key
from streams.kafka.refusals import RefusedError, reach, refusal
from streams.kafka.rights import Operation, Resource, Right

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

    from aiokafka.client import AIOKafkaClient

    from streams.kafka.records import LogRecord
    from streams.settings import Settings

create_nothing()

#: Large, so that reading whole topics takes fewer round trips.
_FETCH_BYTES = 8 << 20
#: How long a broker waits for records when there are none.
_READER_WAIT_MS, _FOLLOWER_WAIT_MS = 20, 500
#: Records unpacked at a time; no other task runs meanwhile.
_UNPACKED_RECORDS = 2000

#: ListOffsets: the next offset to be written, open transactions included.
_NEXT_OFFSET = -1
_READ_UNCOMMITTED = 0
_ASK_AGAIN_S = 0.1
#: How often brokers look for transactions that have timed out.
_EXPIRY_CHECK_S = 10.0

#: Offsets from the end of a partition among which a record that every transaction ends with nearly always is; markers of aborted
#: transactions take some, too. Farther back if it is not there.
_TAIL, _FARTHER = 64, 16

_CONNECT_TIMEOUT_S = 15.0


def timeout_ms(settings: Settings) -> int:
    """How long a client waits for an answer."""
    return int(settings.cluster_timeout_s * 1000)


async def live_options(settings: Settings) -> dict[str, Any]:
    """Client options with only the bootstrap servers that answer, since a client would wait long for the others.

    Raises:
        ExpectedError: The cluster is unreachable or refuses, exit code 3.
    """
    options = client_options(settings)
    with quiet_clients():
        reached = await reach(settings, options)
    return options | {"bootstrap_servers": reached.servers}


async def connected(settings: Settings, start: Callable[[], Awaitable[object]]) -> None:
    """Starts a client within a bounded time.

    Raises:
        ExpectedError: The cluster is unreachable or refuses, exit code 3.
    """
    with quiet_clients():
        try:
            await asyncio.wait_for(start(), _CONNECT_TIMEOUT_S)
        except (KafkaError, OSError, TimeoutError) as error:
            raise denial(error) or await refusal(settings, client_options(settings), error) from None


@contextlib.contextmanager
def quiet_clients() -> Iterator[None]:
    """Silences aiokafka's log while the caller reports failures in one line."""
    logger = logging.getLogger("aiokafka")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextlib.asynccontextmanager
async def reader(settings: Settings, *, follows: bool = False, **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer without a group that sees committed records only.

    If it `follows`, the broker waits for records yet to come. Otherwise it returns what is there: a broker that waits at the
    end of a partition holds up the next request, so that each change of partitions would cost half a second.
    """
    consumer = AIOKafkaConsumer(
        **await live_options(settings),
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=_FETCH_BYTES,
        request_timeout_ms=timeout_ms(settings),
        fetch_max_wait_ms=_FOLLOWER_WAIT_MS if follows else _READER_WAIT_MS,
        **options,
    )
    try:
        await connected(settings, consumer.start)
        yield consumer
    finally:
        await consumer.stop()


async def read_to_end(  # noqa: PLR0913 - one reading
    settings: Settings,
    partitions: Iterable[tuple[str, int]],
    *,
    consumer: AIOKafkaConsumer | None = None,
    since: Mapping[tuple[str, int], int] | None = None,
    complete: bool = False,
    plan: Callable[[int], None] = lambda _records: None,
) -> AsyncIterator[list[LogRecord]]:
    """Yields every committed record of the partitions, in lists, at least up to the ends seen at the start.

    The end of a read_committed consumer is the last stable offset: it does not wait for another producer's open transaction,
    and does not read what was committed after that transaction's first record, unless `complete` is set. `since` gives the
    offset to start from, for partitions not to be read from the beginning. `plan` is called once with the number of offsets
    to read, an upper bound of the number of records.
    """
    if consumer is None:
        async with reader(settings) as own:
            async for records in read_to_end(
                settings, partitions, consumer=own, since=since, complete=complete, plan=plan
            ):
                yield records
        return
    tps = [TopicPartition(topic, partition) for topic, partition in partitions]
    await _require_partitions(settings, consumer, tps)
    await meet(consumer, {tp.topic for tp in tps})
    consumer.assign(tps)
    given = {TopicPartition(*place): offset for place, offset in (since or {}).items()}
    # At once, else the fetcher starts at the beginning, and what it fetches is thrown away.
    for tp, offset in given.items():
        consumer.seek(tp, offset)
    ends = await (_written_ends(settings, consumer, tps) if complete else consumer.end_offsets(tps))
    begins: dict[TopicPartition, int] = {**given}
    if whole := [tp for tp in tps if tp not in given]:
        await consumer.seek_to_beginning(*whole)
        begins |= await consumer.beginning_offsets(whole)
    plan(sum(max(ends[tp] - begins[tp], 0) for tp in tps))
    waiting = set(tps)
    silence = Silence(settings, settings.transaction_timeout_s + _EXPIRY_CHECK_S if complete else 0.0)
    while waiting:
        # Only the position shows that a partition is empty, or that only aborted records and markers remain.
        positions = {tp: await consumer.position(tp) for tp in waiting}
        done = {tp for tp, offset in positions.items() if offset >= ends[tp]}
        consumer.pause(*done)
        waiting -= done
        if not waiting:
            return
        silence.note({tp: positions[tp] for tp in waiting})
        fetched = await consumer.getmany(*waiting, timeout_ms=200, max_records=_UNPACKED_RECORDS)
        for records in fetched.values():
            # All of them, even beyond the end, so that the consumer's position matches what was yielded.
            yield records


class Silence:
    """Notices that nothing comes of partitions although there is more; without it, a reader would wait for ever.

    Args:
        settings: For how long to wait, `cluster_timeout_s`. While quotas hold up the answers, that does not count.
        more_s: Longer by this.
    """

    def __init__(self, settings: Settings, more_s: float = 0.0) -> None:
        self._patience_s = settings.cluster_timeout_s + more_s
        self._positions: Mapping[TopicPartition, int] = {}
        self._heard_s = time.monotonic()

    def note(self, positions: Mapping[TopicPartition, int]) -> None:
        """Takes the positions of the partitions that are waited for; call it between two fetches.

        Raises:
            UnreachableError: They have not moved for too long.
        """
        if positions != self._positions:
            self._positions, self._heard_s = positions, time.monotonic()
            return
        silent_s = time.monotonic() - max(self._heard_s, throttling.until_s)
        if silent_s > self._patience_s:
            names = ", ".join(f"{tp.topic}-{tp.partition}" for tp in sorted(positions)[:3])
            raise UnreachableError(
                f"nothing has come of {names} for {silent_s:.0f} s, and there is more; look at its leader, or wait longer "
                "(--timeout, or cluster_timeout_s in the settings)"
            )


async def read_one(settings: Settings, consumer: AIOKafkaConsumer, tp: TopicPartition, offset: int) -> LogRecord | None:
    """The committed record at an offset; `None` if there is none, which only a position behind it proves.

    Raises:
        UnreachableError: The partition does not answer, or ends before the offset.
    """
    await meet(consumer, [tp.topic])
    consumer.assign([tp])
    consumer.seek(tp, offset)
    silence = Silence(settings)
    while (position := await consumer.position(tp)) <= offset:
        silence.note({tp: position})
        for records in (await consumer.getmany(tp, timeout_ms=200, max_records=1)).values():
            found: LogRecord = records[0]
            return found if found.offset == offset else None
    return None


async def _written_ends(
    settings: Settings, consumer: AIOKafkaConsumer, tps: Sequence[TopicPartition]
) -> dict[TopicPartition, int]:
    """The next offsets to be written; aiokafka itself asks only for the ends of the consumer's isolation level.

    Raises:
        KafkaError: The cluster does not answer.
    """
    client = consumer._client  # noqa: SLF001 - see above
    give_up_s = time.monotonic() + settings.cluster_timeout_s
    while True:
        try:
            return await _ask_written_ends(client, tps)
        except KafkaError as error:
            if not error.retriable or time.monotonic() > give_up_s:
                raise
            if error.invalid_metadata:
                client.force_metadata_update()
            await asyncio.sleep(_ASK_AGAIN_S)


async def _ask_written_ends(client: AIOKafkaClient, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    by_leader: dict[int, dict[str, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
    for tp in tps:
        leader = client.cluster.leader_for_partition(tp)
        if leader is None or leader < 0:
            raise LeaderNotAvailableError(tp)
        by_leader[leader][tp.topic].append((tp.partition, _NEXT_OFFSET))
    ends: dict[TopicPartition, int] = {}
    for leader, topics in by_leader.items():
        answer: Any = await client.send(leader, OffsetRequest(-1, _READ_UNCOMMITTED, list(topics.items())))
        for topic, partitions in answer.topics:
            for number, code, *_, end in partitions:
                if code:
                    raise for_code(code)(TopicPartition(topic, number))
                ends[TopicPartition(topic, number)] = end
    return ends


async def _require_partitions(settings: Settings, consumer: AIOKafkaConsumer, tps: Iterable[TopicPartition]) -> None:
    """Raises for partitions that do not exist, for which a consumer would silently wait.

    Likewise if a topic of the totals has more partitions than the settings say: rows of the others would silently be missing.
    """
    by_name = {topic.name: topic for topic in settings.catalogue.all()}
    wanted: dict[str, int] = {}
    for tp in tps:
        wanted[tp.topic] = max(wanted.get(tp.topic, 0), tp.partition + 1)
    for topic, found in (await partition_counts(consumer, wanted)).items():
        if not found:
            raise ExpectedError(f"there is no topic {topic}; create it with: milestones topics apply", exit_code=3)
        setting = (by_name[topic].sized_by if topic in by_name else "") or "partitions"
        by_settings = settings.totals_partitions if setting == "totals_partitions" else wanted[topic]
        if found < wanted[topic] or (setting == "totals_partitions" and found != by_settings):
            raise ExpectedError(
                f"{topic} has {found} partition{'s' if found > 1 else ''}, and {by_settings} by the settings; set {setting} = "
                f"{found}, or see what milestones topics plan says",
                exit_code=3,
            )


async def read_latest(  # noqa: PLR0913 - one reading
    settings: Settings,
    partitions: Iterable[tuple[str, int]],
    *,
    consumer: AIOKafkaConsumer | None = None,
    wanted: Callable[[bytes], bool] = lambda _key: True,
    kept: Callable[[bytes, bytes], bytes] = lambda _key, value: value,
    plan: Callable[[int], None] = lambda _records: None,
    progress: Callable[[int], None] = lambda _records: None,
) -> dict[bytes, bytes]:
    """The last value of each key of compacted partitions; tombstoned keys are left out.

    Args:
        settings: As loaded.
        partitions: The partitions to read.
        consumer: The consumer to read with; by default a new one.
        wanted: Whether to keep a key; the others cost no memory.
        kept: What to keep of a value.
        plan: Called once with the maximum number of records to read.
        progress: Called with the number of records read since the last call.
    """
    latest: dict[bytes, bytes] = {}
    async for records in read_to_end(settings, partitions, consumer=consumer, plan=plan):
        for record in records:
            key = record_key(record)
            if not wanted(key):
                continue
            if record.value is None:
                latest.pop(key, None)
            else:
                latest[key] = kept(key, record.value)
        progress(len(records))
    return latest


async def read_last(
    settings: Settings, partition: tuple[str, int], key: bytes, *, consumer: AIOKafkaConsumer
) -> LogRecord | None:
    """The last record with a key, searched for from the end of a partition; `None` if there is none."""
    tp = TopicPartition(*partition)
    await meet(consumer, [tp.topic])
    end, first = (await consumer.end_offsets([tp]))[tp], (await consumer.beginning_offsets([tp]))[tp]
    since, tail = end, _TAIL
    while since > first:
        since, tail = max(end - tail, first), tail * _FARTHER
        found = None
        async for records in read_to_end(settings, [partition], consumer=consumer, since={partition: since}):
            found = next((record for record in reversed(records) if record.key == key), found)
        if found is not None:
            return found
    return None


async def partition_counts(
    consumer: AIOKafkaConsumer, topics: Iterable[str], needed: Operation = Operation.READ
) -> dict[str, int]:
    """Number of partitions of each topic; 0 for a topic that does not exist.

    Args:
        consumer: A consumer of the cluster.
        topics: Names of the topics.
        needed: The operation that this user must be allowed to perform on them.

    Raises:
        RefusedError: It is not allowed on one of them.
    """
    answers = await topic_answers(consumer._client, topics)  # noqa: SLF001 - the public calls answer from a cache
    missing = [
        Right(Resource.TOPIC, name, (needed,))
        for name, answer in answers.items()
        if answer.is_hidden or (answer.operations is not None and answer.partitions and needed not in answer.operations)
    ]
    if missing:
        raise RefusedError(denied(missing))
    return {name: answer.partitions for name, answer in answers.items()}


async def meet(consumer: AIOKafkaConsumer, topics: Iterable[str]) -> None:
    """Makes a consumer look up the partition leaders of existing topics at once: by itself it takes 0.1 s for each topic.

    Call it before the topics are assigned, or their offsets asked for; if they are known, it asks nothing.
    """
    client = consumer._client  # noqa: SLF001 - the public calls do as said
    await asyncio.gather(*(client.add_topic(name) for name in topics))


async def cluster_id(consumer: AIOKafkaConsumer) -> str:
    """Id of the cluster; empty if it has none."""
    client = consumer._client  # noqa: SLF001 - aiokafka does not keep it
    metadata = await client.send(client.get_random_node(), MetadataRequest([]))
    return str(metadata.cluster_id or "")
