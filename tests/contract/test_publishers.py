"""What publishers send: libraries of five languages in both modes, and events written by hand, with their mistakes.

Each variant is the same order, or the reason for which it is refused. The forms were taken down from what the libraries
write: CloudEvents SDKs of Go, Java, JavaScript, Python and .NET, Spring Cloud Stream, Dapr, Kafka Connect, Debezium.
"""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import zlib
from typing import TYPE_CHECKING, Any, Final

import cramjam
import pytest

from schemas.facts import Fact, Rejection
from tests.contract.builders import Record, by_authority, decoded

if TYPE_CHECKING:
    from collections.abc import Iterator

ORDER: Final = "SO-20251006-7"
DATA: Final[dict[str, Any]] = {"order_id": ORDER, "model": "SU7"}
TIME: Final = "2025-10-06T12:00:00+08:00"
APPENDED_MS: Final = 1_759_723_260_000  # a minute later
JSON_DATA: Final = json.dumps(DATA)
EVENT: Final[dict[str, Any]] = {
    "specversion": "1.0",
    "id": "e-7",
    "source": "/shops/web",
    "type": "order.placed.v1",
    "time": TIME,
    "data": DATA,
}
STRUCTURED: Final = (("content-type", b"application/cloudevents+json"),)
Headers = tuple[tuple[str, bytes | None], ...]

#: The same instant as the languages print it.
TIMES: Final = {
    "Go RFC3339": "2025-10-06T12:00:00+08:00",
    "Go RFC3339Nano": "2025-10-06T04:00:00.000000000Z",
    "Go String": "2025-10-06 12:00:00 +0800 CST",
    "Go String, UTC": "2025-10-06 04:00:00 +0000 UTC",
    "Java Instant": "2025-10-06T04:00:00Z",
    "Java OffsetDateTime without seconds": "2025-10-06T12:00+08:00",
    "Java ZonedDateTime": "2025-10-06T12:00+08:00[Asia/Shanghai]",
    "Java ISO pattern Z": "2025-10-06T12:00:00.000+0800",
    "Java pattern X": "2025-10-06T12:00:00.000+08",
    "JavaScript toISOString": "2025-10-06T04:00:00.000Z",
    "Python isoformat": "2025-10-06T12:00:00+08:00",
    "Python isoformat, microseconds": "2025-10-06T04:00:00.000000+00:00",
    "Python str": "2025-10-06 12:00:00+08:00",
    "Python strftime %z": "2025-10-06T12:00:00+0800",
    ".NET o": "2025-10-06T12:00:00.0000000+08:00",
    ".NET u": "2025-10-06 04:00:00Z",
    "PostgreSQL": "2025-10-06 12:00:00+08",
    "small letters": "2025-10-06t04:00:00z",
    "spaces around": " 2025-10-06T12:00:00+08:00 ",
}
#: JSON data as a library writes them when it is given an object, bytes or a text.
BODIES: Final[dict[str, dict[str, Any]]] = {
    "object": {"data": DATA},
    "object and content type": {"data": DATA, "datacontenttype": "application/json"},
    "bytes": {"data_base64": base64.b64encode(JSON_DATA.encode()).decode(), "datacontenttype": "application/json"},
    "bytes without content type": {"data_base64": base64.b64encode(JSON_DATA.encode()).decode()},
    "bytes with a mark": {"data_base64": base64.b64encode(b"\xef\xbb\xbf" + JSON_DATA.encode()).decode()},
    "text": {"data": JSON_DATA, "datacontenttype": "application/json"},
    "text without content type": {"data": JSON_DATA},
    "text, charset": {"data": json.dumps(DATA, indent=2), "datacontenttype": "application/json; charset=utf-8"},
    "null base64": {"data": DATA, "data_base64": None},
    "suffix +json": {"data": DATA, "datacontenttype": "application/vnd.shop+json"},
    "empty content type": {"data": DATA, "datacontenttype": ""},
}
#: How the names of headers are written: the binding, HTTP, capitals, mixed.
SPELLINGS: Final = {
    "Kafka": "ce_{}",
    "HTTP": "ce-{}",
    "capitals": "CE_{}",
    "HTTP, capitals": "CE-{}",
    "mixed": "Ce-{}",
}
CONTENT_TYPES: Final = (
    "application/json",
    "application/json; charset=UTF-8",
    "APPLICATION/JSON",
    "text/json",
    "",
    None,
)


def structured(body: dict[str, Any] | None = None, **more: Any) -> bytes:
    event = {name: value for name, value in EVENT.items() if name != "data"} | (body or {"data": DATA}) | more
    return json.dumps({name: value for name, value in event.items() if value is not ...}, ensure_ascii=False).encode()


def headers_of(spelling: str = "ce_{}", content_type: str | None = "application/json", **more: str) -> Headers:
    attributes = {name: value for name, value in EVENT.items() if name != "data"} | more
    found: list[tuple[str, bytes | None]] = [
        (spelling.format(name), value.encode()) for name, value in attributes.items()
    ]
    return (*found, ("content-type", None if content_type is None else content_type.encode()))


def accepted() -> Iterator[tuple[str, bytes, Headers]]:
    """Variants that are all the same order."""
    for name, time in TIMES.items():
        yield f"structured, time of {name}", structured(time=time), STRUCTURED
        yield f"binary, time of {name}", JSON_DATA.encode(), headers_of(time=time)
    for name, body in BODIES.items():
        yield f"structured, {name}", structured(body), STRUCTURED
        yield f"no headers, {name}", structured(body), ()
    for (name, spelling), content_type in itertools.product(SPELLINGS.items(), CONTENT_TYPES):
        yield f"binary, {name}, {content_type}", JSON_DATA.encode(), headers_of(spelling, content_type)
    yield "binary, data encoded twice", json.dumps(JSON_DATA).encode(), headers_of()
    yield "binary, mark", b"\xef\xbb\xbf" + JSON_DATA.encode(), headers_of()
    yield "binary, each header twice", JSON_DATA.encode(), headers_of() * 2
    yield "binary, content type twice", JSON_DATA.encode(), (("Content-Type", b"application/json"), *headers_of())
    capitals: Headers = tuple((name.upper(), text) for name, text in headers_of())
    yield "binary, every header in capitals", JSON_DATA.encode(), capitals
    yield "binary, both spellings", JSON_DATA.encode(), (*headers_of(), *headers_of("ce-{}"))
    yield (
        "binary, empty optional headers",
        JSON_DATA.encode(),
        (*headers_of(), ("ce_subject", b""), ("ce_backfill", b"")),
    )
    yield "binary, absent optional headers", JSON_DATA.encode(), (*headers_of(), ("ce_subject", None))
    yield "binary, backfill of Python", JSON_DATA.encode(), (*headers_of(), ("ce_backfill", b"False"))
    yield "binary, partitionkey", JSON_DATA.encode(), (*headers_of(), ("ce_partitionkey", ORDER.encode()))
    yield (
        "structured, JavaScript's content type",
        structured(),
        (("content-type", b"application/cloudevents+json; charset=utf-8"),),
    )
    bytes_, text = BODIES["bytes"] | {"partitionkey": ORDER}, BODIES["text without content type"]
    yield "structured, Go, bytes and nanoseconds", structured(bytes_, time="2025-10-06T04:00:00.000000789Z"), STRUCTURED
    yield (
        "structured, JavaScript, bytes",
        structured(bytes_, time="2025-10-06T04:00:00.000Z"),
        (("content-type", b"application/cloudevents+json; charset=utf-8"),),
    )
    yield (
        "structured, Python, text",
        structured(text, partitionkey=ORDER),
        (("content-type", b"application/json"),),
    )
    yield "structured, content type in capitals", structured(), (("Content-Type", b"Application/CloudEvents+JSON"),)
    yield "structured, content type twice", structured(), STRUCTURED * 2
    yield "structured, JSON's content type", structured(), (("content-type", b"application/json"),)
    yield "structured, mark", b"\xef\xbb\xbf" + structured(), STRUCTURED
    yield "structured, indented", json.dumps(EVENT, indent=2).encode(), STRUCTURED
    yield "structured, escapes for all but ASCII", json.dumps(EVENT | {"subject": "订单"}).encode(), STRUCTURED
    yield "structured, line feed at the end", structured() + b"\r\n", STRUCTURED
    yield "structured, Spring's extensions", structured(knativearrivaltime="x", datacontentencoding="y"), STRUCTURED
    yield "structured, Dapr", structured(topic="orders", pubsubname="kafka", traceid="00-ab", tracestate=""), STRUCTURED
    yield "structured, backfill as text", structured(backfill="false"), STRUCTURED
    yield (
        "structured, spaces around all",
        structured(
            {"data": {"order_id": f" {ORDER} ", "model": "SU7\u3000", "variant": " "}}, id=" e-7", source="/shops/web "
        ),
        STRUCTURED,
    )
    yield "structured, empty optional data", structured({"data": DATA | {"variant": "", "channel": None}}), STRUCTURED


def rejected() -> Iterator[tuple[str, bytes | None, Headers, str, str]]:  # noqa: PLR0915 - a table
    """Variants that are refused, with the reason and words of the message."""
    event = structured()
    yield "tombstone", None, STRUCTURED, "not_an_event", "without a value"
    yield "nothing", b"", STRUCTURED, "malformed_json", "empty"
    yield "plain text", b"order placed", STRUCTURED, "malformed_json", "not JSON"
    yield "cut off", event[:-20], STRUCTURED, "malformed_json", "cut off"
    yield "single quotes", str(EVENT).encode(), STRUCTURED, "malformed_json", "double quotes"
    yield "two events", event + b"\n" + event, STRUCTURED, "malformed_json", "one event a record"
    yield "trailing comma", event[:-1] + b",}", STRUCTURED, "malformed_json", "comma"
    yield "GBK", structured(subject="订单").decode().encode("gbk"), STRUCTURED, "malformed_json", "GBK"
    yield "a list", b"[" + event + b"]", STRUCTURED, "not_an_event", "list"
    yield "a batch", b"[]", (("content-type", b"application/cloudevents-batch+json"),), "not_an_event", "batch"
    yield (
        "one event as batch",
        event,
        (("content-type", b"application/cloudevents-batch+json"),),
        "not_an_event",
        "batch",
    )
    yield "a number", b"17", STRUCTURED, "not_an_event", "a number"
    yield "null", b"null", STRUCTURED, "not_an_event", "null"
    yield "data alone", JSON_DATA.encode(), (), "not_an_event", "no specversion"
    yield "specversion forgotten", structured(specversion=...), (), "not_an_event", 'add "specversion":"1.0"'
    yield "specversion 0.3", structured(specversion="0.3"), STRUCTURED, "invalid_field", "specversion"
    yield "specversion as number", structured(specversion=1.0), STRUCTURED, "invalid_field", "1.0"
    yield "empty ce_specversion", JSON_DATA.encode(), headers_of(specversion=""), "invalid_field", "ce_specversion"
    yield "empty ce_id", JSON_DATA.encode(), headers_of(id=""), "invalid_field", "id: missing"
    yield "two ce_id", JSON_DATA.encode(), (*headers_of(), ("ce-id", b"other")), "invalid_field", "given twice"
    yield (
        "ce_subject in Latin-1",
        JSON_DATA.encode(),
        (*headers_of(), ("ce_subject", b"\xe9")),
        "invalid_field",
        "UTF-8",
    )
    yield "binary, XML", JSON_DATA.encode(), headers_of(content_type="text/xml"), "invalid_field", "media type of JSON"
    yield (
        "binary, text/plain",
        JSON_DATA.encode(),
        headers_of(content_type="text/plain"),
        "invalid_field",
        "content-type",
    )
    yield "structured, XML", structured(datacontenttype="text/xml"), STRUCTURED, "invalid_field", "media type of JSON"
    yield "no offset", structured(time="2025-10-06T12:00:00"), STRUCTURED, "missing_offset", "+08:00"
    yield "no offset, Python", structured(time="2025-10-06 12:00:00.123456"), STRUCTURED, "missing_offset", "offset"
    yield "binary, no offset", JSON_DATA.encode(), headers_of(time="2025-10-06T12:00:00"), "missing_offset", "offset"
    yield "epoch seconds", structured(time=1759723200), STRUCTURED, "invalid_field", "epoch seconds?"
    yield "epoch milliseconds", structured(time=1759723200000), STRUCTURED, "invalid_field", "epoch milliseconds?"
    yield "epoch microseconds", structured(time=1759723200000000), STRUCTURED, "invalid_field", "epoch microseconds?"
    yield "epoch as text", JSON_DATA.encode(), headers_of(time="1759723200000"), "invalid_field", "epoch milliseconds?"
    yield "Java epoch decimal", structured(time=1759723200.123), STRUCTURED, "invalid_field", "epoch seconds?"
    yield "24:00", structured(time="2025-10-06T24:00:00+08:00"), STRUCTURED, "invalid_field", "no such date"
    yield "month first", structured(time="10/06/2025 12:00:00 PM"), STRUCTURED, "invalid_field", "99/99/9999"
    yield "date alone", structured(time="2025-10-06"), STRUCTURED, "invalid_field", "9999-99-99"
    yield "Date.toString", structured(time="Mon Oct 06 2025 12:00:00 GMT+0800"), STRUCTURED, "invalid_field", "aaa"
    yield "unknown offset", structured(time="2025-10-06T12:00:00-00:00"), STRUCTURED, "invalid_field", "unknown"
    yield "leap second", structured(time="2025-10-06T12:00:60+08:00"), STRUCTURED, "invalid_field", "leap"
    yield "no time", structured(time=...), STRUCTURED, "invalid_field", "time: missing"
    yield "in the future", structured(time="2025-10-06T12:07:00+08:00"), STRUCTURED, "future_time", "clock"
    yield "id as number", structured(id=7), STRUCTURED, "invalid_field", "id: a number"
    yield "no type", structured(type=...), STRUCTURED, "invalid_field", "type: missing"
    yield "other type", structured(type="com.shop.order"), STRUCTURED, "unknown_type", "com.shop.order"
    yield "next version", structured(type="order.placed.v2"), STRUCTURED, "unknown_type", "order.placed.v2"
    yield "delivery among orders", structured(type="vehicle.delivered.v1"), STRUCTURED, "wrong_topic", "takes"
    yield (
        "order_id as number",
        structured({"data": {"order_id": 7, "model": "SU7"}}),
        STRUCTURED,
        "invalid_field",
        "number",
    )
    yield (
        "orderId",
        structured({"data": {"orderId": ORDER, "model": "SU7"}}),
        STRUCTURED,
        "invalid_field",
        "order_id: missing",
    )
    yield "no model", structured({"data": {"order_id": ORDER}}), STRUCTURED, "invalid_field", "such as SU7"
    yield "long model", structured({"data": DATA | {"model": "m" * 65}}), STRUCTURED, "invalid_field", "65 characters"
    yield "zero width", structured({"data": DATA | {"model": "SU\u200b7"}}), STRUCTURED, "invalid_field", "invisible"
    yield "data as list", structured({"data": [DATA]}), STRUCTURED, "invalid_field", "data: a list"
    yield "data as plain text", structured({"data": "SO-1;SU7"}), STRUCTURED, "invalid_field", "data: a text"
    yield "data as broken text", structured({"data": '{"order_id":'}), STRUCTURED, "malformed_json", "data: "
    yield "data encoded thrice", structured({"data": json.dumps(JSON_DATA)}), STRUCTURED, "json_in_json", "twice"
    yield "data twice", structured({"data": DATA, "data_base64": "e30="}), STRUCTURED, "invalid_field", "one of the two"
    yield "no base64", structured({"data_base64": "{}"}), STRUCTURED, "invalid_field", "base64"
    yield "base64 of text", structured({"data_base64": "aGVsbG8="}), STRUCTURED, "malformed_json", "data_base64"
    yield (
        "base64 of gzip",
        structured({"data_base64": base64.b64encode(gzip.compress(b"{}")).decode()}),
        STRUCTURED,
        "compressed",
        "data_base64",
    )
    yield "no data", structured({"datacontenttype": "application/json"}), STRUCTURED, "invalid_field", "data: missing"
    yield "key twice", event[:-1] + b',"id":"8"}', STRUCTURED, "duplicate_key", "twice"
    yield "encoded twice", json.dumps(event.decode()).encode(), STRUCTURED, "json_in_json", "encoded twice"
    yield (
        "Connect",
        json.dumps({"schema": {"type": "struct"}, "payload": EVENT}).encode(),
        (),
        "connect_envelope",
        "schemas.enable",
    )
    yield (
        "Connect, text",
        json.dumps({"schema": {}, "payload": event.decode()}).encode(),
        (),
        "connect_envelope",
        "Connect",
    )
    yield (
        "Connect in binary",
        json.dumps({"schema": {}, "payload": DATA}).encode(),
        headers_of(),
        "connect_envelope",
        "data: ",
    )
    row = {"before": None, "after": {"id": 7}, "op": "c", "source": {"db": "shop"}, "ts_ms": 1}
    yield "Debezium", json.dumps(row).encode(), (), "debezium_envelope", "before, after, op"
    yield (
        "Debezium with schema",
        json.dumps({"schema": {}, "payload": row}).encode(),
        (),
        "debezium_envelope",
        "Debezium",
    )
    outbox = {
        "id": "1",
        "aggregatetype": "order",
        "aggregateid": ORDER,
        "type": "order.placed.v1",
        "payload": JSON_DATA,
    }
    yield "outbox row", json.dumps(outbox).encode(), (), "outbox_row", "outbox"
    snake = {"aggregate_type": "order", "aggregate_id": ORDER, "payload": DATA}
    yield "outbox row, snake case", json.dumps(snake).encode(), (), "outbox_row", "event router"
    yield "Confluent, JSON", b"\0\0\0\0\x07" + event, STRUCTURED, "schema_registry", "accept_schema_registry_json"
    yield "Confluent, Avro", b"\0\0\0\0\x07\x1aSO-20251006-7\x06SU7", (), "schema_registry", "Confluent"
    yield "UTF-16", event.decode().encode("utf-16"), STRUCTURED, "utf_16", "UTF-8"
    yield "UTF-16, no mark", event.decode().encode("utf-16-be"), STRUCTURED, "utf_16", "UTF-16"
    yield "gzip", gzip.compress(event), STRUCTURED, "compressed", "compression.type"
    yield "zlib", zlib.compress(event), STRUCTURED, "compressed", "compressed"
    yield "zstd", bytes(cramjam.zstd.compress(event)), STRUCTURED, "compressed", "compressed"
    yield "snappy", bytes(cramjam.snappy.compress(event)), STRUCTURED, "compressed", "compressed"
    yield "MessagePack", b"\x83\xabspecversion\xa31.0\xa2id\xa3e-7\xa4type\xafp", (), "messagepack", "JSON serializer"
    yield "MessagePack, large", b"\xde\x00\x10\xabspecversion\xa31.0", (), "messagepack", "MessagePack"
    yield "Avro file", b"Obj\x01\x04\x16avro.schema", (), "avro", "JSON serializer"
    yield "Avro, single object", b"\xc3\x01\x01\x02\x03\x04\x05\x06\x07\x08\x06SU7", (), "avro", "Avro"
    yield "Protobuf", b"\x0a\x03e-7\x12\x0a/shops/web\x1a\x031.0", (), "protobuf", "Protobuf"


ACCEPTED = list(accepted())
REJECTED = list(rejected())


def test_there_are_enough_of_them() -> None:
    assert len(ACCEPTED) + len(REJECTED) >= 180
    assert len({name for name, *_ in [*ACCEPTED, *REJECTED]}) == len(ACCEPTED) + len(REJECTED)


@pytest.mark.parametrize(("value", "headers"), [each[1:] for each in ACCEPTED], ids=[each[0] for each in ACCEPTED])
def test_the_same_order_whoever_writes_it(value: bytes, headers: Headers) -> None:
    record = Record(value, ORDER.encode(), headers, APPENDED_MS)
    fact = decoded(record, topic=0)
    assert fact == by_authority(record, topic=0)
    assert isinstance(fact, Fact), fact
    found = (fact.order_id, fact.source, fact.id, fact.dims, fact.time_us, fact.backfill)
    assert found == (ORDER, "/shops/web", "e-7", ("SU7", "", "", ""), 1_759_723_200_000_000, False)


@pytest.mark.parametrize(
    ("value", "headers", "reason", "words"), [each[1:] for each in REJECTED], ids=[each[0] for each in REJECTED]
)
def test_what_is_wrong_is_told_in_a_line_for_a_person(
    value: bytes | None, headers: Headers, reason: str, words: str
) -> None:
    record = Record(value, ORDER.encode(), headers, APPENDED_MS)
    outcome = decoded(record, topic=0)
    assert outcome == by_authority(record, topic=0)
    assert isinstance(outcome, Rejection), outcome
    assert outcome.reason == reason, outcome
    assert words in outcome.message
    for jargon in ("validation error", "pydantic", "Expecting", "expecting value", "dictionary", "^[", "{1,64}"):
        assert jargon not in outcome.message


@pytest.mark.parametrize(
    ("vin", "words"),
    [
        ("LNBSU7A10R1 000123", "a space as the 12th of 18 characters"),
        ("WDB1234567890", "13 characters, as no VIN has had since 1981"),
        ("LNBSU7A10RI000123", "the letter I as the 11th character, where a VIN has 1"),
        ("lnbsu7a10r100012", "16 characters"),
        ("车架LNBSU7A10R10001", "as the 1st of 17 characters"),
    ],
)
def test_a_wrong_vin_is_told_in_words_and_with_an_example(vin: str, words: str) -> None:
    event = structured({"data": DATA | {"vin": vin}}, type="vehicle.delivered.v1")
    record = Record(event, ORDER.encode(), STRUCTURED, APPENDED_MS)
    outcome = decoded(record, topic=1)
    assert outcome == by_authority(record, topic=1)
    assert isinstance(outcome, Rejection), outcome
    assert outcome.reason == "invalid_field"
    assert outcome.message.startswith("data.vin: ")
    assert words in outcome.message
    assert outcome.message.endswith("such as LNBSU7A10R1000123")
    assert "[" not in outcome.message


@pytest.mark.parametrize("name", ["SU7 Ultra", "su7", "小米YU7", "广东", "ＳＵ７"])  # noqa: RUF001 - full width, as it is typed
def test_a_name_is_counted_as_it_is_written(name: str) -> None:
    event = structured({"data": DATA | {"model": name, "region": name}})
    record = Record(event, ORDER.encode(), STRUCTURED, APPENDED_MS)
    fact = decoded(record, topic=0)
    assert fact == by_authority(record, topic=0)
    assert isinstance(fact, Fact), fact
    assert fact.dims == (name, "", "", name)
