"""Repairs rejected records before they are published again: common repairs, and a filter of the operator's choice.

A repair that does not apply to a record leaves it unchanged: one command repairs all records rejected for a reason, and the
verdicts afterwards show which are valid now.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import gzip
import json
import os
import re
import signal
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from schemas.cloudevents import CONTENT_TYPE, BatchError, HeaderError, canonical_name, is_structured
from schemas.codec import decode_document, encode_document
from schemas.instants import MissingOffsetError, parse_instant
from schemas.notes import Place
from schemas.wrappers import FRAME_BYTES
from streams.listener import ignore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from streams.operations.dead_letters import DeadLetter

HeaderPairs = tuple[tuple[str, bytes | None], ...]

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_OFFSET: Final = re.compile(r"Z|[+-][0-9]{2}:[0-9]{2}")
#: Fields that are not strings, so that a number or a word is parsed as JSON.
_NOT_TEXTS: Final = frozenset({"data.value", "data.count", "backfill"})
_DOES_NOT_FIT: Final = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RecursionError,
    OSError,
    EOFError,
    zlib.error,
)
#: How long a filter may take for its next line once it has all its input, seconds.
_FILTER_TIMEOUT_S: Final = 120.0
#: Exit codes of a shell that finds no such command, or may not start it.
NOT_RUN: Final = frozenset({126, 127})
_PIECE_BYTES: Final = 1 << 20
_AT_A_TIME: Final = 200


class Content(NamedTuple):
    """The parts of a record that can be repaired."""

    key: bytes | None
    value: bytes | None
    headers: HeaderPairs


@dataclass(frozen=True)
class Mending:
    """Repairs, in the order in which they are made.

    Attributes:
        unwrap: Names in `UNWRAPPERS`.
        strip_bom: Whether to remove a byte order mark.
        fields: Path in the event, such as `data.model` or `time` → its text, or JSON for a field that is not a string.
        headers: Name → value; an empty value removes the header.
        time_offset: Offset to append to times without one, such as `+08:00`.
    """

    unwrap: tuple[str, ...] = ()
    strip_bom: bool = False
    fields: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    time_offset: str = ""

    def __post_init__(self) -> None:
        if self.time_offset and not _OFFSET.fullmatch(self.time_offset):
            raise ValueError(f"--time-offset {self.time_offset} is no offset; write one such as +08:00")
        for path, _ in self.fields:
            if not all(path.split(".")):
                raise ValueError(f"--set {path}: a name between two dots is empty; write one such as data.model")

    def apply(self, content: Content) -> Content:
        """The record after the repairs."""
        for name in self.unwrap:
            if content.value:
                with contextlib.suppress(*_DOES_NOT_FIT):
                    content = content._replace(value=UNWRAPPERS[name](content.value))
        if self.strip_bom and content.value is not None:
            content = content._replace(value=content.value.removeprefix(_BYTE_ORDER_MARK))
        for name, value in self.headers:
            content = content._replace(headers=_with_header(content.headers, name, value))
        # What is nested too deeply to be written again stays as it is.
        for path, text in self.fields:
            with contextlib.suppress(RecursionError):
                content = _with_field(content, path, text)
        if self.time_offset:
            with contextlib.suppress(RecursionError):
                content = _with_offset(content, self.time_offset)
        return content


def _payload(value: bytes) -> bytes:
    payload = json.loads(value)["payload"]
    return payload.encode() if isinstance(payload, str) else _compact(payload)


def _row(value: bytes) -> bytes:
    document = json.loads(value)
    after = document.get("payload", document)["after"]
    inner = after.get("payload", after)
    return inner.encode() if isinstance(inner, str) else _compact(inner)


def _unframed(value: bytes) -> bytes:
    if value[:1] != b"\0":
        raise ValueError("not in the wire format")
    return value[FRAME_BYTES:]


def _from_base64(value: bytes) -> bytes:
    text = json.loads(value) if value.lstrip()[:1] == b'"' else value
    return base64.b64decode(text, validate=True)


def _text(value: bytes) -> bytes:
    text = json.loads(value)
    if not isinstance(text, str):
        raise TypeError
    return text.encode()


#: Wrappers that can be removed, by the name of the option.
UNWRAPPERS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "connect": _payload,
    "debezium": _row,
    "confluent": _unframed,
    "base64": _from_base64,
    "text": _text,
    "gzip": gzip.decompress,
}


def _with_header(headers: HeaderPairs, name: str, value: str) -> HeaderPairs:
    """Replaces all headers of that name, in any case, by one at the place of the first; by none if the value is empty."""
    wanted = canonical_name(name)
    at = next((at for at, (other, _) in enumerate(headers) if canonical_name(other) == wanted), len(headers))
    rest = [pair for pair in headers if canonical_name(pair[0]) != wanted]
    return tuple([*rest[:at], (wanted, value.encode()), *rest[at:]] if value else rest)


def _with_field(content: Content, path: str, text: str) -> Content:
    if not _is_whole_event(content):
        if not path.startswith("data."):
            name = CONTENT_TYPE if path == "datacontenttype" else f"ce_{path}"
            return content._replace(headers=_with_header(content.headers, name, text))
        path, known = path.removeprefix("data."), path
    else:
        known = path
    document = _object(content.value)
    if document is None:
        return content
    *above, last = path.split(".")
    inner = document
    for name in above:
        inner = inner.setdefault(name, {})
        if not isinstance(inner, dict):
            return content
    inner[last] = _value_of(known, text)
    return content._replace(value=_compact(document))


def _value_of(path: str, text: str) -> Any:
    if path in _NOT_TEXTS or text[:1] in {"{", "[", '"'}:
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _with_offset(content: Content, offset: str) -> Content:
    if not _is_whole_event(content):
        headers = tuple(
            (name, f"{value.decode()}{offset}".encode())
            if canonical_name(name) == "ce_time" and value and _lacks_offset(value.decode("utf-8", "replace"))
            else (name, value)
            for name, value in content.headers
        )
        return content._replace(headers=headers)
    document = _object(content.value)
    if document is None or not isinstance(time := document.get("time"), str) or not _lacks_offset(time):
        return content
    return content._replace(value=_compact(document | {"time": f"{time.strip()}{offset}"}))


def _lacks_offset(text: str) -> bool:
    try:
        parse_instant(text.strip())
    except MissingOffsetError:
        return True
    except ValueError:
        return False
    return False


def _is_whole_event(content: Content) -> bool:
    try:
        return is_structured(content.headers)
    except (HeaderError, BatchError):
        return True


def _object(value: bytes | None) -> dict[str, Any] | None:
    text = (value or b"").removeprefix(_BYTE_ORDER_MARK)
    try:
        document = decode_document(text)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _compact(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


# The operator's filter -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Edited:
    """A filter's result for a record; `failure` says why there is none."""

    content: Content | None = None
    failure: str = ""


async def filtered(
    command: str, letters: Sequence[tuple[DeadLetter, Content]], progress: Callable[[int], None] = ignore
) -> dict[Place, Edited]:
    """Pipes all records through one command, as one JSON object per line; returns its results by the place of each record.

    An object has `topic`, `partition`, `offset`, `reason`, `message`, `key`, `headers` (a list of names and values), and the
    value: as `value` if it is a JSON object, else as `value_text`, or `value_b64` if it is not text. A record for which no line
    comes back is missing from the result. `progress` is called with the number of lines since the last call.

    Raises:
        ValueError: The command failed, or its output is invalid.
    """
    process = await asyncio.create_subprocess_shell(
        command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_PIECE_BYTES, process_group=0
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("a process without pipes")
    given = {letter.place: content for letter, content in letters}
    writing = asyncio.create_task(_write(process.stdin, letters))
    found: dict[Place, Edited] = {}
    try:
        number, rest = 0, b""
        while True:
            async with asyncio.timeout(_FILTER_TIMEOUT_S):
                piece = await process.stdout.read(_PIECE_BYTES)
            *lines, rest = (rest + piece).split(b"\n") if piece else (rest, b"")
            for number, line in enumerate(lines, start=number + 1):  # noqa: B020 - goes on counting
                if line.strip() not in {b"", b"null"}:
                    place, edited = _read_line(line, number, given)
                    found[place] = edited
            progress(len(lines))
            if not piece:
                break
        await process.wait()
    except TimeoutError:
        raise ValueError(f"the command gave nothing for {_FILTER_TIMEOUT_S:.0f} s") from None
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await ended(process)
    if process.returncode:
        raise ValueError(how_it_failed(process.returncode))
    return found


def how_it_failed(code: int) -> str:
    """What a command's exit code other than 0 says."""
    if code in NOT_RUN:
        return f"the command cannot be run, the shell ended with {code}"
    return f"the command was ended by {signal.Signals(-code).name}" if code < 0 else f"the command ended with {code}"


async def ended(process: asyncio.subprocess.Process) -> None:
    """Ends a shell that leads a process group, and the commands it has started, which hold its pipes open."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _write(stdin: asyncio.StreamWriter, letters: Sequence[tuple[DeadLetter, Content]]) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for first in range(0, len(letters), _AT_A_TIME):
            some = letters[first : first + _AT_A_TIME]
            stdin.write(b"".join(encode_document(document_of(letter, content)) + b"\n" for letter, content in some))
            await stdin.drain()
    stdin.close()


def document_of(letter: DeadLetter, content: Content) -> dict[str, Any]:
    """A record as a filter gets it."""
    document: dict[str, Any] = {
        **letter.place._asdict(),
        "reason": letter.reason,
        "message": letter.message,
        "key": None if content.key is None else content.key.decode("utf-8", "replace"),
        "headers": [
            [name, None if value is None else value.decode("utf-8", "replace")] for name, value in content.headers
        ],
    }
    whole = _object(content.value)
    if content.value is None:
        return {**document, "value": None}
    if whole is not None:
        return {**document, "value": whole}
    try:
        return {**document, "value_text": content.value.decode()}
    except UnicodeDecodeError:
        return {**document, "value_b64": base64.b64encode(content.value).decode()}


def _read_line(line: bytes, number: int, given: Mapping[Place, Content]) -> tuple[Place, Edited]:
    try:
        document = decode_document(line)
        place = Place(document["topic"], document["partition"], document["offset"])
        before = given[place]
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"line {number} of the command's output is none of the records: --edit is a filter of JSON objects, a line each "
            "(jq -c ...); for one that gets and gives a value alone add --edit-with value"
        ) from None
    try:
        return place, Edited(_content_of(document, before))
    except (ValueError, TypeError, AttributeError, binascii.Error):
        return place, Edited(failure="the command gave a record with a key, value or header that is no text")


def _content_of(document: Mapping[str, Any], before: Content) -> Content:
    """The record that an object describes; unchanged parts keep their original bytes."""
    key, headers = document.get("key"), document.get("headers", [])
    pairs = headers.items() if isinstance(headers, dict) else headers
    after = Content(
        None if key is None else key.encode(),
        _value_bytes(document, before.value),
        tuple((str(name), None if value is None else value.encode()) for name, value in pairs),
    )
    same_key = before.key is not None and before.key.decode("utf-8", "replace") == key
    old = [(name, None if value is None else value.decode("utf-8", "replace")) for name, value in before.headers]
    same_headers = old == [(str(name), value) for name, value in pairs]
    return after._replace(
        key=before.key if same_key else after.key, headers=before.headers if same_headers else after.headers
    )


def _value_bytes(document: Mapping[str, Any], before: bytes | None) -> bytes | None:
    if "value_b64" in document:
        return base64.b64decode(document["value_b64"], validate=True)
    if "value_text" in document:
        text: str = document["value_text"]
        return text.encode()
    value = document.get("value")
    if value is None:
        return None
    if isinstance(value, str):
        return value.encode()
    return before if value == _object(before) else _compact(value)
