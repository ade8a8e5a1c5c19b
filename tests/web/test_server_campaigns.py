"""Campaigns on the pages, in both languages."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from streams.settings_sections import CampaignSettings
from streams.web.readmodel import Feed
from tests.support.outputs import Record, milestone, row
from tests.support.site import Site

if TYPE_CHECKING:
    from pathlib import Path

WINDOW = "campaign:su7-launch"
NOW = "2024-03-28T14:27:10.000Z"
SPAN: Final[dict[str, Any]] = {"start": "2024-03-28", "end": "2024-03-29"}
INSTANTS: Final[dict[str, Any]] = {"starts_at": "2024-03-28T22:00:00+08:00", "ends_at": "2024-03-29T22:00:00+08:00"}
CAMPAIGNS = (
    CampaignSettings(name="su7-launch", start=datetime.fromisoformat(INSTANTS["starts_at"]), hours=24),
    CampaignSettings(name="yu7-launch", start=datetime.fromisoformat("2025-06-26T22:00:00+08:00"), hours=24),
)
#: To its page, from the first one.
LINK: Final = '<a href="/campaigns/su7-launch?metric=orders_placed&amp;scope=model%3DSU7">'


async def test_a_campaign_has_a_page_with_its_minutes_and_its_milestones_say_after_how_long(tmp_path: Path) -> None:
    with Site(tmp_path, clock="events", campaign=CAMPAIGNS) as site:
        site.at(NOW)
        minutes = [2711, 0, 2502, *[1900] * 23, 50]
        of_campaign = SPAN | INSTANTS | {"metric": "orders_placed", "by_minute": minutes}
        site.rows(
            row(WINDOW, sum(minutes), **of_campaign),
            row("year:2024", 90_000, metric="orders_placed"),
            row("day:2024-03-28", 50_000, metric="orders_placed"),
        )
        event = milestone(
            f"orders_placed/model=SU7/{WINDOW}/reaches:48000",
            period=WINDOW,
            threshold=48_000,
            operator="reaches",
            **SPAN,
        )
        data = event["data"] | INSTANTS | {"metric": "orders_placed", "position": 48_000, "after_s": 1603.5}
        data |= {"achieved_at": "2024-03-28T22:26:43.500+08:00", "achieved_on": "2024-03-28"}
        site.read(Feed.MILESTONES, Record(event["subject"].encode(), json.dumps(event | {"data": data}).encode()))

        page = (await site.get("/campaigns/su7-launch?scope=model=SU7")).text
        assert '"kind": "minutes"' in page
        assert "27 minutes" in page
        assert "after 28 minutes" in page  # the 28th has begun
        assert "SU7 orders placed reached 48,000 in the su7-launch campaign after 26 minutes 43 seconds" in page
        assert page.count('<tr><th scope="row">') >= 26  # the minute without orders is left out
        chinese = (await site.get("/campaigns/su7-launch?scope=model=SU7&lang=zh")).text
        assert "于开售26分43秒后" in chinese
        assert "活动 su7-launch" in chinese
        first = (await site.get("/?scope=model=SU7")).text
        assert f"<dt>{LINK}Campaign su7-launch</a></dt>" in first
        assert "yu7-launch" not in first
        to_come = (await site.get("/campaigns/yu7-launch?scope=model=SU7")).text
        assert "Not begun" in to_come
        assert (await site.get("/campaigns/other?scope=model=SU7")).status_code == 404
        assert 'href="/campaigns/su7-launch?' in (await site.get("/windows?kind=campaign")).text
        found = (await site.get("/api/v1/campaigns/su7-launch?scope=model=SU7")).json()
        assert (found["elapsed"], found["minutes"], found["row"]["by_minute"]) == (28, 1440, minutes)
        assert found["others"] == ["yu7-launch"]


async def test_a_campaign_that_an_event_has_announced_is_known_by_its_rows(tmp_path: Path) -> None:
    with Site(tmp_path, clock="events") as site:
        site.at(NOW)
        of_campaign = SPAN | INSTANTS | {"metric": "orders_placed", "by_minute": [5, 7]}
        site.rows(
            row(WINDOW, 12, **of_campaign),
            row("year:2024", 90_000, metric="orders_placed"),
            row("day:2024-03-28", 50_000, metric="orders_placed"),
        )
        found = (await site.get("/api/v1/campaigns/su7-launch?scope=model=SU7")).json()
        assert (found["minutes"], found["row"]["count"], found["others"]) == (1440, 12, [])
        assert found["elapsed"] == 28
        site.rows(row(WINDOW, 14, **of_campaign | {"by_minute": [5, 7, *[0] * 60, 2]}))
        # The row is ahead of the clock.
        assert (await site.get("/api/v1/campaigns/su7-launch?scope=model=SU7")).json()["elapsed"] == 63
        assert f"<dt>{LINK}Campaign su7-launch</a></dt>" in (await site.get("/?scope=model=SU7")).text
        assert 'value="campaign"' in (await site.get("/windows")).text


async def test_a_first_page_about_deliveries_has_the_orders_of_a_campaign(tmp_path: Path) -> None:
    with Site(tmp_path, clock="events", campaign=CAMPAIGNS) as site:
        site.at(NOW)
        site.rows(
            row(WINDOW, 12, **SPAN, **INSTANTS, metric="orders_placed", by_minute=[5, 7]),
            row(WINDOW, 11, **SPAN, **INSTANTS, metric="orders", by_minute=[4, 7]),
            row("day:2024-03-28", 3),
        )
        assert (await site.get("/api/v1/now?scope=model=SU7")).json()["metric"] == "deliveries"
        first = (await site.get("/?scope=model=SU7")).text
        assert f"<dt>{LINK}Campaign su7-launch</a> · Orders placed</dt>" in first
        assert 'data-row="orders_placed|model=SU7|campaign:su7-launch">12<' in first
        assert "活动 su7-launch</a> · 新下订单</dt>" in (await site.get("/?scope=model=SU7&lang=zh")).text
        assert "<dt>Campaign su7-launch · Orders placed</dt>" in (await site.get("/?scope=model=SU7&kiosk=1")).text


async def test_a_campaign_is_known_before_its_first_unit_and_after_it_was_withdrawn(tmp_path: Path) -> None:
    with Site(tmp_path, clock="events") as site:
        site.at(NOW)
        site.rows(
            row(WINDOW, 12, **SPAN, **INSTANTS, metric="orders_placed", by_minute=[5, 7]),
            row("day:2024-03-28", 50_000, metric="orders_placed"),
        )
        settings = site.web.settings.model_copy(update={"campaign": CAMPAIGNS[1:]})
        # What the ledger says about its announcement.
        unknown = "/api/v1/units?metric=orders_placed&scope=model=SU7&period=campaign:nix"
        assert (await site.get(unknown)).status_code != 404, "it may be announced"
        site.web.orders._count_by(settings)
        refused = await site.get(unknown)
        assert refused.status_code == 404
        assert refused.json()["detail"] == "there is no campaign 'nix'; known are su7-launch, yu7-launch"
        for known in ("su7-launch", "yu7-launch"):
            assert (await site.get(unknown.replace("nix", known))).status_code != 404
        assert "Not begun" in (await site.get("/campaigns/yu7-launch?scope=model=SU7")).text
        withdrawn = (await site.get("/campaigns/su7-launch?scope=model=SU7")).text
        assert "No longer counted" in withdrawn
        assert "12" in withdrawn
        assert "不再计数" in (await site.get("/campaigns/su7-launch?scope=model=SU7&lang=zh")).text
        assert "Campaign su7-launch" not in (await site.get("/?scope=model=SU7")).text
        assert not (await site.get("/api/v1/campaigns/yu7-launch?scope=model=SU7")).json()["left_out"]
