"""Records of the ledger's changelog: chunks of orders, words, and the state. Who reads them need not know who writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Key of the marker: the last record of each transaction.
STATE_KEY: Final = b"state"

#: An order and all its events, packed.
Entries = list[tuple[str, bytes]]
#: A code and the word it stands for: a source, or the four dimensions of a unit.
Words = list[tuple[int, str | list[str]]]

_CHUNK_PREFIX: Final = b"c|"
_WORDS_PREFIX: Final = b"v|"

_encode = msgspec.msgpack.Encoder().encode
_decode_entries = msgspec.msgpack.Decoder(Entries).decode
_decode_words = msgspec.msgpack.Decoder(Words).decode


def chunk_key(number: int) -> bytes:
    """Key of a chunk."""
    return _CHUNK_PREFIX + b"%012x" % number


def is_chunk(key: bytes) -> bool:
    """Whether a record is a chunk, or the tombstone of one."""
    return key.startswith(_CHUNK_PREFIX)


def chunk_number(key: bytes) -> int:
    """The number of a chunk, from its key."""
    return int(key[len(_CHUNK_PREFIX) :], 16)


def encode_entries(entries: Sequence[tuple[str, bytes]]) -> bytes:
    """The value of a chunk."""
    return _encode(entries)


def decode_entries(value: bytes) -> Entries:
    """What a chunk holds."""
    return _decode_entries(value)


def words_key(first_code: int) -> bytes:
    """Key of a record of words."""
    return _WORDS_PREFIX + b"%08x" % first_code


def is_words(key: bytes) -> bool:
    """Whether a record holds words."""
    return key.startswith(_WORDS_PREFIX)


def encode_words(words: Iterable[tuple[int, object]]) -> bytes:
    """The value of a record of words."""
    return _encode([tuple(each) for each in words])


def decode_words(value: bytes) -> Words:
    """What a record of words holds."""
    return _decode_words(value)
