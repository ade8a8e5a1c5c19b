"""Scopes compared with each other: who leads, and who led before."""

from __future__ import annotations

from tests.domain.totals_world import World, rule, told, us

RULES = (rule("first", leader=True),)
#: Recorded, not news: units of another day have decided it.
LEADS = [("recorded", "day:2024-10-07/leader")]


def test_who_leads_is_known_also_where_the_first_units_of_the_day_before_come_late() -> None:
    made = World(*RULES)
    made.put("2024-10-07", 2)
    made.put("2024-10-07", 1, scope="model=YU7")
    made.step("2024-10-07T12:00:00+08:00")
    made.step("2024-10-09T12:00:00+08:00")
    assert made.events == [], "nothing is known of who led before"
    made.put("2024-10-06", 1, scope="model=YU7")
    found = told(made.step("2024-10-09T13:00:00+08:00")) + told(made.step("2024-10-09T13:00:01+08:00"))
    assert found == LEADS
    assert made.events[0].data.scope == "model=SU7"
    made.put("2024-10-06", 0, scope="model=YU7")
    found = told(made.step("2024-10-09T14:00:00+08:00")) + told(made.step("2024-10-09T14:00:01+08:00"))
    assert found == [("retracted", "day:2024-10-07/leader")]


def test_who_leads_stays_if_the_writer_dies_before_it_has_said_that_the_day_before_is_over() -> None:
    made = World(*RULES)
    # Rows come in the order in which their scopes came.
    made.put("2024-10-07", 2)
    made.put("2024-10-06", 1, scope="model=YU7")
    made.step("2024-10-07T12:00:00+08:00", caught_up=False)
    for part in made._steps(us("2024-10-08T12:00:00+08:00"), caught_up=True, most=1):
        if part is not None:
            made._publish(part)
        if made.events:
            break
    assert told_of(made) == ["raised"]
    assert made.row("day:2024-10-06", scope="model=YU7").status == "open"
    made.restart()
    made.step("2024-10-08T12:00:01+08:00", caught_up=False)
    assert made.row("day:2024-10-06", scope="model=YU7").status == "open"
    made.step("2024-10-08T12:00:02+08:00")
    assert made.row("day:2024-10-06", scope="model=YU7").status != "open"
    assert told_of(made) == ["raised"]


def told_of(made: World) -> list[str]:
    """What has become of the milestones, in order."""
    return [event.type.rpartition(".")[0].rpartition(".")[2] for event in made.events]
