"""`milestones publish` as a person uses it, and the check of its lines."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from schemas.facts import DELIVERIES, ORDERS
from streams.events.event_files import NumberedLine
from streams.events.ndjson import LineChecker
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import read_to_end
from streams.kafka.publication import CONTROLS, TARGETS, Publication
from streams.kafka.publisher import Publisher
from streams.settings import Settings
from tests.support.installation import Installation
from tests.support.time_limits import stretched

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from schemas.facts import Rejection

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "deploy" / "demo" / "sample-events.ndjson"
NOW_MS = 1_750_000_000_000
COMMAND = [sys.executable, "-m", "streams", "publish"]


def line(kind: str, data: dict[str, Any], **attributes: Any) -> bytes:
    event = {
        "specversion": "1.0",
        "id": "1",
        "source": "/test",
        "type": kind,
        "time": "2024-10-07T14:03:11+08:00",
        "data": data,
    }
    return json.dumps(event | attributes).encode()


PLACED = line("order.placed.v1", {"order_id": "A", "model": "SU7"})
CANCELLED = line("order.cancelled.v1", {"order_id": "A"})
DELIVERED = line("vehicle.delivered.v1", {"order_id": "A", "vin": "LNBSU7A10R1000123", "model": "SU7"})
REVERSED = line("delivery.reversed.v1", {"order_id": "A", "vin": "LNBSU7A10R1000123"})
VOIDED = line("event.voided.v1", {"order_id": "A", "voids": {"source": "/test", "id": "9"}})
TARGET = line(
    "target.set.v1",
    {"target_id": "T", "metric": "deliveries", "scope": "all", "period": "year:2024", "value": 9},
)
BALANCE = line("balance.set.v1", {"metric": "deliveries", "scope": "model= SU7", "count": 5})
WITHDRAWN = line("target.withdrawn.v1", {"target_id": "T"})
CONTROL = line(
    "control.total.v1", {"metric": "deliveries", "scope": "model=SU7", "period": "day:2024-10-07", "count": 0}
)


def check(*texts: bytes) -> tuple[list[Any], dict[int, Rejection]]:
    lines = [NumberedLine(number, text) for number, text in enumerate(texts, start=1)]
    records, refused = LineChecker(300, lambda: NOW_MS).check(lines)
    return records, {each.number: each.rejection for each in refused}


def test_where_only_deliveries_are_published_a_void_is_one_of_them() -> None:
    records, refused = LineChecker(300, lambda: NOW_MS, DELIVERIES).check([NumberedLine(1, VOIDED)])
    assert ([record.topic for record in records], refused) == ([DELIVERIES], [])


@pytest.mark.parametrize(
    ("text", "topic", "key"),
    [
        (PLACED, ORDERS, b"A"),
        (CANCELLED, ORDERS, b"A"),
        (DELIVERED, DELIVERIES, b"A"),
        (REVERSED, DELIVERIES, b"A"),
        (VOIDED, ORDERS, b"A"),
        (TARGET, TARGETS, b"T"),
        (WITHDRAWN, TARGETS, b"T"),
        (BALANCE, TARGETS, b"deliveries/model=SU7/total"),
        (CONTROL, CONTROLS, b"deliveries/model=SU7/day:2024-10-07"),
    ],
)
def test_an_event_goes_to_the_topic_of_its_type_with_its_key_and_its_own_bytes(
    text: bytes, topic: int, key: bytes
) -> None:
    records, refused = check(b"  " + text + b"\r")
    assert not refused
    assert [(record.topic, record.key, record.value) for record in records] == [(topic, key, text)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (PLACED[:-5], "malformed_json"),
        (b"[]", "not_an_event"),
        (b"[" * 5000, "too_deep"),
        (PLACED.replace(b"placed.v1", b"placed.v9"), "unknown_type"),
        (line("order.placed.v1", {"model": "SU7"}), "invalid_field"),
        (line("order.placed.v1", {"order_id": 7, "model": "SU7"}), "invalid_field"),
        (line("vehicle.delivered.v1", {"order_id": "A", "vin": "short", "model": "SU7"}), "invalid_field"),
        (line("target.set.v1", {"target_id": "T"}), "invalid_field"),
        (line("control.total.v1", {"metric": "deliveries", "scope": "all", "count": 1}), "invalid_field"),
        (line("order.cancelled.v1", {"order_id": "A"}, time="2024-10-07T14:03:11"), "missing_offset"),
        (line("order.cancelled.v1", {"order_id": "A"}, time="2099-10-07T14:03:11Z"), "future_time"),
        (line("order.cancelled.v1", {"order_id": "A", "reason": "x" * 300_000}), "too_large"),
    ],
)
def test_a_line_that_the_workers_would_reject_is_refused_for_the_same_reason(text: bytes, reason: str) -> None:
    records, refused = check(PLACED, text, DELIVERED)
    assert [record.value for record in records] == [PLACED, DELIVERED]
    assert {number: rejection.reason for number, rejection in refused.items()} == {2: reason}


def test_blank_lines_are_neither_events_nor_mistakes_and_are_counted_as_lines() -> None:
    records, refused = check(b"", b"  \t", PLACED, b"{", b"")
    assert len(records) == 1
    assert list(refused) == [4]


def test_the_sample_that_people_start_with_is_valid_from_its_first_line_to_its_last() -> None:
    records, refused = check(*SAMPLE.read_bytes().splitlines())
    assert not refused
    assert len(records) == 12


@pytest.fixture
async def settings(bootstrap: str, tmp_path: Path) -> AsyncIterator[Settings]:
    async with Installation.created(bootstrap, tmp_path) as made:
        yield made.settings


def environment(settings: Settings) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MILESTONES_SOURCE_PREFIX": settings.source_prefix,
        "MILESTONES_OUTPUT_PREFIX": settings.output_prefix,
    }


async def publish(settings: Settings, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return await asyncio.to_thread(
        subprocess.run,
        [*COMMAND, *arguments, "--bootstrap-servers", settings.bootstrap_servers],
        input=stdin,
        capture_output=True,
        env=environment(settings),
        timeout=stretched(60),
        check=False,
    )


async def on_topics(settings: Settings) -> list[Any]:
    catalogue = catalogue_of(settings)
    partitions = [
        (topic.name, number)
        for topic in (catalogue.orders, catalogue.deliveries, catalogue.targets)
        for number in range(topic.partitions)
    ]
    return [record async for records in read_to_end(settings, partitions) for record in records]


@pytest.mark.kafka
async def test_a_file_is_published_and_summed_up_on_stderr_alone(settings: Settings) -> None:
    done = await publish(settings, str(SAMPLE))
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.decode().startswith(
        "published 12 events (6 to the orders, 6 to the deliveries, 0 to the targets, 0 to the controls)"
    )
    published = {(record.topic, record.key, record.value) for record in await on_topics(settings)}
    assert {value for _, _, value in published} == set(SAMPLE.read_bytes().splitlines())


@pytest.mark.kafka
async def test_bad_lines_are_named_and_left_out_and_all_others_published(settings: Settings) -> None:
    done = await publish(settings, "-", stdin=b"\n".join([PLACED, b"{", b"", DELIVERED, b"[]"]))
    said = done.stderr.decode().splitlines()
    assert done.returncode == 2
    assert said[0].startswith("stdin:2: malformed_json: ")
    assert said[1].startswith("stdin:5: not_an_event: ")
    assert said[2].startswith(
        "published 2 events (1 to the orders, 1 to the deliveries, 0 to the targets, 0 to the controls)"
    )
    assert said[3].startswith("milestones: stdin: 2 of 5 lines were not published; correct them")
    assert sorted(record.value for record in await on_topics(settings)) == sorted([PLACED, DELIVERED])


@pytest.mark.kafka
async def test_bad_lines_are_grouped_by_reason(settings: Settings) -> None:
    done = await publish(settings, "-", stdin=b"no\n17\nno\n" + PLACED + b"\nno")
    said = done.stderr.decode().splitlines()
    assert sum(words.startswith("stdin:") for words in said) == 4
    assert "3 lines are malformed_json, the first is stdin:1" in said
    assert "1 line is not_an_event, the first is stdin:2" in said


@pytest.mark.kafka
async def test_many_bad_lines_do_not_flood_the_terminal(settings: Settings) -> None:
    done = await publish(settings, "-", stdin=b"{\n" * 25)
    said = done.stderr.decode().splitlines()
    assert sum(words.startswith("stdin:") for words in said) == 20
    assert "5 more lines like these" in said
    assert "25 lines are malformed_json, the first is stdin:1" in said


@pytest.mark.kafka
async def test_what_comes_through_a_pipe_is_published_before_the_pipe_ends(settings: Settings) -> None:
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "-",
        "--bootstrap-servers",
        settings.bootstrap_servers,
        env=environment(settings),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    try:
        process.stdin.write(PLACED + b"\n" + DELIVERED[:20])
        await process.stdin.drain()
        async with asyncio.timeout(stretched(30)):
            while not await on_topics(settings):  # noqa: ASYNC110 - another process is waited for
                await asyncio.sleep(0.1)
        assert [record.value for record in await on_topics(settings)] == [PLACED]
        process.stdin.write(DELIVERED[20:])
    finally:
        process.stdin.close()
    _, stderr = await process.communicate()
    assert process.returncode == 0, stderr
    assert len(await on_topics(settings)) == 2


@pytest.mark.kafka
async def test_records_of_a_partition_keep_the_order_of_their_lines(settings: Settings) -> None:
    orders = [line("order.placed.v1", {"order_id": f"O{n % 50}", "model": "SU7"}, id=str(n)) for n in range(20_000)]
    done = await publish(settings, "-", stdin=b"\n".join(orders))
    assert done.returncode == 0, done.stderr
    ids: dict[int, list[int]] = {}
    records = await on_topics(settings)
    for record in records:
        ids.setdefault(record.partition, []).append(int(json.loads(record.value)["id"]))
    assert len(records) == 20_000
    assert len(ids) == 4
    assert all(numbers == sorted(numbers) for numbers in ids.values())


@pytest.mark.kafka
async def test_a_missing_topic_is_named_with_its_cure(bootstrap: str, prefix: str) -> None:
    nowhere = Settings(bootstrap_servers=bootstrap, source_prefix=prefix, output_prefix=prefix)
    done = await publish(nowhere, str(SAMPLE))
    assert done.returncode == 3
    assert f"there is no topic {prefix}vehicle.orders.v1" in done.stderr.decode()
    assert "milestones topics apply" in done.stderr.decode()


async def test_a_cluster_that_is_not_there_is_told_in_one_line() -> None:
    done = await publish(Settings(bootstrap_servers="127.0.0.1:1"), str(SAMPLE))
    assert done.returncode == 3
    assert done.stderr.decode().startswith("milestones: no Kafka at 127.0.0.1:1")
    assert done.stderr.decode().count("\n") == 1


async def test_a_file_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    done = await publish(Settings(), str(tmp_path / "none.ndjson"))
    assert done.returncode == 2
    assert done.stderr.decode().startswith(f"milestones: {tmp_path}/none.ndjson: No such file or directory")


@pytest.mark.kafka
async def test_leaving_the_publisher_sends_what_is_still_open(settings: Settings) -> None:
    async with Publisher(settings) as publisher:
        await publisher.send([Publication(ORDERS, b"A", PLACED)])
    assert [record.value for record in await on_topics(settings)] == [PLACED]
