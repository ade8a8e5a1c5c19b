"""The events that the ledger keeps, in place of records that retention has removed.

They come from the ledger's changelog, but none of the counts derived from it are used. Only the ledger can tell whether an event whose
record is gone was valid; what the events count is up to the recount.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiokafka import TopicPartition

from schemas.changelog import STATE_KEY, chunk_number, decode_entries, decode_words, is_chunk, is_words
from schemas.codec import decode_marker
from streams.domain.packing import Vocabulary, unpack
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import partition_counts, read_to_end
from streams.kafka.records import record_key, record_value

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer

    from schemas.facts import Fact
    from schemas.outputs import Marker
    from streams.settings import Settings

#: The last ledger marker is at most this many offsets before the end of a changelog; markers of aborted transactions take some, too.
_TAIL: Final = 64


class Kept:
    """The events of the ledger partitions.

    Args:
        settings: Topic names.
        consumer: Not used by anything else meanwhile.
    """

    def __init__(self, settings: Settings, consumer: AIOKafkaConsumer) -> None:
        self._settings = settings
        self._topic = catalogue_of(settings).ledger.name
        self._consumer = consumer
        self._partitions: int | None = None
        self._moved: dict[int, int] = {}

    async def moved(self, number: int) -> int:
        """How many of a ledger partition's events were applied on another cluster, with other offsets; 0 without a state."""
        if number not in self._moved:
            marker = await self._last_marker(number) if await self._is_there(number) else None
            self._moved[number] = marker.moved if marker is not None else 0
        return self._moved[number]

    async def facts(self, number: int) -> list[Fact]:
        """All events that a ledger partition has applied, orders by first appearance; none without a state."""
        if not await self._is_there(number):
            return []
        vocabulary, chunks = Vocabulary(), dict[int, bytes]()
        async for records in read_to_end(self._settings, [(self._topic, number)], consumer=self._consumer):
            for record in records:
                key = record_key(record)
                if is_words(key):
                    vocabulary.restore(decode_words(record_value(record)))
                elif is_chunk(key):
                    chunks.pop(chunk_number(key), None)
                    if record.value is not None:
                        chunks[chunk_number(key)] = record.value
        # A later chunk replaces what earlier ones have of the same order.
        orders = {order_id: blob for chunk in chunks.values() for order_id, blob in decode_entries(chunk)}
        return [fact for order_id, blob in orders.items() for fact in unpack(order_id, blob, vocabulary.words)]

    async def _is_there(self, number: int) -> bool:
        if self._partitions is None:
            self._partitions = (await partition_counts(self._consumer, [self._topic]))[self._topic]
        return number < self._partitions

    async def _last_marker(self, number: int) -> Marker | None:
        tp = TopicPartition(self._topic, number)
        end = (await self._consumer.end_offsets([tp]))[tp]
        first = (await self._consumer.beginning_offsets([tp]))[tp]
        tail = _TAIL
        while first < end:
            marker = None
            since = {(self._topic, number): max(end - tail, first)}
            async for records in read_to_end(self._settings, list(since), consumer=self._consumer, since=since):
                for record in records:
                    if record.key == STATE_KEY:
                        marker = decode_marker(record_value(record))
            if marker is not None or end - tail <= first:
                return marker
            tail *= 16
        return None
