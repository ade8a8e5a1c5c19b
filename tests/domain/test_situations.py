"""The contract's table of situations as before / event / expected, through the ledger: what one more event changes.

Each case runs step by step, in every order of arrival, with every event twice, and after a restart before the event.
"""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from typing import TYPE_CHECKING, NamedTuple

import pytest

from streams.domain.ledger import Ledger, LedgerChanges
from streams.domain.scopes.scopes import Scopes
from streams.domain.time.zone import BusinessZone
from tests.domain.facts import (
    OTHER_VIN,
    SU7,
    WEB,
    YU7,
    cancelled,
    chunks_of,
    delivered,
    placed,
    read_counts,
    reversal,
    void,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.facts import Fact

# A life in time order; each stage on a separate day, most in a separate month.
D0, D1, D2, D3, D4, D5 = (f"2024-{day}T12:00:00" for day in ("09-30", "10-01", "10-02", "10-31", "11-01", "12-31"))
BEFORE_MIDNIGHT, AFTER_MIDNIGHT = "2024-09-30T23:59:59", "2024-10-01T00:00:00"
NOTHING: dict[str, int] = {}

PLACED = "placed, first"
PLACED_AGAIN = "a second placed changes nothing and is a violation"
CANCELLED = "cancelled after placed, while no delivery stands"
CANCELLED_IN_VAIN = "cancelled with no placed before it, or twice, or while a delivery stands"
DELIVERED = "delivered, no delivery of this order stands"
DELIVERED_AGAIN = "delivered while a delivery of this order stands"
REVERSED = "reversed, same vin, a delivery stands"
REVERSED_IN_VAIN = "reversed, nothing stands or another vin"
VOID_UNKNOWN = "a void of an event not (yet) known"
VOIDED = "an event voided by an event.voided.v1 of the same order counts as never sent"
VOID_OF_VOID = "a void cannot be voided"
TOGETHER = "the events of one order are judged together, ordered by (time, id, source)"


class Case(NamedTuple):
    """One row.

    Attributes:
        situation: The contract's row or sentence.
        detail: Which case of it.
        before: What was known of the order.
        event: What comes then.
        change: `metric month-day` → what is added to the count of that day, or taken from it.
        wrong: `kind id` of each violation of the order afterwards.
    """

    situation: str
    detail: str
    before: list[Fact]
    event: Fact
    change: dict[str, int]
    wrong: list[str]


CASES = [
    Case(PLACED, "nothing before", [], placed(D0), {"orders_placed 09-30": 1, "orders 09-30": 1}, []),
    Case(PLACED, "the last second of a month", [], placed(BEFORE_MIDNIGHT), {"orders_placed 09-30": 1, "orders 09-30": 1}, []),
    Case(PLACED, "the first instant of a month", [], placed(AFTER_MIDNIGHT), {"orders_placed 10-01": 1, "orders 10-01": 1}, []),
    Case(PLACED, "on a leap day", [], placed("2024-02-29T23:59:59"), {"orders_placed 02-29": 1, "orders 02-29": 1}, []),
    Case(PLACED, "its delivery had come before, dated later", [delivered(D2)], placed(D0), {"orders_placed 09-30": 1, "orders 09-30": 1}, []),
    Case(PLACED, "its delivery had come before, dated earlier", [delivered(D0)], placed(D2), {"orders_placed 10-02": 1, "orders 10-02": 1}, ["delivered_without_order d"]),
    Case(PLACED, "its cancellation had come before, dated later", [cancelled(D2)], placed(D0), {"orders_placed 09-30": 1, "cancellations 10-02": 1}, []),
    Case(PLACED, "its whole life had come before", [delivered(D1), reversal(D3), cancelled(D4)], placed(D0), {"orders_placed 09-30": 1, "cancellations 11-01": 1}, []),
    Case(PLACED_AGAIN, "later", [placed(D0)], placed(D1, "q"), NOTHING, ["second_placed q"]),
    Case(PLACED_AGAIN, "earlier: the earlier one counts from now on", [placed(D1)], placed(D0, "q"), {"orders_placed 09-30": 1, "orders 09-30": 1, "orders_placed 10-01": -1, "orders 10-01": -1}, ["second_placed p"]),
    Case(PLACED_AGAIN, "after its cancellation: it stays cancelled", [placed(D0), cancelled(D1)], placed(D2, "q"), NOTHING, ["second_placed q"]),
    Case(PLACED_AGAIN, "a third time", [placed(D0), placed(D1, "q")], placed(D2, "s"), NOTHING, ["second_placed q", "second_placed s"]),
    Case(CANCELLED, "on another day", [placed(D0)], cancelled(D1), {"orders 09-30": -1, "cancellations 10-01": 1}, []),
    Case(CANCELLED, "a second later, across midnight", [placed(BEFORE_MIDNIGHT)], cancelled(AFTER_MIDNIGHT), {"orders 09-30": -1, "cancellations 10-01": 1}, []),
    Case(CANCELLED, "months later", [placed(D0)], cancelled(D5), {"orders 09-30": -1, "cancellations 12-31": 1}, []),
    Case(CANCELLED, "after the car came back", [placed(D0), delivered(D1), reversal(D3)], cancelled(D4), {"orders 09-30": -1, "cancellations 11-01": 1}, []),
    Case(CANCELLED, "dated before the delivery that had come first", [placed(D0), delivered(D2)], cancelled(D1), {"orders 09-30": -1, "cancellations 10-01": 1}, ["delivered_after_cancellation d"]),
    Case(CANCELLED_IN_VAIN, "no placed", [], cancelled(D1), NOTHING, ["cancelled_without_order c"]),
    Case(CANCELLED_IN_VAIN, "dated before placed", [placed(D2)], cancelled(D1), NOTHING, ["cancelled_without_order c"]),
    Case(CANCELLED_IN_VAIN, "twice", [placed(D0), cancelled(D1)], cancelled(D2, "e"), NOTHING, ["cancelled_twice e"]),
    Case(CANCELLED_IN_VAIN, "twice, the second dated earlier: that one counts from now on", [placed(D0), cancelled(D2)], cancelled(D1, "e"), {"cancellations 10-01": 1, "cancellations 10-02": -1}, ["cancelled_twice c"]),
    Case(CANCELLED_IN_VAIN, "a delivery stands", [placed(D0), delivered(D1)], cancelled(D2), NOTHING, ["cancelled_while_delivered c"]),
    Case(CANCELLED_IN_VAIN, "a delivery without an order stands", [delivered(D1)], cancelled(D2), NOTHING, ["delivered_without_order d", "cancelled_without_order c"]),
    Case(CANCELLED_IN_VAIN, "in vain, and then the car comes back: still in vain", [placed(D0), delivered(D1), cancelled(D2)], reversal(D3), {"deliveries 10-01": -1, "reversals 10-31": 1}, ["cancelled_while_delivered c"]),
    Case(DELIVERED, "after placed", [placed(D0)], delivered(D1), {"deliveries 10-01": 1}, []),
    Case(DELIVERED, "the first instant of a day", [placed(D0)], delivered(AFTER_MIDNIGHT), {"deliveries 10-01": 1}, []),
    Case(DELIVERED, "nothing before", [], delivered(D1), {"deliveries 10-01": 1}, ["delivered_without_order d"]),
    Case(DELIVERED, "dated before placed", [placed(D2)], delivered(D1), {"deliveries 10-01": 1}, ["delivered_without_order d"]),
    Case(DELIVERED, "the order is cancelled", [placed(D0), cancelled(D1)], delivered(D2), {"deliveries 10-02": 1}, ["delivered_after_cancellation d"]),
    Case(DELIVERED, "again after the car came back", [placed(D0), delivered(D1), reversal(D2)], delivered(D3, "e"), {"deliveries 10-31": 1}, []),
    Case(DELIVERED, "again with another car", [placed(D0), delivered(D1), reversal(D2)], delivered(D3, "e", vin=OTHER_VIN), {"deliveries 10-31": 1}, []),
    Case(DELIVERED, "again, and the order was cancelled in between", [placed(D0), delivered(D1), reversal(D2), cancelled(D3)], delivered(D4, "e"), {"deliveries 11-01": 1}, ["delivered_after_cancellation e"]),
    Case(DELIVERED, "dated earlier than a cancellation that was in effect", [placed(D0), cancelled(D2)], delivered(D1), {"deliveries 10-01": 1, "orders 09-30": 1, "cancellations 10-02": -1}, ["cancelled_while_delivered c"]),
    Case(DELIVERED_AGAIN, "the same car", [placed(D0), delivered(D1)], delivered(D2, "e"), NOTHING, ["delivered_twice e"]),
    Case(DELIVERED_AGAIN, "another car", [placed(D0), delivered(D1)], delivered(D2, "e", vin=OTHER_VIN), NOTHING, ["delivered_twice e"]),
    Case(DELIVERED_AGAIN, "dated earlier: the earlier one stands from now on", [placed(D0), delivered(D2)], delivered(D1, "e"), {"deliveries 10-01": 1, "deliveries 10-02": -1}, ["delivered_twice d"]),
    Case(DELIVERED_AGAIN, "without an order", [delivered(D1)], delivered(D2, "e"), NOTHING, ["delivered_without_order d", "delivered_twice e"]),
    Case(REVERSED, "on another day and month", [placed(D0), delivered(D1)], reversal(D4), {"deliveries 10-01": -1, "reversals 11-01": 1}, []),
    Case(REVERSED, "without an order", [delivered(D1)], reversal(D2), {"deliveries 10-01": -1, "reversals 10-02": 1}, ["delivered_without_order d"]),
    Case(REVERSED, "a second time, after the second delivery", [placed(D0), delivered(D1), reversal(D2), delivered(D3, "e")], reversal(D4, "s"), {"deliveries 10-31": -1, "reversals 11-01": 1}, []),
    Case(REVERSED, "between two deliveries, so that the second stands", [placed(D0), delivered(D1), delivered(D3, "e")], reversal(D2), {"deliveries 10-01": -1, "reversals 10-02": 1, "deliveries 10-31": 1}, []),
    Case(REVERSED, "before a cancellation, which is in effect then", [placed(D0), delivered(D1), cancelled(D3)], reversal(D2), {"deliveries 10-01": -1, "reversals 10-02": 1, "orders 09-30": -1, "cancellations 10-31": 1}, []),
    Case(REVERSED_IN_VAIN, "nothing known", [], reversal(D2), NOTHING, ["reversed_without_delivery r"]),
    Case(REVERSED_IN_VAIN, "only placed", [placed(D0)], reversal(D2), NOTHING, ["reversed_without_delivery r"]),
    Case(REVERSED_IN_VAIN, "dated before the delivery", [placed(D0), delivered(D2)], reversal(D1), NOTHING, ["reversed_without_delivery r"]),
    Case(REVERSED_IN_VAIN, "another VIN", [placed(D0), delivered(D1)], reversal(D2, vin=OTHER_VIN), NOTHING, ["reversed_other_vin r"]),
    Case(REVERSED_IN_VAIN, "twice", [placed(D0), delivered(D1), reversal(D2)], reversal(D3, "s"), NOTHING, ["reversed_without_delivery s"]),
    Case(REVERSED_IN_VAIN, "the VIN of a delivery that does not stand", [placed(D0), delivered(D1), delivered(D2, "e", vin=OTHER_VIN)], reversal(D3, vin=OTHER_VIN), NOTHING, ["delivered_twice e", "reversed_other_vin r"]),
    Case(VOID_UNKNOWN, "nothing known", [], void(D1, "x"), NOTHING, ["void_of_unknown_event v"]),
    Case(VOID_UNKNOWN, "another event is known", [placed(D0)], void(D1, "x"), NOTHING, ["void_of_unknown_event v"]),
    Case(VOID_UNKNOWN, "the id is known, of another source", [placed(D0)], void(D1, "p", voids=("/other", "p")), NOTHING, ["void_of_unknown_event v"]),
    Case(VOID_UNKNOWN, "then the event arrives: never sent, and cured", [void(D1, "p")], placed(D0), NOTHING, []),
    Case(VOID_UNKNOWN, "then the event arrives, dated after its void", [placed(D0), void(D1, "d")], delivered(D2), NOTHING, []),
    Case(VOIDED, "the order", [placed(D0)], void(D1, "p"), {"orders_placed 09-30": -1, "orders 09-30": -1}, []),
    Case(VOIDED, "the order, dated before it", [placed(D1)], void(D0, "p"), {"orders_placed 10-01": -1, "orders 10-01": -1}, []),
    Case(VOIDED, "the order of two: the second counts", [placed(D0), placed(D1, "q")], void(D2, "p"), {"orders_placed 09-30": -1, "orders 09-30": -1, "orders_placed 10-01": 1, "orders 10-01": 1}, []),
    Case(VOIDED, "the order under its cancellation", [placed(D0), cancelled(D1)], void(D2, "p"), {"orders_placed 09-30": -1, "cancellations 10-01": -1}, ["cancelled_without_order c"]),
    Case(VOIDED, "the order under its delivery", [placed(D0), delivered(D1)], void(D2, "p"), {"orders_placed 09-30": -1, "orders 09-30": -1}, ["delivered_without_order d"]),
    Case(VOIDED, "the cancellation", [placed(D0), cancelled(D1)], void(D2, "c"), {"orders 09-30": 1, "cancellations 10-01": -1}, []),
    Case(VOIDED, "the first of two cancellations: the second is in effect", [placed(D0), cancelled(D1), cancelled(D2, "e")], void(D3, "c"), {"cancellations 10-01": -1, "cancellations 10-02": 1}, []),
    Case(VOIDED, "the cancellation before a delivery", [placed(D0), cancelled(D1), delivered(D2)], void(D3, "c"), {"orders 09-30": 1, "cancellations 10-01": -1}, []),
    Case(VOIDED, "the delivery", [placed(D0), delivered(D1)], void(D2, "d"), {"deliveries 10-01": -1}, []),
    Case(VOIDED, "the delivery of two: the second stands", [placed(D0), delivered(D1), delivered(D2, "e")], void(D3, "d"), {"deliveries 10-01": -1, "deliveries 10-02": 1}, []),
    Case(VOIDED, "the delivery, so that the cancellation is in effect", [placed(D0), delivered(D1), cancelled(D2)], void(D3, "d"), {"deliveries 10-01": -1, "orders 09-30": -1, "cancellations 10-02": 1}, []),
    Case(VOIDED, "the delivery under its reversal", [placed(D0), delivered(D1), reversal(D2)], void(D3, "d"), {"reversals 10-02": -1}, ["reversed_without_delivery r"]),
    Case(VOIDED, "the reversal", [placed(D0), delivered(D1), reversal(D4)], void(D5, "r"), {"deliveries 10-01": 1, "reversals 11-01": -1}, []),
    Case(VOIDED, "the reversal between two deliveries", [placed(D0), delivered(D1), reversal(D2), delivered(D3, "e")], void(D4, "r"), {"deliveries 10-01": 1, "reversals 10-02": -1, "deliveries 10-31": -1}, ["delivered_twice e"]),
    Case(VOIDED, "the event that was a violation: cured", [placed(D0), delivered(D1), delivered(D2, "e")], void(D3, "e"), NOTHING, []),
    Case(VOIDED, "by two voids", [placed(D0), void(D1, "p")], void(D2, "p", "w"), NOTHING, []),
    Case(VOID_OF_VOID, "the event stays voided", [placed(D0), cancelled(D1), void(D2, "c")], void(D3, "v", "w"), NOTHING, ["void_of_void w"]),
    Case(VOID_OF_VOID, "itself", [placed(D0)], void(D1, "v"), NOTHING, ["void_of_void v"]),
    Case(VOID_OF_VOID, "each other", [placed(D0), void(D1, "w")], void(D2, "v", "w"), NOTHING, ["void_of_void v", "void_of_void w"]),
    Case(VOID_OF_VOID, "a void that voids an order, which stays voided", [placed(D0), void(D1, "p")], void(D2, "v", "w"), NOTHING, ["void_of_void w"]),
    Case(TOGETHER, "at one instant the smaller id is first", [placed(D1, "b")], placed(D1, "a"), NOTHING, ["second_placed b"]),
    Case(TOGETHER, "at one instant, cancelled with a smaller id than placed", [placed(D1, "b")], cancelled(D1, "a"), NOTHING, ["cancelled_without_order a"]),
    Case(TOGETHER, "at one instant, cancelled with a greater id than placed", [placed(D1, "b")], cancelled(D1, "c"), {"orders 10-01": -1, "cancellations 10-01": 1}, []),
    Case(TOGETHER, "at one instant, came back with a smaller id than delivered", [placed(D0), delivered(D1, "b")], reversal(D1, "a"), NOTHING, ["reversed_without_delivery a"]),
    Case(TOGETHER, "ids are compared by their characters, not as numbers", [placed(D1, "9")], cancelled(D1, "10"), NOTHING, ["cancelled_without_order 10"]),
    Case(TOGETHER, "at one instant and with one id the smaller source is first", [placed(D1, "x", source="/b")], cancelled(D1, "x", source="/c"), {"orders 10-01": -1, "cancellations 10-01": 1}, []),
    Case(TOGETHER, "one instant in two ways of writing", [placed("2024-10-01T00:00:00+08:00", "b")], cancelled("2024-09-30T16:00:00Z", "c"), {"orders 10-01": -1, "cancellations 10-01": 1}, []),
    Case(TOGETHER, "a date of the zone's, not of the offset that was written", [placed(D0)], delivered("2024-09-30T18:00:00-07:00"), {"deliveries 10-01": 1}, []),
]  # fmt: skip


def new_ledger(templates: Sequence[Sequence[str]] = ((),)) -> Ledger:
    return Ledger(BusinessZone("Asia/Shanghai"), Scopes(templates))


def step(ledger: Ledger, *facts: Fact) -> LedgerChanges:
    outcome = ledger.apply(facts)
    assert (outcome.applied, outcome.duplicates, outcome.refused) == (len(facts), 0, [])
    return ledger.drain()


def counted(ledger: Ledger) -> Counter[str]:
    """`metric month-day` → count; with the scope if there are more than `all`."""
    found: Counter[str] = Counter()
    for (metric, scope, day), count in ledger.counts().items():
        assert sum(count.by_hour) == count.count
        found[f"{metric} {day:%m-%d}" if scope == "all" else f"{metric} {scope} {day:%m-%d}"] = count.count
    return found


def wrong(ledger: Ledger) -> list[str]:
    return [f"{violation.kind} {violation.id}" for violation in ledger.violations().get("SO-1", ())]


def change(before: Counter[str], after: Counter[str]) -> dict[str, int]:
    return {key: after[key] - before[key] for key in before | after if after[key] != before[key]}


of_each_case = pytest.mark.parametrize("case", CASES, ids=[f"{case.situation}: {case.detail}" for case in CASES])


@of_each_case
def test_an_event_changes_exactly_this(case: Case) -> None:
    """Step by step; each step reports the changed counts, as absolute values."""
    ledger = new_ledger()
    for fact in case.before:
        step(ledger, fact)
    before = counted(ledger)
    told = step(ledger, case.event)
    assert change(before, counted(ledger)) == case.change
    assert wrong(ledger) == case.wrong
    # A day whose unit now comes from another event is reported as well, with an unchanged count.
    said = {f"{metric} {day:%m-%d}": count.count for (metric, _, day), count in read_counts(told.counts).items()}
    assert said.keys() >= case.change.keys()
    assert said == {key: before[key] + case.change.get(key, 0) for key in said}


@of_each_case
def test_the_same_comes_out_of_every_order_of_arrival_and_with_every_event_twice(case: Case) -> None:
    expected = Counter(new_ledger_of(case.before))
    expected.update(case.change)
    for arrival in permutations([*case.before, case.event]):
        at_once, one_by_one = new_ledger(), new_ledger()
        assert at_once.apply([*arrival, *arrival]).duplicates == len(arrival)
        at_once.drain()
        for fact in arrival:
            step(one_by_one, fact)
            assert one_by_one.apply([fact]).duplicates == 1
        for ledger in (at_once, one_by_one):
            assert +counted(ledger) == +expected
            assert wrong(ledger) == case.wrong


def new_ledger_of(facts: Sequence[Fact]) -> Counter[str]:
    ledger = new_ledger()
    step(ledger, *facts)
    return counted(ledger)


@of_each_case
def test_the_same_comes_out_when_a_restart_lies_between(case: Case) -> None:
    ledger, restored = new_ledger(), new_ledger()
    steps = [step(ledger, fact) for fact in case.before]
    restored.restore([entry for told in steps for entry in told.vocabulary], chunks_of(steps))
    before = counted(restored)
    assert +before == +counted(ledger)
    step(restored, case.event)
    assert change(before, counted(restored)) == case.change
    assert wrong(restored) == case.wrong


def test_every_situation_of_the_contract_has_cases_and_every_case_has_a_name_of_its_own() -> None:
    situations = {value for name, value in globals().items() if name.isupper() and isinstance(value, str)}
    situations -= {WEB, OTHER_VIN, D0, D1, D2, D3, D4, D5, BEFORE_MIDNIGHT, AFTER_MIDNIGHT}
    assert situations == {case.situation for case in CASES}
    assert len({(case.situation, case.detail) for case in CASES}) == len(CASES)


# Dimensions come from the event that counts -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "event", "expected"),
    [
        ([], placed(D0, dims=YU7), {"orders_placed model=YU7 09-30": 1, "orders model=YU7 09-30": 1}),
        ([placed(D0, dims=YU7)], cancelled(D1), {"orders model=YU7 09-30": -1, "cancellations model=YU7 10-01": 1}),
        ([placed(D0, dims=YU7)], delivered(D1, dims=SU7), {"deliveries model=SU7 10-01": 1, "deliveries model=SU7,region=CN-11 10-01": 1}),
        ([placed(D0, dims=SU7), delivered(D1, dims=YU7)], reversal(D2), {"deliveries model=YU7 10-01": -1, "reversals model=YU7 10-02": 1}),
        ([placed(D0, dims=YU7), placed(D1, "q", dims=SU7)], void(D2, "p"), {
            "orders_placed model=YU7 09-30": -1, "orders model=YU7 09-30": -1,
            "orders_placed model=SU7 10-01": 1, "orders model=SU7 10-01": 1,
            "orders_placed model=SU7,region=CN-11 10-01": 1, "orders model=SU7,region=CN-11 10-01": 1,
        }),
        ([placed(D0, dims=YU7), cancelled(D1)], placed(D0, "a", dims=("SU7", "", "", "")), {
            "orders_placed model=YU7 09-30": -1, "orders_placed model=SU7 09-30": 1,
            "cancellations model=YU7 10-01": -1, "cancellations model=SU7 10-01": 1,
        }),
    ],
    ids=[
        "a unit without a region has no row in that scope",
        "a cancellation has those of the order",
        "a delivery has its own",
        "a reversal has those of the delivery",
        "the second order's when the first is voided",
        "a cancellation follows its order when an earlier one appears",
    ],
)  # fmt: skip
def test_a_unit_counts_in_the_scopes_of_the_event_that_counts(
    before: list[Fact], event: Fact, expected: dict[str, int]
) -> None:
    ledger = new_ledger((["model"], ["model", "region"]))
    for fact in before:
        step(ledger, fact)
    was = counted(ledger)
    step(ledger, event)
    assert change(was, counted(ledger)) == expected


# Two orders ---------------------------------------------------------------------------------------------------------


def test_a_void_reaches_the_events_of_its_own_order_only() -> None:
    ledger = new_ledger()
    step(ledger, placed(D0), placed(D0, order="SO-2"))
    step(ledger, void(D1, "p", order="SO-2"))
    assert +counted(ledger) == Counter({"orders_placed 09-30": 1, "orders 09-30": 1})
    assert ledger.violations() == {}


def test_one_vin_under_two_orders_counts_for_each_order() -> None:
    ledger = new_ledger()
    step(ledger, placed(D0), placed(D0, order="SO-2"), delivered(D1), delivered(D2, order="SO-2"))
    step(ledger, reversal(D3, order="SO-2"))
    assert (counted(ledger)["deliveries 10-01"], counted(ledger)["deliveries 10-02"]) == (1, 0)
