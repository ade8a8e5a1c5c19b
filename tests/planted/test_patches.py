"""The planted bugs can still be planted."""

from __future__ import annotations

import subprocess

import pytest

from tests.planted.__main__ import HERE, ROOT, Bug

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
