"""Compares the topics of the contract with those of a cluster: plan, apply, check."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    KafkaError,
    NodeNotReadyError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)

from streams.errors import ExpectedError
from streams.kafka.clients import connected, live_options, timeout_ms
from streams.kafka.permissions import denied, require, topic_answers
from streams.kafka.refusals import RefusedError
from streams.kafka.rights import Operation, Resource, Right

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from schemas.topics import Catalogue, Topic
    from streams.settings import Settings

_TOPIC_EXISTS = 36
#: How long brokers may take at least to propagate what was created or altered.
_SETTLED_WITHIN_S = 20.0
_LOOK_AGAIN_S = 0.2
_BY_ADMIN = "milestones topics apply --print has the commands for the cluster's administrator"
_MIN_INSYNC = "min.insync.replicas"
_TIME_OF_RECORDS = "message.timestamp.type"


@dataclass(frozen=True)
class Found:
    """A topic as it is on the cluster.

    Attributes:
        partitions: Number of partitions.
        configs: Its settings, including the brokers' defaults.
        replicas: Number of replicas of the partition that has the fewest.
    """

    partitions: int
    configs: dict[str, str]
    replicas: int


@dataclass
class TopicPlan:
    """What has to change.

    Attributes:
        create: Topics that are missing.
        alter: Topic → setting → its value now and the one it must have.
        by_hand: What `apply` cannot do but workers can do without, a line each.
        refused: What workers need and only a person can resolve, a line each.
        replication_factor: Replicas of topics that are created; -1 is the cluster's default.
    """

    create: list[Topic] = field(default_factory=list)
    alter: dict[str, dict[str, tuple[str, str]]] = field(default_factory=dict)
    by_hand: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    replication_factor: int = -1

    @property
    def empty(self) -> bool:
        """Whether the cluster already has what the contract needs."""
        return not (self.create or self.alter or self.by_hand or self.refused)

    @property
    def exit_code(self) -> int:
        """0 if there is nothing to do, 1 if there is something, 3 if something prevents it."""
        return 3 if self.refused else 0 if self.empty else 1

    def lines(self) -> list[str]:
        """The plan in words, one line per change."""
        lines = [
            f"create {topic.name} ({topic.partitions} partition{'s' if topic.partitions > 1 else ''}, "
            f"{', '.join(f'{key}={value}' for key, value in sorted(topic.configs.items()))})"
            for topic in self.create
        ]
        for name, changes in self.alter.items():
            lines += [f"alter  {name}: {key} {was or 'unset'} -> {wanted}" for key, (was, wanted) in changes.items()]
        return lines + [f"move   {line}" for line in self.by_hand] + [f"refuse {line}" for line in self.refused]

    def commands(self, servers: str, *, secured: bool) -> list[str]:
        """The plan as commands of Kafka's own tools, for the cluster's administrator.

        Args:
            servers: The cluster's addresses for the administrator: HOST:PORT, separated by commas.
            secured: Whether the tools need a file with settings for authentication or TLS.
        """
        whole = ["--bootstrap-server", servers, *(["--command-config", "admin.properties"] if secured else [])]
        copies = [] if self.replication_factor == -1 else ["--replication-factor", str(self.replication_factor)]
        lines = []
        for topic in self.create:
            place = ["--topic", topic.name, "--partitions", str(topic.partitions), *copies]
            configs = [part for key, value in sorted(topic.configs.items()) for part in ("--config", f"{key}={value}")]
            lines.append(shlex.join(["kafka-topics.sh", *whole, "--create", "--if-not-exists", *place, *configs]))
        for name, changes in self.alter.items():
            added = ",".join(f"{key}={wanted}" for key, (_, wanted) in changes.items())
            place = ["--entity-type", "topics", "--entity-name", name, "--add-config", added]
            lines.append(shlex.join(["kafka-configs.sh", *whole, "--alter", *place]))
        return lines + [f"# {line}" for line in self.by_hand]


def catalogue_of(settings: Settings) -> Catalogue:
    """The topic catalogue of the installation that the settings describe."""
    return settings.catalogue


@contextlib.asynccontextmanager
async def admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client; a context manager.

    Raises:
        ExpectedError: The cluster is unreachable, exit code 3.
    """
    client = AIOKafkaAdminClient(**await live_options(settings), request_timeout_ms=timeout_ms(settings))
    try:
        await connected(settings, client.start)
        yield client
    except KafkaError as error:
        raise ExpectedError(f"Kafka at {settings.bootstrap_servers} refused: {error}", exit_code=3) from error
    finally:
        await client.close()


async def describe(client: AIOKafkaAdminClient, names: Iterable[str]) -> dict[str, Found]:
    """Partitions and settings of the topics, as far as they exist."""
    wanted = set(names)
    # All topics are asked for: a broker with auto.create.topics.enable would create missing ones that are asked for by name.
    existing = {
        topic["topic"]: (len(topic["partitions"]), min(len(part["replicas"]) for part in topic["partitions"]))
        for topic in await _all_topics(client)
        if topic["topic"] in wanted and not topic["error_code"]
    }
    await _require_sight(client, wanted - existing.keys())
    if not existing:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in existing]
    configs: dict[str, dict[str, str]] = {}
    for response in await client.describe_configs(resources):
        for error_code, message, _kind, name, entries in response.resources:
            if error_code == UnknownTopicOrPartitionError.errno:
                # It has been deleted since the previous answer.
                del existing[name]
                continue
            if error_code == TopicAuthorizationFailedError.errno:
                raise _denied(name, Operation.DESCRIBE_CONFIGS)
            if error_code:
                raise ExpectedError(
                    f"{name}: its settings cannot be read: {message or for_code(error_code).__name__}", exit_code=3
                )
            configs[name] = {entry[0]: entry[1] for entry in entries}
    return {
        name: Found(partitions, configs.get(name, {}), replicas) for name, (partitions, replicas) in existing.items()
    }


async def _all_topics(client: AIOKafkaAdminClient) -> list[dict[str, Any]]:
    """The cluster's description of its topics.

    Retried while the client has no connection for a moment, for example after an idle one was closed.
    """
    pauses_s = [0.1, 0.2, 0.4, 0.8]
    while True:
        try:
            found: list[dict[str, Any]] = await client.describe_topics()
        except NodeNotReadyError:
            if not pauses_s:
                raise
            await asyncio.sleep(pauses_s.pop(0))
        else:
            return found


async def _require_sight(client: AIOKafkaAdminClient, names: Iterable[str]) -> None:
    """Raises for topics that are hidden from this user, which would otherwise look missing."""
    answers = await topic_answers(client._client, names)  # noqa: SLF001 - aiokafka's admin client shows no other way
    for name, answer in answers.items():
        if answer.is_hidden:
            raise _denied(name, Operation.DESCRIBE)


def _denied(name: str, operation: Operation) -> RefusedError:
    return RefusedError(denied([Right(Resource.TOPIC, name, (operation,))]))


def _for_admin(name: str, operation: Operation) -> RefusedError:
    """The error for a missing right that is not needed if an administrator does the work."""
    return RefusedError(f"{denied([Right(Resource.TOPIC, name, (operation,))])}; or {_BY_ADMIN}")


async def check_rights(settings: Settings, rights: Iterable[Right]) -> None:
    """Checks rights without using them.

    Raises:
        ExpectedError: A right is missing, or the cluster is unreachable.
    """
    async with admin(settings) as client:
        await require(client._client, rights)  # noqa: SLF001 - aiokafka's admin client shows no other way


def wanted_topics(settings: Settings) -> list[Topic]:
    """The topics of the contract, with what the installation's settings add."""
    durable = {_MIN_INSYNC: str(settings.min_insync_replicas)} if settings.min_insync_replicas else {}
    return [replace(topic, configs={**topic.configs, **durable}) for topic in catalogue_of(settings).all()]


def plan_of(topics: Iterable[Topic], found: dict[str, Found], replication_factor: int = -1) -> TopicPlan:
    """Compares the wanted topics with those of the cluster."""
    plan = TopicPlan(replication_factor=replication_factor)
    for topic in topics:
        there = found.get(topic.name)
        if there is None:
            plan.create.append(topic)
            continue
        if there.partitions != topic.partitions and not topic.is_sized_by_others:
            plan.refused.append(f"{topic.name} has {_wrong_number(topic, there.partitions)}")
        if there.replicas < replication_factor:
            plan.by_hand.append(
                f"{topic.name} has {_copies(there.replicas)}, {replication_factor} are wanted: add the others with "
                "kafka-reassign-partitions.sh"
            )
        needed = topic.configs.get(_MIN_INSYNC) or there.configs.get(_MIN_INSYNC) or "1"
        if there.replicas < int(needed):
            plan.refused.append(
                f"{topic.name} has {_copies(there.replicas)}, and with {_MIN_INSYNC}={needed} nothing can be written to "
                "it: add replicas with kafka-reassign-partitions.sh, or lower that setting"
            )
        if topic.is_sized_by_others and "compact" in there.configs.get("cleanup.policy", ""):
            plan.refused.append(
                f"{topic.name} is compacted (cleanup.policy={there.configs['cleanup.policy']}): of events with one key all but "
                "the last are removed, and cannot be counted; publish to a topic with cleanup.policy=delete"
            )
            continue
        changes = {
            key: (there.configs.get(key, ""), value)
            for key, value in topic.configs.items()
            if there.configs.get(key) != value and (key == _TIME_OF_RECORDS or not topic.is_named_by_others)
        }
        if changes:
            plan.alter[topic.name] = changes
    return plan


def _copies(replicas: int) -> str:
    return f"{replicas} replica{'' if replicas == 1 else 's'}"


def _wrong_number(topic: Topic, found: int) -> str:
    if not topic.sized_by:
        return f"{found} partitions, 1 is wanted, whatever the settings: delete it and create it again with one"
    return (
        f"{found} partition{'s' if found > 1 else ''}, {topic.partitions} {'are' if topic.partitions > 1 else 'is'} wanted: "
        f"set {topic.sized_by} = {found}, with which it was created, or count again under another output_prefix"
    )


async def plan_topics(settings: Settings) -> TopicPlan:
    """What `apply_topics` would do."""
    async with admin(settings) as client:
        return await _plan(client, settings)


async def _plan(client: AIOKafkaAdminClient, settings: Settings) -> TopicPlan:
    topics = wanted_topics(settings)
    return plan_of(topics, await describe(client, [topic.name for topic in topics]), settings.replication_factor)


async def apply_topics(settings: Settings) -> TopicPlan:
    """Creates and alters what the contract needs; idempotent.

    Raises:
        ExpectedError: A topic exists with a different number of partitions, the cluster refuses, or the outcome is not what
            was asked for.
    """
    async with admin(settings) as client:
        plan = await _plan(client, settings)
        refuse(plan)
        if plan.create:
            await _create(client, plan.create, settings.replication_factor)
        if plan.alter:
            await _alter(client, plan)
        if plan.create or plan.alter:
            await _settle(client, settings, plan)
    return plan


def refuse(plan: TopicPlan) -> None:
    """Raises if anything prevents the plan.

    Raises:
        ExpectedError: Something does; the message is the first such line, exit code 3.
    """
    if plan.refused:
        more = f" (and {len(plan.refused) - 1} more: see milestones topics plan)" if len(plan.refused) > 1 else ""
        raise ExpectedError(f"{plan.refused[0]}{more}", exit_code=3)


async def _settle(client: AIOKafkaAdminClient, settings: Settings, applied: TopicPlan) -> None:
    """Waits until the topics are as requested.

    A topic that was to be created may have come from elsewhere at the same moment, with other settings: by its owner, or by a
    broker with auto.create.topics.enable for a publisher. It is altered then. A managed cluster may override settings.
    """
    altered = set(applied.alter)
    deadline = time.monotonic() + max(_SETTLED_WITHIN_S, settings.cluster_timeout_s)
    while (left := await _plan(client, settings)).create or left.alter:
        if left.refused or time.monotonic() > deadline:
            break
        found_late = {name: changes for name, changes in left.alter.items() if name not in altered}
        if found_late:
            await _alter(client, TopicPlan(alter=found_late))
            altered |= set(found_late)
        else:
            await asyncio.sleep(_LOOK_AGAIN_S)
    refuse(left)
    if left.create:
        raise ExpectedError(
            f"{left.create[0].name} is not there although it was created: has someone deleted it? Run milestones topics "
            "apply again",
            exit_code=3,
        )
    for name, changes in left.alter.items():
        key, (was, wanted) = next(iter(changes.items()))
        raise ExpectedError(
            f"{name} was given {key}={wanted} and has {was or 'none'}: the cluster decides otherwise, ask its administrator",
            exit_code=3,
        )


async def _create(client: AIOKafkaAdminClient, topics: list[Topic], replication_factor: int) -> None:
    requests = []
    for topic in topics:
        request = NewTopic(topic.name, topic.partitions, 1, topic_configs=dict(topic.configs))
        # The constructor refuses -1, the broker's default.
        request.replication_factor = replication_factor
        requests.append(request)
    response = await client.create_topics(requests)
    for name, code, *rest in response.topic_errors:
        if code == TopicAuthorizationFailedError.errno:
            raise _for_admin(name, Operation.CREATE)
        if code and code != _TOPIC_EXISTS:
            raise ExpectedError(
                f"{name} cannot be created: {(rest and rest[0]) or for_code(code).__name__}; {_BY_ADMIN}", exit_code=3
            )


async def _alter(client: AIOKafkaAdminClient, plan: TopicPlan) -> None:
    # AlterConfigs replaces all settings of a topic, so the others are repeated.
    found = await describe(client, plan.alter)
    resources = []
    for name, changes in plan.alter.items():
        own = await _own_configs(client, name)
        resources.append(
            ConfigResource(
                ConfigResourceType.TOPIC, name, {**own, **{key: value for key, (_, value) in changes.items()}}
            )
        )
    for response in await client.alter_configs(resources):
        for code, message, _kind, name in response.resources:
            if code == TopicAuthorizationFailedError.errno:
                raise _for_admin(name, Operation.ALTER_CONFIGS)
            if code:
                raise ExpectedError(
                    f"{name} cannot be altered: {message or for_code(code).__name__}; {_BY_ADMIN}", exit_code=3
                )
    if len(found) != len(plan.alter):
        raise ExpectedError("a topic vanished while it was altered; run milestones topics apply again", exit_code=3)


async def _own_configs(client: AIOKafkaAdminClient, name: str) -> dict[str, str]:
    """Settings made on the topic itself, as opposed to the broker's defaults."""
    own: dict[str, str] = {}
    for response in await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)]):
        for *_, entries in response.resources:
            for entry in entries:
                key, value, _read_only, source = entry[:4]
                if source == 1:  # DYNAMIC_TOPIC_CONFIG
                    own[key] = value
    return own
