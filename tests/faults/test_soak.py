"""Some seconds of `python -m tests.faults.soak`, and tests that its spy finds what it should."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.soak import FAULTS, soak

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


async def test_no_position_moves_without_its_data_while_workers_come_and_go_and_publishers_take_back(
    bootstrap: str, tmp_path: Path
) -> None:
    run = await soak(tmp_path, bootstrap, seconds=15, seed=7, say=lambda _line: None)
    assert run.spy.steps > 20
    assert {"applied", "duplicates", "dead_letters", "forwarded"} <= run.spy.became.keys()
    assert run.faults["aborted transactions"] > 0
    assert sum(run.faults[fault] for fault in FAULTS) > 1
    assert run.faults["join"] > 0
