"""Event time is RFC 3339 with an offset, or an equivalent that languages print, exact to the microsecond."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.instants import MissingOffsetError, format_instant, micros_of, micros_of_text, parse_instant

SECOND = 1_728_280_991
READ = [
    ("2024-10-07T14:03:11+08:00", SECOND * 1_000_000),
    ("2024-10-07T06:03:11Z", SECOND * 1_000_000),
    ("2024-10-07t06:03:11z", SECOND * 1_000_000),
    ("2024-10-07T06:03:11+00:00", SECOND * 1_000_000),
    ("2024-10-06T23:48:11-06:15", SECOND * 1_000_000),
    ("2024-10-07T06:03:11.5Z", SECOND * 1_000_000 + 500_000),
    ("2024-10-07T06:03:11.000001Z", SECOND * 1_000_000 + 1),
    ("2024-10-07T06:03:11.9999999999Z", SECOND * 1_000_000 + 999_999),
    ("2000-01-01T00:00:00+14:00", 946_634_400_000_000),
    ("2100-12-31T23:59:59.999999Z", 4_133_980_799_999_999),
    ("2024-02-29T00:00:00Z", 1_709_164_800_000_000),
    ("2024-10-07 14:03:11+08:00", SECOND * 1_000_000),  # Python's str
    ("2024-10-07T14:03:11+0800", SECOND * 1_000_000),
    ("2024-10-07T14:03:11 +08:00", SECOND * 1_000_000),
    ("2024-10-07 06:03:11+00", SECOND * 1_000_000),
    ("2024-10-07T14:03+08:00", (SECOND - 11) * 1_000_000),  # Java, when the seconds are zero
    ("2024-10-07T06:03Z", (SECOND - 11) * 1_000_000),
    ("2024-10-07T14:03:11+08:00[Asia/Shanghai]", SECOND * 1_000_000),
    ("2024-10-07 14:03:11 +0800 CST", SECOND * 1_000_000),  # Go's String
    ("2024-10-07 06:03:11 +0000 UTC", SECOND * 1_000_000),
    ("2024-10-07T14:03:11.0000000+08:00", SECOND * 1_000_000),  # .NET's round-trip form
]
#: With a fraction before a rarer offset: read by the authority alone.
READ_SLOWLY = [
    ("2024-10-07 14:03:11.123456789 +0800 CST", SECOND * 1_000_000 + 123_456),
    ("2024-10-07T14:03:11.5+0800", SECOND * 1_000_000 + 500_000),
    ("2024-10-07 06:03:11.25+00", SECOND * 1_000_000 + 250_000),
    ("2024-10-07T14:03:11.5+08:00[Asia/Shanghai]", SECOND * 1_000_000 + 500_000),
]
REFUSED = [
    "",
    "2024-10-07",
    "2024-10-07T14:03:11+8:00",
    "2024-10-07T14:03:11.+08:00",
    "2024-10-07T14:03:11,5+08:00",
    "2024-10-07T14:03:60+08:00",
    "2024-10-07T23:59:60Z",
    "2024-10-07T24:00:00Z",
    "2024-10-07T14:60:00Z",
    "2024-10-07T14:03:11-00:00",
    "2024-10-07T14:03:11+24:00",
    "2024-10-07T14:03:11+08:60",
    "2023-02-29T00:00:00Z",
    "2024-13-01T00:00:00Z",
    "2024-00-01T00:00:00Z",
    "1999-12-31T23:59:59Z",
    "2101-01-01T00:00:00Z",
    "2024-10-07T14:03:11Z\n",
    "２024-10-07T14:03:11Z",  # noqa: RUF001 - a full-width digit
    "2024-W41-1T14:03:11Z",
    "20241007T140311Z",
    "2024-10-07T14:03:11+08:0",
    "2024-10-07T14:03:11-0000",
    "2024-10-07T14:03:11-00",
    "2024-10-07T14+08:00",
    "2024-10-07  14:03:11+08:00",
    "2024-10-07T14:03.5+08:00",
    "2024-10-07T24:00+08:00",
    "10/7/2024 2:03:11 PM +08:00",
    "Mon Oct 07 2024 14:03:11 GMT+0800 (China Standard Time)",
]


@pytest.mark.parametrize(("text", "micros"), READ)
def test_an_instant_is_read_exactly(text: str, micros: int) -> None:
    assert micros_of(parse_instant(text)) == micros
    for _ in range(2):  # the second time from memory
        assert micros_of_text(text) == micros


@pytest.mark.parametrize(("text", "micros"), READ_SLOWLY)
def test_a_rarer_way_to_write_one_is_read_exactly_or_left_to_the_authority(text: str, micros: int) -> None:
    assert micros_of(parse_instant(text)) == micros
    assert micros_of_text(text) in {None, micros}


@pytest.mark.parametrize("text", REFUSED)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_instant(text)
    assert micros_of_text(text) is None


@pytest.mark.parametrize(
    "text", ["2024-10-07T14:03:11", "2024-10-07T14:03:11.250", "2024-10-07 14:03:11", "2024-10-07T14:03"]
)
def test_a_local_time_is_told_apart_from_what_is_no_time(text: str) -> None:
    with pytest.raises(MissingOffsetError):
        parse_instant(text)
    assert micros_of_text(text) is None


def test_a_datetime_without_an_offset_is_no_instant() -> None:
    with pytest.raises(TypeError):
        micros_of(datetime(2024, 10, 7))  # noqa: DTZ001 - that is the case


def test_a_time_is_written_with_its_own_offset() -> None:
    instant = datetime(2024, 10, 7, 14, 3, 11, tzinfo=ZoneInfo("Asia/Shanghai"))
    assert format_instant(instant) == "2024-10-07T14:03:11+08:00"
    assert format_instant(instant.astimezone(UTC)) == "2024-10-07T06:03:11Z"


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 - given a zone
    st.integers(-23 * 60, 23 * 60),
)
def test_what_is_written_is_read_back_whatever_the_offset(instant: datetime, offset_minutes: int) -> None:
    local = instant.astimezone(timezone(timedelta(minutes=offset_minutes)))
    if not 2000 <= local.year <= 2100:
        return
    text = format_instant(local)
    assert parse_instant(text) == instant
    assert micros_of_text(text) == micros_of(instant)


def test_a_leap_second_is_called_by_its_name() -> None:
    with pytest.raises(ValueError, match="leap second"):
        parse_instant("2016-12-31T23:59:60Z")
