"""Several workers: their speed and CPU together, and how long partitions stand still when another one joins.

    .venv/bin/python -m tests.bench workers [--orders N] [--json FILE]

CPU seconds per million events tell whether workers cost each other something; with more workers than cores, or a broker that
is busy, events per second do not. The pauses are those between two commits of a ledger partition while events keep coming.
"""

from __future__ import annotations

import asyncio
import signal
from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import psutil
from rich.console import Console
from rich.table import Table

from streams.kafka.clients import read_to_end
from streams.kafka.records import record_key
from tests.bench.latency import publish_at
from tests.bench.load import lives, publish
from tests.bench.worker import BenchWorker, cpu_s
from tests.support.installation import Installation

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PARTITIONS: Final = (4, 16)
WORKERS: Final = (1, 2, 4)
#: Events a second while a worker joins, and for how many seconds before and after.
_RATE: Final = 500
_BEFORE_S: Final = 6
_AFTER_S: Final = 12


async def bench(bootstrap: str, broker_pid: int, folder: Path, *, orders: int) -> dict[str, Any]:
    """Events per second and CPU by partitions and workers, and the pauses of a worker that joins.

    Args:
        bootstrap: `HOST:PORT` of the broker.
        broker_pid: Its process.
        folder: For state and logs.
        orders: Of the load; each has two events.
    """
    broker = psutil.Process(broker_pid)
    runs = []
    for partitions in PARTITIONS:
        source = await Installation(bootstrap, f"of-{partitions}.", folder, partitions=partitions).create()
        topics = (source.catalogue.orders.name, source.catalogue.deliveries.name)
        await publish(bootstrap, topics, partitions, lives(orders))
        for workers in WORKERS:
            # As many at once cost each other something already when they start.
            idle = BenchWorker(await _made(bootstrap, folder, partitions, f"idle-{workers}"), workers)
            await idle.idle()
            made = await _made(bootstrap, folder, partitions, f"{workers}", source_prefix=f"of-{partitions}.")
            several = BenchWorker(made, workers, idle=idle)
            before_s = cpu_s(broker)
            try:
                rate = await several.throughput(2 * orders)
            finally:
                several.stop()
            runs.append(
                {
                    "partitions": partitions,
                    "workers": workers,
                    "per_s": rate,
                    "cpu_s_per_million": several.cpu_s / (2 * orders / 1e6),
                    "broker_cpu_s_per_million": (cpu_s(broker) - before_s) / (2 * orders / 1e6),
                }
            )
    return {"runs": runs, "pauses_ms": await _pauses_ms(bootstrap, folder)}


async def _made(bootstrap: str, folder: Path, partitions: int, name: str, **settings: Any) -> Installation:
    place = folder / f"{partitions}-{name}"
    place.mkdir()
    return await Installation(bootstrap, f"{place.name}.", place, partitions=partitions, **settings).create()


async def _pauses_ms(bootstrap: str, folder: Path) -> list[float]:
    """The longest pause of each ledger partition while a second worker joins, milliseconds, the shortest first."""
    place = folder / "joining"
    place.mkdir()
    installation = await Installation(bootstrap, "joining.", place).create()
    first = installation.worker("first")
    await asyncio.sleep(_BEFORE_S)
    total = _RATE * (_BEFORE_S + _AFTER_S)
    publishing = asyncio.create_task(publish_at(installation, {}, range(total), _RATE, total))
    await asyncio.sleep(_BEFORE_S)
    second = installation.worker("second")
    await publishing
    await installation.applied()
    for worker in (first, second):
        worker.kill(signal.SIGTERM)
        worker.wait()
    commits: defaultdict[bytes, list[int]] = defaultdict(list)
    async for records in read_to_end(installation.settings, [(installation.catalogue.counts.name, 0)]):
        for record in records:
            if record_key(record).endswith(b"|applied"):
                commits[record_key(record)].append(record.timestamp)
    return sorted(max(later - earlier for earlier, later in pairwise(times[2:])) for times in commits.values())


def show(results: Mapping[str, Any]) -> None:
    """Prints two tables."""
    table = Table("partitions", "workers", "events/s", "CPU s per million", "broker's")
    for run in results["runs"]:
        table.add_row(
            str(run["partitions"]),
            str(run["workers"]),
            f"{run['per_s']:,.0f}",
            f"{run['cpu_s_per_million']:.1f}",
            f"{run['broker_cpu_s_per_million']:.1f}",
        )
    console = Console()
    console.print(table)
    pauses = ", ".join(f"{pause:,.0f}" for pause in results["pauses_ms"])
    console.print(
        f"longest pause of each of four partitions at {_RATE} events/s while a second worker joins: {pauses} ms"
    )
