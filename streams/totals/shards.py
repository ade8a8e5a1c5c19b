"""What the ledger partitions (shards) have published, by whole transactions, and how far each has read."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from schemas import hotpath
from schemas.codec import decode_marker
from schemas.counts import HOURS_BEGIN, MARKER, split_key
from schemas.source_hours import decode_hours, decode_hours_key
from streams.domain import hotpath as rows
from streams.kafka.records import record_key, record_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from schemas.outputs import Marker
    from streams.domain.counts.source_hours import SourceHours
    from streams.kafka.records import LogRecord


class _Due(NamedTuple):
    """The records that must arrive at their homes before days that ended before an instant may close."""

    instant_us: int
    records: int
    ways: dict[tuple[int, int], int]  # shard and home → records


class Shards:
    """The last marker of each shard, and the counts that wait for the marker of their transaction.

    A fetch can split a ledger transaction, and an order that moves from one day to another would then be missing for a
    moment. So the counts of a shard are held back until the marker that ends their transaction.
    """

    def __init__(
        self,
        partitions: int,
        rerouted: str,
        aliases: str = "",
        campaigns: str = "",
        source_hours: SourceHours | None = None,
    ) -> None:
        """Expects `partitions` shards that count by `aliases` and `campaigns`.

        `campaigns` may be assigned other campaigns before anything is taken.

        Args:
            partitions: Number of shards.
            rerouted: The topic of forwarded records.
            aliases: The aliases that are counted by.
            campaigns: The campaigns that are counted.
            source_hours: Where to add the hours in which each source has sent events, if these are needed.
        """
        self._source_hours = source_hours
        self._partitions = partitions
        self._aliases = aliases
        self.campaigns = campaigns
        self._rerouted = rerouted
        #: Shards of whose transaction only a part has been absorbed.
        self._cut: set[int] = set()
        self._waiting: dict[int, list[tuple[bytes, bytes]]] = {}
        #: Shards with waiting counts → the offset of the first of these.
        self._waiting_since: dict[int, int] = {}
        self.markers: dict[int, Marker] = {}
        self._must_arrive: int | None = None
        #: What `settled` is since the last marker; None before anyone has asked.
        self._is_settled: bool | None = None
        #: Subject of the question → what must arrive before the answer is yes.
        self._due: dict[str, _Due] = {}

    def take(self, records: Sequence[LogRecord]) -> Iterator[tuple[int, list[tuple[bytes, bytes]]]]:
        """Takes records of the counts topic. Returns for each marker, as it is taken, what its transaction has changed.

        That is keys and values of counts.
        """
        pairs = pairs_of(records)
        at = 0
        while (at := hold_back(pairs, at, self._waiting)) < len(pairs):
            key, value = pairs[at]
            shard, rest = split_key(key)
            if rest == MARKER:
                self._mark(shard, decode_marker(value))
                self._waiting_since.pop(shard, None)
                yield shard, self._waiting.pop(shard, [])
            elif rest.startswith(HOURS_BEGIN):
                self._unite(key, value)
            else:
                self._waiting[shard] = [pairs[at]]
                self._waiting_since[shard] = records[at].offset
            at += 1

    def absorb(self, record: LogRecord) -> tuple[bytes, bytes] | None:
        """Takes one record while the whole topic is read, before the counts are used; key and value of a count are returned at once.

        In a compacted topic only the last marker of each shard is left: waiting for it would mean keeping everything twice.
        """
        key, value = record_key(record), record_value(record)
        shard, rest = split_key(key)
        if rest == MARKER:
            self._mark(shard, decode_marker(value))
            self._cut.discard(shard)
            return None
        if rest.startswith(HOURS_BEGIN):
            self._unite(key, value)
            return None
        self._cut.add(shard)
        return key, value

    def _unite(self, key: bytes, value: bytes) -> None:
        """Takes the hours of an event source. They only grow, so they need not wait for the marker."""
        of = decode_hours_key(key)
        if of is not None and self._source_hours is not None:
            self._source_hours.unite(of, decode_hours(value))

    @property
    def tell_hours(self) -> bool:
        """Whether every shard publishes the hours in which each source has sent events."""
        return all(marker.tells_hours for marker in self.markers.values())

    def counted_before(self, offset: int) -> int:
        """The offset, at most the given one, before which everything is taken and nothing waits for its marker."""
        return min([offset, *self._waiting_since.values()])

    def restore(self, markers: Mapping[int, Marker]) -> None:
        """Restores the last marker of each shard; what is absorbed afterwards is newer."""
        for shard, marker in markers.items():
            self._mark(shard, marker)

    @property
    def is_cut(self) -> bool:
        """Whether any shard's marker of an absorbed count is still to come."""
        return bool(self._cut)

    def _mark(self, shard: int, marker: Marker) -> None:
        self.markers[shard] = marker
        self._is_settled = None
        if not self._complete:
            self._must_arrive = None
        elif self._must_arrive is None:
            # Records forwarded before the last shard reported must arrive before anything is published.
            self._must_arrive = self._forwarded

    @property
    def _complete(self) -> bool:
        # If the aliases or the campaigns have changed, a shard counts by the old ones until it is reopened: a sum of old and new
        # counts was never true.
        return len(self.markers) == self._partitions and not any(
            marker.rebuilding or marker.aliases != self._aliases or marker.campaigns != self.campaigns
            for marker in self.markers.values()
        )

    @property
    def announced(self) -> str | None:
        """The announcement that all shards count by; None while they disagree or have not all reported."""
        if len(self.markers) < self._partitions or any(marker.rebuilding for marker in self.markers.values()):
            return None
        found = {marker.announced for marker in self.markers.values()}
        return found.pop() if len(found) == 1 else None

    @property
    def _forwarded(self) -> int:
        return sum(max(_rerouted(marker), sum(marker.forwarded.values())) for marker in self.markers.values())

    @property
    def _arrived(self) -> int:
        return sum(marker.books[self._rerouted].read for marker in self.markers.values())

    @property
    def settled(self) -> bool:
        """Whether every shard has reported, all count by the same aliases, and forwarded records have arrived at their homes.

        A shard that is rebuilding has not reported.
        """
        if self._is_settled is None:
            self._is_settled = self._complete and self._must_arrive is not None and self._arrived >= self._must_arrive
        return self._is_settled

    @property
    def clock_us(self) -> int:
        """The greatest event time that any shard has accepted; 0 before the first event."""
        return max((marker.clock_us for marker in self.markers.values()), default=0)

    def read_up_to(self, append_us: int, of: str = "day") -> bool:
        """Whether everything appended before this instant has been counted, forwarded records at their homes included.

        Args:
            append_us: Microseconds since 1970.
            of: What ends then; each asks for its own instants, repeatedly until the answer is yes.
        """
        return self._counted_up_to(append_us, of, all(m.caught_up_us >= append_us for m in self.markers.values()))

    def told_up_to(self, event_us: int, of: str = "day") -> bool:
        """Whether every shard has read everything or accepted an event this late, and forwarded records have arrived.

        Args:
            event_us: Microseconds since 1970.
            of: See above.
        """
        told = all(marker.caught_up or marker.clock_us >= event_us for marker in self.markers.values())
        return self._counted_up_to(event_us, of, told)

    def _counted_up_to(self, instant_us: int, of: str, read: bool) -> bool:  # noqa: FBT001 - what one of the two above has found
        """Whether the records that were forwarded by the time all shards had read up to the instant are counted at their homes.

        All shards may have reported that they have read everything while the last record of the day is still on its way home.
        """
        if not read:
            self._due.pop(of, None)
            return False
        due = self._due.get(of)
        if due is None or due.instant_us != instant_us:
            due = self._due[of] = _Due(instant_us, self._forwarded, self._ways())
        arrived = self._arrived >= due.records and all(
            self.markers[home].arrived.get(shard, 0) >= records for (shard, home), records in due.ways.items()
        )
        if arrived:
            # This stays true, so the remaining steps of the day have nothing to check.
            self._due[of] = _Due(instant_us, 0, {})
        return arrived

    def _ways(self) -> dict[tuple[int, int], int]:
        """(Shard, home) → records forwarded; empty if any shard's state is older than these counters."""
        for marker in self.markers.values():
            # There can be more rerouted records: originals may have been deleted before a rebuild could reread them.
            if sum(marker.forwarded.values()) < _rerouted(marker):
                return {}
            if sum(marker.arrived.values()) != marker.books[self._rerouted].read:
                return {}
        return {
            (shard, home): records
            for shard, marker in self.markers.items()
            for home, records in marker.forwarded.items()
            if home in self.markers
        }


def pairs_of(records: Sequence[LogRecord]) -> list[tuple[bytes, bytes]]:
    """Keys and values of records.

    Raises:
        ValueError: One has no key or no value.
    """
    if hotpath.is_whole(records):
        return records.pairs()
    return [(record_key(record), record_value(record)) for record in records]


def hold_back(pairs: list[tuple[bytes, bytes]], at: int, waiting: Mapping[int, list[tuple[bytes, bytes]]]) -> int:
    """Adds counts, from a place on, to those that wait of their shard, until one is no count, or the first of its shard.

    Returns:
        The place of that record, or the number of all.
    """
    if rows.rows is not None:
        found: int = rows.rows.hold_back(pairs, at, waiting)
        return found
    while at < len(pairs):
        shard, rest = split_key(pairs[at][0])
        of_shard = waiting.get(shard)
        if of_shard is None or rest == MARKER or rest.startswith(HOURS_BEGIN):
            break
        of_shard.append(pairs[at])
        at += 1
    return at


def _rerouted(marker: Marker) -> int:
    """Records that a shard has read for other homes."""
    return sum(books.rerouted for books in marker.books.values())
