"""Lets the event loop run other tasks during long work.

Long work is cut into pieces of a few milliseconds at most, with a pause after each. All tasks of a loop share the time of a turn,
which is what it runs between two looks at its sockets and timers: a pause costs nothing while there is time left, and after that
its task waits for a turn of its own. So a turn is as short with ten tasks at work as with one.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from contextvars import Context
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable

Item = TypeVar("Item")

#: Items between two pauses: a millisecond for the most expensive ones.
ITEMS: Final = 50
#: The time that long work may take of a turn, seconds; a turn costs some 20 microseconds by itself.
_TURN_S: Final = 0.005
#: How long work that nothing waits for rests, in times of what it has taken.
_RESTS: Final = 3
_LONGEST_REST_S: Final = 0.15


class _Turns:
    """The turns of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._turn_s: float = getattr(loop, "turn_s", _TURN_S)
        #: When the time of this turn is used up; None if no work has paused in it.
        self._until_s: float | None = None
        self._waiting: deque[asyncio.Future[None]] = deque()
        # Turns belong to no task: in the context of the one that happens to pause first, they would end with it.
        self._context = Context()

    async def pause(self) -> None:
        """Waits for a turn if the time of this one is used up."""
        now_s = self.loop.time()
        if self._until_s is None:
            self._until_s = self._begin(now_s)
        if now_s >= self._until_s:
            turn = self.loop.create_future()
            self._waiting.append(turn)
            await turn

    def _begin(self, now_s: float) -> float:
        """Begins to count the time of a turn, until the next one. Returns when it is used up."""
        self.loop.call_soon(self._next, context=self._context)
        return now_s + self._turn_s

    def _next(self) -> None:
        """Runs at the beginning of a turn, and wakes one of those who wait, the first."""
        self._until_s = None
        while self._waiting and self._until_s is None:
            turn = self._waiting.popleft()
            if not turn.done():
                # In this order: if its task pauses at once, that is before the next turn begins.
                turn.set_result(None)
                self._until_s = self._begin(self.loop.time())


class _Here(threading.local):
    """The turns of the loop that runs in this thread."""

    turns: _Turns | None = None


_here = _Here()


async def pause() -> None:
    """Lets others run if long work has used up its time of this turn; on a loop with a `turn_s` of 0, it always does."""
    loop = asyncio.get_running_loop()
    turns = _here.turns
    if turns is None or turns.loop is not loop:
        turns = _here.turns = _Turns(loop)
    await turns.pause()


async def paced(items: Iterable[Item]) -> AsyncIterator[Item]:
    """The items, with a pause after every `ITEMS` of them."""
    for number, item in enumerate(items, 1):
        yield item
        if number % ITEMS == 0:
            await pause()


async def in_turns(
    pieces: Generator[Callable[[], None] | None, None, Item], between: Callable[[], Awaitable[None]] = pause
) -> Item:
    """The result of long work, with a pause, or something else, at every yield.

    If a function is yielded, another thread calls it while the work goes on until its next one.
    """
    beside: asyncio.Future[None] | None = None
    while True:
        try:
            piece = next(pieces)
        except StopIteration as end:
            if beside is not None:
                await beside
            made: Item = end.value
            return made
        if piece is not None:
            if beside is not None:
                await beside
            beside = asyncio.get_running_loop().run_in_executor(None, piece)
            beside.add_done_callback(_hear)
        await between()


def _hear(done: asyncio.Future[None]) -> None:
    """Takes the error of what nobody may wait for any longer."""
    if not done.cancelled():
        done.exception()


class Rests:
    """Pauses of long work that nothing waits for: it takes a quarter of the time at most, until it is hurried.

    Args:
        cpu_s: Seconds of work, since some moment.
    """

    def __init__(self, cpu_s: Callable[[], float]) -> None:
        self._cpu_s = cpu_s
        self._since_s = cpu_s()
        self._hurried = asyncio.Event()

    def hurry(self) -> None:
        """Something waits for the work now: its pauses are those of any other."""
        self._hurried.set()

    async def pause(self) -> None:
        """Rests once the work has taken a turn, for three times as long, and longer if others have taken the time as well."""
        took_s = self._cpu_s() - self._since_s
        if took_s >= _TURN_S and not self._hurried.is_set():
            # What came before the work, such as reading, is no reason to rest.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(_RESTS * took_s, _LONGEST_REST_S)):
                    await self._hurried.wait()
            self._since_s = self._cpu_s()
        await pause()
