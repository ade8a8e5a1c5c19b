"""Reads the dead letters: which records were rejected, why, and how often."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.facts import BEYOND_LIMITS, BY_STATE, FUTURE_TIME, ID_CONFLICT, QUARANTINED, TOO_MANY_EVENTS
from schemas.outputs import ControlHeaders
from schemas.texts import tidy_key
from streams.audit.judging import Distinct, content_of, distinct
from streams.audit.sources import Coordinates, Sources, coordinates_of, digest_of
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import read_to_end
from streams.kafka.records import header_values

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aiokafka import AIOKafkaConsumer

    from schemas.facts import Fact
    from streams.settings import Settings

MAX_EVENTS: Final = 64


class Letter(NamedTuple):
    """A rejected record: the reason, the place of its dead letter, and a digest of key and value.

    All conflicts of a home are in the partition with its number, so their offsets tell which came first.
    """

    reason: str
    offset: int
    digest: int
    partition: int = 0


class Letters(NamedTuple):
    """All dead letters.

    Attributes:
        by_record: The first dead letter of each source record.
        repeated: Source record with more than one dead letter → how many.
        by_key: Tidied key → the rejected records with this key.
    """

    by_record: dict[Coordinates, Letter]
    repeated: dict[Coordinates, int]
    by_key: dict[bytes, list[Coordinates]]

    def of_the_future(self) -> frozenset[Coordinates]:
        """Records rejected as being in the future, by a clock that may no longer exist."""
        return frozenset(at for at, letter in self.by_record.items() if letter.reason == FUTURE_TIME)

    def judged(self) -> dict[Coordinates, str]:
        """Records rejected for their own content, with the reason."""
        return {at: letter.reason for at, letter in self.by_record.items() if letter.reason not in BY_STATE}

    def skipped(self) -> frozenset[Coordinates]:
        """Records that an operator ordered to be skipped."""
        return frozenset(at for at, letter in self.by_record.items() if letter.reason == QUARANTINED)

    def sources(self, settings: Settings, consumer: AIOKafkaConsumer, progress: Callable[[int], None]) -> Sources:
        """The source topics, with records judged as these dead letters say; `progress` as in `Sources`."""
        return Sources(
            settings,
            consumer,
            skipped=self.skipped(),
            of_the_future=self.of_the_future(),
            judged=self.judged(),
            progress=progress,
        )


async def read_letters(settings: Settings, consumer: AIOKafkaConsumer) -> Letters:
    """Reads all current dead letters of source records."""
    catalogue = catalogue_of(settings)
    numbers = {name.encode(): number for number, name in catalogue.names().items()}
    topic = catalogue.dead_letters
    by_record: dict[Coordinates, Letter] = {}
    by_key: dict[bytes, list[Coordinates]] = {}
    times: Counter[Coordinates] = Counter()
    partitions = [(topic.name, number) for number in range(topic.partitions)]
    async for records in read_to_end(settings, partitions, consumer=consumer):
        for record in records:
            headers = header_values(record)
            number = numbers.get(headers.get(ControlHeaders.TOPIC) or b"")
            if number is None:
                continue
            at = number, int(headers[ControlHeaders.PARTITION]), int(headers[ControlHeaders.OFFSET])
            reason = headers[ControlHeaders.REASON].decode()
            if at not in by_record and record.key is not None:
                by_key.setdefault(tidy_key(record.key), []).append(at)
            by_record.setdefault(
                at, Letter(reason, record.offset, digest_of(record.key, record.value), record.partition)
            )
            times[at] += 1
    return Letters(by_record, {at: count for at, count in times.items() if count > 1}, by_key)


def accepted(records: Sequence[Fact], letters: Mapping[Coordinates, Letter]) -> Distinct:
    """An order's records, without those that were rejected because of other records or of the limits.

    Which of two contents with the same identity came first cannot be seen across partitions, but the dead letters tell. If all
    contents have one, the state was rebuilt and another content won then: the one that had been rejected first.
    """
    if len(records) == 1 and not letters:
        return Distinct([records[0]], [], [])
    records = [record for record in records if _reason(record, letters) != BEYOND_LIMITS]
    kept = [record for record in records if _reason(record, letters) not in {ID_CONFLICT, TOO_MANY_EVENTS}]
    if len(kept) == len(records):
        return distinct(records)
    known = {(record.source, record.id) for record in kept}
    for record in sorted(records, key=lambda record: _offset(record, letters)):
        if _reason(record, letters) == ID_CONFLICT and (record.source, record.id) not in known:
            kept.append(record)
            known.add((record.source, record.id))
    # A record with the winner's content is not in conflict, even if it was rejected before a rebuild.
    winners = {(record.source, record.id): content_of(record) for record in kept}
    taken = {coordinates_of(record) for record in kept}
    for record in records:
        same = winners.get((record.source, record.id)) == content_of(record)
        if same and coordinates_of(record) not in taken:
            kept.append(record)
    return distinct(kept)


def _reason(record: Fact, letters: Mapping[Coordinates, Letter]) -> str | None:
    letter = letters.get(coordinates_of(record))
    return letter.reason if letter is not None else None


def _offset(record: Fact, letters: Mapping[Coordinates, Letter]) -> int:
    letter = letters.get(coordinates_of(record))
    return letter.offset if letter is not None else -1
