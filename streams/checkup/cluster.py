"""Checks of a cluster: whether it is reachable, allows transactions, and has topics as the contract needs them."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from schemas.codec import read_row
from schemas.instants import micros_of
from streams.checkup import Finding, failed, note, ok, wrong
from streams.checkup.alerts import alert_findings, read_published
from streams.checkup.campaigns import campaign_findings, read_campaigns
from streams.checkup.standbys import read_workers, standby_finding
from streams.domain.hints.likely_slips import LikelySlip, likely_slips, longest
from streams.errors import ExpectedError
from streams.kafka.admin import TopicPlan, admin, catalogue_of, plan_topics
from streams.kafka.client_options import client_options
from streams.kafka.clients import partition_counts, quiet_clients, read_latest, reader
from streams.kafka.permissions import denied, missing_rights, topic_answers
from streams.kafka.refusals import Reached, reach
from streams.kafka.rights import Resource, rights_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from aiokafka import AIOKafkaConsumer
    from aiokafka.admin import AIOKafkaAdminClient

    from streams.kafka.rights import Role
    from streams.settings import Settings

_TRANSACTION_LOG = "__transaction_state"
_GROUP_LOG = "__consumer_offsets"

#: Requests whose presence dates a broker: API key → the Kafka release that introduced it.
_LANDMARKS = {88: "4.1", 75: "3.8", 60: "2.8", 22: "0.11"}


async def cluster_findings(settings: Settings, role: Role | None = None) -> AsyncIterator[Finding]:
    """One finding per check, as soon as it is known; only the first if the cluster is unreachable.

    Args:
        settings: The settings of the installation.
        role: Check only the permissions of this role, instead of everything, which needs those of all roles.
    """
    try:
        with quiet_clients():
            reached = await reach(settings, client_options(settings), everyone=True)
        async with admin(settings) as client:
            yield await _brokers(client, settings)
    except ExpectedError as error:
        yield failed("cluster", error)
        return
    yield _advertised(reached)
    if settings.security_protocol == "SASL_PLAINTEXT" and settings.sasl_mechanism in {"PLAIN", "OAUTHBEARER"}:
        secret = "the password" if settings.sasl_mechanism == "PLAIN" else "the token"
        yield note("secrecy", f"{secret} crosses the network unencrypted: with security_protocol SASL_SSL it would not")
    if role is not None:
        for finding in await _rights(settings, role):
            yield finding
        return
    try:
        async with admin(settings) as client:
            found = [await _transactions(client, settings), *await _groups(client, settings)]
        for finding in found:
            yield finding
        for finding in topic_findings(await plan_topics(settings), len(catalogue_of(settings).all())):
            yield finding
        async with reader(settings) as consumer:
            counted = await _counted(settings, consumer)
            published = await read_published(settings, consumer, counted)
            announced = await read_campaigns(settings, consumer)
            workers = await read_workers(settings, consumer) if settings.standby_copies else []
    except ExpectedError as error:
        yield failed("topics", error)
        return
    now = datetime.now(ZoneInfo(settings.timezone))
    for finding in (
        *_names(settings, counted),
        *campaign_findings(settings, announced, micros_of(now)),
        *alert_findings(settings, published, now.year),
        *standby_finding(settings, workers, micros_of(now)),
    ):
        yield finding


async def _counted(settings: Settings, consumer: AIOKafkaConsumer) -> Counter[tuple[str, str]]:
    """(metric, scope) → its units, from the rows of the longest periods."""
    windows, kind = settings.catalogue.windows, f"/{longest(settings.windows)}:".encode()
    units: Counter[tuple[str, str]] = Counter()
    if not (await partition_counts(consumer, [windows.name]))[windows.name]:
        return units
    values = await read_latest(settings, windows.whole, consumer=consumer, wanted=lambda key: kind in key)
    for value in values.values():
        row = read_row(value)
        units[row.metric, row.scope] += row.count
    return units


def _names(settings: Settings, counted: Mapping[tuple[str, str], int]) -> list[Finding]:
    """Findings about names that differ from others only in case or width."""
    units: Counter[str] = Counter()
    for (_, scope), number in counted.items():
        units[scope] += number
    return slip_findings(likely_slips(units, settings.alias.known))


def slip_findings(slips: Iterable[LikelySlip]) -> list[Finding]:
    """One note per name that is likely a slip; it is counted as written, so nothing is wrong with the service."""
    return [
        note(
            "names",
            f"{slip.dimension} {slip.name!r} ({slip.units:,} units) differs from {slip.like!r} only in case or width, likely a slip: "
            f"have its events corrected, or count both as one: [alias.{slip.dimension}] {slip.alias}",
        )
        for slip in slips
    ]


async def _brokers(client: AIOKafkaAdminClient, settings: Settings) -> Finding:
    brokers = (await client.describe_cluster())["brokers"]
    # aiokafka knows which requests a broker supports, but has no public way to ask.
    connection = await client._client._get_conn(brokers[0]["node_id"])  # noqa: SLF001 - versions are known to connections only
    offered = connection._versions if connection else {}  # noqa: SLF001 - likewise
    release = next((release for key, release in _LANDMARKS.items() if key in offered), None)
    age = f"Kafka {release} or newer" if release else "release unknown"
    count = _count(brokers)
    return ok("cluster", f"{settings.bootstrap_servers}: {count}, {age}")


def _advertised(reached: Reached) -> Finding:
    """Checks the advertised addresses, to which clients are redirected."""
    away = {address: failure for address, failure in reached.advertised.items() if failure is not None}
    if away:
        reasons = ", ".join(str(failure).partition(";")[0] for failure in away.values())
        detail = f"{len(away)} of {len(reached.advertised)} brokers cannot be reached where they advertise themselves: {reasons}"
        return wrong("advertised", detail, "correct advertised.listeners of these brokers, or start them")
    return ok("advertised", ", ".join(map(str, reached.advertised)))


async def _rights(settings: Settings, role: Role) -> list[Finding]:
    """The permissions of a role, each tested without being used."""
    name, cure = "rights", f"grant it: milestones topics acls --role {role} says how"
    rights = rights_of(role, settings)
    async with admin(settings) as client:
        missing = await missing_rights(client._client, rights)  # noqa: SLF001 - aiokafka's admin client shows no other way
        topics = [right.name for right in rights if right.resource is Resource.TOPIC]
        answers = await topic_answers(client._client, topics)  # noqa: SLF001 - likewise
    findings = [wrong(name, denied([right]).partition(";")[0], cure) for right in missing]
    absent = [topic for topic, answer in answers.items() if not answer.partitions and not answer.is_hidden]
    if absent:
        findings.append(
            wrong("topics", f"{len(absent)} are missing: {', '.join(absent)}", "run: milestones topics apply")
        )
    if any(answer.operations is None and answer.partitions for answer in answers.values()):
        findings.append(note(name, "the brokers do not tell what is allowed on topics"))
    return findings or [ok(name, f"a {role} may do all it needs to")]


async def _transactions(client: AIOKafkaAdminClient, settings: Settings) -> Finding:
    """Checks the transaction log rather than starting a transaction, which would write to it or create it."""
    name, cure = "transactions", "look at the brokers that hold it, or wait until they are back"
    rights = [right for right in rights_of("worker", settings) if right.resource is Resource.TRANSACTIONAL_ID]
    # aiokafka's admin client gives no other access to its connections.
    missing = await missing_rights(client._client, rights)  # noqa: SLF001 - likewise
    if missing:
        detail, _, cure = denied(missing).partition("; ")
        return wrong(name, detail, cure)
    if (await topic_answers(client._client, [_TRANSACTION_LOG]))[_TRANSACTION_LOG].is_hidden:  # noqa: SLF001 - likewise
        return note(name, f"allowed; this user may not look at {_TRANSACTION_LOG}")
    described = {topic["topic"]: topic["partitions"] for topic in await client.describe_topics()}
    if _TRANSACTION_LOG not in described:
        return await _first_transaction(client)
    partitions = described[_TRANSACTION_LOG]
    headless = sum(part["leader"] < 0 for part in partitions)
    if headless:
        return wrong(name, f"{headless} of {len(partitions)} partitions of {_TRANSACTION_LOG} have no leader", cure)
    needed = int((await _configs(client, ConfigResourceType.TOPIC, _TRANSACTION_LOG)).get("min.insync.replicas", "1"))
    short = sum(len(part["isr"]) < needed for part in partitions)
    if short:
        detail = (
            f"{short} of {len(partitions)} partitions of {_TRANSACTION_LOG} have fewer than {needed} replicas in sync"
        )
        return wrong(name, detail, cure)
    return ok(
        name, f"{_TRANSACTION_LOG} has a leader and {needed} in sync for each of its {len(partitions)} partitions"
    )


async def _first_transaction(client: AIOKafkaAdminClient) -> Finding:
    """Whether the cluster can create its transaction log for the first worker."""
    brokers = (await client.describe_cluster())["brokers"]
    configs = await _configs(client, ConfigResourceType.BROKER, str(brokers[0]["node_id"]))
    copies = int(configs.get("transaction.state.log.replication.factor") or 1)
    if copies > len(brokers):
        return wrong(
            "transactions",
            f"the cluster keeps {copies} copies of its log of transactions and has {_count(brokers)}",
            "start the other brokers, or lower transaction.state.log.replication.factor and transaction.state.log.min.isr",
        )
    return ok("transactions", "there have been none; the first worker has the cluster create its log of them")


async def _groups(client: AIOKafkaAdminClient, settings: Settings) -> list[Finding]:
    """What keeps the group of the workers from working, if this user may read how the brokers are set."""
    brokers = (await client.describe_cluster())["brokers"]
    configs = await _configs(client, ConfigResourceType.BROKER, str(brokers[0]["node_id"]))
    found = []
    copies = int(configs.get("offsets.topic.replication.factor") or 1)
    if copies > len(brokers) and _GROUP_LOG not in await client.list_topics():
        detail = (
            f"the cluster keeps {copies} copies of its log of groups and has {_count(brokers)}: no group can be joined"
        )
        found.append(wrong("groups", detail, "start the other brokers, or lower offsets.topic.replication.factor"))
    for name, least, most in (
        ("transaction_timeout_s", "", "transaction.max.timeout.ms"),
        ("session_timeout_s", "group.min.session.timeout.ms", "group.max.session.timeout.ms"),
    ):
        time_s = getattr(settings, name)
        if most in configs and time_s * 1000 > int(configs[most]):
            detail = f"{name} is {time_s:g}, and the brokers allow at most {int(configs[most]) / 1000:g} ({most})"
            found.append(wrong("times", detail, f"lower {name}, or raise {most}"))
        if least in configs and time_s * 1000 < int(configs[least]):
            detail = f"{name} is {time_s:g}, and the brokers want at least {int(configs[least]) / 1000:g} ({least})"
            found.append(wrong("times", detail, f"raise {name}, or lower {least}"))
    return found


def _count(brokers: Sequence[object]) -> str:
    return f"{len(brokers)} broker{'s' if len(brokers) > 1 else ''}"


async def _configs(client: AIOKafkaAdminClient, kind: ConfigResourceType, name: str) -> dict[str, str]:
    """Settings of a topic or broker; none if this user may not read them."""
    return {
        entry[0]: entry[1]
        for response in await client.describe_configs([ConfigResource(kind, name)])
        for *_, entries in response.resources
        for entry in entries
    }


def topic_findings(plan: TopicPlan, total: int) -> list[Finding]:
    """What `topics plan` would say, with cures."""
    name, cure = "topics", "run: milestones topics apply"
    findings = [
        wrong(name, f"{topic}: {key} is {was or 'unset'}, {wanted} is needed", cure)
        for topic, changes in plan.alter.items()
        for key, (was, wanted) in changes.items()
    ]
    for line in plan.refused:
        found, _, way = line.partition(": ")
        findings.append(wrong(name, found, way))
    for line in plan.by_hand:
        found, _, way = line.partition(": ")
        findings.append(wrong(name, found, way))
    if plan.create:
        missing = ", ".join(topic.name for topic in plan.create)
        findings.append(wrong(name, f"{len(plan.create)} of {total} are missing: {missing}", cure))
    return findings or [ok(name, f"all {total} are as the contract needs them")]
