"""The worker's log warns of limits that are near."""

from __future__ import annotations

from datetime import date

from schemas.facts import DayCount, LatestUnit
from streams.context import Context
from streams.settings import Settings
from streams.settings_sections import LimitSettings
from streams.totals.factory import make_totals
from streams.totals.limit_warnings import LimitWatch


def test_a_limit_is_said_to_be_near_once_and_once_more_when_it_is_passed() -> None:
    settings = Settings(limits=LimitSettings(values=5, scopes=100, rows=1000))
    windows = make_totals(Context(settings)).windows
    watch = LimitWatch(settings.limits.bounds)
    unit = LatestUnit(1_728_000_000_000_000, "e", "/s", 1, 0, 7)

    def count(model: int) -> list[str]:
        hours = [1, *[0] * 23]
        windows.update(0, "deliveries", f"model=M{model}", date(2024, 10, 7), DayCount(1, 0, hours, unit))
        return [line.partition(";")[0] for line in watch.lines(windows)]

    assert watch.lines(windows) == []
    said = [count(model) for model in (0, 1, 2, 3, 3, 4, 5, 5)]
    near, passed = ["4 values of model are 80% of the limit of 5"], ["6 values of model are beyond the limit of 5"]
    assert said == [[], [], [], near, [], [], passed, []]
