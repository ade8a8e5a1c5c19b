"""Control totals on rows: when they appear, change the version, agree again, and what a restart does not change."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.codec import full_row
from schemas.rows import RowKey
from streams.domain.announced.controls import Control
from tests.domain.totals_world import METRIC, SCOPE, World, rule, target, us

DAY, PERIOD = "2024-10-07", "day:2024-10-07"
FACTORY, SALES = "/factories/bj1", "/sales/web"
NOON, ONE, TWO, LATER = (f"2024-10-07T{at}:00+08:00" for at in ("12:00", "13:00", "14:00", "15:00"))
#: As rows show them.
ONE_UTC, TWO_UTC = "2024-10-07T05:00:00.000Z", "2024-10-07T06:00:00.000Z"


class ControlledWorld(World):
    """A world whose restarts read the control totals again."""

    def __init__(self, *rules: Any, **given: Any) -> None:
        self.controls: list[Control] = []
        super().__init__(*rules, **given)

    def control(
        self, total: int, at: str = NOON, *, period: str = PERIOD, source: str = FACTORY, scope: str = SCOPE
    ) -> None:
        """A total arrives."""
        one = Control(source, f"t{len(self.controls)}", RowKey(METRIC, scope, period), total, us(at))
        self.controls.append(one)
        self.totals.take_control(one)

    def restart(self, *rules: Any, **given: Any) -> None:
        """Another writer takes over."""
        super().restart(*rules, **given)
        for one in self.controls:
            self.totals.take_control(one)


def said(world: World, period: str = PERIOD) -> list[tuple[str, int, int, str | None]]:
    return [(one.source, one.count, one.difference, one.differs_since) for one in world.row(period).controls]


def test_a_row_without_a_total_says_nothing_of_any() -> None:
    world = ControlledWorld()
    world.put(DAY, 3)
    row = full_row(world.step(NOON).rows[0])
    assert row.controls == []
    assert "controls" not in row.model_dump_json()


def test_a_total_appears_on_its_row_alone_with_the_next_version() -> None:
    world = ControlledWorld()
    world.put(DAY, 3)
    world.step(NOON)
    world.control(5)
    assert [row.period for row in world.step(ONE).rows] == [PERIOD]
    assert said(world) == [(FACTORY, 5, -2, ONE_UTC)]
    assert (world.row(PERIOD).version, world.row(PERIOD).count) == (2, 3)


@pytest.mark.parametrize("period", ["month:2024-10", "year:2024", "holiday:national-day:2024"])
def test_months_years_and_holidays_can_be_controlled_as_well(period: str) -> None:
    world = ControlledWorld()
    world.put(DAY, 3)
    world.control(2, period=period)
    world.step(ONE)
    assert said(world, period) == [(FACTORY, 2, 1, ONE_UTC)]
    assert world.row(PERIOD).controls == []


def test_a_total_makes_a_row_where_nothing_was_counted() -> None:
    world = ControlledWorld()
    world.control(2)
    world.control(0, period="day:2024-10-06")
    world.step(ONE)
    assert said(world) == [(FACTORY, 2, -2, ONE_UTC)]
    assert said(world, "day:2024-10-06") == [(FACTORY, 0, 0, None)]


@pytest.mark.parametrize(
    ("scope", "period"),
    [("region=CN-11", PERIOD), ("model=SU7,region=CN-11", PERIOD), (SCOPE, "holiday:qingming:2024")],
)
def test_what_is_not_counted_is_not_compared(scope: str, period: str) -> None:
    """A row of zero would show a difference that does not exist."""
    world = ControlledWorld()
    world.control(2, period=period, scope=scope)
    assert world.step(ONE).rows == []


def test_units_that_come_cure_the_difference_and_one_too_many_begins_another() -> None:
    world = ControlledWorld()
    world.put(DAY, 3)
    world.control(4)
    world.step(ONE)
    world.put(DAY, 4)
    world.step(TWO)
    assert said(world) == [(FACTORY, 4, 0, None)]
    world.put(DAY, 5)
    world.step(LATER)
    assert said(world) == [(FACTORY, 4, 1, "2024-10-07T07:00:00.000Z")]


def test_a_later_total_of_the_system_cures_the_difference_and_an_older_one_changes_nothing() -> None:
    world = ControlledWorld()
    world.put(DAY, 3)
    world.control(4, ONE)
    world.step(ONE)
    world.control(9, NOON)
    assert world.step(TWO).rows == []
    world.control(3, TWO)
    world.step(LATER)
    assert said(world) == [(FACTORY, 3, 0, None)]
    assert world.row(PERIOD).controls[0].as_of == TWO_UTC


def test_a_difference_that_grows_keeps_the_time_since_when_it_is_there() -> None:
    world = ControlledWorld()
    world.control(4)
    world.step(ONE)
    world.put(DAY, 1)
    world.step(TWO)
    assert said(world) == [(FACTORY, 4, -3, ONE_UTC)]


def test_each_system_has_a_total_of_its_own() -> None:
    world = ControlledWorld()
    world.put(DAY, 3)
    world.control(4)
    world.control(3, source=SALES)
    world.step(ONE)
    assert said(world) == [(FACTORY, 4, -1, ONE_UTC), (SALES, 3, 0, None)]


def test_a_restart_publishes_no_row_again_and_keeps_the_time_since_when() -> None:
    world = ControlledWorld()
    world.put(DAY, 3)
    world.control(4)
    world.control(3, source=SALES)
    world.step(ONE)
    world.restart()
    assert world.step(TWO).rows == []
    world.put(DAY, 2)
    world.step(LATER)
    assert said(world) == [(FACTORY, 4, -2, ONE_UTC), (SALES, 3, -1, "2024-10-07T07:00:00.000Z")]


def test_totals_of_other_systems_raise_no_milestone_and_take_none_back() -> None:
    world = ControlledWorld(rule(exceeds=2), targets=(target(9, period=PERIOD),))
    world.put(DAY, 3)
    world.step(NOON)
    for total in (0, 9, 100):
        world.control(total, ONE)
        assert world.step(ONE).milestones == []
    assert list(world.standing()) == [f"{METRIC}/{SCOPE}/{PERIOD}/exceeds:2"]


def test_the_first_step_after_a_restart_says_what_arrived_while_no_writer_was_there() -> None:
    world = ControlledWorld()
    world.put(DAY, 3)
    world.step(NOON)
    world.controls.append(Control(FACTORY, "late", RowKey(METRIC, SCOPE, PERIOD), 5, us(NOON)))
    world.restart()
    assert [row.period for row in world.step(ONE).rows] == [PERIOD]
    assert said(world) == [(FACTORY, 5, -2, ONE_UTC)]
