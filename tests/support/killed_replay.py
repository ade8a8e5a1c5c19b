"""The command line, killed like by kill -9 right before or right after the first commit of a transaction (KILL)."""

from __future__ import annotations

import os
import signal

from streams.cli import main
from streams.kafka.transactions import _Producer

_commit = _Producer.commit_transaction


async def _killed(self: _Producer) -> None:
    if os.environ["KILL"] == "after":
        await _commit(self)
    os.kill(os.getpid(), signal.SIGKILL)


_Producer.commit_transaction = _killed
main()
