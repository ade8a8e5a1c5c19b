"""Schedules that must hold, and a check that the simulation detects what it should."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.simulation.__main__ import Kept, as_text, from_text
from tests.simulation.world import Plan, run
from tests.support import processes

if TYPE_CHECKING:
    import subprocess

ROOT = Path(__file__).parents[2]
#: Publishers without mischief and an undisturbed network: what is left of a plan that was shrunk.
QUIET = Plan(
    0,
    mischief=0.0,
    foreign=0.0,
    transactions=0.0,
    loss_share=0.0,
    slow_share=0.0,
    slow_leader_share=0.0,
    slow_hand_over_share=0.0,
)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    return processes.run(
        [sys.executable, "-m", "tests.simulation", *arguments], cwd=ROOT, env=environment, timeout_s=420
    )


@pytest.mark.slow
def test_schedules_of_all_kinds_hold_and_have_come_past_everything() -> None:
    done = command("--seeds", "5000")
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
        pytest.param(
            replace(
                QUIET,
                seed=3,
                several=True,
                partitions=1,
                workers=1,
                records=3,
                most_fetched=200,
                pace_s=0.05,
                faults=((0.576, "move leaders"), (1.438, "next day")),
                part_rows=40,
                snapshot_after=20,
                block_rows=10,
            ),
            id="the first leader that a worker meets is a new one",
        ),
        pytest.param(
            replace(
                QUIET,
                seed=4,
                partitions=1,
                orders=4,
                deliveries=2,
                workers=1,
                records=15,
                most_fetched=3,
                part_rows=1,
                snapshot_after=60,
            ),
            id="a multiple comes with its row",
        ),
        pytest.param(
            replace(
                QUIET,
                seed=2,
                partitions=1,
                orders=3,
                records=15,
                slow_hand_over_share=0.05,
                most_fetched=3,
                faults=((4.316, "forget"), (5.939, "quarantine")),
                part_rows=6,
                snapshot_after=20,
                block_rows=3,
                bounded=True,
                crash_at=115,
            ),
            id="a snapshot is not made of rows that differ from what is published",
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


def test_a_kept_run_that_is_continued_says_which_version_ran_which_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.json"
    for version, first, following in (("one", 0, 10), ("one", 10, 30), ("two", 30, 50)):
        monkeypatch.setattr("tests.simulation.__main__.version_of_the_tree", lambda version=version: version)
        kept = Kept.of(path, 0)
        assert kept.following == first
        kept.following = following
        kept.save()
        kept.save()
    sittings = json.loads(path.read_text())["sittings"]
    assert [(one["version"], one["first"], one["following"]) for one in sittings] == [("one", 0, 30), ("two", 30, 50)]
    assert kept.by_this_version == 20
