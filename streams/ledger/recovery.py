"""The silent rebuild of a ledger partition that starts without state.

It rereads everything and publishes nothing twice: dead letters and forwarded records are recognised by their coordinates in
the source topics. Quarantined records are known from their dead letters, in any partition, and are skipped again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from schemas.codec import encode_day_count
from schemas.counts import MARKER, is_of_campaign, split_key
from schemas.facts import BEYOND_LIMITS, BY_STATE, FUTURE_TIME, QUARANTINED, DayCount
from schemas.notes import Place
from schemas.outputs import ControlHeaders
from schemas.source_hours import decode_hours_key
from streams.domain.time.campaigns import MINUTES
from streams.kafka.dead_letter_headers import rejected_place
from streams.kafka.forwarding import origin_of
from streams.kafka.pacing import paced
from streams.kafka.records import header_values, record_key
from streams.ledger.parted_dict import PartedDict

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from streams.context import Context
    from streams.domain.ledger import LedgerChanges
    from streams.domain.orders.orders import OrderViolations
    from streams.kafka.log import LogReader, Partition
    from streams.kafka.records import LogRecord

#: Replaces a published count that no longer follows from the events: one of a day, one of an hour of a campaign.
_NOTHING = encode_day_count(DayCount(0, 0, [0] * 24, None))
_NOTHING_IN_AN_HOUR = encode_day_count(DayCount(0, 0, [0] * MINUTES, None))
#: Records to look at between two pauses.
_AT_ONCE = 5000


@dataclass
class Recovery:
    """How far to read before publishing, what has been published already, and what to publish at the end.

    Attributes:
        ends: Source partition → the offset to read up to.
        dead: Records that already have a dead letter.
        forwarded: Record → the home to which it was forwarded.
        future: Records whose dead letter says that their time was too far ahead.
        judged: Record → the reason for which it was rejected: for its content, which stands even if this version would accept
            it, or beyond the limits.
        quarantined: Record skipped by an operator's order → the message of its dead letter.
        counts: Counts to publish at the end, as in `LedgerChanges`.
        violations: Violations to publish at the end.
        is_released: Whether everything held back has been put into changes.
        is_repetition: Whether a state existed before and was lost, as opposed to a first load.
    """

    ends: dict[Partition, int]
    dead: set[Place] = field(default_factory=set)
    forwarded: dict[Place, int] = field(default_factory=dict)
    future: set[Place] = field(default_factory=set)
    judged: dict[Place, str] = field(default_factory=dict)
    quarantined: dict[Place, str] = field(default_factory=dict)
    counts: PartedDict[bytes, bytes] = field(default_factory=PartedDict)
    violations: PartedDict[str, OrderViolations | None] = field(default_factory=PartedDict)
    is_released: bool = False
    is_repetition: bool = False

    def hear(self, letter: LogRecord, number: int) -> None:
        """Takes a dead letter: partition `number` must not repeat its own, and skips what any partition skipped."""
        place = rejected_place(letter)
        if place is None:
            return
        if letter.partition == number:
            self.dead.add(place)
        headers = header_values(letter)
        if headers.get(ControlHeaders.REASON) == FUTURE_TIME.encode():
            self.future.add(place)
        reason = (headers.get(ControlHeaders.REASON) or b"").decode(errors="replace")
        # Limits are judged at the record's home; any other partition forwards it.
        if reason not in BY_STATE or (reason == BEYOND_LIMITS and letter.partition == number):
            self.judged[place] = reason
        if headers.get(ControlHeaders.REASON) == QUARANTINED.encode():
            self.quarantined[place] = (headers.get(ControlHeaders.MESSAGE) or b"").decode(errors="replace")

    def repeats(self, tp: Partition, offset: int) -> bool:
        """Whether the record at an offset may have been applied before."""
        return self.is_repetition and offset < self.ends.get(tp, 0)

    def forwarded_between(self, tp: Partition, first: int, end: int) -> Generator[None, None, Counter[int]]:
        """Home → number of records of a source partition forwarded there, with offsets from `first` to before `end`; with pauses."""
        found: Counter[int] = Counter()
        for number, (place, home) in enumerate(self.forwarded.items(), 1):
            if (place.topic, place.partition) == tp and first <= place.offset < end:
                found[home] += 1
            if number % _AT_ONCE == 0:
                yield
        return found

    def keeping_campaigns(self) -> Generator[None, None, None]:
        """Restricts the counts to those of campaigns; the others stand as published; with pauses."""
        of_campaigns: PartedDict[bytes, bytes] = PartedDict()
        yield from of_campaigns.adding(entry for entry in self.counts.items() if is_of_campaign(entry[0]))
        self.counts = of_campaigns

    def holding_back(self, changes: LedgerChanges) -> Generator[None, None, None]:
        """Moves out of the changes what must not be published yet; with pauses, during which nothing may be applied."""
        yield from self.counts.adding(changes.counts.items())
        yield from self.violations.adding(changes.violations.items())
        changes.counts.clear()
        changes.violations.clear()

    def release(self, changes: LedgerChanges, most: int) -> None:
        """Moves back into the changes what was held back, until they hold `most`."""
        changes.counts.update(self.counts.take(most - len(changes.counts)))
        changes.violations.update(self.violations.take(most - len(changes.counts) - len(changes.violations)))
        self.is_released = not self.counts and not self.violations

    def done(self, positions: Mapping[Partition, int]) -> bool:
        """Whether every source has been read to the end seen at opening."""
        return all(positions[tp] >= end for tp, end in self.ends.items())


async def prepare(context: Context, number: int, ends: Mapping[Partition, int], reader: LogReader) -> Recovery:
    """Reads what partition `number` has published before.

    Its forwarded records are in the partitions of their homes. Published counts are withdrawn at the end unless they are found
    again. These topics have other writers too, whose open transactions may hide some of the records, so reading waits for
    their end.
    """
    recovery = Recovery(dict(ends))
    dead_letters, rerouted = context.catalogue.dead_letters, context.catalogue.rerouted
    everywhere = [(dead_letters.name, other) for other in range(dead_letters.partitions)]
    async for records in reader.read(everywhere, complete=True):
        async for record in paced(records):
            recovery.hear(record, number)
    async for records in reader.read(context.catalogue.counts.whole, complete=True):
        recovery.counts.add(
            (counted, _NOTHING_IN_AN_HOUR if is_of_campaign(counted) else _NOTHING)
            for record in records
            if (counted := _counted(record_key(record), number)) is not None
        )
    homes = [(rerouted.name, home) for home in range(rerouted.partitions) if home != number]
    if homes:
        async for records in reader.read(homes, complete=True):
            async for record in paced(records):
                origin = origin_of(record.headers)
                if origin is not None and origin.partition % rerouted.partitions == number:
                    place = Place(context.source_topics.name(origin.topic), origin.partition, origin.offset)
                    recovery.forwarded[place] = record.partition
    return recovery


async def published_violations(context: Context, number: int, reader: LogReader) -> dict[str, bytes]:
    """The violations published by partition `number`, their only writer: order or vehicle → record value."""
    found: dict[str, bytes | None] = {}
    async for records in reader.read([(context.catalogue.violations.name, number)]):
        found.update((record_key(record).decode(), record.value) for record in records)
    return {order_id: value for order_id, value in found.items() if value is not None}


def _counted(key: bytes, number: int) -> bytes | None:
    """What a count of partition `number` is about; None for all other records."""
    if decode_hours_key(key) is not None:
        return None
    shard, counted = split_key(key)
    return counted if shard == number and counted != MARKER else None
