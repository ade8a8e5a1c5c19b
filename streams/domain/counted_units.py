"""Units in their order, most of which are known by their times alone until they are asked for.

A busy minute has a hundred thousand units, of which a question about the N-th is told 256: to make texts of all, and to sort these,
takes ten times as long as to sort numbers.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from schemas.questions import UnitKey
    from streams.domain.packed_columns import Numbers, PlainUnits


class CountedUnits:
    """Add units, then ask; what is added later is in the next answers.

    Args:
        id_of: The id of the event of a unit, given the packed event; its order's only one.
        unit_of: The unit, given the order's id, too.
    """

    def __init__(self, id_of: Callable[[bytes], str], unit_of: Callable[[str, bytes], UnitKey]) -> None:
        self._id_of, self._unit_of = id_of, unit_of
        self._units: list[UnitKey] = []
        #: Orders with the places of those that have a unit, and how many there are before them.
        self._orders: list[tuple[Sequence[str], Sequence[bytes], Numbers]] = []
        self._starts: list[int] = [0]
        self._times: list[Numbers] = []
        #: The sorted times, and of each which unit it is: first those that were given whole, then those by their orders.
        self._sorted: tuple[Numbers, Numbers] | None = None
        self._ties: dict[int, list[int]] = {}

    def add(self, unit: UnitKey) -> None:
        """Adds a unit."""
        self._units.append(unit)
        self._sorted = None

    def add_orders(self, units: PlainUnits, order_ids: Sequence[str], blobs: Sequence[bytes]) -> None:
        """Adds the units of some of these orders, given with their packed events."""
        self._times.append(units.times_us)
        self._orders.append((order_ids, blobs, units.places))
        self._starts.append(self._starts[-1] + len(units.places))
        self._sorted = None

    def __len__(self) -> int:
        return len(self._units) + self._starts[-1]

    def __getitem__(self, place: int) -> UnitKey:
        """The unit at a place of the order."""
        times, numbers = self._in_order()
        first, end = self._alike(int(times[place]))
        return self._unit(int(numbers[place]) if end - first == 1 else self._sorted_ties(first, end)[place - first])

    def up_to(self, unit: UnitKey) -> int:
        """How many units are not after one."""
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
        """From which place to before which one the units of an instant are."""
        times, _ = self._in_order()
        return int(np.searchsorted(times, time_us, "left")), int(np.searchsorted(times, time_us, "right"))

    def _sorted_ties(self, first: int, end: int) -> list[int]:
        """The numbers of units of the same instant, in their order."""
        found = self._ties.get(first)
        if found is None:
            numbers = self._in_order()[1][first:end].tolist()
            ids = sorted((self._id(number), number) for number in numbers)
            found = [number for _, number in ids]
            if any(one[0] == other[0] for one, other in itertools.pairwise(ids)):
                found = sorted(numbers, key=self._unit)
            self._ties[first] = found
        return found

    def _id(self, number: int) -> str:
        return self._units[number][1] if number < len(self._units) else self._id_of(self._order(number)[1])

    def _unit(self, number: int) -> UnitKey:
        return self._units[number] if number < len(self._units) else self._unit_of(*self._order(number))

    def _order(self, number: int) -> tuple[str, bytes]:
        """The id and the packed event of the order of a unit that was not given whole."""
        at = number - len(self._units)
        part = bisect_right(self._starts, at) - 1
        order_ids, blobs, places = self._orders[part]
        place = places[at - self._starts[part]]
        return order_ids[place], blobs[place]
