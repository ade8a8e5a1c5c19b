"""Rows of days are removed after some days; longer periods stay, and stay exact whatever arrives later."""

from __future__ import annotations

import sys
from datetime import date, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.facts import DayCount
from schemas.rows import RowKey
from streams.domain.counts import packed_days
from streams.domain.rows.kept_days import KeptDays, KeptState
from streams.domain.rows.windows import Windows
from streams.domain.time.zone import BusinessZone
from streams.holidays import load_calendar
from tests.domain.test_totals_properties import naive_counts
from tests.domain.totals_world import METRIC, World, rule, target, told, us

WINDOWS = ("day", "week", "month", "quarter", "half", "year", "total", "holiday")
HOLIDAYS = ("national-day", "new-year")
MODEL = ("model",)
FIRST = date(2024, 9, 27)
RULES = (
    rule("day", exceeds=2),
    rule("held", reaches=4, retract_after_s=2 * 86_400),
    rule("month", "month", exceeds=6, first=True),
    rule("week", "week", exceeds=4, record=True),
    rule("each", "total", every=10),
    rule("all", record=True, scope=()),
)
TARGETS = (target(5, "day", "day:2024-09-28"), target(9, "month", "month:2024-09"))


def at(day: int, hour: int = 12) -> str:
    """An hour of a day, counted from the first one."""
    return f"{FIRST + timedelta(days=day)}T{hour:02}:00:00+08:00"


def world(days: int | None = 2, *rules: Any, **given: Any) -> World:
    keep_days: dict[tuple[str, ...], int] = {MODEL: days} if days is not None else {}
    return World(*rules, windows=WINDOWS, holidays=HOLIDAYS, keep_days=keep_days, **given)


def days_of(made: World, scope: str = "model=SU7") -> list[str]:
    """The days that have rows, as their number in the month."""
    found = sorted(row.period for row in made.rows.values() if row.period.startswith("day:") and row.scope == scope)
    return [period[-2:] for period in found]


def test_days_leave_when_as_many_later_ones_are_kept_and_their_sums_stay() -> None:
    made = world()
    for day in range(4):
        for scope in ("model=SU7", "all"):
            made.put(FIRST + timedelta(days=day), day + 1, scope=scope)
        made.step(at(day))
    assert days_of(made) == ["28", "29", "30"]
    assert days_of(made, "all") == ["27", "28", "29", "30"]
    assert made.row("month:2024-09").count == 10
    # The clock alone removes none: it may be wrong, and no event is dated later.
    made.step(at(20))
    assert days_of(made) == ["28", "29", "30"]


def test_a_correction_of_a_day_that_has_left_changes_its_month_and_gives_it_no_row() -> None:
    made = world(2, rule("month", "month", reaches=5))
    made.put(FIRST, 3, shard=1)
    made.step(at(0))
    made.put(FIRST + timedelta(days=3), 1)
    made.step(at(3))
    assert days_of(made) == ["30"]
    made.put(FIRST, 1, shard=0, hour=3)
    assert told(made.step(at(3))) == [("raised", "month:2024-09/reaches:5")]
    made.put(FIRST, 0, shard=1)
    assert told(made.step(at(3))) == [("retracted", "month:2024-09/reaches:5")]
    assert days_of(made) == ["30"]
    assert made.row("month:2024-09").count == made.row("year:2024").count == 2
    # The day can still be looked up as before.
    counted = made.totals.day(METRIC, "model=SU7", FIRST)
    assert counted is not None
    assert (counted.count, counted.by_hour[3]) == (1, 1)
    assert sorted(made.totals.day_counts(METRIC, "model=SU7")) == [(FIRST, 1), (FIRST + timedelta(days=3), 1)]
    assert made.totals.hour_of_unit(METRIC, "model=SU7", FIRST, date(2024, 9, 30), 1) == (
        FIRST.toordinal() * 24 + 3,
        1,
        1,
    )


def test_units_of_a_day_that_has_left_are_news_also_for_who_takes_over() -> None:
    made = world(2, rule("month", "month", reaches=5), rule("quarter", "quarter", reaches=5))
    made.put(FIRST, 3)
    made.put(FIRST + timedelta(days=3), 1)
    made.step(at(3))
    made.put(FIRST, 4)
    made.restart()
    assert told(made.step(at(3))) == [("raised", "month:2024-09/reaches:5"), ("raised", "quarter:2024-Q3/reaches:5")]
    made.restart(rule("month", "month", reaches=4))
    assert told(made.step(at(3))) == [("recorded", "month:2024-09/reaches:4")]


def test_units_of_days_that_never_get_a_row_are_news_with_the_first_step_too() -> None:
    made = world(2, rule("month", "month", reaches=5), rule("quarter", "quarter", reaches=5, first=True))
    made.put(FIRST - timedelta(days=20), 5)
    made.put(FIRST + timedelta(days=4), 1)
    found = told(made.step(at(5)))
    assert days_of(made) == ["01"]
    assert found == [
        ("raised", "month:2024-09/reaches:5"),
        ("raised", "quarter:2024-Q3/reaches:5"),
        ("raised", "first:quarter/reaches:5"),
    ]


def test_a_day_stays_as_long_as_a_milestone_of_it_waits_for_its_unit() -> None:
    made = world(2, rule("day", reaches=3))
    made.put(FIRST, 2)
    made.step(at(0))
    made.put(FIRST, 3)
    made.put(FIRST + timedelta(days=3), 1)
    now_us = us(at(3))
    parts = made.totals.steps(now_us=now_us, caught_up=True, most=5_000, waiting=lambda: made.waiting)
    for part in filter(None, parts):
        made._publish(part)
        # As the caller does once a part is published.
        made.waiting |= {RowKey(event.data.metric, event.data.scope, event.data.period) for event in part.milestones}
    assert [str(key.period) for key in made.waiting] == ["day:2024-09-27"]
    assert days_of(made) == ["27", "30"]
    made.parts(now_us, caught_up=True, most=5_000)
    assert days_of(made) == ["27", "30"]
    made.waiting.clear()
    made.parts(now_us, caught_up=True, most=5_000)
    assert days_of(made) == ["30"]


def test_days_of_history_that_are_old_already_get_no_rows() -> None:
    made = world(2, rule("month", "month", reaches=5))
    for day in range(6):
        made.put(FIRST + timedelta(days=day), 2)
    step = made.step(at(5))
    assert days_of(made) == ["30", "01", "02"]
    assert not step.left
    assert made.row("month:2024-09").count == 8


def test_rows_come_back_when_more_days_are_kept_and_are_no_news() -> None:
    made = world(2, rule("day", reaches=3))
    for day in range(6):
        made.put(FIRST + timedelta(days=day), 2)
        made.step(at(day))
    assert days_of(made) == ["30", "01", "02"]
    made.restart(rule("day", reaches=3), rule("more", reaches=2), keep_days={MODEL: 4})
    events = told(made.step(at(5)))
    assert days_of(made) == ["28", "29", "30", "01", "02"]
    assert {kind for kind, _ in events} == {"recorded"}
    made.restart(keep_days={})
    assert {kind for kind, _ in told(made.step(at(5)))} == {"recorded"}
    assert days_of(made) == ["27", "28", "29", "30", "01", "02"]
    assert not made.kept


def test_a_row_whose_retraction_waits_stays_until_it_is_decided() -> None:
    made = world(2, rule("held", reaches=3, retract_after_s=2 * 86_400))
    made.put(FIRST, 3)
    made.step(at(0))
    made.put(FIRST, 2)
    made.put(FIRST + timedelta(days=3), 1)
    made.step(at(2))
    made.step(at(3))
    assert days_of(made) == ["27", "30"]
    made.restart()
    made.step(at(3, 13))
    assert days_of(made) == ["27", "30"]
    made.put(FIRST + timedelta(days=4), 1)
    assert told(made.step(at(4))) == [("retracted", "day:2024-09-27/reaches:3")]
    assert days_of(made) == ["30", "01"]


def test_rows_that_a_former_writer_has_not_come_to_leave_before_anything_is_counted_on_their_days() -> None:
    made = world(1)
    made.put(FIRST, 2)
    made.step(at(0))
    made.put(FIRST + timedelta(days=3), 1)
    for part in filter(None, made.totals.steps(now_us=us(at(3)), caught_up=True, most=1)):
        if part.left:
            break  # it ends here
        made._publish(part)
    assert days_of(made) == ["27", "30"]
    made.put(FIRST, 3)
    made.restart()
    found = []
    for part in filter(None, made.totals.steps(now_us=us(at(3)), caught_up=True, most=1)):
        made._publish(part)
        found.append((days_of(made), made.row("month:2024-09").count))
    assert all(days == ["30"] for days, count in found if count == 4), found
    assert found[-1] == (["30"], 4)


STEPS = st.lists(
    st.one_of(
        *[st.tuples(st.just("put"), st.integers(0, 9), st.integers(0, 1), st.integers(0, 5), st.booleans())] * 3,
        st.tuples(st.just("step"), st.integers(0, 30), st.booleans(), st.sampled_from((1, 2, 5, 1000)), st.none()),
        st.tuples(
            st.just("step"), st.integers(0, 60), st.booleans(), st.sampled_from((1, 2, 5, 1000)), st.integers(0, 30)
        ),
        st.tuples(st.just("restart"), st.sampled_from((None, 1, 2, 3, 5))),
    ),
    max_size=40,
)


@settings(max_examples=400)
@given(STEPS)
def test_what_is_published_is_a_naive_sum_of_the_counts(steps: list[tuple[Any, ...]]) -> None:
    """With random counts, restarts, settings, and writers that die midway, rows are sums, and days are those kept."""
    made = world(2, *RULES, targets=TARGETS)
    hour = 0
    for kind, *values in steps:
        if kind == "put":
            day, shard, count, is_all = values
            made.put(FIRST + timedelta(days=day), count, shard=shard, hour=day, scope="all" if is_all else "model=SU7")
        elif kind == "restart":
            made.restart(keep_days={MODEL: values[0]} if values[0] is not None else {})
        else:
            hour += values[0]
            made.parts(_us(hour), caught_up=values[1], most=values[2], dies_after=values[3])
            _check(made, hour)
    made.restart()
    made.step(_us(hour))
    _check(made, hour)


def _us(hour: int) -> int:
    start = BusinessZone("Asia/Shanghai").first_us(FIRST)
    return start + hour * 3_600_000_000


def _check(made: World, hour: int) -> None:
    counts = {key: count for key, count in naive_counts(made).items() if not key[1].startswith("rolling:")}
    published = {(row.scope, row.period): row.count for row in made.rows.values()}
    since = made.kept[MODEL].since if MODEL in made.kept else date.min
    newest = max((day for _, _, _, day in made.counts), default=date.min)
    held = {tuple(milestone_id.split("/")[1:3]) for milestone_id in made.held}
    for (scope, period), count in counts.items():
        if scope != "all" and period.startswith("day:") and date.fromisoformat(period[4:]) < since:
            assert (scope, period) not in published or (scope, period) in held, (period, since)
        else:
            assert published.get((scope, period), 0) == count, (scope, period)
    today = min(newest, FIRST + timedelta(days=hour // 24))
    if MODEL in made.keep_days and newest > date.min:
        assert since >= today - timedelta(days=made.keep_days[MODEL])


def test_a_day_that_has_left_takes_little_memory() -> None:
    """Of a row, its columns and its place among the others; what is left of it is what it counts."""
    kept = KeptDays({MODEL: 400})
    windows = Windows(load_calendar((), BusinessZone("Asia/Shanghai"), windows=("day", "month")), 0, kept=kept)
    kept.restore(MODEL, KeptState(date(2024, 6, 1), 400))
    day = date(2024, 1, 1)
    for number in range(150):
        hours = [0] * 24
        hours[number % 24] = 1
        for scope in range(20):
            windows.update(
                number % 4, METRIC, f"model={scope}", day + timedelta(days=number), DayCount(1, 0, hours, None)
            )
    assert len(windows) == 20 * 5
    months = {id(cell): sys.getsizeof(cell) for cell in windows.columns.cells if cell is not None}
    assert sum(months.values()) <= 12 * 150 * 20 + 40 * 100
    assert packed_days.in_month(windows.columns.cells[0]) is not None
