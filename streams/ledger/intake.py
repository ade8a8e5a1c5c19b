"""Sorts the records of a batch into facts, dead letters and records to forward; stateless."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, cast, overload

from schemas import hotpath
from schemas.codec import decode_events
from schemas.facts import QUARANTINED
from schemas.partitioner import homes
from streams.kafka.forwarding import unwrapped
from streams.ledger.quarantine import SkippedRecords

if TYPE_CHECKING:
    from schemas.authority import SourceRecord
    from schemas.facts import Fact, Rejection
    from streams.context import SourceTopics
    from streams.kafka.records import LogRecord


class Picked(Sequence["SourceRecord"]):
    """Some of the records of a batch. Those that are still bytes become objects only when they are asked for.

    Args:
        records: The batch.
        places: Which of them, in order.
    """

    def __init__(self, records: Sequence[SourceRecord], places: Sequence[int]) -> None:
        self._records = records
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> SourceRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Picked: ...
    def __getitem__(self, index: int | slice) -> SourceRecord | Picked:
        if isinstance(index, slice):
            return Picked(self._records, self._places[index])
        return self._records[self._places[index]]


class Run(NamedTuple):
    """Facts of one source topic and the records that they were decoded from, in the same order."""

    topic: int
    facts: Sequence[Fact]
    records: Sequence[SourceRecord]


class Rejected(NamedTuple):
    """A record that becomes a dead letter."""

    topic: int
    record: SourceRecord
    reason: str
    message: str


class Away(NamedTuple):
    """A record whose order belongs to another partition, its home."""

    topic: int
    record: SourceRecord
    home: int


@dataclass
class Taken:
    """The records of a batch, sorted; each is in exactly one of the first three.

    Attributes:
        runs: Facts to apply, in order.
        rejected: Records that are invalid or in quarantine.
        away: Records to forward.
        arrived: Ledger partition → number of records it has forwarded here.
    """

    runs: list[Run] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    away: list[Away] = field(default_factory=list)
    arrived: Counter[int] = field(default_factory=Counter)


class Intake:
    """Sorts the records that one ledger partition reads.

    Args:
        number: The partition's number.
        partitions: Number of ledger partitions.
        topics: The source topics.
        future_limit_us: How far an event's time may be ahead of its append time, microseconds.
        framed: Whether JSON in the wire format of a schema registry is accepted.
    """

    def __init__(
        self, number: int, partitions: int, topics: SourceTopics, future_limit_us: int, *, framed: bool = False
    ) -> None:
        self._number = number
        self._partitions = partitions
        self._topics = topics
        self._future_limit_us = future_limit_us
        self._framed = framed
        self.skipped = SkippedRecords()

    def published(self, records: Sequence[SourceRecord], topic: int) -> Taken:
        """Records of source topic `topic`, as their publishers wrote them."""
        taken = Taken()
        if self.skipped:
            records = self._skip(records, topic, taken)
        self._sort(topic, records, hotpath.strays(records, self._partitions, self._number), taken)
        return taken

    def forwarded(self, records: Sequence[LogRecord]) -> Taken:
        """Records forwarded by other partitions; consecutive ones from the same source topic are decoded together."""
        taken = Taken()
        for topic, some, partitions in unwrapped(records):
            taken.arrived.update(partition % self._partitions for partition in partitions)
            kept = some
            if self.skipped:
                kept = [original for original in some if self._skip([original], topic, taken)]
            # They are at home here, as the partitions that forwarded them have found out.
            self._sort(topic, kept, (), taken)
        return taken

    def _sort(
        self, topic: int, records: Sequence[SourceRecord], strays: Sequence[tuple[int, int]], taken: Taken
    ) -> None:
        """Decodes records and sorts them, given the places and homes of those that are not at home here."""
        events, rejected = decode_events(
            records, topic=topic, future_limit_us=self._future_limit_us, framed=self._framed
        )
        if not rejected and not strays:
            # The usual case: every record is a valid event, and at home here.
            taken.runs.append(Run(topic, cast("Sequence[Fact]", events), records))
            return
        for place in rejected:
            outcome = cast("Rejection", events[place])
            taken.rejected.append(Rejected(topic, records[place], outcome.reason, outcome.message))
        leave = set(rejected)
        taken.away += [Away(topic, records[place], home) for place, home in strays if place not in leave]
        leave.update(place for place, _ in strays)
        here = [place for place in range(len(records)) if place not in leave]
        taken.runs.append(Run(topic, cast("Sequence[Fact]", events.picked(here)), Picked(records, here)))

    def _skip(self, records: Sequence[SourceRecord], topic: int, taken: Taken) -> Sequence[SourceRecord]:
        """The records that are not in quarantine; those that are become dead letters of their home without being decoded."""
        name, partition = self._topics.name(topic), records[0].partition
        if not self.skipped.touches(name, partition, records[0].offset, records[-1].offset):
            return records
        kept = []
        for record in records:
            line = self.skipped.line(name, record.partition, record.offset)
            home = homes([record.key or b""], self._partitions)[0]
            if line is None:
                kept.append(record)
            elif home == self._number:
                taken.rejected.append(Rejected(topic, record, QUARANTINED, line))
            else:
                taken.away.append(Away(topic, record, home))
        return kept
