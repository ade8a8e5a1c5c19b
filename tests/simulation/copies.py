"""Standby copies in the simulation: each one that is used is compared with everything that is in the changelog."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams.ledger.partition import LedgerPartition
from streams.ledger.replica import Replica
from streams.worker.standbys import Standbys
from tests.simulation.loop import current_process
from tests.support.replicas import differences

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from streams.context import Context
    from streams.kafka.log import Partition
    from tests.simulation.cluster import Cluster, Entry


class ShortlyRead(Standbys):
    """The real copies, read more often: schedules are short."""

    every_s = 0.3
    after_an_error_s = after_a_doubt_s = 0.5


class WatchedLedger(LedgerPartition):
    """The real ledger partition, which reports a standby copy that it was opened from."""

    async def restore(self) -> Mapping[Partition, int]:
        read_before = self._replica.next
        positions = await super().restore()
        copy_used = current_process().copy_used
        if read_before is not None and copy_used is not None:
            await copy_used(self._replica)
        return positions


class _Log:
    """Reads at once what a changelog had at some moment."""

    def __init__(self, entries: list[Entry], end: int) -> None:
        self._entries, self._end = [entry for entry in entries if entry.offset < end and entry.is_visible], end

    async def read(self, _partitions: Iterable[Any], **_since: Any) -> AsyncIterator[Sequence[Any]]:
        yield self._entries

    async def position(self, _partition: Any) -> int:
        return self._end


async def difference(copy: Replica, context: Context, cluster: Cluster) -> str:
    """What a copy that was just read on has otherwise than one that has read everything; empty if there is nothing."""
    fresh = Replica(context, copy.memory.number)
    log: Any = _Log(cluster.entries(copy.at), copy.next or 0)
    await fresh.read(log)
    return ", ".join(differences(copy, fresh))
