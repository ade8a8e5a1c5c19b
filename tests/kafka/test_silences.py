"""A factory falls silent: one alert, whichever worker writes, which ends when it delivers again, on a real Kafka."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from schemas.memory import JUDGED
from streams.kafka.clients import read_latest
from tests.support.events import Published, event
from tests.support.installation import Installation
from tests.support.rules import rule
from tests.support.time_limits import deadline

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

RULE = (
    'scopes = [["factory"], []]\n'
    + rule("silent", scope=("factory",), stalled_hours=3)
    + rule("publisher", scope=("source",), stalled_hours=3)
)
NAME = "deliveries/factory=BJ1/hours/stalled:3"
SOURCE = "deliveries/source=%2Ffactories%2FBJ1/hours/stalled:3"
#: A Wednesday without a holiday in the weeks before it.
TODAY = date(2024, 8, 28)
WEEKS = 3


def deliveries(day: date, hours: range, factories: tuple[str, ...] = ("BJ1", "BJ2")) -> Iterator[Published]:
    """One delivery of each factory at half past each hour in Shanghai."""
    for hour in hours:
        for factory in factories:
            at = datetime(day.year, day.month, day.day, hour, 30, tzinfo=UTC) - timedelta(hours=8)
            order = f"SO-{day.isoformat()}-{hour}-{factory}"
            vin = f"LNBSU7A1{factory[-1]}R{day.toordinal() % 1000:03d}{hour:04d}"
            data = {"order_id": order, "vin": vin, "model": "SU7", "factory": factory}
            delivery = event("vehicle.delivered.v1", f"{order}-d", at, data, source=f"/factories/{factory}")
            yield Published("deliveries", order.encode(), delivery, None)


async def until(condition: Callable[[], Awaitable[Any]], installation: Installation) -> None:
    give_up_s = deadline(40)
    while not await condition():
        assert time.monotonic() < give_up_s, f"{await installation.milestones()}\n{installation.tails()}"
        await asyncio.sleep(0.2)


async def test_a_factory_that_falls_silent_is_told_once_explained_and_verified(bootstrap: str, tmp_path: Path) -> None:
    async with Installation.created(bootstrap, tmp_path, config=RULE, partitions=2, clock="events") as installation:
        for weeks in range(WEEKS, 0, -1):
            await installation.publish(deliveries(TODAY - timedelta(weeks=weeks), range(8, 18)))
        await installation.publish(deliveries(TODAY, range(8, 9)))
        worker = installation.worker("w1")

        async def looked_at() -> bool:
            memory = await read_latest(installation.settings, [(installation.catalogue.totals.name, 0)])
            return sum(JUDGED.encode() in key for key in memory) == 2

        async def alerts(of: str = NAME) -> list[dict[str, Any]]:
            events = [each for each in await installation.milestones() if each["type"].startswith("alert.")]
            assert {each["subject"] for each in events} <= {NAME, SOURCE}
            return [each for each in events if each["subject"] == of]

        await until(looked_at, installation)
        assert await alerts() == await alerts(SOURCE) == []
        await installation.publish(deliveries(TODAY, range(9, 13), ("BJ2",)))
        await until(alerts, installation)
        await until(partial(alerts, SOURCE), installation)
        worker.kill()
        installation.worker("w2")
        await installation.publish(deliveries(TODAY, range(13, 14), ("BJ2",)))
        await installation.applied()
        (alert,) = await alerts()
        assert (alert["id"], alert["type"]) == (f"{NAME}@1", "alert.raised.v1")
        assert alert["data"]["silence"] == {
            "since": "2024-08-28T09:00:00+08:00",
            "until": "2024-08-28T12:00:00+08:00",
            "hours": 3,
            "usual": 3.0,
        }
        (silent,) = await alerts(SOURCE)
        assert silent["data"]["silence"] == alert["data"]["silence"]
        assert silent["data"]["scope"] == "source=%2Ffactories%2FBJ1"
        explained = await installation.run("explain", SOURCE)
        assert "0 hours have events" in explained.stdout, explained.stdout + explained.stderr
        assert "in the same hours one to 4 weeks before 3, 3, 3, 0" in explained.stdout
        explained = await installation.run("explain", NAME)
        assert "the rows have 0" in explained.stdout, explained.stdout + explained.stderr
        assert "in the same hours one to 4 weeks before 3, 3, 3, 0" in explained.stdout
        verified = json.loads((await installation.run("verify", "--json")).stdout)
        assert verified["ok"] is True, verified
        assert {check["name"]: check["compared"] for check in verified["checks"]}["alerts"] == 2

        looked = json.loads((await installation.run("doctor", "--json")).stdout)
        found = [each["detail"] for each in looked["findings"] if each["name"] == "alerts"]
        assert found[:2] == [
            "rule 'silent' watches 2 scopes for 3 silent hours",
            "rule 'publisher' watches 2 sources for 3 silent hours",
        ], looked
        assert any(each.startswith("stands: 2024-08-28  ALERT: BJ1 deliveries: nothing since") for each in found)

        await installation.publish(deliveries(TODAY, range(14, 15)))

        async def ended() -> bool:
            return len(await alerts()) > 1 and len(await alerts(SOURCE)) > 1

        await until(ended, installation)
        for of in (NAME, SOURCE):
            assert [(each["type"], each["data"].get("ended")) for each in await alerts(of)] == [
                ("alert.raised.v1", None),
                ("alert.ended.v1", "back"),
            ]
