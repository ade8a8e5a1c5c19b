"""The command line, killed as by kill -9 right before or right after the first commit of a transaction (KILL)."""

from __future__ import annotations

import os
import signal

from streams.cli import main
from streams.kafka.transactions import TransactionalWriter

_end = TransactionalWriter._end_once


async def _killed(self: TransactionalWriter) -> None:
    if os.environ["KILL"] == "after":
        await _end(self)
    os.kill(os.getpid(), signal.SIGKILL)


TransactionalWriter._end_once = _killed  # type: ignore[method-assign]
main()
