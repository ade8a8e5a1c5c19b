"""The fast way from a record to a fact, for plain events, as nearly all are.

It accepts a subset of what the authority accepts, with the same facts; for everything else it returns `None` and the authority
decides. What makes a record plain:

- the JSON text is ASCII without a backslash and without DEL, so there are no escapes and no control characters (the decoder
  refuses the others);
- all its keys are known, and all values are strings, except `data`, `backfill`, and `voids`, an object of two strings;
- no string that names something begins or ends with a space;
- no key occurs twice: then there are exactly as many quotation marks as the fields found account for.

A chunk of records is decoded as one JSON array, at less than two thirds of the cost, if that cannot mix them up. An event is an
object with one other object in it (`data`) and no other braces. So if the array has as many events as there are records, and four
braces per event, no string contains a brace; and if each record starts and ends with one, records are joined by `},{`, which can
only be the end of one event and the start of the next. A record never has fewer quotation marks than its fields account for, so if
the sums agree, each record does. A chunk for which any of this does not hold is decoded record by record.
"""

from __future__ import annotations

import re
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, cast

import msgspec
import numpy as np

from schemas import cloudevents
from schemas.authority import SourceRecord, digest_of
from schemas.events import VIN_CHARACTERS
from schemas.facts import NO_DIMS, Dims, Fact, Kind, family_of
from schemas.instants import known_hours, known_rests, micros_of_text
from schemas.pools import POOL_SIZE, intern_dims, intern_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from schemas.facts import Rejection

_Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
_Text = Annotated[str, msgspec.Meta(min_length=1)]
_Vin = Annotated[str, msgspec.Meta(min_length=17, max_length=17)]


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
    vin: _Vin
    model: _Text
    variant: _Text = ""
    factory: _Text = ""
    region: _Text = ""


class _Reversed(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    order_id: _Identifier
    vin: _Vin
    reason: _Text = ""


class _Produced(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    vin: _Vin
    model: _Text
    variant: _Text = ""
    factory: _Text = ""

    @property
    def order_id(self) -> str:
        return self.vin

    @property
    def region(self) -> str:
        return ""


class _Scrapped(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    vin: _Vin
    reason: _Text = ""

    @property
    def order_id(self) -> str:
        return self.vin


class _Reference(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    source: _Identifier
    id: _Identifier


class _Voided(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    order_id: _Identifier
    voids: _Reference
    reason: _Text = ""


class _ProductionVoided(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    vin: _Vin
    voids: _Reference
    reason: _Text = ""

    @property
    def order_id(self) -> str:
        return self.vin


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


class _ProducedEvent(_Event, tag="vehicle.produced.v1"):
    data: _Produced


class _ScrappedEvent(_Event, tag="production.reversed.v1"):
    data: _Scrapped


class _VoidedEvent(_Event, tag="event.voided.v1"):
    data: _Voided


class _ProductionVoidedEvent(_Event, tag="production.voided.v1"):
    data: _ProductionVoided


#: Decoders of structured events by family.
_EVENT_DECODERS: Final = (
    msgspec.json.Decoder(_PlacedEvent | _CancelledEvent | _VoidedEvent).decode,
    msgspec.json.Decoder(_DeliveredEvent | _ReversedEvent | _VoidedEvent).decode,
    msgspec.json.Decoder(_ProducedEvent | _ScrappedEvent | _ProductionVoidedEvent).decode,
)
#: Decoders of the data of binary events by family and the header `ce_type`.
_DATA_DECODERS: Final[tuple[dict[bytes, Callable[[bytes], Any]], ...]] = (
    {
        b"order.placed.v1": msgspec.json.Decoder(_Placed).decode,
        b"order.cancelled.v1": msgspec.json.Decoder(_Cancelled).decode,
        b"event.voided.v1": msgspec.json.Decoder(_Voided).decode,
    },
    {
        b"vehicle.delivered.v1": msgspec.json.Decoder(_Delivered).decode,
        b"delivery.reversed.v1": msgspec.json.Decoder(_Reversed).decode,
        b"event.voided.v1": msgspec.json.Decoder(_Voided).decode,
    },
    {
        b"vehicle.produced.v1": msgspec.json.Decoder(_Produced).decode,
        b"production.reversed.v1": msgspec.json.Decoder(_Scrapped).decode,
        b"production.voided.v1": msgspec.json.Decoder(_ProductionVoided).decode,
    },
)
#: Decoders of an array of structured events by family. A void has more braces than the others, and is decoded by itself.
_ARRAY_DECODERS: Final = (
    msgspec.json.Decoder(list[_PlacedEvent | _CancelledEvent]).decode,
    msgspec.json.Decoder(list[_DeliveredEvent | _ReversedEvent]).decode,
    msgspec.json.Decoder(list[_ProducedEvent | _ScrappedEvent]).decode,
)
_REFUSED = (msgspec.MsgspecError, RecursionError)  # the decoder has its own nesting limit

# As plain numbers, since members of an enumeration are slow to access.
_PLACED, _CANCELLED, _DELIVERED, _REVERSED = map(int, (Kind.PLACED, Kind.CANCELLED, Kind.DELIVERED, Kind.REVERSED))
_PRODUCED, _SCRAPPED, _VOIDED = map(int, (Kind.PRODUCED, Kind.SCRAPPED, Kind.VOIDED))
_KINDS: Final[dict[type, int]] = {
    _Placed: _PLACED,
    _Cancelled: _CANCELLED,
    _Delivered: _DELIVERED,
    _Reversed: _REVERSED,
    _Produced: _PRODUCED,
    _Scrapped: _SCRAPPED,
    _Voided: _VOIDED,
    _ProductionVoided: _VOIDED,
}
#: Kinds whose events have dimensions.
_WITH_DIMS: Final = frozenset({_PLACED, _DELIVERED, _PRODUCED})
#: Quotation marks of the envelope's required fields (five strings and `data`), and of a string and its key.
_ENVELOPE_MARKS: Final = 22
_TEXT_MARKS: Final = 4
#: Of `voids`, with source and id in it.
_VOIDS_MARKS: Final = 2 + 2 * _TEXT_MARKS

#: Headers that say 'structured' and nothing else, as common publishers write them.
_STRUCTURED_HEADERS: Final = (
    (),
    (("content-type", b"application/cloudevents+json"),),
    (("content-type", b"application/cloudevents+json; charset=UTF-8"),),
    (("content-type", b"application/cloudevents+json; charset=utf-8"),),
)
_BINARY_HEADERS: Final = frozenset(
    (
        cloudevents.CONTENT_TYPE,
        *(f"ce_{name}" for name in ("specversion", "id", "source", "type", "time", "subject", "dataschema")),
        *(f"ce_{name}" for name in ("backfill", "traceparent", "tracestate")),
    )
)
#: If a value is this many bytes below the limit, key, headers and value together are certainly within it.
_ROOM_BYTES: Final = 4096
_MAX_HEADER_BYTES: Final = 2048
_MAX_ATTRIBUTE_BYTES: Final = 256
_CHUNK: Final = 128
_JSON: Final = b"application/json"
_MARK: Final = ord('"')
#: From here on, braces are the only characters of ordinary text: `|` and `~` are rare, DEL is refused.
_OPENING: Final = ord("{")
_CLOSING: Final = ord("}")
#: Braces per event.
_BRACES: Final = 4

_first, _last = itemgetter(0), itemgetter(-1)

#: For ASCII, as all plain text is.
_is_name = re.compile(r"[!-~](?:[ -~]{0,62}[!-~])?").fullmatch
_VIN_BYTES: Final = VIN_CHARACTERS.encode()

#: Known dimensions as decoded -> the pooled tuple, and the number of quotation marks of their keys and values.
_known_dims: dict[Dims, tuple[Dims, int]] = {}
#: Known sources, all without surrounding spaces.
_known_sources: dict[str, str] = {}


class Events(list["Fact | Rejection | None"]):
    """What records hold, in order: facts, or what was put in the place of those that are not plain."""

    def put(self, place: int, outcome: Fact | Rejection) -> None:
        """Puts a fact or a rejection in the place of a record that is not plain."""
        self[place] = outcome

    def not_plain(self) -> list[int]:
        """The places of the records that are not plain."""
        return [place for place, fact in enumerate(self) if fact is None] if None in self else []

    def picked(self, places: Sequence[int]) -> Events:
        """Some of them, by their places."""
        return Events([self[place] for place in places])


def plain_facts(records: Sequence[SourceRecord], *, topic: int, future_limit_us: int, max_bytes: int) -> Events:
    """The facts of the plain records among `records`, and `None` for each of the others."""
    longest = max_bytes - _ROOM_BYTES
    facts = Events()
    for first in range(0, len(records), _CHUNK):
        chunk = records[first : first + _CHUNK]
        facts += _facts_together(chunk, topic, future_limit_us, longest) or _facts_one_by_one(
            chunk, topic, future_limit_us, longest
        )
    return facts


def _facts_one_by_one(
    records: Sequence[SourceRecord], topic: int, future_limit_us: int, longest: int
) -> list[Fact | None]:
    values = [record.value for record in records]
    if None in values or not _is_plain(b"".join(values), longest):  # type: ignore[arg-type] # no None is left
        values = [value if value is not None and _is_plain(value, longest) else None for value in values]
    drafts, marks = _drafts(records, values, topic, future_limit_us)
    return drafts if _are_sound(values, drafts, sum(marks)) else _sound_ones(values, drafts, marks)


def _is_plain(text: bytes, longest: int) -> bool:
    """Whether the text has no escapes or control characters, and a normal length."""
    return len(text) <= longest and text.isascii() and b"\\" not in text and b"\x7f" not in text


def _are_sound(values: Sequence[bytes | None], drafts: Sequence[Fact | None], marks: int) -> bool:
    """Whether no draft has a duplicate key, a VIN with an invalid character, or spaces around an id."""
    texts = [value for value, draft in zip(values, drafts, strict=True) if draft is not None and value is not None]
    text = b"".join(texts)
    found = np.count_nonzero(np.frombuffer(text, dtype=np.uint8) == ord('"'))
    facts = [draft for draft in drafts if draft is not None]
    vins = "".join([fact.vin for fact in facts])
    return (
        int(found) == marks
        and not vins.encode().translate(None, _VIN_BYTES)
        and not (b" " in text and _has_spaces_around(facts))
    )


def _has_spaces_around(facts: Sequence[Fact]) -> bool:
    """Whether an id or order number begins or ends with a space; strings here have no line feeds."""
    text = "\n".join([text for fact in facts for text in (fact.id, fact.order_id, *(fact.voids or ()))])
    return " " in text and (" \n" in text or "\n " in text or text[0] == " " or text[-1] == " ")


def _sound_ones(
    values: Sequence[bytes | None], drafts: Sequence[Fact | None], marks: Sequence[int]
) -> list[Fact | None]:
    return [
        draft if _are_sound((value,), (draft,), expected) else None
        for value, draft, expected in zip(values, drafts, marks, strict=True)
    ]


# A chunk as one array ------------------------------------------------------------------------------------------------


def _facts_together(
    records: Sequence[SourceRecord], topic: int, future_limit_us: int, longest: int
) -> list[Fact] | None:
    """The facts of a chunk whose records are all plain, structured and alike; `None` if there is any doubt."""
    count = len(records)
    headers = records[0].headers
    if headers not in _STRUCTURED_HEADERS or [record.headers for record in records].count(headers) != count:
        return None
    values: list[Any] = [record.value for record in records]
    if None in values or b"" in values:
        return None
    if list(map(_first, values)).count(_OPENING) != count or list(map(_last, values)).count(_CLOSING) != count:
        return None
    text = b",".join(values)
    characters = np.frombuffer(text, dtype=np.uint8)
    if not _is_plain(text, longest) or np.count_nonzero(characters >= _OPENING) != _BRACES * count:
        return None
    try:
        events = _ARRAY_DECODERS[family_of(topic)](b"[%b]" % text)
    except _REFUSED:
        return None
    if len(events) != count:
        return None
    found, marks = _facts_of_events(events, records, topic)
    if None in found:
        return None
    facts = cast("list[Fact]", found)  # none is None, as just checked
    if (
        [fact.order_id.encode() for fact in facts] != [record.key for record in records]
        or np.count_nonzero(characters == _MARK) != sum(marks)
        or "".join([fact.vin for fact in facts]).encode().translate(None, _VIN_BYTES)
        or (b" " in text and _has_spaces_around(facts))
        or max([fact.time_us for fact in facts])
        > min([record.timestamp for record in records]) * 1000 + future_limit_us
    ):
        return None
    return facts


def _facts_of_events(
    events: Sequence[Any], records: Sequence[SourceRecord], topic: int
) -> tuple[list[Fact | None], list[int]]:
    """The facts of decoded events, `None` for each that is not plain, and the number of quotation marks of each."""
    facts: list[Fact | None] = []
    all_marks: list[int] = []
    hours, rests, dims_of, sources = known_hours, known_rests, _known_dims, _known_sources
    for event, record in zip(events, records, strict=True):
        data = event.data
        text = event.time
        try:
            time_us: int | None = hours[text[:14]] + rests[text[14:]]
        except KeyError:
            time_us = micros_of_text(text)
        if type(data) is _Delivered:
            # The usual delivery: what `_details` would return, without the call.
            known = dims_of.get((data.model, data.variant, data.factory, data.region)) or _admit(data)
            details = known and (_DELIVERED, data.vin, known[0], "", known[1] + 2 * _TEXT_MARKS)
        else:
            details = _details(data)
        source = sources.get(event.source) or _admit_source(event.source)
        if time_us is None or details is None or source is None:
            facts.append(None)
            all_marks.append(0)
            continue
        kind, vin, dims, extra, marks = details
        marks += _ENVELOPE_MARKS
        if event.subject:
            marks += _TEXT_MARKS
        if event.datacontenttype is not None:
            marks += _TEXT_MARKS
        backfill = event.backfill
        if backfill is not None or event.dataschema or event.traceparent or event.tracestate:
            marks += _rare_marks(event)
        all_marks.append(marks)
        facts.append(
            Fact(
                kind,
                data.order_id,
                source,
                event.id,
                time_us,
                vin,
                dims,
                extra,
                (data.voids.source, data.voids.id) if kind == _VOIDED else None,
                backfill is True,
                topic,
                record.partition,
                record.offset,
            )
        )
    return facts, all_marks


# Record by record ---------------------------------------------------------------------------------------------------


def _drafts(
    records: Sequence[SourceRecord], values: Sequence[bytes | None], topic: int, future_limit_us: int
) -> tuple[list[Fact | None], list[int]]:
    """Facts that are right except for what `_are_sound` checks, and their numbers of quotation marks."""
    decode = _EVENT_DECODERS[family_of(topic)]
    facts: list[Fact | None] = [None] * len(records)
    all_marks = [0] * len(records)
    events, where = [], []
    for index, (record, value) in enumerate(zip(records, values, strict=True)):
        if value is None:
            continue
        if record.headers not in _STRUCTURED_HEADERS and not _say_structured(record.headers):
            facts[index], all_marks[index] = _binary_draft(record, value, topic, future_limit_us)
            continue
        try:
            events.append(decode(value))
        except _REFUSED:
            continue
        where.append(index)
    found, found_marks = _facts_of_events(events, [records[index] for index in where], topic)
    for index, fact, marks in zip(where, found, found_marks, strict=True):
        record = records[index]
        if (
            fact is not None
            and fact.time_us <= record.timestamp * 1000 + future_limit_us
            and record.key == fact.order_id.encode()
        ):
            facts[index], all_marks[index] = fact, marks
    return facts, all_marks


def _rare_marks(event: _Event) -> int:
    texts = (event.dataschema, event.traceparent, event.tracestate)
    return _TEXT_MARKS * sum(text != "" for text in texts) + (2 if event.backfill is not None else 0)


def _details(data: Any) -> tuple[int, str, Dims, str, int] | None:
    """Kind, VIN, dimensions, other fields, and the number of quotation marks of all data fields."""
    kind = _KINDS[type(data)]
    if kind in _WITH_DIMS:
        known = _known_dims.get((data.model, data.variant, data.factory, data.region)) or _admit(data)
        if known is None:
            return None
        dims, marks = known
        if kind == _DELIVERED:
            return kind, data.vin, dims, "", marks + 2 * _TEXT_MARKS
        if kind == _PRODUCED:
            return kind, data.vin, dims, "", marks + _TEXT_MARKS
        if not data.channel:
            return kind, "", dims, "", marks + _TEXT_MARKS
        return (kind, "", dims, intern_text(data.channel), marks + 2 * _TEXT_MARKS) if _is_name(data.channel) else None
    extra = digest_of(data.reason)
    marks = 2 * _TEXT_MARKS if extra else _TEXT_MARKS
    if kind == _VOIDED:
        return kind, data.vin if type(data) is _ProductionVoided else "", NO_DIMS, extra, marks + _VOIDS_MARKS
    if kind == _CANCELLED:
        return kind, "", NO_DIMS, extra, marks
    if kind == _SCRAPPED:
        return kind, data.vin, NO_DIMS, extra, marks
    return kind, data.vin, NO_DIMS, extra, marks + _TEXT_MARKS


def _admit(data: _Placed | _Delivered | _Produced) -> tuple[Dims, int] | None:
    """Remembers new dimensions, if they are valid."""
    dims = (data.model, data.variant, data.factory, data.region)
    if not all(_is_name(code) for code in dims if code):
        return None
    if len(_known_dims) >= POOL_SIZE:
        _known_dims.clear()
    known = _known_dims[dims] = intern_dims(dims), _TEXT_MARKS * sum(code != "" for code in dims)
    return known


def _admit_source(source: str) -> str | None:
    """Remembers a new source, if it has no surrounding spaces."""
    if source[0] == " " or source[-1] == " ":
        return None
    if len(_known_sources) >= POOL_SIZE:
        _known_sources.clear()
    known = _known_sources[source] = intern_text(source)
    return known


def _say_structured(headers: Sequence[tuple[str, bytes | None]]) -> bool:
    """Whether unusual headers are small and leave no doubt that the value is the event."""
    if sum(4 * len(name) + len(value or b"") for name, value in headers) > _MAX_HEADER_BYTES:
        return False
    try:
        return cloudevents.is_structured(headers)
    except (cloudevents.HeaderError, cloudevents.BatchError):
        return False


# Binary mode --------------------------------------------------------------------------------------------------------


def _binary_draft(
    record: SourceRecord, value: bytes, topic: int, future_limit_us: int
) -> tuple[Fact, int] | tuple[None, int]:
    headers = {
        name: value for name, value in record.headers if value is not None and len(value) <= _MAX_ATTRIBUTE_BYTES
    }
    if len(headers) != len(record.headers) or not headers.keys() <= _BINARY_HEADERS:
        return None, 0
    if headers.get("ce_specversion") != b"1.0" or headers.get(cloudevents.CONTENT_TYPE, _JSON) != _JSON:
        return None, 0
    backfill = headers.get("ce_backfill", b"false")
    texts = b"\n".join([b"", *headers.values(), b""])
    if backfill not in {b"true", b"false"} or not texts.isascii():
        return None, 0
    if b" " in texts and (b" \n" in texts or b"\n " in texts):
        return None, 0
    event_id, source, time = [_header_text(headers, name) for name in ("ce_id", "ce_source", "ce_time")]
    time_us = micros_of_text(time)
    try:
        data = _DATA_DECODERS[family_of(topic)][headers["ce_type"]](value)
    except (KeyError, *_REFUSED):
        return None, 0
    details = _details(data)
    if details is None or time_us is None or not event_id or not source:
        return None, 0
    if time_us > record.timestamp * 1000 + future_limit_us or record.key != data.order_id.encode():
        return None, 0
    kind, vin, dims, extra, marks = details
    fact = Fact(
        kind,
        data.order_id,
        intern_text(source),
        event_id,
        time_us,
        vin,
        dims,
        extra,
        (data.voids.source, data.voids.id) if kind == _VOIDED else None,
        backfill == b"true",
        topic,
        record.partition,
        record.offset,
    )
    return fact, marks


def _header_text(headers: dict[str, bytes], name: str) -> str:
    """The text of a header of printable ASCII characters; "" for any other."""
    text = headers.get(name, b"").decode("ascii")
    return text if text.isprintable() else ""
