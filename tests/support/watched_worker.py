"""A worker that says how long the turns of its event loop take, in WATCH_FILE; otherwise the real thing.

A turn is what the loop runs between two looks at its sockets and timers: nothing else is answered meanwhile. The worker writes a
line of JSON each second: the longest turn so far in milliseconds, by the clock and in CPU time of the loop's thread (which other
work on the machine does not affect), how many took more than 50 ms of CPU, and what was running in the longest ones.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import threading
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streams.cli import main
from streams.totals.window_tables import WindowTables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.kafka.log import Partition

_LINES_S = 1.0
_LONG_S = 0.05
_LOOK_S = 0.005
_FRAMES = 6
_WORST = 4
_open = WindowTables.open
_watching: list[_Watch] = []


class _Watch:
    """Stands in for the loop's selector, which is asked at the end of each turn; a thread looks at what is running."""

    def __init__(self, selector: Any) -> None:
        self._selector = selector
        self._thread = threading.get_ident()
        self._began_s, self._began_cpu_s = time.monotonic(), time.thread_time()
        self._longest_s = self._longest_cpu_s = self._said_s = 0.0
        self._long = 0
        self._collecting_s = 0.0
        #: What was seen in this turn, and how long the longest ones took, with what was seen in each.
        self._seen: list[str] = []
        self._worst: list[tuple[float, list[tuple[str, int]]]] = []
        threading.Thread(target=self._look, daemon=True).start()
        gc.callbacks.append(self._see_collection)

    def _see_collection(self, phase: str, found: Mapping[str, int]) -> None:
        """The thread sees nothing while garbage is collected."""
        if phase == "start":
            self._collecting_s = time.thread_time()
        else:
            took_s = time.thread_time() - self._collecting_s
            self._seen.append(f"{took_s * 1e3:.0f} ms of collecting garbage of generation {found['generation']}")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._selector, name)

    def select(self, timeout: float | None = None) -> Any:
        """Ends a turn and begins the next one."""
        now_s, cpu_s = time.monotonic(), time.thread_time() - self._began_cpu_s
        self._longest_s = max(self._longest_s, now_s - self._began_s)
        self._longest_cpu_s = max(self._longest_cpu_s, cpu_s)
        seen, self._seen = self._seen, []
        if cpu_s > _LONG_S:
            self._long += 1
            self._worst = sorted([*self._worst, (cpu_s * 1e3, Counter(seen).most_common())], reverse=True)[:_WORST]
        if now_s - self._said_s >= _LINES_S:
            self._said_s = now_s
            self._say()
        found = self._selector.select(timeout)
        self._began_s, self._began_cpu_s = time.monotonic(), time.thread_time()
        return found

    def _say(self) -> None:
        said = {
            "pid": os.getpid(),
            "ms": self._longest_s * 1e3,
            "cpu_ms": self._longest_cpu_s * 1e3,
            "long": self._long,
            "worst": self._worst,
        }
        with Path(os.environ["WATCH_FILE"]).open("a") as file:
            file.write(json.dumps(said) + "\n")

    def _look(self) -> None:
        while True:
            time.sleep(_LOOK_S)
            frame = sys._current_frames().get(self._thread)
            if frame is not None:
                stack = traceback.extract_stack(frame, limit=None)[-_FRAMES:]
                self._seen.append(" > ".join(f"{Path(at.filename).stem}.{at.name}:{at.lineno}" for at in stack))


async def _watched_open(self: WindowTables) -> Mapping[Partition, int]:
    if not _watching:
        loop: Any = asyncio.get_running_loop()
        _watching.append(_Watch(loop._selector))
        (loop._selector,) = _watching
    return await _open(self)


WindowTables.open = _watched_open  # type: ignore[method-assign] # the one change to the real thing
main()
