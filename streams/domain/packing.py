"""One order's events as one compact run of bytes: the form in memory and in the changelog alike.

An event is packed as

    coordinates  1 topic and backfill, 2 partition, 8 offset       (little endian, 11 bytes)
    content      1 kind and what follows, 8 time, 4 source, 4 dims, 2 + 2 lengths of id and extra    (21 bytes)
                 id, extra; VIN, 17 ASCII characters, if there is one; what it voids, if it is a void

Source and dims are codes of the ledger's vocabulary. Two events are the same event with the same content exactly if
their content bytes are equal; the coordinates are not content.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.facts import Dims, Fact

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_EVENT: Final = Struct("<BHQBqIIHH")
_COORDINATES_BYTES: Final = 11
_LENGTHS: Final = Struct("<HH")

_BACKFILL: Final = 0b1
_TOPIC_SHIFT: Final = 1

_KIND: Final = 0b111
_HAS_VIN: Final = 0b1000
_HAS_VOIDS: Final = 0b1_0000

_VIN_BYTES: Final = 17

#: No packed event is smaller.
MIN_EVENT_BYTES: Final = _EVENT.size + 1

Word = str | Dims


class VocabularyEntry(NamedTuple):
    """A word and its code: a source, or the four dimensions of a unit."""

    code: int
    word: Word


class Vocabulary:
    """Sources and dims tuples ↔ small ints, in the order in which they were first seen. Words are never dropped."""

    def __init__(self) -> None:
        self.codes: dict[Word, int] = {}
        self.words: list[Word] = []
        self._drained = 0

    def code(self, word: Word) -> int:
        """The code of a word, a new one if it was never seen."""
        code = self.codes.get(word)
        if code is None:
            code = self.codes[word] = len(self.words)
            self.words.append(word)
        return code

    def drain(self) -> list[VocabularyEntry]:
        """The words that came since the last drain, in the order of their codes."""
        first, self._drained = self._drained, len(self.words)
        return [VocabularyEntry(code, self.words[code]) for code in range(first, len(self.words))]

    def restore(self, entries: Iterable[tuple[int, str | Sequence[str]]]) -> None:
        """Takes back what was drained, in any order; the same entry again changes nothing.

        Raises:
            ValueError: A code is missing, or two words have the same one.
        """
        for code, text in sorted(entries, key=_code_of):
            word = text if isinstance(text, str) else _dims(text)
            known = len(self.words)
            if code > known:
                raise ValueError(f"the vocabulary has a word {code}, but no word {known}")
            if self.codes.get(word, known) != code:
                raise ValueError(f"the vocabulary contradicts itself at word {code}: {word!r}")
            self.code(word)
        self._drained = len(self.words)


def pack(fact: Fact, vocabulary: Vocabulary) -> bytes:
    """Packs one event. Its order id is not in it: that is the key under which an order is kept.

    Raises:
        ValueError: The VIN is neither absent nor 17 ASCII characters.
        struct.error: A number or a text is beyond what the contract allows.
    """
    codes = vocabulary.codes
    source, dims, vin = fact.source, fact.dims, fact.vin
    source_code = codes.get(source)
    if source_code is None:
        source_code = vocabulary.code(source)
    dims_code = codes.get(dims)
    if dims_code is None:
        dims_code = vocabulary.code(dims)
    identity = fact.id.encode()
    content = fact.kind
    identity = fact.id.encode()
    extra = fact.extra.encode()
    texts = identity + extra
    if vin:
        content |= _HAS_VIN
        texts += _packed_vin(vin)
    if fact.voids is not None:
        content |= _HAS_VOIDS
        texts += _packed_voids(fact.voids)
    origin = fact.topic << _TOPIC_SHIFT | fact.backfill
    header = _EVENT.pack(
        origin, fact.partition, fact.offset, content, fact.time_us, source_code, dims_code, len(identity), len(extra)
    )
    return header + texts


def unpack(order_id: str, blob: bytes, words: Sequence[Word]) -> list[Fact]:
    """The events of an order, in the order in which they were applied."""
    facts: list[Fact] = []
    at, end = 0, len(blob)
    while at < end:
        origin, partition, offset, content, time_us, source, dims, id_bytes, extra_bytes = _EVENT.unpack_from(blob, at)
        at += _EVENT.size
        identity = blob[at : at + id_bytes].decode()
        at += id_bytes
        extra = blob[at : at + extra_bytes].decode() if extra_bytes else ""
        at += extra_bytes
        vin, voids = "", None
        if content & _HAS_VIN:
            vin = blob[at : at + _VIN_BYTES].decode()
            at += _VIN_BYTES
        if content & _HAS_VOIDS:
            voids, at = _unpacked_voids(blob, at)
        facts.append(
            Fact(
                content & _KIND,
                order_id,
                words[source],
                identity,
                time_us,
                vin,
                words[dims],
                extra,
                voids,
                origin & _BACKFILL == _BACKFILL,
                origin >> _TOPIC_SHIFT,
                partition,
                offset,
            )
        )
    return facts


def holds(blob: bytes, packed: bytes) -> bool:
    """Whether an order has this event already, with the same content."""
    content = packed[_COORDINATES_BYTES:]
    found = blob.find(content)
    while found >= 0:
        # Found bytes could straddle two events; only at the start of one are they an event.
        start = found - _COORDINATES_BYTES
        if start == 0 or start in _starts(blob):
            return True
        found = blob.find(content, found + 1)
    return False


def sole_event(blob: bytes) -> tuple[int, int]:
    """Kind and time of an order's event if it has but one that is no void; else (0, 0). Far cheaper than unpacking."""
    _, _, _, content, time_us, _, _, id_bytes, extra_bytes = _EVENT.unpack_from(blob)
    end = _EVENT.size + id_bytes + extra_bytes
    if content & _HAS_VIN:
        end += _VIN_BYTES
    return (content & _KIND, time_us) if end == len(blob) else (0, 0)


def _starts(blob: bytes) -> list[int]:
    starts: list[int] = []
    at, end = 0, len(blob)
    while at < end:
        starts.append(at)
        _, _, _, content, _, _, _, id_bytes, extra_bytes = _EVENT.unpack_from(blob, at)
        at += _EVENT.size + id_bytes + extra_bytes
        if content & _HAS_VIN:
            at += _VIN_BYTES
        if content & _HAS_VOIDS:
            _, at = _unpacked_voids(blob, at)
    return starts


def _packed_vin(vin: str) -> bytes:
    packed = vin.encode("ascii")
    if len(packed) != _VIN_BYTES:
        raise ValueError(f"a VIN has {_VIN_BYTES} characters, not {len(packed)}")
    return packed


def _packed_voids(voids: tuple[str, str]) -> bytes:
    source, identity = voids[0].encode(), voids[1].encode()
    return _LENGTHS.pack(len(source), len(identity)) + source + identity


def _unpacked_voids(blob: bytes, at: int) -> tuple[tuple[str, str], int]:
    """The (source, id) at a position, and the position behind them."""
    source_bytes, id_bytes = _LENGTHS.unpack_from(blob, at)
    at += _LENGTHS.size
    middle, end = at + source_bytes, at + source_bytes + id_bytes
    return (blob[at:middle].decode(), blob[middle:end].decode()), end


def _code_of(entry: tuple[int, str | Sequence[str]]) -> int:
    return entry[0]


def _dims(words: Sequence[str]) -> Dims:
    model, variant, factory, region = words
    return (model, variant, factory, region)
