"""What sets of scopes cost, and how close they are to the limits."""

from __future__ import annotations

import random

import pytest

from schemas.rows import RowKey
from streams.domain.scopes.limit_usage import LimitUse, ScopeCosts, limit_uses


def test_a_limit_is_near_from_eighty_per_cent_on() -> None:
    limits = {"values": 10, "scopes": 100, "rows": 1000}
    uses = limit_uses(limits, {"model": 8, "region": 7}, 101, 799)
    assert [use.what for use in uses if use.is_near] == ["model", "scopes"]
    assert uses[0].line() == "8 values of model are 80% of the limit of 10"
    assert uses[2].line() == "101 scopes are beyond the limit of 100"
    assert LimitUse("rows", 1000, 1000).line() == "1,000 rows are 100% of the limit of 1,000"


def test_costs_are_added_up_by_set_and_of_the_last_day() -> None:
    costs = ScopeCosts()
    for scope in ("all", "model=A", "model=B", "model=A,region=N"):
        for period in ("day:2024-10-06", "day:2024-10-07", "month:2024-10"):
            if (scope, period) != ("model=B", "day:2024-10-07"):
                costs.add(RowKey("deliveries", scope, period), 100, 3)
    sets = costs.sets()
    assert list(sets) == [(), ("model",), ("model", "region")]
    model = sets["model",]
    assert (model.scopes, model.rows, model.size_bytes, model.day_rows, model.day_bytes) == (2, 5, 500, 1, 100)
    assert (costs.last_day, costs.values(), costs.scopes(), costs.rows()) == (
        "day:2024-10-07",
        {"model": 2, "region": 1},
        4,
        11,
    )
    assert costs.missing(("model", "region")) == ["region"]


@pytest.mark.parametrize("units", [20, 400, 5000])
def test_a_set_that_is_not_counted_yet_is_estimated_near_to_what_it_would_be(units: int) -> None:
    dice, costs, pairs = random.Random(3), ScopeCosts(), set()
    days = [f"day:2024-10-{day:02d}" for day in range(1, 29)]
    for day in days:
        counts: dict[str, int] = {}
        for _ in range(units):
            model, region = int(dice.betavariate(1, 3) * 20), int(dice.betavariate(1, 2) * 50)
            pairs.add((day, model, region))
            for scope in (f"model=M{model}", f"region=R{region}"):
                counts[scope] = counts.get(scope, 0) + 1
        for scope, count in counts.items():
            costs.add(RowKey("deliveries", scope, day), 200, count)
    found = costs.estimate(("model", "region"))
    assert found.rows == pytest.approx(len(pairs), rel=0.1)
    assert found.size_bytes == pytest.approx(200 * found.rows, abs=200)
    assert found.day_rows == pytest.approx(len({pair for pair in pairs if pair[0] == days[-1]}), rel=0.25)
    assert found.scopes <= 20 * 50


def test_nothing_is_estimated_of_nothing() -> None:
    costs = ScopeCosts()
    assert (costs.sets(), costs.rows(), costs.last_day) == ({}, 0, "")
    assert costs.missing(("model", "region")) == ["model", "region"]
