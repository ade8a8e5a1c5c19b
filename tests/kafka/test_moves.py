"""Moves: to a mirror with other offsets, and to another number of homes. Nothing is raised twice."""

from __future__ import annotations

import asyncio
import signal
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete

from streams.context import Context
from streams.embedded.broker import EmbeddedKafka
from streams.embedded.java import SHORT_LIVED
from streams.errors import ExpectedError
from streams.kafka.admin import admin
from streams.kafka.client_options import client_options
from streams.kafka.clients import read_latest, read_to_end, reader
from streams.operations.move import move
from tests.support.events import Published, event, lifecycle, production
from tests.support.installation import Installation
from tests.support.rules import rule
from tests.support.time_limits import deadline

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from schemas.topics import Catalogue, Topic

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

#: With production, so that ledger partitions report deliveries to each other.
FAMILIES = ("orders", "deliveries", "production")
RULE = f"families = {list(FAMILIES)}\n" + rule("daily", exceeds=2, first=True)
VIN = "LNBSU7A10R1000123"
GARBAGE = Published("orders", b"x", b"{", 1)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`HOST:PORT` of another cluster."""
    with EmbeddedKafka(tmp_path_factory.mktemp("elsewhere"), heap_mb=256, java_options=SHORT_LIVED) as broker:
        yield broker.bootstrap


async def test_a_mirrored_cluster_and_another_number_of_homes_repeat_no_milestone(
    bootstrap: str, elsewhere: str, prefix: str, tmp_path: Path
) -> None:
    for name in ("a", "b", "d"):
        (tmp_path / name).mkdir()
    here = await installation(bootstrap, f"{prefix}a.", tmp_path / "a")
    there = await installation(elsewhere, f"{prefix}b.", tmp_path / "b")
    try:
        await published_in_transactions(here, [*lifecycle(3, 60, partitions=2), *production(3, 20), GARBAGE])
        here.worker("w1")
        await here.applied()
        contradictions = await told(here)
        await ended(here)
        before = await said(here)
        assert len(before["milestones"]) > 3
        assert any(b"delivered_without_production" in value for value in contradictions.values())

        await mirrored(here, there, here.catalogue.all())
        refused = await there.run("worker", "--instance", "w1")
        *_, last = refused.stderr.splitlines()
        assert refused.returncode == 2
        assert (
            ": the topic was recreated, or mirrored with other offsets: go on with milestones move, or count again"
            in last
        )

        with pytest.raises(ExpectedError, match="holds places of the other cluster: delete it"):
            await move(Context(there.settings))
        await deleted(there, derived(there.catalogue, but=()))
        await there.create()
        there.worker("w1")
        await there.applied()
        assert await said(there) == before
        assert await told(there) == contradictions
        assert (await there.books_balance())["dead_letters"] == 1
        await there.publish(deliveries_of("2024-11-30", 3))
        await there.applied()
        after = await said(there)
        assert after["milestones"][: len(before["milestones"])] == before["milestones"]
        assert [each[0] for each in after["milestones"][len(before["milestones"]) :]] == [
            "deliveries/model=SU7/day:2024-11-30/exceeds:2"
        ]
        await ended(there)
        await goes_on_with_what_was_mirrored(here, elsewhere, f"{prefix}d.", tmp_path / "d", before, contradictions)

        beside = await there.run("rebuild", "--output-prefix", f"{prefix}c.", "--diff", MILESTONES_PARTITIONS="3")
        assert (beside.returncode, "no difference" in beside.stderr) == (0, True), beside.stdout + beside.stderr
        kept = (there.catalogue.quarantine, there.catalogue.replayed)
        await deleted(there, derived(there.catalogue, but=kept))
        grown = await installation(elsewhere, f"{prefix}b.", tmp_path / "b", partitions=3)
        try:
            grown.worker("w1")
            await grown.applied()
            assert await said(grown) == after
            assert len(await grown.markers()) == 3
        finally:
            grown.end()
    finally:
        here.end()
        there.end()


async def goes_on_with_what_was_mirrored(  # noqa: PLR0917 - what goes where
    here: Installation,
    bootstrap: str,
    prefix: str,
    folder: Path,
    before: dict[str, Any],
    contradictions: dict[bytes, bytes],
) -> None:
    """A state moves to a cluster where half of the events are gone."""
    made = await installation(bootstrap, prefix, folder)
    context, catalogue = Context(made.settings), here.catalogue
    try:
        with pytest.raises(ExpectedError, match="holds no state: mirror it, or just start the workers"):
            await move(context)
        outputs = (catalogue.windows, catalogue.history, catalogue.milestones, catalogue.violations)
        state = (catalogue.ledger, catalogue.counts, catalogue.totals)
        await mirrored(here, made, (*catalogue.sources(), *outputs, *state))
        sources = [TopicPartition(name, number) for name in made.catalogue.names().values() for number in range(2)]
        async with reader(made.settings) as consumer:
            ends = await consumer.end_offsets(sources)
        async with admin(made.settings) as client:
            await client.delete_records({tp: RecordsToDelete(end // 2) for tp, end in ends.items()})
        moved = {TopicPartition(*one.source): (one.first, one.end) for one in await move(context)}
        assert {tp: moved[tp] for tp in sources} == {tp: (end // 2, end) for tp, end in ends.items()}
        await made.publish(deliveries_of("2024-11-29", 3))
        made.worker("w1")
        await made.applied()
        after = await said(made)
        assert after["milestones"][: len(before["milestones"])] == before["milestones"]
        assert [each[0] for each in after["milestones"][len(before["milestones"]) :]] == [
            "deliveries/model=SU7/day:2024-11-29/exceeds:2"
        ]
        day = "day:2024-11-29"
        assert {key: n for key, n in after["rows"].items() if key[2].startswith("day:") and key[2] != day} == {
            key: n for key, n in before["rows"].items() if key[2].startswith("day:")
        }
        assert (await made.books_balance())["duplicates"] > 0
        after_it = await told(made)
        assert after_it.pop(VIN.encode()).count(b"delivered_without_production") == 3
        assert after_it == contradictions | {
            key: value for key, value in after_it.items() if key.startswith(b"SO-2024")
        }
        await ended(made)
        checked = await made.run("verify", "--json")
        assert checked.returncode == 0, checked.stdout
        assert '"ledger partition 0 was moved here with' in checked.stdout
        assert await move(context) == [], "it fits now"
    finally:
        made.end()


async def installation(bootstrap: str, prefix: str, folder: Path, partitions: int = 2) -> Installation:
    made = Installation(bootstrap, prefix, folder, partitions=partitions, families=FAMILIES)
    made.configure(RULE)
    return await made.create()


def derived(catalogue: Catalogue, *, but: Sequence[Topic]) -> list[str]:
    """What is counted again from the sources, as OPERATIONS.md lists it."""
    internal = [topic for topic in catalogue.all() if topic.internal and topic not in but]
    return [topic.name for topic in (*internal, catalogue.violations, catalogue.dead_letters, catalogue.status)]


async def ended(made: Installation) -> None:
    worker = made.workers.pop()
    worker.kill(signal.SIGTERM)
    assert await asyncio.to_thread(worker.wait) == 0


def deliveries_of(day: str, number: int) -> list[Published]:
    return [
        Published(
            "deliveries",
            f"SO-{day}-{place}".encode(),
            event(
                "vehicle.delivered.v1",
                f"{day}-{place}",
                datetime.fromisoformat(f"{day}T04:00:00+00:00"),
                {"order_id": f"SO-{day}-{place}", "model": "SU7", "vin": VIN},
            ),
            None,
        )
        for place in range(number)
    ]


async def said(made: Installation) -> dict[str, Any]:
    """Rows, and all milestone events in order."""
    return {
        "rows": await made.counts(),
        "milestones": [(each["subject"], each["type"], each["time"]) for each in await made.milestones()],
    }


async def told(made: Installation) -> dict[bytes, bytes]:
    """Contradictions, once all reports between ledger partitions have been applied."""
    give_up_s = deadline(30)
    while True:
        states = [marker["told"] for marker in (await made.markers()).values()]
        written = sum(sum(state.get("written", {}).values()) for state in states)
        if written == sum(state.get("read", 0) for state in states) and not any(map(withheld, states)):
            return await read_latest(made.settings, made.catalogue.violations.whole)
        assert time.monotonic() < give_up_s, states
        await asyncio.sleep(0.2)


def withheld(state: dict[str, Any]) -> bool:
    return bool(state.get("withheld"))


async def published_in_transactions(made: Installation, records: Sequence[Published]) -> None:
    """Publishes so that a copy has other offsets: ends of transactions take some."""
    topics = dict(zip(FAMILIES, made.catalogue.names().values(), strict=True))
    producer = AIOKafkaProducer(
        **client_options(made.settings), transactional_id=f"{made.settings.output_prefix}publisher"
    )
    await producer.start()
    try:
        for first in range(0, len(records), 20):
            async with producer.transaction():
                for record in records[first : first + 20]:
                    await producer.send(topics[record.topic], record.value, record.key, record.partition)
    finally:
        await producer.stop()


async def mirrored(here: Installation, there: Installation, topics: Iterable[Topic]) -> None:
    """Copies committed records as a mirror does; topic names in values keep their length."""
    old, new = here.settings.output_prefix.encode(), there.settings.output_prefix.encode()
    producer = AIOKafkaProducer(**client_options(there.settings), max_request_size=8 << 20)
    await producer.start()
    try:
        for topic in topics:
            name = topic.name.replace(old.decode(), new.decode())
            async for records in read_to_end(here.settings, [(topic.name, part) for part in range(topic.partitions)]):
                for record in records:
                    value = record.value and record.value.replace(old, new)
                    await producer.send(name, value, record.key, record.partition, headers=list(record.headers))
        await producer.flush()
    finally:
        await producer.stop()


async def deleted(made: Installation, names: Iterable[str]) -> None:
    wanted, give_up_s = set(names), deadline(60)
    async with admin(made.settings) as client:
        await client.delete_topics(list(wanted))
        while left := wanted & set(await client.list_topics()):
            assert time.monotonic() < give_up_s, left
            await asyncio.sleep(0.1)
