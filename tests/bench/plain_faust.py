"""The obvious first version: a Faust agent with a table, one event at a time, duplicates dropped by id.

    BROKERS=... SOURCE=... COUNT=... python -m tests.bench.plain_faust worker -l error --without-web

Prints events per second and ends.
"""

from __future__ import annotations

import os
import tempfile
import time
from typing import Any

import faust
import orjson

COUNT = int(os.environ["COUNT"])

app = faust.App(
    f"plain-{os.environ['SOURCE']}",
    broker=f"kafka://{os.environ['BROKERS']}",
    datadir=tempfile.mkdtemp(),
    topic_partitions=4,
    topic_disable_leader=True,
    web_enabled=False,
    consumer_auto_offset_reset="earliest",
)
source = app.topic(os.environ["SOURCE"], partitions=4, value_serializer="raw", key_serializer="raw")
known = app.Table("known", default=int, partitions=4)
counts = app.Table("counts", default=int, partitions=4)
progress = {"done": 0, "since": 0.0}


@app.agent(source)
async def count(stream: Any) -> None:
    """Counts deliveries per model and day."""
    async for value in stream:
        progress["since"] = progress["since"] or time.perf_counter()
        event = orjson.loads(value)
        identity = event["id"]
        if not known[identity]:
            known[identity] = 1
            day = f"{event['data']['model']}|{event['time'][:10]}"
            counts[day] += 1
        progress["done"] += 1
        if progress["done"] == COUNT:
            # Faust sends what is printed to its log.
            os.write(1, b"\nRATE %f\n" % (COUNT / (time.perf_counter() - progress["since"])))
            os._exit(0)


if __name__ == "__main__":
    app.main()
