"""A worker that says how long its event loop stood still, in WATCH_FILE; otherwise the real thing.

It writes a line of JSON each second: the longest time so far in milliseconds, by the clock and in CPU time of the loop's thread
(at most as long, and not affected by other work on the machine), and what was running in stretches of more than 50 ms. Samples
are taken every 100 ms.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from streams.cli import main
from streams.totals.window_tables import WindowTables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.kafka.log import Partition

_SAMPLE_S = 0.1
_LINES_S = 1.0
_LONG_S = 0.05
_LOOK_S = 0.02
_FRAMES = 6
_open = WindowTables.open
_watching: list[asyncio.Task[None]] = []


class _Watch:
    """Samples the loop; a separate thread looks at what is running while it stands still."""

    def __init__(self) -> None:
        self._due_s = time.monotonic() + _SAMPLE_S
        self._thread = threading.get_ident()
        self._running: Counter[str] = Counter()

    async def run(self) -> None:
        """Runs until it is cancelled."""
        threading.Thread(target=self._look, daemon=True).start()
        longest_s = longest_cpu_s = said_s = 0.0
        while True:
            began_s, began_cpu_s = time.monotonic(), time.thread_time()
            self._due_s = began_s + _SAMPLE_S
            await asyncio.sleep(_SAMPLE_S)
            late_s = time.monotonic() - self._due_s
            longest_s = max(longest_s, late_s)
            longest_cpu_s = max(longest_cpu_s, min(late_s, time.thread_time() - began_cpu_s))
            if time.monotonic() - said_s >= _LINES_S:
                said_s = time.monotonic()
                self._say(longest_s, longest_cpu_s)

    def _say(self, longest_s: float, longest_cpu_s: float) -> None:
        said = {"ms": longest_s * 1e3, "cpu_ms": longest_cpu_s * 1e3, "at": self._running.most_common(5)}
        with Path(os.environ["WATCH_FILE"]).open("a") as file:
            file.write(json.dumps(said) + "\n")

    def _look(self) -> None:
        while True:
            time.sleep(_LOOK_S)
            if time.monotonic() - self._due_s > _LONG_S:
                frame = sys._current_frames().get(self._thread)
                if frame is not None:
                    stack = traceback.extract_stack(frame, limit=None)[-_FRAMES:]
                    self._running[" > ".join(f"{Path(at.filename).stem}.{at.name}:{at.lineno}" for at in stack)] += 1


async def _watched_open(self: WindowTables) -> Mapping[Partition, int]:
    if not _watching:
        _watching.append(asyncio.create_task(_Watch().run()))
    return await _open(self)


WindowTables.open = _watched_open  # type: ignore[method-assign] # the one change to the real thing
main()
