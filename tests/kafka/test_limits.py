"""Topics that take smaller batches than brokers usually do."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

import pytest
from aiokafka.admin import NewTopic

from schemas.facts import ORDERS
from streams.errors import ExpectedError
from streams.kafka.admin import admin, apply_topics, catalogue_of, describe, plan_topics, wanted_topics
from streams.kafka.clients import read_to_end
from streams.kafka.outbox import Outgoing
from streams.kafka.publication import Publication
from streams.kafka.publisher import Publisher
from streams.kafka.transactions import TransactionalWriter
from streams.settings import Settings
from streams.settings_sections import TopicSettings
from tests.support.time_limits import deadline

if TYPE_CHECKING:
    from aiokafka.admin import AIOKafkaAdminClient

    from schemas.topics import Topic

pytestmark = pytest.mark.kafka

LIMIT_BYTES = 20_000


async def created(client: AIOKafkaAdminClient, topic: Topic) -> None:
    """Creates a topic as the catalogue has it, but with the limit, and waits until the broker knows of it."""
    configs = {**topic.configs, "max.message.bytes": str(LIMIT_BYTES)}
    await client.create_topics([NewTopic(topic.name, topic.partitions, 1, topic_configs=configs)])
    limit_s = deadline(20)
    while not await describe(client, [topic.name]):
        assert time.monotonic() < limit_s, f"{topic.name} was created, and the broker does not know of it"
        await asyncio.sleep(0.1)


async def test_events_fit_the_batches_that_their_owners_topic_takes(bootstrap: str, prefix: str) -> None:
    name = f"{prefix}sales.cn"
    settings = Settings(
        bootstrap_servers=bootstrap, source_prefix=prefix, output_prefix=prefix, topics=TopicSettings(orders=(name,))
    )
    dice = random.Random(15)
    async with admin(settings) as client:
        await created(client, catalogue_of(settings).orders)
    assert not (await plan_topics(settings)).alter, "how large their batches may be is theirs to say"
    # Random values cannot be compressed, so batches are as large as they look.
    records = [Publication(ORDERS, b"%d" % number, dice.randbytes(1500)) for number in range(400)]
    async with Publisher(settings) as publisher:
        await publisher.send(records)
    partitions = [(name, number) for number in range(settings.partitions)]
    found = {record.value async for batch in read_to_end(settings, partitions) for record in batch}
    assert found == {record.value for record in records}
    with pytest.raises(ExpectedError, match=r"sales\.cn takes no record as large as one of these"):
        async with Publisher(settings) as publisher:
            await publisher.send([Publication(ORDERS, b"1", dice.randbytes(LIMIT_BYTES))])


async def test_a_worker_says_which_topic_takes_too_small_batches_and_apply_mends_it(
    bootstrap: str, prefix: str
) -> None:
    settings = Settings(bootstrap_servers=bootstrap, source_prefix=prefix, output_prefix=prefix)
    windows = catalogue_of(settings).windows
    async with admin(settings) as client:
        await created(client, windows)
    record = Outgoing(windows.name, 0, b"k", random.Random(15).randbytes(2 * LIMIT_BYTES))
    writer = TransactionalWriter(settings, f"milestones-{prefix}limits")
    await writer.start()
    try:
        with pytest.raises(
            ExpectedError, match=rf"{windows.name} takes no batch as large .* run milestones topics apply"
        ):
            await writer.commit([record])
    finally:
        await writer.stop()
    assert (await plan_topics(settings)).alter == {windows.name: {"max.message.bytes": (str(LIMIT_BYTES), "1048576")}}
    await apply_topics(settings)
    again = TransactionalWriter(settings, f"milestones-{prefix}limits")
    await again.start()
    try:
        await again.commit([record])
    finally:
        await again.stop()
    assert all("max.message.bytes" in topic.configs for topic in wanted_topics(settings)), (
        "whatever brokers take otherwise"
    )
