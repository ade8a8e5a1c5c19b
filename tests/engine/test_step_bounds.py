"""However much is fetched at once, a transaction of a ledger partition has at most 5,000 records and 4 MB, and nothing is left out."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from schemas.codec import decode_day_count, decode_marker
from schemas.counts import encode_marker_key
from schemas.told import Told, VehicleDelivery, encode_told, teller_key
from streams.context import Context
from streams.kafka.log import Partition
from streams.kafka.log_ends import LogEnd
from streams.kafka.transport import Batch
from streams.ledger.changelog import Changelog
from streams.ledger.partition import LedgerPartition
from streams.ledger.vehicles import MOST_DELIVERIES
from streams.settings import Settings
from tests.bench.file_log import FileLog, FileRecord
from tests.contract.builders import document

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TEMPLATES: Final = (("model",), ("region",), ("model", "region"), ())
MOST_RECORDS, MOST_BYTES = 5_000, 4_000_000
EVENTS: Final = 8_000


def context_of(folder: Path, **more: Any) -> Context:
    settings = Settings(partitions=1, scopes=TEMPLATES, families=("orders", "deliveries", *more.pop("families", ())))
    return replace(Context(settings, other_log=FileLog(folder)), **more)


def log_of(context: Context) -> FileLog:
    assert isinstance(context.other_log, FileLog)
    return context.other_log


def batch(topic: str, records: Sequence[tuple[bytes, bytes]]) -> Batch:
    """Records that are all there at once, of which the second half comes behind a publisher's marker."""
    gap = len(records) // 2
    found = [
        FileRecord(topic, 0, number + (number >= gap), key, value, 1_780_000_000_000)
        for number, (key, value) in enumerate(records)
    ]
    return Batch(topic, 0, 0, 0, len(records) + 1, len(records) + 1, found)


def history() -> list[tuple[bytes, bytes]]:
    """Orders of three years, of any of 60 models and 300 regions."""
    dice = random.Random(5)
    events = []
    for number in range(EVENTS):
        event = document("order.placed.v1") | {"id": f"p{number}"}
        day = f"{dice.randrange(2022, 2025)}-{dice.randrange(1, 13):02d}-{dice.randrange(1, 29):02d}"
        event["time"] = f"{day}T{dice.randrange(24):02d}:00:00+08:00"
        event["data"] |= {
            "order_id": f"SO-{number}",
            "model": f"M{dice.randrange(60)}",
            "region": f"CN-{dice.randrange(300)}",
        }
        events.append((f"SO-{number}".encode(), json.dumps(event).encode()))
    return events


async def opened(context: Context) -> LedgerPartition:
    async def log_start(_: Partition) -> int:
        return 0

    ledger = LedgerPartition(context, 0, log_end=lambda _: LogEnd(1 << 40, 0), log_start=log_start)
    await ledger.open()
    await ledger.process([])
    return ledger


async def take(context: Context, batches: Sequence[Batch]) -> dict[bytes, bytes]:
    """Has a partition take batches; what the counts topic has afterwards, the marker left out."""
    ledger = await opened(context)
    log = log_of(context)
    log.transactions.clear()
    await ledger.process(batches)
    while ledger.unfinished:
        assert not ledger.takes_more
        await ledger.process([])
    counts = context.catalogue.counts.name
    await ledger.close()
    return {record.key or b"": record.value or b"" for record in log.records_of(counts)}


def units_of(value: bytes) -> tuple[int, int, list[int]]:
    count = decode_day_count(value)
    return count.count, count.backfilled, count.by_hour


async def test_a_step_ends_before_it_changes_too_many_counts(tmp_path: Path) -> None:
    (tmp_path / "bounded").mkdir()
    (tmp_path / "whole").mkdir()
    bounded, whole = context_of(tmp_path / "bounded"), context_of(tmp_path / "whole", step_records=1_000_000)
    of_orders = batch(bounded.catalogue.orders.name, history())
    found, expected = await take(bounded, [of_orders]), await take(whole, [of_orders])
    marker = encode_marker_key(0)
    read, all_read = decode_marker(found.pop(marker)), decode_marker(expected.pop(marker))
    # The latest unit that a count names is that of its last step.
    assert {key: units_of(value) for key, value in found.items()} == {
        key: units_of(value) for key, value in expected.items()
    }
    assert (read.positions, read.books) == (all_read.positions, all_read.books)
    assert max(records for records, _ in log_of(whole).transactions) > MOST_RECORDS
    transactions = log_of(bounded).transactions
    assert max(records for records, _ in transactions) <= MOST_RECORDS
    assert max(size for _, size in transactions) <= MOST_BYTES
    # As full as they may be: each transaction costs something by itself.
    assert sum(records for records, _ in transactions) / len(transactions) > MOST_RECORDS / 2


async def test_a_worker_that_is_killed_between_two_of_its_steps_continues_behind_the_first(tmp_path: Path) -> None:
    (tmp_path / "killed").mkdir()
    (tmp_path / "whole").mkdir()
    context, whole = context_of(tmp_path / "killed"), context_of(tmp_path / "whole")
    of_orders = batch(context.catalogue.orders.name, history())
    expected = await take(whole, [of_orders])
    first = await opened(context)
    await first.process([of_orders])
    assert first.unfinished
    log_of(context).append(of_orders.topic, ((each.key, each.value) for each in of_orders.records))
    second = await opened(context)
    positions = second.positions()
    at = positions[Partition(of_orders.topic, 0)]
    assert 0 < at < of_orders.next
    left = [record for record in of_orders.records if record.offset >= at]
    await second.process([of_orders._replace(first=at, records=left)])
    while second.unfinished:
        await second.process([])
    found = {record.key: record.value for record in log_of(context).records_of(context.catalogue.counts.name)}
    del found[encode_marker_key(0)], expected[encode_marker_key(0)]
    assert found == expected


async def test_large_records_that_are_rejected_end_a_step_early(tmp_path: Path) -> None:
    context = context_of(tmp_path)
    garbage = [(b"SO-1", b"x" * 200_000) for _ in range(100)]
    await take(context, [batch(context.catalogue.orders.name, garbage)])
    log = log_of(context)
    assert max(size for _, size in log.transactions) <= MOST_BYTES
    assert log.records[context.catalogue.dead_letters.name] == len(garbage)


async def test_what_is_told_of_many_vehicles_is_judged_in_several_steps(tmp_path: Path) -> None:
    context = context_of(tmp_path, families=("production",))
    told = []
    for number in range(300):
        deliveries = [
            VehicleDelivery(f"LNBSU7A{number:05d}{each:05d}", f"SO-{number}-{each}", 1_780_000_000_000_000, "/a", "1")
            for each in range(MOST_DELIVERIES)
        ]
        told.append((teller_key(0), encode_told(Told(number, number == 299, deliveries))))
    await take(context, [batch(context.catalogue.told.name, told)])
    log = log_of(context)
    assert max(records for records, _ in log.transactions) <= MOST_RECORDS
    assert max(size for _, size in log.transactions) <= MOST_BYTES


@pytest.mark.parametrize("chunks", [3_000])
def test_chunks_that_are_obsolete_leave_the_changelog_in_parts(chunks: int) -> None:
    blobs = {f"SO-{number}": bytes(200_000) for number in range(2)}
    changelog = Changelog(blobs.__getitem__, lambda: iter(blobs))
    written = [changelog.write([bytes(200_000)], 1 << 40) for _ in range(chunks)]
    sizes = []
    while len(changelog) > chunks // 10:
        records = changelog.write([], 1)
        sizes.append(len(records))
    assert len(written) == chunks
    assert max(sizes) <= 300
