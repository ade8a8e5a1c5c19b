"""Bounded waits for clients that swallow cancellations, or cancel what others wait for."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from streams.web.bounded_waits import ended, within


async def stubborn(seconds: float) -> None:
    """Swallows every cancellation until its time is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(deadline - time.monotonic())


async def test_what_swallows_its_cancellation_is_not_waited_for() -> None:
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        await within(0.05, stubborn(3))
    task = asyncio.create_task(stubborn(0.3))
    await asyncio.sleep(0)
    assert time.monotonic() - started < 2
    await ended([task])
    assert task.done()


async def test_a_client_that_cancels_its_own_tasks_does_not_cancel_who_waits_for_them() -> None:
    """Otherwise the follower ends silently when the brokers go away."""

    async def cancelled_from_within() -> None:
        raise asyncio.CancelledError

    with pytest.raises(ConnectionError):
        await within(1, asyncio.gather(cancelled_from_within(), asyncio.sleep(0)))
    with pytest.raises(ConnectionError):
        await within(1, cancelled_from_within())


async def test_who_waits_can_be_cancelled() -> None:
    task = asyncio.create_task(within(10, asyncio.sleep(10)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
