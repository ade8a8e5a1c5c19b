"""Applies batches to the memory of a ledger partition, and collects dead letters and forwarded records."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Awaitable, Callable
from operator import attrgetter
from typing import TYPE_CHECKING

from schemas.authority import leniencies
from schemas.facts import BEYOND_LIMITS
from schemas.notes import Place
from schemas.outputs import ControlHeaders
from streams.domain.scopes.value_bounds import ValueBounds
from streams.kafka.append_time import LOG_APPEND_TIME, with_append_times
from streams.kafka.digest import digest_of
from streams.kafka.forwarding import forward
from streams.kafka.log import Partition
from streams.kafka.outbox import Outgoing
from streams.kafka.pacing import pause
from streams.ledger.intake import Away, Intake, Rejected, Run, Taken
from streams.ledger.sources import gap_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from schemas.authority import SourceRecord
    from streams.context import Context
    from streams.kafka.records import LogRecord
    from streams.kafka.transport import Batch
    from streams.ledger.memory import Memory
    from streams.ledger.quarantine import SkippedRecords
    from streams.ledger.sources import Source

#: Asks for the first offset that a source partition still has.
LogStart = Callable[[Partition], Awaitable[int]]
#: Records applied between two pauses: ten to twenty milliseconds.
_TURN_RECORDS = 500
_BEFORE = "rejected before"


class Application:
    """Applies batches to the memory."""

    def __init__(self, memory: Memory, context: Context, log_start: LogStart) -> None:
        settings = context.settings
        self._memory = memory
        self._log_start = log_start
        self._topics = context.source_topics
        self._now_us = context.now_us
        self._dead_letters = context.catalogue.dead_letters.name
        self._framed = settings.accept_schema_registry_json
        limits = settings.limits
        self._bounds = ValueBounds(context.scopes, limits.values, limits.scopes) if limits.beyond == "reject" else None
        self._intake = Intake(
            memory.number,
            settings.partitions,
            context.source_topics,
            settings.future_limit_s * 1_000_000,
            framed=self._framed,
        )

    def start(self, skipped: SkippedRecords) -> None:
        """Begins with a restored memory and the records that operators have told it to skip."""
        self._intake.skipped = skipped
        if self._bounds is not None:
            for dims in self._memory.ledger.dims():
                self._bounds.keep(dims)

    async def apply(self, batch: Batch) -> list[Outgoing]:
        """Applies a batch.

        Returns:
            Its dead letters and forwarded records, to be committed together with the new position.

        Raises:
            GapError: Records before the batch were removed and never read.
        """
        source = self._memory.sources[Partition(batch.topic, batch.partition)]
        records = await self._unapplied(batch, source)
        source.end = max(batch.end, batch.next)
        if not records:
            if batch.next > source.next:
                # No record before the new position can identify the topic.
                source.next, source.digest = batch.next, ""
            return []
        source.read += len(records)
        out: list[Outgoing] = []
        for number, turn in enumerate(self._turns(records)):
            if number:
                await pause()
            out += self._take(self._taken_in(batch.topic, turn), source, turn[0])
        last = records[-1]
        source.next = batch.next
        # After the marker of a publisher's transaction, no record before the position can identify the topic.
        source.digest = digest_of(last) if batch.next == last.offset + 1 else ""
        if batch.topic == self._topics.rerouted or last.timestamp_type == LOG_APPEND_TIME:
            source.append_us = last.timestamp * 1000
        return out

    def _taken_in(self, topic: str, records: Sequence[LogRecord]) -> Taken:
        if topic == self._topics.rerouted:
            return self._intake.forwarded(records)
        dated = with_append_times(records, self._now_us() // 1000, self._was_future)
        return self._intake.published(dated, self._topics.numbers[topic])

    def _was_future(self, record: LogRecord) -> bool:
        recovery = self._memory.recovery
        return recovery is not None and Place(record.topic, record.partition, record.offset) in recovery.future

    async def _unapplied(self, batch: Batch, source: Source) -> Sequence[LogRecord]:
        """The records from the applied position on: an overlap is cut off, a gap raises an error."""
        records: Sequence[LogRecord] = batch.records
        if batch.first > source.next:
            raise RuntimeError(
                f"{batch.topic}-{batch.partition}: applied up to {source.next}, fetched from {batch.first}"
            )
        if records and records[0].offset < source.next:
            return [record for record in records if record.offset >= source.next]
        if (records[0].offset if records else batch.next) > source.next:
            # Either a publisher's transaction markers lie between, or the topic has been trimmed meanwhile.
            start = await self._log_start(Partition(batch.topic, batch.partition))
            if start > source.next:
                raise gap_error(Partition(batch.topic, batch.partition), source.next, start)
        return records

    def _turns(self, records: Sequence[LogRecord]) -> Iterator[Sequence[LogRecord]]:
        """Cuts a batch into turns. In a rebuild, a turn has only records that may have been applied before, or only new ones."""
        tp, recovery = Partition(records[0].topic, records[0].partition), self._memory.recovery
        new = len(records)
        if recovery is not None and recovery.is_repetition:
            new = bisect_left(records, recovery.ends.get(tp, 0), key=attrgetter("offset"))
        for begin, end in ((0, new), (new, len(records))):
            for first in range(begin, end, _TURN_RECORDS):
                yield records[first : min(first + _TURN_RECORDS, end)]

    def _take(self, taken: Taken, source: Source, first: LogRecord) -> list[Outgoing]:
        """Applies a turn, which begins with record `first`."""
        if self._memory.recovery is not None and self._memory.recovery.judged:
            taken = self._as_judged_before(taken, self._memory.recovery.judged)
        self._memory.arrived.update(taken.arrived)
        out: list[Outgoing] = []
        for rejected in taken.rejected:
            home = self._forwarded_to(rejected)
            if home is None:
                self._dead_letter(rejected, source, out)
            else:
                self._forward(Away(rejected.topic, rejected.record, home), source, out)
        for away in taken.away:
            self._forward(away, source, out)
        for run in taken.runs:
            topic, facts, records = run if self._bounds is None else self._within(self._bounds, run, source, out, first)
            outcome = self._memory.ledger.apply(facts)
            source.applied += outcome.applied
            source.duplicates += outcome.duplicates
            for index, reason, message in outcome.refused:
                self._dead_letter(Rejected(topic, records[index], reason, message), source, out)
        return out

    def _forwarded_to(self, rejected: Rejected) -> int | None:
        """The home to which a rejected record was forwarded before this rebuild, and which judges it.

        It was forwarded because it was in quarantine, or because an earlier version took it for an event.
        """
        recovery = self._memory.recovery
        if recovery is None or not recovery.forwarded:
            return None
        record = rejected.record
        return recovery.forwarded.get(Place(self._topics.name(rejected.topic), record.partition, record.offset))

    def _as_judged_before(self, taken: Taken, judged: Mapping[Place, str]) -> Taken:
        """Rejects again what was rejected beyond the limits, or by an earlier version even if this one would accept it."""

        def reason_of(topic: int, record: SourceRecord) -> str | None:
            reason = judged.get(Place(self._topics.name(topic), record.partition, record.offset))
            if reason == BEYOND_LIMITS:
                return reason
            return reason if reason is not None and leniencies(record, framed=self._framed) else None

        away = []
        for one in taken.away:
            reason = reason_of(one.topic, one.record)
            if reason is None:
                away.append(one)
            else:
                taken.rejected.append(Rejected(one.topic, one.record, reason, _BEFORE))
        runs = []
        for topic, facts, records in taken.runs:
            reasons = [reason_of(topic, record) for record in records]
            kept = [index for index, reason in enumerate(reasons) if reason is None]
            taken.rejected += [
                Rejected(topic, record, reason, _BEFORE)
                for record, reason in zip(records, reasons, strict=True)
                if reason is not None
            ]
            runs.append(Run(topic, [facts[index] for index in kept], [records[index] for index in kept]))
        taken.away, taken.runs = away, runs
        return taken

    def _within(self, bounds: ValueBounds, run: Run, source: Source, out: list[Outgoing], first: LogRecord) -> Run:
        """The events whose dimensions are within the limits; all of them where they may have been applied before."""
        recovery = self._memory.recovery
        if recovery is not None and recovery.repeats(Partition(first.topic, first.partition), first.offset):
            for fact in run.facts:
                bounds.keep(fact.dims)
            return run
        lines = [bounds.refusal(fact.dims) for fact in run.facts]
        if not any(lines):
            return run
        for record, line in zip(run.records, lines, strict=True):
            if line:
                self._dead_letter(Rejected(run.topic, record, BEYOND_LIMITS, line), source, out)
        kept = [index for index, line in enumerate(lines) if not line]
        return Run(run.topic, [run.facts[index] for index in kept], [run.records[index] for index in kept])

    def _dead_letter(self, rejected: Rejected, source: Source, out: list[Outgoing]) -> None:
        source.dead_letters += 1
        topic, record, reason, message = rejected
        place = Place(self._topics.name(topic), record.partition, record.offset)
        recovery = self._memory.recovery
        if recovery is not None and place in recovery.dead:
            return
        headers = (*record.headers, *ControlHeaders.of(*place, message, reason))
        out.append(Outgoing(self._dead_letters, self._memory.number, record.key, record.value, headers))

    def _forward(self, away: Away, source: Source, out: list[Outgoing]) -> None:
        source.rerouted += 1
        topic, record, home = away
        self._memory.forwarded[home] += 1
        place = Place(self._topics.name(topic), record.partition, record.offset)
        recovery = self._memory.recovery
        if recovery is not None and place in recovery.forwarded:
            return
        out.append(forward(record, topic, self._topics.rerouted, home))
