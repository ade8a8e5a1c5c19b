"""The fast way from a record to a fact, for the plain events that nearly all are.

It accepts a part of what the authority accepts, with the same facts; for everything else it gives `None` and the
authority decides. What makes a record plain:

- the JSON text is ASCII without a backslash and without DEL, so there are no escapes and no control characters (the
  decoder refuses the others);
- all its keys are known ones, all values are texts, except `data` and `backfill`;
- no key comes twice: then there are exactly as many quotation marks as the fields that were found account for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeGuard

import msgspec

from schemas import cloudevents
from schemas.authority import SourceRecord, digest_of
from schemas.events import CODE_PATTERN, VIN_PATTERN
from schemas.facts import NO_DIMS, Dims, Fact
from schemas.instants import micros_of, parse_instant
from schemas.pools import POOL_SIZE, intern_dims, intern_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
_Text = Annotated[str, msgspec.Meta(min_length=1)]


class _Placed(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    order_id: _Identifier
    model: _Text
    variant: _Text = ""
    factory: _Text = ""
    region: _Text = ""
    channel: _Text = ""


class _Cancelled(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    order_id: _Identifier
    reason: _Text = ""


class _Delivered(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    order_id: _Identifier
    vin: str
    model: _Text
    variant: _Text = ""
    factory: _Text = ""
    region: _Text = ""


class _Reversed(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    order_id: _Identifier
    vin: str
    reason: _Text = ""


class _Event(msgspec.Struct, gc=False, forbid_unknown_fields=True, kw_only=True, tag_field="type"):
    specversion: Literal["1.0"]
    id: _Identifier
    source: _Identifier
    time: str
    subject: _Text = ""
    datacontenttype: Literal["application/json"] | None = None
    dataschema: _Text = ""
    traceparent: _Text = ""
    tracestate: _Text = ""
    backfill: bool | None = None


class _PlacedEvent(_Event, tag="order.placed.v1"):
    data: _Placed


class _CancelledEvent(_Event, tag="order.cancelled.v1"):
    data: _Cancelled


class _DeliveredEvent(_Event, tag="vehicle.delivered.v1"):
    data: _Delivered


class _ReversedEvent(_Event, tag="delivery.reversed.v1"):
    data: _Reversed


#: Decoders of structured events by `Fact.topic`.
_EVENT_DECODERS: Final = (
    msgspec.json.Decoder(_PlacedEvent | _CancelledEvent).decode,
    msgspec.json.Decoder(_DeliveredEvent | _ReversedEvent).decode,
)
#: Decoders of the data of binary events by `Fact.topic` and the header `ce_type`.
_DATA_DECODERS: Final[tuple[dict[bytes, Callable[[bytes], Any]], ...]] = (
    {
        b"order.placed.v1": msgspec.json.Decoder(_Placed).decode,
        b"order.cancelled.v1": msgspec.json.Decoder(_Cancelled).decode,
    },
    {
        b"vehicle.delivered.v1": msgspec.json.Decoder(_Delivered).decode,
        b"delivery.reversed.v1": msgspec.json.Decoder(_Reversed).decode,
    },
)
_REFUSED = (msgspec.MsgspecError, RecursionError)  # the decoder has a limit of nesting of its own

#: Quotation marks of the envelope's required fields: five texts and `data`.
_ENVELOPE_MARKS: Final = 22
_BINARY_HEADERS: Final = frozenset(
    (
        cloudevents.CONTENT_TYPE,
        *(f"ce_{name}" for name in ("specversion", "id", "source", "type", "time", "subject", "dataschema")),
        *(f"ce_{name}" for name in ("traceparent", "tracestate")),
    )
)
#: Headers that say 'structured' and nothing else, as the usual publishers write them.
_STRUCTURED_HEADERS: Final = (
    (),
    (("content-type", b"application/cloudevents+json"),),
    (("content-type", b"application/cloudevents+json; charset=UTF-8"),),
    (("content-type", b"application/cloudevents+json; charset=utf-8"),),
)
#: Key, headers and value of a record together are certainly within the limit if the value has this much room, bytes.
_ROOM_BYTES: Final = 4096
_MAX_HEADER_BYTES: Final = 2048
_CHECKED_TOGETHER: Final = 128

_is_vin = re.compile(VIN_PATTERN).fullmatch
_is_code = re.compile(CODE_PATTERN).fullmatch


def plain_facts(
    records: Sequence[SourceRecord], *, topic: int, future_limit_us: int, max_bytes: int
) -> list[Fact | None]:
    """The facts of the plain records among `records`, and `None` for each of the others."""
    longest = max_bytes - _ROOM_BYTES
    facts: list[Fact | None] = []
    for first in range(0, len(records), _CHECKED_TOGETHER):
        chunk = records[first : first + _CHECKED_TOGETHER]
        values = [record.value for record in chunk]
        if _are_plain_texts(values, longest):
            facts += [_fact(record, value, topic, future_limit_us) for record, value in zip(chunk, values, strict=True)]
        else:
            facts += [
                None
                if value is None or not _are_plain_texts((value,), longest)
                else _fact(record, value, topic, future_limit_us)
                for record, value in zip(chunk, values, strict=True)
            ]
    return facts


def _are_plain_texts(values: Sequence[bytes | None], longest: int) -> TypeGuard[Sequence[bytes]]:
    """Whether all values are short and without anything that stands for a character it is not.

    They are looked at as one text, which costs a fraction of looking at each.
    """
    if None in values:
        return False
    text = b"".join(values)  # type: ignore[arg-type]
    return (
        text.isascii()
        and b"\\" not in text
        and b"\x7f" not in text
        and (len(text) <= longest or max(map(len, values)) <= longest)  # type: ignore[arg-type]
    )


def _fact(record: SourceRecord, value: bytes, topic: int, future_limit_us: int) -> Fact | None:
    headers = record.headers
    if headers not in _STRUCTURED_HEADERS and not _say_structured(headers):
        return _binary_fact(record, value, topic, future_limit_us)
    try:
        event = _EVENT_DECODERS[topic](value)
    except _REFUSED:
        return None
    data = event.data
    details = _details(data)
    time_us = _micros(event.time)
    if (
        details is None
        or time_us is None
        or time_us > record.timestamp * 1000 + future_limit_us
        or record.key != data.order_id.encode()
    ):
        return None
    kind, vin, dims, extra, marks = details
    if event.subject:
        marks += 4
    if event.datacontenttype is not None:
        marks += 4
    if event.backfill is not None or event.dataschema or event.traceparent or event.tracestate:
        marks += _rare_marks(event)
    if value.count(b'"') != marks + _ENVELOPE_MARKS:
        return None
    return Fact(
        kind,
        data.order_id,
        intern_text(event.source),
        event.id,
        time_us,
        vin,
        dims,
        extra,
        None,
        event.backfill is True,
        topic,
        record.partition,
        record.offset,
    )


def _rare_marks(event: _Event) -> int:
    texts = (event.dataschema, event.traceparent, event.tracestate)
    return 4 * sum(text != "" for text in texts) + (2 if event.backfill is not None else 0)


def _say_structured(headers: Sequence[tuple[str, bytes | None]]) -> bool:
    """Whether unusual headers are small and leave no doubt that the value is the event."""
    if len(headers) > 32 or sum(len(name) * 4 + len(value or b"") for name, value in headers) > _MAX_HEADER_BYTES:
        return False
    try:
        return cloudevents.is_structured(headers)
    except cloudevents.HeaderError:
        return False


# Binary mode --------------------------------------------------------------------------------------------------------


def _binary_fact(record: SourceRecord, value: bytes, topic: int, future_limit_us: int) -> Fact | None:
    headers = dict(record.headers)
    if len(headers) != len(record.headers) or not headers.keys() <= _BINARY_HEADERS:
        return None
    decode = _DATA_DECODERS[topic].get(headers.get("ce_type") or b"")
    if (
        decode is None
        or headers.get("ce_specversion") != b"1.0"
        or headers.get(cloudevents.CONTENT_TYPE, b"application/json") != b"application/json"
    ):
        return None
    event_id, source, time = map(_header_text, map(headers.get, ("ce_id", "ce_source", "ce_time")))
    try:
        data = decode(value)
    except _REFUSED:
        return None
    details = _details(data)
    time_us = _micros(time)
    if (
        not event_id
        or not source
        or details is None
        or time_us is None
        or time_us > record.timestamp * 1000 + future_limit_us
        or record.key != data.order_id.encode()
    ):
        return None
    kind, vin, dims, extra, marks = details
    if value.count(b'"') != marks:
        return None
    return Fact(
        kind,
        data.order_id,
        intern_text(source),
        event_id,
        time_us,
        vin,
        dims,
        extra,
        None,
        False,  # noqa: FBT003 - the fields of a fact are positional
        topic,
        record.partition,
        record.offset,
    )


def _header_text(value: bytes | None) -> str:
    """The text of a header that has 1-256 printable ASCII characters, else ""."""
    if value is None or len(value) > 256 or not value.isascii():
        return ""
    text = value.decode("ascii")
    return text if text.isprintable() else ""


# The fields ---------------------------------------------------------------------------------------------------------

#: Known dimensions as decoded -> the pooled tuple and the quotation marks of their keys and values.
_dims: dict[Dims, tuple[Dims, int]] = {}


def _details(data: Any) -> tuple[int, str, Dims, str, int] | None:
    """Kind, VIN, dimensions, other fields, and the quotation marks of all of them and the order id."""
    kind = type(data)
    if kind is _Delivered:
        try:
            dims, marks = _dims[(data.model, data.variant, data.factory, data.region)]
        except KeyError:
            if not _admit(data):
                return None
            dims, marks = _dims[(data.model, data.variant, data.factory, data.region)]
        return (3, data.vin, dims, "", marks + 8) if _is_vin(data.vin) else None
    if kind is _Placed:
        try:
            dims, marks = _dims[(data.model, data.variant, data.factory, data.region)]
        except KeyError:
            if not _admit(data):
                return None
            dims, marks = _dims[(data.model, data.variant, data.factory, data.region)]
        if not data.channel:
            return 1, "", dims, "", marks + 4
        return (1, "", dims, intern_text(data.channel), marks + 8) if _is_code(data.channel) else None
    extra = digest_of(data.reason)
    marks = 8 if extra else 4
    if kind is _Cancelled:
        return 2, "", NO_DIMS, extra, marks
    return (4, data.vin, NO_DIMS, extra, marks + 4) if _is_vin(data.vin) else None


def _admit(data: _Placed | _Delivered) -> bool:
    """Takes new dimensions in, if they are valid."""
    dims = (data.model, data.variant, data.factory, data.region)
    if not all(_is_code(code) for code in dims if code):
        return False
    if len(_dims) >= POOL_SIZE:
        _dims.clear()
    _dims[dims] = (intern_dims(dims), 4 * sum(code != "" for code in dims))
    return True


# Event time ---------------------------------------------------------------------------------------------------------
# An instant is the hour it starts with, `2024-10-07T14:`, plus the rest, `03:11+08:00`: both repeat often. Each half is
# read by the authority on instants, completed to a whole one; so what the two halves make is valid as well.

_hours: dict[str, int] = {}
_rests: dict[str, int] = {}
_SOME_HOUR: Final = "2000-01-02T00:"
_SOME_HOUR_US: Final = micros_of(parse_instant("2000-01-02T00:00:00Z"))


def _micros(text: str) -> int | None:
    """Microseconds since 1970, or `None` where the text is no instant."""
    try:
        return _hours[text[:14]] + _rests[text[14:]]
    except KeyError:
        return _micros_of_new(text)


def _micros_of_new(text: str) -> int | None:
    hour, rest = text[:14], text[14:]
    fraction_us = 0
    if rest[5:6] == ".":
        # Fractions are too many to remember: they are cut out.
        digits = rest[6:].rstrip("Zz") if rest[-1] in "Zz" else rest[6:-6]
        if not (digits.isascii() and digits.isdigit()):
            return None
        fraction_us = int(digits[:6].ljust(6, "0"))
        rest = rest[:5] + rest[6 + len(digits) :]
    try:
        if hour not in _hours:
            _remember(_hours, hour, micros_of(parse_instant(f"{hour}00:00Z")))
        if rest not in _rests:
            _remember(_rests, rest, micros_of(parse_instant(_SOME_HOUR + rest)) - _SOME_HOUR_US)
    except ValueError:
        return None
    return _hours[hour] + _rests[rest] + fraction_us


def _remember(known: dict[str, int], text: str, micros: int) -> None:
    if len(known) >= POOL_SIZE:
        known.clear()
    known[text] = micros
