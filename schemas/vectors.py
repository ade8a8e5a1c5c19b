"""Vectorised operations on columns of millions of numbers, and compact lists of integers.

A mask has a byte for each number, 1 or 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from array import array
    from collections.abc import Collection, Iterator, Sequence

    from numpy.typing import NDArray

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[int]).decode
#: Numbers summed between two pauses: ten milliseconds.
_AT_ONCE = 50_000


def packed(integers: list[int]) -> bytes:
    """Packs integers into bytes, small ones into a byte each."""
    return _encode(integers)


def unpacked(integers: bytes) -> list[int]:
    """Inverts `packed`."""
    return _decode(integers)


def differing(size: int, *pairs: tuple[array[int], array[int]]) -> bytearray:
    """Mask of the places at which the columns of any pair differ.

    Args:
        size: Number of places to compare.
        pairs: Pairs of columns of the same type.
    """
    mask = np.zeros(size, np.bool_)
    for one, other in pairs:
        mask |= _view(one, size) != _view(other, size)
    return bytearray(mask)


def flagged(size: int, column: array[int], flags: bytes) -> bytes:
    """For each number in a column, the byte of `flags` at that index."""
    return _taken(size, column, flags).tobytes()


def raised(size: int, column: array[int], least: array[int], levels: bytes) -> bytearray:
    """Raises each number of `column` to at least its level. Returns the mask of those that rose.

    Args:
        size: Number of places.
        column: A column of single bytes.
        least: For each place, the index of its level.
        levels: The levels by index.
    """
    wanted, found = _taken(size, least, levels), _view(column, size)
    rose = wanted > found
    np.maximum(wanted, found, out=found)
    return bytearray(rose)


def either(one: bytes | bytearray, other: bytes | bytearray) -> bytearray:
    """The union of two masks."""
    return bytearray(np.frombuffer(one, np.bool_) | np.frombuffer(other, np.bool_))


def places(mask: bytes | bytearray) -> list[int]:
    """The places that a mask marks."""
    found: list[int] = np.flatnonzero(np.frombuffer(mask, np.bool_)).tolist()
    return found


def beyond(size: int, column: array[int], other: array[int], least: int) -> bytearray:
    """Mask of the places at which a column is greater than both another column and a number."""
    found = _view(column, size)
    return bytearray((found > _view(other, size)) & (found > least))


def both(one: bytes | bytearray, other: bytes | bytearray) -> bytearray:
    """The intersection of two masks."""
    return bytearray(np.frombuffer(one, np.bool_) & np.frombuffer(other, np.bool_))


def not_less(size: int, column: array[int], least: int) -> bytearray:
    """Mask of the places at which a column is at least a number."""
    return bytearray(_view(column, size) >= least)


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
    if not size:
        return
    groups, kinds = _view(group, size).astype(np.int64), _view(kind, size)
    table = np.full((len(parents), max(map(len, parents), default=0) + 1), -1, np.int64)
    for number, several in enumerate(parents):
        table[number, : len(several)] = several
    is_part = (table[:, 0] >= 0)[kinds]
    parts, sums = np.flatnonzero(is_part), np.flatnonzero(~is_part)
    keys = groups[sums] * len(parents) + kinds[sums]
    order = np.argsort(keys)
    keys, sums = keys[order], sums[order]
    some_kinds = np.array(sorted(of_some), np.int64)
    for column in columns:
        _view(column, size)[sums] = 0
    for first in range(0, len(parts), _AT_ONCE):
        yield
        some = parts[first : first + _AT_ONCE]
        for parent in table[kinds[some]].T:
            chosen = np.flatnonzero(parent >= 0)
            wanted = groups[some[chosen]] * len(parents) + parent[chosen]
            places = np.searchsorted(keys, wanted)
            is_there = keys[np.minimum(places, len(keys) - 1)] == wanted if len(keys) else np.zeros(len(wanted), bool)
            if not is_there.all():
                if not of_some or not np.isin(parent[chosen][~is_there], some_kinds).all():
                    raise ValueError("parts without a sum")
                chosen, places = chosen[is_there], places[is_there]
            for column in columns:
                view = _view(column, size)
                np.add.at(view, sums[places], view[some[chosen]])


def _taken(size: int, column: array[int], flags: bytes) -> NDArray[np.int8]:
    if not size:
        return np.zeros(0, np.int8)
    return np.frombuffer(flags, np.int8).take(_view(column, size))


def _view(column: array[int], size: int) -> NDArray[np.integer]:
    """A numpy view of a column; to be released before the column grows."""
    return np.frombuffer(column, column.typecode)[:size]
