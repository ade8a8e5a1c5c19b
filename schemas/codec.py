"""Bytes <-> values of the program. Other packages read and write topics only through this module.

Reading an input event has two ways: `schemas.hotpath` for the plain events that nearly all are, and `schemas.authority`
for everything that the fast way does not accept. Reading what this service wrote itself raises `ValueError` where it
cannot be read: then something is broken, and processing must stop.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import msgspec
import orjson

from schemas import hotpath
from schemas.authority import MAX_RECORD_BYTES, SourceRecord, read_control, read_fact, read_target
from schemas.facts import DayCount
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
from schemas.rows import CheckedRow, PlainRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from schemas.events import ControlTotal, Event, PlanEvent
    from schemas.facts import Fact, Rejection

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
#: A third of the time of the default level, for a tenth more bytes.
_ZLIB_LEVEL: Final = 1

_STATUS_MODELS: Final[dict[str, type[PartitionStatus | WorkerStatus | SourceStatus | TopicStatus]]] = {
    "partition": PartitionStatus,
    "worker": WorkerStatus,
    "source": SourceStatus,
    "topic": TopicStatus,
}


class FoundViolation(Protocol):
    """A contradiction as the domain finds it: its kind, the offending event's identity, and its order if that is another one's."""

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
    """Decodes records of the orders or deliveries; the result has one element a record, in their order.

    Args:
        records: Any mixture of valid and invalid ones.
        topic: Number of the source topic (`schemas.facts.topic_number`).
        future_limit_us: How far an event's time may be ahead of its append time, microseconds.
        max_bytes: Largest size of key, value and headers together.
        framed: Whether JSON in the wire format of a schema registry is accepted.
    """
    facts = hotpath.plain_facts(records, topic=topic, future_limit_us=future_limit_us, max_bytes=max_bytes)
    found: list[Fact | Rejection | None] = [*facts]
    # Records that are still bytes are made only where they are looked at.
    for index, fact in enumerate(facts):
        if fact is None:
            found[index] = read_fact(
                records[index], topic=topic, future_limit_us=future_limit_us, max_bytes=max_bytes, framed=framed
            )
    return cast("list[Fact | Rejection]", found)


def decode_target(
    record: SourceRecord, *, future_limit_us: int, max_bytes: int = MAX_RECORD_BYTES, framed: bool = False
) -> PlanEvent | Rejection:
    """Decodes a record of the targets; `framed` as for `decode_batch`."""
    return read_target(record, future_limit_us=future_limit_us, max_bytes=max_bytes, framed=framed)


def decode_control(
    record: SourceRecord, *, future_limit_us: int, max_bytes: int = MAX_RECORD_BYTES, framed: bool = False
) -> ControlTotal | Rejection:
    """Decodes a record of the control totals; `framed` as for `decode_batch`."""
    return read_control(record, future_limit_us=future_limit_us, max_bytes=max_bytes, framed=framed)


def decode_document(text: bytes | str) -> Any:
    """The value of a JSON text, quickly: to look at, not to judge by.

    Raises:
        ValueError: It is none, or goes beyond what is quickly read.
    """
    return orjson.loads(text)


def encode_document(document: Any) -> bytes:
    """A JSON value as text, quickly."""
    return orjson.dumps(document)


def encode_event(event: Event) -> bytes:
    """The event in structured mode, without what is absent."""
    return event.model_dump_json(exclude_none=True).encode()


# Outputs ------------------------------------------------------------------------------------------------------------


def encode_row(row: WindowRow | PlainRow) -> bytes:
    """Value of a window row; the same of either kind."""
    return _encode_struct(row) if isinstance(row, PlainRow) else row.model_dump_json().encode()


def full_row(row: WindowRow | PlainRow) -> WindowRow:
    """The model of a row."""
    return decode_row(_encode_struct(row)) if isinstance(row, PlainRow) else row


def decode_row(value: bytes) -> WindowRow:
    """The window row of a value."""
    return WindowRow.model_validate_json(value)


def read_row(value: bytes) -> WindowRow | PlainRow:
    """The window row of a value, in a fifth of the time where it has no targets, control totals and opening balance: as most have none.

    For values that this service has written.
    """
    row = _decode_plain_row(value)
    return decode_row(value) if row.targets or row.controls or row.balance else row


def checked_row(value: bytes) -> WindowRow | PlainRow:
    """The window row of a value from anywhere: as `decode_row`, in a fifth of the time where `read_row` is as fast.

    Raises:
        ValueError: It is none.
    """
    try:
        row = _decode_checked_row(value)
    except msgspec.DecodeError:
        # Who says what is wrong with it.
        return decode_row(value)
    return decode_row(value) if row.targets or row.controls or row.balance or row.count < 0 else row


def row_document(value: bytes | str) -> dict[str, Any]:
    """The window row of a value as plain JSON, in a third of the time: for values that `decode_row` has accepted."""
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
    # As `ViolationRecord` has it, in a fifth of the time: a delivery that is read before its order makes one.
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
    """What is contradictory in an order's events."""
    return ViolationRecord.model_validate_json(value)


def encode_status(status: Status) -> bytes:
    """Value of a status record."""
    return status.model_dump_json().encode()


def decode_status(key: bytes, value: bytes) -> Status:
    """The status of a record whose key says whose: `partition/N`, `worker/NAME`, `source/NAME` or `topic/NAME`.

    Raises:
        KeyError: The key is none of these.
    """
    return _STATUS_MODELS[key.partition(b"/")[0].decode()].model_validate_json(value)


# Internal records ---------------------------------------------------------------------------------------------------


def encode_note(note: Quarantine | Replayed | Gap) -> bytes:
    """Value of an operator's note; its key is the `notes.Place` of the record."""
    return note.model_dump_json().encode()


def decode_quarantine(value: bytes) -> Quarantine:
    """The order to pass a record over."""
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
    """The day's count of a value."""
    return _decode_day_count(value)


def encode_marker(marker: Marker) -> bytes:
    """Value of a marker."""
    return _encode_struct(marker)


def decode_marker(value: bytes) -> Marker:
    """The marker of a value."""
    return _decode_marker(value)


def encode_memory(state: SideState | Held | FoundAt | KeptRecord | LastExpected) -> bytes:
    """Value of what the totals remember; its key is made by `memory.key_of`."""
    return _encode_struct(state)


def decode_side_state(value: bytes) -> SideState:
    """The state of a side topic."""
    return _decode_side_state(value)


def decode_held(value: bytes) -> Held:
    """Since when a retraction is held back."""
    return _decode_held(value)


def decode_kept(value: bytes) -> KeptRecord:
    """From when on days of a set of scopes have rows."""
    return _decode_kept(value)


def decode_expected(value: bytes) -> LastExpected:
    """What was last known of a target's forecast."""
    return _decode_expected(value)


def decode_cut(value: bytes) -> FoundAt:
    """What had been taken when the unit of a milestone was found."""
    return _decode_cut(value)


def encode_snapshot_part(part: RowBlock | SeriesBlock | PeriodBlock | SnapshotHead) -> bytes:
    """Value of a part of a snapshot, not compressed yet: equal parts have equal ones."""
    return _encode_struct(part) if isinstance(part, SnapshotHead) else _encode_packed(part)


def compress_snapshot_part(value: bytes, generation: str) -> bytes:
    """The same as it is written, with the generation that it belongs to."""
    return generation.encode() + b"\n" + zlib.compress(value, _ZLIB_LEVEL)


def snapshot_generation(value: bytes) -> str:
    """The generation of what `compress_snapshot_part` has made."""
    return value.partition(b"\n")[0].decode()


def expand_snapshot_part(value: bytes) -> bytes:
    """The value that `compress_snapshot_part` was given.

    Raises:
        ValueError: It is none.
    """
    try:
        return zlib.decompress(value.partition(b"\n")[2])
    except zlib.error as error:
        raise ValueError(f"not a part of a snapshot: {error}") from None


def decode_row_block(value: bytes) -> RowBlock:
    """Rows of a snapshot, of an expanded value."""
    return _decode_row_block(value)


def decode_series_block(value: bytes) -> SeriesBlock:
    """Series of a snapshot, of an expanded value."""
    return _decode_series_block(value)


def decode_period_block(value: bytes) -> PeriodBlock:
    """Periods of a snapshot, of an expanded value."""
    return _decode_period_block(value)


def decode_snapshot_head(value: bytes) -> SnapshotHead:
    """The head of a snapshot, of an expanded value."""
    return _decode_snapshot_head(value)
