"""When a rebuild has caught up."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import AsyncMock

import msgspec
import pytest

from schemas.codec import encode_day_count, encode_marker, encode_row
from schemas.counts import CampaignHour, encode_marker_key
from schemas.facts import DayCount
from schemas.memory import SIDE, WAITING, key_of
from schemas.outputs import WindowRow
from schemas.rows import RowKey
from streams.context import Context
from streams.domain.time.campaigns import Campaigns
from streams.holidays import calendar_of
from streams.operations.rebuild import _Published, _until_caught_up
from streams.settings import Settings
from streams.settings_sections import CampaignSettings
from streams.totals.announcing import announces
from tests.bench.totals import marker_of
from tests.support.count_keys import encode_count_key, encode_day_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from streams.kafka.log import LogReader

START = datetime.fromisoformat("2024-10-07T10:00:00+08:00")


def counted(offset: int, count: int) -> Any:
    """A record of the counts."""
    key = encode_day_key(0, "deliveries", "all", date(2024, 10, 7))
    return SimpleNamespace(
        topic="counts", offset=offset, key=key, value=encode_day_count(DayCount(count, 0, [0] * 24, None))
    )


def test_it_waits_for_the_rows_of_every_window_that_a_day_is_in() -> None:
    published = _Published("counts", "memory", {0: 0}, 1, calendar_of(Settings(holidays=("national-day",))))
    published.take(counted(0, 3))
    for period in ("day:2024-10-07", "month:2024-10", "year:2024", "holiday:national-day:2024"):
        assert not published.all_summed(), f"without {period}"
        published.rows[RowKey("deliveries", "all", period)] = 3
    assert published.all_summed()


def test_a_row_with_the_sum_of_a_later_moment_will_do() -> None:
    published = _Published("counts", "memory", {0: 0}, 1, calendar_of(Settings(holidays=())))
    published.take(counted(0, 3))
    assert not published.all_summed()
    published.take(counted(1, 5))
    for period, count in (("day:2024-10-07", 5), ("month:2024-10", 3), ("year:2024", 5)):
        published.rows[RowKey("deliveries", "all", period)] = count
    assert published.all_summed()


def test_a_row_that_was_seen_must_still_hold_unless_later_counts_have_changed_it() -> None:
    """A unit that came and went has no row yet; then a part of an earlier step, which counts it, is published."""
    published = _Published("counts", "memory", {0: 0}, 1, calendar_of(Settings(holidays=(), windows=("day", "month"))))
    day, month = (RowKey("deliveries", "all", period) for period in ("day:2024-10-07", "month:2024-10"))
    published.take(counted(0, 3))
    published.take(counted(1, 0))
    published.rows[month] = 3
    assert not published.all_summed()
    published.rows |= {day: 3, month: 0}
    assert not published.all_summed()
    published.rows[day] = 0
    assert published.all_summed()


def test_an_opening_balance_is_no_sum_of_days() -> None:
    settings = Settings(windows=("day", "total"))
    published = _Published("counts", "memory", {0: 0}, 1, calendar_of(settings))
    published.take(counted(0, 3))
    total = WindowRow(
        metric="deliveries", scope="all", period="total", start="1999-12-31", end="2101-01-01", timezone="Asia/Shanghai",
        count=10, balance=7, targets=[], status="open", restated=0, version=1, updated_at="2024-10-07T10:00:00.000Z",
    )  # fmt: skip
    published.take(cast("Any", SimpleNamespace(topic="windows", offset=0, key=b"", value=encode_row(total))))
    published.rows[RowKey("deliveries", "all", "day:2024-10-07")] = 3
    assert published.all_summed()


def settings_with(scopes: tuple[tuple[str, ...], ...]) -> Settings:
    """Settings with a campaign for these scopes."""
    return Settings(
        scopes=((), ("model",)), campaign=(CampaignSettings(name="launch", start=START, hours=1, scopes=scopes),)
    )


def test_a_row_of_a_campaign_that_is_not_counted_for_its_scope_any_more_is_as_it_was() -> None:
    published = _Published("counts", "memory", {0: 0}, 1, calendar_of(Settings(holidays=())))
    for count in (3, 0):
        key = encode_count_key(0, ("deliveries", "all", CampaignHour("launch", 0)))
        value = encode_day_count(DayCount(count, 0, [*[0] * 59, count], None))
        published.take(cast("Any", SimpleNamespace(topic="counts", partition=0, offset=0, key=key, value=value)))
    published.rows[RowKey("deliveries", "all", "campaign:launch")] = 3
    for scopes, is_summed in (((), ("model",)), False), ((("model",),), True):
        marker = msgspec.structs.replace(marker_of(0), campaigns=Campaigns(settings_with(scopes).campaigns).text)
        record = SimpleNamespace(
            topic="counts", partition=0, offset=0, key=encode_marker_key(0), value=encode_marker(marker)
        )
        published.take(cast("Any", record))
        assert published.all_summed() is is_summed


class Pieces:
    """A consumer whose records come in these pieces, and then no more."""

    def __init__(self, *pieces: list[object]) -> None:
        self.pieces = list(pieces)

    async def read(self, _partitions: object, *, since: object) -> AsyncIterator[list[object]]:  # noqa: ARG002 - as it is called
        yield self.pieces.pop(0) if self.pieces else []

    async def position(self, _partition: object) -> int:
        return 0


async def test_it_waits_for_milestones_that_wait_for_their_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if their rows are read before what the totals remember of them."""
    monkeypatch.setattr("streams.operations.rebuild._POLL_S", 0.0)
    marker: object = SimpleNamespace(
        topic="counts", partition=0, offset=0, key=encode_marker_key(0), value=encode_marker(marker_of(0))
    )
    waits, is_out = (
        SimpleNamespace(topic="memory", key=key_of(SIDE, f"{WAITING}1"), value=value) for value in (b"{}", None)
    )
    reader = Pieces([marker], [waits], [], [is_out])
    published = _Published("counts", "memory", {0: 0}, 1, calendar_of(Settings(holidays=())))
    worker = SimpleNamespace(check=lambda: None)
    listener = SimpleNamespace(plan=lambda _: None, progress=lambda _: None)
    await _until_caught_up(
        cast("Any", reader), [], published, {}, worker, cast("Any", listener), on_standstill=AsyncMock()
    )
    assert reader.pieces == []


class Reader:
    """A consumer that returns one record."""

    def __init__(self, record: object) -> None:
        self._record = record

    async def read(self, _partitions: object) -> AsyncIterator[Sequence[object]]:
        yield [self._record]


@pytest.mark.parametrize(("ahead", "is_announced"), [(timedelta(0), True), (timedelta(days=400), False)])
async def test_what_the_totals_reject_announces_nothing(ahead: timedelta, *, is_announced: bool) -> None:
    event = {
        "specversion": "1.0", "id": "1", "source": "/marketing", "type": "campaign.set.v1",
        "time": (START + ahead).isoformat(), "data": {"campaign": "launch", "start": START.isoformat()},
    }  # fmt: skip
    record = SimpleNamespace(
        key=b"campaign:launch",
        value=json.dumps(event).encode(),
        headers=(),
        timestamp=int(START.timestamp() * 1000),
        timestamp_type=1,
        partition=0,
        offset=0,
    )
    assert await announces(Context(Settings()), cast("LogReader", Reader(record))) is is_announced
