"""Decodes a record to a valid event, or to the reason why it is not one. The models of `schemas.events` have the last word.

If several things are wrong, the first of these checks to fail decides:

1. the value: `not_an_event` (a tombstone, a batch), `too_large`;
2. in binary mode, the headers that are attributes: `invalid_field`;
3. the JSON text: `too_deep`, `malformed_json` or what it is instead of JSON (`schemas.wrappers`), `duplicate_key`;
4. the envelope: `not_an_event` (not an object, no `specversion`) or what is wrapped around it, `invalid_field` (another
   `specversion`, a `type` that is not a string), `unknown_type`, `wrong_topic`;
   then the data, if given as text or base64, and what is wrapped around them;
5. the fields, in the order of the models: `invalid_field`, or `missing_offset` if that is the first error;
6. `wrong_key`;
7. `future_time`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from pydantic import ValidationError

from schemas import cloudevents, strict_json, wrappers
from schemas.events import (
    CONTROL_EVENTS,
    DELIVERY_EVENTS,
    EVENTS,
    ORDER_EVENTS,
    PRODUCTION_EVENTS,
    TARGET_EVENTS,
    BalanceSet,
    CampaignSet,
    CampaignWithdrawn,
    ControlTotal,
    Event,
    LedgerEvent,
    OrderPlacedData,
    PlanEvent,
    VehicleDeliveredData,
    is_json,
)
from schemas.facts import NO_DIMS, PRODUCTION, Dims, Fact, Rejection, family_of
from schemas.instants import is_rfc3339
from schemas.pools import intern_dims, intern_text
from schemas.rows import RowKey
from schemas.sentences import kind_of, sentence
from schemas.texts import SPACES, tidy_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_RECORD_BYTES: Final = 262_144

#: Event classes by family.
_ACCEPTED: Final[tuple[Sequence[type[LedgerEvent]], ...]] = (ORDER_EVENTS, DELIVERY_EVENTS, PRODUCTION_EVENTS)
_TARGETS: Final[Sequence[type[PlanEvent]]] = TARGET_EVENTS
_CONTROLS: Final[Sequence[type[ControlTotal]]] = CONTROL_EVENTS
_NAME_OF_TYPE: Final = re.compile(r"[a-z0-9._-]{1,64}")
_LONG_TEXT: Final = 64
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_OPENS_JSON: Final = ("{", '"', "[")
#: Data with one of these keys belong to an event, whatever else they contain.
_KEYS: Final = frozenset({"order_id", "vin", "target_id", "metric"})
_NO_EVENT: Final = "no specversion: the value is no CloudEvent"
_ALMOST: Final = '; it has type and source: add "specversion":"1.0"'

E = TypeVar("E", bound=Event)


class SourceRecord(Protocol):
    """A Kafka record as a consumer returns it; `timestamp` is the append time in milliseconds since 1970."""

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


def read_fact(
    record: SourceRecord, *, topic: int, future_limit_us: int, max_bytes: int, framed: bool = False
) -> Fact | Rejection:
    """The fact in a record of the source topic with number `topic`; `framed` as in `codec.decode_batch`."""
    try:
        event = _read(record, _ACCEPTED[family_of(topic)], max_bytes, framed=framed)
        _check_key(record, life_of(event), "order_id" if family_of(topic) != PRODUCTION else "vin")
        fact = _fact(event, record, topic)
        _check_time(record, fact.time_us, future_limit_us)
    except _RejectedError as error:
        return error.rejection
    return fact


def read_target(
    record: SourceRecord, *, future_limit_us: int, max_bytes: int, framed: bool = False
) -> PlanEvent | Rejection:
    """The event in a record of the targets topic."""
    try:
        event = _read(record, _TARGETS, max_bytes, framed=framed)
        if isinstance(event, BalanceSet):
            _check_key(record, str(RowKey.of(event.data)), "metric/scope/total")
        elif isinstance(event, CampaignSet | CampaignWithdrawn):
            _check_key(record, f"campaign:{event.data.campaign}", "campaign:NAME")
        else:
            _check_key(record, event.data.target_id, "target_id")
        _check_time(record, event.time_us, future_limit_us)
    except _RejectedError as error:
        return error.rejection
    return event


def read_control(
    record: SourceRecord, *, future_limit_us: int, max_bytes: int, framed: bool = False
) -> ControlTotal | Rejection:
    """The event in a record of the control totals topic."""
    try:
        event = _read(record, _CONTROLS, max_bytes, framed=framed)
        _check_key(record, str(RowKey.of(event.data)), "metric/scope/period")
        # The latest total counts, so one from a clock that is ahead would override all later ones.
        _check_time(record, event.time_us, future_limit_us)
    except _RejectedError as error:
        return error.rejection
    return event


def record_bytes(record: SourceRecord) -> int:
    """Total size of key, value and headers in bytes."""
    size = len(record.key or b"") + len(record.value or b"")
    return size + sum(len(name.encode()) + len(value or b"") for name, value in record.headers)


def leniencies(record: SourceRecord, *, framed: bool = False) -> list[str]:
    """The deviations tolerated in a record that is accepted, a line each; empty if it is as the contract would write it.

    Raises:
        ValueError: The record is not accepted.
    """
    return canonical(record, framed=framed)[1]


def canonical(record: SourceRecord, *, framed: bool = False) -> tuple[Event, list[str]]:
    """The event in a record that is accepted, and the deviations tolerated in it.

    Raises:
        ValueError: The record is not accepted.
    """
    notes: list[str] = []
    try:
        document = _document(record.value or b"", record.headers, framed=framed, notes=notes)
        model = _model(document, list(EVENTS.values()))
        document = {**document, "data": _data(document, notes)}
        event = model.model_validate(document)
    except (_RejectedError, ValidationError) as error:
        raise ValueError("the record is not accepted") from error
    time = document.get("time")
    if isinstance(time, str) and not is_rfc3339(time):
        notes.append("time: read as RFC 3339 would write it")
    notes += _tidied(document, event.model_dump(mode="json"), "")
    if record.key is not None and tidy_key(record.key) != record.key:
        notes.append("key: spaces around it, or another form of Unicode than NFC")
    return event, notes


def _tidied(given: dict[str, Any], read: dict[str, Any], above: str) -> Iterator[str]:
    """The fields that were read as something other than given."""
    for name, value in read.items():
        other = given.get(name)
        if isinstance(value, dict) and isinstance(other, dict):
            yield from _tidied(other, value, f"{above}{name}.")
        elif name != "time" and name in given and other != value:
            yield f"{above}{name}: read as {'absent' if value is None else value}"


def _read(record: SourceRecord, accepted: Sequence[type[E]], max_bytes: int, *, framed: bool = False) -> E:
    if record.value is None:
        raise _RejectedError("not_an_event", "a record without a value; a void or a cancellation is a separate event")
    if record_bytes(record) > max_bytes:
        raise _RejectedError("too_large", f"key, value and headers are more than {max_bytes} bytes")
    document = _document(record.value, record.headers, framed=framed)
    model = _model(document, accepted)
    data = _data(document)
    if data is not document.get("data"):
        document = {**document, "data": data}
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise _invalid(error) from None


def _document(
    value: bytes, headers: Sequence[tuple[str, bytes | None]], *, framed: bool, notes: list[str] | None = None
) -> dict[str, Any]:
    """The event in the form of structured mode, whatever mode it came in."""
    try:
        structured = cloudevents.is_structured(headers)
        attributes = {} if structured else cloudevents.attributes_of(headers)
    except cloudevents.HeaderError as error:
        raise _RejectedError("invalid_field", str(error)) from None
    except cloudevents.BatchError as error:
        raise _RejectedError("not_an_event", str(error)) from None
    document = _json(_bare(value, framed=framed, notes=notes))
    if not structured:
        if "specversion" not in attributes:
            raise _RejectedError("invalid_field", "header ce_specversion: empty; wanted: 1.0")
        if notes is not None:
            notes += _spelled_otherwise(headers)
        return {**attributes, "data": document}
    if not isinstance(document, dict):
        reason = wrappers.of_json(document)
        if reason is not None:
            raise _RejectedError(reason, wrappers.line_of(reason))
        if isinstance(document, list):
            raise _RejectedError("not_an_event", "the value is a list, a batch of events?; wanted: one event a record")
        raise _RejectedError("not_an_event", f"the value is JSON, but {kind_of(document)}; wanted: an object")
    return document


def _bare(value: bytes, *, framed: bool, notes: list[str] | None) -> bytes:
    """The value without a byte order mark and, if that is allowed, without a schema registry's wire format."""
    bare = value.removeprefix(_BYTE_ORDER_MARK)
    if framed:
        bare = wrappers.unframed(bare)
    if notes is not None and len(bare) < len(value):
        notes.append("value: read without what stands before the JSON")
    return bare


def _spelled_otherwise(headers: Sequence[tuple[str, bytes | None]]) -> Iterator[str]:
    seen = set()
    for name, value in headers:
        canonical = cloudevents.canonical_name(name)
        if canonical.startswith("ce_") or canonical == cloudevents.CONTENT_TYPE:
            if canonical not in {name, cloudevents.CONTENT_TYPE}:
                yield f"header {canonical}: read from {name}"
            if canonical in seen and value:
                yield f"header {canonical}: given twice with one value"
            seen.add(canonical)


def _json(text: bytes, where: str = "") -> Any:
    try:
        return strict_json.parse(text)
    except strict_json.StrictJsonError as error:
        reason = wrappers.of_bytes(text) if error.reason == "malformed_json" else None
        if reason is not None:
            raise _RejectedError(reason, f"{where}{wrappers.line_of(reason)}") from None
        raise _RejectedError(error.reason, f"{where}{error}") from None


def _model(document: dict[str, Any], accepted: Sequence[type[E]]) -> type[E]:
    if document.get("specversion") is None:
        reason = wrappers.of_json(document)
        if reason is not None:
            raise _RejectedError(reason, wrappers.line_of(reason))
        raise _RejectedError("not_an_event", f"{_NO_EVENT}{_ALMOST if {'type', 'source'} <= document.keys() else ''}")
    if document["specversion"] != "1.0":
        found = "another version" if isinstance(document["specversion"], str) else kind_of(document["specversion"])
        raise _RejectedError("invalid_field", f"specversion: {found}; wanted: the text 1.0")
    name = document.get("type")
    if not isinstance(name, str):
        found = kind_of(name) if "type" in document else "missing"
        raise _RejectedError("invalid_field", f"type: {found}; wanted: one of {', '.join(EVENTS)}")
    name = name.strip(SPACES)
    model = EVENTS.get(name)
    if model is None:
        shown = name if _NAME_OF_TYPE.fullmatch(name) else "of this event"
        raise _RejectedError("unknown_type", f"type {shown} is not known; known are {', '.join(EVENTS)}")
    document["type"] = name
    for one in accepted:
        if one is model:
            return one
    belongs = ", ".join(other.model_fields["type"].default for other in accepted)
    raise _RejectedError("wrong_topic", f"type {name} does not belong on this topic, which takes {belongs}")


def _data(document: dict[str, Any], notes: list[str] | None = None) -> Any:
    """The data, also if given as JSON text or in base64, as several libraries write what they get as bytes.

    Only if the content type is JSON, or missing, which means the same.
    """
    data, encoded = document.get("data"), document.get("data_base64")
    media_type = document.get("datacontenttype")
    if not (media_type is None or (isinstance(media_type, str) and (not media_type.strip() or is_json(media_type)))):
        return data
    if encoded is not None:
        if data is not None:
            raise _RejectedError("invalid_field", "data_base64: given beside data; wanted: one of the two")
        data = _json(_bare(_decoded(encoded), framed=False, notes=None), "data_base64: ")
        if notes is not None:
            notes.append("data_base64: read as data")
    elif isinstance(data, str) and data.strip()[:1] in _OPENS_JSON:
        data = _json(data.encode(), "data: ")
        if notes is not None:
            notes.append("data: JSON in a text, read as its object")
    reason = wrappers.of_json(data)
    if reason is not None and not (isinstance(data, dict) and data.keys() & _KEYS):
        raise _RejectedError(reason, f"data: {wrappers.line_of(reason)}")
    return data


def _decoded(encoded: Any) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise _RejectedError(
            "invalid_field", "data_base64: not base64; wanted: the data as a JSON object in data"
        ) from None


def _invalid(error: ValidationError) -> _RejectedError:
    problems = error.errors(include_url=False)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    reason = "missing_offset" if problems[0]["type"] == "missing_offset" else "invalid_field"
    return _RejectedError(reason, f"{sentence(problems[0])}{more}")


def _check_key(record: SourceRecord, wanted: str, name: str) -> None:
    if record.key is None:
        raise _RejectedError("wrong_key", f"the record has no key; wanted: the {name} of its data")
    if record.key != wanted.encode() and tidy_key(record.key) != wanted.encode():
        raise _RejectedError("wrong_key", f"the record's key is not the {name} of its data")


def _check_time(record: SourceRecord, time_us: int, future_limit_us: int) -> None:
    if time_us > record.timestamp * 1000 + future_limit_us:
        ahead = f"more than {future_limit_us / 1e6:g} s ahead of the append time"
        raise _RejectedError("future_time", f"time: {ahead}; is the publisher's clock right?")


def _fact(event: LedgerEvent, record: SourceRecord, topic: int) -> Fact:
    vin, dims, extra, voids = _details(event)
    return Fact(
        int(event.kind),
        life_of(event),
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
    """VIN, dimensions, digest or text of the other fields, and identity of the voided event."""
    # By `type`, since `isinstance` is slow for these classes.
    match event.type:
        case "order.placed.v1":
            return "", _dims(event.data), intern_text(event.data.channel or ""), None
        case "vehicle.delivered.v1":
            return event.data.vin, _dims(event.data), "", None
        case "order.cancelled.v1":
            return "", NO_DIMS, digest_of(event.data.reason or ""), None
        case "delivery.reversed.v1":
            return event.data.vin, NO_DIMS, digest_of(event.data.reason or ""), None
        case "vehicle.produced.v1":
            data = event.data
            return data.vin, intern_dims((data.model, data.variant or "", data.factory or "", "")), "", None
        case "production.reversed.v1":
            return event.data.vin, NO_DIMS, digest_of(event.data.reason or ""), None
        case "event.voided.v1":
            voids = event.data.voids
            return "", NO_DIMS, digest_of(event.data.reason or ""), (voids.source, voids.id)
        case "production.voided.v1":
            voids = event.data.voids
            return event.data.vin, NO_DIMS, digest_of(event.data.reason or ""), (voids.source, voids.id)


def life_of(event: LedgerEvent) -> str:
    """What an event is about: an order number or, for production, a VIN; also the key of its record."""
    match event.type:
        case "vehicle.produced.v1" | "production.reversed.v1" | "production.voided.v1":
            return event.data.vin
        case _:
            return event.data.order_id


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
