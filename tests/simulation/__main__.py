"""Runs schedules, and finds the shortest one that still fails.

python -m tests.simulation --seeds 5000            # from 0 on
python -m tests.simulation --seeds 1 --first 1234  # one of them
python -m tests.simulation --crashes               # a history of 200 records, killed at each write boundary
python -m tests.simulation --found                 # the plans that have failed
python -m tests.simulation --plan '{"seed": 1, ...}'
python -m tests.simulation --seeds 1000000 --keep tests/simulation/results.json  # a long run, to be stopped and continued
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter, deque
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.simulation.chunks import COMPUTED, chunks, run_chunk
from tests.simulation.coverage import BOUNDARIES, impossible, never_between, runners, table
from tests.simulation.crashes import killed_at_each_boundary
from tests.simulation.found import FOUND
from tests.simulation.plan import ALL_WINDOWS, FAULTS, RULES, Plan
from tests.simulation.world import MISHAPS, Result, run
from tests.support.version import version_of_the_tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SHRINK_SEEDS = 12
#: The history for which every write boundary is tried: short, with everything in it, and without random losses.
HISTORY = Plan(
    0, partitions=2, workers=2, records=200, mischief=0.3, foreign=0.2, transactions=0.1, loss_share=0.0,
    slow_share=0.0, slow_leader_share=0.0, slow_hand_over_share=0.0, most_fetched=100, pace_s=0.012,
)  # fmt: skip

_ROLES = ("ledger", "totals", "replay", "quarantine")
#: Happens less than 20 times in 5,000 schedules: shown, but no run has to cover it.
RARE = (
    "killed: replay before the first record",
    "killed: replay before the end",
    "killed: replay after the end",
    "target retracted",
    "forecast_behind ended",
    "stalled ended",
)
_ALL = (
    *(f"killed: {role} {boundary}" for role in _ROLES for boundary in BOUNDARIES),
    *(f"fault: {fault}" for fault in FAULTS),
    *(f"{kind} {what}" for kind in ("threshold", "first", "streak", "factor", "scope_share", "leader", "target", "record", "record_passed") for what in ("raised", "retracted")),
    "threshold reinstated", "retractions held back",
    "forecast_behind raised", "forecast_behind ended", "forecast_moved raised", "forecast_moved ended",
    "stalled raised", "stalled ended", "silences older than their rules",
    "records lost", "records that arrive late", "EndTxn lost", "EndTxn that arrives late", "answer to EndTxn lost",
    "fenced", "opened again in doubt", "expelled", "late batch", "rebalances", "compactions",
    "gaps accepted", "offsets lost to retention", "publisher commits", "publisher aborts", "publisher's transaction expired",
    "counted again in silence", "parts of a step", "full steps of a ledger", "snapshots", "rows of days that left", "dead letters", "dead letters of side topics", "forwarded records", "events passed on to other totals", "opening balances", "rolling windows", "days that begin later", "campaigns", "announcements adopted", "campaigns that were announced", "campaigns withdrawn", "campaigns beyond the limit", "campaigns over beyond the limit",
    "milestones that are no news", "unit looked for among the latest", "unit looked for in a whole hour",
    "rebuilds", "rebuilds begun again", "violations", "violations resolved", "asked without a leader", "less shown than before", "events beyond the limits", "events of production", "vehicles that are orders too", "deliveries told", "deliveries told to stand no longer", "vehicles delivered and not produced", "contradictions withheld", "what was told deleted", "deliveries judged for the first time", "inventories", "records to be skipped", "records skipped by order", "quarantines lifted", "operators' decisions deleted", "rows called over", "standby copies used",
    "takeover: ledger", "takeover: totals", "takeover: quarantine", "takeover: replay",
)  # fmt: skip
#: What a run of many schedules should have covered.
TO_BE_SEEN = tuple(name for name in _ALL if name not in RARE)


def simpler(plan: Plan) -> Iterator[Plan]:
    """Simpler plans, the most drastic first."""
    for index in range(len(plan.faults)):
        yield replace(plan, faults=plan.faults[:index] + plan.faults[index + 1 :])
    for name in (name for name in RULES if name not in plan.without):
        yield replace(plan, without=tuple(each for each in RULES if each in plan.without or each == name))
    yield from _plainer(plan)
    for records in (plan.records // 2, plan.records - 3):
        if records > 0:
            yield replace(plan, records=records)


def _plainer(plan: Plan) -> Iterator[Plan]:
    """Plans with one parameter as in the plainest plan, or closer to it."""
    plain = Plan(0)
    for part in fields(Plan):
        if part.name in ("mischief", "foreign", "transactions") or part.name.endswith("_share"):
            if getattr(plan, part.name):
                less: dict[str, Any] = {part.name: 0.0}
                yield replace(plan, **less)
        elif part.name in ("workers", "partitions") and getattr(plan, part.name) > 1:
            yield replace(plan, **{part.name: getattr(plan, part.name) - 1})
        elif part.name in ("aim", "clock", "place", "crash_at", "rebuilds", "held_s", "standbys") and getattr(
            plan, part.name
        ) != getattr(plain, part.name):
            yield replace(plan, **{part.name: getattr(plain, part.name)})


def shrink(result: Result) -> Result:
    """The simplest failure found of the same invariant."""
    best = result
    improved = True
    while improved:
        improved = False
        for plan in simpler(best.plan):
            for seed in (best.plan.seed, *range(_SHRINK_SEEDS)):
                found = run(replace(plan, seed=seed))
                if found.invariant == result.invariant:
                    best, improved = found, True
                    break
            if improved:
                break
    return best


def as_text(plan: Plan) -> str:
    """The plan as `--plan` accepts it, without defaults."""
    plain = asdict(Plan(plan.seed))
    return json.dumps({key: value for key, value in asdict(plan).items() if key == "seed" or value != plain[key]})


def from_text(text: str) -> Plan:
    """Reads a printed plan."""
    values = json.loads(text)
    values["faults"] = tuple((at_s, fault) for at_s, fault in values.get("faults", ()))
    values["windows"] = tuple(values.get("windows", ALL_WINDOWS))
    values["without"] = tuple(values.get("without", ()))
    return Plan(**values)


def report(result: Result) -> None:
    """Describes a failure."""
    print(f"\nseed {result.plan.seed} failed: {result.broken}")
    print("looking for a shorter one ...", flush=True)
    short = shrink(result)
    print(f"\nlast steps of the shortest found ({short.plan.records} records, {len(short.plan.faults)} faults):")
    print("\n".join(short.last[-25:]))
    print(f"\n{short.broken}\nonce more: python -m tests.simulation --plan '{as_text(short.plan)}'")


def summary(count: int, seconds: float, seen: Counter[str]) -> list[str]:
    """What was covered, and what never happened."""
    computed_ms = seen[COMPUTED] / max(count, 1)
    lines = [f"{count:,} schedules in {seconds:.0f} s, {seen['steps']:,} steps, {computed_ms:.0f} ms of computing each"]
    lines += [f"  {seen[name]:>9,}  {name}" for name in TO_BE_SEEN if seen[name]]
    faults = (*FAULTS, *MISHAPS)
    lines += [f"  {seen[name]:>9,}  {name}, rare" for name in RARE if seen[name]]
    lines += [*table(seen, faults), *runners(seen), *never_between(seen, faults)]
    lines.append("rare, and never happened: " + (", ".join(name for name in RARE if not seen[name]) or "none"))
    never = [name for name in TO_BE_SEEN if not seen[name]]
    lines.append("never happened: " + (", ".join(never) if never else "nothing of what is known"))
    return lines + [f"cannot happen, and was seen: {one}" for one in impossible(seen)]


def run_crashes(jobs: int) -> int:
    """Runs the history, killed at each of its write boundaries; returns 1 if anything failed."""
    started = time.monotonic()
    results = killed_at_each_boundary(HISTORY, jobs=jobs)
    seen: Counter[str] = Counter()
    for result in results:
        seen.update(result.seen)
        seen["steps"] += result.steps
    print("\n".join(summary(len(results), time.monotonic() - started, seen)))
    failed = [result for result in results if result.broken]
    if failed:
        report(failed[0])
    return 1 if failed or impossible(seen) else 0


def run_found() -> int:
    """Runs the plans that have failed; returns 1 if one fails again."""
    broken = {name: result.broken for name, plan in FOUND.items() if (result := run(plan)).broken}
    for name in FOUND:
        print(f"{broken.get(name, 'holds')}: {name}")
    return 1 if broken else 0


def main() -> int:
    """The command; returns 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many schedules (default 1000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
    parser.add_argument("--crashes", action="store_true", help="a crash at each write boundary of one history")
    parser.add_argument("--found", action="store_true", help="the plans that have failed")
    parser.add_argument("--plan", help="one plan, as a failure prints it")
    parser.add_argument("--keep", type=Path, help="a file that keeps the results; if it exists, continue from it")
    parser.add_argument(
        "--stop",
        type=float,
        default=float("inf"),
        metavar="SECONDS",
        help="of computing, by process: then begin no more",
    )
    arguments = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        # Otherwise the order of sets of strings would differ between runs, and a seed would not determine a schedule.
        os.execve(
            sys.executable,
            [sys.executable, "-m", "tests.simulation", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    if arguments.plan:
        result = run(from_text(arguments.plan))
        print("\n".join(result.last))
        print(result.broken or "nothing is broken")
        return 1 if result.broken else 0
    if arguments.found:
        return run_found()
    if arguments.crashes:
        return run_crashes(arguments.jobs)
    kept = Kept.of(arguments.keep, arguments.first)
    plans = (Plan.of(seed) for seed in range(kept.following, kept.first + arguments.seeds))
    return run_all(plans, kept, jobs=arguments.jobs, stop_s=arguments.stop)


@dataclass
class Kept:
    """The progress of a run in a file, so that a long run can be stopped and continued, even by another version.

    Attributes:
        path: The file, `None` to keep nothing.
        first: The very first seed.
        following: The seed to continue with.
        seconds: Running time.
        seen: What all versions together have covered.
        sittings: Which version ran which seeds, and when: `first`, `following`, `version`, `from` and `to`.
    """

    path: Path | None
    first: int
    following: int
    seconds: float = 0.0
    seen: Counter[str] = field(default_factory=Counter)
    sittings: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, path: Path | None, first: int) -> Kept:
        """The contents of the file, if there is one."""
        kept = cls(path, first, first)
        if path is not None and path.exists():
            said = json.loads(path.read_text())
            kept = cls(path, said["first"], said["following"], said["seconds"], Counter(said["seen"]), said["sittings"])
        version = version_of_the_tree()
        if not kept.sittings or kept.sittings[-1]["version"] != version:
            today = f"{datetime.now(UTC):%Y-%m-%d}"
            kept.sittings.append({"first": kept.following, "version": version, "from": today})
        return kept

    @property
    def by_this_version(self) -> int:
        """How many of the schedules this version has run; a seed is a different schedule in each version."""
        return self.following - int(self.sittings[-1]["first"])

    def save(self) -> None:
        """Replaces the file."""
        if self.path is None:
            return
        self.sittings[-1] |= {"following": self.following, "to": f"{datetime.now(UTC):%Y-%m-%d}"}
        said = {
            "first": self.first,
            "following": self.following,
            "seconds": round(self.seconds),
            "sittings": [one for one in self.sittings if one["following"] > one["first"]],
            "never happened": [name for name in TO_BE_SEEN if not self.seen[name]],
            "seen": dict(sorted(self.seen.items())),
        }
        beside = self.path.with_suffix(".new")
        beside.write_text(json.dumps(said, indent=1) + "\n")
        beside.replace(self.path)


def run_all(plans: Iterable[Plan], kept: Kept, *, jobs: int, stop_s: float) -> int:
    """Runs the plans in several processes; ends with the first failure."""
    started = time.monotonic()
    before_s, before_ms = kept.seconds, kept.seen[COMPUTED]
    failed: list[Result] = []
    with ProcessPoolExecutor(jobs) as pool:
        waiting = chunks(plans)
        running = deque(pool.submit(run_chunk, chunk) for chunk in islice(waiting, 2 * jobs))
        while running and not failed:
            count, seen, failed = running.popleft().result()
            if not failed:  # otherwise they are run again once it is fixed
                kept.following += count
                kept.seen.update(seen)
                kept.seconds = before_s + time.monotonic() - started
                kept.save()
            if sys.stderr.isatty():
                print(f"\r{kept.following - kept.first:,} schedules", end="", file=sys.stderr, flush=True)
            computed_s = (kept.seen[COMPUTED] - before_ms) / 1000 / jobs
            chunk = next(waiting, None) if computed_s < stop_s else None
            if chunk is not None:
                running.append(pool.submit(run_chunk, chunk))
        for future in running:
            future.cancel()
    print("\n".join(summary(kept.following - kept.first, kept.seconds, kept.seen)))
    if len(kept.sittings) > 1:
        print(f"{kept.by_this_version:,} of them with this version, {kept.sittings[-1]['version']}")
    if failed:
        report(min(failed, key=lambda result: result.plan.records))
    return 1 if failed or impossible(kept.seen) else 0


if __name__ == "__main__":
    sys.exit(main())
