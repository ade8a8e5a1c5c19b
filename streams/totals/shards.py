"""What the ledger partitions (shards) have published: whole transactions, and how far each has read."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from schemas.codec import decode_day_count, decode_marker
from schemas.counts import decode_counts_key
from schemas.source_hours import decode_hours, decode_hours_key
from streams.kafka.records import record_key, record_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schemas.counts import CountKey
    from schemas.facts import DayCount
    from schemas.outputs import Marker
    from streams.domain.source_hours import SourceHours
    from streams.kafka.records import LogRecord


class _Due(NamedTuple):
    """What must arrive at its home before days that ended before an instant may close."""

    instant_us: int
    records: int
    ways: dict[tuple[int, int], int]  # shard and home → records


class Shards:
    """The last marker of each shard, and the counts that wait for the marker of their transaction.

    A fetch can cut a ledger transaction in two, and an order that moves from one day to another would then be missing for a
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
        """Of `partitions` shards that count by `aliases` and `campaigns`.

        Other campaigns may be given in `campaigns`, before anything is taken.

        Args:
            partitions: How many.
            rerouted: The topic of forwarded records.
            aliases: What names are counted as.
            campaigns: The campaigns that are counted.
            source_hours: Where to add in which hours events have come of each source, if that is asked for.
        """
        self._source_hours = source_hours
        self._partitions = partitions
        self._aliases = aliases
        self.campaigns = campaigns
        self._rerouted = rerouted
        #: Shards whose transaction has been absorbed in part.
        self._cut: set[int] = set()
        self._waiting: dict[int, list[tuple[CountKey, DayCount]]] = {}
        #: Shards with counts that wait: the offset of the first of them.
        self._waiting_since: dict[int, int] = {}
        self.markers: dict[int, Marker] = {}
        self._must_arrive: int | None = None
        #: What the question is about → what must arrive before the answer is yes.
        self._due: dict[str, _Due] = {}

    def take(self, record: LogRecord) -> tuple[int, list[tuple[CountKey, DayCount]]] | None:
        """Takes one record of the counts topic; a marker returns what its transaction has changed."""
        if self._is_of_source(record):
            return None
        shard, cell = decode_counts_key(record_key(record))
        if cell is None:
            self._mark(shard, decode_marker(record_value(record)))
            self._waiting_since.pop(shard, None)
            return shard, self._waiting.pop(shard, [])
        self._waiting_since.setdefault(shard, record.offset)
        self._waiting.setdefault(shard, []).append((cell, decode_day_count(record_value(record))))
        return None

    def absorb(self, record: LogRecord) -> tuple[int, CountKey, DayCount] | None:
        """Takes one record while all of the topic is read, before anything is made of the counts; a count is given back at once.

        Of a topic that was compacted only the last marker of each shard is left: to wait for it would be to keep all twice.
        """
        if self._is_of_source(record):
            return None
        shard, cell = decode_counts_key(record_key(record))
        if cell is None:
            self._mark(shard, decode_marker(record_value(record)))
            self._cut.discard(shard)
            return None
        self._cut.add(shard)
        return shard, cell, decode_day_count(record_value(record))

    def _is_of_source(self, record: LogRecord) -> bool:
        """Takes the hours of an event source. They only grow, so nothing has to wait for the marker."""
        of = decode_hours_key(record_key(record))
        if of is not None and self._source_hours is not None:
            self._source_hours.unite(of, decode_hours(record_value(record)))
        return of is not None

    @property
    def tell_hours(self) -> bool:
        """Whether every shard says in which hours events have come of each source."""
        return all(marker.tells_hours for marker in self.markers.values())

    def counted_before(self, offset: int) -> int:
        """Of everything before an offset has been taken: the offset before which nothing waits for its marker."""
        return min([offset, *self._waiting_since.values()])

    def restore(self, markers: Mapping[int, Marker]) -> None:
        """Takes over the last marker of each shard; what is absorbed then is newer."""
        for shard, marker in markers.items():
            self._mark(shard, marker)

    @property
    def is_cut(self) -> bool:
        """Whether the marker of an absorbed count is still to come, of any shard."""
        return bool(self._cut)

    def _mark(self, shard: int, marker: Marker) -> None:
        self.markers[shard] = marker
        if not self._complete:
            self._must_arrive = None
        elif self._must_arrive is None:
            # What was forwarded before the last shard reported must arrive before anything is published.
            self._must_arrive = self._forwarded

    @property
    def _complete(self) -> bool:
        # Where the aliases or the campaigns have changed, each counts by the former ones until it is opened again: no sum of both
        # ever stood.
        return len(self.markers) == self._partitions and not any(
            marker.rebuilding or marker.aliases != self._aliases or marker.campaigns != self.campaigns
            for marker in self.markers.values()
        )

    @property
    def announced(self) -> str | None:
        """The announcement that all shards count by; None while they do not agree, or have not reported."""
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

        One that is rebuilding has not reported.
        """
        return self._complete and self._must_arrive is not None and self._arrived >= self._must_arrive

    @property
    def clock_us(self) -> int:
        """The greatest event time that any shard has accepted; 0 before the first."""
        return max((marker.clock_us for marker in self.markers.values()), default=0)

    def read_up_to(self, append_us: int, of: str = "day") -> bool:
        """Whether everything appended before this instant has been counted, forwarded records at their homes included.

        Args:
            append_us: Microseconds since 1970.
            of: What ends then: each has its own instants, which are asked for again and again until the answer is yes.
        """
        return self._counted_up_to(append_us, of, all(m.caught_up_us >= append_us for m in self.markers.values()))

    def told_up_to(self, event_us: int, of: str = "day") -> bool:
        """Whether every shard has read everything or accepted an event this late, and forwarded records have arrived.

        Args:
            event_us: Microseconds since 1970.
            of: As above.
        """
        told = all(marker.caught_up or marker.clock_us >= event_us for marker in self.markers.values())
        return self._counted_up_to(event_us, of, told)

    def _counted_up_to(self, instant_us: int, of: str, read: bool) -> bool:  # noqa: FBT001 - what one of the two above has found
        """Whether the records that were forwarded when all shards had read up to the instant are counted at their homes.

        All shards may have reported that they have read everything while the last record of the day is on its way home.
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
            # This stays true, so the steps of the rest of the day have nothing to check.
            self._due[of] = _Due(instant_us, 0, {})
        return arrived

    def _ways(self) -> dict[tuple[int, int], int]:
        """(Shard, home) → records forwarded; empty if any shard's state is older than these counters."""
        for marker in self.markers.values():
            # They can be more: originals may have been removed before a rebuild could read them again.
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
    """Records that a shard has read for other homes."""
    return sum(books.rerouted for books in marker.books.values())
