"""One partition of the ledger: open, apply and commit, close.

Memory, outputs and the applied source offsets change in one transaction of a producer that belongs to the partition.
Nothing here is undone after a failure: the runner drops the whole object and opens a new one from the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from faust.types.tuples import TP

from schemas.codec import decode_marker, encode_day_count, encode_marker, encode_violations
from schemas.counts import encode_cell_key, encode_marker_key
from schemas.notes import Place
from schemas.outputs import ControlHeaders, Marker
from streams.domain.ledger import Changes, Ledger
from streams.errors import ExpectedError
from streams.kafka.clients import read_to_end, reader
from streams.kafka.digest import digest_of
from streams.kafka.forwarding import forward
from streams.kafka.transactions import Outgoing, TransactionalWriter
from streams.ledger.changelog import STATE_KEY, Changelog
from streams.ledger.intake import Away, Intake, Rejected, Taken
from streams.ledger.partition_status import partition_record
from streams.ledger.poison_record import INFRASTRUCTURE, blamed
from streams.ledger.quarantine import passed_over
from streams.ledger.recovery import Recovery, prepare
from streams.ledger.sources import Source, bounds, check
from streams.ledger.vocabulary import is_vocabulary, vocabulary_of, vocabulary_record

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer

    from streams.context import Context
    from streams.kafka.transport import Batch

logger = logging.getLogger(__name__)

_IDLE_MARKER_US = 30_000_000
_STATUS_INTERVAL_US = 1_000_000

#: End of a source partition as the broker last said.
LogEnd = Callable[[TP], int]
#: First offset that a source partition still has.
LogStart = Callable[[TP], Awaitable[int]]


class LedgerPartition:
    """The state of ledger partition `number`."""

    def __init__(self, context: Context, number: int, *, log_end: LogEnd, log_start: LogStart) -> None:
        self._context = context
        self._number = number
        self._log_end = log_end
        self._log_start = log_start
        self._topics = context.source_topics
        self._writer = TransactionalWriter(context.settings, context.transactional_id(f"ledger-{number}"))
        self._ledger = Ledger(context.zone, context.scopes)
        self._changelog = Changelog(self._ledger.blob, self._ledger.order_ids)
        self._sources = {topic: Source() for topic in self._topics}
        self._recovery: Recovery | None = None
        settings = context.settings
        self._intake = Intake(number, settings.partitions, context.source_topics, settings.future_limit_s * 1_000_000)
        self._out: list[Outgoing] = []
        self._forwarded: Counter[int] = Counter()
        self._arrived: Counter[int] = Counter()
        self._marker_due = False
        self._said_caught_up = False
        self._last_marker_us = 0
        self._last_status_us = 0
        self._status_owed = False

    # Opening --------------------------------------------------------------------------------------------------------

    async def open(self) -> Mapping[TP, int]:
        """Fences the former owner, restores what it committed, checks that the sources still belong to it.

        Raises:
            ExpectedError: The settings or the sources are not those of the state.
        """
        await self._writer.start()
        return await self.restore()

    async def restore(self) -> Mapping[TP, int]:
        """The reading part of opening; takes nothing from a former owner."""
        async with reader(self._context.settings) as consumer:
            self._intake.passed_over = await passed_over(self._context, consumer)
            marker = await self._restore(consumer)
            starts, ends = await bounds(consumer, self._topics, self._number, self._context.settings.partitions)
            if marker is None:
                self._recovery = await prepare(self._context, self._number, ends, consumer)
            else:
                self._adopt(marker)
                await check(marker, self._number, starts, ends, consumer)
                if marker.rebuilding:
                    self._recovery = await prepare(self._context, self._number, ends, consumer)
                    self._recovery.counts.update(self._ledger.counts())
                    self._recovery.violations.update(self._ledger.violations())
        if self._recovery is not None:
            self._intake.passed_over.add(self._recovery.quarantined)
        for topic, end in ends.items():
            self._sources[topic].end = end
        self._marker_due = True
        return self.positions()

    def positions(self) -> Mapping[TP, int]:
        """Where each source is to be read on."""
        return {TP(topic, self._number): source.next for topic, source in self._sources.items()}

    async def _restore(self, consumer: AIOKafkaConsumer) -> Marker | None:
        marker: Marker | None = None
        vocabulary: list[Any] = []
        blobs: dict[str, bytes] = {}
        partition = (self._context.catalogue.ledger.name, self._number)
        async for records in read_to_end(self._context.settings, [partition], consumer=consumer):
            for record in records:
                if record.key == STATE_KEY:
                    marker = decode_marker(record.value)
                elif is_vocabulary(record.key):
                    vocabulary.append(record)
                elif Changelog.is_chunk(record.key):
                    blobs.update(self._changelog.restore(record.key, record.value))
        if marker is not None and marker.fingerprint != self._context.fingerprint:
            raise ExpectedError(
                f"ledger {self._number} was built with {marker.fingerprint}, the settings say {self._context.fingerprint}: "
                "restore the settings, or count everything again under another output_prefix"
            )
        if blobs:
            # In a thread: it takes seconds for millions of orders, and the worker must not miss its heartbeats.
            await asyncio.to_thread(self._ledger.restore, vocabulary_of(vocabulary), [blobs])
        return marker

    def _adopt(self, marker: Marker) -> None:
        for topic, (offset, digest) in marker.positions.items():
            self._sources[topic].adopt(offset, digest, marker.books[topic])
        self._ledger.clock_us = max(self._ledger.clock_us, marker.clock_us)
        self._forwarded.update(marker.forwarded)
        self._arrived.update(marker.arrived)

    # Applying and committing ----------------------------------------------------------------------------------------

    async def process(self, batches: Sequence[Batch]) -> None:
        """Applies the batches and commits state, outputs and positions together; a tick commits only what is due.

        The steps are numbered as in ARCHITECTURE.md, which says what a crash after each leaves behind.
        """
        try:
            records = await self._step(batches)
        except (ExpectedError, *INFRASTRUCTURE):
            raise
        except Exception as error:
            raise await self._blame(error, batches) from error
        if records:
            # 5: begin and send, 6: end, asked once
            await self._writer.commit(records)
            # 7: go on
            self._out = []
            self._marker_due = False

    async def _step(self, batches: Sequence[Batch]) -> list[Outgoing]:
        """Applies the batches; what is to be committed, nothing if nothing is due."""
        # 1: take in, 2: apply to memory
        for batch in batches:
            await self._apply(batch)
        if not batches:
            self._tick()
        # 3: gather
        changes = self._ledger.drain()
        self._finish_recovery(changes)
        now_us = self._context.now_us()
        status_due = self._status_owed and now_us - self._last_status_us > _STATUS_INTERVAL_US
        if not (batches or self._marker_due or status_due or now_us - self._last_marker_us > _IDLE_MARKER_US):
            return []
        self._last_marker_us = now_us
        return self._records(changes, now_us)

    async def rehearse(self, batches: Sequence[Batch]) -> None:
        """Applies the batches and forgets what would be committed."""
        await self._step(batches)
        self._out = []

    async def _blame(self, error: Exception, batches: Sequence[Batch]) -> Exception:
        """The error, or one that names the record that brings it about. This state is not to be used any more."""
        self._ledger = Ledger(self._context.zone, self._context.scopes)  # memory is to hold one ledger, not two
        self._changelog = Changelog(self._ledger.blob, self._ledger.order_ids)

        def fresh() -> LedgerPartition:
            return LedgerPartition(self._context, self._number, log_end=self._log_end, log_start=self._log_start)

        return await blamed(error, batches, fresh, self._context)

    async def close(self) -> None:
        """Closes the producer; an open transaction is left for the next owner to abort."""
        await self._writer.stop()

    async def _apply(self, batch: Batch) -> None:
        source = self._sources[batch.topic]
        records = await self._fresh(batch, source)
        source.end = max(batch.end, batch.next)
        if not records:
            if batch.next > source.next:
                # No record lies before the new position, so there is none to know the topic by.
                source.next, source.digest = batch.next, ""
                self._marker_due = True
            return
        source.read += len(records)
        if batch.topic == self._topics.rerouted:
            taken = self._intake.forwarded(records)
        else:
            taken = self._intake.published(records, self._topics.index(batch.topic))
        self._apply_taken(taken, source)
        last = records[-1]
        source.next = batch.next
        # Behind the marker of a publisher's transaction there is no record to know the topic by.
        source.digest = digest_of(last) if batch.next == last.offset + 1 else ""
        source.append_us = last.timestamp * 1000

    async def _fresh(self, batch: Batch, source: Source) -> list[Any]:
        """The records above the applied position: an overlap is cut, a gap must not be."""
        records = batch.records
        if batch.first > source.next:
            raise RuntimeError(
                f"{batch.topic}-{batch.partition}: applied up to {source.next}, fetched from {batch.first}"
            )
        if records and records[0].offset < source.next:
            return [record for record in records if record.offset >= source.next]
        if (records[0].offset if records else batch.next) > source.next:
            # Control records of a publisher's transactions leave holes; so does a topic that is trimmed under us.
            start = await self._log_start(TP(batch.topic, batch.partition))
            if start > source.next:
                raise ExpectedError(
                    f"{batch.topic}-{batch.partition} was trimmed to offset {start} before {source.next} was read: events are "
                    "lost; give it unlimited retention and count again under another output_prefix"
                )
        return records

    def _apply_taken(self, taken: Taken, source: Source) -> None:
        self._arrived.update(taken.arrived)
        for rejected in taken.rejected:
            self._dead_letter(rejected, source)
        for away in taken.away:
            self._forward(away, source)
        for topic, facts, records in taken.runs:
            outcome = self._ledger.apply(facts)
            source.applied += outcome.applied
            source.duplicates += outcome.duplicates
            for index, reason, message in outcome.refused:
                self._dead_letter(Rejected(topic, records[index], reason, message), source)

    def _dead_letter(self, rejected: Rejected, source: Source) -> None:
        source.dead_letters += 1
        topic, record, reason, message = rejected
        place = Place(self._topics[topic], record.partition, record.offset)
        if self._recovery is not None and place in self._recovery.dead:
            return
        headers = (*record.headers, *ControlHeaders.of(*place, message, reason))
        self._out.append(
            Outgoing(self._context.catalogue.dead_letters.name, self._number, record.key, record.value, headers)
        )

    def _forward(self, away: Away, source: Source) -> None:
        source.rerouted += 1
        topic, record, home = away
        self._forwarded[home] += 1
        place = Place(self._topics[topic], record.partition, record.offset)
        if self._recovery is not None and place in self._recovery.forwarded:
            return
        self._out.append(forward(record, topic, self._topics.rerouted, home))

    def _tick(self) -> None:
        """Notices that there is more to read. How far it was read, batches alone say."""
        for topic, source in self._sources.items():
            source.end = max(source.end, self._log_end(TP(topic, self._number)))
        if self._caught_up != self._said_caught_up:
            self._marker_due = True

    def _finish_recovery(self, changes: Changes) -> None:
        if self._recovery is None:
            return
        self._recovery.hold_back(changes)
        if self._recovery.done({topic: source.next for topic, source in self._sources.items()}):
            self._recovery.release(changes)
            self._recovery = None
            self._marker_due = True

    # What a commit writes -------------------------------------------------------------------------------------------

    @property
    def _caught_up(self) -> bool:
        return self._recovery is None and all(source.lag == 0 for source in self._sources.values())

    def _records(self, changes: Changes, now_us: int) -> list[Outgoing]:
        catalogue, number = self._context.catalogue, self._number
        ledger, counts = catalogue.ledger.name, catalogue.counts.name
        records = self._out
        if changes.vocabulary:
            key, value = vocabulary_record(changes.vocabulary)
            records.append(Outgoing(ledger, number, key, value))
        for key, chunk in self._changelog.write(changes.orders, self._ledger.state_bytes):
            records.append(Outgoing(ledger, number, key, chunk))
        for order_id, violations in changes.violations.items():
            body = None if violations is None else encode_violations(order_id, violations)
            records.append(Outgoing(catalogue.violations.name, number, order_id.encode(), body))
        for (metric, scope, day), count in changes.counts.items():
            records.append(Outgoing(counts, 0, encode_cell_key(number, metric, scope, day), encode_day_count(count)))
        # 4: the marker, which is last
        marker = self._marker(now_us)
        body = encode_marker(marker)
        records.append(Outgoing(ledger, number, STATE_KEY, body))
        # Under load a status a second is enough; what a quiet spell leaves unsaid is said on the next tick.
        self._status_owed = not (self._marker_due or now_us - self._last_status_us > _STATUS_INTERVAL_US)
        if not self._status_owed:
            self._last_status_us = now_us
            records.append(partition_record(self._context, number, marker, self._lags(), len(self._ledger)))
        # The last record of the transaction: a reader of the counts applies this partition only up to here.
        records.append(Outgoing(counts, 0, encode_marker_key(number), body))
        return records

    def _marker(self, now_us: int) -> Marker:
        caught_up = self._said_caught_up = self._caught_up
        lagging = [source.append_us for source in self._sources.values() if source.lag]
        return Marker(
            positions={topic: (source.next, source.digest) for topic, source in self._sources.items()},
            books={topic: source.books() for topic, source in self._sources.items()},
            fingerprint=self._context.fingerprint,
            rebuilding=self._recovery is not None,
            caught_up=caught_up,
            caught_up_us=min(lagging, default=now_us),
            clock_us=self._ledger.clock_us,
            sources=dict(self._ledger.last_by_source),
            backfilled=self._ledger.backfilled,
            partitions=self._context.settings.partitions,
            forwarded=dict(self._forwarded),
            arrived=dict(self._arrived),
        )

    def _lags(self) -> dict[str, int]:
        return {topic: source.lag for topic, source in self._sources.items()}
