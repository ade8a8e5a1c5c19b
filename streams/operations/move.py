"""Continues from a state mirrored from another cluster, although the source topics have other offsets here.

Each source partition is read from its beginning here. The ledger knows its events by (order, source, id), so what was applied
before is a duplicate and counts once, and events older than the mirror need not be here. Published milestones are on the
mirrored topic, so none is repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas.changelog import STATE_KEY, decode_entries, is_chunk
from schemas.codec import encode_marker
from schemas.counts import encode_marker_key
from schemas.memory import SIDE, WAITING, name_of
from schemas.outputs import Books, Marker, source_name, source_of
from streams.domain.orders.packing import heads
from streams.errors import ExpectedError, GapError
from streams.kafka.log import Partition, require_topics
from streams.kafka.outbox import Outgoing
from streams.kafka.records import record_key
from streams.kafka.transactions import FencedError, InDoubtError
from streams.ledger.replica import check_settings
from streams.ledger.sources import Source, bounds, check, check_ids, is_another_cluster
from streams.operations.record_status import last_marker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.context import Context
    from streams.kafka.log import Bounds, LogReader

_EMPTY = Books(0, 0, 0, 0, 0)


@dataclass(frozen=True)
class Moved:
    """A source partition that is read again from its beginning here.

    Attributes:
        source: The partition.
        before: Offset up to which it was applied on the other cluster.
        first: Its first offset here.
        end: Its end offset here.
    """

    source: Partition
    before: int
    first: int
    end: int


async def move(context: Context) -> list[Moved]:
    """Makes every ledger partition continue here; does nothing if the state already fits the sources.

    Raises:
        ExpectedError: A state is missing, incomplete or from other settings; topics hold offsets of the other cluster; or someone
            else has taken over a ledger partition meanwhile.
    """
    async with context.log.reader() as reader:
        require_topics(await reader.partition_counts([topic.name for topic in context.catalogue.all()]))
        markers = {number: await _marker(context, number, reader) for number in range(context.settings.partitions)}
        cluster = await reader.cluster_id()
        ids = await reader.topic_ids(context.source_topics.published)
        found = {number: await bounds(reader, context.source_topics, number, len(markers)) for number in markers}
        if all([await _fits(markers[number], number, cluster, found[number], ids, reader) for number in markers]):
            return []
        await _check_empty(context, reader)
        on_their_way = sum(sum(marker.forwarded.values()) - sum(marker.arrived.values()) for marker in markers.values())
        told = [marker.told for marker in markers.values() if marker.told is not None]
        untold = sum(sum(state.written.values()) - state.read for state in told)
        for on_the_way, what in ((on_their_way, "forwarded records"), (untold, "words about deliveries")):
            if on_the_way:
                raise ExpectedError(
                    f"{on_the_way} {what} had not arrived when the state was mirrored: let the workers of the other "
                    "cluster catch up, stop them, and mirror it again"
                )
        sides = {part: await _side_keys(part, reader) for part in context.catalogue.totals.whole}
        events = {number: await _events(context, number, reader) for number in markers}
    moved = []
    for number, marker in markers.items():
        begins = {source_name(*tp, number): span.first for tp, span in found[number].items()}
        await _commit(
            context,
            f"ledger-{number}",
            _records(context, number, _here(context, marker, events[number], cluster, begins, ids)),
        )
        for tp, span in found[number].items():
            before = marker.positions.get(source_name(*tp, number), (0, ""))[0]
            moved.append(Moved(tp, before, span.first, span.end))
    for part, keys in sides.items():
        await _commit(context, context.totals_role(part[1]), [Outgoing(*part, key, None) for key in keys])
    return moved


async def _check_empty(context: Context, reader: LogReader) -> None:
    """Checks that no topic here holds offsets of the other cluster."""
    catalogue = context.catalogue
    told = (catalogue.told,) if catalogue.judges_production else ()
    topics = (catalogue.rerouted, *told, catalogue.dead_letters, catalogue.quarantine, catalogue.replayed)
    spans = await reader.bounds([(topic.name, number) for topic in topics for number in range(topic.partitions)])
    for (name, _), (first, end) in spans.items():
        if first < end:
            raise ExpectedError(
                f"{name} holds places of the other cluster: delete it, run milestones topics apply, and leave it out of the mirror",
                exit_code=3,
            )


async def _marker(context: Context, number: int, reader: LogReader) -> Marker:
    marker = await last_marker(context, number, reader)
    if marker is None:
        raise ExpectedError(
            f"{context.catalogue.ledger.name}-{number} holds no state: mirror it, or just start the workers, which then count all "
            "that is here"
        )
    check_settings(marker, number, context)
    if marker.rebuilding:
        raise ExpectedError(
            f"ledger {number} was being rebuilt when it was mirrored: let it finish, and mirror it again"
        )
    return marker


async def _fits(  # noqa: PLR0913, PLR0917 - what is here, by name
    marker: Marker,
    number: int,
    cluster: str,
    found: Mapping[Partition, Bounds],
    ids: Mapping[str, str],
    reader: LogReader,
) -> bool:
    """Whether the workers would continue from the state as it is."""
    sources = {}
    for name, (offset, digest) in marker.positions.items():
        sources[Partition(*source_of(name, number))] = Source(next=offset, digest=digest)
    is_elsewhere = is_another_cluster(marker.cluster, cluster)
    try:
        await check(sources, found, {}, reader, is_elsewhere=is_elsewhere)
        if not is_elsewhere:
            check_ids(marker.topic_ids, ids)
    except GapError:
        if not is_elsewhere:
            raise
        return False
    except ExpectedError:
        return False
    return True


async def _events(context: Context, number: int, reader: LogReader) -> int:
    """The number of events that a ledger partition has applied."""
    orders: dict[str, bytes] = {}
    async for records in reader.read([(context.catalogue.ledger.name, number)]):
        for record in records:
            if record.value is not None and is_chunk(record_key(record)):
                orders.update(decode_entries(record.value))
    return sum(len(heads(blob)) for blob in orders.values())


def _here(  # noqa: PLR0913, PLR0917 - what is here, by name
    context: Context,
    marker: Marker,
    events: int,
    cluster: str,
    found: Mapping[str, int],
    ids: Mapping[str, str],
) -> Marker:
    """The marker of the same state as if nothing here had been read yet; `found` is where the sources begin."""
    return Marker(
        positions={name: (first, "") for name, first in found.items()},
        books=dict.fromkeys(found, _EMPTY),
        fingerprint=marker.fingerprint,
        rebuilding=False,
        caught_up=False,
        caught_up_us=marker.caught_up_us,
        clock_us=marker.clock_us,
        sources=marker.sources,
        backfilled=marker.backfilled,
        partitions=marker.partitions,
        topics=context.source_topics.numbers,
        cluster=cluster,
        aliases=marker.aliases,
        moved=events,
        topic_ids=dict(ids),
        # The state has the vehicles that it was told of; the topic starts from scratch.
        told=None if marker.told is None else marker.told.elsewhere(),
    )


def _records(context: Context, number: int, marker: Marker) -> list[Outgoing]:
    body = encode_marker(marker)
    catalogue = context.catalogue
    return [
        Outgoing(catalogue.ledger.name, number, STATE_KEY, body),
        *(Outgoing(*part, encode_marker_key(number), body) for part in catalogue.counts.whole),
    ]


async def _side_keys(part: tuple[str, int], reader: LogReader) -> list[bytes]:
    """Keys of what a totals partition remembers of the topics that it reads in full: their events are judged again."""
    latest: dict[bytes, bytes | None] = {}
    async for records in reader.read([part]):
        latest |= {record.key or b"": record.value for record in records}
    sides = [key for key, value in latest.items() if value is not None and name_of(key)[0] == SIDE]
    return [key for key in sides if not name_of(key)[1].startswith(WAITING)]  # these are decided, and published nowhere


async def _commit(context: Context, role: str, records: list[Outgoing]) -> None:
    if not records:
        return
    writer = context.log.writer(context.transactional_id(role))
    try:
        await writer.start()
        await writer.commit(records)
    except (FencedError, InDoubtError) as error:
        raise ExpectedError(
            f"whether {role} was moved is not known ({error}): stop the workers, then run the command again",
            exit_code=3,
        ) from error
    finally:
        await writer.stop()
