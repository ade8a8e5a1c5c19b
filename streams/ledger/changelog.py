"""The ledger's changelog: orders in chunks, which are merged by size.

A chunk is a record with the complete blobs of the orders that a commit touched. A later chunk replaces what earlier ones hold
of the same order; so chunks are merged by writing the current blobs of their orders as a new chunk, and tombstones for the
old ones, in one transaction. Sixteen chunks of similar size are merged; when less than half of the log is current, everything
is rewritten, a piece per commit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas import changelog as records
from schemas.changelog import FULL_BYTES, STATE_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["FULL_BYTES", "STATE_KEY", "Changelog"]

#: Size from which a chunk is not merged by tier: writing it again would cost more than it saves.
_SETTLED_BYTES = 128 * 1024
_TIER_CHUNKS = 16
_SMALLEST_TIER_BYTES = 1024
_TIER_FACTOR = 8
_SWEEP_SLACK_BYTES = 8 << 20
#: Obsolete chunks in one commit.
_DROPPED_AT_ONCE = 200


@dataclass
class _Chunk:
    size: int
    order_ids: list[str] | None  # None for a settled chunk: it is never merged by tier


class Changelog:
    """Knows which chunks the log holds, and what to write next.

    Args:
        blob: The current blob of an order, or of another entry by its id; empty if it is gone.
        order_ids: The ids of all entries; entries may be added while they are iterated over.
        of: The prefix of its chunks' keys.
    """

    def __init__(
        self, blob: Callable[[str], bytes], order_ids: Callable[[], Iterable[str]], of: bytes = records.ORDER_CHUNKS
    ) -> None:
        self._of = of
        self._blob = blob
        self._order_ids = order_ids
        self._chunks: dict[int, _Chunk] = {}
        #: Chunks that were read and not yet taken, by number, as they are in the log.
        self._read: dict[int, bytes] = {}
        self._next_id = 0
        self._bytes = 0
        self._sweep: Iterator[str] | None = None
        self._sweep_old: list[int] = []

    def __len__(self) -> int:
        return len(self._chunks)

    @property
    def size(self) -> int:
        """Bytes of all chunks that are not tombstoned, before compression."""
        return self._bytes

    # Restoring ------------------------------------------------------------------------------------------------------

    def is_chunk(self, key: bytes) -> bool:
        """Whether a record of the changelog topic is a chunk of this one."""
        return records.is_chunk(key, self._of)

    def read(self, key: bytes, value: bytes | None) -> None:
        """Takes a chunk's record, or the tombstone of one. Called in the order of the log."""
        number = records.chunk_number(key)
        self._next_id = max(self._next_id, number + 1)
        known = self._chunks.pop(number, None)
        if known is not None:
            self._bytes -= known.size
        self._read.pop(number, None)
        if value is not None:
            # Size and orders follow in `chunks`.
            self._chunks[number] = _Chunk(0, None)
            self._read[number] = value

    def chunks(self, *, latest_first: bool = False) -> Iterator[records.Chunk]:
        """The chunks read since the last call that have no tombstone; later ones replace what earlier ones have of an order.

        Each is valid until `KEPT_CHUNKS` more were asked for. All of them must be taken before anything is written.
        """
        numbers = list(self._read)
        if latest_first:
            numbers.reverse()
        decompressing = records.Decompressing()
        for number in numbers:
            chunk = decompressing.chunk(self._read.pop(number))
            self._add(number, chunk)
            yield chunk

    # Writing --------------------------------------------------------------------------------------------------------

    def write(self, chunks: Iterable[bytes], state_bytes: int) -> list[tuple[bytes, bytes | None]]:
        """The records of one commit: those of the touched orders, and of a bounded amount of merging.

        Args:
            chunks: The touched orders and their current blobs, as `encode_chunks` encodes them.
            state_bytes: Total size of all current blobs and ids.
        """
        written: list[tuple[bytes, bytes | None]] = [self._record(chunk) for chunk in chunks]
        written += self._merge_one_tier()
        written += self._sweep_a_piece(state_bytes)
        return written

    def _record(self, chunk: bytes) -> tuple[bytes, bytes]:
        number, self._next_id = self._next_id, self._next_id + 1
        self._add(number, chunk)
        return records.chunk_key(number, self._of), records.compressed(chunk)

    def _add(self, number: int, chunk: records.Chunk) -> None:
        is_settled = len(chunk) >= _SETTLED_BYTES
        order_ids = None if is_settled else [order_id for order_id, _ in records.decode_entries(chunk)]
        self._chunks[number] = _Chunk(len(chunk), order_ids)
        self._bytes += len(chunk)

    def _merge_one_tier(self) -> Iterator[tuple[bytes, bytes | None]]:
        tiers: dict[int, list[int]] = {}
        for number, chunk in self._chunks.items():
            if chunk.order_ids is not None:
                tier = tiers.setdefault(_tier(chunk.size), [])
                tier.append(number)
                if len(tier) == _TIER_CHUNKS:
                    yield from self._rewrite(tier)
                    return

    def _rewrite(self, numbers: list[int]) -> Iterator[tuple[bytes, bytes | None]]:
        order_ids = dict.fromkeys(order_id for number in numbers for order_id in self._chunks[number].order_ids or ())
        for chunk in records.encode_chunks(((order_id, self._blob(order_id)) for order_id in order_ids), FULL_BYTES):
            yield self._record(chunk)
        yield from self._drop(numbers)

    def _drop(self, numbers: Iterable[int]) -> Iterator[tuple[bytes, None]]:
        for number in numbers:
            chunk = self._chunks.pop(number, None)
            if chunk is not None:
                self._bytes -= chunk.size
                yield records.chunk_key(number, self._of), None

    def _sweep_a_piece(self, state_bytes: int) -> Iterator[tuple[bytes, bytes | None]]:
        if self._sweep is None:
            if self._bytes <= 2 * state_bytes + _SWEEP_SLACK_BYTES:
                return
            self._sweep_old = list(self._chunks)
            self._sweep = iter(self._order_ids())
        entries = ((order_id, self._blob(order_id)) for order_id in self._sweep)
        chunk = next(records.encode_chunks(entries, FULL_BYTES), None)
        if chunk is not None:
            yield self._record(chunk)
            return
        # Every order is now in a chunk written since the sweep began, so older chunks are obsolete.
        obsolete, self._sweep_old = self._sweep_old[:_DROPPED_AT_ONCE], self._sweep_old[_DROPPED_AT_ONCE:]
        yield from self._drop(obsolete)
        if not self._sweep_old:
            self._sweep = None


def _tier(size: int) -> int:
    tier, limit = 0, _SMALLEST_TIER_BYTES
    while size >= limit:
        tier, limit = tier + 1, limit * _TIER_FACTOR
    return tier
