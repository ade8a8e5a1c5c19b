"""Milestones that a writer has decided on, in the middle of a step, before it is replaced."""

from __future__ import annotations

from streams.domain.rules import Rule
from tests.domain.totals_world import METRIC, SCOPE, World, us

NOON = us("2024-10-07T12:00:00+08:00")
RULE = Rule("more", METRIC, "day", ("model",), None, None, factor=1, while_running=True)
NAME = f"{METRIC}/{SCOPE}/day:2024-10-07/factor:1:previous"


def decided_and_replaced() -> World:
    """A writer has decided that the 7th has as many as the 6th, and is replaced before it publishes any row."""
    world = World(RULE)
    for day, count in (("2024-10-05", 1), ("2024-10-06", 1), ("2024-10-07", 1)):
        world.put(day, count)
    for part in filter(None, world._steps(NOON, caught_up=True, most=1)):
        if not part.decided:
            break
        world._publish(part)
    assert [event.data.position for event in world.decided.values()] == [1]
    return world


def test_what_was_decided_is_published_by_the_next_writer() -> None:
    world = decided_and_replaced()
    world.restart()
    world.parts(NOON, caught_up=True, most=1)
    (event,) = world.events
    assert (event.type, event.subject, event.data.threshold, event.data.position) == (
        "milestone.raised.v1", NAME, 1, 1,
    )  # fmt: skip


def test_it_names_the_unit_that_its_number_asks_for_if_counts_have_changed_since() -> None:
    world = decided_and_replaced()
    world.put("2024-10-06", 3)
    world.put("2024-10-07", 5)
    world.restart()
    world.parts(NOON, caught_up=True, most=1)
    (event,) = world.events
    assert (event.type, event.data.threshold, event.data.position) == ("milestone.raised.v1", 3, 3)
