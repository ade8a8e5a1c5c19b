"""Vectorised operations on columns of millions of numbers, and compact lists of integers.

A mask has a byte for each number, 1 or 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from array import array
    from collections.abc import Collection, Generator, Iterator, Sequence

    from numpy.typing import NDArray

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[int]).decode
#: Places processed between two pauses: summing them takes five milliseconds.
_AT_ONCE = 20_000


def packed(integers: list[int]) -> bytes:
    """Packs integers into bytes, small ones into a byte each."""
    return _encode(integers)


def unpacked(integers: bytes) -> list[int]:
    """Inverts `packed`."""
    return _decode(integers)


def _pieces(size: int) -> Iterator[tuple[int, int]]:
    """Ranges of places to process at a time: a million at once would block the event loop, and page in megabytes of temporaries."""
    for first in range(0, size, _AT_ONCE):
        yield first, min(first + _AT_ONCE, size)


def differing(size: int, *pairs: tuple[array[int], array[int]]) -> Generator[None, None, bytearray]:
    """Mask of the places at which the columns of any pair differ.

    Yields for pauses, during which the columns must not change.

    Args:
        size: Number of places to compare.
        pairs: Pairs of columns of the same type.
    """
    mask = bytearray(size)
    for first, end in _pieces(size):
        found = np.frombuffer(mask, np.bool_)[first:end]
        for one, other in pairs:
            found |= _view(one, first, end) != _view(other, first, end)
        yield
    return mask


def flagged(size: int, column: array[int], flags: bytes) -> Generator[None, None, bytearray]:
    """For each number in a column, the byte of `flags` at that index.

    Yields for pauses, during which the column must not change.
    """
    mask = bytearray(size)
    for first, end in _pieces(size):
        mask[first:end] = _taken(column, flags, first, end).data
        yield
    return mask


def raised(size: int, column: array[int], least: array[int], levels: bytes) -> Generator[None, None, bytearray]:
    """Raises each number of `column` to at least its level. Returns the mask of those that rose.

    Yields for pauses, during which the columns must not change.

    Args:
        size: Number of places.
        column: A column of single bytes.
        least: For each place, the index of its level.
        levels: The levels by index.
    """
    mask = bytearray(size)
    for first, end in _pieces(size):
        wanted, found = _taken(least, levels, first, end), _view(column, first, end)
        mask[first:end] = (wanted > found).data
        np.maximum(wanted, found, out=found)
        yield
    return mask


def either(one: bytes | bytearray, other: bytes | bytearray) -> bytearray:
    """The union of two masks."""
    return bytearray(np.frombuffer(one, np.bool_) | np.frombuffer(other, np.bool_))


def places(mask: bytes | bytearray) -> list[int]:
    """The places that a mask marks."""
    if 1 not in mask:
        return []
    found: list[int] = np.flatnonzero(np.frombuffer(mask, np.bool_)).tolist()
    return found


def beyond(size: int, column: array[int], other: array[int], *least: tuple[array[int], int]) -> Iterator[list[int]]:
    """The places at which a column is greater than another, in pieces between which the columns must not change.

    Args:
        size: Number of places to compare.
        column: The one column.
        other: The other column.
        least: Further columns, each with the least number that it must have at a place.
    """
    for first, end in _pieces(size):
        is_one = _view(column, first, end) > _view(other, first, end)
        for further, number in least:
            is_one &= _view(further, first, end) >= number
        yield (np.flatnonzero(is_one) + first).tolist()


def greatest(size: int, column: array[int]) -> int:
    """The greatest number of a column, 0 if it is empty."""
    return max((int(_view(column, first, end).max()) for first, end in _pieces(size)), default=0)


def exclusive(one: bytes, other: bytes) -> bytes:
    """The XOR of two byte strings of the same length: zeros, which compress to nothing, where they are equal."""
    return np.bitwise_xor(np.frombuffer(one, np.uint8), np.frombuffer(other, np.uint8)).tobytes()


def add_up(
    size: int,
    group: array[int],
    kind: array[int],
    parents: Sequence[Sequence[int]],
    *columns: array[int],
    of_some: Collection[int] = (),
) -> Iterator[None]:
    """Sets each sum in the columns to the total of its parts: the places of the same group whose kind has its kind as a parent.

    Yields for pauses, during which the columns must not change.

    Args:
        size: Number of places.
        group: The group of each place.
        kind: The kind of each place; no two places have the same group and kind.
        parents: The parents of each kind; sums are the places whose kind has none, all other places stay as they are.
        columns: The columns to sum up.
        of_some: Kinds of sums that not every group has.

    Raises:
        ValueError: There is no place for a sum.
    """
    table = np.full((len(parents), max(map(len, parents), default=0) + 1), -1, np.int64)
    for number, several in enumerate(parents):
        table[number, : len(several)] = several
    keys = sums = np.zeros(0, np.int64)
    for first, end in _pieces(size):
        kinds = _view(kind, first, end)
        of_piece = np.flatnonzero(table[kinds, 0] < 0)
        keys = np.concatenate(
            (keys, _view(group, first, end)[of_piece].astype(np.int64) * len(parents) + kinds[of_piece])
        )
        sums = np.concatenate((sums, of_piece + first))
        # Merges: the sort is stable, and finds what is sorted already.
        order = np.argsort(keys, kind="stable")
        keys, sums = keys[order], sums[order]
        for column in columns:
            _view(column, first, end)[of_piece] = 0
        yield
    some_kinds = np.array(sorted(of_some), np.int64)
    for first, end in _pieces(size):
        kinds = _view(kind, first, end)
        parts = np.flatnonzero(table[kinds, 0] >= 0)
        groups = _view(group, first, end)[parts].astype(np.int64) * len(parents)
        for parent in table[kinds[parts]].T:
            chosen = np.flatnonzero(parent >= 0)
            wanted = groups[chosen] + parent[chosen]
            places = np.searchsorted(keys, wanted)
            is_there = keys[np.minimum(places, len(keys) - 1)] == wanted if len(keys) else np.zeros(len(wanted), bool)
            if not is_there.all():
                if not of_some or not np.isin(parent[chosen][~is_there], some_kinds).all():
                    raise ValueError("parts without a sum")
                chosen, places = chosen[is_there], places[is_there]
            for column in columns:
                np.add.at(_view(column, 0, size), sums[places], _view(column, first, end)[parts[chosen]])
        yield


def _taken(column: array[int], flags: bytes, first: int, end: int) -> NDArray[np.int8]:
    return np.frombuffer(flags, np.int8).take(_view(column, first, end))


def _view(column: array[int], first: int, end: int) -> NDArray[np.integer]:
    """A numpy view of some places of a column; to be released before the column grows."""
    return np.frombuffer(column, column.typecode)[first:end]
