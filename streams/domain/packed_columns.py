"""The first events of packed orders in columns of numbers: processing them one by one takes ten times as long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import numpy as np

from streams.domain.packing import KIND, LAYOUT
from streams.domain.zone import QUARTER_HOUR_US

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]

#: An event without its text.
EVENT: Final = np.dtype([(name, f"<{code}") for name, code in LAYOUT])


class Cells(Protocol):
    """Finds the cell of an instant."""

    def cell_of(self, time_us: int) -> int: ...  # noqa: D102 - as of `BusinessZone`, both of these
    def cell_of_quarter(self, quarter: int) -> int | None: ...  # noqa: D102 - likewise


class Restored(NamedTuple):
    """Orders that were restored, in columns.

    Attributes:
        places: By which the orders are found again: their ids or, compiled, where they are in memory.
        first: Their first events, without texts.
        second: The second ones of the orders that have any.
        followed: The index of the order of each of these.
        longer: Indices of the orders that have more than two.
        size: Size of the orders and their ids.
    """

    places: NDArray[Any]
    first: NDArray[np.void]
    second: NDArray[np.void]
    followed: Numbers
    longer: list[int]
    size: int


class PlainUnits(NamedTuple):
    """Units that are the only event of their order: their times, the codes of their dimensions, the indices of the orders."""

    times_us: Numbers
    dims: Numbers
    places: Numbers

    @property
    def codes(self) -> set[int]:
        """The codes of all dimensions that occur."""
        return set(np.unique(self.dims).tolist())

    def with_dims(self, codes: Sequence[int]) -> PlainUnits:
        """The units with some dimensions."""
        return self._some(np.isin(self.dims, codes))

    def by_dims_and_cell(self, of: Cells) -> Iterator[tuple[int, int, PlainUnits]]:
        """The units of each combination of dimensions and cell that occurs."""
        cells = cells_of(self.times_us, of)
        for cell in np.unique(cells).tolist():
            for code in np.unique(self.dims[cells == cell]).tolist():
                yield code, cell, self._some((cells == cell) & (self.dims == code))

    def _some(self, which: NDArray[np.bool_]) -> PlainUnits:
        return PlainUnits(self.times_us[which], self.dims[which], self.places[which])


def cells_of(times_us: Numbers, of: Cells) -> Numbers:
    """The cells of instants, microseconds since 1970."""
    quarters, place_of = np.unique(times_us // QUARTER_HOUR_US, return_inverse=True)
    known = [of.cell_of_quarter(quarter) for quarter in quarters.tolist()]
    cells = np.array([-1 if cell is None else cell for cell in known], np.int64)[place_of]
    for place in np.flatnonzero(cells < 0).tolist():
        cells[place] = of.cell_of(int(times_us[place]))
    return cells


def placed(blobs: Sequence[bytes]) -> tuple[NDArray[np.void], Numbers, Numbers]:
    """The event that would start at each byte of the concatenated orders; where the orders begin, and where they end."""
    sizes = np.fromiter(map(len, blobs), np.int64, len(blobs))
    ends = np.cumsum(sizes)
    data = b"".join(blobs) + bytes(EVENT.itemsize)
    at_place = np.ndarray(len(data) - EVENT.itemsize + 1, np.dtype((np.void, EVENT.itemsize)), data, strides=(1,))
    return at_place, ends - sizes, ends


def restored(order_ids: Sequence[str], blobs: Sequence[bytes]) -> Restored:
    """Orders, found again by their ids, in columns.

    Raises:
        ValueError: An order has no event, or an incomplete one.
    """
    at_place, starts, ends = placed(blobs)
    first = at_place[starts].view(EVENT)
    second_at = starts + EVENT.itemsize + first["text_bytes"]
    followed = np.flatnonzero(second_at < ends)
    second = at_place[second_at[followed]].view(EVENT)
    third_at = second_at[followed] + EVENT.itemsize + second["text_bytes"]
    if (second_at > ends).any() or (third_at > ends[followed]).any():
        raise ValueError("an order has an incomplete event")
    longer = followed[third_at < ends[followed]].tolist()
    size = sum(map(len, order_ids)) + sum(map(len, blobs))
    return Restored(np.array(order_ids, object), first, second, followed, longer, size)


def plain_units(
    blobs: Sequence[bytes], plain_kinds: Collection[int], kinds: Collection[int]
) -> tuple[PlainUnits, list[int]]:
    """The units of orders with a single event, and the indices of the orders that must be judged.

    Args:
        blobs: Packed orders.
        plain_kinds: Kinds of events that are units of some metric if they are their order's only event.
        kinds: The kinds among these that are units of the requested metric.
    """
    at_place, starts, ends = placed(blobs)
    first = at_place[starts].view(EVENT)
    kind = first["content"] & KIND
    is_sole = starts + EVENT.itemsize + first["text_bytes"] == ends
    is_plain = is_sole & np.isin(kind, list(plain_kinds))
    places = np.flatnonzero(is_plain & np.isin(kind, list(kinds)))
    found = first[places]
    units = PlainUnits(found["time_us"].astype(np.int64), found["dims"].astype(np.int64), places)
    return units, np.flatnonzero(~is_plain).tolist()
