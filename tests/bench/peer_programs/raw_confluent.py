"""The ceiling of Python with librdkafka: confluent-kafka reads, orjson parses, a dict counts. It drops no duplicates and keeps nothing.

python -m tests.bench.peer_programs.raw_confluent BOOTSTRAP COUNT NAME FOLDER TOPIC...
"""

from __future__ import annotations

import sys
from collections import Counter

import orjson
from confluent_kafka import Consumer, TopicPartition

from tests.bench.peer_programs.protocol import begin, end


def main(bootstrap: str, count: int, name: str, topics: list[str]) -> None:
    """Reads and counts."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": name,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "max.partition.fetch.bytes": 4 << 20,
            # By default it waits a second with the next fetch once its queue has 100,000 records.
            "fetch.queue.backoff.ms": 10,
        }
    )
    known = consumer.list_topics(timeout=10).topics
    consumer.assign([TopicPartition(topic, number, 0) for topic in topics for number in known[topic].partitions])
    counts: Counter[str] = Counter()
    loads, done = orjson.loads, 0
    while done < count:
        messages = consumer.consume(6000, timeout=0.05)
        if messages and not done:
            begin()
        for message in messages:
            event = loads(message.value())
            counts[f"{event['type']}|{event['time'][:10]}"] += 1
        done += len(messages)
    end(counts)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[5:])
