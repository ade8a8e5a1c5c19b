"""The totals alone, with any number of rows: models by regions by days.

    .venv/bin/python -m tests.bench totals [--rows N] [--json FILE]

Counts come in transactions of 2,000 and are all there before the first evaluation, as when history is loaded; then a
steady stream changes some of them; then another process takes over from what was published. No Kafka is needed: the log
is files. Absolute numbers depend on the machine: the first line is what decoding one row costs it, and the others are also
given as multiples of that.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.table import Table

from schemas.codec import encode_day_count, encode_marker
from schemas.counts import encode_marker_key
from schemas.facts import DayCount, LatestUnit, Metric
from schemas.outputs import Books, Marker
from streams.app import _tune_interpreter
from streams.context import BLOCK_ROWS, Context
from streams.domain.scopes.scopes import Scopes
from streams.domain.time.calendar import DEFAULT_WINDOWS, WINDOWS
from streams.kafka.transport import Batch
from streams.settings import Settings
from streams.settings_sections import RuleSettings
from streams.totals.window_tables import WindowTables
from tests.bench.file_log import FileLog, FileRecord
from tests.support.count_keys import encode_day_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

ROOT = Path(__file__).parents[2]
TEMPLATES = (("model",), ("region",), ("model", "region"), ())
MODELS, REGIONS, DAYS = 60, 300, 3 * 365
SHARDS = 4
FIRST_DAY = date(2022, 1, 1)
_STEP_CELLS = 2000
_STEADY_STEPS = 30
_STEADY_CELLS = 1000

_Key = tuple[int, Metric, str, date]
_STATEFUL = ("windows", "milestones", "counts", "totals", "forecasts", "targets", "controls")


def settings_of(kinds: str = "usual") -> Settings:
    """The scopes of a manufacturer with a sales map, and a few rules; with the usual kinds of windows, or `every`."""
    return Settings(
        windows=WINDOWS if kinds == "every" else DEFAULT_WINDOWS,
        partitions=SHARDS,
        scopes=TEMPLATES,
        rule=(
            RuleSettings(name="day", metric="deliveries", window="day", scope=("model",), exceeds=20, first=True),
            RuleSettings(name="record", metric="deliveries", window="day", scope=("region",), record=True),
            RuleSettings(name="month", metric="orders", window="month", scope=(), exceeds=3000),
        ),
    )


class Units:
    """Orders and their deliveries, spread at random, as day counts of ledger partitions."""

    def __init__(self) -> None:
        self._dice = random.Random(7)
        self._scopes = Scopes(TEMPLATES)
        self.cells: dict[_Key, list[int]] = {}
        self.rows: set[tuple[str, str, str]] = set()
        #: Each order: placed, delivered, model, region.
        self.lives: list[tuple[date, date, str, str]] = []
        self.orders = 0

    def order(self) -> list[_Key]:
        """One more order, delivered four weeks later; the counts that it changes."""
        dice = self._dice
        self.orders += 1
        shard, hour = dice.randrange(SHARDS), dice.randrange(7, 23)
        dims = (f"M{int(dice.betavariate(1, 3) * MODELS)}", "", "", f"CN-{int(dice.betavariate(1, 2) * REGIONS)}")
        placed = FIRST_DAY + timedelta(days=dice.randrange(DAYS))
        delivered = min(placed + timedelta(days=28), FIRST_DAY + timedelta(days=DAYS - 1))
        self.lives.append((placed, delivered, dims[0], dims[3]))
        changed: list[_Key] = []
        metrics: tuple[tuple[Metric, date], ...] = (
            ("orders_placed", placed),
            ("orders", placed),
            ("deliveries", delivered),
        )
        for metric, day in metrics:
            for scope in self._scopes.scopes_of(dims):
                key = (shard, metric, scope, day)
                hours = self.cells.get(key)
                if hours is None:
                    hours = self.cells[key] = [0] * 24
                    text = day.isoformat()
                    self.rows |= {(metric, scope, part) for part in (text, text[:7], text[:4])}
                hours[hour] += 1
                changed.append(key)
        return changed

    def record(self, key: _Key) -> tuple[bytes, bytes]:
        """The record of a count."""
        shard = key[0]
        hours = self.cells[key]
        latest = LatestUnit(1_728_000_000_000_000, f"e{self.orders:036d}", "/factories/bj1/dispatch", 1, shard, 7)
        return encode_day_key(*key), encode_day_count(DayCount(sum(hours), 0, hours, latest))


def marker_of(now_us: int) -> Marker:
    """The marker of a shard that has read everything."""
    books = Books(0, 0, 0, 0, 0)
    return Marker(
        positions={},
        books={"milestones.internal.rerouted": books},
        fingerprint="",
        rebuilding=False,
        caught_up=True,
        caught_up_us=now_us + 10**15,
        clock_us=now_us,
        sources={},
        backfilled=0,
        partitions=SHARDS,
    )


class Loop:
    """How long the event loop is blocked: a task that runs at each of its turns.

    Seconds of CPU, so that other work on the machine does not count.
    """

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def watch(self) -> None:
        """Until it is cancelled."""
        while True:
            began = time.process_time()
            await asyncio.sleep(0)
            self.longest_s = max(self.longest_s, time.process_time() - began)

    async def of(self, work: Awaitable[Any]) -> tuple[float, float]:
        """CPU seconds of a coroutine, and its longest stretch without a pause."""
        self.longest_s, watch = 0.0, asyncio.create_task(self.watch())
        await asyncio.sleep(0)
        began = time.process_time()
        await work
        used_s = time.process_time() - began
        await asyncio.sleep(0)
        watch.cancel()
        return used_s, self.longest_s


def resident_bytes() -> int:
    """Of this process, now."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


async def process(tables: WindowTables, batches: list[Batch]) -> None:
    """Takes batches in, and continues until nothing is left to do."""
    await tables.process(batches)
    while tables.unfinished:
        await asyncio.sleep(0)
        await tables.process([])


async def save(tables: WindowTables) -> None:
    """Continues until the snapshot that is due has been written."""
    while tables.is_saving:
        await process(tables, [])


def batches_of(topic: str, records: Iterator[tuple[bytes, bytes]], offset: int) -> Iterator[Batch]:
    """Batches of one ledger transaction each."""
    several: list[FileRecord] = []
    for key, value in records:
        several.append(FileRecord(topic, 0, offset + len(several), key, value))
    yield Batch(topic, 0, 0, offset, offset + len(several), offset + len(several), list(several))


async def build(folder: Path, rows: int, kinds: str) -> dict[str, Any]:
    """First evaluation and a steady stream, in this process."""
    log = FileLog(folder)
    context = Context(settings_of(kinds), other_log=log)
    counts = context.catalogue.counts.name
    units = Units()
    while len(units.rows) < rows:
        units.order()
    rows = len(units.rows)
    now_us = context.now_us()
    cells = list(units.cells)
    for first in range(0, len(cells), _STEP_CELLS):
        chunk = sorted(cells[first : first + _STEP_CELLS])
        log.append(counts, (units.record(key) for key in chunk))
    log.append(counts, ((encode_marker_key(shard), encode_marker(marker_of(now_us))) for shard in range(SHARDS)))
    units.rows = set()

    found: dict[str, Any] = {"rows": rows, "cells": len(cells), "orders": units.orders}
    gc.collect()
    gc.freeze()  # the units of this benchmark are not part of the service
    loop = Loop()
    tables = WindowTables(context)
    used_s, longest_s = await loop.of(tables.open())
    found["update_us"] = used_s / len(cells) * 1e6
    found["taking_in_longest_ms"] = longest_s * 1e3
    used_s, longest_s = await loop.of(process(tables, []))
    found["first_evaluation_us"] = used_s / rows * 1e6
    found["first_evaluation_longest_ms"] = longest_s * 1e3
    found["most_records_a_transaction"] = max(records for records, _ in log.transactions)
    found["most_mb_a_transaction"] = max(size for _, size in log.transactions) / 1e6
    found["first_records_a_row"] = sum(records for records, _ in log.transactions) / rows
    found["first_bytes_a_row"] = sum(size for _, size in log.transactions) / rows

    written = sum(size for _, size in log.transactions)
    used_s, longest_s = await loop.of(save(tables))
    found["snapshot_s"], found["snapshot_longest_ms"] = used_s, longest_s * 1e3
    found["snapshot_bytes_a_row"] = (sum(size for _, size in log.transactions) - written) / rows

    found |= await steady(context, log, tables, units, loop)
    await tables.close()
    found["decode_row_us"] = _decode_us(log, context.catalogue.windows.name)
    return found


async def steady(context: Context, log: FileLog, tables: WindowTables, units: Units, loop: Loop) -> dict[str, Any]:
    """A steady stream of changes."""
    counts, now_us = context.catalogue.counts.name, context.now_us()
    offset = log.records[counts]
    touched, used_s, worst_s, longest_s = 0, 0.0, 0.0, 0.0
    for _ in range(_STEADY_STEPS):
        keys: set[_Key] = set()
        while len(keys) < _STEADY_CELLS:
            keys.update(units.order())
        records = [units.record(key) for key in keys]
        records += [(encode_marker_key(shard), encode_marker(marker_of(now_us))) for shard in range(SHARDS)]
        log.append(counts, records)
        (batch,) = batches_of(counts, iter(records), offset)
        offset = batch.next
        step_s, stretch_s = await loop.of(process(tables, [batch]))
        touched, used_s = touched + len(keys), used_s + step_s
        worst_s, longest_s = max(worst_s, step_s), max(longest_s, stretch_s)
    found = {"steady_cell_us": used_s / touched * 1e6}
    found["steady_step_worst_ms"] = worst_s * 1e3
    found["steady_longest_ms"] = longest_s * 1e3
    return found


def _decode_us(log: FileLog, topic: str) -> float:
    """What plain decoding of one row costs here."""
    values = [record.value for record, _ in zip(log.records_of(topic), range(20_000), strict=False)]
    decode = msgspec.json.Decoder().decode
    began = time.process_time()
    for value in values:
        decode(value or b"")
    return (time.process_time() - began) / len(values) * 1e6


async def take_over(folder: Path, kinds: str, *, with_snapshot: bool) -> dict[str, Any]:
    """Opening and the first step after it, and what is resident then."""
    # Snapshots with another block size are not used.
    block_rows = BLOCK_ROWS if with_snapshot else 1000
    context = Context(settings_of(kinds), other_log=FileLog(folder), block_rows=block_rows)
    log = context.other_log
    assert isinstance(log, FileLog)
    loop = Loop()
    before = resident_bytes()
    tables = WindowTables(context)
    began = time.perf_counter()
    used_s, longest_s = await loop.of(tables.open())
    found: dict[str, Any] = {"open_s": time.perf_counter() - began, "open_cpu_s": used_s}
    found["open_longest_ms"] = longest_s * 1e3
    used_s, longest_s = await loop.of(process(tables, []))
    found["first_step_s"], found["first_step_longest_ms"] = used_s, longest_s * 1e3
    found["published_again"] = log.records[context.catalogue.windows.name]
    found["resident_bytes"] = resident_bytes() - before
    await tables.close()
    return found


def _in_another_process(folder: str, kinds: str, how: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.totals", folder, kinds, how]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"taking over failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def bench(rows: int, *, every_window: bool) -> dict[str, Any]:
    """All of it. The number of rows is that of the usual kinds of windows."""
    kinds = "every" if every_window else "usual"
    with tempfile.TemporaryDirectory(prefix="milestones-totals-") as folder:
        _tune_interpreter()
        found = asyncio.run(build(Path(folder), rows, kinds))
        found |= _in_another_process(folder, kinds, "snapshot")
        found |= {f"whole_{key}": value for key, value in _in_another_process(folder, kinds, "whole").items()}
    for how in ("", "whole_"):
        found[f"{how}open_us_a_row"] = found[f"{how}open_cpu_s"] / found["rows"] * 1e6
        found[f"{how}bytes_a_row"] = found[f"{how}resident_bytes"] / found["rows"]
    return found


def show(found: dict[str, Any]) -> None:
    """The results as a table."""
    table = Table("measure", "value", "of decoding a row", title=f"{found['rows']:,} rows, {found['cells']:,} counts")
    base = found["decode_row_us"]
    for key, what, digits in (
        ("decode_row_us", "decoding one row as JSON, us", 2),
        ("update_us", "taking in a count at opening, us", 1),
        ("first_evaluation_us", "first evaluation, us a row", 1),
        ("steady_cell_us", "steady step, us a touched count", 1),
        ("open_us_a_row", "taking over, us a row", 1),
        ("whole_open_us_a_row", "taking over without a snapshot, us a row", 1),
    ):
        table.add_row(what, f"{found[key]:,.{digits}f}", f"{found[key] / base:,.1f}")
    for key, what, digits in (
        ("bytes_a_row", "resident bytes a row", 0),
        ("whole_bytes_a_row", "resident bytes a row, without a snapshot", 0),
        ("open_cpu_s", "taking over, s of CPU", 1),
        ("whole_open_cpu_s", "taking over without a snapshot, s of CPU", 1),
        ("snapshot_s", "writing a snapshot, s of CPU", 1),
        ("snapshot_bytes_a_row", "bytes written a row, snapshot", 0),
        ("snapshot_longest_ms", "longest stretch of CPU, writing a snapshot, ms", 0),
        ("first_step_s", "first step after it, s", 1),
        ("published_again", "rows published again by it", 0),
        ("most_records_a_transaction", "most records of a transaction", 0),
        ("most_mb_a_transaction", "most MB of a transaction", 1),
        ("first_records_a_row", "records written a row, first evaluation", 1),
        ("first_bytes_a_row", "bytes written a row, first evaluation", 0),
        ("taking_in_longest_ms", "longest stretch of CPU while counts are read, ms", 0),
        ("first_evaluation_longest_ms", "longest stretch of CPU, the first evaluation, ms", 0),
        ("steady_longest_ms", "longest stretch of CPU, a steady step, ms", 0),
        ("open_longest_ms", "longest stretch of CPU, taking over, ms", 0),
        ("first_step_longest_ms", "longest stretch of CPU, the first step after it, ms", 0),
    ):
        table.add_row(what, f"{found[key]:,.{digits}f}", "")
    Console().print(table)


def main() -> None:
    """What runs in the process that takes over."""
    _tune_interpreter()
    folder, kinds, how = sys.argv[1:]
    print(json.dumps(asyncio.run(take_over(Path(folder), kinds, with_snapshot=how == "snapshot"))))


if __name__ == "__main__":
    main()
