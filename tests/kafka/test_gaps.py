"""Topics that their owners keep only for a while, or compact."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from itertools import islice
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic, RecordsToDelete

from schemas.changelog import STATE_KEY
from schemas.codec import encode_marker
from schemas.outputs import Books, Marker
from schemas.partitioner import homes
from streams.context import Context
from streams.errors import ExpectedError
from streams.kafka.admin import admin
from streams.kafka.clients import read_latest
from streams.ledger.replica import Replica
from streams.ledger.restore import restore
from streams.operations.move import move
from tests.support.events import FIRST, Published, event, lifecycle
from tests.support.installation import Installation
from tests.support.recount import recount
from tests.support.time_limits import deadline

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


async def trim(installation: Installation, before: dict[TopicPartition, int]) -> None:
    """Removes records as retention does."""
    async with admin(installation.settings) as client:
        await client.delete_records({tp: RecordsToDelete(offset) for tp, offset in before.items()})


async def until(found: Callable[[], bool], installation: Installation, timeout_s: float = 60.0) -> None:
    give_up_s = deadline(timeout_s)
    while not await asyncio.to_thread(found):
        assert time.monotonic() < give_up_s, installation.tails()
        await asyncio.sleep(0.2)


async def test_a_trimmed_source_goes_on_and_a_gap_stops_its_partition_alone_until_it_is_accepted(
    bootstrap: str, prefix: str, tmp_path: Path
) -> None:
    installation = await Installation(bootstrap, prefix, tmp_path).create()
    orders = installation.catalogue.orders.name
    published = _orders(5, 150)
    half = len(published) // 2
    try:
        worker = installation.worker("w1")
        await installation.publish(published[:half])
        await installation.applied()
        worker.kill()
        worker.wait()
        ends = {number: (await installation.markers())[number]["positions"][orders][0] for number in range(4)}

        # Records that were read may be removed.
        await trim(installation, {TopicPartition(orders, number): end for number, end in ends.items()})
        installation.worker("w2")
        await installation.publish(published[half:])
        await installation.applied()
        assert await installation.counts() == recount(record.value for record in published)
        checked = await installation.run("verify", "--json")
        assert (checked.returncode, checked.stderr) == (0, ""), checked.stdout
        told = json.loads(checked.stdout)
        begins = {one["partition"]: (one["begins_at"], one["events"]) for one in told["beginnings"]}
        assert begins == {number: (end, end) for number, end in ends.items()}
        said = await installation.run("verify")
        assert (said.returncode, "WRONG" in said.stdout) == (0, False), said.stdout
        assert f"note  {orders}-0 begins at offset {ends[0]:,}: {ends[0]:,} events that the ledger keeps" in said.stdout
        await the_other_audits_know_what_is_gone(installation, published[0])
        await a_real_difference_is_found(installation, orders)
        rebuilt = await installation.run("rebuild", "--output-prefix", f"{prefix}again.", timeout_s=120)
        assert rebuilt.returncode == 1
        assert "history is incomplete" in rebuilt.stderr
        assert len(rebuilt.stderr.splitlines()) == 1
    finally:
        installation.end()


async def the_other_audits_know_what_is_gone(installation: Installation, gone: Published) -> None:
    """An order whose record was deleted can be explained and corrected; figures of the past count it or are refused."""
    event = json.loads(gone.value or b"")
    order_id, day = event["data"]["order_id"], event["time"][:10]
    listed = installation.folder / "theirs.csv"
    listed.write_text(f"order_id\n{order_id}\n")
    row = ("--metric", "orders_placed", "--scope", "all", "--period", "year:" + day[:4])
    compared = await installation.run("reconcile", *row, "--against", str(listed), "--json")
    assert json.loads(compared.stdout)["matched"] == 1, compared.stdout
    moved = await installation.run(
        "correct", "move", order_id, "--to", "2024-11-01", "--reason", "a try", "--what", "order"
    )
    assert moved.returncode == 2, moved.stdout + moved.stderr
    assert "was deleted (retention)" in moved.stderr
    past = await installation.run("windows", "--as-of", "2024-01-01T00:00:00+08:00")
    assert (past.returncode, past.stderr.count("\n")) == (2, 1), past.stderr
    assert "cannot be told any more" in past.stderr


async def a_real_difference_is_found(installation: Installation, orders: str) -> None:
    """A marker claims an event that was never applied, in a partition whose beginning is gone."""
    catalogue = installation.catalogue
    latest = await read_latest(installation.settings, [(catalogue.counts.name, 0)])
    marker = json.loads(latest[b"0|applied"])
    key = next(key for number in range(1000) if homes([key := b"SO-PLANTED-%d" % number], 4) == [0])
    value = event("order.placed.v1", "planted", FIRST, {"order_id": key.decode(), "model": "SU7"})
    async with AIOKafkaProducer(bootstrap_servers=installation.settings.bootstrap_servers) as producer:
        installation.end()
        sent = await producer.send_and_wait(orders, value, key, 0)
        marker["positions"][orders] = [sent.offset + 1, ""]
        await producer.send_and_wait(catalogue.counts.name, json.dumps(marker).encode(), b"0|applied", 0)
    checked = await installation.run("verify", "--json")
    told = json.loads(checked.stdout)
    wrong = {check["name"]: [one["line"] for one in check["differences"]] for check in told["checks"]}
    assert checked.returncode == 1
    assert any("orders_placed/model=SU7/day:" in line and "(-1)" in line for line in wrong["day counts"]), wrong
    applied = sum(books["applied"] for books in marker["books"].values())
    assert f"ledger partition 0: applied {applied:,}, counted {applied + 1:,}" in wrong["books"]
    assert not wrong["sources"]


async def test_a_gap_stops_the_partition_that_reads_it_alone_until_it_is_accepted(
    bootstrap: str, prefix: str, tmp_path: Path
) -> None:
    installation = await Installation(bootstrap, prefix, tmp_path).create()
    orders = installation.catalogue.orders.name
    published = _orders(5, 150)
    try:
        worker = installation.worker("w1")
        await installation.publish(published)
        await installation.applied()
        worker.kill()
        worker.wait()
        more = _orders(6, 80)
        await installation.publish(more)
        read = (await installation.markers())[0]["positions"][orders][0]
        await trim(installation, {TopicPartition(orders, 0): read + 3})
        worker = installation.worker("w2")
        await until(lambda: "stands still" in worker.log.read_text(), installation)
        listed = await installation.run("gaps", "list")
        assert listed.stdout.startswith(f"{orders}-0  open  read up to {read:,}, begins at {read + 3:,}")
        others = await installation.markers()
        assert worker.process.poll() is None
        give_up_s = deadline(30)
        while (await installation.status()).get("worker/w2", {}).get("health") != "degraded":
            assert time.monotonic() < give_up_s, installation.tails()
            await asyncio.sleep(0.2)

        wrong = await installation.run("gaps", "accept", orders, "1", "--reason", "why not")
        assert (wrong.returncode, wrong.stdout) == (2, "")
        assert f"{orders}-1 lacks nothing" in wrong.stderr
        accepted = await installation.run("gaps", "accept", orders, "0", "--reason", "retention")
        assert (accepted.returncode, accepted.stdout) == (
            0,
            f"{orders}-0: 3 offsets are done without, {read} to {read + 2}\n",
        )
        await installation.applied()
        assert (await installation.markers())[0]["lost"] == {orders: 3}
        assert all("lost" not in marker for number, marker in others.items() if number)
        assert (await installation.status())["partition/0"]["lost"] == {orders: 3}
        gone = [record.value for record in more if homes([record.key or b""], 4) == [0]][:3]
        left = [record.value for record in (*published, *more) if record.value not in gone]
        assert await installation.counts() == recount(left)
        listed = await installation.run("gaps", "list", "--json")
        assert json.loads(listed.stdout)["state"] == "behind"
    finally:
        installation.end()


def _orders(seed: int, count: int) -> list[Published]:
    """Records of orders, on the partitions that the default partitioner chooses."""
    found = (record for record in lifecycle(seed, 2 * count) if record.partition is None and record.topic == "orders")
    return list(islice(found, count))


async def test_a_topic_that_is_recreated_under_a_worker_ends_it_with_one_line(
    bootstrap: str, prefix: str, tmp_path: Path
) -> None:
    installation = await Installation(bootstrap, prefix, tmp_path, partitions=2).create()
    deliveries = installation.catalogue.deliveries.name
    events = list(lifecycle(5, 60, partitions=2))
    try:
        worker = installation.worker("w1")
        await installation.publish(events)
        await installation.applied()
        # The worker does not see the moment without the topic, which it would report differently.
        worker.kill(signal.SIGSTOP)
        async with admin(installation.settings) as client:
            await client.delete_topics([deliveries])
            give_up_s = deadline(60)
            while deliveries in await client.list_topics():
                assert time.monotonic() < give_up_s
                await asyncio.sleep(0.05)
        # With fewer partitions, one of which has fewer records than were counted from it.
        async with admin(installation.settings) as client:
            made = NewTopic(deliveries, 1, 1, topic_configs={"message.timestamp.type": "LogAppendTime"})
            await client.create_topics([made])
        await installation.publish(
            [record._replace(partition=0) for record in events if record.topic == "deliveries"][:3]
        )
        worker.kill(signal.SIGCONT)
        await until(lambda: worker.process.poll() is not None, installation)
        *_, last = worker.log.read_text().splitlines()
        assert worker.process.returncode == 2, worker.log.read_text()
        assert f"milestones: {deliveries}-" in last
        assert "holds offsets 0 to" in last
        assert "the topic was recreated, or mirrored with other offsets: go on with" in last
        checked = await installation.run("verify", timeout_s=120)
        assert (checked.returncode, checked.stderr) == (1, "")
        assert f"{deliveries}-1: is not there" in checked.stdout
    finally:
        installation.workers.clear()
        installation.end()


async def test_a_topic_that_was_made_again_is_known_by_its_id(bootstrap: str, prefix: str, tmp_path: Path) -> None:
    """It may be as long as before, and begin the same."""
    installation = await Installation(bootstrap, prefix, tmp_path, partitions=1).create()
    context, catalogue = Context(installation.settings), installation.catalogue
    orders = catalogue.orders.name
    async with context.log.reader() as reader:
        before = await reader.topic_ids([*catalogue.names().values(), "there-is-no-such-topic"])
    assert set(before) == set(catalogue.names().values())
    marker = Marker(
        positions=dict.fromkeys(context.source_topics, (0, "")),
        books=dict.fromkeys(context.source_topics, Books(0, 0, 0, 0, 0)),
        fingerprint=context.fingerprint,
        rebuilding=False,
        caught_up=True,
        caught_up_us=0,
        clock_us=0,
        sources={},
        backfilled=0,
        partitions=1,
        topics=context.source_topics.numbers,
        topic_ids=before,
    )
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        await producer.send_and_wait(catalogue.ledger.name, encode_marker(marker), STATE_KEY, 0)
    replica = Replica(context, 0)
    await restored(replica, context)
    assert replica.memory.topic_ids == before
    async with admin(installation.settings) as client:
        await client.delete_topics([orders])
        give_up_s = deadline(60)
        while orders in await client.list_topics():
            assert time.monotonic() < give_up_s
            await asyncio.sleep(0.05)
        await client.create_topics([NewTopic(orders, 1, 1)])
    with pytest.raises(ExpectedError, match=f"{orders} is not the topic that the ledger applied, but one made again"):
        await restored(Replica(context, 0), context)
    assert await move(context)
    await restored(Replica(context, 0), context)
    assert await move(context) == []


async def restored(replica: Replica, context: Context) -> None:
    async with context.log.reader() as reader:
        await restore(replica, context, reader)


async def test_a_compacted_source_is_refused_with_the_reason(bootstrap: str, prefix: str, tmp_path: Path) -> None:
    installation = Installation(bootstrap, prefix, tmp_path)
    orders = installation.catalogue.orders.name
    async with admin(installation.settings) as client:
        await client.create_topics([NewTopic(orders, 2, 1, topic_configs={"cleanup.policy": "compact"})])
        give_up_s = deadline(20)
        while orders not in await client.list_topics():
            assert time.monotonic() < give_up_s
            await asyncio.sleep(0.05)
    for command in (("topics", "plan"), ("topics", "apply"), ("worker",)):
        done = await installation.run(*command)
        assert done.returncode == 3, command
        said = done.stdout + done.stderr
        assert f"{orders} is compacted (cleanup.policy=compact)" in said, command
