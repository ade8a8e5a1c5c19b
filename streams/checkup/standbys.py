"""Which ledger partitions have a standby copy, by what their keepers report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schemas.codec import decode_status
from schemas.instants import micros_of_text
from schemas.outputs import WorkerStatus
from streams.checkup import Finding, note, ok
from streams.kafka.clients import partition_counts, read_latest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiokafka import AIOKafkaConsumer

    from streams.settings import Settings

NAME: Final = "standbys"
#: Workers report every 1.5 s, by clocks that may differ somewhat from ours.
_SILENT_US: Final = 30_000_000


async def read_workers(settings: Settings, consumer: AIOKafkaConsumer) -> list[WorkerStatus]:
    """What all workers have reported last; nothing if there is no topic."""
    topic = settings.catalogue.status.name
    if not (await partition_counts(consumer, [topic]))[topic]:
        return []
    latest = await read_latest(settings, [(topic, 0)], consumer=consumer, wanted=lambda key: key.startswith(b"worker/"))
    found = (decode_status(key, value) for key, value in latest.items())
    return [status for status in found if isinstance(status, WorkerStatus)]


def standby_finding(settings: Settings, workers: Iterable[WorkerStatus], now_us: int) -> list[Finding]:
    """A finding where copies are kept by these settings.

    Args:
        settings: Of the installation.
        workers: What the workers have reported.
        now_us: Microseconds since 1970.
    """
    if not settings.standby_copies:
        return []
    running = [
        worker
        for worker in workers
        if worker.health != "stopped" and now_us - (micros_of_text(worker.updated_at) or 0) < _SILENT_US
    ]
    behind = {copy.partition: copy.behind for worker in running for copy in worker.standbys}
    missing = [number for number in range(settings.partitions) if behind.get(number) is None]
    if len(running) < 2:
        return [note(NAME, f"{len(running) or 'no'} worker runs, so no other can keep copies of its ledger partitions")]
    if missing:
        numbers = ", ".join(map(str, missing))
        return [note(NAME, f"there is no copy yet, or one that is being read, of ledger partitions {numbers}")]
    most = max(number or 0 for number in behind.values())
    return [ok(NAME, f"each of {settings.partitions} ledger partitions has a copy, at most {most:,} records behind")]
