"""Targets as events: which are in force, and what they change, or do not change, in rows and milestones."""

from __future__ import annotations

import itertools

import pytest

from schemas.events import TargetSet, TargetWithdrawn
from streams.domain.announced.targets import TargetBook, TargetChange, change_of
from streams.domain.rules import Target
from tests.domain.totals_world import World, target, told, us

EARLY, NOON, LATE = "2024-10-07T08:00:00+08:00", "2024-10-07T12:00:00+08:00", "2024-10-07T20:00:00+08:00"


def change(
    time: str, value: int | None, name: str = "1", source: str = "/plan", target_id: str = "aim"
) -> TargetChange:
    """A target is set, or withdrawn if there is no value."""
    return TargetChange(us(time), name, source, target_id, target(value, target_id) if value is not None else None)


def values(book: TargetBook, now: str) -> dict[str, int]:
    return {one.target_id: one.value for one in book.in_force(us(now))}


# What is in force ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "now", "expected"),
    [
        ([], NOON, 100),
        ([change(EARLY, 200)], NOON, 200),
        ([change("2001-01-01T00:00:00Z", 200)], NOON, 200),
        ([change(LATE, 200)], NOON, 100),
        ([change(LATE, 200)], LATE, 200),
        ([change(EARLY, 200), change(LATE, 300, "2")], NOON, 200),
        ([change(EARLY, 200), change(LATE, 300, "2")], LATE, 300),
        ([change(EARLY, None)], NOON, None),
        ([change(EARLY, 200), change(NOON, None, "2")], NOON, None),
        ([change(EARLY, None), change(NOON, 200, "2")], NOON, 200),
        ([change(NOON, 200, "b"), change(NOON, 300, "a")], NOON, 200),
        ([change(NOON, 200, "a", "/b"), change(NOON, 300, "a", "/a")], NOON, 200),
        ([change(NOON, 200, "a", "/b"), change(NOON, None, "b", "/a")], NOON, None),
    ],
)
def test_the_event_with_the_greatest_time_id_and_source_decides_whatever_the_order_of_arrival(
    changes: list[TargetChange], now: str, expected: int | None
) -> None:
    for arrived in itertools.permutations(changes):
        book = TargetBook([target(100)])
        assert all(book.take(one) == "applied" for one in arrived)
        assert values(book, now).get("aim") == expected


def test_the_answer_is_the_same_object_until_something_changes() -> None:
    book = TargetBook([target(100)])
    at_first = book.in_force(us(EARLY))
    book.take(change(LATE, 200))
    assert book.in_force(us(NOON)) is at_first
    assert book.in_force(us(LATE)) is not at_first
    assert [one.value for one in book.in_force(us(NOON))] == [100]
    assert TargetBook([]).in_force(us(NOON)) is TargetBook([]).in_force(us(LATE))


def test_the_same_event_again_is_a_duplicate_and_another_content_a_conflict_that_changes_nothing() -> None:
    book = TargetBook([])
    assert book.take(change(EARLY, 200)) == "applied"
    assert book.take(change(EARLY, 200)) == "duplicate"
    for other in (change(NOON, 200), change(EARLY, 201), change(EARLY, None)):
        assert book.take(other) == "id_conflict"
    labelled = change(EARLY, 200)._replace(target=target(200, label="for the board"))
    assert book.take(labelled) == "id_conflict"
    assert values(book, LATE) == {"aim": 200}


def test_one_id_of_another_source_or_target_is_another_event() -> None:
    book = TargetBook([])
    assert book.take(change(EARLY, 200)) == "applied"
    assert book.take(change(EARLY, 300, source="/board")) == "applied"
    assert book.take(change(EARLY, 400, target_id="floor")) == "applied"
    assert values(book, LATE) == {"aim": 200, "floor": 400}


def test_an_event_is_read_with_all_that_tells_it_from_another() -> None:
    envelope = {"id": "7", "source": "/plan", "time": "2024-10-07T12:00:00+08:00"}
    data = {"target_id": "aim", "metric": "deliveries", "scope": "model=SU7", "period": "month:2024-10", "value": 5}
    set_one = TargetSet.model_validate({**envelope, "data": {**data, "label": "October"}})
    assert change_of(set_one) == TargetChange(
        us(NOON), "7", "/plan", "aim", Target("aim", "deliveries", "model=SU7", "month:2024-10", 5, "October")
    )
    withdrawn = TargetWithdrawn.model_validate({**envelope, "data": {"target_id": "aim", "reason": "new plan"}})
    assert change_of(withdrawn) == TargetChange(us(NOON), "7", "/plan", "aim", None, "new plan")


# What that does to rows and milestones ------------------------------------------------------------------------------


def shown(world: World, period: str = "month:2024-10") -> dict[str, tuple[int, bool]]:
    """The targets on a row."""
    return {one.target_id: (one.value, one.reached) for one in world.row(period).targets}


def test_a_target_set_in_mid_month_is_on_its_row_at_once_and_old_achievements_stand() -> None:
    """18,000 is reached; then the value is raised, lowered, and raised above the count, each judged at once."""
    world = World(targets=(target(15_000),))
    world.put("2024-10-07", 18_000)
    assert told(world.step(NOON)) == [("raised", "month:2024-10/target:aim:15000")]

    for minute, (value, reached, published) in enumerate(
        [(20_000, False, []), (16_000, True, ["month:2024-10/target:aim:16000"]), (19_000, False, [])]
    ):
        now = f"2024-10-07T13:0{minute}:00+08:00"
        world.change(now, target(value))
        step = world.step(now)
        assert told(step) == [("recorded", name) for name in published]
        assert [row.period for row in step.rows] == ["month:2024-10"]
        assert shown(world) == {"aim": (value, reached)}
    assert set(world.standing()) == {f"deliveries/model=SU7/month:2024-10/target:aim:{v}" for v in (15_000, 16_000)}


def test_several_targets_of_one_window_are_judged_each_for_itself() -> None:
    world = World()
    world.change(EARLY, target(10, "floor"))
    world.change(EARLY, target(20, "aim"))
    world.put("2024-10-07", 12)
    assert told(world.step(NOON)) == [("raised", "month:2024-10/target:floor:10")]
    world.change(NOON, "floor")
    world.put("2024-10-08", 9)
    assert told(world.step(LATE)) == [("raised", "month:2024-10/target:aim:20")]
    assert shown(world) == {"aim": (20, True)}


def test_a_target_moved_to_another_window_leaves_the_one_it_had() -> None:
    world = World(targets=(target(10),))
    world.put("2024-10-07", 10)
    world.step(NOON)
    world.change(NOON, target(10, period="month:2024-11"))
    assert {row.period: len(row.targets) for row in world.step(NOON).rows} == {"month:2024-10": 0, "month:2024-11": 1}
    assert list(world.standing()) == ["deliveries/model=SU7/month:2024-10/target:aim:10"]


def test_what_was_achieved_is_not_taken_back_once_the_target_is_no_longer_in_force() -> None:
    """Not by the withdrawal, nor by a correction that takes the count below it; a target set again is judged again."""
    world = World(targets=(target(10),))
    world.put("2024-10-07", 10)
    world.step(NOON)
    world.change(NOON, "aim")
    assert world.step(NOON).milestones == []
    world.put("2024-10-07", 3)
    assert world.step(NOON).milestones == []
    assert list(world.standing()) == ["deliveries/model=SU7/month:2024-10/target:aim:10"]

    world.change(LATE, target(10))
    assert told(world.step(LATE)) == [("retracted", "month:2024-10/target:aim:10")]
    world.put("2024-10-07", 11)
    assert told(world.step(LATE)) == [("reinstated", "month:2024-10/target:aim:10")]


def test_a_target_takes_effect_when_the_clock_reaches_its_time_and_nothing_else_happens() -> None:
    world = World()
    world.put("2024-10-07", 10)
    world.change(NOON, target(5))
    assert world.step("2024-10-07T11:59:59.999+08:00").milestones == []
    step = world.step(NOON)
    assert (told(step), len(step.rows)) == ([("recorded", "month:2024-10/target:aim:5")], 1)
    assert world.step(LATE).rows == []


def test_units_of_the_step_in_which_a_target_comes_are_news_if_they_reach_it() -> None:
    world = World()
    world.put("2024-10-07", 10)
    world.step(EARLY)
    world.change(EARLY, target(11))
    world.put("2024-10-07", 11)
    assert told(world.step(NOON)) == [("raised", "month:2024-10/target:aim:11")]


def test_a_target_of_the_settings_that_an_event_has_replaced_stays_replaced_after_a_restart() -> None:
    world = World(targets=(target(10), target(30, "floor")))
    world.put("2024-10-07", 20)
    world.change("2001-01-01T00:00:00Z", target(25))
    world.step(NOON)
    assert shown(world) == {"aim": (25, False), "floor": (30, False)}
    world.restart(targets=(target(11),))
    step = world.step(NOON)
    assert shown(world) == {"aim": (25, False)}
    assert step.milestones == []
    world.restart(targets=())
    assert world.step(NOON).rows == []


def test_a_target_of_a_holiday_that_is_not_counted_replaces_its_former_and_is_nowhere_until_it_is() -> None:
    world = World(targets=(target(10),))
    world.put("2023-12-31", 7)
    world.step(EARLY)
    assert world.change(EARLY, target(5, period="holiday:new-year:2024")) == "applied"
    world.step(NOON)
    assert shown(world) == {}
    assert world.totals.targets == (target(5, period="holiday:new-year:2024"),)
    world.restart(holidays=("national-day", "new-year"))
    assert told(world.step(NOON)) == [("recorded", "holiday:new-year:2024/target:aim:5")]
    assert shown(world, "holiday:new-year:2024") == {"aim": (5, True)}


def test_a_target_that_nothing_counts_for_closes_by_the_clock_and_its_withdrawal_restates_the_row() -> None:
    world = World()
    world.change(EARLY, target(5, period="day:2024-10-07"))
    for now, status in (
        (LATE, "open"),
        ("2024-10-08T00:00:00+08:00", "provisional"),
        ("2024-10-11T00:00:00+08:00", "closed"),
    ):
        world.step(now)
        assert (world.row("day:2024-10-07").status, world.row("day:2024-10-07").restated) == (status, 0)
    world.change("2024-10-12T00:00:00+08:00", "aim")
    world.step("2024-10-12T00:00:00+08:00")
    assert (world.row("day:2024-10-07").targets, world.row("day:2024-10-07").restated) == ([], 1)
