"""Outputs: readers ignore unknown fields, writers cannot write invalid values."""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas import codec
from schemas.outputs import (
    VIOLATION_MESSAGES,
    ControlHeaders,
    MilestoneEvent,
    Violation,
    ViolationRecord,
    WindowRow,
)
from schemas.rows import PlainRow
from tests.contract.goldens import MILESTONE_ID, ORDER_ID, OUTPUTS

DAY = OUTPUTS["vehicle.windows.v1.day"]
MILESTONE = OUTPUTS["vehicle.milestones.v1.threshold"]


class Found(NamedTuple):
    """A contradiction as the domain hands it over."""

    kind: str
    source: str
    id: str
    order_id: str = ""


def test_a_reader_ignores_fields_that_it_does_not_know() -> None:
    newer = json.loads(DAY.model_dump_json()) | {"colour": "red"}
    assert codec.decode_row(json.dumps(newer).encode()) == DAY


def test_a_row_without_hours_calendar_and_backfill_does_not_mention_them() -> None:
    assert isinstance(DAY, WindowRow)
    row = json.loads(codec.encode_row(DAY.model_copy(update={"by_hour": None})))
    assert not row.keys() & {"by_hour", "calendar", "backfilled"}


@pytest.mark.parametrize("change", [{}, {"by_hour": None}, {"backfilled": 3}, {"calendar": "CN-2024.1"}, {"count": 0}])
def test_a_plain_row_is_written_and_read_like_its_model(change: dict[str, Any]) -> None:
    row = DAY.model_copy(update={"targets": [], "controls": []} | change)
    assert isinstance(row, WindowRow)
    plain = codec.read_row(codec.encode_row(row))
    assert isinstance(plain, PlainRow)
    assert codec.encode_row(plain) == codec.encode_row(row)
    assert codec.full_row(plain) == row


def test_an_empty_row_keeps_its_zeros_and_its_empty_list() -> None:
    assert isinstance(DAY, WindowRow)
    row = json.loads(codec.encode_row(DAY.model_copy(update={"count": 0})))
    assert (row["count"], row["restated"], row["targets"]) == (0, 0, [])


def test_a_milestone_without_a_cause_says_so_with_null() -> None:
    assert isinstance(MILESTONE, MilestoneEvent)
    data = MILESTONE.data.model_copy(update={"cause": None, "achieved_at": None})
    event = json.loads(codec.encode_milestone(MILESTONE.model_copy(update={"data": data})))
    assert (event["data"]["cause"], event["data"]["achieved_at"]) == (None, None)
    assert "target_id" not in event["data"]


@pytest.mark.parametrize(
    "change",
    [
        {"count": -1},
        {"count": 1.0},
        {"count": "1043"},
        {"metric": "sales"},
        {"status": "over"},
        {"by_hour": [0] * 23},
        {"by_hour": [0] * 25},
        {"version": 0},
        {"start": "7 October"},
        {"updated_at": "2024-10-07T13:10:44"},
        {"targets": None},
    ],
)
def test_a_row_that_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        codec.decode_row(json.dumps(json.loads(DAY.model_dump_json()) | change).encode())


def test_models_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        DAY.count = 2000  # type: ignore[attr-defined] # that is the case
    with pytest.raises(ValidationError, match="frozen"):
        MILESTONE.subject = MILESTONE_ID  # type: ignore[attr-defined] # that is the case


def test_each_violation_gets_its_line_for_a_person() -> None:
    found = [Found(kind, "/shop", str(number)) for number, kind in enumerate(VIOLATION_MESSAGES)]
    record = codec.decode_violations(codec.encode_violations(ORDER_ID, found))
    assert record.order_id == ORDER_ID
    assert [(each.kind, each.message) for each in record.violations] == list(VIOLATION_MESSAGES.items())


@given(
    st.text(), st.lists(st.builds(Found, st.sampled_from(sorted(VIOLATION_MESSAGES)), st.text(), st.text(), st.text()))
)
def test_violations_are_written_like_their_model_to_the_byte(order_id: str, found: list[Found]) -> None:
    listed = [Violation(**each._asdict(), message=VIOLATION_MESSAGES[each.kind]) for each in found]
    record = ViolationRecord(order_id=order_id, violations=listed)
    assert codec.encode_violations(order_id, found) == record.model_dump_json().encode()


def test_a_violation_that_nobody_described_is_an_error() -> None:
    with pytest.raises(KeyError):
        codec.encode_violations(ORDER_ID, [Found("unheard_of", "/shop", "1")])


@pytest.mark.parametrize("value", [b"", b"{}", b"[]", b'{"count":1,"backfilled":0,"by_hour":"x","latest":null}'])
def test_an_internal_record_that_cannot_be_read_is_an_error(value: bytes) -> None:
    for decode in (codec.decode_day_count, codec.decode_marker, codec.decode_row, codec.decode_milestone):
        with pytest.raises(ValueError, match=r".+"):
            decode(value)


_COUNT: Final = '{"count":%s,"backfilled":%s,"by_hour":[%s],"latest":null}'


@pytest.mark.parametrize(
    ("count", "backfilled", "by_hour"),
    [
        (1, 0, [1]),
        (1, 0, [1] + [0] * 22),
        (1, 0, [1] + [0] * 24),
        (1, 0, [1] + [0] * 60),
        (0, 0, []),
        (-1, 0, [0] * 24),
        (0, -1, [0] * 24),
        (0, 0, [1, -1] + [0] * 22),
        (1 << 63, 0, [0] * 24),
        (1, 0, [1 << 64] + [0] * 23),
    ],
)
def test_a_count_of_other_hours_or_of_impossible_numbers_is_an_error(
    count: int, backfilled: int, by_hour: list[int]
) -> None:
    with pytest.raises(ValueError, match=r".+"):
        codec.decode_day_count((_COUNT % (count, backfilled, ",".join(map(str, by_hour)))).encode())


@pytest.mark.parametrize("parts", [24, 60])
def test_a_count_has_hours_or_minutes(parts: int) -> None:
    value = (_COUNT % (1, 0, ",".join(["1"] + ["0"] * (parts - 1)))).encode()
    assert codec.decode_day_count(value).by_hour == [1] + [0] * (parts - 1)


def test_a_status_of_nobody_is_an_error() -> None:
    with pytest.raises(KeyError):
        codec.decode_status(b"broker/1", b"{}")


def test_dead_letter_headers_are_those_of_the_contract() -> None:
    assert {
        "__dlq.errors.topic",
        "__dlq.errors.partition",
        "__dlq.errors.offset",
        "__dlq.errors.message",
        "milestones.reason",
    } == ControlHeaders.ALL
