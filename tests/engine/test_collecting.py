"""Where many counts are left at the broker, the totals take several batches of them before they publish."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from streams.totals.window_tables import WindowTables
from tests.bench.totals import batches_of, process
from tests.engine.test_snapshots import World

if TYPE_CHECKING:
    from pathlib import Path

    from streams.kafka.transport import Batch

_MANY, _ORDERS = 20, 5


class Backlog:
    """Totals that have published something, and batches of counts that each change some rows."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder)
        self.clock_us = self.world.context.now_us()
        self.world.context = replace(self.world.context, now_us=lambda: self.clock_us, many_left=_MANY)
        self.tables = WindowTables(self.world.context)
        self._windows = self.world.context.catalogue.windows.name
        self._published = 0

    async def open(self) -> None:
        """Publishes the first rows."""
        await self.tables.open()
        self.world.count(_ORDERS)
        await self.world.run(self.tables)
        self.has_published()

    def batch(self, left: int) -> Batch:
        """A batch of counts, after which a number of them are left at the broker."""
        first = next(iter(self.tables.positions().values()))
        self.world.count(_ORDERS)
        records = [(each.key or b"", each.value or b"") for each in self.world.log.records_of(self.world.counts, first)]
        (batch,) = batches_of(self.world.counts, iter(records), first)
        return batch._replace(end=batch.next + left)

    def has_published(self) -> bool:
        """Whether rows were published since this was last asked."""
        before, self._published = self._published, self.world.log.records[self._windows]
        return self._published > before


async def test_rows_are_published_once_few_counts_are_left(tmp_path: Path) -> None:
    made = Backlog(tmp_path)
    await made.open()
    for left, is_published in ((_MANY, True), (_MANY + 1, False), (_MANY + 1, False), (_MANY, True)):
        await process(made.tables, [made.batch(left)])
        assert (made.has_published(), made.tables.between_steps) == (is_published, is_published)
    # Nothing is left: what was collected is in the rows.
    again = WindowTables(made.world.context)
    await again.open()
    await process(again, [])
    assert not made.has_published()


async def test_they_are_published_once_a_second_however_many_are_left(tmp_path: Path) -> None:
    made = Backlog(tmp_path)
    await made.open()
    await process(made.tables, [made.batch(10 * _MANY)])
    await process(made.tables, [])
    assert not made.has_published()
    made.clock_us += 1_000_000
    await process(made.tables, [])
    assert made.has_published()


async def test_they_are_published_when_as_many_were_taken_as_may_be(tmp_path: Path) -> None:
    made = Backlog(tmp_path)
    await made.open()
    taken, batches = 0, 0
    while not made.has_published():
        batch = made.batch(10 * _MANY)
        taken, batches = taken + len(batch.records), batches + 1
        await process(made.tables, [batch])
    assert taken - len(batch.records) < 12 * _MANY <= taken
    assert batches > 1


async def test_a_batch_without_counts_after_which_many_are_left_is_not_the_end_of_a_step(tmp_path: Path) -> None:
    """As after a takeover, when the records of the first offsets have been compacted away."""
    made = Backlog(tmp_path)
    await made.open()
    made.world.count(_ORDERS)
    opened = WindowTables(made.world.context)
    await opened.open()
    (first, *_) = opened.positions().values()
    (batch,) = batches_of(made.world.counts, iter([]), first)
    await process(opened, [batch._replace(end=first + _MANY + 1)])
    assert (made.has_published(), opened.between_steps) == (False, False)
    await process(opened, [batch._replace(end=first)])
    assert (made.has_published(), opened.between_steps) == (True, True)
