"""Records as publishers send them, for the tests of the contract."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from schemas.authority import MAX_RECORD_BYTES, read_fact
from schemas.codec import decode_batch
from schemas.facts import PRODUCTION, Fact, Rejection, topic_number

STRUCTURED = (("content-type", b"application/cloudevents+json"),)
#: 2024-10-07T06:05:00Z in milliseconds, some minutes after the events below.
APPENDED_MS = 1_728_281_100_000
FUTURE_LIMIT_US = 300_000_000
ORDER_ID = "SO-20241007-000123"
VIN = "LNBSU7A10R1000123"


class Record(NamedTuple):
    """A record as a consumer gives it."""

    value: bytes | None
    key: bytes | None = ORDER_ID.encode()
    headers: tuple[tuple[str, bytes | None], ...] = STRUCTURED
    timestamp: int = APPENDED_MS
    timestamp_type: int = 1
    partition: int = 2
    offset: int = 48211


DATA: dict[str, dict[str, Any]] = {
    "order.placed.v1": {
        "order_id": ORDER_ID,
        "model": "SU7",
        "variant": "Max",
        "factory": "BJ1",
        "region": "CN-11",
        "channel": "store",
    },
    "order.cancelled.v1": {"order_id": ORDER_ID, "reason": "changed mind"},
    "vehicle.delivered.v1": {
        "order_id": ORDER_ID,
        "vin": VIN,
        "model": "SU7",
        "variant": "Max",
        "factory": "BJ1",
        "region": "CN-11",
    },
    "delivery.reversed.v1": {"order_id": ORDER_ID, "vin": VIN, "reason": "paint"},
    "event.voided.v1": {"order_id": ORDER_ID, "voids": {"source": "/shop", "id": "17"}, "reason": "typo"},
    "vehicle.produced.v1": {"vin": VIN, "model": "SU7", "variant": "Max", "factory": "BJ1"},
    "production.reversed.v1": {"vin": VIN, "reason": "crash test"},
    "production.voided.v1": {"vin": VIN, "voids": {"source": "/line", "id": "17"}, "reason": "typo"},
    "target.set.v1": {
        "target_id": "su7-2024-10",
        "metric": "deliveries",
        "scope": "model=SU7",
        "period": "month:2024-10",
        "value": 20000,
        "label": "October",
    },
    "target.withdrawn.v1": {"target_id": "su7-2024-10", "reason": "replaced"},
    "balance.set.v1": {"metric": "deliveries", "scope": "all", "count": 480000, "label": "up to 2023"},
    "campaign.set.v1": {
        "campaign": "yu7-launch",
        "start": "2025-06-26T22:00:00+08:00",
        "end": "2025-06-27T22:00:00+08:00",
        "scopes": [["model"], []],
        "label": "YU7",
    },
    "campaign.withdrawn.v1": {"campaign": "yu7-launch", "reason": "another name"},
    "control.total.v1": {
        "metric": "deliveries",
        "scope": "model=SU7",
        "period": "day:2024-10-07",
        "count": 1045,
        "label": "handed over",
    },
}
DELIVERED = "vehicle.delivered.v1"
PRODUCED = "vehicle.produced.v1"
_OF_PRODUCTION = topic_number(PRODUCTION, 0)
TOPICS = {
    "order.placed.v1": 0,
    "order.cancelled.v1": 0,
    "event.voided.v1": 0,
    DELIVERED: 1,
    "delivery.reversed.v1": 1,
    PRODUCED: _OF_PRODUCTION,
    "production.reversed.v1": _OF_PRODUCTION,
    "production.voided.v1": _OF_PRODUCTION,
}
#: A type whose events take the fast way, on each topic.
PLAIN_ON = {0: "order.placed.v1", 1: DELIVERED, _OF_PRODUCTION: PRODUCED}


def key_of(kind: str) -> bytes:
    """The key for `document` of a type."""
    return (VIN if TOPICS.get(kind) == _OF_PRODUCTION else ORDER_ID).encode()


def plain_record(kind: str) -> Record:
    """A valid event of a type with the key it needs, in structured mode."""
    return Record(structured(kind), key=key_of(kind))


def document(kind: str = DELIVERED, *, data: dict[str, Any] | None = None, **attributes: Any) -> dict[str, Any]:
    """A valid event of a type as a JSON object, with data fields and attributes replaced, or removed by `None`."""
    fields = {**DATA[kind], **(data or {})}
    event = {
        "specversion": "1.0",
        "id": "8f14e45f-ea3c-4d2b-9d0b-6a3f0f6f2b11",
        "source": "/factories/bj1/dispatch",
        "type": kind,
        "time": "2024-10-07T14:03:11+08:00",
        "subject": ORDER_ID,
        "data": {name: value for name, value in fields.items() if value is not None},
    } | attributes
    return {name: value for name, value in event.items() if value is not None}


def text_of(event: object) -> bytes:
    """Compact JSON, as most publishers write it."""
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()


def structured(kind: str = DELIVERED, *, data: dict[str, Any] | None = None, **attributes: Any) -> bytes:
    """A valid event in structured mode, with these changes."""
    return text_of(document(kind, data=data, **attributes))


def binary(kind: str = DELIVERED, *, data: dict[str, Any] | None = None, **attributes: Any) -> Record:
    """A valid event in binary mode, with these changes."""
    event = document(kind, data=data, **attributes)
    value = text_of(event.pop("data"))
    headers = [("content-type", b"application/json")]
    headers += [(f"ce_{name}", str(text).encode()) for name, text in event.items()]
    return Record(value, key=key_of(kind), headers=tuple(headers))


def decoded(record: Record, *, topic: int = 1, max_bytes: int = MAX_RECORD_BYTES) -> Fact | Rejection:
    """One record decoded by the codec."""
    (outcome,) = decode_batch([record], topic=topic, future_limit_us=FUTURE_LIMIT_US, max_bytes=max_bytes)
    return outcome


def by_authority(record: Record, *, topic: int = 1, max_bytes: int = MAX_RECORD_BYTES) -> Fact | Rejection:
    """One record decoded by the authority alone."""
    return read_fact(record, topic=topic, future_limit_us=FUTURE_LIMIT_US, max_bytes=max_bytes)


def reason_of(value: bytes | None, *, topic: int = 1, **fields: Any) -> str | None:
    """Why a record with this value is rejected, or `None`."""
    outcome = decoded(Record(value, **fields), topic=topic)
    return outcome.reason if isinstance(outcome, Rejection) else None
