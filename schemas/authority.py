"""From a record to a valid event, or to the reason why it is none. The models of `schemas.events` have the last word.

What is looked at first, where several things are wrong:

1. the value: `not_an_event` (a tombstone), `too_large`;
2. in binary mode, the headers that are attributes: `invalid_field`;
3. the JSON text: `too_deep`, `malformed_json`, `duplicate_key`;
4. the envelope: `not_an_event` (no object, no `specversion`), `invalid_field` (`data_base64`, another `specversion`, a
   `type` that is no text), `unknown_type`, `wrong_topic`;
5. the fields, in the order of the models: `invalid_field`, or `missing_offset` where the first thing wrong is that;
6. `wrong_key`;
7. `future_time`.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, cast

from pydantic import ValidationError

from schemas import cloudevents, strict_json
from schemas.events import (
    CONTROL_EVENTS,
    DELIVERY_EVENTS,
    EVENTS,
    ORDER_EVENTS,
    TARGET_EVENTS,
    ControlTotal,
    DeliveryReversedData,
    Event,
    EventVoidedData,
    LedgerEvent,
    OrderCancelledData,
    OrderPlacedData,
    TargetEvent,
    VehicleDeliveredData,
)
from schemas.facts import NO_DIMS, Dims, Fact, Kind, Rejection, family_of
from schemas.pools import intern_dims, intern_text
from schemas.rows import RowKey

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_RECORD_BYTES: Final = 262_144

#: Event classes by family.
_ACCEPTED: Final[tuple[Sequence[type[LedgerEvent]], ...]] = (ORDER_EVENTS, DELIVERY_EVENTS)
_TARGETS: Final[Sequence[type[TargetEvent]]] = TARGET_EVENTS
_CONTROLS: Final[Sequence[type[ControlTotal]]] = CONTROL_EVENTS
_NAME_OF_TYPE: Final = re.compile(r"[a-z0-9._-]{1,64}")
_LONG_TEXT: Final = 64

E = TypeVar("E", bound=Event)


class SourceRecord(Protocol):
    """A Kafka record as a consumer gives it; `timestamp` is the append time in milliseconds since 1970."""

    @property
    def key(self) -> bytes | None: ...  # noqa: D102 - fields of a record
    @property
    def value(self) -> bytes | None: ...  # noqa: D102 - likewise
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...  # noqa: D102 - likewise
    @property
    def timestamp(self) -> int: ...  # noqa: D102 - likewise
    @property
    def partition(self) -> int: ...  # noqa: D102 - likewise
    @property
    def offset(self) -> int: ...  # noqa: D102 - likewise


class _RejectedError(Exception):
    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.rejection = Rejection(reason, message)


def read_fact(record: SourceRecord, *, topic: int, future_limit_us: int, max_bytes: int) -> Fact | Rejection:
    """The fact of a record of a source topic, by its number."""
    try:
        event = _read(record, _ACCEPTED[family_of(topic)], max_bytes)
        _check_key(record, event.data.order_id, "order_id")
        fact = _fact(event, record, topic)
        _check_time(record, fact.time_us, future_limit_us)
    except _RejectedError as error:
        return error.rejection
    return fact


def read_target(record: SourceRecord, *, future_limit_us: int, max_bytes: int) -> TargetEvent | Rejection:
    """The event of a record of the targets."""
    try:
        event = _read(record, _TARGETS, max_bytes)
        _check_key(record, event.data.target_id, "target_id")
        _check_time(record, event.time_us, future_limit_us)
    except _RejectedError as error:
        return error.rejection
    return event


def read_control(record: SourceRecord, *, future_limit_us: int, max_bytes: int) -> ControlTotal | Rejection:
    """The event of a record of the control totals."""
    try:
        event = _read(record, _CONTROLS, max_bytes)
        _check_key(record, str(RowKey.of(event.data)), "metric/scope/period")
        # The latest total counts: one from a clock that is ahead would override all later ones.
        _check_time(record, event.time_us, future_limit_us)
    except _RejectedError as error:
        return error.rejection
    return event


def record_bytes(record: SourceRecord) -> int:
    """Size of key, value and headers, bytes."""
    size = len(record.key or b"") + len(record.value or b"")
    return size + sum(len(name.encode()) + len(value or b"") for name, value in record.headers)


def _read(record: SourceRecord, accepted: Sequence[type[E]], max_bytes: int) -> E:
    if record.value is None:
        raise _RejectedError(
            "not_an_event", "a record without a value; a void or a cancellation is an event of its own"
        )
    if record_bytes(record) > max_bytes:
        raise _RejectedError("too_large", f"key, value and headers are more than {max_bytes} bytes")
    document = _document(record.value, record.headers)
    model = _model(document, accepted)
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise _invalid(error) from None


def _document(value: bytes, headers: Sequence[tuple[str, bytes | None]]) -> dict[str, Any]:
    """The event as in structured mode, whatever mode it came in."""
    try:
        if not cloudevents.is_structured(headers):
            attributes = cloudevents.attributes_of(headers)
            return {**attributes, "data": strict_json.parse(value)}
        document = strict_json.parse(value)
    except cloudevents.HeaderError as error:
        raise _RejectedError("invalid_field", str(error)) from None
    except strict_json.StrictJsonError as error:
        raise _RejectedError(error.reason, str(error)) from None
    if not isinstance(document, dict):
        raise _RejectedError("not_an_event", "the value is JSON, but no object; batches of events are not accepted")
    return document


def _model(document: dict[str, Any], accepted: Sequence[type[E]]) -> type[E]:
    if document.get("specversion") is None:
        raise _RejectedError("not_an_event", "no specversion: the value is no CloudEvent")
    if document.get("data_base64") is not None:
        raise _RejectedError("invalid_field", "data_base64: give the data as a JSON object in data")
    if document["specversion"] != "1.0":
        raise _RejectedError("invalid_field", 'specversion: must be "1.0"')
    name = document.get("type")
    if not isinstance(name, str):
        raise _RejectedError("invalid_field", "type: must be a text")
    model = EVENTS.get(name)
    if model is None:
        shown = name if _NAME_OF_TYPE.fullmatch(name) else "of this event"
        raise _RejectedError("unknown_type", f"type {shown} is not known; known are {', '.join(EVENTS)}")
    for one in accepted:
        if one is model:
            return one
    belongs = ", ".join(other.model_fields["type"].default for other in accepted)
    raise _RejectedError("wrong_topic", f"type {name} does not belong on this topic, which takes {belongs}")


def _invalid(error: ValidationError) -> _RejectedError:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    first = problems[0]
    where = ".".join(str(part) for part in first["loc"])
    what = first["msg"].removeprefix("Value error, ")
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    reason = "missing_offset" if first["type"] == "missing_offset" else "invalid_field"
    return _RejectedError(reason, f"{where}: {what[:1].lower()}{what[1:]}{more}")


def _check_key(record: SourceRecord, wanted: str, name: str) -> None:
    if record.key is None:
        raise _RejectedError("wrong_key", f"the record has no key; it must be the {name}")
    if record.key != wanted.encode():
        raise _RejectedError("wrong_key", f"the record's key is not the {name} of its data")


def _check_time(record: SourceRecord, time_us: int, future_limit_us: int) -> None:
    if time_us > record.timestamp * 1000 + future_limit_us:
        ahead = f"more than {future_limit_us / 1e6:g} s ahead of the append time"
        raise _RejectedError("future_time", f"time: {ahead}; is the publisher's clock right?")


def _fact(event: LedgerEvent, record: SourceRecord, topic: int) -> Fact:
    vin, dims, extra, voids = _details(event)
    return Fact(
        int(event.kind),
        event.data.order_id,
        intern_text(event.source),
        event.id,
        event.time_us,
        vin,
        dims,
        extra,
        voids,
        bool(event.backfill),
        topic,
        record.partition,
        record.offset,
    )


def _details(event: LedgerEvent) -> tuple[str, Dims, str, tuple[str, str] | None]:
    """VIN, dimensions, a digest or text of the other fields, and the identity of the voided event."""
    # By `kind` and casts, not by `isinstance`, which is slow for these classes.
    match event.kind:
        case Kind.PLACED:
            placed = cast("OrderPlacedData", event.data)
            return "", _dims(placed), intern_text(placed.channel or ""), None
        case Kind.DELIVERED:
            delivered = cast("VehicleDeliveredData", event.data)
            return delivered.vin, _dims(delivered), "", None
        case Kind.CANCELLED:
            cancelled = cast("OrderCancelledData", event.data)
            return "", NO_DIMS, digest_of(cancelled.reason or ""), None
        case Kind.REVERSED:
            came_back = cast("DeliveryReversedData", event.data)
            return came_back.vin, NO_DIMS, digest_of(came_back.reason or ""), None
        case Kind.VOIDED:
            void = cast("EventVoidedData", event.data)
            return "", NO_DIMS, digest_of(void.reason or ""), (void.voids.source, void.voids.id)


def _dims(data: OrderPlacedData | VehicleDeliveredData) -> Dims:
    return intern_dims((data.model, data.variant or "", data.factory or "", data.region or ""))


def digest_of(text: str) -> str:
    """The digest of free text in a fact: 32 hexadecimal digits, or "" for none."""
    if len(text) > _LONG_TEXT:
        return _digest(text)
    return _digest_cached(text) if text else ""


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


_digest_cached = lru_cache(maxsize=4096)(_digest)
