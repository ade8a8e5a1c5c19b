"""Writes records one by one, without a transaction: for independent reports of which only the latest counts."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from streams.kafka.client_options import client_options

if TYPE_CHECKING:
    from streams.kafka.outbox import Outgoing
    from streams.settings import Settings

_STOP_TIMEOUT_S = 2.0


class PlainWriter:
    """Writes records at once; readers of committed records see them too."""

    def __init__(self, settings: Settings) -> None:
        self._timeout_s = settings.transaction_timeout_s
        self._producer = AIOKafkaProducer(
            **client_options(settings), acks="all", request_timeout_ms=int(settings.transaction_timeout_s * 1000)
        )

    async def start(self) -> None:
        """Connects.

        Raises:
            KafkaError: The brokers do not answer, or refuse.
        """
        await self._producer.start()

    async def write(self, record: Outgoing) -> None:
        """Writes one record and waits until all replicas have it.

        Raises:
            KafkaError: The brokers refuse it.
            TimeoutError: They do not answer in time; the record may or may not have been written.
        """
        async with asyncio.timeout(self._timeout_s):
            await self._producer.send_and_wait(
                record.topic, record.value, record.key, record.partition, headers=list(record.headers)
            )

    async def stop(self) -> None:
        """Closes the connections within a few seconds, whatever their state."""
        with contextlib.suppress(KafkaError, OSError, TimeoutError):
            await asyncio.wait_for(self._producer.stop(), _STOP_TIMEOUT_S)
