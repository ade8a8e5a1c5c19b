"""A manufacturer that publishes only deliveries, on two topics: no topic of orders, no contradictions, all else as usual."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from schemas.outputs import EVENT_EFFECTS
from streams.audit.explaining import MilestoneExplanation, explain_milestone
from streams.kafka.admin import admin
from streams.kafka.clients import read_latest
from streams.listener import Listener
from streams.settings_sections import TopicSettings
from tests.support.events import FIRST, Published, event, lifecycle, production
from tests.support.installation import Installation
from tests.support.recount import Counts, recount
from tests.support.rules import rule
from tests.support.time_limits import deadline

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.kafka

CONFIG = 'families = ["deliveries"]\n' + rule("daily", exceeds=1)
ALL_TIME = 'windows = ["day", "month", "year", "total", "holiday"]'


def _with_inventory(counts: Counts) -> Counts:
    """These counts with the total of all time, and the inventory."""
    found: Counts = defaultdict(int, counts)
    for (metric, scope, period), count in counts.items():
        if period.startswith("day:"):
            found[metric, scope, "total"] += count
            if metric in {"produced", "deliveries"}:
                found["inventory", scope, "total"] += count if metric == "produced" else -count
    return {key: count for key, count in found.items() if count}


async def _check_told(installation: Installation, unproduced: str, order_id: str) -> None:
    """A delivery without production is reported with its order, its milestone and its vehicle."""
    told = await installation.run("order", order_id)
    assert "delivers the vehicle, although it was not produced before" in told.stdout, told.stdout + told.stderr
    assert "delivered_without_production" in told.stdout
    milestone = next(event["data"] for event in await installation.milestones() if event["data"].get("cause"))
    explained = await installation.run("explain", milestone["milestone_id"])
    assert "delivers the vehicle, although it was not produced before" in explained.stdout, explained.stdout
    again = await explain_milestone(installation.settings, milestone["milestone_id"], Listener(), from_sources=True)
    assert isinstance(again, MilestoneExplanation)
    effects = [record["effect"] for record in again.history]
    assert "delivers the vehicle, although it was not produced before" in effects, effects
    assert unproduced in await _not_produced_in_window(installation)
    told = await installation.run("order", unproduced)
    assert told.returncode == 0, told.stdout + told.stderr
    assert told.stdout.startswith(f"Vehicle {unproduced}: nothing of it has ever arrived")
    assert f"delivered under order {order_id}" in told.stdout


async def _not_produced_in_window(installation: Installation) -> set[str]:
    """The vehicles of which what is behind a row says that they were not produced, which are those published as such."""
    found = []
    for options in ((), ("--sources",)):
        explained = await installation.run("explain", "deliveries/all/total", "--json", *options)
        assert explained.returncode == 0, explained.stdout + explained.stderr
        found.append({change["vin"]: change["effect"] for change in json.loads(explained.stdout)["changes"]})
    by_ledger, by_sources = found
    assert by_ledger == by_sources
    said = {vin for vin, effect in by_ledger.items() if effect == EVENT_EFFECTS["delivered_without_production"]}
    published = await read_latest(installation.settings, installation.catalogue.violations.whole)
    wrong = {vin.decode() for vin, value in published.items() if b"delivered_without_production" in (value or b"")}
    assert said == wrong & by_ledger.keys()
    return said


async def _check_explained(installation: Installation) -> None:
    """What production has passed is explained by its vehicles: a milestone, and the units of a row."""
    built = next(event for event in await installation.milestones() if event["subject"].startswith("produced/"))
    explained = await installation.run("explain", built["subject"])
    assert explained.returncode == 0, explained.stdout + explained.stderr
    assert "vehicle.produced.v1" in explained.stdout
    assert re.search(r"^Vehicle [A-Z0-9]{17}: all its records", explained.stdout, re.MULTILINE), explained.stdout
    explained = await installation.run("explain", built["subject"], "--sources", "--json")
    assert json.loads(explained.stdout)["unit"]["type"] == "vehicle.produced.v1", explained.stderr
    row = [word for name in ("metric", "scope", "period") for word in (f"--{name}", built["data"][name])]
    between = await installation.run("explain", "/".join(row[1::2]))
    assert re.search(r"  vehicle [A-Z0-9]{17}  .*  produces the vehicle", between.stdout), (
        between.stdout + between.stderr
    )
    theirs = installation.folder / "built.csv"
    theirs.write_text("vin\nLNBSU7A10R1000999\n")
    compared = await installation.run("reconcile", *row, "--against", str(theirs), "--json")
    ours = json.loads(compared.stdout.splitlines()[-1])["only_ours"]
    assert {unit["type"] for unit in ours} == {"vehicle.produced.v1"}, compared.stdout + compared.stderr


async def _add_production(before: Installation, config: str) -> None:
    """A family that is judged separately can be added to a running installation."""
    settings = before.settings
    installation = Installation(
        settings.bootstrap_servers,
        settings.output_prefix,
        before.folder,
        families=("deliveries", "production"),
        topics=settings.topics,
        partitions=settings.partitions,
    )
    config = config.replace('["deliveries"]', f'["deliveries", "production"]\n{ALL_TIME}', 1)
    installation.configure(config + rule("built", "produced", exceeds=1))
    await installation.create()
    made = list(production(9, 40))
    await installation.publish(made)
    worker = installation.worker()
    try:
        await installation.applied()
        assert await installation.counts() == _with_inventory(recount(await installation.source_values()))
        verified = await installation.run("verify")
        assert verified.returncode == 0, verified.stdout + verified.stderr
        assert re.search(r"^ok +[1-9][0-9]* vehicles delivered are contradictions ", verified.stdout, re.MULTILINE), (
            verified.stdout
        )
        wrong = await installation.run("violations", "--kind", "delivered_without_production")
        assert wrong.stdout, "the vehicles delivered are others than those produced"
        found = re.match(r"(\w{17}) .* \(order (.+)\)\n", wrong.stdout)
        assert found is not None, wrong.stdout
        unproduced, order_id = found.groups()
        await _check_told(installation, unproduced, order_id)
        await _check_explained(installation)
        for option, value in (("--order", order_id), ("--vin", unproduced)):
            listed = await installation.run("violations", option, value)
            assert listed.stdout.startswith(f"{unproduced}  delivered_without_production  "), listed.stdout
        vin = json.loads(made[0].value)["data"]["vin"]
        told = await installation.run("order", "--vin", vin)
        assert told.stdout.startswith(f"Vehicle {vin}: "), told.stdout + told.stderr
        before_it = await installation.counts()
        voided = await installation.run("correct", "void", vin, "--event", "9-0-0", "--reason", "a test", "--yes")
        assert voided.returncode == 0, voided.stdout + voided.stderr
        await installation.applied()
        assert before_it != await installation.counts() == _with_inventory(recount(await installation.source_values()))
        late = event(
            "vehicle.produced.v1", "late", FIRST - timedelta(days=9), {"vin": unproduced, "model": "SU7"}, "/line"
        )
        await installation.publish([Published("production", unproduced.encode(), late, None)])
        give_up_s = deadline(20)
        parts = installation.catalogue.violations.whole
        while unproduced.encode() in await read_latest(installation.settings, parts):
            assert time.monotonic() < give_up_s, "a contradiction stays that production has resolved"
            await asyncio.sleep(0.2)
        assert unproduced not in await _not_produced_in_window(installation)
        verified = await installation.run("verify")
        assert verified.returncode == 0, verified.stdout + verified.stderr
        worker.kill(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait) == 0
    finally:
        installation.end()


async def test_deliveries_alone_are_counted_without_orders_and_without_contradictions(
    bootstrap: str, prefix: str, tmp_path: Path
) -> None:
    topics = TopicSettings(deliveries=(f"{prefix}handovers", f"{prefix}handovers.eu"))
    config = f"{CONFIG}\n[topics]\ndeliveries = {json.dumps(topics.deliveries)}\n"
    installation = Installation(bootstrap, prefix, tmp_path, families=("deliveries",), topics=topics, partitions=2)
    installation.configure(config)
    await installation.create()
    async with admin(installation.settings) as client:
        assert f"{prefix}vehicle.orders.v1" not in await client.list_topics()
    found = [record for record in lifecycle(9, 60, partitions=2) if record.topic == "deliveries"]
    deliveries = [record._replace(topic=topics.deliveries[number % 2]) for number, record in enumerate(found)]
    assert len(deliveries) > 20
    lines = tmp_path / "events.ndjson"
    lines.write_bytes(event("order.placed.v1", "p", FIRST, {"order_id": "SO-1", "model": "SU7"}))
    refused = await installation.run("publish", str(lines))
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert "orders are not among the families" in refused.stderr
    await installation.publish(deliveries)
    worker = installation.worker()
    try:
        await installation.applied()
        expected = recount(record.value for record in deliveries)
        assert await installation.counts() == expected
        assert await installation.milestones()
        topic = installation.catalogue.violations
        # For a moment, a reversal on one topic may come before its delivery on the other.
        judged = await read_latest(installation.settings, [(topic.name, n) for n in range(2)])
        assert not any(judged.values()), "nothing can be judged that is not published"
        verified = await installation.run("verify")
        assert verified.returncode == 0, verified.stdout + verified.stderr
        milestone = (await installation.milestones())[0]["subject"]
        explained = await installation.run("explain", milestone)
        assert "delivers the vehicle" in explained.stdout, explained.stdout
        assert "no order was placed" not in explained.stdout
        assert set((await installation.status())["partition/0"]["books"]) >= set(topics.deliveries)
        worker.kill(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait) == 0
    finally:
        installation.end()

    await _add_production(installation, config)
    installation.configure(config.replace('["deliveries"]', '["orders", "deliveries"]'))
    applied = await installation.run("topics", "apply")
    assert applied.returncode == 0, applied.stderr
    other = await installation.run("worker", "--instance", "w2")
    assert other.returncode == 2, other.stderr
    assert "families=deliveries" in other.stderr.splitlines()[-1]
