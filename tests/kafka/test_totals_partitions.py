"""Two workers share two partitions of the totals on a real Kafka, and one worker is killed."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer

from streams.kafka.clients import read_to_end
from streams.kafka.records import record_key
from tests.support.events import event, lifecycle
from tests.support.installation import Installation
from tests.support.rules import rule, target
from tests.support.time_limits import deadline

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

HOMES, TOTALS = 2, 2
#: The CRC-32 of `all` is odd, those of `model=SU7` and `model=YU7` are even.
HOME = {"all": 1, "model=SU7": 0, "model=YU7": 0}
RULES = (
    rule("daily", "orders", exceeds=10, first=True)
    + rule("each", "orders_placed", window="month", scope=(), every=50)
    + target("start", 5, metric="orders", scope="model=SU7")
)
#: What the row of the month shows in the end.
TOLD = {"aim": (40, True)}, [40]
MONTH = {"metric": "orders", "scope": "all", "period": "month:2024-10"}


async def until(holds: Callable[[], bool], installation: Installation, what: str) -> None:
    give_up_s = deadline(60)
    while not holds():
        assert time.monotonic() < give_up_s, f"{what} did not come about\n{installation.tails()}"
        await asyncio.sleep(0.1)


async def plan(installation: Installation, value: int) -> None:
    """Sets a target and sends a control total for a scope that partition 0 of the totals does not have."""
    moment = datetime.now(UTC) - timedelta(seconds=1)
    aim = event("target.set.v1", f"aim-{value}", moment, {"order_id": "", **MONTH, "target_id": "aim", "value": value})
    total = event("control.total.v1", f"total-{value}", moment, {"order_id": "", **MONTH, "count": value})
    producer = AIOKafkaProducer(bootstrap_servers=installation.settings.bootstrap_servers)
    await producer.start()
    try:
        await producer.send_and_wait(installation.catalogue.targets.name, aim, b"aim")
        await producer.send_and_wait(installation.catalogue.controls.name, total, "/".join(MONTH.values()).encode())
    finally:
        await producer.stop()


async def shown(installation: Installation) -> tuple[dict[str, tuple[int, bool]], list[int]]:
    """Targets and control totals on the row of the month."""
    row = (await installation.rows()).get("/".join(MONTH.values()), {"targets": []})
    targets = {each["target_id"]: (each["value"], each["reached"]) for each in row["targets"]}
    return targets, [each["count"] for each in row.get("controls", [])]


async def test_two_workers_share_the_totals_and_one_takes_over_from_the_other(bootstrap: str, tmp_path: Path) -> None:
    records = list(lifecycle(5, 120, partitions=HOMES))
    half = len(records) // 2
    async with Installation.created(
        bootstrap, tmp_path, config=RULES, partitions=HOMES, totals_partitions=TOTALS
    ) as installation:
        workers = {name: installation.worker(name) for name in ("w1", "w2")}

        def owners() -> list[str]:
            """Partition of the totals → the worker that has opened it."""
            lines = [
                [line for line in worker.log.read_text().splitlines() if f"{role}: open after" in line]
                for worker in workers.values()
                for role in ("totals", "totals 1")
            ]
            of_w1, of_w1_too, of_w2, of_w2_too = map(bool, lines)
            return [name for name, has in (("w1", of_w1), ("w1", of_w1_too), ("w2", of_w2), ("w2", of_w2_too)) if has]

        await until(lambda: set(owners()) == {"w1", "w2"}, installation, "a partition of the totals for each worker")
        await installation.publish(records[:half])
        await plan(installation, 7)
        await installation.applied()
        workers["w1"].kill()
        await installation.publish(records[half:])
        await plan(installation, 40)
        await installation.applied()
        awaited = {
            "orders/all/month:2024-10/target:aim:7",
            "orders/all/month:2024-10/target:aim:40",
            "orders/model=SU7/month:2024-10/target:start:5",
            "orders_placed/all/month:2024-10/every:50:50",
        }
        give_up_s = deadline(60)
        while (missing := awaited - await installation.standing()) or await shown(installation) != TOLD:
            assert time.monotonic() < give_up_s, f"{missing} {await shown(installation)}\n{installation.tails()}"
            await asyncio.sleep(0.2)
        catalogue = installation.catalogue
        for topic in (catalogue.windows, catalogue.history, catalogue.milestones, catalogue.forecasts):
            scopes: dict[int, set[str]] = {0: set(), 1: set()}
            async for found in read_to_end(installation.settings, topic.whole):
                for record in found:
                    scopes[record.partition].add(record_key(record).decode().split("/")[1])
            assert all(HOME[scope] == number for number, of in scopes.items() for scope in of), topic.name
        await installation.books_balance()
        for arguments in (["verify"], ["windows", "--no-web", "--json"]):
            done = await installation.run(*arguments)
            assert done.returncode == 0, done.stdout + done.stderr
        scopes_shown = {json.loads(line)["scope"] for line in done.stdout.splitlines()}
        assert scopes_shown == set(HOME)
        fewer = await installation.run("windows", "--no-web", MILESTONES_TOTALS_PARTITIONS="1")
        assert (
            fewer.returncode,
            "has 2 partitions, and 1 by the settings; set totals_partitions = 2" in fewer.stderr,
        ) == (3, True)
