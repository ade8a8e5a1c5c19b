"""Repairs of dead letters: each common one on the records it is for, and a filter for all records."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import shlex
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from schemas.notes import Place
from streams.operations.dead_letters import DeadLetter
from streams.operations.repairs import Content, Mending, filtered
from tests.contract.builders import APPENDED_MS, ORDER_ID, Record, binary, decoded, document, structured
from tests.support.time_limits import stretched

if TYPE_CHECKING:
    from schemas.facts import Rejection

PLACED = "order.placed.v1"
KEY = ORDER_ID.encode()


def content_of(record: Record) -> Content:
    return Content(record.key, record.value, record.headers)


def verdict(content: Content) -> str:
    """Why a record is rejected, or `accepted`."""
    outcome: Any = decoded(Record(content.value, content.key, content.headers, APPENDED_MS), topic=0)
    rejection: Rejection | None = outcome if hasattr(outcome, "reason") else None
    return rejection.reason if rejection is not None else "accepted"


def changed(record: Record, **headers: bytes | None) -> Content:
    """A binary event with other headers."""
    kept = tuple(pair for pair in record.headers if pair[0] not in headers)
    return Content(record.key, record.value, (*kept, *headers.items()))


EVENT = structured(PLACED)
ROW = {"before": None, "after": {"payload": EVENT.decode()}, "op": "c"}
BROKEN: dict[str, tuple[Content, str, Mending]] = {
    "binary, no offset": (
        changed(binary(PLACED), ce_time=b"2024-10-07T14:03:11"),
        "missing_offset",
        Mending(time_offset="+08:00"),
    ),
    "structured, no offset": (
        Content(KEY, structured(PLACED, time="2024-10-07 14:03:11"), ()),
        "missing_offset",
        Mending(time_offset="+08:00"),
    ),
    "binary, text/plain": (
        changed(binary(PLACED), **{"content-type": b"text/plain"}),
        "invalid_field",
        Mending(headers=(("content-type", "application/json"),)),
    ),
    "binary, backfill": (
        changed(binary(PLACED), ce_backfill=b"yes"),
        "invalid_field",
        Mending(headers=(("ce-backfill", "true"),)),
    ),
    "binary, backfill taken away": (
        changed(binary(PLACED), ce_backfill=b"yes"),
        "invalid_field",
        Mending(headers=(("CE_BACKFILL", ""),)),
    ),
    "two content types": (
        content_of(binary(PLACED)._replace(headers=(*binary(PLACED).headers, ("Content-Type", b"text/json")))),
        "invalid_field",
        Mending(headers=(("content-type", "application/json"),)),
    ),
    "binary, attribute by its name": (
        changed(binary(PLACED), ce_type=b"order.placed"),
        "unknown_type",
        Mending(fields=(("type", PLACED),)),
    ),
    "binary, data": (
        content_of(binary(PLACED, data={"model": "m" * 65})),
        "invalid_field",
        Mending(fields=(("data.model", "SU7"),)),
    ),
    "structured, data": (
        Content(KEY, structured(PLACED, data={"model": "m" * 65}), ()),
        "invalid_field",
        Mending(fields=(("data.model", "SU7"),)),
    ),
    "structured, digits stay a text": (
        Content(b"7", structured(PLACED, data={"order_id": None}), ()),
        "invalid_field",
        Mending(fields=(("data.order_id", "7"),)),
    ),
    "structured, deeper": (
        Content(KEY, structured("event.voided.v1", data={"voids": {"source": "/s"}}), ()),
        "invalid_field",
        Mending(fields=(("data.voids.id", "17"),)),
    ),
    "Connect": (
        Content(KEY, json.dumps({"schema": None, "payload": document(PLACED)}).encode(), ()),
        "connect_envelope",
        Mending(unwrap=("connect",)),
    ),
    "Connect, text": (
        Content(KEY, json.dumps({"schema": None, "payload": EVENT.decode()}).encode(), ()),
        "connect_envelope",
        Mending(unwrap=("connect",)),
    ),
    "Debezium": (Content(KEY, json.dumps(ROW).encode(), ()), "debezium_envelope", Mending(unwrap=("debezium",))),
    "Debezium with schema": (
        Content(KEY, json.dumps({"schema": {}, "payload": ROW}).encode(), ()),
        "debezium_envelope",
        Mending(unwrap=("debezium",)),
    ),
    "Confluent": (Content(KEY, b"\0\0\0\0\7" + EVENT, ()), "schema_registry", Mending(unwrap=("confluent",))),
    "base64": (Content(KEY, base64.b64encode(EVENT), ()), "malformed_json", Mending(unwrap=("base64",))),
    "encoded twice": (Content(KEY, json.dumps(EVENT.decode()).encode(), ()), "json_in_json", Mending(unwrap=("text",))),
    "gzip": (Content(KEY, gzip.compress(EVENT), ()), "compressed", Mending(unwrap=("gzip",))),
    "two wrappers": (
        Content(KEY, b"\0\0\0\0\7" + json.dumps(EVENT.decode()).encode(), ()),
        "schema_registry",
        Mending(unwrap=("confluent", "text")),
    ),
    "wrapper, then field": (
        Content(KEY, gzip.compress(structured(PLACED, time="2024-10-07T14:03:11", data={"model": "m" * 65})), ()),
        "compressed",
        Mending(unwrap=("gzip",), fields=(("data.model", "SU7"),), time_offset="+08:00"),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_repair_makes_an_event_of_what_was_none(name: str) -> None:
    content, reason, mending = BROKEN[name]
    assert verdict(content) == reason
    assert verdict(mending.apply(content)) == "accepted", mending.apply(content)


@pytest.mark.parametrize("name", BROKEN)
def test_a_repair_that_does_not_fit_leaves_a_record_as_it_is(name: str) -> None:
    mending = BROKEN[name][2]
    for content in (Content(None, None, ()), Content(KEY, b"\xff", ()), Content(KEY, b"[]", ())):
        after = mending.apply(content)
        assert (after.key, after.value) == (content.key, content.value)
    right = content_of(binary(PLACED))
    assert Mending(time_offset="+08:00").apply(right) == right
    assert Mending(strip_bom=True).apply(right._replace(value=b"\xef\xbb\xbf" + (right.value or b""))) == right


def test_a_value_that_is_no_text_is_read_as_json() -> None:
    content = Content(b"su7-2024-10", structured("target.set.v1"), ())
    after = Mending(fields=(("data.value", "100"), ("data.label", "100"))).apply(content)
    assert json.loads(after.value or b"")["data"]["value"] == 100
    assert json.loads(after.value or b"")["data"]["label"] == "100"


def test_an_offset_is_one() -> None:
    with pytest.raises(ValueError, match="--time-offset 8 is no offset"):
        Mending(time_offset="8")


@pytest.mark.parametrize("path", ["", ".", "data.", ".model", "data..model"])
def test_a_field_has_a_name(path: str) -> None:
    with pytest.raises(ValueError, match="a name between two dots is empty"):
        Mending(fields=((path, "SU7"),))


def test_what_is_nested_too_deeply_to_be_written_again_stays_and_stops_nothing() -> None:
    nested = b'{"time":"2024-10-07T14:03:11","x":' + b"[" * 1000 + b"]" * 1000 + b"}"
    content = Content(b"SO-1", nested, ())
    assert Mending(fields=(("data.model", "SU7"),), time_offset="+08:00").apply(content) == content


# The filter ----------------------------------------------------------------------------------------------------------


def letters(count: int, content: Content) -> list[tuple[DeadLetter, Content]]:
    return [
        (DeadLetter(Place("orders", 0, offset), "invalid_field", "line", *content, 0, (0, offset)), content)
        for offset in range(count)
    ]


def python(code: str) -> str:
    """A command that runs `code` for each line, with the object as `d`."""
    lines = f"import json,sys\nfor line in sys.stdin:\n d = json.loads(line)\n {code}\n"
    return shlex.join([sys.executable, "-c", lines])


PRINT = "print(json.dumps(d))"


async def test_a_filter_gets_and_gives_value_key_and_headers() -> None:
    content = Content(b"wrong", structured(PLACED, data={"model": "m" * 65}), (("ce_x", b"1"), ("other", None)))
    code = f'd["value"]["data"]["model"] = "SU7"; d["key"] = d["value"]["data"]["order_id"]; d["headers"] = []; {PRINT}'
    found = await filtered(python(code), letters(3, content))
    assert len(found) == 3
    after = found[Place("orders", 0, 2)].content
    assert after is not None
    assert verdict(after) == "accepted"
    assert after.headers == ()


@pytest.mark.parametrize("value", [EVENT, b' {"a": 1}\n', b"plain text", b"\xff\x00", b"", None])
async def test_what_a_filter_leaves_as_it_is_keeps_its_bytes(value: bytes | None) -> None:
    content = Content(b"\xff", value, (("a", b"\xff"), ("b", None), ("a", b"2")))
    found = await filtered(python(PRINT), letters(2, content))
    assert [edited.content for edited in found.values()] == [content, content]


async def test_what_a_filter_leaves_out_has_no_answer_in_whatever_order_it_gives_the_others() -> None:
    code = f"lines = [d] + list(map(json.loads, sys.stdin))\n for d in reversed(lines[1:]): {PRINT}"
    found = await filtered(python(code), letters(5, Content(KEY, EVENT, ())))
    assert sorted(place.offset for place in found) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("exit 3", "^the command ended with 3$"),
        ("no-such-command", "^the command cannot be run, the shell ended with 127$"),
        ("kill -9 $$", "^the command was ended by SIGKILL$"),
        ("sed s/a/b/ | head -c 40; cat > /dev/null", "--edit-with value"),
        ("echo hello; cat > /dev/null", "line 1 of the command's output is none of the records"),
    ],
)
async def test_a_filter_that_fails_is_told(command: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        await filtered(command, letters(2, Content(KEY, EVENT, ())))


async def test_a_filter_that_goes_wrong_while_more_is_written_is_ended_with_what_it_has_started() -> None:
    """The process that waits for the rest of the records is not the shell but its child."""
    command = "sed s/{/[/; true"
    many = letters(5_000, Content(KEY, EVENT, ()))
    with pytest.raises(ValueError, match="line 1 of the command's output is none of the records"):
        await asyncio.wait_for(filtered(command, many), stretched(20))


async def test_a_record_that_the_filter_spoils_is_left() -> None:
    found = await filtered(python(f'd["key"] = 7; {PRINT}'), letters(1, Content(KEY, EVENT, ())))
    (edited,) = found.values()
    assert edited.content is None
    assert "no text" in edited.failure


async def test_many_records_take_one_process_and_little_time() -> None:
    began = time.monotonic()
    found = await asyncio.wait_for(filtered(python(PRINT), letters(5_000, Content(KEY, EVENT, ()))), stretched(20))
    assert len(found) == 5_000
    assert time.monotonic() - began < stretched(20)
