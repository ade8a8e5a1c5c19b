"""An event loop with its own clock, on which processes can be paused and killed as a machine does it.

Everything that a process runs carries the process in its context. What belongs to a paused process stays where it is
until it wakes, what belongs to a dead one is never run again: no `finally`, no goodbye.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from random import Random

_PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class Process:
    """A unit of failure: a worker, a publisher, a run of a command."""

    def __init__(self, name: str, loop: SimulatedLoop) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        #: It is killed when it has come to this many more write boundaries; 0 for never.
        self.boundaries_left = 0
        self._loop = loop
        self._held: list[asyncio.Handle] = []

    def __repr__(self) -> str:
        return self.name

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Runs a coroutine in this process."""
        context = contextvars.copy_context()
        context.run(_PROCESS.set, self)
        return self._loop.create_task(coroutine, context=context)

    def pause(self) -> None:
        """Stops it where it stands, as SIGSTOP does."""
        self.paused = True

    def resume(self) -> None:
        """Lets it go on."""
        self.paused = False
        held, self._held = self._held, []
        self._loop.put_back(held)

    def kill(self) -> None:
        """Ends it where it stands, as SIGKILL does."""
        self.alive = False
        self._held = []

    def hold(self, handle: asyncio.Handle) -> None:
        """Keeps what is to be run once it wakes."""
        if self.alive:
            self._held.append(handle)


class SimulatedLoop(asyncio.BaseEventLoop):
    """Runs what is ready; when nothing is, the clock jumps to the next timer."""

    def __init__(self, dice: Random) -> None:
        super().__init__()
        self._now_s = 0.0
        self.steps = 0
        self._dice = dice
        self._clock_resolution = 1e-9
        self.errors: list[str] = []
        self.set_exception_handler(self._hear)

    def _hear(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Keeps what went wrong in the simulation itself; tasks that a killed process leaves behind are no news."""
        del loop
        if context["message"].startswith("Exception in callback"):
            self.errors.append(f"{context['message']}: {context.get('exception')!r}")

    def time(self) -> float:
        """Seconds since the start."""
        return self._now_s

    def put_back(self, handles: list[asyncio.Handle]) -> None:
        """Makes handles ready again."""
        self._ready.extend(handles)  # type: ignore[attr-defined]

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled  # type: ignore[attr-defined]
        if not ready:
            while scheduled and scheduled[0]._cancelled:
                heapq.heappop(scheduled)._scheduled = False
            if not scheduled:
                raise RuntimeError("the simulation stands still: nothing is ready and no timer is set")
            self._now_s = max(self._now_s, scheduled[0]._when)
        while scheduled and (scheduled[0]._cancelled or scheduled[0]._when <= self._now_s):
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            if not handle._cancelled:
                ready.append(handle)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            process = handle._context.get(_PROCESS)
            if process is not None and (process.paused or not process.alive):
                process.hold(handle)
                continue
            self.steps += 1
            handle._run()

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        """Runs a function of a thread at some later moment."""
        del executor
        future = self.create_future()

        def run() -> None:
            if future.cancelled():
                return
            try:
                future.set_result(func(*args))
            except Exception as error:  # noqa: BLE001 - handed over as a thread would
                future.set_exception(error)

        self.call_later(self._dice.uniform(0.0, 0.05), run)
        return future

    def _process_events(self, event_list: Any) -> None:
        """There is no input."""

    def _write_to_self(self) -> None:
        """There are no other threads."""

    def bury(self) -> None:
        """Ends what is left over, so that nothing of it is reported or runs later."""
        for task in asyncio.all_tasks(self):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coroutine = task.get_coro()
            with suppress(BaseException):
                coroutine.close()
        self._ready.clear()  # type: ignore[attr-defined]
        self._scheduled.clear()  # type: ignore[attr-defined]
        self.close()


def current_process() -> Process:
    """The process that is running."""
    process = _PROCESS.get()
    assert process is not None, "outside of every process"
    return process
