"""From publishing an event to a read_committed consumer seeing its row, where models by regions make 18,000 scopes that all change.

    .venv/bin/python -m tests.bench live [--rates R ...] [--seconds S] [--json FILE]

Half of the events are orders, half deliveries of orders placed before, of any model and region. Some orders a second are the first of
their model and raise a milestone in the transaction of their row; a consumer waits for these, and another one, for comparison, for the
events themselves. A rate that a worker cannot follow shows in delays that grow with the time measured.
"""

from __future__ import annotations

import asyncio
import json
import random
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

from streams.kafka.clients import reader
from tests.bench.load import Record, publish
from tests.bench.totals import MODELS, REGIONS, TEMPLATES
from tests.bench.worker import committed_reader, cpu_s
from tests.support.installation import Installation
from tests.support.rules import rule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

RATES: Final = (1_000, 2_000, 3_000, 4_000)
_CONFIG = f"""
scopes = {json.dumps(TEMPLATES)}
[limits]
values = 100_000
scopes = 1_000_000
{rule("first-of-its-model", "orders_placed", reaches=1)}
"""
_PAIRS: Final = MODELS * REGIONS
#: Rows of a day, its month and its year, of each scope and metric.
_ROWS: Final = 3 * 3 * (_PAIRS + MODELS + REGIONS + 1)
#: A new broker compiles its hot paths for half a minute, on the same cores; a new worker needs a moment.
_WARM_UP_S, _NEXT_WARM_UP_S = 30, 10
#: Events a second that are the first of their model.
_PROBES: Final = 25
_LOADED_S: Final = 600
_QUIET_S: Final = 5
_TICK_S: Final = 0.005
_BATCH_BYTES: Final = 4 << 20
_PARTITIONS: Final = 4


async def bench_live(
    bootstrap: str, broker: int, folder: Path, rates: Sequence[int], seconds: int
) -> dict[int, dict[str, float]]:
    """Of each rate: delays of rows and of the events themselves, milliseconds; CPU of worker and broker, per cent of a core.

    Args:
        bootstrap: `HOST:PORT` of the broker.
        broker: Its process id.
        folder: For state and logs.
        rates: Events per second, one after the other, each with its own worker.
        seconds: How long each is measured.
    """
    found: dict[int, dict[str, float]] = {}
    for rate in rates:
        place = folder / f"live-{rate}"
        place.mkdir()
        installation = Installation(bootstrap, f"live{rate}.", place, partitions=_PARTITIONS, scopes=TEMPLATES)
        installation.configure(_CONFIG)
        await installation.create()
        try:
            warm_up_s = _NEXT_WARM_UP_S if found else _WARM_UP_S
            found[rate] = await _Run(installation, broker, rate, seconds, warm_up_s).measure()
        finally:
            installation.end()
    return found


class _Run:
    """One rate."""

    def __init__(self, installation: Installation, broker: int, rate: int, seconds: int, warm_up_s: int) -> None:
        self._installation = installation
        self._broker = broker
        self._rate, self._seconds, self._warm = rate, seconds, rate * warm_up_s
        self._every = 2 * max(1, rate // (2 * _PROBES))
        self._dice = random.Random(7)
        self._of_order: list[tuple[str, str]] = []
        #: When each probe was published, seen as an event, and seen as a row.
        self._sent: dict[str, float] = {}
        self._read: dict[str, float] = {}
        self._counted: dict[str, float] = {}

    async def measure(self) -> dict[str, float]:
        """All of it."""
        catalogue, settings = self._installation.catalogue, self._installation.settings
        topics = (catalogue.orders.name, catalogue.deliveries.name)
        worker = self._installation.worker("live")
        await publish(settings.bootstrap_servers, topics, _PARTITIONS, self._first_of_all())
        total = self._warm + self._rate * self._seconds
        milestones = [TopicPartition(catalogue.milestones.name, 0)]
        orders = [TopicPartition(catalogue.orders.name, number) for number in range(_PARTITIONS)]
        readers = [
            asyncio.create_task(self._follow(milestones, self._counted, _model_of_milestone)),
            asyncio.create_task(self._follow(orders, self._read, _model_of_order)),
        ]
        try:
            await self._until_quiet()
            await self._publish(range(self._warm))
            before = self._used_s(worker.process.pid)
            await self._publish(range(self._warm, total))
            after = self._used_s(worker.process.pid)
            async with asyncio.timeout(60 + self._seconds):
                while not self._sent.keys() <= self._counted.keys() & self._read.keys():  # noqa: ASYNC110 - two followers
                    await asyncio.sleep(0.1)
        finally:
            for each in readers:
                each.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
        worker.kill(signal.SIGTERM)
        worker.wait()
        measured = [model for model in self._sent if int(model[1:]) >= self._warm]
        of_rows, of_events = (
            sorted((seen[model] - self._sent[model]) * 1000 for model in measured)
            for seen in (self._counted, self._read)
        )
        return {
            "row_p50_ms": of_rows[len(of_rows) // 2],
            "row_p99_ms": of_rows[int(len(of_rows) * 0.99)],
            "row_max_ms": of_rows[-1],
            "event_p50_ms": of_events[len(of_events) // 2],
            "event_p99_ms": of_events[int(len(of_events) * 0.99)],
            "worker_cpu_percent": (after[0] - before[0]) / self._seconds * 100,
            "broker_cpu_percent": (after[1] - before[1]) / self._seconds * 100,
        }

    async def _until_quiet(self) -> None:
        """Waits until the rows of what was there at the start are published."""
        windows = TopicPartition(self._installation.catalogue.windows.name, 0)
        async with asyncio.timeout(_LOADED_S), reader(self._installation.settings) as consumer:
            before, end = -1, 0
            while end < _ROWS or end != before:
                before = end
                await asyncio.sleep(_QUIET_S)
                end = (await consumer.end_offsets([windows]))[windows]

    def _used_s(self, worker: int) -> list[float]:
        return [cpu_s(psutil.Process(pid)) for pid in (worker, self._broker)]

    def _first_of_all(self) -> Iterator[Record]:
        """An order and its delivery of every model in every region, and another order, to be delivered later."""
        for pair in range(_PAIRS):
            yield self._placed(f"M{pair % MODELS}", f"CN-{pair // MODELS}")
            yield self._delivered(pair)
        for pair in range(_PAIRS):
            yield self._placed(f"M{pair % MODELS}", f"CN-{pair // MODELS}")

    def _event(self, number: int) -> Record:
        if number % 2:
            # Placed long enough ago to be counted before, and not delivered yet.
            return self._delivered(len(self._of_order) - _PAIRS - 1)
        is_probe = number % self._every == 0
        model = f"P{number}" if is_probe else f"M{self._dice.randrange(MODELS)}"
        return self._placed(model, f"CN-{self._dice.randrange(REGIONS)}")

    def _placed(self, model: str, region: str) -> Record:
        number = len(self._of_order)
        self._of_order.append((model, region))
        return _record(0, number, {"model": model, "region": region})

    def _delivered(self, number: int) -> Record:
        model, region = self._of_order[number]
        data = {"vin": f"LNBSU7A10R{number % 10_000_000:07d}", "model": model, "region": region}
        return _record(1, number, data)

    async def _publish(self, numbers: range) -> None:
        """Publishes events at their rate, what is due together in one batch of each partition."""
        catalogue = self._installation.catalogue
        topics = (catalogue.orders.name, catalogue.deliveries.name)
        producer = AIOKafkaProducer(
            bootstrap_servers=self._installation.settings.bootstrap_servers,
            max_batch_size=_BATCH_BYTES,
            max_request_size=_BATCH_BYTES,
        )
        await producer.start()
        try:
            began_s, number = time.perf_counter(), numbers.start
            while number < numbers.stop:
                due = min(numbers.stop, numbers.start + int((time.perf_counter() - began_s) * self._rate) + 1)
                batches: dict[tuple[int, int], Any] = {}
                for event in map(self._event, range(number, due)):
                    place = event.topic, (murmur2(event.key) & 0x7FFFFFFF) % _PARTITIONS
                    if place not in batches:
                        batches[place] = producer.create_batch()
                    if batches[place].append(key=event.key, value=event.value, timestamp=None) is None:
                        raise RuntimeError(
                            "the publisher was held up for too long: measure on a machine with less to do"
                        )
                now_s = time.perf_counter()
                self._sent |= {f"P{probe}": now_s for probe in range(number, due) if probe % self._every == 0}
                number = due
                for (topic, partition), batch in batches.items():
                    await producer.send_batch(batch, topics[topic], partition=partition)
                await asyncio.sleep(_TICK_S)
        finally:
            await producer.stop()

    async def _follow(
        self, partitions: list[TopicPartition], seen: dict[str, float], model_of: Callable[[bytes], str]
    ) -> None:
        consumer = committed_reader(self._installation)
        await consumer.start()
        try:
            consumer.assign(partitions)
            while True:
                fetched = await consumer.getmany(timeout_ms=1000)
                now_s = time.perf_counter()
                for records in fetched.values():
                    for record in records:
                        model = model_of(record.value)
                        if model.startswith("P"):
                            seen.setdefault(model, now_s)
        finally:
            await consumer.stop()


def _record(topic: int, number: int, data: Mapping[str, str]) -> Record:
    order_id = f"SO-{number:09d}"
    event = {
        "specversion": "1.0",
        "id": f"{'pd'[topic]}{number}",
        "source": ("/sales/web", "/factories/bj1/dispatch")[topic],
        "type": ("order.placed.v1", "vehicle.delivered.v1")[topic],
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "data": {"order_id": order_id, **data},
    }
    return Record(topic, order_id.encode(), orjson.dumps(event))


def _model_of_milestone(value: bytes) -> str:
    scope: str = orjson.loads(value)["data"]["scope"]
    return scope.removeprefix("model=")


def _model_of_order(value: bytes) -> str:
    model: str = orjson.loads(value)["data"]["model"]
    return model


def show_live(results: Mapping[int, Mapping[str, float]]) -> None:
    """Prints the figures."""
    table = Table("events/s", "row, p50, ms", "p99", "event itself, p50, ms", "p99", "worker, % of a core", "broker, %")
    names = ("row_p50_ms", "row_p99_ms", "event_p50_ms", "event_p99_ms", "worker_cpu_percent", "broker_cpu_percent")
    for rate, found in sorted(results.items()):
        table.add_row(f"{rate:,}", *(f"{found[name]:.0f}" for name in names))
    Console().print(table)
