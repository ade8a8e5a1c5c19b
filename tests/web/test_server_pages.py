"""What pages say of the numbers that were read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from streams.web.readmodel import Feed
from tests.support.outputs import Record, milestone, milestone_record, row
from tests.support.site import Site

if TYPE_CHECKING:
    from pathlib import Path

#: By the clock of the events, so that today is this day.
EVENTS = {"clock": "events"}
TODAY = "2024-10-07"


def source(at: str) -> Record:
    """An event source with its latest event then."""
    text = f'{{"source":"/shops","last_event_at":"{at}","updated_at":"{at}"}}'
    return Record(b"source/%2Fshops", text.encode(), 99)


@pytest.fixture
def rule() -> dict[str, Any]:
    return {"name": "daily-150", "metric": "deliveries", "window": "day", "scope": ["model"], "exceeds": 150}


async def test_a_target_of_the_day_comes_before_a_rule(tmp_path: Path, rule: dict[str, Any]) -> None:
    aims = [
        {"target_id": "plan", "value": 250, "reached": False},
        {"target_id": "least", "value": 100, "reached": True},
    ]
    with Site(tmp_path, rule=[rule], **EVENTS) as site:
        site.read(Feed.STATUS, source("2024-10-07T12:00:00.000Z"))
        site.rows(row(f"day:{TODAY}", 107, targets=aims), row("day:2024-10-06", 90))
        for path in ("/api/v1/now?scope=model=SU7", f"/api/v1/calendar/{TODAY}?scope=model=SU7"):
            answer = (await site.get(path)).json()
            shown = answer.get("today", answer)
            assert (shown["goal"]["value"], shown["goal"]["target_id"]) == (250, "plan"), path
            assert [aim["target_id"] for aim in shown["aims"]] == ["least", "plan"]
        for path in ("/?scope=model=SU7", f"/calendar/{TODAY}?scope=model=SU7"):
            page = (await site.get(path)).text
            assert "of 250" in page, path
            assert "of 150" not in page, path
        other = (await site.get("/api/v1/calendar/2024-10-06?scope=model=SU7")).json()
        assert (other["goal"]["rule"], other["goal"]["value"]) == ("daily-150", 150)


async def test_once_its_targets_are_reached_the_greatest_is_shown(tmp_path: Path) -> None:
    aims = [{"target_id": name, "value": value, "reached": True} for name, value in (("a", 90), ("b", 100))]
    with Site(tmp_path) as site:
        site.rows(row(f"day:{TODAY}", 107, targets=aims))
        answer = (await site.get(f"/api/v1/calendar/{TODAY}?scope=model=SU7")).json()
        assert answer["goal"]["target_id"] == "b"


@pytest.mark.parametrize(
    ("zone", "day", "said"),
    [
        ("Europe/Berlin", "2024-10-27", "25 hours"),
        ("Europe/Berlin", "2024-03-31", "23 hours"),
        ("Europe/Berlin", "2024-03-30", None),
        ("Asia/Shanghai", "2024-10-27", None),
    ],
)
async def test_a_day_on_which_clocks_change_says_so(tmp_path: Path, zone: str, day: str, said: str | None) -> None:
    with Site(tmp_path, timezone=zone) as site:
        site.rows(row(f"day:{day}", 7))
        page = (await site.get(f"/calendar/{day}?scope=model=SU7")).text
        assert said in page if said else " hours:" not in page


async def test_milestones_in_the_order_in_which_they_were_noticed_show_when_that_was(tmp_path: Path) -> None:
    late = milestone("late", detected_at="2024-10-09T10:00:00.000Z", achieved_at="2024-10-01T09:00:00+08:00")
    record = milestone("record", detected_at="2024-10-08T16:00:00.000Z", achieved_at=None)
    with Site(tmp_path) as site:
        site.read(Feed.MILESTONES, milestone_record(record), milestone_record(late, 1))
        site.rows()
        page = (await site.get("/milestones")).text
        assert page.index("noticed 2024-10-09 18:00") < page.index("noticed 2024-10-09 00:00")
        assert "achieved 2024-10-01 09:00:00" in page


async def test_in_berlin_the_calendar_has_no_chinese_holiday_and_with_a_setting_the_german_ones(tmp_path: Path) -> None:
    for setting, names in (("", []), ("DE", ["german-unity-day"])):
        with Site(tmp_path / setting, timezone="Europe/Berlin", holiday_calendar=setting) as site:
            site.rows(row(f"day:{TODAY}", 7))
            shown = (await site.get("/api/v1/calendar?year=2024")).json()
            found = [each["name"] for each in shown["holidays"] if each["start"].startswith("2024-10")]
            assert found == names
            sorts = {each["date"]: each["sort"] for each in shown["days"]}
            assert (sorts["2024-10-02"], sorts["2024-09-14"]) == ("working", "weekend")
