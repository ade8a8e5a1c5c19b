"""Reading whole topics loses nothing between what was read and where reading continues."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from streams.kafka import long_poll
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import read_last, read_latest, read_to_end, reader
from streams.web import topic_identity
from streams.web.readmodel.writing import digest
from tests.support.installation import Installation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiokafka import AIOKafkaConsumer

    from streams.kafka.records import LogRecord
    from streams.settings import Settings

pytestmark = pytest.mark.kafka


@pytest.fixture
async def settings(bootstrap: str, tmp_path: Path) -> AsyncIterator[Settings]:
    """The settings of an installation with its topics."""
    async with Installation.created(bootstrap, tmp_path) as made:
        yield made.settings


async def publish(settings: Settings, topic: str, values: list[tuple[bytes, bytes | None]]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers) as producer:
        for key, value in values:
            await producer.send_and_wait(topic, value, key, partition=0)


async def all_records(settings: Settings, tp: TopicPartition, consumer: AIOKafkaConsumer) -> list[LogRecord]:
    return [each async for records in read_to_end(settings, [tp], consumer=consumer) for each in records]


async def test_the_position_afterwards_is_after_the_last_record_that_was_given(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records that arrive after the end was looked up may be fetched, too, and must not be skipped."""
    topic = catalogue_of(settings).windows.name
    await publish(settings, topic, [(b"%d" % number, b"x") for number in range(20)])
    tp = TopicPartition(topic, 0)
    async with reader(settings) as consumer:
        ends = consumer.end_offsets

        async def ends_of_a_moment_ago(tps: list[TopicPartition]) -> dict[TopicPartition, int]:
            return {tp: min(5, end) for tp, end in (await ends(tps)).items()}

        monkeypatch.setattr(consumer, "end_offsets", ends_of_a_moment_ago)
        given = [
            record.offset
            async for records in read_to_end(settings, [(topic, 0)], consumer=consumer)
            for record in records
        ]
        assert len(given) >= 5
        assert given == list(range(len(given)))
        assert await consumer.position(tp) == len(given)


async def test_the_latest_value_of_a_key_counts_and_a_tombstone_removes_it(settings: Settings) -> None:
    topic = catalogue_of(settings).windows.name
    await publish(settings, topic, [(b"a", b"1"), (b"b", b"1"), (b"a", b"2"), (b"b", None)])
    assert await read_latest(settings, [(topic, 0)]) == {b"a": b"2"}


async def test_the_last_record_with_a_key_is_found_however_far_back_it_is(settings: Settings) -> None:
    topic = catalogue_of(settings).windows.name
    others = [(b"b", b"%d" % number) for number in range(70)]
    await publish(settings, topic, [(b"a", b"1"), (b"a", b"2"), *others])
    async with reader(settings) as consumer:

        async def last(key: bytes, part: int = 0) -> bytes | None:
            found = await read_last(settings, (topic, part), key, consumer=consumer)
            return None if found is None else found.value

        assert [await last(b"a"), await last(b"b"), await last(b"c")] == [b"2", b"69", None]
    topic = catalogue_of(settings).dead_letters.name
    async with reader(settings) as consumer:
        assert await last(b"a", 3) is None


async def test_empty_partitions_are_read_at_once(settings: Settings) -> None:
    topic = catalogue_of(settings).dead_letters
    assert [records async for records in read_to_end(settings, [(topic.name, n) for n in range(4)])] == []


async def test_what_was_aborted_is_not_given_and_what_is_undecided_ends_the_reading(settings: Settings) -> None:
    topic = catalogue_of(settings).windows.name
    options = {"bootstrap_servers": settings.bootstrap_servers}
    async with AIOKafkaProducer(**options, transactional_id=f"{settings.output_prefix}t") as producer:
        for value, is_kept in ((b"1", True), (b"2", False), (b"3", True)):
            await producer.begin_transaction()
            await producer.send_and_wait(topic, value, b"a", partition=0)
            await (producer.commit_transaction() if is_kept else producer.abort_transaction())
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"4", b"a", partition=0)
        found = [record.value async for records in read_to_end(settings, [(topic, 0)]) for record in records]
        await producer.abort_transaction()
    assert found == [b"1", b"3"]


async def test_what_was_committed_behind_an_open_transaction_is_waited_for_where_nothing_may_be_missed(
    settings: Settings,
) -> None:
    topic = catalogue_of(settings).quarantine.name
    options = {"bootstrap_servers": settings.bootstrap_servers}
    async with (
        AIOKafkaProducer(**options, transactional_id=f"{settings.output_prefix}one") as hanging,
        AIOKafkaProducer(**options, transactional_id=f"{settings.output_prefix}two") as other,
    ):
        await hanging.begin_transaction()
        await hanging.send_and_wait(topic, b"1", b"a", partition=0)
        async with other.transaction():
            await other.send_and_wait(topic, b"2", b"b", partition=0)

        async def found(*, complete: bool) -> list[bytes | None]:
            reading = read_to_end(settings, [(topic, 0)], complete=complete)
            return [record.value async for records in reading for record in records]

        everything = asyncio.create_task(found(complete=True))
        assert await found(complete=False) == []
        assert not everything.done()
        await hanging.abort_transaction()
        assert await everything == [b"2"]
    assert await found(complete=True) == [b"2"]


async def test_the_first_fetch_of_new_partitions_does_not_wait_behind_one_that_was_given_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker keeps waiting, ten minutes here, and answers the connection's next request only afterwards."""
    monkeypatch.setattr(long_poll, "LONG_WAIT_MS", 600_000)
    catalogue = catalogue_of(settings)
    await publish(settings, catalogue.windows.name, [(b"a", b"1")])
    async with long_poll.LongPollConsumer(
        bootstrap_servers=settings.bootstrap_servers, auto_offset_reset="earliest"
    ) as consumer:
        consumer.assign([TopicPartition(catalogue.history.name, 0)])
        assert not await consumer.getmany(timeout_ms=1000)
        assert consumer._fetcher._fetch_max_wait_ms == 600_000, "a fetch waits for the first record"
        windows = TopicPartition(catalogue.windows.name, 0)
        consumer.assign([windows])
        fetched = await consumer.getmany(timeout_ms=30_000)
        assert [record.value for record in fetched[windows]] == [b"1"]


@pytest.mark.parametrize("has_ids", [True, False])
async def test_without_ids_a_topic_is_known_again_by_a_record_that_was_read(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, has_ids: bool
) -> None:
    """Brokers before Kafka 2.8 have no topic ids, and no process knows those that an earlier one has read."""

    async def none(*_: object) -> dict[str, str]:
        return {}

    if not has_ids:
        monkeypatch.setattr(topic_identity, "topic_ids", none)
    catalogue = catalogue_of(settings)
    tps = [TopicPartition(topic.name, 0) for topic in (catalogue.windows, catalogue.history)]
    for tp in tps:
        await publish(settings, tp.topic, [(b"a", b"1"), (b"b", b"2")])
    async with reader(settings) as consumer:
        identities = topic_identity.TopicIdentities()
        for tp in tps:
            record = (await all_records(settings, tp, consumer))[0]
            identities.recall(tp, record.offset, b"of another record" if tp is tps[1] else digest(record))
        consumer.unsubscribe()
        ends = dict.fromkeys(tps, 2)
        assert await identities.recreated(consumer, ends) == {tps[1]}
        # From then on the ids decide, if there are any.
        assert await identities.recreated(consumer, ends) == (set() if has_ids else {tps[1]})
        identities._ids = dict.fromkeys(identities._ids, "of before")
        assert await identities.recreated(consumer, ends) == (set(tps) if has_ids else {tps[1]})
        # While it gives up partitions, aiokafka's fetcher takes a cancellation for that of a fetch, and would never end.
        await asyncio.sleep(0.2)
