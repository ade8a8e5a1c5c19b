"""Runs what a command asks of a cluster, to its end or to one line."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from aiokafka.errors import KafkaError

from streams.kafka.clients import client_options, quiet_clients
from streams.kafka.permissions import denial
from streams.kafka.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from streams.settings import Settings

T = TypeVar("T")

#: For what is left when a command has failed: clients that wait for brokers that do not answer.
_CLOSING_S = 1.0


def run(settings: Settings, work: Coroutine[Any, Any, T]) -> T:
    """Runs it; whatever the cluster refuses or does not answer meanwhile ends in one line.

    Raises:
        ExpectedError: With exit code 3.
    """
    runner = asyncio.Runner()
    try:
        # What the client tries again is no news, and what it gives up on is told in our line.
        with quiet_clients():
            result = runner.run(work)
    except KafkaError as error:
        refused = denial(error) or runner.run(refusal(settings, client_options(settings), error))
        _abandon(runner.get_loop())
        raise refused from error
    except BaseException:
        _abandon(runner.get_loop())
        raise
    runner.close()
    return result


def _abandon(loop: asyncio.AbstractEventLoop) -> None:
    """Cancels what is left, without waiting for what does not end: the process is about to."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=_CLOSING_S))
