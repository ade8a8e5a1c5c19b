"""`milestones correct` from the command to the milestone and back, against a real Kafka with a real worker."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from tests.support.events import Published, event
from tests.support.installation import Installation
from tests.support.rules import rule

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

RULES = rule("daily-3", reaches=3, first=True)
ZONE = ZoneInfo("Asia/Shanghai")
FIRST, THIRTIETH = "deliveries/model=SU7/day:2024-10-01", "deliveries/model=SU7/day:2024-10-30"
MILESTONES = {f"{FIRST}/reaches:3", "deliveries/model=SU7/first:day/reaches:3"}


@pytest.fixture
async def installation(bootstrap: str, tmp_path: Path) -> AsyncIterator[Installation]:
    async with Installation.created(bootstrap, tmp_path, config=RULES, partitions=2) as made:
        made.worker()
        at = datetime(2024, 10, 1, 10, 0, tzinfo=ZONE)
        records = []
        for number in range(3):
            order, data = f"SO-{number}", {"order_id": f"SO-{number}", "model": "SU7", "region": "CN-11"}
            vin = {"vin": f"LNBSU7A10R100000{number}"}
            key = order.encode()
            records.append(Published("orders", key, event("order.placed.v1", f"p{number}", at, data), None))
            records.append(Published("deliveries", key, event("vehicle.delivered.v1", f"d{number}", at, data | vin), 0))
        await made.publish(records)
        await made.applied()
        yield made


async def corrected(installation: Installation, *arguments: str) -> dict[str, Any]:
    done = await installation.run("correct", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


async def count(installation: Installation, key: str) -> int:
    metric, scope, period = key.split("/", 2)
    return (await installation.counts()).get((metric, scope, period), 0)


async def test_a_delivery_is_moved_and_voided_its_order_cancelled_and_all_of_it_taken_back(
    installation: Installation,
) -> None:
    assert await installation.standing() == MILESTONES
    move = ("move", "SO-1", "--to", "2024-10-30", "--reason", "handed over on the 30th", "--by", "Li Wei")

    # A dry run changes nothing, and says what would change.
    dry = await corrected(installation, *move, "--dry-run")
    assert not dry["published"]
    rows = {row["row"]: (row["before"], row["after"]) for row in dry["rows"]}
    assert (rows[FIRST], rows[THIRTIETH]) == ((3, 2), (0, 1))
    assert {(one["milestone_id"], one["becomes"]) for one in dry["milestones"]} == {
        (milestone, "retracted") for milestone in MILESTONES
    }
    assert len(await installation.source_values()) == 6

    # The events that were shown are published, with the effect that was announced.
    done = await corrected(installation, *move, "--yes")
    assert (done["published"], done["correction"]) == (True, dry["correction"])
    await installation.applied()
    assert (await count(installation, FIRST), await count(installation, THIRTIETH)) == (2, 1)
    assert await installation.standing() == set()
    published = [json.loads(value) for value in await installation.source_values()]
    made = [one for one in published if one["source"] == "/milestones/corrections"]
    assert {(one["type"], one["operator"], one["operatorreason"]) for one in made} == {
        ("event.voided.v1", "Li Wei", "handed over on the 30th"),
        ("vehicle.delivered.v1", "Li Wei", "handed over on the 30th"),
    }
    again = await installation.run("correct", *move, "--yes")
    assert (again.returncode, "is there already" in again.stderr) == (2, True)
    asked = await installation.run("correct", "void", "SO-0", "--what", "delivery", "--reason", "r")
    assert (asked.returncode, "nobody answered" in asked.stderr) == (2, True)
    assert len(await installation.source_values()) == 8

    # Taken back, by VIN.
    undone = await corrected(installation, "undo", " lnbsu7a10r1000001", "--yes")
    assert {(one["milestone_id"], one["becomes"]) for one in undone["milestones"]} == {
        (milestone, "reinstated") for milestone in MILESTONES
    }
    await installation.applied()
    assert (await count(installation, FIRST), await count(installation, THIRTIETH)) == (3, 0)
    assert await installation.standing() == MILESTONES

    # Never delivered, and then cancelled; and both taken back.
    await corrected(installation, "void", "LNBSU7A10R1000002", "--reason", "wrong car", "--yes")
    again = await installation.run("correct", "void", "LNBSU7A10R1000002", "--reason", "wrong car", "--yes")
    assert (again.returncode, "is voided already" in again.stderr) == (2, True)
    await corrected(installation, "cancel", "SO-2", "--at", "2024-10-03", "--reason", "by telephone", "--yes")
    again = await installation.run("correct", "cancel", "SO-2", "--reason", "by telephone", "--yes")
    assert (again.returncode, "is cancelled already" in again.stderr) == (2, True)
    await installation.applied()
    assert await count(installation, "cancellations/model=SU7/day:2024-10-03") == 1
    assert await installation.standing() == set()
    await corrected(installation, "undo", "SO-2", "--yes")
    await installation.applied()
    assert await count(installation, "cancellations/model=SU7/day:2024-10-03") == 0
    assert await count(installation, FIRST) == 2

    verified = await installation.run("verify")
    assert verified.returncode == 0, verified.stdout
