"""The home partition of an order, by murmur2 of the key as in Kafka's Java clients; and the totals partition of a scope."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

import numpy as np

from schemas.texts import template_name, template_of, tidy_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_SEED: Final = 0x9747B28C
_M: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF
#: Mask that makes the hash positive, as the Java clients do.
_POSITIVE: Final = 0x7FFFFFFF
#: Fewer keys of one length than this are hashed faster one by one.
_WORTH_A_VECTOR: Final = 8


def murmur2(key: bytes) -> int:
    """The hash of one key as an unsigned 32-bit number."""
    length = len(key)
    h = _SEED ^ length
    whole = length & ~3
    for start in range(0, whole, 4):
        k = int.from_bytes(key[start : start + 4], "little") * _M & _MASK
        k = (k ^ k >> 24) * _M & _MASK
        h = (h * _M & _MASK) ^ k
    if whole < length:
        h = (h ^ int.from_bytes(key[whole:], "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


def homes(keys: Sequence[bytes], partitions: int) -> list[int]:
    """The home partition of each key after tidying, so that spaces around an order number do not change its home.

    Keys of the same length are hashed together.
    """
    joined = b"".join(keys)
    if not joined.isascii() or b" " in joined:
        keys = [tidy_key(key) for key in keys]
    if len(keys) < _WORTH_A_VECTOR:
        return [(murmur2(key) & _POSITIVE) % partitions for key in keys]
    if len(set(map(len, keys))) == 1:
        return _homes_of_one_length(keys, partitions)
    by_length: dict[int, list[int]] = {}
    for index, key in enumerate(keys):
        by_length.setdefault(len(key), []).append(index)
    found = [0] * len(keys)
    for indexes in by_length.values():
        group = [keys[index] for index in indexes]
        for index, home in zip(indexes, _homes_of_one_length(group, partitions), strict=True):
            found[index] = home
    return found


def totals_partition(scope: str, partitions: int, *, by_dimensions: bool = False) -> int:
    """The totals partition that a scope belongs to: the CRC-32 of its id, modulo their number.

    Args:
        scope: The scope's id.
        partitions: Number of totals partitions.
        by_dimensions: Whether to hash the names of its dimensions, separated by commas, instead of its id.
    """
    name = template_name(template_of(scope)) if by_dimensions else scope
    return crc32(name.encode()) % partitions


def _homes_of_one_length(keys: Sequence[bytes], partitions: int) -> list[int]:
    if len(keys) < _WORTH_A_VECTOR:
        return [(murmur2(key) & _POSITIVE) % partitions for key in keys]
    length = len(keys[0])
    hashes = _hash_together(np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), length), length)
    found: list[int] = ((hashes & np.uint32(_POSITIVE)) % np.uint32(partitions)).tolist()
    return found


def _hash_together(keys: NDArray[np.uint8], length: int) -> NDArray[Any]:
    m = np.uint32(_M)
    h = np.full(len(keys), _SEED ^ length, dtype=np.uint32)
    whole = length & ~3
    words = np.ascontiguousarray(keys[:, :whole]).view("<u4").astype(np.uint32, copy=False)
    for k in words.T:
        mixed = k * m
        mixed ^= mixed >> np.uint32(24)
        mixed *= m
        h *= m
        h ^= mixed
    if whole < length:
        for position in range(whole, length):
            h ^= keys[:, position].astype(np.uint32) << np.uint32(8 * (position - whole))
        h *= m
    h ^= h >> np.uint32(13)
    h *= m
    h ^= h >> np.uint32(15)
    return h
