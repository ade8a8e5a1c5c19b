"""From records to facts: both content modes, every reason for which the codec rejects, and what comes first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from schemas.authority import leniencies
from schemas.codec import decode_batch, decode_control, decode_target
from schemas.events import TargetSet, TargetWithdrawn
from schemas.facts import REASONS, Fact, Kind, Rejection
from schemas.instants import format_instant
from schemas.partitioner import homes
from tests.contract.builders import (
    APPENDED_MS,
    DATA,
    FUTURE_LIMIT_US,
    ORDER_ID,
    STRUCTURED,
    TOPICS,
    VIN,
    Record,
    binary,
    decoded,
    document,
    key_of,
    plain_record,
    reason_of,
    structured,
    text_of,
)

TIME_US = 1_728_280_991_000_000  # 2024-10-07T14:03:11+08:00
SU7 = ("SU7", "Max", "BJ1", "CN-11")
CE = "application/cloudevents"


def fact(record: Record, topic: int = 1) -> Fact:
    outcome = decoded(record, topic=topic)
    assert isinstance(outcome, Fact), outcome
    return outcome


# What an event becomes ----------------------------------------------------------------------------------------------


def test_a_delivery_becomes_a_fact_with_the_coordinates_of_its_record() -> None:
    assert fact(Record(structured())) == Fact(
        Kind.DELIVERED,
        ORDER_ID,
        "/factories/bj1/dispatch",
        "8f14e45f-ea3c-4d2b-9d0b-6a3f0f6f2b11",
        TIME_US,
        VIN,
        SU7,
        "",
        None,
        False,
        1,
        2,
        48211,
    )


@pytest.mark.parametrize(
    ("kind", "expected", "vin", "dims"),
    [
        ("order.placed.v1", Kind.PLACED, "", SU7),
        ("order.cancelled.v1", Kind.CANCELLED, "", ("", "", "", "")),
        ("vehicle.delivered.v1", Kind.DELIVERED, VIN, SU7),
        ("delivery.reversed.v1", Kind.REVERSED, VIN, ("", "", "", "")),
        ("event.voided.v1", Kind.VOIDED, "", ("", "", "", "")),
        ("vehicle.produced.v1", Kind.PRODUCED, VIN, ("SU7", "Max", "BJ1", "")),
        ("production.reversed.v1", Kind.SCRAPPED, VIN, ("", "", "", "")),
        ("production.voided.v1", Kind.VOIDED, VIN, ("", "", "", "")),
    ],
)
def test_every_type_is_read_the_same_in_both_content_modes(
    kind: str, expected: Kind, vin: str, dims: tuple[str, ...]
) -> None:
    topic = TOPICS[kind]
    read = fact(plain_record(kind), topic)
    assert (read.kind, read.vin, read.dims) == (expected, vin, dims)
    assert type(read.kind) is int
    assert fact(binary(kind), topic) == read


def test_a_void_belongs_on_either_source_topic_and_names_the_voided_event() -> None:
    for topic in (0, 1):
        read = fact(Record(structured("event.voided.v1")), topic)
        assert (read.voids, read.topic) == (("/shop", "17"), topic)


@pytest.mark.parametrize("kind", TOPICS)
def test_optional_fields_may_be_absent_or_null(kind: str) -> None:
    required = {name: value for name, value in DATA[kind].items() if name in {"order_id", "model", "vin", "voids"}}
    absent = document(kind, data=dict.fromkeys(DATA[kind]) | required, subject=None)
    null = {**absent, "subject": None, "backfill": None, "dataschema": None, "datacontenttype": None}
    null["data"] = {**dict.fromkeys(DATA[kind]), **required}
    topic = TOPICS[kind]
    read = fact(Record(text_of(absent), key=key_of(kind)), topic)
    assert read.extra == ""
    assert read.dims in {("", "", "", ""), ("SU7", "", "", "")}
    assert fact(Record(text_of(null), key=key_of(kind)), topic) == read


@pytest.mark.parametrize("name", ["channel", "reason"])
def test_other_known_fields_are_part_of_the_content(name: str) -> None:
    kind = "order.placed.v1" if name == "channel" else "order.cancelled.v1"
    one, two, same = (fact(Record(structured(kind, data={name: text})), 0).extra for text in ("web", "store", "web"))
    assert one == same != two


def test_free_text_does_not_leave_the_codec() -> None:
    text = "Mrs Li from 12 Garden Road, phone 555-0101"
    for value in (structured("order.cancelled.v1", data={"reason": text}),) * 2:
        assert "Li" not in repr(fact(Record(value), 0))
    long = fact(Record(structured("order.cancelled.v1", data={"reason": text * 1000})), 0)
    assert len(long.extra) == 32


@pytest.mark.parametrize(("given", "expected"), [(True, True), (False, False), (None, False)])
def test_backfill_is_a_boolean_attribute_and_a_text_in_a_header(given: bool | None, expected: bool) -> None:
    assert fact(Record(structured(backfill=given))).backfill is expected
    record = binary()
    if given is not None:
        record = record._replace(headers=(*record.headers, ("ce_backfill", b"true" if given else b"false")))
    assert fact(record).backfill is expected


def test_unknown_fields_attributes_and_headers_are_ignored() -> None:
    plain = fact(Record(structured()))
    assert fact(Record(structured(data={"colour": "红"}, traceparent="00-ab-cd-01", weight=1.5))) == plain
    record = binary()
    assert fact(record._replace(headers=(*record.headers, ("ce_weight", b"\xff"), ("trace", None)))) == plain


def test_equal_dimensions_and_sources_are_one_object_whichever_way_they_were_read() -> None:
    fast, slow = fact(Record(structured())), fact(Record(structured(colour="blue")))
    assert fast.dims is slow.dims
    assert fast.source is slow.source


def test_a_batch_is_answered_record_by_record_in_order() -> None:
    records = [
        Record(structured(), offset=0),
        Record(None, offset=1),
        Record(b"{", offset=2),
        binary()._replace(offset=3),
        Record(structured(data={"vin": VIN[:-1] + "O"}), offset=4),
    ] * 200
    outcomes = decode_batch(records, topic=1, future_limit_us=FUTURE_LIMIT_US)
    assert [outcome.offset if isinstance(outcome, Fact) else outcome.reason for outcome in outcomes] == [
        0,
        "not_an_event",
        "malformed_json",
        3,
        "invalid_field",
    ] * 200


def test_an_empty_batch_has_an_empty_answer() -> None:
    assert decode_batch([], topic=0, future_limit_us=0) == []


# Content modes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type",
    [
        "application/cloudevents+json",
        "application/cloudevents+json; charset=UTF-8",
        "Application/CloudEvents+JSON;charset=utf-8",
        " application/cloudevents",
    ],
)
def test_a_cloudevents_content_type_is_structured_whatever_else_the_headers_say(content_type: str) -> None:
    headers = (("Content-Type", content_type.encode()), ("ce_specversion", b"1.0"), ("ce_id", b"\xff"))
    assert reason_of(structured(), headers=headers) is None


@pytest.mark.parametrize(
    "headers", [(), (("content-type", b"text/plain"),), (("ce_id", b"7"),), (("content-type", None),)]
)
def test_without_any_sign_of_a_mode_the_value_is_tried_as_structured(headers: Any) -> None:
    assert reason_of(structured(), headers=headers) is None


@pytest.mark.parametrize(
    "content_type", [None, b"application/json", b"text/json", b"APPLICATION/JSON; charset=utf-8", b"application/x+json"]
)
def test_binary_data_are_json_whether_or_not_the_content_type_says_so(content_type: bytes | None) -> None:
    record = binary()
    assert reason_of(record.value, headers=(("content-type", content_type), *record.headers[1:])) is None


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("content-type", b"text/plain"),
        ("content-type", b"application/jsonx"),
        ("ce_specversion", b"0.3"),
        ("ce_specversion", b""),
        ("ce_id", b"\xff"),
        ("ce_id", b""),
        ("ce_id", None),
        ("ce_source", b"x" * 257),
        ("ce_subject", b"\xc3("),
        ("ce_time", b"2024-10-07T14:03:11+25:00"),
        ("ce_backfill", b"yes"),
        ("ce_backfill", b"1"),
    ],
)
def test_a_bad_attribute_header_makes_an_invalid_field(header: str, value: bytes | None) -> None:
    record = binary()
    headers = (*((name, text) for name, text in record.headers if name != header), (header, value))
    assert reason_of(record.value, headers=headers) == "invalid_field"


@pytest.mark.parametrize("header", ["ce_id", "ce_type", "ce_time", "ce_source", "ce_subject", "content-type"])
def test_an_attribute_given_twice_is_one_if_equal_and_else_an_invalid_field(header: str) -> None:
    record = binary()
    name, text = next((name, text) for name, text in record.headers if name == header)
    assert reason_of(record.value, headers=(*record.headers, (name, text))) is None
    assert reason_of(record.value, headers=(*record.headers, (name.upper(), text))) is None
    assert reason_of(record.value, headers=(*record.headers, (name, b"application/x+json"))) == "invalid_field"


def test_two_content_types_leave_the_mode_open_and_are_an_invalid_field_unless_they_are_one() -> None:
    other = (("content-type", b"application/json"),)
    assert reason_of(structured(), headers=STRUCTURED * 2) is None
    assert reason_of(structured(), headers=STRUCTURED + other) == "invalid_field"


@pytest.mark.parametrize("value", [structured(), b"[" + structured() + b"]"])
def test_a_batch_is_refused_by_its_content_type_whatever_it_holds(value: bytes) -> None:
    headers = (("content-type", b"application/cloudevents-batch+json; charset=utf-8"),)
    outcome = decoded(Record(value, headers=headers))
    assert isinstance(outcome, Rejection)
    assert (outcome.reason, "batch" in outcome.message) == ("not_an_event", True)


@pytest.mark.parametrize("given", [b"true", b"True", b"TRUE", b" true "])
def test_backfill_is_true_in_any_case(given: bytes) -> None:
    record = binary()
    assert fact(record._replace(headers=(*record.headers, ("ce_backfill", given)))).backfill
    assert fact(Record(structured(backfill=given.decode().strip()))).backfill


def test_spaces_around_a_key_and_an_order_say_nothing() -> None:
    plain = fact(Record(structured()))
    assert fact(Record(structured(data={"order_id": f" {ORDER_ID}\u3000"}))) == plain
    assert fact(Record(structured(), key=f"{ORDER_ID} ".encode())) == plain
    assert fact(binary()._replace(key=f" {ORDER_ID}".encode())) == plain
    assert homes([f" {ORDER_ID}".encode(), ORDER_ID.encode(), b"x" * len(ORDER_ID)], 1000)[:2] == homes(
        [ORDER_ID.encode()] * 2, 1000
    )


def test_json_in_the_wire_format_of_a_schema_registry_is_read_where_that_is_allowed() -> None:
    record = Record(b"\0\0\0\0\x0c" + structured())
    for framed, expected in ((False, "schema_registry"), (True, None)):
        (outcome,) = decode_batch([record], topic=1, future_limit_us=FUTURE_LIMIT_US, framed=framed)
        assert (outcome.reason if isinstance(outcome, Rejection) else None) == expected
    assert leniencies(record, framed=True)
    with pytest.raises(ValueError, match="not accepted"):
        leniencies(record)


def test_what_was_made_good_is_told_and_a_record_as_the_contract_writes_it_has_nothing() -> None:
    for record in (Record(structured()), binary()):
        assert leniencies(record) == []
    odd = structured(time="2024-10-07 14:03:11+0800", backfill="true", data={"vin": VIN.lower()})
    assert len(leniencies(Record(b"\xef\xbb\xbf" + odd, key=b" " + ORDER_ID.encode()))) == 5


# Reasons ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "not_an_event"),
        (b"", "malformed_json"),
        (b"\xff\xfe{\x00}\x00", "utf_16"),
        (b"\xef\xbb\xbf" + structured(), None),
        (structured().decode().encode("utf-16"), "utf_16"),
        (structured() + b"x", "malformed_json"),
        (structured() + structured(), "malformed_json"),
        (structured(weight=0).replace(b'"weight":0', b'"weight":NaN'), "malformed_json"),
        (structured(weight=0).replace(b'"weight":0', b'"weight":-Infinity'), "malformed_json"),
        (structured(weight=0).replace(b'"weight":0', b'"weight":1e400'), "malformed_json"),
        (structured(weight=0).replace(b'"weight":0', b'"weight":007'), "malformed_json"),
        (structured(weight=2**53 - 1), None),
        (structured(weight=-(2**53)), "malformed_json"),
        (structured(weight=2**64), "malformed_json"),
        (structured(weight=0).replace(b'"weight":0', b'"weight":' + b"9" * 5000), "malformed_json"),
        (structured(weight=0).replace(b'"weight":0', b'"weight":-0'), None),
        (structured(note="x").replace(b'"x"', rb'"\ud800"'), "malformed_json"),
        (structured(note="x").replace(b'"x"', rb'"\ud83d\ude97"'), None),
        (structured(note="x").replace(b'"x"', b'"a\tb"'), "malformed_json"),
        (structured(note=[1]).replace(b"[1]", b"[" * 32 + b"]" * 32), "too_deep"),
        (structured(note=[1]).replace(b"[1]", b"[" * 31 + b"]" * 31), None),
        (b"[" * 100_000, "too_deep"),
        (structured(note="[" * 100), None),
        (structured().replace(b'{"spec', b'{"id":"a","spec', 1), "duplicate_key"),
        (structured().replace(b'"model":"SU7"', b'"model":"SU7","model" : "SU7"'), "duplicate_key"),
        (structured(note={"a": 1}).replace(b'{"a":1}', b'{"a":1,"\\u0061":1}'), "duplicate_key"),
        (b"[]", "not_an_event"),
        (b"17", "not_an_event"),
        (b"null", "not_an_event"),
        (b"{}", "not_an_event"),
        (b"[" + structured() + b"]", "not_an_event"),
        (structured(specversion=None), "not_an_event"),
        (structured(specversion="0.3"), "invalid_field"),
        (structured(specversion=1.0), "invalid_field"),
        (structured(data_base64="e30="), "invalid_field"),
        (structured(type=None), "invalid_field"),
        (structured(type=3), "invalid_field"),
        (structured(type="vehicle.delivered.v2"), "unknown_type"),
        (structured(type="Vehicle.Delivered.v1"), "unknown_type"),
        (structured(type=""), "unknown_type"),
        (structured("order.placed.v1"), "wrong_topic"),
        (structured("target.set.v1"), "wrong_topic"),
        (structured(time="2024-10-07T14:03:11"), "missing_offset"),
        (structured(time="2024-10-07"), "invalid_field"),
        (structured(time=1728280991), "invalid_field"),
        (structured(time=None), "invalid_field"),
        (structured(time="2024-10-07T14:03:60+08:00"), "invalid_field"),
        (structured(time="2024-10-07T14:03:11-00:00"), "invalid_field"),
        (structured(time="1999-12-31T23:59:59Z"), "invalid_field"),
        (structured(id=""), "invalid_field"),
        (structured(id=17), "invalid_field"),
        (structured(id="x" * 256), None),
        (structured(id="é" * 256), None),
        (structured(id="x" * 257), "invalid_field"),
        (structured(id="a\x7fb"), "invalid_field"),
        (structured(id="a\x85b"), "invalid_field"),
        (structured(id="a\nb"), "invalid_field"),
        (structured(id="红旗 ☃"), None),
        (structured(source=None), "invalid_field"),
        (structured(subject=5), "invalid_field"),
        (structured(datacontenttype="application/json"), None),
        (structured(datacontenttype="application/vnd.cars+json; charset=utf-8"), None),
        (structured(datacontenttype="text/xml"), "invalid_field"),
        (structured(backfill="true"), None),
        (structured(backfill=1), "invalid_field"),
        (text_of(document() | {"data": None}), "invalid_field"),
        (text_of(document() | {"data": []}), "invalid_field"),
        (text_of(document() | {"data": "{}"}), "invalid_field"),
        (structured(data={"vin": None}), "invalid_field"),
        (structured(data={"vin": VIN[:-1]}), "invalid_field"),
        (structured(data={"vin": VIN + "4"}), "invalid_field"),
        (structured(data={"vin": VIN.lower()}), None),
        (structured(data={"vin": VIN[:-1] + "I"}), "invalid_field"),
        (structured(data={"vin": VIN[:-1] + "O"}), "invalid_field"),
        (structured(data={"vin": VIN[:-1] + "Q"}), "invalid_field"),
        (structured(data={"vin": VIN[:-1] + "٣"}), "invalid_field"),
        (structured(data={"vin": "12345678901234567"}), None),
        (structured(data={"model": None}), "invalid_field"),
        (structured(data={"model": ""}), "invalid_field"),
        (structured(data={"model": "m" * 64}), None),
        (structured(data={"model": "m" * 65}), "invalid_field"),
        (structured(data={"model": "SU 7"}), None),
        (structured(data={"model": "SU7\n"}), "invalid_field"),
        (structured(data={"region": "CN/11"}), None),
        (structured(data={"model": "\u661f\u8fb0"}), None),
        (structured(data={"model": "Modell-ß"}), None),
        (structured(data={"model": "星" * 64}), None),
        (structured(data={"model": "星" * 65}), "invalid_field"),
        (structured(data={"model": "SU\u200b7"}), "invalid_field"),
        (structured(data={"model": "SU\u202e7"}), "invalid_field"),
        (structured(data={"model": "SU\t7"}), "invalid_field"),
        (structured(data={"factory": ""}), None),
        (structured(data={"variant": 7}), "invalid_field"),
        (structured(data={"order_id": ORDER_ID + "4"}), "wrong_key"),
        (structured(time="2024-10-07T06:10:00Z"), None),
        (structured(time="2024-10-07T06:10:00.000001Z"), "future_time"),
        (structured(time="2100-12-31T23:59:59Z"), "future_time"),
    ],
)
def test_each_thing_that_is_wrong_has_its_reason(value: bytes | None, reason: str | None) -> None:
    assert reason_of(value) == reason


@pytest.mark.parametrize(
    ("kind", "data", "reason"),
    [
        ("order.placed.v1", {"channel": "web shop"}, None),
        ("order.placed.v1", {"channel": ""}, None),
        ("order.placed.v1", {"model": None}, "invalid_field"),
        ("order.placed.v1", {"vin": 17}, None),
        ("order.cancelled.v1", {"reason": 5}, "invalid_field"),
        ("order.cancelled.v1", {"reason": ""}, None),
        ("order.cancelled.v1", {"model": "!"}, None),
        ("event.voided.v1", {"voids": None}, "invalid_field"),
        ("event.voided.v1", {"voids": {"source": "/shop"}}, "invalid_field"),
        ("event.voided.v1", {"voids": {"source": "/shop", "id": ""}}, "invalid_field"),
    ],
)
def test_a_type_is_strict_on_its_own_fields_only(kind: str, data: dict[str, Any], reason: str | None) -> None:
    assert reason_of(structured(kind, data=data), topic=0) == reason


@pytest.mark.parametrize("key", [None, b"", ORDER_ID.lower().encode(), ORDER_ID.encode() + b"\n", b"\xff"])
def test_the_key_must_be_the_order_id(key: bytes | None) -> None:
    assert reason_of(structured(), key=key) == "wrong_key"


def test_a_key_is_compared_as_utf_8() -> None:
    assert reason_of(structured(data={"order_id": "红-1"}), key="红-1".encode()) is None


def test_size_is_that_of_key_value_and_headers_together() -> None:
    value = structured("order.cancelled.v1", data={"reason": "x" * 1000})
    record = Record(value)
    size = len(value) + len(ORDER_ID) + len("content-type") + len(b"application/cloudevents+json")
    assert isinstance(decoded(record, topic=0, max_bytes=size), Fact)
    outcome = decoded(record, topic=0, max_bytes=size - 1)
    assert isinstance(outcome, Rejection)
    assert outcome.reason == "too_large"
    for headers in ((("junk", b"x" * 262_144),), (*binary().headers, ("ce_traceparent", b"x" * 262_144))):
        assert reason_of(structured(), headers=headers) == "too_large"


def test_a_record_of_256_kib_is_read_and_one_byte_more_is_not() -> None:
    room = 262_144 - len(ORDER_ID) - len(structured("order.cancelled.v1", data={"reason": "x"})) + 1
    assert reason_of(structured("order.cancelled.v1", data={"reason": "x" * room}), topic=0, headers=()) is None
    too_long = structured("order.cancelled.v1", data={"reason": "x" * (room + 1)})
    assert reason_of(too_long, topic=0, headers=()) == "too_large"


def test_the_limit_on_the_future_is_counted_from_the_append_time() -> None:
    for record in (Record(structured(time="2024-10-07T06:10:00Z")), binary(time="2024-10-07T06:10:00Z")):
        assert reason_of(record.value, headers=record.headers, timestamp=APPENDED_MS) is None
        assert reason_of(record.value, headers=record.headers, timestamp=APPENDED_MS - 1) == "future_time"


@pytest.mark.parametrize(
    ("value", "fields", "reason"),
    [
        (b"[" * 300_000, {}, "too_large"),
        (b"[" * 40 + b"x", {}, "too_deep"),
        (structured().replace(b'{"spec', b'{"id":"a","spec', 1) + b"x", {}, "malformed_json"),
        (structured(specversion="0.3", type="x").replace(b'{"spec', b'{"id":"a","spec', 1), {}, "duplicate_key"),
        (structured(specversion="0.3", type="x"), {}, "invalid_field"),
        (structured("order.placed.v1", id=""), {}, "wrong_topic"),
        (structured(id="", time="2024-10-07T14:03:11"), {}, "invalid_field"),
        (structured(time="2024-10-07T14:03:11", data={"vin": ""}), {}, "missing_offset"),
        (structured(data={"vin": ""}), {"key": None}, "invalid_field"),
        (structured(time="2030-01-01T00:00:00Z"), {"key": None}, "wrong_key"),
    ],
)
def test_where_several_things_are_wrong_the_documented_order_decides(
    value: bytes, fields: dict[str, Any], reason: str
) -> None:
    assert reason_of(value, **fields) == reason


SECRET = "secret-payload"


@pytest.mark.parametrize(
    "value",
    [
        SECRET.encode(),
        b'{"%s":1,"%s":2}' % (SECRET.encode(), SECRET.encode()),
        text_of(document(data={"vin": SECRET, "model": f"{SECRET} "})),
        structured(time=SECRET),
        structured(type=f"{SECRET} {SECRET}"),
        structured(datacontenttype=SECRET),
        structured("event.voided.v1", data={"voids": SECRET}),
    ],
)
def test_a_rejection_is_one_line_for_a_person_without_payload(value: bytes) -> None:
    outcome = decoded(Record(value))
    assert isinstance(outcome, Rejection)
    assert outcome.reason in REASONS
    assert SECRET not in outcome.message
    assert "\n" not in outcome.message
    assert 10 < len(outcome.message) < 350


# Targets ------------------------------------------------------------------------------------------------------------

TARGET_KEY = b"su7-2024-10"


def test_a_target_is_read_as_its_model() -> None:
    target = decode_target(Record(structured("target.set.v1"), key=TARGET_KEY), future_limit_us=FUTURE_LIMIT_US)
    assert isinstance(target, TargetSet)
    assert (target.data.value, target.data.period, target.time_us) == (20000, "month:2024-10", TIME_US)
    withdrawn = decode_target(
        Record(structured("target.withdrawn.v1"), key=TARGET_KEY), future_limit_us=FUTURE_LIMIT_US
    )
    assert isinstance(withdrawn, TargetWithdrawn)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"value": 1}, None),
        ({"value": 0}, "invalid_field"),
        ({"value": 1.0}, "invalid_field"),
        ({"value": "20000"}, "invalid_field"),
        ({"value": True}, "invalid_field"),
        ({"value": 2**53}, "malformed_json"),
        ({"metric": "sales"}, "invalid_field"),
        ({"scope": "all"}, None),
        ({"scope": "model=SU7,region=CN-11"}, None),
        ({"scope": "region=CN-11,model=SU7"}, "invalid_field"),
        ({"scope": "model=SU7,model=SU7"}, "invalid_field"),
        ({"scope": "colour=red"}, "invalid_field"),
        ({"scope": ""}, "invalid_field"),
        ({"period": "day:2024-02-29"}, None),
        ({"period": "day:2023-02-29"}, "invalid_field"),
        ({"period": "month:2024-13"}, "invalid_field"),
        ({"period": "year:2024"}, None),
        ({"period": "year:1999"}, "invalid_field"),
        ({"period": "holiday:national-day:2024"}, None),
        ({"period": "total"}, None),
        ({"period": "total:2024"}, "invalid_field"),
        ({"period": "week:2024-41"}, "invalid_field"),
        ({"target_id": "other"}, "wrong_key"),
        ({"label": None}, None),
    ],
)
def test_targets_are_as_strict_as_the_contract(data: dict[str, Any], reason: str | None) -> None:
    outcome = decode_target(
        Record(structured("target.set.v1", data=data), key=TARGET_KEY), future_limit_us=FUTURE_LIMIT_US
    )
    assert (outcome.reason if isinstance(outcome, Rejection) else None) == reason


# Opening balances ---------------------------------------------------------------------------------------------------

BALANCE = "balance.set.v1"
BALANCE_KEY = b"deliveries/all/total"


@pytest.mark.parametrize(
    ("data", "key", "reason"),
    [
        ({}, BALANCE_KEY, None),
        ({"count": 0, "label": None}, BALANCE_KEY, None),
        ({"scope": "model=SU7"}, b"deliveries/model=SU7/total", None),
        ({"count": -1}, BALANCE_KEY, "invalid_field"),
        ({"count": None}, BALANCE_KEY, "invalid_field"),
        ({"scope": "SU7"}, b"deliveries/SU7/total", "invalid_field"),
        ({"metric": "sales"}, b"sales/all/total", "invalid_field"),
        ({}, b"deliveries/all", "wrong_key"),
        ({}, b"deliveries/all/year:2024", "wrong_key"),
        ({}, None, "wrong_key"),
    ],
)
def test_opening_balances_are_as_strict_as_the_other_events(
    data: dict[str, Any], key: bytes | None, reason: str | None
) -> None:
    value = text_of({**document(BALANCE), "data": DATA[BALANCE] | data})
    outcome = decode_target(Record(value, key=key), future_limit_us=FUTURE_LIMIT_US)
    assert (outcome.reason if isinstance(outcome, Rejection) else None) == reason


# Campaigns ----------------------------------------------------------------------------------------------------------

CAMPAIGN = "campaign.set.v1"
CAMPAIGN_KEY = b"campaign:yu7-launch"


@pytest.mark.parametrize(
    ("data", "key", "reason", "why"),
    [
        ({}, CAMPAIGN_KEY, None, ""),
        ({"end": None, "scopes": None}, CAMPAIGN_KEY, None, ""),
        ({"end": "", "label": None}, CAMPAIGN_KEY, None, ""),
        ({"start": "2025-06-20T22:00:00+08:00"}, CAMPAIGN_KEY, None, ""),
        ({"start": "2025-06-20T21:59:00+08:00"}, CAMPAIGN_KEY, "invalid_field", "within 7 days"),
        (
            {"start": "2025-06-27T22:00:00+08:00"},
            CAMPAIGN_KEY,
            "invalid_field",
            "data.end: a campaign ends after it begins",
        ),
        ({"start": "2025-06-26T22:00:30+08:00"}, CAMPAIGN_KEY, "invalid_field", "at full minutes"),
        ({"end": "2025-06-27T22:00:00.5+08:00"}, CAMPAIGN_KEY, "invalid_field", "at full minutes"),
        ({"start": "2025-06-26T22:00:00"}, CAMPAIGN_KEY, "missing_offset", "data.start: which has no offset"),
        ({"scopes": []}, CAMPAIGN_KEY, "invalid_field", "data.scopes"),
        ({"scopes": [["model"], ["model"]]}, CAMPAIGN_KEY, "invalid_field", "listed twice"),
        ({"scopes": [["region", "model"], ["model", "region"]]}, CAMPAIGN_KEY, "invalid_field", "listed twice"),
        ({"scopes": [["model", "model"]]}, CAMPAIGN_KEY, "invalid_field", "data.scopes: a dimension is listed twice"),
        ({"scopes": [["colour"]]}, CAMPAIGN_KEY, "invalid_field", "wanted: sets of dimensions"),
        ({"campaign": "YU7"}, b"campaign:YU7", "invalid_field", "lower-case words"),
        ({"campaign": "x" * 65}, b"campaign:" + b"x" * 65, "invalid_field", "data.campaign"),
        ({}, b"yu7-launch", "wrong_key", "campaign:NAME"),
        ({}, None, "wrong_key", "campaign:NAME"),
    ],
)
def test_campaigns_are_as_strict_as_the_other_events(
    data: dict[str, Any], key: bytes | None, reason: str | None, why: str
) -> None:
    value = text_of({**document(CAMPAIGN), "data": DATA[CAMPAIGN] | data})
    outcome = decode_target(Record(value, key=key, timestamp=1_800_000_000_000), future_limit_us=FUTURE_LIMIT_US)
    assert (outcome.reason if isinstance(outcome, Rejection) else None) == reason
    assert reason is None or why in cast("Rejection", outcome).message


# Control totals -----------------------------------------------------------------------------------------------------

CONTROL = "control.total.v1"
CONTROL_KEY = b"deliveries/model=SU7/day:2024-10-07"


@pytest.mark.parametrize(
    ("data", "key", "reason"),
    [
        ({}, CONTROL_KEY, None),
        ({"count": 0}, CONTROL_KEY, None),
        ({"count": 2**53 - 1}, CONTROL_KEY, None),
        ({"label": None}, CONTROL_KEY, None),
        ({"period": "month:2024-10"}, b"deliveries/model=SU7/month:2024-10", None),
        ({"metric": "orders", "scope": "all"}, b"orders/all/day:2024-10-07", None),
        ({"count": -1}, CONTROL_KEY, "invalid_field"),
        ({"count": 1045.0}, CONTROL_KEY, "invalid_field"),
        ({"count": "1045"}, CONTROL_KEY, "invalid_field"),
        ({"count": True}, CONTROL_KEY, "invalid_field"),
        ({"count": None}, CONTROL_KEY, "invalid_field"),
        ({"label": 7}, CONTROL_KEY, "invalid_field"),
        ({"metric": "sales"}, b"sales/model=SU7/day:2024-10-07", "invalid_field"),
        ({"scope": "SU7"}, b"deliveries/SU7/day:2024-10-07", "invalid_field"),
        ({"period": "day:2024-10-32"}, b"deliveries/model=SU7/day:2024-10-32", "invalid_field"),
        ({}, b"deliveries/model=SU7/day:2024-10-08", "wrong_key"),
        ({}, None, "wrong_key"),
    ],
)
def test_control_totals_are_as_strict_as_the_other_events(
    data: dict[str, Any], key: bytes | None, reason: str | None
) -> None:
    value = text_of({**document(CONTROL), "data": DATA[CONTROL] | data})
    outcome = decode_control(Record(value, key=key), future_limit_us=0)
    assert (outcome.reason if isinstance(outcome, Rejection) else None) == reason


@pytest.mark.parametrize(("ahead_us", "reason"), [(0, None), (1, "future_time")])
def test_a_control_total_from_a_clock_that_is_ahead_is_refused(ahead_us: int, reason: str | None) -> None:
    time = format_instant(
        datetime.fromtimestamp(APPENDED_MS / 1000, UTC) + timedelta(microseconds=300_000_000 + ahead_us)
    )
    outcome = decode_control(Record(structured(CONTROL, time=time), key=CONTROL_KEY), future_limit_us=FUTURE_LIMIT_US)
    assert (outcome.reason if isinstance(outcome, Rejection) else None) == reason


@pytest.mark.parametrize(("ahead_us", "reason"), [(0, None), (1, "future_time")])
def test_a_target_may_be_ahead_of_the_append_time_by_the_limit_and_no_more(ahead_us: int, reason: str | None) -> None:
    time = format_instant(
        datetime.fromtimestamp(APPENDED_MS / 1000, UTC) + timedelta(microseconds=300_000_000 + ahead_us)
    )
    for kind in ("target.set.v1", "target.withdrawn.v1"):
        outcome = decode_target(Record(structured(kind, time=time), key=TARGET_KEY), future_limit_us=FUTURE_LIMIT_US)
        assert (outcome.reason if isinstance(outcome, Rejection) else None) == reason


@pytest.mark.parametrize("kind", ["target.set.v1", "order.placed.v1"])
def test_what_is_no_control_total_does_not_belong_among_them(kind: str) -> None:
    outcome = decode_control(Record(structured(kind), key=CONTROL_KEY), future_limit_us=FUTURE_LIMIT_US)
    assert isinstance(outcome, Rejection)
    assert outcome.reason == "wrong_topic"


def test_an_order_does_not_belong_among_the_targets() -> None:
    outcome = decode_target(Record(structured("order.placed.v1"), key=TARGET_KEY), future_limit_us=FUTURE_LIMIT_US)
    assert isinstance(outcome, Rejection)
    assert outcome.reason == "wrong_topic"
