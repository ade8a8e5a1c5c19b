"""Makes foreign text safe for a terminal: no character can move the cursor or hide other text."""

from __future__ import annotations

import json
import unicodedata
from typing import Final

#: Categories of characters that are not shown as themselves: controls, invisible formats (including those that change the writing
#: direction), surrogates, private use, unassigned; line and paragraph separators.
_UNFIT: Final = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


def printable(text: str) -> str:
    r"""The text with everything that is not shown as itself escaped: `\x1b`, `\u202e`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(character) if unicodedata.category(character) in _UNFIT else character for character in text)


def as_json(value: object) -> str:
    r"""One line of JSON, safe for a terminal: readable text stays, the rest gets JSON escapes (`\u001b`)."""
    text = json.dumps(value, ensure_ascii=False)
    if text.isascii() and text.isprintable():
        return text
    # Unsafe characters occur only inside strings, so JSON escapes preserve the value.
    return "".join(
        json.dumps(character)[1:-1] if unicodedata.category(character) in _UNFIT else character for character in text
    )


def _escape(character: str) -> str:
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
