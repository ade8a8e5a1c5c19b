"""Lines of NDJSON as records for the source topics, checked as the workers will check them."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from schemas.codec import decode_batch, decode_control, decode_target
from schemas.facts import DELIVERIES, ORDERS, Fact, Rejection
from streams.kafka.publication import CONTROLS, STRUCTURED_HEADERS, TARGETS, Candidate, Publication

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from schemas.events import Event

_TOPICS = {
    "order.placed.v1": ORDERS,
    "order.cancelled.v1": ORDERS,
    "vehicle.delivered.v1": DELIVERIES,
    "delivery.reversed.v1": DELIVERIES,
    "event.voided.v1": ORDERS,
    "target.set.v1": TARGETS,
    "target.withdrawn.v1": TARGETS,
    "control.total.v1": CONTROLS,
}
#: The data fields that make the key, joined by slashes.
_KEY_FIELDS = {
    ORDERS: ("order_id",),
    DELIVERIES: ("order_id",),
    TARGETS: ("target_id",),
    CONTROLS: ("metric", "scope", "period"),
}


@dataclass(frozen=True)
class NumberedLine:
    """One line of a file; `number` from 1."""

    number: int
    text: bytes


@dataclass(frozen=True)
class RejectedLine:
    """A line that is no event the service would count, and why."""

    number: int
    rejection: Rejection


class LineChecker:
    """Turns lines into records.

    Args:
        future_limit_s: How far ahead of now an event's time may be.
        now_ms: The clock, milliseconds since 1970.
        void_topic: `ORDERS` or `DELIVERIES`: where events that void others go.
    """

    def __init__(
        self,
        future_limit_s: int,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        void_topic: int = ORDERS,
    ) -> None:
        self._topics = {**_TOPICS, "event.voided.v1": void_topic}
        self._future_limit_us = future_limit_s * 1_000_000
        self._now_ms = now_ms

    def check(self, lines: Sequence[NumberedLine]) -> tuple[list[Publication], list[RejectedLine]]:
        """Records of the lines that are events, in their order, and the other lines; blank lines are neither."""
        numbered = [(line.number, self._record(line.text.strip())) for line in lines if line.text.strip()]
        reasons: dict[int, Rejection] = {}
        for topic in _KEY_FIELDS:
            of_topic = [(number, record) for number, record in numbered if record.topic == topic]
            verdicts = self._verdicts(topic, [record for _, record in of_topic])
            for (number, _), verdict in zip(of_topic, verdicts, strict=True):
                if isinstance(verdict, Rejection):
                    reasons[number] = verdict
        records = [record for number, record in numbered if number not in reasons]
        return records, [RejectedLine(number, reasons[number]) for number in sorted(reasons)]

    def _record(self, text: bytes) -> Publication:
        event = _loosely(text)
        kind = event.get("type")
        topic = self._topics.get(kind, ORDERS) if isinstance(kind, str) else ORDERS
        return Publication(topic, _key(event.get("data"), _KEY_FIELDS[topic]), text)

    def _verdicts(self, topic: int, records: Sequence[Publication]) -> Sequence[Event | Fact | Rejection]:
        now_ms = self._now_ms()
        read = [Candidate(record.key, record.value, STRUCTURED_HEADERS, now_ms) for record in records]
        if topic == TARGETS:
            return [decode_target(record, future_limit_us=self._future_limit_us) for record in read]
        if topic == CONTROLS:
            return [decode_control(record, future_limit_us=self._future_limit_us) for record in read]
        return decode_batch(read, topic=topic, future_limit_us=self._future_limit_us)


def _key(data: object, fields: Sequence[str]) -> bytes | None:
    parts = [data.get(name) if isinstance(data, dict) else None for name in fields]
    texts = [part for part in parts if isinstance(part, str)]
    return "/".join(texts).encode("utf-8", "replace") if len(texts) == len(fields) else None


def _loosely(text: bytes) -> dict[str, Any]:
    """The JSON object as far as topic and key are concerned; whether it is valid the codec decides."""
    try:
        event = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}
