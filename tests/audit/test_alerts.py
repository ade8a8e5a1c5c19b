"""Checking alerts reads only the forecasts and rows that an alert is about, and nothing if there are no alerts."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest

from schemas.codec import encode_milestone
from streams.audit import alerts
from streams.settings import Settings
from tests.contract.goldens import milestone_sample
from tests.support.outputs import Record, forecast, milestone, milestone_record, row, row_record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from schemas.outputs import MilestoneEvent

SETTINGS = Settings()
OTHER = milestone("deliveries/model=SU7/day:2024-10-07/exceeds:1000")


BEHIND, MOVED, SILENT = map(milestone_sample, ("forecast-behind", "forecast-moved", "stalled"))


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A cluster of three topics that records which of them are read."""
    topics: dict[str, list[Record]] = {
        SETTINGS.catalogue.forecasts.name: [
            Record(f"deliveries/model={model}/month:2024-10/su7-2024-10".encode(), json.dumps(made).encode())
            for model in ("SU7", "YU7")
            for made in [forecast("month:2024-10", scope=f"model={model}", target_id="su7-2024-10", value=20000)]
        ],
        SETTINGS.catalogue.milestones.name: [
            milestone_record(OTHER),
            *(Record(event.subject.encode(), encode_milestone(event)) for event in (BEHIND, MOVED, SILENT)),
        ],
        SETTINGS.catalogue.windows.name: [
            row_record(row("day:2024-10-17", 1, scope=scope)) for scope in ("factory=BJ1", "factory=BJ2", "model=SU7")
        ],
    }
    read: list[str] = []

    async def read_to_end(_: Settings, partitions: Iterable[tuple[str, int]], **__: Any) -> AsyncIterator[list[Record]]:
        for name, _number in partitions:
            read.append(name)
            yield topics[name]

    async def read_latest(
        _: Settings, partitions: Iterable[tuple[str, int]], *, wanted: Callable[[bytes], bool], **__: Any
    ) -> dict[bytes, bytes]:
        (name,) = [name for name, _ in partitions]
        read.append(name)
        return {each.key: each.value for each in topics[name] if each.key and each.value and wanted(each.key)}

    monkeypatch.setattr(alerts, "read_to_end", read_to_end)
    monkeypatch.setattr(alerts, "read_latest", read_latest)
    return read


def read(*about: MilestoneEvent) -> alerts.PublishedAlerts:
    return asyncio.run(alerts.read_alerts(SETTINGS, Mock(), [event.data for event in about]))


def test_nothing_is_read_where_no_alert_was_ever_raised(asked: list[str]) -> None:
    found = read()
    assert (asked, found.events, found.forecasts, found.rows) == ([], [], {}, {})


def test_of_an_alert_about_a_target_its_forecasts_are_read_and_all_alerts_about_it(asked: list[str]) -> None:
    found = read(BEHIND)
    assert asked == [SETTINGS.catalogue.forecasts.name, SETTINGS.catalogue.milestones.name]
    assert list(found.forecasts) == ["deliveries/model=SU7/month:2024-10/su7-2024-10"]
    assert found.events == [BEHIND, MOVED]


def test_of_a_silence_the_days_of_its_scope_are_read(asked: list[str]) -> None:
    found = read(SILENT)
    assert asked == [SETTINGS.catalogue.milestones.name, SETTINGS.catalogue.windows.name]
    assert list(found.rows) == [("deliveries", "factory=BJ1", "2024-10-17")]
    assert found.events == [SILENT]
