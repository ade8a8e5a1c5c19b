"""Record batches in the format that brokers store."""

from __future__ import annotations

import struct
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from streams.kafka.whole_batches import WholeBatches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.kafka.records import LogRecord

_APPEND_TIME: Final = 0b1000
_CONTROL: Final = 0b10_0000


class Layout:
    """Offsets and formats of the fields of a batch."""

    BASE_OFFSET = struct.Struct(">q"), 0
    CHECKSUM = struct.Struct(">I"), 17
    ATTRIBUTES = struct.Struct(">h"), 21
    LAST_DELTA = struct.Struct(">i"), 23
    LAST_TIME = struct.Struct(">q"), 35
    BODY_AT = 61


class Sent(NamedTuple):
    """A record of a batch; its offset is that of the batch plus `place`."""

    place: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()
    timestamp: int = 1_728_280_000_000


class Made(NamedTuple):
    """A batch: its bytes, and the offset after it."""

    data: bytes
    next: int


def batch(
    sent: Sequence[Sent],
    base: int,
    *,
    codec: int = 0,
    producer: int = -1,
    appended_ms: int | None = None,
    control: bool = False,
    gap: int = 0,
) -> Made:
    """Makes a batch.

    Args:
        sent: Its records.
        base: Its offset.
        codec: 0 for none, then those of aiokafka by number.
        producer: Id of the producer whose transaction it belongs to, -1 for none.
        appended_ms: When it was appended, if that is the time of its records.
        control: Whether it is the marker of a transaction's end.
        gap: Number of offsets at its end whose records compaction has removed.
    """
    is_transactional = producer >= 0
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=codec,
        is_transactional=is_transactional,
        producer_id=producer,
        producer_epoch=0 if is_transactional else -1,
        base_sequence=0 if is_transactional else -1,
        batch_size=1 << 24,
    )
    for place, key, value, headers, timestamp in sent:
        assert builder.append(place, timestamp, key, value, list(headers)) is not None
    data = bytearray(builder.build())
    _put(Layout.BASE_OFFSET, data, base)
    attributes = _get(Layout.ATTRIBUTES, data)
    if appended_ms is not None:
        attributes |= _APPEND_TIME
        _put(Layout.LAST_TIME, data, appended_ms)
    if control:
        attributes |= _CONTROL
    _put(Layout.ATTRIBUTES, data, attributes)
    last = _get(Layout.LAST_DELTA, data) + gap
    _put(Layout.LAST_DELTA, data, last)
    return Made(checked(data), base + last + 1)


def checked(data: bytearray) -> bytes:
    """A batch with the right checksum of its content."""
    _put(Layout.CHECKSUM, data, calc_crc32c(bytes(data[Layout.ATTRIBUTES[1] :])))
    return bytes(data)


def marker(base: int, producer: int, *, commits: bool) -> Made:
    """The marker of a transaction's end."""
    sent = Sent(0, struct.pack(">HH", 0, int(commits)), struct.pack(">Hi", 0, 0))
    return batch([sent], base, producer=producer, control=True)


def last_delta(data: bytes) -> int:
    """The offset of a batch's last record, relative to the batch."""
    return _get(Layout.LAST_DELTA, data)


def fetched_whole(records: Sequence[LogRecord], kind: Any) -> Sequence[LogRecord]:
    """Records with append times, as they are read from the bytes of batches.

    Args:
        records: Records of one partition.
        kind: `schemas.hotpath.compiled_records`.
    """
    data = b""
    for appended_ms, some in groupby(records, key=attrgetter("timestamp")):
        together = list(some)
        base = together[0].offset
        sent = [Sent(each.offset - base, each.key, each.value, each.headers, appended_ms) for each in together]
        data += batch(sent, base, appended_ms=appended_ms).data
    first = records[0]
    return WholeBatches(first.topic, first.partition, data, first.offset, (), kind).take(None)[0]


def _get(field: tuple[struct.Struct, int], data: bytes | bytearray) -> int:
    layout, at = field
    return int(layout.unpack_from(data, at)[0])


def _put(field: tuple[struct.Struct, int], data: bytearray, value: int) -> None:
    layout, at = field
    layout.pack_into(data, at, value)
