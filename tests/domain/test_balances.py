"""Opening balances: part of `total`, in force by their time, silent at first and corrections later."""

from __future__ import annotations

from streams.domain.announced.balances import BalanceBook, BalanceChange
from streams.domain.announced.disposition import APPLIED, DUPLICATE
from streams.wording.headline import headline
from tests.domain.totals_world import METRIC, SCOPE, World, rule, target, told, us

NOON = "2024-10-07T12:00:00+08:00"
LATER = "2024-10-07T13:00:00+08:00"
WINDOWS = ("day", "month", "total")
EACH = rule("each", "total", every=100)


def world(*rules: object, windows: tuple[str, ...] = WINDOWS) -> World:
    return World(*(rules or (EACH,)), windows=windows)  # type: ignore[arg-type] # rules


def change(time: str, units: int, name: str, source: str = "/plan") -> BalanceChange:
    return BalanceChange(us(time), name, source, METRIC, SCOPE, units)


def test_of_several_events_the_latest_by_time_and_id_is_in_force_whatever_the_order_of_arrival() -> None:
    changes = [change(NOON, 5, "a"), change(LATER, 7, "b"), change(LATER, 8, "c"), change(LATER, 8, "c")]
    for order in (changes, changes[::-1]):
        book = BalanceBook()
        assert [book.take(each) for each in order].count(DUPLICATE) == 1
        assert book.in_force(us(NOON) - 1) == {}
        assert book.in_force(us(NOON)) == {(METRIC, SCOPE): 5}
        assert book.in_force(us(LATER)) == {(METRIC, SCOPE): 8}
        assert book.in_force(us(LATER)) is book.in_force(us(LATER) + 1)


def test_another_event_of_one_identity_is_refused_and_0_is_no_balance() -> None:
    book = BalanceBook()
    assert book.take(change(NOON, 5, "a")) == APPLIED
    assert book.take(change(NOON, 6, "a")) not in (APPLIED, DUPLICATE)
    assert book.take(change(NOON, 6, "a", "/other")) == APPLIED
    book.take(change(LATER, 0, "b"))
    assert book.in_force(us(LATER)) == {}


def test_a_balance_is_in_the_total_alone_and_its_row_says_how_much_of_it() -> None:
    known = world()
    known.put("2024-10-07", 3)
    known.balance(NOON, 40)
    known.step(NOON)
    assert (known.row("total").count, known.row("total").balance) == (43, 40)
    assert (known.row("month:2024-10").count, known.row("month:2024-10").balance) == (3, 0)
    known.balance(NOON, 7, scope="model=SU7,region=CN-11")  # not a scope of these settings
    known.step(LATER)
    assert {row.scope for row in known.rows.values()} == {SCOPE}


def test_without_the_window_a_balance_has_no_row() -> None:
    known = world(rule(exceeds=2), windows=("day",))
    known.balance(NOON, 40)
    assert known.step(NOON).rows == []


def test_what_the_first_balance_passes_is_on_record_and_what_units_pass_in_the_same_step_is_news() -> None:
    known = world()
    known.put("2024-10-06", 50)
    known.step("2024-10-06T12:00:00+08:00")
    known.balance(NOON, 140)
    known.put("2024-10-07", 12)
    step = known.step(NOON)
    assert told(step) == [("recorded", "total/every:100:100"), ("raised", "total/every:100:200")]
    within, beyond = step.milestones
    assert (within.data.position, within.data.balance) == (None, 140)  # no unit of ours
    assert (beyond.data.position, beyond.data.balance, beyond.data.count) == (200, 140, 202)
    assert headline(within).startswith("2024-10-07  on record: SU7 deliveries reached 100 in all: 202")


def test_a_correction_raises_what_it_passes_and_retracts_what_it_takes_away() -> None:
    known = world(EACH, rule("more", "total", exceeds=250))
    known.put("2024-10-07", 5)
    known.balance(NOON, 190)
    known.step(NOON)
    for units, happened in (
        (196, [("raised", "total/every:100:200")]),
        (96, [("retracted", "total/every:100:200")]),
        (0, [("retracted", "total/every:100:100")]),
        # None before: recorded, not news.
        (246, [("recorded", "total/exceeds:250"), ("reinstated", "total/every:100:100"), ("reinstated", "total/every:100:200")]),
    ):  # fmt: skip
        known.balance(LATER, units, name=f"c{len(known.balances)}")
        known.restart()
        assert told(known.step(LATER)) == happened, units


def test_a_correction_that_units_make_up_for_is_another_version_of_the_row() -> None:
    known = world()
    known.put("2024-10-07", 5)
    known.balance(NOON, 20)
    known.step(NOON)
    known.balance(LATER, 19)
    known.put("2024-10-07", 6)
    known.restart()
    known.step(LATER)
    assert (known.row("total").count, known.row("total").balance, known.row("total").version) == (25, 19, 2)


def test_history_and_a_balance_in_one_step_are_on_record() -> None:
    known = world()
    known.put("2024-10-07", 70, backfilled=70)
    known.balance(NOON, 140)
    assert told(known.step(NOON)) == [("recorded", "total/every:100:100"), ("recorded", "total/every:100:200")]


def test_targets_of_periods_are_none_of_its_business() -> None:
    known = World(rule(exceeds=2), targets=(target(10),), windows=WINDOWS)
    known.balance(NOON, 40)
    assert told(known.step(NOON)) == []
