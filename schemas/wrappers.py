"""Recognises what tools wrap around an event or write in its place; each has its own reason.

It is only asked about values that are not readable events, so a wrong guess never rejects a valid one.
"""

from __future__ import annotations

import json
from typing import Any, Final

SCHEMA_REGISTRY: Final = "schema_registry"
CONNECT: Final = "connect_envelope"
DEBEZIUM: Final = "debezium_envelope"
OUTBOX: Final = "outbox_row"
JSON_TEXT: Final = "json_in_json"
UTF_16: Final = "utf_16"
COMPRESSED: Final = "compressed"
MESSAGEPACK: Final = "messagepack"
AVRO: Final = "avro"
PROTOBUF: Final = "protobuf"

#: Reason → what was seen, and what the publisher should change; together the message of a dead letter.
WRAPPERS: Final[dict[str, tuple[str, str]]] = {
    SCHEMA_REGISTRY: (
        "in Confluent's wire format: a zero byte, the id of a schema, then the event",
        "use a plain JSON or string serializer; or set accept_schema_registry_json where the rest is JSON",
    ),
    CONNECT: (
        "in Kafka Connect's envelope of schema and payload",
        "set value.converter.schemas.enable=false, so that the payload is the value",
    ),
    DEBEZIUM: (
        "in Debezium's envelope of a changed row: before, after, op",
        "publish events instead of rows, by the outbox event router or a transformation",
    ),
    OUTBOX: (
        "a row of an outbox table",
        "let the outbox event router publish the payload (table.expand.json.payload=true)",
    ),
    JSON_TEXT: (
        "a JSON text that holds the event as JSON: it was encoded twice",
        "give the serializer the object, or its text to a string serializer",
    ),
    UTF_16: ("text in UTF-16", "encode the text in UTF-8"),
    COMPRESSED: (
        "compressed before the producer got it",
        "send the JSON as it is; to save space set the producer's compression.type",
    ),
    MESSAGEPACK: ("in MessagePack, not JSON", "use a JSON serializer"),
    AVRO: ("in Avro, not JSON", "use a JSON serializer"),
    PROTOBUF: ("in Protobuf, not JSON", "use a JSON serializer"),
}

#: Reason → the option of `milestones dead-letters replay` that removes the wrapper.
UNWRAPS: Final = {
    SCHEMA_REGISTRY: "confluent",
    CONNECT: "connect",
    DEBEZIUM: "debezium",
    JSON_TEXT: "text",
    COMPRESSED: "gzip",
}

#: Length of the wire format's prefix: a zero byte, and the schema's id in four bytes.
FRAME_BYTES: Final = 5

_COMPRESSED: Final = (
    b"\x1f\x8b",  # gzip
    b"\x28\xb5\x2f\xfd",  # zstd
    b"\x04\x22\x4d\x18",  # lz4
    b"\x82SNAPPY\x00",
    b"\xff\x06\x00\x00sNaPpY",
    b"BZh",
    b"PK\x03\x04",  # zip
    b"\xfd7zXZ\x00",
    b"\x78\x01",  # zlib
    b"\x78\x9c",
    b"\x78\xda",
)
_AVRO: Final = (b"Obj\x01", b"\xc3\x01")
_UTF_16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
_SHORT_TEXT: Final = range(0xA0, 0xC0)
_TEXTS: Final = frozenset((*_SHORT_TEXT, 0xD9, 0xDA, 0xDB))
_SHORT_MAP: Final = range(0x80, 0x90)
_MAP_16: Final = 0xDE
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5


def line_of(reason: str) -> str:
    """The message: what was seen, and what to change."""
    seen, cure = WRAPPERS[reason]
    return f"the value is {seen}; {cure}"


def of_bytes(value: bytes) -> str | None:
    """The reason for a value that is not JSON, or `None` if it looks like nothing known."""
    if value.startswith(_COMPRESSED):
        return COMPRESSED
    if value.startswith(_AVRO):
        return AVRO
    if value.startswith(_UTF_16_MARKS) or _has_every_other_byte_zero(value):
        return UTF_16
    if value[:1] == b"\0" and len(value) > FRAME_BYTES:
        return SCHEMA_REGISTRY
    if _is_messagepack(value):
        return MESSAGEPACK
    return PROTOBUF if _is_protobuf(value) else None


def of_json(value: Any) -> str | None:
    """The reason for a JSON value that is neither an event nor its data, or `None`."""
    if isinstance(value, str):
        return JSON_TEXT if _is_json_object(value) else None
    if not isinstance(value, dict):
        return None
    inner = value.get("payload")
    if "payload" in value and "schema" in value:
        return DEBEZIUM if isinstance(inner, dict) and _is_changed_row(inner) else CONNECT
    if _is_changed_row(value):
        return DEBEZIUM
    names = {name.replace("_", "").lower() for name in value}
    return OUTBOX if "payload" in names and names & {"aggregatetype", "aggregateid"} else None


def unframed(value: bytes) -> bytes:
    """The value without Confluent's wire format, if it has that."""
    return value[FRAME_BYTES:] if value[:1] == b"\0" and value[FRAME_BYTES:].lstrip()[:1] == b"{" else value


def _is_changed_row(value: dict[str, Any]) -> bool:
    return "op" in value and ("before" in value or "after" in value)


def _is_json_object(text: str) -> bool:
    try:
        return text.lstrip()[:1] == "{" and isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _has_every_other_byte_zero(value: bytes) -> bool:
    start = value[:64]
    zeros = (start[0::2].count(0), start[1::2].count(0))
    return len(start) >= 4 and max(zeros) >= len(start) // 2 and min(zeros) == 0


def _is_messagepack(value: bytes) -> bool:
    if len(value) < 3:
        return False
    if value[0] in _SHORT_MAP:
        return value[1] in _TEXTS
    return value[0] == _MAP_16 and value[3:4] != b"" and value[3] in _TEXTS


def _is_protobuf(value: bytes) -> bool:
    """Whether the value is nothing but a sequence of Protobuf fields; plain text is never taken for one."""
    if not value or (value.isascii() and value.decode("ascii").isprintable()):
        return False
    position = 0
    while position < len(value):
        tag, position = _varint(value, position)
        if tag < 8:
            return False
        kind = tag & 7
        if kind == _VARINT:
            number, position = _varint(value, position)
            if number < 0:
                return False
        elif kind == _LENGTH:
            length, position = _varint(value, position)
            if length < 0:
                return False
            position += length
        elif kind in {_EIGHT_BYTES, _FOUR_BYTES}:
            position += 8 if kind == _EIGHT_BYTES else 4
        else:
            return False
    return position == len(value)


def _varint(value: bytes, position: int) -> tuple[int, int]:
    """The number that starts at a position, and where it ends; -1 if there is none."""
    number = 0
    for place, byte in enumerate(value[position : position + 10]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, position + place + 1
    return -1, position
