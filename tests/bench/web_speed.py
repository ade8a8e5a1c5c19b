"""How long the web view takes for a page of 1,000 rows, and from a record on the topic to an event at a client.

    .venv/bin/python -m tests.bench.web_speed

Starts its own Kafka and web view, with 20,000 rows and 100,000 versions of the history.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer

from streams.embedded.broker import EmbeddedKafka
from tests.support.installation import Installation
from tests.support.outputs import row, row_record
from tests.support.webview import WebView, listening

if TYPE_CHECKING:
    from collections.abc import Iterable

    import httpx

    from tests.support.outputs import Record

_DAYS = [
    f"day:{year}-{month:02d}-{day:02d}" for year in range(2015, 2025) for month in range(1, 13) for day in range(1, 29)
]
_SCOPES = ["all", *(f"model=M{number}" for number in range(5))]
_VERSIONS = 5
_REQUESTS = 200
_CHANGES = 40
_GOAL_S = 0.05
_PATHS = {
    "a page of 1,000 rows": "/windows?kind=day&metric=deliveries&limit=1000",
    "other 1,000 rows each time": "/windows?kind=day&sort=count&limit=1000&offset={}00",
    "the same as JSON": "/api/v1/windows?kind=day&metric=deliveries&limit=1000",
    "1,000 rows as of an instant": "/api/v1/windows?kind=day&limit=1000&as_of=2024-10-07T09:02:30Z",
    "the first page": "/",
    "a year": "/calendar?year=2024",
}


async def measure() -> None:
    """Prints one line per query."""
    with tempfile.TemporaryDirectory() as name, EmbeddedKafka(Path(name) / "kafka") as kafka:
        made = await Installation(kafka.bootstrap, "bench.", Path(name)).create()
        rows = [
            row(
                day,
                number % 1500,
                scope=scope,
                updated_at=f"2024-10-07T10:{number // 60 % 60:02d}:{number % 60:02d}.{place:03d}Z",
            )
            for place, scope in enumerate(_SCOPES)
            for number, day in enumerate(_DAYS)
        ]
        history = [
            {**each, "version": version, "updated_at": f"2024-10-07T09:{version:02d}:00.000Z"}
            for each in rows
            for version in range(1, _VERSIONS + 1)
        ]
        await _write(made, made.catalogue.windows.name, map(row_record, rows))
        await _write(made, made.catalogue.history.name, map(row_record, history))
        # Otherwise this process's garbage collector traverses them while waiting for an answer, which is not server time.
        sizes = f"{len(rows):,} rows, {len(history):,} versions"
        del rows, history
        gc.collect()
        gc.freeze()
        environment = made.environment | {"MILESTONES_WEB_RATE_PER_S": "100000"}
        started = time.perf_counter()
        with WebView(environment, Path(name) / "web.txt") as web:
            await web.rebuilt()
            print(f"start and rebuild of {sizes}: {time.perf_counter() - started:.1f} s")
            await _pages(web)
            await _latency(made, web)


async def _pages(web: WebView) -> None:
    async with web.client() as asked:
        asked.headers["accept-encoding"] = "gzip"
        for what, path in _PATHS.items():
            took, size = [], 0
            before = await _within(asked, path)
            for number in range(_REQUESTS):
                started = time.perf_counter()
                async with asked.stream("GET", path.format(number)) as answer:
                    answer.raise_for_status()
                    # The client's decompression is not server time.
                    size = sum([len(chunk) async for chunk in answer.aiter_raw()])
                took.append(time.perf_counter() - started)
            took.sort()
            p50, p99 = (took[int(len(took) * part)] * 1000 for part in (0.5, 0.99))
            within = await _within(asked, path) - before
            print(
                f"{what}: p50 {p50:.1f} ms, p99 {p99:.1f} ms at the client, {size / 1000:.0f} kB compressed; "
                f"{within} of {_REQUESTS} within {_GOAL_S * 1000:.0f} ms by the server's own clock"
            )


async def _within(asked: httpx.AsyncClient, path: str) -> int:
    """Requests of this route that the server has answered within the goal, by its metrics."""
    text = (await asked.get("/metrics")).text
    route = path.partition("?")[0]
    found = re.search(rf'request_seconds_bucket\{{route="{re.escape(route)}",le="{_GOAL_S}"\}} (\d+)', text)
    return int(found[1]) if found else 0


async def _latency(made: Installation, web: WebView) -> None:
    took: list[float] = []
    async with web.client() as asked, listening(asked) as events:
        for number in range(_CHANGES):
            started = time.perf_counter()
            await _write(made, made.catalogue.windows.name, [row_record(row("month:2024-10", number + 1))])
            async for name, data, _ in events:
                if name == "row" and data["count"] == number + 1:
                    break
            took.append(time.perf_counter() - started)
    took.sort()
    print(
        f"from before the commit to the event at a client: p50 {took[len(took) // 2] * 1000:.0f} ms, most {took[-1] * 1000:.0f} ms"
    )


async def _write(made: Installation, topic: str, records: Iterable[Record]) -> None:
    options: dict[str, Any] = {"bootstrap_servers": made.settings.bootstrap_servers, "linger_ms": 2}
    async with AIOKafkaProducer(transactional_id=f"{topic}-bench", **options) as producer, producer.transaction():
        for record in records:
            await producer.send(topic, record.value, record.key, partition=0)


if __name__ == "__main__":
    print(json.dumps({"cores": os.cpu_count(), "load": os.getloadavg()[0]}))
    asyncio.run(measure())
