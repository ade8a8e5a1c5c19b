"""Records of the ledger's changelog: chunks of orders, words, and the state. Here, so that readers need not import the writer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import cramjam
import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

#: Key of the marker: the last record of each transaction.
STATE_KEY: Final = b"state"

#: Pairs of an order and all its events, packed; or of a vehicle and its deliveries.
Entries = list[tuple[str, bytes]]
#: A chunk as it was encoded, in bytes of its own or in memory that the next one takes.
Chunk = bytes | memoryview
#: Pairs of a code and the word it stands for: a source, or the four dimensions of a unit.
Words = list[tuple[int, str | list[str]]]

#: Prefixes of chunk keys: chunks of orders, and of vehicles' deliveries.
ORDER_CHUNKS: Final = b"c|"
VEHICLE_CHUNKS: Final = b"d|"
_WORDS_PREFIX: Final = b"v|"

#: So many chunks that were decompressed are there at a time.
KEPT_CHUNKS: Final = 8

#: Size at which a chunk is closed, far below the topic's limit for a record.
FULL_BYTES: Final = 512 * 1024

#: The first bytes of a compressed chunk, and of no plain one.
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
#: Smaller chunks would gain little, and are merged soon.
_LEAST_COMPRESSED_BYTES: Final = 1024
_FASTEST: Final = 1
#: Smaller values are decompressed into memory of their own: a small ledger then needs no other.
_SMALL_BYTES: Final = 32 * 1024

_encode = msgspec.msgpack.Encoder().encode
_decode_entries = msgspec.msgpack.Decoder(Entries).decode
_decode_words = msgspec.msgpack.Decoder(Words).decode


def chunk_key(number: int, of: bytes = ORDER_CHUNKS) -> bytes:
    """The key of a chunk."""
    return of + b"%012x" % number


def is_chunk(key: bytes, of: bytes = ORDER_CHUNKS) -> bool:
    """Whether a record is a chunk, or the tombstone of one."""
    return key.startswith(of)


def chunk_number(key: bytes) -> int:
    """The number of a chunk, from its key."""
    return int(key[len(ORDER_CHUNKS) :], 16)


def encode_entries(entries: Sequence[tuple[str, bytes]]) -> bytes:
    """Encodes a chunk, uncompressed."""
    return _encode(entries)


def encode_chunks(entries: Iterable[tuple[str, bytes]], full_bytes: int) -> Iterator[bytes]:
    """Encodes entries as chunks, uncompressed; each is closed once it has about so many bytes."""
    piece: Entries = []
    size = 0
    for entry in entries:
        piece.append(entry)
        size += len(entry[0]) + len(entry[1]) + 4
        if size >= full_bytes:
            yield encode_entries(piece)
            piece, size = [], 0
    if piece:
        yield encode_entries(piece)


def compressed(chunk: bytes) -> bytes:
    """The value of a chunk's record: compressed with zstd if worthwhile."""
    return bytes(cramjam.zstd.compress(chunk, _FASTEST)) if len(chunk) >= _LEAST_COMPRESSED_BYTES else chunk


def decompressed(value: bytes) -> bytes:
    """The chunk in a record's value, compressed or not."""
    return bytes(cramjam.zstd.decompress(value)) if value.startswith(_ZSTD_MAGIC) else value


class Decompressing:
    """Decompresses chunks into the same memory again and again: in new memory for each large one it takes twice as long."""

    def __init__(self) -> None:
        #: At most `KEPT_CHUNKS`; a small ledger needs none.
        self._rooms: list[bytearray] = []
        self._next = 0

    def chunk(self, value: bytes) -> Chunk:
        """The chunk in a record's value, compressed or not; valid until `KEPT_CHUNKS` more were asked for."""
        if not value.startswith(_ZSTD_MAGIC):
            return value
        if len(value) < _SMALL_BYTES:
            return decompressed(value)
        number, self._next = self._next, (self._next + 1) % KEPT_CHUNKS
        if number == len(self._rooms):
            self._rooms.append(bytearray(2 * FULL_BYTES))
        room = self._rooms[number]
        try:
            size = int(cramjam.zstd.decompress_into(value, room))
        except cramjam.DecompressionError:
            # It may be too large; if it is damaged, this says so.
            chunk = decompressed(value)
            self._rooms[number] = bytearray(max(2 * len(chunk), len(room)))
            return chunk
        return memoryview(room)[:size]


def decode_entries(value: Chunk) -> Entries:
    """The entries in the value of a chunk's record.

    Raises:
        ValueError: It is not a chunk.
    """
    try:
        return _decode_entries(decompressed(value) if isinstance(value, bytes) else value)
    except msgspec.DecodeError as error:
        raise ValueError(f"a chunk of the changelog is damaged: {error}") from error


def words_key(first_code: int) -> bytes:
    """The key of a record of words."""
    return _WORDS_PREFIX + b"%08x" % first_code


def is_words(key: bytes) -> bool:
    """Whether a record holds words."""
    return key.startswith(_WORDS_PREFIX)


def encode_words(words: Iterable[tuple[int, object]]) -> bytes:
    """The value of a record of words."""
    return _encode([tuple(each) for each in words])


def decode_words(value: bytes) -> Words:
    """The words in the value of a record."""
    return _decode_words(value)
