"""A worker that samples its own stacks, by the CPU time that it takes; see `tests.bench.profile`.

Every few milliseconds of CPU the kernel sends a signal, and what runs then is counted for its stage. SAMPLES names a folder: on
`ASKED` the counts since the last time are written there.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import CodeType, FrameType

EVERY_S: Final = 0.002
#: Signal on which the worker writes its samples; Faust uses the usual ones.
ASKED: Final = signal.SIGRTMIN + 1

#: Stage, and the frames that make a sample one of it: a part of the path, and the functions of it, all where there are none.
#: The first that matches any frame of a stack counts.
STAGES: Final[tuple[tuple[str, str, frozenset[str]], ...]] = (
    ("totals: taking counts", "totals/window_tables.py", frozenset(("_take_in",))),
    ("totals: judging rows", "totals/window_tables.py", frozenset(("_next_part", "_begin_step"))),
    ("totals: committing", "totals/window_tables.py", frozenset(("_commit",))),
    ("totals: the rest", "streams/totals/", frozenset()),
    ("ledger: decoding", "schemas/codec.py", frozenset(("decode_events",))),
    ("ledger: home partitions", "schemas/hotpath.py", frozenset(("strays",))),
    ("ledger: append times", "kafka/append_time.py", frozenset()),
    ("ledger: storing", "domain/ledger.py", frozenset(("apply",))),
    ("ledger: spreading counts", "domain/counts/daycounts.py", frozenset(("ending_step",))),
    ("ledger: judging and counting", "domain/ledger.py", frozenset(("draining",))),
    ("ledger: changelog", "ledger/changelog.py", frozenset()),
    ("ledger: records of a commit", "ledger/commit.py", frozenset()),
    ("ledger: the rest of taking in", "ledger/application.py", frozenset()),
    ("producing: filling batches", "kafka/transactions.py", frozenset(("_batches",))),
    ("producing: transactions", "kafka/transactions.py", frozenset()),
    ("fetching: records", "kafka/transport.py", frozenset(("_fetched_record",))),
    ("fetching: record batches", "kafka/whole_batches.py", frozenset()),
    ("fetching: record batches", "aiokafka/consumer/fetcher.py", frozenset(("getall",))),
    ("fetching: the rest", "aiokafka/consumer/", frozenset()),
    ("network", "aiokafka/conn.py", frozenset()),
    ("network", "aiokafka/", frozenset()),
    ("network", "asyncio/selector_events.py", frozenset()),
    ("task runners", "streams/worker/", frozenset()),
    ("ledger: the rest", "streams/ledger/", frozenset()),
    ("transport", "kafka/transport.py", frozenset()),
    ("Faust", "/faust/", frozenset()),
    ("Faust", "/mode/", frozenset()),
    ("imports", "importlib", frozenset()),
    ("event loop", "asyncio/", frozenset()),
)
OTHER: Final = len(STAGES)
_MOST_PLACES: Final = 400

_stages: Counter[str] = Counter()
_places: Counter[str] = Counter()
_known: dict[CodeType, int] = {}


def _stage_of(code: CodeType) -> int:
    """The first stage that a frame can assign a sample to."""
    found = _known.get(code)
    if found is None:
        path, name = code.co_filename, code.co_name
        found = _known[code] = next(
            (
                number
                for number, (_, part, functions) in enumerate(STAGES)
                if part in path and (not functions or name in functions)
            ),
            OTHER,
        )
    return found


def _sample(_number: int, frame: FrameType | None) -> None:
    if frame is None:
        return
    leaf, stage = frame.f_code, OTHER
    at: FrameType | None = frame
    while at is not None:
        stage = min(stage, _stage_of(at.f_code))
        at = at.f_back
    name = STAGES[stage][0] if stage < OTHER else "other"
    _stages[name] += 1
    _places[f"{name}\t{'/'.join(Path(leaf.co_filename).parts[-2:])}:{leaf.co_qualname}:{frame.f_lineno}"] += 1


def _write(_number: int, _frame: FrameType | None) -> None:
    folder = Path(os.environ["SAMPLES"])
    used = resource.getrusage(resource.RUSAGE_SELF)
    found = {
        "user_s": used.ru_utime,
        "system_s": used.ru_stime,
        "resident_kb": int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024,
        "stages": dict(_stages),
        "places": dict(_places.most_common(_MOST_PLACES)),
    }
    _stages.clear()
    _places.clear()
    number = len(list(folder.glob("*.json")))
    fresh = folder / f"{number}.new"
    fresh.write_text(json.dumps(found))
    fresh.rename(folder / f"{number}.json")


def main() -> None:
    """The command line of `milestones`, sampled."""
    from streams.cli import main as command  # noqa: PLC0415 - its imports are part of what is sampled

    command()


if __name__ == "__main__":
    signal.signal(signal.SIGPROF, _sample)
    signal.signal(ASKED, _write)
    signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)
    sys.argv[0] = "milestones"
    main()
