"""Units in order, most of them known only by their times until they are asked for.

A busy minute has a hundred thousand units, of which a question about the N-th is answered with 256: making strings of all of
them and sorting these takes ten times as long as sorting numbers.
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
    """Add units, then ask; units added later are in the next answers.

    Args:
        id_of: The id of a unit's event, given the packed event, which is its order's only one.
        unit_of: The unit, given the order's id as well.
    """

    def __init__(self, id_of: Callable[[bytes], str], unit_of: Callable[[str, bytes], UnitKey]) -> None:
        self._id_of, self._unit_of = id_of, unit_of
        self._units: list[UnitKey] = []
        #: Orders with the indices of those that have a unit; `_starts`: the number of units before each entry.
        self._orders: list[tuple[Sequence[str], Sequence[bytes], Numbers]] = []
        self._starts: list[int] = [0]
        self._times: list[Numbers] = []
        #: The sorted times, and the number of the unit of each: first those added one by one, then those added by orders.
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
        """The id and the packed event of the order of a unit that was added by its order."""
        at = number - len(self._units)
        part = bisect_right(self._starts, at) - 1
        order_ids, blobs, places = self._orders[part]
        place = places[at - self._starts[part]]
        return order_ids[place], blobs[place]
