from __future__ import annotations

import random
from datetime import date
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams.story.figures import Volume
from streams.story.volumes import per_day, spread_total

SHARES = st.lists(st.tuples(st.floats(0.01, 100), st.integers(0, 50)), min_size=1, max_size=40)


@given(shares=SHARES, part=st.floats(0, 1))
@example(shares=[(1.0, 1), (2.0, 0)], part=1.0)  # the part with a cap of 0 has the larger remainder
def test_a_total_is_spread_exactly_and_under_every_cap(shares: list[tuple[float, int]], part: float) -> None:
    weights, caps = [weight for weight, _ in shares], [cap for _, cap in shares]
    total = int(part * sum(caps))
    spread = spread_total(total, weights, caps)
    assert sum(spread) == total
    assert all(0 <= units <= cap for units, cap in zip(spread, caps, strict=True))


def test_shares_follow_the_weights() -> None:
    assert spread_total(100, [1, 2, 5, 2], [100] * 4) == [10, 20, 50, 20]


def test_what_a_cap_holds_back_goes_to_the_others() -> None:
    assert spread_total(100, [1, 1, 8], [100, 100, 50]) == [25, 25, 50]


def volume(**changes: Any) -> Volume:
    values: dict[str, Any] = {
        "months": {"2024-02": 290, "2024-03": 620},
        "fixed_days": {},
        "first": date(2024, 2, 1),
    }
    return Volume(**(values | changes))


def test_every_month_sums_up_to_its_total_with_its_29th_of_february() -> None:
    days = per_day(volume(), random.Random(1))
    assert sum(units for day, units in days.items() if day.month == 2) == 290
    assert sum(units for day, units in days.items() if day.month == 3) == 620
    assert days[date(2024, 2, 29)] > 0


def test_a_fixed_day_has_its_number_and_the_month_its_total() -> None:
    days = per_day(volume(fixed_days={date(2024, 2, 10): 100}), random.Random(1))
    assert days[date(2024, 2, 10)] == 100
    assert sum(units for day, units in days.items() if day.month == 2) == 290


def test_nothing_happens_before_the_first_date() -> None:
    days = per_day(volume(first=date(2024, 2, 20)), random.Random(1))
    assert min(days) == date(2024, 2, 20)
    assert sum(units for day, units in days.items() if day.month == 2) == 290


def test_the_cap_holds_before_its_date_and_only_there() -> None:
    days = per_day(volume(cap=11, cap_before=date(2024, 3, 1)), random.Random(1))
    assert max(units for day, units in days.items() if day.month == 2) <= 11
    assert max(units for day, units in days.items() if day.month == 3) > 11


@pytest.mark.parametrize(
    "changes", [{"fixed_days": {date(2024, 2, 10): 291}}, {"cap": 9, "cap_before": date(2024, 3, 1)}]
)
def test_a_month_that_cannot_reach_its_total_is_refused_by_name(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="2024-02"):
        per_day(volume(**changes), random.Random(1))
