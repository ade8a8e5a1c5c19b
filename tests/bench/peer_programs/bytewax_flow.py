"""Bytewax, one worker, recovery every 10 s: counts by type and day in its state. It drops no duplicates: a state for each order costs more.

python -m tests.bench.peer_programs.bytewax_flow BOOTSTRAP COUNT NAME FOLDER TOPIC...
"""

from __future__ import annotations

import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import orjson
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import cluster_main

from tests.bench.peer_programs.protocol import begin, end

_done = 0
_counts: dict[str, int] = {}


class _Sum(StatefulBatchLogic):
    """The sum of one cell."""

    def __init__(self, state: int | None) -> None:
        self._sum = state or 0

    def on_batch(self, values: list[int]) -> tuple[list[int], bool]:
        """Adds, and gives the new sum."""
        self._sum += sum(values)
        return [self._sum], False

    def snapshot(self) -> int:
        """What recovery keeps."""
        return self._sum


class _Latest(StatelessSinkPartition):
    def __init__(self, count: int) -> None:
        self._count = count

    def write_batch(self, items: list[tuple[str, int]]) -> None:
        """Takes the latest sums."""
        _counts.update(items)
        # Sums of a batch come one after the other; the last one makes it whole.
        if _done >= self._count and sum(_counts.values()) >= self._count:
            end(_counts)


class _Results(DynamicSink):
    def __init__(self, count: int) -> None:
        self._count = count

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Latest:  # noqa: ARG002 - Bytewax's signature
        """The part of this worker."""
        return _Latest(self._count)


def _cells(batch: list[Any]) -> list[tuple[str, int]]:
    """What a batch counts, by type and day."""
    global _done  # noqa: PLW0603 - one dataflow in this process
    if not _done:
        begin()
    found: Counter[str] = Counter()
    for message in batch:
        event = orjson.loads(message.value)
        found[f"{event['type']}|{event['time'][:10]}"] += 1
    _done += len(batch)
    return list(found.items())


def main(bootstrap: str, count: int, folder: str, topics: list[str]) -> None:
    """Reads and counts."""
    flow = Dataflow("counting")
    source = KafkaSource(
        [bootstrap],
        topics,
        tail=True,
        batch_size=6000,
        add_config={"max.partition.fetch.bytes": str(4 << 20), "fetch.queue.backoff.ms": "10"},
    )
    events = op.input("events", flow, source)
    cells = op.flat_map_batch("cells", events, _cells)
    op.output("latest", op.stateful_batch("sums", cells, _Sum), _Results(count))
    place = Path(folder)
    init_db_dir(place, 1)
    cluster_main(flow, [], 0, epoch_interval=timedelta(seconds=10), recovery_config=RecoveryConfig(place))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[4], sys.argv[5:])
