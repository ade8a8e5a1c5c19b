"""A worker is killed whose partitions others have standby copies of; the results equal an independent recount."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.events import lifecycle
from tests.support.installation import Installation
from tests.support.recount import recount
from tests.support.time_limits import deadline

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.kafka


async def test_a_worker_that_is_killed_is_replaced_from_the_copies_of_its_partitions(
    bootstrap: str, tmp_path: Path
) -> None:
    async with Installation.created(bootstrap, tmp_path, partitions=2, standby_copies=1) as made:
        published = list(lifecycle(5, 600, partitions=2))
        half = len(published) // 2
        first, second = made.worker("w1"), made.worker("w2")
        await made.publish(published[:half])
        await with_copies(made, 2)
        owned = (await made.status())["worker/w1"]["partitions"]
        # More comes while it is killed, some of which the copy has not read yet.
        flow = asyncio.create_task(made.publish(published[half:], pause_every=30, pause_s=0.1))
        await asyncio.sleep(0.5)
        first.kill()
        await flow
        await made.applied()
        assert await made.counts() == recount(record.value for record in published)
        await made.standing()
        await made.books_balance()
        opened = re.findall(r"ledger (\d+): there is a standby copy, read up to (\d+)", second.log.read_text())
        assert {int(number) for number, _ in opened} >= set(owned)
        assert all(int(read_to) > 0 for _, read_to in opened)
        assert "the standby copy is not used" not in second.log.read_text()


async def with_copies(made: Installation, copies: int) -> None:
    """Waits until there are so many copies, each up to date, and says so if there are not."""
    give_up_s = deadline(30)
    kept = []
    while time.monotonic() < give_up_s:
        status = await made.status()
        kept = [copy for key, of in status.items() if key.startswith("worker/") for copy in of.get("standbys", ())]
        if len(kept) == copies and all(copy["behind"] is not None for copy in kept):
            return
        await asyncio.sleep(0.2)
    raise AssertionError(f"{kept}\n{made.tails()}")
