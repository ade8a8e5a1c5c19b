"""The absolute counts of a partition by series and date, and what a step changes in them; compiled in `_steps.pyx`.

A series is a metric and a scope. Counts leave in the form of their records, without an object for each.
"""

from __future__ import annotations

from datetime import date
from operator import attrgetter
from typing import TYPE_CHECKING

from schemas.codec import encode_day_count
from schemas.facts import DayCount, Fact, LatestUnit
from streams.domain.orders.sums import BACKFILL, LEAVING
from streams.domain.time.zone import HOURS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from streams.domain.orders.packing import Word
    from streams.domain.orders.sums import DaySum

rank = attrgetter("time_us", "id", "source", "topic", "partition", "offset")


def latest_of(facts: Iterable[Fact]) -> LatestUnit | None:
    """The unit of the latest of some events, if there is any."""
    latest = max(facts, key=rank, default=None)
    return LatestUnit(*rank(latest)) if latest is not None else None


def later(one: LatestUnit | None, other: LatestUnit | None) -> LatestUnit | None:
    """The later of two units by (time, id); the rest only makes the choice the same in every run. The first if they are the same."""
    if one is None or other is None:
        return one or other
    return other if rank(other) > rank(one) else one


class CountedPart:
    """The absolute counts of one series on one date, or in one hour of a campaign."""

    __slots__ = ("backfilled", "by_hour", "count", "has_left", "latest", "newest")

    def __init__(self, parts: int = HOURS) -> None:
        self.count = 0
        self.backfilled = 0
        self.by_hour = [0] * parts
        self.latest: LatestUnit | None = None
        #: The latest of all units, as long as none has been removed; after that it is unknown until there are none.
        self.newest: LatestUnit | None = None
        self.has_left = False

    def add(self, parts: Mapping[int, int], flags: int) -> None:
        """Adds units to hours, or minutes; the flags are those in the key of a sum."""
        by_hour, count = self.by_hour, 0
        for part, units in parts.items():
            by_hour[part] += units
            count += units
        self.count += count
        if flags & BACKFILL:
            self.backfilled += count
        if flags & LEAVING:
            self.has_left = True

    def end_step(self, latest: LatestUnit | None) -> None:
        """Takes the latest unit that a step has added, None if it has added none."""
        if latest is not None:
            self.latest = latest
        if not self.count:
            self.newest, self.has_left = None, False
        elif self.has_left:
            self.newest = None
        elif latest is not None and (self.newest is None or rank(latest) > rank(self.newest)):
            self.newest = latest

    def encode(self) -> bytes:
        """As the value of its record."""
        is_newest = self.latest is not None and self.latest is self.newest
        return encode_day_count(DayCount(self.count, self.backfilled, self.by_hour, self.latest, is_newest))


class CountedDays:
    """All days of a partition.

    Args:
        names: By the number of a series, how what its counts are about begins: `metric|scope|`. The list may grow.
    """

    def __init__(self, names: Sequence[bytes]) -> None:
        self._names = names
        self._days: dict[tuple[int, int], CountedPart] = {}
        self._keys: list[tuple[int, int]] = []
        #: The days that the step has changed, each with the latest unit added.
        self._touched: dict[tuple[int, int], LatestUnit | None] = {}
        self._order: list[tuple[int, int]] = []

    def __len__(self) -> int:
        """The number of days that ever had a count."""
        return len(self._days)

    def add(self, series: Sequence[int], ordinal: int, change: DaySum, flags: int, words: Sequence[Word]) -> None:
        """Adds units to a date of some series.

        Args:
            series: Their numbers.
            ordinal: The date's.
            change: The units.
            flags: Those in the key of the sum.
            words: The vocabulary of packed events.
        """
        latest = latest_of(change.latest(words))
        for number in series:
            key = number, ordinal
            self._day(key).add(change.by_hour, flags)
            self._touched[key] = later(self._touched.get(key), latest)

    def add_counted(
        self, series: int, ordinal: int, by_hour: Sequence[int], backfilled: int, latest: list[Fact]
    ) -> None:
        """Adds units to a date of a series, with the events that have the latest time."""
        key = series, ordinal
        day = self._day(key)
        day.add(dict(enumerate(by_hour)), 0)
        day.backfilled += backfilled
        self._touched[key] = later(self._touched.get(key), latest_of(latest))

    def _day(self, key: tuple[int, int]) -> CountedPart:
        day = self._days.get(key)
        if day is None:
            day = self._days[key] = CountedPart()
            self._keys.append(key)
        return day

    def begin_ending(self) -> int:
        """Begins to end the step, during which nothing may be added. Returns the number of days that it has changed."""
        self._order = sorted(self._touched)
        return len(self._order)

    def end(self, first: int, end: int) -> None:
        """Ends the step for some of the changed days, by their numbers in the order of series and dates."""
        for key in self._order[first:end]:
            self._days[key].end_step(self._touched[key])

    def changed(self, first: int, end: int) -> dict[bytes, bytes]:
        """What these counts are about, as in `schemas.counts.encode_counted`, and their values."""
        return {self._counted(key): self._days[key].encode() for key in self._order[first:end]}

    def end_step(self) -> None:
        """Forgets what the step has changed."""
        self._touched, self._order = {}, []

    def all(self, first: int, end: int) -> dict[bytes, bytes]:
        """As `changed`, for some of all days, in the order in which they got their first count."""
        return {self._counted(key): self._days[key].encode() for key in self._keys[first:end]}

    def units(self, series: int, ordinal: int) -> int:
        """The count of a date; 0 if there is none."""
        day = self._days.get((series, ordinal))
        return day.count if day is not None else 0

    def by_hour(self, series: int, ordinal: int) -> list[int]:
        """Its 24 counts by hour."""
        day = self._days.get((series, ordinal))
        return day.by_hour if day is not None else [0] * HOURS

    def _counted(self, key: tuple[int, int]) -> bytes:
        return self._names[key[0]] + date.fromordinal(key[1]).isoformat().encode()
