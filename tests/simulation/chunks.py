"""Schedules in chunks, one for a process at a time.

A module of its own, since a process that is not forked cannot import `__main__`.
"""

from __future__ import annotations

import gc
import time
from collections import Counter
from typing import TYPE_CHECKING

from tests.simulation.world import Result, run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.simulation.plan import Plan

#: What `run_chunk` calls the time that it took.
COMPUTED = "milliseconds of computing"
_CHUNK = 25


def run_chunk(plans: list[Plan]) -> tuple[int, Counter[str], list[Result]]:
    """The number of schedules run, what they covered, and which failed."""
    started_s = time.process_time()
    seen: Counter[str] = Counter()
    failed = []
    gc.disable()
    gc.freeze()  # existing objects are not garbage; do not scan them again
    for plan in plans:
        result = run(plan)
        seen.update(result.seen)
        seen["steps"] += result.steps
        if result.broken:
            failed.append(result)
    gc.enable()
    gc.collect()
    seen[COMPUTED] = round((time.process_time() - started_s) * 1000)
    return len(plans), seen, failed


def chunks(plans: Iterable[Plan]) -> Iterator[list[Plan]]:
    """Plans in chunks."""
    chunk: list[Plan] = []
    for plan in plans:
        chunk.append(plan)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
