"""Schedules that must hold, and a check that the simulation detects what it should."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.simulation.__main__ import Kept, as_text, from_text, run_all
from tests.simulation.plan import Plan
from tests.simulation.world import run
from tests.support import processes

if TYPE_CHECKING:
    import subprocess

ROOT = Path(__file__).parents[2]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    # With coverage measured, these would take several times as long, and faster tests cover the same lines.
    measured = {"COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"}
    environment = {name: value for name, value in os.environ.items() if name not in measured} | {"PYTHONHASHSEED": "0"}
    return processes.run(
        [sys.executable, "-m", "tests.simulation", *arguments], cwd=ROOT, env=environment, timeout_s=420
    )


@pytest.mark.slow
@pytest.mark.timeout(
    2700
)  # 90 s where nothing else runs, and ten times as long where cores are slow and shared with other tests
def test_schedules_of_all_kinds_hold_and_have_come_past_everything() -> None:
    done = command("--seeds", "5000")
    assert done.returncode == 0, done.stdout
    assert "never happened: nothing of what is known" in done.stdout, done.stdout


@pytest.mark.slow
def test_a_history_holds_when_a_process_is_killed_at_any_one_write_boundary() -> None:
    done = command("--crashes")
    assert done.returncode == 0, done.stdout


def test_plans_that_have_failed_hold() -> None:
    done = command("--found")
    assert done.returncode == 0, done.stdout


def test_what_cannot_happen_and_was_seen_fails_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    kept = Kept(None, 0, 0)
    assert run_all([], kept, jobs=1, stop_s=1.0) == 0
    kept.seen.update({"runner: opening → fenced": 1, "runner: closed → open": 2, "runner: new → opening": 3})
    assert run_all([], kept, jobs=1, stop_s=1.0) == 1
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("cannot happen, and was seen: ")]
    assert [line.split(": ")[2] for line in said] == ["opening → fenced", "closed → open"]


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
