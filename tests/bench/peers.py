"""The same work by this service and by others, side by side: the events of orders and deliveries are counted by type and day.

    .venv/bin/python -m tests.bench peers [--orders N] [--runs R] [--only PEER ...] [--json FILE]

Everyone reads the same topics of the same embedded broker, one after the other, in each of the runs. The counts of each are compared
with those of the generator, and the command fails where they differ. What the others need is installed by the command, pinned and
with checked hashes, into a folder of the user's cache: Python packages (`peer_programs/requirements.lock`) into an environment of
their own, jars (`peer_programs/jars.lock`) next to those of the broker; their programs and settings are in `peer_programs/`.

Rate and CPU are of the time between the first event that a program has and the last that it has counted, as the kernel tells them;
of this service, rate by the append times of its markers and CPU without that of starting. Slow peers read fewer events (`small`).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
import venv
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import psutil

from streams.domain.hotpath import HOT_PATH, WHY_PYTHON
from streams.embedded import java
from streams.embedded.jars import ensure_jars, read_lock
from streams.embedded.machine import cache_root
from tests.bench.load import lives, publish
from tests.bench.worker import BenchWorker, cpu_s
from tests.support.installation import Installation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT: Final = Path(__file__).parents[2]
PROGRAMS: Final = Path(__file__).with_name("peer_programs")
SMALL_ORDERS: Final = 20_000
RUNS: Final = 3
_PACKAGE: Final = "tests.bench.peer_programs"
#: The business time zone, in which the times of the events are written: their first ten characters are the business date.
_ZONE: Final = timezone(timedelta(hours=8))


class Peer(NamedTuple):
    """A program that does the work.

    Attributes:
        title: As in the table.
        guarantee: What its counts survive, and whether duplicates count once.
        small: Whether it reads few events only.
        module: Its program in `peer_programs`; empty for this service and for Java.
        own: Whether its packages are those of the project.
    """

    title: str
    guarantee: str
    small: bool = False
    module: str = ""
    own: bool = False


OURS: Final = "ours"
OURS_IN_PYTHON: Final = "ours-python"
KAFKA_STREAMS: Final = "kafka-streams"
PEERS: Final[Mapping[str, Peer]] = {
    OURS: Peer("this service, one worker", "all judged, exactly once, duplicates dropped"),
    OURS_IN_PYTHON: Peer("this service, hot path in Python", "the same"),
    "aiokafka": Peer("raw aiokafka + orjson", "nothing: a dict", module="raw_aiokafka", own=True),
    "confluent": Peer("raw confluent-kafka + orjson", "nothing: a dict", module="raw_confluent"),
    "faust": Peer(
        "plain Faust, tables", "at least once, duplicates dropped", small=True, module="plain_faust", own=True
    ),
    "quix": Peer("Quix Streams", "exactly once but for the counts, duplicates dropped", small=True, module="quix"),
    "bytewax": Peer("Bytewax", "at least once: recovery every 10 s", module="bytewax_flow"),
    KAFKA_STREAMS: Peer("Kafka Streams, exactly_once_v2, warmed up", "exactly once, duplicates dropped"),
}
_TYPES: Final = {"orders_placed": "order.placed.v1", "deliveries": "vehicle.delivered.v1"}


class Measured(NamedTuple):
    """One run of a peer.

    Attributes:
        events_per_s: Rate.
        cpu_s: CPU seconds of the client per million events.
        broker_cpu_s: Those of the broker.
        rss_mb: Resident memory at the end.
    """

    events_per_s: float
    cpu_s: float
    broker_cpu_s: float
    rss_mb: float


class Load(NamedTuple):
    """Events on topics, and the counts to expect.

    Attributes:
        topics: Of orders and deliveries.
        events: How many.
        truth: `TYPE|DAY` → events.
    """

    topics: tuple[str, str]
    events: int
    truth: Mapping[str, int]


class WrongCountsError(Exception):
    """A peer has counted wrongly."""


# The peers' needs ---------------------------------------------------------------------------------------------------


def _say(line: str) -> None:
    print(f"peers: {line}", file=sys.stderr, flush=True)


def environment_of_peers() -> Path:
    """The Python of the peers' own environment, which is created if it is missing or its lock has changed."""
    lock = PROGRAMS / "requirements.lock"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = cache_root() / f"peers-{version}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    python, stamp = folder / "bin" / "python", folder / ".complete"
    if not stamp.exists():
        _say(f"installing the peers' packages into {folder}")
        venv.create(folder, with_pip=True, clear=True)
        install: list[str | Path] = [
            python,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-input",
        ]
        subprocess.run([*install, "--only-binary=:all:", "--require-hashes", "-r", lock], check=True)
        stamp.touch()
    return python


def java_command(folder: Path) -> list[str]:
    """What starts the program of Kafka Streams, compiled into a folder by Eclipse's compiler: the project's Java has none."""
    further = read_lock((PROGRAMS / "jars.lock").read_text(encoding="ascii"))
    class_path = [*ensure_jars(_say), *ensure_jars(_say, further)]
    compiler = next(path for path in class_path if path.name.startswith("ecj-"))
    folder.mkdir()
    program = PROGRAMS / "KafkaStreamsPeer.java"
    paths = os.pathsep.join(map(str, class_path))
    compile_: list[str | Path] = [
        java.java(),
        "-jar",
        compiler,
        "-nowarn",
        "-source",
        "17",
        "-target",
        "17",
        "-proc:none",
    ]
    subprocess.run([*compile_, "-cp", paths, "-d", folder, program], check=True, env=java.environment())
    return [str(java.java()), "-Xmx2g", "-cp", f"{folder}{os.pathsep}{paths}", "KafkaStreamsPeer"]


# Measuring --------------------------------------------------------------------------------------------------------------


def _said(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None
    for line in process.stdout:
        yield line.strip()


def measure(command: Sequence[str], load: Load, broker: psutil.Process, log: Path) -> Measured:
    """Runs a program that says when it has begun and ended; see `peer_programs/protocol.py`.

    Raises:
        RuntimeError: It has failed.
        WrongCountsError: Its counts are not those of the load.
    """
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    watched = psutil.Process(process.pid)
    began: tuple[float, float, float] | None = None
    found: Measured | None = None
    try:
        for line in _said(process):
            if line == "BEGIN":
                began = time.perf_counter(), cpu_s(watched), cpu_s(broker)
            elif line == "END" and began is not None:
                seconds, used_s, broker_s = (
                    now - before
                    for now, before in zip((time.perf_counter(), cpu_s(watched), cpu_s(broker)), began, strict=True)
                )
                millions = load.events / 1e6
                memory = watched.memory_info().rss / 1e6
                found = Measured(load.events / seconds, used_s / millions, broker_s / millions, memory)
            elif line.startswith("COUNTS "):
                check(json.loads(line.removeprefix("COUNTS ")), load.truth)
                break
    finally:
        process.kill()
        process.wait()
    if found is None:
        raise RuntimeError(f"{' '.join(command[-8:])} failed:\n{log.read_text()[-3000:]}")
    return found


def check(counted: Mapping[str, int], truth: Mapping[str, int]) -> None:
    """Compares counts with those of the generator.

    Raises:
        WrongCountsError: They differ.
    """
    wrong = {cell: (counted.get(cell, 0), truth.get(cell, 0)) for cell in {*counted, *truth}}
    wrong = {cell: pair for cell, pair in wrong.items() if pair[0] != pair[1]}
    if wrong:
        raise WrongCountsError(f"{len(wrong)} counts differ from the truth: {dict(list(wrong.items())[:3])}")


async def _ours(worker: BenchWorker, installation: Installation, load: Load, broker: psutil.Process) -> Measured:
    before = cpu_s(broker)
    try:
        rate = await worker.throughput(load.events)
        broker_s = cpu_s(broker) - before
        await installation.applied(timeout_s=120)
        counted = {
            f"{_TYPES[metric]}|{period.removeprefix('day:')}": count
            for (metric, scope, period), count in (await installation.counts()).items()
            if metric in _TYPES and scope == "all" and period.startswith("day:")
        }
        check(counted, load.truth)
    finally:
        worker.stop()
    millions = load.events / 1e6
    return Measured(rate, worker.cpu_s / millions, broker_s / millions, worker.rss_mb)


async def _publish(installation: Installation, orders: int) -> Load:
    topics = (installation.catalogue.orders.name, installation.catalogue.deliveries.name)
    truth: Counter[str] = Counter()
    kinds = tuple(_TYPES.values())

    def told(kind: int, at: datetime) -> None:
        truth[f"{kinds[kind]}|{at.date().isoformat()}"] += 1

    settings = installation.settings
    await publish(settings.bootstrap_servers, topics, settings.partitions, lives(orders, zone=_ZONE, told=told))
    return Load(topics, 2 * orders, truth)


async def bench(
    bootstrap: str, broker_pid: int, folder: Path, *, orders: int, runs: int, only: Sequence[str]
) -> dict[str, Any]:
    """All runs of all peers.

    Args:
        bootstrap: `HOST:PORT` of the broker.
        broker_pid: Its process.
        folder: For state, logs and the compiled program.
        orders: Of the load; each has two events.
        runs: How often everyone does it.
        only: Names of peers; empty is all.
    """
    names = [name for name in PEERS if name in (only or PEERS)]
    if HOT_PATH == "python" and OURS in names:
        _say(f"the hot path is not compiled here: {WHY_PYTHON}")
        names[names.index(OURS)] = OURS_IN_PYTHON
        names = list(dict.fromkeys(names))
    python = str(environment_of_peers()) if any(PEERS[name].module and not PEERS[name].own for name in names) else ""
    streams = java_command(folder / "classes") if KAFKA_STREAMS in names else []
    broker = psutil.Process(broker_pid)
    source = await Installation(bootstrap, "peers.", folder).create()
    small = await Installation(bootstrap, "peers-small.", folder).create()
    workers: dict[tuple[str, int], tuple[Installation, BenchWorker]] = {}
    for name in {OURS, OURS_IN_PYTHON} & {*names}:
        for run in range(runs):
            place = folder / f"{name}-{run}"
            place.mkdir()
            made = Installation(bootstrap, f"{name}-{run}.", place, source_prefix="peers.")
            if name == OURS_IN_PYTHON:
                made.client = {"hot_path": "python"}
            worker = BenchWorker(await made.create())
            await worker.idle()
            workers[name, run] = made, worker
    _say(f"publishing {2 * orders:,} events")
    large = await _publish(source, orders)
    few = await _publish(small, min(orders, SMALL_ORDERS)) if any(PEERS[name].small for name in names) else large
    found: dict[str, list[Measured]] = {name: [] for name in names}
    for run in range(runs):
        for name in names:
            _say(f"run {run + 1} of {runs}: {PEERS[name].title}")
            if (name, run) in workers:
                made, worker = workers[name, run]
                found[name].append(await _ours(worker, made, large, broker))
                continue
            peer = PEERS[name]
            load = few if peer.small else large
            place = folder / f"state-{name}-{run}"
            place.mkdir()
            in_python = [sys.executable if peer.own else python, "-m", f"{_PACKAGE}.{peer.module}"]
            program = streams if name == KAFKA_STREAMS else in_python
            what = [bootstrap, str(load.events), f"{name}-{run}", str(place), *load.topics]
            log = folder / f"{name}-{run}.log"
            found[name].append(await asyncio.to_thread(measure, [*program, *what], load, broker, log))
    return {
        "python": sys.version.split()[0],
        "cpus": os.cpu_count(),
        "peers": {
            name: {"events": (few if PEERS[name].small else large).events, "runs": [one._asdict() for one in of]}
            for name, of in found.items()
        },
    }


def show(results: Mapping[str, Any]) -> None:
    """Prints the table as the README has it: the median of the runs, minimum and maximum of the rate."""
    rows = {
        name: {key: [run[key] for run in one["runs"]] for key in Measured._fields}
        for name, one in results["peers"].items()
    }
    raw = statistics.median(rows["aiokafka"]["events_per_s"]) if "aiokafka" in rows else None
    print("| who | its counts | events/s: median (min to max) | of raw | CPU s a million | broker's | resident MB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, row in rows.items():
        peer = PEERS[name]
        rates = row["events_per_s"]
        median = statistics.median(rates)
        part = f"{median / raw:.2f}" if raw else "-"
        used_s, broker_s, memory = (statistics.median(row[key]) for key in ("cpu_s", "broker_cpu_s", "rss_mb"))
        print(
            f"| {peer.title} | {peer.guarantee} | {median:,.0f} ({min(rates):,.0f} to {max(rates):,.0f}) | {part} "
            f"| {_range(row['cpu_s'], used_s)} | {broker_s:.1f} | {memory:,.0f} |"
        )


def _range(values: Sequence[float], median: float) -> str:
    return f"{median:.1f} ({min(values):.1f} to {max(values):.1f})"
