"""What the ledger partitions have published, as the totals see it: transactions whole, and how far each has read."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from schemas.codec import decode_day_count, decode_marker
from schemas.counts import decode_counts_key
from streams.kafka.records import record_key, record_value

if TYPE_CHECKING:
    from schemas.counts import DayKey
    from schemas.facts import DayCount
    from schemas.outputs import Marker
    from streams.kafka.records import LogRecord


class _Due(NamedTuple):
    """What must be counted before days that ended before an instant may close."""

    instant_us: int
    records: int
    ways: dict[tuple[int, int], int]  # shard and home → records


class Shards:
    """What the markers of the ledger partitions say, and counts that wait for theirs.

    A fetch can cut a ledger transaction in two; an order that moves from one day to another would then show up
    nowhere for a moment. So the counts of a shard are held back until the marker that ends their transaction.
    """

    def __init__(self, partitions: int, rerouted: str) -> None:
        """Of `partitions` shards; `rerouted` names the topic of forwarded records."""
        self._partitions = partitions
        self._rerouted = rerouted
        #: Shards whose transaction has been absorbed in part.
        self._cut: set[int] = set()
        self._waiting: dict[int, list[tuple[DayKey, DayCount]]] = {}
        self.markers: dict[int, Marker] = {}
        self._must_arrive: int | None = None
        self._due: _Due | None = None

    def take(self, record: LogRecord) -> tuple[int, list[tuple[DayKey, DayCount]]] | None:
        """Takes one record of the counts topic; a marker returns what its transaction has changed."""
        shard, cell = decode_counts_key(record_key(record))
        if cell is None:
            self._mark(shard, decode_marker(record_value(record)))
            return shard, self._waiting.pop(shard, [])
        self._waiting.setdefault(shard, []).append((cell, decode_day_count(record_value(record))))
        return None

    def absorb(self, record: LogRecord) -> tuple[int, DayKey, DayCount] | None:
        """Takes one record while all of the topic is read, before anything is made of the counts; a count is given back at once.

        Of a topic that was compacted only the last marker of each shard is left: to wait for it would be to keep all twice.
        """
        shard, cell = decode_counts_key(record_key(record))
        if cell is None:
            self._mark(shard, decode_marker(record_value(record)))
            self._cut.discard(shard)
            return None
        self._cut.add(shard)
        return shard, cell, decode_day_count(record_value(record))

    @property
    def is_cut(self) -> bool:
        """Whether the last record that was absorbed of a shard is not its marker: that one is still to come."""
        return bool(self._cut)

    def _mark(self, shard: int, marker: Marker) -> None:
        self.markers[shard] = marker
        if not self._complete:
            self._must_arrive = None
        elif self._must_arrive is None:
            # Whatever had been forwarded by the time the last shard was there must arrive before anything is said.
            self._must_arrive = self._forwarded

    @property
    def _complete(self) -> bool:
        return len(self.markers) == self._partitions and not any(m.rebuilding for m in self.markers.values())

    @property
    def _forwarded(self) -> int:
        return sum(max(_rerouted(marker), sum(marker.forwarded.values())) for marker in self.markers.values())

    @property
    def _arrived(self) -> int:
        return sum(marker.books[self._rerouted].read for marker in self.markers.values())

    @property
    def settled(self) -> bool:
        """Whether every shard has reported, none is rebuilding, and forwarded records have arrived at their homes."""
        return self._complete and self._must_arrive is not None and self._arrived >= self._must_arrive

    @property
    def clock_us(self) -> int:
        """The greatest event time that any shard has accepted; 0 before the first."""
        return max((marker.clock_us for marker in self.markers.values()), default=0)

    def read_up_to(self, append_us: int) -> bool:
        """Whether all that was appended before this instant has been counted, including what was forwarded, at its home."""
        return self._counted_up_to(append_us, all(m.caught_up_us >= append_us for m in self.markers.values()))

    def told_up_to(self, event_us: int) -> bool:
        """Whether every shard has read everything, or has at least accepted an event this late.

        What had been forwarded by then has been counted at its home.
        """
        told = all(marker.caught_up or marker.clock_us >= event_us for marker in self.markers.values())
        return self._counted_up_to(event_us, told)

    def _counted_up_to(self, instant_us: int, read: bool) -> bool:  # noqa: FBT001 - what one of the two above has found
        """Whether what had been forwarded when all shards had read up to the instant is counted at its home.

        A shard may say that it has read everything while the last record of the day is between it and its home, which
        said so before.
        """
        if not read:
            self._due = None
            return False
        if self._due is None or self._due.instant_us != instant_us:
            self._due = _Due(instant_us, self._forwarded, self._ways())
        arrived = self._arrived >= self._due.records and all(
            self.markers[home].arrived.get(shard, 0) >= records for (shard, home), records in self._due.ways.items()
        )
        if arrived:
            # It stays so: nothing is left to look at in the steps of the rest of the day.
            self._due = _Due(instant_us, 0, {})
        return arrived

    def _ways(self) -> dict[tuple[int, int], int]:
        """Records forwarded from a shard to a home; nothing where a shard's state began before it kept count of them."""
        for marker in self.markers.values():
            # More where originals were removed before a rebuild could read them again.
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


def _rerouted(marker: Marker) -> int:
    """Records that a shard has read and that belong to others."""
    return sum(books.rerouted for books in marker.books.values())
