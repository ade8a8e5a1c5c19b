"""`milestones rebuild` beside a live installation on a real Kafka, while events go on coming."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING

import pytest

from streams.kafka.clients import read_to_end
from tests.support.events import Published, lifecycle
from tests.support.installation import Installation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

RULES = """
{settings}
[[rule]]
name = "daily"
metric = "deliveries"
window = "day"
scope = ["model"]
exceeds = {daily}
first = true

[[target]]
target_id = "october"
metric = "deliveries"
scope = "all"
period = "month:2024-10"
value = 20
"""


@pytest.fixture
async def installation(bootstrap: str, prefix: str, tmp_path: Path) -> AsyncIterator[Installation]:
    made = Installation(bootstrap, prefix, tmp_path, partitions=2)
    made.configure(RULES.format(settings="", daily=2))
    yield await made.create()
    made.end()


async def test_a_rebuild_beside_the_live_one_counts_the_same_by_the_same_rules_and_tells_what_others_change(
    installation: Installation, prefix: str, tmp_path: Path
) -> None:
    published = list(lifecycle(11, 260, partitions=2))
    assert len(published) > 320
    garbage = Published("orders", b"x", b"{", None)
    await installation.publish([*published[:300], garbage])
    # One record is passed over by the live one, so that it is by the other.
    orders = installation.catalogue.orders.name
    out = await installation.run("quarantine", orders, "0", "3", "--reason", "test")
    assert out.returncode == 0, out.stderr
    installation.worker("w1")
    await installation.applied()
    live = await installation.milestones()
    assert any("exceeds:2" in event["subject"] for event in live)

    same = await installation.run("rebuild", "--output-prefix", prefix, "--diff", timeout_s=120)
    assert (same.returncode, "that of the live installation" in same.stderr) == (2, True)

    other = f"x-{prefix}"
    enough = asyncio.Event()
    flow = asyncio.create_task(trickle(installation, published[300:], enough))
    equal = await installation.run("rebuild", "--output-prefix", other, "--diff", timeout_s=120)
    enough.set()
    await flow
    assert equal.returncode == 0, equal.stdout + equal.stderr
    assert "no difference" in equal.stderr
    assert "records counted under output_prefix" in equal.stdout
    beside = Installation(
        installation.settings.bootstrap_servers, other, tmp_path / "x", source_prefix=prefix, partitions=2
    )
    assert await dead_letters(beside) == await dead_letters(installation)
    assert {reason for _, reason in await dead_letters(beside)} == {b"malformed_json", b"quarantined"}

    await installation.publish(published[300:])
    await installation.applied()
    on = await installation.run("rebuild", "--output-prefix", other, "--diff", "--json", timeout_s=120)
    assert on.returncode == 0, on.stdout + on.stderr
    assert json.loads(on.stdout)["equal"] is True

    changed = tmp_path / "changed.toml"
    changed.write_text(RULES.format(settings='timezone = "America/New_York"', daily=3))
    differing = await installation.run(
        "rebuild", "--output-prefix", f"y-{prefix}", "--diff", "--json", "--config", str(changed), timeout_s=120
    )
    assert differing.returncode == 1, differing.stderr
    found = {(one["of"], one["id"]): one for one in json.loads(differing.stdout)["differences"]}
    assert {"milestone", "row"} == {of for of, _ in found}
    firsts = (
        ("milestone", "deliveries/model=SU7/first:day/exceeds:2"),
        ("milestone", "deliveries/model=SU7/first:day/exceeds:3"),
    )
    assert found[firsts[0]]["other"] is None
    assert found[firsts[1]]["live"] is None
    assert any(one["live"] and one["other"] and one["live"]["count"] != one["other"]["count"] for one in found.values())
    refused = await installation.run("rebuild", "--output-prefix", f"y-{prefix}", timeout_s=120)
    assert (refused.returncode, "was built with" in refused.stderr, refused.stderr.count("\n")) == (2, True, 1)
    now = [event for event in await installation.milestones() if event in live]
    assert now == live
    assert installation.workers[0].process.poll() is None
    installation.workers[0].kill(signal.SIGTERM)
    assert await asyncio.to_thread(installation.workers[0].wait) == 0


async def trickle(installation: Installation, records: list[Published], enough: asyncio.Event) -> None:
    """The records slowly one after the other, and again: an event counts once, the stream does not stand still."""
    while not enough.is_set():
        for start in range(0, len(records), 10):
            if not enough.is_set():
                await installation.publish(records[start : start + 10])
                await asyncio.sleep(0.2)


async def dead_letters(installation: Installation) -> list[tuple[bytes, bytes]]:
    topic = installation.catalogue.dead_letters
    found = []
    async for records in read_to_end(installation.settings, [(topic.name, n) for n in range(topic.partitions)]):
        found += [(record.value, dict(record.headers)["milestones.reason"]) for record in records]
    return sorted(found)
