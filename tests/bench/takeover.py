"""A worker with a ledger partition is killed: how long until another one commits for it, with and without a standby copy.

    .venv/bin/python -m tests.bench takeover [--orders N] [--json FILE]

One ledger partition has all the orders. A second worker, whose event loop is watched, runs and owns the totals, so nothing has to be
started: what it takes is that the group notices (`session_timeout_s`, here 6 s) and assigns anew, and then opening. Before, it follows
500 orders a second, which shows what a copy costs it.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
from typing import TYPE_CHECKING, Any, Final

import psutil
from aiokafka import TopicPartition
from rich.console import Console
from rich.table import Table

from schemas.counts import encode_marker_key
from tests.bench.latency import publish_at
from tests.bench.load import lives, publish
from tests.bench.worker import BenchWorker, committed_reader, cpu_s
from tests.support.installation import Installation, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_RATE: Final = 500
_STEADY_S: Final = 10
_LOOK_S: Final = 0.02
_GIVE_UP_S: Final = 900.0


async def bench(bootstrap: str, folder: Path, *, orders: int) -> dict[str, Any]:
    """Seconds and CPU of a takeover, and what the successor's standby copy costs it before, without and with one.

    Args:
        bootstrap: `HOST:PORT` of the broker.
        folder: For state and logs.
        orders: Of the load; each has two events.
    """
    made = await Installation(bootstrap, "takeover.", folder, partitions=1).create()
    topics = (made.catalogue.orders.name, made.catalogue.deliveries.name)
    await publish(bootstrap, topics, 1, lives(orders))
    loading = made.worker("loading")
    await BenchWorker(made, started=[loading]).until(2 * orders)
    _end(loading)
    try:
        return {
            "orders": orders,
            "session_timeout_s": made.settings.session_timeout_s,
            "runs": [await _Run(made, copies, orders).taken_over() for copies in (0, 1)],
        }
    finally:
        made.end()


def _end(worker: Worker) -> None:
    worker.kill(signal.SIGTERM)
    worker.wait()


class _Run:
    """Two workers, one of which is killed.

    Args:
        made: With all orders.
        copies: The setting `standby_copies`.
        orders: How many orders there are.
    """

    def __init__(self, made: Installation, copies: int, orders: int) -> None:
        self._made, self._copies = made, copies
        self._first = 10 * orders * (copies + 1)
        made.client = {"standby_copies": str(copies)}
        self._watch = made.folder / f"watch-{copies}"

    async def taken_over(self) -> dict[str, Any]:
        """The results."""
        made = self._made
        owner = made.worker(f"owner-{self._copies}")
        await self._until(lambda status: status.get(f"worker/owner-{self._copies}", {}).get("partitions") == [0])
        log = made.folder / f"successor-{self._copies}.log"
        environment = {**made.environment, "WATCH_FILE": str(self._watch)}
        successor = Worker(environment, f"successor-{self._copies}", log, "tests.support.watched_worker")
        made.workers.append(successor)
        await self._until(self._is_ready)
        process = psutil.Process(successor.process.pid)
        before_s, before_cpu_s = time.monotonic(), cpu_s(process)
        total = _RATE * _STEADY_S
        await publish_at(made, {}, range(self._first, self._first + total), _RATE, total + 1)
        steady = (cpu_s(process) - before_cpu_s) / (time.monotonic() - before_s)
        await asyncio.sleep(2)
        resident = process.memory_info().rss
        before_cpu_s = cpu_s(process)
        owner.kill()
        taken_s = await self._first_commit_s()
        used_s = cpu_s(process) - before_cpu_s
        (opening_s,) = re.findall(r"ledger 0: open after ([0-9.]+) s", log.read_text())
        await asyncio.sleep(2)
        turns = [json.loads(line) for line in self._watch.read_text().splitlines()]
        found = {
            "copies": self._copies,
            "taken_s": taken_s,
            "opening_s": float(opening_s),
            "cpu_s": used_s,
            "steady_core": steady,
            "resident_mb": resident / 1e6,
            "resident_after_mb": process.memory_info().rss / 1e6,
            "longest_cpu_ms": max(line["cpu_ms"] for line in turns),
            "from_copy": "there is a standby copy" in log.read_text(),
        }
        _end(successor)
        return found

    def _is_ready(self, status: Mapping[str, Any]) -> bool:
        owner, successor = (status.get(f"worker/{name}-{self._copies}", {}) for name in ("owner", "successor"))
        kept = successor.get("standbys", [])
        is_warm = bool(kept) and all(copy["behind"] is not None for copy in kept)
        return (
            (owner.get("partitions"), owner.get("health")) == ([0], "running")
            and successor.get("health") == "running"
            and "joined group" in (self._made.folder / f"successor-{self._copies}.log").read_text()
            and (is_warm or not self._copies)
        )

    async def _until(self, is_so: Callable[[Mapping[str, Any]], bool]) -> None:
        give_up_s = time.monotonic() + _GIVE_UP_S
        while not is_so(await self._made.status()):
            if time.monotonic() > give_up_s:
                raise RuntimeError(f"waited in vain\n{self._made.tails()}")
            await asyncio.sleep(0.5)

    async def _first_commit_s(self) -> float:
        """Seconds from now to the next commit of the ledger partition."""
        began_s = time.monotonic()
        topic = TopicPartition(self._made.catalogue.counts.name, 0)
        async with committed_reader(self._made) as consumer:
            consumer.assign([topic])
            await consumer.seek_to_end(topic)
            while time.monotonic() - began_s < _GIVE_UP_S:
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    if any(record.key == encode_marker_key(0) for record in records):
                        return time.monotonic() - began_s
                await asyncio.sleep(_LOOK_S)
        raise RuntimeError(f"nothing was committed\n{self._made.tails()}")


def show(results: Mapping[str, Any]) -> None:
    """Prints a table."""
    title = (
        f"kill -9 of the owner of {results['orders']:,} orders, session timeout {results['session_timeout_s']:.0f} s"
    )
    table = Table("measure", *("with a copy" if run["copies"] else "without" for run in results["runs"]), title=title)
    for name, key, form in (
        ("to the first commit of the other worker, s", "taken_s", "{:.2f}"),
        ("of it, opening, s", "opening_s", "{:.2f}"),
        ("its CPU from the kill to that commit, s", "cpu_s", "{:.2f}"),
        ("its longest turn of the event loop, all the time, ms of CPU", "longest_cpu_ms", "{:.0f}"),
        ("its CPU while the owner takes 500 orders a second, of a core", "steady_core", "{:.1%}"),
        ("its resident MB before; after", "resident_mb", "{:.0f}"),
        ("", "resident_after_mb", "{:.0f}"),
    ):
        table.add_row(name, *(form.format(run[key]) for run in results["runs"]))
    Console().print(table)
