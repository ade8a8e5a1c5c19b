"""A worker whose ledger partitions take SLOW_OPEN_S seconds longer to open; otherwise the real thing."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from streams.cli import main
from streams.ledger.partition import LedgerPartition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from faust.types.tuples import TP

_open = LedgerPartition.open


async def _slow_open(self: LedgerPartition) -> Mapping[TP, int]:
    positions = await _open(self)
    await asyncio.sleep(float(os.environ["SLOW_OPEN_S"]))
    return positions


LedgerPartition.open = _slow_open  # type: ignore[method-assign] # the one change to the real thing
main()
