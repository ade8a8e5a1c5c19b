"""Bounded waits for Kafka clients, which sometimes swallow cancellations."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

T = TypeVar("T")

_TRIES: Final = 10
_PAUSE_S: Final = 0.2


async def within(seconds: float, work: Awaitable[T]) -> T:
    """The result of `work`; if that takes too long, it is cancelled and abandoned.

    Raises:
        TimeoutError: It took too long.
        ConnectionError: It was cancelled from within: a client that loses its connection cancels its own tasks, which must not look
            like a cancellation of the caller.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise TimeoutError("the brokers do not answer")
        try:
            return task.result()
        except asyncio.CancelledError:
            raise ConnectionError("the connection to the brokers was lost") from None
    finally:
        if not task.done():
            task.add_done_callback(_heard)
            task.cancel()


async def ended(tasks: Sequence[asyncio.Task[object]]) -> None:
    """Cancels tasks, repeatedly; one that does not end within two seconds is abandoned."""
    for _ in range(_TRIES):
        pending = [task for task in tasks if not task.done()]
        if not pending:
            break
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=_PAUSE_S)
    for task in tasks:
        task.add_done_callback(_heard)


def _heard(task: asyncio.Future[Any]) -> None:
    """Retrieves the error of a task that is no longer awaited, so that asyncio does not report it."""
    if not task.cancelled():
        task.exception()
