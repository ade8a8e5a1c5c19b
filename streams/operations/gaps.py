"""Gaps: source records that were removed (retention) before a ledger partition had read them.

The ledger partition stops until an operator accepts the loss. The acceptance notes the first remaining offset, so records
removed later have to be accepted separately; the partition's status says how much was lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas.codec import encode_note
from schemas.notes import Gap, gap_key
from schemas.outputs import source_name
from streams.errors import ExpectedError
from streams.kafka.log import Partition, require_topics
from streams.kafka.outbox import Outgoing
from streams.kafka.transactions import FencedError, InDoubtError
from streams.ledger.quarantine import read_decisions
from streams.operations.record_status import last_marker

if TYPE_CHECKING:
    from streams.context import Context
    from streams.kafka.log import LogReader


@dataclass(frozen=True)
class GapState:
    """What a source partition lacks.

    Attributes:
        source: The partition.
        read: Offset up to which it has been read.
        first: First remaining offset.
        lost: Number of offsets accepted as lost so far.
        accepted: The note written last, if any.
    """

    source: Partition
    read: int
    first: int
    lost: int
    accepted: Gap | None

    @property
    def state(self) -> str:
        """`open`: counting has stopped; `accepted`: it continues once its worker checks; `behind`: it has continued."""
        if self.read >= self.first:
            return "behind"
        return "accepted" if self.accepted is not None and self.accepted.until >= self.first else "open"


async def find_gaps(context: Context) -> list[GapState]:
    """Source partitions that lack records, or that have continued without them."""
    async with context.log.reader() as reader:
        return [gap for gap in await _states(context, reader) if gap.state != "behind" or gap.lost]


async def accept_gap(context: Context, source: Partition, *, reason: str, by: str, at: str) -> GapState:
    """Makes a ledger partition continue without what was removed.

    Args:
        context: The installation.
        source: The source partition.
        reason: Why, in one line.
        by: The operator.
        at: The time, RFC 3339.

    Raises:
        ExpectedError: Nothing is missing there, or the note could not be written.
    """
    async with context.log.reader() as reader:
        found = {gap.source: gap for gap in await _states(context, reader)}
    gap = found.get(source)
    if gap is None:
        raise ExpectedError(
            f"{source.topic}-{source.partition} is none of the source partitions: see milestones gaps list"
        )
    if gap.state == "behind":
        raise ExpectedError(
            f"{source.topic}-{source.partition} lacks nothing: it was read up to {gap.read} and begins at {gap.first}"
        )
    note = encode_note(Gap(until=gap.first, reason=reason, by=by, at=at))
    # Under the ledger partition's transactional id: a worker that has it open is fenced, and reopens it with the note.
    ledger = source.partition % context.settings.partitions
    writer = context.log.writer(context.transactional_id(f"ledger-{ledger}"))
    try:
        await writer.start()
        await writer.commit([Outgoing(context.catalogue.quarantine.name, 0, gap_key(*source), note)])
    except (FencedError, InDoubtError) as error:
        raise ExpectedError(
            f"whether the gap was accepted is not known ({error}): see milestones gaps list", exit_code=3
        ) from error
    finally:
        await writer.stop()
    return gap


async def _states(context: Context, reader: LogReader) -> list[GapState]:
    homes, topics = context.settings.partitions, context.source_topics
    names = [*topics, context.catalogue.quarantine.name, context.catalogue.ledger.name]
    counts = await reader.partition_counts(names)
    require_topics({name: counts[name] for name in names})
    decisions = await read_decisions(context, reader)
    sources = [Partition(topic, number) for topic in topics.published for number in range(counts[topic])]
    bounds = await reader.bounds(sources)
    markers = {ledger: await last_marker(context, ledger, reader) for ledger in range(homes)}
    states = []
    for source in sources:
        ledger = source.partition % homes
        marker, name = markers[ledger], source_name(*source, ledger)
        read = marker.positions.get(name, (0, ""))[0] if marker is not None else 0
        lost = marker.lost.get(name, 0) if marker is not None else 0
        states.append(GapState(source, read, bounds[source].first, lost, decisions.gaps.get(source)))
    return states
