"""The hours in which each event source has sent events: they show what is usual for it, and whether it is silent.

A set of hours that only grows, so ledger partitions may add to it in any order and repeat an hour. It is bounded: dates long
before the latest one of a source are forgotten, and if there are too many sources, those with the fewest hours are.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from schemas.facts import FAMILY_OF_METRIC, Kind
from schemas.source_hours import SourceKey
from schemas.texts import source_of_scope
from streams.domain.time.zone import HOURS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date

    from schemas.facts import EventFamily, Metric

#: Most sources, with their families, that are kept: those with the most hours.
MOST_SOURCES: Final = 256
#: Dates kept of a source, back from its latest one: as far back as silences, and what is usual, are looked for.
KEPT_DAYS: Final = 84

#: Kind of an event → the family whose source it shows to be alive; voids do not, as operators send them as well.
FAMILY_OF_KIND: Final[Mapping[int, EventFamily]] = {
    Kind.PLACED: "orders",
    Kind.CANCELLED: "orders",
    Kind.DELIVERED: "deliveries",
    Kind.REVERSED: "deliveries",
    Kind.PRODUCED: "production",
    Kind.SCRAPPED: "production",
}


@dataclass(frozen=True, slots=True)
class HoursWithEvents:
    """A date in the form of a day's counts: how many of its hours have events, and which."""

    count: int
    by_hour: Sequence[int]
    backfilled: int = 0


class SourceHours:
    """The hours of the known sources, as cells (see `streams.domain.time.zone`)."""

    def __init__(self) -> None:
        self._days: dict[SourceKey, dict[int, int]] = {}
        self._changed: dict[SourceKey, None] = {}

    def __len__(self) -> int:
        return len(self._days)

    def names(self) -> list[SourceKey]:
        """The known sources."""
        return list(self._days)

    def note(self, of: SourceKey, cells: Iterable[int]) -> None:
        """Notes that events of a source are dated in these hours."""
        days: dict[int, int] = {}
        for cell in cells:
            day, hour = divmod(cell, HOURS)
            days[day] = days.get(day, 0) | 1 << hour
        self.unite(of, days)

    def unite(self, of: SourceKey, days: Mapping[int, int]) -> None:
        """Adds hours: date, as an ordinal → hours, as bits."""
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
        """Date, as an ordinal → hours, as bits; empty for an unknown source."""
        return self._days.get(of, {})

    @property
    def is_changed(self) -> bool:
        """Whether `drain` has something to return."""
        return bool(self._changed)

    def drain(self, most: int | None = None) -> dict[SourceKey, Mapping[int, int] | None]:
        """At most `most` of the sources that have changed since they were last returned, in full; None for one no longer known."""
        given = list(islice(self._changed, most))
        for of in given:
            del self._changed[of]
        return {of: self._days.get(of) for of in given}

    def day(self, metric: Metric, scope: str, day: date) -> HoursWithEvents | None:
        """The hours of a date in which a source, given as a scope, has sent events of a metric's family; None without any."""
        source = source_of_scope(scope)
        found = self.hours_of(SourceKey(FAMILY_OF_METRIC[metric], source or ""))
        mask = found.get(day.toordinal(), 0)
        if not mask:
            return None
        return HoursWithEvents(mask.bit_count(), [mask >> hour & 1 for hour in range(HOURS)])

    def _weight(self, of: SourceKey) -> tuple[int, int, SourceKey]:
        days = self._days[of]
        return sum(mask.bit_count() for mask in days.values()), max(days), of
