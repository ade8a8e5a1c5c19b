"""The hours in which events of an event source came: a record among the day counts, and one among what the totals remember.

Its key is `shard|hours|FAMILY|SOURCE`. Except for dates long past, hours are only ever added, so records can be merged in any order.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schemas.facts import EventFamily

_HOURS: Final = "hours"
#: Hexadecimal digits of the 24 hours of a date.
_DIGITS: Final = 6


class SourceKey(NamedTuple):
    """An event source: the events of one family with one `source`."""

    family: EventFamily
    source: str

    @classmethod
    def parse(cls, text: str) -> SourceKey:
        """Parses what `str` returned."""
        family, _, source = text.partition("|")
        return cls(cast("EventFamily", family), source)

    def __str__(self) -> str:
        return f"{self.family}|{self.source}"


class _Hours(msgspec.Struct, frozen=True):
    """Six hexadecimal digits for each date from the first one on; the lowest bit is hour 0."""

    since: date
    hours: str


def encode_hours_key(shard: int, of: SourceKey) -> bytes:
    """The key among the day counts for a source's hours in ledger partition `shard`."""
    return f"{shard}|{_HOURS}|{of}".encode()


def decode_hours_key(key: bytes) -> SourceKey | None:
    """The source that a key among the day counts is about; None for other keys."""
    _, kind, *rest = key.decode().split("|", 2)
    return SourceKey.parse(rest[0]) if kind == _HOURS and rest else None


def encode_hours(days: Mapping[int, int]) -> bytes:
    """The value for dates, at least one, given as ordinal → its hours as bits."""
    first, last = min(days), max(days)
    hours = "".join(f"{days.get(day, 0):0{_DIGITS}x}" for day in range(first, last + 1))
    return msgspec.json.encode(_Hours(date.fromordinal(first), hours))


def decode_hours(value: bytes) -> dict[int, int]:
    """Inverts `encode_hours`, without dates that have no hours."""
    found = _decode(value)
    first, texts = found.since.toordinal(), found.hours
    masks = (int(texts[at : at + _DIGITS], 16) for at in range(0, len(texts), _DIGITS))
    return {first + number: mask for number, mask in enumerate(masks) if mask}


_decode = msgspec.json.Decoder(_Hours).decode
