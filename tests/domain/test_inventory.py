"""The row of vehicles produced and not delivered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import checked_row, decode_row, encode_row
from schemas.facts import INVENTORY
from tests.domain.totals_world import World

if TYPE_CHECKING:
    from schemas.outputs import WindowRow

SCOPES = ("all", "model=SU7")
KEYS = [f"{INVENTORY}/{scope}/total" for scope in SCOPES]


def world() -> World:
    return World(windows=("day", "total"), keeps_inventory=True)


def stock(of: World) -> list[int | None]:
    return [of.rows[key].count if key in of.rows else None for key in KEYS]


def test_the_inventory_is_published_with_the_rows_it_comes_of() -> None:
    some = world()
    some.put("2024-12-02", 5, metric="produced")
    step = some.step("2024-12-02T19:00:00+08:00")
    assert [row.count for row in step.rows if row.metric == INVENTORY] == [5]
    some.put("2024-12-02", 2)
    some.put("2024-12-02", 1, scope="all")
    step = some.step("2024-12-02T20:00:00+08:00")
    assert {(row.metric, row.scope, row.period, row.count) for row in step.rows} == {
        ("deliveries", "model=SU7", "day:2024-12-02", 2),
        ("deliveries", "model=SU7", "total", 2),
        (INVENTORY, "model=SU7", "total", 3),
        ("deliveries", "all", "day:2024-12-02", 1),
        ("deliveries", "all", "total", 1),
    }, "of all nothing was produced, so its inventory is not known"
    assert some.step("2024-12-02T21:00:00+08:00").rows == []


def test_an_inventory_below_zero_is_said_and_read_as_it_is() -> None:
    some = world()
    some.put("2024-10-01", 1, metric="produced")
    some.put("2024-10-01", 3)
    some.step("2024-10-01T20:00:00+08:00")
    row = some.rows[KEYS[1]]
    assert row.count == -2
    assert decode_row(encode_row(row)) == row
    assert checked_row(encode_row(row)).count == -2
    units = row.model_copy(update={"metric": "deliveries"})
    for read in (decode_row, checked_row):
        try:
            read(encode_row(units))
        except ValueError:
            continue
        raise AssertionError("no other row is below zero")


def test_an_opening_balance_of_what_was_produced_is_in_the_inventory() -> None:
    some = world()
    some.put("2024-10-01", 1, metric="produced")
    some.put("2024-10-01", 3)
    some.step("2024-10-01T20:00:00+08:00")
    some.balance("2024-10-02T08:00:00+08:00", 10, metric="produced")
    some.step("2024-10-02T20:00:00+08:00")
    assert stock(some) == [None, 8]


def test_where_it_is_not_kept_there_is_no_such_row() -> None:
    some = World(windows=("day", "total"))
    some.put("2024-10-01", 5, metric="produced")
    some.step("2024-10-01T20:00:00+08:00")
    assert stock(some) == [None, None]


counts = st.tuples(
    st.sampled_from(["produced", "deliveries"]),
    st.sampled_from(SCOPES),
    st.sampled_from(["2024-10-01", "2024-10-02", "2024-11-30"]),
    st.integers(0, 1),
    st.integers(0, 9),
)


@given(st.lists(st.one_of(counts, st.sampled_from(["step", "parts", "restart"])), max_size=30))
def test_after_every_step_it_is_the_difference_whatever_came_and_whoever_took_over(happens: list[object]) -> None:
    some, now_us = world(), 1_733_000_000_000_000
    for one in [*happens, "step"]:
        now_us += 60_000_000
        if one == "restart":
            some.restart()
        elif one == "parts":
            some.parts(now_us, caught_up=True, most=1)
        elif one == "step":
            some.step(now_us)
        elif isinstance(one, tuple):
            metric, scope, day, shard, count = one
            some.put(day, count, metric=metric, scope=scope, shard=shard)
    sums = {(metric, scope): 0 for metric in ("produced", "deliveries") for scope in SCOPES}
    for (_, metric, scope, _), counted in some.counts.items():
        sums[metric, scope] += counted.count
    for scope, key in zip(SCOPES, KEYS, strict=True):
        row: WindowRow | None = some.rows.get(key)
        expected = sums["produced", scope] - sums["deliveries", scope]
        is_known = f"produced/{scope}/total" in some.rows
        assert (row.count if row is not None else 0) == (expected if is_known or row is not None else 0)
        assert row is not None or not is_known or not expected
