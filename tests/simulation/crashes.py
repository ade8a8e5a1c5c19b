"""A history that is killed at each of its write boundaries: it runs once, and at each boundary a copy of the process is killed."""

from __future__ import annotations

import asyncio
import os
import pickle
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.simulation.world import run

if TYPE_CHECKING:
    from tests.simulation.plan import Plan
    from tests.simulation.world import Result


class _Copies:
    """Copies of this process that continue with a kill; a limited number at a time."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._running: deque[tuple[int, int]] = deque()
        self.results: list[Result] = []
        #: In a copy: its boundary, and where to send its result.
        self.boundary = 0
        self.wanted_at = -1

    def kills_at(self, boundary: int) -> bool:
        """Makes a copy that is killed at a boundary. Returns whether this is it."""
        if self.boundary:
            return False
        while len(self._running) >= self._jobs:
            self._end_first()
        reading, writing = os.pipe()
        loop = asyncio.get_running_loop()
        process = os.fork()
        if process:
            os.close(writing)
            self._running.append((process, reading))
            return False
        os.close(reading)
        asyncio._set_running_loop(loop)  # set only in the process that it was started in
        self.boundary, self.wanted_at = boundary, writing
        return True

    def end(self) -> None:
        """Waits for all copies."""
        while self._running:
            self._end_first()

    def _end_first(self) -> None:
        process, reading = self._running.popleft()
        with os.fdopen(reading, "rb") as pipe:
            told = pipe.read()
        _, status = os.waitpid(process, 0)
        if status or not told:
            raise RuntimeError(f"a copy of the simulation ended with status {status}")
        self.results.append(pickle.loads(told))


def killed_at_each_boundary(history: Plan, *, jobs: int) -> list[Result]:
    """Results of the history itself and of killing it at boundary 1, 2, … as `run(replace(history, crash_at=boundary))` does.

    Args:
        history: A plan without a crash.
        jobs: Number of processes at a time.
    """
    copies = _Copies(jobs)
    try:
        result = run(history, kills_at=copies.kills_at)
        if copies.boundary:
            # The plan that replays it.
            result.plan = replace(history, crash_at=copies.boundary)
            with os.fdopen(copies.wanted_at, "wb") as pipe:
                pickle.dump(result, pipe)
    finally:
        if copies.boundary:
            os._exit(0)
    copies.end()
    return [result, *copies.results]
