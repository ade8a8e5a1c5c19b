"""Long work of several tasks shares the turns of an event loop."""

from __future__ import annotations

import asyncio
import random
import selectors
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from streams.kafka.pacing import ITEMS, Rests, in_turns, paced, pause
from tests.simulation.loop import Process, SimulatedLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

_PIECE_S = 0.001


class _Turns(selectors.DefaultSelector):
    """Asked by the loop between two turns: keeps the longest turn, seconds of CPU, and the number of turns."""

    def __init__(self) -> None:
        super().__init__()
        self.began_s = time.thread_time()
        self.longest_s = 0.0
        self.number = 0

    def select(self, timeout: float | None = None) -> Any:
        """As the loop asks for it."""
        self.longest_s = max(self.longest_s, time.thread_time() - self.began_s)
        found = super().select(timeout)
        self.began_s = time.thread_time()
        self.number += 1
        return found


def _run(main: Callable[[_Turns], Coroutine[Any, Any, None]], turn_s: float | None = None) -> _Turns:
    turns = _Turns()
    loop = asyncio.SelectorEventLoop(turns)
    if turn_s is not None:
        loop.turn_s = turn_s  # type: ignore[attr-defined] # as the simulated loop does
    try:
        loop.run_until_complete(main(turns))
    finally:
        loop.close()
    return turns


def _work() -> None:
    until_s = time.thread_time() + _PIECE_S
    while time.thread_time() < until_s:
        pass


async def test_a_pause_costs_no_turn_while_there_is_time_left() -> None:
    seen: list[str] = []
    asyncio.get_running_loop().call_soon(seen.append, "turn")
    for _ in range(10):
        await pause()
    assert seen == []


def test_ten_tasks_take_no_longer_turns_than_one_and_none_has_to_wait_for_another_to_end() -> None:
    done: list[int] = []

    async def task(number: int) -> None:
        for _ in range(20):
            _work()
            await pause()
            done.append(number)

    async def all_of_them(turns: _Turns) -> None:
        del turns
        await asyncio.gather(*(task(number) for number in range(10)))

    turns = _run(all_of_them)
    # The first turn has a piece of each; all 200 of a millisecond are at least 20 turns.
    assert turns.longest_s < 30 * _PIECE_S
    assert turns.number >= 20
    firsts = [done.index(number) for number in range(10)]
    lasts = [len(done) - 1 - done[::-1].index(number) for number in range(10)]
    assert max(firsts) < min(lasts)


def test_on_a_loop_whose_turns_have_no_time_every_pause_lets_others_run() -> None:
    done: list[str] = []

    async def task(name: str) -> None:
        for _ in range(3):
            done.append(name)
            await pause()

    async def both(turns: _Turns) -> None:
        del turns
        await asyncio.gather(task("a"), task("b"))

    _run(both, turn_s=0.0)
    assert done == ["a", "b"] * 3


def test_one_who_gives_up_waiting_leaves_the_turn_to_the_next() -> None:
    async def main(turns: _Turns) -> None:
        del turns

        async def wait() -> None:
            await pause()

        first, second = asyncio.ensure_future(wait()), asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait_for(second, 5.0)
        assert first.cancelled()

    _run(main, turn_s=0.0)


def test_a_turn_belongs_to_no_task() -> None:
    """Whoever pauses first may be in a process that is stopped before the others go on."""
    loop = SimulatedLoop(random.Random(1))
    first, second = Process("first", loop), Process("second", loop)

    async def wait() -> str:
        await pause()
        return "went on"

    async def main() -> str:
        waiting = first.spawn(wait())
        going_on = second.spawn(wait())
        await asyncio.sleep(0)
        first.kill()
        found: str = await asyncio.wait_for(going_on, 5.0)
        assert not waiting.done()
        return found

    try:
        assert loop.run_until_complete(main()) == "went on"
    finally:
        loop.close()


def test_items_and_results_come_unchanged() -> None:
    found: list[int] = []

    def pieces() -> Any:
        yield
        yield
        return "made"

    async def main(turns: _Turns) -> None:
        del turns
        found.extend([item async for item in paced(range(3 * ITEMS))])
        assert await in_turns(pieces()) == "made"

    _run(main, turn_s=0.0)
    assert found == [*range(3 * ITEMS)]


async def test_a_function_runs_in_another_thread_while_work_goes_on_until_its_next_one() -> None:
    seen: list[str] = []
    may_end = threading.Event()

    def first() -> None:
        assert may_end.wait(60)
        seen.append("first")

    def work() -> Generator[Callable[[], None] | None, None, int]:
        yield first
        seen.append("meanwhile")
        yield None
        may_end.set()
        yield lambda: seen.append("second")
        return 7

    assert await in_turns(work()) == 7
    assert seen == ["meanwhile", "first", "second"]


@pytest.mark.parametrize("is_last", [True, False])
async def test_the_error_of_a_function_is_that_of_the_work(is_last: bool) -> None:
    def fails() -> None:
        raise ValueError("damaged")

    def work() -> Generator[Callable[[], None] | None]:
        yield fails
        if not is_last:
            yield lambda: None
            raise AssertionError("it went on")

    with pytest.raises(ValueError, match="damaged"):
        await in_turns(work())


async def test_work_can_be_given_up_while_a_function_runs() -> None:
    may_end, ended = threading.Event(), threading.Event()

    def waits() -> None:
        may_end.wait(60)
        ended.set()
        raise ValueError("nobody hears of it")

    def work() -> Generator[Callable[[], None] | None]:
        yield waits
        yield lambda: None

    heard: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
    task = asyncio.create_task(in_turns(work()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    may_end.set()
    await asyncio.to_thread(ended.wait, 60)
    await asyncio.sleep(0.01)
    assert heard == []


async def test_work_that_nothing_waits_for_rests_longer_than_it_works_until_it_is_hurried() -> None:
    loop, worked_s = asyncio.get_running_loop(), [0.0]
    rests = Rests(lambda: worked_s[0])
    began_s = loop.time()
    await rests.pause()
    for _ in range(3):
        worked_s[0] += 0.01
        await rests.pause()
    assert loop.time() - began_s >= 3 * 0.03
    worked_s[0] += 1000.0
    resting = asyncio.create_task(rests.pause())
    await asyncio.sleep(0)
    assert not resting.done()
    rests.hurry()
    began_s = loop.time()
    await resting
    for _ in range(100):
        worked_s[0] += 1.0
        await rests.pause()
    assert loop.time() - began_s < 1.0
