"""Runs what a command asks of a cluster, to its end or to one line."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from aiokafka.errors import KafkaError

from streams.kafka.clients import client_options
from streams.kafka.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from streams.settings import Settings

T = TypeVar("T")


def run(settings: Settings, work: Coroutine[Any, Any, T]) -> T:
    """Runs it; whatever the cluster refuses or does not answer meanwhile ends in one line.

    Raises:
        ExpectedError: With exit code 3.
    """
    try:
        return asyncio.run(work)
    except KafkaError as error:
        raise asyncio.run(refusal(settings, client_options(settings), error)) from error
