"""Workers are killed, paused, added and taken away while events flow; the results equal an independent recount.

Every fault waits for progress first: a kill that hits an idle worker proves nothing.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewPartitions, NewTopic

from streams.kafka.admin import admin
from streams.kafka.clients import read_latest, read_to_end
from streams.kafka.records import header_values
from tests.support.events import FIRST, Published, event, lifecycle
from tests.support.installation import Installation
from tests.support.recount import recount
from tests.support.rules import rule, target
from tests.support.time_limits import deadline, stretched

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

RULES = (
    rule("daily-20", exceeds=20, first=True)
    + rule("national-day", "orders_placed", window="holiday:national-day", scope=(), reaches=100)
    + target("october", 150)
)


@pytest.fixture
async def installation(bootstrap: str, tmp_path: Path) -> AsyncIterator[Installation]:
    async with Installation.created(bootstrap, tmp_path, config=RULES) as made:
        yield made


async def progress(installation: Installation, seen: int, timeout_s: float = 40.0) -> int:
    """Waits until the counts topic holds more than `seen` committed records and returns its end."""
    tp = TopicPartition(installation.catalogue.counts.name, 0)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=installation.settings.bootstrap_servers, isolation_level="read_committed"
    )
    await consumer.start()
    try:
        give_up_s = deadline(timeout_s)
        while time.monotonic() < give_up_s:
            end = (await consumer.end_offsets([tp]))[tp]
            if end > seen:
                return int(end)
            await asyncio.sleep(0.05)
    finally:
        await consumer.stop()
    raise AssertionError(f"no new output within {timeout_s} s\n{installation.tails()}")


async def verify(installation: Installation, published: list[Published]) -> None:
    """Checks counts, milestones, books and transactions."""
    await installation.applied()
    expected = recount(record.value for record in published)
    assert await installation.counts() == expected

    standing = await installation.standing()
    assert standing == expected_milestones(expected)

    books = await installation.books_balance()
    assert books["read"] == len(published)
    distinct = len({record.value for record in published})
    forwarded = books["forwarded_applied"] + books["forwarded_duplicates"] + books["forwarded_dead_letters"]
    assert books["rerouted"] == forwarded
    assert books["applied"] + books["forwarded_applied"] == distinct
    assert books["dead_letters"] == books["forwarded_dead_letters"] == 0
    await ways_balance(installation)
    await no_open_transaction(installation)


async def ways_balance(installation: Installation) -> None:
    """What each partition has forwarded to each home equals what that home has received from it."""
    markers = await installation.markers()
    forwarded = {(shard, int(home), n) for shard, m in markers.items() for home, n in m.get("forwarded", {}).items()}
    arrived = {(int(shard), home, n) for home, m in markers.items() for shard, n in m.get("arrived", {}).items()}
    assert forwarded == arrived
    rerouted = sum(books["rerouted"] for marker in markers.values() for books in marker["books"].values())
    assert sum(records for _, _, records in forwarded) == rerouted > 0


def expected_milestones(counts: dict[tuple[str, str, str], int]) -> set[str]:
    """The standing milestones by RULES and the counts, for past windows filled by live events."""
    standing = set()
    firsts: dict[str, str] = {}
    for (metric, scope, period), count in counts.items():
        if metric == "deliveries" and scope.startswith("model=") and period.startswith("day:") and count > 20:
            standing.add(f"deliveries/{scope}/{period}/exceeds:20")
            firsts[scope] = min(firsts.get(scope, period), period)
    standing |= {f"deliveries/{scope}/first:day/exceeds:20" for scope in firsts}
    if counts.get(("orders_placed", "all", "holiday:national-day:2024"), 0) >= 100:
        standing.add("orders_placed/all/holiday:national-day:2024/reaches:100")
    if counts.get(("deliveries", "all", "month:2024-10"), 0) >= 150:
        standing.add("deliveries/all/month:2024-10/target:october:150")
    return standing


async def no_open_transaction(installation: Installation) -> None:
    """With all workers ended, the last stable offset of every partition becomes its end: nothing is left undecided.

    What a killed worker left open is aborted by its successor, or by the broker within two transaction timeouts.
    """
    for worker in installation.workers:
        if worker.process.poll() is None:
            worker.kill(signal.SIGTERM)
            assert await asyncio.to_thread(worker.wait) == 0
    tps = [TopicPartition(topic.name, n) for topic in installation.catalogue.all() for n in range(topic.partitions)]
    give_up_s = deadline(25)
    while True:
        stable, ends = [await end_offsets(installation, tps, level) for level in ("read_committed", "read_uncommitted")]
        if stable == ends:
            return
        assert time.monotonic() < give_up_s, {tp: (stable[tp], ends[tp]) for tp in tps if stable[tp] != ends[tp]}
        await asyncio.sleep(0.5)


async def end_offsets(installation: Installation, tps: list[TopicPartition], level: str) -> dict[TopicPartition, int]:
    """Ends of the partitions as a reader of that isolation level sees them."""
    consumer = AIOKafkaConsumer(bootstrap_servers=installation.settings.bootstrap_servers, isolation_level=level)
    await consumer.start()
    try:
        ends: dict[TopicPartition, int] = await consumer.end_offsets(tps)
        return ends
    finally:
        await consumer.stop()


async def test_ten_kills_in_mid_flight_lose_nothing_and_count_nothing_twice(installation: Installation) -> None:
    """A kill -9 at random moments, each only after new output since the last start."""
    dice = random.Random(1)
    published = list(lifecycle(1, 4000))
    flow = asyncio.create_task(installation.publish(published, pause_every=60, pause_s=0.25))
    seen = 0
    for _ in range(10):
        worker = installation.worker("w1")
        seen = await progress(installation, seen)
        await asyncio.sleep(dice.random() * 0.8)
        worker.kill()
        assert worker.wait() == -signal.SIGKILL
        seen = await progress(installation, -1)
    await flow
    installation.worker("w1")
    await progress(installation, seen)
    await verify(installation, published)


async def test_workers_that_join_and_leave_share_the_work_and_the_results_stay_exact(
    installation: Installation,
) -> None:
    """Two workers come and go: one by SIGTERM, one by kill -9."""
    published = list(lifecycle(2, 3000))
    flow = asyncio.create_task(installation.publish(published, pause_every=60, pause_s=0.2))
    first = installation.worker("w1")
    seen = await progress(installation, 0)
    second = installation.worker("w2")
    await asyncio.sleep(3)
    seen = await progress(installation, seen)
    first.kill(signal.SIGTERM)
    started = time.monotonic()
    assert await asyncio.to_thread(first.wait) == 0
    assert time.monotonic() - started < stretched(5.0)
    seen = await progress(installation, await progress(installation, -1))
    installation.worker("w3")
    await progress(installation, seen)
    second.kill()
    second.wait()
    await flow
    await verify(installation, published)


async def test_a_paused_worker_that_wakes_up_as_a_zombie_changes_nothing(installation: Installation) -> None:
    """SIGSTOP beyond the session timeout, takeover, SIGCONT, and the other one is killed."""
    published = list(lifecycle(3, 3000))
    flow = asyncio.create_task(installation.publish(published, pause_every=50, pause_s=0.35))
    zombie = installation.worker("w1")
    await progress(installation, 0)
    zombie.kill(signal.SIGSTOP)
    successor = installation.worker("w2")
    before = await progress(installation, -1)
    await progress(installation, before)
    zombie.kill(signal.SIGCONT)
    await asyncio.sleep(4)
    successor.kill()
    successor.wait()
    await flow
    await verify(installation, published)


async def test_a_restore_that_takes_longer_than_a_rebalance_ends_well(installation: Installation) -> None:
    """The group rebalances during a slow opening, which continues, and its partitions are read."""
    published = list(lifecycle(4, 1500))
    await installation.publish(published[: len(published) // 2])
    installation.worker("w1", slow_open_s=8)
    await asyncio.sleep(4)
    joining = installation.worker("w2", slow_open_s=8)
    await asyncio.sleep(5)
    joining.kill()
    joining.wait()
    await installation.publish(published[len(published) // 2 :])
    await verify(installation, published)


async def test_a_batch_that_is_late_on_its_way_to_the_ledger_is_counted(installation: Installation) -> None:
    """The fetcher stands at the end of the topic for seconds while the ledger has not seen the records."""
    installation.worker("w1", late_partition=1)
    await progress(installation, 0)
    published = list(lifecycle(6, 300))
    await installation.publish(published)
    await asyncio.sleep(7)
    await verify(installation, published)


async def test_publishers_with_transactions_leave_no_lag_and_what_they_abort_counts_nowhere(
    installation: Installation,
) -> None:
    """Markers and aborted records at the end of a topic are read past, so that lag falls to 0."""
    installation.worker("w1")
    await progress(installation, 0)
    published, kept = list(lifecycle(7, 300)), []
    producer = AIOKafkaProducer(
        bootstrap_servers=installation.settings.bootstrap_servers,
        transactional_id=f"{installation.settings.output_prefix}publisher",
    )
    await producer.start()
    topics = {"orders": installation.catalogue.orders.name, "deliveries": installation.catalogue.deliveries.name}
    try:
        for number, chunk in enumerate(published[start : start + 20] for start in range(0, len(published), 20)):
            await producer.begin_transaction()
            for record in chunk:
                await producer.send(topics[record.topic], record.value, record.key, record.partition)
            if number % 3 == 2:
                await producer.abort_transaction()
            else:
                await producer.commit_transaction()
                kept += chunk
    finally:
        await producer.stop()
    assert len(kept) < len(published)
    await installation.applied()
    await no_lag(installation)
    await verify(installation, kept)


async def no_lag(installation: Installation, timeout_s: float = 20.0) -> None:
    """Waits until every ledger partition says that nothing is left to read."""
    give_up_s = deadline(timeout_s)
    while True:
        latest = await read_latest(installation.settings, [(installation.catalogue.status.name, 0)])
        partitions = [json.loads(value) for key, value in latest.items() if key.startswith(b"partition/")]
        lagging = [partition["lag"] for partition in partitions if any(partition["lag"].values())]
        if partitions and not lagging:
            return
        assert time.monotonic() < give_up_s, f"{lagging}\n{installation.tails()}"
        await asyncio.sleep(0.2)


async def test_state_deleted_altogether_is_rebuilt_in_silence(installation: Installation) -> None:
    """Without internal topics everything is recounted, and no milestone or dead letter comes twice.

    This includes records skipped by an operator, known only from their dead letters, and dead letters that were published
    again.
    """
    published = list(lifecycle(5, 1000))
    out, repaired = placed("SO-OUT"), placed("SO-REPAIRED")
    garbage = [
        Published("orders", b"x", b"{", None),
        Published("deliveries", b"y", b'{"specversion":"1.0"}', 1),
        repaired._replace(key=b"customer-7"),
    ]
    await installation.publish([*published[:500], out, *published[500:], *garbage])
    await command(installation, "quarantine", *await place_of(installation, out), "--reason", "a test")
    worker = installation.worker("w1")
    await installation.applied()
    await command(installation, "dead-letters", "replay", "--reason", "wrong_key")
    await installation.applied()
    milestones = await installation.milestones()
    dead = await dead_letters(installation)
    assert [reason for _, _, reason in dead].count(b"quarantined") == 1
    assert len(dead) == 4
    counts = recount(record.value for record in [*published, repaired])
    assert await installation.counts() == counts
    books = await installation.books_balance()
    worker.kill(signal.SIGTERM)
    worker.wait()
    await delete_internal_topics(installation)
    await installation.create()
    installation.worker("w2")
    await installation.applied()
    await asyncio.sleep(2)
    assert await installation.milestones() == milestones
    assert await dead_letters(installation) == dead
    assert await installation.counts() == counts
    again = await installation.books_balance()
    assert [again[name] for name in ("read", "dead_letters")] == [books[name] for name in ("read", "dead_letters")]
    said = await command(installation, "dead-letters", "replay", "--reason", "wrong_key")
    assert "published again before" in said


def placed(order_id: str) -> Published:
    """An order."""
    value = event("order.placed.v1", f"{order_id}-p", FIRST, {"order_id": order_id, "model": "SU7"})
    return Published("orders", order_id.encode(), value, None)


async def place_of(installation: Installation, record: Published) -> tuple[str, str, str]:
    """Topic, partition and offset at which a record of the orders was published."""
    topic = installation.catalogue.orders
    async for records in read_to_end(installation.settings, [(topic.name, n) for n in range(topic.partitions)]):
        for found in records:
            if found.value == record.value:
                return topic.name, str(found.partition), str(found.offset)
    raise AssertionError("it is not there")


async def command(installation: Installation, *arguments: str) -> str:
    """The output of a command, which must succeed."""
    done = await installation.run(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def dead_letters(installation: Installation) -> list[tuple[bytes | None, bytes | None, bytes]]:
    """Key, value and reason of every dead letter."""
    topic = installation.catalogue.dead_letters
    found = []
    async for records in read_to_end(installation.settings, [(topic.name, n) for n in range(topic.partitions)]):
        found += [(record.key, record.value, header_values(record)["milestones.reason"]) for record in records]
    return sorted(found, key=repr)


async def delete_internal_topics(installation: Installation) -> None:
    """Deletes ledger, counts, rerouted and the orders of quarantine."""
    from streams.kafka.admin import admin, describe  # noqa: PLC0415 - used here only

    catalogue = installation.catalogue
    names = [topic.name for topic in (catalogue.ledger, catalogue.counts, catalogue.rerouted, catalogue.quarantine)]
    async with admin(installation.settings) as client:
        await client.delete_topics(names)
        for _ in range(100):
            if not await describe(client, names):
                return
            await asyncio.sleep(0.1)
    raise AssertionError("the topics are still there")


async def test_topics_of_unequal_sizes_that_grow_under_load(bootstrap: str, prefix: str, tmp_path: Path) -> None:
    """As their owners made them: 3 partitions of orders, 6 of deliveries, then more of both, while two workers count.

    They keep their orders in files.
    """
    installation = Installation(bootstrap, prefix, tmp_path, metadata_max_age_s=1.0, orders_in="file")
    installation.configure(RULES)
    catalogue = installation.catalogue
    orders, deliveries = catalogue.orders.name, catalogue.deliveries.name
    async with admin(installation.settings) as client:
        await client.create_topics([NewTopic(orders, 3, 1), NewTopic(deliveries, 6, 1)])
    await installation.create()
    published = list(lifecycle(31, 900, partitions=3))
    half = len(published) // 2
    try:
        for name in ("w1", "w2"):
            installation.worker(name)
        await installation.publish(published[:half], pause_every=100, pause_s=0.05)
        await progress(installation, 50)
        async with admin(installation.settings) as client:
            await client.create_partitions({orders: NewPartitions(5), deliveries: NewPartitions(8)})
        await installation.publish(published[half : half + 400], pause_every=100, pause_s=0.05)
        await progress(installation, 200)
        installation.workers[0].kill()
        await installation.publish(published[half + 400 :])
        await verify(installation, published)
        status = await installation.status()
        said = {name for number in range(4) for name in status[f"partition/{number}"]["applied"]}
        assert {f"{orders}:4", f"{deliveries}:6", f"{deliveries}:7"} <= said
        checked = await installation.run("verify")
        assert (checked.returncode, checked.stderr) == (0, ""), checked.stdout
    finally:
        installation.end()
