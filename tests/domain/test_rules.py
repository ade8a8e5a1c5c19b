"""Rules and targets are checked before use; a wrong one is one line with its name."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.texts import template_of
from streams.domain.rules import (
    Rule,
    check_rules,
    check_targets,
    first_id,
    record_id,
    target_milestone_id,
    threshold_id,
)
from streams.domain.time.calendar import DEFAULT_WINDOWS
from streams.domain.time.zone import BusinessZone
from streams.holidays import load_calendar
from tests.domain.totals_world import rule, target

CALENDAR = load_calendar(("national-day",), BusinessZone("Asia/Shanghai"), windows=(*DEFAULT_WINDOWS, "total"))


def test_milestone_ids_are_those_of_the_contract() -> None:
    daily = rule(exceeds=1000)
    assert threshold_id(daily, "model=SU7", "day:2024-10-07") == "deliveries/model=SU7/day:2024-10-07/exceeds:1000"
    assert first_id(daily, "model=SU7") == "deliveries/model=SU7/first:day/exceeds:1000"
    assert record_id(daily, "model=SU7", "day:2024-10-07") == "deliveries/model=SU7/record:day:2024-10-07"
    aim = target(20_000, "su7-2024-10")
    assert target_milestone_id(aim) == "deliveries/model=SU7/month:2024-10/target:su7-2024-10:20000"


@pytest.mark.parametrize(
    ("one", "count", "passed"),
    [
        (rule(exceeds=5), 5, False),
        (rule(exceeds=5), 6, True),
        (rule(exceeds=0), 0, False),
        (rule(exceeds=0), 1, True),
        (rule(reaches=5), 4, False),
        (rule(reaches=5), 5, True),
        (rule(record=True), 10**9, False),
    ],
)
def test_a_count_passes_a_rule(one: Rule, count: int, passed: bool) -> None:
    assert one.passed_by(count) is passed


@pytest.mark.parametrize(
    ("scope", "template"),
    [("all", ()), ("model=SU7", ("model",)), ("model=SU7,region=CN-11", ("model", "region"))],
)
def test_a_scope_id_has_the_dimensions_of_its_template(scope: str, template: tuple[str, ...]) -> None:
    assert template_of(scope) == template


def test_a_rule_names_its_dimensions_in_any_order() -> None:
    assert rule(exceeds=1, scope=("region", "model")).template == ("model", "region")


def test_of_good_rules_and_targets_nothing_is_refused_but_a_repetition() -> None:
    rules = [
        rule("a", exceeds=1000, first=True, record=True),
        rule("b", exceeds=1001),
        rule("c", reaches=1000),
        rule("d", exceeds=1000, metric="orders"),
        rule("e", "holiday:national-day", exceeds=1000),
        rule("f", "month", exceeds=0, scope=()),
        rule("g", "month", every=10, record=True),
        rule("h", "month", every=20),
        rule("s", "year", reaches=5, streak=2),
        rule("t", "month", factor=1.5, while_running=True),
        rule("u", "month", factor=1.5, than="last-year"),
        rule("v", "month", share=0.5, leader=True),
        rule("x", "month", share=0.6),
        rule("i", "holiday", record=True),
    ]
    targets = [target(1, "a"), target(1, "b", "holiday:national-day:2024", scope="all")]
    check_rules(rules, CALENDAR)
    check_targets(targets, CALENDAR)
    with pytest.raises(ValueError, match="rule 'i': two rules have this name"):
        check_rules([*rules, rules[-1]], CALENDAR)
    with pytest.raises(ValueError, match="target 'b': two targets have this id"):
        check_targets([*targets, targets[-1]], CALENDAR)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (rule(exceeds=1, metric="sales"), "no metric is called 'sales'; choose from orders_placed, orders, "),
        (rule(window="fortnight", exceeds=1), "no window is called 'fortnight'; choose from day, week, month, "),
        (rule(window="week", exceeds=1), "week is not among the windows of the settings"),
        (rule(window="day:2024-10-07", exceeds=1), "no window is called 'day:2024-10-07'"),
        (rule(window="holiday:", exceeds=1), "no window is called 'holiday:'"),
        (rule(window="holiday:qingming", exceeds=1), "qingming is not among the holidays of the settings"),
        (rule(exceeds=1, scope=("colour",)), "no dimension is called 'colour'; choose from model, variant"),
        (rule(exceeds=1, scope=("model", "model")), "list each dimension once"),
        (rule(), "raises nothing: give exceeds, reaches, every, factor, share, leader, record, forecast_behind, "),
        (rule(first=True), "first needs a number to pass"),
        (rule(record=True, first=True), "first needs a number to pass"),
        (rule(exceeds=-1), "exceeds must be at least 0, not -1"),
        (rule(reaches=0), "reaches must be at least 1, not 0"),
        (rule(operator="above", threshold=1), "give a number with exceeds or reaches"),
        (rule(operator="exceeds"), "give a number with exceeds or reaches"),
        (rule(threshold=5), "give a number with exceeds or reaches"),
        (rule(every=9), "every must be at least 10, not 9"),
        (rule(every=100, exceeds=5), "give every, or exceeds or reaches, in rules apart"),
        (rule(exceeds=1, streak=1), "streak must be at least 2, not 1"),
        (rule(record=True, streak=2), "streak needs a number to pass"),
        (rule(every=100, streak=2), "streak needs exceeds or reaches"),
        (rule(window="total", exceeds=1, streak=2), "total has no earlier period to compare with"),
        (rule(factor=0.5), "factor must be from 1 to 1000 with at most 4 digits after the point, not 0.5"),
        (rule(factor=1.23456), "factor must be from 1 to 1000 with at most 4 digits"),
        (rule(window="total", factor=2), "total has no earlier period to compare with"),
        (rule(share=1.0), "share must be between 0 and 1, not 1.0"),
        (rule(share=0.5, scope=()), "share compares scopes: name dimensions in scope"),
        (rule(window="total", leader=True), "total is never over: leave leader out"),
        (rule(exceeds=1, than="last-year"), "than needs factor"),
        (rule(exceeds=1, while_running=True), "as needs record or factor"),
        (rule(every=100, first=True), "first needs exceeds or reaches"),
    ],
)
def test_a_wrong_rule_is_one_line_with_its_name(wrong: Rule, message: str) -> None:
    with pytest.raises(ValueError, match=f"^rule 'daily': .*{message}") as caught:
        check_rules([rule("good", exceeds=1), wrong], CALENDAR)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (rule("a", exceeds=2), "rule 'a': two rules have this name"),
        (rule("b", exceeds=1), "rule 'b': raises the same milestones as rule 'a'"),
        (rule("b", reaches=7, record=True), "rule 'b': raises the same milestones as rule 'a'"),
        (rule("b", every=10), "rule 'b': raises the same milestones as rule 'c'"),
        (rule("b", factor=2.0), "rule 'b': raises the same milestones as rule 'd'"),
    ],
)
def test_two_rules_that_cannot_be_told_apart_are_refused(second: Rule, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_rules([rule("a", exceeds=1, record=True), rule("c", every=10), rule("d", factor=2), second], CALENDAR)


def test_a_rule_of_every_holiday_and_one_of_the_same_holiday_are_refused() -> None:
    rules = [rule("a", "holiday", exceeds=1), rule("b", "holiday:national-day", exceeds=1)]
    with pytest.raises(ValueError, match="rule 'b': raises the same milestones as rule 'a'"):
        check_rules(rules, CALENDAR)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"metric": "sales"}, "no metric is called 'sales'"),
        ({"scope": "SU7"}, "'SU7' is no scope; write all, model=SU7 or"),
        ({"scope": "model="}, "is no scope"),
        ({"scope": "region=CN-11,model=SU7"}, "is no scope"),
        ({"scope": "model=SU7,model=YU7"}, "is no scope"),
        ({"period": "month:2024"}, "period: 'month:2024' is no period"),
        ({"period": "holiday:national-day:2031"}, "period: .* no holiday calendar for 2031"),
        ({"value": 0}, "value must be at least 1, not 0"),
    ],
)
def test_a_wrong_target_is_one_line_with_its_id(fields: dict[str, Any], message: str) -> None:
    wrong = target(**{"value": 1, **fields})
    with pytest.raises(ValueError, match=f"^target 'aim': .*{message}"):
        check_targets([wrong], CALENDAR)


def test_two_targets_with_one_id_are_refused() -> None:
    with pytest.raises(ValueError, match="target 'aim': two targets have this id"):
        check_targets([target(1), target(2)], CALENDAR)
