"""When runners commit under load."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest.mock import AsyncMock, Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.context import Context
from streams.kafka.log import Partition
from streams.settings import Settings
from streams.worker.engine import Engine
from streams.worker.task_runner import next_commit

if TYPE_CHECKING:
    from collections.abc import Callable

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


@pytest.mark.parametrize(("ledgers", "few"), [(1, True), (4, True), (5, False)])
async def test_the_beat_is_half_as_long_while_few_records_come_to_a_worker_with_few_ledger_partitions(
    ledgers: int, few: bool
) -> None:
    context = Context(Settings(partitions=8, commit_interval_ms=60))
    engine = Engine(context, "w1", AsyncMock(), AsyncMock())
    beats = {}

    def runner(name: str, _make: object, _wanted: object, beat_s: Callable[[int, int], float], **_: object) -> Mock:
        beats[name] = beat_s
        return Mock(is_open=True, positions={}, release=AsyncMock())

    engine._runner = runner  # type: ignore[assignment]
    await engine.assigned({Partition(topic, number) for topic in context.ledger_topics for number in range(ledgers)})
    assert len(beats) == ledgers
    for beat_s in beats.values():
        assert [beat_s(records, 0) for records in (0, 100, 101)] == ([0.03, 0.03, 0.06] if few else [0.06] * 3)
        assert [beat_s(8_000, left) for left in (8_000, 8_001)] == [0.06, 0.3], "late anyway"
