"""Texts as people write them: spaces around them and the two ways to write an accent say nothing.

Trimmed are spaces (U+0020 and the other space separators of Unicode, such as the ideographic one); tabs, line ends and
other control characters are not spaces, and stay refused. Composed characters are in Unicode's NFC, so that an `é` is one
text whichever keyboard it came from.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

#: The space separators of Unicode (category Zs).
SPACES: Final = " \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"

_OTHER_SPACES: Final = re.compile(f"[{SPACES[1:]}]")


def tidy(text: str) -> str:
    """The text trimmed of spaces and in NFC."""
    trimmed = text.strip(SPACES)
    return trimmed if trimmed.isascii() else unicodedata.normalize("NFC", trimmed)


def tidy_name(text: str) -> str:
    """The name trimmed and in NFC, with plain spaces for the others within."""
    tidied = tidy(text)
    return tidied if tidied.isascii() else _OTHER_SPACES.sub(" ", tidied)


def tidy_key(key: bytes) -> bytes:
    """The key of a record, trimmed and in NFC; one that is not UTF-8 stays as it is."""
    if key.isascii():
        return key.strip(b" ")
    try:
        return tidy(key.decode("utf-8")).encode()
    except UnicodeDecodeError:
        return key
