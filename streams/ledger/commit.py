"""What a commit of a ledger partition writes: changelog, day counts, violations, status and, last, the marker."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from schemas.codec import encode_marker, encode_violations
from schemas.counts import encode_marker_key, scope_counted, shard_prefix
from schemas.outputs import Marker
from schemas.source_hours import encode_hours, encode_hours_key
from streams.kafka.outbox import Outbox, Outgoing
from streams.kafka.pacing import pause
from streams.ledger.changelog import FULL_BYTES, STATE_KEY
from streams.ledger.partition_status import partition_record
from streams.ledger.vocabulary import vocabulary_record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.questions import Answer
    from streams.context import Context
    from streams.domain.ledger import LedgerChanges
    from streams.ledger.memory import Memory

_IDLE_MARKER_US = 30_000_000
_STATUS_INTERVAL_US = 1_000_000
#: Counts to take between two pauses; a few tenths of a millisecond.
_COUNTS_AT_ONCE = 500


class CommitRecords:
    """Gathers the records of each commit, and knows when a commit is due without input."""

    def __init__(self, memory: Memory, context: Context) -> None:
        self._memory = memory
        self._context = context
        self._must_say_so = True  # the first commit after opening announces the partition's new owner
        self._said_caught_up = False
        self._told_up_to_us = 0
        self._last_marker_us = 0
        self._last_status_us = 0
        self._status_owed = False

    def say_so(self) -> None:
        """Makes a commit due that reports a change in marker and status."""
        self._must_say_so = True

    def is_due(self, now_us: int) -> bool:
        """Whether to commit without a batch."""
        since_status_us = now_us - self._last_status_us
        return (
            self._must_say_so
            or self._memory.caught_up != self._said_caught_up
            or (self._status_owed and since_status_us > _STATUS_INTERVAL_US)
            or now_us - self._last_marker_us > _IDLE_MARKER_US
            # A day or a campaign has been read to its end; the totals are waiting for that.
            or self._context.last_end_us(self._memory.applied_up_to_us, self._memory.campaigns) > self._told_up_to_us
        )

    def committed(self) -> None:
        """The records were committed."""
        self._must_say_so = False

    async def records(
        self, changes: LedgerChanges, out: list[Outgoing], answers: Mapping[int, list[Answer]], now_us: int
    ) -> Outbox:
        """All records of the transaction, in order.

        Args:
            changes: What has changed in the ledger.
            out: Dead letters and forwarded records.
            answers: Totals partition → answers to its questions, with these changes counted.
            now_us: The clock, microseconds since 1970.
        """
        catalogue, number, memory = self._context.catalogue, self._memory.number, self._memory
        ledger = catalogue.ledger.name
        # 4: gather
        records = Outbox(out)
        if changes.vocabulary:
            key, value = vocabulary_record(changes.vocabulary)
            records.append(Outgoing(ledger, number, key, value))
        for key, chunk in memory.changelog.write(changes.orders.chunks(FULL_BYTES), memory.ledger.state_bytes):
            records.append(Outgoing(ledger, number, key, chunk))
        for order_id, violations in changes.violations.items():
            body = None if violations is None else encode_violations(order_id, violations)
            records.append(Outgoing(catalogue.violations.name, number, order_id.encode(), body))
        if memory.vehicles is not None:
            records += memory.vehicles.records(changes.vehicles, has_read=memory.has_read)
        for home, counts in (await self._counts(changes)).items():
            records.add_run(catalogue.counts.name, home, counts)
        records += self._hours()
        # 5: the marker, here and as the last record
        marker = self._marker(now_us)
        body = encode_marker(marker)
        records.append(Outgoing(ledger, number, STATE_KEY, body))
        # One status per second is enough; a postponed one follows on a tick.
        self._status_owed = not (self._must_say_so or now_us - self._last_status_us > _STATUS_INTERVAL_US)
        if not self._status_owed:
            self._last_status_us = now_us
            lags = {name: source.lag for name, source in memory.named_sources()}
            records.append(partition_record(self._context, number, marker, lags, len(memory.ledger)))
        # Last in the transaction: a reader applies this partition's counts up to here.
        for topic, home in catalogue.counts.whole:
            told = encode_marker(marker.with_answers(answers[home])) if home in answers else body
            records.append(Outgoing(topic, home, encode_marker_key(number), told))
        return records

    async def _counts(self, changes: LedgerChanges) -> dict[int, list[tuple[bytes, bytes]]]:
        """Totals partition → its counts, as keys and values."""
        prefix, homes = shard_prefix(self._memory.number), self._context.totals_homes
        found: dict[int, list[tuple[bytes, bytes]]] = {}
        counts = iter(changes.counts.items())
        while some := list(islice(counts, _COUNTS_AT_ONCE)):
            if homes.partitions == 1:
                found.setdefault(0, []).extend([(prefix + counted, value) for counted, value in some])
            else:
                for counted, value in some:
                    found.setdefault(homes.of(scope_counted(counted)), []).append((prefix + counted, value))
            await pause()
        return found

    def _hours(self) -> Iterator[Outgoing]:
        """The hours in which events came, of each event source where they changed; none if no rule needs them, or in a rebuild."""
        memory = self._memory
        if memory.source_hours is not None and memory.recovery is None:
            for of, days in memory.source_hours.drain().items():
                if days:
                    # Event sources are watched in one place, the first totals partition.
                    key = encode_hours_key(memory.number, of)
                    yield Outgoing(self._context.catalogue.counts.name, 0, key, encode_hours(days))

    def _marker(self, now_us: int) -> Marker:
        memory = self._memory
        caught_up = memory.caught_up
        # The status in the same commit reports this change too.
        self._must_say_so |= caught_up != self._said_caught_up
        self._said_caught_up = caught_up
        self._told_up_to_us = memory.applied_up_to_us
        self._last_marker_us = now_us
        sources = [*memory.named_sources()]
        return Marker(
            positions={name: (source.next, source.digest) for name, source in sources},
            books={name: source.books() for name, source in sources},
            fingerprint=self._context.fingerprint,
            rebuilding=memory.recovery is not None,
            caught_up=caught_up,
            caught_up_us=self._told_up_to_us,
            clock_us=memory.ledger.clock_us,
            sources=dict(memory.ledger.last_by_source),
            backfilled=memory.ledger.backfilled,
            partitions=self._context.settings.partitions,
            forwarded=dict(memory.forwarded),
            arrived=dict(memory.arrived),
            topics=self._context.source_topics.numbers,
            cluster=memory.cluster,
            aliases=self._context.scopes.aliases.text,
            campaigns=memory.campaigns.text,
            announced=memory.announcement.text,
            moved=memory.moved,
            topic_ids=memory.topic_ids,
            repeating=memory.recovery is not None and memory.recovery.is_repetition,
            tells_hours=memory.source_hours is not None,
            lost={name: source.lost for name, source in sources if source.lost},
            told=memory.vehicles.state() if memory.vehicles is not None else None,
        )
