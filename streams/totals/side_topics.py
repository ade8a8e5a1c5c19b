"""The side topics of the totals: small topics with one partition whose events give what counts are compared with.

Each is read from its start at every takeover and then followed, so the result of its events needs no state. How far it has been
read and which records were rejected is remembered in `milestones.internal.<prefix>totals`: each dead letter is written once, the
books balance at every commit, and a changed setting does not judge a record again. If that memory is lost, the dead letters that
exist are found in their topic.

Totals partition 0 does all this; it passes on what it accepts to the others in the same transaction, see `passed_on_sides.py`.

To add a topic, name it in `Context.side_topics`, and in `WindowTables` the function that takes its records.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from schemas.codec import decode_side_state, encode_memory, encode_status
from schemas.facts import FUTURE_TIME, ID_CONFLICT, Rejection
from schemas.instants import utc_text
from schemas.memory import SIDE, SideState, key_of
from schemas.outputs import Books, ControlHeaders, TopicStatus
from streams.context import NOT_THE_SAME_TOPIC
from streams.domain.announced.disposition import APPLIED, DUPLICATE
from streams.errors import ExpectedError
from streams.kafka.append_time import with_append_times
from streams.kafka.dead_letter_headers import rejected_place
from streams.kafka.digest import digest_of
from streams.kafka.forwarding import forward
from streams.kafka.log import Partition
from streams.kafka.outbox import Outgoing
from streams.kafka.pacing import paced
from streams.kafka.records import header_values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from schemas.authority import SourceRecord
    from streams.context import Context
    from streams.domain.announced.disposition import Disposition
    from streams.kafka.log import LogReader
    from streams.kafka.records import LogRecord
    from streams.kafka.transport import Batch

#: A record that was accepted before is not rejected for its time when it is read again.
NO_LIMIT_US = 1 << 62
_CONFLICT = Rejection(ID_CONFLICT, "another event with the same source and id came before this one")


class Take(Protocol):
    """Reads one record of a side topic and applies it."""

    def __call__(self, record: SourceRecord, *, future_limit_us: int) -> Disposition | Rejection:
        """The disposition of the event, or why the record is invalid.

        Args:
            record: The record as read.
            future_limit_us: How far the event's time may be ahead of its append time, microseconds.
        """


@dataclass
class _Side:
    """A side topic, and how far it has been read."""

    name: str
    take: Take
    first: int = 0
    next: int = 0
    end: int = 0
    digest: str = ""
    applied: int = 0
    duplicates: int = 0
    rejected: list[tuple[int, int]] = field(default_factory=list)
    #: Whether the memory of it is out of date.
    touched: bool = False
    #: Without a memory: offsets that have dead letters, and those rejected because their event lay in the future.
    lettered: set[int] = field(default_factory=set)
    future: set[int] = field(default_factory=set)

    def recall(self, state: SideState) -> None:
        """Restores what is remembered; the events themselves are reread."""
        self.first, self.next, self.digest = state.first, state.next, state.digest
        self.applied, self.duplicates, self.rejected = state.applied, state.duplicates, list(state.rejected)

    def state(self) -> SideState:
        return SideState(
            first=self.first,
            next=self.next,
            digest=self.digest,
            applied=self.applied,
            duplicates=self.duplicates,
            rejected=self.rejected,
        )

    def was_rejected(self, offset: int) -> bool:
        return any(first <= offset <= last for first, last in self.rejected)

    def reject(self, offset: int) -> None:
        if self.rejected and self.rejected[-1][1] == offset - 1:
            self.rejected[-1] = (self.rejected[-1][0], offset)
        else:
            self.rejected.append((offset, offset))

    def books(self) -> Books:
        dead_letters = sum(last - first + 1 for first, last in self.rejected)
        read = self.applied + self.duplicates + dead_letters
        return Books(read, self.applied, self.duplicates, dead_letters, rerouted=0)


class SideTopics:
    """The side topics of one totals writer: open once, then pass batches and collect records to commit."""

    def __init__(self, context: Context, takes: Mapping[str, Take]) -> None:
        if tuple(takes) != context.side_topics:
            raise ValueError(f"side topics are {context.side_topics}, taken are {tuple(takes)}")
        self._context = context
        self._limit_us = context.settings.future_limit_s * 1_000_000
        self._sides = {name: _Side(name, take) for name, take in takes.items()}
        self._letters: list[Outgoing] = []
        #: Accepted events for the other totals partitions, and whether these have lost what they had.
        self._passed_on: list[Outgoing] = []
        self._again = False

    async def open(self, memory: Mapping[str, bytes], reader: LogReader) -> None:
        """Reads every side topic from its start to its end.

        Args:
            memory: Topic → what is remembered of it.
            reader: To read the topics with.

        Raises:
            ExpectedError: A topic is not the one that was read before.
        """
        await self._look_at_others(reader)
        bounds = await reader.bounds([(name, 0) for name in self._sides])
        for name, side in self._sides.items():
            start, end = bounds[name, 0]
            if name in memory:
                side.recall(decode_side_state(memory[name]))
                if start > side.first or end < side.next:
                    raise _recreated(
                        name, f"holds offsets {start} to {end}, {side.first} to {side.next} were read before"
                    )
            else:
                side.first = side.next = start
                side.touched = True
        await self._recall_letters([side for side in self._sides.values() if side.touched], reader)
        for side in self._sides.values():
            await self._read(side, reader, since=0)

    async def read_on(self, reader: LogReader) -> None:
        """Reads what has been appended to each side topic since it was opened.

        The counts are read between opening and this, which takes long; now, what was published before an event is known before
        the event is counted.
        """
        for side in self._sides.values():
            await self._read(side, reader, since=side.next)

    def positions(self) -> dict[Partition, int]:
        """Where to continue reading each side topic."""
        return {Partition(name, 0): side.next for name, side in self._sides.items()}

    def __contains__(self, topic: str) -> bool:
        return topic in self._sides

    async def take(self, batch: Batch) -> None:
        """Takes the new records of a batch."""
        side = self._sides[batch.topic]
        if batch.first > side.next:
            raise RuntimeError(f"{batch.topic}: taken up to {side.next}, fetched from {batch.first}")
        async for record in paced(batch.records):
            if record.offset >= side.next:
                self._take(side, record)
        side.next = max(side.next, batch.next)
        side.end = max(batch.end, side.next)

    def records(self, now_us: int) -> list[Outgoing]:
        """The records to commit: events passed on and dead letters, then memory and books of the topics that have changed."""
        records = [*self._passed_on, *self._letters]
        self._passed_on, self._letters = [], []
        catalogue = self._context.catalogue
        for side in self._sides.values():
            if side.touched:
                side.touched = False
                status = TopicStatus(
                    topic=side.name,
                    applied=side.next,
                    lag=max(0, side.end - side.next),
                    books=side.books(),
                    updated_at=utc_text(now_us),
                )
                key = f"topic/{side.name}".encode()
                records.append(Outgoing(catalogue.status.name, 0, key, encode_status(status)))
                state = encode_memory(side.state())
                records.append(Outgoing(catalogue.totals.name, 0, key_of(SIDE, side.name), state))
        return records

    async def _read(self, side: _Side, reader: LogReader, *, since: int) -> None:
        partition = side.name, 0
        async for records in reader.read([partition], since={partition: since} if since else None):
            async for record in paced(records):
                self._take(side, record)
        side.next = side.end = max(side.next, await reader.position(partition))

    def _take(self, side: _Side, record: LogRecord) -> None:
        if record.offset < side.next:
            self._take_again(side, record)
            return
        now_ms = self._context.now_us() // 1000
        (dated,) = with_append_times([record], now_ms, lambda record: record.offset in side.future)
        outcome = side.take(dated, future_limit_us=self._limit_us)
        if outcome == APPLIED:
            side.applied += 1
            self._pass_on(side, dated)
        elif outcome == DUPLICATE:
            side.duplicates += 1
        else:
            side.reject(record.offset)
            if record.offset not in side.lettered:
                self._letters.append(self._letter(record, outcome if isinstance(outcome, Rejection) else _CONFLICT))
        side.next, side.digest, side.touched = record.offset + 1, digest_of(record), True

    def _take_again(self, side: _Side, record: LogRecord) -> None:
        """Takes a record that was already judged."""
        if record.offset == side.next - 1 and side.digest not in ("", digest_of(record)):
            raise _recreated(side.name, f"has another record at offset {record.offset} than before")
        if not side.was_rejected(record.offset):
            outcome = side.take(record, future_limit_us=NO_LIMIT_US)
            if outcome not in (APPLIED, DUPLICATE):
                raise RuntimeError(f"{side.name}@{record.offset}: was accepted before, now it is {outcome}")
            if self._again and outcome == APPLIED:
                self._pass_on(side, record)

    async def _look_at_others(self, reader: LogReader) -> None:
        """Finds out whether the topic of passed-on events was recreated: then all are passed on again."""
        others = self._context.catalogue.sides.whole[1:]
        if others:
            self._again = any(end == 0 for _, end in (await reader.bounds(others)).values())

    def _pass_on(self, side: _Side, record: SourceRecord) -> None:
        """Passes an event on to the other totals partitions: acceptance is decided here, by one clock and in one order."""
        number = self._context.side_topics.index(side.name)
        for topic, other in self._context.catalogue.sides.whole[1:]:
            self._passed_on.append(forward(record, number, topic, other))

    async def _recall_letters(self, sides: Sequence[_Side], reader: LogReader) -> None:
        """Finds the dead letters of topics without a memory; like their records, they are in partition 0, with those of a ledger."""
        if not sides:
            return
        by_name = {side.name: side for side in sides}
        letters = self._context.catalogue.dead_letters.name
        async for records in reader.read([(letters, 0)], complete=True):
            async for record in paced(records):
                place = rejected_place(record)
                if place is not None and place.topic in by_name:
                    side = by_name[place.topic]
                    side.lettered.add(place.offset)
                    if header_values(record).get(ControlHeaders.REASON) == FUTURE_TIME.encode():
                        side.future.add(place.offset)

    def _letter(self, record: LogRecord, rejection: Rejection) -> Outgoing:
        control = ControlHeaders.of(record.topic, record.partition, record.offset, rejection.message, rejection.reason)
        headers = (*record.headers, *control)
        return Outgoing(self._context.catalogue.dead_letters.name, 0, record.key, record.value, headers)


def _recreated(name: str, what: str) -> ExpectedError:
    return ExpectedError(f"{name} {what}: {NOT_THE_SAME_TOPIC}; it must not be trimmed either")
