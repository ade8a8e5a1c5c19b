"""Least privilege: each role works with exactly its rights, and each missing right is reported by name."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import shlex
import time
from typing import TYPE_CHECKING

import pytest
import yaml
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from streams.kafka.admin import admin, apply_topics, check_rights
from streams.kafka.refusals import RefusedError
from streams.kafka.rights import ROLES, Operation, Resource, Right, Role, rights_of
from streams.lookup.finder import Finder
from streams.settings import Settings
from tests.support.events import lifecycle
from tests.support.installation import ROOT, Installation
from tests.support.recount import recount
from tests.support.time_limits import deadline, stretched
from tests.support.webview import WebView

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from pathlib import Path

    from tests.support.secured import SecuredKafka

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@pytest.fixture
async def made(
    secured: SecuredKafka, make_prefix: Callable[[], str], tmp_path: Path
) -> AsyncIterator[Callable[..., Installation]]:
    """Makes installations whose workers and commands are a separate user."""
    installations: list[Installation] = []

    def make(user: str) -> Installation:
        folder = tmp_path / user
        folder.mkdir()
        installation = Installation(secured.broker.bootstrap, make_prefix(), folder)
        installation.client = secured.settings("SCRAM", user)
        installations.append(installation)
        return installation

    yield make
    for installation in installations:
        installation.end()


def each_removed(rights: Iterable[Right]) -> Iterator[Right]:
    """Every single right of a role."""
    for right in rights:
        for operation in right.operations:
            yield Right(right.resource, right.name, (operation,), right.is_prefix)


@pytest.mark.parametrize("role", ROLES)
async def test_each_right_that_is_missing_is_named_and_all_together_are_enough(
    secured: SecuredKafka, made: Callable[..., Installation], role: Role
) -> None:
    user = f"checked-{role}"
    await secured.add_user(user)
    installation = await made(user).create()
    settings = Settings(**(installation.settings.model_dump() | installation.client))
    rights = rights_of(role, settings)
    await secured.allow(user, rights)
    await _until_told(settings, rights, None)
    for right in each_removed(rights):
        await secured.disallow(user, right, settle_s=0)
        await _until_told(settings, rights, right)
        await secured.allow(user, [right], settle_s=0)
    await _until_told(settings, rights, None)
    await secured.disallow(user)


async def _until_told(settings: Settings, rights: tuple[Right, ...], missing: Right | None) -> None:
    """What the controller has taken reaches the broker a moment later."""
    wanted = None if missing is None else f"{missing.operations[0].words} on {missing.resource.words} {missing.name}"
    give_up_s = deadline(10)
    while True:
        try:
            await check_rights(settings, rights)
            said = None
        except RefusedError as refused:
            said = str(refused)
        if said is None if wanted is None else said is not None and wanted in said:
            return
        assert time.monotonic() < give_up_s, (wanted, said)


async def test_a_publisher_needs_only_the_topics_that_it_sends_to(
    secured: SecuredKafka, made: Callable[..., Installation]
) -> None:
    await secured.add_user("factory")
    installation = await made("factory").create()
    await secured.allow("factory", [Right(Resource.TOPIC, installation.catalogue.deliveries.name, (Operation.WRITE,))])
    samples = (ROOT / "deploy/demo/sample-events.ndjson").read_text().splitlines()
    delivered, placed = installation.folder / "delivered.ndjson", installation.folder / "placed.ndjson"
    delivered.write_text("".join(f"{line}\n" for line in samples if json.loads(line)["type"] == "vehicle.delivered.v1"))
    placed.write_text("".join(f"{line}\n" for line in samples if json.loads(line)["type"] == "order.placed.v1"))
    done = await installation.run("publish", str(delivered))
    assert done.returncode == 0, done.stderr
    done = await installation.run("publish", str(placed))
    assert done.returncode == 3, done.stderr
    assert done.stderr.startswith(
        f"milestones: this user is not allowed Write on topic {installation.catalogue.orders.name}; grant it"
    )
    await secured.disallow("factory")
    done = await installation.run("publish", str(placed))
    assert (done.returncode, "not allowed Write on any topic" in done.stderr) == (3, True), done.stderr
    assert len(done.stderr.splitlines()) == 1


async def test_applying_names_the_right_that_is_missing(
    secured: SecuredKafka, made: Callable[..., Installation]
) -> None:
    await secured.add_user("applies")
    installation = made("applies")
    settings = Settings(**(installation.settings.model_dump() | installation.client))
    topic = installation.catalogue.orders.name

    async def refused(operation: Operation) -> None:
        """What the controller has taken reaches the broker a moment later."""
        wanted = f"not allowed {operation.words} on topic {topic}; grant it"
        give_up_s = deadline(10)
        said = ""
        while wanted not in said:
            assert time.monotonic() < give_up_s, (wanted, said)
            try:
                await apply_topics(settings)
            except RefusedError as error:
                said = str(error)

    others = [right for right in rights_of("operator", settings) if right.name != topic]
    await secured.allow("applies", others)
    await refused(Operation.DESCRIBE)
    await secured.allow("applies", [Right(Resource.TOPIC, topic, (Operation.READ,))])
    await refused(Operation.CREATE)
    await secured.allow("applies", [Right(Resource.TOPIC, topic, (Operation.CREATE,))])
    # The topic is created, but whether it is as requested cannot be seen.
    await refused(Operation.DESCRIBE_CONFIGS)
    await secured.allow("applies", [Right(Resource.TOPIC, topic, (Operation.DESCRIBE_CONFIGS,))])
    async with admin(installation.settings) as client:
        await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": "1000"})])
    await refused(Operation.ALTER_CONFIGS)
    await secured.disallow("applies")


async def test_readers_operators_and_the_web_view_do_their_work_with_exactly_their_rights(
    secured: SecuredKafka, made: Callable[..., Installation]
) -> None:
    for user in ("reads", "operates", "shows"):
        await secured.add_user(user)
    installation = made("operates")
    settings = installation.settings
    await secured.allow("operates", rights_of("operator", settings))
    done = await installation.run("topics", "apply")
    assert done.returncode == 0, done.stderr
    place = (installation.catalogue.orders.name, "0", "0")
    await installation.publish(list(lifecycle(3, 5)))
    outcomes = await asyncio.gather(
        installation.run("quarantine", *place, "--reason", "looked into"),
        installation.run("dead-letters", "replay"),
        installation.run("topics", "plan"),
    )
    assert [done.returncode for done in outcomes] == [0, 0, 0], [done.stderr for done in outcomes]
    await secured.allow("reads", rights_of("reader", settings))
    installation.client = secured.settings("SCRAM", "reads")
    looks = [("windows",), ("list",), ("violations",), ("dead-letters", "list"), ("forecasts",), ("quarantine", "list")]
    seen = await asyncio.gather(*(installation.run(*command) for command in looks))
    assert [done.returncode for done in seen] == [0] * len(looks), [done.stderr for done in seen]
    await secured.disallow("reads")
    refused = await asyncio.gather(*(installation.run(*command) for command in looks[:2]))
    for command, done in zip(looks, refused, strict=False):
        assert done.returncode == 3, (command, done.stderr)
        assert re.fullmatch(
            r"milestones: this user is not allowed Read on topic [^\n]*; grant it[^\n]*\n", done.stderr
        ), command
    await secured.allow("shows", rights_of("web", settings))
    installation.client = secured.settings("SCRAM", "shows")
    with WebView(installation.environment, installation.folder / "web.log") as web:
        await web.rebuilt()
    async with Finder.opened(installation.settings) as finder:
        await finder.read_on()
        ended = (await finder.moment(int(time.time() * 1_000_000))).stops
        assert sum(ended.values()) > 0, "the web view may know where the sources ended, and read none of them"
    await secured.disallow("shows")
    with WebView(installation.environment, installation.folder / "web.log") as web:
        await web.until("/api/v1/status", lambda status: "not allowed Read on topic" in str(status))
    await secured.disallow("operates")


#: What is revoked from a worker while it counts, each from a separate worker.
TAKEN: dict[str, Callable[[Installation], Right]] = {
    "source": lambda made: Right(Resource.TOPIC, made.catalogue.orders.name, (Operation.READ,)),
    "output": lambda made: Right(Resource.TOPIC, made.catalogue.windows.name, (Operation.WRITE,)),
    "ledger": lambda made: Right(Resource.TOPIC, made.catalogue.ledger.name, (Operation.WRITE,)),
    "group": lambda made: Right(Resource.GROUP, made.settings.group_id, (Operation.READ,)),
    "transactions": lambda made: rights_of("worker", made.settings)[-1],
}


async def test_what_is_taken_from_a_worker_while_it_counts_ends_it_with_one_line(
    secured: SecuredKafka, made: Callable[..., Installation]
) -> None:
    await asyncio.gather(
        *(_take_while_it_counts(secured, made(f"loses-{name}"), name) for name in TAKEN), _revoke(secured, made)
    )


async def _take_while_it_counts(secured: SecuredKafka, installation: Installation, name: str) -> None:
    user = f"loses-{name}"
    await secured.add_user(user)
    await _counting(secured, installation, user)
    right = TAKEN[name](installation)
    await secured.disallow(user, right)
    await installation.publish(list(lifecycle(12, 10)))
    code, said = await _end_of(installation)
    wanted = f"{right.operations[0].words} on {right.resource.words} {right.name}"
    assert (code, wanted in said.splitlines()[-1]) == (3, True), said
    assert "Traceback" not in said
    await secured.disallow(user)


async def _revoke(secured: SecuredKafka, made: Callable[..., Installation]) -> None:
    await secured.add_user("leaver")
    installation = made("leaver")
    installation.client = secured.settings("SESSION", "leaver")
    await _counting(secured, installation, "leaver")
    await secured.remove_user("leaver")
    removed_s = time.monotonic()
    code, said = await _end_of(installation)
    assert (code, "refuses user 'leaver'" in said.splitlines()[-1]) == (3, True), said
    # Its connections stay open until their sessions of eight seconds end.
    assert time.monotonic() - removed_s < stretched(8 + 10)
    assert "Traceback" not in said
    assert secured.password not in said


async def _counting(secured: SecuredKafka, installation: Installation, user: str) -> None:
    await installation.create()
    await secured.allow(user, rights_of("worker", installation.settings))
    installation.worker("w1")
    published = list(lifecycle(11, 10))
    await installation.publish(published)
    await installation.applied(120)
    assert await installation.counts() == recount(record.value for record in published)


async def _end_of(installation: Installation) -> tuple[int, str]:
    (worker,) = installation.workers
    code = await asyncio.to_thread(worker.wait, 30)
    return code, worker.log.read_text()


async def test_the_doctor_tries_a_role_and_changes_nothing(
    secured: SecuredKafka, made: Callable[..., Installation]
) -> None:
    await secured.add_user("patient")
    installation = await made("patient").create()
    rights = rights_of("worker", installation.settings)
    await secured.allow("patient", rights)
    done = await installation.run("doctor", "--role", "worker")
    assert re.search(r"^ok +rights +a worker may do all it needs to$", done.stdout, re.MULTILINE), done.stdout
    ledger = Right(Resource.TOPIC, installation.catalogue.ledger.name, (Operation.WRITE,))
    await secured.disallow("patient", ledger)
    done = await installation.run("doctor", "--role", "worker")
    assert done.returncode == 1
    wanted = rf"^WRONG +rights +this user is not allowed Write on topic {re.escape(ledger.name)}\n +-> grant it"
    assert re.search(wanted, done.stdout, re.MULTILINE), done.stdout
    await secured.disallow("patient")


@pytest.mark.parametrize("role", ROLES)
async def test_the_commands_and_the_kafka_user_name_the_same_rights(
    made: Callable[..., Installation], role: Role
) -> None:
    installation = made("printed")
    rights = set(each_removed(rights_of(role, installation.settings)))
    names = ("topics", "acls", "--principal", "User:printed", "--role", role)
    commands, user = await asyncio.gather(installation.run(*names), installation.run(*names, "--format", "strimzi"))
    assert set(_of_commands(commands.stdout)) == rights
    found = yaml.safe_load(user.stdout)
    assert (found["kind"], found["metadata"]["name"]) == ("KafkaUser", "printed")
    assert set(_of_kafka_user(found)) == rights


_RESOURCES = {"topic": Resource.TOPIC, "group": Resource.GROUP, "transactionalId": Resource.TRANSACTIONAL_ID}
_OPTIONS = {"--topic": Resource.TOPIC, "--group": Resource.GROUP, "--transactional-id": Resource.TRANSACTIONAL_ID}
_OPERATIONS = {operation.words: operation for operation in Operation}


def _of_commands(text: str) -> Iterator[Right]:
    for line in text.splitlines():
        words = shlex.split(line)
        options = list(itertools.pairwise(words))
        operations = [_OPERATIONS[value] for option, value in options if option == "--operation"]
        for option, value in options:
            if option in _OPTIONS:
                for operation in operations:
                    yield Right(_OPTIONS[option], value, (operation,), is_prefix="prefixed" in words)


def _of_kafka_user(document: dict[str, dict[str, dict[str, list[dict[str, dict[str, str]]]]]]) -> Iterator[Right]:
    for entry in document["spec"]["authorization"]["acls"]:
        resource = entry["resource"]
        for operation in entry["operations"]:
            is_prefix = resource["patternType"] == "prefix"
            yield Right(_RESOURCES[resource["type"]], resource["name"], (_OPERATIONS[operation],), is_prefix)
