"""`vehicle.status.v1`: what the service says of itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, Protocol

from aiokafka.errors import KafkaError

from schemas.codec import encode_status
from schemas.outputs import Marker, PartitionStatus, SourceStatus, WorkerStatus
from streams.kafka.transactions import InDoubtError, Outgoing, TransactionalWriter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streams.context import Context

logger = logging.getLogger(__name__)

Health = Literal["starting", "running", "degraded", "stopped"]

#: So often that whoever watches can tell within five seconds that a worker is gone.
_INTERVAL_S = 1.5
_RETRY_S = 5.0
_START_TIMEOUT_S = 30.0
_MAX_SOURCES = 256


def instant(time_us: int) -> str:
    """RFC 3339 in UTC with milliseconds."""
    moment = datetime.fromtimestamp(time_us // 1000 / 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_us // 1000 % 1000:03d}Z"


def partition_record(context: Context, number: int, marker: Marker, lag: Mapping[str, int], orders: int) -> Outgoing:
    """`partition/N`: applied offsets, lag and books of one ledger partition."""
    status = PartitionStatus(
        partition=number,
        applied={topic: offset for topic, (offset, _) in marker.positions.items()},
        lag=dict(lag),
        books=marker.books,
        orders=orders,
        rebuilding=marker.rebuilding,
        caught_up=marker.caught_up,
        updated_at=instant(context.now_us()),
    )
    return Outgoing(context.catalogue.status.name, 0, b"partition/%d" % number, encode_status(status))


class SourceTimes:
    """`source/NAME`: the last event time of each event source, over all partitions; says only what has changed."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._said: dict[str, int] = {}

    def records(self, markers: Iterable[Marker], now_us: int) -> list[Outgoing]:
        """The records of the sources that have moved on since they were last written."""
        latest: dict[str, int] = {}
        for marker in markers:
            for source, time_us in marker.sources.items():
                latest[source] = max(time_us, latest.get(source, time_us))
        # A publisher that makes up a source per event must not fill the topic.
        youngest = sorted(latest, key=latest.__getitem__, reverse=True)[:_MAX_SOURCES]
        changed = [source for source in youngest if self._said.get(source) != latest[source]]
        self._said.update((source, latest[source]) for source in changed)
        return [
            Outgoing(
                self._context.catalogue.status.name,
                0,
                f"source/{source}".encode(),
                encode_status(
                    SourceStatus(source=source, last_event_at=instant(latest[source]), updated_at=instant(now_us))
                ),
            )
            for source in changed
        ]


class _Keeps(Protocol):
    @property
    def partitions(self) -> list[int]: ...
    @property
    def ready(self) -> bool: ...


class WorkerReporter:
    """`worker/NAME`: says every one and a half seconds what the worker keeps, and at the end that it has stopped."""

    def __init__(self, context: Context, instance: str, keeps: _Keeps) -> None:
        self._context = context
        self._instance = instance
        self._keeps = keeps
        self._started_at = instant(context.now_us())
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to report."""
        self._task = asyncio.create_task(self._run(), name="worker status")

    async def stop(self) -> None:
        """Reports the stop and ends, within a bounded time."""
        self._stopping.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=2.0)
            self._task.cancel()

    async def _run(self) -> None:
        # The health of a worker is told best effort: a cluster in trouble shows by the age of the record.
        name = re.sub(r"[^A-Za-z0-9._-]", "-", self._instance)
        while not self._stopping.is_set():
            writer = TransactionalWriter(self._context.settings, self._context.transactional_id(f"worker-{name}"))
            try:
                await asyncio.wait_for(writer.start(), _START_TIMEOUT_S)
                await self._report_until_stopped(writer)
            except (InDoubtError, KafkaError, OSError, TimeoutError) as error:
                logger.warning("worker status not written: %s", error)
                await self._sleep(_RETRY_S)
            finally:
                await writer.stop()

    async def _report_until_stopped(self, writer: TransactionalWriter) -> None:
        while not self._stopping.is_set():
            await writer.commit(
                [self._record("running" if self._keeps.ready or not self._keeps.partitions else "starting")]
            )
            await self._sleep(_INTERVAL_S)
        await writer.commit([self._record("stopped")])

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def _record(self, health: Health) -> Outgoing:
        status = WorkerStatus(
            name=self._instance,
            health=health,
            partitions=self._keeps.partitions if health != "stopped" else [],
            started_at=self._started_at,
            updated_at=instant(self._context.now_us()),
        )
        return Outgoing(
            self._context.catalogue.status.name, 0, f"worker/{self._instance}".encode(), encode_status(status)
        )
