"""Units in order, most of them known only by their times until they are asked for.

A busy minute has a hundred thousand units, of which a question about the N-th is answered with 256: making strings of all of
them and sorting these takes ten times as long as sorting numbers.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from schemas.questions import UnitKey
    from streams.domain.orders.packed_columns import Numbers, Places


class CountedUnits:
    """Add units, then ask; units added later are in the next answers.

    Args:
        unit_of: Returns a unit, given the place of its order, and its time, which no other event of the order has.
    """

    def __init__(self, unit_of: Callable[[object, int], UnitKey]) -> None:
        self._unit_of = unit_of
        self._units: list[UnitKey] = []
        #: Places of the orders of the others; `_starts`: the number of units before each entry.
        self._places: list[Places] = []
        self._starts: list[int] = [0]
        self._times: list[Numbers] = []
        #: The sorted times, and the number of the unit of each: first those added one by one, then those added by orders.
        self._sorted: tuple[Numbers, Numbers] | None = None
        self._ties: dict[int, list[int]] = {}

    def add(self, unit: UnitKey) -> None:
        """Adds a unit."""
        self._units.append(unit)
        self._sorted = None

    def add_orders(self, times_us: Numbers, places: Places) -> None:
        """Adds units, given their times and the places of their orders."""
        self._times.append(times_us)
        self._places.append(places)
        self._starts.append(self._starts[-1] + len(places))
        self._sorted = None

    def __len__(self) -> int:
        return len(self._units) + self._starts[-1]

    def __getitem__(self, place: int) -> UnitKey:
        """The unit at an index of the order."""
        times, numbers = self._in_order()
        first, end = self._alike(int(times[place]))
        return self._unit(int(numbers[place]) if end - first == 1 else self._sorted_ties(first, end)[place - first])

    def up_to(self, unit: UnitKey) -> int:
        """How many units are not after this one."""
        first, end = self._alike(unit[0])
        if first == end:
            return first
        ties = self._sorted_ties(first, end)
        return first + bisect_right(ties, unit, key=self._unit)

    def _in_order(self) -> tuple[Numbers, Numbers]:
        if self._sorted is None:
            given = np.array([unit[0] for unit in self._units], np.int64)
            times = np.concatenate((given, *self._times))
            numbers = np.argsort(times, kind="stable")
            self._sorted, self._ties = (times[numbers], numbers), {}
        return self._sorted

    def _alike(self, time_us: int) -> tuple[int, int]:
        """The range of indices of the units of an instant: the first, and the one after the last."""
        times, _ = self._in_order()
        return int(np.searchsorted(times, time_us, "left")), int(np.searchsorted(times, time_us, "right"))

    def _sorted_ties(self, first: int, end: int) -> list[int]:
        """The numbers of units of the same instant, in order."""
        found = self._ties.get(first)
        if found is None:
            found = self._ties[first] = sorted(self._in_order()[1][first:end].tolist(), key=self._unit)
        return found

    def _unit(self, number: int) -> UnitKey:
        at = number - len(self._units)
        if at < 0:
            return self._units[number]
        part = bisect_right(self._starts, at) - 1
        within = at - self._starts[part]
        return self._unit_of(self._places[part][within], int(self._times[part][within]))
