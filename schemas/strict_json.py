"""A strict JSON parser: it refuses what different parsers would read differently.

The standard library's parser does the work, so this is slow, but it is the authority. Beyond the grammar of RFC 8259 it refuses: a
byte order mark, duplicate keys at any depth, numbers that not every parser keeps exact (integers beyond 2^53 - 1 in magnitude,
numbers that overflow), NaN and Infinity, lone surrogates, and more than `MAX_DEPTH` levels.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

from schemas.events import MAX_INTEGER
from schemas.texts import decoded_gbk

MAX_DEPTH: Final = 32

_MAX_INTEGER_DIGITS: Final = len(str(MAX_INTEGER))
#: A string, closed or not (an unclosed one takes the rest of the text), or a bracket.
_STRING_OR_BRACKET: Final = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)
#: The parser's message → what it means in plain words.
_WORDS: Final = {
    "Expecting value": "a value is missing, or is none of JSON's: text in double quotes, number, true, false, null",
    "Expecting property name enclosed in double quotes": "a name in double quotes is missing; one comma too many?",
    "Illegal trailing comma before end of object": "a comma stands before the end of the object",
    "Illegal trailing comma before end of array": "a comma stands before the end of the list",
    "Expecting ':' delimiter": "a colon is missing behind a name",
    "Expecting ',' delimiter": "a comma or the end of the object or list is missing",
    "Extra data": "the JSON is over and more follows; one event a record",
    "Unterminated string starting at": "a text begins and does not end: was it cut off?",
    "Invalid control character at": "a control character within a text; a line feed is written \\n",
    "Invalid \\escape": "a backslash within a text that begins no escape of JSON",
    "Invalid \\uXXXX escape": "four hexadecimal digits are missing behind \\u",
}
_SURROGATE_ESCAPE: Final = re.compile(r"\\u[dD][89a-fA-F]")


class StrictJsonError(ValueError):
    """The text is refused.

    Attributes:
        reason: `malformed_json`, `duplicate_key` or `too_deep`.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class _DuplicateKeyError(Exception):
    pass


def parse(text: bytes) -> Any:
    """The value of a JSON text.

    If several things are wrong, depth comes first (deep text is not parsed at all), then syntax and numbers, then duplicate keys.

    Raises:
        StrictJsonError: The text is refused; the message does not quote it.
    """
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _malformed(
            f"not UTF-8 from byte {error.start + 1} on{_encoding_of(text)}; wanted: text in UTF-8"
        ) from None
    if _depth(decoded) > MAX_DEPTH:
        raise StrictJsonError("too_deep", f"nested deeper than {MAX_DEPTH} levels")
    try:
        value = _read(decoded, _DECODER)
    except _DuplicateKeyError:
        value = _read(decoded, _LENIENT_DECODER)
        duplicate_key = True
    else:
        duplicate_key = False
    if _SURROGATE_ESCAPE.search(decoded) and not _is_unicode(value):
        raise _malformed("half of a surrogate pair is no character")
    if duplicate_key:
        raise StrictJsonError("duplicate_key", "an object has the same key twice")
    return value


def _read(text: str, decoder: json.JSONDecoder) -> Any:
    try:
        return decoder.decode(text)
    except json.JSONDecodeError as error:
        raise _malformed(_in_plain_words(text, error)) from None


def _in_plain_words(text: str, error: json.JSONDecodeError) -> str:
    """What is wrong, for people who do not know the parser."""
    if not text.strip():
        return "the value is empty; wanted: a JSON object"
    if error.pos >= len(text.rstrip()):
        return "the JSON text ends too early: was it cut off?"
    if error.pos == len(text) - len(text.lstrip()) and error.msg == "Expecting value":
        return 'the value is not JSON; wanted: a JSON object, which begins with {"'
    words = _WORDS.get(error.msg, "something else stands where JSON goes on")
    return f"not JSON from character {error.pos + 1} on: {words}"


def _encoding_of(text: bytes) -> str:
    return "" if decoded_gbk(text) is None else ", text in GBK?"


def _malformed(what: str) -> StrictJsonError:
    return StrictJsonError("malformed_json", what)


def _depth(text: str) -> int:
    """The deepest nesting of brackets outside strings."""
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return 0
    depth = deepest = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        if match[0] in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif match[0] in "}]":
            depth -= 1
    return deepest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _DuplicateKeyError
    return members


def _integer(digits: str) -> int:
    # The length is checked first, since Python refuses to convert very long text to an integer.
    if len(digits) > _MAX_INTEGER_DIGITS + 1 or abs(int(digits)) > MAX_INTEGER:
        raise _malformed("an integer beyond 2^53 in magnitude is not exact everywhere")
    return int(digits)


def _number(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise _malformed("a number is out of range")
    return number


def _constant(name: str) -> NoReturn:
    raise _malformed(f"{name} is no JSON number")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_number, parse_constant=_constant
)
#: For text with duplicate keys, to check whether it is at least well-formed.
_LENIENT_DECODER: Final = json.JSONDecoder(parse_int=_integer, parse_float=_number, parse_constant=_constant)


def _is_unicode(value: Any) -> bool:
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, dict):
        return all(_is_unicode(key) and _is_unicode(member) for key, member in value.items())
    return not isinstance(value, list) or all(_is_unicode(member) for member in value)
