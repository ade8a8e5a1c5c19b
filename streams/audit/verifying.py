"""`verify`: compares everything the service has published with a recount of the source topics up to a fixed point."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from schemas.facts import BY_STATE
from schemas.outputs import Books, source_name, source_of
from streams.audit.comparing import (
    compare_milestones,
    compare_row_targets,
    compare_rows,
    compare_shards,
    compare_sums,
)
from streams.audit.forwarded import read_arrivals, strangers_applied
from streams.audit.letters import read_letters
from streams.audit.published import read_published
from streams.audit.recount import FORWARDED, Recounting, ShardCount
from streams.audit.report import Check, Difference, Report
from streams.audit.sources import Coordinates, Sources, Stops, audit_reader, coordinates_of
from streams.audit.sums import Business, Day, add_days, windows_of
from streams.audit.suspects import line_up
from streams.audit.targets import read_targets
from streams.audit.totals import compare_row_controls, read_sent_totals
from streams.kafka.admin import catalogue_of
from streams.listener import Listener

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiokafka import AIOKafkaConsumer

    from schemas.counts import DayKey
    from schemas.facts import Fact
    from streams.audit.published import Published
    from streams.audit.recount import StreamBooks
    from streams.audit.standing import TargetInForce
    from streams.settings import Settings

_MOST_VINS: Final = 1000
#: Differences whose units are named; the first ones are enough to find the cause.
_MOST_SUSPECTS: Final = 20


async def verify(settings: Settings, listener: Listener | None = None) -> Report:
    """Recounts everything and compares.

    Args:
        settings: The installation: names of topics, zone, scopes, holidays, rules, targets.
        listener: Gets progress.

    Raises:
        ExpectedError: The cluster is unreachable, or there is nothing to compare with yet.
    """
    listener = listener or Listener()
    async with audit_reader(settings) as consumer:
        return await _Run(settings, consumer, listener).report()


class _Run:
    """One run; `report` fills the attributes in order."""

    def __init__(self, settings: Settings, consumer: AIOKafkaConsumer, listener: Listener) -> None:
        self._settings = settings
        self._business = Business(settings)
        self._consumer = consumer
        self._listener = listener
        self._firsts: dict[tuple[int, int], int] = {}
        self._checks = {
            name: Check(name, 0, of)
            for name, of in (
                ("sources", "source partitions are whole up to the point"),
                ("forwarded", "records away from their home were forwarded once, unchanged"),
                ("dead letters", "dead letters belong to records that are not valid events, one each"),
                ("books", "books balance and equal an independent count"),
            )
        }

    async def report(self) -> Report:
        """Reads, counts, compares."""
        settings, listener = self._settings, self._listener
        await Sources(settings, self._consumer).check()
        listener.say("reading what was published")
        self._target_events = await read_targets(settings, self._consumer)
        self._sent_totals = await read_sent_totals(settings, self._consumer)
        self._published = await read_published(
            settings, self._business, self._consumer, self._belongs_together, say=listener.say
        )
        self._letters = await read_letters(settings, self._consumer)
        self._sources = self._letters.sources(settings, self._consumer, listener.progress)
        self._stops = await self._source_stops()
        # Each record is read twice: once to find those away from home, once to count.
        listener.plan(2 * sum(self._stops.values()))
        listener.say("reading the sources")
        shards = await self._recount()
        return await self._compare(shards)

    @property
    def _targets(self) -> list[TargetInForce]:
        now_us = time.time_ns() // 1000
        if self._settings.clock == "events":
            now_us = max((marker.clock_us for marker in self._published.markers.values()), default=0)
        return self._target_events.in_force(self._settings, self._business, now_us)

    def _belongs_together(self, published: Published) -> bool:
        """Whether the milestones match the published counts; they may a moment later."""
        self._published = published
        windows = windows_of(add_days(published.shards.values()), self._business)
        check = compare_milestones(self._settings, windows, published.rows, published.milestones, self._targets)
        targets = compare_row_targets(published.rows.values(), self._targets)
        return not check.differences and not targets.differences

    async def _source_stops(self) -> Stops:
        """How far the ledger partitions have applied the sources, and whether those records still exist."""
        check = self._checks["sources"]
        ends = await self._sources.ends()
        stops: Stops = {}
        rerouted = catalogue_of(self._settings).rerouted.name
        for shard, marker in self._published.markers.items():
            for source, (applied, _) in marker.positions.items():
                name, partition = source_of(source, shard)
                if name == rerouted:
                    continue
                if name not in self._sources.numbers:
                    check.differ(f"{name}-{partition}: was counted, and topics does not list it: this recount lacks it")
                    continue
                topic = self._sources.numbers[name]
                end = ends.get((topic, partition))
                check.compared += 1
                if end is None:
                    check.differ(
                        f"{name}-{partition}: is not there, applied was up to {applied}: the topic was recreated with fewer partitions"
                    )
                    continue
                if applied > end:
                    check.differ(
                        f"{name}-{partition}: ends at {end}, applied was up to {applied}: the topic was recreated or trimmed"
                    )
                stops[topic, partition] = min(applied, end)
        return stops

    async def _recount(self) -> dict[int, ShardCount]:
        forwarded_to = catalogue_of(self._settings).rerouted.name
        rerouted = {shard: marker.positions[forwarded_to][0] for shard, marker in self._published.markers.items()}
        check = self._checks["forwarded"]
        strangers = await self._sources.strangers(self._stops)
        self._arrivals = await read_arrivals(self._settings, self._sources, rerouted, check)
        self._strangers = strangers_applied(strangers, self._arrivals, self._sources, check)
        self._recounting = Recounting(
            self._business, self._letters.by_record, self._sources.names, self._checks["dead letters"]
        )
        explained: set[Coordinates] = set()
        shards: dict[int, ShardCount] = {}
        for number in range(self._settings.partitions):
            home = await self._sources.home(number, self._stops, self._strangers)
            shards[number] = self._recounting.count(number, home)
            forwarded = self._arrivals.applied[number]
            shards[number].books[FORWARDED].read = len(forwarded)
            shards[number].books[FORWARDED].dead_letters += sum(
                self._arrivals.by_record[at].event is None for at in forwarded
            )
            explained |= shards[number].explained | {
                at for at in forwarded if self._arrivals.by_record[at].event is None
            }
            for topic, part in home.parts.items():
                for partition, first in part.firsts.items():
                    self._firsts[topic, partition] = first
                    name = self._sources.names[topic]
                    # What was deleted before it was read is counted nowhere: of that there is nothing to lack.
                    if first > self._published.markers[number].lost.get(source_name(name, partition, number), 0):
                        self._checks["sources"].differ(
                            f"{name}-{partition}: begins at {first}: earlier records were deleted, so this recount lacks them",
                            topic=name,
                            partition=partition,
                            begins_at=first,
                        )
                for refused in part.refused:
                    explained.add(refused.at)
                    self._check_letter(refused.at, refused.reason, refused.digest)
        self._check_strange_letters(explained, strangers)
        return shards

    def _check_letter(self, at: Coordinates, reason: str, digest: int) -> None:
        check = self._checks["dead letters"]
        check.compared += 1
        letter = self._letters.by_record.get(at)
        where = f"{self._sources.names[at[0]]}-{at[1]}@{at[2]}"
        if letter is None:
            check.differ(f"{where}: is not a valid event ({reason}) and has no dead letter", record=list(at))
        elif letter.reason != reason:
            check.differ(f"{where}: among the dead letters as {letter.reason}, but it is {reason}", record=list(at))
        elif letter.digest != digest:
            check.differ(f"{where}: its dead letter has another key or value", record=list(at))

    def _check_strange_letters(self, explained: set[Coordinates], strangers: Mapping[int, list[Fact]]) -> None:
        """Dead letters of valid records, and duplicate dead letters."""
        check = self._checks["dead letters"]
        applied = {coordinates_of(event) for events in self._strangers.values() for event in events}
        on_their_way = {coordinates_of(event) for events in strangers.values() for event in events} - applied
        for at, letter in sorted(self._letters.by_record.items()):
            stop = self._stops.get(at[:2])
            if stop is None or not self._firsts[at[:2]] <= at[2] < stop or at in on_their_way:
                continue  # not applied yet, or deleted: there is nothing to compare it with
            where = f"{self._sources.names[at[0]]}-{at[1]}@{at[2]}"
            if letter.reason in BY_STATE and at in explained:
                check.compared += 1
            if at in self._letters.repeated:
                check.differ(f"{where}: {self._letters.repeated[at]} dead letters of one record", record=list(at))
            if at not in explained and letter.reason not in BY_STATE:
                check.differ(
                    f"{where}: among the dead letters as {letter.reason}, but it is a valid event", record=list(at)
                )

    async def _compare(self, shards: Mapping[int, ShardCount]) -> Report:
        published, business = self._published, self._business
        recounted: dict[int, dict[DayKey, Day]] = {number: shard.tally.days() for number, shard in shards.items()}
        windows = windows_of(add_days(recounted.values()), business)
        totals = windows_of(add_days(published.shards.values()), business)
        checks = [
            compare_shards(published.shards, recounted),
            compare_rows(published.rows, windows, business, Check("rows", 0, "window rows equal the events")),
            compare_rows(
                published.rows,
                totals,
                business,
                Check("shards", 0, "window rows are the sums of the ledger partitions"),
            ),
            compare_sums(published.rows),
            compare_milestones(self._settings, windows, published.rows, published.milestones, self._targets),
            compare_row_targets(published.rows.values(), self._targets),
            compare_row_controls(published.rows, self._sent_totals),
            self._check_books(shards),
            *(self._checks[name] for name in ("dead letters", "forwarded", "sources")),
        ]
        await self._name_units(checks[:2])
        return Report(
            point=self._point(shards),
            checks=checks,
            warnings=self._warnings(),
            conflicts=[conflict for shard in shards.values() for conflict in shard.conflicts],
            books=self._books(shards),
            records=sum(books.read for shard in shards.values() for books in shard.books.values()),
        )

    async def _name_units(self, checks: Sequence[Check]) -> None:
        """Adds the units behind each difference of counts."""
        found = [
            (difference, difference.suspect)
            for check in checks
            for difference in check.differences
            if difference.suspect is not None
        ]
        if not found:
            return
        self._listener.say("looking for the units where the differences are")
        lineups = await line_up(
            [suspect for _, suspect in found[:_MOST_SUSPECTS]],
            self._business,
            self._sources,
            self._stops,
            self._strangers,
            self._letters.by_record,
        )
        for (difference, _), lineup in zip(found, lineups, strict=False):
            difference.details["unit_count"] = lineup.count
            difference.details["units"] = lineup.units
            difference.details["without_effect"] = lineup.without_effect

    # Books ----------------------------------------------------------------------------------------------------------

    def _check_books(self, shards: Mapping[int, ShardCount]) -> Check:
        check = self._checks["books"]
        for number, shard in shards.items():
            marker = self._published.markers[number]
            for stream, name, theirs in self._ordered(marker.books, number):
                check.compared += 1
                for line in _book_faults(theirs, shard.books[stream]):
                    check.differ(f"{name}-{number}: {line}", topic=name, partition=number)
            for what, found, said in (
                ("applied", shard.events, sum(books.applied for books in marker.books.values())),
                ("duplicates", shard.duplicates, sum(books.duplicates for books in marker.books.values())),
            ):
                if found != said:
                    check.differ(f"ledger partition {number}: {what} {said:,}, counted {found:,}", partition=number)
        return check

    def _books(self, shards: Mapping[int, ShardCount]) -> list[dict[str, Any]]:
        return [
            {
                "topic": name,
                "partition": number,
                "read": theirs.read,
                "applied": theirs.applied,
                "duplicates": theirs.duplicates,
                "dead_letters": theirs.dead_letters,
                "rerouted": theirs.rerouted,
            }
            for number in shards
            for _, name, theirs in self._ordered(self._published.markers[number].books, number)
        ]

    def _ordered(self, books: Mapping[str, Books], number: int) -> list[tuple[int, str, Books]]:
        """Source topics, then the forwarded records: stream, topic, and the sum over the partitions that the ledger partition reads."""
        sums: dict[str, Books] = {}
        for source, found in books.items():
            topic = source_of(source, number)[0]
            before = sums.get(topic, Books(0, 0, 0, 0, 0))
            sums[topic] = Books(
                before.read + found.read,
                before.applied + found.applied,
                before.duplicates + found.duplicates,
                before.dead_letters + found.dead_letters,
                before.rerouted + found.rerouted,
            )
        nothing = Books(0, 0, 0, 0, 0)
        streams = (*self._sources.names.items(), (FORWARDED, catalogue_of(self._settings).rerouted.name))
        return [(stream, topic, sums.get(topic, nothing)) for stream, topic in streams]

    # What else there is to say --------------------------------------------------------------------------------------

    def _point(self, shards: Mapping[int, ShardCount]) -> dict[str, Any]:
        published = self._published
        return {
            "applied": {
                topic: {
                    str(partition): applied
                    for shard, marker in sorted(published.markers.items())
                    for (name, partition), applied in (
                        (source_of(source, shard), applied) for source, (applied, _) in marker.positions.items()
                    )
                    if name == topic
                }
                for topic in sorted(
                    {
                        source_of(source, shard)[0]
                        for shard, marker in published.markers.items()
                        for source in marker.positions
                    }
                )
            },
            "records": {
                name: sum(shard.books[topic].read for shard in shards.values())
                for topic, name in self._sources.names.items()
            },
            "counts_offset": published.counts_offset,
            "counts_behind": published.counts_after,
            "rows_updated_at": max((row.updated_at for row in published.rows.values()), default=None),
        }

    def _warnings(self) -> list[Difference]:
        return [
            Difference(
                f"VIN {vin} stands as delivered under two orders: {one} and {other}",
                {"vin": vin, "orders": [one, other]},
            )
            for vin, one, other in sorted(self._recounting.two_orders)[:_MOST_VINS]
        ]


def _book_faults(theirs: Books, ours: StreamBooks) -> list[str]:
    """The differences in the books of one stream of one partition."""
    faults = []
    if theirs.read != theirs.applied + theirs.duplicates + theirs.dead_letters + theirs.rerouted:
        faults.append(
            f"read {theirs.read:,} is not applied {theirs.applied:,} + duplicates {theirs.duplicates:,} + "
            f"dead letters {theirs.dead_letters:,} + rerouted {theirs.rerouted:,}"
        )
    faults += [
        f"{what} {said:,}, counted {found:,}"
        for what, said, found in (
            ("read", theirs.read, ours.read),
            ("dead letters", theirs.dead_letters, ours.dead_letters),
            ("rerouted", theirs.rerouted, ours.rerouted),
        )
        if said != found
    ]
    if not ours.duplicates <= theirs.duplicates <= ours.duplicates + ours.uncertain:
        faults.append(f"duplicates {theirs.duplicates:,}, counted {ours.duplicates:,}")
    return faults
