"""Throughput, latency, restart and memory of the service, against raw reading and plain Faust in the same run.

    .venv/bin/python -m tests.bench [--orders N] [--json FILE]
    .venv/bin/python -m tests.bench guard [--accept]                   # against what was last accepted, see tests/bench/guard.py
    .venv/bin/python -m tests.bench idle [--json FILE]                 # what costs what when nothing comes, see tests/bench/idle.py
    .venv/bin/python -m tests.bench kinds [--orders N] [--runs R]      # other kinds of events, see tests/bench/kinds.py
    .venv/bin/python -m tests.bench latency [--rates R ...] [--json FILE]  # and its cost by rate, see tests/bench/latency.py
    .venv/bin/python -m tests.bench live [--rates R ...] [--json FILE]  # the same over 18,000 scopes, see tests/bench/live.py
    .venv/bin/python -m tests.bench moments [--rates R ...] [--before N] [--json FILE]  # how long milestones wait for their unit, see tests/bench/moments.py
    .venv/bin/python -m tests.bench peers [--runs R] [--only PEER ...] # the same work by others, see tests/bench/peers.py
    .venv/bin/python -m tests.bench profile [--orders N] [--only KIND] # where a worker's CPU goes, see tests/bench/profile.py
    .venv/bin/python -m tests.bench takeover [--orders N]              # with and without a standby copy, see tests/bench/takeover.py
    .venv/bin/python -m tests.bench totals [--rows N] [--every-window] [--json FILE]  # the totals alone, see tests/bench/totals.py
    .venv/bin/python -m tests.bench readers [--rows N] [--json FILE]   # the web view's tables alone, see tests/bench/readers.py
    .venv/bin/python -m tests.bench workers [--orders N]               # several workers, and one that joins, see tests/bench/workers.py
    .venv/bin/python -m tests.bench opening [--rows N] [--kills K]     # loaded by a worker that is killed, see tests/bench/opening.py

Everything runs on its own embedded Kafka on this machine. Absolute numbers depend on the machine; read the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from streams.embedded.broker import EmbeddedKafka
from tests.bench import guard, idle, kinds, latency, moments, peers, profile, takeover, workers
from tests.bench.live import RATES, bench_live, show_live
from tests.bench.load import lives, publish
from tests.bench.opening import KILLS, bench_opening, show_opening
from tests.bench.readers import bench as bench_readers
from tests.bench.readers import show as show_readers
from tests.bench.totals import bench as bench_totals
from tests.bench.totals import show as show_totals
from tests.bench.worker import BenchWorker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
from tests.support.installation import Installation

ROOT = Path(__file__).parents[2]
_NOTES = Console(stderr=True)


def note(text: str) -> None:
    """Progress, for a terminal only."""
    if sys.stderr.isatty():
        _NOTES.print(f"[dim]{text}")


async def bench(bootstrap: str, broker: int, orders: int, plain_events: int, folder: Path) -> dict[str, Any]:
    """Runs all measurements one after the other."""
    results: dict[str, Any] = {
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "orders": orders,
        "events": 2 * orders,
    }

    # This one first, as the broker compacts for minutes what the others leave.
    note("latency")
    results |= await latency.measure_latency(bootstrap, broker, folder)

    installation = await Installation(bootstrap, "bench.", folder).create()
    topics = (installation.catalogue.orders.name, installation.catalogue.deliveries.name)
    worker = BenchWorker(installation)
    await worker.idle()
    note(f"publishing {2 * orders:,} events")
    seconds = await publish(bootstrap, topics, installation.settings.partitions, lives(orders))
    results["published_per_s"] = 2 * orders / seconds

    note("raw reading")
    results["raw_per_s"] = max(
        [_process("tests.bench.raw_reader", bootstrap, str(2 * orders), *topics) for _ in range(2)]
    )

    note("the service")
    results["service_per_s"] = await worker.throughput(2 * orders)
    results["service_cpu_s_per_million"] = worker.cpu_s / (2 * orders / 1e6)
    results["rss_mb"] = worker.rss_mb
    results["rss_mb_per_million_orders"] = (worker.rss_mb - worker.idle_rss_mb) / (orders / 1e6)
    worker.stop()
    results["restart_s"] = await worker.restart(orders)
    worker.stop()

    note("the service, two workers")
    place = folder / "two"
    place.mkdir()
    pair = BenchWorker(await Installation(bootstrap, "two.", place, source_prefix="bench.").create(), workers=2)
    results["two_workers_per_s"] = await pair.throughput(2 * orders)
    pair.stop()

    note("plain Faust")
    plain = await Installation(bootstrap, "plain.", folder).create()
    await publish(bootstrap, (plain.catalogue.orders.name, plain.catalogue.orders.name), 4, lives(plain_events // 2))
    results["plain_faust_per_s"] = _plain_faust(bootstrap, plain.catalogue.orders.name, plain_events)

    for name in ("service", "two_workers"):
        for reference in ("raw", "plain_faust"):
            results[f"{name}_to_{reference}"] = results[f"{name}_per_s"] / results[f"{reference}_per_s"]
    return results


def _process(module: str, *arguments: str) -> float:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{module} failed:\n{done.stderr[-3000:]}")
    return float(done.stdout.split()[-1])


def _plain_faust(bootstrap: str, topic: str, count: int) -> float:
    environment = {**os.environ, "BROKERS": bootstrap, "SOURCE": topic, "COUNT": str(count)}
    command = [sys.executable, "-m", "tests.bench.plain_faust", "worker", "-l", "error", "--without-web"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise RuntimeError(f"plain Faust failed:\n{done.stderr[-3000:]}")
    rate = re.search(r"^RATE (\S+)$", done.stdout, re.MULTILINE)
    if rate is None:
        raise RuntimeError(f"plain Faust did not finish:\n{done.stdout[-3000:]}")
    return float(rate[1])


def _print(results: dict[str, Any]) -> None:
    table = Table("measure", "value", "of raw", "of plain Faust")
    raw, plain = results["raw_per_s"], results["plain_faust_per_s"]
    for name, key in (
        ("raw aiokafka + orjson", "raw_per_s"),
        ("this service, one worker", "service_per_s"),
        ("this service, two workers", "two_workers_per_s"),
        ("plain Faust", "plain_faust_per_s"),
    ):
        rate = results[key]
        table.add_row(f"{name}, events/s", f"{rate:,.0f}", f"{rate / raw:.2f}", f"{rate / plain:.1f}")
    for key, unit in (
        ("service_cpu_s_per_million", "CPU s per million events"),
        ("latency_p50_ms_at_500", "publish to milestone at 500 events/s, p50, ms"),
        ("latency_p99_ms_at_500", "publish to milestone at 500 events/s, p99, ms"),
        ("restart_s", f"restart to first applied event with {results['orders']:,} orders, s"),
        ("rss_mb_per_million_orders", "resident MB per million orders"),
    ):
        table.add_row(unit, f"{results[key]:,.1f}", "", "")
    Console().print(table)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "what",
        nargs="?",
        choices=(
            "service",
            "guard",
            "idle",
            "kinds",
            "latency",
            "live",
            "moments",
            "opening",
            "peers",
            "profile",
            "readers",
            "takeover",
            "totals",
            "workers",
        ),
        default="service",
    )
    parser.add_argument(
        "--accept", action="store_true", help="the guard compares with the figures of this run from now on"
    )
    parser.add_argument(
        "--rows", type=int, default=1_000_000, help="rows of the totals, the readers, the opening (default: 1,000,000)"
    )
    parser.add_argument("--every-window", action="store_true", help="the totals with all kinds of windows")
    parser.add_argument("--kills", type=int, default=KILLS, help=f"kills of the opening (default: {KILLS})")
    parser.add_argument(
        "--orders", type=int, default=1_000_000, help="orders; each has two events (default: 1,000,000)"
    )
    parser.add_argument("--plain-events", type=int, default=40_000, help="events for plain Faust (default: 40,000)")
    parser.add_argument("--runs", type=int, default=peers.RUNS, help=f"runs of the peers (default: {peers.RUNS})")
    parser.add_argument(
        "--rates",
        nargs="+",
        type=int,
        help="events a second, one after the other, of latency, live and moments",
    )
    parser.add_argument(
        "--seconds",
        type=int,
        default=latency.SECONDS,
        help=f"how long each rate is measured (default: {latency.SECONDS})",
    )
    parser.add_argument("--before", type=int, default=0, help="orders that come before those of moments (default: 0)")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=(*peers.PEERS, *kinds.KINDS),
        default=(),
        help="only these peers, or kinds (default: all)",
    )
    parser.add_argument("--json", type=Path, help="also write the results here")
    options = parser.parse_args()
    known = {"peers": peers.PEERS, "kinds": kinds.KINDS, "profile": kinds.KINDS}.get(options.what, ())
    if not set(options.only) <= set(known):
        parser.error(f"--only: {options.what} takes {', '.join(known) or 'none'}")
    if options.what == "totals":
        found = bench_totals(options.rows, every_window=options.every_window)
        show_totals(found)
        _keep(found, options.json)
        return
    if options.what == "readers":
        found = bench_readers(options.rows)
        show_readers(found)
        _keep(found, options.json)
        return
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # new topics have no leader for a moment
    with tempfile.TemporaryDirectory(prefix="milestones-bench-") as folder:
        kafka = EmbeddedKafka(Path(folder) / "kafka")
        bootstrap = kafka.start()
        try:
            results = asyncio.run(_run(options, bootstrap, kafka.pid, Path(folder)))
        finally:
            kafka.stop()
    if options.what == "guard":
        code = guard.show(results)
        if options.accept:
            guard.accept(results)
        _keep(results, options.json)
        sys.exit(0 if options.accept else code)
    shows: dict[str, Callable[[Any], None]] = {
        "opening": show_opening,
        "idle": idle.show,
        "kinds": kinds.show,
        "latency": latency.show,
        "live": show_live,
        "moments": moments.show,
        "peers": peers.show,
        "profile": profile.show,
        "takeover": takeover.show,
        "workers": workers.show,
    }
    show: Callable[[Any], None] = shows.get(options.what, _print)
    show(results)
    _keep(results, options.json)


async def _run(options: argparse.Namespace, bootstrap: str, broker: int, folder: Path) -> Any:
    """The measurements that need a broker."""
    orders, runs, only = options.orders, options.runs, options.only
    ways: dict[str, Callable[[], Awaitable[Any]]] = {
        "opening": lambda: bench_opening(bootstrap, options.rows, options.kills, folder),
        "guard": lambda: guard.bench(bootstrap, folder),
        "peers": lambda: peers.bench(bootstrap, broker, folder, orders=orders, runs=runs, only=only),
        "kinds": lambda: kinds.bench(bootstrap, folder, orders=orders, runs=runs, only=only),
        "latency": lambda: latency.measure_latency(
            bootstrap, broker, folder, options.rates or latency.RATES, options.seconds
        ),
        "live": lambda: bench_live(bootstrap, broker, folder, options.rates or RATES, options.seconds),
        "moments": lambda: moments.bench_moments(
            bootstrap, folder, options.rates or moments.RATES, options.seconds, options.before
        ),
        "profile": lambda: profile.bench(bootstrap, folder, orders, kinds.KINDS[(*only, kinds.CLEAN)[0]]),
        "takeover": lambda: takeover.bench(bootstrap, folder, orders=orders),
        "workers": lambda: workers.bench(bootstrap, broker, folder, orders=orders),
        "idle": lambda: idle.bench(bootstrap, broker, folder),
        "service": lambda: bench(bootstrap, broker, orders, options.plain_events, folder),
    }
    return await ways[options.what]()


def _keep(results: dict[str, Any], path: Path | None) -> None:
    if path is not None:
        path.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
