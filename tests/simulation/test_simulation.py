"""Schedules that must hold, and a check that the simulation detects what it should."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.simulation.__main__ import as_text, from_text
from tests.simulation.world import Plan, run
from tests.support import processes

if TYPE_CHECKING:
    import subprocess

ROOT = Path(__file__).parents[2]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    return processes.run(
        [sys.executable, "-m", "tests.simulation", *arguments], cwd=ROOT, env=environment, timeout_s=200
    )


@pytest.mark.slow
def test_schedules_of_all_kinds_hold_and_have_come_past_everything() -> None:
    done = command("--seeds", "2000")
    assert done.returncode == 0, done.stdout
    assert "never happened: nothing of what is known" in done.stdout, done.stdout


@pytest.mark.slow
def test_a_history_holds_when_a_process_is_killed_at_any_one_write_boundary() -> None:
    done = command("--crashes")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(
            Plan(3, partitions=1, workers=1, records=15, part_rows=1, rebuilds=True),
            id="days are published before their months",
        ),
        pytest.param(
            Plan(1, rebuilds=True, faults=((2.0, "trim"), (4.0, "trim"), (5.0, "trim"))),
            id="retention removes records while they are counted again",
        ),
    ],
)
def test_what_was_found_holds(plan: Plan) -> None:
    assert run(plan).broken == ""


def test_a_plan_is_a_schedule() -> None:
    plan = Plan.of(7)
    assert from_text(as_text(plan)) == plan
    one, other = run(plan), run(plan)
    assert (one.steps, one.seen, one.last) == (other.steps, other.seen, other.last)
