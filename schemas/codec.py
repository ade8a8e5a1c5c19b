"""Converts between bytes and values; other packages read and write topics only through this module.

Input events are read in two ways: by `schemas.hotpath` if they are plain, as nearly all are, and by `schemas.authority` if the fast
way does not accept them. What this service itself wrote raises `ValueError` if it cannot be read: then something is broken, and
processing must stop.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import msgspec
import orjson

from schemas import hotpath
from schemas.authority import MAX_RECORD_BYTES, SourceRecord, read_control, read_fact, read_target
from schemas.facts import DayCount, Rejection
from schemas.memory import (
    FoundAt,
    Held,
    KeptRecord,
    LastExpected,
    PeriodBlock,
    RowBlock,
    SeriesBlock,
    SideState,
    SnapshotHead,
)
from schemas.notes import Gap, Quarantine, Replayed
from schemas.outputs import (
    VIOLATION_MESSAGES,
    Forecast,
    Marker,
    MilestoneEvent,
    PartitionStatus,
    SourceStatus,
    Status,
    TopicStatus,
    ViolationRecord,
    WindowRow,
    WorkerStatus,
)
from schemas.rows import CheckedRow, PlainRow, PublishedRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from schemas.events import ControlTotal, Event, PlanEvent
    from schemas.facts import Fact
    from schemas.fast import Events

_encode_struct = msgspec.json.Encoder().encode
_decode_day_count = msgspec.json.Decoder(DayCount).decode
_decode_marker = msgspec.json.Decoder(Marker).decode
_decode_side_state = msgspec.json.Decoder(SideState).decode
_decode_plain_row = msgspec.json.Decoder(PlainRow).decode
_decode_checked_row = msgspec.json.Decoder(CheckedRow).decode
_decode_held = msgspec.json.Decoder(Held).decode
_decode_kept = msgspec.json.Decoder(KeptRecord).decode
_decode_expected = msgspec.json.Decoder(LastExpected).decode
_decode_cut = msgspec.json.Decoder(FoundAt).decode
_encode_packed = msgspec.msgpack.Encoder().encode
_decode_row_block = msgspec.msgpack.Decoder(RowBlock).decode
_decode_series_block = msgspec.msgpack.Decoder(SeriesBlock).decode
_decode_period_block = msgspec.msgpack.Decoder(PeriodBlock).decode
_decode_snapshot_head = msgspec.json.Decoder(SnapshotHead).decode
#: Hours of a day, minutes of an hour of a campaign.
_PARTS: Final = (24, 60)
#: Takes a third of the default level's time, for a tenth more bytes.
_ZLIB_LEVEL: Final = 1

_STATUS_MODELS: Final[dict[str, type[PartitionStatus | WorkerStatus | SourceStatus | TopicStatus]]] = {
    "partition": PartitionStatus,
    "worker": WorkerStatus,
    "source": SourceStatus,
    "topic": TopicStatus,
}


class FoundViolation(Protocol):
    """A contradiction as the domain reports it: its kind, the offending event's identity, and its order if that is a different one."""

    @property
    def kind(self) -> str: ...  # noqa: D102 - what it is stands above
    @property
    def source(self) -> str: ...  # noqa: D102 - likewise
    @property
    def id(self) -> str: ...  # noqa: D102 - likewise
    @property
    def order_id(self) -> str: ...  # noqa: D102 - likewise


# Input events -------------------------------------------------------------------------------------------------------


def decode_batch(
    records: Sequence[SourceRecord],
    *,
    topic: int,
    future_limit_us: int,
    max_bytes: int = MAX_RECORD_BYTES,
    framed: bool = False,
) -> list[Fact | Rejection]:
    """Decodes records of a topic of orders, deliveries or production; the result has one element per record, in order.

    Args:
        records: Any mixture of valid and invalid records.
        topic: Number of the source topic (`schemas.facts.topic_number`).
        future_limit_us: How far an event's time may be ahead of its append time, microseconds.
        max_bytes: Maximum total size of key, value and headers.
        framed: Whether JSON in the wire format of a schema registry is accepted.
    """
    options: Any = {"topic": topic, "future_limit_us": future_limit_us, "max_bytes": max_bytes, "framed": framed}
    return cast("list[Fact | Rejection]", [*decode_events(records, **options)[0]])  # no None is left


def decode_events(
    records: Sequence[SourceRecord],
    *,
    topic: int,
    future_limit_us: int,
    max_bytes: int = MAX_RECORD_BYTES,
    framed: bool = False,
) -> tuple[Events, list[int]]:
    """The same, with the places of the rejections; if decoding is compiled, facts are made only when they are accessed."""
    events = hotpath.plain_facts(records, topic=topic, future_limit_us=future_limit_us, max_bytes=max_bytes)
    rejected = []
    for place in events.not_plain():
        outcome = read_fact(
            records[place], topic=topic, future_limit_us=future_limit_us, max_bytes=max_bytes, framed=framed
        )
        events.put(place, outcome)
        if isinstance(outcome, Rejection):
            rejected.append(place)
    return events, rejected


def decode_target(
    record: SourceRecord, *, future_limit_us: int, max_bytes: int = MAX_RECORD_BYTES, framed: bool = False
) -> PlanEvent | Rejection:
    """Decodes a record of the targets topic; `framed` as in `decode_batch`."""
    return read_target(record, future_limit_us=future_limit_us, max_bytes=max_bytes, framed=framed)


def decode_control(
    record: SourceRecord, *, future_limit_us: int, max_bytes: int = MAX_RECORD_BYTES, framed: bool = False
) -> ControlTotal | Rejection:
    """Decodes a record of the control totals topic; `framed` as in `decode_batch`."""
    return read_control(record, future_limit_us=future_limit_us, max_bytes=max_bytes, framed=framed)


def decode_document(text: bytes | str) -> Any:
    """The value of a JSON text, parsed fast and leniently: not for judging whether it is valid.

    Raises:
        ValueError: It is not JSON, or beyond what the fast parser reads.
    """
    return orjson.loads(text)


def encode_document(document: Any) -> bytes:
    """A JSON value as text."""
    return orjson.dumps(document)


def encode_event(event: Event) -> bytes:
    """The event in structured mode, without absent fields."""
    return event.model_dump_json(exclude_none=True).encode()


# Outputs ------------------------------------------------------------------------------------------------------------


def encode_row(row: PublishedRow) -> bytes:
    """The value for a window row; the same for either class."""
    return _encode_struct(row) if isinstance(row, PlainRow) else row.model_dump_json().encode()


def full_row(row: PublishedRow) -> WindowRow:
    """The row as a model."""
    return decode_row(_encode_struct(row)) if isinstance(row, PlainRow) else row


def decode_row(value: bytes) -> WindowRow:
    """The window row in a value."""
    return WindowRow.model_validate_json(value)


def read_row(value: bytes) -> PublishedRow:
    """The window row in a value that this service wrote; five times faster for the many without targets, controls and balance."""
    row = _decode_plain_row(value)
    return decode_row(value) if row.targets or row.controls or row.balance else row


def checked_row(value: bytes) -> PublishedRow:
    """The window row in a value from anywhere: as `decode_row`, but five times faster for the rows that `read_row` reads fast.

    Raises:
        ValueError: It is not a row.
    """
    try:
        row = _decode_checked_row(value)
    except msgspec.DecodeError:
        # This one says what is wrong with it.
        return decode_row(value)
    return decode_row(value) if row.targets or row.controls or row.balance or row.count < 0 else row


def row_document(value: bytes | str) -> dict[str, Any]:
    """The window row in a value as plain JSON, three times faster: for values that `decode_row` has accepted."""
    document: dict[str, Any] = msgspec.json.decode(value)
    return document


def encode_milestone(event: MilestoneEvent) -> bytes:
    """Value of a milestone event, to be sent with `outputs.MILESTONE_HEADERS`."""
    return event.model_dump_json().encode()


def decode_milestone(value: bytes) -> MilestoneEvent:
    """The milestone event of a value."""
    return MilestoneEvent.model_validate_json(value)


def encode_forecast(forecast: Forecast) -> bytes:
    """Value of a forecast."""
    return forecast.model_dump_json().encode()


def decode_forecast(value: bytes) -> Forecast:
    """The forecast of a value."""
    return Forecast.model_validate_json(value)


def encode_violations(order_id: str, violations: Iterable[FoundViolation]) -> bytes:
    """Value of the contradictions in an order's events, each with a message for a person.

    Raises:
        KeyError: A kind of violation has no line in `outputs.VIOLATION_MESSAGES`.
    """
    # The fields of `ViolationRecord`, in a fifth of the time: every delivery that is read before its order makes one.
    listed = []
    for found in violations:
        each = {
            "kind": found.kind,
            "source": found.source,
            "id": found.id,
            "message": VIOLATION_MESSAGES[found.kind],
        }
        listed.append(each | {"order_id": found.order_id} if found.order_id else each)
    return _encode_struct({"order_id": order_id, "violations": listed})


def decode_violations(value: bytes) -> ViolationRecord:
    """The contradictions in an order's events."""
    return ViolationRecord.model_validate_json(value)


def encode_status(status: Status) -> bytes:
    """Value of a status record."""
    return status.model_dump_json().encode()


def decode_status(key: bytes, value: bytes) -> Status:
    """The status in a record, whose key says of what: `partition/N`, `worker/NAME`, `source/NAME` or `topic/NAME`.

    Raises:
        KeyError: The key is none of these.
    """
    return _STATUS_MODELS[key.partition(b"/")[0].decode()].model_validate_json(value)


# Internal records ---------------------------------------------------------------------------------------------------


def encode_note(note: Quarantine | Replayed | Gap) -> bytes:
    """Value of an operator's note; its key is the `notes.Place` of the record."""
    return note.model_dump_json().encode()


def decode_quarantine(value: bytes) -> Quarantine:
    """The order to skip a record."""
    return Quarantine.model_validate_json(value)


def decode_gap(value: bytes) -> Gap:
    """The note that a gap was accepted."""
    return Gap.model_validate_json(value)


def decode_replayed(value: bytes) -> Replayed:
    """The note that a dead letter was published again."""
    return Replayed.model_validate_json(value)


def encode_day_count(count: DayCount) -> bytes:
    """Value of a day's count."""
    return _encode_struct(count)


def decode_day_count(value: bytes) -> DayCount:
    """The count of a value, of a day or of an hour of a campaign.

    Raises:
        ValueError: It is neither.
    """
    count = _decode_day_count(value)
    if len(count.by_hour) not in _PARTS:
        raise ValueError(f"a count has 24 hours or 60 minutes, not {len(count.by_hour)}")
    return count


def encode_marker(marker: Marker) -> bytes:
    """Value of a marker."""
    return _encode_struct(marker)


def decode_marker(value: bytes) -> Marker:
    """The marker of a value."""
    return _decode_marker(value)


def encode_memory(state: SideState | Held | FoundAt | KeptRecord | LastExpected) -> bytes:
    """Value of something that the totals remember; `memory.key_of` makes its key."""
    return _encode_struct(state)


def decode_side_state(value: bytes) -> SideState:
    """The state of a side topic."""
    return _decode_side_state(value)


def decode_held(value: bytes) -> Held:
    """The time since which a retraction has been held back."""
    return _decode_held(value)


def decode_kept(value: bytes) -> KeptRecord:
    """The date from which days of a set of scopes have rows."""
    return _decode_kept(value)


def decode_expected(value: bytes) -> LastExpected:
    """What was last known about a target's forecast."""
    return _decode_expected(value)


def decode_cut(value: bytes) -> FoundAt:
    """What had been taken in when the unit of a milestone was found."""
    return _decode_cut(value)


def encode_snapshot_part(part: RowBlock | SeriesBlock | PeriodBlock | SnapshotHead) -> bytes:
    """Value of a part of a snapshot before compression: equal parts have equal values."""
    return _encode_struct(part) if isinstance(part, SnapshotHead) else _encode_packed(part)


def compress_snapshot_part(value: bytes, generation: str) -> bytes:
    """The value as written: compressed, with the generation it belongs to."""
    return generation.encode() + b"\n" + zlib.compress(value, _ZLIB_LEVEL)


def snapshot_generation(value: bytes) -> str:
    """The generation in a value made by `compress_snapshot_part`."""
    return value.partition(b"\n")[0].decode()


def expand_snapshot_part(value: bytes) -> bytes:
    """Inverts `compress_snapshot_part`.

    Raises:
        ValueError: It is not such a value.
    """
    try:
        return zlib.decompress(value.partition(b"\n")[2])
    except zlib.error as error:
        raise ValueError(f"not a part of a snapshot: {error}") from None


def decode_row_block(value: bytes) -> RowBlock:
    """The rows of a snapshot in an expanded value."""
    return _decode_row_block(value)


def decode_series_block(value: bytes) -> SeriesBlock:
    """The series of a snapshot in an expanded value."""
    return _decode_series_block(value)


def decode_period_block(value: bytes) -> PeriodBlock:
    """The periods of a snapshot in an expanded value."""
    return _decode_period_block(value)


def decode_snapshot_head(value: bytes) -> SnapshotHead:
    """The head of a snapshot in an expanded value."""
    return _decode_snapshot_head(value)
