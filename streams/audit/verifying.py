"""`verify`: compares everything the service has published with a recount of the source topics up to a fixed point."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from schemas.counts import CampaignHour
from schemas.facts import BY_STATE
from schemas.outputs import ALERT_KINDS, Books, source_name, source_of
from schemas.partitioner import totals_partition
from schemas.texts import source_of_scope
from streams.audit.alerts import ALERT_ENDS_WITHIN_US, check_alerts, read_alerts
from streams.audit.comparing import (
    compare_campaigns,
    compare_milestones,
    compare_row_balances,
    compare_row_targets,
    compare_rows,
    compare_shards,
    compare_sums,
)
from streams.audit.control_totals import compare_row_controls, read_sent_totals
from streams.audit.dead_letters import read_letters
from streams.audit.expected_milestones import found_standing
from streams.audit.forwarded import read_arrivals, strangers_applied
from streams.audit.kept_days import check_kept
from streams.audit.moments import UnitCheck, UnitsThen, read_cuts
from streams.audit.production import PublishedContradictions
from streams.audit.published import read_published
from streams.audit.recount import FORWARDED, Recounting, ShardCount
from streams.audit.report import Check, Difference, Report
from streams.audit.silent_sources import SilentSources, read_markers, surely_judged
from streams.audit.sources import Coordinates, Home, Sources, Stops, coordinates_of
from streams.audit.sums import Business, Day, add_days, limited, windows_of, without_later
from streams.audit.suspects import line_up
from streams.audit.targets import read_targets
from streams.errors import ExpectedError
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import reader
from streams.listener import Listener

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aiokafka import AIOKafkaConsumer

    from schemas.counts import CountKey
    from schemas.facts import Fact
    from schemas.rows import RowKey
    from streams.audit.expected_milestones import TargetInForce
    from streams.audit.published import Published
    from streams.audit.recount import StreamBooks
    from streams.audit.sums import Window
    from streams.settings import Settings

_MOST_VINS: Final = 1000
#: Number of differences whose units are named; the first ones are enough to find the cause.
_MOST_SUSPECTS: Final = 20


@dataclass
class _Gone:
    """The records in the books of a stream that retention has removed.

    Attributes:
        records: How many at most, since transaction markers take offsets, too.
        dead_letters: How many of them are dead letters.
        rerouted: How many of them were forwarded.
        is_exact: Whether all of them are in the books; false if the books begin later.
    """

    records: int = 0
    dead_letters: int = 0
    rerouted: int = 0
    is_exact: bool = True


async def verify(settings: Settings, listener: Listener | None = None) -> Report:
    """Recounts everything and compares.

    Args:
        settings: The installation: topic names, time zone, scopes, holidays, rules, targets.
        listener: Told about progress.

    Raises:
        ExpectedError: The cluster is unreachable, or there is nothing to compare with yet.
    """
    listener = listener or Listener()
    async with reader(settings) as consumer:
        return await _Run(settings, consumer, listener).report()


class _Run:
    """A run; `report` fills the attributes in order."""

    def __init__(self, settings: Settings, consumer: AIOKafkaConsumer, listener: Listener) -> None:
        self._settings = settings
        self._business = Business(settings)
        self._consumer = consumer
        self._listener = listener
        self._gone: dict[tuple[int, int], _Gone] = {}
        self._beginnings: list[Difference] = []
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
        self._settings = settings = self._target_events.counted_by(settings)
        self._business = Business(settings)
        self._sent_totals = await read_sent_totals(settings, self._consumer)
        self._contradictions = PublishedContradictions(settings, self._consumer)
        await self._contradictions.begin()
        published, *others = await read_published(
            settings, self._business, self._consumer, self._belongs_together, say=listener.say
        )
        report = await self._report_of(published)
        for other in others:
            # On a stream that never stops, each totals partition has summed up to a different moment.
            run = _Run(settings, self._consumer, listener)
            run._target_events, run._sent_totals = self._target_events, self._sent_totals
            run._contradictions = self._contradictions
            report.add(await run._report_of(other))
        return report

    async def _report_of(self, published: Published) -> Report:
        """Counts up to the moment of a snapshot, and compares."""
        settings, listener = self._settings, self._listener
        self._published = published
        self._letters = await read_letters(settings, self._consumer)
        self._cuts = await read_cuts(settings, self._consumer)
        standing = found_standing(self._published.milestones).values()
        self._units = UnitCheck(self._business, standing, self._cuts)
        self._silent = SilentSources(self._published.milestones)
        self._sources = self._letters.sources(settings, self._consumer, listener.progress)
        self._stops = await self._source_stops()
        # Each record is read twice: once to find those published away from home, once to count.
        listener.plan(2 * sum(self._stops.values()))
        listener.say("reading the sources")
        shards = await self._recount()
        return await self._compare(shards)

    def _check_kept(self) -> list[Check]:
        parts = (part for counted in self._published.shards.values() for _, _, part in counted)
        days = (part for part in parts if not isinstance(part, CampaignHour))
        return [check_kept(self._settings, self._published.kept, days)] if self._settings.keep_days else []

    def _check_campaigns(self) -> list[Check]:
        check = compare_campaigns(self._published.markers, self._business)
        return [check] if check.compared else []

    @property
    def _now_us(self) -> int:
        if self._settings.clock == "events":
            return max((marker.clock_us for marker in self._published.markers.values()), default=0)
        return time.time_ns() // 1000

    @property
    def _balances(self) -> dict[RowKey, int]:
        found = self._target_events.balances(self._business, self._now_us)
        return {row: units for row, units in found.items() if self._is_here(row.scope)}

    @property
    def _targets(self) -> list[TargetInForce]:
        found = self._target_events.in_force(self._settings, self._business, self._now_us)
        return [target for target in found if self._is_here(target.scope)]

    def _is_here(self, scope: str) -> bool:
        """Whether the snapshot has the rows of a scope."""
        if self._published.number is None:
            return True
        if source_of_scope(scope) is not None:
            return not self._published.number
        settings = self._settings
        by_dimensions = settings.limits.beyond == "other"
        return self._published.number == totals_partition(
            scope, settings.totals_partitions, by_dimensions=by_dimensions
        )

    def _belongs_together(self, published: Published) -> bool:
        """Whether the milestones match the published counts; if not, they may a moment later."""
        self._published = published
        windows = self._windows_of(published, published.shards.values())
        check = compare_milestones(
            self._settings, windows, published.rows, published.milestones, self._targets, published.kept
        )
        targets = compare_row_targets(published.rows.values(), self._targets, published.kept)
        balances = compare_row_balances(published.rows, self._balances)
        campaigns = compare_campaigns(published.markers, self._business)
        return not any(each.differences for each in (check, targets, balances, campaigns))

    def _windows_of(self, published: Published, shards: Iterable[Mapping[CountKey, Day]]) -> dict[RowKey, Window]:
        """The rows that follow from day counts, with the limits on scopes and on days."""
        with_rows = {key.scope for key in published.rows}
        # A scope that had production keeps its inventory row even if all of it is taken back.
        produced = {
            key: 0
            for key in published.rows
            if key.metric == "produced" and key.period == "total" and self._business.is_counted(key.period)
        }
        days = limited(add_days(shards), with_rows, self._settings)
        windows = windows_of(days, self._business, produced | self._balances)
        windows = without_later(windows, self._business.local(self._now_us).date(), published.rows.keys())
        return {
            key: window for key, window in windows.items() if key in published.rows or not published.kept.lacks(key)
        }

    async def _source_stops(self) -> Stops:
        """How far the ledger partitions have applied the sources; checks that those offsets still exist."""
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
        # If a record is gone where it was published, its forwarded copy is used.
        for shard, places in self._arrivals.applied.items():
            events = (self._arrivals.by_record[at].event for at in places if self._sources.is_gone(at))
            self._strangers[shard] += [event for event in events if event is not None]
        self._recounting = Recounting(
            self._business,
            self._letters.by_record,
            self._sources.names,
            self._checks["dead letters"],
            self._units.note,
            self._silent.note if self._silent else None,
        )
        explained: set[Coordinates] = set()
        shards: dict[int, ShardCount] = {}
        arrived = {at: arrival.event for at, arrival in self._arrivals.by_record.items()}
        for number in range(self._settings.partitions):
            home = await self._sources.home(number, self._stops, self._strangers, arrived)
            shards[number] = self._recounting.count(number, home)
            forwarded = self._arrivals.applied[number]
            shards[number].books[FORWARDED].read = len(forwarded)
            shards[number].books[FORWARDED].dead_letters += sum(
                self._arrivals.by_record[at].event is None for at in forwarded
            )
            explained |= shards[number].explained | {
                at for at in forwarded if self._arrivals.by_record[at].event is None
            }
            self._note_beginnings(number, home)
            for part in home.parts.values():
                for refused in part.refused:
                    explained.add(refused.at)
                    self._check_letter(refused.at, refused.reason, refused.digest)
        self._check_strange_letters(explained, strangers)
        return shards

    def _note_beginnings(self, number: int, home: Home) -> None:
        """Notes which records are gone, and what replaces them."""
        kept = Counter(at[:2] for at in home.kept)
        lost = self._published.markers[number].lost
        for topic, part in home.parts.items():
            name = self._sources.names[topic]
            for partition, first in part.firsts.items():
                # Records deleted before they were read are counted nowhere, so nothing can be missing.
                uncounted = lost.get(source_name(name, partition, number), 0)
                if first <= uncounted:
                    continue
                self._note_gone(number, (topic, partition), first - uncounted, is_exact=not uncounted)
                events = kept[topic, partition]
                self._beginnings.append(
                    Difference(
                        f"{name}-{partition} begins at offset {first:,}: {events:,} events that the ledger keeps of what was there "
                        "before were counted with what is there",
                        {"topic": name, "partition": partition, "begins_at": first, "events": events},
                    )
                )
        moved = self._published.markers[number].moved
        if moved:
            self._beginnings.append(
                Difference(
                    f"ledger partition {number} was moved here with {moved:,} events: {len(home.kept):,} of them whose records are "
                    "not here were counted with what is there",
                    {"ledger": number, "moved": moved, "events": len(home.kept)},
                )
            )

    def _note_gone(self, number: int, source: tuple[int, int], records: int, *, is_exact: bool) -> None:
        gone = self._gone.setdefault((number, source[0]), _Gone())
        gone.records += records
        gone.is_exact &= is_exact
        letters, arrivals = self._letters.by_record.items(), self._arrivals.by_record
        # A dead letter lies in the partition of the ledger partition that rejected it; for forwarded records that is another one.
        gone.dead_letters += sum(
            at[:2] == source and self._sources.is_gone(at) and letter.partition == number for at, letter in letters
        )
        gone.rerouted += sum(at[:2] == source and self._sources.is_gone(at) for at in arrivals)

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
        """Finds dead letters of valid records, and duplicate dead letters."""
        check = self._checks["dead letters"]
        applied = {coordinates_of(event) for events in self._strangers.values() for event in events}
        on_their_way = {coordinates_of(event) for events in strangers.values() for event in events} - applied
        for at, letter in sorted(self._letters.by_record.items()):
            stop = self._stops.get(at[:2])
            if stop is None or self._sources.is_gone(at) or at[2] >= stop or at in on_their_way:
                continue  # not applied yet, or deleted: there is nothing to compare with
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
        recounted: dict[int, dict[CountKey, Day]] = {
            number: {key: day for key, day in shard.tally.days().items() if self._is_here(key[1])}
            for number, shard in shards.items()
        }
        windows = self._windows_of(published, recounted.values())
        totals = self._windows_of(published, published.shards.values())
        checks = [
            compare_shards(published.shards, recounted, business),
            compare_rows(published.rows, windows, business, Check("rows", 0, "window rows equal the events")),
            compare_rows(
                published.rows,
                totals,
                business,
                Check("shards", 0, "window rows are the sums of the ledger partitions"),
            ),
            compare_sums(published.rows, published.kept),
            compare_milestones(
                self._settings, windows, published.rows, published.milestones, self._targets, published.kept
            ),
            await self._check_units(recounted.values()),
            await self._check_alerts(),
            compare_row_targets(published.rows.values(), self._targets, published.kept),
            compare_row_balances(published.rows, self._balances),
            *self._check_campaigns(),
            compare_row_controls(published.rows, self._sent_totals),
            self._check_books(shards),
            *await self._check_production(),
            *self._check_kept(),
            *(self._checks[name] for name in ("dead letters", "forwarded", "sources")),
        ]
        await self._name_units(checks[:2])
        return Report(
            point=self._point(shards),
            checks=checks,
            warnings=self._warnings(),
            beginnings=self._beginnings,
            conflicts=[conflict for shard in shards.values() for conflict in shard.conflicts],
            books=self._books(shards),
            records=sum(books.read for shard in shards.values() for books in shard.books.values()),
        )

    async def _check_alerts(self) -> Check:
        about = [event.data for event in self._published.milestones if event.data.kind in ALERT_KINDS]
        alerts = await read_alerts(self._settings, self._consumer, about)
        check = check_alerts(alerts, self._is_here, self._now_us)
        known_us = time.time_ns() // 1000 - ALERT_ENDS_WITHIN_US
        if self._silent and self._settings.clock == "wall":
            # If retention has removed what there was then, it is unknown what had come.
            with contextlib.suppress(ExpectedError):
                await self._silent.compare(check, alerts.standing, self._sources.stops_at, known_us)
        elif self._silent.has_found:
            said = await read_markers(self._settings, self._consumer)
            partitions = self._settings.partitions
            seen = surely_judged(said, partitions, self._sources.numbers, known_us)
            self._silent.compare_by_events(check, alerts.standing, seen, partitions)
        return check

    async def _check_units(self, shards: Iterable[Mapping[CountKey, Day]]) -> Check:
        """Checks the units that milestones name; if they have moved since, everything is counted as of then."""
        claims = self._units.moved(add_days(shards), self._published.markers)
        if claims:
            self._listener.say("counting the units of milestones as they were when these were found")
            then = UnitsThen(self._units.check, self._business, self._sources.names, claims, self._cuts, self._arrivals)
            arrived = {at: arrival.event for at, arrival in self._arrivals.by_record.items()}
            for number in range(self._settings.partitions):
                home = await self._sources.home(number, self._stops, self._strangers, arrived)
                for records in home.orders.values():
                    then.take(number, records, self._letters.by_record)
            then.compare()
        return self._units.check

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
                for line in _book_faults(theirs, shard.books[stream], self._of_gone(number, stream), marker.moved):
                    check.differ(f"{name}-{number}: {line}", topic=name, partition=number)
            # Each deleted record, and each event moved here from another cluster, may have been a duplicate.
            unknown = sum(self._of_gone(number, stream).records for stream in self._sources.names) + marker.moved
            for what, found, said, more in (
                ("applied", shard.events - marker.moved, sum(books.applied for books in marker.books.values()), 0),
                ("duplicates", shard.duplicates, sum(books.duplicates for books in marker.books.values()), unknown),
            ):
                if not found <= said <= found + more:
                    check.differ(f"ledger partition {number}: {what} {said:,}, counted {found:,}", partition=number)
        return check

    def _of_gone(self, number: int, stream: int) -> _Gone:
        return self._gone.get((number, stream), _Gone())

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
        """(stream, topic, sum of the books over the partitions read by the ledger partition): source topics, then forwarded records."""
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

    async def _check_production(self) -> list[Check]:
        if not catalogue_of(self._settings).judges_production:
            return []
        return [await self._contradictions.compare(self._recounting.production, self._published.markers)]

    def _warnings(self) -> list[Difference]:
        moving = (
            "rows and milestones were never those of one moment for a minute, while events kept coming: what differs in them may "
            "have been on its way; verify again when fewer come"
        )
        return [Difference(moving, {"moving": True})] * self._published.is_moving + [
            Difference(
                f"VIN {vin} stands as delivered under two orders: {one} and {other}",
                {"vin": vin, "orders": [one, other]},
            )
            for vin, one, other in sorted(self._recounting.two_orders)[:_MOST_VINS]
        ]


def _book_faults(theirs: Books, ours: StreamBooks, gone: _Gone, moved: int) -> list[str]:
    """The differences in a partition's books of one stream; `moved` of its events came from another cluster."""
    faults = []
    if theirs.read != theirs.applied + theirs.duplicates + theirs.dead_letters + theirs.rerouted:
        faults.append(
            f"read {theirs.read:,} is not applied {theirs.applied:,} + duplicates {theirs.duplicates:,} + "
            f"dead letters {theirs.dead_letters:,} + rerouted {theirs.rerouted:,}"
        )
    most = ours.duplicates + ours.uncertain + gone.records + moved
    faults += [
        f"{what} {said:,}, counted {found:,}{_of_deleted(least, more)}"
        for what, said, found, least, more in (
            ("read", theirs.read, ours.read, 0, gone.records),
            *(
                (what, said, found, of_gone if gone.is_exact else 0, of_gone)
                for what, said, found, of_gone in (
                    ("dead letters", theirs.dead_letters, ours.dead_letters, gone.dead_letters),
                    ("rerouted", theirs.rerouted, ours.rerouted, gone.rerouted),
                )
            ),
        )
        if not found + least <= said <= found + more
    ]
    if not ours.duplicates <= theirs.duplicates <= most:
        faults.append(f"duplicates {theirs.duplicates:,}, counted {ours.duplicates:,}")
    return faults


def _of_deleted(least: int, most: int) -> str:
    """The text to add to a count for deleted records."""
    if not most:
        return ""
    return f" and {least:,} of deleted records" if least == most else f" and up to {most:,} of deleted records"
