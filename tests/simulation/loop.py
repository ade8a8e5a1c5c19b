"""An event loop with its own clock, on which processes can be paused and killed as on a real machine.

Everything that a process runs carries the process in its context. Callbacks of a paused process wait until it wakes; those
of a dead one never run again, not even a `finally`.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from contextlib import suppress
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator
    from random import Random

    from streams.ledger.replica import Replica
    from streams.totals.window_tables import WindowTables

_PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class Process:
    """A unit of failure: a worker, a publisher, or one run of a command."""

    def __init__(self, name: str, loop: SimulatedLoop) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        #: Whether an operator runs it rather than a supervisor.
        self.is_command = False
        #: It is killed after this many more write boundaries; 0 for never.
        self.boundaries_left = 0
        #: Called with each transition of its task runners: the state before and after.
        self.runner_changed: Callable[[str, str], None] = _nothing
        #: Called with each standby copy from which a ledger partition was opened.
        self.copy_used: Callable[[Replica], Awaitable[None]] | None = None
        #: Its states of the totals by transactional id, including one that is being released.
        self.totals: dict[str, WindowTables] = {}
        #: All states that it has opened.
        self.states: list[object] = []
        self._loop = loop
        self._held: list[_Handle] = []

    def __repr__(self) -> str:
        return self.name

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Runs a coroutine in this process."""
        context = contextvars.copy_context()
        context.run(_PROCESS.set, self)
        task: asyncio.Task[Any] = self._loop.create_task(coroutine, context=context)
        return task

    def pause(self) -> None:
        """Pauses it wherever it is, like SIGSTOP."""
        self.paused = True

    def resume(self) -> None:
        """Resumes it."""
        self.paused = False
        held, self._held = self._held, []
        self._loop.put_back(held)

    def kill(self) -> None:
        """Ends it wherever it is, like SIGKILL."""
        self.alive = False

    def hold(self, handle: _Handle) -> None:
        """Keeps callbacks until it wakes; also those of a dead process, since a dropped coroutine would run its `finally`."""
        self._held.append(handle)


class _Handle(asyncio.Handle):
    """A scheduled call; asyncio only ever cancels it."""

    __slots__ = ("args", "call", "context", "is_cancelled", "when_s")

    def __init__(  # asyncio's own would store what only its debug mode needs
        self, call: Callable[..., object], args: tuple[Any, ...], context: contextvars.Context | None, when_s: float
    ) -> None:
        self.call = call
        self.args = args
        self.context = contextvars.copy_context() if context is None else context
        self.when_s = when_s
        self.is_cancelled = False

    def cancel(self) -> None:
        """Cancels it."""
        self.is_cancelled = True
        self.call, self.args = _nothing, ()

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.is_cancelled

    def when(self) -> float:
        """Seconds since the start."""
        return self.when_s


class _Pause:
    """The part of a future that a waiting task uses; the timer wakes the task."""

    __slots__ = ("_asyncio_future_blocking", "_handle", "_is_cancelled", "_loop", "_seconds")

    def __init__(self, loop: SimulatedLoop, seconds: float) -> None:
        self._asyncio_future_blocking = False
        self._loop = loop
        self._seconds = seconds
        self._is_cancelled = False
        self._handle: _Handle | None = None

    def __await__(self) -> Generator[Any, None, None]:
        self._asyncio_future_blocking = True
        yield self
        if self._is_cancelled:
            raise asyncio.CancelledError

    def get_loop(self) -> SimulatedLoop:
        """The loop."""
        return self._loop

    def add_done_callback(self, call: Callable[..., object], *, context: contextvars.Context) -> None:
        """Sets the timer."""
        loop = self._loop
        when_s = loop.now_s + self._seconds
        self._handle = handle = _Handle(call, (self,), context, when_s)
        loop._timers_set = number = loop._timers_set + 1
        heappush(loop._timers, (when_s, number, handle))

    def result(self) -> None:
        """Returns `None`, or raises the cancellation."""
        self._handle = None  # otherwise both would wait for the collector
        if self._is_cancelled:
            raise asyncio.CancelledError

    def cancel(self, msg: object = None) -> bool:
        """Wakes the task at once with the cancellation."""
        del msg
        handle = self._handle
        if self._is_cancelled or handle is None:
            return False
        self._is_cancelled = True
        call = handle.call
        handle.cancel()
        self._loop.call_soon(call, self, context=handle.context)
        return True


class SimulatedLoop(asyncio.BaseEventLoop):
    """Runs what is ready; when nothing is, the clock jumps to the next timer."""

    #: The clock stands still while anything runs: at 0, every pause of long work lets others run.
    turn_s: float = 0.0

    def __init__(self, dice: Random) -> None:
        super().__init__()
        #: Seconds since the start.
        self.now_s = 0.0
        self._calls: deque[_Handle] = deque()
        self._timers: list[tuple[float, int, _Handle]] = []
        self._timers_set = 0
        self.steps = 0
        self._dice = dice
        self.errors: list[str] = []
        #: All tasks ever started: `asyncio.all_tasks` includes those of all schedules that are not collected yet.
        self._tasks: list[asyncio.Task[Any]] = []
        self.set_exception_handler(self._hear)

    def _hear(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Keeps errors of the simulation itself; tasks left behind by a killed process are expected."""
        del loop
        if context["message"].startswith("Exception in callback"):
            self.errors.append(f"{context['message']}: {context.get('exception')!r}")

    def time(self) -> float:
        """Seconds since the start."""
        return self.now_s

    def pause(self, seconds: float) -> _Pause:
        """Like `asyncio.sleep`, but in one step of the loop instead of two."""
        return _Pause(self, seconds)

    def put_back(self, handles: list[_Handle]) -> None:
        """Makes handles ready again."""
        self._calls.extend(handles)

    def call_soon(  # type: ignore[override] # what is used of the signature
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> Any:
        """Calls a function in the next round."""
        handle = _Handle(callback, args, context, self.now_s)
        self._calls.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment] # there is one thread

    def call_at(  # type: ignore[override] # what is used of the signature
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> Any:
        """Calls a function once the clock reaches `when`."""
        return self.set_timer(when, callback, args, context)

    def call_later(  # type: ignore[override] # what is used of the signature
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> Any:
        """Calls a function after `delay` seconds."""
        return self.set_timer(self.now_s + delay, callback, args, context)

    def set_timer(
        self, when_s: float, call: Callable[..., object], args: tuple[Any, ...], context: contextvars.Context | None
    ) -> _Handle:
        """Calls a function once the clock reaches `when_s`."""
        handle = _Handle(call, args, context, when_s)
        self._timers_set = number = self._timers_set + 1
        heappush(self._timers, (when_s, number, handle))
        return handle

    def create_task(  # type: ignore[override] # what is used of the signature
        self, coro: Coroutine[Any, Any, Any], *, name: object = None, context: contextvars.Context | None = None
    ) -> Any:
        """A task; names only help when debugging."""
        del name
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, context=context)
        self._tasks.append(task)
        return task

    def _run_once(self) -> None:
        """Runs rounds until the loop is stopped."""
        calls, timers = self._calls, self._timers
        next_call, process_of = calls.popleft, _PROCESS
        while not self._stopping:  # type: ignore[attr-defined] # part of asyncio, unknown to typeshed
            if not calls or (timers and timers[0][0] <= self.now_s):
                self._take_timers()
            for _ in range(len(calls)):
                handle = next_call()
                if handle.is_cancelled:
                    continue
                context = handle.context
                process = context.get(process_of)
                if process is not None and (process.paused or not process.alive):
                    process.hold(handle)
                    continue
                self.steps += 1
                try:
                    context.run(handle.call, *handle.args)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:  # noqa: BLE001 - told as asyncio tells it
                    self.call_exception_handler(
                        {"message": f"Exception in callback {handle.call!r}", "exception": error}
                    )

    def _take_timers(self) -> None:
        """Makes due timers ready; advances the clock if nothing is."""
        timers, calls, now_s = self._timers, self._calls, self.now_s
        if not calls:
            while timers and timers[0][2].is_cancelled:
                heappop(timers)
            if not timers:
                raise RuntimeError("the simulation is stuck: nothing is ready and no timer is set")
            if timers[0][0] > now_s:
                self.now_s = now_s = timers[0][0]
        while timers and timers[0][0] <= now_s:
            handle = heappop(timers)[2]
            if not handle.is_cancelled:
                calls.append(handle)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override] # what is used of the signature
        """Runs a thread's function at some later moment."""
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

    def _asyncgen_firstiter_hook(self, agen: object) -> None:
        """Does not track the generators: `bury` ends those that are left."""

    def _process_events(self, event_list: Any) -> None:
        """There is no input."""

    def _write_to_self(self) -> None:
        """There are no other threads."""

    def bury(self) -> None:
        """Discards what is left, so that nothing is reported or runs later."""
        for task in self._tasks:
            if task.done():
                continue
            task._log_destroy_pending = False  # type: ignore[attr-defined] # part of asyncio, unknown to typeshed
            coroutine = task.get_coro()
            for _ in range(2):  # a runner takes the end for a fault, and awaits the end of its worker
                with suppress(BaseException):
                    coroutine.close()
        self._tasks.clear()
        self._calls.clear()
        self._timers.clear()
        self.set_exception_handler(None)
        self.close()


def _nothing(*_: object) -> None:
    """Stands in for a callback that no one needs."""


def current_process() -> Process:
    """The process that is running."""
    process = _PROCESS.get()
    assert process is not None, "outside of every process"
    return process
