"""On a live stream, the moment is found at which rows and day counts belong together."""

from __future__ import annotations

import asyncio
import itertools
from datetime import date
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from schemas.codec import encode_day_count, encode_marker
from schemas.facts import DayCount
from schemas.outputs import Books, Marker, WindowRow
from schemas.rows import RowKey
from streams.audit.published import Published, _Replay, _Sums, read_published
from streams.audit.sums import Business, add_days, windows_of
from streams.settings import Settings
from tests.support.outputs import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiokafka import AIOKafkaConsumer

BUSINESS = Business(Settings(partitions=2))
DAY = "2024-10-07"


def stream(*steps: tuple[int, int | None]) -> list[Record]:
    """Transactions: (shard, count of the day, or None for a marker alone)."""
    records: list[Record] = []
    for number, (shard, count) in enumerate(steps):
        if count is not None:
            value = encode_day_count(DayCount(count, 0, [count, *[0] * 23], None))
            records.append(Record(f"{shard}|deliveries|all|{DAY}".encode(), value, len(records)))
        marker = Marker(
            positions={"orders": (number, "")},
            books={"orders": Books(0, 0, 0, 0, 0)},
            fingerprint="",
            rebuilding=False,
            caught_up=True,
            caught_up_us=0,
            clock_us=0,
            sources={},
            backfilled=0,
            partitions=2,
        )
        records.append(Record(f"{shard}|applied".encode(), encode_marker(marker), len(records)))
    return records


def rows(count: int) -> dict[Any, WindowRow]:
    """Day, month, year and holiday with one count."""
    found = {}
    for period in BUSINESS.periods_of(date.fromisoformat(DAY)):
        row = {
            "metric": "deliveries",
            "scope": "all",
            "period": period.id,
            "start": period.start.isoformat(),
            "end": period.end.isoformat(),
            "timezone": "Asia/Shanghai",
            "count": count,
            "by_hour": [count, *[0] * 23] if period.id.startswith("day") else None,
            "targets": [],
            "status": "open",
            "restated": 0,
            "version": 1,
            "updated_at": "2024-10-07T00:00:00.000Z",
        }
        found[RowKey("deliveries", "all", period.id)] = WindowRow.model_validate(row)
    return found


def replayed(published: dict[Any, WindowRow], records: list[Record]) -> _Replay:
    replay = _Replay(_Sums(BUSINESS, published), 2)
    for record in records:
        replay.take(record)
    return replay


def total(replay: _Replay) -> int:
    """The month's count at the moment that was found."""
    found = windows_of(add_days(replay.shards().values()), BUSINESS)
    return found[RowKey("deliveries", "all", "month:2024-10")].count


LIVE = stream((0, 1), (1, 1), (0, 2), (1, 4), (0, None), (1, 5), (0, 7))


@pytest.mark.parametrize(("count", "after"), [(2, 9), (3, 7), (6, 4), (7, 2), (12, 0)])
def test_rows_that_lag_behind_are_compared_with_the_counts_that_they_are_sums_of(count: int, after: int) -> None:
    replay = replayed(rows(count), LIVE)
    assert replay.best is not None
    assert replay.best[0] == 0
    assert total(replay) == count
    assert replay.taken_since == after


def test_of_several_such_moments_the_last_is_taken() -> None:
    replay = replayed(rows(6), LIVE)
    assert replay.best is not None
    assert replay.best[2][0].positions["orders"][0] == 4  # the marker that moved on without a count


def test_a_row_that_is_wrong_differs_at_the_moment_at_which_the_others_do_not() -> None:
    falsified = rows(6)
    key = RowKey("deliveries", "all", "month:2024-10")
    falsified[key] = falsified[key].model_copy(update={"count": 7})
    replay = replayed(falsified, LIVE)
    assert replay.best is not None
    assert (replay.best[0], total(replay)) == (1, 6)


def test_counts_whose_marker_has_not_come_are_left_out() -> None:
    cut = LIVE[:-1]
    replay = replayed(rows(7), cut)
    assert replay.best is not None
    assert (replay.best[0], total(replay)) == (0, 7)


def test_there_is_no_moment_before_every_partition_has_reported() -> None:
    replay = replayed(rows(1), stream((0, 1)))
    assert replay.best is None
    assert "[1] have not reported" in replay.why_not()


def looks(
    monkeypatch: pytest.MonkeyPatch, sizes: Iterable[int], consistent: Callable[[Published], bool]
) -> tuple[Published, int]:
    """The snapshot of a stream with so many rows at each look, and the number of looks, at one second each."""
    seconds, seen = itertools.count(), iter(sizes)
    taken = 0

    async def read(*_parts: object, waiting: bool) -> tuple[dict[int, Published], set[int], str]:  # noqa: ARG001 - not read here
        nonlocal taken
        taken += 1
        return {0: Published({}, {}, {}, [], next(seen), 0)}, {0}, ""

    async def nothing(*_parts: object) -> None:
        pass

    monkeypatch.setattr("streams.audit.published._read", read)
    monkeypatch.setattr("streams.audit.published._check", nothing)
    monkeypatch.setattr("streams.audit.published._PAUSE_S", 0)
    monkeypatch.setattr("streams.audit.published.time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
    (found,) = asyncio.run(read_published(BUSINESS.settings, BUSINESS, cast("AIOKafkaConsumer", None), consistent))
    return found, taken


def test_what_differs_while_nothing_comes_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    found, taken = looks(monkeypatch, itertools.repeat(5), lambda _: False)
    assert (found.is_moving, taken) == (False, 6)


def test_what_differs_while_events_come_is_looked_at_again_until_it_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    found, taken = looks(monkeypatch, itertools.count(), lambda published: published.counts_offset == 20)
    assert (found.is_moving, taken) == (False, 21)


def test_a_stream_that_never_agrees_is_said_to_move_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    found, taken = looks(monkeypatch, itertools.count(), lambda _: False)
    assert found.is_moving
    assert 50 < taken < 70
