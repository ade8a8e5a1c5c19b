"""Our units against another system's list: how a list is read, which are missing on which side, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from schemas.rows import RowKey
from streams.audit.foreign_list import Entry, Theirs, read_theirs
from streams.audit.judging import read_order
from streams.audit.reconciling import Counted, Recounted, match
from streams.audit.sums import Business
from streams.settings import Settings
from tests.domain.facts import OTHER_VIN, VIN, YU7, cancelled, delivered, placed, produced, reversal, void

if TYPE_CHECKING:
    from schemas.facts import Fact

KEY = RowKey("deliveries", "model=SU7", "day:2024-10-07")
BUSINESS = Business(Settings())
DAY, NEXT_DAY = "2024-10-07T12:00:00", "2024-10-08T00:00:00"

# Lists --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("", []),
        ("\n  \n# of 7 October\n", []),
        ("SO-1\nSO-2\n", [Entry("SO-1", "SO-1"), Entry("SO-2", "SO-2")]),
        ("SO-1\r\nSO-2", [Entry("SO-1", "SO-1"), Entry("SO-2", "SO-2")]),
        (" SO-1 \n", [Entry("SO-1", "SO-1")]),
        (f"{VIN}\n", [Entry(VIN, VIN)]),
        ("SO-1,7 Oct,Beijing\n", [Entry("SO-1", "SO-1")]),
        ("order_id\nSO-1\n", [Entry("SO-1", "")]),
        ("VIN\n" + VIN, [Entry("", VIN)]),
        (f"day;Order_ID;vin\n7;SO-1;{VIN}\n7;;{OTHER_VIN}\n", [Entry("SO-1", VIN), Entry("", OTHER_VIN)]),
        (f"vin\torder\n{VIN}\tSO-1\n", [Entry("SO-1", VIN)]),
        ('order_id,note\n"SO-1","a, b"\n', [Entry("SO-1", "")]),
        ("\ufefforder_id\nSO-1\n", [Entry("SO-1", "")]),
        ("\ufeffSO-1\n", [Entry("SO-1", "SO-1")]),
    ],
)
def test_a_list_holds_order_numbers_or_vins_alone_or_in_named_columns(text: str, entries: list[Entry]) -> None:
    assert read_theirs(text.splitlines(keepends=True)) == Theirs(tuple(entries), {})


def test_what_a_list_has_more_than_once_is_one_entry_and_said() -> None:
    assert read_theirs(["SO-1", "SO-2", "SO-1", "SO-1"]) == Theirs(
        (Entry("SO-1", "SO-1"), Entry("SO-2", "SO-2")), {"SO-1": 3}
    )


def test_a_line_of_named_columns_without_either_is_refused_with_its_number() -> None:
    with pytest.raises(ValueError, match="row 4 has neither"):
        read_theirs(["# theirs", "order_id,vin,day", "SO-1,,7", ",,8"])


# Which units are missing --------------------------------------------------------------------------------------------


def recounted(*facts: Fact, theirs: Theirs, key: RowKey = KEY) -> Recounted:
    """The window after these events, in any order."""
    window = Counted(key, BUSINESS.calendar.period(key.period))
    found = Recounted(BUSINESS, {0: "orders", 1: "deliveries"}, {key: window}, theirs.names)
    orders: dict[str, list[Fact]] = {}
    for fact in facts:
        orders.setdefault(fact.order_id, []).append(fact)
    for order_id, events in orders.items():
        found.take(order_id, read_order(events))
    found.sort()
    return found


def said(*facts: Fact, theirs: str, key: RowKey = KEY) -> tuple[int, list[str], list[tuple[str, str]]]:
    """The number of matches, the orders that they lack, and the entries that we lack, with the reason."""
    listed = read_theirs(theirs.split())
    found = match(recounted(*facts, theirs=listed, key=key), key, listed)
    assert found.differs == bool(found.only_ours or found.only_theirs)
    return (
        found.matched,
        [unit.order_id for unit in found.only_ours],
        [(entry.text, why) for entry, why in found.only_theirs],
    )


def test_equal_lists_match_whatever_the_order() -> None:
    ours = (delivered(DAY), delivered(DAY, order="SO-2", vin=OTHER_VIN))
    assert said(*ours, theirs="SO-2 SO-1") == (2, [], [])
    assert said(*ours, theirs=f"{VIN} {OTHER_VIN}") == (2, [], [])
    assert said(*ours, theirs=f"order_id,vin SO-1,{VIN} ,{OTHER_VIN}") == (2, [], [])
    assert said(theirs="") == (0, [], [])


def test_a_unit_that_they_lack_is_ours_only_in_the_order_of_time() -> None:
    ours = (delivered(DAY), delivered("2024-10-07T10:00:00", order="SO-2"), delivered(DAY, "x", order="SO-3"))
    assert said(*ours, theirs="SO-1") == (1, ["SO-2", "SO-3"], [])


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ([], "not known here"),
        ([placed(DAY)], "known, but there is no event that delivers it"),
        ([placed(DAY), delivered(NEXT_DAY)], "counted in day:2024-10-08"),
        ([delivered(DAY, dims=YU7)], "counted in day:2024-10-07 of model=YU7 and all"),
        (
            [delivered(DAY), void(NEXT_DAY, "d")],
            "2024-10-07T12:00:00+08:00 no effect: voided, it counts as never sent",
        ),
        (
            [delivered("2024-10-06T12:00:00"), delivered(DAY, "e")],
            "counted in day:2024-10-06",
        ),
    ],
)
def test_an_entry_that_we_lack_says_what_is_known_of_it(facts: list[Fact], why: str) -> None:
    assert said(*facts, theirs="SO-1") == (0, [], [("SO-1", why)])


def test_a_car_that_came_back_is_not_among_the_deliveries_and_says_so() -> None:
    matched, _, ((_, why),) = said(delivered(DAY), reversal(NEXT_DAY), theirs="SO-1")
    assert matched == 0
    assert why == "2024-10-07T12:00:00+08:00 delivers the vehicle, which comes back later"


@pytest.mark.parametrize(("metric", "does"), [("produced", "produces it"), ("scrapped", "scraps it")])
def test_a_vehicle_of_theirs_without_such_an_event_says_so(metric: str, does: str) -> None:
    key = RowKey(metric, "all", "day:2024-10-07")
    (_, why), _ = said(delivered(DAY), theirs=f"{VIN} {OTHER_VIN}", key=key)[2]
    assert why == f"order SO-1: known, but there is no event that {does}"


def test_produced_vehicles_are_matched_by_vin() -> None:
    key = RowKey("produced", "model=SU7", "day:2024-10-07")
    ours = (produced(DAY), produced(NEXT_DAY, order=OTHER_VIN, vin=OTHER_VIN))
    assert said(*ours, theirs=f"{VIN} {OTHER_VIN}", key=key) == (
        1,
        [],
        [(OTHER_VIN, "counted in day:2024-10-08")],
    )


def test_a_vin_is_found_under_the_order_that_has_it() -> None:
    facts = (delivered(NEXT_DAY), delivered(NEXT_DAY, order="SO-2", vin=OTHER_VIN))
    assert said(*facts, theirs=OTHER_VIN) == (0, [], [(OTHER_VIN, "order SO-2: counted in day:2024-10-08")])


def test_one_vin_under_two_orders_meets_both_entries_of_a_list_with_order_numbers() -> None:
    twice = (delivered(DAY), delivered(DAY, order="SO-2"))
    assert said(*twice, theirs="SO-1 SO-2") == (2, [], [])
    assert said(*twice, theirs=VIN) == (1, ["SO-2"], [])


def test_an_order_and_its_vin_as_two_entries_are_one_unit_and_the_second_is_left_over() -> None:
    assert said(delivered(DAY), theirs=f"SO-1 {VIN}") == (
        1,
        [],
        [(VIN, "counted, and met by another entry of the list")],
    )


def test_orders_and_cancellations_are_compared_by_order_number() -> None:
    facts = (placed(DAY), placed(DAY, order="SO-2"), cancelled(NEXT_DAY, order="SO-2"))
    net, gross = (RowKey("orders", "all", "day:2024-10-07"), RowKey("orders_placed", "all", "day:2024-10-07"))
    assert said(*facts, theirs="SO-1 SO-2", key=gross) == (2, [], [])
    matched, _, ((entry, why),) = said(*facts, theirs="SO-1 SO-2", key=net)
    assert (matched, entry) == (1, "SO-2")
    assert "cancelled" in why
    assert said(*facts, theirs="SO-2", key=RowKey("cancellations", "all", "month:2024-10")) == (1, [], [])


def test_an_entry_listed_twice_is_a_difference_of_its_own() -> None:
    listed = read_theirs(["SO-1", "SO-1"])
    found = match(recounted(delivered(DAY), theirs=listed), KEY, listed)
    assert (found.matched, found.only_ours, found.only_theirs, found.repeated) == (1, [], [], {"SO-1": 2})
    assert found.differs


def test_a_dead_letter_of_the_order_is_named_as_the_reason() -> None:
    listed = read_theirs(["SO-1"])
    found = recounted(theirs=listed)
    found.refused["SO-1"] = ["dead letter: invalid_field: vin: not a VIN (vehicle.deliveries.v1-2@7)"]
    ((_, why),) = match(found, KEY, listed).only_theirs
    assert why == "dead letter: invalid_field: vin: not a VIN (vehicle.deliveries.v1-2@7)"
