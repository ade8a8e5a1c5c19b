"""Repairs of single records on a real Kafka with real workers: quarantine, replay."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer

from schemas.outputs import ControlHeaders
from schemas.partitioner import homes
from streams.kafka.clients import read_to_end
from streams.kafka.records import header_values, record_key
from tests.support import processes
from tests.support.events import FIRST, Published, event, lifecycle
from tests.support.installation import Installation, Worker
from tests.support.recount import recount

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from schemas.topics import Topic
    from streams.kafka.records import LogRecord
    from tests.support.shared_kafka import SharedKafka

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

PARTITIONS = 2


@pytest.fixture
async def installation(bootstrap: str, tmp_path: Path) -> AsyncIterator[Installation]:
    async with Installation.created(bootstrap, tmp_path, partitions=PARTITIONS) as made:
        yield made


def faulty_worker(installation: Installation) -> Worker:
    environment = {**installation.environment, "FAULTY_ORDERS": "SO-FAULTY,SO-STRANGE"}
    worker = Worker(environment, "w1", installation.folder / "w1.log", "tests.support.faulty_worker")
    installation.workers.append(worker)
    return worker


async def end(installation: Installation) -> None:
    """Ends the workers in order."""
    for worker in installation.workers:
        if worker.process.poll() is None:
            worker.kill(signal.SIGTERM)
            await asyncio.to_thread(worker.wait)
    installation.workers.clear()


async def records_of(installation: Installation, *topics: Topic) -> list[LogRecord]:
    found = []
    for topic in topics:
        async for records in read_to_end(installation.settings, [(topic.name, n) for n in range(topic.partitions)]):
            found += records
    return found


async def sources(installation: Installation) -> list[LogRecord]:
    return await records_of(installation, installation.catalogue.orders, installation.catalogue.deliveries)


async def letters(installation: Installation) -> list[tuple[str, int, int, str, str, bytes | None]]:
    """(topic, partition, offset, reason, message, value) of every dead letter."""
    found = []
    for record in await records_of(installation, installation.catalogue.dead_letters):
        headers = {name: value.decode() for name, value in header_values(record).items()}
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


async def test_records_that_end_the_worker_are_named_and_passed_over(installation: Installation) -> None:
    """The command in the worker's last line is enough, also for a record that was published away from its home.

    Each is a dead letter once, and the books balance.
    """
    at_home, elsewhere = placed("SO-FAULTY", home("SO-FAULTY")), placed("SO-STRANGE", 1 - home("SO-STRANGE"))
    good = [*lifecycle(7, 60, partitions=PARTITIONS), placed("SO-LATER")]
    await installation.publish([*good[:40], at_home, elsewhere, *good[40:]])
    published = {record.key: record for record in await sources(installation)}
    poison = [published[b"SO-FAULTY"], published[b"SO-STRANGE"]]

    for _ in poison:
        last = await last_words(installation)
        (at,) = [one for one in poison if f"milestones: {named(one)} cannot be applied: KeyError" in last]
        program, *command = shlex.split(last[last.index("milestones quarantine") :])
        assert (program, *command[1:4]) == ("milestones", at.topic, str(at.partition), str(at.offset))
        done = await installation.run(*command, "--by", "night shift")
        assert done.returncode == 0, done.stderr

    faulty_worker(installation)
    await installation.applied()
    found = await letters(installation)
    assert [letter[:4] for letter in found] == sorted(
        (at.topic, at.partition, at.offset, "quarantined") for at in poison
    )
    assert {letter[5] for letter in found} == {at_home.value, elsewhere.value}
    assert all(letter[4].startswith("quarantined by night shift at 20") for letter in found)
    assert all(letter[4].endswith("applying it raises KeyError") for letter in found)
    assert await installation.counts() == recount(record.value for record in good)
    books = await installation.books_balance()
    assert (books["dead_letters"], books["forwarded_dead_letters"]) == (1, 1)
    verified = await installation.run("verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr

    listed = await installation.run("quarantine", "list", "--json")
    assert [json.loads(line)["state"] for line in listed.stdout.splitlines()] == ["in effect", "in effect"]
    for arguments, line in (
        ((*place(poison[0]), "--reason", "x"), "skipped already"),
        (("lift", *place(poison[1])), "replay it"),
        ((*place(published[b"SO-LATER"]), "--reason", "x"), "event.voided.v1"),
        ((poison[0].topic, "0", "999999", "--reason", "x"), "there is no record"),
    ):
        refused = await installation.run("quarantine", *arguments)
        assert (refused.returncode, line in refused.stderr, refused.stderr.count("\n")) == (2, True, 1), refused.stderr


async def last_words(installation: Installation) -> str:
    """The last line of a worker with the planted bug, which must end with exit code 1."""
    worker = faulty_worker(installation)
    assert await asyncio.to_thread(worker.wait, 60) == 1, installation.tails()
    installation.workers.remove(worker)
    return worker.log.read_text().rstrip().splitlines()[-1]


def place(record: LogRecord) -> tuple[str, str, str]:
    return record.topic, str(record.partition), str(record.offset)


def named(record: LogRecord) -> str:
    return f"{record.topic}-{record.partition}@{record.offset}"


async def test_a_worker_that_runs_notices_a_quarantine_and_a_lifted_one(installation: Installation) -> None:
    """Two records wait while the worker is down; one is to be skipped, the other was but no longer is."""
    worker = installation.worker("w1")
    await installation.publish([placed("SO-1"), placed("SO-2")])
    await installation.applied()
    await processes.pause(worker.process.pid)
    await installation.publish([placed("SO-OUT"), placed("SO-IN")])
    waiting = {record.key: record for record in await sources(installation)}
    out, back = waiting[b"SO-OUT"], waiting[b"SO-IN"]
    for at in (out, back):
        done = await installation.run("quarantine", *place(at), "--reason", "wrong price list")
        assert done.returncode == 0, done.stderr
    listed = await installation.run("quarantine", "list")
    assert listed.stdout.count("waiting") == 2
    done = await installation.run("quarantine", "lift", *place(back))
    assert done.returncode == 0, done.stderr
    worker.kill(signal.SIGCONT)
    await installation.applied()
    assert [letter[:4] for letter in await letters(installation)] == [
        (out.topic, out.partition, out.offset, "quarantined")
    ]
    assert (await installation.counts())["orders", "all", "month:2024-09"] == 3
    assert worker.process.poll() is None


# Replay -------------------------------------------------------------------------------------------------------------

#: Adds the model that the event lacks; skips what is not wanted.
EDIT = """
import json, os, sys
event = json.load(sys.stdin)
if event["id"] == "drop":
    sys.exit()
assert os.environ["DEAD_LETTER_REASON"] == "invalid_field"
event["data"]["model"] = "SU7"
print(json.dumps(event))
"""
KEYS = 20
NASTY = b"\x1b[2J\xc2\x9bkey"


def cancelled(order_id: str) -> bytes:
    return event("order.cancelled.v1", f"{order_id}-c", FIRST, {"order_id": order_id})


def delivered(order_id: str) -> bytes:
    data = {"order_id": order_id, "vin": "LNBSU7A10R1000123", "model": "SU7"}
    return event("vehicle.delivered.v1", f"{order_id}-d", FIRST, data)


def lacking_model(identity: str) -> bytes:
    return event("order.placed.v1", identity, FIRST, {"order_id": f"SO-{identity}"})


def without_offset(identity: str) -> bytes:
    return cancelled(identity).replace(b"+00:00", b"")


@pytest.fixture(scope="module")
async def rejected(kafka: SharedKafka, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    """An installation whose worker has rejected records; each test below has its own reason or topic."""
    folder = tmp_path_factory.mktemp("rejected")
    async with Installation.created(kafka.bootstrap, folder, partitions=PARTITIONS) as made:
        orders, deliveries = made.catalogue.orders.name, made.catalogue.deliveries.name
        async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
            for number in range(KEYS):
                customer, partition, trace = b"customer-%d" % number, number % PARTITIONS, [("trace", b"%d" % number)]
                await producer.send(orders, placed(f"SO-W{number}").value, customer, partition=partition, headers=trace)
                await producer.send(deliveries, delivered(f"SO-D{number}"), customer, partition=partition)
            for identity in ("one", "two", "drop"):
                await producer.send(orders, lacking_model(identity), f"SO-{identity}".encode(), partition=0)
                await producer.send(orders, without_offset(f"SO-{identity}"), f"SO-{identity}".encode(), partition=1)
            await producer.send(orders, b"{", NASTY, partition=1)
            await producer.send(orders, None, b"gone", partition=1)
            await producer.flush()
        made.worker("w1")
        await made.applied()
        await end(made)
        assert len(await letters(made)) == 2 * KEYS + 8
        yield made


async def times(installation: Installation, *values: bytes) -> list[int]:
    """How often each value is on the source topics."""
    found = Counter(record.value for record in await sources(installation))
    return [found[value] for value in values]


async def test_dead_letters_are_repaired_published_again_once_and_then_counted(rejected: Installation) -> None:
    mine = ("--topic", rejected.catalogue.orders.name, "--reason", "wrong_key")
    wrong = [placed(f"SO-W{number}").value for number in range(KEYS)]
    dry = await rejected.run("dead-letters", "replay", *mine, "--dry-run")
    assert (dry.returncode, dry.stdout.count("would be published again")) == (0, KEYS)
    assert await times(rejected, *wrong) == [1] * KEYS

    done = await rejected.run("dead-letters", "replay", *mine)
    assert done.returncode == 0, done.stderr
    found = [record for record in await sources(rejected) if (record.key or b"").startswith(b"SO-W")]
    assert sorted((record.key, record.value) for record in found) == sorted(
        (f"SO-W{number}".encode(), value) for number, value in enumerate(wrong)
    )
    assert all([name for name, _ in record.headers] == ["trace"] for record in found)
    assert all(record.partition == home(record_key(record).decode()) for record in found)
    again = await rejected.run("dead-letters", "replay", *mine)
    assert (again.returncode, again.stdout.count("published again before")) == (0, KEYS)
    assert await times(rejected, *wrong) == [2] * KEYS

    edit = ("--edit", shlex.join([sys.executable, "-c", EDIT]), "--edit-with", "value")
    edited = await rejected.run("dead-letters", "replay", "--reason", "invalid_field", *edit)
    assert edited.returncode == 0, edited.stderr
    assert "3 dead letters: " in edited.stderr
    assert "2 published again" in edited.stderr
    assert "1 skipped" in edited.stderr
    failing = await rejected.run("dead-letters", "replay", "--reason", "not_an_event", *edit)
    assert (failing.returncode, "the command ended with 1" in failing.stdout) == (1, True)
    for how in ((), ("--edit-with", "value")):
        not_run = await rejected.run(
            "dead-letters", "replay", "--reason", "not_an_event", "--edit", "no-such-command", *how
        )
        assert (not_run.returncode, not_run.stdout) == (2, "")
        assert "--edit: the command cannot be run, the shell ended with 127" in not_run.stderr

    listed = await rejected.run("dead-letters", "list", "--json", *mine)
    assert all(json.loads(line)["replayed"] for line in listed.stdout.splitlines())
    before = await letters(rejected)
    rejected.worker("w1")
    await rejected.applied()
    await end(rejected)
    assert (await rejected.counts())["orders", "model=SU7", "month:2024-09"] == KEYS + 2
    assert await letters(rejected) == before
    await rejected.books_balance()


async def test_dead_letters_are_listed_by_reason_topic_and_time_and_cannot_harm_a_terminal(
    rejected: Installation,
) -> None:
    listed = await rejected.run("dead-letters", "list", "--topic", rejected.catalogue.orders.name)
    assert len(listed.stdout.splitlines()) == KEYS + 8
    assert f"{KEYS} wrong_key" in listed.stderr
    as_json = await rejected.run("dead-letters", "list", "--json", "--reason", "malformed_json")
    assert json.loads(as_json.stdout)["key"] == NASTY.decode()
    assert as_json.stdout.rstrip("\n").isprintable()
    counted = await rejected.run("dead-letters", "list", "--by-reason", "--json", "--since", "2024-01-01")
    assert {"reason": "missing_offset", "count": 3} in map(json.loads, counted.stdout.splitlines())
    assert (await rejected.run("dead-letters", "list", "--until", "2024-01-01")).stdout == ""


async def test_what_would_be_rejected_again_is_left_unless_forced(rejected: Installation) -> None:
    left = await rejected.run("dead-letters", "replay", "--reason", "malformed_json")
    assert (left.returncode, "would be rejected again: malformed_json" in left.stdout) == (1, True)
    assert left.stdout.rstrip("\n").isprintable()
    (at,) = [letter[:3] for letter in await letters(rejected) if letter[3] == "malformed_json"]
    forced = await rejected.run("dead-letters", "replay", "--force", "--offset", ":".join(map(str, at)))
    assert forced.returncode == 0, forced.stderr
    assert await times(rejected, b"{") == [2]
    unknown = await rejected.run("dead-letters", "replay", "--offset", f"{at[0]}:0:999")
    assert (unknown.returncode, "no such dead letter" in unknown.stderr) == (2, True)


async def test_a_replay_killed_at_its_commit_has_published_all_or_nothing_and_goes_on(rejected: Installation) -> None:
    command = ("dead-letters", "replay", "--topic", rejected.catalogue.deliveries.name)
    values = [delivered(f"SO-D{number}") for number in range(KEYS)]
    for moment, seen in (("before", 1), ("after", 2)):
        killed = await rejected.run(*command, module="tests.support.killed_replay", KILL=moment)
        assert killed.returncode == -signal.SIGKILL
        assert await times(rejected, *values) == [seen] * KEYS
    done = await rejected.run(*command)
    assert (done.returncode, done.stdout.count("published again before")) == (0, KEYS)
    assert await times(rejected, *values) == [2] * KEYS


async def test_a_second_replay_takes_over_and_the_first_publishes_nothing_more(rejected: Installation) -> None:
    command = ("dead-letters", "replay", "--reason", "missing_offset", "--force")
    began = rejected.folder / "began"
    slow = asyncio.create_task(
        rejected.run(*command, "--edit", f"touch {began}; sleep 1.5; cat", "--edit-with", "value")
    )
    while not began.exists():  # noqa: ASYNC110 - another process is waited for
        await asyncio.sleep(0.05)
    second = await rejected.run(*command)
    assert second.returncode == 0, second.stderr
    first = await slow
    assert first.returncode == 3
    assert "another replay of this installation has started" in first.stderr
    assert await times(rejected, *(without_offset(f"SO-{identity}") for identity in ("one", "two", "drop"))) == [
        2,
        2,
        2,
    ]
