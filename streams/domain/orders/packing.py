"""The events of one order as one compact byte string, in memory as in the changelog.

An event is packed as

    coordinates  1 topic and backfill, 2 partition, 8 offset       (little endian, 11 bytes)
    content      1 kind, whether the topic is one of production, and what the text holds, 8 time, 4 source, 4 dims,
                 2 bytes of the text, 2 characters of the id in it, 2 characters of the extra in it    (23 bytes)
                 text in UTF-8: id, extra; then the VIN, 17 characters, or what a void names: its source, preceded by
                 the length in three digits, and its id

Source and dims are codes of the ledger's vocabulary. Two events are the same event with the same content if and only if
their content bytes are equal; the coordinates are not content.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from schemas.facts import FIRST_OF_PRODUCTION, Dims, Fact

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: The fields at the start of an event: names, and the `struct` format of each, little endian.
LAYOUT: Final = (
    ("origin", "B"),
    ("partition", "H"),
    ("offset", "Q"),
    ("content", "B"),
    ("time_us", "q"),
    ("source", "I"),
    ("dims", "I"),
    ("text_bytes", "H"),
    ("id_end", "H"),
    ("extra", "H"),
)
_EVENT: Final = Struct("<" + "".join(code for _, code in LAYOUT))
_COORDINATES_BYTES: Final = 11
#: The fields of an event's content up to the length of its text, without the codes.
_SOLE: Final = Struct("<Bq8xH")
#: Indices in the unpacked fields of an event.
_TIME: Final = 4
_TEXT_BYTES: Final = 7

#: Flag in the origin.
BACKFILL: Final = 0b1
_TOPIC_SHIFT: Final = 1
#: Mask of the topic's number in the coordinates; the bit above it, 'of production', is in the content.
_TOPIC: Final = FIRST_OF_PRODUCTION - 1
_TOPIC_BITS: Final = _TOPIC.bit_length()

#: Mask of the kind in the content.
KIND: Final = 0b111
_HAS_VIN: Final = 0b1000
_HAS_VOIDS: Final = 0b1_0000
_OF_PRODUCTION: Final = 0b10_0000
_OF_PRODUCTION_SHIFT: Final = _OF_PRODUCTION.bit_length() - 1

_VIN_CHARACTERS: Final = 17
_LENGTH_DIGITS: Final = 3

#: The size of the smallest packed event.
MIN_EVENT_BYTES: Final = _EVENT.size + 1

Word = str | Dims

#: Kind, time, code of the source, code of the dims, backfill flag.
Head = tuple[int, int, int, int, bool]


class VocabularyEntry(NamedTuple):
    """A word (a source, or the four dimensions of a unit) and its code."""

    code: int
    word: Word


class Vocabulary:
    """Sources and dims tuples ↔ small ints, in order of first appearance. Words are never dropped."""

    def __init__(self) -> None:
        self.codes: dict[Word, int] = {}
        self.words: list[Word] = []
        self._drained = 0

    def code(self, word: Word) -> int:
        """The code of a word; a new code if the word is new."""
        code = self.codes.get(word)
        if code is None:
            code = self.codes[word] = len(self.words)
            self.words.append(word)
        return code

    def drain(self) -> list[VocabularyEntry]:
        """The words added since the last drain, in order of their codes."""
        first, self._drained = self._drained, len(self.words)
        return [VocabularyEntry(code, self.words[code]) for code in range(first, len(self.words))]

    def restore(self, entries: Iterable[tuple[int, str | Sequence[str]]]) -> None:
        """Restores what was drained, in any order; repeated entries change nothing.

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
    """Packs one event, without its order id, which is the key under which the order is stored.

    Raises:
        ValueError: The VIN is neither absent nor 17 characters.
        struct.error: A number or a text is larger than the contract allows.
    """
    codes = vocabulary.codes
    source, dims, vin = fact.source, fact.dims, fact.vin
    source_code = codes.get(source)
    if source_code is None:
        source_code = vocabulary.code(source)
    dims_code = codes.get(dims)
    if dims_code is None:
        dims_code = vocabulary.code(dims)
    topic = fact.topic
    content = fact.kind | topic >> _TOPIC_BITS << _OF_PRODUCTION_SHIFT
    identity, extra = fact.id, fact.extra
    text = identity + extra if extra else identity
    if vin:
        if len(vin) != _VIN_CHARACTERS:
            raise ValueError(f"a VIN has {_VIN_CHARACTERS} characters, not {len(vin)}")
        content |= _HAS_VIN
        text += vin
    if fact.voids is not None:
        content |= _HAS_VOIDS
        voided_source, voided_id = fact.voids
        text += f"{len(voided_source):0{_LENGTH_DIGITS}}{voided_source}{voided_id}"
    packed = text.encode()
    origin = (topic & _TOPIC) << _TOPIC_SHIFT | fact.backfill
    return (
        _EVENT.pack(
            origin,
            fact.partition,
            fact.offset,
            content,
            fact.time_us,
            source_code,
            dims_code,
            len(packed),
            len(identity),
            len(extra),
        )
        + packed
    )


def unpack(order_id: str, blob: bytes, words: Sequence[Word]) -> list[Fact]:
    """The events of an order, in the order in which they were applied."""
    facts: list[Fact] = []
    at, end = 0, len(blob)
    while at < end:
        origin, partition, offset, content, time_us, source, dims, text_bytes, id_end, extra = _EVENT.unpack_from(
            blob, at
        )
        at += _EVENT.size + text_bytes
        text = blob[at - text_bytes : at].decode()
        extra_end = id_end + extra
        vin, voids = "", None
        vin_end = extra_end
        if content & _HAS_VIN:
            vin_end += _VIN_CHARACTERS
            vin = text[extra_end:vin_end]
        if content & _HAS_VOIDS:
            voids = voids_in(text[vin_end:])
        facts.append(
            Fact(
                content & KIND,
                order_id,
                words[source],
                text[:id_end],
                time_us,
                vin,
                words[dims],
                text[id_end:extra_end],
                voids,
                origin & BACKFILL == BACKFILL,
                origin >> _TOPIC_SHIFT | (content & _OF_PRODUCTION) << (_TOPIC_BITS - _OF_PRODUCTION_SHIFT),
                partition,
                offset,
            )
        )
    return facts


def source_at(words: Sequence[Word], code: int) -> str:
    """The source with a code."""
    return cast("str", words[code])  # codes of sources stand for nothing else


def dims_at(words: Sequence[Word], code: int) -> Dims:
    """The dimensions with a code."""
    return cast("Dims", words[code])  # likewise


def unpack_at(order_id: str, blob: bytes, at: int, words: Sequence[Word]) -> Fact:
    """The event that begins at a position among the events of an order."""
    (fact,) = unpack(order_id, blob[at : end_of(blob, at)], words)
    return fact


def end_of(blob: bytes, at: int) -> int:
    """The position behind the event that begins at a position."""
    text_bytes: int = _EVENT.unpack_from(blob, at)[_TEXT_BYTES]
    return at + _EVENT.size + text_bytes


def holds(blob: bytes, packed: bytes) -> bool:
    """Whether an order already has this event with the same content."""
    content = packed[_COORDINATES_BYTES:]
    found = blob.find(content)
    while found >= 0:
        # The bytes found could straddle two events; they are an event only at the start of one.
        if _is_start(blob, found - _COORDINATES_BYTES):
            return True
        found = blob.find(content, found + 1)
    return False


def sole_event(blob: bytes) -> tuple[int, int]:
    """Kind and time of an order's event if it has only one, else (0, 0). Far cheaper than unpacking."""
    content, time_us, text_bytes = _SOLE.unpack_from(blob, _COORDINATES_BYTES)
    return (content & KIND, time_us) if _EVENT.size + text_bytes == len(blob) else (0, 0)


def sole_id(blob: bytes) -> str:
    """The id of an order's only event."""
    *_, id_end, _ = _EVENT.unpack_from(blob)
    return blob[_EVENT.size :].decode()[:id_end]


def is_sole(blob: bytes, kind: int, before_us: int) -> bool:
    """Whether an order's only event is of a kind and earlier than a time."""
    content, time_us, text_bytes = _SOLE.unpack_from(blob, _COORDINATES_BYTES)
    return bool(content & KIND == kind and time_us < before_us and _EVENT.size + text_bytes == len(blob))


def heads(blob: bytes) -> list[Head]:
    """The fields of each event that matter for counting, in the order of `unpack`; far cheaper than that."""
    found = []
    at, end = 0, len(blob)
    while at < end:
        origin, _, _, content, time_us, source, dims, text_bytes, _, _ = _EVENT.unpack_from(blob, at)
        found.append((content & KIND, time_us, source, dims, origin & BACKFILL == BACKFILL))
        at += _EVENT.size + text_bytes
    return found


def has_event_between(blob: bytes, first_us: int, end_us: int) -> bool:
    """Whether an event's time is at or after the first instant and before the other, microseconds since 1970."""
    at, end, size, unpack_from = 0, len(blob), _EVENT.size, _EVENT.unpack_from
    while at < end:
        event = unpack_from(blob, at)
        if first_us <= event[_TIME] < end_us:
            return True
        at += size + event[_TEXT_BYTES]
    return False


def terms(blob: bytes) -> list[tuple[bytes, bytes, int]]:
    """Id, VIN and time of each event, in the order of `unpack`; the VIN is empty if it has none."""
    found = []
    at, end = 0, len(blob)
    while at < end:
        _, _, _, content, time_us, _, _, text_bytes, id_end, extra = _EVENT.unpack_from(blob, at)
        at += _EVENT.size + text_bytes
        text = blob[at - text_bytes : at]
        if not text.isascii():
            characters = text.decode()
            identity = characters[:id_end].encode()
            vin = characters[id_end + extra : id_end + extra + _VIN_CHARACTERS].encode()
        else:
            identity, vin = text[:id_end], text[id_end + extra : id_end + extra + _VIN_CHARACTERS]
        found.append((identity, vin if content & _HAS_VIN else b"", time_us))
    return found


def _is_start(blob: bytes, position: int) -> bool:
    at = 0
    while at < position:
        at += _EVENT.size + _EVENT.unpack_from(blob, at)[_TEXT_BYTES]
    return at == position


def voids_in(text: str) -> tuple[str, str]:
    """Source and id of the event that a void names, from what stands behind its VIN."""
    source_end = _LENGTH_DIGITS + int(text[:_LENGTH_DIGITS])
    return text[_LENGTH_DIGITS:source_end], text[source_end:]


def _code_of(entry: tuple[int, str | Sequence[str]]) -> int:
    return entry[0]


def _dims(words: Sequence[str]) -> Dims:
    model, variant, factory, region = words
    return (model, variant, factory, region)
