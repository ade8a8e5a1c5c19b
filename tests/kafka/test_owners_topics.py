"""Several topics of orders with their owners' names and unequal partitions, on a real Kafka, from publishing to repair."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING

import pytest
from aiokafka.admin import NewTopic

from streams.context import Context
from streams.kafka.admin import admin, plan_topics
from streams.operations.gaps import find_gaps
from streams.settings_sections import TopicSettings
from tests.support.events import FIRST, Published, event, lifecycle
from tests.support.installation import Installation
from tests.support.recount import recount
from tests.support.rules import rule

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

RULE = rule("daily", "orders_placed", exceeds=2)


def listed(cn: str, eu: str, *handovers: str) -> str:
    return f"{RULE}\n[topics]\norders = {json.dumps([cn, eu])}\ndeliveries = {json.dumps(handovers)}\n"


async def test_events_of_several_topics_count_once_and_are_named_where_they_came_from(
    bootstrap: str, prefix: str, tmp_path: Path
) -> None:
    cn, eu, handovers, more = (f"{prefix}{name}" for name in ("sales.cn", "sales.eu", "handovers", "handovers-2"))
    topics = TopicSettings(orders=(cn, eu), deliveries=(handovers,))
    installation = Installation(bootstrap, prefix, tmp_path, topics=topics, partitions=2)
    installation.configure(listed(cn, eu, handovers))
    async with admin(installation.settings) as client:
        await client.create_topics([NewTopic(eu, 3, 1, topic_configs={"retention.ms": "604800000"})])
    planned = await installation.run("topics", "plan")
    assert planned.returncode == 1
    assert f"create {cn} (2 partitions" in planned.stdout
    assert [line for line in planned.stdout.splitlines() if line.startswith("alter")] == [
        f"alter  {eu}: message.timestamp.type CreateTime -> LogAppendTime"
    ]
    await installation.create()
    assert (await plan_topics(installation.settings)).empty

    records = [
        record._replace(topic=eu) if record.topic == "orders" and index % 3 == 0 else record
        for index, record in enumerate(lifecycle(5, 90, partitions=2))
    ]
    # The same event on the other topic is the same event.
    again = next(record for record in records if record.topic == eu)._replace(topic=cn)
    data = {"order_id": "SO-EU", "model": "SU7"}
    wrong = Published(eu, b"SO-EU", event("order.placed.v1", "eu", FIRST, data).replace(b"+00:00", b""), 2)
    await installation.publish([*records, again, wrong])
    await published_by_command(installation, tmp_path, eu)
    installation.worker("w1")
    await installation.applied()

    values = await installation.source_values()
    values.remove(wrong.value)
    assert {key: count for key, count in (await installation.counts()).items() if key[2].startswith("day:")} == {
        key: count for key, count in recount(values).items() if key[2].startswith("day:")
    }
    status = await installation.status()
    assert status["partition/0"]["books"].keys() >= {cn, eu, f"{eu}:2", handovers}
    assert (await installation.books_balance())["dead_letters"] == 1
    await what_is_published_names_the_topics(installation, {cn, eu})
    await a_dead_letter_goes_back_where_it_came_from(installation, eu)
    await the_lists_grow_and_do_not_shrink(installation, cn, eu, handovers, more)


async def published_by_command(installation: Installation, folder: Path, eu: str) -> None:
    data = {"order_id": "SO-BY-COMMAND", "model": "SU7"}
    file = folder / "one.ndjson"
    file.write_bytes(event("order.placed.v1", "c", FIRST, data))
    asked = await installation.run("publish", str(file))
    assert (asked.returncode, asked.stderr.count("\n")) == (2, 1)
    assert "are 2 topics of orders: say which one the events go to with --topic" in asked.stderr
    done = await installation.run("publish", str(file), "--topic", eu)
    assert done.returncode == 0, done.stderr


async def what_is_published_names_the_topics(installation: Installation, orders: set[str]) -> None:
    passed = sorted(await installation.standing())
    causes = {event["data"]["cause"]["topic"] for event in await installation.milestones()}
    assert causes == orders
    explained = await installation.run("explain", passed[0], "--json")
    unit = json.loads(explained.stdout)["unit"]
    assert unit["topic"] in orders, explained.stderr
    assert await find_gaps(Context(installation.settings)) == []


async def a_dead_letter_goes_back_where_it_came_from(installation: Installation, eu: str) -> None:
    listed_letters = await installation.run("dead-letters", "list", "--topic", eu, "--json")
    (letter,) = map(json.loads, listed_letters.stdout.splitlines())
    assert (letter["topic"], letter["reason"]) == (eu, "missing_offset")
    edit = """sed 's/.000"/.000+00:00"/'"""
    replayed = await installation.run("dead-letters", "replay", "--topic", eu, "--edit", edit, "--edit-with", "value")
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    await installation.applied()
    assert (await installation.books_balance())["dead_letters"] == 1


async def the_lists_grow_and_do_not_shrink(installation: Installation, cn: str, eu: str, *handovers: str) -> None:
    worker = installation.workers.pop()
    worker.kill(signal.SIGTERM)
    assert await asyncio.to_thread(worker.wait) == 0
    more = handovers[-1]
    data = {"order_id": "SO-EU", "model": "SU7", "vin": "LNBSU7A10R1000123"}
    async with admin(installation.settings) as client:
        config = {"message.timestamp.type": "LogAppendTime"}
        await client.create_topics([NewTopic(more, 1, 1, topic_configs=config)])
    await installation.publish([Published(more, b"SO-EU", event("vehicle.delivered.v1", "late", FIRST, data), None)])
    grown = Installation(
        installation.settings.bootstrap_servers,
        installation.settings.output_prefix,
        installation.folder,
        topics=TopicSettings(orders=(cn, eu), deliveries=handovers),
        partitions=2,
    )
    before = (await installation.counts())["deliveries", "all", "year:2024"]
    grown.configure(listed(cn, eu, *handovers))
    # Under the same name within the session timeout: the group must not give it what it had, without the new topic.
    worker = grown.worker("w1")
    try:
        await grown.applied()
        assert (await grown.counts())["deliveries", "all", "year:2024"] == before + 1
        verified = await grown.run("verify")
        assert verified.returncode == 0, verified.stdout + verified.stderr
        worker.kill(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait) == 0
        grown.configure(listed(eu, cn, *handovers))
        refused = await grown.run("worker", "--instance", "w1")
    finally:
        grown.end()
    assert refused.returncode == 2
    *_, last = refused.stderr.splitlines()
    assert "was counted, and is not in its place of the settings: list the topics as before" in last
