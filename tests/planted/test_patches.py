"""The planted bugs can still be planted."""

from __future__ import annotations

import subprocess
from typing import Final

import pytest

from tests.planted.__main__ import HERE, RESULTS, ROOT, Bug, Kept

#: Within how many seconds of computing the simulation has to catch a bug, and how many bugs.
_SECONDS: Final = 60
_BY_THE_SIMULATION: Final = 15

BUGS = [Bug.read(path) for path in sorted(HERE.glob("*.patch"))]


@pytest.mark.parametrize("bug", BUGS, ids=[bug.name for bug in BUGS])
def test_a_patch_applies_says_what_is_wrong_and_names_tests_that_are_there(bug: Bug) -> None:
    done = subprocess.run(
        ["git", "apply", "--check", str(bug.path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert bug.title.endswith(".")
    named = [word for word in (*bug.unit, *bug.kafka) if word.startswith("tests/")]
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_there_are_enough_of_them() -> None:
    assert len(BUGS) >= 25


def test_each_of_them_has_been_caught_and_most_by_the_simulation() -> None:
    kept = Kept(RESULTS)
    outcomes = [kept.outcome(bug) for bug in BUGS]
    not_proved = [outcome.bug.name for outcome in outcomes if not outcome.caught]
    assert not_proved == [], f"python -m tests.planted --keep tests/planted/results.json {' '.join(not_proved)}"
    caught_s = [outcome.caught["simulation"] for outcome in outcomes if "simulation" in outcome.caught]
    assert sum(seconds <= _SECONDS for seconds in caught_s) >= _BY_THE_SIMULATION
    assert kept.bugs.keys() == {bug.name for bug in BUGS}
