"""Fetched record batches kept in their original bytes, for the compiled hot path.

aiokafka makes an object of every record. Here a fetch becomes `schemas._scanner.Records`, a sequence that makes an element only
when it is accessed: the ledger reads events straight from the bytes. A reader sees no difference.
"""

from __future__ import annotations

import zlib
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

import cramjam
from aiokafka.codec import gzip_decode, lz4_decode, zstd_decode
from aiokafka.errors import CorruptRecordException
from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from aiokafka.record.util import calc_crc32c

from streams.kafka.records import FetchedRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from streams.kafka.records import LogRecord

#: The head of a batch: base offset, length of the rest, leader epoch, version, checksum, attributes, delta of the last offset,
#: first and last timestamp, producer id and epoch, sequence number, number of records.
_HEAD: Final = Struct(">qiibIhiqqqhii")
_LENGTH: Final = Struct(">i")
_LENGTH_AT: Final = 8
_BEHIND_LENGTH: Final = 12
_VERSION_AT: Final = 16
#: The checksum covers everything from here on.
_CHECKED_AT: Final = 21
_TIME: Final = Struct(">q")
_LAST_TIME_AT: Final = 35
_VERSION: Final = 2

#: Bits of the attributes: codec, append time, transaction, control.
_CODEC: Final = 0b111
_APPEND_TIME: Final = 0b1000
_TRANSACTIONAL: Final = 0b1_0000
_CONTROL: Final = 0b10_0000

#: Most clients compress with Snappy in blocks: this header, the size of each block, and the block.
_SNAPPY_BLOCKS: Final = b"\x82SNAPPY\0" + 2 * (1).to_bytes(4)


def _snappy_decode(data: memoryview) -> bytes:
    """Decompresses Snappy, in blocks or in one piece. aiokafka's function copies every block several times.

    Raises:
        ValueError: A block goes beyond the end.
        cramjam.DecompressionError: A block is damaged.
    """
    at, end = len(_SNAPPY_BLOCKS), len(data)
    if end <= at or data[:at] != _SNAPPY_BLOCKS:
        return bytes(cramjam.snappy.decompress_raw(data))
    blocks = []
    while at < end:
        begin = at + _LENGTH.size
        at = begin + (_LENGTH.unpack_from(data, at)[0] if begin <= end else 0)
        if not begin <= at <= end:
            raise ValueError("a block of Snappy goes beyond its batch")
        blocks.append(cramjam.snappy.decompress_raw(data[begin:at]))
    return b"".join(blocks)


_DECOMPRESS: Final[Mapping[int, Callable[[memoryview], bytes]]] = {
    0: bytes,
    1: gzip_decode,
    2: _snappy_decode,
    3: lz4_decode,
    4: zstd_decode,
}
#: What these functions raise.
_DAMAGED: Final = (ValueError, KeyError, EOFError, OSError, zlib.error, cramjam.DecompressionError)

#: Reading order does not cut a fetch to fewer records: if publishers send small batches, each would be handed over alone.
_LEAST_RECORDS: Final = 500


class WholeBatches:
    """What a fetch of a partition brought; replaces aiokafka's `PartitionRecords`.

    Args:
        topic: The topic.
        partition: The partition's number.
        data: The bytes of the batches.
        offset: The offset from which was fetched.
        aborted: Aborted transactions as (producer id, first offset), by offset.
        records: `schemas._scanner.Records`.

    Attributes:
        next_fetch_offset: The offset after the records taken so far.
        until_ms: Batches appended later are left for another call once enough records have been taken; None for no limit.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what a fetch is answered with
        self,
        topic: str,
        partition: int,
        data: bytes,
        offset: int,
        aborted: Sequence[tuple[int, int]],
        records: Callable[..., Any],
    ) -> None:
        self._place = topic, partition
        self._data = data
        self._view = memoryview(data)
        self._at = 0
        self._aborted = list(reversed(aborted))
        self._aborted_producers: set[int] = set()
        self._records = records
        self._left: Any = self._none()
        self._after_left = offset
        self._left_ms = 0
        self.next_fetch_offset = offset
        self.until_ms: int | None = None

    @property
    def head_ms(self) -> int:
        """When the next record was appended, milliseconds since 1970; 0 if there is none."""
        if self._left:
            return self._left_ms
        at = self._at + _LAST_TIME_AT
        return int(_TIME.unpack_from(self._data, at)[0]) if len(self._data) - at >= _TIME.size else 0

    @staticmethod
    def can_read(data: bytes) -> bool:
        """Whether every batch is in the format that Kafka has written since version 0.11."""
        at = 0
        while len(data) - at > _VERSION_AT:
            length = _LENGTH.unpack_from(data, at + _LENGTH_AT)[0]
            if data[at + _VERSION_AT] != _VERSION or length < _HEAD.size - _BEHIND_LENGTH:
                return False
            at += _BEHIND_LENGTH + length
        return at > 0

    def take(self, most: int | None) -> tuple[Sequence[LogRecord], bool]:
        """The next records, and whether nothing can follow them.

        Raises:
            CorruptRecordException: The bytes are not valid records.
        """
        taken = self._none()
        while most is None or len(taken) < most:
            if self.until_ms is not None and len(taken) >= _LEAST_RECORDS and self.head_ms > self.until_ms:
                break
            if not self._left and not self._read_on():
                return taken, True
            room = len(self._left) if most is None else most - len(taken)
            taken.extend(self._left[:room])
            self._left = self._left[room:]
            self.next_fetch_offset = max(self.next_fetch_offset, taken[-1].offset + 1)
        return taken, False

    def _none(self) -> Any:
        return self._records(*self._place, FetchedRecord)

    def _read_on(self) -> bool:
        """Reads the next batch with visible records. Returns whether there was one; a truncated batch is fetched again."""
        # Also past what compaction removed at the end of the previous batch.
        self.next_fetch_offset = max(self.next_fetch_offset, self._after_left)
        while len(self._data) - self._at >= _HEAD.size:
            head = _HEAD.unpack_from(self._data, self._at)
            base_offset, length, _, _, checksum, attributes, last_delta, first_ms, last_ms, producer, _, _, count = head
            begin, end = self._at + _HEAD.size, self._at + _BEHIND_LENGTH + length
            if end > len(self._data):
                return False
            self._check(base_offset, end, checksum)
            self._at = end
            while self._aborted and self._aborted[-1][1] <= base_offset:
                self._aborted_producers.add(self._aborted.pop()[0])
            is_control = attributes & _CONTROL
            records = self._none()
            if is_control or not (attributes & _TRANSACTIONAL and producer in self._aborted_producers):
                try:
                    body = _DECOMPRESS[attributes & _CODEC](self._view[begin:end])
                    records.add(
                        body,
                        count=count,
                        base_offset=base_offset,
                        first_timestamp=first_ms,
                        append_timestamp=last_ms if attributes & _APPEND_TIME else None,
                        since=0 if is_control else self.next_fetch_offset,
                    )
                except _DAMAGED as error:
                    raise CorruptRecordException(f"{self._name}: the batch at offset {base_offset}: {error}") from error
            if is_control:
                if records and ControlRecord.parse(records[0].key) == ABORT_MARKER:
                    self._aborted_producers.discard(producer)
                records = self._none()
            self._after_left, self._left_ms = base_offset + last_delta + 1, last_ms
            if records:
                self._left = records
                return True
            self.next_fetch_offset = max(self.next_fetch_offset, self._after_left)
        return False

    def _check(self, base_offset: int, end: int, checksum: int) -> None:
        """Raises unless a batch is as it was written: on disks and in memory, bits may flip."""
        if calc_crc32c(self._view[self._at + _CHECKED_AT : end]) != checksum:
            raise CorruptRecordException(f"{self._name}: the batch at offset {base_offset}: its checksum is wrong")

    @property
    def _name(self) -> str:
        return "{}-{}".format(*self._place)


def misplaced(data: bytes, offset: int) -> int | None:
    """The base offset of a batch that cannot be where it is; None if each can.

    No checksum covers base offsets. By a wrong one, records would be left out as already read, or the position would move back
    before what has been read. Two wrong ones cannot be told from right ones: the last batch of a fetch may be said to be further
    on, as if compaction had removed what was before it; and the first one, which may begin before the offset, as if it began
    earlier than it does. Of the first of several batches, as many records are then left out as it is said to begin too early.

    Args:
        data: The bytes of the batches.
        offset: The offset from which was fetched, which is not after the first batch.
    """
    at, least = 0, offset
    while len(data) - at >= _HEAD.size:
        base_offset, length, _, version, _, _, last_delta, *_ = _HEAD.unpack_from(data, at)
        end = at + _BEHIND_LENGTH + length
        if version != _VERSION or not at < end <= len(data):
            return None  # left to the reader
        last = base_offset + last_delta
        if base_offset < 0 or (base_offset if at else last) < least:
            return int(base_offset)
        at, least = end, last + 1
    return None


def take_whole(result: Any, batches: WholeBatches) -> None:
    """Makes aiokafka's fetcher return the records of a fetch from `batches`."""

    def getall(max_records: int | None = None) -> Sequence[LogRecord]:
        if not result.check_assignment(result._topic_partition) or not result.has_more():  # noqa: SLF001 - as the method of aiokafka that it takes the place of
            return []
        records, is_end = batches.take(max_records)
        result._update_position()  # noqa: SLF001 - the same
        if is_end:
            result._partition_records = None  # noqa: SLF001 - the same
        return records

    result._partition_records, result.getall = batches, getall  # noqa: SLF001 - the same
