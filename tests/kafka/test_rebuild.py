"""`milestones rebuild` next to a live installation on a real Kafka, while events keep coming."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer

from streams.kafka.client_options import client_options
from streams.kafka.clients import read_to_end
from streams.kafka.records import header_values, record_value
from tests.support.events import Published, lifecycle
from tests.support.installation import Installation
from tests.support.rules import rule, target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def rules(daily: int) -> str:
    """Settings with a rule about days above a number."""
    return rule("daily", exceeds=daily, first=True) + target("october", 20)


@pytest.fixture
async def installation(bootstrap: str, prefix: str, tmp_path: Path) -> AsyncIterator[Installation]:
    config = rules(2)
    async with Installation.created(bootstrap, tmp_path, config=config, prefix=prefix, partitions=2) as made:
        yield made


async def test_a_rebuild_beside_the_live_one_counts_the_same_by_the_same_rules_and_tells_what_others_change(
    installation: Installation, prefix: str, tmp_path: Path
) -> None:
    published = list(lifecycle(11, 260, partitions=2))
    assert len(published) > 320
    garbage = Published("orders", b"x", b"{", None)
    await installation.publish([*published[:300], garbage])
    # The live installation skips a record, so the other must, too.
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
    second = Installation(
        installation.settings.bootstrap_servers, other, tmp_path / "x", source_prefix=prefix, partitions=2
    )
    assert await dead_letters(second) == await dead_letters(installation)
    assert {reason for _, reason in await dead_letters(second)} == {b"malformed_json", b"quarantined"}

    await installation.publish(published[300:])
    await installation.applied()
    on = await installation.run("rebuild", "--output-prefix", other, "--diff", "--json", timeout_s=120)
    assert on.returncode == 0, on.stdout + on.stderr
    assert json.loads(on.stdout)["equal"] is True

    changed = tmp_path / "changed.toml"
    changed.write_text('timezone = "America/New_York"\n' + rules(3))
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
    await every_difference_is_told(installation, other)


async def every_difference_is_told(installation: Installation, other: str) -> None:
    """The live installation gets every kind of difference; the text and the JSON name each."""
    lines = await falsify(installation, other)
    arguments = ("rebuild", "--output-prefix", other, "--diff")
    text = await installation.run(*arguments, timeout_s=120)
    assert (text.returncode, "Traceback" in text.stderr) == (1, False), text.stdout + text.stderr
    told = [" ".join(line.split()) for line in text.stdout.splitlines()[1:]]
    assert sorted(told) == sorted(lines)
    assert text.stderr == "3 milestones and 5 window rows differ\n"
    in_json = await installation.run(*arguments, "--json", timeout_s=120)
    assert in_json.returncode == 1, in_json.stderr
    document = json.loads(in_json.stdout)
    assert document["equal"] is False
    assert sorted(one["id"] for one in document["differences"]) == sorted(ids(lines))
    sides = {(one["of"], one["live"] is None, one["other"] is None) for one in document["differences"]}
    both, only_live, only_other = (False, False), (False, True), (True, False)
    assert sides == {(of, *side) for of in ("milestone", "row") for side in (both, only_live, only_other)}


def ids(lines: list[str]) -> list[str]:
    """The rows and milestones named in the lines."""
    return [next(word for word in line.split() if "/" in word) for line in lines]


async def falsify(installation: Installation, other: str) -> list[str]:
    """Adds wrong rows and milestones to the right ones; returns the expected lines, single-spaced."""
    rows = await installation.rows()
    days = sorted(key for key, row in rows.items() if ":2024-10-0" in key and row["count"] > 1)
    counted, gone, moved = days[:3]
    targets = "deliveries/all/month:2024-10"
    hours = rows[moved]["by_hour"][::-1]
    assert hours != rows[moved]["by_hour"]
    invented = "deliveries/model=SU7/day:2024-01-01"
    (target,) = rows[targets]["targets"]
    wrong = {
        counted: {**rows[counted], "count": rows[counted]["count"] + 1},
        gone: {**rows[gone], "count": 0},
        moved: {**rows[moved], "by_hour": hours},
        targets: {**rows[targets], "targets": [{**target, "value": 21}]},
        invented: {
            **rows[moved], "scope": "model=SU7", "period": "day:2024-01-01", "start": "2024-01-01", "end": "2024-01-01"
        },
    }  # fmt: skip
    last = {event["subject"]: event for event in await installation.milestones()}
    standing = {name: event for name, event in last.items() if event["type"] != "milestone.retracted.v1"}
    first = "deliveries/model=SU7/first:day/exceeds:2"
    taken_back = next(name for name in standing if "/day:" in name)
    events = [
        (taken_back, standing[taken_back], "milestone.retracted.v1", {}),
        (first, standing[first], "milestone.raised.v1", {"period": "day:2024-01-01"}),
        (f"{invented}/exceeds:2", standing[taken_back], "milestone.raised.v1", {"period": "day:2024-01-01"}),
    ]
    producer = AIOKafkaProducer(**client_options(installation.settings))
    await producer.start()
    try:
        for key, row in wrong.items():
            await producer.send_and_wait(installation.catalogue.windows.name, json.dumps(row).encode(), key.encode())
        for name, like, kind, more in events:
            data = {**like["data"], **more, "milestone_id": name, "revision": like["data"]["revision"] + 1}
            value = {**like, "type": kind, "subject": name, "id": f"{name}@{data['revision']}", "data": data}
            topic = installation.catalogue.milestones.name
            await producer.send_and_wait(topic, json.dumps(value).encode(), name.encode())
    finally:
        await producer.stop()
    period = standing[first]["data"]["period"]
    return [
        f"other row {counted} live {rows[counted]['count'] + 1}, {other} {rows[counted]['count']}",
        f"only {other} row {gone} {rows[gone]['count']}",
        f"other hours row {moved} {rows[moved]['count']}",
        f"other targets row {targets} {rows[targets]['count']}",
        f"only live row {invented} {rows[moved]['count']}",
        f"only {other} milestone {taken_back}",
        f"other milestone {first} live day:2024-01-01, {other} {period}",
        f"only live milestone {invented}/exceeds:2",
    ]


async def trickle(installation: Installation, records: list[Published], enough: asyncio.Event) -> None:
    """The records slowly one by one, repeatedly: an event counts once, and the stream never stops."""
    while not enough.is_set():
        for start in range(0, len(records), 10):
            if not enough.is_set():
                await installation.publish(records[start : start + 10])
                await asyncio.sleep(0.2)


async def dead_letters(installation: Installation) -> list[tuple[bytes, bytes]]:
    topic = installation.catalogue.dead_letters
    found = []
    async for records in read_to_end(installation.settings, [(topic.name, n) for n in range(topic.partitions)]):
        found += [(record_value(record), header_values(record)["milestones.reason"]) for record in records]
    return sorted(found)
