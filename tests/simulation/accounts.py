"""What became of each record: applied, a duplicate, forwarded, or a dead letter, once, and as the books say."""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from schemas.facts import BEYOND_LIMITS, QUARANTINED
from schemas.notes import Place
from schemas.outputs import Books, ControlHeaders, source_of
from streams.kafka.dead_letter_headers import rejected_place
from streams.kafka.forwarding import origin_of
from streams.kafka.log import Partition
from tests.simulation.broken import BrokenError
from tests.simulation.cluster import Outcome
from tests.simulation.committed import home_of
from tests.simulation.history import life_of

if TYPE_CHECKING:
    from schemas.outputs import Marker
    from tests.simulation.cluster import Entry
    from tests.simulation.committed import Committed, Shard
    from tests.simulation.counts import Counts

_NOTHING = Books(read=0, applied=0, duplicates=0, dead_letters=0, rerouted=0)

_OF_PRODUCTION: Final = frozenset({"vehicle.produced.v1", "production.reversed.v1", "production.voided.v1"})


class Accounts:
    """Accounts for the records that ledger transactions cover.

    Args:
        so_far: What has been committed.
        counts: Counts orders again.
    """

    def __init__(self, so_far: Committed, counts: Counts) -> None:
        self._so_far = so_far
        self._world = so_far.world
        self._counts = counts
        self._applied: set[Place] = set()
        #: Number of applied events that were not known before.
        self._new = 0
        #: Events that this transaction has kept out for lack of room, with their models.
        self._kept_out: list[tuple[Place, set[str]]] = []
        #: The models of the events that it has taken.
        self._came: set[str] = set()
        #: The records that a command has promised to skip.
        self._ordered: set[Place] = set()
        self._lifting: set[Place] = set()

    def forget_internals(self) -> None:
        """The internal topics are deleted: everything is applied again."""
        self._applied = set()

    def asked_to_skip(self, place: Place) -> None:
        """Notes that a quarantine command begins, which may or may not complete."""
        self._so_far.asked.add(place)

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
        if place in self._so_far.dead and not is_skipped(self._so_far.dead[place]):
            raise BrokenError("quarantine", f"{place} is said to be skipped and was rejected before")
        self._ordered.add(place)

    def forget_decisions(self) -> None:
        """Operators' decisions are deleted: they hold where they have taken effect, as shown by the dead letters."""
        self._ordered = {
            place for place in self._ordered if place in self._so_far.dead and is_skipped(self._so_far.dead[place])
        }

    def hear_dead_letters(self, number: int, letters: list[Entry]) -> None:
        self.just_dead: set[Place] = set()
        self._world.seen["dead letters"] += len(letters)
        for letter in letters:
            place = rejected_place(letter)
            assert place is not None
            if place in self._so_far.dead:
                raise BrokenError("dead letters", f"{place} has two dead letters")
            if letter.partition != number:
                raise BrokenError("dead letters", f"that of {place} is in partition {letter.partition}")
            source = self._world.source_entry(place)
            if not is_copy(letter, source):
                raise BrokenError("dead letters", f"that of {place} is not the record byte for byte")
            self._so_far.dead[place] = letter
            self.just_dead.add(place)

    def hear_forwarded(self, number: int, records: list[Entry]) -> None:
        self.just_forwarded: set[Place] = set()
        self._world.seen["forwarded records"] += len(records)
        for record in records:
            origin = origin_of(record.headers)
            assert origin is not None
            place = Place(self._so_far.topics.name(origin.topic), origin.partition, origin.offset)
            if place in self._so_far.forwarded:
                raise BrokenError("forwarding", f"{place} was forwarded twice")
            if not is_copy(record, self._world.source_entry(place)):
                raise BrokenError("forwarding", f"{place} was forwarded otherwise than it was published")
            if origin.partition % len(self._so_far.shards) != number:
                raise BrokenError("forwarding", f"{place} was forwarded by ledger {number}")
            self._so_far.forwarded[place] = (record.partition, record.offset)
            self.just_forwarded.add(place)

    def cover(self, number: int, shard: Shard, marker: Marker) -> set[Place]:
        """Accounts for all records between the old and the new positions."""
        covered: set[Place] = set()
        touched: set[str] = set()
        new_before = self._new
        applied = 0
        for tp in shard.positions.keys() - {_source(name, number) for name in marker.positions}:
            raise BrokenError("positions", f"ledger {number} says nothing of {tp} any more")
        for name, (position, _) in marker.positions.items():
            tp = _source(name, number)
            before, books, past = shard.positions[tp], marker.books[name], shard.books.get(name, _NOTHING)
            if position == before and books == past and marker.lost.get(name, 0) == shard.lost[tp]:
                continue  # as it was when it was checked
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
            self._counts.count_again(shard, order_id)
        return covered

    def _check_split(self, tp: Partition, before: Books, after: Books, places: list[Place]) -> None:
        """Checks that records not taken from a source have become dead letters or were forwarded."""
        dead, away = after.dead_letters - before.dead_letters, after.rerouted - before.rerouted
        dead_letters = [place for place in places if place in self._so_far.dead]
        forwarded = (
            [place for place in places if place in self._so_far.forwarded]
            if tp.topic != self._so_far.topics.rerouted
            else []
        )
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
        self._so_far.lost.update(Place(*tp, offset) for offset in range(before, before + lost))

    def _is_committed(self, entry: Entry) -> bool:
        if entry.transaction is not None and entry.transaction.outcome is Outcome.OPEN:
            raise BrokenError("read committed", f"{entry.topic}-{entry.partition}@{entry.offset} is not committed")
        return entry.is_visible

    def _account(self, number: int, shard: Shard, entry: Entry, touched: set[str]) -> Place:
        """Checks what became of one record below a position; returns where it was published."""
        place = Place(entry.topic, entry.partition, entry.offset)
        if entry.topic == self._so_far.topics.rerouted:
            origin = origin_of(entry.headers)
            assert origin is not None
            place = Place(self._so_far.topics.name(origin.topic), origin.partition, origin.offset)
            self._account_at_home(number, shard, place, self._world.source_entry(place), touched)
        elif home_of(entry.key, len(self._so_far.shards)) == number or not (
            self._world.is_event(entry) or (place in self._so_far.asked and place in self._so_far.forwarded)
        ):
            self._account_at_home(number, shard, place, entry, touched)
        elif place not in self._so_far.forwarded:
            raise BrokenError("nothing lost", f"{place} was passed and not forwarded")
        return place

    def _account_at_home(self, number: int, shard: Shard, place: Place, entry: Entry, touched: set[str]) -> None:
        if place in self._so_far.dead and is_skipped(self._so_far.dead[place]):
            if place not in self._so_far.asked:
                raise BrokenError("quarantine", f"{place} was skipped and nobody had asked for it")
            self._world.seen["records skipped by order"] += place in self.just_dead
            return
        if place in self._ordered:
            raise BrokenError("quarantine", f"{place} was to be skipped and was taken by ledger {number}")
        if not self._world.is_event(entry):
            if place not in self._so_far.dead:
                raise BrokenError("nothing lost", f"{place} is no event, was passed and is no dead letter")
            return
        event = self._world.event_of(entry)
        models = self._models_of(event)
        if place in self._so_far.dead and is_beyond_limits(self._so_far.dead[place]) and self._world.plan.rejects:
            self._kept_out += [(place, models)] * (place in self.just_dead)
            self._world.seen["events beyond the limits"] += place in self.just_dead
            return
        if place in self._so_far.dead:
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

    def _check_room(self, number: int, shard: Shard, marker: Marker) -> None:
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
        return set() if model is None else {self._so_far.counted_as(model, day) for day in (date.min, date.max)}

    def hear_side_errors(self, letters: list[Entry]) -> None:
        for letter in letters:
            place = rejected_place(letter)
            if place is None or place in self._so_far.dead or place not in self._so_far.side_errors:
                raise BrokenError("dead letters", f"{place} of a side topic is no error, or has two dead letters")
            self._so_far.dead[place] = letter
            self._world.seen["dead letters of side topics"] += 1

    def check_skipped(self) -> None:
        """Checks that records to be skipped have such a dead letter, unless retention removed them first."""
        for place in (
            self._ordered
            - self._so_far.lost
            - {place for place, letter in self._so_far.dead.items() if is_skipped(letter)}
        ):
            raise BrokenError("quarantine", f"{place} was to be skipped and has no dead letter that says so")


@lru_cache(maxsize=1000)
def _source(name: str, number: int) -> Partition:
    """The partition that a marker of a ledger partition calls by a name."""
    return Partition(*source_of(name, number))


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
