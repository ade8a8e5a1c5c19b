"""Day counts become rows and milestones: tables of what arrives and what must be published."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from schemas.codec import encode_day_count
from schemas.facts import DayCount
from schemas.outputs import Cause
from streams.domain.milestones.milestones import Completion
from streams.domain.rows.windows import Windows
from streams.domain.time.zone import BusinessZone
from tests.domain.totals_world import METRIC, SCOPE, World, rule, target, told, us

if TYPE_CHECKING:
    from collections.abc import Sequence

NOON = "2024-10-07T12:00:00+08:00"
EXCEEDS = rule(exceeds=1000, first=True)


# --- rows ---------------------------------------------------------------------------------------------------------


def test_a_day_count_becomes_day_month_year_and_holiday_rows() -> None:
    """One count of 7 October 2024 gives four rows, of which only the day has hours and only the holiday a calendar."""
    world = World()
    world.put("2024-10-07", 3, hour=9)
    step = world.step(NOON)
    assert [(row.period, row.start, row.end, row.count, row.status) for row in step.rows] == [
        ("day:2024-10-07", "2024-10-07", "2024-10-07", 3, "open"),
        ("holiday:national-day:2024", "2024-10-01", "2024-10-07", 3, "open"),
        ("month:2024-10", "2024-10-01", "2024-10-31", 3, "open"),
        ("year:2024", "2024-01-01", "2024-12-31", 3, "open"),
    ]
    assert [row.by_hour is not None for row in step.rows] == [True, False, False, False]
    assert world.row("day:2024-10-07").by_hour == [0] * 9 + [3] + [0] * 14
    assert [row.calendar for row in step.rows] == [None, "CN-2024.1", None, None]
    assert {(row.version, row.restated, row.updated_at) for row in step.rows} == {(1, 0, "2024-10-07T04:00:00.000Z")}


def test_rows_sum_the_shards_and_a_later_count_replaces_an_earlier_one() -> None:
    world = World()
    world.put("2024-10-07", 3, shard=0, hour=9)
    world.put("2024-10-07", 4, shard=1, hour=10)
    world.put("2024-10-08", 5, shard=1)
    world.put("2024-10-07", 2, shard=0, hour=10)
    world.step(NOON)
    assert world.row("day:2024-10-07").count == 6
    assert world.row("day:2024-10-07").by_hour == [0] * 10 + [6] + [0] * 13
    assert world.row("holiday:national-day:2024").count == 6
    assert world.row("month:2024-10").count == world.row("year:2024").count == 11


@pytest.mark.parametrize(
    ("day", "month", "year"),
    [
        ("2024-02-29", "month:2024-02", "year:2024"),
        ("2024-12-31", "month:2024-12", "year:2024"),
        ("2025-01-01", "month:2025-01", "year:2025"),
        ("2024-09-30", "month:2024-09", "year:2024"),
    ],
)
def test_month_ends_leap_day_and_year_end_fall_into_their_own_month_and_year(day: str, month: str, year: str) -> None:
    world = World()
    world.put(day, 1)
    world.step(NOON)
    assert {row.period for row in world.rows.values()} == {f"day:{day}", month, year}


@pytest.mark.parametrize(
    ("day", "inside"), [("2024-09-30", False), ("2024-10-01", True), ("2024-10-07", True), ("2024-10-08", False)]
)
def test_a_holiday_contains_its_first_and_last_date_and_nothing_beside(day: str, inside: bool) -> None:
    world = World()
    world.put(day, 1)
    world.step(NOON)
    assert (f"{METRIC}/{SCOPE}/holiday:national-day:2024" in world.rows) is inside


def test_an_unchanged_row_is_not_published_again() -> None:
    """Neither a step without news, nor the same count again, nor a takeover makes a new version."""
    world = World(EXCEEDS, targets=(target(5),))
    world.put("2024-10-07", 3)
    world.step(NOON)
    assert not world.step(NOON).rows
    world.put("2024-10-07", 3)
    assert not world.step(NOON).rows
    world.restart()
    step = world.step(NOON)
    assert not step.rows
    assert not step.milestones


def test_a_takeover_goes_on_from_the_published_version() -> None:
    world = World()
    world.put("2024-10-07", 3)
    world.step(NOON)
    world.restart()
    world.put("2024-10-07", 4)
    world.step(NOON)
    assert world.row("day:2024-10-07").version == 2


def test_hours_that_move_within_a_day_make_a_new_version_of_the_day_row_only() -> None:
    world = World()
    world.put("2024-10-07", 3, hour=9)
    world.step(NOON)
    world.put("2024-10-07", 3, hour=10)
    assert [row.period for row in world.step(NOON).rows] == ["day:2024-10-07"]


def test_a_count_that_falls_to_zero_stays_a_row_and_one_that_never_rose_makes_none() -> None:
    world = World()
    world.put("2024-10-07", 0)
    assert not world.step(NOON).rows
    world.put("2024-10-07", 2)
    world.step(NOON)
    world.put("2024-10-07", 0)
    world.step(NOON)
    assert world.row("day:2024-10-07").count == 0
    world.restart()
    assert not world.step(NOON).rows


def test_a_target_makes_a_row_before_anything_is_counted() -> None:
    world = World(targets=(target(20_000),))
    step = world.step(NOON)
    assert [(row.period, row.count, [t.model_dump() for t in row.targets]) for row in step.rows] == [
        ("month:2024-10", 0, [{"target_id": "aim", "value": 20_000, "reached": False}])
    ]


def test_backfilled_units_are_told_apart_on_the_row() -> None:
    world = World()
    world.put("2024-10-07", 5, backfilled=2)
    world.step(NOON)
    assert world.row("month:2024-10").backfilled == 2


# --- status -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "status"),
    [
        ("2024-10-07T23:59:59.999999+08:00", "open"),
        ("2024-10-08T00:00:00+08:00", "provisional"),
        ("2024-10-10T23:59:59.999999+08:00", "provisional"),
        ("2024-10-11T00:00:00+08:00", "closed"),
    ],
)
def test_a_day_is_over_at_local_midnight_and_closed_72_hours_later(now: str, status: str) -> None:
    world = World()
    world.put("2024-10-07", 1)
    world.step(NOON)
    step = world.step(now)
    assert world.row("day:2024-10-07").status == status
    assert (len(step.rows) > 0) is (status != "open")


def test_status_moves_by_the_clock_alone_and_each_move_is_one_version() -> None:
    world = World()
    world.put("2024-10-07", 1)
    for now in (NOON, "2024-10-08T01:00:00+08:00", "2024-10-08T02:00:00+08:00", "2024-10-12T00:00:00+08:00"):
        world.step(now)
    row = world.row("day:2024-10-07")
    assert (row.status, row.version, row.restated) == ("closed", 3, 0)


def test_loading_history_into_a_closed_period_restates_nothing() -> None:
    world = World()
    world.put("2024-10-07", 1, backfilled=1)
    world.step("2024-10-12T00:00:00+08:00")
    world.put("2024-10-07", 51, backfilled=51)
    world.step("2024-10-12T01:00:00+08:00")
    row = world.row("day:2024-10-07")
    assert (row.status, row.count, row.version, row.restated) == ("closed", 51, 2, 0)
    world.put("2024-10-07", 52, backfilled=51)
    world.step("2024-10-12T02:00:00+08:00")
    assert world.row("day:2024-10-07").restated == 1


def test_each_version_after_closing_is_a_restatement_also_across_a_restart() -> None:
    world = World()
    world.put("2024-10-07", 1)
    world.step("2024-10-12T00:00:00+08:00")
    world.put("2024-10-07", 2)
    world.step("2024-10-12T01:00:00+08:00")
    world.restart()
    world.put("2024-10-07", 3)
    world.step("2024-10-12T02:00:00+08:00")
    row = world.row("day:2024-10-07")
    assert (row.status, row.version, row.restated) == ("closed", 3, 2)


def test_nothing_is_over_while_an_outage_is_being_caught_up_with() -> None:
    """Days that begin and end during the catch-up are open until it ends, and closing them then restates nothing."""
    world = World()
    world.put("2024-10-07", 1)
    world.step("2024-10-12T00:00:00+08:00", caught_up=False)
    world.put("2024-10-07", 2)
    world.step("2024-10-12T00:00:01+08:00", caught_up=False)
    assert world.row("day:2024-10-07").status == "open"
    world.step("2024-10-12T00:00:02+08:00")
    row = world.row("day:2024-10-07")
    assert (row.status, row.restated) == ("closed", 0)


def test_status_never_goes_back_when_the_clock_of_another_machine_is_behind() -> None:
    world = World()
    world.put("2024-10-07", 1)
    world.step("2024-10-12T00:00:00+08:00")
    world.restart()
    assert not world.step("2024-10-07T00:00:00+08:00").rows


def test_a_closed_row_stays_closed_when_closing_is_put_off_by_a_setting() -> None:
    world = World(closed_after_s=0)
    world.put("2024-10-07", 1)
    world.step("2024-10-08T00:00:00+08:00")
    assert world.row("day:2024-10-07").status == "closed"
    world.closed_after_s = 259_200
    world.restart()
    assert not world.step("2024-10-08T00:00:01+08:00").rows


def test_a_target_without_counts_closes_by_the_clock() -> None:
    world = World(targets=(target(10, period="day:2024-10-07"),))
    world.step(NOON)
    world.restart()
    world.step("2024-10-11T00:00:00+08:00")
    assert world.row("day:2024-10-07").status == "closed"


# --- thresholds ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operator", "count", "raised"),
    [
        ("exceeds", 999, False),
        ("exceeds", 1000, False),
        ("exceeds", 1001, True),
        ("reaches", 999, False),
        ("reaches", 1000, True),
        ("reaches", 1001, True),
    ],
)
def test_exceeds_is_above_the_number_and_reaches_is_at_it(operator: str, count: int, raised: bool) -> None:
    world = World(rule(exceeds=1000) if operator == "exceeds" else rule(reaches=1000))
    world.put("2024-10-07", count)
    assert told(world.step(NOON)) == ([("raised", f"day:2024-10-07/{operator}:1000")] if raised else [])


def test_a_threshold_milestone_says_what_when_and_by_which_unit() -> None:
    """Every field of the event, of a crossing in two shards, before these have said which unit it was."""
    world = World(EXCEEDS)
    world.put("2024-10-07", 600, shard=2)
    world.step("2024-10-07T11:00:00+08:00")
    world.put("2024-10-07", 601, shard=2, hour=19)
    world.put("2024-10-07", 400, shard=1, hour=18)
    event = world.step("2024-10-07T19:42:09.310999+08:00").milestones[0]
    milestone_id = "deliveries/model=SU7/day:2024-10-07/exceeds:1000"
    assert event.model_dump() == {
        "specversion": "1.0",
        "id": f"{milestone_id}@1",
        "source": "/milestones",
        "type": "milestone.raised.v1",
        "time": "2024-10-07T11:42:09.310Z",
        "subject": milestone_id,
        "datacontenttype": "application/json",
        "data": {
            "milestone_id": milestone_id,
            "revision": 1,
            "kind": "threshold",
            "rule": "daily",
            "metric": "deliveries",
            "scope": "model=SU7",
            "period": "day:2024-10-07",
            "start": "2024-10-07",
            "end": "2024-10-07",
            "timezone": "Asia/Shanghai",
            "operator": "exceeds",
            "threshold": 1000,
            "count": 1001,
            "first": True,
            "position": 1001,
            "achieved_at": None,
            "detected_at": "2024-10-07T11:42:09.310Z",
            "cause": None,
        },
    }


def test_a_jump_past_several_numbers_raises_each_the_smaller_first() -> None:
    world = World(rule("c", exceeds=1000, first=True), rule("a", exceeds=200), rule("b", exceeds=30))
    world.put("2024-10-07", 2000)
    assert told(world.step(NOON)) == [
        ("raised", "day:2024-10-07/exceeds:30"),
        ("raised", "day:2024-10-07/exceeds:200"),
        ("raised", "day:2024-10-07/exceeds:1000"),
        ("raised", "first:day/exceeds:1000"),
    ]


def test_a_rule_watches_its_metric_scope_and_window_only() -> None:
    world = World(rule(exceeds=1))
    world.put("2024-10-07", 2, metric="orders")
    world.put("2024-10-07", 2, scope="all")
    world.put("2024-10-07", 2, scope="model=SU7,region=CN-11")
    assert not world.step(NOON).milestones
    world.put("2024-10-07", 2, scope="model=YU7")
    assert [event.subject for event in world.step(NOON).milestones] == ["deliveries/model=YU7/day:2024-10-07/exceeds:1"]


@pytest.mark.parametrize("window", ["holiday:national-day", "holiday"])
def test_a_holiday_rule_sums_the_days_of_the_holiday(window: str) -> None:
    world = World(rule(window=window, exceeds=6000))
    world.put("2024-09-30", 9000)
    world.put("2024-10-01", 3000)
    world.put("2024-10-07", 3000)
    world.put("2024-10-08", 9000)
    assert not world.step(NOON).milestones
    world.put("2024-10-03", 1)
    assert told(world.step(NOON)) == [("raised", "holiday:national-day:2024/exceeds:6000")]


def test_a_correction_retracts_and_a_second_passing_reinstates() -> None:
    world = World(rule(exceeds=10))
    for count in (11, 12, 10, 9, 11, 10):
        world.put("2024-10-07", count)
        world.step(NOON)
    history = [(event.type.split(".")[1], event.data.revision, event.data.count) for event in world.events]
    assert history == [("raised", 1, 11), ("retracted", 2, 10), ("reinstated", 3, 11), ("retracted", 4, 10)]
    assert [event.data.position for event in world.events] == [11, None, 11, None]


def test_a_milestone_retracted_before_a_restart_is_reinstated_after_it() -> None:
    world = World(rule(exceeds=10))
    for count in (11, 9, 12):
        world.put("2024-10-07", count)
        step = world.step(NOON)
        world.restart()
    assert told(step) == [("reinstated", "day:2024-10-07/exceeds:10")]


def test_a_crossing_by_history_alone_is_recorded_and_one_with_a_live_unit_is_raised() -> None:
    world = World(rule(exceeds=10), rule("more", exceeds=20))
    world.put("2024-10-07", 11, backfilled=11)
    assert told(world.step(NOON)) == [("recorded", "day:2024-10-07/exceeds:10")]
    assert world.events[0].data.position == 11
    world.put("2024-10-07", 22, backfilled=21)
    assert told(world.step(NOON)) == [("raised", "day:2024-10-07/exceeds:20")]


def test_history_that_takes_the_place_of_live_units_and_adds_more_is_recorded() -> None:
    """One live unit was removed and three of history were added: on balance only history was added."""
    world = World(rule(exceeds=10))
    world.put("2024-10-07", 9)
    world.step(NOON)
    world.put("2024-10-07", 11, backfilled=3)
    assert told(world.step(NOON)) == [("recorded", "day:2024-10-07/exceeds:10")]


def test_history_published_before_a_restart_does_not_make_a_live_crossing_a_record() -> None:
    world = World(rule(exceeds=10))
    world.put("2024-10-07", 9, backfilled=9)
    world.step(NOON)
    world.restart()
    world.put("2024-10-07", 11, backfilled=9)
    assert told(world.step(NOON)) == [("raised", "day:2024-10-07/exceeds:10")]


def test_a_new_rule_whose_window_had_passed_before_is_on_record_with_the_unit_that_passed_it() -> None:
    world = World()
    world.put("2024-10-06", 30)
    world.put("2024-10-07", 20)
    world.step(NOON)
    world.restart(rule(exceeds=10, first=True))
    world.put("2024-10-07", 21)
    step = world.step(NOON)
    assert told(step) == [
        ("recorded", "day:2024-10-06/exceeds:10"),
        ("recorded", "day:2024-10-07/exceeds:10"),
        ("recorded", "first:day/exceeds:10"),
    ]
    assert [event.data.position for event in step.milestones] == [11, 11, 11]


def test_a_new_rule_whose_window_passes_while_no_writer_ran_is_news() -> None:
    world = World()
    world.put("2024-10-07", 10)
    world.step(NOON)
    world.restart(rule(exceeds=10))
    world.put("2024-10-07", 11)
    step = world.step(NOON)
    assert told(step) == [("raised", "day:2024-10-07/exceeds:10")]
    assert step.milestones[0].data.position == 11


#: What is judged by numbers, and by other periods and scopes.
OF_ADDED_WINDOWS = (
    rule("week", "week", exceeds=4, first=True, streak=2, record=True, while_running=True),
    rule("more", "week", factor=1.5),
    rule("share", "week", share=0.5, leader=True),
    rule("each", "total", every=10),
)


def added_windows(*, before_restart: Sequence[tuple[str, int]]) -> World:
    """Weeks and `total` are added by a restart, before which some units arrived that no writer has counted yet."""
    world = World(rule(exceeds=1000), windows=("day", "month"))
    counts = [("2024-09-10", 1), ("2024-09-17", 5), ("2024-09-24", 10), ("2024-10-01", 12)]
    for day, count in counts:
        world.put(day, count)
        world.put(day, count // 2, scope="model=YU7")
        world.put(day, count + count // 2, scope="all")
    world.step("2024-10-10T12:00:00+08:00")
    for day, count in before_restart:
        world.put(day, count)
    world.windows = ("day", "month", "week", "total")
    world.restart(*OF_ADDED_WINDOWS)
    return world


def test_what_an_added_window_had_passed_is_on_record_whatever_it_is_compared_with() -> None:
    world = added_windows(before_restart=())
    found = told(world.step("2024-10-10T12:01:00+08:00"))
    assert {kind for kind, _ in found} == {"recorded"}
    names = {name.split("/")[-1].split(":")[0] for _, name in found}
    assert names == {"exceeds", "streak", "factor", "share-of-all", "record", "record-passed", "every"}
    # What passes later is news.
    world.put("2024-10-10", 13)
    assert ("raised", "record-passed:week:2024-W41") in told(world.step("2024-10-10T12:02:00+08:00"))


def test_units_that_came_while_no_writer_ran_are_news_if_they_pass_what_an_added_window_had_not() -> None:
    world = added_windows(before_restart=[("2024-09-24", 11), ("2024-09-10", 5), ("2024-10-02", 2)])
    found = told(world.step("2024-10-10T12:01:00+08:00"))
    # The 29th to 34th unit; of the weeks, only the earliest had not passed.
    assert [name for kind, name in found if kind == "raised"] == [
        "week:2024-W37/exceeds:4",
        "total/every:10:30",
        "first:week/exceeds:4",
        "week:2024-W38/streak:exceeds:4:2",
        "week:2024-W39/streak:exceeds:4:3",
        "week:2024-W40/streak:exceeds:4:4",
    ]


def test_the_balance_of_an_added_total_and_what_was_counted_pass_nothing_that_is_news() -> None:
    world = World(rule(exceeds=1000), windows=("day",), holidays=())
    world.put("2024-10-07", 95)
    world.step(NOON)
    world.windows = ("day", "total")
    world.restart(rule("each", "total", every=100))
    world.balance("2024-10-01T00:00:00+08:00", 10)
    world.put("2024-10-07", 96)
    assert told(world.step("2024-10-07T12:01:00+08:00")) == [("recorded", "total/every:100:100")]


def test_the_hour_of_a_unit_follows_from_the_counts_of_its_window() -> None:
    """A late unit of 5 October takes the month past 10; the eleventh unit is the last one of 6 October."""
    world = World(rule(window="month", exceeds=10))
    world.put("2024-09-30", 9)
    world.put("2024-10-06", 9, hour=23)
    world.put("2024-10-05", 1, shard=1)
    world.step(NOON)
    world.put("2024-10-05", 2, shard=1, hour=8)
    world.restart()
    event = world.step(NOON).milestones[0]
    first, last = date.fromisoformat(event.data.start), date.fromisoformat(event.data.end)
    hours = [world.totals.hour_of_unit(METRIC, SCOPE, first, last, number) for number in (1, 2, 3, 11, 12)]
    assert event.data.position == 11
    fifth, sixth = date(2024, 10, 5).toordinal() * 24 + 8, date(2024, 10, 6).toordinal() * 24 + 23
    assert hours == [(fifth, 1, 2), (fifth, 2, 2), (sixth, 1, 9), (sixth, 9, 9), None]


def test_a_milestone_of_a_rule_that_was_dropped_stands_untouched() -> None:
    world = World(rule(exceeds=10))
    world.put("2024-10-07", 11)
    world.step(NOON)
    world.restart(rule("other", exceeds=500))
    world.put("2024-10-07", 5)
    assert not world.step(NOON).milestones
    world.restart(rule(exceeds=10))
    assert told(world.step(NOON)) == [("retracted", "day:2024-10-07/exceeds:10")]


def test_deleting_nothing_but_memory_raises_nothing_twice() -> None:
    """Counts reread in any order give the same milestones, so none is published."""
    world = World(EXCEEDS, rule("records", record=True), targets=(target(20),))
    for day, count in (("2024-10-05", 900), ("2024-10-06", 1200), ("2024-10-07", 1500)):
        world.put(day, count)
        world.step("2024-10-10T12:00:00+08:00")
    world.counts = dict(reversed(world.counts.items()))
    world.restart()
    step = world.step("2024-10-10T12:00:01+08:00")
    assert not step.milestones
    assert not step.rows


# --- first --------------------------------------------------------------------------------------------------------


def test_only_the_first_period_to_pass_is_first() -> None:
    world = World(EXCEEDS)
    world.put("2024-10-07", 1001)
    step = world.step(NOON)
    assert told(step) == [("raised", "day:2024-10-07/exceeds:1000"), ("raised", "first:day/exceeds:1000")]
    assert [event.data.first for event in step.milestones] == [True, True]
    world.put("2024-10-09", 1001)
    step = world.step(NOON)
    assert told(step) == [("raised", "day:2024-10-09/exceeds:1000")]
    assert [event.data.first for event in step.milestones] == [False]


def test_an_earlier_day_that_passes_later_takes_the_first_over() -> None:
    world = World(EXCEEDS)
    world.put("2024-10-07", 1001)
    world.step(NOON)
    world.put("2024-10-05", 1001)
    step = world.step(NOON)
    assert told(step) == [
        ("raised", "day:2024-10-05/exceeds:1000"),
        ("retracted", "first:day/exceeds:1000"),
        ("reinstated", "first:day/exceeds:1000"),
    ]
    assert [(event.data.revision, event.data.period) for event in step.milestones[1:]] == [
        (2, "day:2024-10-07"),
        (3, "day:2024-10-05"),
    ]
    assert [event.data.position for event in step.milestones] == [1001, None, 1001]


def test_the_first_moves_on_when_its_day_is_corrected_and_is_retracted_when_none_is_left() -> None:
    world = World(EXCEEDS)
    world.put("2024-10-07", 1001)
    world.put("2024-10-09", 1001)
    world.step(NOON)
    world.put("2024-10-07", 999)
    step = world.step(NOON)
    assert told(step) == [
        ("retracted", "day:2024-10-07/exceeds:1000"),
        ("retracted", "first:day/exceeds:1000"),
        ("reinstated", "first:day/exceeds:1000"),
    ]
    assert step.milestones[2].data.period == "day:2024-10-09"
    assert step.milestones[2].data.position == 1001
    world.put("2024-10-09", 3)
    assert ("retracted", "first:day/exceeds:1000") in told(world.step(NOON))
    world.put("2024-10-11", 1001)
    assert told(world.step(NOON))[1:] == [("reinstated", "first:day/exceeds:1000")]
    assert world.standing()["deliveries/model=SU7/first:day/exceeds:1000"] == "day:2024-10-11"


def test_a_first_that_moves_to_a_day_that_had_passed_before_is_reinstated_with_its_unit() -> None:
    world = World(EXCEEDS)
    world.put("2024-10-07", 1001)
    world.put("2024-10-09", 1001)
    world.step(NOON)
    world.put("2024-10-07", 999)
    world.put("2024-10-09", 1002)
    event = world.step(NOON).milestones[-1]
    assert (event.type, event.data.period, event.data.position) == ("milestone.reinstated.v1", "day:2024-10-09", 1001)


def test_a_new_first_that_had_passed_before_is_no_news_although_an_earlier_day_passes_now() -> None:
    world = World()
    world.put("2024-10-07", 1001)
    world.step(NOON)
    world.restart(EXCEEDS)
    world.put("2024-10-05", 1001)
    step = world.step(NOON)
    assert told(step) == [
        ("raised", "day:2024-10-05/exceeds:1000"),
        ("recorded", "day:2024-10-07/exceeds:1000"),
        ("recorded", "first:day/exceeds:1000"),
    ]
    assert step.milestones[2].data.period == "day:2024-10-05"


def test_a_first_by_history_alone_is_recorded() -> None:
    world = World(EXCEEDS)
    world.put("2024-10-07", 1001, backfilled=1001)
    assert told(world.step(NOON))[1:] == [("recorded", "first:day/exceeds:1000")]


def test_a_first_of_a_holiday_that_is_no_longer_counted_stands() -> None:
    world = World(rule(window="holiday", exceeds=10, first=True), holidays=("national-day", "mid-autumn"))
    world.put("2024-09-15", 11)
    world.step(NOON)
    world.restart(holidays=("national-day",))
    world.put("2024-10-01", 11)
    assert told(world.step(NOON)) == [("raised", "holiday:national-day:2024/exceeds:10")]


# --- targets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "reached"), [(19_999, False), (20_000, True), (20_001, True)])
def test_a_target_is_reached_at_its_value(count: int, reached: bool) -> None:
    world = World(targets=(target(20_000),))
    world.put("2024-10-07", count)
    step = world.step(NOON)
    assert told(step) == ([("raised", "month:2024-10/target:aim:20000")] if reached else [])
    assert [t.reached for t in world.row("month:2024-10").targets] == [reached]


def test_a_target_milestone_names_the_target_and_no_rule() -> None:
    world = World(targets=(target(20),))
    world.put("2024-10-07", 20)
    data = world.step(NOON).milestones[0].data
    assert (data.kind, data.rule, data.target_id, data.operator, data.threshold) == (
        "target",
        None,
        "aim",
        "reaches",
        20,
    )


def test_a_lower_value_already_reached_is_recorded_and_the_old_achievement_stands() -> None:
    world = World(targets=(target(20),))
    world.put("2024-10-07", 25)
    world.step(NOON)
    world.restart(targets=(target(15),))
    step = world.step(NOON)
    assert told(step) == [("recorded", "month:2024-10/target:aim:15")]
    assert step.milestones[0].data.position == 15
    assert len(world.standing()) == 2


def test_a_higher_value_is_another_milestone_and_the_old_one_is_not_retracted() -> None:
    world = World(targets=(target(20),))
    world.put("2024-10-07", 25)
    world.step(NOON)
    world.restart(targets=(target(30),))
    step = world.step(NOON)
    assert not step.milestones
    assert [t.model_dump() for t in world.row("month:2024-10").targets] == [
        {"target_id": "aim", "value": 30, "reached": False}
    ]
    world.put("2024-10-07", 18)
    assert not world.step(NOON).milestones


def test_the_targets_of_a_row_are_in_the_order_of_their_values() -> None:
    world = World(targets=(target(30, "a"), target(10, "c"), target(10, "b")))
    world.step(NOON)
    assert [t.target_id for t in world.row("month:2024-10").targets] == ["b", "c", "a"]


def test_a_withdrawn_target_leaves_the_row_and_its_milestone_stands() -> None:
    world = World(targets=(target(20),))
    world.put("2024-10-07", 25)
    world.step(NOON)
    world.restart(targets=())
    assert not world.step(NOON).milestones
    assert world.row("month:2024-10").targets == []
    world.put("2024-10-07", 1)
    assert not world.step(NOON).milestones
    assert len(world.standing()) == 1


def test_a_target_in_force_is_retracted_by_a_correction_and_reinstated() -> None:
    world = World(targets=(target(20), target(22, "stretch")))
    for count in (25, 21, 19, 20):
        world.put("2024-10-07", count)
        world.step(NOON)
    assert [(e.type.split(".")[1], e.data.target_id, e.data.revision) for e in world.events] == [
        ("raised", "aim", 1),
        ("raised", "stretch", 1),
        ("retracted", "stretch", 2),
        ("retracted", "aim", 2),
        ("reinstated", "aim", 3),
    ]


# --- records ------------------------------------------------------------------------------------------------------

RECORD = rule("record", record=True)


def test_a_day_is_a_record_once_over_with_strictly_more_than_every_earlier_day() -> None:
    """The very first day has nothing to exceed, an equal day does not exceed, a running day is not over."""
    world = World(RECORD)
    for day, count in (("03", 5), ("04", 7), ("05", 7), ("06", 8), ("07", 100)):
        world.put(f"2024-10-{day}", count)
    step = world.step(NOON)
    assert told(step) == [("raised", "record:day:2024-10-04"), ("raised", "record:day:2024-10-06")]
    assert [(e.data.count, e.data.threshold, e.data.operator, e.data.first) for e in step.milestones] == [
        (7, None, None, False),
        (8, None, None, False),
    ]


def test_a_record_that_the_clock_brings_has_the_unit_that_passed_the_earlier_one() -> None:
    world = World(RECORD)
    world.put("2024-10-06", 5)
    world.put("2024-10-07", 6)
    assert not world.step(NOON).milestones
    assert not world.step("2024-10-07T23:59:59+08:00").milestones
    event = world.step("2024-10-08T00:00:00+08:00").milestones[0]
    assert (event.type, event.data.count, event.data.position) == ("milestone.raised.v1", 6, 6)


def test_a_record_has_that_unit_also_when_the_day_grew_in_the_step_in_which_it_ended() -> None:
    world = World(RECORD)
    world.put("2024-10-06", 5)
    world.put("2024-10-07", 6)
    world.step(NOON)
    world.put("2024-10-07", 7)
    event = world.step("2024-10-08T00:00:00+08:00").milestones[0]
    assert (event.data.count, event.data.position) == (7, 6)


def test_a_day_that_history_alone_makes_a_record_is_on_record() -> None:
    world = World(RECORD)
    world.put("2024-10-05", 6)
    world.put("2024-10-06", 5)
    world.step(NOON)
    world.put("2024-10-06", 8, backfilled=3)
    assert told(world.step(NOON)) == [("recorded", "record:day:2024-10-06")]


def test_no_day_is_a_record_on_half_its_deliveries() -> None:
    """While a worker catches up after an outage, days that have ended are not over."""
    world = World(RECORD)
    world.put("2024-10-05", 5)
    world.step("2024-10-06T12:00:00+08:00")
    world.put("2024-10-06", 6)
    world.put("2024-10-07", 7)
    assert not world.step("2024-10-08T12:00:00+08:00", caught_up=False).milestones
    world.put("2024-10-06", 9)
    assert told(world.step("2024-10-08T12:00:01+08:00")) == [("raised", "record:day:2024-10-06")]


def test_records_follow_late_events_and_corrections_of_earlier_days() -> None:
    world = World(RECORD)
    for day, count in (("03", 5), ("04", 7), ("05", 9), ("06", 8)):
        world.put(f"2024-10-{day}", count)
    world.step(NOON)
    world.put("2024-10-03", 8)
    assert told(world.step(NOON)) == [("retracted", "record:day:2024-10-04")]
    world.put("2024-10-06", 10)
    step = world.step(NOON)
    assert told(step) == [("raised", "record:day:2024-10-06")]
    assert step.milestones[0].data.position == 10
    world.put("2024-10-03", 1)
    assert told(world.step(NOON)) == [("reinstated", "record:day:2024-10-04")]
    world.put("2024-10-01", 99)
    assert told(world.step(NOON)) == [
        ("retracted", "record:day:2024-10-04"),
        ("retracted", "record:day:2024-10-05"),
        ("retracted", "record:day:2024-10-06"),
    ]


def test_a_year_loaded_as_history_puts_its_records_on_record() -> None:
    """Also when its days end in a later step, when the catch-up is over."""
    world = World(RECORD)
    for day, count in (("03", 5), ("04", 7)):
        world.put(f"2024-10-{day}", count, backfilled=count)
    assert not world.step(NOON, caught_up=False).milestones
    world.put("2024-10-05", 9, backfilled=9)
    assert told(world.step(NOON)) == [("recorded", "record:day:2024-10-04"), ("recorded", "record:day:2024-10-05")]


def test_a_new_record_rule_records_the_days_that_were_over_and_raises_the_one_that_is_over_since() -> None:
    world = World()
    for day, count in (("05", 5), ("06", 7), ("07", 8)):
        world.put(f"2024-10-{day}", count)
    world.step(NOON)
    world.restart(RECORD)
    world.put("2024-10-06", 8)
    world.put("2024-10-07", 9)
    step = world.step("2024-10-08T12:00:00+08:00")
    assert told(step) == [("recorded", "record:day:2024-10-06"), ("raised", "record:day:2024-10-07")]
    assert [event.data.position for event in step.milestones] == [6, 9]


def test_over_days_stay_over_across_a_restart_that_has_to_catch_up() -> None:
    world = World(RECORD)
    for day, count in (("05", 5), ("06", 7)):
        world.put(f"2024-10-{day}", count)
    world.step(NOON)
    world.restart()
    world.put("2024-10-05", 8)
    assert told(world.step(NOON, caught_up=False)) == [("retracted", "record:day:2024-10-06")]


# --- the rest -----------------------------------------------------------------------------------------------------


def test_the_order_within_a_step_is_threshold_first_target_record() -> None:
    world = World(RECORD, rule("daily", exceeds=5, first=True), targets=(target(4),))
    world.put("2024-10-05", 5)
    world.put("2024-10-06", 6)
    assert [event.data.kind for event in world.step(NOON).milestones] == ["threshold", "first", "target", "record"]


def test_a_calendar_that_moves_a_holiday_restates_its_row_without_news() -> None:
    """No unit has come, so what the new dates add is recorded, not news."""
    world = World(rule(window="holiday", exceeds=10))
    world.put("2024-10-01", 6)
    world.put("2024-10-07", 6)
    world.step(NOON)
    key = f"{METRIC}/{SCOPE}/holiday:national-day:2024"
    world.rows[key] = world.rows[key].model_copy(
        update={"end": "2024-10-03", "count": 6, "calendar": "CN-2024.0 provisional"}
    )
    world.topic.append(world.rows[key])
    world.events.clear()
    world.restart()
    step = world.step(NOON)
    assert [(row.end, row.count, row.calendar) for row in step.rows] == [("2024-10-07", 12, "CN-2024.1")]
    assert told(step) == [("recorded", "holiday:national-day:2024/exceeds:10")]
    assert step.milestones[0].data.position == 11


def test_a_published_row_of_a_holiday_that_is_no_longer_counted_is_left_alone() -> None:
    world = World()
    world.put("2024-10-07", 3)
    world.step(NOON)
    world.restart(holidays=())
    assert not world.step(NOON).rows


def test_a_year_without_a_holiday_calendar_is_a_visible_warning() -> None:
    world = World()
    world.put("2024-10-07", 3)
    before = world.totals.warnings
    assert before == ()
    world.put("2031-10-01", 3)
    assert world.totals.warnings == (
        "no holiday calendar for 2031: national-day of that year is not counted until one is added",
    )


def test_a_wrong_rule_or_target_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="rule 'daily': no window is called 'fortnight'"):
        World(rule(window="fortnight", exceeds=1))
    with pytest.raises(ValueError, match="target 'aim': period: 'month:2024-13' is no period"):
        World(targets=(target(1, period="month:2024-13"),))


def test_achieved_at_has_the_offset_of_the_business_zone_at_that_time() -> None:
    complete = Completion(BusinessZone("America/New_York"), {1: "vehicle.deliveries.v1"})
    world = World(rule(exceeds=1), timezone="America/New_York", holidays=())
    for day in (date(2024, 3, 9), date(2024, 3, 10)):
        world.put(day, 2)
    step = world.step(us("2024-03-11T00:00:00Z"))
    found = [
        complete.with_unit(event, (us(at), "e2", "/bj1", 1, 3, 7)).data
        for event, at in zip(step.milestones, ("2024-03-09T17:00:02Z", "2024-03-11T03:30:00Z"), strict=True)
    ]
    assert [(data.achieved_at, data.achieved_on) for data in found] == [
        ("2024-03-09T12:00:02-05:00", "2024-03-09"),
        ("2024-03-10T23:30:00-04:00", "2024-03-10"),
    ]
    assert found[0].cause == Cause(
        topic="vehicle.deliveries.v1", partition=3, offset=7, event_source="/bj1", event_id="e2"
    )
    without = complete.with_unit(step.milestones[0], None).data
    assert (without.position, without.achieved_at, without.cause) == (None, None, None)


# --- pauses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scopes", "days"), [(800, 1), (1, 900), (40, 20)])
def test_only_a_few_hundred_rows_are_judged_or_published_between_two_pauses(
    scopes: int, days: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With rows of many small scopes or of one large scope, and with or without changes."""
    world, work, longest = World(EXCEEDS), [0], [0]
    load, publish = Windows.load, Windows.publish

    def loaded(self: Windows, places: Sequence[int]) -> None:
        work[0] += len(places)
        load(self, places)

    def published(self: Windows, *arguments: Any) -> Any:
        work[0] += 1
        return publish(self, *arguments)

    monkeypatch.setattr(Windows, "load", loaded)
    monkeypatch.setattr(Windows, "publish", published)
    for scope in range(scopes):
        for day in range(days):
            world.put(date(2022, 1, 1) + timedelta(days=day), 1, scope=f"model=M{scope}")
    for _ in range(2):
        for _ in world.totals.steps(now_us=us(NOON), caught_up=True, most=4000):
            work[0], longest[0] = 0, max(longest[0], work[0])
        world.put("2022-01-01", 2)
    assert 0 < longest[0] <= 600


@pytest.mark.parametrize(("part", "parts"), [("2024-10-07", 60), ("campaign:su7:0", 24)])
def test_a_count_with_the_parts_of_another_kind_of_window_is_an_error(part: str, parts: int) -> None:
    value = encode_day_count(DayCount(1, 0, [1] + [0] * (parts - 1), None))
    with pytest.raises(ValueError, match="another kind of window"):
        World().totals.take([(f"0|deliveries|all|{part}".encode(), value)])
