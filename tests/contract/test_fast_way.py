"""For any bytes, the fast way (Python and compiled) accepts a subset of what the authority accepts, with the same facts."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas import fast, hotpath
from schemas.authority import MAX_RECORD_BYTES
from schemas.facts import Rejection
from tests.contract.builders import (
    DATA,
    DELIVERED,
    FUTURE_LIMIT_US,
    ORDER_ID,
    PLAIN_ON,
    STRUCTURED,
    TOPICS,
    VIN,
    Record,
    binary,
    by_authority,
    decoded,
    document,
    key_of,
    plain_record,
    structured,
    text_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.facts import Fact
    from schemas.hotpath import PlainFacts

KINDS = [*TOPICS, "target.set.v1"]


def at_least(examples: int) -> settings:
    """At least this many examples, or as many as the run's profile has."""
    return settings(max_examples=max(examples, settings().max_examples))


#: Both ways if the extension was built.
WAYS = (fast.plain_facts,) if hotpath.WHY_PYTHON else (fast.plain_facts, hotpath.compiled_facts)
each_way = pytest.mark.parametrize("way", WAYS, ids=("python", "compiled")[: len(WAYS)])


def facts_of(way: PlainFacts, records: Sequence[Record], topic: int) -> list[Fact | None]:
    events = way(records, topic=topic, future_limit_us=FUTURE_LIMIT_US, max_bytes=MAX_RECORD_BYTES)
    facts = [event for event in events if not isinstance(event, Rejection)]
    assert len(facts) == len(records), "only the authority rejects"
    assert events.not_plain() == [place for place, fact in enumerate(facts) if fact is None]
    return facts


def alone(way: PlainFacts, record: Record, topic: int) -> Fact | None:
    (found,) = facts_of(way, [record], topic)
    return found


def assert_agreement(record: Record, topic: int) -> None:
    """The codec agrees with the authority, also about a record between two plain ones."""
    verdict = by_authority(record, topic=topic)
    assert decoded(record, topic=topic) == verdict
    neighbour = plain_record(PLAIN_ON[topic])
    for way in WAYS:
        quick = alone(way, record, topic)
        assert quick is None or quick == verdict
        together = facts_of(way, [neighbour, record, neighbour], topic)
        assert together == [alone(way, neighbour, topic), quick, alone(way, neighbour, topic)]


# What should be quick is quick ---------------------------------------------------------------------------------------


@each_way
@pytest.mark.parametrize("kind", TOPICS)
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"subject": None},
        {"datacontenttype": "application/json", "dataschema": "https://example.com/s"},
        {"backfill": True},
        {"backfill": False},
        {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b"},
        {"time": "2024-10-07T06:03:11Z"},
        {"time": "2024-10-07T14:03:11.123456+08:00"},
        {"data": {"variant": None, "factory": None, "region": None, "channel": None, "reason": None}},
    ],
)
def test_ordinary_events_take_the_fast_way(way: PlainFacts, kind: str, attributes: dict[str, Any]) -> None:
    record = Record(structured(kind, **attributes), key=key_of(kind))
    assert alone(way, record, TOPICS[kind]) is not None
    assert alone(way, record, TOPICS[kind]) == by_authority(record, topic=TOPICS[kind])


@each_way
@pytest.mark.parametrize("kind", TOPICS)
def test_ordinary_binary_events_take_the_fast_way(way: PlainFacts, kind: str) -> None:
    record = binary(kind)
    record = record._replace(headers=(*record.headers, ("ce_backfill", b"true")))
    found = alone(way, record, TOPICS[kind])
    assert found is not None
    assert found.backfill
    assert found == by_authority(record, topic=TOPICS[kind])


@each_way
@pytest.mark.parametrize(
    "value",
    [
        structured(),
        json.dumps(document(), indent=2).encode(),
        b"\r\n\t " + json.dumps(document(), separators=(" ,\n", " : ")).encode() + b"\n",
        text_of(dict(reversed(document().items()))),
        text_of({"data": {}, **dict(sorted(document().items()))}),
    ],
)
def test_white_space_and_order_of_keys_do_not_matter(way: PlainFacts, value: bytes) -> None:
    found = alone(way, Record(value), 1)
    assert found is not None
    assert found == by_authority(Record(structured()))


@each_way
def test_foreign_headers_do_not_slow_a_structured_event_down(way: PlainFacts) -> None:
    record = Record(structured(), headers=(("traceparent", b"00-ab"), *STRUCTURED, ("retries", None)))
    assert alone(way, record, 1) == by_authority(record)


@each_way
def test_one_odd_record_does_not_push_its_neighbours_off_the_fast_way(way: PlainFacts) -> None:
    odd = [
        Record(None),
        Record(b"\xff"),
        Record(structured(id="红")),
        Record(structured(data={"vin": VIN[:-1] + "O"})),
        Record(structured().replace(b'"model":"SU7"', b'"model":"SU7","model":"SU7"')),
        Record(structured(time="soon")),
    ]
    for record in odd:
        records = [Record(structured(), offset=offset) for offset in range(100)]
        records[37] = record
        found = facts_of(way, records, 1)
        assert [index for index, fact in enumerate(found) if fact is None] == [37]


# Records that are no events by themselves, next to each other --------------------------------------------------------

WHOLE = structured()
#: An id whose text looks like the end of one record and the start of the next.
SPLIT_IN_A_TEXT = structured(id="a},{b")


def halves() -> list[tuple[bytes, bytes]]:
    """Every way to cut an event in two at a comma, so that one between them makes it whole again."""
    cuts = [
        (text[:index], text[index + 1 :])
        for text in (WHOLE, SPLIT_IN_A_TEXT)
        for index, character in enumerate(text)
        if character == ord(",")
    ]
    assert (b'{"specversion":"1.0"', WHOLE[21:]) in cuts
    assert any(first.endswith(b"a}") and second.startswith(b"{b") for first, second in cuts)
    return cuts


@each_way
@pytest.mark.parametrize("halves", halves())
def test_an_event_cut_in_two_is_none_also_where_another_record_holds_two(
    way: PlainFacts, halves: tuple[bytes, bytes]
) -> None:
    plain = Record(WHOLE)
    for others in ((WHOLE + b"," + WHOLE,), (), (structured(id="{}"),)):
        records = [plain, *map(Record, others), *map(Record, halves), plain]
        found = facts_of(way, records, 1)
        assert found == [alone(way, record, 1) for record in records]
        assert found[-3:-1] == [None, None]


# Traps --------------------------------------------------------------------------------------------------------------

PLAIN = structured()


def put(old: bytes, new: bytes, value: bytes = PLAIN) -> bytes:
    assert old in value
    return value.replace(old, new, 1)


TRAPS: dict[str, bytes] = {
    "nothing": b"",
    "white space": b" \n",
    "null": b"null",
    "a text": b'"' + ORDER_ID.encode() + b'"',
    "byte order mark": b"\xef\xbb\xbf" + PLAIN,
    "UTF-16": PLAIN.decode().encode("utf-16"),
    "UTF-16 without mark": PLAIN.decode().encode("utf-16-le"),
    "NUL at the end": PLAIN + b"\0",
    "trailing comma": put(b'"}}', b'",}}'),
    "trailing garbage": PLAIN + b"x",
    "two events": PLAIN + PLAIN,
    "two events, newline": PLAIN + b"\n" + PLAIN,
    "comment": put(b'"model"', b'/* */"model"'),
    "single quotes": PLAIN.replace(b'"', b"'"),
    "form feed as white space": put(b",", b",\f"),
    "no-break space": put(b",", ",\u00a0".encode()),
    "duplicate data key": put(b'"model":"SU7"', b'"model":"SU7","model":"SU7"'),
    "duplicate, space before the colon": put(b'"model":"SU7"', b'"model":"SU7","model" :"YU7"'),
    "duplicate, newline before the colon": put(b'"model":"SU7"', b'"model"\n:"YU7","model":"SU7"'),
    "duplicate with an escape in the key": put(b'"model":"SU7"', rb'"mode\u006c":"YU7","model":"SU7"'),
    "duplicate attribute": put(b'{"specversion"', b'{"id":"other","specversion"'),
    "duplicate type": put(b'{"specversion"', b'{"type":"vehicle.delivered.v1","specversion"'),
    "duplicate other type": put(b'{"specversion"', b'{"type":"delivery.reversed.v1","specversion"'),
    "duplicate specversion": put(b'{"specversion"', b'{"specversion":"1.0","specversion"'),
    "duplicate data": put(b'{"specversion"', b'{"data":{},"specversion"'),
    "duplicate equal data": PLAIN[:-1] + PLAIN[PLAIN.index(b',"data"') :],
    "duplicate null": put(b'{"specversion"', b'{"datacontenttype":null,"specversion"'),
    "duplicate backfill": put(b'{"specversion"', b'{"backfill":true,"backfill":true,"specversion"'),
    "duplicate backfill, null first": put(b'{"specversion"', b'{"backfill":null,"backfill":true,"specversion"'),
    "duplicate in an unknown field": put(b'{"specversion"', b'{"x":{"a":1,"a":2},"specversion"'),
    "a missing and a duplicate field": put(b'"variant":"Max"', b'"model":"SU7"'),
    "an absent optional and a duplicate": put(b'"subject":"SO-20241007-000123"', b'"source":"/factories/bj1/dispatch"'),
    "escaped key": put(b'"model"', rb'"mode\u006c"'),
    "escaped value": put(b'"SU7"', rb'"S\u00557"'),
    "escaped solidus": put(b"/factories/bj1", rb"\/factories\/bj1"),
    "escaped control character": put(b'"SU7"', rb'"SU7\n"'),
    "escaped NUL in the id": put(b'"id":"8', rb'"id":"\u00008'),
    "raw control character": put(b'"id":"8', b'"id":"\x018'),
    "raw newline in a text": put(b'"id":"8', b'"id":"\n8'),
    "raw tab in a text": put(b'"id":"8', b'"id":"\t8'),
    "DEL": put(b'"id":"8', b'"id":"\x7f8'),
    "C1 control character": put(b'"id":"8', '"id":"\u00858'.encode()),
    "next to C1": put(b'"id":"8', '"id":"\u00a08'.encode()),
    "overlong UTF-8": put(b'"id":"8', b'"id":"\xc0\xaf8'),
    "surrogate as UTF-8": put(b'"id":"8', b'"id":"\xed\xa0\x808'),
    "lone surrogate": put(b'"id":"8', rb'"id":"\ud8008'),
    "low surrogate first": put(b'"id":"8', rb'"id":"\udc00\ud8008'),
    "surrogate pair": put(b'"id":"8', rb'"id":"\ud83d\ude978'),
    "lone surrogate in a key": put(b'{"specversion"', rb'{"\udead":1,"specversion"'),
    "noncharacter": put(b'"id":"8', '"id":"\uffff8'.encode()),
    "full-width digits": put(b"2024-10", "２024-10".encode()),  # noqa: RUF001 - that is the trap
    "2^53": put(b'{"specversion"', b'{"x":9007199254740992,"specversion"'),
    "2^53 - 1": put(b'{"specversion"', b'{"x":9007199254740991,"specversion"'),
    "2^64": put(b'{"specversion"', b'{"x":18446744073709551616,"specversion"'),
    "-2^63": put(b'{"specversion"', b'{"x":-9223372036854775808,"specversion"'),
    "1e400": put(b'{"specversion"', b'{"x":1e400,"specversion"'),
    "-1e400": put(b'{"specversion"', b'{"x":-1e400,"specversion"'),
    "1e-400": put(b'{"specversion"', b'{"x":1e-400,"specversion"'),
    "NaN": put(b'{"specversion"', b'{"x":NaN,"specversion"'),
    "Infinity": put(b'{"specversion"', b'{"x":Infinity,"specversion"'),
    "minus zero": put(b'{"specversion"', b'{"x":-0,"specversion"'),
    "leading zero": put(b'{"specversion"', b'{"x":01,"specversion"'),
    "plus sign": put(b'{"specversion"', b'{"x":+1,"specversion"'),
    "no digit after the point": put(b'{"specversion"', b'{"x":1.,"specversion"'),
    "no digit before the point": put(b'{"specversion"', b'{"x":.5,"specversion"'),
    "very long integer": put(b'{"specversion"', b'{"x":%s,"specversion"' % (b"9" * 10_000)),
    "depth 32": put(b'{"specversion"', b'{"x":%s,"specversion"' % (b"[" * 31 + b"]" * 31)),
    "depth 33": put(b'{"specversion"', b'{"x":%s,"specversion"' % (b"[" * 32 + b"]" * 32)),
    "depth 5,000 before the type": put(b'{"specversion"', b'{"x":%s,"specversion"' % (b"[" * 5000 + b"]" * 5000)),
    "depth 100,000, open": b'{"x":' + b"[" * 100_000,
    "brackets in a text": put(b'"id":"8', b'"id":"' + b"[{" * 60 + b"8"),
    "brackets in an open text": b'{"x":"' + b"[" * 200,
    "True": put(b'{"specversion"', b'{"backfill":True,"specversion"'),
    "backfill as text": put(b'{"specversion"', b'{"backfill":"true","specversion"'),
    "backfill null": put(b'{"specversion"', b'{"backfill":null,"specversion"'),
    "backfill 1": put(b'{"specversion"', b'{"backfill":1,"specversion"'),
    "specversion as number": put(b'"1.0"', b"1.0"),
    "specversion null": put(b'"1.0"', b"null"),
    "empty subject": put(b'"subject":"SO-20241007-000123"', b'"subject":""'),
    "null subject": put(b'"subject":"SO-20241007-000123"', b'"subject":null'),
    "datacontenttype in capitals": put(b'{"specversion"', b'{"datacontenttype":"Application/JSON","specversion"'),
    "datacontenttype with a parameter": put(
        b'{"specversion"', b'{"datacontenttype":"application/json; charset=utf-8","specversion"'
    ),
    "datacontenttype XML": put(b'{"specversion"', b'{"datacontenttype":"text/xml","specversion"'),
    "datacontenttype empty": put(b'{"specversion"', b'{"datacontenttype":"","specversion"'),
    "data_base64": put(b'{"specversion"', b'{"data_base64":"e30=","specversion"'),
    "data_base64 null": put(b'{"specversion"', b'{"data_base64":null,"specversion"'),
    "key in capitals": put(b'"model"', b'"Model"'),
    "type in capitals": put(b"vehicle.delivered", b"Vehicle.delivered"),
    "optional null": put(b'"variant":"Max"', b'"variant":null'),
    "required null": put(b'"model":"SU7"', b'"model":null'),
    "empty optional": put(b'"variant":"Max"', b'"variant":""'),
    "empty VIN": put(VIN.encode(), b""),
    "VIN too short": put(VIN.encode(), VIN[1:].encode()),
    "VIN too long": put(VIN.encode(), VIN.encode() + b"1"),
    "VIN in small letters": put(VIN.encode(), VIN.lower().encode()),
    "VIN with I": put(b"LNBSU7A", b"INBSU7A"),
    "VIN with a space": put(b"LNBSU7A", b" NBSU7A"),
    "channel on a delivery": put(b'"variant"', b'"channel":"!","variant"'),
    "model with a slash": put(b'"SU7"', b'"SU/7"'),
    "model of 65": put(b'"SU7"', b'"%s"' % (b"m" * 65)),
    "id of 256": put(b"8f14e45f-ea3c-4d2b-9d0b-6a3f0f6f2b11", b"x" * 256),
    "id of 257": put(b"8f14e45f-ea3c-4d2b-9d0b-6a3f0f6f2b11", b"x" * 257),
    "a large event": put(b"/factories", b"/factories") + b" " * 258_500,
    "space before the id": put(b'"id":"8', b'"id":" 8'),
    "space behind the source": put(b'/dispatch"', b'/dispatch "'),
    "space before the order": put(b'"order_id":"', b'"order_id":" '),
    "space behind the order": put(b'"order_id":"' + ORDER_ID.encode(), b'"order_id":"' + ORDER_ID.encode() + b" "),
    "space behind the model": put(b'"SU7"', b'"SU7 "'),
    "space within the model": put(b'"SU7"', b'"SU 7"'),
    "ideographic space": put(b'"SU7"', '"SU7\u3000"'.encode()),
    "space behind the type": put(b'.v1"', b'.v1 "'),
    "space behind the time": put(b'+08:00"', b'+08:00 "'),
    "space for the T": put(b"07T14", b"07 14"),
    "offset without a colon": put(b"+08:00", b"+0800"),
    "no seconds": put(b":11+08:00", b"+08:00"),
    "fraction and offset without a colon": put(b"+08:00", b".123+0800"),
    "composed another way": put(b'"SU7"', '"Modele\u0301"'.encode()),
    "data in base64": PLAIN[: PLAIN.index(b',"data"')]
    + b',"data_base64":"'
    + base64.b64encode(json.dumps(DATA[DELIVERED]).encode())
    + b'"}',
    "data as text": PLAIN[: PLAIN.index(b',"data"')]
    + b',"data":'
    + json.dumps(json.dumps(DATA[DELIVERED])).encode()
    + b"}",
    "wire format of a registry": b"\0\0\0\0\x0c" + PLAIN,
    "envelope of Connect": b'{"schema":null,"payload":' + PLAIN + b"}",
    "a text as data": put(b'"data":{', b'"data":"{}","dat":{'),
    "a list as data": put(b'"data":{', b'"data":[],"dat":{'),
}


@pytest.mark.parametrize("name", TRAPS)
@pytest.mark.parametrize("headers", [STRUCTURED, (), (("content-type", b"application/json"),)])
def test_no_trap_parts_the_fast_way_from_the_authority(name: str, headers: Any) -> None:
    for topic in (0, 1):
        assert_agreement(Record(TRAPS[name], headers=headers), topic)


DATA_TRAPS = {
    "duplicate": b'{"order_id":"%s","vin":"%s","model":"SU7","model":"SU7"}' % (ORDER_ID.encode(), VIN.encode()),
    "escape": rb'{"order_id":"%s","vin":"%s","model":"S\u00557"}' % (ORDER_ID.encode(), VIN.encode()),
    "no object": b"[]",
    "null": b"null",
    "nothing": b"",
    "an envelope": PLAIN,
    "unknown field": b'{"order_id":"%s","vin":"%s","model":"SU7","x":1}' % (ORDER_ID.encode(), VIN.encode()),
}


@pytest.mark.parametrize("name", DATA_TRAPS)
def test_no_trap_in_binary_data_parts_them(name: str) -> None:
    assert_agreement(binary()._replace(value=DATA_TRAPS[name]), 1)


HEADER_TRAPS: list[tuple[str, bytes | None]] = [
    ("ce_id", b"8"),
    ("ce_id", None),
    ("ce_id", b""),
    ("ce_id", b"a b~"),
    ("ce_id", b"\x7f"),
    ("ce_id", b"\t"),
    ("ce_id", b"\xff"),
    ("ce_id", "é".encode()),
    ("ce_id", b"x" * 256),
    ("ce_id", b"x" * 257),
    ("ce_specversion", b"1.0"),
    ("ce_specversion", b"1.1"),
    ("ce_specversion", None),
    ("CE_ID", b"9"),
    ("ce_source", b" "),
    ("ce_type", b"vehicle.delivered.v1"),
    ("ce_type", b"order.placed.v1"),
    ("ce_type", b"nothing.v1"),
    ("ce_type", b"\xff"),
    ("ce_type", None),
    ("ce_time", b"2024-10-07T14:03:11"),
    ("ce_time", b"2024-10-07t06:03:11z"),
    ("ce_time", "2024-10-07T14:03:11+08:0\u0660".encode()),
    ("ce_subject", b"\xff"),
    ("ce_subject", b""),
    ("ce_dataschema", b"\xff"),
    ("ce_traceparent", b"\xff"),
    ("ce_traceparent", b"x" * 300_000),
    ("ce_data", b"{}"),
    ("ce_data_base64", b"e30="),
    ("ce_datacontenttype", b"text/xml"),
    ("ce_backfill", b"true"),
    ("ce_backfill", b"false"),
    ("ce_backfill", b"True"),
    ("ce_backfill", b""),
    ("ce_backfill", None),
    ("content-type", b"application/json"),
    ("content-type", b"application/json; charset=utf-8"),
    ("content-type", b"APPLICATION/CLOUDEVENTS+JSON"),
    ("content-type", b"application/cloudevents"),
    ("content-type", b"text/plain"),
    ("content-type", b"\xff"),
    ("content-type", None),
    ("Content-Type", b"application/json"),
    ("Content-Type", b"application/cloudevents+json"),
    ("x", b"y" * 3000),
    ("é", None),
    ("ce-id", b"8"),
    ("Ce_Id", b"8f14e45f-ea3c-4d2b-9d0b-6a3f0f6f2b11"),
    ("ce_id", b" 8"),
    ("ce_source", b"/s "),
    ("ce-specversion", b"1.0"),
    ("CE_SPECVERSION", b"1.0"),
    ("ce_time", b" 2024-10-07T14:03:11+08:00"),
    ("ce_time", b"2024-10-07 14:03:11+0800"),
    ("content-type", b""),
    ("content-type", b"application/cloudevents-batch+json"),
]


@pytest.mark.parametrize("index", range(len(HEADER_TRAPS)))
@pytest.mark.parametrize("base", ["binary", "structured"])
def test_no_header_parts_them_given_instead_or_in_addition(index: int, base: str) -> None:
    trap = HEADER_TRAPS[index]
    record = binary() if base == "binary" else Record(PLAIN)
    without = tuple(header for header in record.headers if header[0] != trap[0])
    for headers in ((*record.headers, trap), (trap, *record.headers), (*without, trap)):
        assert_agreement(record._replace(headers=headers), 1)


@pytest.mark.parametrize(
    "key", [None, b"", b" " + ORDER_ID.encode(), ORDER_ID.encode() + b"\n", b"\xff", ORDER_ID.lower().encode()]
)
def test_no_key_parts_them(key: bytes | None) -> None:
    for record in (Record(PLAIN), binary()):
        assert_agreement(record._replace(key=key), 1)


# Mutations ----------------------------------------------------------------------------------------------------------

SNIPPETS = st.sampled_from(
    [
        b'"',
        b"\\",
        b"{",
        b"}",
        b"[",
        b",",
        b":",
        b"null",
        b"true",
        b"1e999",
        b"\\u0041",
        b"\\ud800",
        b"\x00",
        b"\x7f",
        b" ",
        b"\n",
        b'"id":"1",',
        b'"model":"SU7",',
        b'"backfill":true,',
        b'"data":{},',
        "é".encode(),
        b"-00:00",
        b"Z",
        b' "',
        "\u3000".encode(),
        "e\u0301".encode(),
        b"\xef\xbb\xbf",
    ]
)
EDITS = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 3), st.one_of(SNIPPETS, st.binary(max_size=3))),
    min_size=1,
    max_size=3,
)


def edited(value: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """The value with a number of bytes replaced at each position."""
    for position, removed, new in edits:
        at = position % (len(value) + 1)
        value = value[:at] + new + value[at + removed :]
    return value


@at_least(400)
@given(st.sampled_from(KINDS), EDITS)
def test_edited_structured_events_are_read_alike(kind: str, edits: list[tuple[int, int, bytes]]) -> None:
    assert_agreement(Record(edited(structured(kind), edits)), TOPICS.get(kind, 0))


@at_least(200)
@given(st.sampled_from(list(TOPICS)), st.integers(0, 8), EDITS)
def test_edited_binary_events_are_read_alike(kind: str, which: int, edits: list[tuple[int, int, bytes]]) -> None:
    record = binary(kind)
    if which < len(record.headers):
        name, text = record.headers[which]
        headers = (*record.headers[:which], (name, edited(text or b"", edits)), *record.headers[which + 1 :])
        record = record._replace(headers=headers)
    else:
        record = record._replace(value=edited(record.value or b"", edits))
    assert_agreement(record, TOPICS[kind])


def test_every_single_byte_replaced_or_left_out_is_read_alike() -> None:
    for position in range(len(PLAIN)):
        for new in (b"", b'"', b"\\", b"\x00", b"\x7f", b"\xc3", b"0", b"}"):
            record = Record(PLAIN[:position] + new + PLAIN[position + 1 :])
            assert decoded(record) == by_authority(record), (position, new)


FIELD_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 2**54),
    st.text(max_size=20),
    st.sampled_from(
        [
            VIN,
            VIN.lower(),
            f" {VIN}",
            "SU7",
            " SU7",
            "SU7\u3000",
            "",
            " ",
            "x" * 64,
            "x" * 65,
            "y" * 256,
            "y" * 257,
            "2024-10-07T14:03:11Z",
        ]
    ),
    st.sampled_from(["order.placed.v1", DELIVERED, "application/json", "text/json"]),
    st.just({}),
    st.just([]),
)
ATTRIBUTES = st.sampled_from(
    ["specversion", "id", "source", "type", "time", "subject", "datacontenttype", "dataschema", "backfill", "data", "x"]
)


@at_least(300)
@given(
    st.sampled_from(list(TOPICS)),
    st.dictionaries(ATTRIBUTES, FIELD_VALUES, max_size=2),
    st.dictionaries(st.sampled_from([*DATA[DELIVERED], "channel", "reason", "voids", "x"]), FIELD_VALUES, max_size=2),
    st.booleans(),
)
def test_events_with_other_values_are_read_alike(
    kind: str,
    attributes: dict[str, Any],
    data: dict[str, Any],
    ascii_only: bool,
) -> None:
    event = document(kind)
    event["data"] = event["data"] | data
    event |= attributes
    record = Record(json.dumps(event, ensure_ascii=ascii_only).encode())
    assert_agreement(record, TOPICS[kind])


TIMES = st.from_regex(
    r"(2024|1999|2000|2100|2101)-(0[0-9]|1[0-3])-([0-3][0-9])[Tt ]([0-2][0-9]):([0-6][0-9]):([0-6][0-9])"
    r"(\.[0-9]{0,9})?(Z|z|| UTC|\[UTC\]|[+-]08| ?[+-](0[0-9]|1[0-9]|2[0-4]):?[0-6][0-9]( CST)?)",
    fullmatch=True,
)


@at_least(400)
@given(TIMES)
@example("2024-10-07T14:03:11.+08:00")
@example("2024-10-07T14:03:11.5")
@example("2024-10-07T14:03:11.Z5")
@example("2024-10-07T14:03:11.12zZ")
@example("2024-10-07T14:03:11.1+08:00+08:00")
@example("2024-10-07T14:03:11.1-00:00")
@example("2024-10-07T14")
@example("2024-10-07T14:03+08:00")
@example("2024-10-07 14:03:11.1+0800")
@example("2024-10-07T14:03:11.123456+08")
@example("2024-10-07T14:03:11.5 +08:00")
@example("2024-10-07T14:03:11.5 +0800 CST")
@example("2024-10-07T14:")
@example("")
def test_times_are_read_alike(time: str) -> None:
    assert_agreement(Record(structured(time=time), timestamp=5_000_000_000_000), 1)


@each_way
def test_each_character_is_plain_or_not_wherever_it_stands(way: PlainFacts) -> None:
    """Compiled, eight characters are looked at together."""
    event = plain_record("order.placed.v1")
    assert event.value is not None
    for code in range(256):
        for place in range(18):
            text = b"x" * place + bytes([code]) + b"\x1f" * (place % 3) + b"x" * (18 - place)
            record = event._replace(value=event.value.replace(b'"id":"', b'"id":"' + text, 1))
            found = alone(way, record, 0)
            is_plain = 0x20 <= code < 0x7F and code not in b'"\\' and place % 3 == 0 and (code != 0x20 or place > 0)
            assert (found is not None) is is_plain, (code, place)
