"""Years of history loaded into a real Kafka by a worker that is killed on the way, with its event loop watched.

    .venv/bin/python -m tests.bench opening [--rows N] [--kills K]

Orders and deliveries of models by regions by days are on the topics before the worker starts, which has a session timeout of
6 s. It is killed K times, each time when a further part of the rows is published. In the end every row must have the sum of its
units and every milestone each revision once; then the worker is killed once more and opens all of it.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
from collections import Counter
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import psutil
from aiokafka import TopicPartition
from rich.console import Console
from rich.table import Table

from schemas.codec import read_row
from streams.kafka.clients import read_to_end, reader
from streams.kafka.records import record_value
from tests.bench.load import Record, publish
from tests.bench.totals import SHARDS, TEMPLATES, Units
from tests.support.installation import Installation, Worker
from tests.support.time_limits import deadline

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KILLS = 5
_LOOK_S = 0.25
_WHOLE_S = 1800.0
_WORST = 8
_CONFIG = """
scopes = [["model"], ["region"], ["model", "region"], []]
[[rule]]
name = "day"
metric = "deliveries"
window = "day"
scope = ["model"]
exceeds = 20
first = true
[[rule]]
name = "record"
metric = "deliveries"
window = "day"
scope = ["region"]
record = true
"""
_PLACED = (
    '{"specversion":"1.0","id":"p","source":"/sales/web","type":"order.placed.v1","time":"%s",'
    '"data":{"order_id":"%s","model":"%s","region":"%s"}}'
)
_DELIVERED = (
    '{"specversion":"1.0","id":"d","source":"/factories/bj1/dispatch","type":"vehicle.delivered.v1","time":"%s",'
    '"data":{"order_id":"%s","vin":"LNBSU7A10R%07d","model":"%s","region":"%s"}}'
)
_ZONE = timezone(timedelta(hours=8))


def _events(units: Units) -> Iterator[Record]:
    """Of all units, in the order of their placing: orders for topic 0, deliveries for topic 1."""
    for number, (placed, delivered, model, region) in enumerate(sorted(units.lives)):
        order = f"SO-{number:09d}"
        at = datetime.combine(placed, datetime.min.time(), _ZONE).replace(hour=7 + number % 15)
        yield Record(0, order.encode(), (_PLACED % (at.isoformat(), order, model, region)).encode())
        at = datetime.combine(delivered, datetime.min.time(), _ZONE).replace(hour=23)
        yield Record(1, order.encode(), (_DELIVERED % (at.isoformat(), order, number, model, region)).encode())


class Opening:
    """An installation with a history to load, and the lives of its worker."""

    def __init__(self, installation: Installation, folder: Path) -> None:
        self.installation = installation
        self._watch, self._log = folder / "watch", folder / "watched.log"
        self.events = 0

    async def fill(self, rows: int) -> dict[str, int]:
        """Publishes the events of a number of rows. Returns the count of each row by key, except those of holidays."""
        units = Units()
        while len(units.rows) < rows:
            units.order()
        settings, catalogue = self.installation.settings, self.installation.catalogue
        topics = (catalogue.orders.name, catalogue.deliveries.name)
        await publish(settings.bootstrap_servers, topics, settings.partitions, _events(units))
        self.events = 2 * units.orders
        expected: Counter[str] = Counter()
        for (_, metric, scope, day), hours in units.cells.items():
            for period in (f"day:{day}", f"month:{day:%Y-%m}", f"year:{day:%Y}"):
                expected[f"{metric}/{scope}/{period}"] += sum(hours)
        return dict(expected)

    def start(self) -> Worker:
        """Runs the worker until it ends."""
        environment = {**self.installation.environment, "WATCH_FILE": str(self._watch)}
        worker = Worker(environment, "watched", self._log, "tests.support.watched_worker")
        self.installation.workers.append(worker)
        return worker

    async def until(self, rows: int, worker: Worker) -> None:
        """Waits until there is a number of records of rows.

        Raises:
            RuntimeError: The worker has ended, or it takes too long.
        """
        topic = self.installation.catalogue.windows.name
        give_up_s = deadline(_WHOLE_S)
        async with reader(self.installation.settings) as consumer:
            while True:
                (end,) = (await consumer.end_offsets([TopicPartition(topic, 0)])).values()
                if end >= rows:
                    return
                self._check(worker, give_up_s)
                await asyncio.sleep(_LOOK_S)

    async def complete(self, expected: dict[str, int], worker: Worker) -> int:
        """Waits until every row has the sum of its units. Returns how many records of rows that took.

        Raises:
            RuntimeError: The worker has ended, or it takes too long.
        """
        topic, give_up_s = self.installation.catalogue.windows.name, deadline(_WHOLE_S)
        found: dict[str, int] = {}
        wrong, records, since = len(expected), 0, 0
        while wrong:
            self._check(worker, give_up_s)
            await asyncio.sleep(_LOOK_S)
            async for batch in read_to_end(self.installation.settings, [(topic, 0)], since={(topic, 0): since}):
                for record in batch:
                    records, since = records + 1, record.offset + 1
                    row = read_row(record_value(record))
                    key = f"{row.metric}/{row.scope}/{row.period}"
                    if not row.period.startswith("holiday"):
                        if found.get(key) == expected.get(key):
                            wrong += 1
                        found[key] = row.count
                        if found[key] == expected.get(key):
                            wrong -= 1
            if wrong < len(expected.keys() - found.keys()):
                raise RuntimeError(f"{wrong} rows are said to be wrong")
        if found != expected:
            raise RuntimeError("there are rows that nothing was counted in")
        return records

    async def opened(self, times: int, worker: Worker) -> None:
        """Waits until the totals have been opened a number of times, over all lives.

        Raises:
            RuntimeError: The worker has ended, or it takes too long.
        """
        give_up_s = deadline(_WHOLE_S)
        while len(self.openings_s()) < times:
            self._check(worker, give_up_s)
            await asyncio.sleep(_LOOK_S)

    def _check(self, worker: Worker, give_up_s: float) -> None:
        if worker.process.poll() is not None or time.monotonic() > give_up_s:
            raise RuntimeError(f"the worker has ended, or got stuck:\n{self._log.read_text()[-3000:]}")

    async def output_bytes(self) -> dict[str, int]:
        """Bytes of keys and values on the topics that the totals write, by topic, without compacted ones."""
        catalogue = self.installation.catalogue
        found: dict[str, int] = {}
        for topic in (catalogue.windows, catalogue.history, catalogue.totals, catalogue.milestones, catalogue.counts):
            size = 0
            async for batch in read_to_end(self.installation.settings, [(topic.name, 0)]):
                size += sum(len(record.key or b"") + len(record.value or b"") for record in batch)
            found[topic.name.removeprefix(self.installation.settings.output_prefix)] = size
        return found

    def watched(self) -> dict[str, Any]:
        """The longest turns of the loop, by the clock and of CPU, and what was running in them."""
        lives = {line["pid"]: line for line in map(json.loads, self._watch.read_text().splitlines())}
        worst = sorted((turn for line in lives.values() for turn in line["worst"]), reverse=True)
        return {
            "longest_ms": max(line["ms"] for line in lives.values()),
            "longest_cpu_ms": max(line["cpu_ms"] for line in lives.values()),
            "long": sum(line["long"] for line in lives.values()),
            "worst": worst[:_WORST],
        }

    def openings_s(self) -> list[float]:
        """The duration of each opening of the totals."""
        return [float(found) for found in re.findall(r"totals: open after ([0-9.]+) s", self._log.read_text())]

    def reopenings(self) -> list[str]:
        """Log lines about states that were given up in doubt or to another worker."""
        return [line for line in self._log.read_text().splitlines() if re.search(r"opened again|taken over by", line)]


async def bench_opening(bootstrap: str, rows: int, kills: int, folder: Path) -> dict[str, Any]:
    """All of it.

    Raises:
        RuntimeError: A row is wrong at the end.
        AssertionError: A revision of a milestone is missing or there twice.
    """
    installation = Installation(bootstrap, "opening.", folder, partitions=SHARDS, scopes=TEMPLATES)
    installation.configure(_CONFIG)
    await installation.create()
    made = Opening(installation, folder)
    try:
        expected = await made.fill(rows)
        began_s = time.monotonic()
        worker = made.start()
        for life in range(1, kills + 1):
            await made.until(len(expected) * life // (kills + 1), worker)
            worker.kill(signal.SIGKILL)
            worker.wait()
            worker = made.start()
        records = await made.complete(expected, worker)
        taken_s = time.monotonic() - began_s
        await installation.standing()
        openings = len(made.openings_s())
        worker.kill(signal.SIGKILL)
        worker.wait()
        worker = made.start()
        await made.opened(openings + 1, worker)
        await asyncio.sleep(2)
        resident = psutil.Process(worker.process.pid).memory_info().rss
        return {
            "rows": len(expected),
            "events": made.events,
            "kills": kills,
            "taken_s": taken_s,
            "events_per_s": made.events / taken_s,
            "records_a_row": records / len(expected),
            "output_bytes": await made.output_bytes(),
            "openings_s": made.openings_s(),
            "resident_mb": resident / 1e6,
            "reopenings": made.reopenings(),
            **made.watched(),
        }
    finally:
        installation.end()


def show_opening(found: dict[str, Any]) -> None:
    """The results as a table."""
    title = f"{found['rows']:,} rows of {found['events']:,} events, killed {found['kills']} times"
    table = Table("measure", "value", title=title)
    table.add_row("until all rows are there, s", f"{found['taken_s']:,.1f}")
    table.add_row("events a second, end to end", f"{found['events_per_s']:,.0f}")
    table.add_row("records of rows, a row", f"{found['records_a_row']:.2f}")
    for topic, size in found["output_bytes"].items():
        table.add_row(f"bytes of {topic}, an event", f"{size / found['events']:,.0f}")
    table.add_row("longest turn of the loop, ms", f"{found['longest_ms']:,.0f}")
    table.add_row("the same in CPU of the loop's thread, ms", f"{found['longest_cpu_ms']:,.0f}")
    table.add_row("turns of more than 50 ms of CPU", f"{found['long']:,}")
    table.add_row("openings of the totals, s", ", ".join(f"{each:.1f}" for each in found["openings_s"]))
    table.add_row("resident memory of the worker, with the orders, MB", f"{found['resident_mb']:,.0f}")
    table.add_row("states given up in between", f"{len(found['reopenings']):,}")
    Console().print(table)
    for cpu_ms, seen in found["worst"]:
        Console().print(f"[dim]a turn of {cpu_ms:.0f} ms:", soft_wrap=True)
        for where, times in seen:
            Console().print(f"[dim]  {times} x {where}", soft_wrap=True)
    for line in found["reopenings"]:
        Console().print(f"[dim]{line}", soft_wrap=True)
