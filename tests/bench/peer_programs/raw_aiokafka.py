"""The ceiling of Python's asyncio client: aiokafka reads, orjson parses, a dict counts. It drops no duplicates and keeps nothing.

python -m tests.bench.peer_programs.raw_aiokafka BOOTSTRAP COUNT NAME FOLDER TOPIC...
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.bench.peer_programs.protocol import begin, end


async def main(bootstrap: str, count: int, topics: list[str]) -> None:
    """Reads and counts."""
    # Larger fetches than the default of 1 MiB, and polls as large as ours.
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, max_partition_fetch_bytes=4 << 20, max_poll_records=6000
    )
    await consumer.start()
    tps = []
    for topic in topics:
        await consumer._client._wait_on_metadata(topic)
        tps += [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
    consumer.assign(tps)
    await consumer.seek_to_beginning(*tps)
    counts: Counter[str] = Counter()
    loads, done = orjson.loads, 0
    while done < count:
        fetched = await consumer.getmany(timeout_ms=1000)
        if fetched and not done:
            begin()
        for records in fetched.values():
            for record in records:
                event = loads(record.value)
                counts[f"{event['type']}|{event['time'][:10]}"] += 1
            done += len(records)
    end(counts)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[5:]))
