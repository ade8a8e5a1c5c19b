"""Operations on a million numbers at once, and lists of integers as bytes; for those who keep many.

A mask has a byte for each number, 1 or 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from array import array

    from numpy.typing import NDArray

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[int]).decode


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


def _taken(size: int, column: array[int], flags: bytes) -> NDArray[np.int8]:
    if not size:
        return np.zeros(0, np.int8)
    return np.frombuffer(flags, np.int8).take(_view(column, size))


def _view(column: array[int], size: int) -> NDArray[np.integer]:
    """A column as numpy has it; to be let go before the column grows."""
    return np.frombuffer(column, column.typecode)[:size]
