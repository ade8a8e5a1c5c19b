"""Campaigns on a real Kafka: known before, during and after their time, with exact moments, corrections and a recount."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from tests.kafka.test_aliases import restarted
from tests.support.events import Published, event
from tests.support.installation import Installation
from tests.support.time_limits import deadline

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

START = datetime(2024, 3, 28, 22, 0, tzinfo=ZoneInfo("Asia/Shanghai"))
NIGHT = """
[[campaign]]
name = "su7-launch"
start = 2024-03-28T22:00:00+08:00
hours = 24

[[rule]]
name = "launch"
metric = "orders_placed"
window = "campaign"
scope = ["model"]
every = 10
record = true
"""
RERUN = """
[[campaign]]
name = "su7-rerun"
start = "2024-03-29T10:00:00+08:00"
end = "2024-03-29T10:30:00+08:00"
"""


def order(number: int, after: timedelta) -> Published:
    data = {"order_id": f"SO-{number}", "model": "SU7"}
    value = event("order.placed.v1", f"p{number}", START + after, data)
    # Now and then to a partition that is not the order's: it is forwarded.
    return Published("orders", f"SO-{number}".encode(), value, 0 if number % 5 == 0 else None)


def void(number: int) -> Published:
    data = {"order_id": f"SO-{number}", "voids": {"source": "/sales/web", "id": f"p{number}"}}
    value = event("event.voided.v1", f"v{number}", START + timedelta(days=2), data)
    return Published("orders", f"SO-{number}".encode(), value, None)


async def milestones(installation: Installation) -> dict[str, dict[str, Any]]:
    """The events, by id and revision without metric and scope."""
    return {told["id"].split("/", 2)[2]: told for told in await installation.milestones()}


async def are_published(installation: Installation, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    give_up_s = deadline(60)
    while not (found := await milestones(installation)).keys() >= set(ids):
        assert time.monotonic() < give_up_s, (sorted(found), installation.tails())
        await asyncio.sleep(0.1)
    return found


async def test_a_campaign_counts_the_same_whenever_it_becomes_known_and_says_after_how_long(
    bootstrap: str, tmp_path: Path
) -> None:
    async with Installation.created(bootstrap, tmp_path, partitions=2, totals_partitions=2) as installation:
        installation.worker()
        # Before the campaign is known: one order every 90 seconds, the first one two minutes before its start.
        times = [timedelta(seconds=90 * number - 120) for number in range(30)]
        await installation.publish([order(number, after) for number, after in enumerate(times, 1)])
        await installation.applied()

        await restarted(installation, NIGHT)
        first = await are_published(
            installation, ["campaign:su7-launch/every:10:10@1", "campaign:su7-launch/every:10:20@1"]
        )
        assert {told["type"] for told in first.values()} == {"milestone.recorded.v1"}
        # Orders 1 and 2 came before the start; order 3 after one minute.
        tenth = first["campaign:su7-launch/every:10:10@1"]["data"]
        assert (tenth["achieved_at"], tenth["after_s"], tenth["cause"]["event_id"]) == (
            (START + times[11]).isoformat(),
            times[11].total_seconds(),
            "p12",
        )
        row = (await installation.rows())["orders_placed/model=SU7/campaign:su7-launch"]
        expected = [0] * 42
        for after in times[2:]:
            expected[int(after.total_seconds() // 60)] += 1
        assert (row["count"], row["by_minute"], row["status"]) == (28, expected, "closed")
        assert (row["starts_at"], row["ends_at"]) == ("2024-03-28T22:00:00+08:00", "2024-03-29T22:00:00+08:00")

        # While it is known: later orders are news, one of them late, and three are taken back.
        for number, after in ((31, timedelta(seconds=1.5)), (32, timedelta(hours=13, minutes=32))):
            await installation.publish([order(number, after)])
            await installation.applied()
        passed = "campaign:su7-launch/every:10:30"
        third = (await are_published(installation, [f"{passed}@1"]))[f"{passed}@1"]
        assert (third["type"], third["data"]["cause"]["event_id"]) == ("milestone.raised.v1", "p32")
        assert third["data"]["after_s"] == timedelta(hours=13, minutes=32).total_seconds()
        await installation.publish([order(33, timedelta(hours=14)), order(34, timedelta(hours=15))])
        await installation.publish([void(5), void(32), void(34)])
        await are_published(installation, [f"{passed}@2"])

        # Another campaign becomes known as the writer is killed; all its orders were there before.
        installation.workers[0].kill()
        await restarted(installation, NIGHT + RERUN)
        await installation.publish([order(40 + number, timedelta(hours=12, seconds=number)) for number in range(31)])
        await installation.applied()
        found = await are_published(installation, ["campaign:su7-rerun/every:10:30@1"])
        assert found["campaign:su7-rerun/every:10:30@1"]["data"]["after_s"] == 29.0
        rows = await installation.rows()
        assert rows["orders_placed/all/campaign:su7-rerun"]["by_minute"] == [31]
        assert rows["orders_placed/all/campaign:su7-launch"]["count"] == 29 + 31

        verified = await installation.run("verify", "--json")
        assert verified.returncode == 0, verified.stdout
        checks = {check["name"]: check["compared"] for check in json.loads(verified.stdout)["checks"]}
        assert checks["moments"] >= 4
        explained = await installation.run(
            "explain", "orders_placed/model=SU7/campaign:su7-launch/every:10:10", "--json"
        )
        document = json.loads(explained.stdout)
        # One came late and one was taken back, so it is the tenth again.
        assert (document["count"], document["unit"]["id"]) == (60, "p12")
        told = await installation.run("order", "SO-12")
        assert "campaign:su7-launch" in told.stdout, told.stdout
        listed = await installation.run("windows", "--period", "campaign:", "--no-web", "--scope", "all")
        assert "campaign:su7-rerun" in listed.stdout, listed.stdout
        for command in ("windows", "list"):
            none = await installation.run(command, "--period", "campaign:other")
            assert (none.returncode, none.stdout) == (2, ""), none.stderr
            assert none.stderr.startswith("milestones: --period: there is no campaign 'other'; ")
            assert none.stderr.endswith("are su7-launch, su7-rerun\n")
        shown = await installation.run("list", "--limit", "50")
        assert "in the su7-launch campaign after 14 minutes 30 seconds, on 28 Mar 2024: 10" in shown.stdout, (
            shown.stdout
        )


ANNOUNCED = """
[[rule]]
name = "launch"
metric = "orders_placed"
window = "campaign"
scope = ["model"]
every = 10
"""


def announcement(number: int, kind: str = "set", **data: Any) -> str:
    of_campaign = {"campaign": "su7-launch"} | ({"start": START.isoformat()} if kind == "set" else {})
    attributes = {"specversion": "1.0", "id": f"c{number}", "source": "/plan", "type": f"campaign.{kind}.v1"}
    return json.dumps({**attributes, "time": (START + timedelta(days=number)).isoformat(), "data": of_campaign | data})


async def announce(installation: Installation, *lines: str) -> None:
    """Publishes a file of events with the command, as a person would."""
    file = installation.folder / "campaign.ndjson"
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    published = await installation.run("publish", str(file))
    assert published.returncode == 0, published.stderr


async def shows(installation: Installation, scope: str = "model=SU7", **wanted: Any) -> dict[str, Any]:
    """Waits until the campaign's row of a scope has these values."""
    give_up_s = deadline(60)
    while True:
        row: dict[str, Any] = (await installation.rows()).get(f"orders_placed/{scope}/campaign:su7-launch", {})
        if {name: row.get(name) for name in wanted} == wanted:
            return row
        assert time.monotonic() < give_up_s, (row, wanted, installation.tails())
        await asyncio.sleep(0.1)


async def test_events_announce_change_and_withdraw_a_campaign_while_workers_run(bootstrap: str, tmp_path: Path) -> None:
    async with Installation.created(
        bootstrap, tmp_path, config=ANNOUNCED, partitions=2, totals_partitions=2
    ) as installation:
        for instance in ("w1", "w2"):
            installation.worker(instance)
        times = [timedelta(seconds=90 * number) for number in range(25)]
        await installation.publish([order(number, after) for number, after in enumerate(times, 1)])
        await installation.applied()

        # Announced after it has begun: what it has passed by then is recorded, what follows is news.
        await announce(installation, announcement(1, scopes=[["model"]]))
        first = await are_published(
            installation, ["campaign:su7-launch/every:10:10@1", "campaign:su7-launch/every:10:20@1"]
        )
        assert {told["type"] for told in first.values()} == {"milestone.recorded.v1"}
        assert first["campaign:su7-launch/every:10:10@1"]["data"]["after_s"] == times[9].total_seconds()
        row = await shows(installation, count=25, ends_at=(START + timedelta(days=7)).isoformat())
        assert row["by_minute"][:4] == [1, 1, 0, 1]
        assert "orders_placed/all/campaign:su7-launch" not in await installation.rows()
        await installation.publish([order(number, timedelta(hours=number)) for number in range(26, 31)])
        third = await are_published(installation, ["campaign:su7-launch/every:10:30@1"])
        assert third["campaign:su7-launch/every:10:30@1"]["type"] == "milestone.raised.v1"

        # It is given an end while another worker takes over, and its events come in the wrong order.
        installation.workers[0].kill(signal.SIGTERM)
        await announce(
            installation,
            announcement(3, end=(START + timedelta(hours=27)).isoformat(), scopes=[["model"]]),
            announcement(2, end=(START + timedelta(hours=1)).isoformat()),
        )
        row = await shows(installation, count=26, ends_at=(START + timedelta(hours=27)).isoformat(), status="closed")
        await are_published(installation, ["campaign:su7-launch/every:10:30@2"])
        verified = await installation.run("verify", "--json")
        assert verified.returncode == 0, verified.stdout
        checks = {check["name"]: check["compared"] for check in json.loads(verified.stdout)["checks"]}
        assert checks["campaigns"] == 2, "one of each ledger partition"
        explained = await installation.run(
            "explain", "orders_placed/model=SU7/campaign:su7-launch/every:10:20", "--json"
        )
        assert json.loads(explained.stdout)["unit"]["id"] == "p20"
        window = await installation.run("explain", "orders_placed/model=SU7/campaign:su7-launch", "--json")
        assert json.loads(window.stdout)["after"] == 26, window.stdout
        told = await installation.run("order", "SO-12")
        assert "campaign:su7-launch" in told.stdout, told.stdout
        listed = installation.folder / "theirs.csv"
        listed.write_text("order_id\n" + "".join(f"SO-{number}\n" for number in range(1, 26)))
        where = ("--metric", "orders_placed", "--scope", "model=SU7", "--period", "campaign:su7-launch")
        compared = await installation.run("reconcile", *where, "--against", str(listed), "--json")
        assert compared.returncode == 1, compared.stderr
        document = json.loads(compared.stdout)
        assert document["matched"] == 25
        assert [unit["order_id"] for unit in document["only_ours"]] == ["SO-26"]

        # After its withdrawal the row stays as it is; announced again, it includes what has come meanwhile.
        await announce(installation, announcement(4, "withdrawn", reason="too early"))
        await installation.publish([order(31, timedelta(hours=2))])
        await installation.applied()
        verified = await installation.run("verify")
        assert verified.returncode == 0, verified.stdout
        assert (await installation.rows())["orders_placed/model=SU7/campaign:su7-launch"] == row
        await announce(installation, announcement(5, end=(START + timedelta(hours=27)).isoformat()))
        # The row of all is in another partition of the totals.
        for scope in ("model=SU7", "all"):
            await shows(installation, scope, count=27)
