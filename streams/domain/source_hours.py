"""In which hours events have come of each event source: what is usual of one, and whether it is silent.

A set of hours that only grows, so that ledger partitions may add to it in any order, and say the same hour again. It is bounded: dates
long before the latest one of a source are forgotten, and of too many sources those with the fewest hours.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from schemas.facts import FAMILIES, FAMILY_OF_METRIC, Kind
from schemas.source_hours import SourceKey
from schemas.texts import source_of_scope
from streams.domain.zone import HOURS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date

    from schemas.facts import EventFamily, Metric

#: Sources of families that are known; of further ones those with the most hours.
MOST_SOURCES: Final = 256
#: Dates of a source, back from its latest one: as far as a silence, and what is usual in it, are looked for.
KEPT_DAYS: Final = 84

#: Kind of an event → the family whose source it is a sign of; voids are none, operators send them as well.
FAMILY_OF_KIND: Final[Mapping[int, EventFamily]] = {
    Kind.PLACED: FAMILIES[0],
    Kind.CANCELLED: FAMILIES[0],
    Kind.DELIVERED: FAMILIES[1],
    Kind.REVERSED: FAMILIES[1],
    Kind.PRODUCED: FAMILIES[2],
    Kind.SCRAPPED: FAMILIES[2],
}


@dataclass(frozen=True, slots=True)
class HoursWithEvents:
    """A date as the counts of a day: how many of its hours have events, and which."""

    count: int
    by_hour: Sequence[int]
    backfilled: int = 0


class SourceHours:
    """The hours of the sources that are known, as cells (see `streams.domain.zone`)."""

    def __init__(self) -> None:
        self._days: dict[SourceKey, dict[int, int]] = {}
        self._changed: dict[SourceKey, None] = {}

    def __len__(self) -> int:
        return len(self._days)

    def names(self) -> list[SourceKey]:
        """The sources that are known."""
        return list(self._days)

    def note(self, of: SourceKey, cells: Iterable[int]) -> None:
        """Events of a source are dated in these hours."""
        days: dict[int, int] = {}
        for cell in cells:
            day, hour = divmod(cell, HOURS)
            days[day] = days.get(day, 0) | 1 << hour
        self.unite(of, days)

    def unite(self, of: SourceKey, days: Mapping[int, int]) -> None:
        """Adds hours, as bits, of dates, as ordinals."""
        known = self._days.get(of, {})
        if all(known.get(day, 0) | mask == known.get(day, 0) for day, mask in days.items()):
            return
        united = {**known, **{day: known.get(day, 0) | mask for day, mask in days.items()}}
        first = max(united) - KEPT_DAYS
        kept = {day: mask for day, mask in united.items() if day > first}
        if kept == known:
            return
        self._days[of] = kept
        self._changed[of] = None
        if len(self._days) > MOST_SOURCES:
            fewest = min(self._days, key=self._weight)
            del self._days[fewest]
            self._changed[fewest] = None

    def hours_of(self, of: SourceKey) -> Mapping[int, int]:
        """Dates, as ordinals, with their hours, as bits; none of a source that is not known."""
        return self._days.get(of, {})

    @property
    def is_changed(self) -> bool:
        """Whether `drain` has something to give."""
        return bool(self._changed)

    def drain(self, most: int | None = None) -> dict[SourceKey, Mapping[int, int] | None]:
        """The sources that have changed since they were given last, so many at most, whole; None for those no longer known."""
        given = list(islice(self._changed, most))
        for of in given:
            del self._changed[of]
        return {of: self._days.get(of) for of in given}

    def day(self, metric: Metric, scope: str, day: date) -> HoursWithEvents | None:
        """The hours of a date in which events of a metric's family have come of a source, given as a scope; None without any."""
        source = source_of_scope(scope)
        found = self.hours_of(SourceKey(FAMILY_OF_METRIC[metric], source or ""))
        mask = found.get(day.toordinal(), 0)
        if not mask:
            return None
        return HoursWithEvents(mask.bit_count(), [mask >> hour & 1 for hour in range(HOURS)])

    def _weight(self, of: SourceKey) -> tuple[int, int, SourceKey]:
        days = self._days[of]
        return sum(mask.bit_count() for mask in days.values()), max(days), of
