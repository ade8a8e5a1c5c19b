"""What the contract needs on a cluster against what is there: plan, apply, check."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError, UnknownTopicOrPartitionError, for_code

from schemas.topics import Catalogue, Topic
from streams.errors import ExpectedError
from streams.kafka.clients import connected, live_options, timeout_ms
from streams.kafka.permissions import denied, require, topic_answers
from streams.kafka.refusals import RefusedError
from streams.kafka.rights import Operation, Resource, Right

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from streams.settings import Settings

_TOPIC_EXISTS = 36


@dataclass(frozen=True)
class Found:
    """One topic as the cluster has it."""

    partitions: int
    configs: dict[str, str]


@dataclass
class Plan:
    """What has to change: topics to create, settings to alter, and what only a person can resolve."""

    create: list[Topic] = field(default_factory=list)
    alter: dict[str, dict[str, tuple[str, str]]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether the cluster has what the contract needs."""
        return not (self.create or self.alter or self.refused)

    def lines(self) -> list[str]:
        """The plan for a person, a line a change."""
        lines = [
            f"create {topic.name} ({topic.partitions} partition{'s' if topic.partitions > 1 else ''}, "
            f"{', '.join(f'{key}={value}' for key, value in sorted(topic.configs.items()))})"
            for topic in self.create
        ]
        for name, changes in self.alter.items():
            lines += [f"alter  {name}: {key} {was or 'unset'} -> {wanted}" for key, (was, wanted) in changes.items()]
        return lines + [f"refuse {line}" for line in self.refused]


def catalogue_of(settings: Settings) -> Catalogue:
    """The topics of the installation that the settings describe."""
    return Catalogue(
        source_prefix=settings.source_prefix, output_prefix=settings.output_prefix, partitions=settings.partitions
    )


@contextlib.asynccontextmanager
async def admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client, closed at the end.

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
    """Partitions and settings of those of the topics that exist."""
    wanted = set(names)
    # All topics are asked for: asked by name, a broker with auto.create.topics.enable creates what it does not have.
    existing = {
        topic["topic"]: len(topic["partitions"])
        for topic in await client.describe_topics()
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
                # Deleted since the answer before.
                del existing[name]
                continue
            if error_code == TopicAuthorizationFailedError.errno:
                raise _denied(name, Operation.DESCRIBE_CONFIGS)
            if error_code:
                raise ExpectedError(
                    f"{name}: its settings cannot be read: {message or for_code(error_code).__name__}", exit_code=3
                )
            configs[name] = {entry[0]: entry[1] for entry in entries}
    return {name: Found(partitions, configs.get(name, {})) for name, partitions in existing.items()}


async def _require_sight(client: AIOKafkaAdminClient, names: Iterable[str]) -> None:
    """Makes sure that topics that are not listed are not there, rather than hidden from this user."""
    answers = await topic_answers(client._client, names)  # noqa: SLF001 - aiokafka's admin client shows no other way
    for name, answer in answers.items():
        if answer.is_hidden:
            raise _denied(name, Operation.DESCRIBE)


def _denied(name: str, operation: Operation) -> RefusedError:
    return RefusedError(denied([Right(Resource.TOPIC, name, (operation,))]))


async def check_rights(settings: Settings, rights: Iterable[Right]) -> None:
    """Makes sure of rights without using them.

    Raises:
        ExpectedError: One is missing, or the cluster is out of reach.
    """
    async with admin(settings) as client:
        await require(client._client, rights)  # noqa: SLF001 - aiokafka's admin client shows no other way


def plan_of(catalogue: Catalogue, found: dict[str, Found]) -> Plan:
    """Compares the catalogue with the cluster; changes nothing."""
    plan = Plan()
    for topic in catalogue.all():
        there = found.get(topic.name)
        if there is None:
            plan.create.append(topic)
            continue
        if there.partitions != topic.partitions:
            plan.refused.append(
                f"{topic.name} has {there.partitions} partitions, {topic.partitions} are wanted: set partitions = "
                f"{there.partitions}, or load the events into new topics (source_prefix) and rebuild"
            )
        changes = {
            key: (there.configs.get(key, ""), value)
            for key, value in topic.configs.items()
            if there.configs.get(key) != value
        }
        if changes:
            plan.alter[topic.name] = changes
    return plan


async def plan_topics(settings: Settings) -> Plan:
    """What `apply_topics` would do."""
    catalogue = catalogue_of(settings)
    async with admin(settings) as client:
        return plan_of(catalogue, await describe(client, [topic.name for topic in catalogue.all()]))


async def apply_topics(settings: Settings) -> Plan:
    """Creates and alters what the contract needs; doing it again changes nothing.

    Raises:
        ExpectedError: A topic exists with another number of partitions, or the cluster refuses.
    """
    catalogue = catalogue_of(settings)
    async with admin(settings) as client:
        plan = plan_of(catalogue, await describe(client, [topic.name for topic in catalogue.all()]))
        if plan.refused:
            raise ExpectedError(plan.refused[0])
        if plan.create:
            await _create(client, plan.create, settings.replication_factor)
        if plan.alter:
            await _alter(client, plan)
    return plan


async def _create(client: AIOKafkaAdminClient, topics: list[Topic], replication_factor: int) -> None:
    requests = []
    for topic in topics:
        request = NewTopic(topic.name, topic.partitions, 1, topic_configs=dict(topic.configs))
        # -1, the broker's default, is known to the protocol but refused by the constructor.
        request.replication_factor = replication_factor
        requests.append(request)
    response = await client.create_topics(requests)
    for name, code, *rest in response.topic_errors:
        if code == TopicAuthorizationFailedError.errno:
            raise _denied(name, Operation.CREATE)
        if code and code != _TOPIC_EXISTS:
            raise ExpectedError(
                f"{name} cannot be created: {(rest and rest[0]) or for_code(code).__name__}", exit_code=3
            )


async def _alter(client: AIOKafkaAdminClient, plan: Plan) -> None:
    # AlterConfigs replaces all settings of a topic, so those that others set must be given again.
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
                raise _denied(name, Operation.ALTER_CONFIGS)
            if code:
                raise ExpectedError(f"{name} cannot be altered: {message or for_code(code).__name__}", exit_code=3)
    if len(found) != len(plan.alter):
        raise ExpectedError("a topic vanished while it was altered; run milestones topics apply again", exit_code=3)


async def _own_configs(client: AIOKafkaAdminClient, name: str) -> dict[str, str]:
    """Settings made on the topic itself, as opposed to defaults of the broker."""
    own: dict[str, str] = {}
    for response in await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)]):
        for *_, entries in response.resources:
            for entry in entries:
                key, value, _read_only, source = entry[:4]
                if source == 1:  # DYNAMIC_TOPIC_CONFIG
                    own[key] = value
    return own
