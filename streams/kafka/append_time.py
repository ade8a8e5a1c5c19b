"""Append times for records that carry only their publisher's time, from before their topic had `LogAppendTime`.

A publisher's time may be 0, -1 or that of a copy made years later; the only certainty is that the record was appended before
now. So whether its event lies in the future is judged once, by the clock of the worker that reads it first, and the dead letter
preserves the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schemas import hotpath
from streams.kafka.forwarding import Original

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from schemas.authority import SourceRecord
    from streams.kafka.records import LogRecord

LOG_APPEND_TIME: Final = 1
#: Before every event.
_NEVER_MS: Final = 0


def with_append_times(
    records: Sequence[LogRecord], now_ms: int, was_future: Callable[[LogRecord], bool]
) -> Sequence[SourceRecord]:
    """The records, with an append time given to those that lack one.

    Args:
        records: Records of a source topic.
        now_ms: The clock, milliseconds since 1970.
        was_future: Whether a record was rejected earlier because its event lay in the future.
    """
    if _are_dated(records):
        return records
    return [
        record
        if record.timestamp_type == LOG_APPEND_TIME
        else Original(
            record.key,
            record.value,
            record.headers,
            _NEVER_MS if was_future(record) else now_ms,
            record.partition,
            record.offset,
        )
        for record in records
    ]


def _are_dated(records: Sequence[LogRecord]) -> bool:
    if hotpath.is_whole(records):
        return records.are_dated
    return all(record.timestamp_type == LOG_APPEND_TIME for record in records)
