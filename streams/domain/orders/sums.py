"""The sums of a step: the units that it adds and removes, by cell or day; in Python here, compiled in `_steps.pyx`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from streams.domain.orders.packing import unpack_at
from streams.domain.time.zone import LATEST_US

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from schemas.facts import Fact
    from streams.domain.orders.packing import Word

# The key of a sum within a cell: code of the scopes, group of metrics, whether units are removed, whether they are backfill.
BACKFILL: Final = 0b1
LEAVING: Final = 0b10
GROUP_SHIFT: Final = 2
GROUPS_BITS: Final = 3
GROUP: Final = (1 << GROUPS_BITS) - 1


class EventOf(NamedTuple):
    """An event among the packed events of its order, and where it begins there; those that follow may be meant too."""

    order_id: str
    blob: bytes
    at: int


class Sum:
    """The units of one key of one cell in one step: those added, and the number removed, negative."""

    __slots__ = ("_causes", "_events", "removed")

    def __init__(self) -> None:
        self._causes: list[Fact] = []
        #: Events that add a unit, each with its time.
        self._events: list[tuple[int, EventOf]] = []
        self.removed = 0

    def add(self, cause: Fact) -> None:
        """Adds a unit, given the event that adds it."""
        self._causes.append(cause)

    def add_packed(self, time_us: int, event: EventOf) -> None:
        """The same, given the time of the event, and the event packed."""
        self._events.append((time_us, event))

    @property
    def count(self) -> int:
        """The number of units."""
        return self.removed + len(self._causes) + len(self._events)

    @property
    def first_us(self) -> int:
        """The least time of the events of those added, microseconds since 1970; `LATEST_US` if none was."""
        return min(self._times(), default=LATEST_US)

    @property
    def last_us(self) -> int:
        """The greatest one; -1 if none was."""
        return max(self._times(), default=-1)

    def _times(self) -> Iterator[int]:
        yield from (cause.time_us for cause in self._causes)
        yield from (time_us for time_us, _ in self._events)

    def latest(self, words: Sequence[Word]) -> list[Fact]:
        """The events with that time.

        Args:
            words: The vocabulary of the packed events.
        """
        last_us = self.last_us
        latest = [cause for cause in self._causes if cause.time_us == last_us]
        return latest + [unpack_at(*event, words) for time_us, event in self._events if time_us == last_us]

    def order_ids(self) -> list[str]:
        """The orders of the units added."""
        return [*(cause.order_id for cause in self._causes), *(event.order_id for _, event in self._events)]


class DaySum:
    """The units of one key of one day in one step.

    Attributes:
        by_hour: The number of units by hour.
    """

    __slots__ = ("_sums", "by_hour")

    def __init__(self) -> None:
        self.by_hour: dict[int, int] = {}
        self._sums: list[Sum] = []

    def add(self, hour: int, change: Sum) -> None:
        """Adds the units of a cell."""
        self.by_hour[hour] = self.by_hour.get(hour, 0) + change.count
        self._sums.append(change)

    def latest(self, words: Sequence[Word]) -> list[Fact]:
        """The events of added units with the greatest time; see `Sum.latest`."""
        last_us = max(change.last_us for change in self._sums)
        return [cause for change in self._sums if change.last_us == last_us for cause in change.latest(words)]


def add_up(cell: dict[int, Sum], hour: int, sums: dict[int, DaySum]) -> None:
    """Adds the units of a cell to the sums of its day."""
    for key, change in cell.items():
        of_day = sums.get(key)
        if of_day is None:
            of_day = sums[key] = DaySum()
        of_day.add(hour, change)
