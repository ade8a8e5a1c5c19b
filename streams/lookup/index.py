"""The index of one changelog partition: its current chunks and what they hold, its vocabulary, its last marker.

Of the orders themselves it keeps only hashes: of order numbers, event ids, VINs and dates.
"""

from __future__ import annotations

import base64
import contextlib
import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from schemas.changelog import STATE_KEY, chunk_number, decode_entries, decode_words, is_chunk, is_words
from schemas.codec import decode_marker
from streams.domain.orders.packing import Vocabulary, terms
from streams.domain.time.zone import QUARTER_HOUR_US
from streams.kafka.records import record_key, record_value
from streams.lookup.postings import Postings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date
    from pathlib import Path

    from schemas.changelog import Entries
    from schemas.outputs import Marker
    from streams.domain.time.zone import BusinessZone
    from streams.kafka.records import LogRecord

#: What can be searched for; the number is part of the hash, so that an order and an event with the same text differ.
ORDER: Final = 1
EVENT: Final = 2
VIN: Final = 3
DAY: Final = 4
#: The date of an event that names a vehicle: deliveries are written on their day, whenever their orders were placed.
VEHICLE_DAY: Final = 5

_MANIFEST: Final = "index.json"
_FORMAT: Final = 3


def hash_of(kind: int, text: bytes) -> int:
    """The hash under which something is indexed."""
    return crc32(text, kind)


@lru_cache(maxsize=4096)
def _day_hash(ordinal: int, kind: int) -> int:
    return crc32(b"%d" % ordinal, kind)


class PartitionIndex:
    """The index of one partition.

    Args:
        zone: The business time zone, for the dates of events.

    Attributes:
        next: The offset to read next.
        marker: The last marker read.
        vocabulary: The words used in packed events.
        newest_ms: The greatest timestamp of any record read, milliseconds since 1970.
        last: The offset of the last record read; only transaction markers lie between it and `next`.
        topic_id: The id of the topic that was read; empty if brokers give none.
    """

    def __init__(self, zone: BusinessZone) -> None:
        self._zone = zone
        self.reset()

    def reset(self) -> None:
        """Forgets everything."""
        self.next = 0
        self.newest_ms = self.last = -1
        self.topic_id = ""
        self.marker: Marker | None = None
        self.vocabulary = Vocabulary()
        self._state = b""
        self._chunks: dict[int, int] = {}
        self._postings = Postings()

    @property
    def chunks(self) -> list[int]:
        """Offsets of the current chunks, the oldest first."""
        return list(self._chunks.values())

    def add(self, records: Iterable[LogRecord]) -> None:
        """Takes records in the order of the log."""
        state = None
        for record in records:
            key = record_key(record)
            if key == STATE_KEY:
                state = record_value(record)
            elif is_words(key):
                self.vocabulary.restore(decode_words(record_value(record)))
            elif is_chunk(key):
                self._chunk(chunk_number(key), record.offset, record.value)
            self.last, self.next = record.offset, record.offset + 1
            self.newest_ms = max(self.newest_ms, record.timestamp)
        if state is not None:
            self._state, self.marker = state, decode_marker(state)

    def _chunk(self, number: int, offset: int, value: bytes | None) -> None:
        self._chunks.pop(number, None)
        if value is not None:
            self._chunks[number] = offset
            self._postings.add(self._hashes(decode_entries(value)), offset, self._chunks.values())

    def _hashes(self, entries: Entries) -> list[int]:
        found = []
        quarters: dict[int, set[int]] = {DAY: set(), VEHICLE_DAY: set()}
        for order_id, blob in entries:
            found.append(crc32(order_id.encode(), ORDER))
            for identity, vin, time_us in terms(blob):
                found.append(crc32(identity, EVENT))
                if vin:
                    found.append(crc32(vin, VIN))
                    quarters[VEHICLE_DAY].add(time_us // QUARTER_HOUR_US)
                quarters[DAY].add(time_us // QUARTER_HOUR_US)
        for kind, of_kind in quarters.items():
            found += {_day_hash(day, kind) for quarter in of_kind for day in self._days_of(quarter)}
        return found

    def _days_of(self, quarter: int) -> set[int]:
        """The dates, as ordinals, that a quarter-hour belongs to."""
        first_us = quarter * QUARTER_HOUR_US
        return {self._zone.date_of(time_us).toordinal() for time_us in (first_us, first_us + QUARTER_HOUR_US - 1)}

    def find(self, kind: int, text: bytes) -> list[int]:
        """Offsets of the current chunks that may hold it, the latest first."""
        live = set(self._chunks.values())
        return sorted(self._postings.find(hash_of(kind, text)) & live, reverse=True)

    def find_days(self, days: Iterable[date], *, of_vehicles: bool = False) -> list[int]:
        """Offsets of the current chunks that have an event of any of these dates, the latest first.

        Args:
            days: In the business time zone.
            of_vehicles: Only events that name a vehicle: deliveries and their reversals.
        """
        kind = VEHICLE_DAY if of_vehicles else DAY
        live = set(self._chunks.values())
        found: set[int] = set()
        for day in days:
            found |= self._postings.find(hash_of(kind, b"%d" % day.toordinal()))
        return sorted(found & live, reverse=True)

    # Keeping --------------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Writes the index to a folder."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        names = self._postings.save(folder, self._chunks.values())
        document = {
            "format": _FORMAT,
            "zone": self._zone.key,
            "next": self.next,
            "newest_ms": self.newest_ms,
            "last": self.last,
            "topic_id": self.topic_id,
            "state": base64.b64encode(self._state).decode(),
            "words": self.vocabulary.words,
            "chunks": list(self._chunks.items()),
            "runs": names,
        }
        path, draft = folder / _MANIFEST, folder / f"{_MANIFEST}.new"
        draft.write_text(json.dumps(document, ensure_ascii=False), "utf-8")
        draft.replace(path)
        for old in folder.glob("*.npy"):
            if old.name.partition(".")[0] not in names:
                old.unlink()

    def load(self, folder: Path) -> None:
        """Loads the index from a folder; starts empty if that one is unusable."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            self._take(json.loads((folder / _MANIFEST).read_text("utf-8")), folder)
            return
        self.reset()

    def _take(self, kept: dict[str, Any], folder: Path) -> None:
        if kept["format"] != _FORMAT or kept["zone"] != self._zone.key:
            raise ValueError("kept by another version")
        self.vocabulary.restore(list(enumerate(kept["words"])))
        self._postings.load(folder, kept["runs"])
        self._chunks = dict(kept["chunks"])
        self._state = base64.b64decode(kept["state"])
        self.marker = decode_marker(self._state) if self._state else None
        self.next, self.last, self.newest_ms = kept["next"], kept["last"], kept["newest_ms"]
        self.topic_id = kept["topic_id"]


def entries_with(entries: Entries, order_ids: Sequence[str]) -> dict[str, bytes]:
    """The entries of some orders in a chunk."""
    return {order_id: blob for order_id, blob in entries if order_id in order_ids}
