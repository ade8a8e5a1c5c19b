"""Reads events from files as people have them: one per line, a JSON array, JSON objects over several lines; compressed, in UTF-16.

The first bytes tell what a file is. `EventReader` takes the file in pieces as they come, so that events of a slow pipe are not
delayed, and returns each event with its line number; whether it is a valid event is up to the codec.
"""

from __future__ import annotations

import codecs
import re
import zlib
from typing import Final, NamedTuple, Protocol

import cramjam

LONGEST_EVENT_BYTES: Final = 16 << 20

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_ENCODINGS: Final = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_UTF_32_MARKS: Final = (b"\xff\xfe\0\0", b"\0\0\xfe\xff")
#: First bytes of files that hold no events as text, and what such files are.
_OTHERS: Final = (
    (b"PK\x03\x04", "an Excel file or another zip archive"),
    (b"PAR1", "a Parquet file"),
    (b"\xd0\xcf\x11\xe0", "an old Excel file (.xls)"),
    (b"BZh", "compressed with bzip2"),
    (b"\xfd7zXZ", "compressed with xz"),
    (b"Obj\x01", "an Avro file"),
)
_TABLES: Final = {b"PK\x03\x04", b"PAR1"}
_WHITE: Final = b" \t\r\n\x1e"  # \x1e begins each text of a JSON text sequence
_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|["\[\]{}]', re.DOTALL)
#: Stands for the end that an array lacks; as JSON, it ends too early.
_NO_END: Final = b"["
_ENOUGH_TO_TELL: Final = 1 << 20


class NumberedLine(NamedTuple):
    """One event of a file, or whatever is in its place.

    Attributes:
        number: The number of the line it begins in, from 1.
        text: Its JSON.
        topic: Where it goes, as in `streams.kafka.publication`, if known; else -1.
        key: The key of its record, if `topic` is known.
        fault: Why it is no event although its JSON would be one, in one line without anything from it; "" if it may be one.
    """

    number: int
    text: bytes
    topic: int = -1
    key: bytes | None = None
    fault: str = ""


class _Splitter(Protocol):
    def feed(self, text: bytes, *, last: bool) -> list[NumberedLine]:
        """The events that are complete."""


class EventReader:
    """Reads the events of one file.

    Attributes:
        form: What the file was found to be, in words; empty before that is known.
    """

    def __init__(self) -> None:
        self.form = ""
        self._decoder: _Decoder | None = None
        self._splitter: _Splitter | None = None
        self._raw = b""
        self._text = b""

    def feed(self, piece: bytes) -> list[NumberedLine]:
        """Takes the next bytes, none at the end, and returns the events that are complete now.

        Raises:
            ValueError: The file holds no events, or is damaged; the message says what it is.
        """
        last = not piece
        if self._decoder is None:
            self._raw += piece
            if len(self._raw) < 4 and not last:
                return []
            self._decoder, piece = _Decoder(self._raw), self._raw
        text = self._decoder.decode(piece, last=last)
        if self._splitter is None:
            self._text += text
            kind = _kind_of(self._text, last=last)
            if kind is None:
                return []
            self._splitter, text = kind(), self._text
            self.form = ", ".join([*self._decoder.words, _KINDS[kind]])
            self._text = b""
        return self._splitter.feed(text, last=last)


def events_of(content: bytes) -> list[NumberedLine]:
    """All events of a file.

    Raises:
        ValueError: The file holds no events, or is damaged.
    """
    reader = EventReader()
    return [*reader.feed(content), *(reader.feed(b"") if content else ())]


class _Decoder:
    """Converts the bytes of a file to UTF-8 without a byte order mark."""

    def __init__(self, start: bytes) -> None:
        self.words: list[str] = []
        self._unzip: zlib._Decompress | None = None
        self._zstd = bytearray() if start.startswith(_ZSTD) else None
        self._text: codecs.IncrementalDecoder | None = None
        self._is_known = False
        self._start = b""
        if start.startswith(_GZIP):
            self.words.append("gzip")
            self._unzip = zlib.decompressobj(31)
        elif self._zstd is not None:
            self.words.append("zstd")
        else:
            _refuse_others(start)

    def decode(self, piece: bytes, *, last: bool) -> bytes:
        plain = self._decompressed(piece, last=last)
        if not self._is_known:
            self._start += plain
            if len(self._start) < 4 and not last:
                return b""
            self._is_known, plain = True, self._start
            plain = self._recognise(plain)
        if self._text is None:
            return plain
        try:
            return self._text.decode(plain, final=last).encode()
        except UnicodeDecodeError as error:
            raise ValueError(f"is in UTF-16 and damaged: {error.reason}") from None

    def _recognise(self, start: bytes) -> bytes:
        if start.startswith(_UTF_32_MARKS):
            raise ValueError("is in UTF-32: save it as UTF-8")
        for mark, encoding in _ENCODINGS:
            if start.startswith(mark):
                self.words.append("UTF-8 with a byte order mark" if encoding == "utf-8" else "UTF-16")
                if encoding != "utf-8":
                    self._text = codecs.getincrementaldecoder(encoding)()
                return start[len(mark) :]
        if len(start) >= 4 and start[:4].count(0) == 2 and (start[0] == 0) != (start[1] == 0):
            self.words.append("UTF-16")
            self._text = codecs.getincrementaldecoder("utf-16-be" if start[0] == 0 else "utf-16-le")()
        return start

    def _decompressed(self, piece: bytes, *, last: bool) -> bytes:
        try:
            if self._zstd is not None:
                self._zstd += piece
                return bytes(cramjam.zstd.decompress(bytes(self._zstd))) if last else b""
            if self._unzip is None:
                return piece
            return self._unzipped(piece, last=last)
        except (zlib.error, cramjam.DecompressionError):
            raise ValueError("is compressed and damaged: copy it again") from None

    def _unzipped(self, piece: bytes, *, last: bool) -> bytes:
        """Concatenated gzip files are read as one."""
        out = []
        while piece and self._unzip is not None:
            out.append(self._unzip.decompress(piece))
            piece = self._unzip.unused_data
            if self._unzip.eof:
                self._unzip = zlib.decompressobj(31)
                self._fresh = True
                piece = piece.lstrip(b"\0")  # padding after the last one
            else:
                self._fresh = False
        if last and not self._fresh:
            raise ValueError("is compressed and ends too early: copy it again")
        return b"".join(out)

    _fresh = True


def _refuse_others(start: bytes) -> None:
    for magic, words in _OTHERS:
        if start.startswith(magic):
            advice = "; a table is published with --map" if magic in _TABLES else ""
            raise ValueError(f"is {words}, and not a file of events as JSON{advice}")


def _kind_of(text: bytes, *, last: bool) -> type[_Lines | _Objects] | None:
    """How events are separated in a text that begins like this; `None` if more of it is needed to tell."""
    begins = text.lstrip(_WHITE)
    if not begins:
        return _Lines if last else None
    if text[:1] == b"\x1e" or begins[:1] == b"[":
        return _Objects
    if begins[:1] != b"{":
        return _Lines
    first, feed, rest = begins.partition(b"\n")
    if not feed and not last and len(text) < _ENOUGH_TO_TELL:
        return None
    if _depth_of(first) == 0:
        return _Lines
    # The first object does not end in its line: either it continues in the next, or it is broken and the next begins another one.
    following = rest.lstrip(_WHITE)
    if not following and not last:
        return None
    return _Lines if following[:1] in {b"{", b""} else _Objects


def _depth_of(line: bytes) -> int:
    depth = 0
    for token in _TOKEN.findall(line):
        depth += (token in b"[{") - (token in b"]}")
    return depth


class _Lines:
    """One event per line."""

    def __init__(self) -> None:
        self._number = 0
        self._rest = b""

    def feed(self, text: bytes, *, last: bool) -> list[NumberedLine]:
        *texts, self._rest = (self._rest + text).split(b"\n")
        if last and self._rest:
            texts, self._rest = [*texts, self._rest], b""
        if len(self._rest) > LONGEST_EVENT_BYTES:
            raise ValueError(
                f"line {self._number + len(texts) + 1}: no end of line in sight; one event a line is needed"
            )
        found = [NumberedLine(self._number + place, each) for place, each in enumerate(texts, start=1)]
        self._number += len(texts)
        return found


class _Objects:
    """Events over several lines: the elements of an array, or consecutive objects.

    Anything between them is returned as if it were an event, so that it is reported and not passed over.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._number = 1
        self._scanned = 0
        self._depth = 0
        self._start = -1
        self._is_array: bool | None = None
        self._is_closed = False

    def feed(self, text: bytes, *, last: bool) -> list[NumberedLine]:
        found: list[NumberedLine] = []
        text = self._rest + text
        if self._is_array is None:
            self._is_array = text.lstrip(_WHITE)[:1] == b"["
            if self._is_array:
                self._scanned = text.index(b"[") + 1
        taken, position = self._scan(text, found)
        if last:
            if not self._stray(text, taken, len(text), found) and self._is_array and not self._is_closed:
                found.append(NumberedLine(self._line_of(text, len(text)), _NO_END))
            return found
        kept = self._start if self._start >= 0 else taken
        if len(text) - kept > LONGEST_EVENT_BYTES:
            raise ValueError(f"line {self._line_of(text, kept)}: no end of the event in sight")
        self._number += text.count(b"\n", 0, kept)
        self._scanned = max(position - kept, 0)
        self._start = 0 if self._start >= 0 else -1
        self._rest = text[kept:]
        return found

    def _scan(self, text: bytes, found: list[NumberedLine]) -> tuple[int, int]:
        """Finds the complete objects; returns how far they extend, and how far the text was scanned."""
        taken, position = max(self._start, 0), self._scanned
        while match := _TOKEN.search(text, position):
            token = match[0]
            if token == b'"':
                break  # an unfinished string: wait for the rest
            position = match.end()
            if token in {b"{", b"["}:
                if self._depth == 0:
                    self._stray(text, taken, match.start(), found)
                    self._start, self._is_closed = match.start(), False
                self._depth += 1
            elif token in {b"}", b"]"} and self._depth:
                self._depth -= 1
                if self._depth == 0:
                    found.append(NumberedLine(self._line_of(text, self._start), text[self._start : position]))
                    taken, self._start = position, -1
            elif token == b"]":
                self._is_closed = True
        return taken, position

    def _line_of(self, text: bytes, position: int) -> int:
        return self._number + text.count(b"\n", 0, position)

    def _stray(self, text: bytes, start: int, end: int, found: list[NumberedLine]) -> bool:
        """Adds what is between two events, and returns whether there was anything."""
        between = text[start:end].strip(_WHITE + (b",[]" if self._is_array else b""))
        if between:
            found.append(NumberedLine(self._line_of(text, text.index(between, start)), between))
        return bool(between)


_KINDS: Final[dict[type, str]] = {_Lines: "one event a line", _Objects: "JSON over several lines"}
