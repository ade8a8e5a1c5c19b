"""What quotas of the cluster cost is counted, and told by a worker that they slow down."""

from __future__ import annotations

import logging
import struct
import time
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import AbstractType, Array, Boolean, Int16, Int32, Schema, String

from streams.kafka.admin import admin
from streams.kafka.clients import read_one, read_to_end, reader
from streams.kafka.connection import Throttling, throttling
from streams.settings import Settings
from streams.worker.quotas import QuotaNotice
from tests.support.time_limits import deadline

if TYPE_CHECKING:
    from io import BytesIO

    from aiokafka.client import AIOKafkaClient

_ENTITY = Array(("type", String("utf-8")), ("name", String("utf-8")))


class _Float64(AbstractType[float]):
    @classmethod
    def encode(cls, value: float) -> bytes:
        return struct.pack(">d", value)

    @classmethod
    def decode(cls, data: BytesIO) -> float:
        return float(struct.unpack(">d", data.read(8))[0])


class _QuotasResponse(Response):
    API_KEY = 49
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("entries", Array(("error_code", Int16), ("error_message", String("utf-8")), ("entity", _ENTITY))),
    )


class _QuotasStruct(RequestStruct):
    API_KEY = 49
    API_VERSION = 0
    RESPONSE_TYPE = _QuotasResponse
    SCHEMA = Schema(
        (
            "entries",
            Array(
                ("entity", _ENTITY),
                ("ops", Array(("key", String("utf-8")), ("value", _Float64), ("remove", Boolean))),
            ),
        ),
        ("validate_only", Boolean),
    )


class _QuotasRequest(Request[_QuotasStruct]):
    """Sets a quota of a client id, in bytes per second."""

    API_KEY = 49

    def __init__(self, client_id: str, key: str, rate: float) -> None:
        self._entry = ([("client-id", client_id)], [(key, rate, False)])

    def build(self, request_struct_class: type[_QuotasStruct]) -> _QuotasStruct:
        return request_struct_class([self._entry], False)


async def limit(client: AIOKafkaClient, client_id: str, key: str, rate: float) -> None:
    answer: Any = await client.send(client.get_random_node(), _QuotasRequest(client_id, key, rate))
    assert [entry[0] for entry in answer.entries] == [0]


async def create(settings: Settings, topic: str) -> None:
    async with admin(settings) as cluster:
        await cluster.create_topics([NewTopic(topic, 1, 1)])


@pytest.mark.kafka
async def test_what_quotas_cost_is_counted(bootstrap: str, prefix: str) -> None:
    topic = f"{prefix}quotas"
    await create(Settings(bootstrap_servers=bootstrap), topic)
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, client_id=f"{prefix}slow") as producer:
        await limit(producer.client, f"{prefix}slow", "producer_byte_rate", 5_000.0)
        before_s = throttling.seconds
        give_up_s = deadline(30)
        while throttling.seconds == before_s:  # the quota holds a moment later
            assert time.monotonic() < give_up_s
            await producer.send_and_wait(topic, bytes(20_000))


@pytest.mark.kafka
async def test_a_reader_held_up_by_quotas_waits_longer_than_for_a_silent_leader(bootstrap: str, prefix: str) -> None:
    """The broker first says for how long it does not answer."""
    topic = f"{prefix}quotas"
    settings = Settings(bootstrap_servers=bootstrap, cluster_timeout_s=1.0)
    await create(settings, topic)
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        await limit(producer.client, f"{prefix}slow", "consumer_byte_rate", 20_000.0)
        for _ in range(4):
            await producer.send_and_wait(topic, bytes(100_000))
    longest_s, count, before_s = 0.0, 0, time.monotonic()
    async with reader(settings, client_id=f"{prefix}slow", fetch_max_bytes=100_000) as consumer:
        async for records in read_to_end(settings, [(topic, 0)], consumer=consumer):
            longest_s, before_s = max(longest_s, time.monotonic() - before_s), time.monotonic()
            count += len(records)
        # Silence does not prove that there is no record.
        found = await read_one(settings, consumer, TopicPartition(topic, 0), 2)
        assert found is not None
        assert found.offset == 2
    assert count == 4
    assert longest_s > settings.cluster_timeout_s


def test_a_worker_tells_of_quotas_once_a_minute_and_only_if_they_cost_something(
    caplog: pytest.LogCaptureFixture,
) -> None:
    counted, now = Throttling(), [0.0]
    notice = QuotaNotice(counted, lambda: now[0])

    def told(at_s: float, held_up_s: float) -> list[str]:
        caplog.clear()
        now[0], counted.seconds = at_s, counted.seconds + held_up_s
        with caplog.at_level(logging.WARNING):
            notice.look()
        return caplog.messages

    assert told(1.5, 30.0) == []
    (message,) = told(60.0, 11.0)
    assert "waited for 41 s in all within the last 60 s" in message
    assert told(61.5, 0.0) == []
    assert told(120.0, 5.9) == []
    assert len(told(180.0, 6.0)) == 1
