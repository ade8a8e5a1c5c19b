"""The homes of vehicles find deliveries without production, whatever the order of events and reports."""

from __future__ import annotations

from collections import defaultdict, deque
from itertools import permutations
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.changelog import encode_entries
from schemas.facts import DELIVERIES, NO_DIMS, ORDERS, PRODUCTION, Fact, Kind, topic_number
from schemas.partitioner import homes
from streams.domain.ledger import Ledger
from streams.domain.pauses import whole
from streams.domain.scopes.scopes import Scopes
from streams.domain.time.zone import BusinessZone
from tests.domain.facts import (
    OTHER_VIN,
    SU7,
    VIN,
    WEB,
    chunks_of,
    delivered,
    placed,
    produced,
    reversal,
    scrapped,
    told,
    us,
    void,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.told import VehicleDelivery
    from streams.domain.ledger import LedgerChanges

ZONE = BusinessZone("Asia/Shanghai")
THIRD_VIN = "LNBSU7A10R1000777"
VINS = (VIN, OTHER_VIN, THIRD_VIN)
#: The last is numbered by its vehicle.
ORDER_IDS = ("SO-1", "SO-2", "SO-3", VIN)
TIMES = [us("2024-10-01T00:00:00Z") + step * 3_600_000_000 for step in range(6)]
KIND = "delivered_without_production"

_OF_ORDER = (Kind.PLACED, Kind.CANCELLED, Kind.DELIVERED, Kind.DELIVERED, Kind.REVERSED, Kind.VOIDED)
_OF_VEHICLE = (Kind.PRODUCED, Kind.PRODUCED, Kind.SCRAPPED, Kind.VOIDED)


def new_ledger(since_us: int = 0) -> Ledger:
    return Ledger(ZONE, Scopes([[]]), produced_since_us=since_us)


@st.composite
def event_sets(draw: st.DrawFn) -> list[Fact]:
    """Distinct events of a few orders and vehicles."""
    identities = st.tuples(st.sampled_from([*ORDER_IDS, *VINS]), st.sampled_from("uvwxyz"))
    found = []
    for life, id_ in draw(st.lists(identities, unique=True, max_size=16)):
        is_vehicle = life in VINS and (life != VIN or draw(st.booleans()))
        kind = draw(st.sampled_from(_OF_VEHICLE if is_vehicle else _OF_ORDER))
        has_vin = kind in {Kind.DELIVERED, Kind.REVERSED}
        found.append(
            Fact(
                int(kind),
                life,
                "/s",
                id_,
                draw(st.sampled_from(TIMES)),
                life if is_vehicle else draw(st.sampled_from(VINS)) if has_vin else "",
                SU7 if kind in {Kind.PLACED, Kind.DELIVERED, Kind.PRODUCED} else NO_DIMS,
                "",
                ("/s", draw(st.sampled_from("uvwxyz"))) if kind is Kind.VOIDED else None,
                False,
                topic_number(PRODUCTION, 0) if is_vehicle else DELIVERIES if has_vin else ORDERS,
                0,
                0,
            )
        )
    return found


def recount(  # noqa: C901 - as the rule is written
    events: Sequence[Fact], since_us: int
) -> dict[str, set[tuple[str, str]]]:
    """VIN → (order, id) of the standing deliveries without a standing production, computed naively."""
    lives: dict[str, list[Fact]] = defaultdict(list)
    for event in events:
        lives[event.order_id].append(event)
    standing: list[Fact] = []
    periods: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for life, known in lives.items():
        named = {event.voids for event in known if event.kind == Kind.VOIDED}
        delivery, built = None, None
        for event in sorted(known, key=lambda event: (event.time_us, event.id)):
            if event.kind == Kind.VOIDED or (event.source, event.id) in named:
                continue
            if event.kind == Kind.DELIVERED and delivery is None:
                delivery = event
            elif event.kind == Kind.REVERSED and delivery is not None and delivery.vin == event.vin:
                delivery = None
            elif event.kind == Kind.PRODUCED and built is None:
                built = event
            elif event.kind == Kind.SCRAPPED and built is not None:
                periods[life].append((built.time_us, event.time_us))
                built = None
        if delivery is not None:
            standing.append(delivery)
        if built is not None:
            periods[life].append((built.time_us, TIMES[-1] + 1))
    found: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for one in standing:
        if one.time_us >= since_us and not any(first <= one.time_us <= last for first, last in periods[one.vin]):
            found[one.vin].add((one.order_id, one.id))
    return found


class Site:
    """Some homes, and the reports in transit between them."""

    def __init__(self, partitions: int, since_us: int) -> None:
        self._partitions, self._since_us = partitions, since_us
        self._ledgers = [new_ledger(since_us) for _ in range(partitions)]
        self._on_their_way: dict[tuple[int, int], deque[VehicleDelivery]] = defaultdict(deque)
        self._kept: list[list[LedgerChanges]] = [[] for _ in range(partitions)]
        self.published: dict[str, tuple[object, ...]] = {}

    def arrive(self, events: Sequence[Fact]) -> None:
        for event, home in zip(
            events, homes([event.order_id.encode() for event in events], self._partitions), strict=True
        ):
            self._ledgers[home].apply([event])
        for home in range(self._partitions):
            self._end_step(home)

    def pass_on(self, most: int) -> None:
        """Each home gets at most this many reports from each other home."""
        for (_, home), waiting in self._on_their_way.items():
            self._ledgers[home].hear([waiting.popleft() for _ in range(min(most, len(waiting)))])
        for home in range(self._partitions):
            self._end_step(home)

    def restart(self, number: int) -> None:
        """A home is restored from the records of its steps."""
        ledger = new_ledger(self._since_us)
        kept = self._kept[number]
        ledger.restore([entry for changes in kept for entry in changes.vocabulary], chunks_of(kept))
        ledger.restore_vehicles(encode_entries(list(changes.vehicles.items())) for changes in kept)
        assert ledger.violations() == self._ledgers[number].violations()
        assert ledger.vehicles.state_bytes == self._ledgers[number].vehicles.state_bytes
        self._follow(number, ledger)
        self._ledgers[number] = ledger

    def _follow(self, number: int, restored: Ledger) -> None:
        """One that was restored from the records of the first half of its steps, and has followed the others, is like it."""
        kept, half = self._kept[number], len(self._kept[number]) // 2
        ledger = new_ledger(self._since_us)
        ledger.restore([entry for changes in kept[:half] for entry in changes.vocabulary], chunks_of(kept[:half]))
        ledger.restore_vehicles(encode_entries(list(changes.vehicles.items())) for changes in kept[:half])
        for changes in kept[half:]:
            vehicles = [encode_entries(list(changes.vehicles.items()))]
            whole(ledger.following(changes.vocabulary, chunks_of([changes]), vehicles))
        assert ledger.violations() == restored.violations()
        assert ledger.vehicles.state_bytes == restored.vehicles.state_bytes
        assert {vin: ledger.vehicles.blob(vin) for vin in ledger.vehicles.vins()} == {
            vin: restored.vehicles.blob(vin) for vin in restored.vehicles.vins()
        }

    def standing(self) -> dict[tuple[str, str], str]:
        """What a home would report that reports everything."""
        found: dict[tuple[str, str], str] = {}
        for ledger in self._ledgers:
            found |= {key: fact.id for key, fact in whole(ledger.standing()).items()}
        return found

    def heard(self) -> dict[tuple[str, str], str]:
        """What the homes of vehicles have heard."""
        return {
            (vin, one.order_id): one.id
            for ledger in self._ledgers
            for vin in ledger.vehicles.vins()
            for one in ledger.vehicles.deliveries(vin)
        }

    def found(self) -> dict[str, set[tuple[str, str]]]:
        found: dict[str, set[tuple[str, str]]] = {}
        for ledger in self._ledgers:
            for vin, violations in ledger.violations().items():
                some = {(each.order_id, each.id) for each in violations if each.kind == KIND}
                if some:
                    found[vin] = some
            assert all(self.published[life] == violations for life, violations in ledger.violations().items())
        return found

    def _end_step(self, home: int) -> None:
        changes = self._ledgers[home].drain()
        self._kept[home].append(changes)
        for life, violations in changes.violations.items():
            assert self.published.get(life) != violations, "what is published is news"
            if violations is None:
                del self.published[life]
            else:
                self.published[life] = violations
        for one in told(changes.deliveries):
            self._on_their_way[home, homes([one.vin.encode()], self._partitions)[0]].append(one)


@settings(max_examples=300)
@given(st.data(), event_sets(), st.integers(1, 3), st.sampled_from([0, TIMES[2]]))
def test_what_is_found_is_a_function_of_the_set_of_events(
    data: st.DataObject, events: list[Fact], partitions: int, since_us: int
) -> None:
    again = data.draw(st.lists(st.sampled_from(events), max_size=3)) if events else []
    arrivals = data.draw(st.permutations([*events, *again]))
    site = Site(partitions, since_us)
    while arrivals:
        size = data.draw(st.integers(1, 6))
        site.arrive(arrivals[:size])
        arrivals = arrivals[size:]
        site.pass_on(data.draw(st.integers(0, 2)))
        if data.draw(st.booleans()):
            site.restart(data.draw(st.integers(0, partitions - 1)))
    site.pass_on(100)
    expected = {vin: some for vin, some in recount(events, since_us).items() if some}
    assert site.found() == expected
    assert set(site.published) == {life for ledger in site._ledgers for life in ledger.violations()}
    assert site.heard() == site.standing()


def test_the_home_of_an_order_tells_only_what_has_changed() -> None:
    ledger = new_ledger()
    ledger.apply([placed(1), delivered(2)])
    assert [(one.vin, one.id) for one in told(ledger.drain().deliveries)] == [(VIN, "d")]
    ledger.apply([delivered(3, "e", vin=OTHER_VIN)])
    assert ledger.drain().deliveries == {}
    ledger.apply([reversal(4, vin=VIN), delivered(5, "f", vin=VIN)])
    # The second delivery stands after the reversal only if it is not dated before it.
    assert [(one.vin, one.id, one.time_us) for one in told(ledger.drain().deliveries)] == [(VIN, "f", 5)]
    ledger.apply([void(6, "f")])
    assert ledger.drain().deliveries == {(VIN, "SO-1"): None}


def test_where_production_is_not_published_nothing_is_told() -> None:
    ledger = Ledger(ZONE, Scopes([[]]))
    ledger.apply([placed(1), delivered(2)])
    assert ledger.drain().deliveries == {}


def test_the_last_word_about_a_vehicle_and_an_order_counts() -> None:
    for arrival in permutations([delivered(2), reversal(3), delivered(4, "e"), void(5, "e")]):
        ledger = new_ledger()
        for event in arrival:
            ledger.apply([event])
            ledger.hear(told(ledger.drain().deliveries))
            ledger.drain()
        assert not ledger.vehicles.deliveries(VIN)
        assert ledger.vehicles.state_bytes == 0


def test_a_vehicle_that_two_orders_have_is_wrong_for_each() -> None:
    ledger = new_ledger()
    ledger.apply([delivered(2), delivered(3, "e", order="SO-2"), produced(5), scrapped(6)])
    ledger.hear(told(ledger.drain().deliveries))
    violations = ledger.drain().violations[VIN]
    assert violations is not None
    assert [(each.order_id, each.id) for each in violations] == [("SO-1", "d"), ("SO-2", "e")]
    ledger.apply([produced(1, "early")])
    assert ledger.drain().violations == {VIN: (("produced_twice", WEB, "b"),)}
