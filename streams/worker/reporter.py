"""`worker/NAME` on `vehicle.status.v1`: what a worker reports about itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Protocol

from aiokafka.errors import KafkaError

from schemas.codec import encode_status
from schemas.instants import utc_text
from schemas.outputs import Health, StandbyStatus, WorkerStatus
from streams.domain.hotpath import HOT_PATH, WHY_PYTHON
from streams.kafka.connection import throttling
from streams.kafka.outbox import Outgoing
from streams.kafka.plain_writer import PlainWriter
from streams.worker.quotas import QuotaNotice

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from streams.context import Context

logger = logging.getLogger(__name__)


#: Often enough for others to notice within five seconds that a worker is gone.
_INTERVAL_S = 1.5
_RETRY_S = 5.0
_START_TIMEOUT_S = 30.0


class _Keeps(Protocol):
    @property
    def partitions(self) -> list[int]: ...
    @property
    def standbys(self) -> list[StandbyStatus]: ...
    @property
    def ready(self) -> bool: ...
    @property
    def stopped(self) -> list[str]: ...


class WorkerReporter:
    """Reports every 1.5 seconds what the worker owns, and finally that it has stopped."""

    def __init__(self, context: Context, instance: str, keeps: _Keeps, look: Callable[[], Awaitable[None]]) -> None:
        self._context = context
        self._instance = instance
        self._keeps = keeps
        self._look = look
        self._started_at = utc_text(context.now_us())
        self._quotas = QuotaNotice(throttling, time.monotonic)
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts reporting."""
        self._task = asyncio.create_task(self._run(), name="worker status")

    async def stop(self) -> None:
        """Reports that the worker has stopped, and ends within a bounded time."""
        self._stopping.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=2.0)
            self._task.cancel()

    async def _run(self) -> None:
        # Best effort: while the cluster is in trouble, the record's age shows it.
        while not self._stopping.is_set():
            writer = PlainWriter(self._context.settings)
            try:
                await asyncio.wait_for(writer.start(), _START_TIMEOUT_S)
                await self._report_until_stopped(writer)
            except (KafkaError, OSError, TimeoutError) as error:
                await self._look()
                logger.warning("worker status not written: %s", error)
                await self._sleep(_RETRY_S)
            finally:
                await writer.stop()

    async def _report_until_stopped(self, writer: PlainWriter) -> None:
        while not self._stopping.is_set():
            await writer.write(self._record(self._health))
            self._quotas.look()
            await self._sleep(_INTERVAL_S)
        await writer.write(self._record("stopped"))

    @property
    def _health(self) -> Health:
        if self._keeps.stopped:
            return "degraded"
        return "running" if self._keeps.ready or not self._keeps.partitions else "starting"

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def _record(self, health: Health) -> Outgoing:
        status = WorkerStatus(
            name=self._instance,
            health=health,
            partitions=self._keeps.partitions if health != "stopped" else [],
            started_at=self._started_at,
            updated_at=utc_text(self._context.now_us()),
            hot_path=HOT_PATH,
            hot_path_reason=WHY_PYTHON or None,
            standbys=self._keeps.standbys if health != "stopped" else [],
        )
        return Outgoing(
            self._context.catalogue.status.name, 0, f"worker/{self._instance}".encode(), encode_status(status)
        )
