"""A health file for an orchestrator's probes, which need neither a port nor the cluster.

`STATE_DIR/health/INSTANCE` holds `starting` or `running` and is touched every second, so an old file means that the worker
is dead or stuck. It is also written while the brokers are down: restarting the worker would not help.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

logger = logging.getLogger(__name__)

_INTERVAL_S = 1.0


class Heartbeat:
    """Keeps the file while the event loop runs.

    Args:
        path: The file; its folder is created.
        is_ready: Whether everything assigned to the worker is open.
    """

    def __init__(self, path: Path, is_ready: Callable[[], bool]) -> None:
        self._path = path
        self._is_ready = is_ready
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts writing."""
        self._task = asyncio.create_task(self._run(), name="heartbeat")

    def stop(self) -> None:
        """Stops, and removes the file."""
        if self._task is not None:
            self._task.cancel()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    async def _run(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            said = ""
            while True:
                says = "running\n" if self._is_ready() else "starting\n"
                if says != said or not self._touched():
                    # Replaced atomically, for concurrent readers.
                    new = self._path.with_name(f".{self._path.name}.new")
                    new.write_text(says, encoding="utf-8")
                    new.replace(self._path)
                    said = says
                await asyncio.sleep(_INTERVAL_S)
        except OSError as error:
            logger.warning("%s cannot be written, probes will find this worker dead: %s", self._path, error)

    def _touched(self) -> bool:
        """Updates the file's modification time; false if someone has removed the file."""
        try:
            os.utime(self._path)
        except FileNotFoundError:
            return False
        return True
