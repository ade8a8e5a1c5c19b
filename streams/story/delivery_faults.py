"""How the story's events arrive: late, duplicated, in either content mode, with a foreign partitioner, broken.

Everything is drawn from the seed and recorded in `Expected`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from schemas.facts import ORDERS
from streams.story.draws import DAY_S
from streams.story.events import DELIVERED, PLACED, EventWriter, StoryEvent
from streams.story.lives import DISPATCH, PARTNER, STORES

if TYPE_CHECKING:
    import random

    from streams.kafka.publication import Publication
    from streams.story.expected import Expected

_MAX_EVENT_BYTES = 256 * 1024


@dataclass(frozen=True)
class Transport:
    """How unreliable the transport is: shares of all events, times in seconds."""

    duplicate_share: float = 0.02
    late_share: float = 0.03
    usual_delay_s: float = 45.0
    late_delay_s: float = 1.2 * DAY_S
    longest_delay_s: float = 4.0 * DAY_S
    id_conflicts: int = 12


class Sending(NamedTuple):
    """An event to publish; sorted by time of publication."""

    story_s: float
    number: int
    event: StoryEvent
    other_mode: bool


#: Makes topic, key and value of a broken record from a valid event.
_Breaking = Callable[[StoryEvent, EventWriter], tuple[int, bytes | None, bytes | None]]


def _replacing(old: str, new: str) -> _Breaking:
    """Breaks an event by replacing a piece of its text."""

    def broken(event: StoryEvent, writer: EventWriter) -> tuple[int, bytes | None, bytes | None]:
        text = writer.structured(event)
        if old not in text:
            raise ValueError(f"{old!r} is not in {text}")
        return event.topic, event.order_id.encode(), text.replace(old, new, 1).encode()

    return broken


def _cut(event: StoryEvent, writer: EventWriter) -> tuple[int, bytes | None, bytes | None]:
    return event.topic, event.order_id.encode(), writer.structured(event)[:-40].encode()


def _tombstone(event: StoryEvent, _writer: EventWriter) -> tuple[int, bytes | None, bytes | None]:
    return event.topic, event.order_id.encode(), None


def _plain_text(event: StoryEvent, _writer: EventWriter) -> tuple[int, bytes | None, bytes | None]:
    return event.topic, event.order_id.encode(), b'"delivered, thank you"'


def _other_topic(event: StoryEvent, writer: EventWriter) -> tuple[int, bytes | None, bytes | None]:
    return ORDERS, event.order_id.encode(), writer.structured(event).encode()


def _no_key(event: StoryEvent, writer: EventWriter) -> tuple[int, bytes | None, bytes | None]:
    return event.topic, None, writer.structured(event).encode()


def _other_key(event: StoryEvent, writer: EventWriter) -> tuple[int, bytes | None, bytes | None]:
    return event.topic, b"SO-0", writer.structured(event).encode()


def _deep(event: StoryEvent, writer: EventWriter) -> tuple[int, bytes | None, bytes | None]:
    text = writer.structured(event).replace('"data":{', f'"data":{{"notes":{"[" * 40}{"]" * 40},', 1)
    return event.topic, event.order_id.encode(), text.encode()


def _large(event: StoryEvent, writer: EventWriter) -> tuple[int, bytes | None, bytes | None]:
    text = writer.structured(event).replace('"data":{', f'"data":{{"notes":"{"x" * _MAX_EVENT_BYTES}",', 1)
    return event.topic, event.order_id.encode(), text.encode()


#: (reason, number of records, how they are broken).
_BROKEN: tuple[tuple[str, int, _Breaking], ...] = (
    ("malformed_json", 6, _cut),
    ("duplicate_key", 4, _replacing('"model":"SU7"', '"model":"SU7","model":"SU7"')),
    ("not_an_event", 2, _tombstone),
    ("not_an_event", 2, _plain_text),
    ("unknown_type", 3, _replacing("vehicle.delivered.v1", "vehicle.inspected.v1")),
    ("unknown_type", 1, _replacing("vehicle.delivered.v1", "vehicle.delivered.v9")),
    ("invalid_field", 4, _replacing('"vin":"LNB', '"vin":"LNO')),
    ("invalid_field", 2, _replacing('"vin":"LNB', '"vin":"NB')),
    ("wrong_topic", 3, _other_topic),
    ("missing_offset", 3, _replacing('+08:00"', '"')),
    ("future_time", 2, _replacing('"time":"2024', '"time":"2099')),
    ("wrong_key", 2, _no_key),
    ("wrong_key", 2, _other_key),
    ("too_deep", 2, _deep),
    ("too_large", 1, _large),
)


class Mess:
    """The story's records in order of publication.

    Args:
        events: Each event once.
        expected: What is expected of them; copies and broken records are added.
        writer: Writes them.
        transport: How unreliable the transport is.
        rng: Random numbers.
        prompt_until_s: Orders placed before this time, seconds since 1970, are published at once: those of the launch, which one app takes.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what is sent, and how
        self,
        events: list[StoryEvent],
        expected: Expected,
        writer: EventWriter,
        transport: Transport,
        rng: random.Random,
        prompt_until_s: int,
    ) -> None:
        self._writer = writer
        self._rng = rng
        self._transport = transport
        self._expected = expected
        self._sendings = [
            Sending(
                event.time_s + (0 if event.kind == PLACED and event.time_s < prompt_until_s else self._delay_s()),
                number,
                event,
                other_mode=False,
            )
            for number, event in enumerate(events)
        ]
        self._broken = self._broken_records()
        self._add_conflicts()
        self._add_duplicates(events)
        self._sendings.sort()
        self._note_partner()

    @property
    def span_s(self) -> tuple[int, int]:
        """When the first and the last event are published, seconds since 1970."""
        return int(self._sendings[0].story_s), int(self._sendings[-1].story_s)

    def records(self) -> Iterator[Publication]:
        """Yields all records from the start."""
        broken = iter(self._broken)
        following = next(broken, None)
        for story_s, _, event, other_mode in self._sendings:
            while following is not None and following.story_s <= story_s:
                yield following
                following = next(broken, None)
            partner = event.source == PARTNER
            binary = (partner or event.source == STORES) != other_mode
            yield self._writer.record(event, binary=binary, crc32_partitioner=partner, story_s=int(story_s))
        if following is not None:
            yield following
        yield from broken

    def _delay_s(self) -> float:
        transport, rng = self._transport, self._rng
        mean_s = transport.late_delay_s if rng.random() < transport.late_share else transport.usual_delay_s
        return min(rng.expovariate(1.0) * mean_s, transport.longest_delay_s)

    def _add_conflicts(self) -> None:
        """Adds events with different content under an id already used; published later, since the earlier record counts."""
        rng = self._rng
        candidates = [
            sending
            for sending in self._sendings
            if sending.event.kind == DELIVERED and sending.event.source == DISPATCH
        ]
        for sending in rng.sample(candidates, self._transport.id_conflicts):
            other = sending.event._replace(time_s=sending.event.time_s - 3600)
            later_s = sending.story_s + 60 + rng.random() * DAY_S
            self._sendings.append(Sending(later_s, len(self._sendings), other, other_mode=False))
            self._expected.dead_letters["id_conflict"] += 1

    def _add_duplicates(self, events: list[StoryEvent]) -> None:
        """Adds copies of events, sent some time after the original, some in the other content mode."""
        rng = self._rng
        count = round(self._transport.duplicate_share * len(events))
        for at in rng.sample(range(len(events)), count):
            first = self._sendings[at]
            later_s = first.story_s + min(rng.expovariate(1.0) * DAY_S / 4, self._transport.longest_delay_s)
            other_mode = rng.random() < 0.2
            self._sendings.append(Sending(later_s, len(self._sendings), first.event, other_mode))
        self._expected.duplicates += count

    def _broken_records(self) -> list[Publication]:
        good = [
            event
            for event in (sending.event for sending in self._sendings)
            if event.kind == DELIVERED and event.source == DISPATCH
        ]
        records = []
        for reason, count, breaking in _BROKEN:
            for event in self._rng.sample(good, count):
                topic, key, value = breaking(event, self._writer)
                records.append(self._writer.rejected(topic, key, value, event.time_s))
            self._expected.dead_letters[reason] += count
        return sorted(records, key=lambda record: record.story_s)

    def _note_partner(self) -> None:
        self._expected.elsewhere = [
            sending.event.order_id.encode() for sending in self._sendings if sending.event.source == PARTNER
        ]
