"""A campaign is over when everything appended before its end has been counted, although its day is not over."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from schemas.codec import decode_row, encode_day_count, encode_marker
from schemas.counts import CampaignHour, encode_marker_key
from schemas.facts import DayCount
from schemas.instants import micros_of
from streams.context import Context
from streams.settings import Settings
from streams.settings_sections import CampaignSettings
from streams.totals.window_tables import WindowTables
from tests.bench.file_log import FileLog
from tests.bench.totals import batches_of, marker_of, process
from tests.support.count_keys import encode_count_key

if TYPE_CHECKING:
    from pathlib import Path

SECOND_US = 1_000_000
START = datetime.fromisoformat("2024-10-07T10:00:00+08:00")
END_US = micros_of(START) + 3600 * SECOND_US
MORNING = CampaignSettings(name="morning", start=START, hours=1)


async def test_it_is_open_until_every_ledger_partition_has_read_up_to_its_end(tmp_path: Path) -> None:
    log, now_us = FileLog(tmp_path), [END_US - SECOND_US]
    settings = Settings(partitions=1, scopes=((),), campaign=(MORNING,))
    context = Context(settings, now_us=lambda: now_us[0], other_log=log)
    counts, key = context.catalogue.counts.name, encode_count_key(0, ("orders", "all", CampaignHour("morning", 0)))
    tables = WindowTables(context)
    await tables.open()

    async def status_when(units: int, read_up_to_us: int, *, caught_up: bool) -> str:
        """The status of the row after this count, and a marker that says how far the sources have been read."""
        first = log.end_of(counts)
        marker = msgspec.structs.replace(
            marker_of(now_us[0]),
            campaigns=context.campaigns.text,
            caught_up_us=read_up_to_us,
            caught_up=caught_up,
        )
        records = [
            (key, encode_day_count(DayCount(units, 0, [*[0] * 59, units], None))),
            (encode_marker_key(0), encode_marker(marker)),
        ]
        log.append(counts, records)
        (batch,) = batches_of(counts, iter(records), first)
        await process(tables, [batch])
        *_, last = log.records_of(context.catalogue.windows.name)
        row = decode_row(last.value or b"")
        assert (row.period, row.count) == ("campaign:morning", units)
        return row.status

    assert await status_when(1, now_us[0], caught_up=True) == "open"
    now_us[0] = END_US + 2 * SECOND_US
    assert await status_when(2, END_US - 1, caught_up=False) == "open"
    assert await status_when(3, END_US, caught_up=True) == "provisional"
    now_us[0] = END_US + settings.closed_after_s * SECOND_US
    assert await status_when(4, now_us[0], caught_up=True) == "closed"
    await tables.close()


def test_what_has_ended_last_is_a_day_or_a_campaign() -> None:
    context = Context(Settings(campaign=(MORNING,)))
    midnight_us = micros_of(datetime.fromisoformat("2024-10-07T00:00:00+08:00"))
    assert context.last_end_us(END_US - 1) == midnight_us
    assert context.last_end_us(END_US) == END_US
    assert context.last_end_us(midnight_us + 86_400 * SECOND_US) == midnight_us + 86_400 * SECOND_US
