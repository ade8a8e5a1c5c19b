"""`retract_after_s`: a retraction waits as long as its reason must last, and is not published if the count recovers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.domain.totals_world import World, rule, told, us

if TYPE_CHECKING:
    from streams.domain.rules import Rule

DAY = "2024-10-07"
MILESTONE = "day:2024-10-07/exceeds:10"
HELD = rule(exceeds=10, retract_after_s=600)


def at(minute: int, second: int = 0) -> str:
    """A time on the day."""
    return f"2024-10-07T{12 + minute // 60:02}:{minute % 60:02}:{second:02}+08:00"


def fallen(*rules: Rule, restarts: bool = False) -> World:
    """The day has passed the number and, at 12:01, fallen below it."""
    world = World(*(rules or (HELD,)))
    for minute, count in enumerate((11, 10)):
        world.put(DAY, count)
        world.step(at(minute))
        if restarts:
            world.restart()
    return world


@pytest.mark.parametrize("restarts", [False, True])
def test_a_count_that_recovers_in_time_leaves_no_trace(restarts: bool) -> None:
    world = fallen(restarts=restarts)
    for minute, count in ((5, 9), (10, 11), (30, 12)):
        world.put(DAY, count)
        world.step(at(minute))
        if restarts:
            world.restart()
    assert told(world.step(at(59))) == []
    assert [event.type for event in world.events] == ["milestone.raised.v1"]
    assert world.held == {}


@pytest.mark.parametrize("restarts", [False, True])
def test_a_count_that_stays_below_is_retracted_by_the_clock_alone_once_it_has_lasted(restarts: bool) -> None:
    world = fallen(restarts=restarts)
    world.put(DAY, 3)
    world.step(at(9))
    assert len(world.held) == 1
    if restarts:
        world.restart()
    assert told(world.step(at(10, 59))) == []
    assert told(world.step(at(11))) == [("retracted", MILESTONE)]
    assert world.held == {}
    world.put(DAY, 11)
    assert told(world.step(at(12))) == [("reinstated", MILESTONE)]


@pytest.mark.parametrize("dies_after", range(12))
def test_a_writer_that_dies_between_two_parts_of_a_step_does_not_make_a_retraction_wait_again(dies_after: int) -> None:
    world = fallen()
    world.put(DAY, 3)
    world.parts(us(at(11)), caught_up=True, most=1, dies_after=dies_after)
    assert [event.type for event in world.events] == ["milestone.raised.v1", "milestone.retracted.v1"]
    assert world.held == {}


def test_a_second_fall_waits_its_own_time() -> None:
    world = fallen()
    world.put(DAY, 11)
    world.step(at(5))
    world.put(DAY, 10)
    world.step(at(8))
    assert told(world.step(at(17, 59))) == []
    assert told(world.step(at(18))) == [("retracted", MILESTONE)]


def test_the_first_waits_with_its_day_and_then_moves_on() -> None:
    """Day 7 is the first, and 8 has passed as well. When 7 falls, it stays the first for ten minutes."""
    held = rule(exceeds=10, first=True, retract_after_s=600)
    world = World(held)
    for day, count in (("2024-10-07", 11), ("2024-10-08", 12)):
        world.put(day, count)
        world.step(at(0))
    world.put("2024-10-07", 10)
    assert told(world.step(at(1))) == []
    world.restart()
    assert told(world.step(at(10, 59))) == []
    assert told(world.step(at(11))) == [
        ("retracted", "day:2024-10-07/exceeds:10"),
        ("retracted", "first:day/exceeds:10"),
        ("reinstated", "first:day/exceeds:10"),
    ]
    assert world.standing()["deliveries/model=SU7/first:day/exceeds:10"] == "day:2024-10-08"


def test_a_first_that_an_earlier_day_takes_over_does_not_wait() -> None:
    held = rule(exceeds=10, first=True, retract_after_s=600)
    world = World(held)
    world.put("2024-10-07", 11)
    world.step(at(0))
    world.put("2024-10-06", 11)
    assert ("reinstated", "first:day/exceeds:10") in told(world.step(at(1)))


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("heals", [False, True])
def test_a_record_waits_whichever_day_has_changed(restarts: bool, heals: bool) -> None:
    """Day 6 is a record; day 5 grows past it, and may fall back."""
    world = World(rule(record=True, retract_after_s=600))
    for day, count in (("2024-10-04", 3), ("2024-10-05", 2), ("2024-10-06", 5)):
        world.put(day, count)
    world.step(at(0))
    assert list(world.standing()) == ["deliveries/model=SU7/record:day:2024-10-06"]
    world.put("2024-10-05", 5)
    # Day 5 is now a record, and day 6 no longer.
    assert told(world.step(at(1))) == [("raised", "record:day:2024-10-05")]
    if restarts:
        world.restart()
    if heals:
        world.put("2024-10-05", 2)
        world.step(at(5))
    assert told(world.step(at(10, 59))) == []
    expected = "record:day:2024-10-06" if not heals else None
    assert told(world.step(at(11))) == ([("retracted", expected)] if expected else [])
    assert told(world.step(at(15))) == ([("retracted", "record:day:2024-10-05")] if heals else [])


def test_a_rule_that_is_gone_holds_nothing_back_any_more() -> None:
    world = fallen()
    world.restart(rule("other", exceeds=99))
    assert told(world.step(at(20))) == []
    assert world.held == {}
    assert world.standing() != {}


def test_a_rule_that_no_longer_waits_retracts_at_once() -> None:
    world = fallen()
    world.restart(rule(exceeds=10))
    assert told(world.step(at(2))) == [("retracted", MILESTONE)]
    assert world.held == {}


def test_without_the_memory_the_wait_starts_over() -> None:
    world = fallen()
    world.held.clear()
    world.restart()
    assert told(world.step(at(11))) == []
    assert told(world.step(at(21))) == [("retracted", MILESTONE)]


def test_rules_wait_each_for_itself() -> None:
    world = fallen(HELD, rule("at-once", reaches=11))
    assert ("retracted", "day:2024-10-07/reaches:11") in [
        (event.type.split(".")[1], event.subject.split("/", 2)[2]) for event in world.events
    ]
    assert told(world.step(at(11))) == [("retracted", MILESTONE)]
