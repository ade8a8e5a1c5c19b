"""What the sources held at an earlier moment, by the append times of their records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal, Self

from aiokafka import TopicPartition

from schemas.messages import Message
from streams.kafka.clients import meet, partition_counts
from streams.kafka.rights import Operation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiokafka import AIOKafkaConsumer
    from aiokafka.structs import OffsetAndTimestamp

    from schemas.facts import Fact

#: Why a moment cannot be reconstructed: the sources were trimmed beyond it, an event is from a former topic, the installation's
#: clock is that of the events, or the period is too long to be recounted while someone waits.
Reason = Literal["trimmed", "former", "clock", "long"]
_BEFORE_ALL: Final = 0


class MomentNotKnownError(Exception):
    """What was there at a moment cannot be determined; `reason` says why in a word, the message in full."""

    def __init__(self, reason: Reason, why: str) -> None:
        super().__init__(why)
        self.reason: Reason = reason


@dataclass(frozen=True)
class Moment:
    """Where each partition of the sources ended at a moment.

    Attributes:
        names: Number of a source topic → its name.
        stops: (topic number, partition) → the first offset appended later.
        trimmed: Partition whose records of that moment were deleted → (first remaining offset, its append time in milliseconds
            since 1970, or `None` if nothing remains). Which of the deleted records had been appended by then is unknown.
    """

    names: Mapping[int, str]
    stops: Mapping[tuple[int, int], int]
    trimmed: Mapping[tuple[int, int], tuple[int, int | None]]

    @classmethod
    async def at(cls, consumer: AIOKafkaConsumer, names: Mapping[int, str], appended_us: int) -> Self:
        """Asks the brokers.

        Args:
            consumer: A consumer of the cluster; its assignment is left unchanged.
            names: Number of a source topic → its name.
            appended_us: The last append time that counts, microseconds since 1970; Kafka keeps milliseconds.
        """
        counts = await partition_counts(consumer, names.values(), Operation.DESCRIBE)
        tps = [TopicPartition(name, number) for name, count in counts.items() for number in range(count)]
        await meet(consumer, {tp.topic for tp in tps})
        # Ends first, beginnings last: so records appended in between count as later, and records deleted in between as deleted.
        ends = await consumer.end_offsets(tps)
        later = await consumer.offsets_for_times(dict.fromkeys(tps, appended_us // 1000 + 1))
        return cls.of(names, ends, later, await consumer.beginning_offsets(tps))

    @classmethod
    def of(
        cls,
        names: Mapping[int, str],
        ends: Mapping[TopicPartition, int],
        later: Mapping[TopicPartition, OffsetAndTimestamp | None],
        begins: Mapping[TopicPartition, int],
    ) -> Self:
        """Builds it from the brokers' answers: the ends, the first record appended later, the beginnings."""
        numbers = {name: number for number, name in names.items()}
        stops, trimmed = {}, {}
        for tp, end in ends.items():
            place, first, begin = (numbers[tp.topic], tp.partition), later[tp], begins[tp]
            stops[place] = end if first is None else min(end, first.offset)
            if begin > 0 and begin >= stops[place]:
                trimmed[place] = begin, None if first is None else first.timestamp
        return cls(names, stops, trimmed)

    def before(self, facts: Sequence[Fact]) -> list[Fact]:
        """The facts that had been appended.

        Raises:
            MomentNotKnownError: It is unknown for one of them.
        """
        return [fact for fact in facts if self._had(fact)]

    def _had(self, fact: Fact) -> bool:
        place = fact.topic, fact.partition
        if fact.topic not in self.names:
            raise MomentNotKnownError(
                "former",
                Message(
                    "the event %(id)s of %(source)s came by a former topic (number %(topic)s), which no longer tells when",
                    id=fact.id,
                    source=fact.source,
                    topic=fact.topic,
                ),
            )
        if place in self.trimmed and fact.offset < self.trimmed[place][0]:
            _, timestamp = self.trimmed[place]
            named = {"partition": f"{self.names[fact.topic]}-{fact.partition}", "id": fact.id}
            if timestamp is None:
                why = Message("%(partition)s: the records were deleted, that of the event %(id)s too", **named)
            else:
                before = datetime.fromtimestamp(timestamp / 1000, UTC).isoformat()
                why = Message(
                    "%(partition)s: the records before %(before)s were deleted, that of the event %(id)s too",
                    before=before,
                    **named,
                )
            raise MomentNotKnownError("trimmed", why)
        # A partition added since held nothing.
        return fact.offset < self.stops.get(place, _BEFORE_ALL)
