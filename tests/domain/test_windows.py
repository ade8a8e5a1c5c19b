"""The row table under the totals: what a step touches, and record days."""

from __future__ import annotations

import time
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.facts import DayCount, LatestUnit
from streams.domain.milestones.records import RecordPeriods, records_among
from streams.domain.rows.window_row import Row
from streams.domain.rows.windows import Windows
from streams.domain.time.periods import day_period
from streams.domain.time.zone import BusinessZone
from streams.holidays import load_calendar
from tests.domain.totals_world import METRIC, SCOPE, us

DAY = date(2024, 10, 7)
NOON_US = us("2024-10-07T12:00:00+08:00")


def count_of(units: int, *, backfilled: int = 0) -> DayCount:
    latest = LatestUnit(NOON_US, "a", "/bj1", 1, 0, 7)
    return DayCount(units, backfilled, [0] * 12 + [units] + [0] * 11, latest)


@pytest.fixture
def windows() -> Windows:
    return Windows(load_calendar(("national-day",), BusinessZone("Asia/Shanghai")), 259_200)


def publish(rows: list[Row]) -> None:
    for row in rows:
        row.publish("Asia/Shanghai", "2024-10-07T04:00:00.000Z")


def test_a_step_returns_everything_once_and_then_only_what_was_touched(windows: Windows) -> None:
    windows.update(0, METRIC, SCOPE, DAY, count_of(1))
    windows.update(0, METRIC, SCOPE, date(2024, 11, 1), count_of(1))
    assert len(windows.end_step(now_us=NOON_US, caught_up=True)) == len(windows) == 6
    windows.update(0, METRIC, SCOPE, DAY, count_of(2))
    touched = windows.end_step(now_us=NOON_US, caught_up=True)
    assert [row.period.id for row in touched] == [
        "day:2024-10-07",
        "month:2024-10",
        "year:2024",
        "holiday:national-day:2024",
    ]
    assert windows.end_step(now_us=NOON_US, caught_up=True) == []


@pytest.mark.parametrize(
    ("counts", "grew"), [((9, 4), False), ((2, 4), False), ((9, 5), False), ((9, 7), True), ((2, 6), True)]
)
def test_a_cell_has_grown_when_it_ends_the_step_above_where_it_began(
    windows: Windows,
    counts: tuple[int, int],
    grew: bool,
) -> None:
    """Updates within a step count by their sum; the cell begins at 5."""
    windows.update(0, METRIC, SCOPE, DAY, count_of(5))
    publish(windows.end_step(now_us=NOON_US, caught_up=True))
    for count in counts:
        windows.update(0, METRIC, SCOPE, DAY, count_of(count))
    rows = windows.end_step(now_us=NOON_US, caught_up=True)
    assert [row.grew for row in rows] == [grew] * 4


def test_growth_is_forgotten_when_the_step_is_published(windows: Windows) -> None:
    windows.update(0, METRIC, SCOPE, DAY, count_of(5))
    rows = windows.end_step(now_us=NOON_US, caught_up=True)
    publish(rows)
    assert [(row.grew, row.published_count) for row in rows] == [(False, 5)] * 4


def test_a_step_costs_what_has_changed_and_not_what_there_is(windows: Windows) -> None:
    """Ten changed days among 40,000 rows touch at most 40 of them, in a fraction of a second."""
    start = date(2001, 1, 1)
    for scope in ("model=A", "model=B", "model=C", "all"):
        for n in range(9_800):
            windows.update(0, METRIC, scope, start + timedelta(days=n), count_of(1))
    publish(windows.end_step(now_us=NOON_US, caught_up=True))
    assert len(windows) > 40_000
    for n in range(10):
        windows.update(0, METRIC, "all", start + timedelta(days=n * 100), count_of(2))
    begun = time.perf_counter()
    rows = windows.end_step(now_us=NOON_US + 1, caught_up=True)
    assert time.perf_counter() - begun < 0.05
    assert len(rows) <= 40


# --- record days --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "records"),
    [
        ([], []),
        ([5], [False]),
        ([0, 5], [False, False]),
        ([5, 5, 6, 6, 7], [False, False, True, False, True]),
        ([0, 1, 2], [False, False, True]),
        ([9, 1, 2], [False, False, False]),
    ],
)
def test_a_record_exceeds_every_earlier_day_of_which_one_is_above_zero(counts: list[int], records: list[bool]) -> None:
    assert list(records_among(counts)) == records


CHANGES = st.lists(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 5)), min_size=1, max_size=3), max_size=12)


@given(CHANGES)
def test_record_days_kept_step_by_step_are_those_of_a_full_recount(changes: list[list[tuple[int, int]]]) -> None:
    """Days come and change in any order; judging only the days after a change finds the same records."""
    days = RecordPeriods()
    rows: dict[int, Row] = {}
    standing: dict[int, bool] = {}
    for step in changes:
        for number, count in step:
            row = rows.setdefault(number, _day_row(number))
            row.count = count
            days.put(row)
        standing |= {int(period[-2:]): is_record for period, is_record in days.judge()}
        in_order = sorted(rows)
        expected = dict(zip((n + 1 for n in in_order), records_among(rows[n].count for n in in_order), strict=True))
        assert standing == expected
        assert days.judge() == []


def test_judging_stops_where_the_highest_count_is_what_it_was() -> None:
    """A late event for a day below the peak does not look at the years after it."""
    days, rows = RecordPeriods(), [_day_row(n) for n in range(28)]
    for n, row in enumerate(rows):
        row.count = n
        days.put(row)
    days.judge()
    rows[3].count = 2
    days.put(rows[3])
    rows[20].count = 0  # not announced: only a look at it could find out
    assert [period for period, _ in days.judge()] == ["day:2024-10-04"]


def _day_row(number: int) -> Row:
    return Row(METRIC, SCOPE, day_period(date(2024, 10, number + 1)))


@pytest.mark.parametrize("few", [20_000, 2])
def test_rows_of_periods_that_were_over_are_over_with_the_first_step_that_has_read_everything(
    windows: Windows, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few changes are collected as they come; many are searched for."""
    for module in ("row_table", "windows"):
        monkeypatch.setattr(f"streams.domain.rows.{module}.FEW_ROWS", few)
    later_us = NOON_US + 9 * 86_400_000_000
    windows.update(0, METRIC, SCOPE, DAY, count_of(1))
    publish(windows.end_step(now_us=later_us, caught_up=True))
    scopes = [f"model=M{number}" for number in range(3)]
    for scope in scopes:
        windows.update(0, METRIC, scope, DAY, count_of(1))
    publish(windows.end_step(now_us=later_us, caught_up=False))
    over = [(row.scope, row.status) for row in windows.end_step(now_us=later_us, caught_up=True)]
    assert {(scope, "closed") for scope in scopes} <= set(over)
    assert windows.end_step(now_us=later_us, caught_up=True) == []
