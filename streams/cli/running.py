"""Runs what a command asks of a cluster; failures become one line."""

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

#: For what is left after a failure: clients waiting for unresponsive brokers.
_CLOSING_S = 1.0


def run(settings: Settings, work: Coroutine[Any, Any, T]) -> T:
    """Runs it; whatever the cluster refuses or does not answer meanwhile ends in one line.

    Raises:
        ExpectedError: With exit code 3.
    """
    runner = asyncio.Runner()
    try:
        # Retries of the client are not news, and what it gives up on is in our own line.
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
    """Cancels what is left without waiting for it: the process is about to end."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=_CLOSING_S))
