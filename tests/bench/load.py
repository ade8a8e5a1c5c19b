"""Events for the benchmarks and the fastest way to put them on the topics."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import murmur2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PLACED = (
    b'{"specversion":"1.0","id":"8f14e45f-ea3c-4d2b-9d0b-%012x","source":"/sales/web","type":"order.placed.v1",'
    b'"time":"%s","subject":"SO-%09d","data":{"order_id":"SO-%09d","model":"SU7","variant":"%s","region":"CN-11"}}'
)
DELIVERED = (
    b'{"specversion":"1.0","id":"45f6f2b1-ea3c-4d2b-9d0b-%012x","source":"/factories/bj1/dispatch","type":"vehicle.delivered.v1",'
    b'"time":"%s","subject":"SO-%09d","data":{"order_id":"SO-%09d","vin":"LNBSU7A10R%07d","model":"SU7","variant":"%s",'
    b'"factory":"BJ1","region":"CN-11"}}'
)
_START = datetime(2024, 1, 1, tzinfo=UTC)
_PLACED_DAYS = 300
_DELIVERED_AFTER_DAYS = 20
_VARIANTS = (b"Max", b"Pro", b"Standard")


class Record(NamedTuple):
    """A record to publish.

    Attributes:
        topic: Index of its topic.
        key: Its key.
        value: Its value.
        headers: Its headers.
        moved: By how many partitions it is beside the one of its key.
    """

    topic: int
    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes]] = ()
    moved: int = 0


def lives(
    orders: int, first: int = 0, zone: timezone = UTC, told: Callable[[int, datetime], None] = lambda _kind, _at: None
) -> Iterator[Record]:
    """Each order is placed (topic 0) and, 20 days later, delivered (topic 1), over most of a year; in the order of their times.

    Args:
        orders: How many.
        first: Number of the first.
        zone: In which their times are written.
        told: Called with each event's number of its topic and its time.
    """
    step_s = _PLACED_DAYS * 86_400 / orders
    #: So many orders are placed between an order and its delivery.
    behind = orders * _DELIVERED_AFTER_DAYS // _PLACED_DAYS
    for number in range(first, first + orders + behind):
        at = _START.astimezone(zone) + timedelta(seconds=(number - first) * step_s)
        if number < first + orders:
            told(0, at)
            value = PLACED % (number, _text(at), number, number, _VARIANTS[number % 3])
            yield Record(0, b"SO-%09d" % number, value)
        if number >= first + behind:
            told(1, at)
            of = number - behind
            value = DELIVERED % (of, _text(at), of, of, of % 10_000_000, _VARIANTS[of % 3])
            yield Record(1, b"SO-%09d" % of, value)


def _text(at: datetime) -> bytes:
    return at.isoformat(timespec="seconds").encode()


async def publish(bootstrap: str, topics: tuple[str, ...], partitions: int, records: Iterator[Record]) -> float:
    """Publishes whole batches to the right partitions. Returns seconds."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, compression_type="snappy", max_batch_size=512 * 1024, acks="all"
    )
    await producer.start()
    started = time.perf_counter()
    try:
        batches: dict[tuple[int, int], Any] = {}
        pending: set[asyncio.Future[object]] = set()
        for topic, key, value, headers, moved in records:
            place = topic, ((murmur2(key) & 0x7FFFFFFF) + moved) % partitions
            batch = batches.get(place)
            if batch is None:
                batch = batches[place] = producer.create_batch()
            if batch.append(key=key, value=value, timestamp=None, headers=list(headers)) is None:
                pending.add(await producer.send_batch(batch, topics[topic], partition=place[1]))
                batch = batches[place] = producer.create_batch()
                batch.append(key=key, value=value, timestamp=None, headers=list(headers))
                await asyncio.sleep(0)
        for (number, partition), batch in batches.items():
            pending.add(await producer.send_batch(batch, topics[number], partition=partition))
        await asyncio.gather(*pending)
    finally:
        await producer.stop()
    return time.perf_counter() - started
