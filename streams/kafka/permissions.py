"""Asks what the cluster's authoriser allows this client to do, without changing anything.

For topics, brokers say so along with the metadata (KIP-430). For groups and transactional ids they check the right before they
look at the request; so a heartbeat without a member, or the end of a transaction that never began, is refused for a different
reason if the right exists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.transaction import EndTxnRequest
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

from streams.kafka.refusals import RefusedError
from streams.kafka.rights import Operation, Resource, Right

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aiokafka.client import AIOKafkaClient

#: The answer of a broker that does not report operations.
_UNTOLD = -(2**31)
_NOBODY = -1
_SHOWN = 3


class TopicAnswer(NamedTuple):
    """What the cluster says about a topic.

    Attributes:
        partitions: Number of partitions; 0 if there is no such topic, or if it is hidden.
        is_hidden: Whether we are not allowed to know if it exists.
        operations: What we may do; `None` if the broker does not say.
    """

    partitions: int
    is_hidden: bool
    operations: frozenset[Operation] | None


class _MetadataResponse(Response):
    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", Array(("node_id", Int32), ("host", String("utf-8")), ("port", Int32), ("rack", String("utf-8")))),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("operations", Int32),
            ),
        ),
        ("cluster_operations", Int32),
    )


class _MetadataStruct(RequestStruct):
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_operations", Boolean),
        ("include_topic_operations", Boolean),
    )


class _MetadataRequest(Request[_MetadataStruct]):
    """Asks for topics by name and for the operations allowed on them; creates none. Kafka 2.3 or newer."""

    API_KEY = 3

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_MetadataStruct]) -> _MetadataStruct:
        return request_struct_class(
            topics=list(self._topics),
            allow_auto_topic_creation=False,
            include_cluster_operations=False,
            include_topic_operations=True,
        )


async def topic_answers(client: AIOKafkaClient, names: Iterable[str]) -> dict[str, TopicAnswer]:
    """What the cluster says about each topic.

    Raises:
        KafkaError: The cluster does not answer.
    """
    wanted = list(dict.fromkeys(names))
    try:
        response = await _ask(client, _MetadataRequest(wanted))
    except NotImplementedError:  # an older broker
        metadata = await client.fetch_all_metadata()
        return {
            name: TopicAnswer(len(metadata.partitions_for_topic(name) or ()), is_hidden=False, operations=None)
            for name in wanted
        }
    return {
        name: TopicAnswer(len(partitions), code == TopicAuthorizationFailedError.errno, _operations(operations))
        for code, name, _is_internal, partitions, operations in response.topics
    }


async def require(client: AIOKafkaClient, rights: Iterable[Right]) -> None:
    """Checks rights; those that cannot be determined count as granted.

    Raises:
        RefusedError: One is missing; the message names the operation and the resource.
    """
    missing = await missing_rights(client, rights)
    if missing:
        raise RefusedError(denied(missing))


def denied(missing: Sequence[Right]) -> str:
    """The message for missing rights."""
    named = [
        f"{operation.words} on {right.resource.words} {right.name}{'*' if right.is_prefix else ''}"
        for right in missing
        for operation in right.operations
    ]
    more = f" (and {len(named) - _SHOWN} more)" if len(named) > _SHOWN else ""
    return (
        f"this user is not allowed {', '.join(named[:_SHOWN])}{more}; grant it, "
        "milestones topics acls says what each role needs"
    )


def denial(error: BaseException | None, on_topics: Operation = Operation.WRITE) -> RefusedError | None:
    """The error for what a client was refused; `None` if it failed for another reason.

    Args:
        error: The error it raised.
        on_topics: The operation that it performs on topics.
    """
    match error:
        case TopicAuthorizationFailedError(args=[str() | set() | frozenset() as topics, *_]):
            names = [topics] if isinstance(topics, str) else sorted(topics)
            missing = [Right(Resource.TOPIC, name, (on_topics,)) for name in names]
        case TransactionalIdAuthorizationFailed(args=[str() as name, *_]):
            missing = [Right(Resource.TRANSACTIONAL_ID, name, (Operation.WRITE,))]
        case ClusterAuthorizationFailedError():
            # An idempotent producer needs Write on at least one topic, or IdempotentWrite on the cluster.
            return RefusedError(
                "this user is not allowed Write on any topic, nor IdempotentWrite on the cluster; grant it, milestones topics "
                "acls says what each role needs"
            )
        case GroupAuthorizationFailedError(args=[str() as name, *_]):
            missing = [Right(Resource.GROUP, name, (Operation.READ,))]
        case _:
            return None
    return RefusedError(denied(missing))


async def missing_rights(client: AIOKafkaClient, rights: Iterable[Right]) -> list[Right]:
    """The rights that this client lacks, each with only the missing operations."""
    asked = list(rights)
    topics = await topic_answers(client, (right.name for right in asked if right.resource is Resource.TOPIC))
    missing = []
    for right in asked:
        lacking = right.operations
        match right.resource:
            case Resource.TOPIC:
                lacking = _lacking(right, topics[right.name])
            case Resource.GROUP:
                beat = await _ask(client, HeartbeatRequest(right.name, _NOBODY, ""))
                lacking = lacking if beat.error_code == GroupAuthorizationFailedError.errno else ()
            case Resource.TRANSACTIONAL_ID:
                name = f"{right.name}doctor" if right.is_prefix else right.name
                end = await _ask(client, EndTxnRequest(name, _NOBODY, _NOBODY, False))  # noqa: FBT003 - to abort
                lacking = lacking if end.error_code == TransactionalIdAuthorizationFailed.errno else ()
        if lacking:
            missing.append(Right(right.resource, right.name, lacking, right.is_prefix))
    return missing


def _lacking(right: Right, answer: TopicAnswer) -> tuple[Operation, ...]:
    if answer.is_hidden:
        return right.operations
    if not answer.partitions or answer.operations is None:
        return ()
    return tuple(operation for operation in right.operations if operation not in answer.operations)


def _operations(bits: int) -> frozenset[Operation] | None:
    if bits == _UNTOLD:
        return None
    return frozenset(operation for operation in Operation if bits >> operation.value & 1)


async def _ask(client: AIOKafkaClient, request: Any) -> Any:
    node = client.get_random_node()
    if node is None:
        raise KafkaError("the cluster names no brokers")
    return await client.send(node, request)
