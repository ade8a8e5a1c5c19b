"""Restores what a ledger partition has committed, and checks that its sources still belong to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.codec import decode_marker
from schemas.facts import DELIVERIES, ORDERS
from schemas.outputs import source_of
from streams.domain.announcements import Announcement
from streams.errors import ExpectedError
from streams.kafka.pacing import in_turns, pause
from streams.kafka.records import record_key, record_value
from streams.ledger.changelog import STATE_KEY
from streams.ledger.quarantine import SkippedRecords, read_decisions
from streams.ledger.recovery import prepare, published_violations
from streams.ledger.sources import Source, bounds, check, check_ids, is_another_cluster
from streams.ledger.vocabulary import is_vocabulary, vocabulary_of

if TYPE_CHECKING:
    from schemas.outputs import Marker
    from streams.context import Context, SourceTopics
    from streams.kafka.log import LogReader
    from streams.kafka.records import LogRecord
    from streams.ledger.memory import Memory
    from streams.ledger.recovery import Recovery


async def restore(memory: Memory, context: Context) -> SkippedRecords:
    """Fills an empty memory; without a committed state, prepares a silent rebuild.

    Returns:
        The records to skip.

    Raises:
        ExpectedError: The settings or the sources are not those of the state.
    """
    async with context.log.reader() as reader:
        decisions = await read_decisions(context, reader)
        orders = SkippedRecords({place: order.line for place, order in decisions.orders.items()})
        marker = await _read_changelog(memory, context, reader)
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


def check_settings(marker: Marker, number: int, context: Context) -> None:
    """Checks that a state belongs to the settings.

    Raises:
        ExpectedError: A setting that affects counts has changed, or a topic that was counted has a different number.
    """
    if marker.fingerprint != context.fingerprint:
        raise ExpectedError(
            f"ledger {number} was built with {marker.fingerprint}, the settings say {context.fingerprint}: "
            "restore the settings, or count everything again under another output_prefix"
        )
    context.source_topics.check_same(_topics_of(marker, number, context.source_topics))


def _topics_of(marker: Marker, number: int, topics: SourceTopics) -> dict[str, int]:
    """Source topic → its number; derived for old markers, written when each family had one topic, which lack it."""
    if marker.topics:
        return marker.topics
    first = {name: family for family, name in topics.names.items() if family in (ORDERS, DELIVERIES)}
    names = {source_of(name, number)[0] for name in marker.positions} - {topics.rerouted}
    return {name: first.get(name, ORDERS) for name in names}


async def _read_changelog(memory: Memory, context: Context, reader: LogReader) -> Marker | None:
    marker: Marker | None = None
    vocabulary: list[LogRecord] = []
    of_vehicles = memory.vehicles.changelog if memory.vehicles is not None else None
    async for records in reader.read([(context.catalogue.ledger.name, memory.number)]):
        for record in records:
            await pause()  # one may be a chunk of thousands of orders
            key = record_key(record)
            if key == STATE_KEY:
                marker = decode_marker(record_value(record))
            elif is_vocabulary(key):
                vocabulary.append(record)
            elif memory.changelog.is_chunk(key):
                memory.changelog.read(key, record.value)
            elif of_vehicles is not None and of_vehicles.is_chunk(key):
                of_vehicles.read(key, record.value)
    if marker is not None:
        check_settings(marker, memory.number, context)
        memory.announce(Announcement.parse(marker.announced))
    words = vocabulary_of(vocabulary)
    await in_turns(memory.ledger.restoring(words, memory.changelog.chunks(latest_first=True)))
    if of_vehicles is not None:
        await in_turns(memory.ledger.restoring_vehicles(of_vehicles.chunks()))
    return marker
