"""Scopes beyond the limits have no rows; their units count under `other` until a limit is raised."""

from __future__ import annotations

import json
import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import read_row
from streams.domain.scopes.overflow import ScopeBounds, counted_in, scope_of_others
from streams.settings_sections import LimitSettings
from tests.bench.totals import process, save, settings_of
from tests.engine.test_snapshots import World

if TYPE_CHECKING:
    from pathlib import Path

    from streams.settings import Settings

_KEPT_MODELS = 5


def limited(**limits: Any) -> Settings:
    return settings_of().model_copy(update={"limits": LimitSettings(beyond="other", **limits)})


def rows_of(world: World) -> dict[tuple[str, str, str], int]:
    """The current counts that are not zero."""
    found = {}
    for record in world.log.records_of(world.context.catalogue.windows.name):
        row = read_row(record.value or b"")
        found[row.metric, row.scope, row.period] = row.count
    return {key: count for key, count in found.items() if count and not key[2].startswith("holiday")}


def expected(world: World, with_rows: set[str]) -> dict[tuple[str, str, str], int]:
    """Naive sums: each unit in its scope if that has rows, else in the one of `other`."""
    sums: Counter[tuple[str, str, str]] = Counter()
    for (_, metric, scope, day), hours in world.units.cells.items():
        for period in (f"day:{day}", f"month:{day:%Y-%m}", f"year:{day:%Y}"):
            sums[metric, counted_in(scope, with_rows), period] += sum(hours)
    return dict(sums)


def models(rows: dict[tuple[str, str, str], int]) -> set[str]:
    return {scope for _, scope, _ in rows if scope.startswith("model=") and "," not in scope} - {"model=other"}


def types_of(world: World, scope: str) -> list[str]:
    """The types of all milestone events of a scope."""
    events = [
        json.loads(record.value or b"") for record in world.log.records_of(world.context.catalogue.milestones.name)
    ]
    return [event["type"] for event in events if event["data"]["scope"] == scope]


@pytest.mark.parametrize("limits", [{"values": _KEPT_MODELS}, {"scopes": 40}, {"rows": 2500}])
async def test_every_unit_counts_once_whatever_is_opened_again(
    tmp_path: Path, limits: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path, limited(**limits))
    world.count(40)
    tables = await world.opened()
    await process(tables, [])
    await save(tables)
    for orders in (30, 200, 3, 100):
        world.count(orders)
        await world.run(tables)
        await tables.close()
        tables = await world.opened()
        await process(tables, [])
        await save(tables)
    rows = rows_of(world)
    with_rows = {scope for _, scope, _ in rows}
    assert rows == expected(world, with_rows)
    assert {"model=other", "model=other,region=other"} <= with_rows
    if "values" in limits:
        assert len(models(rows)) == _KEPT_MODELS
    assert "beyond the limits and counted under other" in caplog.text
    written = len(list(world.log.records_of(world.context.catalogue.windows.name)))
    # A last takeover changes nothing.
    await process(await world.opened(), [])
    assert len(list(world.log.records_of(world.context.catalogue.windows.name))) == written


async def test_a_raised_limit_gives_rows_to_what_was_kept_out_and_no_news(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path, limited(values=_KEPT_MODELS))
    tables = await world.opened()
    for _ in range(3):
        world.count(300)
        await world.run(tables)
    before = rows_of(world)
    await tables.close()
    kept = models(before)
    with caplog.at_level(logging.INFO):
        tables = await world.opened(settings=limited(values=_KEPT_MODELS + 40))
    await process(tables, [])
    rows = rows_of(world)
    assert models(rows) > kept
    assert rows == expected(world, {scope for _, scope, _ in rows})
    let_in = models(rows) - kept
    assert {kind for scope in let_in for kind in types_of(world, scope)} <= {"milestone.recorded.v1"}
    # What is counted from now on is news again, and a lower limit removes no rows.
    await tables.close()
    tables = await world.opened(settings=limited(values=1))
    world.count(300)
    await world.run(tables)
    assert models(rows_of(world)) == models(rows)
    assert rows_of(world) == expected(world, {scope for _, scope, _ in rows_of(world)})


async def test_nothing_is_kept_out_any_more_once_the_limits_only_warn(tmp_path: Path) -> None:
    world = World(tmp_path, limited(values=1))
    world.count(60)
    tables = await world.opened()
    await process(tables, [])
    await tables.close()
    tables = await world.opened(settings=settings_of())
    await process(tables, [])
    found = {key: count for key, count in rows_of(world).items() if "other" not in key[1]}
    assert found == expected(world, {key[2] for key in world.units.cells})
    assert not any("other" in scope for _, scope, _ in rows_of(world))


def test_the_scope_of_the_others() -> None:
    assert scope_of_others("all") == "all"
    assert scope_of_others("model=SU7") == "model=other"
    assert scope_of_others("model=SU7,region=CN-11") == "model=other,region=other"


@given(st.lists(st.sampled_from(["all", "model=A", "model=B", "model=C", "model=D,region=X", "model=A,region=Y"])))
def test_who_was_let_in_stays_and_the_limits_hold(asked: list[str]) -> None:
    bounds = ScopeBounds({"values": 2, "scopes": 3, "rows": 100})
    said: dict[str, bool] = {}
    for scope in asked:
        has_room = bounds.has_room(scope, 0)
        if has_room is False:
            assert scope != "all"
        if said.setdefault(scope, has_room):
            assert has_room
    let_in = {scope for scope, has_room in said.items() if has_room} - {"all"}
    assert len(let_in) <= 3
    assert len({scope.split(",")[0] for scope in let_in}) <= 2
