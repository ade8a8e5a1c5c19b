"""From publishing an event to a read_committed consumer seeing the milestone it raised, at 500 events per second."""

from __future__ import annotations

import asyncio
import signal
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from tests.support.installation import Installation
from tests.support.rules import rule

if TYPE_CHECKING:
    from pathlib import Path

_RULES = rule("first-of-its-model", "orders_placed", reaches=1)
_RATE = 500
_SECONDS = 20
#: A new broker compiles its hot paths for half a minute at this rate, on the same cores.
_WARM_UP_S = 45
#: One event in ten is the first of its model and so raises a milestone.
_EVERY = 10


async def measure_latency(bootstrap: str, folder: Path) -> dict[str, float]:
    """p50, p99 and maximum in milliseconds, after a warm-up."""
    place = folder / "latency"
    place.mkdir()
    installation = Installation(bootstrap, "latency.", place)
    installation.configure(_RULES)
    await installation.create()
    worker = installation.worker("latency")
    sent: dict[str, float] = {}
    seen: dict[str, float] = {}
    total = _RATE * (_SECONDS + _WARM_UP_S)
    reading = asyncio.create_task(_read(installation, seen, total // _EVERY))
    await asyncio.sleep(5)
    await _publish(installation, sent, total)
    await asyncio.wait_for(reading, 60)
    worker.kill(signal.SIGTERM)
    worker.wait()
    measured = [model for model in sent if int(model[1:]) >= _RATE * _WARM_UP_S // _EVERY]
    delays_ms = sorted((seen[model] - sent[model]) * 1000 for model in measured)
    return {
        "latency_p50_ms": delays_ms[len(delays_ms) // 2],
        "latency_p99_ms": delays_ms[int(len(delays_ms) * 0.99)],
        "latency_max_ms": delays_ms[-1],
        "latency_milestones": len(delays_ms),
    }


async def _publish(installation: Installation, sent: dict[str, float], total: int) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=installation.settings.bootstrap_servers)
    await producer.start()
    try:
        started = time.perf_counter()
        for number in range(total):
            ahead_s = started + number / _RATE - time.perf_counter()
            if ahead_s > 0:
                await asyncio.sleep(ahead_s)
            model = f"M{number // _EVERY}" if number % _EVERY == 0 else "SU7"
            order_id = f"SO-{number:09d}"
            if model != "SU7":
                sent[model] = time.perf_counter()
            await producer.send(installation.catalogue.orders.name, _event(order_id, model), order_id.encode())
    finally:
        await producer.stop()


def _event(order_id: str, model: str) -> bytes:
    return orjson.dumps(
        {
            "specversion": "1.0",
            "id": order_id,
            "source": "/sales/web",
            "type": "order.placed.v1",
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "data": {"order_id": order_id, "model": model, "region": "CN-11"},
        }
    )


async def _read(installation: Installation, seen: dict[str, float], wanted: int) -> None:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=installation.settings.bootstrap_servers,
        isolation_level="read_committed",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        consumer.assign([TopicPartition(installation.catalogue.milestones.name, 0)])
        async for record in consumer:
            now = time.perf_counter()
            scope = orjson.loads(record.value)["data"]["scope"]
            model = scope.removeprefix("model=")
            if model != "SU7":
                seen.setdefault(model, now)
            if len(seen) >= wanted:
                return
    finally:
        await consumer.stop()
