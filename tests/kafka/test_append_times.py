"""Source topics from before `LogAppendTime`: their records carry their publishers' time, which may be anything."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from schemas.outputs import ControlHeaders
from streams.kafka.admin import admin, apply_topics
from streams.kafka.client_options import client_options
from streams.kafka.clients import read_to_end
from streams.kafka.records import header_values
from tests.support.events import FIRST, event
from tests.support.installation import Installation

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.kafka

YEARS_AGO = FIRST - timedelta(days=1000)


async def test_an_event_of_the_past_is_no_event_of_the_future_whatever_its_record_says(
    bootstrap: str, prefix: str, tmp_path: Path
) -> None:
    """Records with timestamps 0, -1, before the event, at the event, and of a fast clock; one is in the future."""
    installation = Installation(bootstrap, prefix, tmp_path)
    topic = installation.catalogue.orders
    async with admin(installation.settings) as client:
        await client.create_topics([NewTopic(topic.name, topic.partitions, 1)])
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    soon = datetime.now(UTC) + timedelta(minutes=30)
    times = [
        (FIRST, 0),
        (FIRST, _ms(YEARS_AGO)),
        (FIRST, _ms(FIRST)),
        (tomorrow, 0),
        (tomorrow, _ms(soon)),
        (FIRST, -1),
    ]
    async with AIOKafkaProducer(**client_options(installation.settings)) as producer:
        for number, (time, stamp) in enumerate(times):
            order = {"order_id": f"SO-{number}", "model": "SU7"}
            value = event("order.placed.v1", f"p-{number}", time, order)
            # In one partition, so that some are forwarded to their homes.
            await producer.send_and_wait(topic.name, value, order["order_id"].encode(), 0, timestamp_ms=stamp)
    await apply_topics(installation.settings)
    worker = installation.worker()
    try:
        await installation.applied()
        expected = {("orders_placed", "all", "year:2024"): 4}
        assert {key: count for key, count in (await installation.counts()).items() if key in expected} == expected
        assert await letters(installation) == [(3, "future_time"), (4, "future_time")]
        verified = await installation.run("verify")
        assert verified.returncode == 0, verified.stdout + verified.stderr

        worker.end()
        internal = installation.catalogue
        async with admin(installation.settings) as client:
            await client.delete_topics([internal.counts.name, internal.ledger.name, internal.rerouted.name])
        await asyncio.sleep(1)
        await apply_topics(installation.settings)
        installation.worker("w2")
        await installation.applied()
        assert await letters(installation) == [(3, "future_time"), (4, "future_time")], "built again in silence"
        assert (await installation.counts())["orders_placed", "all", "year:2024"] == 4
        assert (await installation.run("verify")).returncode == 0
    finally:
        installation.end()


def _ms(time: datetime) -> int:
    return int(time.timestamp() * 1000)


async def letters(installation: Installation) -> list[tuple[int, str]]:
    """Offset and reason of the source records of all dead letters."""
    topic = installation.catalogue.dead_letters
    found = []
    async for records in read_to_end(installation.settings, [(topic.name, n) for n in range(topic.partitions)]):
        for record in records:
            headers = header_values(record)
            found.append((int(headers[ControlHeaders.OFFSET]), headers[ControlHeaders.REASON].decode()))
    return sorted(found)
