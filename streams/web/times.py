"""Instants written as on the output topics: RFC 3339 in UTC with milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime


def text_of(moment: datetime) -> str:
    """The text of an aware datetime."""
    utc = moment.astimezone(UTC)
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03d}Z"


def text_of_ms(time_ms: int) -> str:
    """The text of milliseconds since 1970."""
    return text_of(datetime.fromtimestamp(time_ms / 1000, UTC))


def text_of_us(time_us: int) -> str:
    """The text of microseconds since 1970."""
    return text_of_ms(time_us // 1000)
