"""Two installations differ if they keep differing, not if one is a moment ahead of the other."""

from __future__ import annotations

from typing import Any

import pytest

from streams.operations import rebuild_diff as module
from streams.operations.rebuild_diff import PublishedState, compare, differences
from streams.settings import Settings


def row(count: int, **more: Any) -> dict[str, Any]:
    return {"count": count, "targets": [], **more}


def said(milestones: dict[str, str] | None = None, **rows: dict[str, Any]) -> PublishedState:
    return PublishedState({name: {"period": period} for name, period in (milestones or {}).items()}, rows)


@pytest.mark.parametrize(
    ("live", "other", "found"),
    [
        (said({"m": "day:1"}, r=row(1)), said({"m": "day:1"}, r=row(1)), set()),
        (said({"m": "day:1"}), said(), {("milestone", "m")}),
        (said(), said({"m": "day:1"}), {("milestone", "m")}),
        (said({"first": "day:1"}), said({"first": "day:2"}), {("milestone", "first")}),
        (said(r=row(1)), said(r=row(2)), {("row", "r")}),
        (said(r=row(1, by_hour=[1, 0])), said(r=row(1, by_hour=[0, 1])), {("row", "r")}),
        (said(r=row(1), s=row(1)), said(r=row(1)), {("row", "s")}),
    ],
)
def test_only_here_only_there_and_other_values_are_differences(
    live: PublishedState, other: PublishedState, found: set[tuple[str, str]]
) -> None:
    assert set(compare(live, other)) == found


async def looks(
    monkeypatch: pytest.MonkeyPatch, live: list[PublishedState], other: list[PublishedState]
) -> dict[str, tuple[Any, Any]]:
    """The differences if each look at the two installations sees the next of these, and then the last one again."""
    answers = {"": list(live), "x.": list(other)}

    async def read_state(settings: Settings, _consumer: object) -> PublishedState:
        left = answers[settings.output_prefix]
        return left.pop(0) if len(left) > 1 else left[0]

    async def exists(_settings: Settings, _consumer: object) -> None:
        """They do."""

    class Reader:
        async def __aenter__(self) -> None:
            """No cluster is needed."""

        async def __aexit__(self, *_: object) -> None:
            """Likewise."""

    monkeypatch.setattr(module, "read_state", read_state)
    monkeypatch.setattr(module, "_check_exists", exists)
    monkeypatch.setattr(module, "reader", lambda _settings: Reader())
    monkeypatch.setattr(module, "_PAUSE_S", 0)
    found = await differences(Settings(), Settings(output_prefix="x."))
    return {one.id: (one.live, one.other) for one in found}


async def test_a_row_that_the_other_one_has_a_moment_later_is_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await looks(monkeypatch, [said(r=row(5))], [said(r=row(4)), said(r=row(5))]) == {}


async def test_a_row_that_always_moves_on_both_sides_is_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    live = [said(r=row(count)) for count in range(0, 100, 2)]
    other = [said(r=row(count)) for count in range(1, 101, 2)]
    assert await looks(monkeypatch, live, other) == {}


async def test_what_stays_different_while_other_rows_move_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    live = [said({"m": "day:1"}, r=row(count), s=row(7)) for count in range(0, 100, 2)]
    other = [said(r=row(count), s=row(8)) for count in range(1, 101, 2)]
    assert await looks(monkeypatch, live, other) == {"m": ({"period": "day:1"}, None), "s": (row(7), row(8))}


async def test_a_row_that_lags_behind_for_ever_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    live = [said(r=row(count)) for count in range(100, 200, 2)]
    other = [said(r=row(count)) for count in range(0, 100, 2)]
    assert set(await looks(monkeypatch, live, other)) == {"r"}


async def test_only_what_differs_at_every_look_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    other = [said(r=row(4), s=row(0)), said(r=row(5), s=row(0)), said(r=row(4), s=row(0))]
    assert set(await looks(monkeypatch, [said(r=row(5), s=row(1))], other)) == {"s"}
