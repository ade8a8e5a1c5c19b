"""What one would write first with Faust: an agent with tables, one event at a time, duplicates dropped by id. Not exactly once.

python -m tests.bench.peer_programs.plain_faust BOOTSTRAP COUNT NAME FOLDER TOPIC...
"""

from __future__ import annotations

import sys
from typing import Any

import faust
import orjson

from tests.bench.peer_programs.protocol import begin, end


def main(bootstrap: str, count: int, name: str, folder: str, topics: list[str]) -> None:
    """Reads and counts."""
    app = faust.App(
        name,
        broker=f"kafka://{bootstrap}",
        datadir=folder,
        topic_partitions=4,
        topic_disable_leader=True,
        web_enabled=False,
        consumer_auto_offset_reset="earliest",
    )
    source = app.topic(*topics, partitions=4, value_serializer="raw", key_serializer="raw")
    known = app.Table("known", default=int, partitions=4)
    counts = app.Table("counts", default=int, partitions=4)
    done = 0

    @app.agent(source)
    async def counting(stream: Any) -> None:
        nonlocal done
        async for value in stream:
            if not done:
                begin()
            event = orjson.loads(value)
            if not known[event["id"]]:
                known[event["id"]] = 1
                counts[f"{event['type']}|{event['time'][:10]}"] += 1
            done += 1
            if done == count:
                end(dict(counts))

    sys.argv = [sys.argv[0], "worker", "-l", "error", "--without-web"]
    app.main()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5:])
