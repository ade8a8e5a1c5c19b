"""The transactional producer on a real cluster, in both versions of the transaction protocol."""

from __future__ import annotations

import pytest
from aiokafka.admin import NewTopic

from streams.kafka.admin import admin
from streams.kafka.clients import read_to_end
from streams.kafka.outbox import Outgoing
from streams.kafka.transactions import FencedError, InDoubtError, TransactionalWriter
from streams.settings import Settings

pytestmark = pytest.mark.kafka

#: Two of them do not fit into a batch.
_LARGE = 400_000


@pytest.mark.parametrize("newest", [1, 2])
async def test_a_transaction_is_read_whole_and_a_fenced_writer_writes_nothing(
    newest: int, bootstrap: str, prefix: str
) -> None:
    settings = Settings(bootstrap_servers=bootstrap, source_prefix=prefix, output_prefix=prefix)
    topics = [f"{prefix}a", f"{prefix}b"]
    async with admin(settings) as client:
        await client.create_topics([NewTopic(topic, 2, 1) for topic in topics])
    writer, successor = (TransactionalWriter(settings, f"milestones-{prefix}t", newest=newest) for _ in range(2))
    written = []
    try:
        await writer.start()
        assert writer._version == newest
        for number in range(5):
            records = [
                Outgoing(topic, partition, b"%d" % number, bytes(_LARGE if number == 2 else 10), [("h", b"%d" % part)])
                for part in range(3)
                for topic in topics
                for partition in range(2)
            ]
            await writer.commit(records)
            written += records
        await writer.commit([])
        # Its successor aborts what it leaves open, and it may not continue.
        await writer._write(await writer._batches(written[:4]))
        await successor.start()
        with pytest.raises(FencedError):
            await writer.commit(written[:4])
        with pytest.raises(InDoubtError):
            await writer.commit(written[:4])
        await successor.commit(written[:1])
        written.append(written[0])
    finally:
        await writer.stop()
        await successor.stop()
    found: dict[tuple[str, int], list[object]] = {(topic, number): [] for topic in topics for number in range(2)}
    async for batch in read_to_end(settings, found):
        for record in batch:
            found[record.topic, record.partition].append((record.key, record.value, record.headers))
    for place, read in found.items():
        assert read == [
            (record.key, record.value, tuple(record.headers))
            for record in written
            if (record.topic, record.partition) == place
        ]


async def test_every_transaction_has_an_epoch_of_its_own_where_the_cluster_agrees(bootstrap: str, prefix: str) -> None:
    settings = Settings(bootstrap_servers=bootstrap, source_prefix=prefix, output_prefix=prefix)
    async with admin(settings) as client:
        await client.create_topics([NewTopic(f"{prefix}a", 1, 1)])
    writer = TransactionalWriter(settings, f"milestones-{prefix}t")
    await writer.start()
    try:
        epochs = []
        for _ in range(3):
            epochs.append(writer._producer_epoch)
            await writer.commit([Outgoing(f"{prefix}a", 0, b"k", b"v")])
    finally:
        await writer.stop()
    assert epochs == [epochs[0], epochs[0] + 1, epochs[0] + 2]
