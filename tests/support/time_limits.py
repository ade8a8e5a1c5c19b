"""Time limits of tests, which a busy or slow machine stretches: a limit tells what hangs from what works, not fast from slow."""

from __future__ import annotations

import os
import time

_SLACK = 2.0  # between what is promised of a machine that does nothing else, and what a test insists on


def stretched(seconds: float) -> float:
    """A limit in seconds for this machine as it is now: at least twice as long, more where processes wait for a core."""
    waiting = os.getloadavg()[0] / (os.cpu_count() or 1)
    return seconds * _SLACK * max(1.0, waiting)


def deadline(seconds: float) -> float:
    """The monotonic time at which a wait of this many seconds, stretched, has failed."""
    return time.monotonic() + stretched(seconds)
