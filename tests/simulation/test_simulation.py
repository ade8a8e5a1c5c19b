"""Schedules that must hold, and a look at whether the simulation sees what it is there to see."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.__main__ import as_text, from_text
from tests.simulation.world import Plan, run

ROOT = Path(__file__).parents[2]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
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


def test_a_plan_is_a_schedule() -> None:
    plan = Plan.of(7)
    assert from_text(as_text(plan)) == plan
    one, other = run(plan), run(plan)
    assert (one.steps, one.seen, one.last) == (other.steps, other.seen, other.last)
