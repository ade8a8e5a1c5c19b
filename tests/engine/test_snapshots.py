"""Totals opened from a snapshot and later records equal totals that read everything."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from schemas.codec import encode_day_count, encode_marker, read_row
from schemas.counts import CampaignHour, encode_marker_key
from schemas.facts import DayCount
from streams.context import Context
from streams.settings_sections import CampaignSettings, RollingSettings
from streams.totals import snapshots
from streams.totals.window_tables import WindowTables
from tests.bench.file_log import FileLog
from tests.bench.totals import SHARDS, Units, batches_of, marker_of, process, save, settings_of
from tests.support.count_keys import encode_count_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from streams.settings import Settings

ROWS, BLOCK_ROWS = 3000, 100


class World:
    """An installation whose log is files."""

    def __init__(self, folder: Path, settings: Settings | None = None) -> None:
        self.folder = folder
        self.units = Units()
        self.context = Context(
            settings or settings_of(), other_log=FileLog(folder), snapshot_after=100, block_rows=BLOCK_ROWS
        )
        self.counts = self.context.catalogue.counts.name

    @property
    def log(self) -> FileLog:
        log = self.context.other_log
        assert isinstance(log, FileLog)
        return log

    def count(self, orders: int, hours: Sequence[tuple[CampaignHour, list[int]]] = ()) -> None:
        """More orders, and campaign hours of the first shard, in one transaction per shard."""
        keys = {key for _ in range(orders) for key in self.units.order()}
        records = [self.units.record(key) for key in keys]
        for hour, by_minute in hours:
            key = encode_count_key(0, ("orders_placed", "all", hour))
            records.append((key, encode_day_count(DayCount(sum(by_minute), 0, by_minute, None))))
        marker = encode_marker(msgspec.structs.replace(marker_of(10**15), campaigns=self.context.campaigns.text))
        markers = [(encode_marker_key(shard), marker) for shard in range(SHARDS)]
        self.log.append(self.counts, [*records, *markers])

    async def run(self, tables: WindowTables) -> None:
        """Takes in what has come, and publishes."""
        first = tables.positions()[next(iter(tables.positions()))]
        records = [(record.key or b"", record.value or b"") for record in self.log.records_of(self.counts, first)]
        (batch,) = batches_of(self.counts, iter(records), first)
        await process(tables, [batch])

    async def opened(self, **changed: Any) -> WindowTables:
        """Totals that take over, from a copy of the log."""
        tables = WindowTables(replace(self.context, other_log=FileLog(self.folder), **changed))
        await tables.open()
        return tables


@pytest.fixture(autouse=True)
def as_often_as_rows_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "_A_ROW_US", 0)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def state_of(tables: WindowTables) -> dict[tuple[str, str, str], tuple[Any, ...]]:
    """The whole state of each row, by key."""
    windows = tables._totals.windows
    rows, series, periods = windows.sizes
    names, dates, columns = windows.series_names(0, series), windows.period_dates(0, periods), windows.columns
    found = {}
    for place in range(rows):
        key = (*names[columns.series[place]], dates[columns.period[place]][0])
        assert windows.find(key) == place
        found[key] = (
            *(columns.count[place], columns.backfilled[place], columns.hours[place], columns.status[place]),
            *(columns.published_count[place], columns.published_hours[place], columns.published_status[place]),
            *(columns.version[place], columns.restated[place], columns.updated_us[place]),
            columns.history_version[place],
            windows.published([place]),
        )
    return found


async def started(world: World) -> WindowTables:
    while len(world.units.rows) < ROWS:
        world.count(100)
    tables = await world.opened()
    await process(tables, [])
    await save(tables)
    return tables


async def test_it_is_the_state_that_everything_read_gives(world: World, caplog: pytest.LogCaptureFixture) -> None:
    tables = await started(world)
    for orders in (1, 300, 5):
        # Other transactions come between its blocks, which are therefore from different moments.
        world.count(orders)
        await world.run(tables)
    world.count(20)
    await world.run(tables)
    world.count(3)  # not taken in yet
    with caplog.at_level(logging.INFO):
        from_snapshot = await world.opened()
        assert "no snapshot" not in caplog.text
        from_all = await world.opened(block_rows=7)
        assert "no snapshot of the totals (its blocks have another size)" in caplog.text
    assert state_of(from_snapshot) == state_of(from_all)
    written = len(list(world.log.records_of(world.context.catalogue.windows.name)))
    await process(from_snapshot, [])
    assert len(list(world.log.records_of(world.context.catalogue.windows.name))) > written
    for one in (tables, from_snapshot, from_all):
        await one.close()


async def test_rolling_windows_that_only_some_scopes_have_are_in_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rolling = (RollingSettings(days=7, scopes=(("model",), ())), RollingSettings(days=3, scopes=((),)))
    world = World(tmp_path, settings_of().model_copy(update={"rolling": rolling}))
    tables = await started(world)
    world.count(20)
    await world.run(tables)
    with caplog.at_level(logging.INFO):
        from_snapshot = await world.opened()
        assert "no snapshot" not in caplog.text
        from_all = await world.opened(block_rows=7)
    found = state_of(from_snapshot)
    assert found == state_of(from_all)
    windows = {
        (period.rpartition(":")[0], scope.partition("=")[0]) for _, scope, period in found if "rolling" in period
    }
    assert windows == {("rolling:7d", "model"), ("rolling:7d", "all"), ("rolling:3d", "all")}


async def test_the_minutes_of_campaigns_are_in_it_and_another_span_makes_it_void(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    night = CampaignSettings(name="night", start=datetime(2024, 10, 7, 22, tzinfo=UTC), hours=3)
    world = World(tmp_path, settings_of().model_copy(update={"campaign": (night,)}))
    world.count(1, [(CampaignHour("night", 0), [7] * 60), (CampaignHour("night", 2), [*[0] * 59, 3])])
    tables = await started(world)
    world.count(20, [(CampaignHour("night", 2), [1, *[0] * 58, 3])])
    await world.run(tables)
    with caplog.at_level(logging.INFO):
        from_snapshot = await world.opened()
        assert "no snapshot" not in caplog.text
        from_all = await world.opened(block_rows=7)
    found = state_of(from_snapshot)
    assert found == state_of(from_all)
    row = read_row(found["orders_placed", "all", "campaign:night"][-1][0].value)
    assert (row.count, row.version, row.by_minute) == (424, 2, [*[7] * 60, *[0] * 60, 1, *[0] * 58, 3])
    longer = world.context.settings.model_copy(update={"campaign": (night.model_copy(update={"hours": 4}),)})
    with caplog.at_level(logging.INFO):
        await world.opened(settings=longer)
        assert "other campaigns are counted now" in caplog.text


async def test_a_snapshot_that_was_not_finished_leaves_the_one_before_it_in_use(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    tables = await started(world)
    # One of its blocks is full of rows that the previous snapshot did not have.
    world.count(400)
    await world.run(tables)
    assert tables.is_saving
    for _ in range(3):
        await process(tables, [])
    assert tables.is_saving
    with caplog.at_level(logging.INFO):
        from_snapshot, from_all = await world.opened(), await world.opened(block_rows=7)
        assert caplog.text.count("no snapshot") == 1
    assert state_of(from_snapshot) == state_of(from_all)


async def test_however_fast_rows_change_snapshots_take_at_most_a_part_of_the_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "_A_ROW_US", 1000)
    now_us = world.context.now_us()
    world.context = replace(world.context, now_us=lambda: now_us)
    tables = await started(world)
    world.count(400)
    await world.run(tables)
    assert not tables.is_saving
    now_us += tables._totals.windows.sizes[0] * 1000
    assert tables.is_saving


@pytest.mark.parametrize("which", ["counts", "windows"])
async def test_a_topic_that_was_made_again_is_read_whole(
    world: World, which: str, caplog: pytest.LogCaptureFixture
) -> None:
    await started(world)
    name = getattr(world.context.catalogue, which).name
    records = [(record.key, record.value) for record in world.log.records_of(name)]
    for suffix in ("", ".index"):
        (world.folder / f"{name}{suffix}").unlink()
    FileLog(world.folder).append(name, [records[1], records[0], *records[2:]])
    with caplog.at_level(logging.INFO):
        from_all = await world.opened()
        assert f"no snapshot of the totals ({name} does not begin as it did)" in caplog.text
    assert len(state_of(from_all)) >= ROWS


@pytest.mark.parametrize("holidays", [(), ("national-day", "spring-festival")])
async def test_another_calendar_makes_it_void(
    world: World, holidays: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    await started(world)
    settings = world.context.settings.model_copy(update={"holidays": holidays})
    with caplog.at_level(logging.INFO):
        tables = await world.opened(settings=settings)
        assert "no snapshot of the totals" in caplog.text
    assert tables._totals.windows.sizes[0] >= ROWS
