"""The ceiling: aiokafka reads the topics and orjson parses every value; nothing else.

python -m tests.bench.raw_reader BOOTSTRAP COUNT TOPIC...

Prints CPU seconds and events per second.
"""

from __future__ import annotations

import asyncio
import sys
import time

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition


async def read(bootstrap: str, count: int, topics: list[str]) -> tuple[float, float]:
    """CPU seconds and events per second, from the first record to the last."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, max_partition_fetch_bytes=4 << 20, max_poll_records=6000
    )
    await consumer.start()
    try:
        tps = []
        for topic in topics:
            await consumer._client._wait_on_metadata(topic)
            tps += [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        loads, done, started, cpu_s = orjson.loads, 0, 0.0, 0.0
        while done < count:
            fetched = await consumer.getmany(timeout_ms=1000)
            started, cpu_s = started or time.perf_counter(), cpu_s or time.process_time()
            for records in fetched.values():
                for record in records:
                    loads(record.value)
                done += len(records)
        return time.process_time() - cpu_s, done / (time.perf_counter() - started)
    finally:
        await consumer.stop()


if __name__ == "__main__":
    print(*asyncio.run(read(sys.argv[1], int(sys.argv[2]), sys.argv[3:])))
