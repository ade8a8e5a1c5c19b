"""Whatever was published on side topics before a counted record is known when that record is counted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from streams.kafka.log import Partition
from streams.totals.window_tables import WindowTables
from tests.bench.file_log import FileLog
from tests.bench.totals import process
from tests.engine.test_snapshots import World

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from streams.kafka.log import LogReader

_ROW = {"metric": "deliveries", "scope": "all", "period": "month:2024-10"}


def _target(target_id: str) -> tuple[bytes, bytes]:
    data = {**_ROW, "target_id": target_id, "value": 5}
    event = {"specversion": "1.0", "id": target_id, "source": "/plan", "type": "target.set.v1"}
    return target_id.encode(), json.dumps(event | {"time": "2024-01-01T00:00:00Z", "data": data}).encode()


async def test_what_was_published_before_the_counts_that_opening_reads_is_known_before_they_are_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileLog, "timestamp_ms", 1_728_000_000_000)
    world = World(tmp_path)
    targets = world.context.catalogue.targets.name
    world.log.append(targets, [_target("early")])
    world.count(5)
    reading = WindowTables._read_counts

    async def read_counts(tables: WindowTables, reader: LogReader) -> None:
        # A target, and the counts of later orders, come while the totals open.
        world.log.append(targets, [_target("late")])
        world.count(5)
        await reading(tables, reader)

    monkeypatch.setattr(WindowTables, "_read_counts", read_counts)
    tables = await world.opened()
    assert tables.positions()[Partition(targets, 0)] == 2
    await process(tables, [])
    rows = [json.loads(record.value or b"") for record in world.log.records_of(world.context.catalogue.windows.name)]
    (october,) = [row for row in rows if (row["metric"], row["scope"], row["period"]) == tuple(_ROW.values())]
    assert {target["target_id"] for target in october["targets"]} == {"early", "late"}
    await tables.close()
