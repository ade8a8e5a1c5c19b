"""Hostile records for the compiled hot path, under AddressSanitizer and UndefinedBehaviorSanitizer.

    .venv/bin/python -m tests.fuzz                                  # a million records in as many processes as there are cores
    .venv/bin/python -m tests.fuzz --inputs 10000000 --jobs 2
    .venv/bin/python -m tests.fuzz --first 4711 --inputs 10000      # the records of one seed again

The extensions are compiled once more with both sanitizers, so the machine needs gcc or clang with them. Records are valid events
that were cut, spliced, repeated and overwritten by chance; whatever the compiled way accepts must be what the authority says, and
a ledger that takes it compiled must do what one in Python does. So must totals with damaged counts and rows. Exit code 1 where a sanitizer or the authority disagrees: with the report, and the command that repeats it.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final, NoReturn

ROOT: Final = Path(__file__).parents[2]
#: Records of one seed, and counts and rows of the totals.
CHUNK: Final = 10_000
ROWS: Final = 1_000
SANITIZERS: Final = (
    "-g", "-fPIC", "-shared", "-fwrapv", "-fno-omit-frame-pointer",
    "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
)  # fmt: skip
#: For this number of records or fewer, optimising takes longer than it saves.
FEW: Final = 10 * CHUNK
OPTIONS: Final = {
    # Python keeps some memory until it exits. With each object in its own allocation, overruns are detected.
    "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "PYTHONMALLOC": "malloc",
}


def sanitized(folder: Path, inputs: int) -> dict[str, str]:
    """Compiles the extensions with sanitizers, for a number of records. Returns the environment that they need.

    Raises:
        SystemExit: It cannot be compiled here.
    """
    spec = importlib.util.spec_from_file_location("extensions", ROOT / "deploy" / "extensions.py")
    assert spec is not None
    assert spec.loader is not None
    extensions: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(extensions)
    options = ("-O0" if inputs <= FEW else "-O1", *SANITIZERS)
    try:
        extensions.build_all({ROOT / source: folder for source in extensions.SOURCES}, options=options)
    except extensions.ExtensionsError as error:
        refuse(str(error))
    asked = [*extensions.compiler(""), "-print-file-name=libasan.so"]
    runtime = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(runtime).is_absolute():
        refuse(f"{asked[0]} has no AddressSanitizer")
    return {**os.environ, **OPTIONS, "LD_PRELOAD": runtime}


def refuse(why: str) -> NoReturn:
    """Ends the command: it cannot run here."""
    print(f"tests.fuzz: {why}; install gcc with its sanitizers", file=sys.stderr)
    raise SystemExit(3)


def main() -> int:
    """Runs the seeds and prints what came of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=1_000_000, help="how many records")
    parser.add_argument("--first", type=int, default=1, help="the first seed; each has 10,000 records")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    seeds = range(options.first, options.first + max(1, options.inputs // CHUNK))
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        environment = sanitized(Path(folder), options.inputs)
        children = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.records", folder, *map(str, seeds[job :: options.jobs])],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for job in range(min(options.jobs, len(seeds)))
        ]
        ends = [(child, *child.communicate()) for child in children]
    failed = False
    accepted = taken = 0
    for child, said, error in ends:
        found = [tuple(map(int, line)) for line in re.findall(r"^seed \d+: (\d+) (\d+)$", said, re.MULTILINE)]
        accepted += sum(events for events, _ in found)
        taken += sum(rows for _, rows in found)
        if child.returncode != 0:
            failed = True
            last = re.findall(r"^begun (\d+)$", said, re.MULTILINE)[-1:]
            print(error.strip())
            print(f"again: python -m tests.fuzz --first {''.join(last)} --inputs {CHUNK} --jobs 1")
    if failed:
        return 1
    print(
        f"{len(seeds) * CHUNK:,} records in {time.monotonic() - started:.0f} s: {accepted:,} accepted, each as the authority has it; "
        f"{len(seeds) * ROWS:,} counts and rows: {taken:,} taken, as in Python; no report of a sanitizer"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
