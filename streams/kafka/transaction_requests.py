"""Requests of the second version of Kafka's transaction protocol (KIP-890), which aiokafka does not have.

Brokers from Kafka 4.0 on speak it if the cluster's feature `transaction.version` is 2. The first record for a partition then adds
the partition to the transaction, which saves a request, and each transaction has its own epoch: leftovers of an earlier one are
refused.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from aiokafka.errors import IncompatibleBrokerVersion, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response, ResponseHeader_v0
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactBytes,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka.client import AIOKafkaClient

_UTF8: Final = CompactString("utf-8")
_TAGS: Final = ("tags", TaggedFields)
_ALL_REPLICAS: Final = -1
_FEATURE: Final = "transaction.version"
#: Tag of the finalized features, those the whole cluster has agreed on, in an ApiVersions answer.
_AGREED_FEATURES: Final = 2
_AGREED_FEATURE: Final = CompactArray(("name", _UTF8), ("most", Int16), ("least", Int16), _TAGS)


class _FeaturesResponse(Response):
    API_KEY = 18
    API_VERSION = 3
    SCHEMA = Schema(
        ("error_code", Int16),
        ("versions", CompactArray(("api_key", Int16), ("least", Int16), ("most", Int16), _TAGS)),
        ("throttle_time_ms", Int32),
        _TAGS,
    )


class _FeaturesStruct(RequestStruct):
    API_KEY = 18
    API_VERSION = 3
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _FeaturesResponse
    SCHEMA = Schema(("software", _UTF8), ("version", _UTF8), _TAGS)

    def parse_response_header(self, read_buffer: BytesIO | bytes) -> ResponseHeader_v0:
        """The answer's header is that of the first version, which clients can read before they know the broker's versions."""
        return ResponseHeader_v0.decode(read_buffer)


class _FeaturesRequest(Request[_FeaturesStruct]):
    """Asks for a broker's versions and the cluster's features. Kafka 2.4 or newer."""

    API_KEY = 18

    def build(self, request_struct_class: type[_FeaturesStruct]) -> _FeaturesStruct:
        return request_struct_class("milestones", "1", {})


class _ProduceResponse(Response):
    API_KEY = 0
    API_VERSION = 12
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic", _UTF8),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("offset", Int64),
                        ("timestamp", Int64),
                        ("log_start_offset", Int64),
                        ("record_errors", CompactArray(("index", Int32), ("message", _UTF8), _TAGS)),
                        ("message", _UTF8),
                        _TAGS,
                    ),
                ),
                _TAGS,
            ),
        ),
        ("throttle_time_ms", Int32),
        _TAGS,
    )


class _ProduceStruct(RequestStruct):
    API_KEY = 0
    API_VERSION = 12
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _ProduceResponse
    SCHEMA = Schema(
        ("transactional_id", _UTF8),
        ("acks", Int16),
        ("timeout_ms", Int32),
        (
            "topics",
            CompactArray(
                ("topic", _UTF8),
                ("partitions", CompactArray(("partition", Int32), ("batch", CompactBytes), _TAGS)),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class ImplicitProduceRequest(Request[_ProduceStruct]):
    """Appends batches, and adds their partitions to the transaction.

    Args:
        transactional_id: The producer's transactional id.
        timeout_ms: How long the replicas may take.
        topics: Topic → partition → batch.
    """

    API_KEY = 0

    def __init__(self, transactional_id: str, timeout_ms: int, topics: Mapping[str, Mapping[int, bytes]]) -> None:
        self._transactional_id = transactional_id
        self._timeout_ms = timeout_ms
        self._topics = topics

    def build(self, request_struct_class: type[_ProduceStruct]) -> _ProduceStruct:
        """The request as it is sent."""
        topics: list[tuple[str, list[tuple[int, bytes, dict[int, bytes]]], dict[int, bytes]]] = [
            (topic, [(partition, batch, {}) for partition, batch in batches.items()], {})
            for topic, batches in self._topics.items()
        ]
        return request_struct_class(self._transactional_id, _ALL_REPLICAS, self._timeout_ms, topics, {})


class _EndResponse(Response):
    API_KEY = 26
    API_VERSION = 5
    SCHEMA = Schema(
        ("throttle_time_ms", Int32), ("error_code", Int16), ("producer_id", Int64), ("producer_epoch", Int16), _TAGS
    )


class _EndStruct(RequestStruct):
    API_KEY = 26
    API_VERSION = 5
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _EndResponse
    SCHEMA = Schema(
        ("transactional_id", _UTF8), ("producer_id", Int64), ("producer_epoch", Int16), ("is_commit", Boolean), _TAGS
    )


class CommitRequest(Request[_EndStruct]):
    """Commits a transaction; the answer has the producer id and epoch for the next one.

    Args:
        transactional_id: The producer's transactional id.
        producer_id: The producer id of the transaction.
        producer_epoch: The producer epoch of the transaction.
    """

    API_KEY = 26

    def __init__(self, transactional_id: str, producer_id: int, producer_epoch: int) -> None:
        self._fields = transactional_id, producer_id, producer_epoch

    def build(self, request_struct_class: type[_EndStruct]) -> _EndStruct:
        """The request as it is sent."""
        return request_struct_class(*self._fields, True, {})  # noqa: FBT003 - to commit


async def transaction_version(client: AIOKafkaClient, node_id: int) -> int:
    """The version of the transaction protocol that the cluster has agreed on; 0 if the broker does not say.

    Raises:
        KafkaError: The broker does not answer.
    """
    try:
        answer: Any = await client.send(node_id, _FeaturesRequest())
    except (NotImplementedError, IncompatibleBrokerVersion):
        return 0
    if answer.error_code:
        raise for_code(answer.error_code)
    features = _AGREED_FEATURE.decode(BytesIO(answer.tags.get(_AGREED_FEATURES, b"\x01"))) or []
    found: dict[str, int] = {name: most for name, most, *_ in features}
    return found.get(_FEATURE, 0)
