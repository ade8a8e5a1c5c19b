"""A worker in which the first batch of each source topic's partition LATE_PARTITION takes LATE_S on its way to the ledger."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from streams.cli import main
from streams.worker.engine import Engine

if TYPE_CHECKING:
    from streams.kafka.transport import Batch

_submit = Engine.submit_ledger
_delayed: set[str] = set()


async def _submit_late(self: Engine, batch: Batch) -> None:
    if batch.partition == int(os.environ["LATE_PARTITION"]) and batch.topic not in _delayed and batch.records:
        _delayed.add(batch.topic)
        await asyncio.sleep(float(os.environ["LATE_S"]))
    await _submit(self, batch)


Engine.submit_ledger = _submit_late  # type: ignore[method-assign] # the one change to the real thing
main()
