"""What must hold after every commit, checked from the log alone with code that shares nothing with the service.

The counts equal a naive recount of exactly the records below the committed positions; every record is accounted for once;
milestones come once and in order; no period is over before everything in it is counted.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import orjson

from schemas.codec import decode_cut, decode_day_count, decode_marker
from schemas.counts import CampaignHour, CountKey, decode_counts_key
from schemas.facts import BEYOND_LIMITS, INVENTORY, QUARANTINED, Metric
from schemas.memory import ANNOUNCED, CUT, KEPT, SIDE, SNAPSHOT, WAITING, key_of
from schemas.notes import Place
from schemas.outputs import ALERT_KINDS, Books, ControlHeaders, source_name, source_of
from schemas.partitioner import homes, totals_partition
from schemas.questions import decode_questions
from streams.kafka.dead_letter_headers import rejected_place
from streams.kafka.forwarding import origin_of
from streams.kafka.log import Partition
from tests.simulation.alerts import Alerts
from tests.simulation.cluster import Outcome
from tests.simulation.history import life_of
from tests.simulation.source_hours import ToldHours, hour_of
from tests.simulation.vehicles import Delivery, Told, delivery_of
from tests.support.recount import judged

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from schemas.facts import DayCount
    from schemas.memory import FoundAt
    from schemas.outputs import Marker
    from schemas.questions import Answer, Question
    from streams.settings import RuleSettings
    from tests.simulation.cluster import Entry, Transaction
    from tests.simulation.world import World

Cell = tuple[str, str, str]  # metric, scope, period id
Contradiction = tuple[str, str, str]  # kind, source, id


_NOTHING = Books(read=0, applied=0, duplicates=0, dead_letters=0, rerouted=0)

#: The scope of the models that the limits keep out.
OTHERS: Final = "model=other"
_OF_PRODUCTION: Final = frozenset({"vehicle.produced.v1", "production.reversed.v1", "production.voided.v1"})
#: More units than any window has.
_MOST_UNITS: Final = 300
#: The length of a campaign without an end.
_LONGEST: Final = timedelta(days=7)


class BrokenError(AssertionError):
    """An invariant does not hold."""

    def __init__(self, invariant: str, what: str) -> None:
        super().__init__(f"{invariant}: {what}")
        self.invariant = invariant


class Minute(NamedTuple):
    """A minute of a campaign, from 0, by the id of its period."""

    period: str
    number: int


#: What a unit is counted by: its date, and its minute in each campaign that it is in.
Part = date | Minute
Counted = tuple[Metric, str, Part]


class Campaign(NamedTuple):
    """A campaign from the settings or from an event."""

    start: datetime
    end: datetime
    is_of_all: bool = True


#: Campaigns by the id of their period.
Campaigns = dict[str, Campaign]


class _Shard:
    """What one ledger partition has committed."""

    def __init__(self, told_hours: ToldHours) -> None:
        self.told_hours = told_hours
        #: Orders with events whose hours must be published.
        self.without_hours: set[str] = set()
        self.positions: dict[Partition, int] = defaultdict(int)
        self.lost: dict[Partition, int] = defaultdict(int)
        self.books: dict[str, Books] = {}
        self.orders: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}
        #: Order → where its units are counted.
        self.cells: dict[str, list[Counted]] = {}
        #: Order → its units with their scopes by model and their events, by time, id and source.
        self.dated: dict[str, list[tuple[Metric, str, tuple[str, str, str]]]] = {}
        self.expected: Counter[Counted] = Counter()
        self.counts: dict[Counted, int] = {}
        #: Cells that have changed since expected and published counts were compared.
        self.uncompared: set[Counted] = set()
        #: Order → (kind, source, id) of its events that contradict the others.
        self.contradictions: dict[str, list[Contradiction]] = {}
        #: The orders judged, or published, since expected and published violations were compared.
        self.unjudged: set[str] = set()
        #: Vehicle and order → the delivery that stands; and the orders whose deliveries were not yet compared with the reports.
        self.standing: dict[tuple[str, str], Delivery] = {}
        self.untold: set[str] = set()
        #: The orders with events in the last transaction.
        self.touched: set[str] = set()
        #: The models of the events taken, by the names under which they are counted.
        self.models: set[str] = set()
        #: Whether its last marker says that it is rebuilding; true before the first.
        self.is_rebuilding = True
        #: What its last marker says about announced campaigns, and the campaigns that it must count accordingly.
        self.announced = ""
        self.campaigns: Campaigns | None = None

    def hear(self, key: CountKey | None, value: bytes) -> None:
        """Takes a count."""
        if key is not None:
            for cell, units in _cells_of(key, decode_day_count(value)):
                self.counts[cell] = units
                self.uncompared.add(cell)

    def check_hours(self, *, asked: bool) -> None:
        """Checks that the hours of all counted events have been published, if anyone needs them."""
        for order_id in self.without_hours if asked else ():
            self.told_hours.check_has(self.orders[order_id].values())
        self.without_hours = set()


class _Summed:
    """The counts topic up to an offset, with whole transactions only."""

    def __init__(self, windows: tuple[str, ...]) -> None:
        self._windows = windows
        self.next = 0
        self.waiting: dict[int, list[tuple[CountKey, int]]] = defaultdict(list)
        self.cells: dict[tuple[int, CountKey], int] = {}
        self.sums: Counter[Cell] = Counter()
        self.markers: dict[int, Marker] = {}
        self.changed: set[Cell] = set()

    def advance(self, entries: list[Entry], upto: int) -> None:
        for entry in entries[bisect_left(entries, self.next, key=_offset) : bisect_left(entries, upto, key=_offset)]:
            key = decode_counts_key(entry.key or b"")
            shard = key.shard
            if key.counted is not None:
                self.waiting[shard].append((key.counted, decode_day_count(entry.value or b"").count))
                continue
            self.markers[shard] = _marker(entry.value or b"")
            for found, count in self.waiting.pop(shard, ()):
                moved = count - self.cells.get((shard, found), 0)
                self.cells[shard, found] = count
                metric, scope, part = found
                of_hour = (f"campaign:{part.campaign}",) if isinstance(part, CampaignHour) else None
                for period in of_hour or periods_of(_day_of(part), self._windows):
                    row = (metric, scope, period)
                    self.sums[row] += moved
                    self.changed.add(row)
        self.next = upto


class _TotalsPart:
    """What one totals partition has committed, and what it still has to do."""

    def __init__(self, windows: tuple[str, ...]) -> None:
        self._windows = windows
        #: Thresholds whose milestone stands without being passed, or the reverse.
        self.wrong: set[tuple[str, str, str, int]] = set()
        self.unchecked: set[Cell] = set()
        self.step_us = 0
        #: The last version of each row in the history.
        self.history: dict[Cell, int] = {}
        self.forget()

    def forget(self) -> None:
        """Notes that the internal topics are deleted."""
        self.summed = _Summed(self._windows)
        #: Every committed record of the counts by offset, including those removed by compaction since.
        self.counted: list[Entry] = []
        #: Since when thresholds stand without being passed, by the service's clock, microseconds: held-back retractions wait
        #: again from when they are found.
        self.below_since_us: dict[tuple[str, str, str, int], int] = {}
        #: The remembered first day for which models have rows.
        self.kept_since = ""
        #: The remembered announcement that it counts by, and the campaigns that are counted by it.
        self.announced = ""
        self.campaigns: Campaigns | None = None

    def advance(self, position: int) -> _Summed:
        """The counts up to an offset; a lower offset than before is that of another writer, which started from the commits."""
        if position < self.summed.next:
            self.summed = _Summed(self._windows)
        self.summed.advance(self.counted, position)
        self.unchecked |= self.summed.changed
        self.summed.changed = set()
        return self.summed


class _KeptOut:
    """What the rows of `other` have if limits keep models out, by the plain rule that a model with a row keeps it."""

    @staticmethod
    def _counted_in(scope: str, with_rows: set[str]) -> str:
        return scope if scope == "all" or scope in with_rows else OTHERS

    def folded(self, table: Mapping[Cell, Any], sums: Mapping[Cell, int]) -> Counter[Cell]:
        """The sums of the rows."""
        with_rows = {scope for _, scope, _ in table}
        found: Counter[Cell] = Counter()
        for (metric, scope, period), count in sums.items():
            found[metric, self._counted_in(scope, with_rows), period] += count
        return found

    def expected(self, table: Mapping[Cell, Any], sums: Mapping[Cell, int], key: Cell) -> int:
        """The sum of one row."""
        metric, _, period = key
        some = {found: sums[found] for found in sums if (found[0], found[2]) == (metric, period)}
        return self.folded(table, some)[key]


@lru_cache(maxsize=64)
def _marker(value: bytes) -> Marker:
    """Parses a marker; cached, as several checks need it."""
    return decode_marker(value)


#: The holiday that schedules count, and its dates.
_HOLIDAY = "holiday:national-day:2024", date(2024, 10, 1), date(2024, 10, 7)


@lru_cache(maxsize=1000)
def periods_of(day: date, windows: tuple[str, ...]) -> tuple[str, ...]:
    """Ids of the periods that a date is in."""
    quarter, half = (day.month + 2) // 3, (day.month + 5) // 6
    ids = [f"day:{day}", f"week:{day:%G-W%V}", f"month:{day:%Y-%m}", f"quarter:{day:%Y}-Q{quarter}"]
    ids += [f"half:{day:%Y}-H{half}", f"year:{day:%Y}", "total"]
    ids += [name for name, first, last in [_HOLIDAY] if first <= day <= last]
    rolling = [
        f"{name}:{day + timedelta(days=ahead)}"
        for name in windows
        if name.startswith("rolling:")
        for ahead in range(int(name.removeprefix("rolling:").removesuffix("d")))
    ]
    return (*(id_ for id_ in ids if id_.partition(":")[0] in windows), *rolling)


@lru_cache(maxsize=1000)
def end_of_day_s(day: str, zone: ZoneInfo, starts: int) -> float:
    """The end of a business day, seconds since 1970."""
    following = date.fromisoformat(day) + timedelta(days=1)
    return datetime.combine(following, time(starts), zone).timestamp()


@lru_cache(maxsize=4000)
def home_of(key: bytes | None, partitions: int) -> int:
    """The home partition of an order's key."""
    return homes([key or b""], partitions)[0]


class Invariants:
    """Listens to every committed transaction."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._zone = ZoneInfo(world.settings.timezone)
        self._starts = world.settings.day_starts_hour
        world.seen["days that begin later"] += bool(self._starts)
        rolling = (f"rolling:{window.days}d" for window in world.settings.rolling)
        self._windows = (*world.settings.windows, *rolling)
        self._of_settings = {
            f"campaign:{one.name}": Campaign(one.start, one.end or one.start + _LONGEST)
            for one in world.settings.campaign
        }
        self._topics = world.context.source_topics
        self._catalogue = world.context.catalogue
        self._shards = [_Shard(self._told_hours()) for _ in range(world.settings.partitions)]
        self._remembered_hours = self._told_hours()
        self._dead: dict[Place, Entry] = {}
        self.side_errors: set[Place] = set()
        self._lost: set[Place] = set()
        #: Periods that were over before the totals knew of a partition that had been added.
        self._over_without: set[tuple[str, tuple[str, int]]] = set()
        self._forwarded: dict[Place, tuple[int, int]] = {}
        self._applied: set[Place] = set()
        #: Number of applied events that were not known before.
        self._new = 0
        #: Events that this transaction has kept out for lack of room, with their models.
        self._kept_out: list[tuple[Place, set[str]]] = []
        #: The models of the events that it has taken.
        self._came: set[str] = set()
        #: Records that an operator asked to skip, and those of them that the command has promised to skip.
        self.asked: set[Place] = set()
        self._ordered: set[Place] = set()
        self._lifting: set[Place] = set()
        self._kept = _KeptOut() if world.plan.bounded else None
        self._parts = [_TotalsPart(self._windows) for _ in range(world.settings.totals_partitions)]
        self._by_dimensions = world.settings.limits.beyond == "other"
        self.table: dict[Cell, dict[str, Any]] = {}
        self.revisions: dict[str, int] = {}
        self.standing: dict[str, dict[str, Any]] = {}
        #: Windows that pass a threshold.
        self._passing: set[tuple[str, str, str, int]] = set()
        #: How long each rule holds a retraction back, microseconds.
        self._held_us = {rule.name: rule.retract_after_s * 1_000_000 for rule in world.settings.rule}
        self._replayed: set[bytes] = set()
        #: The contradictions that are published, by ledger partition and order.
        #: Questions about units by id, and what each ledger partition counted when it answered one.
        self._questions: dict[str, Question] = {}
        self._answered: dict[str, dict[int, list[list[tuple[str, str, str]]]]] = defaultdict(dict)
        #: Ledger partition and its positions → what it counted then, as `dated`.
        self._units_at: dict[tuple[Any, ...], dict[str, list[tuple[Metric, str, tuple[str, str, str]]]]] = {}
        #: Milestone → how far its ledger partitions had read when its unit was found, as published with it.
        self._cuts: dict[str, FoundAt] = {}
        #: Events that already have their unit and wait behind others.
        self._had_units: set[str] = set()
        #: Milestone events that wait for their units, by the key of the record that remembers them.
        self._waiting: dict[bytes, dict[str, Any]] = {}
        #: Milestones that were waiting when the memory was lost: the first complete step records them.
        self._forgotten: set[tuple[str, str, str, int]] = set()
        self._published: list[dict[str, list[Contradiction]]] = [{} for _ in self._shards]
        self.commits: Counter[str] = Counter()
        self._alerts = Alerts(_no_such_alert, (rule.name for rule in world.settings.rule))
        count = len(self._shards)
        #: Ledger partition → how far it had read the sources when its state was deleted.
        self._read_before: list[dict[Partition, int]] = [{} for _ in self._shards]
        self._told = Told(lambda vin: home_of(vin.encode(), count), _not_told_so, world.seen)
        since = world.context.produced_since_us
        self._since_us = 0 if since is None else since

    @property
    def waits(self) -> bool:
        """Whether milestones wait for their units, or reports for their homes."""
        return bool(self._waiting) or self._told.is_on_its_way

    def expect_dead_letter(self, entry: Entry) -> None:
        """Notes that a record of a side topic is not a valid event."""
        self.side_errors.add(Place(entry.topic, entry.partition, entry.offset))

    def asked_to_skip(self, place: Place) -> None:
        """Notes that a quarantine command begins, which may or may not complete."""
        self.asked.add(place)

    def asked_to_lift(self, place: Place) -> None:
        """Notes that a command lifting a quarantine begins: from here on either may happen, even if it is ordered again."""
        self._lifting.add(place)
        self._ordered.discard(place)

    def will_be_skipped(self, place: Place) -> None:
        """Notes that a quarantine command has promised to skip the record."""
        if place in self._lifting:
            return
        if place in self._applied:
            raise BrokenError("quarantine", f"{place} is said to be skipped and has been applied")
        if place in self._dead and not is_skipped(self._dead[place]):
            raise BrokenError("quarantine", f"{place} is said to be skipped and was rejected before")
        self._ordered.add(place)

    def forget_internals(self, *, told: bool) -> None:
        """The internal topics are deleted: ledgers start again, published topics stay; their reports to each other may stay."""
        if told:
            self._told.forget()
        self._told.restart()
        self._read_before = [dict(shard.positions) for shard in self._shards]
        self._shards = [_Shard(self._told_hours()) for _ in self._shards]
        self._remembered_hours = self._told_hours()
        for shard, published in zip(self._shards, self._published, strict=True):
            shard.unjudged.update(published)
        self._applied = set()
        for part in self._parts:
            part.forget()
        for event in self._waiting.values():
            self._turn(event, back=True)
            self._forgotten.add(_number_of(event["data"]))
        self._waiting = {}

    def forget_judging(self) -> None:
        """The states are now those of a version that judged no deliveries by production: everything must be reported."""
        self._told.forget()
        for shard, published in zip(self._shards, self._published, strict=True):
            shard.untold.update(shard.orders)
            shard.unjudged.update(published)

    def forget_decisions(self) -> None:
        """Operators' decisions are deleted: they hold where they have taken effect, as shown by the dead letters."""
        self._ordered = {place for place in self._ordered if place in self._dead and is_skipped(self._dead[place])}

    def position(self, tp: Partition) -> int:
        """How far a source partition is applied according to the commits."""
        return self._shards[tp.partition % len(self._shards)].positions.get(tp, 0)

    def check_counted_again(self, ends: Mapping[Partition, int], records: int) -> None:
        """Checks a rebuild's claim that everything from before it began is applied, summed and published.

        Args:
            ends: The ends of the sources when it began.
            records: How many of their records it claims to have read.
        """
        for tp, end in sorted(ends.items()):
            if self.position(tp) < end:
                raise BrokenError("rebuild", f"{tp} stands at {self.position(tp)} of {end}")
        there = [
            (place, entry)
            for tp, end in ends.items()
            for entry in self._world.between(tp, 0, end)
            if entry.is_visible and (place := Place(*tp, entry.offset)) not in self._lost
        ]
        if records < len(there):
            raise BrokenError("rebuild", f"{records} records were counted again, there were {len(there)}")
        then = self._sums_of(
            self._world.event_of(entry)
            for place, entry in there
            if self._world.is_event(entry) and place not in self._dead
        )
        moving = self._moving_since(ends)
        announced = {f"campaign:{event['data']['campaign']}" for event in self._announcements()}
        for key in sorted(key for key in then.keys() | self.table.keys() if key[2] not in announced):
            count = units_in(self.table[key]) if key in self.table else 0
            is_compared = key[0] != INVENTORY and not self._is_to_come(key) and not self._may_lack(key)
            if count != then[key] and key[2] not in moving and is_compared:
                raise BrokenError("rebuild", f"{key} is published as {count}, the records give {then[key]}")

    def _moving_since(self, ends: Mapping[Partition, int]) -> set[str]:
        """Periods whose rows may have more or less than at these ends: those of all orders with later events."""
        later = {
            life_of(self._world.event_of(entry)["data"])
            for tp in self._world.sources()
            for entry in self._world.between(tp, ends.get(tp, 0), self._world.cluster.high_water(tp))
            if not entry.is_marker and self._world.is_event(entry)
        }
        return {
            period
            for shard in self._shards
            for order_id in later & shard.orders.keys()
            for event in shard.orders[order_id].values()
            for period in self._periods_at(event["time"])
        }

    def _sums_of(self, events: Iterable[dict[str, Any]]) -> Counter[Cell]:
        orders: dict[str, dict[tuple[str, str], dict[str, Any]]] = defaultdict(dict)
        for event in events:
            orders[life_of(event["data"])].setdefault((event["source"], event["id"]), event)
        sums: Counter[Cell] = Counter()
        for known in orders.values():
            for metric, event, model in judged(list(known.values()))[0]:
                day = self._date_of(event["time"])
                for period in self._periods_at(event["time"]):
                    sums.update([(metric, "all", period), (metric, f"model={self._counted_as(model, day)}", period)])
        return sums

    # On every commit ------------------------------------------------------------------------------------------------

    def committed(self, transaction: Transaction) -> None:
        """Checks a transaction at the moment it is committed."""
        role = transaction.transactional_id.rpartition("milestones-")[2]
        kind, _, number = role.partition("-")
        self.commits[kind] += 1
        if {entry.topic for entry in transaction.records} == {self._catalogue.quarantine.name}:
            return  # an operator's note, written under the id of the ledger partition it is for
        if kind == "ledger":
            self._ledger(int(number), transaction)
        elif kind == "totals":
            self._totals(int(number or 0), transaction)
        elif kind == "replay":
            self._replay(transaction)

    def _by_topic(self, transaction: Transaction) -> dict[str, list[Entry]]:
        found: dict[str, list[Entry]] = defaultdict(list)
        for entry in transaction.records:
            found[entry.topic].append(entry)
        return found

    def _ledger(self, number: int, transaction: Transaction) -> None:
        found = self._by_topic(transaction)
        shard = self._shards[number]
        (body,) = [entry.value for entry in found[self._catalogue.ledger.name] if entry.key == b"state"] or [None]
        if body is None:
            raise BrokenError("marker", f"ledger {number} committed without a marker")
        marker = _marker(body)
        answers = self._check_markers(number, found[self._catalogue.counts.name], marker)
        self._hear_announced(shard, marker, number)
        self._hear_dead_letters(number, found[self._catalogue.dead_letters.name])
        self._hear_forwarded(number, found[self._topics.rerouted])
        covered = self._cover(number, shard, marker)
        for place in self._just_dead - covered:
            raise BrokenError("dead letters", f"{place} has a dead letter and was not read by this transaction")
        for place in self._just_forwarded - covered:
            raise BrokenError("forwarding", f"{place} was forwarded and was not read by this transaction")
        for entry in shard.told_hours.without_these(found[self._catalogue.counts.name]):
            insort(self._parts[entry.partition].counted, entry, key=_offset)
            key = decode_counts_key(entry.key or b"")
            if key.counted is not None and entry.partition != self._home(key.counted[1]):
                raise BrokenError("homes", f"a count of {key.counted[1]} is in partition {entry.partition}")
            if key.shard != number:
                raise BrokenError("counts", f"ledger {number} wrote counts of shard {key.shard}")
            shard.hear(key.counted, entry.value or b"")
        self._hear_contradictions(number, shard, found[self._catalogue.violations.name])
        withheld = self._hear_told(number, shard, found[self._catalogue.told.name], marker)
        if marker.rebuilding:
            self._world.seen["counted again in silence"] += 1
        else:
            self._compare_counts(number, shard, shard.uncompared)
            shard.uncompared = set()
            shard.check_hours(asked=self._world.settings.watches_sources)
        if not marker.rebuilding and not withheld:
            self._compare_contradictions(number, shard, shard.unjudged)
            shard.unjudged = set()
        for answer in answers:
            self._note_answer(number, shard, answer)
        self._units_at[_stand_of(number, _offsets(marker))] = dict(shard.dated)

    def _note_answer(self, number: int, shard: _Shard, answer: Answer) -> None:
        """Notes the units that the shard counts when it answers: the unit found must follow from these."""
        question = self._questions.get(answer.id)
        if question is None:
            return  # from before the internal topics were deleted
        units = _units_of(shard.dated, question.metric, question.scope)
        self._answered[answer.id].setdefault(number, []).append(units)

    def _check_unit(self, name: str, data: dict[str, Any]) -> None:
        """Checks that a milestone's unit is the N-th of its window, among the units that stood when the shards answered."""
        if data.get("position") is None:
            self._world.seen["milestones without their unit"] += 1
            return
        achieved = datetime.fromisoformat(data["achieved_at"])
        day = self._date_of(data["achieved_at"]).isoformat()
        if day != data["achieved_on"] or not data["start"] <= day <= data["end"]:
            raise BrokenError("moment", f"{name} was achieved at {achieved}, and on {data['achieved_on']}")
        self._check_length(name, data, achieved)
        if self._kept is not None and data["scope"] == OTHERS:
            return  # which models those are is known to the totals
        unit = (achieved, data["cause"]["event_id"], data["cause"]["event_source"])
        # The latest unit of a window may have been known without asking, now or while the milestone waited behind others.
        markers = self._parts[self._home(data["scope"])].summed.markers
        cuts = [{number: _offsets(marker) for number, marker in markers.items()}]
        said = self._cuts.get(data["milestone_id"])
        if said is not None and said.revision == data["revision"]:
            cuts.append(said.positions)
        told = [
            tuple(
                _units_of(self._units_at.get(_stand_of(number, offsets), {}), data["metric"], data["scope"])
                for number, offsets in cut.items()
            )
            for cut in cuts
        ]
        for id_, answers in self._answered.items():
            question = self._questions[id_]
            if (question.metric, question.scope) == (data["metric"], data["scope"]) and len(answers) == len(
                self._shards
            ):
                told += product(*answers.values())
        found = set()
        for one_of_each in told:
            units = sorted(
                (datetime.fromisoformat(time), event_id, source)
                for units in one_of_each
                for time, event_id, source in units
                if _is_between(time, data)
                and (
                    "starts_at" in data
                    or data["period"] in periods_of(self._date_of(time), self._windows)
                    or data["start"] <= self._date_of(time).isoformat() <= data["end"]
                )
            )
            position = data["position"] - data.get("balance", 0)
            if len(units) >= position:
                found.add(units[position - 1])
        if unit not in found:
            raise BrokenError(
                "moment", f"unit {data['position']} of {name} is said to be {unit}, the events give {found}"
            )
        self._world.seen["milestones with their unit"] += 1

    def _check_markers(self, number: int, counts: list[Entry], marker: Marker) -> list[Answer]:
        """Checks that markers are the last records of a transaction in each counts partition. Returns their answers."""
        answers: list[Answer] = []
        for home in range(len(self._parts)):
            last = [entry for entry in counts if entry.partition == home][-1:]
            is_marker = bool(last) and decode_counts_key(last[0].key or b"").day is None
            told = _marker(last[0].value or b"") if is_marker else marker
            if not is_marker or told.with_answers([]) != marker:
                raise BrokenError("marker", f"ledger {number}: the marker is not the last record of the counts {home}")
            answers += told.answers
        return answers

    def _hear_contradictions(self, number: int, shard: _Shard, records: list[Entry]) -> None:
        published = self._published[number]
        for record in records:
            order_id = (record.key or b"").decode()
            if record.partition != number:
                raise BrokenError("violations", f"those of {order_id} are in partition {record.partition}")
            shard.unjudged.add(order_id)
            if record.value is None:
                published.pop(order_id, None)
                self._world.seen["violations resolved"] += 1
                continue
            body = orjson.loads(record.value)
            said = [(one["kind"], one["source"], one["id"]) for one in body["violations"]]
            if self._world.plan.produces and said == published.get(order_id):
                raise BrokenError("violations", f"{said} of {order_id} are published again")
            published[order_id] = said
            self._world.seen["violations"] += 1

    def _hear_told(self, number: int, shard: _Shard, records: list[Entry], marker: Marker) -> bool:
        """Takes the reports sent and received about deliveries. Returns whether violations are withheld."""
        state = marker.told
        if state is None:
            if self._world.plan.produces or records:
                raise BrokenError("told", f"the marker of ledger {number} says nothing of what was told")
            return False
        has_read = all(shard.positions[tp] >= before for tp, before in self._read_before[number].items())
        self._told.tell(number, records, has_read=has_read)
        waited = self._told.words_of_others(records, shard.touched)
        if waited > self._world.plan.part_rows:
            raise BrokenError(
                "told", f"ledger {number} tells of {waited} deliveries that have waited, in one transaction"
            )
        shard.unjudged |= self._told.hear(number, state, len(self._shards))
        if state.is_all:
            self._told.check_told(number, shard.standing, shard.untold)
            shard.untold = set()
        self._world.seen["contradictions withheld"] += state.withheld
        return state.withheld

    def _compare_contradictions(self, number: int, shard: _Shard, order_ids: Iterable[str]) -> None:
        for order_id in sorted(order_ids):
            said, expected = self._published[number].get(order_id, []), shard.contradictions.get(order_id, [])
            some = self._told.found(number, order_id, shard.orders.get(order_id, {}).values(), self._since_us)
            self._world.seen["vehicles delivered and not produced"] += bool(some)
            expected = [*expected, *some]
            if said != expected:
                raise BrokenError(
                    "violations", f"ledger {number} says {said} of {order_id}, its records give {expected}"
                )

    def _hear_dead_letters(self, number: int, letters: list[Entry]) -> None:
        self._just_dead: set[Place] = set()
        self._world.seen["dead letters"] += len(letters)
        for letter in letters:
            place = rejected_place(letter)
            assert place is not None
            if place in self._dead:
                raise BrokenError("dead letters", f"{place} has two dead letters")
            if letter.partition != number:
                raise BrokenError("dead letters", f"that of {place} is in partition {letter.partition}")
            source = self._world.source_entry(place)
            if not is_copy(letter, source):
                raise BrokenError("dead letters", f"that of {place} is not the record byte for byte")
            self._dead[place] = letter
            self._just_dead.add(place)

    def _hear_forwarded(self, number: int, records: list[Entry]) -> None:
        self._just_forwarded: set[Place] = set()
        self._world.seen["forwarded records"] += len(records)
        for record in records:
            origin = origin_of(record.headers)
            assert origin is not None
            place = Place(self._topics.name(origin.topic), origin.partition, origin.offset)
            if place in self._forwarded:
                raise BrokenError("forwarding", f"{place} was forwarded twice")
            if not is_copy(record, self._world.source_entry(place)):
                raise BrokenError("forwarding", f"{place} was forwarded otherwise than it was published")
            if origin.partition % len(self._shards) != number:
                raise BrokenError("forwarding", f"{place} was forwarded by ledger {number}")
            self._forwarded[place] = (record.partition, record.offset)
            self._just_forwarded.add(place)

    def _cover(self, number: int, shard: _Shard, marker: Marker) -> set[Place]:
        """Accounts for all records between the old and the new positions."""
        covered: set[Place] = set()
        touched: set[str] = set()
        new_before = self._new
        applied = 0
        for tp in shard.positions.keys() - {Partition(*source_of(name, number)) for name in marker.positions}:
            raise BrokenError("positions", f"ledger {number} says nothing of {tp} any more")
        for name, (position, _) in marker.positions.items():
            tp = Partition(*source_of(name, number))
            before = shard.positions[tp]
            if position < before:
                raise BrokenError("positions", f"{tp} went back from {before} to {position}")
            lost = marker.lost.get(name, 0) - shard.lost[tp]
            if lost:
                self._check_loss(tp, before, lost)
                shard.lost[tp] += lost
            places = [
                self._account(number, shard, entry, touched)
                for entry in self._world.between(tp, before + lost, position)
                if self._is_committed(entry)
            ]
            covered.update(places)
            records = len(places)
            books, past = marker.books[name], shard.books.get(name, _NOTHING)
            if books.read - past.read != records:
                raise BrokenError(
                    "books",
                    f"{tp}: read {books.read - past.read} records from {before} to {position}, there are {records}",
                )
            if books.read != books.applied + books.duplicates + books.dead_letters + books.rerouted:
                raise BrokenError("books", f"{tp} do not balance: {books}")
            self._check_split(tp, past, books, places)
            applied += books.applied - past.applied
            shard.positions[tp], shard.books[name] = position, books
        # It is undefined which of two copies of an event is the duplicate: they may be in different sources.
        if applied != self._new - new_before:
            raise BrokenError("books", f"ledger {number}: {applied} applied, {self._new - new_before} events were new")
        self._check_room(number, shard, marker)
        shard.without_hours |= touched
        shard.touched = touched
        for order_id in touched:
            self._count_again(shard, order_id)
        return covered

    def _check_split(self, tp: Partition, before: Books, after: Books, places: list[Place]) -> None:
        """Checks that records not taken from a source have become dead letters or were forwarded."""
        dead, away = after.dead_letters - before.dead_letters, after.rerouted - before.rerouted
        dead_letters = [place for place in places if place in self._dead]
        forwarded = [place for place in places if place in self._forwarded] if tp.topic != self._topics.rerouted else []
        # Forwarded, and then skipped by order at its home: a rebuild may find it skipped before it is forwarded.
        both = len({*forwarded} & {*dead_letters})
        most_dead, most_away = len(dead_letters), len(forwarded)
        if not (most_dead - both <= dead <= most_dead) or dead + away != most_dead + most_away - both:
            raise BrokenError(
                "books",
                f"{tp}: {dead} dead letters and {away} forwarded in the books, {most_dead} and {most_away} in the log",
            )

    def _check_loss(self, tp: Partition, before: int, lost: int) -> None:
        """Checks that only records removed by retention are missing."""
        first = self._world.cluster.bounds(tp).first
        if lost < 0 or before + lost > first:
            raise BrokenError(
                "nothing lost", f"{tp}: {lost} offsets from {before} are done without, it begins at {first}"
            )
        self._world.seen["offsets lost to retention"] += lost
        self._lost.update(Place(*tp, offset) for offset in range(before, before + lost))

    def _is_committed(self, entry: Entry) -> bool:
        if entry.transaction is not None and entry.transaction.outcome is Outcome.OPEN:
            raise BrokenError("read committed", f"{entry.topic}-{entry.partition}@{entry.offset} is not committed")
        return entry.is_visible

    def _account(self, number: int, shard: _Shard, entry: Entry, touched: set[str]) -> Place:
        """Checks what became of one record below a position; returns where it was published."""
        place = Place(entry.topic, entry.partition, entry.offset)
        if entry.topic == self._topics.rerouted:
            origin = origin_of(entry.headers)
            assert origin is not None
            place = Place(self._topics.name(origin.topic), origin.partition, origin.offset)
            self._account_at_home(number, shard, place, self._world.source_entry(place), touched)
        elif home_of(entry.key, len(self._shards)) == number or not (
            self._world.is_event(entry) or (place in self.asked and place in self._forwarded)
        ):
            self._account_at_home(number, shard, place, entry, touched)
        elif place not in self._forwarded:
            raise BrokenError("nothing lost", f"{place} was passed and not forwarded")
        return place

    def _account_at_home(self, number: int, shard: _Shard, place: Place, entry: Entry, touched: set[str]) -> None:
        if place in self._dead and is_skipped(self._dead[place]):
            if place not in self.asked:
                raise BrokenError("quarantine", f"{place} was skipped and nobody had asked for it")
            self._world.seen["records skipped by order"] += place in self._just_dead
            return
        if place in self._ordered:
            raise BrokenError("quarantine", f"{place} was to be skipped and was taken by ledger {number}")
        if not self._world.is_event(entry):
            if place not in self._dead:
                raise BrokenError("nothing lost", f"{place} is no event, was passed and is no dead letter")
            return
        event = self._world.event_of(entry)
        models = self._models_of(event)
        if place in self._dead and is_beyond_limits(self._dead[place]) and self._world.plan.rejects:
            self._kept_out += [(place, models)] * (place in self._just_dead)
            self._world.seen["events beyond the limits"] += place in self._just_dead
            return
        if place in self._dead:
            raise BrokenError("nothing lost", f"{place} is an event and became a dead letter in ledger {number}")
        self._came |= models
        self._applied.add(place)
        order_id, identity = life_of(event["data"]), (event["source"], event["id"])
        known = shard.orders.setdefault(order_id, {})
        if identity not in known:
            known[identity] = event
            self._new += 1
            if event["type"] in _OF_PRODUCTION:
                self._world.seen["events of production"] += 1
                self._world.seen["vehicles that are orders too"] += any(
                    "order_id" in one["data"] for one in known.values()
                )
        touched.add(order_id)

    def _count_again(self, shard: _Shard, order_id: str) -> None:
        """The units and contradictions of one order, by the plain rules of `tests.support.recount`."""
        before = shard.cells.get(order_id, [])
        found, shard.contradictions[order_id] = judged(list(shard.orders[order_id].values()))
        dated = [(metric, model, self._date_of(event["time"])) for metric, event, model in found]
        days: list[Counted] = [(metric, self._counted_as(model, day), day) for metric, model, day in dated]
        now = shard.cells[order_id] = [
            cell
            for (metric, model, day), (_, event, _) in zip(days, found, strict=True)
            for part in (day, *self._minutes_of(event["time"], shard.campaigns or {}))
            for cell in self._cells_at(metric, model, part, shard)
        ]
        shard.dated[order_id] = [
            (metric, f"model={model}", (event["time"], event["id"], event["source"]))
            for (metric, model, _), (_, event, _) in zip(days, found, strict=True)
        ]
        shard.unjudged.add(order_id)
        shard.untold.add(order_id)
        for key in [key for key in shard.standing if key[1] == order_id]:
            del shard.standing[key]
        for metric, event, _ in found:
            if metric == "deliveries":
                shard.standing[event["data"]["vin"], order_id] = delivery_of(event)
        for sign, cells in ((-1, before), (1, now)):
            for cell in cells:
                shard.expected[cell] += sign
                shard.uncompared.add(cell)

    @staticmethod
    def _cells_at(metric: Metric, model: str, part: Part, shard: _Shard) -> list[Counted]:
        """The cells in which a unit of a model is counted."""
        of_model: Counted = (metric, f"model={model}", part)
        campaign = (shard.campaigns or {}).get(part.period) if isinstance(part, Minute) else None
        return [of_model] if campaign is not None and not campaign.is_of_all else [(metric, "all", part), of_model]

    def _check_room(self, number: int, shard: _Shard, marker: Marker) -> None:
        """Checks that exactly the events for whose models there is no room are kept out; a rebuild takes the same as before."""
        most, known = self._world.settings.limits.values, set(shard.models)
        shard.models |= self._came
        self._came.clear()
        was_rebuilding, shard.is_rebuilding = shard.is_rebuilding, marker.rebuilding
        if self._world.plan.rejects and not was_rebuilding and len(shard.models) > max(most, len(known)):
            raise BrokenError("limits", f"ledger {number} has taken {sorted(shard.models)}, where {most} may be")
        for place, models in self._kept_out:
            if len(shard.models | models) <= most:
                raise BrokenError(
                    "limits", f"ledger {number} has kept out {place}, and there was room for {sorted(models)}"
                )
        self._kept_out.clear()

    def _models_of(self, event: dict[str, Any]) -> set[str]:
        """The names under which an event's model may be counted."""
        model = event["data"].get("model")
        return set() if model is None else {self._counted_as(model, day) for day in (date.min, date.max)}

    def _counted_as(self, model: str, day: date) -> str:
        since = self._world.aliased_from
        if model == "YU7" and since is not None and day >= since:
            model = "SU7"
        listed = self._world.settings.values.model
        return model if not listed or model in listed else "other"

    def _date_of(self, text: str) -> date:
        local = datetime.fromisoformat(text).astimezone(self._zone)
        return local.date() - timedelta(days=local.hour < self._starts)

    def _check_length(self, name: str, data: dict[str, Any], achieved: datetime) -> None:
        if "starts_at" in data:
            after_s = (achieved - datetime.fromisoformat(data["starts_at"])).total_seconds()
            if data["after_s"] != after_s:
                raise BrokenError("moment", f"{name} was achieved after {data['after_s']} s, not {after_s}")
            self._world.seen["milestones of campaigns with their unit"] += 1

    @staticmethod
    def _minutes_of(text: str, campaigns: Campaigns) -> list[Minute]:
        """The campaign minutes that an instant is in."""
        instant = datetime.fromisoformat(text)
        return [
            Minute(period, int((instant - campaign.start).total_seconds() // 60))
            for period, campaign in campaigns.items()
            if campaign.start <= instant < campaign.end
        ]

    def _periods_at(self, text: str) -> tuple[str, ...]:
        """Ids of the periods that an instant is in; only campaigns that no event has announced are included."""
        announced = {f"campaign:{event['data']['campaign']}" for event in self._announcements()}
        settled = {period: each for period, each in self._of_settings.items() if period not in announced}
        of_date = periods_of(self._date_of(text), self._windows)
        return (*of_date, *(minute.period for minute in self._minutes_of(text, settled)))

    # Announced campaigns --------------------------------------------------------------------------------------------

    def _announcements(self) -> list[dict[str, Any]]:
        """The valid events of campaigns, in the order of their records."""
        tp = Partition(self._world.context.side_topics[0], 0)
        entries = [entry for entry in self._world.cluster.entries(tp) if not entry.is_marker]
        valid = [entry for entry in entries if Place(entry.topic, 0, entry.offset) not in self.side_errors]
        events = [orjson.loads(entry.value or b"") for entry in valid]
        return [event for event in events if "campaign" in event["data"]]

    def _counted_after(self, events: Iterable[dict[str, Any]]) -> Campaigns:
        """The campaigns that are counted after some events, by the plain rule."""
        settled, found = dict(self._of_settings), Campaigns()
        for event in sorted(events, key=lambda event: (event["time"], event["id"])):
            data = event["data"]
            settled.pop(f"campaign:{data['campaign']}", None)
            found.pop(f"campaign:{data['campaign']}", None)
            if event["type"] == "campaign.set.v1":
                start = datetime.fromisoformat(data["start"])
                end = datetime.fromisoformat(data["end"]) if "end" in data else start + _LONGEST
                found[f"campaign:{data['campaign']}"] = Campaign(start, end, "scopes" not in data)
        while len(found) > self._world.settings.limits.announced_campaigns:
            del found[min(found, key=lambda period: (found[period][0], period))]
            self._world.seen["campaigns beyond the limit"] += 1
        return settled | found

    def _campaigns_by(self, text: str, who: str) -> Campaigns:
        """The campaigns of an announcement, which must be the result of the events up to one of them."""
        said = dict(self._of_settings)
        for each in filter(None, text.partition(" ")[2].split("; ")):
            name, _, span = each.partition("@")
            said.pop(f"campaign:{name}", None)
            if span != "-":
                first, minutes = (int(part) for part in span.partition(" ")[0].split("+"))
                start = datetime.fromtimestamp(first * 60, UTC)
                is_of_all = "all" in span.partition(" ")[2].split("|")
                said[f"campaign:{name}"] = Campaign(start, start + timedelta(minutes=minutes), is_of_all)
        events = self._announcements()
        if not any(said == self._counted_after(events[:known]) for known in range(len(events) + 1)):
            raise BrokenError("announced", f"{who} counts by {text!r}, which no events come to")
        return said

    def _hear_announced(self, shard: _Shard, marker: Marker, number: int) -> None:
        """Recounts everything in a ledger partition that counts by other campaigns."""
        if shard.campaigns is not None and marker.announced == shard.announced:
            return
        before, shard.announced = shard.campaigns, marker.announced
        shard.campaigns = self._campaigns_by(marker.announced, f"ledger {number}")
        self._world.seen["announcements counted by"] += before is not None
        for order_id in shard.orders:
            self._count_again(shard, order_id)

    def _hear_adopted(self, number: int, entries: list[Entry]) -> None:
        """Checks that all ledger partitions count by the announcement that a totals partition adopts."""
        part = self._parts[number]
        for entry in entries:
            if entry.key != key_of(SIDE, ANNOUNCED):
                continue
            part.announced = (entry.value or b"").decode()
            part.campaigns = self._campaigns_by(part.announced, f"totals {number}")
            others = {shard: marker.announced for shard, marker in part.summed.markers.items()}
            if set(others.values()) != {part.announced} or len(others) != len(self._shards):
                raise BrokenError("announced", f"totals {number} goes on by {part.announced!r}, ledgers by {others}")
            self._world.seen["announcements adopted"] += 1
            part.unchecked |= {key for key in part.summed.sums if key[2].startswith("campaign:")}

    def _campaigns_of(self, scope: str) -> Campaigns:
        """The campaigns that the rows of a scope are counted by."""
        found = self._parts[self._home(scope)].campaigns
        return self._of_settings if found is None else found

    def _is_left_as_it_is(self, key: Cell) -> bool:
        """Whether a row is of a campaign that is no longer, or not yet, counted in its scope."""
        if not key[2].startswith("campaign:"):
            return False
        campaign = self._campaigns_of(key[1]).get(key[2])
        return campaign is None or not (campaign.is_of_all or key[1] != "all")

    @property
    def is_announcing(self) -> bool:
        """Whether any partition does not count by the result of all campaign events yet."""
        if not self._world.announces:
            return False
        expected = self._counted_after(self._announcements())
        totals = (self._of_settings if part.campaigns is None else part.campaigns for part in self._parts)
        return any(each != expected for each in (*(shard.campaigns for shard in self._shards), *totals))

    def _check_announced(self) -> None:
        """Checks that in the end everything counts by the result of all campaign events."""
        if not self._world.announces:
            return
        expected = self._counted_after(self._announcements())
        if self.is_announcing:
            ledgers, totals = [one.announced for one in self._shards], [one.announced for one in self._parts]
            raise BrokenError("announced", f"ledgers count by {ledgers}, totals by {totals}, announced are {expected}")
        for key, row in self.table.items():
            if key[2] in expected and not self._is_left_as_it_is(key):
                instants = [datetime.fromisoformat(row[name]).timestamp() for name in ("starts_at", "ends_at")]
                if instants != [each.timestamp() for each in expected[key[2]][:2]]:
                    raise BrokenError("announced", f"{key} is {row['starts_at']} to {row['ends_at']}, not {expected}")
        self._world.seen["campaigns that were announced"] += len(expected.keys() - self._of_settings.keys())
        self._world.seen["campaigns withdrawn"] += any(
            key[2].startswith("campaign:") and self._is_left_as_it_is(key) for key in self.table
        )

    def _compare_counts(self, number: int, shard: _Shard, cells: Iterable[Counted]) -> None:
        wrong = [cell for cell in cells if shard.counts.get(cell, 0) != shard.expected.get(cell, 0)]
        if wrong:
            cell = min(wrong, key=str)
            raise BrokenError(
                "recount",
                f"ledger {number} says {shard.counts.get(cell, 0)} for {cell}, its records give"
                f" {shard.expected.get(cell, 0)} ({len(wrong)} cells differ)",
            )

    # Totals ---------------------------------------------------------------------------------------------------------

    def _home(self, scope: str) -> int:
        """The totals partition that a scope belongs to."""
        is_named_by_dimension = self._by_dimensions and scope != "all"
        return totals_partition("model" if is_named_by_dimension else scope, len(self._parts))

    def _check_homes(self, number: int, found: dict[str, list[Entry]]) -> None:
        """A totals partition writes only to its partitions, and only about its scopes, and tells the others of targets."""
        catalogue = self._catalogue
        for topic in (catalogue.windows, catalogue.history, catalogue.milestones, catalogue.forecasts):
            for entry in found[topic.name]:
                scope = (entry.key or b"").decode().split("/")[1]
                if entry.partition != number or self._home(scope) != number:
                    raise BrokenError("homes", f"totals {number} wrote {entry.key!r} to {topic.name}-{entry.partition}")
        if number and (
            found[catalogue.dead_letters.name] or found[catalogue.status.name] or found[catalogue.sides.name]
        ):
            raise BrokenError("homes", f"totals {number} speaks for the others")
        self._world.seen["events passed on to other totals"] += len(found[catalogue.sides.name])

    def _totals(self, number: int, transaction: Transaction) -> None:
        found = self._by_topic(transaction)
        part = self._parts[number]
        position, settled, is_whole, part.step_us = transaction.meta
        summed = part.advance(position)
        self._check_homes(number, found)
        over, published = self._hear_rows(found, part)
        if is_whole:
            self._check_inventories({scope for _, scope, _ in published})
        published = {key for key in published if key[0] != INVENTORY}
        if self._kept is not None:
            part.unchecked |= {(metric, OTHERS, period) for metric, scope, period in part.unchecked if scope != "all"}
        if settled:
            self._check_sums(position, part, part.unchecked if is_whole else self._consistent(published, part))
        elif found[self._catalogue.windows.name] or found[self._catalogue.milestones.name]:
            raise BrokenError("sums", "rows or milestones were published before all shards had reported")
        self._hear_adopted(number, found[self._catalogue.totals.name])
        self._hear_side_errors(found[self._catalogue.dead_letters.name])
        self._remembered_hours.hear_memory(found[self._catalogue.totals.name])
        self._hear_waiting(found[self._catalogue.totals.name], found[self._catalogue.questions.name])
        self._hear_milestones(found[self._catalogue.milestones.name], found[self._catalogue.forecasts.name])
        self._world.seen["rows called over"] += len(over)
        for key in {key[2]: key for key in over}.values():
            self._check_over(key, summed)
        self._check_numbers(part, is_whole=is_whole and settled)

    def _hear_rows(self, found: Mapping[str, list[Entry]], part: _TotalsPart) -> tuple[list[Cell], set[Cell]]:
        """Takes the rows of a transaction. Returns those whose period has ended with it, and all of them."""
        over: list[Cell] = []
        published: set[Cell] = set()
        replaced = [orjson.loads(entry.value or b"") for entry in found[self._catalogue.history.name]]
        head = key_of(SIDE, f"{SNAPSHOT}head")
        self._world.seen["snapshots"] += sum(entry.key == head for entry in found[self._catalogue.totals.name])
        part.history.update({(row["metric"], row["scope"], row["period"]): row["version"] for row in replaced})
        self._hear_kept(part, found[self._catalogue.totals.name])
        for entry in found[self._catalogue.windows.name]:
            if entry.value is None:
                self._leave(part, entry.key or b"")
                continue
            row = orjson.loads(entry.value)
            key = (row["metric"], row["scope"], row["period"])
            before = self.table.get(key)
            if before is not None and before["version"] == 1 and before not in replaced:
                raise BrokenError("history", f"the first version of {key} is replaced and nowhere else: {before}")
            if before is not None and row["version"] <= before["version"]:
                raise BrokenError("versions", f"{key} went from version {before['version']} to {row['version']}")
            if before is not None and before.get("ends_at") != row.get("ends_at"):
                self._world.seen["campaigns with another end"] += 1
                if row["status"] != "open" and self._end_s(key[2], row) > part.step_us / 1e6:
                    raise BrokenError("called over", f"{key} ends at {row['ends_at']} now, and is {row['status']}")
            if row["status"] != "open" and (before is None or before["status"] == "open"):
                over.append(key)
            self.table[key] = row
            published.add(key)
            if key[0] != INVENTORY:
                part.unchecked.add(key)
                self._judge(key, row["count"])
        return over, published

    def _check_inventories(self, scopes: Iterable[str]) -> None:
        """Checks that produced and undelivered vehicles have a row, in one transaction with the rows that it follows from."""
        if not self._world.settings.keeps_inventory:
            return
        for scope in scopes:
            produced, delivered, stock = (
                self.table.get((metric, scope, "total")) for metric in ("produced", "deliveries", INVENTORY)
            )
            expected = None if produced is None else produced["count"] - (delivered["count"] if delivered else 0)
            found = None if stock is None else stock["count"]
            if found != expected and (expected or stock is not None):
                raise BrokenError("inventory", f"{scope} has {found}, its rows give {expected}")
            self._world.seen["inventories"] += found is not None

    def _hear_kept(self, part: _TotalsPart, entries: list[Entry]) -> None:
        for entry in entries:
            if entry.key == key_of(SIDE, f"{KEPT}model"):
                since = orjson.loads(entry.value or b"")["since"]
                if since < part.kept_since or since > self._first_kept(part):
                    raise BrokenError("kept days", f"{since} after {part.kept_since}, not {self._first_kept(part)}")
                part.kept_since = since

    def _first_kept(self, part: _TotalsPart) -> str:
        """The first day for which models have rows, by the counts and the clock of the step."""
        days = self._world.plan.keep_days
        newest = max((day for _, (_, _, day) in part.summed.cells if isinstance(day, date)), default=None)
        if not days or newest is None or not part.step_us:
            return ""
        today = datetime.fromtimestamp(part.step_us / 1e6, self._zone).date()
        return str(min(newest, today) - timedelta(days=days))

    def _may_lack(self, key: Cell) -> bool:
        """Whether the row may be missing because its day is not kept."""
        part, day = self._parts[self._home(key[1])], key[2].removeprefix("day:")
        is_day = key[2].startswith("day:") and key[1] != "all"
        return is_day and key not in self.table and day < max(part.kept_since, self._first_kept(part))

    def _leave(self, part: _TotalsPart, name: bytes) -> None:
        """Checks a leaving row: its day is not kept, nothing waits for it, and the history has its last version."""
        metric, scope, period = name.decode().split("/")
        key = metric, scope, period
        row = self.table.pop(key)
        if not period.startswith("day:") or scope == "all" or period.removeprefix("day:") >= part.kept_since:
            raise BrokenError("kept days", f"{key} has left, kept are days from {part.kept_since} on")
        if part.history.get(key) != row["version"]:
            raise BrokenError("history", f"{key} has left, and its version {row['version']} is nowhere")
        part.unchecked.discard(key)
        self._world.seen["rows of days that left"] += 1

    def _check_kept(self) -> None:
        """Checks that no row of a day that is not kept is left, unless a retraction, or a milestone without its unit, waits."""
        named = {(data["scope"], data["period"]) for data in (event["data"] for event in self._waiting.values())}
        for number, part in enumerate(self._parts):
            for key in self.table:
                is_day = key[2].startswith("day:") and key[1] != "all" and self._home(key[1]) == number
                waits = key[1:] in named or any(name[1:3] == key[1:] for name in part.below_since_us)
                if is_day and key[2].removeprefix("day:") < part.kept_since and not waits:
                    raise BrokenError("kept days", f"{key} is there, kept are days from {part.kept_since} on")
            if part.kept_since != self._first_kept(part) and self._world.settings.clock != "events":
                raise BrokenError("kept days", f"days from {part.kept_since} on, not {self._first_kept(part)}")

    def _consistent(self, published: set[Cell], part: _TotalsPart) -> set[Cell]:
        """Within a step: the published rows and the other changes of the same metrics and scopes."""
        if self._kept is not None:
            # Which models were let in can be seen only when all of them are published.
            self._world.seen["parts of a step with limits"] += 1
            return {key for key in published if key[1] == "all"}
        if self._world.plan.part_rows < self._world.plan.series_records:
            return published  # so small that even the rows of one metric and scope are split
        self._world.seen["parts of a step"] += 1
        touched = {key[:2] for key in published}
        return {key for key in part.unchecked if key[:2] in touched}

    def _check_sums(self, position: int, part: _TotalsPart, keys: set[Cell]) -> None:
        summed = part.summed
        for key in keys:
            if self._may_lack(key) or self._is_left_as_it_is(key):
                continue
            count = units_in(self.table[key]) if key in self.table else 0
            expected = summed.sums[key] if self._kept is None else self._kept.expected(self.table, summed.sums, key)
            if count != expected and not self._is_to_come(key):
                raise BrokenError("sums", f"{key} is published as {count}, the counts up to {position} give {expected}")
        part.unchecked = part.unchecked - keys

    def _is_to_come(self, key: Cell) -> bool:
        """Whether a rolling window may lack a row because its last date has not begun: no later day has a row."""
        if not key[2].startswith("rolling:") or key in self.table:
            return False
        days = (
            period[4:] for metric, scope, period in self.table if period[:4] == "day:" and (metric, scope) == key[:2]
        )
        return key[2][-10:] >= max(days, default="")

    def _hear_side_errors(self, letters: list[Entry]) -> None:
        for letter in letters:
            place = rejected_place(letter)
            if place is None or place in self._dead or place not in self.side_errors:
                raise BrokenError("dead letters", f"{place} of a side topic is no error, or has two dead letters")
            self._dead[place] = letter
            self._world.seen["dead letters of side topics"] += 1

    def _hear_waiting(self, entries: list[Entry], questions: list[Entry]) -> None:
        """Takes events that are remembered until their units are known, and already stand; publishing one forgets it."""
        for entry in questions:
            self._questions.update((question.id, question) for question in decode_questions(entry.value or b""))
        self._completed: set[str] = set()
        cut = key_of(SIDE, CUT)
        self._cuts.update(
            (entry.key[len(cut) :].decode(), decode_cut(entry.value))
            for entry in entries
            if entry.key is not None and entry.key.startswith(cut) and entry.value is not None
        )
        for entry in entries:
            if not (entry.key or b"").startswith(key_of(SIDE, WAITING)):
                continue
            if entry.value is not None:
                event = self._waiting[entry.key or b""] = orjson.loads(entry.value)
                self._turn(event)
                self._world.seen["milestones that wait"] += 1
                if event["data"]["achieved_at"]:
                    self._check_unit(event["id"], event["data"])
                    self._had_units.add(event["id"])
            else:
                self._completed.add(self._waiting.pop(entry.key or b"")["id"])

    def _turn(self, event: dict[str, Any], *, back: bool = False) -> None:
        """Notes that a milestone stands, or no longer does; with `back`, undoes that."""
        data = event["data"]
        if data["kind"] in ("threshold", "multiple"):
            number = _number_of(data)
            self._parts[self._home(data["scope"])].wrong ^= {number}
            if event["type"] == "milestone.retracted.v1" and not back:
                self._check_held(number)

    def _hear_milestones(self, entries: list[Entry], forecasts: list[Entry]) -> None:
        events = [orjson.loads(entry.value or b"") for entry in entries]
        for event in events:
            data = event["data"]
            name, revision = data["milestone_id"], data["revision"]
            if revision != self.revisions.get(name, 0) + 1:
                raise BrokenError(
                    "milestones once", f"{name} went from revision {self.revisions.get(name, 0)} to {revision}"
                )
            self.revisions[name] = revision
            self._world.seen[f"{data['kind']} {event['type'].split('.')[1]}"] += 1
        for event in events:
            if event["data"]["kind"] not in ALERT_KINDS:
                self._hear_milestone(event)
        if self._completed:
            raise BrokenError("milestones once", f"{sorted(self._completed)} waited, and are forgotten unpublished")
        made = [
            ((entry.key or b"").decode(), orjson.loads(entry.value) if entry.value else None) for entry in forecasts
        ]
        self._alerts.hear(made, [event for event in events if event["data"]["kind"] in ALERT_KINDS])

    def _hear_milestone(self, event: dict[str, Any]) -> None:
        data, name = event["data"], event["data"]["milestone_id"]
        if event["type"] == "milestone.retracted.v1":
            if name not in self.standing:
                raise BrokenError("milestones once", f"{name} was retracted and did not stand")
            del self.standing[name]
        else:
            self.standing[name] = data
            if event["id"] not in self._had_units:
                self._check_unit(name, data)
        if event["id"] in self._completed:
            self._completed.remove(event["id"])
        else:
            self._turn(event)
        if data["kind"] == "record" and event["type"] != "milestone.retracted.v1":
            row = self.table.get((data["metric"], data["scope"], data["period"]))
            if row is None or row["status"] == "open":
                raise BrokenError("called over", f"{name} is a record of a period that is not over")

    def _judge(self, key: Cell, count: int) -> None:
        """Finds the thresholds that a window passes now."""
        metric, scope, period = key
        for rule in self._world.settings.rule:
            if rule.metric != metric or (scope == "all") != (rule.scope == ()):
                continue
            if not f"{period}:".startswith(f"{rule.window}:"):
                continue
            numbers = {} if rule.exceeds is None else {rule.exceeds: count > rule.exceeds}
            if rule.reaches is not None:
                numbers[rule.reaches] = count >= rule.reaches
            if rule.every is not None:
                numbers |= {number: count >= number for number in range(rule.every, _MOST_UNITS, rule.every)}
            for number, passes in numbers.items():
                name = (rule.name, scope, period, number)
                if (name in self._passing) != passes:
                    self._passing ^= {name}
                    self._parts[self._home(scope)].wrong ^= {name}

    def _check_numbers(self, part: _TotalsPart, *, is_whole: bool) -> None:
        """Checks that thresholds stand exactly where their windows pass, except those that a rule holds back for a time.

        Args:
            part: The totals partition that they are in.
            is_whole: Whether everything has been judged by the clock of the step.
        """
        before, part.below_since_us = part.below_since_us, {}
        for name in sorted(part.wrong):
            rule, scope, period, number = name
            what = f"{rule} {number} of {scope} in {period}"
            if name in self._forgotten and (not is_whole or self._is_left_as_it_is(("", scope, period))):
                continue
            held_us = self._held_us[rule]
            if not held_us or name in self._passing:
                which = "passes and does not stand" if name in self._passing else "stands and does not pass"
                raise BrokenError("milestones", f"{what} {which}")
            if name not in before and not part.step_us:
                continue  # nothing has been judged by this writer yet
            since_us = part.below_since_us[name] = before.get(name, part.step_us)
            if is_whole and part.step_us >= since_us + held_us:
                raise BrokenError("held back", f"{what} has not passed for {(part.step_us - since_us) / 1e6} s")

        if is_whole:
            self._forgotten = {
                name
                for name in self._forgotten
                # One of an announced campaign that the totals do not know again yet is recorded when they do.
                if self._parts[self._home(name[1])] is not part or self._is_left_as_it_is(("", *name[1:3]))
            }

    def _check_numbers_at_the_end(self) -> None:
        for part in self._parts:
            if self._world.settings.clock != "events":
                part.step_us = self._world.now_us()
            self._check_numbers(part, is_whole=True)

    def _check_held(self, name: tuple[str, str, str, int]) -> None:
        """Checks that a held-back retraction comes once its reason has lasted as long as the rule says."""
        held_us = self._held_us[name[0]]
        # In small parts, a held-back retraction is remembered before its row shows the reason.
        if not held_us or self._world.plan.part_rows < self._world.plan.series_records:
            return
        self._world.seen["retractions held back"] += 1
        part = self._parts[self._home(name[1])]
        since_us = part.below_since_us.get(name, part.step_us)
        if part.step_us < since_us + held_us:
            raise BrokenError("held back", f"{name} was retracted after {(part.step_us - since_us) / 1e6} s")

    def _check_over(self, key: Cell, summed: _Summed) -> None:
        """Checks that everything appended before the end of a day was counted when the day was declared over."""
        kind, _, text = key[2].partition(":")
        if kind not in ("day", "campaign") or self._world.settings.clock == "events":
            return
        if kind == "day":
            end_ms = int(end_of_day_s(text, self._zone, self._starts) * 1000)
        else:
            end_ms = int(self._end_s(key[2], self.table[key]) * 1000)
            self._world.seen["campaigns that are over"] += 1
        for tp in self._world.sources():
            if (key[2], tp) not in self._over_without:
                self._check_all_counted(key, tp, end_ms, summed)

    def _check_all_counted(self, key: Cell, tp: Partition, end_ms: int, summed: _Summed) -> None:
        """Checks of a partition that what was appended before an instant is counted, at its home if it was forwarded."""
        reached_s = self._world.clock_reached_s(end_ms)
        number = tp.partition % len(self._shards)
        position = summed.markers[number].positions.get(source_name(*tp, number), (0, ""))[0]
        for entry in self._world.cluster.entries(tp):
            if entry.timestamp >= end_ms or entry.appended_s >= reached_s or entry.is_marker or entry.is_aborted:
                continue
            place = Place(*tp, entry.offset)
            if entry.offset >= position:
                if source_name(*tp, number) not in summed.markers[number].positions:
                    self._over_without.add((key[2], tp))
                    return
                raise BrokenError("called over", f"{key} is over and {place} of before its end was not read")
            home = home_of(entry.key, len(self._shards))
            if home == number or place in self._lost or not self._world.is_event(entry):
                continue
            arrived = self._forwarded.get(place)
            if arrived is None or summed.markers[home].positions[self._topics.rerouted][0] <= arrived[1]:
                raise BrokenError("called over", f"{key} is over and {place} is on its way to ledger {home}")

    def still_open(self) -> list[Cell]:
        """Periods that ended long ago by the machines' clock but are not closed."""
        if self._world.settings.clock == "events":
            return []
        now_s = self._world.now_us() / 1e6 - self._world.settings.closed_after_s
        return [
            key
            for key, row in self.table.items()
            if row["status"] != "closed" and self._end_s(key[2], row) <= now_s and not self._is_left_as_it_is(key)
        ]

    def _end_s(self, period: str, row: dict[str, Any]) -> float:
        if period.startswith("campaign:"):
            return datetime.fromisoformat(row["ends_at"]).timestamp()
        return end_of_day_s(row["end"], self._zone, self._starts)

    # Replays --------------------------------------------------------------------------------------------------------

    def _replay(self, transaction: Transaction) -> None:
        notes = self._by_topic(transaction)[self._catalogue.replayed.name]
        records = [entry for entry in transaction.records if entry.topic in self._topics.published]
        if len(notes) != len(records):
            raise BrokenError("replayed once", f"{len(records)} records were published again with {len(notes)} notes")
        for note in notes:
            if note.key in self._replayed:
                raise BrokenError("replayed once", f"{note.key!r} was published again twice")
            self._replayed.add(note.key or b"")

    # At the end -----------------------------------------------------------------------------------------------------

    def check_end(self) -> None:
        """Checks that some time after the last fault everything is read, counted and published."""
        for tp in self._world.cluster.partitions():
            end = self._world.cluster.bounds(tp).end
            if tp.topic in self._topics and self.position(tp) < end:
                raise BrokenError("lag", f"{tp} stands at {self.position(tp)} of {end}")
        for key in self.still_open():
            raise BrokenError("called over", f"{key} was over long ago and is {self.table[key]['status']}")
        for number, shard in enumerate(self._shards):
            self._compare_counts(number, shard, shard.counts.keys() | shard.expected.keys())
            judged_here = shard.contradictions.keys() | self._told.vehicles(number)
            self._compare_contradictions(number, shard, self._published[number].keys() | judged_here)
            for (vin, order_id), delivery in shard.standing.items():
                home = home_of(vin.encode(), len(self._shards))
                if self._world.plan.produces and not self._told.has_heard(home, vin, delivery):
                    raise BrokenError("told", f"ledger {home} has not heard of {vin}, delivered under {order_id}")
        self._check_inventories({scope for _, scope, _ in self.table})
        sums = self._expected_sums()
        self._check_announced()
        published = {
            key: units_in(row)
            for key, row in self.table.items()
            if units_in(row) and key[0] != INVENTORY and not self._is_left_as_it_is(key)
        }
        expected = {
            key: count for key, count in sums.items() if count and not self._is_to_come(key) and not self._may_lack(key)
        }
        self._world.seen["campaigns"] += sum(key[2].startswith("campaign:") for key in published)
        self._check_minutes()
        self._world.seen["rolling windows"] += sum(key[2].startswith("rolling:") for key in published)
        if published != expected:
            key = min(
                key for key in published.keys() | expected.keys() if published.get(key, 0) != expected.get(key, 0)
            )
            raise BrokenError(
                "end", f"{key} is published as {published.get(key, 0)}, the events give {expected.get(key, 0)}"
            )
        self._check_hours()
        if self.side_errors - set(self._dead):
            raise BrokenError("dead letters", f"{min(self.side_errors - set(self._dead))} has none")
        if self._waiting:
            raise BrokenError("moment", f"{sorted(self._waiting)} still wait for their units")
        self._check_skipped()
        self._check_plans()
        self._check_numbers_at_the_end()
        self._check_streaks()
        self._check_factors()
        self._check_among_scopes()
        self._check_kept()
        self._check_records()

    def _told_hours(self) -> ToldHours:
        return ToldHours(_no_such_hours, lambda text: hour_of(text, self._zone, self._starts, self._date_of(text)))

    def _check_hours(self) -> None:
        """Checks that the remembered hours of sources are those of the events in all ledger partitions."""
        accepted = [event for shard in self._shards for order in shard.orders.values() for event in order.values()]
        expected = self._remembered_hours.of(accepted) if self._world.settings.watches_sources else {}
        if self._remembered_hours.hours != expected:
            raise BrokenError("hours of sources", f"{self._remembered_hours.hours}, the events give {expected}")
        self._world.seen["hours of sources"] += sum(map(len, expected.values()))

    def _check_minutes(self) -> None:
        """Checks that campaign rows have the minutes of the events; only the totals know which models are kept out."""
        expected: defaultdict[Cell, Counter[int]] = defaultdict(Counter)
        for shard in self._shards:
            for (metric, scope, part), count in shard.expected.items():
                if isinstance(part, Minute) and count:
                    expected[metric, scope, part.period][part.number] += count
        for key, row in self.table.items():
            if not key[2].startswith("campaign:") or (self._kept is not None and key[1] != "all"):
                continue
            if self._is_left_as_it_is(key):
                continue
            published = {number: count for number, count in enumerate(row["by_minute"]) if count}
            if published != expected[key]:
                raise BrokenError("end", f"{key} has the minutes {published}, the events give {expected[key]}")

    def _expected_sums(self) -> Counter[Cell]:
        """The count of each row by the events."""
        sums: Counter[Cell] = Counter()
        for shard in self._shards:
            for (metric, scope, part), count in shard.expected.items():
                of_minute = (part.period,) if isinstance(part, Minute) else None
                for period in of_minute or periods_of(_day_of(part), self._windows):
                    sums[metric, scope, period] += count
        if self._kept is None:
            return sums
        folded = self._kept.folded(self.table, sums)
        self._world.seen["models kept out"] += any(count and scope == OTHERS for (_, scope, _), count in folded.items())
        return folded

    def _check_plans(self) -> None:
        """Checks that rows show the targets and balances in force and the latest control totals, in whatever partition."""
        if self._world.settings.clock == "events":
            return  # a target whose time has not come by the last event is not in force
        plans = self._plans()
        in_force, balances = self._targets_in(plans), self._balances_in(plans)
        totals: dict[Cell, dict[str, int]] = defaultdict(dict)
        for event in plans:
            data = event["data"]
            if event["type"] == "control.total.v1":
                totals[data["metric"], data["scope"], data["period"]][event["source"]] = data["count"]
        for key in self.table.keys() | in_force.keys() | totals.keys() | balances.keys():
            row = self.table.get(key, {"targets": [], "controls": []})
            shown = {each["target_id"]: each["value"] for each in row["targets"]}
            said = {each["source"]: each["count"] for each in row.get("controls", [])}
            wanted = in_force.get(key, {}), totals.get(key, {}), balances.get(key, 0)
            if not self._may_lack(key) and (shown, said, row.get("balance", 0)) != wanted:
                raise BrokenError(
                    "plans", f"{key} shows {shown}, {said}, {row.get('balance', 0)}; in force are {wanted}"
                )

    def _targets_in(self, plans: list[dict[str, Any]]) -> dict[Cell, dict[str, int]]:
        """Row → target and value, for the targets that are in force after some events."""
        targets: dict[str, dict[str, Any] | None] = {
            start.target_id: start.model_dump() for start in self._world.settings.target
        }
        for event in plans:
            data = event["data"]
            if "target_id" in data:
                targets[data["target_id"]] = data if "value" in data else None
        found: dict[Cell, dict[str, int]] = defaultdict(dict)
        for target_id, of in targets.items():
            # A target of a window that is not counted has no row.
            if of is not None and (of["period"] != "total" or "total" in self._windows):
                found[of["metric"], of["scope"], of["period"]][target_id] = of["value"]
        return found

    def _balances_in(self, plans: list[dict[str, Any]]) -> dict[Cell, int]:
        """Row → its opening balance after some events."""
        found: dict[Cell, int] = {}
        for event in plans if "total" in self._windows else ():
            data = event["data"]
            if event["type"] == "balance.set.v1":
                found[data["metric"], data["scope"], "total"] = data["count"]
        self._world.seen["opening balances"] += len(found)
        return found

    def _plans(self) -> list[dict[str, Any]]:
        """The valid events of targets and control totals, in their defined order."""
        parts = [Partition(topic, 0) for topic in self._world.context.side_topics]
        entries = [entry for part in parts for entry in self._world.cluster.entries(part)]
        errors = self.side_errors
        valid = [entry for entry in entries if Place(entry.topic, entry.partition, entry.offset) not in errors]
        events = [orjson.loads(entry.value or b"") for entry in valid if not entry.is_marker]
        return sorted(events, key=lambda event: (event["time"], event["id"]))

    def _check_skipped(self) -> None:
        """Checks that records to be skipped have such a dead letter, unless retention removed them first."""
        for place in self._ordered - self._lost - {place for place, letter in self._dead.items() if is_skipped(letter)}:
            raise BrokenError("quarantine", f"{place} was to be skipped and has no dead letter that says so")

    def _check_streaks(self) -> None:
        """Checks streaks: a day ends one as long as the run of days with standing thresholds, if long enough for the rule."""
        for rule in self._world.settings.rule:
            mine = [data for data in self.standing.values() if data["rule"] == rule.name]
            passing = {(data["scope"], data["period"]) for data in mine if data["kind"] == "threshold"}
            expected = set()
            for scope, period in passing if rule.streak else ():
                kind, _, rest = period.partition(":")
                assert kind == "day", "only days are stepped back through here"
                length, day = 1, date.fromisoformat(rest)
                while (scope, f"day:{day - timedelta(days=length)}") in passing:
                    length += 1
                if length >= (rule.streak or 0):
                    expected.add((scope, period, length))
            standing = {(data["scope"], data["period"], data["streak"]) for data in mine if data["kind"] == "streak"}
            if standing != expected:
                raise BrokenError("streaks", f"standing are {sorted(standing)}, the days give {sorted(expected)}")

    def _check_records(self) -> None:
        """Checks records: periods that are over and have more than every earlier one, at least one of which has units."""
        for rule in self._world.settings.rule:
            if not rule.record:
                continue
            for kind in ("record", "record_passed") if rule.as_ == "passed" else ("record",):
                expected = set()
                for scope, rows in self._rows_of(rule).items():
                    peak = 0
                    for period, count, is_over in sorted(rows, key=lambda row: self._order_of(row[0], scope)):
                        if kind == "record" and not is_over:
                            continue
                        if 0 < peak < count:
                            expected.add((scope, period))
                        peak = max(peak, count)
                self._check_standing(rule, kind, expected)

    def _check_factors(self) -> None:
        """Checks factors: days with so many times the count of the day before, which is over and not the first with units."""
        for rule in self._world.settings.rule:
            if rule.factor is None:
                continue
            assert (rule.window, rule.than, rule.as_) == ("day", "previous", "passed"), "no other is recounted here"
            expected = set()
            for scope, rows in self._rows_of(rule).items():
                over = {period: count for period, count, is_over in sorted(rows) if is_over and count}
                first = min((period for period, count, _ in rows if count), default=None)
                for period, count, _ in rows:
                    before = f"day:{date.fromisoformat(period[4:]) - timedelta(days=1)}"
                    if before != first and before in over and count >= rule.factor * over[before]:
                        expected.add((scope, period))
            self._check_standing(rule, "factor", expected)

    def _check_among_scopes(self) -> None:
        """Checks shares of `all` in days that are over, and leaders where another model led the day before."""
        for rule in self._world.settings.rule:
            if rule.share is None or not rule.leader:
                continue
            assert rule.window == "day", "no other is recounted here"
            shares, leaders = set(), set()
            rows = self._rows_of(rule)
            over = {period for of_scope in rows.values() for period, _, is_over in of_scope if is_over}
            counts = {(scope, period): count for scope, of_scope in rows.items() for period, count, _ in of_scope}
            for scope, of_scope in rows.items():
                for period, count, is_over in of_scope:
                    whole = self.table.get((rule.metric, "all", period), {"count": 0})["count"]
                    if is_over and whole and count >= rule.share * whole:
                        shares.add((scope, period))
                    before = f"day:{date.fromisoformat(period[4:]) - timedelta(days=1)}"
                    led = _leaders_of(counts, before)
                    if is_over and before in over and led and _leaders_of(counts, period) == [scope] != led:
                        leaders.add((scope, period))
            self._check_standing(rule, "scope_share", shares)
            self._check_standing(rule, "leader", leaders)

    def _order_of(self, period: str, scope: str) -> tuple[float, str, str]:
        """Sort key for periods of one window: campaigns by first instant and last date, others by name."""
        campaign = self._campaigns_of(scope).get(period)
        if campaign is None:
            return 0.0, "", period
        last = (campaign.end - timedelta(microseconds=1)).isoformat()
        return campaign.start.timestamp(), str(self._date_of(last)), period

    def _rows_of(self, rule: RuleSettings) -> dict[str, list[tuple[str, int, bool]]]:
        """For each scope that a rule watches: periods, counts, and whether they are over."""
        found: dict[str, list[tuple[str, int, bool]]] = defaultdict(list)
        for (metric, scope, period), row in self.table.items():
            is_judged = metric == rule.metric and period.startswith(f"{rule.window}:")
            if (
                is_judged
                and (scope == "all") == (rule.scope == ())
                and not self._is_left_as_it_is((metric, scope, period))
            ):
                found[scope].append((period, row["count"], row["status"] != "open"))
        return found

    def _check_standing(self, rule: RuleSettings, kind: str, expected: set[tuple[str, str]]) -> None:
        standing = {
            (data["scope"], data["period"])
            for data in self.standing.values()
            if data["kind"] == kind
            and data["rule"] == rule.name
            and not self._is_left_as_it_is((data["metric"], data["scope"], data["period"]))
        }
        if standing != expected:
            raise BrokenError(kind, f"standing are {sorted(standing)}, the rows give {sorted(expected)}")


def _is_between(time: str, data: dict[str, Any]) -> bool:
    """Whether an instant is within a milestone's campaign; always true for other windows."""
    if "starts_at" not in data:
        return True
    first, end = (datetime.fromisoformat(data[name]) for name in ("starts_at", "ends_at"))
    return first <= datetime.fromisoformat(time) < end


def _not_told_so(what: str) -> BrokenError:
    return BrokenError("told", what)


def _no_such_hours(what: str) -> None:
    raise BrokenError("hours of sources", what)


def _no_such_alert(what: str) -> None:
    raise BrokenError("alerts", what)


def units_in(row: dict[str, Any]) -> int:
    """The units of a row that are counted, without its opening balance."""
    return int(row["count"]) - int(row.get("balance", 0))


def _cells_of(key: CountKey, count: DayCount) -> list[tuple[Counted, int]]:
    """The units in a count: of a date, or of each minute of a campaign hour."""
    metric, scope, part = key
    if not isinstance(part, CampaignHour):
        return [((metric, scope, part), count.count)]
    minutes = (Minute(f"campaign:{part.campaign}", part.hour * 60 + number) for number in range(60))
    return [((metric, scope, minute), units) for minute, units in zip(minutes, count.by_hour, strict=True)]


def _day_of(part: object) -> date:
    assert isinstance(part, date)
    return part


def _leaders_of(counts: Mapping[tuple[str, str], int], period: str) -> list[str]:
    """The scopes of models with the most units in a period; empty without units."""
    named = {scope: count for (scope, of), count in counts.items() if of == period and scope != OTHERS and count}
    return [scope for scope, count in named.items() if count == max(named.values())]


def _number_of(data: dict[str, Any]) -> tuple[str, str, str, int]:
    return data["rule"], data["scope"], data["period"], data["threshold"]


def _offsets(marker: Marker) -> dict[str, int]:
    """Source → how far a ledger partition has read it."""
    return {source: offset for source, (offset, _) in marker.positions.items()}


def _stand_of(number: int, offsets: Mapping[str, int]) -> tuple[Any, ...]:
    """A ledger partition, and how far it has read its sources."""
    return number, *sorted(offsets.items())


def _units_of(
    dated: Mapping[str, list[tuple[Metric, str, tuple[str, str, str]]]], metric: str, scope: str
) -> list[tuple[str, str, str]]:
    """The units of a metric and scope."""
    return [
        unit
        for of_order in dated.values()
        for of, of_model, unit in of_order
        if of == metric and scope in ("all", of_model)
    ]


def is_copy(record: Entry, source: Entry) -> bool:
    """Whether a record is a byte-for-byte copy of another, with additional headers at the end."""
    headers = [*source.headers]
    return (record.key, record.value, [*record.headers][: len(headers)]) == (source.key, source.value, headers)


def is_skipped(letter: Entry) -> bool:
    """Whether a dead letter is of a record that an operator skipped."""
    return dict(letter.headers)[ControlHeaders.REASON] == QUARANTINED.encode()


def is_beyond_limits(letter: Entry) -> bool:
    """Whether a dead letter is of an event for whose dimensions there was no room."""
    return dict(letter.headers)[ControlHeaders.REASON] == BEYOND_LIMITS.encode()


def _offset(entry: Entry) -> int:
    return entry.offset
