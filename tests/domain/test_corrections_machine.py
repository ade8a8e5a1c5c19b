"""Corrections over weeks, in any order, with duplicates, commits, crashes and restarts, always agree with the recount."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from schemas.changelog import encode_entries
from schemas.facts import DELIVERIES, NO_DIMS, ORDERS, Dims, Fact, Kind
from tests.domain.facts import OTHER_VIN, SU7, VIN, YU7, read_counts, us
from tests.domain.test_ledger_properties import counted, new_ledger, recount

if TYPE_CHECKING:
    from schemas.counts import CountKey

ORDER_IDS = ("SO-1", "SO-2")
SOURCES = ("/a", "/b")
#: In the recount's zone, New York: a month's end, a day of 25 hours with its repeated hour, a day of 23.
TIMES = tuple(
    us(text)
    for text in (
        "2024-03-10T06:59:59Z",
        "2024-03-10T07:00:00Z",
        "2024-11-01T03:59:59.999999Z",
        "2024-11-01T04:00:00Z",
        "2024-11-03T05:30:00Z",
        "2024-11-03T06:30:00Z",
        "2024-11-04T04:59:59Z",
        "2024-11-04T05:00:00Z",
    )
)

orders = st.sampled_from(ORDER_IDS)
sources = st.sampled_from(SOURCES)
times = st.sampled_from(TIMES)
vins = st.sampled_from((VIN, VIN, OTHER_VIN))
dimensions = st.sampled_from((SU7, YU7))
backfills = st.booleans()


class Corrections(RuleBasedStateMachine):
    """A ledger, what its commits have written, and every event that was ever accepted."""

    @initialize()
    def start(self) -> None:
        self.ledger = new_ledger()
        #: What commits have written: words, and orders.
        self.words: list[Any] = []
        self.written: dict[str, bytes] = {}
        self.heard_counts: dict[CountKey, Any] = {}
        self.heard_violations: dict[str, Any] = {}
        self.accepted: list[Fact] = []
        #: How many of the accepted are committed.
        self.committed = 0

    def take(self, kind: Kind, order_id: str, source: str, time_us: int, **fields: Any) -> None:
        """A new event arrives; ids count up, so that later ones are compared as texts of several lengths."""
        values = {"vin": "", "dims": NO_DIMS, "voids": None, "backfill": False} | fields
        topic = DELIVERIES if kind in (Kind.DELIVERED, Kind.REVERSED) else ORDERS
        number = len(self.accepted)
        fact = Fact(
            int(kind),
            order_id,
            source,
            str(number),
            time_us,
            extra="",
            topic=topic,
            partition=0,
            offset=number,
            **values,
        )
        outcome = self.ledger.apply([fact])
        assert (outcome.applied, outcome.duplicates, outcome.refused) == (1, 0, [])
        self.accepted.append(fact)

    @rule(order=orders, source=sources, at=times, dims=dimensions, backfill=backfills)
    def place(self, order: str, source: str, at: int, dims: Dims, *, backfill: bool) -> None:
        self.take(Kind.PLACED, order, source, at, dims=dims, backfill=backfill)

    @rule(order=orders, source=sources, at=times)
    def cancel(self, order: str, source: str, at: int) -> None:
        self.take(Kind.CANCELLED, order, source, at)

    @rule(order=orders, source=sources, at=times, vin=vins, dims=dimensions, backfill=backfills)
    def deliver(self, order: str, source: str, at: int, vin: str, dims: Dims, *, backfill: bool) -> None:
        self.take(Kind.DELIVERED, order, source, at, vin=vin, dims=dims, backfill=backfill)

    @rule(order=orders, source=sources, at=times, vin=vins)
    def reverse(self, order: str, source: str, at: int, vin: str) -> None:
        self.take(Kind.REVERSED, order, source, at, vin=vin)

    @precondition(lambda self: self.accepted)
    @rule(data=st.data(), source=sources, at=times)
    def void(self, data: st.DataObject, source: str, at: int) -> None:
        """Voids any known event, possibly a void."""
        wrong = data.draw(st.sampled_from(self.accepted))
        self.take(Kind.VOIDED, wrong.order_id, source, at, voids=(wrong.source, wrong.id))

    @rule(order=orders, source=sources, at=times, ahead=st.integers(0, 3))
    def void_of_what_has_not_come_yet(self, order: str, source: str, at: int, ahead: int) -> None:
        """Voids an event that is yet to come, in this order or another: ids count up."""
        self.take(Kind.VOIDED, order, source, at, voids=(source, str(len(self.accepted) + 1 + ahead)))

    @precondition(lambda self: self.accepted)
    @rule(data=st.data())
    def duplicate(self, data: st.DataObject) -> None:
        """Any event comes again, from another place; it changes nothing."""
        again = data.draw(st.sampled_from(self.accepted))
        outcome = self.ledger.apply([_copy(again, partition=3, offset=99)])
        assert (outcome.applied, outcome.duplicates, outcome.refused) == (0, 1, [])

    @precondition(lambda self: self.accepted)
    @rule(data=st.data())
    def conflict(self, data: st.DataObject) -> None:
        """Another content under a known identity is refused, and changes nothing."""
        known = data.draw(st.sampled_from(self.accepted))
        outcome = self.ledger.apply([_copy(known, time_us=known.time_us + 1)])
        assert (outcome.applied, outcome.duplicates, [reason for _, reason, _ in outcome.refused]) == (
            0,
            0,
            ["id_conflict"],
        )

    @rule()
    def commit(self) -> None:
        """A transaction ends, and its records are written."""
        changes = self.ledger.drain()
        self.words += changes.vocabulary
        self.written.update(changes.orders)
        self.heard_counts.update(read_counts(changes.counts))
        self.heard_violations.update(changes.violations)
        self.committed = len(self.accepted)
        self.check()

    @rule()
    def crash(self) -> None:
        """Uncommitted events are lost, and reread from the source after the restart."""
        self.restore()
        again = self.accepted[self.committed :]
        outcome = self.ledger.apply(again)
        assert (outcome.applied, outcome.duplicates, outcome.refused) == (len(again), 0, [])

    @rule()
    def rewind(self) -> None:
        """After a restart everything is reread from the beginning, and all of it is known."""
        self.commit()
        self.restore()
        assert self.ledger.apply(self.accepted).duplicates == len(self.accepted)
        assert self.ledger.drain().counts == {}
        self.check()

    def restore(self) -> None:
        self.ledger = new_ledger()
        self.ledger.restore(self.words, [encode_entries(list(self.written.items()))])

    def check(self) -> None:
        counts, violations = recount(self.accepted)
        assert counted(self.ledger) == counts
        assert _named(self.ledger.violations()) == violations
        # What the commits reported adds up to the same.
        assert {
            key: (heard.count, heard.backfilled, heard.by_hour)
            for key, heard in self.heard_counts.items()
            if heard.count
        } == counts
        assert _named({order: several for order, several in self.heard_violations.items() if several}) == violations

    @invariant()
    def nothing_is_known_that_was_not_accepted(self) -> None:
        """Sizes are those of the accepted events, committed or not."""
        assert len(self.ledger) == len({fact.order_id for fact in self.accepted})
        assert self.ledger.clock_us == max((fact.time_us for fact in self.accepted), default=0)
        assert self.ledger.backfilled == sum(fact.backfill for fact in self.accepted)

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.commit()


def _copy(fact: Fact, **changed: Any) -> Fact:
    return Fact(**{name: changed.get(name, getattr(fact, name)) for name in fact.__struct_fields__})


def _named(violations: dict[str, Any]) -> dict[str, list[str]]:
    return {order: [f"{one.source} {one.id}" for one in several] for order, several in violations.items()}


TestCorrections = Corrections.TestCase
TestCorrections.settings = settings(max_examples=60, stateful_step_count=40)
