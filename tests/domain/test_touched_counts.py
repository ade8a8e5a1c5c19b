"""At most how many counts a step touches is known before it ends, whatever its events are and by whatever they count."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.facts import Fact, Kind
from streams.domain import hotpath
from streams.domain.ledger import Ledger
from streams.domain.scopes.aliases import Alias, Aliases
from streams.domain.scopes.scopes import Scopes
from streams.domain.time.campaigns import Campaign, Campaigns
from streams.domain.time.zone import BusinessZone
from tests.domain.facts import SU7, VIN, YU7, us

if TYPE_CHECKING:
    from schemas.outputs import HotPath
    from streams.domain.ledger import StepSize

TEMPLATES: Final = (("model",), ("region",), ("model", "region"), ())
#: The clocks change on the second day, and two campaigns overlap on the third.
ZONE: Final = BusinessZone("Europe/Berlin")
FIRST_US: Final = us("2024-03-30T20:00:00Z")
QUARTER_US: Final = 900_000_000
CAMPAIGNS: Final = Campaigns(
    Campaign(name, us(start), us(end), TEMPLATES)
    for name, start, end in (
        ("sale", "2024-04-01T08:10:00Z", "2024-04-01T12:07:00Z"),
        ("launch", "2024-04-01T08:12:00Z", "2024-04-01T08:14:00Z"),
    )
)
ALIASES: Final = Aliases([Alias("model", "YU7", "SU7", date(2024, 3, 31))])

facts: Final = st.builds(
    Fact,
    kind=st.sampled_from([int(kind) for kind in Kind] + [int(Kind.PLACED), int(Kind.DELIVERED)] * 3),
    order_id=st.sampled_from(["SO-1", "SO-2", "SO-3", VIN]),
    source=st.just("/a"),
    id=st.sampled_from(["1", "2", "3", "4", "5"]),
    time_us=st.integers(0, 4 * 50).map(lambda quarter: FIRST_US + quarter * QUARTER_US + 780_000_000),
    vin=st.sampled_from(["", VIN]),
    dims=st.sampled_from([SU7, YU7]),
    extra=st.just(""),
    voids=st.sampled_from([None, None, ("/a", "1"), ("/a", "2")]),
    backfill=st.booleans(),
    topic=st.just(0),
    partition=st.just(0),
    offset=st.just(0),
)


def sizes(way: HotPath, steps: list[list[list[Fact]]]) -> list[StepSize]:
    """The size of each step before it is ended, in which no more must have changed."""
    hotpath.take(way)
    try:
        ledger = Ledger(ZONE, Scopes(TEMPLATES, aliases=ALIASES), campaigns=CAMPAIGNS, produced_since_us=0)
        found = []
        for step in steps:
            for batch in step:
                ledger.apply(batch)
            found.append(ledger.step_size)
            changes = ledger.drain()
            assert len(changes.counts) + len(changes.violations) <= found[-1].records
            written = sum(len(key) + len(value) for key, value in changes.counts.items())
            assert written <= found[-1].record_bytes
            assert sum(len(of) + len(changes.orders[of]) for of in changes.orders) <= found[-1].order_bytes
    finally:
        hotpath.take(hotpath.HOT_PATH)
    return found


@pytest.mark.skipif(bool(hotpath.WHY_PYTHON), reason="not compiled")
@settings(max_examples=max(300, settings().max_examples))
@given(st.lists(st.lists(st.lists(facts, max_size=5), max_size=3), max_size=4))
def test_no_step_changes_more_than_was_known_when_its_events_were_stored(steps: list[list[list[Fact]]]) -> None:
    assert sizes("compiled", steps) == sizes("python", steps)


def order(number: int, kind: Kind, time_us: int) -> Fact:
    vin = VIN if kind == Kind.DELIVERED else ""
    return Fact(int(kind), f"SO-{number}", "/a", str(kind), time_us, vin, SU7, "", None, False, 0, 0, 0)


@pytest.mark.parametrize("way", ["python", hotpath.HOT_PATH])
def test_what_is_known_of_orders_as_they_usually_come_is_what_they_change(way: HotPath) -> None:
    """Orders of one model on one day, delivered on the next: both metrics of an order, and one of a delivery, in two scopes."""
    hotpath.take(way)
    try:
        ledger = Ledger(ZONE, Scopes())
        for kind, time_us, metrics in ((Kind.PLACED, FIRST_US, 2), (Kind.DELIVERED, FIRST_US + 100 * QUARTER_US, 1)):
            ledger.apply([order(number, kind, time_us + number) for number in range(1000)])
            assert ledger.step_size.records == 2 * metrics
            assert len(ledger.drain().counts) == 2 * metrics
    finally:
        hotpath.take(hotpath.HOT_PATH)
