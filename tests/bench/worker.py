"""A worker under measurement: its speed by the broker's clock, its memory and CPU by the kernel's."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING, Final

import orjson
import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.kafka.clients import read_to_end
from streams.kafka.records import record_key, record_value
from tests.bench.load import lives, publish

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.kafka.records import LogRecord
    from tests.support.installation import Installation, Worker


#: Long enough for a worker to have opened everything.
_IDLE_S: Final = 5.0


def cpu_s(process: psutil.Process) -> float:
    """CPU seconds that a process has used so far."""
    cpu = process.cpu_times()
    return float(cpu.user + cpu.system)


def committed_reader(installation: Installation) -> AIOKafkaConsumer:
    """A consumer of what is committed, to be started and given its partitions."""
    return AIOKafkaConsumer(
        bootstrap_servers=installation.settings.bootstrap_servers,
        isolation_level="read_committed",
        enable_auto_commit=False,
    )


class BenchWorker:
    """Starts a worker and watches it from outside.

    Args:
        installation: Of the worker.
        workers: How many are started.
        started: Workers that run already.
        idle: One like it whose `idle` was measured.
    """

    def __init__(
        self,
        installation: Installation,
        workers: int = 1,
        *,
        started: Iterable[Worker] = (),
        idle: BenchWorker | None = None,
    ) -> None:
        self._installation = installation
        self._count = workers
        self._workers = list(started)
        self.idle_rss_mb: float = idle.idle_rss_mb if idle is not None else 0.0
        self._idle_cpu_s: float = idle._idle_cpu_s if idle is not None else 0.0
        self.rss_mb = 0.0
        self.cpu_s = 0.0

    async def idle(self) -> None:
        """Measures a worker that has started and has nothing to do; call it before anything is published."""
        self._start()
        await asyncio.sleep(_IDLE_S)
        self.idle_rss_mb, cpu_s = self._used()
        self._idle_cpu_s = cpu_s / self._count
        self.stop()

    async def throughput(self, events: int) -> float:
        """Events per second between the first and the last marker, by the broker's append times; CPU without that of starting."""
        self._start()
        await self.until(events)
        await asyncio.sleep(1.5)
        self.rss_mb, cpu_s = self._used()
        self.cpu_s = cpu_s - len(self._workers) * self._idle_cpu_s
        return await self.rate()

    def _used(self) -> tuple[float, float]:
        """Resident megabytes of the first worker, and CPU seconds of all."""
        processes = [psutil.Process(worker.process.pid) for worker in self._workers]
        return processes[0].memory_info().rss / 1e6, sum(map(cpu_s, processes))

    async def restart(self, orders: int) -> float:
        """Seconds from starting a worker to the commit of an event that waits for it."""
        topics = (self._installation.catalogue.orders.name, self._installation.catalogue.deliveries.name)
        await publish(
            self._installation.settings.bootstrap_servers,
            topics,
            self._installation.settings.partitions,
            lives(1, orders + 1),
        )
        started = time.perf_counter()
        self._start()
        await self.until(2 * orders + 2, every_s=0.05)
        return time.perf_counter() - started

    def stop(self) -> None:
        """Ends the workers in order."""
        for worker in self._workers:
            worker.kill(signal.SIGTERM)
            worker.wait()
        self._workers.clear()

    def _start(self) -> None:
        self._workers = [self._installation.worker(f"bench-{number}") for number in range(self._count)]

    async def until(self, events: int, every_s: float = 0.5) -> None:
        """Follows the markers with a light consumer until a number of events have been read."""
        topic = TopicPartition(self._installation.catalogue.counts.name, 0)
        consumer = committed_reader(self._installation)
        await consumer.start()
        try:
            consumer.assign([topic])
            await consumer.seek_to_beginning(topic)
            read: dict[bytes, int] = {}
            while sum(read.values()) < events:
                if any(worker.process.poll() is not None for worker in self._workers):
                    raise RuntimeError(f"the worker ended\n{self._installation.tails()}")
                for records in (await consumer.getmany(timeout_ms=1000)).values():
                    read.update(_read(records))
                await asyncio.sleep(every_s)
        finally:
            await consumer.stop()

    async def rate(self) -> float:
        """Events per second between the first and the last marker, by the broker's append times."""
        first: tuple[int, int] | None = None
        last = (0, 0)
        read: dict[bytes, int] = {}
        async for records in read_to_end(self._installation.settings, [(self._installation.catalogue.counts.name, 0)]):
            for record in records:
                progress = _read([record])
                if progress and any(progress.values()):
                    read.update(progress)
                    if sum(read.values()) > (last[0]):
                        last = (sum(read.values()), record.timestamp)
                        first = first or last
        if first is None:
            raise RuntimeError("nothing was applied")
        return (last[0] - first[0]) / ((last[1] - first[1]) / 1000)


def _read(records: list[LogRecord]) -> dict[bytes, int]:
    """Events read by each partition, from those of the records that are markers."""
    found = {}
    for record in records:
        key = record_key(record)
        if key.endswith(b"|applied"):
            books = orjson.loads(record_value(record))["books"]
            found[key] = sum(book["read"] for book in books.values())
    return found
