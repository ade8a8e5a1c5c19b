"""Public topics can be read by a client without optional libraries."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.events import Published, lifecycle
from tests.support.installation import Installation
from tests.support.rules import rule, target
from tests.support.time_limits import stretched

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.kafka

#: aiokafka finds no cramjam, as after a plain `pip install aiokafka`.
PLAIN_READER = """
import sys
sys.modules["cramjam"] = None
import asyncio
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.codec import has_lz4, has_snappy, has_zstd

assert not (has_snappy() or has_lz4() or has_zstd())

async def main(bootstrap, topic, partitions):
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed", auto_offset_reset="earliest") as consumer:
        tps = [TopicPartition(topic, number) for number in range(int(partitions))]
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        await consumer.seek_to_beginning(*tps)
        count = 0
        while any([await consumer.position(tp) < ends[tp] for tp in tps]):
            count += sum(map(len, (await consumer.getmany(timeout_ms=300)).values()))
        print(count)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_every_topic_for_others_is_read_without_optional_libraries(
    bootstrap: str, prefix: str, tmp_path: Path
) -> None:
    installation = Installation(bootstrap, prefix, tmp_path)
    installation.configure(rule("one", scope=(), reaches=1) + target("t", 10_000, period="year:2024"))
    await installation.create()
    try:
        installation.worker("w1")
        await installation.publish([*lifecycle(12, 120), Published("orders", b"x", b"{" * 2000, None)])
        await installation.applied()
        catalogue = installation.catalogue
        read = {}
        for topic in (catalogue.windows, catalogue.milestones, catalogue.status, catalogue.dead_letters):
            done = await asyncio.to_thread(
                subprocess.run,
                [sys.executable, "-c", PLAIN_READER, bootstrap, topic.name, str(topic.partitions)],
                capture_output=True,
                text=True,
                timeout=stretched(60),
                check=False,
            )
            assert done.returncode == 0, done.stderr
            read[topic.name] = int(done.stdout)
        assert all(read.values()), read
        assert read[catalogue.dead_letters.name] == 1
    finally:
        installation.end()
