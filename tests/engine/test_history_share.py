"""Rows do not wait for the history, where many versions are due at once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from streams.domain.time.zone import MINUTE_US
from streams.totals.window_tables import WindowTables
from tests.bench.totals import batches_of, process
from tests.engine.test_snapshots import World

if TYPE_CHECKING:
    from pathlib import Path

_ORDERS = 1500
#: Versions in one transaction: the share of the history before and after a part of the step, and the first versions of a few rows.
_MOST = 1_500


async def test_what_changes_while_thousands_of_versions_are_due_is_published_with_the_first_of_them(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    clock_us = world.context.now_us()
    world.context = replace(world.context, now_us=lambda: clock_us)
    tables = WindowTables(world.context)
    await tables.open()
    for _ in range(2):
        world.count(_ORDERS)
        await world.run(tables)
    windows, history = world.context.catalogue.windows.name, world.context.catalogue.history.name
    log = world.log
    written, rows = log.records[history], log.records[windows]
    # All versions of the second step are due now, thousands of them.
    clock_us += 2 * MINUTE_US
    world.count(1)
    first = tables.positions()[next(iter(tables.positions()))]
    records = [(record.key or b"", record.value or b"") for record in log.records_of(world.counts, first)]
    (batch,) = batches_of(world.counts, iter(records), first)
    await tables.process([batch])
    assert log.records[windows] > rows
    assert 0 < log.records[history] - written < _MOST
    assert (tables.unfinished, tables.takes_more) == (True, True)
    await process(tables, [])
    assert (tables.unfinished, tables.takes_more) == (False, True)
    assert log.records[history] - written > 2 * _MOST
