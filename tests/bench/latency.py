"""From publishing an event to a read_committed consumer seeing the milestone it raised, and what that costs.

    .venv/bin/python -m tests.bench latency [--rates R ...] [--seconds S] [--json FILE]

Milestone and row come in one transaction. The broker is warmed up first; the rates are measured in turn, each with its own worker.
"""

from __future__ import annotations

import asyncio
import signal
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import orjson
import psutil
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.partitioner import murmur2
from rich.console import Console
from rich.table import Table

from streams.kafka.clients import read_to_end
from streams.kafka.records import record_key
from tests.bench.worker import committed_reader, cpu_s
from tests.support.installation import Installation
from tests.support.rules import rule

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_RULES = rule("first-of-its-model", "orders_placed", reaches=1)
#: Events per second; the first is what the whole benchmark measures.
RATES: Final = (500, 100, 1_000, 10_000)
SECONDS: Final = 20
#: A new broker compiles its hot paths for half a minute, on the same cores; a new worker needs a moment.
_WARM_UP_S, _NEXT_WARM_UP_S = 45, 8
#: At most this many events a second are the first of their model and therefore raise a milestone.
_MILESTONES: Final = 50
_TICK_S: Final = 0.005
_BATCH_BYTES: Final = 16 << 20


async def measure_latency(
    bootstrap: str, broker: int, folder: Path, rates: Sequence[int] = RATES[:1], seconds: int = SECONDS
) -> dict[str, float]:
    """Of each rate, after a warm-up: p50, p99 and maximum in milliseconds, CPU of worker and broker in per cent of a core.

    Args:
        bootstrap: `HOST:PORT` of the broker.
        broker: Its process id.
        folder: For state and logs.
        rates: Events per second, one after the other.
        seconds: How long each is measured.
    """
    found: dict[str, float] = {}
    for rate in rates:
        warm_up_s = _NEXT_WARM_UP_S if found else _WARM_UP_S
        found |= {
            f"{name}_at_{rate}": value
            for name, value in (await _measure(bootstrap, broker, folder, rate, seconds, warm_up_s)).items()
        }
    return found


async def _measure(  # noqa: PLR0917 - one measurement
    bootstrap: str, broker: int, folder: Path, rate: int, seconds: int, warm_up_s: int
) -> dict[str, float]:
    place = folder / f"latency-{rate}"
    place.mkdir()
    installation = Installation(bootstrap, f"latency{rate}.", place)
    installation.configure(_RULES)
    await installation.create()
    worker = installation.worker("latency")
    sent: dict[str, float] = {}
    seen: dict[str, float] = {}
    every = max(1, rate // _MILESTONES)
    total, warm = rate * (seconds + warm_up_s), rate * warm_up_s
    reading = asyncio.create_task(_read(installation, seen, -(-total // every)))
    await asyncio.sleep(5)
    used: dict[str, list[float]] = {"worker": [], "broker": []}

    def look() -> None:
        for name, pid in (("worker", worker.process.pid), ("broker", broker)):
            used[name].append(cpu_s(psutil.Process(pid)))

    await publish_at(installation, sent, range(warm), rate, every)
    look()
    since_ms = time.time() * 1000
    await publish_at(installation, sent, range(warm, total), rate, every)
    look()
    until_ms = time.time() * 1000
    await asyncio.wait_for(reading, 60)
    worker.kill(signal.SIGTERM)
    worker.wait()
    delays_ms = sorted((seen[model] - at_s) * 1000 for model, at_s in sent.items() if int(model[1:]) * every >= warm)
    return {
        "latency_p50_ms": delays_ms[len(delays_ms) // 2],
        "latency_p99_ms": delays_ms[int(len(delays_ms) * 0.99)],
        "latency_max_ms": delays_ms[-1],
        "latency_milestones": len(delays_ms),
        "ledger_transactions_per_s": await _transactions(installation, since_ms, until_ms) / seconds,
        **{f"{name}_cpu_percent": (after - before) / seconds * 100 for name, (before, after) in used.items()},
    }


async def _transactions(installation: Installation, since_ms: float, until_ms: float) -> int:
    """The number of ledger transactions that ended in a period, by their markers."""
    counts = installation.catalogue.counts.name
    found = 0
    async for records in read_to_end(installation.settings, [(counts, 0)]):
        for record in records:
            found += record_key(record).endswith(b"|applied") and since_ms <= record.timestamp < until_ms
    return found


async def publish_at(
    installation: Installation,
    sent: dict[str, float],
    numbers: range,
    rate: int,
    every: int,
    *,
    region: str | None = "CN-11",
) -> None:
    """Publishes orders at a rate; those due together are in one batch per partition.

    Args:
        installation: Where.
        sent: Receives the model that is new with an event, and when it was sent, by `time.perf_counter`.
        numbers: Of the orders.
        rate: Orders a second.
        every: Each of so many orders is the first of a new model.
        region: Of all orders.
    """
    # Whatever is due fits into a batch, even after this process was held up.
    producer = AIOKafkaProducer(
        bootstrap_servers=installation.settings.bootstrap_servers,
        max_batch_size=_BATCH_BYTES,
        max_request_size=_BATCH_BYTES,
    )
    orders, partitions = installation.catalogue.orders.name, installation.settings.partitions
    await producer.start()
    try:
        started = time.perf_counter()
        number = numbers.start
        while number < numbers.stop:
            due = min(numbers.stop, numbers.start + int((time.perf_counter() - started) * rate) + 1)
            batches: dict[int, Any] = {}
            while number < due:
                model = f"M{number // every}" if number % every == 0 else "SU7"
                order_id = b"SO-%09d" % number
                home = (murmur2(order_id) & 0x7FFFFFFF) % partitions
                if home not in batches:
                    batches[home] = producer.create_batch()
                if (
                    batches[home].append(key=order_id, value=_event(order_id.decode(), model, region), timestamp=None)
                    is None
                ):
                    raise RuntimeError("the publisher was held up for too long: measure on a machine with less to do")
                if model != "SU7":
                    sent[model] = time.perf_counter()
                number += 1
            for home, batch in batches.items():
                await producer.send_batch(batch, orders, partition=home)
            await asyncio.sleep(_TICK_S)
    finally:
        await producer.stop()


def _event(order_id: str, model: str, region: str | None) -> bytes:
    return orjson.dumps(
        {
            "specversion": "1.0",
            "id": order_id,
            "source": "/sales/web",
            "type": "order.placed.v1",
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "data": {"order_id": order_id, "model": model} | ({"region": region} if region is not None else {}),
        }
    )


async def _read(installation: Installation, seen: dict[str, float], wanted: int) -> None:
    consumer = committed_reader(installation)
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


def show(results: Mapping[str, Any]) -> None:
    """Prints the figures."""
    table = Table("events/s", "p50, ms", "p99, ms", "worker, % of a core", "broker, %", "ledger transactions/s")
    names = (
        "latency_p50_ms",
        "latency_p99_ms",
        "worker_cpu_percent",
        "broker_cpu_percent",
        "ledger_transactions_per_s",
    )
    for rate in sorted(int(name.rpartition("_")[2]) for name in results if name.startswith("latency_p50")):
        table.add_row(f"{rate:,}", *(f"{results[f'{name}_at_{rate}']:.1f}" for name in names))
    Console().print(table)
