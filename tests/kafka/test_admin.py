"""Commands that only look never write, even if the broker creates topics automatically; `apply` checks its work."""

from __future__ import annotations

import asyncio
import shlex
import time
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from streams.embedded.broker import EmbeddedKafka
from streams.embedded.java import SHORT_LIVED
from streams.errors import ExpectedError
from streams.kafka import admin as administration
from streams.kafka.admin import admin, apply_topics, describe, plan_topics
from streams.kafka.clients import partition_counts, read_to_end, reader
from streams.kafka.rights import transactional_prefix
from tests.support.commands import uses
from tests.support.events import lifecycle
from tests.support.installation import Installation
from tests.support.recount import recount
from tests.support.time_limits import deadline
from tests.support.webview import WebView

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.kafka

#: Brings its own Kafka, runs until it is stopped, or exists to create topics.
_OTHERWISE = (["demo"], ["web"], ["topics", "apply"])


#: By default transactional ids expire after a week; here as soon as a worker that opens slowly can bear.
_FORGETFUL = {
    "transactional.id.expiration.ms": "10000",
    "transaction.remove.expired.transaction.cleanup.interval.ms": "300",
}


@pytest.fixture(scope="module")
def creating(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """A broker with auto.create.topics.enable, Kafka's default, that forgets transactional ids within seconds."""
    folder = tmp_path_factory.mktemp("creating")
    properties = {"auto.create.topics.enable": "true"} | _FORGETFUL
    with EmbeddedKafka(folder, heap_mb=256, properties=properties, java_options=SHORT_LIVED) as broker:
        yield broker


async def topics_of(installation: Installation) -> set[str]:
    async with admin(installation.settings) as client:
        return set(await client.list_topics())


async def test_no_command_creates_a_topic_by_looking(creating: EmbeddedKafka, prefix: str, tmp_path: Path) -> None:
    """Neither a topic of the contract nor one that the broker needs internally, such as that of transactions."""
    installation = Installation(creating.bootstrap, prefix, tmp_path)
    one_by_two = asyncio.Semaphore(2)
    started_cold: set[str] = set()

    async def run(arguments: list[str]) -> None:
        # Each command once as a user starts it, with nothing imported.
        cold = arguments[0] not in started_cold
        started_cold.add(arguments[0])
        async with one_by_two:
            done = await installation.run(*arguments, timeout_s=30, cold=cold)
        assert done.returncode in (1, 2, 3), (arguments, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr, (arguments, done.stderr)
        if arguments[0] in {"verify", "explain", "reconcile", "rebuild", "windows"}:
            # The same exit code for everything the cluster lacks.
            assert (done.returncode, "does not exist" in done.stderr or "there is no topic" in done.stderr) == (3, True)

    before = await topics_of(installation)
    await asyncio.gather(*(run(arguments) for arguments in uses() if arguments not in _OTHERWISE))
    with WebView(installation.environment, tmp_path / "web.txt") as web:
        await web.until("/api/v1/status", lambda status: not status["reader"]["rebuilt"])
        await asyncio.sleep(1)
    assert await topics_of(installation) == before


async def test_who_reads_a_topic_that_is_deleted_does_not_bring_it_back(
    creating: EmbeddedKafka, prefix: str, tmp_path: Path
) -> None:
    installation = await Installation(creating.bootstrap, prefix, tmp_path).create()
    name = installation.catalogue.windows.name
    async with admin(installation.settings) as client, reader(installation.settings) as consumer:
        consumer.assign([TopicPartition(name, 0)])
        await consumer.seek_to_beginning()
        await client.delete_topics([name])
        for _ in range(20):
            await consumer.getmany(timeout_ms=100)
            await consumer._client.force_metadata_update()
        assert name not in await client.list_topics()


async def test_plan_tells_by_its_exit_code_whether_something_is_to_be_done(
    bootstrap: str, prefix: str, tmp_path: Path
) -> None:
    installation = Installation(bootstrap, prefix, tmp_path)
    catalogue = installation.catalogue
    planned = await installation.run("topics", "plan")
    assert (planned.returncode, planned.stderr) == (1, "")
    assert len(planned.stdout.splitlines()) == len(catalogue.all())
    async with admin(installation.settings) as client:
        await client.create_topics([NewTopic(catalogue.violations.name, 1, 1), NewTopic(catalogue.targets.name, 3, 1)])
    planned = await installation.run("topics", "plan")
    assert planned.returncode == 3
    assert [line for line in planned.stdout.splitlines() if line.startswith("refuse ")]
    for command in (("topics", "apply"), ("topics", "apply", "--print"), ("worker",)):
        refused = await installation.run(*command)
        assert (refused.returncode, refused.stdout) == (3, ""), command
        assert f"{catalogue.targets.name} has 3 partitions, 1 is wanted" in refused.stderr
    doctor = await installation.run("doctor")
    assert doctor.returncode == 1
    assert "ok     topics" not in doctor.stdout
    assert await topics_of(installation) & {topic.name for topic in catalogue.all()} == {
        catalogue.violations.name,
        catalogue.targets.name,
    }, "what is refused is not applied in part"


def created_first(monkeypatch: pytest.MonkeyPatch, topic: NewTopic) -> None:
    """Makes somebody else create a topic just before `apply` does."""
    create = administration._create

    async def overtaken(client: Any, *arguments: Any) -> None:
        await client.create_topics([topic])
        await create(client, *arguments)

    monkeypatch.setattr(administration, "_create", overtaken)


async def test_apply_does_not_take_what_somebody_else_created_meanwhile_for_its_own(
    bootstrap: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As created automatically by the broker for a publisher that came first."""
    installation = Installation(bootstrap, prefix, tmp_path)
    name = installation.catalogue.dead_letters.name
    created_first(monkeypatch, NewTopic(name, 1, 1))
    with pytest.raises(ExpectedError, match=f"{name} has 1 partition, 4 are wanted") as refused:
        await apply_topics(installation.settings)
    assert refused.value.exit_code == 3


async def test_a_topic_that_its_owner_creates_meanwhile_gets_its_settings(
    bootstrap: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or has created a moment before, when the broker did not know it yet."""
    installation = Installation(bootstrap, prefix, tmp_path)
    name = installation.catalogue.orders.name
    created_first(monkeypatch, NewTopic(name, 3, 1))
    applied = await apply_topics(installation.settings)
    assert name in {topic.name for topic in applied.create}
    async with admin(installation.settings) as client:
        found = (await describe(client, [name]))[name]
    assert (found.partitions, found.configs["retention.ms"]) == (3, "-1")


async def test_the_commands_for_an_administrator_do_what_apply_does(
    bootstrap: str, prefix: str, tmp_path: Path
) -> None:
    installation = Installation(bootstrap, prefix, tmp_path, replication_factor=1, min_insync_replicas=1)
    async with admin(installation.settings) as client:
        await client.create_topics([NewTopic(installation.catalogue.status.name, 1, 1)])
    # Changes of the controller reach the broker a moment later.
    give_up_s = deadline(10)
    while installation.catalogue.status.name not in await topics_of(installation):
        assert time.monotonic() < give_up_s
    printed = await installation.run("topics", "apply", "--print")
    assert (printed.returncode, printed.stderr) == (0, "")
    assert await topics_of(installation) & {topic.name for topic in installation.catalogue.all()} == {
        installation.catalogue.status.name
    }
    async with admin(installation.settings) as client:
        for line in printed.stdout.splitlines():
            await as_kafkas_tools_do(client, shlex.split(line), bootstrap)
    give_up_s = deadline(10)
    while not (plan := await plan_topics(installation.settings)).empty:
        assert time.monotonic() < give_up_s, plan
    again = await installation.run("topics", "apply", "--print")
    assert (again.returncode, again.stdout) == (0, "")
    assert "nothing to do" in again.stderr


async def as_kafkas_tools_do(client: Any, words: list[str], bootstrap: str) -> None:
    """The options of kafka-topics.sh and kafka-configs.sh that take a value are followed by one."""
    tool, *rest = words
    flags = {"--create", "--if-not-exists", "--alter"}
    pairs = [word for word in rest if word not in flags]
    options = list(zip(pairs[::2], pairs[1::2], strict=True))
    one = dict(options)
    assert one["--bootstrap-server"] == bootstrap
    if tool == "kafka-topics.sh":
        assert flags - {"--alter"} <= set(rest)
        configs = dict(value.split("=", 1) for option, value in options if option == "--config")
        topic = NewTopic(
            one["--topic"], int(one["--partitions"]), int(one["--replication-factor"]), topic_configs=configs
        )
        ((_, code, *_),) = (await client.create_topics([topic])).topic_errors
        assert code == 0
    else:
        assert (tool, one["--entity-type"]) == ("kafka-configs.sh", "topics")
        configs = dict(value.split("=", 1) for value in one["--add-config"].split(","))
        (done,) = await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, one["--entity-name"], configs)])
        assert done.resources[0][0] == 0


async def test_replicas_that_are_missing_are_told_and_too_few_to_write_are_refused(
    bootstrap: str, prefix: str, tmp_path: Path
) -> None:
    installation = await Installation(bootstrap, prefix, tmp_path).create()
    name = installation.catalogue.milestones.name
    planned = await installation.run("topics", "plan", MILESTONES_REPLICATION_FACTOR="3")
    assert planned.returncode == 1
    assert f"move   {name} has 1 replica, 3 are wanted: add the others with kafka-reassign-partitions" in planned.stdout
    applied = await installation.run("topics", "apply", MILESTONES_REPLICATION_FACTOR="3")
    assert applied.returncode == 1, "something is left to do"
    planned = await installation.run("topics", "plan", MILESTONES_MIN_INSYNC_REPLICAS="2")
    assert planned.returncode == 3
    assert f"refuse {name} has 1 replica, and with min.insync.replicas=2 nothing can be written" in planned.stdout
    refused = await installation.run(
        "topics", "plan", MILESTONES_REPLICATION_FACTOR="2", MILESTONES_MIN_INSYNC_REPLICAS="3"
    )
    assert refused.returncode == 2
    assert "min_insync_replicas is 3 and replication_factor 2: nothing could be written" in refused.stderr


async def test_a_topic_that_is_deleted_while_it_is_described_is_not_there(
    bootstrap: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = await Installation(bootstrap, prefix, tmp_path).create()
    gone, stays = installation.catalogue.windows.name, installation.catalogue.status.name
    async with admin(installation.settings) as client:
        listed: list[Any] = await client.describe_topics()
        await client.delete_topics([gone])

        async def as_listed_before() -> list[Any]:
            return listed

        monkeypatch.setattr(client, "describe_topics", as_listed_before)
        for _ in range(100):
            if set(await describe(client, [gone, stays])) == {stays}:
                return
            await asyncio.sleep(0.1)
    raise AssertionError("it is still described")


@pytest.mark.slow
async def test_transactional_ids_that_the_brokers_have_forgotten_cost_nothing(
    creating: EmbeddedKafka, prefix: str, tmp_path: Path
) -> None:
    """A worker that was idle for longer than its transactional ids are kept continues as usual."""
    records = list(lifecycle(9, 30, partitions=1))
    async with Installation.created(creating.bootstrap, tmp_path, prefix=prefix, partitions=1) as installation:
        worker = installation.worker("w1")
        await installation.publish(records[:30])
        await installation.applied()
        await forgotten(installation)
        await installation.publish(records[30:])
        await installation.applied()
        assert await installation.counts() == recount(await installation.source_values())
        assert (await installation.books_balance())["read"] == len(records)
        await installation.standing()
        assert worker.process.poll() is None


async def forgotten(installation: Installation) -> None:
    """Waits until the brokers have forgotten the transactional ids of the states; the status producer's stays in use."""
    states = tuple(f"{transactional_prefix(installation.settings)}{role}".encode() for role in ("ledger-0", "totals"))
    name, give_up_s = "__transaction_state", deadline(60)
    async with reader(installation.settings) as consumer:
        partitions = [(name, number) for number in range((await partition_counts(consumer, [name]))[name])]
    known: dict[bytes, bytes | None] = {b"": b""}
    while any(value is not None for value in known.values()):
        assert time.monotonic() < give_up_s, known
        await asyncio.sleep(0.3)
        known = {}
        async for batch in read_to_end(installation.settings, partitions):
            known |= {key: record.value for record in batch if (key := record.key or b"").endswith(states)}
        assert known
