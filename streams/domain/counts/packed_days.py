"""The counts of all ledger partitions of one day, packed: a million days must fit into memory.

A packed day is a MessagePack list of integers, for each partition: its number, units, units loaded as history, how many
hours have any, and those hours with their units. Most days of a narrow scope have one unit, so equal ones are shared.

An hour of a campaign is packed the same way, with its minutes instead of hours.

Days without a row are stored with their month: a list of the same kind, with each day's number in the month, the number of
integers that follow, and these.
"""

from __future__ import annotations

from itertools import compress
from operator import mul
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.facts import DayCount
from schemas.vectors import packed as pack
from schemas.vectors import unpacked as unpack
from streams.domain.time.campaigns import MINUTES
from streams.domain.time.zone import HOURS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_ENTRY: Final = 4
SHARED_BYTES: Final = 24
MOST_SHARED: Final = 65_536
_MASK: Final = (1 << 64) - 1
#: The most hours of a day, or minutes of an hour of a campaign.
MOST_PARTS: Final = MINUTES
#: Sums of hours, or minutes, times these distinguish days whose hours differ, and add up over partitions.
WEIGHTS: Final = tuple(pow(0x9E3779B97F4A7C15, part + 1, 1 << 64) for part in range(MOST_PARTS))
_PARTS: Final = range(MOST_PARTS)
_WEIGHT_OF_HOUR: Final = 0xD1342543DE82EF95

SHARED: dict[bytes, bytes] = {}


class Replaced(NamedTuple):
    """A day after one partition's count has replaced its earlier one.

    Attributes:
        packed: The day.
        units: The partition's units before.
        backfilled: Those of them loaded as history.
        hours: The difference to add to the fingerprint of the hours.
    """

    packed: bytes
    units: int
    backfilled: int
    hours: int


def replace(packed: bytes | None, shard: int, count: DayCount) -> Replaced:
    """The day with a new count of one partition; None is a day without counts. Likewise for an hour of a campaign."""
    pairs: list[int] = []
    hours = 0
    by_hour = count.by_hour
    # Most days of a narrow scope have units in one or two hours.
    for hour in compress(_PARTS, by_hour):
        units = by_hour[hour]
        pairs += (hour, units)
        hours += units * WEIGHTS[hour]
    entry = [shard, count.count, count.backfilled, len(pairs) // 2, *pairs]
    if packed is None:
        return Replaced(_share(pack(entry)), 0, 0, hours & _MASK)
    flat = unpack(packed)
    at, before, backfilled = 0, 0, 0
    while at < len(flat):
        end = at + _ENTRY + 2 * flat[at + 3]
        if flat[at] == shard:
            before, backfilled = flat[at + 1], flat[at + 2]
            for hour, units in zip(flat[at + _ENTRY : end : 2], flat[at + _ENTRY + 1 : end : 2], strict=True):
                hours -= units * WEIGHTS[hour]
            flat[at:end] = entry
            break
        at = end
    else:
        flat += entry
    return Replaced(_share(pack(flat)), before, backfilled, hours & _MASK)


def fingerprint(by_hour: Sequence[int]) -> int:
    """A 64-bit fingerprint of 24 counts by hour."""
    total: int = sum(map(mul, by_hour, WEIGHTS))
    return total & _MASK


def fingerprint_of_minutes(by_minute: Sequence[int]) -> int:
    """The same for the minutes of a campaign, from its first one on."""
    hours = range(-(-len(by_minute) // MINUTES))
    return sum(in_hour(fingerprint(by_minute[hour * MINUTES : (hour + 1) * MINUTES]), hour) for hour in hours) & _MASK


def in_hour(minutes: int, hour: int) -> int:
    """What the fingerprint of an hour's minutes adds to the fingerprint of its campaign."""
    return minutes * pow(_WEIGHT_OF_HOUR, hour + 1, 1 << 64) & _MASK


def minutes_of(hours: Mapping[int, bytes]) -> list[int]:
    """Counts by minute of a campaign, over all partitions, up to the last minute with units.

    Args:
        hours: The campaign's packed hours, by number.
    """
    minutes: list[int] = []
    for hour in range(max(hours, default=-1) + 1):
        minutes += hours_of(hours.get(hour), MINUTES)
    while minutes and not minutes[-1]:
        del minutes[-1]
    return minutes


def put_together(hours: Mapping[int, bytes]) -> bytes:
    """The packed hours of a campaign as one value, for `taken_apart`."""
    flat: list[int] = []
    for hour, packed in sorted(hours.items()):
        cell = unpack(packed)
        flat += (hour, len(cell), *cell)
    return pack(flat)


def taken_apart(packed: bytes | None) -> dict[int, bytes]:
    """The packed hours of a campaign, by number."""
    flat = unpack(packed) if packed is not None else []
    hours: dict[int, bytes] = {}
    at = 0
    while at < len(flat):
        end = at + 2 + flat[at + 1]
        hours[flat[at]] = pack(flat[at + 2 : end])
        at = end
    return hours


def hours_of(packed: bytes | None, parts: int = HOURS) -> list[int]:
    """24 counts by local hour, or `parts` counts by minute, over all partitions."""
    hours = [0] * parts
    if packed is not None:
        flat = unpack(packed)
        at = 0
        while at < len(flat):
            end = at + _ENTRY + 2 * flat[at + 3]
            for hour, units in zip(flat[at + _ENTRY : end : 2], flat[at + _ENTRY + 1 : end : 2], strict=True):
                hours[hour] += units
            at = end
    return hours


def of_shard(packed: bytes | None, shard: int, parts: int = HOURS) -> DayCount:
    """One partition's count, without its latest unit; zero if it has counted none."""
    flat = unpack(packed) if packed is not None else []
    at = 0
    while at < len(flat):
        end = at + _ENTRY + 2 * flat[at + 3]
        if flat[at] == shard:
            hours = [0] * parts
            for place in range(at + _ENTRY, end, 2):
                hours[flat[place]] = flat[place + 1]
            return DayCount(flat[at + 1], flat[at + 2], hours, None)
        at = end
    return DayCount(0, 0, [0] * parts, None)


def of_hours(by_hour: Sequence[int]) -> bytes:
    """A packed day with these 24 counts by local hour."""
    pairs = [number for hour, units in enumerate(by_hour) if units for number in (hour, units)]
    return _share(pack([0, sum(by_hour), 0, len(pairs) // 2, *pairs]))


def counts_of(packed: bytes | None) -> Iterator[tuple[int, int]]:
    """(partition, units) for each partition."""
    flat = unpack(packed) if packed is not None else []
    at = 0
    while at < len(flat):
        yield flat[at], flat[at + 1]
        at += _ENTRY + 2 * flat[at + 3]


def sums_of(packed: bytes | None) -> tuple[int, int]:
    """Units, and those of them loaded as history, over all partitions."""
    flat = unpack(packed) if packed is not None else []
    at = units = backfilled = 0
    while at < len(flat):
        units += flat[at + 1]
        backfilled += flat[at + 2]
        at += _ENTRY + 2 * flat[at + 3]
    return units, backfilled


def put_away(month: bytes | None, day: int, packed: bytes | None) -> bytes:
    """The month with a packed day, instead of what it had for that day; None is a day without counts."""
    flat = unpack(month) if month is not None else []
    cell = unpack(packed) if packed is not None else []
    at = 0
    while at < len(flat) and flat[at] < day:
        at += 2 + flat[at + 1]
    end = at + 2 + flat[at + 1] if at < len(flat) and flat[at] == day else at
    flat[at:end] = [day, len(cell), *cell]
    return _share(pack(flat))


def taken_out(month: bytes | None, day: int) -> bytes | None:
    """The packed day that a month has for a day; None if it has none."""
    flat = unpack(month) if month is not None else []
    at = 0
    while at < len(flat):
        end = at + 2 + flat[at + 1]
        if flat[at] == day:
            return pack(flat[at + 2 : end])
        at = end
    return None


def in_month(month: bytes | None) -> Iterator[tuple[int, int, int]]:
    """For each day that a month has: its number, units, and those of them loaded as history."""
    flat = unpack(month) if month is not None else []
    at = 0
    while at < len(flat):
        day, end = flat[at], at + 2 + flat[at + 1]
        at += 2
        units = backfilled = 0
        while at < end:
            units += flat[at + 1]
            backfilled += flat[at + 2]
            at += _ENTRY + 2 * flat[at + 3]
        yield day, units, backfilled


def shared(packed: bytes | None) -> bytes | None:
    """The same packed day; equal short ones are one object in memory."""
    return _share(packed) if packed is not None else None


def _share(packed: bytes) -> bytes:
    if len(packed) > SHARED_BYTES:
        return packed
    if len(SHARED) >= MOST_SHARED:
        SHARED.clear()
    return SHARED.setdefault(packed, packed)
