"""The events that the ledger keeps, in place of records that retention has removed.

They come from the ledger's changelog, but none of the counts derived from it are used. Only the ledger can tell whether an event whose
record is gone was valid; what the events count is up to the recount.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.changelog import STATE_KEY, chunk_number, decode_entries, decode_words, is_chunk, is_words
from schemas.codec import decode_marker
from streams.domain.orders.packing import Vocabulary, unpack
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import partition_counts, read_last, read_to_end
from streams.kafka.records import record_key, record_value

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer

    from schemas.facts import Fact
    from streams.settings import Settings


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
            at, is_there = (self._topic, number), await self._is_there(number)
            last = await read_last(self._settings, at, STATE_KEY, consumer=self._consumer) if is_there else None
            self._moved[number] = decode_marker(record_value(last)).moved if last is not None else 0
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
