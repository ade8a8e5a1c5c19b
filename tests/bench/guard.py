"""Whether the hot path has become slower or larger than the last accepted figures, in under two minutes.

    .venv/bin/python -m tests.bench guard            # exit code 1 where a figure is worse than accepted by more than its slack
    .venv/bin/python -m tests.bench guard --accept   # the figures of this run are the ones to compare with from now on

Rate and CPU are ratios to raw reading of the same events in the same run, so that another machine, or a busy one, gives nearly
the same; memory is what a worker takes more than one that has nothing to do. The best of a few rounds counts: what disturbs a round only makes it worse.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rich.console import Console
from rich.table import Table

from tests.bench.load import lives, publish
from tests.bench.worker import BenchWorker
from tests.support.installation import Installation

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT: Final = Path(__file__).parents[2]
ACCEPTED: Final = Path(__file__).with_name("accepted.json")
ORDERS: Final = 300_000
ROUNDS: Final = 2
RAW_ROUNDS: Final = 3


class Figure(NamedTuple):
    """A guarded figure: its description, whether more is better, and the fraction by which it may be worse."""

    what: str
    more_is_better: bool
    slack: float


FIGURES: Final[Mapping[str, Figure]] = {
    "rate_to_raw": Figure("events/s, part of raw reading", more_is_better=True, slack=0.35),
    "cpu_to_raw": Figure("CPU, times raw reading", more_is_better=False, slack=0.25),
    "added_mb": Figure(f"resident MB, added by {ORDERS:,} orders", more_is_better=False, slack=0.10),
}


async def bench(bootstrap: str, folder: Path) -> dict[str, float]:
    """The figures of this run, each the best of its rounds."""
    source = await Installation(bootstrap, "guard.", folder).create()
    topics = (source.catalogue.orders.name, source.catalogue.deliveries.name)
    events = 2 * ORDERS
    workers = []
    for number in range(ROUNDS):
        place = folder / str(number)
        place.mkdir()
        ours = await Installation(bootstrap, f"guard-{number}.", place, source_prefix="guard.").create()
        workers.append(BenchWorker(ours))
        await workers[-1].idle()
    await publish(bootstrap, topics, source.settings.partitions, lives(ORDERS))
    raw_per_s, raw_cpu_s, per_s, cpu_s, megabytes = 0.0, float("inf"), 0.0, float("inf"), float("inf")
    for worker in workers:
        for _ in range(RAW_ROUNDS):
            rate, seconds = raw_reading(bootstrap, events, topics)
            raw_per_s, raw_cpu_s = max(raw_per_s, rate), min(raw_cpu_s, seconds)
        try:
            per_s = max(per_s, await worker.throughput(events))
        finally:
            worker.stop()
        cpu_s = min(cpu_s, worker.cpu_s)
        megabytes = min(megabytes, worker.rss_mb - worker.idle_rss_mb)
    return {
        "rate_to_raw": per_s / raw_per_s,
        "cpu_to_raw": cpu_s / raw_cpu_s,
        "added_mb": megabytes,
        "cpu_s_per_million": cpu_s / (events / 1e6),
        "raw_cpu_s_per_million": raw_cpu_s / (events / 1e6),
    }


def raw_reading(bootstrap: str, events: int, topics: tuple[str, ...]) -> tuple[float, float]:
    """Events per second and CPU seconds of reading alone."""
    command = [sys.executable, "-m", "tests.bench.raw_reader", bootstrap, str(events), *topics]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    cpu_s, rate = map(float, done.stdout.split()[-2:])
    return rate, cpu_s


def is_worse(name: str, now: float, accepted: float) -> bool:
    """Whether a figure is worse than the accepted one by more than its slack."""
    figure = FIGURES[name]
    if figure.more_is_better:
        return now < accepted * (1 - figure.slack)
    return now > accepted * (1 + figure.slack)


def show(results: Mapping[str, float]) -> int:
    """Prints the figures next to those accepted; exit code 1 where one is worse."""
    accepted: dict[str, Any] = json.loads(ACCEPTED.read_text()) if ACCEPTED.exists() else {}
    table = Table("figure", "now", "accepted", "")
    worse = 0
    for name, figure in FIGURES.items():
        before = accepted.get(name)
        is_bad = before is not None and is_worse(name, results[name], before)
        worse += is_bad
        said = "" if before is None else f"{before:,.2f}"
        verdict = "new" if before is None else f"WORSE by more than {figure.slack:.0%}" if is_bad else "ok"
        table.add_row(figure.what, f"{results[name]:,.2f}", said, verdict)
    Console().print(table)
    Console().print(
        f"CPU s per million events: {results['cpu_s_per_million']:.1f}, raw reading {results['raw_cpu_s_per_million']:.1f}"
    )
    return 1 if worse else 0


def accept(results: Mapping[str, float]) -> None:
    """Accepts these figures as the ones to compare with."""
    ACCEPTED.write_text(json.dumps({name: round(value, 3) for name, value in results.items()}, indent=2) + "\n")
