"""Tests the tests: plants known bugs, one at a time, and shows which layer of tests catches each, and how fast.

python -m tests.planted                                # every bug
python -m tests.planted no-fence version-goes-back     # these
python -m tests.planted --layers simulation --jobs 2   # one layer only
python -m tests.planted --keep tests/planted/results.json   # keeps the table; goes on where it was stopped

A bug is a patch next to this file: what is wrong in a sentence, lines `unit:` and `kafka:` with the tests to begin with, and
the change. It is made in a copy of the tree. Layers in order: the unit tests named, then all of them; the simulation; the
real Kafka tests named, unless an earlier layer has caught it already (or `--layers kafka` asks for nothing else). Seconds
are those of computing, of a real Kafka those that pass. The command fails where a patch does not apply any more, and where no
layer catches a bug.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tests.support.version import version_of_the_tree

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
LAYERS: Final = ("unit", "simulation", "kafka")
#: The results of the last run of all bugs.
RESULTS: Final = HERE / "results.json"
UNIT: Final = ("tests/domain", "tests/engine", "tests/contract", "tests/audit")
#: What the tests need of the tree.
_TREE: Final = (
    "streams", "schemas", "tests", "deploy", "pyproject.toml", "README.md", "CHANGELOG.md", "docker-compose.yml", ".github",
)  # fmt: skip
_LIMITS_S: Final = {"unit": 300.0, "simulation": 60.0, "kafka": 300.0}
#: How much longer than its CPU limit a layer may take on a busy machine.
_PATIENCE: Final = 20
_SEEDS: Final = 1_000_000
#: Exit code of pytest if tests have failed; with others it could not run them.
_TESTS_FAILED: Final = 1


@dataclass(frozen=True)
class Bug:
    """A patch.

    Attributes:
        name: Of the file.
        title: What is wrong, in a sentence.
        unit: Arguments of pytest, to begin with.
        kafka: Arguments of pytest for tests on a real Kafka.
    """

    name: str
    title: str
    unit: tuple[str, ...]
    kafka: tuple[str, ...]
    path: Path

    @property
    def digest(self) -> str:
        """Tells one version of the bug from another: by its title and the lines that it changes, wherever they stand."""
        changed = [line for line in self.path.read_text().splitlines() if re.match(r"[-+](?!-- |\+\+ )", line)]
        return hashlib.sha256("\n".join([self.title, *changed]).encode()).hexdigest()[:12]

    @classmethod
    def read(cls, path: Path) -> Bug:
        """Reads the head of a patch."""
        head, _, _ = path.read_text().partition("\n--- a/")
        named = dict(re.findall(r"^(unit|kafka): (.+)$", head, re.MULTILINE))
        tests = {layer: tuple(shlex.split(named.get(layer, ""))) for layer in ("unit", "kafka")}
        return cls(path.stem, head.splitlines()[0], tests["unit"], tests["kafka"], path)


@dataclass
class Outcome:
    """The results of the layers for a bug.

    Attributes:
        caught: Layer → seconds, of those that caught it: of computing, with a real Kafka those that passed.
        missed: Layers that ran and did not.
        by: Layer → the test or invariant that caught it.
        fault: Why it could not be tried.
    """

    bug: Bug
    caught: dict[str, float] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)
    by: dict[str, str] = field(default_factory=dict)
    fault: str = ""


class NotRunError(Exception):
    """A layer could not be run on a bug, so it says nothing."""


def try_bug(bug: Bug, layers: Sequence[str], *, is_caught: bool = False) -> Outcome:
    """Plants a bug in a copy of the tree and runs the layers; the real Kafka only for a bug that is not caught yet."""
    outcome = Outcome(bug)
    with tempfile.TemporaryDirectory(prefix=f"planted-{bug.name}-") as folder:
        tree = Path(folder) / "tree"
        copy_tree(tree)
        # Run outside any repository, so that git applies the patch to the copy, wherever temporary files are.
        environment = {**os.environ, "GIT_CEILING_DIRECTORIES": folder}
        applied = subprocess.run(
            ["git", "apply", str(bug.path)], cwd=tree, env=environment, capture_output=True, text=True, check=False
        )
        if applied.returncode:
            outcome.fault = f"does not apply any more: {' '.join(applied.stderr.split())}"
            return outcome
        for layer in layers:
            if layer == "kafka" and (not bug.kafka or is_caught or outcome.caught):
                continue
            try:
                by, seconds = _RUNS[layer](bug, tree)
            except NotRunError as error:
                outcome.fault = f"{layer}: {error}"
                return outcome
            if by:
                outcome.caught[layer], outcome.by[layer] = seconds, by
            else:
                outcome.missed.append(layer)
    return outcome


def copy_tree(to: Path) -> None:
    """Copies what the tests need."""
    to.mkdir()
    for name in _TREE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=shutil.ignore_patterns("__pycache__", "*.png", "planted"))
        elif source.exists():
            shutil.copy2(source, to / name)


def _unit(bug: Bug, tree: Path) -> tuple[str, float]:
    there = tuple(folder for folder in UNIT if (tree / folder).exists())
    spent_s = 0.0
    for tests in (bug.unit, there):
        if not tests:
            continue
        by, seconds = _pytest(tests, tree, _LIMITS_S["unit"])
        spent_s += seconds
        if by:
            return by, spent_s
    return "", spent_s


def _kafka(bug: Bug, tree: Path) -> tuple[str, float]:
    return _pytest(bug.kafka, tree, _LIMITS_S["kafka"], by_the_clock=True)


def _pytest(tests: Sequence[str], tree: Path, limit_s: float, *, by_the_clock: bool = False) -> tuple[str, float]:
    """The first test that fails, empty if none does, and seconds."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider", *tests]
    ran = _run(command, tree, limit_s, by_the_clock=by_the_clock)
    if ran.code == 0:
        return "", ran.seconds
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", ran.output, re.MULTILINE)
    if ran.code is None:
        return "does not end", ran.seconds
    if ran.code != _TESTS_FAILED or failed is None:
        raise NotRunError(f"pytest ended with {ran.code}: {ran.output[-300:]}")
    return failed[1], ran.seconds


def _simulation(_bug: Bug, tree: Path) -> tuple[str, float]:
    if not (tree / "tests/simulation").exists():
        raise NotRunError("the simulation is not there")
    limit_s = _LIMITS_S["simulation"]
    command = [sys.executable, "-m", "tests.simulation", "--seeds", str(_SEEDS), "--jobs", "1", "--stop", str(limit_s)]
    # It reports the failure, and then looks for a shorter schedule, which need not be awaited.
    ran = _run(command, tree, limit_s + 20.0, enough=re.compile(r"^seed \d+ failed: .*$", re.MULTILINE))
    failed = re.search(r"^seed (\d+) failed: (.*)$", ran.output, re.MULTILINE)
    if failed:
        return f"seed {failed[1]}: {failed[2].partition(': ')[0]}", ran.seconds
    if ran.code is None:
        return "does not end", ran.seconds
    if ran.code:
        raise NotRunError(f"the simulation ended with {ran.code}: {ran.output[-300:]}")
    return "", ran.seconds


_RUNS: Final = {"unit": _unit, "simulation": _simulation, "kafka": _kafka}


class _Ran(NamedTuple):
    """The output of a command, its exit code (`None` if it did not end in time), and its seconds."""

    output: str
    code: int | None
    seconds: float


def _run(
    command: Sequence[str],
    tree: Path,
    limit_s: float,
    *,
    enough: re.Pattern[str] | None = None,
    by_the_clock: bool = False,
) -> _Ran:
    """Runs a command in the tree. It ends with all its children, also once it has said enough.

    Its seconds, and its limit, are of computing: a machine with other work makes nothing slow. Only what waits is timed by
    the clock.
    """
    log = tree.parent / "output"
    started = time.monotonic()
    seconds = 0.0
    with log.open("w") as handle:
        process = subprocess.Popen(
            command,
            cwd=tree,
            env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=handle,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            # This also ends a command that waits forever.
            while process.poll() is None and seconds < limit_s and time.monotonic() - started < _PATIENCE * limit_s:
                if enough is not None and enough.search(log.read_text(errors="replace")):
                    break
                time.sleep(0.2)
                # A process that has just ended cannot report its children.
                seconds = time.monotonic() - started if by_the_clock else max(seconds, _computed_s(process.pid))
        finally:
            code = process.poll()
            if code is None:
                os.killpg(process.pid, signal.SIGTERM if enough is None else signal.SIGKILL)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
    return _Ran(log.read_text(errors="replace"), code, seconds)


def _computed_s(group: int) -> float:
    """Seconds that the processes of a group have computed so far."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(") ")[2].split()
            if int(fields[2]) == group:
                ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


class Kept:
    """The results of the layers in a file, so that a long run can be stopped and continued.

    Args:
        path: The file, `None` to keep nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._version = version_of_the_tree()
        #: Bug → its title, the digest of its patch, and layer → seconds, test or `None`, date and version.
        self.bugs: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path and path.exists() else {}

    def left(self, bug: Bug, layers: Sequence[str]) -> list[str]:
        """The layers that have not been run on this patch in this version of the tree."""
        found = self.bugs.get(bug.name, {})
        if found.get("patch") != bug.digest:
            return list(layers)
        return [layer for layer in layers if found["layers"].get(layer, {}).get("version") != self._version]

    def take(self, outcome: Outcome) -> None:
        """Adds what was found; replaces the file."""
        bug = outcome.bug
        if outcome.fault:
            self.bugs.pop(bug.name, None)
        else:
            known = self.bugs.get(bug.name, {})
            layers = dict(known["layers"]) if known.get("patch") == bug.digest else {}
            run = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "version": self._version}
            layers |= {
                layer: {"by": outcome.by[layer], "seconds": round(seconds, 1), **run}
                for layer, seconds in outcome.caught.items()
            }
            layers |= {layer: {"by": None, **run} for layer in outcome.missed}
            self.bugs[bug.name] = {"title": bug.title, "patch": bug.digest, "layers": layers}
        if self._path is None:
            return
        beside = self._path.with_suffix(".new")
        beside.write_text(json.dumps(dict(sorted(self.bugs.items())), indent=1) + "\n")
        beside.replace(self._path)

    def outcome(self, bug: Bug) -> Outcome:
        """All that is known of a bug whose patch has not changed."""
        found = self.bugs.get(bug.name, {})
        outcome = Outcome(bug)
        if found.get("patch") != bug.digest:
            outcome.fault = "not tried"
            return outcome
        for layer, result in found["layers"].items():
            if result["by"] is None:
                outcome.missed.append(layer)
            else:
                outcome.caught[layer], outcome.by[layer] = result["seconds"], result["by"]
        return outcome


def row(outcome: Outcome, layers: Sequence[str]) -> str:
    """A line of the table."""
    cells = [
        f"{outcome.caught[layer]:.0f} s" if layer in outcome.caught else "missed" if layer in outcome.missed else "-"
        for layer in layers
    ]
    by = "; ".join(outcome.by.values()) or outcome.fault or "CAUGHT BY NOTHING"
    return f"{outcome.bug.name:<40} {' '.join(f'{cell:>10}' for cell in cells)}  {by}"


def main() -> int:
    """The command; 1 if a bug was caught by nothing or could not be tried."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.planted", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="of the bugs, as the patches are named (default: all)")
    parser.add_argument("--layers", default=",".join(LAYERS), help="some of unit,simulation,kafka (default: all)")
    parser.add_argument("--jobs", type=int, default=1, help="bugs at a time (default 1)")
    parser.add_argument("--keep", type=Path, help="a file that keeps the table; layers that it has are not run again")
    arguments = parser.parse_args()
    bugs = {path.stem: Bug.read(path) for path in sorted(HERE.glob("*.patch"))}
    unknown = [name for name in arguments.names if name not in bugs]
    layers = [layer for layer in LAYERS if layer in arguments.layers.split(",")]
    if unknown or not layers or set(arguments.layers.split(",")) - set(LAYERS):
        parser.error(f"no such bugs: {', '.join(unknown)}" if unknown else f"layers are {', '.join(LAYERS)}")
    print(f"{'bug':<40} {' '.join(f'{layer:>10}' for layer in layers)}  caught by", flush=True)
    chosen = [bugs[name] for name in arguments.names or bugs]
    kept = Kept(arguments.keep)

    def tried_again(bug: Bug) -> Outcome:
        return try_bug(bug, kept.left(bug, layers), is_caught=len(layers) > 1 and bool(kept.outcome(bug).caught))

    outcomes = []
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for tried in pool.map(tried_again, chosen):
            kept.take(tried)
            outcome = tried if tried.fault else kept.outcome(tried.bug)
            outcomes.append(outcome)
            print(row(outcome, layers), flush=True)
    caught = [outcome for outcome in outcomes if outcome.caught]
    by_layer = ", ".join(f"{sum(layer in one.caught for one in caught)} by {layer}" for layer in layers)
    print(f"{len(caught)} of {len(outcomes)} caught: {by_layer}")
    return 0 if len(caught) == len(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
