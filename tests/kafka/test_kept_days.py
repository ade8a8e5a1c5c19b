"""Rows of days are removed and come back on a real Kafka, and the recount knows which should be absent."""

from __future__ import annotations

import asyncio
import time
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.support.events import lifecycle
from tests.support.installation import Installation
from tests.support.rules import rule
from tests.support.time_limits import deadline

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

RULES = rule("daily", "orders", exceeds=3) + rule("monthly", "orders", window="month", scope=("model",), reaches=60)


async def days_of(installation: Installation, dimension: str) -> set[date]:
    """The days with rows of scopes that begin with a text."""
    keys = [key.split("/") for key in await installation.rows()]
    return {
        date.fromisoformat(period[4:]) for _, scope, period in keys if scope.startswith(dimension) and period[3] == ":"
    }


async def until_kept(installation: Installation, days: int) -> None:
    """Waits until models have rows for a number of days before the latest one, for all of these days that have counts."""
    give_up_s = deadline(60)
    while True:
        counted = await days_of(installation, "all")
        wanted = {day for day in counted if day >= max(counted) - timedelta(days=days)}
        found = await days_of(installation, "model=")
        if found == wanted:
            assert wanted < counted
            return
        assert time.monotonic() < give_up_s, f"{sorted(found)}, not {sorted(wanted)}\n{installation.tails()}"
        await asyncio.sleep(0.2)


async def test_rows_of_days_leave_come_back_and_are_verified(bootstrap: str, tmp_path: Path) -> None:
    records = list(lifecycle(7, 160, partitions=2))
    half = len(records) // 2
    async with Installation.created(
        bootstrap, tmp_path, config=RULES + "\n[keep_days]\nmodel = 4\n", partitions=2
    ) as installation:
        worker = installation.worker("w1")
        await installation.publish(records[:half])
        await installation.applied()
        await until_kept(installation, 4)
        worker.kill()
        installation.worker("w2")
        # Most of these belong to days whose rows were removed.
        await installation.publish(records[half:])
        await installation.applied()
        await until_kept(installation, 4)
        verified = await installation.run("verify")
        assert verified.returncode == 0, verified.stdout + verified.stderr
        assert "days have rows as long as keep_days says" in verified.stdout
        done = await installation.run("explain", "orders/model=SU7/month:2024-10/reaches:60")
        assert done.returncode == 0, done.stdout + done.stderr
        first = min(await days_of(installation, "all"))
        asked = await installation.run("windows", "--no-web", "--scope", "model=SU7", "--period", f"day:{first}")
        assert "days have rows for 4 days only" in asked.stderr
        installation.end()
        installation.configure(RULES + "\n[keep_days]\nmodel = 8\n")
        installation.worker("w3")
        await until_kept(installation, 8)
        done = await installation.run("verify")
        assert done.returncode == 0, done.stdout + done.stderr
