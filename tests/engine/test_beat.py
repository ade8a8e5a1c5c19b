"""When runners commit under load."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.worker.task_runner import next_commit

INTERVAL_S = 0.045
BEATS = 1_728_000_000 / INTERVAL_S


@given(st.floats(1_700_000_000, 1_800_000_000))
def test_the_next_commit_is_at_least_half_an_interval_away_and_at_most_one_and_a_half(now_s: float) -> None:
    away_s = next_commit(now_s, INTERVAL_S) - now_s
    assert 0.5 * INTERVAL_S - 1e-5 <= away_s <= 1.5 * INTERVAL_S + 1e-5


@given(st.floats(-0.45, 0.45), st.floats(-0.45, 0.45))
def test_runners_that_began_around_one_beat_commit_next_on_the_same(first: float, second: float) -> None:
    beat_s = round(BEATS) * INTERVAL_S
    began = [beat_s + shift * INTERVAL_S for shift in (first, second)]
    due = [next_commit(now_s, INTERVAL_S) for now_s in began]
    assert due[0] == due[1] == pytest.approx(beat_s + INTERVAL_S, abs=1e-5)
