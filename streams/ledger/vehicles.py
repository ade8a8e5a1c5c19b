"""What a ledger partition reports to the homes of vehicles about deliveries, what it is told itself, and what it withholds.

A partition that has lost its state rereads the reports of all partitions, and reports only what differs from its earlier reports,
so partitions that have kept their state get nothing new. Violations found before everything was reported would be corrected a
moment later, so they are withheld.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from schemas.changelog import VEHICLE_CHUNKS, encode_chunks
from schemas.codec import encode_violations
from schemas.outputs import ToldState
from schemas.partitioner import homes
from schemas.told import Told, decode_told, encode_told, teller_key, teller_of
from streams.domain.orders.delivered_vehicles import said_of
from streams.errors import ExpectedError
from streams.kafka.log import Partition
from streams.kafka.outbox import Outgoing
from streams.kafka.pacing import in_turns, paced
from streams.kafka.records import record_key, record_value
from streams.ledger.changelog import FULL_BYTES, Changelog
from streams.ledger.parted_dict import PartedDict
from streams.ledger.recovery import published_violations

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence

    from schemas.facts import Fact
    from schemas.told import VehicleDelivery
    from streams.context import Context
    from streams.domain.ledger import Ledger, LedgerChanges
    from streams.domain.orders.delivered_vehicles import DeliveryKey
    from streams.domain.orders.orders import OrderViolations
    from streams.kafka.log import LogReader
    from streams.kafka.records import LogRecord
    from streams.kafka.transport import Batch

#: Deliveries in a record; with all texts at their maximum length, it has a quarter of the size that a topic accepts.
MOST_DELIVERIES: Final = 80
#: Withheld violations to look at between two pauses.
_AT_ONCE: Final = 500


class Telling:
    """The reports of ledger partition `number`.

    Attributes:
        written: Home → number of records written to it.
        is_all: Whether all standing deliveries have been reported.
    """

    def __init__(self, number: int, partitions: int) -> None:
        self._number = number
        self._partitions = partitions
        self.written: Counter[int] = Counter()
        self.is_all = False
        #: What stands by the reports of a state that was lost, or had not reported everything; None if there is no such state.
        self._told: dict[DeliveryKey, VehicleDelivery] | None = None
        #: What the step has changed and is reported with it; `None` if a delivery no longer stands.
        self._changed: dict[DeliveryKey, VehicleDelivery | None] = {}
        #: The rest, which waits. If nothing was reported before, none of it ever was.
        self._waiting: dict[DeliveryKey, VehicleDelivery | None] = {}

    def adopt(self, written: Mapping[int, int], *, is_all: bool) -> None:
        """Resumes from a marker."""
        self.written.update(written)
        self.is_all = is_all

    def recall(self, home: int, told: Told) -> None:
        """Takes a record that was written before everything had been reported, or by a state that was lost."""
        self.written[home] += 1
        if self._told is None:
            self._told = {}
        for each in told.deliveries:
            _put(self._told, (each.vin, each.order_id), None if each.time_us is None else each)

    def begin(self, standing: Mapping[DeliveryKey, Fact]) -> None:
        """Ends recalling: of the standing deliveries, those that differ from the reports wait to be reported."""
        self._waiting = dict.fromkeys(self._told or ())
        for key, fact in standing.items():
            self._wait(key, said_of(key, fact))

    def note(self, deliveries: Mapping[DeliveryKey, Fact | None]) -> None:
        """Takes what a step has changed."""
        changed, waiting = self._changed, self._waiting
        for key, fact in deliveries.items():
            now = None if fact is None else said_of(key, fact)
            if self._told is not None:
                self._wait(key, now)
            elif waiting.pop(key, None) is None or now is not None:
                changed[key] = now

    def _wait(self, key: DeliveryKey, now: VehicleDelivery | None) -> None:
        if self._told is not None and self._told.get(key) == now:
            self._waiting.pop(key, None)
        else:
            self._waiting[key] = now

    def records(self, *, has_read: bool, most: int) -> list[tuple[int, Told]]:
        """The records to write now, by home.

        Args:
            has_read: Whether everything that a lost state had read has been reread.
            most: Most waiting deliveries to report at once.
        """
        if not self._may_tell(has_read=has_read):
            return []
        told, waiting = self._told, self._waiting
        some, self._changed = self._changed, {}
        for _ in range(min(most, len(waiting))):
            key, delivery = waiting.popitem()
            some[key] = delivery
            if told is not None:
                _put(told, key, delivery)
        records = self._parted([said_of(key, None) if one is None else one for key, one in some.items()])
        if has_read and not self.is_all and not waiting:
            self.is_all, self._told = True, None
            records += [(home, self._next(home, [], is_all=True)) for home in range(self._partitions)]
        return records

    def has_more(self, *, has_read: bool) -> bool:
        """Whether something waits that can be reported now."""
        return bool(self._waiting) and self._may_tell(has_read=has_read)

    def _may_tell(self, *, has_read: bool) -> bool:
        """Not while everything is being reread: what differs from the reports may agree with them a moment later."""
        return has_read or self._told is None

    def _parted(self, deliveries: Sequence[VehicleDelivery]) -> list[tuple[int, Told]]:
        if not deliveries:
            return []
        by_home: dict[int, list[VehicleDelivery]] = {}
        for each, home in zip(
            deliveries, homes([each.vin.encode() for each in deliveries], self._partitions), strict=True
        ):
            by_home.setdefault(home, []).append(each)
        return [
            (home, self._next(home, some[first : first + MOST_DELIVERIES]))
            for home, some in by_home.items()
            for first in range(0, len(some), MOST_DELIVERIES)
        ]

    def _next(self, home: int, deliveries: list[VehicleDelivery], *, is_all: bool = False) -> Told:
        number = self.written[home]
        self.written[home] += 1
        return Told(number, is_all, deliveries)


class Withheld:
    """Violations that were found and are not published yet.

    Args:
        ends: The ends of the sources when this began; everything up to there must be read first.
        published: The published violations, as in their topic, by order or vehicle.
    """

    def __init__(self, ends: Mapping[Partition, int], published: Mapping[str, bytes]) -> None:
        self._ends = ends
        self._published: dict[str, bytes | None] = dict(published)
        self._violations: PartedDict[str, OrderViolations | None] = PartedDict()
        self._violations.add((each, None) for each in published)

    def hold(self, violations: Mapping[str, OrderViolations | None]) -> None:
        """Takes violations; later ones of the same order or vehicle replace earlier ones."""
        self._violations.add(violations.items())

    def is_over(self, positions: Mapping[Partition, int]) -> bool:
        """Whether all sources have been read."""
        return all(positions[tp] >= end for tp, end in self._ends.items())

    def releasing(self, violations: dict[str, OrderViolations | None], most: int) -> Generator[None, None, bool]:
        """Adds at most `most` of those that differ from the published ones to `violations`; with pauses.

        Returns:
            Whether these were the last.
        """
        while self._violations and len(violations) < most:
            for order_id, found in self._violations.take(min(most - len(violations), _AT_ONCE)).items():
                body = encode_violations(order_id, found) if found else None
                if body != self._published.get(order_id):
                    violations[order_id] = found
                    # It may change again before the last ones are published.
                    self._published[order_id] = body
            yield
        return not self._violations


class Vehicles:
    """The vehicles of ledger partition `number`, and its reports about vehicles of the others.

    Attributes:
        at: The topic's partition from which it is told of deliveries.
        next: Where to continue reading that partition.
    """

    def __init__(self, context: Context, number: int, ledger: Ledger) -> None:
        self._context = context
        self._number = number
        self._ledger = ledger
        self.at = Partition(context.catalogue.told.name, number)
        self.next = 0
        self._read = 0
        self._telling = Telling(number, context.settings.partitions)
        self._all_of: set[int] = set()
        self._withheld: Withheld | None = None
        #: The end of that partition at opening: until it has read so far, what it has been told may be long out of date.
        self._end = 0
        self.changelog = Changelog(ledger.vehicles.blob, ledger.vehicles.vins, VEHICLE_CHUNKS)

    # Opening --------------------------------------------------------------------------------------------------------

    async def open(
        self,
        state: ToldState | None,
        ends: Mapping[Partition, int],
        reader: LogReader,
        *,
        is_recounted: bool,
    ) -> None:
        """Resumes from a marker; without a state, or one that has not told everything, prepares to tell the rest.

        Args:
            state: The state of the last commit, to which the ledger has been restored.
            ends: The ends of the sources.
            reader: Reads the log.
            is_recounted: Whether the ledger publishes everything again.

        Raises:
            ExpectedError: The topic does not exist, or is not the one that was read.
        """
        await self._check(state, reader)
        if state is not None:
            self.next, self._read, self._all_of = state.next, state.read, set(state.all_of)
        if state is not None and state.is_all:
            self._telling.adopt(state.written, is_all=True)
        else:
            # Others write to this topic too, and some of our reports may be behind their open transactions.
            async for records in reader.read(self._context.catalogue.told.whole, complete=True):
                async for record in paced(records):
                    if teller_of(record_key(record)) == self._number:
                        self._telling.recall(record.partition, decode_told(record_value(record)))
            self._telling.begin(await in_turns(self._ledger.standing()))
        since = self._context.settings.production_since
        if is_recounted or state is None or state.withheld or state.since != since:
            self._withheld = Withheld(ends, await published_violations(self._context, self._number, reader))
            self._withheld.hold(self._ledger.violations())

    async def _check(self, state: ToldState | None, reader: LogReader) -> None:
        topic, homes_wanted = self.at.topic, self._context.settings.partitions
        found = (await reader.partition_counts([topic]))[topic]
        if found != homes_wanted:
            what = f"has {found} partitions, the settings say {homes_wanted}" if found else "does not exist"
            raise ExpectedError(f"{topic} {what}: milestones topics plan tells what to do", exit_code=3)
        self._end = (await reader.bounds([self.at]))[self.at].end
        if state is not None and state.next > self._end:
            raise ExpectedError(
                f"{topic}-{self._number} ends at {self._end}, ledger {self._number} has read up to {state.next}: the topic was made "
                "again; delete all internal topics but quarantine and replayed, so that everything is counted again"
            )

    # A step ---------------------------------------------------------------------------------------------------------

    async def take(self, batch: Batch) -> None:
        """Takes a batch of reports."""
        if batch.first > self.next:
            raise RuntimeError(
                f"{self.at.topic}-{self.at.partition}: read up to {self.next}, fetched from {batch.first}"
            )
        async for record in paced(batch.records):
            if record.offset >= self.next:
                self._hear(record)
        self.next = max(self.next, batch.next)

    def _hear(self, record: LogRecord) -> None:
        told = decode_told(record_value(record))
        self._read += 1
        self._ledger.hear(told.deliveries)
        if told.is_all:
            self._all_of.add(teller_of(record_key(record)))

    def note(self, changes: LedgerChanges) -> None:
        """Takes what a step has changed, and removes from it what is not to be published yet."""
        self._telling.note(changes.deliveries)
        if self._withheld is not None:
            self._withheld.hold(changes.violations)
            changes.violations.clear()

    async def release(self, changes: LedgerChanges, positions: Mapping[Partition, int], most: int) -> bool:
        """Once everything is read and reported, adds the withheld violations to `changes`, at most `most` at once.

        Returns:
            Whether these were the last.
        """
        if self._withheld is None or not self._is_releasing(positions):
            return False
        if not await in_turns(self._withheld.releasing(changes.violations, most)):
            return False
        self._withheld = None
        return True

    def has_more(self, positions: Mapping[Partition, int], *, has_read: bool) -> bool:
        """Whether something waits to be reported or published and can be at once.

        Args:
            positions: Up to where the sources have been read.
            has_read: Whether no rebuild has more to read.
        """
        return self._telling.has_more(has_read=has_read) or (has_read and self._is_releasing(positions))

    def _is_releasing(self, positions: Mapping[Partition, int]) -> bool:
        return (
            self._withheld is not None
            and len(self._all_of) == self._context.settings.partitions
            and self.next >= self._end
            and self._withheld.is_over(positions)
        )

    def records(self, vehicles: dict[str, bytes], *, has_read: bool) -> Iterable[Outgoing]:
        """The records to write with a commit.

        Args:
            vehicles: Those that have changed in this step.
            has_read: Whether no rebuild has more to read.
        """
        topic, ledger = self.at.topic, self._context.catalogue.ledger.name
        key = teller_key(self._number)
        for home, told in self._telling.records(has_read=has_read, most=self._context.part_rows):
            yield Outgoing(topic, home, key, encode_told(told))
        if vehicles:
            chunks = encode_chunks(vehicles.items(), FULL_BYTES)
            for chunk, body in self.changelog.write(chunks, self._ledger.vehicles.state_bytes):
                yield Outgoing(ledger, self._number, chunk, body)

    def state(self) -> ToldState:
        """The state for the marker."""
        return ToldState(
            next=self.next,
            read=self._read,
            written=dict(self._telling.written),
            is_all=self._telling.is_all,
            all_of=sorted(self._all_of),
            withheld=self._withheld is not None,
            since=self._context.settings.production_since,
        )


def _put(told: dict[DeliveryKey, VehicleDelivery], key: DeliveryKey, delivery: VehicleDelivery | None) -> None:
    if delivery is None:
        told.pop(key, None)
    else:
        told[key] = delivery
