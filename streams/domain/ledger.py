"""The ledger of one partition: every event of every order once, and their counts.

A step is everything between two drains, and becomes one transaction. Within a step, events are only stored and the
orders they touch noted; its changes are found when it ends, by comparing each touched order with its state before
the step. So units and violations that come and go within a step leave no trace, and the order of arrival does not matter.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.changelog import KEPT_CHUNKS, decode_entries
from schemas.codec import decode_day_count
from schemas.counts import decode_counted
from schemas.facts import FAMILIES, ID_CONFLICT, TOO_MANY_EVENTS, DayCount, Dims, Fact, family_of
from schemas.source_hours import SourceKey
from streams.domain import hotpath
from streams.domain.counts.asked_units import GROUP_OF_SOLE, AskedUnits
from streams.domain.counts.daycounts import GROUP_OF_METRIC, PLACED_GROUP, DayCounts
from streams.domain.counts.restored_units import RestoredUnits
from streams.domain.counts.source_hours import FAMILY_OF_KIND
from streams.domain.orders.delivered_vehicles import DeliveredVehicles, DeliveryKey
from streams.domain.orders.orders import (
    CANCELLATIONS_METRIC,
    CANCELLED,
    DELIVERED,
    DELIVERIES_METRIC,
    ORDERS_METRIC,
    ORDERS_PLACED_METRIC,
    PLACED,
    PRODUCED,
    Judgement,
    OrderViolation,
    OrderViolations,
    Unit,
    VehicleViolation,
    judge,
    produced_within,
)
from streams.domain.orders.packing import (
    MIN_EVENT_BYTES,
    Vocabulary,
    VocabularyEntry,
    dims_at,
    heads,
    holds,
    is_sole,
    sole_event,
    source_at,
)
from streams.domain.orders.steps import KNOWN, Refused
from streams.domain.orders.sums import GROUP_SHIFT
from streams.domain.pauses import nothing, whole
from streams.domain.time.zone import MINUTE_US, QUARTER_HOUR_US

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from schemas.changelog import Chunk
    from schemas.counts import CountKey
    from schemas.questions import Answer, Question
    from schemas.told import VehicleDelivery
    from streams.domain.counts.source_hours import SourceHours
    from streams.domain.orders.packed_columns import Restored
    from streams.domain.orders.steps import PackedOrders, Restoring, Room, Touched
    from streams.domain.orders.sums import EventOf
    from streams.domain.pauses import Piece
    from streams.domain.scopes.scopes import Scopes
    from streams.domain.time.campaigns import Campaigns
    from streams.domain.time.zone import BusinessZone


#: Orders to judge between two pauses, and orders to look at for other campaigns.
_PAUSE_ORDERS: Final = 250
_PAUSE_RECOUNTED: Final = 500
#: Minutes, each with orders that count alike, to recount between two pauses.
_PAUSE_MINUTES: Final = 100
#: Size of a count, and of a violation, besides the id of an event.
_COUNT_BYTES: Final = 350
_VIOLATION_BYTES: Final = 200
#: Orders to restore together: their columns fit into the processor's cache.
_RESTORED_AT_ONCE: Final = 10_000

#: (index in the given facts, reason, one line for people)
Refusal = tuple[int, str, str]

_ORDERS_PLACED: Final = GROUP_OF_METRIC[ORDERS_PLACED_METRIC]
_ORDERS: Final = GROUP_OF_METRIC[ORDERS_METRIC]
_CANCELLATIONS: Final = GROUP_OF_METRIC[CANCELLATIONS_METRIC]
_DELIVERIES: Final = GROUP_OF_METRIC[DELIVERIES_METRIC]

#: Orders with a single event that count alike: UTC minute, group of metrics, code of the dimensions, whether it is backfill.
_Plain = tuple[int, int, int, bool]

#: The parts of an event's content, by the names that people know them by.
_CONTENT: Final = {
    "type": "kind",
    "time": "time_us",
    "vin": "vin",
    "model, variant, factory or region": "dims",
    "channel or reason": "extra",
    "voids": "voids",
}


@dataclass(slots=True)
class Applied:
    """The outcome of a batch of facts: applied + duplicates + refused = given."""

    applied: int
    duplicates: int
    refused: list[Refusal]


@dataclass(slots=True)
class LedgerChanges:
    """Everything that a step has changed.

    Attributes:
        orders: The touched orders, with all their events.
        vocabulary: Words in the packed events that no earlier step has reported.
        counts: Absolute counts of the touched days and hours of campaigns: what each is about (`schemas.counts.encode_counted`), and
            its value.
        violations: Orders, and vehicles by VIN, whose violations have changed; `None` if they no longer have any.
        deliveries: Deliveries that stand now and did not before, `None` for those that no longer do; for the vehicles' homes.
        vehicles: Vehicle → all its deliveries, packed, for those about which something new was reported.
    """

    orders: Touched
    vocabulary: list[VocabularyEntry]
    counts: dict[bytes, bytes]
    violations: dict[str, OrderViolations | None]
    deliveries: dict[DeliveryKey, Fact | None] = field(default_factory=dict)
    vehicles: dict[str, bytes] = field(default_factory=dict)


class StepSize(NamedTuple):
    """What a step writes.

    Attributes:
        records: Counts and violations.
        record_bytes: About their size.
        order_bytes: Size of the touched orders, before compression.
    """

    records: int
    record_bytes: int
    order_bytes: int


class Ledger:
    """All orders whose home is one partition.

    Args:
        zone: The business time zone.
        scopes: The scopes that are counted.
        max_events_per_order: Further events of an order are refused.
        campaigns: The campaigns that are counted.
        orders_known: Whether orders are published; if not, a delivery without an order is no contradiction.
        produced_since_us: Event time of the first deliveries that are judged by the production of their vehicle, microseconds
            since 1970; `None` if none are.
        source_hours: Where to note the hours in which each source sends events; None if they are not watched.
        room: Gives memory for orders, if it is not that of the process; see `steps.orders_in`.

    Attributes:
        clock_us: The greatest event time accepted so far.
        last_by_source: The greatest event time accepted so far from each event source.
        backfilled: Number of events accepted so far that were backfill.
        state_bytes: Size of all packed orders and their ids.
        vehicles: The vehicles whose home this partition is, and their deliveries.
    """

    def __init__(  # noqa: PLR0913 - what is counted and judged, by name
        self,
        zone: BusinessZone,
        scopes: Scopes,
        max_events_per_order: int = 64,
        *,
        campaigns: Campaigns | None = None,
        orders_known: bool = True,
        produced_since_us: int | None = None,
        source_hours: SourceHours | None = None,
        room: Room | None = None,
    ) -> None:
        self._produced_since_us = produced_since_us
        self.vehicles = DeliveredVehicles()
        self._deliveries: dict[DeliveryKey, Fact | None] = {}
        self._orders_known = orders_known
        self._source_hours = source_hours
        self._max_events = max_events_per_order
        self._surely_below_limit_bytes = max_events_per_order * MIN_EVENT_BYTES
        self._vocabulary = Vocabulary()
        self._orders: PackedOrders = hotpath.way.orders_in(room)
        self._touched: Touched = hotpath.way.Touched(self._orders)
        self._days = DayCounts(zone, scopes, self._orders, campaigns, self._vocabulary.words)
        self._asked = AskedUnits(self._days, self._orders, self._vocabulary.words, self._unpack, self._units)
        self._violations: dict[str, OrderViolations] = {}
        self.clock_us = 0
        self.last_by_source: dict[str, int] = {}
        self.backfilled = 0
        self.state_bytes = 0

    def __len__(self) -> int:
        return len(self._orders)

    def blob(self, order_id: str) -> bytes:
        """The events of an order, packed.

        Raises:
            KeyError: No event of this order was ever applied.
        """
        return self._orders[order_id]

    def order_ids(self) -> Iterator[str]:
        """All orders, by first appearance; facts may be applied meanwhile."""
        ids: Iterator[str] = hotpath.way.order_ids(self._orders)
        return ids

    def dims(self) -> list[Dims]:
        """All dimensions of its events, by first appearance."""
        return [word for word in self._vocabulary.words if not isinstance(word, str)]

    def counts(self) -> dict[CountKey, DayCount]:
        """Every day and hour of a campaign as of the last drain."""
        return {decode_counted(counted): decode_day_count(value) for counted, value in whole(self.counting()).items()}

    def counting(self) -> Generator[None, None, dict[bytes, bytes]]:
        """The same as in `LedgerChanges`, for republishing all of them; with pauses, during which nothing may change."""
        return self._days.all()

    def violations(self) -> dict[str, OrderViolations]:
        """Every order with violations as of the last drain, for republishing all of them."""
        return dict(self._violations)

    # Asking ---------------------------------------------------------------------------------------------------------

    def answering(self, questions: Sequence[Question]) -> Generator[None, None, list[Answer]]:
        """Answers questions by the counts of the last drain; with pauses, during which nothing may change.

        Args:
            questions: Questions about one metric and the same local hours, which are answered in one pass over the orders of
                these hours; or a single one about a campaign.
        """
        return self._asked.answering(questions)

    # Applying -------------------------------------------------------------------------------------------------------

    def apply(self, facts: Sequence[Fact]) -> Applied:
        """Stores facts of this partition's orders, each completely or not at all."""
        refused: list[Refusal] = []
        duplicates, backfilled, new_bytes = hotpath.way.store(
            facts,
            self._orders,
            self._touched,
            self._days.touched,
            self._vocabulary,
            self.last_by_source,
            self._surely_below_limit_bytes,
            self._refusal,
            refused,
        )
        self.state_bytes += new_bytes
        self.backfilled += backfilled
        self._advance_clock()
        return Applied(len(facts) - duplicates - len(refused), duplicates, refused)

    @property
    def step_size(self) -> StepSize:
        """At most what the current step writes so far."""
        touched = self._days.touched
        contradictions = touched.contradictions + len(self.vehicles.touched)
        return StepSize(
            touched.counts + contradictions,
            touched.counts * (_COUNT_BYTES + touched.event_bytes)
            + contradictions * (_VIOLATION_BYTES + touched.event_bytes),
            # Of each event, its violations may name source and id once more.
            2 * touched.order_bytes,
        )

    @property
    def most_of_event(self) -> int:
        """How many counts and violations an event changes at most; more only if it changes what several others of its order count as."""
        return self._days.most_of_event + 1

    def _refusal(self, order_id: str, blob: bytes, packed: bytes) -> Refused | None:
        """Why an order cannot take an event; `KNOWN` if it already has it, `None` if it can take it."""
        if holds(blob, packed):
            return KNOWN
        fact = self._unpack_at(order_id, packed, 0)
        known = self._unpack(order_id, blob)
        for other in known:
            if other.id == fact.id and other.source == fact.source:
                return ID_CONFLICT, _conflict_message(fact, other)
        if len(known) >= self._max_events:
            return TOO_MANY_EVENTS, f"the order has {len(known)} events already, more are not taken"
        return None

    def _unpack(self, order_id: str, blob: bytes) -> list[Fact]:
        facts: list[Fact] = hotpath.way.unpack(order_id, blob, self._vocabulary.words)
        return facts

    def _unpack_at(self, order_id: str, blob: bytes, at: int) -> Fact:
        fact: Fact = hotpath.way.unpack_at(order_id, blob, at, self._vocabulary.words)
        return fact

    def hear(self, deliveries: Iterable[VehicleDelivery]) -> None:
        """Takes what the homes of orders have reported about deliveries of this partition's vehicles."""
        self.vehicles.take(deliveries)

    def standing(self) -> Generator[None, None, dict[DeliveryKey, Fact]]:
        """All deliveries that stand as of the last drain; with pauses, during which nothing may change."""
        found: dict[DeliveryKey, Fact] = {}
        for number, (order_id, blob) in enumerate(self._orders.items(), 1):
            if number % _PAUSE_ORDERS == 0:
                yield
            if any(kind == DELIVERED for kind, *_ in heads(blob)):
                units = self._judge(self._unpack(order_id, blob)).units
                found |= {(unit.cause.vin, order_id): unit.cause for unit in units if unit.metric == DELIVERIES_METRIC}
        return found

    def _advance_clock(self) -> None:
        self.clock_us = max(self.clock_us, max(self.last_by_source.values(), default=0))

    # Ending a step --------------------------------------------------------------------------------------------------

    def drain(self) -> LedgerChanges:
        """Ends the step. Returns everything that has changed since the last drain."""
        return whole(self.draining())

    def draining(self) -> Generator[None, None, LedgerChanges]:
        """The same with pauses, during which nothing may be applied."""
        violations: dict[str, OrderViolations | None] = {}
        words = self._vocabulary.words
        if self._source_hours is not None:
            found = hotpath.way.hours(self._touched)
            self._note_quarters(self._source_hours, ((kind, source_at(words, code), at) for kind, code, at in found))
        touched, self._touched = self._touched, hotpath.way.Touched(self._orders)
        for first in range(0, len(touched), _PAUSE_ORDERS):
            deliveries: list[EventOf] | None = [] if self._produced_since_us is not None else None
            early: list[tuple[str, str, str]] = []
            late: list[str] = []
            others = hotpath.way.count_plain(
                touched,
                first,
                first + _PAUSE_ORDERS,
                self._violations,
                self._orders_known,
                self._days.own,
                PLACED_GROUP << GROUP_SHIFT,
                _DELIVERIES << GROUP_SHIFT,
                deliveries,
                early,
                late,
            )
            for order_id, source, identity in early:
                self._note_violations(order_id, _without_order(source, identity), violations)
            for order_id in late:
                self._note_violations(order_id, (), violations)
            for order_id, blob, start in others:
                self._note_violations(order_id, self._count_order(order_id, blob, start), violations)
            if deliveries:
                facts = [self._unpack_at(*event) for event in deliveries]
                self._deliveries |= {(fact.vin, fact.order_id): fact for fact in facts}
            yield
        yield from self._judging_vehicles(violations)
        told = self.vehicles.drain()
        vocabulary = self._vocabulary.drain()
        counts = yield from self._days.ending_step()
        stand, self._deliveries = self._deliveries, {}
        return LedgerChanges(touched, vocabulary, counts, violations, stand, told)

    def _note_quarters(self, hours: SourceHours, quarters: Iterable[tuple[int, str, int]]) -> None:
        """Notes the hours of events, given their kinds, sources and UTC quarter-hours."""
        cells: dict[SourceKey, set[int]] = {}
        for kind, source, quarter in quarters:
            family = FAMILY_OF_KIND.get(kind)
            if family is not None:
                cell = self._days.cell_of(quarter * QUARTER_HOUR_US)
                cells.setdefault(SourceKey(family, source), set()).add(cell)
        for of, found in cells.items():
            hours.note(of, found)

    def _count_order(self, order_id: str, blob: bytes, start: int) -> OrderViolations:
        """Counts what the step has changed in an order, given all its events, new ones from `start` on. Returns its violations."""
        if not start:
            return self._count_new_order(self._unpack(order_id, blob))
        return self._count_known_order(order_id, blob[:start], self._unpack(order_id, blob[start:]))

    def _count_new_order(self, facts: Sequence[Fact]) -> OrderViolations:
        """Counts an order that was not counted before. Returns its violations."""
        days = self._days
        if len(facts) == 1:
            (fact,) = facts
            group = GROUP_OF_SOLE.get(fact.kind)
            if group is not None:
                self._add(group, fact.dims, fact)
                if fact.kind == DELIVERED and self._orders_known:
                    return _without_order(fact.source, fact.id)
                return ()
        elif len(facts) == 2:
            first, second = facts if facts[0].time_us < facts[1].time_us else reversed(facts)
            if first.kind == PLACED and first.time_us < second.time_us:
                if second.kind == DELIVERED:
                    days.add(PLACED_GROUP, first.dims, first)
                    self._add(_DELIVERIES, second.dims, second)
                    return ()
                if second.kind == CANCELLED:
                    days.add(_ORDERS_PLACED, first.dims, first)
                    days.add(_CANCELLATIONS, first.dims, second)
                    return ()
        judgement = self._judge(facts)
        for metric, dims, cause in judgement.units:
            self._add(GROUP_OF_METRIC[metric], dims, cause)
        return judgement.violations

    def _count_known_order(self, order_id: str, blob: bytes, facts: Sequence[Fact]) -> OrderViolations:
        """Counts what further facts change in an order that was counted before. Returns its violations."""
        days = self._days
        if len(facts) == 1:
            new = facts[0]
            old_kind, old_us = sole_event(blob)
            if old_kind == PLACED and new.kind == CANCELLED and old_us < new.time_us:
                (old,) = self._unpack(order_id, blob)
                days.remove(_ORDERS, old.dims, old)
                days.add(_CANCELLATIONS, old.dims, new)
                return ()
        known = self._unpack(order_id, blob)
        before, after = self._judge(known), self._judge([*known, *facts])
        self._count_difference(before.units, after.units)
        return after.violations

    def _judge(self, facts: Sequence[Fact]) -> Judgement:
        return judge(facts, orders_known=self._orders_known)

    def _units(self, facts: Sequence[Fact]) -> Sequence[Unit]:
        return self._judge(facts).units

    def _count_difference(self, before: Sequence[Unit], after: Sequence[Unit]) -> None:
        gone = {_unit_key(unit): unit for unit in before}
        for unit in after:
            if gone.pop(_unit_key(unit), None) is None:
                self._add(GROUP_OF_METRIC[unit.metric], unit.dims, unit.cause)
        for unit in gone.values():
            self._days.remove(GROUP_OF_METRIC[unit.metric], unit.dims, unit.cause)
            if unit.metric == DELIVERIES_METRIC and self._produced_since_us is not None:
                # Another delivery of the vehicle may have replaced it.
                self._deliveries.setdefault((unit.cause.vin, unit.cause.order_id), None)

    def _add(self, group: int, dims: Dims, cause: Fact) -> None:
        self._days.add(group, dims, cause)
        if group == _DELIVERIES and self._produced_since_us is not None:
            self._deliveries[cause.vin, cause.order_id] = cause

    def _judging_vehicles(self, changed: dict[str, OrderViolations | None]) -> Generator[None, None, None]:
        """Judges the vehicles about which something was reported."""
        for number, (vin, first_us) in enumerate(self.vehicles.touched.items(), 1):
            if number % _PAUSE_ORDERS == 0:
                yield
            # Nearly always it was produced earlier, once, and nothing else is known about it.
            blob = self._orders.get(vin)
            if blob is not None and vin not in self._violations and is_sole(blob, PRODUCED, first_us + 1):
                continue
            now = self._not_produced(vin)
            if now or vin in self._violations:
                self._set_violations(vin, self._violations_of(vin) + now, changed)

    def _not_produced(self, vin: str) -> OrderViolations:
        """The deliveries of a vehicle at times when no production of it stood."""
        since_us = self._produced_since_us or 0
        judged = [each for each in self.vehicles.deliveries(vin) if each.time_us >= since_us]
        if not judged:
            return ()
        blob = self._orders.get(vin)
        within: Sequence[tuple[int, int]] = ()
        if blob is not None:
            if is_sole(blob, PRODUCED, judged[0].time_us + 1):
                return ()
            within = produced_within(self._unpack(vin, blob))
        return tuple(
            VehicleViolation("delivered_without_production", each.source, each.id, each.order_id)
            for each in judged
            if not any(first_us <= each.time_us <= last_us for first_us, last_us in within)
        )

    def _violations_of(self, order_id: str) -> OrderViolations:
        """The violations among the events of an order or a vehicle, if there are any events."""
        blob = self._orders.get(order_id)
        return () if blob is None else self._judge(self._unpack(order_id, blob)).violations

    def _note_violations(self, order_id: str, now: OrderViolations, changed: dict[str, OrderViolations | None]) -> None:
        """Takes the violations of an order whose events have changed, and adds those of a vehicle with the same number."""
        if order_id in self.vehicles:
            now += self._not_produced(order_id)
        if now or order_id in self._violations:
            self._set_violations(order_id, now, changed)

    def _set_violations(self, order_id: str, now: OrderViolations, changed: dict[str, OrderViolations | None]) -> None:
        if now == self._violations.get(order_id):
            return
        if now:
            self._violations[order_id] = changed[order_id] = now
        else:
            del self._violations[order_id]
            changed[order_id] = None

    # Other campaigns ------------------------------------------------------------------------------------------------

    def counting_by(self, campaigns: Campaigns) -> Generator[None, None, dict[bytes, bytes]]:
        """Switches to other campaigns, after a drain; with pauses, during which nothing may be applied.

        Returns:
            The recounted hours of campaigns, and those that are no longer counted.
        """
        days, words, own = self._days, self._vocabulary.words, self._orders
        times = days.count_by(campaigns)
        plain: dict[_Plain, list[str]] = {}
        for number, order_id in enumerate(days.orders_between(times), 1):
            if number % _PAUSE_RECOUNTED == 0:
                yield
            events = heads(own[order_id])
            if not any(first <= time_us < end for _, time_us, *_ in events for first, end in times):
                continue
            kind, time_us, _, code, backfill = events[0]
            group = GROUP_OF_SOLE.get(kind) if len(events) == 1 else None
            if group is not None:
                # Unpacking and judging it would take ten times as long, and a night may have hundreds of thousands.
                plain.setdefault((time_us // MINUTE_US, group, code, backfill), []).append(order_id)
                continue
            for metric, dims, cause in self._judge(self._unpack(order_id, own[order_id])).units:
                if any(first <= cause.time_us < end for first, end in times):
                    days.recount(GROUP_OF_METRIC[metric], dims, [order_id], [cause])
        for number, ((_, group, code, _), order_ids) in enumerate(plain.items(), 1):
            if number % _PAUSE_MINUTES == 0:
                yield
            last_us = max(sole_event(own[order_id])[1] for order_id in order_ids)
            last = [order_id for order_id in order_ids if sole_event(own[order_id])[1] == last_us]
            causes = [self._unpack(order_id, own[order_id])[0] for order_id in last]
            days.recount(group, dims_at(words, code), order_ids, causes)
        return days.end_recounting()

    # Restoring ------------------------------------------------------------------------------------------------------

    def restore(self, vocabulary: Iterable[tuple[int, str | Sequence[str]]], chunks: Iterable[Chunk]) -> None:
        """Restores what drains have returned, and recounts everything.

        Args:
            vocabulary: Every entry that was drained, in any order.
            chunks: Chunks of the changelog, the latest first: what one has of an order replaces what those after it have.

        Raises:
            ValueError: The ledger is not empty, the vocabulary has gaps, or a chunk is damaged.
        """
        whole(self.restoring(vocabulary, chunks))

    def restoring(
        self, vocabulary: Iterable[tuple[int, str | Sequence[str]]], chunks: Iterable[Chunk]
    ) -> Generator[Piece]:
        """The same with pauses, during which nothing may be done with this ledger; some of it may run in another thread.

        `KEPT_CHUNKS` of the chunks are in use at a time.
        """
        if self._orders:
            raise ValueError("a ledger that has orders cannot be restored")
        self._vocabulary.restore(vocabulary)
        words = self._vocabulary.words
        units = RestoredUnits(
            self._days, words, orders_known=self._orders_known, notes_hours=self._source_hours is not None
        )
        restoring: Restoring = hotpath.way.Restoring(self._orders)
        taken: deque[Restored] = deque()

        def put(some: list[Chunk]) -> None:
            restoring.put(some)
            if len(restoring) >= _RESTORED_AT_ONCE:
                taken.append(restoring.taken())

        coming = iter(chunks)
        at_once = KEPT_CHUNKS // 2 if restoring.runs_beside else 1
        while some := list(islice(coming, at_once)):
            if restoring.runs_beside:
                yield partial(put, some)
            else:
                put(some)
                yield None
            if taken:
                # While others are being put, which only adds to what is there.
                yield from self._counting_restored(taken.popleft(), units)
        yield nothing
        for restored in (*taken, restoring.taken()):
            yield from self._counting_restored(restored, units)
        self.backfilled += units.backfilled
        self.last_by_source = {source_at(words, code): time_us for code, time_us in units.last_by_source()}
        self._deliveries.clear()
        if self._source_hours is not None:
            found = ((kind, source_at(words, code), quarter) for kind, code, quarter in units.quarters())
            self._note_quarters(self._source_hours, found)
        self._advance_clock()
        yield from self._days.ending_restoring()
        yield hotpath.way.give_back

    def following(
        self,
        vocabulary: Iterable[tuple[int, str | Sequence[str]]],
        chunks: Iterable[Chunk],
        vehicles: Iterable[Chunk] = (),
    ) -> Generator[None]:
        """Takes what later drains of another ledger have returned; with pauses, during which nothing may be done with this one.

        Then this ledger knows, counts and judges what one does that is restored from everything.

        Args:
            vocabulary: Entries drained since; repeated ones change nothing.
            chunks: Chunks of the changelog written since, in their order.
            vehicles: The same of vehicles.

        Raises:
            ValueError: The vocabulary has gaps, or a chunk is damaged or does not continue what is known.
        """
        self._vocabulary.restore(vocabulary)
        words = self._vocabulary.words
        for chunk in chunks:
            backfilled, new_bytes = hotpath.way.follow(chunk, self._orders, self._touched, words, self.last_by_source)
            self.backfilled += backfilled
            self.state_bytes += new_bytes
            yield
        for chunk in vehicles:
            self.vehicles.follow(decode_entries(chunk))
            yield
        self._advance_clock()
        yield from self.draining()

    def _counting_restored(self, restored: Restored, units: RestoredUnits) -> Generator[None]:
        order_at = partial(hotpath.way.order_at, self._orders)
        self.state_bytes += restored.size
        others = yield from units.taking(restored, order_at)
        for number, place in enumerate(restored.places[others], 1):
            if number % _PAUSE_ORDERS == 0:
                yield
            order_id, blob = order_at(place)
            violations = self._count_new_order(self._unpack(order_id, blob))
            if violations:
                self._violations[order_id] = violations

    def restore_vehicles(self, chunks: Iterable[Chunk]) -> None:
        """Restores what drains have returned about vehicles, after the orders; what a later chunk has of a vehicle counts."""
        whole(self.restoring_vehicles(chunks))

    def restoring_vehicles(self, chunks: Iterable[Chunk]) -> Generator[None]:
        """The same with pauses, during which nothing may be done with this ledger."""
        for chunk in chunks:
            self.vehicles.restore(decode_entries(chunk))
            yield
        for number, vin in enumerate(self.vehicles.vins(), 1):
            if number % _PAUSE_ORDERS == 0:
                yield
            violations = self._not_produced(vin)
            if violations:
                self._violations[vin] = self._violations_of(vin) + violations


def _without_order(source: str, identity: str) -> OrderViolations:
    """What is wrong with a delivery that is an order's only event."""
    return (OrderViolation("delivered_without_order", source, identity),)


def _unit_key(unit: Unit) -> tuple[str, Dims, str, str]:
    return unit.metric, unit.dims, unit.cause.source, unit.cause.id


def _conflict_message(fact: Fact, known: Fact) -> str:
    other = [name for name, field_name in _CONTENT.items() if getattr(fact, field_name) != getattr(known, field_name)]
    return (
        f"an event of this order with the same source and id was applied before, with another {' and '.join(other)}: "
        f"the one read from {FAMILIES[family_of(known.topic)]}, partition {known.partition}, offset {known.offset}"
    )
