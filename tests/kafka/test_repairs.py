"""What operators do about single records, against a real Kafka with real workers: quarantine, replay."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaProducer

from schemas.outputs import ControlHeaders
from schemas.partitioner import homes
from streams.kafka import read_to_end
from tests.support.events import FIRST, Published, event, lifecycle
from tests.support.installation import ROOT, Installation, Worker
from tests.support.recount import recount

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

PARTITIONS = 2


@pytest.fixture
async def installation(bootstrap: str, prefix: str, tmp_path: Path) -> AsyncIterator[Installation]:
    made = await Installation(bootstrap, prefix, tmp_path, partitions=PARTITIONS).create()
    yield made
    made.end()


async def run(
    installation: Installation, *arguments: str, module: str = "streams", **environment: str
) -> subprocess.CompletedProcess[str]:
    """A command of the command line."""
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={**installation.environment, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def faulty_worker(installation: Installation, order_id: str, instance: str) -> Worker:
    environment = {**installation.environment, "FAULTY_ORDER": order_id}
    worker = Worker(environment, instance, installation.folder / f"{instance}.log", "tests.support.faulty_worker")
    installation.workers.append(worker)
    return worker


async def end(installation: Installation) -> None:
    """Ends the workers in order."""
    for worker in installation.workers:
        if worker.process.poll() is None:
            worker.kill(signal.SIGTERM)
            await asyncio.to_thread(worker.wait)
    installation.workers.clear()


async def records_of(installation: Installation, *topics: Any) -> list[Any]:
    found = []
    for topic in topics:
        async for records in read_to_end(installation.settings, [(topic.name, n) for n in range(topic.partitions)]):
            found += records
    return found


async def sources(installation: Installation) -> list[Any]:
    return await records_of(installation, installation.catalogue.orders, installation.catalogue.deliveries)


async def letters(installation: Installation) -> list[tuple[str, int, int, str, str, bytes | None]]:
    """(topic, partition, offset, reason, message, value) of every dead letter."""
    found = []
    for record in await records_of(installation, installation.catalogue.dead_letters):
        headers = {name: value.decode() for name, value in record.headers}
        found.append(
            (
                headers[ControlHeaders.TOPIC],
                int(headers[ControlHeaders.PARTITION]),
                int(headers[ControlHeaders.OFFSET]),
                headers[ControlHeaders.REASON],
                headers[ControlHeaders.MESSAGE],
                record.value,
            )
        )
    return sorted(found, key=lambda letter: letter[:3])


def placed(order_id: str, partition: int | None = None) -> Published:
    value = event("order.placed.v1", f"{order_id}-p", FIRST, {"order_id": order_id, "model": "SU7"})
    return Published("orders", order_id.encode(), value, partition)


def home(order_id: str) -> int:
    return homes([order_id.encode()], PARTITIONS)[0]


# Quarantine ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["at home", "elsewhere"])
async def test_a_record_that_ends_the_worker_is_named_and_passed_over(installation: Installation, where: str) -> None:
    """The command in the worker's last words is all it takes; the record is a dead letter once, and the books balance."""
    faulty = "SO-FAULTY"
    poison = placed(faulty, home(faulty) if where == "at home" else 1 - home(faulty))
    good = [*lifecycle(7, 60, partitions=PARTITIONS), placed("SO-LATER")]
    await installation.publish([*good[:40], poison, *good[40:]])
    at = next(record for record in await sources(installation) if record.key == faulty.encode())

    worker = faulty_worker(installation, faulty, "w1")
    assert await asyncio.to_thread(worker.wait, 60) == 1, installation.tails()
    last = worker.log.read_text().rstrip().splitlines()[-1]
    assert last.startswith(f"milestones: {at.topic}-{at.partition}@{at.offset} cannot be applied: KeyError"), last
    installation.workers.clear()

    program, *command = shlex.split(last[last.index("milestones quarantine") :])
    assert program == "milestones"
    done = await run(installation, *command, "--by", "night shift")
    assert done.returncode == 0, done.stderr

    faulty_worker(installation, faulty, "w1")
    await installation.applied()
    ((topic, partition, offset, reason, message, value),) = await letters(installation)
    assert (topic, partition, offset, reason, value) == (at.topic, at.partition, at.offset, "quarantined", poison.value)
    assert message.startswith("quarantined by night shift at 20")
    assert message.endswith("applying it raises KeyError")
    assert await installation.counts() == recount(record.value for record in good)
    books = await installation.books_balance()
    assert books["dead_letters"] + books["forwarded_dead_letters"] == 1
    verified = await run(installation, "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr

    listed = await run(installation, "quarantine", "list", "--json")
    assert json.loads(listed.stdout)["state"] == "in effect"
    place = (at.topic, str(at.partition), str(at.offset))
    again = await run(installation, "quarantine", *place, "--reason", "x")
    assert (again.returncode, "passed over already" in again.stderr) == (2, True)
    lifted = await run(installation, "quarantine", "lift", *place)
    assert (lifted.returncode, "replay it" in lifted.stderr) == (2, True)

    applied = next(record for record in await sources(installation) if record.key == b"SO-LATER")
    late = await run(
        installation, "quarantine", applied.topic, str(applied.partition), str(applied.offset), "--reason", "x"
    )
    assert (late.returncode, "event.voided.v1" in late.stderr, late.stderr.count("\n")) == (2, True, 1)
    nowhere = await run(installation, "quarantine", at.topic, "0", "999999", "--reason", "x")
    assert (nowhere.returncode, "there is no record" in nowhere.stderr) == (2, True)


async def test_a_worker_that_runs_notices_a_quarantine_and_a_lifted_one(installation: Installation) -> None:
    """Two records wait while the worker sleeps; one is passed over, the other was and is not any more."""
    worker = installation.worker("w1")
    await installation.publish([placed("SO-1"), placed("SO-2")])
    await installation.applied()
    worker.kill(signal.SIGSTOP)
    await installation.publish([placed("SO-OUT"), placed("SO-IN")])
    waiting = {record.key: record for record in await sources(installation)}
    out, back = waiting[b"SO-OUT"], waiting[b"SO-IN"]
    for at in (out, back):
        done = await run(
            installation, "quarantine", at.topic, str(at.partition), str(at.offset), "--reason", "wrong price list"
        )
        assert done.returncode == 0, done.stderr
    listed = await run(installation, "quarantine", "list")
    assert listed.stdout.count("waiting") == 2
    done = await run(installation, "quarantine", "lift", back.topic, str(back.partition), str(back.offset))
    assert done.returncode == 0, done.stderr
    worker.kill(signal.SIGCONT)
    await installation.applied()
    assert [letter[:4] for letter in await letters(installation)] == [
        (out.topic, out.partition, out.offset, "quarantined")
    ]
    assert (await installation.counts())["orders", "all", "month:2024-09"] == 3
    assert worker.process.poll() is None


# Replay -------------------------------------------------------------------------------------------------------------

#: Adds the model that the event lacks; what has none to add is left, what is not wanted is skipped.
EDIT = """
import json, os, sys
event = json.load(sys.stdin)
if event["id"] == "drop":
    sys.exit()
assert os.environ["DEAD_LETTER_REASON"] == "invalid_field"
event["data"]["model"] = "SU7"
print(json.dumps(event))
"""


def wrong_key(number: int) -> tuple[bytes, bytes]:
    return f"customer-{number}".encode(), placed(f"SO-W{number}").value


def no_model(identity: str) -> tuple[bytes, bytes]:
    return b"SO-M", event("order.placed.v1", identity, FIRST, {"order_id": f"SO-{identity}"})


@pytest.fixture
async def rejected(installation: Installation) -> Installation:
    """An installation whose worker has rejected: 30 wrong keys, 3 events that lack something, other things."""
    name = installation.catalogue.orders.name
    async with AIOKafkaProducer(bootstrap_servers=installation.settings.bootstrap_servers) as producer:
        for number in range(30):
            key, value = wrong_key(number)
            await producer.send(name, value, key, partition=number % PARTITIONS, headers=[("trace", b"%d" % number)])
        for identity in ("one", "two", "drop"):
            key, value = no_model(identity)
            await producer.send(name, value, f"SO-{identity}".encode(), partition=0)
        await producer.send(name, b"{", b"\x1b[2J\xc2\x9bkey", partition=1)
        await producer.send(name, None, b"gone", partition=1)
        await producer.flush()
    installation.worker("w1")
    await installation.applied()
    await end(installation)
    assert len(await letters(installation)) == 35
    return installation


async def republished(installation: Installation) -> list[Any]:
    """The records of the orders beyond the 35 that were published at first."""
    first = {wrong_key(number)[0] for number in range(30)} | {b"\x1b[2J\xc2\x9bkey", b"gone"}
    lacking = {no_model(identity)[1] for identity in ("one", "two", "drop")}
    return [
        record
        for record in await records_of(installation, installation.catalogue.orders)
        if record.key not in first and record.value not in lacking
    ]


async def test_dead_letters_are_repaired_published_again_once_and_then_counted(rejected: Installation) -> None:
    listed = await run(rejected, "dead-letters", "list")
    assert len(listed.stdout.splitlines()) == 35
    assert "30 wrong_key" in listed.stderr
    as_json = await run(rejected, "dead-letters", "list", "--json", "--reason", "malformed_json")
    assert json.loads(as_json.stdout)["key"] == "\x1b[2J\x9bkey"
    assert all(character.isprintable() for character in as_json.stdout.rstrip("\n"))
    counted = await run(rejected, "dead-letters", "list", "--by-reason", "--json", "--since", "2024-01-01")
    assert {"reason": "invalid_field", "count": 3} in map(json.loads, counted.stdout.splitlines())
    assert (await run(rejected, "dead-letters", "list", "--until", "2024-01-01")).stdout == ""

    dry = await run(rejected, "dead-letters", "replay", "--reason", "wrong_key", "--dry-run")
    assert dry.returncode == 0
    assert dry.stdout.count("would be published again") == 30
    assert await republished(rejected) == []

    done = await run(rejected, "dead-letters", "replay", "--reason", "wrong_key")
    assert done.returncode == 0, done.stderr
    found = await republished(rejected)
    assert sorted((record.key, record.value) for record in found) == sorted(
        (f"SO-W{number}".encode(), wrong_key(number)[1]) for number in range(30)
    )
    assert all([name for name, _ in record.headers] == ["trace"] for record in found)
    assert all(record.partition == home(record.key.decode()) for record in found)

    again = await run(rejected, "dead-letters", "replay", "--reason", "wrong_key")
    assert again.returncode == 0
    assert again.stdout.count("published again before") == 30
    everything = await run(rejected, "dead-letters", "replay", "--edit", shlex.join([sys.executable, "-c", EDIT]))
    assert everything.returncode == 1
    assert "30 published again before" in everything.stderr
    assert "2 published again" in everything.stderr
    assert "1 skipped" in everything.stderr
    assert "2 left" in everything.stderr
    assert len(await republished(rejected)) == 32

    listed = await run(rejected, "dead-letters", "list", "--json")
    assert sum(json.loads(line)["replayed"] is not None for line in listed.stdout.splitlines()) == 32
    rejected.worker("w1")
    await rejected.applied()
    assert (await rejected.counts())["orders", "model=SU7", "month:2024-09"] == 32
    assert len(await letters(rejected)) == 35
    await rejected.books_balance()


async def test_what_would_be_rejected_again_is_left_unless_forced(rejected: Installation) -> None:
    left = await run(rejected, "dead-letters", "replay", "--reason", "malformed_json")
    assert left.returncode == 1
    assert "would be rejected again: malformed_json" in left.stdout
    (place,) = [letter[:3] for letter in await letters(rejected) if letter[3] == "malformed_json"]
    forced = await run(rejected, "dead-letters", "replay", "--force", "--offset", ":".join(map(str, place)))
    assert forced.returncode == 0, forced.stderr
    values = [record.value for record in await records_of(rejected, rejected.catalogue.orders)]
    assert values.count(b"{") == 2
    unknown = await run(rejected, "dead-letters", "replay", "--offset", f"{place[0]}:0:999")
    assert (unknown.returncode, "no such dead letter" in unknown.stderr) == (2, True)


@pytest.mark.parametrize(("moment", "seen"), [("before", 0), ("after", 30)])
async def test_a_replay_killed_at_its_commit_has_published_all_or_nothing_and_goes_on(
    rejected: Installation, moment: str, seen: int
) -> None:
    command = ("dead-letters", "replay", "--reason", "wrong_key")
    killed = await run(rejected, *command, module="tests.support.killed_replay", KILL=moment)
    assert killed.returncode == -signal.SIGKILL
    assert len(await republished(rejected)) == seen
    done = await run(rejected, *command)
    assert done.returncode == 0, done.stderr
    assert len(await republished(rejected)) == 30
    assert len({record.key for record in await republished(rejected)}) == 30


async def test_a_second_replay_takes_over_and_the_first_publishes_nothing_more(rejected: Installation) -> None:
    command = ("dead-letters", "replay", "--reason", "invalid_field", "--force")
    slow = asyncio.create_task(run(rejected, *command, "--edit", f"touch {rejected.folder}/began; sleep 2; cat"))
    while not (rejected.folder / "began").exists():  # noqa: ASYNC110 - another process is waited for
        await asyncio.sleep(0.05)
    second = await run(rejected, *command)
    assert second.returncode == 0, second.stderr
    first = await slow
    assert first.returncode == 3
    assert "another replay of this installation has started" in first.stderr
    values = [record.value for record in await records_of(rejected, rejected.catalogue.orders)]
    assert all(values.count(no_model(identity)[1]) == 2 for identity in ("one", "two", "drop"))
