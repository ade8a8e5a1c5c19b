"""What schedules have covered: faults by the writes between which they came, and the states of the task runners.

It only counts; it throws no dice, so it changes no schedule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams.errors import GapError
from streams.kafka.transactions import FencedError
from streams.totals.window_tables import WindowTables
from streams.worker.task_runner import TaskRunner
from tests.simulation.loop import current_process

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Awaitable, Iterable, Mapping, Sequence

    from streams.kafka.transport import Batch
    from streams.worker.task_runner import State

#: Commits of the service, of operators' commands, and the takeover of a transactional id.
WRITES = ("ledger", "totals", "command", "takeover")
#: The moments of a write at which a fault may come.
BOUNDARIES = (
    "before the takeover",
    "after the takeover",
    "before the first record",
    "between records",
    "before the end",
    "after the end",
)
#: Kinds of transactions that can be open when a fault comes.
_OPEN = WRITES[:3]
BETWEEN = tuple((before, after) for before in WRITES for after in WRITES)

#: Transitions of a task runner. A runner is paused, woken and killed with its process.
TRANSITIONS = (
    "new → opening",
    "opening → open",
    "opening → in doubt",
    "opening → stands still",
    "opening → closed",
    "open → processing",
    "open → in doubt",
    "open → closed",
    "processing → open",
    "processing → in doubt",
    "processing → fenced",
    "processing → stands still",
    "processing → closed",
    "in doubt → reopening",
    "in doubt → closed",
    "fenced → reopening",
    "fenced → closed",
    "stands still → reopening",
    "stands still → closed",
    "reopening → open",
    "reopening → in doubt",
    "reopening → stands still",
    "reopening → closed",
    *(
        f"{state} → {end}"
        for state in ("opening", "open", "processing", "in doubt", "fenced", "stands still", "reopening")
        for end in ("paused", "killed")
    ),
)


_REFUSED_WRITE = "who opens takes the transactional id over and writes nothing, and only a write is refused"
#: What cannot happen, and why; a run that sees it fails, since either the table or the code is wrong.
#:
#: No fault is in it: any other process may have written last, may write next, and may have a transaction open. That includes
#: faults of a commit: while the answer to its EndTxn is on its way, all other writers continue.
IMPOSSIBLE = {
    "runner: opening → fenced": _REFUSED_WRITE,
    "runner: reopening → fenced": _REFUSED_WRITE,
}


class Coverage:
    """Counts of one schedule, in the names of `seen`."""

    def __init__(self, seen: Counter[str]) -> None:
        self._seen = seen
        self._before = ""
        self._waiting: list[str] = []

    def happened(self, fault: str, open_roles: Iterable[str]) -> None:
        """Counts a fault; `open_roles` are the kinds of the open transactions."""
        for role in open_roles:
            self._seen[f"{fault}: in {role}"] += 1
        if self._before:
            self._waiting.append(f"{fault}: {self._before} → ")

    def wrote(self, kind: str) -> None:
        """Counts a write: faults since the previous write came between the two."""
        if self._waiting:
            for fault in self._waiting:
                self._seen[fault + kind] += 1
            self._waiting.clear()
        self._before = kind

    def changed(self, before: str, after: str) -> None:
        """Counts a task runner's change of state."""
        self._seen[f"runner: {before} → {after}"] += 1


class WatchedRunner(TaskRunner):
    """The real runner, which reports its states."""

    at = "new"

    def _to(self, state: str) -> None:
        if state != self.at:
            current_process().runner_changed(self.at, state)
            self.at = state

    async def _open(self, state: State) -> None:
        self._to("opening" if self.at == "new" else "reopening")
        current_process().states.append(state)
        if isinstance(state, WindowTables):
            writer: Any = state._writer
            current_process().totals[writer.transactional_id] = state
        await self._watch(super()._open(state))
        if self.is_open:
            self._to("open")

    async def _serve(self, state: State) -> None:
        await self._watch(super()._serve(state))

    async def _watch(self, running: Awaitable[None]) -> None:
        try:
            await running
        except FencedError:
            self._to("fenced")
            raise
        except GapError:
            self._to("stands still")
            raise
        except Exception:
            self._to("in doubt")
            raise

    async def _wait_for_work(self) -> None:
        if self.is_open:  # otherwise its opening has been stopped
            self._to("open")
        await super()._wait_for_work()

    async def _process(self, state: State, batches: list[Batch]) -> None:
        self._to("processing")
        await super()._process(state, batches)

    async def release(self) -> None:
        await super().release()
        self._to("closed")


def table(seen: Mapping[str, int], faults: Sequence[str]) -> list[str]:
    """A line for each fault: how often it came between which writes, and during which open transactions."""
    width = max(len(fault) for fault in faults)
    lines = [
        "faults between two writes (before → after), and in open transactions:",
        f"  {'':{width}}" + "".join(f"{before:>8}" + " " * 21 for before in WRITES) + "   open in",
        f"  {'':{width}}"
        + "".join(f"→{after[:6]:>6}" for _, after in BETWEEN)
        + "".join(f"{role:>8}" for role in _OPEN),
    ]
    for fault in faults:
        between = "".join(f"{seen.get(f'{fault}: {before} → {after}', 0) or '·':>7}" for before, after in BETWEEN)
        inside = "".join(f"{seen.get(f'{fault}: in {role}', 0) or '·':>8}" for role in _OPEN)
        lines.append(f"  {fault:{width}}{between}{inside}")
    return lines


def runners(seen: Mapping[str, int]) -> list[str]:
    """The transitions of the task runners, and those that never happened."""
    counts = {one: seen.get(f"runner: {one}", 0) for one in TRANSITIONS}
    others = sorted(key.removeprefix("runner: ") for key in seen if key.startswith("runner: "))
    counts |= {one: seen[f"runner: {one}"] for one in others}
    never = [one for one, count in counts.items() if not count]
    return [
        "states of the task runners:",
        *(f"  {count:>9,}  {one}" for one, count in counts.items() if count),
        "transitions that never happened: " + (", ".join(never) or "none"),
    ]


def impossible(seen: Mapping[str, int]) -> list[str]:
    """What was seen although it cannot happen: by the table, or because the transition is unknown."""
    found = [f"{name}: {why}" for name, why in IMPOSSIBLE.items() if seen.get(name)]
    known = {f"runner: {one}" for one in TRANSITIONS} | IMPOSSIBLE.keys()
    return found + [
        f"{name}: not among the transitions"
        for name in sorted(seen)
        if name.startswith("runner: ") and name not in known
    ]


def never_between(seen: Mapping[str, int], faults: Sequence[str]) -> list[str]:
    """Each fault with the writes between which it never came."""
    lines = []
    for fault in faults:
        places = [f"{before} → {after}" for before, after in BETWEEN] + [f"in {role}" for role in _OPEN]
        never = [place for place in places if not seen.get(f"{fault}: {place}")]
        if never:
            lines.append(f"  {fault}: " + (", ".join(never) if len(never) < len(places) else "anywhere"))
    return ["never came between or in: " + ("" if lines else "nothing"), *lines]
