"""Quix Streams, exactly once: duplicates are dropped by id in its state, by order, with a changelog; the counts are a dict.

Counts in its state would need every event a second time through a topic that is keyed by day.

python -m tests.bench.peer_programs.quix BOOTSTRAP COUNT NAME FOLDER TOPIC...
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import orjson
from quixstreams import Application

from tests.bench.peer_programs.protocol import begin, end


def main(bootstrap: str, count: int, name: str, folder: str, topics: list[str]) -> None:
    """Reads and counts."""
    app = Application(
        broker_address=bootstrap,
        consumer_group=name,
        state_dir=folder,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        # A transaction takes milliseconds, and it waits for each: the default of 5 s is the fastest.
        commit_interval=5.0,
        consumer_extra_config={"max.partition.fetch.bytes": 4 << 20, "fetch.queue.backoff.ms": 10},
        producer_extra_config={"compression.type": "snappy", "linger.ms": 100},
        loglevel="ERROR",
    )
    counts: Counter[str] = Counter()
    done = 0

    def counting(value: bytes, state: Any) -> None:
        nonlocal done
        if not done:
            begin()
        event = orjson.loads(value)
        if not state.exists(event["id"]):
            state.set(event["id"], 1)
            counts[f"{event['type']}|{event['time'][:10]}"] += 1
        done += 1
        if done == count:
            app.stop()

    for topic in topics:
        frame = app.dataframe(app.topic(topic, key_deserializer="bytes", value_deserializer="bytes"))
        frame.update(counting, stateful=True)
    app.run()  # ends with a last commit
    end(counts)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5:])
