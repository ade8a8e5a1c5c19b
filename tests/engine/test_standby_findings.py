"""What `doctor` says about standby copies."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.instants import utc_text
from schemas.outputs import StandbyStatus, WorkerStatus
from streams.checkup.standbys import standby_finding
from streams.settings import Settings

NOW_US = 1_728_300_000_000_000
TWO = Settings(partitions=2, standby_copies=1)


def worker(name: str, *copies: tuple[int, int | None], ago_s: int = 1, **more: Any) -> WorkerStatus:
    return WorkerStatus.model_validate(
        {
            "name": name,
            "health": "running",
            "partitions": [],
            "started_at": utc_text(NOW_US),
            "updated_at": utc_text(NOW_US - ago_s * 1_000_000),
            "standbys": [StandbyStatus(partition=number, behind=behind) for number, behind in copies],
        }
        | more
    )


@pytest.mark.parametrize(
    ("workers", "state", "detail"),
    [
        ([worker("a", (0, 0)), worker("b", (1, 1200))], "ok", "each of 2 ledger partitions has a copy, at most 1,200 records behind"),
        ([worker("a", (0, 0)), worker("b", (1, None))], "note", "there is no copy yet, or one that is being read, of ledger partitions 1"),
        ([worker("a"), worker("b")], "note", "there is no copy yet, or one that is being read, of ledger partitions 0, 1"),
        ([worker("a"), worker("b", (0, 0), (1, 0), ago_s=60)], "note", "1 worker runs, so no other can keep copies of its ledger partitions"),
        ([worker("b", (0, 0), health="stopped")], "note", "no worker runs, so no other can keep copies of its ledger partitions"),
    ],
)  # fmt: skip
def test_it_says_which_ledger_partitions_have_a_copy(workers: list[WorkerStatus], state: str, detail: str) -> None:
    (found,) = standby_finding(TWO, workers, NOW_US)
    assert (found.name, found.state, found.detail) == ("standbys", state, detail)


def test_it_says_nothing_where_none_are_wanted() -> None:
    assert standby_finding(Settings(), [worker("a")], NOW_US) == []
