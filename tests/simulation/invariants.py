"""What must hold after every commit, checked from the log alone with code that shares nothing with the service.

The counts equal a naive recount of exactly the records below the committed positions; every record is accounted for once;
milestones come once and in order; no period is over before everything in it is counted. Each of these is in a module of its own;
here is the order in which they look at a transaction.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final

import orjson

from schemas.facts import INVENTORY
from schemas.notes import Place
from schemas.outputs import ALERT_KINDS
from schemas.source_hours import decode_hours_key
from tests.simulation.accounts import Accounts
from tests.simulation.alerts import Alerts
from tests.simulation.announced import Announced
from tests.simulation.broken import BrokenError
from tests.simulation.committed import (
    OTHERS,
    Committed,
    Shard,
    counts_key_in,
    marker_in,
    offset_of,
    offsets_in,
    units_in,
)
from tests.simulation.comparisons import Comparisons
from tests.simulation.contradictions import Contradictions
from tests.simulation.counts import Counts
from tests.simulation.decided import RETRACTED, Decided
from tests.simulation.moments import Moments, stand_of
from tests.simulation.over import Over
from tests.simulation.periods import window_of
from tests.simulation.plans import Plans
from tests.simulation.rebuilt import Rebuilt
from tests.simulation.rows import Rows
from tests.simulation.silences import Silences
from tests.simulation.thresholds import Thresholds

if TYPE_CHECKING:
    from schemas.outputs import Marker
    from schemas.questions import Answer
    from tests.simulation.cluster import Entry, Transaction
    from tests.simulation.world import World

#: Of a transaction.
_MOST_RECORDS: Final = 5_000
_MOST_BYTES: Final = 4_000_000
#: Counts, violations and the like that an event may change beyond the bound.
_OF_AN_EVENT: Final = 40


class Invariants:
    """Listens to every committed transaction.

    Attributes:
        so_far: What has been committed.
        accounts: What became of each record, and what operators have decided about some.
        contradictions: Contradictions between events.
        announced: Campaigns announced by events.
        over: Periods that are over.
        rebuilt: The claim of a rebuild.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.so_far = so_far = Committed(world)
        self._counts = Counts(so_far)
        self.accounts = Accounts(so_far, self._counts)
        self.contradictions = Contradictions(so_far)
        self.announced = Announced(so_far, self._counts)
        self._thresholds = Thresholds(so_far)
        self._rows = Rows(so_far, self._thresholds)
        self._decided = Decided(so_far, self._thresholds)
        self._moments = Moments(so_far, self._thresholds, self._decided)
        self.over = Over(so_far)
        self._silences = Silences(so_far, self.over)
        self._plans = Plans(so_far, self._rows)
        self._comparisons = Comparisons(so_far)
        self.rebuilt = Rebuilt(so_far, self._rows)
        self._alerts = Alerts(_no_such_alert, (rule.name for rule in world.settings.rule), so_far.loaded)
        self._remembered_hours = so_far.told_hours()
        self._replayed: set[bytes] = set()
        self.commits: Counter[str] = Counter()
        world.seen["days that begin later"] += bool(so_far.starts)

    @property
    def waits(self) -> bool:
        """Whether milestones wait for their units, or reports for their homes."""
        return bool(self._moments.waiting) or self.contradictions.told.is_on_its_way

    def expect_dead_letter(self, entry: Entry) -> None:
        """Notes that a record of a side topic is not a valid event."""
        self.so_far.side_errors.add(Place(entry.topic, entry.partition, entry.offset))

    def forget_internals(self, *, told: bool) -> None:
        """The internal topics are deleted: ledgers start again, published topics stay; their reports to each other may stay."""
        so_far = self.so_far
        self.contradictions.forget_internals(told=told)
        so_far.shards = [Shard(so_far.told_hours()) for _ in so_far.shards]
        self._remembered_hours = so_far.told_hours()
        for shard, published in zip(so_far.shards, self.contradictions.published, strict=True):
            shard.unjudged.update(published)
        self.accounts.forget_internals()
        for part in so_far.parts:
            part.forget()
        self._moments.forget_internals()
        self._silences.forget_internals()

    def committed(self, transaction: Transaction) -> None:
        """Checks a transaction at the moment it is committed."""
        role = transaction.transactional_id.rpartition("milestones-")[2]
        kind, _, number = role.partition("-")
        self.commits[kind] += 1
        if {entry.topic for entry in transaction.records} == {self.so_far.catalogue.quarantine.name}:
            return  # an operator's note, written under the id of the ledger partition it is for
        self._check_size(role, transaction)
        if kind == "ledger":
            self._ledger(int(number), transaction)
        elif kind == "totals":
            self._totals(int(number or 0), transaction)
        elif kind == "replay":
            self._replay(transaction)

    def _check_size(self, role: str, transaction: Transaction) -> None:
        """No transaction is large: it would hold up its worker and all readers, and is repeated when it is in doubt."""
        size = sum(len(entry.key or b"") + len(entry.value or b"") for entry in transaction.records)
        if len(transaction.records) > _MOST_RECORDS or size > _MOST_BYTES:
            raise BrokenError("size", f"a transaction of {role} has {len(transaction.records)} records, {size} bytes")

    def _ledger(self, number: int, transaction: Transaction) -> None:
        found = _by_topic(transaction)
        self._check_step(number, found)
        shard = self.so_far.shards[number]
        (body,) = [entry.value for entry in found[self.so_far.catalogue.ledger.name] if entry.key == b"state"] or [None]
        if body is None:
            raise BrokenError("marker", f"ledger {number} committed without a marker")
        marker = marker_in(body)
        shard.caught_up_us = marker.caught_up_us
        answers = self._check_markers(number, found[self.so_far.catalogue.counts.name], marker)
        self.announced.hear(shard, marker, number)
        self.accounts.hear_dead_letters(number, found[self.so_far.catalogue.dead_letters.name])
        self.accounts.hear_forwarded(number, found[self.so_far.topics.rerouted])
        covered = self.accounts.cover(number, shard, marker)
        for place in self.accounts.just_dead - covered:
            raise BrokenError("dead letters", f"{place} has a dead letter and was not read by this transaction")
        for place in self.accounts.just_forwarded - covered:
            raise BrokenError("forwarding", f"{place} was forwarded and was not read by this transaction")
        for entry in shard.told_hours.without_these(found[self.so_far.catalogue.counts.name]):
            insort(self.so_far.parts[entry.partition].counted, entry, key=offset_of)
            key = counts_key_in(entry.key or b"")
            if key.counted is not None and entry.partition != self.so_far.home(key.counted[1]):
                raise BrokenError("homes", f"a count of {key.counted[1]} is in partition {entry.partition}")
            if key.shard != number:
                raise BrokenError("counts", f"ledger {number} wrote counts of shard {key.shard}")
            shard.hear(key.counted, entry.value or b"")
        self.contradictions.hear(number, shard, found[self.so_far.catalogue.violations.name])
        withheld = self.contradictions.hear_told(number, shard, found[self.so_far.catalogue.told.name], marker)
        if marker.rebuilding:
            self._world.seen["counted again in silence"] += 1
        else:
            self._counts.compare(number, shard, shard.uncompared)
            shard.uncompared = set()
            shard.check_hours(asked=self._world.settings.watches_sources)
        if not marker.rebuilding and not withheld:
            self.contradictions.compare(number, shard, shard.unjudged)
            shard.unjudged = set()
        for answer in answers:
            self._moments.note_answer(number, shard, answer)
        self._moments.units_at[stand_of(number, offsets_in(marker))] = dict(shard.dated)

    def _check_step(self, number: int, found: dict[str, list[Entry]]) -> None:
        """A step ends before it changes too much; only its first event may change more than that by itself."""
        catalogue = self.so_far.catalogue
        topics = (catalogue.violations.name, catalogue.dead_letters.name, self.so_far.topics.rerouted)
        keys = [entry.key or b"" for entry in found[catalogue.counts.name]]
        counts = [key for key in keys if decode_hours_key(key) is None and counts_key_in(key).counted is not None]
        records = len(counts) + sum(len(found[topic]) for topic in topics)
        most = self._world.plan.step_records
        self._world.seen["full steps of a ledger"] += records >= most
        if records > most + _OF_AN_EVENT:
            raise BrokenError("size", f"a step of ledger {number} has changed {records} counts, for {most}")

    def _check_markers(self, number: int, counts: list[Entry], marker: Marker) -> list[Answer]:
        """Checks that markers are the last records of a transaction in each counts partition. Returns their answers."""
        answers: list[Answer] = []
        for home in range(len(self.so_far.parts)):
            last = [entry for entry in counts if entry.partition == home][-1:]
            is_marker = bool(last) and counts_key_in(last[0].key or b"").day is None
            told = marker_in(last[0].value or b"") if is_marker else marker
            if not is_marker or told.with_answers([]) != marker:
                raise BrokenError("marker", f"ledger {number}: the marker is not the last record of the counts {home}")
            answers += told.answers
        return answers

    def _totals(self, number: int, transaction: Transaction) -> None:
        found = _by_topic(transaction)
        part = self.so_far.parts[number]
        position, settled, is_whole, part.step_us = transaction.meta
        summed = part.advance(position)
        self._rows.check_homes(number, found)
        over, published = self._rows.hear(found, part)
        if is_whole:
            self._rows.check_inventories({scope for _, scope, _ in published})
        published = {key for key in published if key[0] != INVENTORY}
        if self.so_far.kept is not None:
            part.unchecked |= {(metric, OTHERS, period) for metric, scope, period in part.unchecked if scope != "all"}
        if settled:
            self._rows.check_sums(
                position, part, part.unchecked if is_whole else self._rows.consistent(published, part)
            )
        elif found[self.so_far.catalogue.windows.name] or found[self.so_far.catalogue.milestones.name]:
            raise BrokenError("sums", "rows or milestones were published before all shards had reported")
        self.announced.hear_adopted(number, found[self.so_far.catalogue.totals.name])
        self.accounts.hear_side_errors(found[self.so_far.catalogue.dead_letters.name])
        self._remembered_hours.hear_memory(found[self.so_far.catalogue.totals.name])
        self._moments.hear_waiting(
            found[self.so_far.catalogue.totals.name], found[self.so_far.catalogue.questions.name]
        )
        alerts = self._hear_milestones(
            found[self.so_far.catalogue.milestones.name], found[self.so_far.catalogue.forecasts.name]
        )
        memory = found[self.so_far.catalogue.totals.name]
        self._silences.hear(number, part, self._remembered_hours, memory, alerts)
        self._world.seen["rows called over"] += len(over)
        for key in {key[2]: key for key in over}.values():
            self.over.check(key, summed)
        self._thresholds.check(part, is_whole=is_whole and settled)
        touched = {(metric, scope, window_of(period)) for metric, scope, period in published}
        touched |= self._decided.end(part, is_whole=is_whole)
        self._comparisons.check(part, touched, is_whole=is_whole and settled)
        self.announced.hear_judged(number, memory, has_rows=bool(published))

    def _hear_milestones(self, entries: list[Entry], forecasts: list[Entry]) -> list[dict[str, Any]]:
        """Takes milestones and forecasts. Returns the alerts about silences."""
        events = [orjson.loads(entry.value or b"") for entry in entries]
        for event in events:
            data = event["data"]
            name, revision = data["milestone_id"], data["revision"]
            if revision != self.so_far.revisions.get(name, 0) + 1:
                raise BrokenError(
                    "milestones once", f"{name} went from revision {self.so_far.revisions.get(name, 0)} to {revision}"
                )
            self.so_far.revisions[name] = revision
            self._world.seen[f"{data['kind']} {event['type'].split('.')[1]}"] += 1
        milestones = [event for event in events if event["data"]["kind"] not in ALERT_KINDS]
        self._moments.check_order(milestones)
        for event in milestones:
            self._hear_milestone(event)
        if self._moments.completed:
            raise BrokenError(
                "milestones once", f"{sorted(self._moments.completed)} waited, and are forgotten unpublished"
            )
        made = [
            ((entry.key or b"").decode(), orjson.loads(entry.value) if entry.value else None) for entry in forecasts
        ]
        alerts = [event for event in events if event["data"]["kind"] in ALERT_KINDS]
        self._alerts.hear(made, [event for event in alerts if event["data"]["kind"] != "stalled"])
        return [event for event in alerts if event["data"]["kind"] == "stalled"]

    def _hear_milestone(self, event: dict[str, Any]) -> None:
        data, name = event["data"], event["data"]["milestone_id"]
        if event["type"] == RETRACTED:
            if name not in self.so_far.standing:
                raise BrokenError("milestones once", f"{name} was retracted and did not stand")
            del self.so_far.standing[name]
        else:
            self.so_far.standing[name] = data
            if event["id"] not in self._moments.had_units:
                self._moments.check_unit(name, data)
        if event["id"] in self._moments.completed:
            self._moments.completed.remove(event["id"])
        else:
            self._decided.hear(event)

    def _replay(self, transaction: Transaction) -> None:
        notes = _by_topic(transaction)[self.so_far.catalogue.replayed.name]
        records = [entry for entry in transaction.records if entry.topic in self.so_far.topics.published]
        if len(notes) != len(records):
            raise BrokenError("replayed once", f"{len(records)} records were published again with {len(notes)} notes")
        for note in notes:
            if note.key in self._replayed:
                raise BrokenError("replayed once", f"{note.key!r} was published again twice")
            self._replayed.add(note.key or b"")

    def check_end(self) -> None:
        """Checks that some time after the last fault everything is read, counted and published."""
        for tp in self._world.cluster.partitions():
            end = self._world.cluster.bounds(tp).end
            if tp.topic in self.so_far.topics and self.so_far.position(tp) < end:
                raise BrokenError("lag", f"{tp} stands at {self.so_far.position(tp)} of {end}")
        for key in self.over.still_open():
            raise BrokenError("called over", f"{key} was over long ago and is {self.so_far.table[key]['status']}")
        for number, shard in enumerate(self.so_far.shards):
            self._counts.compare(number, shard, shard.counts.keys() | shard.expected.keys())
        self.contradictions.check_end()
        self._rows.check_inventories({scope for _, scope, _ in self.so_far.table})
        sums = self._rows.expected_sums()
        self.announced.check_end()
        published = {
            key: units_in(row)
            for key, row in self.so_far.table.items()
            if units_in(row) and key[0] != INVENTORY and not self.so_far.is_left_as_it_is(key)
        }
        expected = {
            key: count
            for key, count in sums.items()
            if count and not self._rows.is_to_come(key) and not self._rows.may_lack(key)
        }
        self._world.seen["campaigns"] += sum(key[2].startswith("campaign:") for key in published)
        self._rows.check_minutes()
        self._rows.check_hours()
        self._world.seen["rolling windows"] += sum(key[2].startswith("rolling:") for key in published)
        if published != expected:
            key = min(
                key for key in published.keys() | expected.keys() if published.get(key, 0) != expected.get(key, 0)
            )
            raise BrokenError(
                "end", f"{key} is published as {published.get(key, 0)}, the events give {expected.get(key, 0)}"
            )
        self._check_hours()
        self._silences.check_end(self._remembered_hours)
        if self.so_far.side_errors - set(self.so_far.dead):
            raise BrokenError("dead letters", f"{min(self.so_far.side_errors - set(self.so_far.dead))} has none")
        if self._moments.waiting:
            raise BrokenError("moment", f"{sorted(self._moments.waiting)} still wait for their units")
        self.accounts.check_skipped()
        self._plans.check_end()
        self._thresholds.check_end()
        self._comparisons.check_end()
        self._rows.check_kept(event["data"] for event in self._moments.waiting.values())

    def _check_hours(self) -> None:
        """Checks that the remembered hours of sources are those of the events in all ledger partitions."""
        accepted = [
            event for shard in self.so_far.shards for order in shard.orders.values() for event in order.values()
        ]
        expected = self._remembered_hours.of(accepted) if self._world.settings.watches_sources else {}
        if self._remembered_hours.hours != expected:
            raise BrokenError("hours of sources", f"{self._remembered_hours.hours}, the events give {expected}")
        self._world.seen["hours of sources"] += sum(map(len, expected.values()))


def _by_topic(transaction: Transaction) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = defaultdict(list)
    for entry in transaction.records:
        found[entry.topic].append(entry)
    return found


def _no_such_alert(what: str) -> None:
    raise BrokenError("alerts", what)
