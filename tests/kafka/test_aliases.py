"""Aliases on a real Kafka, with a real worker that is restarted with other ones."""

from __future__ import annotations

import asyncio
import signal
import time
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

from tests.support.events import Published, event
from tests.support.installation import Installation
from tests.support.rules import rule
from tests.support.time_limits import deadline

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

RULE = rule("daily-2", "orders_placed", reaches=2)
ZONE = ZoneInfo("Asia/Shanghai")


def order(number: int, model: str, day: int) -> Published:
    time = datetime(2024, 10, day, 10, 0, tzinfo=ZONE)
    data = {"order_id": f"SO-{number}", "model": model}
    return Published("orders", f"SO-{number}".encode(), event("order.placed.v1", f"p{number}", time, data), None)


async def counted(installation: Installation) -> dict[str, int]:
    counts = await installation.counts()
    return {
        f"{scope}/{period}": count
        for (metric, scope, period), count in counts.items()
        if metric == "orders_placed" and period.startswith("day:") and scope != "all"
    }


async def is_counted(installation: Installation, expected: dict[str, int]) -> None:
    """Waits for these counts: with other aliases a worker changes them as it starts."""
    give_up_s = deadline(60)
    while (found := await counted(installation)) != expected:
        assert time.monotonic() < give_up_s, (found, installation.tails())
        await asyncio.sleep(0.1)
    await installation.applied()


async def restarted(installation: Installation, config: str) -> None:
    for worker in installation.workers:
        worker.kill(signal.SIGTERM)
        await asyncio.to_thread(worker.wait)
    installation.workers.clear()
    installation.configure(config)
    installation.worker()


async def test_an_alias_from_a_day_on_and_then_from_the_beginning_unites_what_is_counted_already(
    bootstrap: str, tmp_path: Path
) -> None:
    async with Installation.created(bootstrap, tmp_path, config=RULE, partitions=2) as installation:
        installation.worker()
        await installation.publish(
            [order(1, "SU7", 5), order(2, "su7", 5), order(3, "SU7", 6), order(4, "su7", 6), order(5, "SU7", 6)]
        )
        await installation.applied()
        milestone = "orders_placed/model=SU7/day:2024-10-06/reaches:2"
        assert await installation.standing() == {milestone}
        told = await installation.run("doctor")
        assert "model 'su7' (4 units) differs from 'SU7' only in case or width" in told.stdout, told.stdout

        alias = '[alias.model]\nsu7 = {name = "SU7", from = 2024-10-06}\n'
        await restarted(installation, alias + RULE)
        await is_counted(
            installation,
            {"model=SU7/day:2024-10-05": 1, "model=su7/day:2024-10-05": 1, "model=SU7/day:2024-10-06": 3},
        )
        verified = await installation.run("verify")
        assert verified.returncode == 0, verified.stdout

        await restarted(installation, '[alias.model]\nsu7 = "SU7"\n' + RULE)
        await installation.publish([order(6, "su7", 7)])
        await is_counted(
            installation,
            {"model=SU7/day:2024-10-05": 2, "model=SU7/day:2024-10-06": 3, "model=SU7/day:2024-10-07": 1},
        )
        assert await installation.standing() == {milestone, "orders_placed/model=SU7/day:2024-10-05/reaches:2"}
        verified = await installation.run("verify")
        assert verified.returncode == 0, verified.stdout
