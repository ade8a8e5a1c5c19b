"""The hours in which each source's events are dated, by all accepted events, and what is published about them."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from schemas.memory import SIDE, SOURCE_HOURS, key_of
from schemas.source_hours import SourceKey, decode_hours, decode_hours_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from tests.simulation.cluster import Entry

#: Type of an event → its family.
_FAMILIES: Final[Mapping[str, Any]] = {
    "order.placed.v1": "orders",
    "order.cancelled.v1": "orders",
    "vehicle.delivered.v1": "deliveries",
    "delivery.reversed.v1": "deliveries",
    "vehicle.produced.v1": "production",
    "production.reversed.v1": "production",
}
_KEPT: Final = timedelta(days=84)
_REMEMBERED: Final = key_of(SIDE, SOURCE_HOURS)

#: A business date and the number of an hour in it.
Hour = tuple[date, int]
Hours = defaultdict[SourceKey, set[Hour]]


class ToldHours:
    """The hours in the records of one ledger partition, or of the totals.

    Args:
        broken: Called with a description of what is wrong.
        place_of: Returns the business date and the hour of an event's time.
    """

    def __init__(self, broken: Callable[[str], None], place_of: Callable[[str], Hour]) -> None:
        self._broken = broken
        self._place_of = place_of
        self.hours: Hours = defaultdict(set)

    def without_these(self, counts: Iterable[Entry]) -> Iterator[Entry]:
        """Takes the records about sources among the counts; yields the others."""
        for entry in counts:
            of = decode_hours_key(entry.key or b"")
            if of is None:
                yield entry
                continue
            if entry.partition:
                self._broken(f"hours of {of} are in partition {entry.partition}")
            self._hear(of, entry.value)

    def hear_memory(self, entries: Iterable[Entry]) -> None:
        """Takes the records of the totals' memory."""
        for entry in entries:
            if (entry.key or b"").startswith(_REMEMBERED):
                self._hear(SourceKey.parse((entry.key or b"").removeprefix(_REMEMBERED).decode()), entry.value)

    def check_has(self, events: Iterable[dict[str, Any]]) -> None:
        """Checks that the hours of these events have been published."""
        for of, hours in self.of(events).items():
            missing = _kept(hours | self.hours[of]) & hours - self.hours[of]
            if missing:
                self._broken(f"{of} has events of {min(missing)}, which is not told")

    def of(self, events: Iterable[dict[str, Any]]) -> Hours:
        """The hours of events that were published as they happened."""
        found: Hours = defaultdict(set)
        for event in events:
            if event["type"] in _FAMILIES and not event.get("backfill"):
                found[SourceKey(_FAMILIES[event["type"]], event["source"])].add(self._place_of(event["time"]))
        for of, hours in found.items():
            found[of] = _kept(hours)
        return found

    def _hear(self, of: SourceKey, value: bytes | None) -> None:
        days = decode_hours(value or b"")
        told = {(date.fromordinal(day), hour) for day, mask in days.items() for hour in range(24) if mask >> hour & 1}
        back = _kept(told | self.hours[of]) & self.hours[of] - told
        if back:
            self._broken(f"hours of {of} are taken back: {min(back)}")
        self.hours[of] = told


def _kept(hours: set[Hour]) -> set[Hour]:
    """The hours that are kept: those of so many dates up to the latest one."""
    latest = max(day for day, _ in hours)
    return {(day, hour) for day, hour in hours if day > latest - _KEPT}


def hour_of(text: str, zone: Any, starts: int, day: date) -> Hour:
    """The hour of an event's time in its business date."""
    return day, (datetime.fromisoformat(text).astimezone(zone).hour - starts) % 24
