"""Files of events as people have them, whatever pieces they come in, and `schema check` on them."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import cramjam
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from streams.cli.schema import command
from streams.errors import ExpectedError
from streams.events.event_files import EventReader, events_of

if TYPE_CHECKING:
    from pathlib import Path

EVENTS: list[dict[str, Any]] = [
    {
        "specversion": "1.0",
        "id": f"{number}",
        "source": '/"shops"/{',
        "type": "order.placed.v1",
        "time": "2025-10-06T12:00:00+08:00",
        "data": {"order_id": f"订单 {number}", "model": 'SU7 [{\\"}', "more": [[1, {"a": "]"}], {}]},
    }
    for number in range(5)
]
LINES = "\n".join(map(json.dumps, EVENTS)).encode()
READABLE = "\n".join(json.dumps(event, ensure_ascii=False) for event in EVENTS)
FILES = {
    "lines": LINES,
    "lines, blank ones between": LINES.replace(b"\n", b"\r\n\r\n"),
    "mark and CRLF": b"\xef\xbb\xbf" + LINES.replace(b"\n", b"\r\n"),
    "array": json.dumps(EVENTS).encode(),
    "pretty array": json.dumps(EVENTS, indent=2).encode(),
    "pretty objects": "\n".join(json.dumps(event, indent=1) for event in EVENTS).encode(),
    "text sequence": "".join(f"\x1e{json.dumps(event)}\n" for event in EVENTS).encode(),
    "UTF-16": READABLE.encode("utf-16"),
    "UTF-16, big end first, no mark": READABLE.encode("utf-16-be"),
    "gzip": gzip.compress(LINES),
    "gzip, two members": gzip.compress(LINES[:500]) + gzip.compress(LINES[500:]),
    "gzip of UTF-16": gzip.compress(json.dumps(EVENTS, indent=2).encode("utf-16")),
    "zstd": bytes(cramjam.zstd.compress(LINES)),
}


def read(content: bytes, size: int) -> list[Any]:
    reader = EventReader()
    found = [line for start in range(0, len(content), size) for line in reader.feed(content[start : start + size])]
    return [json.loads(line.text) for line in [*found, *reader.feed(b"")] if line.text.strip()]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("size", [1, 2, 7, 4096])
def test_a_file_holds_its_events_in_whatever_pieces_it_comes(name: str, size: int) -> None:
    assert read(FILES[name], size) == EVENTS


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.lists(st.dictionaries(st.text(max_size=3), JSON, min_size=1, max_size=3), min_size=1, max_size=4),
    st.sampled_from(["lines", "array", "objects"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.integers(1, 50),
)
def test_objects_are_read_as_they_were_written(objects: list[Any], form: str, encoding: str, size: int) -> None:
    if form == "array":
        text = json.dumps(objects, indent=1)
    else:
        text = "\n".join(json.dumps(each, indent=1 if form == "objects" else None) for each in objects)
    assert read(text.encode(encoding), size) == objects


LINE_NUMBERS = [1 + number * len(json.dumps(EVENTS[0], indent=1).splitlines()) for number in range(len(EVENTS))]


def test_each_event_has_the_number_of_its_line() -> None:
    assert [line.number for line in events_of(FILES["pretty objects"])] == LINE_NUMBERS
    assert [line.number for line in events_of(LINES)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (b'[{"a":1}, oops, {"b":2}]', [b'{"a":1}', b"oops", b'{"b":2}']),
        (b'{\n"a":1}\noops\n{"b":2}', [b'{\n"a":1}', b"oops", b'{"b":2}']),
        (b'{"a":1\n{"b":2}\n', [b'{"a":1', b'{"b":2}']),
        (b'[{"a":1},{"b":', [b'{"a":1}', b'{"b":']),
        (b'[{"a":1},{"b":2},', [b'{"a":1}', b'{"b":2}', b"["]),
        (b'[{"a":1}\n', [b'{"a":1}', b"["]),
        (b'[{"a":1}] ', [b'{"a":1}']),
        (b"[]", []),
        (b"[ ", [b"["]),
        (b"[[[[", [b"["]),
        (b"hello\nworld", [b"hello", b"world"]),
        (b"{\n{\n", [b"{", b"{"]),
        (b"", []),
    ],
)
def test_what_is_no_event_is_given_too_and_not_passed_over(content: bytes, texts: list[bytes]) -> None:
    for size in (1, 3, 100):
        reader = EventReader()
        found = [line for start in range(0, len(content), size) for line in reader.feed(content[start : start + size])]
        assert [line.text for line in [*found, *reader.feed(b"")]] == texts


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04rest", "Excel"),
        (b"PAR1rest", "Parquet"),
        (b"BZh91AY", "bzip2"),
        # Without its time: the content is part of the test's name, which every process of the run has to agree on.
        (gzip.compress(LINES, mtime=0)[:-20], "ends too early"),
        (gzip.compress(LINES, mtime=0)[:10] + b"\xff" * 50, "damaged"),
        (bytes(cramjam.zstd.compress(LINES))[:-20], "damaged"),
        (b"\xff\xfe{\x00\x00\xd8\x00\x00", "UTF-16 and damaged"),
    ],
)
def test_a_file_that_holds_no_events_is_told_by_what_it_is(content: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        events_of(content)


# schema check --------------------------------------------------------------------------------------------------------


def checked(tmp_path: Path, content: bytes, *arguments: str) -> tuple[list[str], str]:
    """The lines of the answer, and the words and the code that it ends with."""
    (tmp_path / "events").write_bytes(content)
    (tmp_path / "x.toml").write_text("", encoding="utf-8")
    config = str(tmp_path / "x.toml")
    done = CliRunner().invoke(command, ["check", str(tmp_path / "events"), "--config", config, *arguments])
    if isinstance(done.exception, ExpectedError):
        return done.stdout.splitlines(), f"{done.exception.exit_code}: {done.exception}"
    assert done.exception is None, done.exception
    return done.stdout.splitlines(), f"0: {done.stderr}"


@pytest.mark.parametrize("name", FILES)
def test_events_are_checked_in_any_form(tmp_path: Path, name: str) -> None:
    lines, ended = checked(tmp_path, FILES[name], "--json")
    verdicts = [json.loads(line) for line in lines]
    assert [verdict["verdict"] for verdict in verdicts] == ["accepted"] * 5
    assert [verdict["ids"]["id"] for verdict in verdicts] == ["0", "1", "2", "3", "4"]
    assert {verdict["topic"] for verdict in verdicts} == {"vehicle.orders.v1"}
    assert verdicts[0]["key"] == verdicts[0]["event"]["data"]["order_id"] == "订单 0"
    assert ended.startswith("0: 5 events would be accepted")


def test_what_would_be_a_dead_letter_is_told_and_ends_with_1(tmp_path: Path) -> None:
    wrong = json.dumps(EVENTS[0] | {"time": "2025-10-06T12:00:00"}).encode()
    lines, ended = checked(tmp_path, LINES + b"\n" + wrong)
    assert ":6: rejected: missing_offset: time: " in lines[-1]
    assert ended.startswith("1: ")
    assert "1 of 6 events would be rejected (1 missing_offset)" in ended


def test_lines_in_gbk_are_named_as_such(tmp_path: Path) -> None:
    lines, ended = checked(tmp_path, READABLE.encode("gbk"))
    assert [line.split(": ", 1)[1] for line in lines] == [
        "rejected: malformed_json: not UTF-8 from byte 147 on, text in GBK?; wanted: text in UTF-8"
    ] * 5
    assert "5 of 5 events would be rejected (5 malformed_json)" in ended


def test_what_was_made_good_and_the_canonical_form_are_shown(tmp_path: Path) -> None:
    odd = EVENTS[0] | {"time": "2025-10-06 12:00:00+0800", "data": '{"order_id":" A ","model":"SU7"}'}
    lines, _ = checked(tmp_path, json.dumps(odd).encode())
    assert "accepted: vehicle.orders.v1, key A, partition " in lines[0]
    assert sum("made good" in line for line in lines) == 3
    assert json.loads(lines[-1])["time"] == "2025-10-06T12:00:00+08:00"


def test_records_are_checked_with_their_key_and_headers(tmp_path: Path) -> None:
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/b", "ce-type": "order.placed.v1"}
    headers["ce-time"] = "2025-10-06T12:00:00+08:00"
    records = [
        {"key": "B-1", "headers": headers, "value": '{"order_id":"B-1","model":"SU7"}'},
        {"key": "B-2", "value_b64": "AAAAAAx7fQ=="},
    ]
    content = "\n".join(map(json.dumps, records)).encode()
    lines, ended = checked(tmp_path, content, "--json")
    first, second = map(json.loads, lines)
    assert (first["verdict"], first["event"]["id"]) == ("accepted", "1")
    assert (second["verdict"], second["reason"]) == ("rejected", "schema_registry")
    assert ended.startswith("1: ")


def test_the_raw_value_of_a_record_is_checked_as_one(tmp_path: Path) -> None:
    _, ended = checked(tmp_path, b"\0\0\0\0\x0c" + LINES)
    assert "the event would be rejected (1 schema_registry)" in ended


@pytest.mark.parametrize(("content", "words"), [(b"", "is empty"), (b"PK\x03\x04", "Excel")])
def test_a_file_that_cannot_be_read_ends_with_2(tmp_path: Path, content: bytes, words: str) -> None:
    _, ended = checked(tmp_path, content)
    assert ended.startswith("2: ")
    assert words in ended


def test_a_topic_that_is_not_read_ends_with_2(tmp_path: Path) -> None:
    _, ended = checked(tmp_path, LINES, "--topic", "orders")
    assert "no topic orders is read; there are vehicle.orders.v1" in ended
