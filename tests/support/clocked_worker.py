"""A worker whose clock is ahead of the machine's by the current number of seconds in CLOCK_FILE; otherwise the real thing.

Its ledger partitions take SLOW_OPEN_S seconds longer to open, so that the totals are open before them.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from streams import app
from streams.cli import main
from streams.context import Context, wall_clock_us
from streams.ledger.partition import LedgerPartition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from faust.types.tuples import TP

_open = LedgerPartition.open
_FILE = Path(os.environ["CLOCK_FILE"])


def _now_us() -> int:
    return wall_clock_us() + int(float(_FILE.read_text()) * 1e6)


async def _slow_open(self: LedgerPartition) -> Mapping[TP, int]:
    positions = await _open(self)
    await asyncio.sleep(float(os.environ["SLOW_OPEN_S"]))
    return positions


LedgerPartition.open = _slow_open  # type: ignore[method-assign] # the one change to the real thing
app.Context = partial(Context, now_us=_now_us)  # type: ignore[assignment,attr-defined] # likewise
main()
