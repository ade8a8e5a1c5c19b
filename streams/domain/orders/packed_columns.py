"""The first events of packed orders in columns of numbers: processing them one by one takes ten times as long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import numpy as np

from streams.domain.orders.packing import BACKFILL, KIND, LAYOUT
from streams.domain.time.zone import DAY_US, EPOCH_CELL, HOUR_US, QUARTER_HOUR_US

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]
    #: By which orders are found again: their ids or, compiled, where they are in memory.
    Places = NDArray[Any]

#: Numbers that are in a range of up to so many times as many are told apart without sorting them.
_CLOSE: Final = 8

#: An event without its text.
EVENT: Final = np.dtype([(name, f"<{code}") for name, code in LAYOUT])


class Cells(Protocol):
    """Finds the cell of an instant."""

    def cell_of(self, time_us: int) -> int: ...  # noqa: D102 - as of `BusinessZone`, all of these
    def cell_of_quarter(self, quarter: int) -> int | None: ...  # noqa: D102 - likewise
    def offset_us(self, day: int) -> int | None: ...  # noqa: D102 - likewise


class Heads(NamedTuple):
    """Events in columns: kind, time in microseconds since 1970, code of the source, code of the dimensions, whether backfill."""

    kind: Numbers
    time_us: Numbers
    source: Numbers
    dims: Numbers
    backfill: Numbers


class Restored(NamedTuple):
    """Orders that were restored, in columns.

    Attributes:
        places: Their places.
        first: Their first events.
        second: The second ones of the orders that have any.
        followed: The index of the order of each of these.
        longer: Indices of the orders that have more than two.
        size: Size of the orders and their ids.
    """

    places: Places
    first: Heads
    second: Heads
    followed: Numbers
    longer: list[int]
    size: int


class PlainUnits(NamedTuple):
    """Units that follow from the kinds of their orders' events.

    Attributes:
        times_us: The times of their events, microseconds since 1970; no other event of the order has the same.
        labels: Numbers that stand for their dimensions.
        places: The places of their orders.
    """

    times_us: Numbers
    labels: Numbers
    places: Places

    @classmethod
    def of(cls, units: Sequence[tuple[int, int, str]]) -> PlainUnits:
        """Units, each given as its time, its label and the id of its order."""
        times_us, labels, order_ids = zip(*units, strict=True) if units else ((), (), ())
        return cls(np.array(times_us, np.int64), np.array(labels, np.int64), places_of(order_ids))


def places_of(order_ids: Sequence[str]) -> Places:
    """Ids as the places of their orders."""
    return np.array(order_ids, object)


def cells_of(times_us: Numbers, of: Cells) -> Numbers:
    """The cells of instants, microseconds since 1970."""
    days, day_of = distinct(times_us // DAY_US)
    offsets_us = [of.offset_us(day) for day in days.tolist()]
    shift_us = np.array([offset_us or 0 for offset_us in offsets_us], np.int64)
    cells: Numbers = (times_us + shift_us.take(day_of)) // HOUR_US + EPOCH_CELL
    if None in offsets_us:
        changing = np.array([offset_us is None for offset_us in offsets_us])
        others = np.flatnonzero(changing[day_of])
        cells[others] = _cells_by_quarter(times_us[others], of)
    return cells


def _cells_by_quarter(times_us: Numbers, of: Cells) -> Numbers:
    """The cells of instants on days when the clocks change."""
    quarters, place_of = distinct(times_us // QUARTER_HOUR_US)
    known = [of.cell_of_quarter(quarter) for quarter in quarters.tolist()]
    cells = np.array([-1 if cell is None else cell for cell in known], np.int64)[place_of]
    for place in np.flatnonzero(cells < 0).tolist():
        cells[place] = of.cell_of(int(times_us[place]))
    return cells


def distinct(numbers: Numbers) -> tuple[Numbers, Numbers]:
    """The distinct numbers, sorted, and the index of each number among them, as of `numpy.unique`; faster if they are close."""
    if len(numbers):
        first, last = int(numbers.min()), int(numbers.max())
        if last - first < _CLOSE * len(numbers):
            is_there = np.zeros(last - first + 1, np.bool_)
            above = numbers - first
            is_there[above] = True
            return np.flatnonzero(is_there) + first, (np.cumsum(is_there) - 1).take(above)
    found, place_of = np.unique(numbers, return_inverse=True)
    return found, place_of


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
    return Restored(places_of(order_ids), _heads(first), _heads(second), followed, longer, size)


def _heads(events: NDArray[np.void]) -> Heads:
    columns = events["content"] & KIND, events["time_us"], events["source"], events["dims"], events["origin"] & BACKFILL
    return Heads(*(column.astype(np.int64) for column in columns))
