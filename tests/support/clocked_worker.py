"""A worker whose clock is ahead of the machine's by the seconds in CLOCK_FILE, at any moment; otherwise the real thing."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from streams import app
from streams.cli import main
from streams.context import Context, wall_clock_us

_FILE = Path(os.environ["CLOCK_FILE"])


def _now_us() -> int:
    return wall_clock_us() + int(float(_FILE.read_text()) * 1e6)


app.Context = partial(Context, now_us=_now_us)  # type: ignore[assignment,misc]
main()
