"""When a rebuild has caught up."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace
from typing import Any, cast

from schemas.codec import encode_day_count, encode_row
from schemas.counts import encode_day_key
from schemas.facts import DayCount
from schemas.outputs import WindowRow
from schemas.rows import RowKey
from streams.holidays import calendar_of
from streams.operations.rebuild import _Published
from streams.settings import Settings


def counted(offset: int, count: int) -> Any:
    """A record of the counts."""
    key = encode_day_key(0, "deliveries", "all", date(2024, 10, 7))
    return SimpleNamespace(
        topic="counts", offset=offset, key=key, value=encode_day_count(DayCount(count, 0, [0] * 24, None))
    )


def test_it_waits_for_the_rows_of_every_window_that_a_day_is_in() -> None:
    published = _Published("counts", {0: 0}, 1, calendar_of(Settings(holidays=("national-day",))))
    published.take(counted(0, 3))
    for period in ("day:2024-10-07", "month:2024-10", "year:2024", "holiday:national-day:2024"):
        assert not published.all_summed(), f"without {period}"
        published.rows[RowKey("deliveries", "all", period)] = 3
    assert published.all_summed()


def test_a_row_with_the_sum_of_a_later_moment_will_do() -> None:
    published = _Published("counts", {0: 0}, 1, calendar_of(Settings(holidays=())))
    published.take(counted(0, 3))
    assert not published.all_summed()
    published.take(counted(1, 5))
    for period, count in (("day:2024-10-07", 5), ("month:2024-10", 3), ("year:2024", 5)):
        published.rows[RowKey("deliveries", "all", period)] = count
    assert published.all_summed()


def test_an_opening_balance_is_no_sum_of_days() -> None:
    settings = Settings(windows=("day", "total"))
    published = _Published("counts", {0: 0}, 1, calendar_of(settings))
    published.take(counted(0, 3))
    total = WindowRow(
        metric="deliveries", scope="all", period="total", start="1999-12-31", end="2101-01-01", timezone="Asia/Shanghai",
        count=10, balance=7, targets=[], status="open", restated=0, version=1, updated_at="2024-10-07T10:00:00.000Z",
    )  # fmt: skip
    published.take(cast("Any", SimpleNamespace(topic="windows", offset=0, key=b"", value=encode_row(total))))
    published.rows[RowKey("deliveries", "all", "day:2024-10-07")] = 3
    assert published.all_summed()
