"""Tells whether a topic is still the one it was.

A recreated topic has the old name, and offsets that soon look like the old ones, but a different id. If no id is known, as in a
process that continues with what an earlier one has read, or from brokers older than Kafka 2.8, a record that was read is looked up
again: if a different record is at its offset now, the topic was recreated. A record that no longer exists (compacted away) proves
nothing, and the next one is used instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from aiokafka.errors import OffsetOutOfRangeError

from streams.kafka.topic_ids import topic_ids
from streams.web.bounded_waits import within
from streams.web.readmodel.writing import digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiokafka import AIOKafkaConsumer, TopicPartition

    from streams.kafka.records import LogRecord

_TIMEOUT_S: Final = 2.5
_POLL_MS: Final = 100


class _Seen(NamedTuple):
    offset: int
    digest: bytes


class TopicIdentities:
    """Remembers the id of each topic, and a record of each partition."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}
        self._proven: dict[TopicPartition, _Seen] = {}
        self._latest: dict[TopicPartition, _Seen] = {}

    def note(self, tp: TopicPartition, record: LogRecord) -> None:
        """Notes a record that was read."""
        self._latest[tp] = _Seen(record.offset, digest(record))
        self._proven.setdefault(tp, self._latest[tp])

    def recall(self, tp: TopicPartition, offset: int, digest: bytes) -> None:
        """Notes a record that an earlier process read."""
        self._proven.setdefault(tp, _Seen(offset, digest))

    def forget(self, tps: Iterable[TopicPartition]) -> None:
        """Forgets partitions that are read from their beginning again."""
        for tp in tps:
            self._proven.pop(tp, None)
            self._latest.pop(tp, None)

    async def recreated(self, consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> set[TopicPartition]:
        """The partitions whose content is no longer what was read.

        Args:
            consumer: Not used for anything else; left without partitions, so that it fetches nothing.
            ends: The ends of the existing partitions.

        Raises:
            TimeoutError: The brokers do not answer.
        """
        known = self._ids
        client = consumer._client  # noqa: SLF001 - aiokafka has no request for it
        found = await within(_TIMEOUT_S, topic_ids(client, {tp.topic for tp in ends}))
        # A topic that is missing for a moment keeps its id.
        self._ids = known | found
        changed = {tp for tp in ends if tp.topic in known and self._ids[tp.topic] != known[tp.topic]}
        asked = {
            tp: seen
            for tp, seen in self._proven.items()
            if tp in ends and seen.offset < ends[tp] and tp.topic not in known
        }
        # Records read before the look-up belong to the topic that it finds, so they can replace the proven ones afterwards.
        latest = dict(self._latest)
        if not asked:
            return changed
        consumer.assign(list(asked))
        try:
            for tp, seen in asked.items():
                consumer.seek(tp, seen.offset)
            changed |= await within(_TIMEOUT_S, _compare(consumer, asked, ends))
        finally:
            consumer.unsubscribe()
        self._proven.update({tp: seen for tp, seen in latest.items() if tp not in changed})
        return changed


async def _compare(
    consumer: AIOKafkaConsumer, asked: Mapping[TopicPartition, _Seen], ends: Mapping[TopicPartition, int]
) -> set[TopicPartition]:
    changed: set[TopicPartition] = set()
    waiting = set(asked)
    while waiting:
        try:
            fetched = await consumer.getmany(*waiting, timeout_ms=_POLL_MS)
        except OffsetOutOfRangeError as error:
            changed |= set(error.args[0]) & waiting
            waiting -= changed
            continue
        for tp, records in fetched.items():
            waiting.discard(tp)
            if records[0].offset == asked[tp].offset and digest(records[0]) != asked[tp].digest:
                changed.add(tp)
        for tp in list(waiting):
            # If only a transaction marker remains, no record comes.
            if await consumer.position(tp) >= ends[tp]:
                waiting.discard(tp)
    return changed
