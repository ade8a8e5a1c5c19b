"""The append time of records whose own time is their publisher's: of a topic from before it had `LogAppendTime`.

Such a time may be 0, -1, or that of a copy made years later, so it says nothing. All that is known is that the record was
appended before now, and that an event once found to be in the future was, whatever the clock says later. So a record is
judged once, by the clock of the worker that reads it first, and its dead letter is remembered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

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
    """The records as they are, but for those without an append time, which get one.

    Args:
        records: Of a source topic.
        now_ms: The clock, milliseconds since 1970.
        was_future: Whether a record was found to be of the future before.
    """
    if all(record.timestamp_type == LOG_APPEND_TIME for record in records):
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
