"""Runs a command's work on a cluster; failures become one line."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from aiokafka.errors import KafkaError

from streams.kafka.client_options import client_options
from streams.kafka.clients import quiet_clients
from streams.kafka.permissions import denial
from streams.kafka.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from streams.settings import Settings

T = TypeVar("T")

#: Time to close what is left after a failure: clients waiting for unresponsive brokers.
_CLOSING_S = 1.0


def run(settings: Settings, work: Coroutine[Any, Any, T]) -> T:
    """Runs work on a cluster.

    Raises:
        ExpectedError: The cluster refused something or did not answer; exit code 3.
    """
    runner = asyncio.Runner()
    try:
        # The client's retries are of no interest, and our own line says what it gave up on.
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
    """Cancels remaining tasks without waiting for them: the process is about to end."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=_CLOSING_S))
