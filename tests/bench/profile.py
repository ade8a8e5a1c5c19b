"""Where a worker's CPU goes, stage by stage, while it takes in a backlog.

    .venv/bin/python -m tests.bench profile [--orders N] [--json FILE]
    .venv/bin/python -m tests.bench profile --only forwarded                # of another kind of events, see tests/bench/kinds.py
    MILESTONES_HOT_PATH=python .venv/bin/python -m tests.bench profile      # the same in Python

The worker samples itself (`tests/bench/sampled_worker.py`), a few per cent on top. What it takes to start is told apart.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.table import Table

from streams.domain.hotpath import HOT_PATH
from tests.bench.guard import raw_reading
from tests.bench.kinds import CLEAN, KINDS, installation_of, publish_kind
from tests.bench.sampled_worker import ASKED
from tests.bench.worker import BenchWorker
from tests.support.installation import Worker

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.kinds import Kind

_OPENED: Final = "open after"
_PATIENCE_S: Final = 30.0
#: How many places in the code are shown of each stage.
_PLACES: Final = 3


async def bench(bootstrap: str, folder: Path, orders: int, kind: Kind = KINDS[CLEAN]) -> dict[str, Any]:
    """Seconds of CPU by stage; those of raw reading of the same events for comparison."""
    installation = await installation_of(bootstrap, "profile.", folder, kind).create()
    # A restarted worker: the first one counts a history, and publishes nothing until it has read it.
    watched = BenchWorker(installation)
    await watched.idle()
    events, read = await publish_kind(installation, kind, orders)
    topics = tuple(installation.catalogue.names().values())
    raw_cpu_s = min(raw_reading(bootstrap, events, topics)[1] for _ in range(2))
    samples = folder / "samples"
    samples.mkdir()
    log = folder / "profiled.log"
    environment = {**installation.environment, "SAMPLES": str(samples)}
    worker = Worker(environment, "profiled", log, "tests.bench.sampled_worker", cold=True)
    watched = BenchWorker(installation, started=[worker])
    try:
        while log.read_text().count(_OPENED) <= installation.settings.partitions:  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.05)
        start = await _asked(worker, samples, 0)
        await watched.until(read)
        whole = await _asked(worker, samples, 1)
        rate = await watched.rate() * events / read
    finally:
        watched.stop()
    cpu_s = whole["user_s"] + whole["system_s"] - start["user_s"] - start["system_s"]
    taken = Counter(whole["stages"])
    return {
        "hot_path": HOT_PATH,
        "events": events,
        "start_cpu_s": start["user_s"] + start["system_s"],
        "per_s": rate,
        "cpu_s_per_million": cpu_s / (events / 1e6),
        "raw_cpu_s_per_million": raw_cpu_s / (events / 1e6),
        "resident_bytes_per_order": (whole["resident_kb"] - start["resident_kb"]) * 1024 / orders,
        "stages_us": {stage: cpu_s * 1e6 / events * count / taken.total() for stage, count in taken.most_common()},
        "places": whole["places"],
    }


async def _asked(worker: Worker, samples: Path, number: int) -> dict[str, Any]:
    """What the worker has sampled since the last request."""
    path = samples / f"{number}.json"
    until = time.monotonic() + _PATIENCE_S
    os.kill(worker.process.pid, ASKED)
    while not path.exists():
        if time.monotonic() > until:
            raise RuntimeError("the worker does not write what it has sampled")
        await asyncio.sleep(0.02)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def show(results: dict[str, Any]) -> None:
    """Prints the stages, each with the places in the code at which most samples were."""
    table = Table("stage", "us an event", "share", "most at")
    total = sum(results["stages_us"].values())
    for stage, micros in results["stages_us"].items():
        own = [place.partition("\t")[2] for place in results["places"] if place.startswith(f"{stage}\t")]
        table.add_row(stage, f"{micros:.3f}", f"{micros / total:.1%}", " ".join(own[:_PLACES]))
    Console(width=180).print(table)
    ratio = results["cpu_s_per_million"] / results["raw_cpu_s_per_million"]
    Console().print(
        f"{results['hot_path']}: {results['cpu_s_per_million']:.2f} CPU s per million events, {ratio:.2f} times raw reading "
        f"({results['raw_cpu_s_per_million']:.2f}); {results['per_s']:,.0f} events/s; "
        f"{results['resident_bytes_per_order']:.0f} resident bytes an order; to start: {results['start_cpu_s']:.2f} CPU s"
    )
