"""Time limits of tests, stretched on a busy or slow machine: a limit detects what hangs, not what is slow."""

from __future__ import annotations

import os
import time

_SLACK = 2.0  # between what is promised for an idle machine and what a test insists on


def stretched(seconds: float) -> float:
    """A limit in seconds for this machine at present: at least twice as long, more if processes wait for a core."""
    waiting = os.getloadavg()[0] / (os.cpu_count() or 1)
    return seconds * _SLACK * max(1.0, waiting)


def deadline(seconds: float) -> float:
    """The monotonic time at which a wait of this many seconds, stretched, has failed."""
    return time.monotonic() + stretched(seconds)
