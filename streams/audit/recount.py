"""Recounts a ledger partition: independently judges every order, adds up every unit and keeps the books."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from schemas.facts import BEYOND_LIMITS, ID_CONFLICT, TOO_MANY_EVENTS
from streams.audit.dead_letters import MAX_EVENTS, Letter, accepted
from streams.audit.judging import content_of
from streams.audit.production import ProductionRecount
from streams.audit.report import Check, describe_event, place_text
from streams.audit.sources import Coordinates, Home, coordinates_of
from streams.audit.sums import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from schemas.facts import Fact
    from streams.audit.judging import Distinct, RecountedUnit
    from streams.audit.sums import Business

#: The stream of records forwarded to a ledger partition; its other streams are the source topics, by number.
FORWARDED: Final = -1


@dataclass
class StreamBooks:
    """What became of the records of a stream.

    If copies of an event are spread over several streams, only the first one applied counts, and the recount cannot tell which that
    was. So `duplicates` is the minimum, and `uncertain` how many more there may be.
    """

    read: int = 0
    dead_letters: int = 0
    rerouted: int = 0
    duplicates: int = 0
    uncertain: int = 0


@dataclass
class ShardCount:
    """A recounted ledger partition.

    Attributes:
        tally: Its units.
        books: Stream (a topic's number, or `FORWARDED`) → its books.
        events: Number of distinct events accepted.
        duplicates: Number of further copies of these.
        conflicts: Number of identities with more than one content.
        explained: Source records whose dead letters are justified.
    """

    tally: Tally
    books: defaultdict[int, StreamBooks] = field(default_factory=lambda: defaultdict(StreamBooks))
    events: int = 0
    duplicates: int = 0
    conflicts: list[dict[str, Any]] = field(default_factory=list)
    explained: set[Coordinates] = field(default_factory=set)


class Recounting:
    """Recounts one home after another.

    Args:
        business: Time zone, scopes, holidays.
        letters: Source record → its dead letter.
        names: Number → name of a source topic.
        dead_letters: Gets the differences about dead letters.
        note: Called with every unit.
        note_events: Called with the accepted events of each order.
        vins: VIN → order under which its delivery stands; grows.
        two_orders: (VIN, order, other order) of vehicles with deliveries standing under two orders; grows.
        production: Determines which deliveries contradict production; grows.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what is judged by, and who is told
        self,
        business: Business,
        letters: Mapping[Coordinates, Letter],
        names: Mapping[int, str],
        dead_letters: Check,
        note: Callable[[RecountedUnit], None] = lambda _unit: None,
        note_events: Callable[[Sequence[Fact]], None] | None = None,
    ) -> None:
        self._note = note
        self._note_events = note_events
        self._business = business
        self._letters = letters
        self._names = names
        self._check = dead_letters
        self.vins: dict[str, str] = {}
        self.two_orders: list[tuple[str, str, str]] = []
        self.production = ProductionRecount(business)

    def count(self, number: int, home: Home) -> ShardCount:
        """Recounts a home."""
        shard = ShardCount(Tally(self._business))
        for topic, part in home.parts.items():
            books = shard.books[topic]
            books.read += part.read
            books.dead_letters += len(part.refused)
            books.rerouted += len(part.away)
        for order_id, records in home.orders.items():
            found = accepted(records, self._letters)
            shard.events += len(found.events)
            shard.duplicates += len(found.duplicates)
            if self._note_events is not None:
                self._note_events(found.events)
            if len(found.events) < len(records):
                self._sort_out(number, records, found, shard)
            if len(found.events) > MAX_EVENTS:
                self._check.differ(
                    f"order {order_id}: {len(found.events)} events were taken, {MAX_EVENTS} are allowed",
                    order_id=order_id,
                )
            reading = self._business.read_order(found.events)
            self.production.take(order_id, reading)
            for unit in reading.units:
                shard.tally.add(unit)
                self._note(unit)
                if unit.metric == "deliveries":
                    self._note_vin(unit, order_id)
        return shard

    def _sort_out(self, number: int, records: Sequence[Fact], found: Distinct, shard: ShardCount) -> None:
        """Takes an order with duplicates, or with records rejected because of other records."""
        taken = [*found.events, *found.duplicates]
        kept = {coordinates_of(record) for record in taken}
        refused = [record for record in records if coordinates_of(record) not in kept]
        for record in refused:
            shard.books[self._stream(record, number)].dead_letters += 1
            self._judge_refusal(record, found)
            shard.explained.add(coordinates_of(record))
        streams: dict[tuple[str, str], Counter[int]] = {}
        for record in taken:
            streams.setdefault((record.source, record.id), Counter())[self._stream(record, number)] += 1
        for times in streams.values():
            for stream, count in times.items():
                shard.books[stream].duplicates += count - 1
                shard.books[stream].uncertain += len(times) > 1
        shard.conflicts += self._conflicts(records, refused)

    def _stream(self, record: Fact, home: int) -> int:
        return record.topic if record.partition % self._business.settings.partitions == home else FORWARDED

    def _judge_refusal(self, record: Fact, found: Distinct) -> None:
        """Checks that a record was rightly rejected."""
        letter = self._letters.get(coordinates_of(record))
        where = place_text(describe_event(record, self._business, self._names))
        if letter is None:
            self._check.differ(
                f"{where}: contradicts an event of the same id, and there is no dead letter that says so",
                record=describe_event(record, self._business, self._names),
            )
            return
        if letter.reason == BEYOND_LIMITS:
            return  # It is not on record which values had come before in its partition, so either verdict may be right.
        winner = next((one for one in found.events if (one.source, one.id) == (record.source, record.id)), None)
        if letter.reason == ID_CONFLICT:
            right = winner is not None and content_of(winner) != content_of(record)
            if right and winner is not None and _same_partition(winner, record):
                right = winner.offset < record.offset or any(
                    content_of(other) == content_of(winner) and not _same_partition(other, record)
                    for other in found.duplicates
                    if (other.source, other.id) == (record.source, record.id)
                )
        else:
            right = letter.reason == TOO_MANY_EVENTS and winner is None and len(found.events) >= MAX_EVENTS
        if not right:
            self._check.differ(
                f"{where}: among the dead letters as {letter.reason}, but nothing in its order is a reason for that",
                record=describe_event(record, self._business, self._names),
            )

    def _conflicts(self, records: Sequence[Fact], refused: Sequence[Fact]) -> Iterator[dict[str, Any]]:
        out = {coordinates_of(record) for record in refused}
        for source, identity in {(record.source, record.id) for record in refused}:
            same = [record for record in records if (record.source, record.id) == (source, identity)]
            if len({content_of(record) for record in same}) > 1:
                yield {
                    "order_id": same[0].order_id,
                    "source": source,
                    "id": identity,
                    "records": [
                        {
                            **describe_event(record, self._business, self._names),
                            "counts": coordinates_of(record) not in out,
                        }
                        for record in same
                    ],
                }

    def _note_vin(self, unit: RecountedUnit, order_id: str) -> None:
        other = self.vins.setdefault(unit.event.vin, order_id)
        if other != order_id:
            self.two_orders.append((unit.event.vin, other, order_id))


def _same_partition(one: Fact, other: Fact) -> bool:
    return (one.topic, one.partition) == (other.topic, other.partition)
