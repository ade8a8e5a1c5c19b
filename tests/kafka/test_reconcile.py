"""Control totals from the topic to the row and to `milestones reconcile`, against a real Kafka with a real worker."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaProducer

from schemas.outputs import ControlHeaders
from streams.events.event_files import NumberedLine
from streams.events.ndjson import LineChecker
from streams.kafka.clients import read_to_end
from streams.kafka.publisher import Publisher
from streams.kafka.records import header_values, record_key, record_value
from tests.support.installation import Installation
from tests.support.time_limits import deadline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

DAY = "day:2024-10-07"
ROW = f"deliveries/model=SU7/{DAY}"
FACTORY, SALES = "/factories/bj1/dispatch", "/sales/web"
VINS = {f"SO-{number}": f"LNBSU7A10R100000{number}" for number in range(1, 6)}


@pytest.fixture
async def installation(bootstrap: str, tmp_path: Path) -> AsyncIterator[Installation]:
    async with Installation.created(bootstrap, tmp_path, partitions=2) as made:
        yield made


def event(kind: str, identity: str, source: str, at: str, data: dict[str, Any]) -> str:
    return json.dumps({"specversion": "1.0", "id": identity, "source": source, "type": kind, "time": at, "data": data})


def delivery(order: str, at: str = "2024-10-07T12:00:00+08:00") -> str:
    data = {"order_id": order, "vin": VINS[order], "model": "SU7"}
    return event("vehicle.delivered.v1", f"{order}-d", FACTORY, at, data)


def total(identity: str, count: int, at: str, source: str = FACTORY, **where: str) -> str:
    data = {"metric": "deliveries", "scope": "model=SU7", "period": DAY, "count": count} | where
    return event("control.total.v1", identity, source, at, data)


async def publish(installation: Installation, *lines: str) -> None:
    """As `milestones publish` does."""
    checker = LineChecker(installation.settings.future_limit_s)
    records, refused = checker.check(
        [NumberedLine(number, line.encode()) for number, line in enumerate(lines, start=1)]
    )
    assert refused == []
    async with Publisher(installation.settings) as publisher:
        await publisher.send(records)


async def row_where(installation: Installation, holds: Callable[[dict[str, Any]], bool], key: str = ROW) -> Any:
    """The row, once it is as expected."""
    give_up_s = deadline(30)
    row: dict[str, Any] = {}
    while time.monotonic() < give_up_s:
        row = (await installation.rows()).get(key, {})
        if row and holds(row):
            return row
        await asyncio.sleep(0.1)
    raise AssertionError(f"not as expected within 30 s: {row}\n{installation.tails()}")


def differences(row: dict[str, Any]) -> dict[str, int]:
    return {control["source"]: control["difference"] for control in row.get("controls", [])}


async def reconcile(installation: Installation, *arguments: str) -> tuple[int, list[dict[str, Any]], str]:
    done = await installation.run("reconcile", "--json", *arguments)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


async def test_a_difference_shows_on_the_row_and_in_reconcile_and_disappears_when_it_is_cured(
    installation: Installation,
) -> None:
    """From a total two above ours to agreement, across a restart of the worker."""
    assert (await reconcile(installation))[::2] == (0, "no control totals yet: publish control.total.v1 events\n")
    worker = installation.worker()
    await publish(installation, *(delivery(order) for order in ("SO-1", "SO-2", "SO-3")))
    await publish(
        installation,
        total("t1", 5, "2024-10-08T01:00:00+08:00"),
        total("t0", 9, "2024-10-08T00:30:00+08:00"),  # older: it never counts
        total("w1", 3, "2024-10-08T01:00:00+08:00", SALES),
        total("n1", 2, "2024-10-08T01:00:00+08:00", scope="model=YU7"),
        total("x1", 7, "2024-10-08T01:00:00+08:00", scope="region=CN-11"),
    )
    row = await row_where(installation, lambda row: differences(row) == {FACTORY: -2, SALES: 0})
    assert [control.get("differs_since") is None for control in row["controls"]] == [False, True]
    await row_where(installation, lambda row: row["count"] == 0, f"deliveries/model=YU7/{DAY}")
    assert f"deliveries/region=CN-11/{DAY}" not in await installation.rows()

    code, found, said = await reconcile(installation, "--units")
    assert code == 1
    assert [(one["scope"], one["source"], one["ours"], one["theirs"], one["difference"]) for one in found] == [
        ("model=SU7", FACTORY, 3, 5, -2),
        ("model=YU7", FACTORY, 0, 2, -2),
    ]
    assert (found[0]["differs_since"], found[0]["as_of"]) == (
        row["controls"][0]["differs_since"],
        "2024-10-07T17:00:00.000Z",
    )
    assert sorted((unit["order_id"], unit["vin"], unit["id"], unit["source"]) for unit in found[0]["units"]) == [
        (order, VINS[order], f"{order}-d", FACTORY) for order in ("SO-1", "SO-2", "SO-3")
    ]
    assert found[1]["units"] == []
    assert "not compared: deliveries/region=CN-11" in said

    # A misspelt name is not taken for totals that all agree.
    for option, name, fault in (
        ("--metric", "delivery", "there is no metric 'delivery'; did you mean deliveries? "),
        ("--scope", "model=SU8", "there is no scope with a control total 'model=SU8'; did you mean model=SU7? "),
        (
            "--source",
            FACTORY[:-1],
            f"there is no source with a control total {FACTORY[:-1]!r}; did you mean {FACTORY}? ",
        ),
        ("--period", "week:2024-W41", "week is not among the windows of the settings; "),
        ("--period", "day:2024-13-01", "no day begins with '2024-13-01': "),
    ):
        done = await installation.run("reconcile", option, name)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert done.stderr.startswith(f"milestones: {option}: {fault}")

    # The factory's list shows which are missing; we have one of them on another day.
    await publish(installation, delivery("SO-4", "2024-10-08T00:00:01+08:00"))
    theirs = installation.folder / "theirs.csv"
    theirs.write_text("vin;order_id\n" + "".join(f"{vin};{order}\n" for order, vin in VINS.items()))
    await row_where(installation, lambda row: row["count"] == 1, "deliveries/model=SU7/day:2024-10-08")
    done = await installation.run("reconcile", "--scope", "model=SU7", "--against", str(theirs))
    assert done.returncode == 1
    assert f"{ROW}: 3 here, 5 in {theirs}, 3 in both" in done.stdout
    assert "SO-4  counted in day:2024-10-08" in done.stdout
    assert "SO-5  not known here" in done.stdout

    worker.kill(signal.SIGTERM)
    await asyncio.to_thread(worker.wait)
    before = await installation.rows()
    installation.workers.clear()
    installation.worker("w2")
    await publish(installation, delivery("SO-5"), total("t2", 4, "2024-10-08T09:00:00+08:00"))
    row = await row_where(installation, lambda row: differences(row) == {FACTORY: 0, SALES: 1})
    assert "differs_since" not in row["controls"][0]
    yu7 = f"deliveries/model=YU7/{DAY}"
    assert (await installation.rows())[yu7]["version"] == before[yu7]["version"], "a restart changes nothing"

    code, found, _ = await reconcile(installation, "--source", FACTORY, "--scope", "model=SU7")
    assert (code, found) == (0, [])
    code, found, _ = await reconcile(installation, "--source", FACTORY, "--scope", "model=SU7", "--all")
    assert (code, [(one["ours"], one["theirs"], one["difference"]) for one in found]) == (0, [(4, 4, 0)])
    theirs.write_text("SO-1\nSO-2\nSO-3\nSO-5\n")
    named = ("--metric", "deliveries", "--scope", "model=SU7", "--period", DAY, "--against", str(theirs))
    code, (found_one,), _ = await reconcile(installation, *named)
    assert (code, found_one["matched"], found_one["only_ours"], found_one["only_theirs"]) == (0, 4, [], [])

    verified = await installation.run("verify", "--json")
    assert verified.returncode == 0, verified.stdout
    (check,) = [check for check in json.loads(verified.stdout)["checks"] if check["name"] == "control totals"]
    assert check == {"name": "control totals", "compared": 3, "differences": []}


async def test_what_is_no_valid_total_is_a_dead_letter_once_and_changes_no_row(installation: Installation) -> None:
    """Rejected for its content, its key, or an identity conflict, also across a restart."""
    worker = installation.worker()
    await publish(installation, delivery("SO-1"), total("t1", 1, "2024-10-08T01:00:00+08:00"))
    await row_where(installation, lambda row: differences(row) == {FACTORY: 0})
    key = ROW.encode()
    records = [
        (key, total("t2", -1, "2024-10-08T02:00:00+08:00").encode(), "invalid_field"),
        (b"other", total("t3", 9, "2024-10-08T02:00:00+08:00").encode(), "wrong_key"),
        (key, b"{", "malformed_json"),
        (key, delivery("SO-2").encode(), "wrong_topic"),
        (key, total("t1", 9, "2024-10-08T02:00:00+08:00").encode(), "id_conflict"),
        (key, total("t9", 9, "2099-10-08T02:00:00+08:00").encode(), "future_time"),
        (key, total("t1", 1, "2024-10-08T01:00:00+08:00").encode(), ""),  # the same again
    ]
    producer = AIOKafkaProducer(bootstrap_servers=installation.settings.bootstrap_servers)
    await producer.start()
    for key, value, _ in records:
        await producer.send_and_wait(installation.catalogue.controls.name, value, key)
    await producer.stop()
    expected = [(key, value, reason) for key, value, reason in records if reason]
    assert await letters_when(installation, len(expected)) == expected

    worker.kill(signal.SIGTERM)
    await asyncio.to_thread(worker.wait)
    installation.workers.clear()
    installation.worker("w2")
    await publish(installation, total("t4", 2, "2024-10-08T03:00:00+08:00"))
    await row_where(installation, lambda row: differences(row) == {FACTORY: -1})
    assert await letters_when(installation, len(expected)) == expected


async def letters_when(installation: Installation, count: int) -> list[tuple[bytes, bytes, str]]:
    """Key, value and reason of the dead letters, once there are `count`."""
    topic = installation.catalogue.dead_letters
    give_up_s = deadline(30)
    found: list[tuple[bytes, bytes, str]] = []
    while time.monotonic() < give_up_s:
        found = []
        async for records in read_to_end(installation.settings, [(topic.name, n) for n in range(topic.partitions)]):
            for record in records:
                headers = header_values(record)
                assert headers[ControlHeaders.TOPIC].decode() == installation.catalogue.controls.name
                found.append((record_key(record), record_value(record), headers[ControlHeaders.REASON].decode()))
        if len(found) >= count:
            return found
        await asyncio.sleep(0.2)
    raise AssertionError(f"{len(found)} of {count} dead letters within 30 s: {found}\n{installation.tails()}")
