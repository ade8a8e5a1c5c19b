"""Events of the story, and the records that carry them."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from functools import cache
from typing import NamedTuple

from schemas.facts import TYPES, Kind
from streams.kafka.publication import STRUCTURED_HEADERS, Publication

#: Kinds as plain integers: hashing and comparing enum members is slow.
PLACED, CANCELLED, DELIVERED, REVERSED, VOIDED, PRODUCED, SCRAPPED = (int(kind) for kind in Kind)

_DAY_S = 86_400
_EPOCH = date(1970, 1, 1)


class StoryEvent(NamedTuple):
    """An event as its source knows it; fields that its type lacks are empty."""

    kind: int
    topic: int
    time_s: int  # since 1970-01-01T00:00Z
    order_id: str  # for production the VIN
    source: str
    id: str
    vin: str = ""
    variant: str = ""
    region: str = ""
    extra: str = ""  # channel of an order, reason of a correction
    voids: tuple[str, str] = ("", "")  # source and id of the voided event


class EventWriter:
    """Writes events as CloudEvents in either content mode.

    Args:
        model: The model of all vehicles.
        factory: The factory that builds them.
        offset_s: Offset of local time, seconds.
    """

    def __init__(self, model: str, factory: str, offset_s: int) -> None:
        self._model = model
        self._factory = factory
        self._offset_s = offset_s
        self._zone = f"{offset_s // 3600:+03d}:{offset_s % 3600 // 60:02d}"
        self._dates: dict[int, str] = {}
        self._clock = [f"{s // 3600:02d}:{s % 3600 // 60:02d}:{s % 60:02d}" for s in range(_DAY_S)]

    def local_time(self, time_s: int) -> str:
        """A time in RFC 3339 with the local offset."""
        return self._text(time_s + self._offset_s) + self._zone

    def _text(self, civil_s: int) -> str:
        day, second = divmod(civil_s, _DAY_S)
        text = self._dates.get(day)
        if text is None:
            text = self._dates[day] = _date(day).isoformat()
        return f"{text}T{self._clock[second]}"

    def data(self, event: StoryEvent) -> str:
        """The `data` of an event as JSON."""
        kind = event.kind
        if kind == PLACED:
            return (
                f'{{"order_id":"{event.order_id}","model":"{self._model}","variant":"{event.variant}",'
                f'"factory":"{self._factory}","region":"{event.region}","channel":"{event.extra}"}}'
            )
        if kind == DELIVERED:
            return (
                f'{{"order_id":"{event.order_id}","vin":"{event.vin}","model":"{self._model}",'
                f'"variant":"{event.variant}","factory":"{self._factory}","region":"{event.region}"}}'
            )
        if kind == PRODUCED:
            return (
                f'{{"vin":"{event.vin}","model":"{self._model}","variant":"{event.variant}",'
                f'"factory":"{self._factory}"}}'
            )
        reason = f',"reason":"{event.extra}"' if event.extra else ""
        if kind == SCRAPPED:
            return f'{{"vin":"{event.vin}"{reason}}}'
        if kind == REVERSED:
            return f'{{"order_id":"{event.order_id}","vin":"{event.vin}"{reason}}}'
        if kind == VOIDED:
            source, event_id = event.voids
            return f'{{"order_id":"{event.order_id}","voids":{{"source":"{source}","id":"{event_id}"}}{reason}}}'
        return f'{{"order_id":"{event.order_id}"{reason}}}'

    def structured(self, event: StoryEvent) -> str:
        """The whole event as one JSON object."""
        return (
            f'{{"specversion":"1.0","id":"{event.id}","source":"{event.source}","type":"{TYPES[event.kind]}",'
            f'"time":"{self.local_time(event.time_s)}","subject":"{event.order_id}","data":{self.data(event)}}}'
        )

    def record(self, event: StoryEvent, *, binary: bool, crc32_partitioner: bool, story_s: int) -> Publication:
        """The record that carries an event; in binary mode its time is in UTC, as from some systems."""
        key = event.order_id.encode()
        if not binary:
            value = self.structured(event).encode()
            return Publication(
                event.topic, key, value, STRUCTURED_HEADERS, crc32_partitioner=crc32_partitioner, story_s=story_s
            )
        headers = (
            ("ce_specversion", b"1.0"),
            ("ce_id", event.id.encode()),
            ("ce_source", event.source.encode()),
            ("ce_type", TYPES[event.kind].encode()),
            ("ce_time", f"{self._text(event.time_s)}Z".encode()),
            ("ce_subject", key),
            ("content-type", b"application/json"),
        )
        return Publication(
            event.topic, key, self.data(event).encode(), headers, crc32_partitioner=crc32_partitioner, story_s=story_s
        )

    def rejected(self, topic: int, key: bytes | None, value: bytes | None, story_s: int) -> Publication:
        """A record that is meant to be rejected."""
        return Publication(topic, key, value, story_s=story_s)


def local_date(time_s: int, offset_s: int) -> date:
    """Civil date of an instant in local time."""
    return _date((time_s + offset_s) // _DAY_S)


@cache
def _date(day: int) -> date:
    return _EPOCH + timedelta(days=day)


def midnight_s(day: date, offset_s: int) -> int:
    """Start of a civil date, seconds since 1970."""
    return int(datetime(day.year, day.month, day.day, tzinfo=timezone(timedelta(seconds=offset_s))).timestamp())
