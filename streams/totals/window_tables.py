"""The window tables: day counts of all shards, summed to rows of all periods; each totals partition has one writer.

The output topics are the state: a new writer reads the published rows and milestones, then the day counts and the side topics
(targets, control totals), and commits the differences. What cannot be derived from them is remembered in
`milestones.internal.<prefix>totals`; `schemas.memory` lists it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

from schemas.codec import (
    decode_control,
    decode_held,
    decode_kept,
    decode_milestone,
    decode_target,
    encode_memory,
    encode_milestone,
    encode_row,
)
from schemas.events import BalanceSet, CampaignSet, CampaignWithdrawn
from schemas.facts import Rejection
from schemas.memory import (
    ANNOUNCED,
    COUNTED,
    CUT,
    DECIDED,
    EXPECTED,
    HELD,
    JUDGED,
    KEPT,
    QUIET,
    SIDE,
    SNAPSHOT,
    SOURCE_HOURS,
    WAITING,
    Held,
    KeptRecord,
    key_of,
    name_of,
)
from schemas.outputs import ALERT_KINDS
from schemas.rows import RowKey
from streams.domain.announced.balances import balance_of
from streams.domain.announced.controls import control_of
from streams.domain.announced.targets import change_of
from streams.domain.counts.source_hours import SourceHours
from streams.domain.milestones.milestones import EARLIEST_SOURCE
from streams.domain.rows.kept_days import KeptState
from streams.errors import ExpectedError, ReopenError
from streams.kafka.log import Partition
from streams.kafka.outbox import Outbox, Outgoing
from streams.kafka.pacing import in_turns, paced, pause
from streams.kafka.records import record_key, record_value
from streams.totals.announcing import Announcing
from streams.totals.factory import make_totals
from streams.totals.forecasts import make_forecasts
from streams.totals.history import History
from streams.totals.limit_warnings import LimitWatch
from streams.totals.moments import Moments
from streams.totals.passed_on_sides import PassedOnSides
from streams.totals.shards import Shards
from streams.totals.side_topics import SideTopics
from streams.totals.silences import make_silences
from streams.totals.snapshots import Snapshots
from streams.totals.source_times import SourceTimes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence

    from schemas.authority import SourceRecord
    from streams.context import Context
    from streams.domain.announced.disposition import Disposition
    from streams.domain.milestones.step_parts import Step
    from streams.domain.scopes.overflow import ScopeBounds
    from streams.domain.totals import Totals
    from streams.kafka.log import LogReader
    from streams.kafka.records import LogRecord
    from streams.kafka.transport import Batch

logger = logging.getLogger(__name__)

_STATUS_INTERVAL_US = 1_000_000
#: How long to wait for the rest of a transaction that was read in part, seconds.
_CUT_S = 0.05
#: Counts or rows to take in between two pauses, and records to make; a millisecond or two.
_AT_ONCE = 200
#: Names of scopes to look at between two pauses.
_NAMES = 2_000
#: Counts to take before a step while many are left at the broker, in times of what counts as many, and for how long.
_COLLECTED, _COLLECTING_US = 12, 1_000_000
#: Records of a transaction; with what is added to the last one of a step, it stays below 5,000.
_MOST_RECORDS = 4_800
#: Those for the history, before and after a part of the step: rows that change together are due there together a minute later, and
#: what has changed since must not wait for all of them.
_HISTORY_RECORDS = 700


class WindowTables:
    """State of the writer of a totals partition: rows, milestones and the shards' day counts.

    Args:
        context: As built by the composition root.
        number: The partition.
    """

    def __init__(self, context: Context, number: int = 0) -> None:
        self._context = context
        self._number = number
        self._writer = context.log.writer(context.transactional_id(context.totals_role(number)))
        self._totals: Totals = make_totals(context, number)
        self._forecasts = make_forecasts(context, number)
        catalogue = context.catalogue
        takes = {catalogue.targets.name: self._take_target, catalogue.controls.name: self._take_control}
        sources = SourceHours() if context.settings.watches_sources and not number else None
        self._silences = make_silences(context, self._totals.windows, number, sources)
        self._sides = PassedOnSides(context, takes, number) if number else SideTopics(context, takes)
        self._history = History(context, self._totals.windows, number)
        self._parts: Iterator[Step | None] | None = None
        #: Forecasts of the last step to commit with the next transactions, each with what belongs to it.
        self._later: deque[list[Outgoing]] = deque()
        self._shards = Shards(
            context.settings.partitions,
            context.source_topics.rerouted,
            context.scopes.aliases.text,
            context.campaigns.text,
            sources,
        )
        self._announcing = Announcing(context, self._shards, number)
        self._moments = Moments(context, self._totals, self._shards, number)
        #: Events that the previous writer had decided, in order, and that wait for their units.
        self._waiting: dict[str, bytes] = {}
        self._snapshots = Snapshots(context, self._totals.windows, self._shards, number)
        self._totals.windows.on_move = self._move
        self._counts = Partition(catalogue.counts.name, number)
        self._next = 0
        self._source_times = SourceTimes(context)
        self._warned: set[str] = set()
        self._limits = LimitWatch(context.settings.limits.bounds)
        self._last_status_us = 0
        #: Whether the next step waits for more counts; how many were taken since it began to, when that was, and how many were
        #: left at the broker.
        self._is_collecting = False
        self._collected = self._collecting_since_us = self._left = 0
        #: The clock of the current step, and whether days may end in it.
        self._step_us = 0
        self._step_caught_up = False

    async def open(self) -> Mapping[Partition, int]:
        """Fences the previous writer and reads what it has published."""
        await self._writer.start()
        catalogue = self._context.catalogue
        async with self._context.log.reader() as reader:
            memory = await self._recall(reader)
            self._announcing.recall(memory.pop(ANNOUNCED, None))
            self._totals.count_campaigns(self._announcing.campaigns)
            self._shards.campaigns = self._announcing.campaigns.text
            head = await self._snapshots.open(reader)
            if head is not None:
                async for scope in self._scopes():
                    self._check_home(scope)
                for _ in self._totals.end_snapshot():
                    await pause()
                self._shards.restore(head.markers)
                self._next = head.counts.next
            if self._totals.bounds is not None:
                await self._find_scopes(reader, self._totals.bounds, head.windows.next if head else 0)
            # Before the counts: the scopes with targets decide what is kept of the counts until the first step.
            await self._sides.open(memory, reader)
            await self._read_counts(reader)
            while self._shards.is_cut:
                # The rest is committed, but behind another shard's open transaction.
                await asyncio.sleep(_CUT_S)
                await self._read_counts(reader)
            await self._sides.read_on(reader)
            # Before the rows: what only the first version of a changed row has is kept.
            await self._restore_rows(reader, head.windows.next if head else 0)
            source = await self._restore_milestones(reader)
            # The source of earlier events is kept: the same fact must not get another identity.
            source = (
                self._context.settings.event_source
                or source
                or await self._source_elsewhere(reader)
                or await self._new_source(reader)
            )
            self._totals.publish_as(source)
            self._forecasts.publish_as(source)
            self._silences.publish_as(source)
            async for record in self._read(reader, catalogue.forecasts.name):
                self._forecasts.restore(record_key(record), record.value)
            await self._history.open(reader, head.history if head else 0, self._totals.windows.left_over)
        await in_turns(self._limits.looking(self._totals.windows))
        self._warn()
        return self.positions()

    def positions(self) -> Mapping[Partition, int]:
        """Where to continue reading the day counts and the side topics."""
        return {self._counts: self._next, **self._sides.positions()}

    @property
    def unfinished(self) -> bool:
        """Whether a step has more to commit; then call `process` again without batches."""
        return self._parts is not None or bool(self._later) or self._moments.has_more or self._history.has_more

    @property
    def takes_more(self) -> bool:
        """Whether `process` takes batches: not before a step is published."""
        return self._parts is None and not self._later

    @property
    def between_steps(self) -> bool:
        """Whether the current version of all rows is published."""
        return self._parts is None and not self._is_collecting

    @property
    def is_saving(self) -> bool:
        """Whether a snapshot is due or in progress; each call of `process` writes a part of it."""
        return self._snapshots.is_due

    async def process(self, batches: Sequence[Batch]) -> None:
        """Takes the batches, and publishes in one transaction everything changed by them or by the clock.

        If that is too much for one transaction, it publishes only the first part, and `unfinished` is true.
        """
        if self.takes_more:
            await self._take_in(batches)
            if self._totals.bounds is not None and self._totals.bounds.keeps_out:
                # Counts of scopes that are kept out are only in the counts topic: a snapshot would have to keep them too.
                self._snapshots.give_up()
            if self._shards.settled and not self._silences.owes_hours:
                await self._snapshots.begin(self._shards.counted_before(self._next))
            self._is_collecting = self._collects(batches)
            if not self._is_collecting:
                self._begin_step()
        elif batches:
            raise RuntimeError("a step of the totals is under way")
        wall_us = self._context.now_us()
        records = Outbox(self._take_later(0))
        # Events that have waited longest come first, before those decided in this step.
        records += self._moments.completed(_MOST_RECORDS - len(records))
        records += await self._history.records(wall_us, min(_HISTORY_RECORDS, _MOST_RECORDS - len(records)))
        if self._parts is not None and len(records) <= _MOST_RECORDS - self._context.part_rows:
            records += await self._next_part(self._parts)
            room = min(_HISTORY_RECORDS, _MOST_RECORDS - len(records))
            if room > 1:
                records += await self._history.records(wall_us, room)
        self._snapshots.note(len(records))
        if self.between_steps:
            records += self._sides.records(wall_us)
            # Until everything is recounted, rows differ from what is published, and no snapshot has what only their first
            # versions have.
            if self._shards.settled:
                records += await self._snapshots.records()
        records += await self._moments.questions()
        records += self._silences.hours()
        await self._commit(records)

    async def _commit(self, records: Outbox) -> None:
        """Commits records, with what is to be passed on about campaigns.

        Raises:
            ReopenError: The ledger partitions count by another announcement of campaigns; the records are committed.
        """
        adopted = None
        if self.between_steps:
            records += self._announcing.to_tell()
            adopted = self._announcing.to_adopt()
            records += [adopted] if adopted is not None else []
        if records:
            await self._writer.commit(records)
        if adopted is not None:
            raise ReopenError("other campaigns are announced")

    async def close(self) -> None:
        """Closes the producer."""
        await self._writer.stop()

    def _move(self, place: int, moved: int) -> None:
        """Notes that a row has left, and that another one has taken its place."""
        self._history.move(place, moved)
        self._snapshots.renumber()

    async def _find_scopes(self, reader: LogReader, bounds: ScopeBounds, since: int) -> None:
        """Finds which scopes have rows, before any question whether there is room for another."""
        windows = self._totals.windows
        async for scope in self._scopes():
            self._totals.let_in(scope)
        others: set[int] = set()
        async for record in self._read(reader, self._context.catalogue.windows.name, since):
            key = record_key(record)
            row = RowKey.parse(key.decode())
            if record.value is not None and windows.find(row) is None:
                others.add(hash(key))
                self._totals.let_in(row.scope)
        bounds.note_rows(len(windows) + len(others))

    async def _scopes(self) -> AsyncIterator[str]:
        """All scopes, once for each of their metrics, with pauses."""
        windows = self._totals.windows
        _, series, _ = windows.sizes
        for first in range(0, series, _NAMES):
            for _, scope in windows.series_names(first, first + _NAMES):
                yield scope
            await pause()

    def _check_home(self, scope: str) -> None:
        """Refuses rows that belong to another totals partition.

        Raises:
            ExpectedError: They were published with another number of partitions.
        """
        if self._context.totals_homes.of(scope) != self._number:
            raise ExpectedError(
                f"{self._context.catalogue.windows.name}-{self._number} has rows of {scope}, which belong to another partition: "
                "they were published with another totals_partitions, which only milestones rebuild changes",
                exit_code=3,
            )

    async def _read(self, reader: LogReader, topic: str, since: int = 0) -> AsyncIterator[LogRecord]:
        """The records of this partition of a topic from an offset on, with pauses."""
        partition = topic, self._number
        async for records in reader.read([partition], since={partition: since} if since else None):
            async for record in paced(records):
                yield record

    async def _read_pieces(self, reader: LogReader, topic: str, since: int = 0) -> AsyncIterator[Sequence[LogRecord]]:
        """The same in pieces, which count as changes since the last snapshot."""
        partition = topic, self._number
        async for records in reader.read([partition], since={partition: since} if since else None):
            for first in range(0, len(records), _AT_ONCE):
                piece = records[first : first + _AT_ONCE]
                self._snapshots.note(len(piece))
                yield piece
                await pause()

    async def _restore_rows(self, reader: LogReader, since: int) -> None:
        """Restores the published rows from an offset of their topic on."""
        async for records in self._read_pieces(reader, self._context.catalogue.windows.name, since):
            values: list[bytes] = []
            for record in records:
                if record.value is None:
                    self._totals.restore_rows(values)
                    values = []
                    self._totals.restore_left(RowKey.parse(record_key(record).decode()))
                    continue
                if self._context.totals_homes.partitions > 1:
                    self._check_home(RowKey.parse(record_key(record).decode()).scope)
                values.append(record.value)
            self._totals.restore_rows(values)

    async def _restore_milestones(self, reader: LogReader) -> str:
        """Restores the published milestones, and those that wait for their units. Returns their last source."""
        source = ""
        async for record in self._read(reader, self._context.catalogue.milestones.name):
            event = decode_milestone(record_value(record))
            if event.data.silence is not None:
                self._silences.restore_alert(event)
            elif event.data.kind in ALERT_KINDS:
                self._forecasts.restore_alert(event)
            else:
                self._totals.restore_milestone(event)
            source = event.source
        async for value in paced(self._waiting.values()):
            event = decode_milestone(value)
            self._totals.restore_milestone(event)
            self._moments.restore(event)
            source = event.source
        return source

    async def _source_elsewhere(self, reader: LogReader) -> str:
        """The event source of the last milestone published by another partition; empty if there is none."""
        last_ms, source = 0, ""
        others = [part for part in self._context.catalogue.milestones.whole if part[1] != self._number]
        if others:
            async for records in reader.read(others):
                async for record in paced(records):
                    if record.timestamp >= last_ms:
                        last_ms, source = record.timestamp, decode_milestone(record_value(record)).source
        return source

    async def _new_source(self, reader: LogReader) -> str:
        """The event source of an installation that has not published a milestone yet."""
        parts = (EARLIEST_SOURCE, await reader.cluster_id(), self._context.settings.output_prefix)
        return "/".join(part for part in parts if part)

    async def _read_counts(self, reader: LogReader) -> None:
        """Reads all counts from the next one on."""
        async for records in self._read_pieces(reader, self._counts.topic, self._next):
            self._totals.take([found for found in map(self._shards.absorb, records) if found is not None])
        self._next = await reader.position(self._counts)

    async def _recall(self, reader: LogReader) -> dict[str, bytes]:
        """Restores what is remembered, except the rows. Returns the states of the side topics, by name."""
        sides: dict[str, bytes] = {}
        held: dict[str, bytes] = {}
        waiting = self._waiting
        decided: dict[str, bytes] = {}
        kept: dict[str, bytes] = {}
        expected: dict[str, bytes] = {}
        campaigns: dict[str, bytes] = {}
        quiet: dict[str, bytes] = {}
        hours: dict[str, bytes] = {}
        async for record in self._read(reader, self._context.catalogue.totals.name):
            kind, name = name_of(record_key(record))
            if kind == SIDE and name.startswith(SNAPSHOT):
                self._snapshots.recall(name.removeprefix(SNAPSHOT), record.value)
            elif kind in (SIDE, HELD) and not name.startswith(CUT):
                beginnings = (
                    (DECIDED, decided),
                    (WAITING, waiting),
                    (KEPT, kept),
                    (EXPECTED, expected),
                    (COUNTED, campaigns),
                    (QUIET, quiet),
                    (JUDGED, quiet),
                    (SOURCE_HOURS, hours),
                )
                of_side = next((found for beginning, found in beginnings if name.startswith(beginning)), sides)
                of_kind = held if kind == HELD else of_side
                if record.value is not None:
                    of_kind[name] = record.value
                else:
                    of_kind.pop(name, None)
        for name, value in kept.items():
            state = decode_kept(value)
            template = tuple(filter(None, name.removeprefix(KEPT).split(",")))
            self._totals.restore_kept(template, KeptState(state.since, state.days))
        self._recall_alerts(expected, quiet)
        for name, value in hours.items():
            self._silences.restore_hours(name.removeprefix(SOURCE_HOURS), value)
        for name, value in campaigns.items():
            self._totals.restore_campaign(name.removeprefix(COUNTED), value.decode())
        async for milestone_id, value in paced(held.items()):
            self._totals.restore_held(milestone_id, decode_held(value).since_us)
        async for value in paced(decided.values()):
            self._totals.restore_decided(decode_milestone(value))
        return sides

    def _recall_alerts(self, expected: Mapping[str, bytes], quiet: Iterable[str]) -> None:
        """Restores what alerts are compared with."""
        for name in quiet:
            self._silences.restore_memory(name)
        for name, value in expected.items():
            self._forecasts.restore_expected(name.removeprefix(EXPECTED), value)

    async def _take_in(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            if batch.topic in self._sides:
                await self._sides.take(batch)
            else:
                await self._sum(batch)

    async def _sum(self, batch: Batch) -> None:
        """Sums a batch of day counts."""
        if batch.first > self._next:
            raise RuntimeError(f"{batch.topic}: summed up to {self._next}, fetched from {batch.first}")
        records = batch.records
        if records and records[0].offset < self._next:
            records = [record for record in records if record.offset >= self._next]
        for first in range(0, len(records), _AT_ONCE):
            for shard, counts in self._shards.take(records[first : first + _AT_ONCE]):
                await self._apply(shard, counts)
            await pause()
        self._next = max(self._next, batch.next)

    def _take_target(self, record: SourceRecord, *, future_limit_us: int) -> Disposition | Rejection:
        event = decode_target(
            record, future_limit_us=future_limit_us, framed=self._context.settings.accept_schema_registry_json
        )
        if isinstance(event, BalanceSet):
            return self._totals.take_balance(balance_of(event))
        if isinstance(event, CampaignSet | CampaignWithdrawn):
            return self._announcing.take(event)
        return event if isinstance(event, Rejection) else self._totals.take_target(change_of(event))

    def _take_control(self, record: SourceRecord, *, future_limit_us: int) -> Disposition | Rejection:
        event = decode_control(
            record, future_limit_us=future_limit_us, framed=self._context.settings.accept_schema_registry_json
        )
        return event if isinstance(event, Rejection) else self._totals.take_control(control_of(event))

    def _warn(self) -> None:
        """Logs gaps in the holiday calendars and limits that are near, each once."""
        bounds = self._totals.bounds
        for line in self._limits.lines(self._totals.windows, bounds.kept_out if bounds is not None else 0):
            logger.warning("%s", line)
        for line in self._totals.warnings:
            if line not in self._warned:
                self._warned.add(line)
                logger.warning("%s", line)

    async def _apply(self, shard: int, counts: list[tuple[bytes, bytes]]) -> None:
        """Takes what a transaction of a ledger partition has changed."""
        self._moments.hear(shard, self._shards.markers[shard])
        for first in range(0, len(counts), _AT_ONCE):
            self._totals.take(counts[first : first + _AT_ONCE])
            await pause()

    def _now_us(self) -> int:
        if self._context.settings.clock != "events":
            return self._context.now_us()
        # If retention has removed all events, the clock stays where it was, and their rows are withdrawn.
        return self._shards.clock_us or self._totals.windows.last_update_us

    def _caught_up(self, now_us: int) -> bool:
        """Whether days before today, and campaigns that have ended, may close.

        Every shard must have read everything appended, or dated, before today and before the end of the last such campaign.
        """
        ended_us = self._context.last_end_us(now_us, self._announcing.campaigns)
        if self._context.settings.clock == "events":
            return self._shards.told_up_to(ended_us)
        return self._shards.read_up_to(ended_us)

    def _read_up_to(self, hour_us: int) -> bool:
        """Whether every shard has read everything appended, or dated, before an hour."""
        if self._context.settings.clock == "events":
            return self._shards.told_up_to(hour_us, "hour")
        return self._shards.read_up_to(hour_us, "hour")

    def _collects(self, batches: Sequence[Batch]) -> bool:
        """Whether to take more counts before the next step."""
        now_us = self._context.now_us()
        if not self._is_collecting:
            self._collecting_since_us = now_us
        for batch in batches:
            if batch.topic == self._counts.topic:
                self._collected += len(batch.records)
                self._left = batch.end - batch.next
        return (
            self._left > self._context.many_left
            and self._collected < _COLLECTED * self._context.many_left
            and 0 <= now_us - self._collecting_since_us < _COLLECTING_US
        )

    def _begin_step(self) -> None:
        self._collected = self._left = 0
        now_us = self._now_us()
        if self._shards.settled and now_us > 0:
            self._step_us, self._step_caught_up = now_us, self._caught_up(now_us)
            self._parts = self._totals.steps(
                now_us=now_us,
                caught_up=self._step_caught_up,
                most=self._context.part_rows,
                waiting=self._moments.rows,
            )

    async def _next_part(self, parts: Iterator[Step | None]) -> Outbox:
        """The records of the next part of the step; the last part also has forecasts and status."""
        for part in parts:
            if part is None:
                await pause()
                continue
            records = await self._records(part)
            if part.is_last:
                self._parts = None
                wall_us = self._context.now_us()
                if self._step_caught_up:
                    # Days that a shard has not read completely would make every forecast too low.
                    forecasts = self._forecasts.records(
                        self._totals, self._totals.targets, now_us=self._step_us, wall_us=wall_us
                    )
                    self._later.extend(forecasts)
                self._later.extend(
                    self._silences.records(self._step_us, self._read_up_to, tell_hours=self._shards.tell_hours)
                )
                records += self._take_later(len(records))
                records += self._status(wall_us)
            if records or part.is_last:
                return records
        raise RuntimeError("a step has ended without its last part")

    def _take_later(self, taken: int) -> list[Outgoing]:
        """As many of the waiting forecasts and alerts as fit into a transaction that already has `taken` records."""
        records: list[Outgoing] = []
        while self._later and taken + len(records) + len(self._later[0]) <= _MOST_RECORDS:
            records += self._later.popleft()
        return records

    async def _records(self, step: Step) -> Outbox:
        catalogue, number = self._context.catalogue, self._number
        records = Outbox()
        windows, now_us = catalogue.windows.name, self._context.now_us()
        async for place, row in paced(zip(step.places, step.rows, strict=True)):
            # The text of its `RowKey`, in a fifth of the time.
            key = f"{row.metric}/{row.scope}/{row.period}".encode()
            records.append(Outgoing(windows, number, key, encode_row(row)))
            self._history.publish(place, row, now_us)
        records.add_run(windows, number, step.plain.records)
        for first in range(0, len(step.plain.places), _AT_ONCE):
            self._history.publish_plain(step.plain.places[first : first + _AT_ONCE], now_us)
            await pause()
        records += [self._history.replace(row) async for row in paced(step.replaced) if not self._history.has(row)]
        records.add_run(catalogue.history.name, number, step.plain.replaced)
        records += [Outgoing(catalogue.windows.name, number, str(key).encode(), None) for key in step.left]
        for template, kept in step.kept.items():
            body = encode_memory(KeptRecord(*kept)) if kept is not None else None
            records.append(Outgoing(catalogue.totals.name, number, key_of(SIDE, KEPT + ",".join(template)), body))
        for period_id, definition in step.campaigns.items():
            body = definition.encode() if definition is not None else None
            records.append(Outgoing(catalogue.totals.name, number, key_of(SIDE, COUNTED + period_id), body))
        records += self._moments.publish(step.milestones)
        for milestone_id, since_us in step.held.items():
            body = encode_memory(Held(since_us)) if since_us is not None else None
            records.append(Outgoing(catalogue.totals.name, number, key_of(HELD, milestone_id), body))
        for event_id, decided in step.decided.items():
            body = encode_milestone(decided) if decided is not None else None
            records.append(Outgoing(catalogue.totals.name, number, key_of(SIDE, DECIDED + event_id), body))
        return records

    def _status(self, now_us: int) -> list[Outgoing]:
        if now_us - self._last_status_us <= _STATUS_INTERVAL_US:
            return []
        self._last_status_us = now_us
        self._warn()
        # All partitions know the same about the sources, so one of them publishes it.
        return [] if self._number else self._source_times.records(self._shards.markers.values(), now_us)
