"""Sorts the records of a batch into facts, dead letters and records to forward; stateless."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, cast, overload

from schemas import hotpath
from schemas.codec import decode_batch
from schemas.facts import QUARANTINED, Fact, Rejection
from schemas.partitioner import homes
from streams.kafka.forwarding import unwrap
from streams.ledger.quarantine import SkippedRecords

if TYPE_CHECKING:
    from schemas.authority import SourceRecord
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
        outcomes = self._decode(records, topic)
        home_of = hotpath.homes(records, self._partitions)
        if home_of.count(self._number) == len(records) and Rejection not in map(type, outcomes):
            # The usual case: every record is a valid event, and at home here.
            taken.runs.append(Run(topic, cast("list[Fact]", outcomes), records))
            return taken
        self._sort(topic, records, outcomes, home_of, taken)
        return taken

    def forwarded(self, records: Sequence[LogRecord]) -> Taken:
        """Records forwarded by other partitions; consecutive ones from the same source topic are decoded together."""
        taken = Taken()
        run: list[SourceRecord] = []
        run_topic = 0
        for record in records:
            topic, original = unwrap(record)
            taken.arrived[original.partition % self._partitions] += 1
            if self.skipped and not self._skip([original], topic, taken):
                continue
            if run and topic != run_topic:
                self._decode_run(run, run_topic, taken)
                run = []
            run_topic = topic
            run.append(original)
        self._decode_run(run, run_topic, taken)
        return taken

    def _decode(self, records: Sequence[SourceRecord], topic: int) -> list[Fact | Rejection]:
        return decode_batch(records, topic=topic, future_limit_us=self._future_limit_us, framed=self._framed)

    def _decode_run(self, records: Sequence[SourceRecord], topic: int, taken: Taken) -> None:
        """Decodes records that are at home here, as the partition that forwarded them has found out."""
        outcomes = self._decode(records, topic)
        self._sort(topic, records, outcomes, [self._number] * len(records), taken)

    def _sort(
        self,
        topic: int,
        records: Sequence[SourceRecord],
        outcomes: Sequence[Fact | Rejection],
        home_of: Sequence[int],
        taken: Taken,
    ) -> None:
        facts: list[Fact] = []
        kept: list[int] = []
        for place, (outcome, home) in enumerate(zip(outcomes, home_of, strict=True)):
            if isinstance(outcome, Rejection):
                taken.rejected.append(Rejected(topic, records[place], outcome.reason, outcome.message))
            elif home == self._number:
                facts.append(outcome)
                kept.append(place)
            else:
                taken.away.append(Away(topic, records[place], home))
        taken.runs.append(Run(topic, facts, Picked(records, kept)))

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
