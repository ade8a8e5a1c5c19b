"""Operations on a million numbers at once, and lists of integers as bytes; for those who keep many.

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
#: Numbers that are added up between two pauses: ten milliseconds.
_AT_ONCE = 50_000


def packed(integers: list[int]) -> bytes:
    """Integers as bytes, small ones in a byte each."""
    return _encode(integers)


def unpacked(integers: bytes) -> list[int]:
    """The integers of `packed`."""
    return _decode(integers)


def differing(size: int, *pairs: tuple[array[int], array[int]]) -> bytearray:
    """Mask of the places at which any two columns of a pair differ.

    Args:
        size: Places to look at.
        pairs: Columns of one type each.
    """
    mask = np.zeros(size, np.bool_)
    for one, other in pairs:
        mask |= _view(one, size) != _view(other, size)
    return bytearray(mask)


def flagged(size: int, column: array[int], flags: bytes) -> bytes:
    """Of each number in a column, the byte of `flags` at it."""
    return _taken(size, column, flags).tobytes()


def raised(size: int, column: array[int], least: array[int], levels: bytes) -> bytearray:
    """Raises each number of `column` to the level that the number in `least` names. Returns the mask of those that rose.

    Args:
        size: Places to look at.
        column: Single bytes.
        least: Of each place, the number of its level.
        levels: By number.
    """
    wanted, found = _taken(size, least, levels), _view(column, size)
    rose = wanted > found
    np.maximum(wanted, found, out=found)
    return bytearray(rose)


def either(one: bytes | bytearray, other: bytes | bytearray) -> bytearray:
    """Mask of the places of two masks."""
    return bytearray(np.frombuffer(one, np.bool_) | np.frombuffer(other, np.bool_))


def places(mask: bytes | bytearray) -> list[int]:
    """The places of a mask."""
    found: list[int] = np.flatnonzero(np.frombuffer(mask, np.bool_)).tolist()
    return found


def beyond(size: int, column: array[int], other: array[int], least: int) -> bytearray:
    """Mask of the places at which a column is greater than another one and than a number."""
    found = _view(column, size)
    return bytearray((found > _view(other, size)) & (found > least))


def both(one: bytes | bytearray, other: bytes | bytearray) -> bytearray:
    """Mask of the places that two masks share."""
    return bytearray(np.frombuffer(one, np.bool_) & np.frombuffer(other, np.bool_))


def not_less(size: int, column: array[int], least: int) -> bytearray:
    """Mask of the places at which a column has a number or a greater one."""
    return bytearray(_view(column, size) >= least)


def exclusive(one: bytes, other: bytes) -> bytes:
    """The bits in which two runs of bytes of one length differ: zeros, which take no space once compressed, where they are equal."""
    return np.bitwise_xor(np.frombuffer(one, np.uint8), np.frombuffer(other, np.uint8)).tobytes()


def add_up(
    size: int,
    group: array[int],
    kind: array[int],
    parents: Sequence[Sequence[int]],
    *columns: array[int],
    of_some: Collection[int] = (),
) -> Iterator[None]:
    """Sets each number of the columns to the sum of those that it is made of: of the same group, and a child of its kind.

    With pauses, in which the columns must not change.

    Args:
        size: Places to look at.
        group: Of each place.
        kind: Of each place; no two places have the same group and kind.
        parents: Of each kind; sums are the places whose kind has none, and those of the others stay as they are.
        columns: What to add up.
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
    """A column as numpy has it; to be let go before the column grows."""
    return np.frombuffer(column, column.typecode)[:size]
