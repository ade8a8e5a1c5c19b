"""Checks of a cluster: reachable, transactions allowed, topics as the contract needs them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from streams.checkup import Finding, failed, note, ok, wrong
from streams.errors import ExpectedError
from streams.kafka.admin import Plan, admin, catalogue_of, plan_topics
from streams.kafka.clients import client_options, quiet_clients
from streams.kafka.permissions import denied, missing_rights, topic_answers
from streams.kafka.refusals import Reached, reach
from streams.kafka.rights import Resource, rights_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiokafka.admin import AIOKafkaAdminClient

    from streams.kafka.rights import Role
    from streams.settings import Settings

_TRANSACTION_TIMEOUT_S = 15.0

#: Requests by whose presence a broker's age is known: API key → the release that brought it.
_LANDMARKS = {88: "4.1", 75: "3.8", 60: "2.8", 22: "0.11"}


async def cluster_findings(settings: Settings, role: Role | None = None) -> AsyncIterator[Finding]:
    """One finding a check, as soon as it is known; only the first where the cluster cannot be reached.

    Args:
        settings: Of the installation.
        role: Whose rights are tried, in place of what needs the rights of all.
    """
    try:
        with quiet_clients():
            reached = await reach(settings, client_options(settings))
        async with admin(settings) as client:
            yield await _brokers(client, settings)
    except ExpectedError as error:
        yield failed("cluster", error)
        return
    yield _advertised(reached)
    if role is not None:
        for finding in await _rights(settings, role):
            yield finding
        return
    yield await _transactions(settings)
    try:
        for finding in topic_findings(await plan_topics(settings), len(catalogue_of(settings).all())):
            yield finding
    except ExpectedError as error:
        yield failed("topics", error)


async def _brokers(client: AIOKafkaAdminClient, settings: Settings) -> Finding:
    brokers = (await client.describe_cluster())["brokers"]
    # aiokafka knows what a broker offers and has no public way to ask for it.
    connection = await client._client._get_conn(brokers[0]["node_id"])  # noqa: SLF001
    offered = connection._versions if connection else {}  # noqa: SLF001
    release = next((release for key, release in _LANDMARKS.items() if key in offered), None)
    age = f"Kafka {release} or newer" if release else "release unknown"
    count = f"{len(brokers)} broker{'s' if len(brokers) > 1 else ''}"
    return ok("cluster", f"{settings.bootstrap_servers}: {count}, {age}")


def _advertised(reached: Reached) -> Finding:
    """Where clients are sent to after the first answer, which need not be where they have asked."""
    away = {address: failure for address, failure in reached.advertised.items() if failure is not None}
    if away:
        reasons = ", ".join(str(failure).partition(";")[0] for failure in away.values())
        detail = f"{len(away)} of {len(reached.advertised)} brokers cannot be reached where they advertise themselves: {reasons}"
        return wrong("advertised", detail, "correct advertised.listeners of these brokers, or start them")
    return ok("advertised", ", ".join(map(str, reached.advertised)))


async def _rights(settings: Settings, role: Role) -> list[Finding]:
    """What a role needs, each right tried without being used."""
    name, cure = "rights", f"grant it: milestones topics acls --role {role} says how"
    rights = rights_of(role, settings)
    async with admin(settings) as client:
        missing = await missing_rights(client._client, rights)  # noqa: SLF001 - aiokafka's admin client shows no other way
        topics = [right.name for right in rights if right.resource is Resource.TOPIC]
        answers = await topic_answers(client._client, topics)  # noqa: SLF001
    findings = [wrong(name, denied([right]).partition(";")[0], cure) for right in missing]
    absent = [topic for topic, answer in answers.items() if not answer.partitions and not answer.is_hidden]
    if absent:
        findings.append(
            wrong("topics", f"{len(absent)} are missing: {', '.join(absent)}", "run: milestones topics apply")
        )
    if any(answer.operations is None and answer.partitions for answer in answers.values()):
        findings.append(note(name, "the brokers do not tell what is allowed on topics"))
    return findings or [ok(name, f"a {role} may do all it needs to")]


async def _transactions(settings: Settings) -> Finding:
    """By starting a transactional producer, as a worker does: the only answer that counts the permissions in."""
    name = "transactions"
    producer = AIOKafkaProducer(
        **client_options(settings), transactional_id=f"{settings.output_prefix}milestones-doctor", acks="all"
    )
    with quiet_clients():
        try:
            await asyncio.wait_for(producer.start(), _TRANSACTION_TIMEOUT_S)
        except (KafkaError, OSError, TimeoutError) as error:
            return wrong(
                name,
                f"a transactional producer cannot be started: {error or type(error).__name__}",
                "allow this user to write with transactional ids that start with "
                f"{settings.output_prefix}milestones, and look whether the topic __transaction_state has its replicas",
            )
        finally:
            await producer.stop()
    return ok(name, "a transactional producer can be started")


def topic_findings(plan: Plan, total: int) -> list[Finding]:
    """What `topics plan` would say, each with its cure."""
    name, cure = "topics", "run: milestones topics apply"
    findings = [
        wrong(name, f"{topic}: {key} is {was or 'unset'}, {wanted} is needed", cure)
        for topic, changes in plan.alter.items()
        for key, (was, wanted) in changes.items()
    ]
    for line in plan.refused:
        found, _, way = line.partition(": ")
        findings.append(wrong(name, found, way))
    if plan.create:
        missing = ", ".join(topic.name for topic in plan.create)
        findings.append(wrong(name, f"{len(plan.create)} of {total} are missing: {missing}", cure))
    return findings or [ok(name, f"all {total} are as the contract needs them")]
