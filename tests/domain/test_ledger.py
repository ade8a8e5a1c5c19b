from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from schemas.facts import NO_DIMS, Metric
from streams.domain.ledger import Ledger, LedgerChanges
from streams.domain.scopes.scopes import Scopes
from streams.domain.time.zone import BusinessZone
from tests.domain.facts import (
    OTHER_VIN,
    SU7,
    YU7,
    cancelled,
    chunks_of,
    delivered,
    placed,
    read_counts,
    reversal,
    us,
    void,
)

if TYPE_CHECKING:
    from schemas.facts import DayCount, Fact

T1, T2, T3, T4 = (f"2024-10-07T{hour}:00:00" for hour in ("10", "11", "12", "13"))


def ledger_in(zone: str = "Asia/Shanghai", **more: Any) -> Ledger:
    return Ledger(BusinessZone(zone), Scopes(), **more)


def step(ledger: Ledger, *facts: Fact) -> LedgerChanges:
    """One transaction's worth: the facts, all of them new, and the drain."""
    outcome = ledger.apply(facts)
    assert (outcome.applied, outcome.duplicates, outcome.refused) == (len(facts), 0, [])
    return ledger.drain()


def counts_of(changes: LedgerChanges, scope: str = "model=SU7") -> dict[tuple[str, str], int]:
    """(metric, date) → count of one scope."""
    return {
        (metric, str(day)): found.count
        for (metric, of, day), found in read_counts(changes.counts).items()
        if of == scope
    }


def day(ledger: Ledger, metric: Metric, on: str, scope: str = "all") -> DayCount:
    return ledger.counts()[metric, scope, date.fromisoformat(on)]


# What a step changes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "event", "changed"),
    [
        ([], placed(T1), {"orders_placed": 1, "orders": 1}),
        ([], delivered(T2), {"deliveries": 1}),
        ([], cancelled(T2), {}),
        ([], reversal(T2), {}),
        ([], void(T2, "p"), {}),
        ([placed(T1)], delivered(T2), {"deliveries": 1}),
        ([placed(T1)], cancelled(T2), {"orders": 0, "cancellations": 1}),
        ([placed(T1)], void(T2, "p"), {"orders_placed": 0, "orders": 0}),
        ([placed(T1)], placed(T2, "q"), {}),
        ([placed(T2)], delivered(T1), {"deliveries": 1}),
        ([placed(T2)], cancelled(T1), {}),
        ([placed(T1)], delivered(T1), {"deliveries": 1}),
        ([delivered(T2)], placed(T1), {"orders_placed": 1, "orders": 1}),
        ([delivered(T2)], placed(T3), {"orders_placed": 1, "orders": 1}),
        ([cancelled(T2)], placed(T1), {"orders_placed": 1, "cancellations": 1}),
        ([cancelled(T1)], placed(T1), {"orders_placed": 1, "orders": 1}),
        ([placed(T1, "a")], cancelled(T1), {"orders": 0, "cancellations": 1}),
        ([placed(T1), delivered(T2)], reversal(T3), {"deliveries": 0, "reversals": 1}),
        ([placed(T1), delivered(T2)], reversal(T3, vin=OTHER_VIN), {}),
        ([placed(T1), delivered(T2), reversal(T3)], delivered(T4, "e"), {"deliveries": 1}),
        ([placed(T1), delivered(T2), cancelled(T3)], void(T4, "d"), {"orders": 0, "cancellations": 1, "deliveries": 0}),
        ([void(T2, "p")], placed(T1), {}),
    ],
)
@pytest.mark.parametrize("one_step", [False, True])
def test_an_event_changes_these_counts_of_its_day(
    before: list[Fact], event: Fact, changed: dict[Metric, int], *, one_step: bool
) -> None:
    ledger = ledger_in()
    if one_step:
        step(ledger, *before, event)
        # Units that came and went within the step do not show; those from before the event do.
        found = {metric: found.count for (metric, scope, _), found in ledger.counts().items() if scope == "all"}
        assert {metric: found.get(metric, 0) for metric in changed} == changed
        assert 0 not in found.values()
    else:
        for fact in before:
            step(ledger, fact)
        changes = step(ledger, event)
        assert counts_of(changes) == {(metric, "2024-10-07"): count for metric, count in changed.items()}
        assert counts_of(changes, "all") == counts_of(changes)


def test_a_unit_without_a_dimension_of_a_scope_counts_in_the_others_only() -> None:
    ledger = Ledger(BusinessZone("Asia/Shanghai"), Scopes([["region"], []]))
    changes = step(ledger, delivered(T1, dims=YU7), delivered(T1, order="SO-2"))
    assert {scope: found.count for (_, scope, _), found in read_counts(changes.counts).items()} == {
        "all": 2,
        "region=CN-11": 1,
    }


def test_a_step_tells_absolute_counts_of_touched_days_metric_and_scope_by_first_appearance_and_by_date() -> None:
    ledger = ledger_in()
    step(ledger, placed(T1), placed("2024-10-08T10:00:00", order="SO-2"))
    changes = step(ledger, delivered(T3, order="SO-3", dims=YU7), placed("2024-10-08T10:00:00", order="SO-3"))
    on = (date(2024, 10, 7), date(2024, 10, 8))
    assert [(key, found.count) for key, found in read_counts(changes.counts).items()] == [
        (("orders_placed", "model=SU7", on[1]), 2),
        (("orders_placed", "all", on[1]), 2),
        (("orders", "model=SU7", on[1]), 2),
        (("orders", "all", on[1]), 2),
        (("deliveries", "model=YU7", on[0]), 1),
        (("deliveries", "all", on[0]), 1),
    ]


def test_a_step_without_facts_changes_nothing() -> None:
    ledger = ledger_in()
    step(ledger, placed(T1))
    changes = ledger.drain()
    assert (changes.orders, changes.vocabulary, changes.counts, changes.violations) == ({}, [], {}, {})


def test_a_step_tells_the_whole_blob_of_each_touched_order_and_only_new_words() -> None:
    ledger = ledger_in()
    first = step(ledger, placed(T1), placed(T1, order="SO-2"))
    second = step(ledger, delivered(T2, source="/factories/bj1"))
    assert list(first.orders) == ["SO-1", "SO-2"]
    assert second.orders == {"SO-1": ledger.blob("SO-1")}
    assert second.orders["SO-1"].startswith(first.orders["SO-1"])
    assert [entry.word for entry in first.vocabulary] == ["/sales/web", SU7]
    assert [entry.word for entry in second.vocabulary] == ["/factories/bj1"]


def test_what_a_step_told_is_left_alone_by_later_steps() -> None:
    ledger = ledger_in()
    told = read_counts(step(ledger, delivered(T1)).counts)["deliveries", "all", date(2024, 10, 7)]
    step(ledger, delivered(T1, order="SO-2"))
    assert (told.count, sum(told.by_hour)) == (1, 1)


# Days and hours ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("instant", "on", "hour"),
    [
        ("2024-10-07T23:59:59.999999", "2024-10-07", 23),
        ("2024-10-08T00:00:00", "2024-10-08", 0),
        ("2024-09-30T23:59:59", "2024-09-30", 23),
        ("2024-10-01T00:00:00", "2024-10-01", 0),
        ("2024-02-28T16:00:00Z", "2024-02-29", 0),
        ("2024-02-29T16:00:00Z", "2024-03-01", 0),
        ("2024-12-31T16:00:00Z", "2025-01-01", 0),
    ],
)
def test_a_unit_counts_on_the_business_date_and_hour_of_its_event(instant: str, on: str, hour: int) -> None:
    ledger = ledger_in()
    step(ledger, delivered(instant))
    assert list(ledger.counts()) == [("deliveries", scope, date.fromisoformat(on)) for scope in ("model=SU7", "all")]
    assert day(ledger, "deliveries", on).by_hour == [int(number == hour) for number in range(24)]


def test_an_order_leaves_the_day_it_was_placed_on_and_not_the_day_of_its_cancellation() -> None:
    ledger = ledger_in()
    step(ledger, placed("2024-09-30T23:59:00"))
    changes = step(ledger, cancelled("2024-10-01T00:01:00"))
    assert counts_of(changes) == {("orders", "2024-09-30"): 0, ("cancellations", "2024-10-01"): 1}


def test_a_repeated_hour_adds_up_in_a_day_of_25_hours() -> None:
    ledger = ledger_in("America/New_York")
    start = us("2024-11-03T04:00:00Z")
    step(ledger, *(delivered(start + n * 3_600_000_000, order=f"SO-{n}") for n in range(25)))
    found = day(ledger, "deliveries", "2024-11-03")
    assert (found.count, found.by_hour) == (25, [1, 2] + [1] * 22)


def test_a_skipped_hour_stays_empty_in_a_day_of_23_hours() -> None:
    ledger = ledger_in("America/New_York")
    start = us("2024-03-10T05:00:00Z")
    step(ledger, *(delivered(start + n * 3_600_000_000, order=f"SO-{n}") for n in range(23)))
    found = day(ledger, "deliveries", "2024-03-10")
    assert (found.count, found.by_hour) == (23, [1, 1, 0] + [1] * 21)


def test_a_change_of_the_clocks_within_a_quarter_of_an_hour_is_counted_to_the_minute() -> None:
    ledger = ledger_in("America/St_Johns")
    start = us("2010-11-07T02:30:00Z")  # midnight; at 00:01 the clocks go back to 23:01
    step(ledger, *(delivered(start + n * 60_000_000, order=f"SO-{n}") for n in range(3)))
    assert day(ledger, "deliveries", "2010-11-07").by_hour[0] == 1
    assert day(ledger, "deliveries", "2010-11-06").by_hour[23] == 2


# Backfill and the latest unit --------------------------------------------------------------------------------------


def test_backfill_is_a_matter_of_the_event_that_brought_the_unit() -> None:
    ledger = ledger_in()
    step(ledger, placed(T1, backfill=True), placed(T1, order="SO-2"))
    step(ledger, cancelled(T2), delivered(T2, order="SO-2", backfill=True))
    found = {metric: (of.count, of.backfilled) for (metric, scope, _), of in ledger.counts().items() if scope == "all"}
    assert found == {"orders_placed": (2, 1), "orders": (1, 0), "cancellations": (1, 0), "deliveries": (1, 1)}
    assert ledger.backfilled == 2


def latest_id(changes: LedgerChanges, metric: Metric = "deliveries") -> str | None:
    latest = read_counts(changes.counts)[metric, "all", date(2024, 10, 7)].latest
    return latest.id if latest is not None else None


def test_the_latest_unit_is_the_greatest_by_time_and_id_of_the_step_with_its_coordinates() -> None:
    ledger = ledger_in()
    changes = step(
        ledger,
        delivered(T1, "a", order="SO-1", offset=3),
        delivered(T3, "b", order="SO-2", offset=4),
        delivered(T3, "c", order="SO-3", offset=5),
        delivered(T3, "a", order="SO-4", offset=6),
        delivered(T2, "z", order="SO-5", offset=7),
    )
    latest = read_counts(changes.counts)["deliveries", "all", date(2024, 10, 7)].latest
    assert latest is not None
    assert (latest.time_us, latest.id, latest.source) == (us(T3), "c", "/sales/web")
    assert (latest.topic, latest.partition, latest.offset) == (1, 1, 5)


def test_the_latest_unit_is_that_of_the_last_step_that_added_any() -> None:
    ledger = ledger_in()
    assert latest_id(step(ledger, delivered(T3, "late"))) == "late"
    assert latest_id(step(ledger, delivered(T1, "early", order="SO-2"))) == "early"
    assert latest_id(step(ledger, reversal(T4))) == "early"


def test_a_unit_that_comes_and_goes_within_a_step_is_not_its_latest() -> None:
    ledger = ledger_in()
    step(ledger, delivered(T1, "a", order="SO-1"))
    gone = (delivered(T3, "b", order="SO-2"), void(T4, "b", order="SO-2"))
    assert latest_id(step(ledger, *gone, delivered(T2, "c", order="SO-3"))) == "c"


def test_a_unit_that_stays_through_a_new_judgement_is_not_added_again() -> None:
    ledger = ledger_in()
    step(ledger, placed(T1), delivered(T2))
    changes = step(ledger, delivered(T3, "e"), reversal(T4, vin=OTHER_VIN))
    assert changes.counts == {}


# Violations --------------------------------------------------------------------------------------------------------


def test_a_violation_is_told_when_it_comes_and_when_it_is_cured_and_not_in_between() -> None:
    ledger = ledger_in()
    assert step(ledger, delivered(T2)).violations == {"SO-1": (("delivered_without_order", "/sales/web", "d"),)}
    assert step(ledger, reversal(T3)).violations == {}
    assert list(ledger.violations()) == ["SO-1"]
    assert step(ledger, placed(T1)).violations == {"SO-1": None}
    assert ledger.violations() == {}


def test_a_delivery_before_its_order_cures_the_violation_also_as_the_only_two_events() -> None:
    ledger = ledger_in()
    step(ledger, delivered(T2))
    assert step(ledger, placed(T1)).violations == {"SO-1": None}


@pytest.mark.parametrize(
    "arrival", [(delivered(T2), placed(T1)), (void(T3, "p"), placed(T1)), (cancelled(T2), placed(T1))]
)
def test_a_violation_that_is_cured_within_the_step_is_never_told(arrival: tuple[Fact, ...]) -> None:
    assert step(ledger_in(), *arrival).violations == {}


# Duplicates, conflicts, limits -------------------------------------------------------------------------------------


def test_the_same_event_again_is_a_duplicate_within_the_batch_and_for_ever() -> None:
    ledger = ledger_in()
    outcome = ledger.apply([placed(T1), placed(T1, offset=9, backfill=True)])
    assert (outcome.applied, outcome.duplicates, outcome.refused) == (1, 1, [])
    ledger.apply([delivered(T2)])
    ledger.drain()
    outcome = ledger.apply([delivered(T2, offset=10), placed(T1, offset=11)])
    assert (outcome.applied, outcome.duplicates, outcome.refused) == (0, 2, [])
    assert ledger.drain().orders == {}
    assert (ledger.backfilled, day(ledger, "orders", "2024-10-07").count) == (0, 1)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (placed(T2, extra="channel=app"), "another time:"),
        (placed(T1, dims=YU7, extra="channel=app"), "another model, variant, factory or region:"),
        (placed(T1, extra="channel=shop"), "another channel or reason:"),
        (placed(T1), "another channel or reason:"),
        (cancelled(T1, "p", extra="channel=app", dims=SU7), "another type:"),
        (void(T1, "x", "p", extra="channel=app", dims=SU7), "another type and voids:"),
        (delivered(T1, "p", extra="channel=app"), "another type and vin:"),
    ],
)
def test_another_content_under_the_same_identity_is_refused_and_tells_what_differs(other: Fact, named: str) -> None:
    ledger = ledger_in()
    step(ledger, placed(T1, extra="channel=app", offset=17))
    before = (ledger.blob("SO-1"), ledger.state_bytes, ledger.clock_us, ledger.counts())
    outcome = ledger.apply([placed(T1, order="SO-2"), other])
    ((index, reason, message),) = outcome.refused
    assert (outcome.applied, outcome.duplicates, index, reason) == (1, 0, 1, "id_conflict")
    assert named in message
    assert message.endswith("the one read from orders, partition 1, offset 17")
    assert "\n" not in message
    assert ledger.blob("SO-1") == before[0]
    assert list(ledger.drain().orders) == ["SO-2"]


def test_one_id_of_two_sources_or_two_orders_is_no_conflict() -> None:
    ledger = ledger_in()
    step(ledger, placed(T1, "x"), delivered(T2, "x", source="/factories/bj1"), placed(T3, "x", order="SO-2"))
    assert len(ledger) == 2


def test_an_order_takes_as_many_events_as_the_limit_and_knows_duplicates_beyond() -> None:
    ledger = ledger_in(max_events_per_order=3)
    step(ledger, *(cancelled(T1, f"c{number}") for number in range(3)))
    outcome = ledger.apply([cancelled(T2, "c3"), cancelled(T1, "c2"), cancelled(T2, "c1"), cancelled(T2, order="SO-2")])
    assert (outcome.applied, outcome.duplicates) == (1, 1)
    assert [(index, reason) for index, reason, _ in outcome.refused] == [(0, "too_many_events"), (2, "id_conflict")]
    assert outcome.refused[0][2] == "the order has 3 events already, more are not taken"


def test_the_limit_holds_for_the_smallest_events_there_can_be() -> None:
    ledger = ledger_in(max_events_per_order=3)
    outcome = ledger.apply([cancelled(T1, letter, dims=NO_DIMS) for letter in "abcd"])
    assert (outcome.applied, len(outcome.refused)) == (3, 1)


# Clock, size, restore ----------------------------------------------------------------------------------------------


def test_the_clock_is_the_greatest_accepted_time_of_all_and_of_each_source() -> None:
    ledger = ledger_in()
    assert (ledger.clock_us, ledger.last_by_source) == (0, {})
    step(ledger, placed(T3), placed(T1, order="SO-2", source="/sales/shop"), placed(T2, order="SO-3"))
    ledger.apply([placed(T4)])
    assert ledger.clock_us == us(T3)
    assert ledger.last_by_source == {"/sales/web": us(T3), "/sales/shop": us(T1)}


def some_life(ledger: Ledger) -> list[LedgerChanges]:
    return [
        step(ledger, placed(T1), delivered(T2, order="SO-2", backfill=True), placed(T2, order="SO-3", dims=YU7)),
        step(ledger, delivered(T2), void(T3, "x", order="SO-3"), cancelled(T4, order="SO-3", source="/sales/shop")),
        step(ledger, reversal(T3, "r1"), placed("2024-10-01T00:00:00", order="SO-4"), void(T3, "p", order="SO-4")),
    ]


def test_a_restored_ledger_is_the_ledger_that_was_drained() -> None:
    ledger = ledger_in()
    steps = some_life(ledger)
    restored = ledger_in()
    restored.restore([entry for changes in reversed(steps) for entry in changes.vocabulary], chunks_of(steps))
    for name in ("clock_us", "last_by_source", "backfilled", "state_bytes"):
        assert getattr(restored, name) == getattr(ledger, name)
    assert {order: restored.blob(order) for order in restored.order_ids()} == {
        o: ledger.blob(o) for o in ledger.order_ids()
    }
    assert restored.violations() == ledger.violations()
    counted = {key: (of.count, of.backfilled, of.by_hour) for key, of in ledger.counts().items() if of.count}
    assert {key: (of.count, of.backfilled, of.by_hour) for key, of in restored.counts().items()} == counted
    latest = day(restored, "deliveries", "2024-10-07").latest
    assert latest is not None
    assert (latest.time_us, latest.id) == (us(T2), "d")
    changes = restored.drain()
    assert (changes.orders, changes.vocabulary, changes.counts, changes.violations) == ({}, [], {}, {})


def test_a_restored_ledger_goes_on_as_the_drained_one_would() -> None:
    ledger, restored = ledger_in(), ledger_in()
    steps = some_life(ledger)
    restored.restore([entry for changes in steps for entry in changes.vocabulary], chunks_of(steps))
    more = [placed("2024-10-07T09:00:00", order="SO-2"), delivered(T4, "e", source="/new"), reversal(T4, order="SO-2")]
    assert step(restored, *more) == step(ledger, *more)
    assert restored.apply([placed(T1, order="SO-3", dims=YU7)]).refused[0][1] == "id_conflict"
    assert restored.apply([placed(T2, order="SO-3", dims=YU7)]).duplicates == 1


def test_the_size_of_the_state_is_that_of_all_ids_and_blobs() -> None:
    ledger = ledger_in()
    some_life(ledger)
    assert ledger.state_bytes == sum(len(order) + len(ledger.blob(order)) for order in ledger.order_ids())


def test_only_an_empty_ledger_is_restored() -> None:
    ledger = ledger_in()
    step(ledger, placed(T1))
    with pytest.raises(ValueError, match="has orders"):
        ledger.restore([], [])


@pytest.mark.parametrize(
    "life",
    [
        (delivered("2024-10-07T09:00"),),
        (delivered("2024-10-07T09:00"), placed("2024-10-07T10:00")),
        (placed("2024-10-07T10:00"), delivered("2024-10-07T10:00")),
        (placed("2024-10-07T10:00", backfill=True), delivered("2024-10-07T11:00")),
        (delivered("2024-10-07T11:00", backfill=True), placed("2024-10-07T10:00")),
        (placed("2024-10-07T10:00"), placed("2024-10-07T11:00", "q")),
        (placed("2024-10-07T10:00"), cancelled("2024-10-07T11:00")),
        (placed("2024-10-07T10:00"), delivered("2024-10-07T11:00"), reversal("2024-10-07T12:00")),
    ],
)
def test_an_order_is_restored_with_what_it_counts_and_what_is_wrong_with_it(life: tuple[Fact, ...]) -> None:
    """Plain orders are counted without unpacking them; nothing else may be."""
    ledger = ledger_in()
    changes = step(ledger, *life)
    restored = ledger_in()
    restored.restore(changes.vocabulary, chunks_of([changes]))
    standing = {key: count for key, count in ledger.counts().items() if count.count}
    assert restored.counts() == standing
    assert restored.violations() == ledger.violations()
    assert (restored.backfilled, restored.clock_us) == (ledger.backfilled, ledger.clock_us)


def test_the_units_of_one_day_are_added_to_their_scopes_with_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.domain.counts.daycounts._PAUSE_SPREAD", 50)
    ledger = Ledger(BusinessZone("Asia/Shanghai"), Scopes([["model"], ["region"], ["model", "region"], []]))
    ledger.apply([placed(T1, f"p{n}", order=f"SO-{n}", dims=(f"M{n}", "", "", "CN-11")) for n in range(100)])
    pieces = ledger.draining()
    pauses = sum(1 for _ in iter(lambda: next(pieces, "done"), "done"))
    # Each counts in two metrics of four scopes.
    assert pauses >= 100 * 2 * 4 // 56
