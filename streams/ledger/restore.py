"""Continues from what a ledger partition has committed, after checking that its sources still belong to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.kafka.pacing import in_turns
from streams.ledger.quarantine import SkippedRecords, read_decisions
from streams.ledger.recovery import prepare, published_violations
from streams.ledger.sources import Source, bounds, check, check_ids, is_another_cluster

if TYPE_CHECKING:
    from schemas.outputs import Marker
    from streams.context import Context
    from streams.kafka.log import LogReader
    from streams.ledger.recovery import Recovery
    from streams.ledger.replica import Replica


async def restore(replica: Replica, context: Context, reader: LogReader) -> SkippedRecords:
    """Brings a memory up to the last commit, and continues from there; without a committed state, prepares a silent rebuild.

    Returns:
        The records to skip.

    Raises:
        ExpectedError: The settings or the sources are not those of the state.
        DoubtfulReplicaError: The replica was read before, and cannot be read on; nothing else of it may be used.
    """
    memory = replica.memory
    decisions = await read_decisions(context, reader)
    orders = SkippedRecords({place: order.line for place, order in decisions.orders.items()})
    await replica.read(reader)
    marker = replica.marker
    found = await bounds(reader, context.source_topics, memory.number, context.settings.partitions)
    if marker is not None:
        memory.adopt(marker)
    for tp, (_, end) in found.items():
        # Partitions that are not in the marker have been added since.
        memory.sources.setdefault(tp, Source()).end = end
    memory.cluster = await reader.cluster_id()
    is_elsewhere = marker is not None and is_another_cluster(marker.cluster, memory.cluster)
    applied = memory.positions()
    await check(memory.sources, found, decisions.gaps, reader, is_elsewhere=is_elsewhere)
    memory.topic_ids = await reader.topic_ids(context.source_topics.published)
    if marker is not None and not is_elsewhere:
        check_ids(marker.topic_ids, memory.topic_ids)
    # If aliases have changed, so have the counts of known orders: all are published again, at once. If campaigns have changed,
    # only the counts of campaigns are.
    is_recounted = marker is None or marker.rebuilding or marker.aliases != context.scopes.aliases.text
    ends = {tp: end for tp, (_, end) in found.items()}
    if memory.vehicles is not None:
        told = marker.told if marker is not None else None
        await memory.vehicles.open(told, ends, reader, is_recounted=is_recounted)
    if is_recounted or (marker is not None and marker.campaigns != memory.campaigns.text):
        memory.recovery = await prepare(context, memory.number, ends, reader)
        memory.recovery.is_repetition = await _is_repetition(memory.recovery, marker, context, reader)
        for tp, first in applied.items():
            # Forwarded records that have been removed since cannot be read again here, but still arrive at their homes.
            between = memory.recovery.forwarded_between(tp, first, memory.sources[tp].next)
            memory.forwarded += await in_turns(between)
        counts = await in_turns(memory.ledger.counting())
        await in_turns(memory.recovery.counts.adding(counts.items()))
        if not is_recounted:
            await in_turns(memory.recovery.keeping_campaigns())
        elif memory.vehicles is None:
            # Violations not found again are withdrawn; where vehicles are judged, only once all deliveries have been told too.
            published = await published_violations(context, memory.number, reader)
            await in_turns(memory.recovery.violations.adding((each, None) for each in published))
            await in_turns(memory.recovery.violations.adding(memory.ledger.violations().items()))
        orders.add(memory.recovery.quarantined)
    return orders


async def _is_repetition(recovery: Recovery, marker: Marker | None, context: Context, reader: LogReader) -> bool:
    """Whether there was an earlier state that has published anything, itself or through the totals."""
    if marker is not None:
        return marker.repeating
    windows = context.catalogue.windows
    spans = await reader.bounds([(windows.name, number) for number in range(windows.partitions)])
    return bool(recovery.counts) or any(span.end for span in spans.values())
