"""The fuzzer runs on a few records; the command is for many."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from streams.domain import hotpath

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(bool(hotpath.WHY_PYTHON), reason=f"not compiled: {hotpath.WHY_PYTHON}")
def test_a_few_hostile_records_pass_under_the_sanitizers() -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--inputs", "10000", "--jobs", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 3:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("10,000 records in ")
    assert "no report of a sanitizer" in done.stdout
