"""Many targets: those in force first, a summary, filters, a table with sparklines; a few fit on one page with details."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from streams.web.readmodel import Feed
from tests.support.outputs import Record, forecast, row
from tests.support.site import Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TODAY = "2024-10-10"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Targets of twelve months; October is in force, September was reached; one has a label."""
    labelled = {
        "target_id": "plan-10", "metric": "deliveries", "scope": "model=SU7", "period": "month:2024-10", "value": 300,
        "label": "October push",
    }  # fmt: skip
    with Site(tmp_path_factory.mktemp("site"), clock="events", target=[labelled]) as made:
        made.at(f"{TODAY}T04:00:00.000Z")
        months = [
            row(
                f"month:2024-{month:02d}",
                30,
                scope="model=SU7" if month != 3 else "model=YU7",
                targets=[{"target_id": f"plan-{month:02d}", "value": 300, "reached": month == 9}],
            )
            for month in range(1, 13)
        ]
        made.rows(*months, *(row(f"day:2024-10-{day:02d}", 3) for day in range(1, 11)))
        yield made


async def asked(site: Site, query: str = "") -> Any:
    return (await site.get(f"/api/v1/targets?{query}")).json()


async def test_what_is_in_force_comes_first_and_is_summed_up(site: Site) -> None:
    view = await asked(site)
    assert (view["total"], view["running"], view["on_plan"], view["windows"]) == (12, 1, 0, [])
    first = view["lines"][0]
    assert (first["target_id"], first["label"], first["in_force"]) == ("plan-10", "October push", True)
    assert first["curve"] == list(range(3, 31, 3))
    page = (await site.get("/targets")).text
    assert "0 of 1 target in force on plan" in page
    assert page.count('class="course"') == 1
    assert "October push" in page


async def test_the_label_of_a_target_event_is_shown(site: Site) -> None:
    aim = forecast("month:2024-11", target_id="plan-11", value=300, label="Singles day")
    site.read(Feed.FORECASTS, Record(b"deliveries/model=SU7/month:2024-11/plan-11", json.dumps(aim).encode()))
    view = await asked(site, "target=plan-11")
    assert (view["lines"][0]["label"], view["windows"][0]["span"]["aims"][0]["label"]) == ("Singles day", "Singles day")
    assert "Singles day" in (await site.get("/targets?target=plan-11")).text
    assert (await site.get("/search?q=singles+day")).headers["location"] == "/targets?target=plan-11"


@pytest.mark.parametrize(
    ("made_on", "end", "outdated"),
    [
        ("2024-10-16", "2024-10-31", False),
        ("2024-10-05", "2024-10-31", True),
        ("2024-10-01", "2024-09-30", False),
        ("2024-09-30", "2024-09-30", True),
    ],
)
async def test_a_forecast_that_is_older_than_the_count_is_shown_with_its_date(
    tmp_path: Path, made_on: str, end: str, outdated: bool
) -> None:
    period = f"month:{end[:7]}"
    with Site(tmp_path, clock="events") as site:
        site.at("2024-10-16T04:00:00Z")
        aims = [{"target_id": "plan", "value": 20_000, "reached": False}]
        site.rows(row(period, 16_240, targets=aims), row("day:2024-10-16", 3))
        made = forecast(
            period,
            state="upcoming",
            business_date=made_on,
            projected_total={"p10": 422, "p50": 9250, "p90": 18_184},
            quality="good",
        )
        site.read(Feed.FORECASTS, Record(f"deliveries/model=SU7/{period}/plan".encode(), json.dumps(made).encode()))
        (aim,) = (await asked(site, "target=plan"))["windows"][0]["span"]["aims"]
        assert aim["outdated"] is outdated
        pages = [(await site.get(f"/targets?target=plan&lang={lang}")).text for lang in ("en", "zh")]
        if end > "2024-10-16":
            pages += [(await site.get(f"/?lang={lang}")).text for lang in ("en", "zh")]
            assert ('"total": {' in pages[2]) is not outdated
        for page, lang in zip(pages, ("en", "zh", "en", "zh"), strict=False):
            date_said, state = (
                ("Forecast of \\d+ (Oct|Sep)", "Not begun") if lang == "en" else ("2024年\\d+月\\d+日的预测", "未开始")
            )
            badges = re.findall(r'<span class="badge[^>]*>([^<]+)</span>', page)
            assert any(re.match(date_said, each) for each in badges) is outdated
            assert (state in badges) is not outdated


async def test_targets_are_filtered_and_few_are_shown_whole(site: Site) -> None:
    for query, found in (
        ("scope=model=YU7", ["plan-03"]),
        ("state=reached", ["plan-09"]),
        ("period=month:2024-1", ["plan-10", "plan-12", "plan-11"]),
        ("target=plan-05", ["plan-05"]),
    ):
        view = await asked(site, query)
        assert [line["target_id"] for line in view["lines"]] == found, query
        assert len(view["windows"]) == len(found)
    assert "No target fits this choice." in (await site.get("/targets?target=none")).text
