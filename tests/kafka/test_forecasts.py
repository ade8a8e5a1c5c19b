"""Forecasts from the events to the topic, the command and the back-test, against a real Kafka with a real worker."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from schemas.codec import decode_forecast
from streams.kafka.clients import read_to_end
from streams.kafka.records import record_key
from tests.support.events import Published, event
from tests.support.installation import Installation, Worker
from tests.support.rules import rule
from tests.support.time_limits import deadline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

#: Forty-five days of ten deliveries each, the last of them 15 October; the hour from noon in Shanghai is just over.
DAYS, PER_DAY = 45, 10
LAST = datetime(2024, 10, 15, 4, 59, 59, tzinfo=UTC)
OCTOBER = "deliveries/model=SU7/month:2024-10/october"
SEPTEMBER = "deliveries/model=SU7/month:2024-09/september"
TARGET = """
[[target]]
target_id = "{name}"
metric = "deliveries"
scope = "model=SU7"
period = "month:2024-{month}"
value = {value}
"""
RULE = rule("at-risk", window="month", forecast_behind=0.02)
TARGETS = TARGET.format(name="october", month="10", value=305) + TARGET.format(name="september", month="09", value=250)
BEHIND = "deliveries/model=SU7/month:2024-10/forecast-behind:october:305"


@pytest.fixture
async def installation(bootstrap: str, tmp_path: Path) -> AsyncIterator[Installation]:
    async with Installation.created(bootstrap, tmp_path, partitions=2, clock="events") as made:
        yield made


def deliveries() -> Iterator[Published]:
    for number in range(DAYS * PER_DAY):
        day = LAST - timedelta(days=DAYS - 1 - number // PER_DAY)
        order, vin = f"SO-{number:05d}", f"LNBSU7A10R1{number:06d}"
        data = {"order_id": order, "vin": vin, "model": "SU7"}
        yield Published("deliveries", order.encode(), event("vehicle.delivered.v1", f"{order}-d", day, data), None)


def few(day: int) -> list[Published]:
    """One delivery on a day of October, at noon."""
    at, order, vin = datetime(2024, 10, day, 4, tzinfo=UTC), f"SO-few-{day}", f"LNBSU7A10R2{day:06d}"
    data = {"order_id": order, "vin": vin, "model": "SU7"}
    return [Published("deliveries", order.encode(), event("vehicle.delivered.v1", f"{order}-d", at, data), None)]


async def topic(installation: Installation) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    async for records in read_to_end(installation.settings, [(installation.catalogue.forecasts.name, 0)]):
        found += [(record_key(record).decode(), record.value and decode_forecast(record.value)) for record in records]
    return found


async def until(condition: Callable[[], Any], what: str, timeout_s: float = 40.0) -> None:
    give_up_s = deadline(timeout_s)
    while not await condition():
        assert time.monotonic() < give_up_s, what
        await asyncio.sleep(0.3)


async def run(installation: Installation, *arguments: str) -> str:
    done = await installation.run(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def test_forecasts_are_published_shown_kept_over_a_restart_withdrawn_and_warned_of(
    installation: Installation,
) -> None:
    installation.configure(TARGETS + RULE)
    await installation.publish(deliveries())
    worker = installation.worker("w1")
    await installation.applied()

    async def final() -> bool:
        latest = dict(await topic(installation))
        return OCTOBER in latest and SEPTEMBER in latest and latest[OCTOBER].count == 150

    await until(final, f"no final forecast: {await topic(installation)}\n{installation.tails()}")
    latest = dict(await topic(installation))
    october, september = latest[OCTOBER], latest[SEPTEMBER]
    assert (october.state, october.business_date, october.history_days) == ("ahead", "2024-10-15", DAYS - 1)
    assert october.projected_total.p50 == 310
    assert october.projected_date.p50 == "2024-10-31"
    assert october.quality == "fair"
    assert (september.state, september.reached_on, september.count) == ("reached", "2024-09-25", 300)

    shown = [json.loads(line) for line in (await run(installation, "forecasts", "--json")).splitlines()]
    assert [each["target_id"] for each in shown] == ["september", "october"]
    table = await run(installation, "forecasts", "--target", "october")
    assert "expected on 2024-10-31" in table
    assert "september" not in table

    said = [json.loads(line) for line in (await run(installation, "backtest", "--json")).splitlines()]
    assert {(line["line"], line["target_id"]) for line in said} >= {("said", None), ("score", "september")}
    assert all(line["actual"] == 300 for line in said if line["line"] == "said" and line["target_id"] == "september")

    before = await topic(installation)
    worker.kill(signal.SIGTERM)
    assert worker.wait() == 0
    restarted = installation.worker("w1")

    async def joined() -> bool:
        assert restarted.process.poll() is None, installation.tails()
        return (installation.folder / "w1.log").read_text().count("totals: open after") == 2

    await until(joined, installation.tails())
    await asyncio.sleep(5)
    assert await topic(installation) == before, "a restart publishes nothing that is no news"

    restarted.kill(signal.SIGTERM)
    assert restarted.wait() == 0
    installation.configure(TARGET.format(name="october", month="10", value=305) + RULE)
    worker = installation.worker("w1")

    async def withdrawn() -> bool:
        return (await topic(installation))[len(before) :] == [(SEPTEMBER, None)]

    await until(withdrawn, f"{(await topic(installation))[len(before) :]}\n{installation.tails()}")

    await check_early_warning(installation, worker)


async def check_early_warning(installation: Installation, worker: Worker) -> None:
    """Few deliveries: one alert, whichever worker writes, which is explained and verified."""

    async def alerts() -> list[dict[str, Any]]:
        return [each for each in await installation.milestones() if each["type"].startswith("alert.")]

    assert await alerts() == []
    for day in (16, 17, 18):
        await installation.publish(few(day))
    await until(alerts, f"no early warning: {await topic(installation)}\n{installation.tails()}")
    worker.kill()
    installation.worker("w2")
    await installation.publish(few(19))

    async def again() -> bool:
        return bool(dict(await topic(installation))[OCTOBER].business_date == "2024-10-19")

    await until(again, f"{await topic(installation)}\n{installation.tails()}")
    (alert,) = await alerts()
    assert (alert["id"], alert["type"]) == (f"{BEHIND}@1", "alert.raised.v1")
    assert alert["data"]["forecast"]["projected_total"]["p50"] < 305 * 0.98
    assert alert["data"]["forecast"]["business_date"] in {"2024-10-17", "2024-10-18"}

    explained = await run(installation, "explain", BEHIND)
    assert "expected to miss the target of 305 in October 2024 by" in explained
    assert "stands; raised by the rule at-risk" in explained
    assert "for 305" in explained.partition("by the forecast")[2].splitlines()[0]
    (verified,) = [json.loads(await run(installation, "verify", "--json"))]
    compared = {check["name"]: check["compared"] for check in verified["checks"]}
    assert compared["alerts"] == 1
    assert "ALERT: SU7 deliveries: expected to miss" in await run(installation, "list", "--kind", "forecast_behind")
    in_chinese = await run(installation, "list", "--kind", "forecast_behind", "--language", "zh")
    assert "预警\uff1aSU7 2024年10月交付量预计达不到目标 305 辆" in in_chinese
    assert "SU7 2024年10月交付量预计达不到目标 305 辆" in await run(installation, "explain", BEHIND, "--language", "zh")
