"""The memory of a ledger partition as its changelog has it: read from the beginning, and then on.

Whoever takes a partition over reads all of it. A worker that keeps a standby copy has read most of it before.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from schemas.codec import decode_marker
from schemas.facts import DELIVERIES, ORDERS
from schemas.outputs import source_of
from streams.domain.announced.announcements import Announcement
from streams.errors import ExpectedError
from streams.kafka.log import Partition
from streams.kafka.pacing import in_turns, pause
from streams.kafka.records import record_key, record_value
from streams.ledger.changelog import STATE_KEY
from streams.ledger.memory import Memory
from streams.ledger.vocabulary import is_vocabulary, vocabulary_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from schemas.outputs import Marker
    from streams.context import Context, SourceTopics
    from streams.kafka.log import LogReader
    from streams.kafka.records import LogRecord
    from streams.ledger.changelog import Changelog

#: A tombstone stays in the changelog for a week, so reading on after a day misses none.
_MOST_AGE_S: Final = 86_400.0


class DoubtfulReplicaError(Exception):
    """What the changelog has now does not continue what was read before: read all of it again."""


class Replica:
    """A memory, and how far it has read the changelog.

    Args:
        context: Settings, topics, the log.
        number: Of the ledger partition.
        is_standby: Whether it will be read on later, so that it must know whether the changelog is still the same topic.

    Attributes:
        at: The partition of the changelog.
        memory: What the changelog says, once it has been read.
        marker: The last one read; None if there is none.
        next: The offset up to which the changelog has been read; None before the first reading.
    """

    def __init__(self, context: Context, number: int, *, is_standby: bool = False) -> None:
        self._context = context
        self.at = Partition(context.catalogue.ledger.name, number)
        self._is_standby = is_standby
        self._topic_id = ""
        self._is_whole = True
        self._read_s = 0.0
        self.memory = Memory(context, number)
        self.marker: Marker | None = None
        self.next: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it was read at least once, and what was read is applied."""
        return self.next is not None and self._is_whole

    @property
    def _of_vehicles(self) -> Changelog | None:
        vehicles = self.memory.vehicles
        return vehicles.changelog if vehicles is not None else None

    async def read(self, reader: LogReader, between: Callable[[], Awaitable[None]] = pause) -> None:
        """Reads the changelog from the beginning, or on, to its end.

        Nothing is applied before all has been read, so that a reading that fails can be repeated; applying must not be interrupted.

        Args:
            reader: Of committed records.
            between: Called between two pieces of applying.

        Raises:
            ExpectedError: The settings are not those of the state.
            DoubtfulReplicaError: It cannot be read on.
        """
        now_s = asyncio.get_running_loop().time()
        if self.next is not None:
            await self._check(self.next, reader, now_s)
        elif self._is_standby:
            self._topic_id = await self._id(reader)
        state: LogRecord | None = None
        words: list[LogRecord] = []
        memory = self.memory
        of_vehicles = self._of_vehicles
        async for records in reader.read([self.at], since=None if self.next is None else {self.at: self.next}):
            for record in records:
                await pause()  # one may be a chunk of thousands of orders
                key = record_key(record)
                if key == STATE_KEY:
                    state = record
                elif is_vocabulary(key):
                    words.append(record)
                elif memory.changelog.is_chunk(key):
                    memory.changelog.read(key, record.value)
                elif of_vehicles is not None and of_vehicles.is_chunk(key):
                    of_vehicles.read(key, record.value)
        read_to = await reader.position(self.at)
        # Asked after reading: the id of a topic never comes back, so all of it was read from this one.
        if self._is_standby and await self._id(reader) != self._topic_id:
            raise DoubtfulReplicaError(f"{self.at[0]} was made again")
        self._is_whole = False
        await self._apply(None if state is None else decode_marker(record_value(state)), words, between)
        self._is_whole, self.next, self._read_s = True, read_to, now_s

    async def _check(self, following: int, reader: LogReader, now_s: float) -> None:
        first, end = (await reader.bounds([self.at]))[self.at]
        if not self._is_whole:
            raise DoubtfulReplicaError("what was read last is applied in part only")
        if not first <= following <= end:
            raise DoubtfulReplicaError(f"read up to {following}, and there are {first} to {end}")
        if now_s - self._read_s > _MOST_AGE_S:
            raise DoubtfulReplicaError("the last reading is too long ago")

    async def _id(self, reader: LogReader) -> str:
        topic, _ = self.at
        found = (await reader.topic_ids([topic])).get(topic, "")
        if not found:
            raise DoubtfulReplicaError(f"{topic} has no id, as before Kafka 2.8, so it might be made again unnoticed")
        return found

    async def _apply(
        self, marker: Marker | None, records: list[LogRecord], between: Callable[[], Awaitable[None]]
    ) -> None:
        """Applies what has been read."""
        memory, words, of_vehicles = self.memory, vocabulary_of(records), self._of_vehicles
        if marker is not None:
            check_settings(marker, memory.number, self._context)
            self.marker = marker
        announced = memory.announcement if marker is None else Announcement.parse(marker.announced)
        if self.next is None:
            memory.announce(announced)
            restoring = memory.ledger.restoring(words, memory.changelog.chunks(latest_first=True))
            await in_turns(restoring, between)
            if of_vehicles is not None:
                await in_turns(memory.ledger.restoring_vehicles(of_vehicles.chunks()), between)
            return
        vehicles = of_vehicles.chunks() if of_vehicles is not None else ()
        try:
            await in_turns(memory.ledger.following(words, memory.changelog.chunks(), vehicles), between)
        except ValueError as error:
            raise DoubtfulReplicaError(str(error)) from error
        if announced != memory.announcement:
            await in_turns(memory.counting_by(announced), between)


def check_settings(marker: Marker, number: int, context: Context) -> None:
    """Checks that a state belongs to the settings.

    Raises:
        ExpectedError: A setting that affects counts has changed, or a topic that was counted has a different number.
    """
    if marker.fingerprint != context.fingerprint:
        raise ExpectedError(
            f"ledger {number} was built with {marker.fingerprint}, the settings say {context.fingerprint}: "
            "restore the settings, or count everything again under another output_prefix"
        )
    context.source_topics.check_same(_topics_of(marker, number, context.source_topics))


def _topics_of(marker: Marker, number: int, topics: SourceTopics) -> dict[str, int]:
    """Source topic → its number; derived for old markers, written when each family had one topic, which lack it."""
    if marker.topics:
        return marker.topics
    first = {name: family for family, name in topics.names.items() if family in (ORDERS, DELIVERIES)}
    names = {source_of(name, number)[0] for name in marker.positions} - {topics.rerouted}
    return {name: first.get(name, ORDERS) for name in names}
