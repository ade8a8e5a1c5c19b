"""Which milestones should stand: the rules once more, at their edges."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from schemas.events import BalanceSet, BalanceSetData, TargetSet, TargetSetData, TargetWithdrawn, TargetWithdrawnData
from schemas.instants import micros_of, parse_instant
from schemas.outputs import MilestoneEvent, WindowRow
from schemas.rows import RowKey
from streams.audit.comparing import (
    compare_milestones,
    compare_row_balances,
    compare_row_targets,
    compare_rows,
    compare_sums,
)
from streams.audit.expected_milestones import TargetInForce, expected_standing, is_judged
from streams.audit.report import Check
from streams.audit.sums import Business, Day, Window, windows_of, without_later
from streams.audit.targets import TargetEvents
from streams.settings import Settings
from streams.settings_sections import RollingSettings, RuleSettings
from tests.support import outputs

SETTINGS = Settings(
    rule=(
        RuleSettings(name="big", metric="deliveries", window="day", scope=("model",), exceeds=1000, first=True),
        RuleSettings(name="best", metric="deliveries", window="day", scope=("model",), record=True),
        RuleSettings(name="holiday", metric="orders_placed", window="holiday", scope=(), reaches=10),
    )
)
BUSINESS = Business(SETTINGS)
TARGET = TargetInForce("oct", "deliveries", "model=SU7", "month:2024-10", 20)


def windows(**days: int) -> dict[RowKey, Window]:
    """SU7 deliveries of days of October 2024, such as d07=3."""
    found = {}
    for name, count in days.items():
        day = date(2024, 10, int(name[1:]))
        found[RowKey("deliveries", "model=SU7", f"day:{day}")] = Window(BUSINESS.periods_of(day)[0], count)
    return found


def row(metric: str, scope: str, period: str, count: int, *, status: str = "closed", **more: Any) -> WindowRow:
    """A published row; by default of a day that is over."""
    start = {"day": period[4:], "month": f"{period[6:]}-01"}.get(period.split(":", maxsplit=1)[0], "2024-10-01")
    end = start if period.startswith("day") else "2024-10-31"
    values = {
        "metric": metric,
        "scope": scope,
        "period": period,
        "start": start,
        "end": end,
        "timezone": "Asia/Shanghai",
        "count": count,
        "targets": [],
        "status": status,
        "restated": 0,
        "version": 1,
        "updated_at": "2024-11-01T00:00:00.000Z",
        **more,
    }
    return WindowRow.model_validate(values)


def rows_for(found: dict[RowKey, Window], status: str = "closed") -> dict[RowKey, WindowRow]:
    """The rows that publish these windows."""
    return {key: row(*key, count=window.count, status=status) for key, window in found.items()}


@pytest.mark.parametrize(("count", "stands"), [(999, False), (1000, False), (1001, True)])
def test_exceeds_is_more_than_the_number(count: int, stands: bool) -> None:
    found = expected_standing(SETTINGS, windows(d07=count), {}, [])
    assert ("deliveries/model=SU7/day:2024-10-07/exceeds:1000" in found.periods) is stands
    assert ("deliveries/model=SU7/first:day/exceeds:1000" in found.periods) is stands


@pytest.mark.parametrize(("count", "stands"), [(9, False), (10, True)])
def test_reaches_is_at_least_the_number_and_holiday_is_every_holiday(count: int, stands: bool) -> None:
    holiday = BUSINESS.periods_of(date(2024, 10, 3))[3]
    found = expected_standing(SETTINGS, {RowKey("orders_placed", "all", holiday.id): Window(holiday, count)}, {}, [])
    assert (f"orders_placed/all/{holiday.id}/reaches:10" in found.periods) is stands


def test_the_first_is_the_earliest_period_that_passes() -> None:
    found = expected_standing(SETTINGS, windows(d07=1001, d05=1002, d06=3), {}, [])
    assert found.periods["deliveries/model=SU7/first:day/exceeds:1000"] == "day:2024-10-05"


def test_a_record_has_strictly_more_than_every_earlier_day_that_is_over() -> None:
    found = windows(d01=5, d02=5, d03=6, d04=9, d05=8)
    rows = rows_for(found)
    rows[RowKey("deliveries", "model=SU7", "day:2024-10-04")] = row(
        "deliveries", "model=SU7", "day:2024-10-04", 9, status="open"
    )
    standing = expected_standing(SETTINGS, found, rows, []).periods
    assert sorted(standing.values()) == ["day:2024-10-03", "day:2024-10-05"]


def test_multiples_stand_up_to_the_count_and_records_are_kept_for_each_window() -> None:
    settings = Settings(
        windows=("day", "quarter", "holiday"),
        holidays=("national-day", "mid-autumn"),
        rule=(
            RuleSettings(name="each", metric="deliveries", window="quarter", scope=("model",), every=10, record=True),
            RuleSettings(name="breaks", metric="deliveries", window="holiday", scope=("model",), record=True),
        ),
    )
    calendar = Business(settings).calendar
    counts = {"quarter:2024-Q2": 9, "quarter:2024-Q3": 30, "holiday:mid-autumn:2024": 3, "holiday:national-day:2024": 2}
    counts |= {"holiday:national-day:2025": 4, "quarter:2024-Q4": 31}
    found = {
        RowKey("deliveries", "model=SU7", name): Window(calendar.period(name), count) for name, count in counts.items()
    }
    rows = {key: row(*key, count=window.count) for key, window in found.items()}
    rows[RowKey("deliveries", "model=SU7", "quarter:2024-Q4")] = row(
        "deliveries", "model=SU7", "quarter:2024-Q4", 31, status="open"
    )
    standing = expected_standing(settings, found, rows, [])
    assert sorted(standing.periods) == [
        "deliveries/model=SU7/quarter:2024-Q3/every:10:10",
        "deliveries/model=SU7/quarter:2024-Q3/every:10:20",
        "deliveries/model=SU7/quarter:2024-Q3/every:10:30",
        "deliveries/model=SU7/quarter:2024-Q4/every:10:10",
        "deliveries/model=SU7/quarter:2024-Q4/every:10:20",
        "deliveries/model=SU7/quarter:2024-Q4/every:10:30",
        "deliveries/model=SU7/record:holiday:national-day:2025",
        "deliveries/model=SU7/record:quarter:2024-Q3",
    ]
    assert set(standing.rule_of.values()) == {"each", "breaks"}
    multiple = milestone("deliveries/model=SU7/quarter:2024-Q3/every:10:20", "quarter:2024-Q3", kind="raised")
    of_kind = multiple.model_copy(update={"data": multiple.data.model_copy(update={"kind": "multiple"})})
    assert is_judged(settings, of_kind, [])
    assert not is_judged(SETTINGS, of_kind, [])


def test_streaks_are_counted_up_to_each_period_and_holidays_by_year() -> None:
    settings = Settings(
        windows=("day", "month", "holiday"),
        holidays=("national-day",),
        rule=(
            RuleSettings(name="months", metric="deliveries", window="month", scope=("model",), exceeds=9, streak=2),
            RuleSettings(name="breaks", metric="deliveries", window="holiday", scope=("model",), reaches=3, streak=2),
        ),
    )
    calendar = Business(settings).calendar
    counts = {"month:2023-11": 10, "month:2023-12": 10, "month:2024-01": 11, "month:2024-03": 10, "month:2024-04": 9}
    counts |= {"holiday:national-day:2023": 3, "holiday:national-day:2024": 3, "holiday:national-day:2025": 4}
    found = {
        RowKey("deliveries", "model=SU7", name): Window(calendar.period(name), count) for name, count in counts.items()
    }
    standing = expected_standing(settings, found, {}, [])
    streaks = [name for name in sorted(standing.periods) if "/streak:" in name]
    assert streaks == [
        "deliveries/model=SU7/holiday:national-day:2024/streak:reaches:3:2",
        "deliveries/model=SU7/holiday:national-day:2025/streak:reaches:3:3",
        "deliveries/model=SU7/month:2023-12/streak:exceeds:9:2",
        "deliveries/model=SU7/month:2024-01/streak:exceeds:9:3",
    ]
    shorter, longer = (
        milestone(streaks[index], "month:2024-01", threshold=9, rule="months").model_copy() for index in (2, 3)
    )
    for event, length, is_judged_now in ((shorter, 1, False), (longer, 3, True)):
        data = event.data.model_copy(update={"kind": "streak", "streak": length})
        assert is_judged(settings, event.model_copy(update={"data": data}), []) is is_judged_now


def test_periods_are_compared_with_what_is_over_and_not_the_first() -> None:
    def month_rule(name: str, factor: float, **more: Any) -> RuleSettings:
        fields = {"name": name, "metric": "deliveries", "window": "month", "scope": ["model"], "factor": factor, **more}
        return RuleSettings.model_validate(fields)

    settings = Settings(
        rule=(
            month_rule("double", 2, **{"as": "passed"}),
            month_rule("done", 2.5),
            month_rule("year", 1.1, than="last-year"),
            month_rule("best", 100, record=True, **{"as": "passed"}),
        )
    )
    calendar = Business(settings).calendar
    counts = {"month:2023-11": 10, "month:2023-12": 20, "month:2024-01": 40, "month:2024-02": 99, "month:2024-12": 22}
    found = {
        RowKey("deliveries", "model=SU7", name): Window(calendar.period(name), count) for name, count in counts.items()
    }
    rows = rows_for(found)
    rows[RowKey("deliveries", "model=SU7", "month:2024-02")] = row(
        "deliveries", "model=SU7", "month:2024-02", 99, status="open"
    )
    standing = sorted(expected_standing(settings, found, rows, []).periods)
    assert standing == [
        "deliveries/model=SU7/month:2024-01/factor:2:previous",
        "deliveries/model=SU7/month:2024-02/factor:2:previous",
        "deliveries/model=SU7/month:2024-12/factor:1.1:last-year",
        "deliveries/model=SU7/record-passed:month:2023-12",
        "deliveries/model=SU7/record-passed:month:2024-01",
        "deliveries/model=SU7/record-passed:month:2024-02",
        "deliveries/model=SU7/record:month:2023-12",
        "deliveries/model=SU7/record:month:2024-01",
    ]
    event = milestone(standing[0], "month:2024-01", operator="reaches", threshold=40, factor=2.0)
    for kind, judged in (("factor", True), ("record_passed", True), ("streak", False)):
        of_kind = event.model_copy(update={"data": event.data.model_copy(update={"kind": kind})})
        assert is_judged(settings, of_kind, []) is judged
    other = event.model_copy(update={"data": event.data.model_copy(update={"kind": "factor", "factor": 3.0})})
    assert not is_judged(settings, other, [])


def test_scopes_are_compared_in_periods_that_are_over() -> None:
    settings = Settings(
        rule=(
            RuleSettings(name="among", metric="deliveries", window="month", scope=("model",), share=0.3, leader=True),
        )
    )
    calendar = Business(settings).calendar
    counts = {
        ("model=SU7", "month:2024-09"): 5,
        ("model=YU7", "month:2024-09"): 5,
        ("model=other", "month:2024-09"): 90,
        ("all", "month:2024-09"): 100,
        ("model=SU7", "month:2024-10"): 6,
        ("model=YU7", "month:2024-10"): 5,
        ("all", "month:2024-10"): 20,
        ("model=SU7", "month:2024-12"): 1,
        ("model=YU7", "month:2024-12"): 7,
        ("all", "month:2024-12"): 8,
    }
    found = {
        RowKey("deliveries", scope, name): Window(calendar.period(name), count)
        for (scope, name), count in counts.items()
    }
    standing = sorted(expected_standing(settings, found, rows_for(found), []).periods)
    assert standing == [
        "deliveries/model=SU7/month:2024-10/leader",
        "deliveries/model=SU7/month:2024-10/share-of-all:0.3",
        "deliveries/model=YU7/month:2024-12/share-of-all:0.3",
        "deliveries/model=other/month:2024-09/share-of-all:0.3",
    ]
    assert expected_standing(settings, found, rows_for(found, status="open"), []).periods == {}
    event = milestone(standing[0], "month:2024-10", operator="exceeds", threshold=5, share=0.3)
    for kind, judged in (("leader", True), ("scope_share", True), ("factor", False)):
        of_kind = event.model_copy(update={"data": event.data.model_copy(update={"kind": kind})})
        assert is_judged(settings, of_kind, []) is judged


@pytest.mark.parametrize(("count", "stands"), [(19, False), (20, True)])
def test_a_target_is_reached_at_its_value(count: int, stands: bool) -> None:
    month = BUSINESS.periods_of(date(2024, 10, 3))[1]
    found = expected_standing(
        SETTINGS, {RowKey("deliveries", "model=SU7", month.id): Window(month, count)}, {}, [TARGET]
    )
    assert (found.periods == {"deliveries/model=SU7/month:2024-10/target:oct:20": "month:2024-10"}) is stands


def milestone(milestone_id: str, period: str, revision: int = 1, kind: str = "raised", **data: Any) -> MilestoneEvent:
    """A milestone event."""
    metric, scope = milestone_id.split("/")[:2]
    of: dict[str, Any] = {
        "rule": "big",
        "metric": metric,
        "scope": scope,
        "period": period,
        "first": False,
        "achieved_at": None,
    }
    return MilestoneEvent.model_validate(outputs.milestone(milestone_id, revision, kind, **of | data))


BIG = "deliveries/model=SU7/day:2024-10-07/exceeds:1000"
FIRST = "deliveries/model=SU7/first:day/exceeds:1000"


def lines(count: int, *events: MilestoneEvent) -> list[str]:
    """What is wrong with milestones when 7 October has a count."""
    found = windows(d07=count)
    check = compare_milestones(SETTINGS, found, {}, events, [])
    return [difference.line for difference in check.differences]


def test_milestones_that_are_right_give_no_difference() -> None:
    assert lines(1001, milestone(BIG, "day:2024-10-07"), milestone(FIRST, "day:2024-10-07", kind="recorded")) == []
    assert lines(1000, milestone(BIG, "day:2024-10-07"), milestone(BIG, "day:2024-10-07", 2, "retracted")) == []


def test_a_milestone_that_is_missing_superfluous_or_of_another_period_is_named() -> None:
    (missing,) = lines(1001, milestone(FIRST, "day:2024-10-07"))
    assert missing == f"{BIG}: should stand (day:2024-10-07 counts 1,001), and does not"
    (superfluous,) = lines(1000, milestone(BIG, "day:2024-10-07"))
    assert superfluous == f"{BIG}: stands, and should not (day:2024-10-07 counts 1,000)"
    (moved,) = lines(1001, milestone(BIG, "day:2024-10-07"), milestone(FIRST, "day:2024-10-08"))
    assert moved == f"{FIRST}: stands for day:2024-10-08, should for day:2024-10-07"


def test_a_revision_that_is_there_twice_is_named() -> None:
    twice = [milestone(BIG, "day:2024-10-07"), milestone(BIG, "day:2024-10-07")]
    assert lines(1001, *twice, milestone(FIRST, "day:2024-10-07")) == [f"{BIG}: revision 1 follows revision 1"]


def test_what_a_former_rule_has_left_is_not_judged() -> None:
    former = "deliveries/model=SU7/day:2024-10-07/exceeds:7"
    assert lines(5, milestone(former, "day:2024-10-07", threshold=7)) == []


def test_a_retraction_that_its_rule_holds_back_is_no_difference() -> None:
    holding = SETTINGS.model_copy(
        update={"rule": tuple(rule.model_copy(update={"retract_after_s": 60}) for rule in SETTINGS.rule)}
    )
    event = milestone(BIG, "day:2024-10-07")
    assert compare_milestones(holding, windows(d07=1000), {}, [event], []).differences == []
    assert len(compare_milestones(SETTINGS, windows(d07=1000), {}, [event], []).differences) == 1


def test_a_row_that_is_off_by_one_is_named_with_its_hours() -> None:
    day = BUSINESS.periods_of(date(2024, 10, 7))[0]
    hours = [0] * 24
    hours[14] = 5
    key = RowKey("deliveries", "all", day.id)
    falsified = row(*key, 6, by_hour=[*hours[:14], 6, *hours[15:]])
    check = compare_rows({key: falsified}, {key: Window(day, 5, hours)}, BUSINESS, Check("rows", 0, ""))
    (difference,) = check.differences
    assert difference.line == "deliveries/all/day:2024-10-07: published 6, recounted 5 (+1); 14h 6 for 5"
    assert difference.details["hours"] == [{"hour": 14, "published": 6, "recounted": 5}]


def test_a_row_that_is_missing_or_that_nothing_counts_is_named() -> None:
    day = BUSINESS.periods_of(date(2024, 10, 7))[0]
    key = RowKey("deliveries", "all", day.id)
    (missing,) = compare_rows({}, {key: Window(day, 2, [0] * 24)}, BUSINESS, Check("rows", 0, "")).differences
    assert "published 0, recounted 2 (-2)" in missing.line
    (invented,) = compare_rows({key: row(*key, 1)}, {}, BUSINESS, Check("rows", 0, "")).differences
    assert "published 1, recounted 0 (+1)" in invented.line


def test_the_row_of_a_holiday_that_is_no_longer_counted_is_left_alone() -> None:
    key = RowKey("deliveries", "all", "holiday:spring-festival:2024")
    assert compare_rows({key: row(*key, 3)}, {}, BUSINESS, Check("rows", 0, "")).compared == 0


def test_a_month_that_is_not_the_sum_of_its_days_is_named() -> None:
    rows = {
        RowKey("deliveries", "all", "day:2024-10-07"): row("deliveries", "all", "day:2024-10-07", 3),
        RowKey("deliveries", "all", "month:2024-10"): row("deliveries", "all", "month:2024-10", 4),
    }
    (difference,) = compare_sums(rows).differences
    assert difference.line == "deliveries/all/month:2024-10: 4, its days add up to 3"


def test_an_inventory_that_is_not_what_was_produced_less_what_was_delivered_is_named() -> None:
    rows = {
        RowKey(metric, "all", "total"): row(metric, "all", "total", count)
        for metric, count in (("produced", 7), ("deliveries", 3), ("inventory", 5))
    }
    lines = [difference.line for difference in compare_sums(rows).differences]
    assert "inventory/all/total: 5, produced and not delivered are 4" in lines


def test_targets_on_a_row_are_those_in_force_and_say_truly_whether_they_are_reached() -> None:
    shown = [{"target_id": "oct", "value": 20, "reached": True}]
    key = RowKey("deliveries", "model=SU7", "month:2024-10")
    assert compare_row_targets([row(*key, 20, targets=shown)], [TARGET]).differences == []
    (wrong,) = compare_row_targets([row(*key, 19, targets=shown)], [TARGET]).differences
    assert wrong.line.endswith("target oct 20 is marked reached at 19")
    (absent,) = compare_row_targets([row(*key, 19)], [TARGET]).differences
    assert "in force are {'oct': 20}" in absent.line
    (no_row,) = compare_row_targets([], [TARGET]).differences
    assert "has no row" in no_row.line


def test_targets_are_set_replaced_and_withdrawn_by_time_whatever_the_order_on_the_topic() -> None:
    def at(text: str, value: int | None, identity: str) -> Any:
        envelope: dict[str, Any] = {"id": identity, "source": "/plan", "time": parse_instant(text)}
        if value is None:
            return TargetWithdrawn(**envelope, data=TargetWithdrawnData(target_id="oct"))
        data = TargetSetData(
            target_id="oct", metric="deliveries", scope="all", period="month:2024-10", value=value, label=None
        )
        return TargetSet(**envelope, data=data)

    events = TargetEvents(
        (
            at("2024-10-01T00:00:00+08:00", 5, "a"),
            at("2024-10-10T00:00:00+08:00", 7, "b"),
            at("2024-10-20T00:00:00+08:00", None, "c"),
        )
    )

    def values(now: str) -> list[int]:
        in_force = events.in_force(SETTINGS, BUSINESS, micros_of(parse_instant(now)))
        return [target.value for target in in_force]

    assert values("2024-09-30T00:00:00+08:00") == []
    assert values("2024-10-09T00:00:00+08:00") == [5]
    assert values("2024-10-10T00:00:00+08:00") == [7]
    assert values("2024-10-20T00:00:00+08:00") == []


def test_balances_are_set_and_corrected_by_time_and_known_from_when_they_were_appended() -> None:
    def at(text: str, count: int, identity: str, scope: str = "all") -> BalanceSet:
        data = BalanceSetData(metric="deliveries", scope=scope, count=count)
        return BalanceSet(id=identity, source="/plan", time=parse_instant(text), data=data)

    events = TargetEvents(
        (
            at("2024-10-01T00:00:00+08:00", 5, "a"),
            at("2024-10-01T00:00:00+08:00", 9, "b", "variant=Max"),
            at("2024-10-10T00:00:00+08:00", 7, "c"),
            at("2024-10-20T00:00:00+08:00", 0, "d"),
        ),
        (10, 10, 20, 30),
    )
    total = Business(SETTINGS.model_copy(update={"windows": ("day", "total")}))
    row = RowKey("deliveries", "all", "total")

    def known(now: str, appended_us: int | None = None) -> dict[RowKey, int]:
        return events.balances(total, micros_of(parse_instant(now)), appended_us)

    assert known("2024-09-30T00:00:00+08:00") == {}
    assert known("2024-10-09T00:00:00+08:00") == {row: 5}
    assert known("2024-10-10T00:00:00+08:00") == {row: 7}
    assert known("2024-10-10T00:00:00+08:00", 19) == {row: 5}
    assert known("2024-10-20T00:00:00+08:00") == {}
    assert events.balances(BUSINESS, micros_of(parse_instant("2024-10-10T00:00:00+08:00"))) == {}
    assert events.in_force(SETTINGS, BUSINESS, micros_of(parse_instant("2024-10-10T00:00:00+08:00"))) == []
    windows = windows_of({("deliveries", "all", date(2024, 10, 7)): Day(3)}, total, {row: 7})
    assert windows[row].count == 10
    assert windows_of({}, total, {row: 7})[row].count == 7


def test_a_balance_on_a_row_is_the_one_in_force() -> None:
    key = RowKey("deliveries", "all", "total")
    assert compare_row_balances({key: row(*key, 9, balance=7)}, {key: 7}).differences == []
    (wrong,) = compare_row_balances({key: row(*key, 9, balance=7)}, {key: 8}).differences
    assert wrong.line == "deliveries/all/total: shows a balance of 7, in force is 8"
    (absent,) = compare_row_balances({}, {key: 8}).differences
    assert absent.line.endswith("shows a balance of 0, in force is 8")
    day = row("deliveries", "all", "day:2024-10-07", 2)
    assert compare_sums({RowKey.of(day): day, key: row(*key, 9, balance=7, start="1999-12-31")}).differences == []


def test_rolling_windows_are_sums_of_their_days_and_none_has_to_be_there_before_its_last_date_is_over() -> None:
    kept = RollingSettings(days=2, scopes=(("model",),))
    business = Business(SETTINGS.model_copy(update={"rolling": (kept,), "windows": ("day",)}))
    found = windows_of(
        {
            ("deliveries", "model=SU7", date(2024, 10, 7)): Day(7),
            ("deliveries", "model=SU7", date(2024, 10, 8)): Day(8),
            ("deliveries", "all", date(2024, 10, 7)): Day(7),
        },
        business,
    )
    counts = {key.period: window.count for key, window in found.items() if key.period.startswith("rolling:")}
    assert counts == {"rolling:2d:2024-10-07": 7, "rolling:2d:2024-10-08": 15, "rolling:2d:2024-10-09": 8}
    published = RowKey("deliveries", "model=SU7", "rolling:2d:2024-10-09")

    def left(last: date, rows: set[RowKey]) -> int:
        return sum(key.period.startswith("rolling:") for key in without_later(found, last, rows))

    assert (left(date(2024, 10, 8), set()), left(date(2024, 10, 9), set()), left(date(2024, 10, 10), set())) == (
        1,
        2,
        3,
    )
    assert left(date(2024, 10, 9), {published}) == 3


def test_a_scope_whose_production_was_all_taken_back_has_an_inventory_still() -> None:
    families = ("orders", "deliveries", "production")
    business = Business(SETTINGS.model_copy(update={"families": families, "windows": ("day", "total")}))
    days = {("deliveries", "all", date(2024, 10, 7)): Day(3)}
    stock = RowKey("inventory", "all", "total")
    assert stock not in windows_of(days, business)  # type: ignore[arg-type] # a metric
    known = windows_of(days, business, {RowKey("produced", "all", "total"): 0})  # type: ignore[arg-type] # a metric
    assert known[stock].count == -3
