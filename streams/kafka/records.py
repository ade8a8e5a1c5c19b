"""A record of the log, and access to its parts."""

from __future__ import annotations

from typing import Protocol

from schemas.authority import SourceRecord


class LogRecord(SourceRecord, Protocol):
    """A committed record.

    `timestamp` is in milliseconds since 1970: the append time where `timestamp_type` is 1, else the publisher's.
    """

    @property
    def topic(self) -> str: ...  # noqa: D102 - as Kafka names them
    @property
    def timestamp_type(self) -> int: ...  # noqa: D102 - likewise


def record_key(record: LogRecord) -> bytes:
    """The key of a record on a topic where every record has one.

    Raises:
        ValueError: It has none, so it was not written by this service.
    """
    if record.key is None:
        raise ValueError(f"{_place(record)} has no key")
    return record.key


def record_value(record: LogRecord) -> bytes:
    """The value of a record on a topic without tombstones.

    Raises:
        ValueError: It has none, so it was not written by this service.
    """
    if record.value is None:
        raise ValueError(f"{_place(record)} has no value")
    return record.value


def header_values(record: LogRecord) -> dict[str, bytes]:
    """The last value of each header that has one."""
    return {name: value for name, value in record.headers if value is not None}


def _place(record: LogRecord) -> str:
    return f"{record.topic}-{record.partition}@{record.offset}"
