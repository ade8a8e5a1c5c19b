"""Turns a file's events into records for the source topics, checked as the workers will check them."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from schemas.codec import decode_document, encode_document
from schemas.events import CAPITALS, canonical_scope
from schemas.facts import DELIVERIES, ORDERS, PRODUCTION, Fact, Rejection
from schemas.texts import tidy
from streams.kafka.publication import CONTROLS, STRUCTURED_HEADERS, TARGETS, Candidate, Publication, verdicts_on

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from schemas.events import Event
    from streams.events.event_files import NumberedLine

_TOPICS = {
    "order.placed.v1": ORDERS,
    "order.cancelled.v1": ORDERS,
    "vehicle.delivered.v1": DELIVERIES,
    "delivery.reversed.v1": DELIVERIES,
    "vehicle.produced.v1": PRODUCTION,
    "production.reversed.v1": PRODUCTION,
    "production.voided.v1": PRODUCTION,
    "target.set.v1": TARGETS,
    "target.withdrawn.v1": TARGETS,
    "balance.set.v1": TARGETS,
    "campaign.set.v1": TARGETS,
    "campaign.withdrawn.v1": TARGETS,
    "control.total.v1": CONTROLS,
}
#: The data fields that make the key, joined by slashes.
_KEY_FIELDS = {
    ORDERS: ("order_id",),
    DELIVERIES: ("order_id",),
    PRODUCTION: ("vin",),
    TARGETS: ("target_id",),
    CONTROLS: ("metric", "scope", "period"),
}


@dataclass(frozen=True)
class RejectedLine:
    """A line that is not an event the service would count, and why."""

    number: int
    rejection: Rejection


class LineChecker:
    """Turns lines into records.

    Args:
        future_limit_s: How far ahead of now an event's time may be.
        now_ms: The clock, milliseconds since 1970.
        void_topic: `ORDERS`, `DELIVERIES` or `PRODUCTION`: where events that void others go.
        backfill: Whether to mark the events as history.
    """

    def __init__(
        self,
        future_limit_s: int,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        void_topic: int = ORDERS,
        *,
        backfill: bool = False,
    ) -> None:
        self._backfill = backfill
        self._void_topic = void_topic
        self._future_limit_us = future_limit_s * 1_000_000
        self._now_ms = now_ms

    def check(self, lines: Sequence[NumberedLine]) -> tuple[list[Publication], list[RejectedLine]]:
        """The records of the lines that are events, in order, and the other lines; blank lines are neither."""
        records, rejected, _ = self.judge(lines)
        return records, rejected

    def judge(self, lines: Sequence[NumberedLine]) -> tuple[list[Publication], list[RejectedLine], list[Fact]]:
        """As `check`, and the facts of the orders, deliveries and vehicles among the records."""
        given = [line for line in lines if line.topic >= 0 or line.text.strip()]
        records = [
            self._record(line.text.strip()) if line.topic < 0 else Publication(line.topic, line.key, line.text)
            for line in given
        ]
        verdicts: dict[int, Event | Fact | Rejection] = {}
        for topic in _KEY_FIELDS:
            places = [place for place, record in enumerate(records) if record.topic == topic]
            verdicts.update(zip(places, self._verdicts(topic, [records[place] for place in places]), strict=True))
        accepted, rejected, facts = [], [], []
        for place, (line, record) in enumerate(zip(given, records, strict=True)):
            verdict = Rejection("invalid_field", line.fault) if line.fault else verdicts[place]
            if isinstance(verdict, Rejection):
                rejected.append(RejectedLine(line.number, verdict))
                continue
            accepted.append(_as_history(record) if self._backfill else record)
            if isinstance(verdict, Fact):
                facts.append(verdict)
        return accepted, rejected, facts

    def _record(self, text: bytes) -> Publication:
        event = loosely(text)
        topic = topic_of(event.get("type"), self._void_topic)
        return Publication(topic, key_of(event, topic), text)

    def _verdicts(self, topic: int, records: Sequence[Publication]) -> Sequence[Event | Fact | Rejection]:
        now_ms = self._now_ms()
        read = [Candidate(record.key, record.value, STRUCTURED_HEADERS, now_ms) for record in records]
        return verdicts_on(read, topic=topic, future_limit_us=self._future_limit_us)


def topic_of(kind: object, void_topic: int = ORDERS) -> int:
    """Where events of a type go; voids go to `void_topic`, and so do unknown types, since every installation has that."""
    return _TOPICS.get(kind.strip(), void_topic) if isinstance(kind, str) else void_topic


def key_of(event: Mapping[str, Any], topic: int) -> bytes | None:
    """The key of a structured event as a worker expects it; `None` if the data do not tell."""
    data = data_of(event)
    is_campaign = topic == TARGETS and "campaign" in data and "target_id" not in data
    if is_campaign:
        name = data["campaign"]
        return f"campaign:{tidy(name)}".encode("utf-8", "replace") if isinstance(name, str) else None
    is_balance = topic == TARGETS and "target_id" not in data
    parts = [data.get(name) for name in (("metric", "scope") if is_balance else _KEY_FIELDS[topic])]
    parts += ["total"] if is_balance else []
    texts = [tidy(part) for part in parts if isinstance(part, str)]
    if topic == PRODUCTION:
        texts = [text.translate(CAPITALS) for text in texts]
    if len(texts) < len(parts):
        return None
    if topic == CONTROLS or is_balance:
        with contextlib.suppress(ValueError):
            texts[1] = canonical_scope(texts[1])
    return "/".join(texts).encode("utf-8", "replace")


def data_of(event: Mapping[str, Any]) -> dict[str, Any]:
    """The data of a structured event, also if given as JSON text or in base64; empty if they are not an object."""
    data = event.get("data")
    encoded = event.get("data_base64")
    if data is None and isinstance(encoded, str):
        try:
            data = base64.b64decode(encoded)
        except ValueError:
            return {}
    if isinstance(data, str | bytes):
        return loosely(data)
    return data if isinstance(data, dict) else {}


def loosely(text: bytes | str) -> dict[str, Any]:
    """The JSON object, parsed well enough to find topic and key; whether it is valid is up to the codec."""
    try:
        event = decode_document(text)
    except ValueError:
        try:
            event = json.loads(text)
        except (ValueError, RecursionError):
            return {}
    return event if isinstance(event, dict) else {}


def _as_history(record: Publication) -> Publication:
    """The record of a valid event, marked as history."""
    event = loosely(record.value or b"")
    if event.get("backfill") is True:
        return record
    return record._replace(value=encode_document(event | {"backfill": True}))
