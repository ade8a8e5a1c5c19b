"""Rolling windows: rows for chosen scopes, each from the beginning of its last date on and not before."""

from __future__ import annotations

import pytest

from streams.domain.rules import check_rules, check_targets
from streams.domain.time.zone import BusinessZone
from streams.holidays import load_calendar
from streams.wording.sentences import sentences
from tests.domain.totals_world import METRIC, SCOPE, World, rule, target, told

KEPT = {7: (("model",),)}
RULE = rule("week", "rolling:7d", exceeds=100, first=True, record=True)
CALENDAR = load_calendar((), BusinessZone("Asia/Shanghai"), windows=("day",), rolling=KEPT)


def world(*rules: object) -> World:
    return World(*(rules or (RULE,)), windows=("day",), holidays=(), rolling=KEPT)  # type: ignore[arg-type] # rules


def rolling(known: World) -> dict[str, int]:
    """Last date, month and day, → count of the rows."""
    return {row.end[5:]: row.count for row in known.rows.values() if row.period.startswith("rolling:")}


def test_a_period_has_a_row_from_the_beginning_of_its_last_date_on() -> None:
    known = world()
    known.put("2024-10-07", 3)
    known.step("2024-10-07T12:00:00+08:00")
    assert rolling(known) == {"10-07": 3}
    known.step("2024-10-07T23:59:59+08:00")
    assert rolling(known) == {"10-07": 3}
    known.step("2024-10-08T00:00:00+08:00")
    assert rolling(known) == {"10-07": 3, "10-08": 3}
    known.restart()
    known.put("2024-10-09", 4)
    known.step("2024-10-09T12:00:00+08:00")
    assert rolling(known) == {"10-07": 3, "10-08": 3, "10-09": 7}
    # It leaves the windows that begin after it.
    known.step("2024-10-14T12:00:00+08:00")
    assert rolling(known)["10-13"] == 7
    assert rolling(known)["10-14"] == 4
    known.step("2024-10-20T12:00:00+08:00")
    assert max(rolling(known)) == "10-15"


def test_a_row_whose_period_has_not_begun_may_move_when_another_row_leaves() -> None:
    known = World(windows=("day", "month"), holidays=(), rolling={3: (("model",),)}, keep_days={("model",): 2})
    known.put("2024-10-01", 1)
    known.step("2024-10-01T12:00:00+08:00")
    known.put("2024-10-07", 2)
    known.step("2024-10-07T12:00:00+08:00")
    assert "deliveries/model=SU7/day:2024-10-01" not in known.rows
    for day in (8, 9):
        known.step(f"2024-10-{day:02}T12:00:00+08:00")
        assert rolling(known).get(f"10-{day:02}") == 2


def test_a_late_unit_counts_in_each_window_that_it_is_in() -> None:
    known = world()
    known.put("2024-10-07", 3)
    known.step("2024-10-09T12:00:00+08:00")
    known.put("2024-10-05", 1)
    known.step("2024-10-09T13:00:00+08:00")
    assert rolling(known) == {"10-05": 1, "10-06": 1, "10-07": 4, "10-08": 4, "10-09": 4}


def test_only_the_scopes_of_the_setting_have_rows() -> None:
    known = world()
    known.put("2024-10-07", 3, scope="all")
    known.put("2024-10-07", 3)
    known.step("2024-10-07T12:00:00+08:00")
    assert {row.scope for row in known.rows.values() if row.period.startswith("rolling:")} == {SCOPE}


def test_a_line_that_is_crossed_is_news_once_and_again_after_a_day_below_it() -> None:
    known = world(rule("week", "rolling:7d", exceeds=100))
    days = {"05": 60, "06": 50, "07": 10, "13": 40, "14": 10, "15": 70}
    happened = []
    for day in range(5, 16):
        at = f"2024-10-{day:02d}"
        happened += told(known.step(f"{at}T00:00:00+08:00"))
        known.put(at, days.get(f"{day:02d}", 0))
        happened += told(known.step(f"{at}T12:00:00+08:00"))
    news = [name.split("/")[0].removeprefix("rolling:7d:2024-10-") for kind, name in happened if kind == "raised"]
    recorded = [name.split("/")[0].removeprefix("rolling:7d:2024-10-") for kind, name in happened if kind == "recorded"]
    assert news == ["06", "15"]
    assert recorded == ["07", "08", "09", "10", "11"]


def test_news_and_record_are_told_apart_by_the_days_whenever_the_step_comes() -> None:
    """Both days in one step, as when history is loaded with `clock = "events"`."""
    known = world(rule("week", "rolling:7d", exceeds=100))
    known.put("2024-10-05", 120)
    known.put("2024-10-06", 5)
    assert told(known.step("2024-10-06T12:00:00+08:00")) == [
        ("raised", "rolling:7d:2024-10-05/exceeds:100"),
        ("recorded", "rolling:7d:2024-10-06/exceeds:100"),
    ]


def test_units_of_earlier_days_that_come_late_are_news_only_where_the_last_day_is_needed() -> None:
    known = world(rule("week", "rolling:7d", exceeds=100))
    known.put("2024-10-05", 60)
    known.put("2024-10-06", 30)
    known.put("2024-10-07", 5)
    assert told(known.step("2024-10-08T12:00:00+08:00")) == []
    known.put("2024-10-05", 72)
    assert told(known.step("2024-10-08T13:00:00+08:00")) == [
        ("raised", "rolling:7d:2024-10-06/exceeds:100"),
        ("recorded", "rolling:7d:2024-10-07/exceeds:100"),
        ("recorded", "rolling:7d:2024-10-08/exceeds:100"),
    ]
    known.put("2024-10-04", 40)
    assert told(known.step("2024-10-08T14:00:00+08:00")) == [("raised", "rolling:7d:2024-10-05/exceeds:100")]


def test_what_is_loaded_as_history_is_on_record_and_live_units_of_the_last_day_are_news() -> None:
    known = world(rule("week", "rolling:7d", exceeds=100))
    known.put("2024-10-05", 90, backfilled=90)
    known.put("2024-10-06", 11)
    assert told(known.step("2024-10-06T12:00:00+08:00")) == [("raised", "rolling:7d:2024-10-06/exceeds:100")]
    loaded = world(rule("week", "rolling:7d", exceeds=100))
    loaded.put("2024-10-06", 101, backfilled=101)
    assert told(loaded.step("2024-10-06T12:00:00+08:00")) == [("recorded", "rolling:7d:2024-10-06/exceeds:100")]


def test_a_window_that_is_added_is_silent_about_what_was_there() -> None:
    known = World(rule(exceeds=1000), windows=("day",), holidays=())
    known.put("2024-10-05", 120)
    known.step("2024-10-06T12:00:00+08:00")
    known.rolling = KEPT
    known.restart(rule("week", "rolling:7d", exceeds=100))
    assert {kind for kind, _ in told(known.step("2024-10-06T13:00:00+08:00"))} == {"recorded"}


def test_a_sentence_says_which_days() -> None:
    known = world(RULE)
    known.put("2024-10-07", 101)
    events = {event.data.kind: event.data for event in known.step("2024-10-07T12:00:00+08:00").milestones}
    assert sentences().sentence(events["threshold"]) == "SU7 deliveries passed 100 in the 7 days to 7 Oct 2024: 101"
    assert (
        sentences()
        .sentence(events["first"])
        .startswith("SU7 deliveries passed 100 in a 7-day window for the first time")
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (rule(window="rolling:30d", exceeds=1), "is not among the rolling windows of the settings \\(rolling:7d\\)"),
        (rule(window="rolling", exceeds=1), "is not among the rolling windows"),
        (rule(window="rolling:7d", exceeds=1, scope=()), "rolling:7d is not kept for these scopes"),
        (rule(window="rolling:7d", every=100), "rolling windows overlap"),
        (rule(window="rolling:7d", exceeds=1, streak=2), "rolling windows overlap"),
        (rule(window="rolling:7d", leader=True), "rolling windows overlap"),
    ],
)
def test_a_rule_that_a_rolling_window_cannot_have_is_one_line(wrong: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"^rule 'daily': .*{message}"):
        check_rules([wrong], CALENDAR)  # type: ignore[list-item] # a rule


def test_a_rolling_window_has_no_target() -> None:
    with pytest.raises(ValueError, match="rolling windows have no targets"):
        check_targets([target(5, period="rolling:7d:2024-10-07")], CALENDAR)
    with pytest.raises(ValueError, match="there is no such rolling window"):
        CALENDAR.period("rolling:30d:2024-10-07")
    with pytest.raises(ValueError, match="is no period"):
        CALENDAR.period("rolling:7d:2024-13-07")
    assert METRIC
