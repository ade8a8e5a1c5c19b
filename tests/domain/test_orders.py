"""The contract's table of situations, row by row: the events of one order, and their result."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import pytest

from schemas.outputs import VIOLATION_MESSAGES
from streams.domain.orders.orders import judge
from tests.domain.facts import (
    OTHER_VIN,
    SU7,
    VIN,
    YU7,
    cancelled,
    delivered,
    placed,
    produced,
    reversal,
    scrapped,
    void,
)

if TYPE_CHECKING:
    from schemas.facts import Fact

GROSS, NET, CANCELLED, STANDS, REVERSED = "orders_placed", "orders", "cancellations", "deliveries", "reversals"
BUILT, SCRAPPED = "produced", "scrapped"

CASES: list[tuple[str, list[Fact], list[tuple[str, str]], list[tuple[str, str]]]] = [
    # what is said, the events, units as (metric, id of the cause), violations as (kind, id)
    ("nothing happened", [], [], []),
    ("placed, first", [placed(1)], [(GROSS, "p"), (NET, "p")], []),
    ("placed twice", [placed(1), placed(2, "q")], [(GROSS, "p"), (NET, "p")], [("second_placed", "q")]),
    ("placed at the same instant, smaller id first", [placed(1, "q"), placed(1, "p")], [(GROSS, "p"), (NET, "p")], [("second_placed", "q")]),
    ("placed at the same instant with one id, smaller source first", [placed(1, source="/b", dims=YU7), placed(1, source="/a")], [(GROSS, "p"), (NET, "p")], [("second_placed", "p")]),
    ("cancelled after placed", [placed(1), cancelled(2)], [(GROSS, "p"), (CANCELLED, "c")], []),
    ("cancelled without placed", [cancelled(2)], [], [("cancelled_without_order", "c")]),
    ("cancelled before placed", [cancelled(1), placed(2)], [(GROSS, "p"), (NET, "p")], [("cancelled_without_order", "c")]),
    ("cancelled twice", [placed(1), cancelled(2), cancelled(3, "e")], [(GROSS, "p"), (CANCELLED, "c")], [("cancelled_twice", "e")]),
    ("cancelled while delivered", [placed(1), delivered(2), cancelled(3)], [(GROSS, "p"), (NET, "p"), (STANDS, "d")], [("cancelled_while_delivered", "c")]),
    ("cancelled while delivered, reversed later", [placed(1), delivered(2), cancelled(3), reversal(4)], [(GROSS, "p"), (NET, "p"), (REVERSED, "r")], [("cancelled_while_delivered", "c")]),
    ("cancelled after the reversal", [placed(1), delivered(2), reversal(3), cancelled(4)], [(GROSS, "p"), (CANCELLED, "c"), (REVERSED, "r")], []),
    ("cancelled, then placed again", [placed(1), cancelled(2), placed(3, "q")], [(GROSS, "p"), (CANCELLED, "c")], [("second_placed", "q")]),
    ("delivered after placed", [placed(1), delivered(2)], [(GROSS, "p"), (NET, "p"), (STANDS, "d")], []),
    ("delivered without placed", [delivered(2)], [(STANDS, "d")], [("delivered_without_order", "d")]),
    ("delivered before placed", [delivered(1), placed(2)], [(GROSS, "p"), (NET, "p"), (STANDS, "d")], [("delivered_without_order", "d")]),
    ("delivered before placed, cancelled then", [delivered(1), placed(2), cancelled(3)], [(GROSS, "p"), (NET, "p"), (STANDS, "d")], [("delivered_without_order", "d"), ("cancelled_while_delivered", "c")]),
    ("delivered after cancellation", [placed(1), cancelled(2), delivered(3)], [(GROSS, "p"), (CANCELLED, "c"), (STANDS, "d")], [("delivered_after_cancellation", "d")]),
    ("cancelled twice around a delivery", [placed(1), cancelled(2), delivered(3), cancelled(4, "e")], [(GROSS, "p"), (CANCELLED, "c"), (STANDS, "d")], [("delivered_after_cancellation", "d"), ("cancelled_twice", "e")]),
    ("delivered twice", [placed(1), delivered(2), delivered(3, "e", vin=OTHER_VIN)], [(GROSS, "p"), (NET, "p"), (STANDS, "d")], [("delivered_twice", "e")]),
    ("reversed", [placed(1), delivered(2), reversal(3)], [(GROSS, "p"), (NET, "p"), (REVERSED, "r")], []),
    ("reversed and delivered again", [placed(1), delivered(2), reversal(3), delivered(4, "e", vin=OTHER_VIN)], [(GROSS, "p"), (NET, "p"), (REVERSED, "r"), (STANDS, "e")], []),
    ("reversed twice, delivered twice", [placed(1), delivered(2), reversal(3), delivered(4, "e"), reversal(5, "s")], [(GROSS, "p"), (NET, "p"), (REVERSED, "r"), (REVERSED, "s")], []),
    ("reversed with another VIN", [placed(1), delivered(2), reversal(3, vin=OTHER_VIN)], [(GROSS, "p"), (NET, "p"), (STANDS, "d")], [("reversed_other_vin", "r")]),
    ("reversed when nothing stands", [placed(1), reversal(2)], [(GROSS, "p"), (NET, "p")], [("reversed_without_delivery", "r")]),
    ("reversed before delivered", [placed(1), reversal(2), delivered(3)], [(GROSS, "p"), (NET, "p"), (STANDS, "d")], [("reversed_without_delivery", "r")]),
    ("reversed twice", [placed(1), delivered(2), reversal(3), reversal(4, "s")], [(GROSS, "p"), (NET, "p"), (REVERSED, "r")], [("reversed_without_delivery", "s")]),
    ("placed, voided", [placed(1), void(2, "p")], [], []),
    ("a void dated before the event it voids", [placed(5), void(1, "p")], [], []),
    ("placed twice, the first voided", [placed(1), placed(2, "q"), void(3, "p")], [(GROSS, "q"), (NET, "q")], []),
    ("the cancellation voided", [placed(1), cancelled(2), void(3, "c")], [(GROSS, "p"), (NET, "p")], []),
    ("the order voided under its cancellation", [placed(1), cancelled(2), void(3, "p")], [], [("cancelled_without_order", "c")]),
    ("the delivery voided", [placed(1), delivered(2), void(3, "d")], [(GROSS, "p"), (NET, "p")], []),
    ("the delivery voided, so a cancellation takes effect", [placed(1), delivered(2), cancelled(3), void(4, "d")], [(GROSS, "p"), (CANCELLED, "c")], []),
    ("the reversal voided", [placed(1), delivered(2), reversal(3), void(4, "r")], [(GROSS, "p"), (NET, "p"), (STANDS, "d")], []),
    ("voided by two voids", [placed(1), void(2, "p"), void(3, "p", "w")], [], []),
    ("a void of an unknown event", [placed(1), void(2, "x")], [(GROSS, "p"), (NET, "p")], [("void_of_unknown_event", "v")]),
    ("a void of the id of another source", [placed(1), void(2, "p", voids=("/b", "p"))], [(GROSS, "p"), (NET, "p")], [("void_of_unknown_event", "v")]),
    ("a void of a void", [placed(1), void(2, "p"), void(3, "v", "w")], [], [("void_of_void", "w")]),
    ("a void of itself", [placed(1), void(2, "v")], [(GROSS, "p"), (NET, "p")], [("void_of_void", "v")]),
    ("two voids of each other", [void(1, "w"), void(2, "v", "w")], [], [("void_of_void", "v"), ("void_of_void", "w")]),
    ("produced", [produced(1)], [(BUILT, "b")], []),
    ("produced twice", [produced(1), produced(2, "e")], [(BUILT, "b")], [("produced_twice", "e")]),
    ("scrapped", [produced(1), scrapped(2)], [(SCRAPPED, "s")], []),
    ("scrapped and produced again", [produced(1), scrapped(2), produced(3, "e")], [(SCRAPPED, "s"), (BUILT, "e")], []),
    ("scrapped before produced", [scrapped(1), produced(2)], [(BUILT, "b")], [("scrapped_without_production", "s")]),
    ("scrapped twice", [produced(1), scrapped(2), scrapped(3, "t")], [(SCRAPPED, "s")], [("scrapped_without_production", "t")]),
    ("production voided", [produced(1), void(2, "b", order=VIN, vin=VIN)], [], []),
    ("scrapping voided", [produced(1), scrapped(2), void(3, "s", order=VIN, vin=VIN)], [(BUILT, "b")], []),
    ("an order numbered by its VIN", [placed(1), produced(2), delivered(3), scrapped(4)], [(GROSS, "p"), (NET, "p"), (STANDS, "d"), (SCRAPPED, "s")], []),
]  # fmt: skip


@pytest.mark.parametrize(
    ("events", "units", "violations"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_life_of_an_order_comes_to_these_units_and_violations(
    events: list[Fact], units: list[tuple[str, str]], violations: list[tuple[str, str]]
) -> None:
    for arrival in permutations(events):
        judgement = judge(arrival)
        assert sorted((unit.metric, unit.cause.id) for unit in judgement.units) == sorted(units)
        assert [(violation.kind, violation.id) for violation in judgement.violations] == violations


def test_every_kind_of_violation_has_a_text_and_is_told_by_the_table() -> None:
    # The last one is found at the vehicle's home: `test_delivered_vehicles.py`.
    told = {kind for case in CASES for kind, _ in case[3]}
    assert told == set(VIOLATION_MESSAGES) - {"delivered_without_production"}


def test_a_cancellation_has_the_dimensions_of_its_order() -> None:
    (unit,) = [unit for unit in judge([placed(1, dims=YU7), cancelled(2)]).units if unit.metric == CANCELLED]
    assert unit.dims == YU7


def test_a_delivery_has_its_own_dimensions_and_a_reversal_those_of_the_delivery_it_reverses() -> None:
    life = [placed(1, dims=SU7), delivered(2, dims=YU7), reversal(3), delivered(4, "e", dims=SU7)]
    found = {(unit.metric, unit.dims) for unit in judge(life).units}
    assert found == {(GROSS, SU7), (NET, SU7), (REVERSED, YU7), (STANDS, SU7)}


def test_a_violation_names_the_offending_event_by_source_and_id() -> None:
    judgement = judge([placed(1), placed(2, "q", source="/sales/shop")])
    assert judgement.violations == (("second_placed", "/sales/shop", "q"),)
