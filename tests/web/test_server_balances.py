"""The total of all time: its opening balance, and a target without an end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from streams.web.readmodel import Feed
from tests.support.outputs import Record, forecast, milestone, row
from tests.support.site import Site

if TYPE_CHECKING:
    from collections.abc import Iterator

TODAY = "2024-10-10"
TOTAL: dict[str, Any] = {"start": "1999-12-31", "end": "2101-01-01"}
CAR = "deliveries/model=SU7/total/every:100000:500000"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Thirty cars in ten days after a balance of 499,980; the milestone of the 500,000th has been raised."""
    with Site(tmp_path_factory.mktemp("site"), clock="events", windows=("day", "month", "total")) as made:
        made.at(f"{TODAY}T04:00:00.000Z")
        targets = [{"target_id": "next", "value": 600_000, "reached": False}]
        made.rows(
            row("total", 500_010, balance=499_980, targets=targets, **TOTAL),
            *(row(f"day:2024-10-{day:02d}", 3) for day in range(1, 11)),
        )
        aim = forecast(
            "total", target_id="next", value=600_000, count=500_010, state="ahead", pace_needed=None,
            projected_total={"p10": None, "p50": 601_000, "p90": None}, horizon="2025-10-10",
            projected_date={"p10": None, "p50": "2025-09-12", "p90": None}, **TOTAL,
        )  # fmt: skip
        made.read(Feed.FORECASTS, Record(b"deliveries/model=SU7/total/next", json.dumps(aim).encode()))
        event = milestone(
            CAR, kind="raised", period="total", threshold=500_000, operator="reaches", count=500_010, balance=499_980,
            position=500_000, **TOTAL,
        )  # fmt: skip
        event["data"]["kind"] = "multiple"
        made.read(Feed.MILESTONES, Record(CAR.encode(), json.dumps(event).encode()))
        yield made


async def test_a_row_and_a_milestone_say_what_is_an_opening_balance(site: Site) -> None:
    assert "of them 499,980 opening balance" in (await site.get("/windows?period=total")).text
    page = (await site.get(f"/milestones/{CAR.replace('/', '%2F')}")).text
    assert "Opening balance" in page
    assert "499,980" in page
    # The 20th of those counted here.
    assert "position=20" in page
    chinese = (await site.get("/windows?period=total&lang=zh")).text
    assert "其中期初数 499,980" in chinese


async def test_the_units_of_the_total_are_those_that_are_counted_here(site: Site) -> None:
    page = (await site.get("/units?metric=deliveries&scope=model=SU7&period=total")).text
    assert '<b class="big mid" id="count">30</b>' in page
    assert "The opening balance adds 499,980" in page


async def test_a_target_of_all_time_has_a_date_and_no_plan_and_its_course_begins_with_the_first_day(site: Site) -> None:
    view = (await site.get("/api/v1/targets")).json()
    (line,), (window,) = view["lines"], view["windows"]
    assert (line["ahead_units"], line["projected"], line["state"]) == (None, 601_000, "ahead")
    assert line["curve"] == [499_980 + 3 * day for day in range(1, 11)]
    assert (window["span"]["start"], len(window["span"]["days"])) == ("2024-10-01", 10)
    page = (await site.get("/targets")).text
    assert "Against the plan" not in page
    assert "Projected for" in page
    assert "12 Sep 2025" in page
