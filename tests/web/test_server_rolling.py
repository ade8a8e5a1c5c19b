"""Rolling windows on the pages, in both languages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from streams.settings_sections import RollingSettings
from streams.web.readmodel import Feed
from tests.support.outputs import Record, milestone, row
from tests.support.site import Site

if TYPE_CHECKING:
    from pathlib import Path

TODAY = "2024-10-10"
WINDOW = "rolling:7d:2024-10-10"
SPAN = {"start": "2024-10-04", "end": TODAY}


async def test_a_rolling_window_is_called_by_its_days_and_its_last_date(tmp_path: Path) -> None:
    kept = (RollingSettings(days=7, scopes=(("model",),)),)
    with Site(tmp_path, clock="events", rolling=kept) as site:
        site.at(f"{TODAY}T04:00:00.000Z")
        site.rows(row(WINDOW, 5123, **SPAN), row(f"day:{TODAY}", 700), row("year:2024", 90_000))
        event = milestone(f"deliveries/model=SU7/{WINDOW}/exceeds:5000", period=WINDOW, threshold=5000, **SPAN)  # type: ignore[arg-type] # dates
        site.read(Feed.MILESTONES, Record(event["subject"].encode(), _json(event)))
        for page in ("/windows?kind=rolling", "/?scope=model=SU7"):
            assert "7 days to Thu, 10 Oct 2024" in (await site.get(page)).text, page
            assert "截至 2024年10月10日周四 的 7 天" in (await site.get(f"{page}&lang=zh")).text, page
        assert "SU7 deliveries passed 5,000 in the 7 days to 10 Oct 2024" in (await site.get("/milestones")).text
        assert "SU7 截至2024年10月10日的7天交付量突破 5,000 辆" in (await site.get("/milestones?lang=zh")).text
        assert "Rolling windows" in (await site.get("/windows")).text
        found = (await site.get(f"/api/v1/windows?period={WINDOW[:10]}")).json()
        assert [each["period"] for each in found["rows"]] == [WINDOW]


def _json(event: object) -> bytes:
    return json.dumps(event).encode()
