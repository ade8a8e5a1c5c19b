"""Reports of deliveries by a ledger partition, and withheld violations that it publishes, are news and fit into a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import encode_violations
from schemas.partitioner import homes
from schemas.told import Told, VehicleDelivery
from streams.domain.orders.orders import VehicleViolation
from streams.domain.pauses import whole
from streams.ledger.vehicles import Telling, Withheld
from tests.domain.facts import delivered

if TYPE_CHECKING:
    from schemas.facts import Fact
    from streams.domain.orders.delivered_vehicles import DeliveryKey
    from streams.domain.orders.orders import OrderViolations

_PARTITIONS = 2
_MOST = 3
KEYS = [(f"LNBSU7A10R10001{number:02}", f"SO-{number}") for number in range(12)]


def delivery(key: DeliveryKey, id_: str) -> Fact:
    vin, order = key
    return delivered(1, id_, vin=vin, order=order)


class Homes:
    """What all homes know."""

    def __init__(self, telling: Telling) -> None:
        self.telling = telling
        self.known: dict[DeliveryKey, str] = {}
        self.are_all_told = 0

    def hear(self, *, has_read: bool) -> list[VehicleDelivery]:
        """The records of a commit, each of which must be new."""
        found = []
        for home, (_, is_all, deliveries) in ((home, _fields(told)) for home, told in self.records(has_read=has_read)):
            self.are_all_told += is_all
            for one in deliveries:
                key = (one.vin, one.order_id)
                assert homes([one.vin.encode()], _PARTITIONS) == [home]
                assert self.known.get(key) != (one.id or None), f"{one} is no news"
                if one.time_us is None:
                    del self.known[key]
                else:
                    self.known[key] = one.id
            found += deliveries
        return found

    def records(self, *, has_read: bool) -> list[tuple[int, Told]]:
        return self.telling.records(has_read=has_read, most=_MOST)


def _fields(told: Told) -> tuple[int, bool, list[VehicleDelivery]]:
    return told.number, told.is_all, told.deliveries


def recalled(known: dict[DeliveryKey, Fact]) -> Homes:
    """A partition that has lost its state after reporting these; empty for one that has never reported anything."""
    site = Homes(Telling(0, _PARTITIONS))
    for (vin, order), fact in known.items():
        (home,) = homes([vin.encode()], _PARTITIONS)
        site.telling.recall(home, Told(0, False, [VehicleDelivery(vin, order, fact.time_us, fact.source, fact.id)]))
    site.known = {key: fact.id for key, fact in known.items()}
    return site


def test_what_stood_is_told_by_parts_while_there_is_more_to_read() -> None:
    standing = {key: delivery(key, "d") for key in KEYS}
    site = recalled({})
    site.telling.begin(standing)
    new = ("LNBSU7A10R1000999", "SO-new")
    site.telling.note({new: delivery(new, "n")})
    assert len(site.hear(has_read=False)) == _MOST + 1, "with what the step has changed"
    assert site.telling.has_more(has_read=False)
    for _ in range(3):
        assert len(site.hear(has_read=False)) == _MOST
    assert not site.telling.has_more(has_read=False)
    assert site.hear(has_read=False) == []
    assert not site.are_all_told
    assert site.hear(has_read=True) == []
    assert site.are_all_told == _PARTITIONS
    assert site.known == {**dict.fromkeys(KEYS, "d"), new: "n"}


def test_a_delivery_that_is_taken_back_before_it_was_told_is_never_told() -> None:
    site = recalled({})
    site.telling.begin({key: delivery(key, "d") for key in KEYS[:4]})
    (waiting,) = set(KEYS[:4]) - {(one.vin, one.order_id) for one in site.hear(has_read=True)}
    taken_back = KEYS[1] if waiting != KEYS[1] else KEYS[2]
    site.telling.note({waiting: None, taken_back: None})
    assert [(one.order_id, one.time_us) for one in site.hear(has_read=True)] == [(taken_back[1], None)]
    assert set(site.known) == set(KEYS[:4]) - {waiting, taken_back}
    assert site.are_all_told == _PARTITIONS


def test_where_something_was_told_before_nothing_is_said_until_all_is_read_again() -> None:
    site = recalled({KEYS[0]: delivery(KEYS[0], "d"), KEYS[1]: delivery(KEYS[1], "d")})
    site.telling.begin({KEYS[0]: delivery(KEYS[0], "d")})
    assert site.hear(has_read=False) == []
    assert not site.telling.has_more(has_read=False)
    site.telling.note({KEYS[1]: delivery(KEYS[1], "d"), KEYS[2]: delivery(KEYS[2], "d")})
    site.telling.note({KEYS[2]: None, KEYS[0]: None})
    assert [(one.order_id, one.time_us) for one in site.hear(has_read=True)] == [(KEYS[0][1], None)]


_CHANGES = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(["", "a", "b"]), max_size=4)


@settings(max_examples=300)
@given(
    st.dictionaries(st.sampled_from(KEYS), st.sampled_from("ab")),
    st.dictionaries(st.sampled_from(KEYS), st.sampled_from("ab")),
    st.lists(_CHANGES, max_size=8),
    st.integers(0, 8),
)
def test_the_homes_know_at_last_what_stands(
    told: dict[DeliveryKey, str], standing: dict[DeliveryKey, str], steps: list[dict[DeliveryKey, str]], read_at: int
) -> None:
    site = recalled({key: delivery(key, id_) for key, id_ in told.items()})
    site.telling.begin({key: delivery(key, id_) for key, id_ in standing.items()})
    for number, step in enumerate(steps):
        # As the ledger reports them: deliveries that now stand or have changed, and those that no longer stand.
        changed = {key: id_ for key, id_ in step.items() if standing.get(key, "") != id_}
        standing = {key: id_ for key, id_ in {**standing, **changed}.items() if id_}
        site.telling.note({key: delivery(key, id_) if id_ else None for key, id_ in changed.items()})
        said = site.hear(has_read=number >= read_at)
        waited = [one for one in said if (one.vin, one.order_id) not in changed]
        assert len(waited) <= _MOST
    while site.telling.has_more(has_read=True):
        assert len(site.hear(has_read=True)) <= _MOST
    site.hear(has_read=True)
    assert site.known == standing
    assert site.are_all_told == _PARTITIONS


_FOUND = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["", "x", "y"]), max_size=4)


@settings(max_examples=200)
@given(_FOUND, st.lists(_FOUND, max_size=6))
def test_what_was_withheld_is_published_by_parts_as_it_is_at_last(
    before: dict[str, str], steps: list[dict[str, str]]
) -> None:
    def violations(id_: str) -> OrderViolations:
        return (VehicleViolation("delivered_without_production", "/s", id_, "SO-1"),)

    published = {life: id_ for life, id_ in before.items() if id_}
    withheld = Withheld({}, {life: encode_violations(life, violations(id_)) for life, id_ in published.items()})
    found: dict[str, str] = {}
    is_last = False
    for step in [*steps, *({} for _ in range(6))]:
        # Some of them change while the rest is published; once all are, it is like any other partition.
        found |= step
        changes = {life: violations(id_) if id_ else None for life, id_ in step.items()}
        released = dict(changes)
        if not is_last:
            withheld.hold(changes)
            released.clear()
            is_last = whole(withheld.releasing(released, 2))
            assert len(released) <= 2
        for life, some in released.items():
            (id_,) = (each.id for each in some) if some else ("",)
            published[life] = id_
    assert is_last
    assert {life: id_ for life, id_ in published.items() if id_} == {life: id_ for life, id_ in found.items() if id_}
