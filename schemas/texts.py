"""Texts as people write them: spaces around them and the two ways to write an accent say nothing.

A name (of a model, a factory, a region) has up to 64 letters, digits, marks, signs and inner spaces of any script. In the
id of a scope, `model=SU7,region=CN-11`, the characters that part names from each other are escaped, so that ids can be
keys, addresses and parts of other ids; the id of a name without them is the name.

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

LONGEST_NAME: Final = 64
#: The value under which those count that are not listed in the settings.
OTHER: Final = "other"

#: What rules about silences of event sources name in place of dimensions. No unit has it.
SOURCE: Final = "source"

#: What parts names in ids: of rows, scopes, milestones and day counts.
_TO_ESCAPE: Final = re.compile("[%/=,|]")
_ESCAPES: Final = re.compile("%(25|2F|3D|2C|7C)", re.IGNORECASE)
_OTHER_SPACES: Final = re.compile(f"[{SPACES[1:]}]")


def tidy(text: str) -> str:
    """The text trimmed of spaces and in NFC."""
    trimmed = text.strip(SPACES)
    return trimmed if trimmed.isascii() else unicodedata.normalize("NFC", trimmed)


def tidy_name(text: str) -> str:
    """The name trimmed and in NFC, with plain spaces for the others within."""
    tidied = tidy(text)
    return tidied if tidied.isascii() else _OTHER_SPACES.sub(" ", tidied)


def is_name(text: str) -> bool:
    """Whether a tidied text is a name: 1 to 64 characters, none of them invisible but spaces within."""
    if not 0 < len(text) <= LONGEST_NAME or text[0] == " " or text[-1] == " ":
        return False
    if text.isascii():
        return text.isprintable()
    return all(character == " " or unicodedata.category(character)[0] in "LMNPS" for character in text)


def escaped(name: str) -> str:
    """The name as it stands in the id of a scope."""
    return _TO_ESCAPE.sub(lambda found: f"%{ord(found[0]):02X}", name)


def unescaped(part: str) -> str:
    """The name that stands in the id of a scope; a `%` that begins no escape stands for itself."""
    return _ESCAPES.sub(lambda found: chr(int(found[1], 16)), part) if "%" in part else part


def scope_names(scope: str) -> list[str]:
    """The names in the id of a scope, in its order; none in that of `all`."""
    return [unescaped(part.partition("=")[2]) for part in scope.split(",") if "=" in part]


def scope_of_source(source: str) -> str:
    """What an event source is called where others have the id of a scope: `source=%2Ffactories%2Fbj1%2Fdispatch`."""
    return f"{SOURCE}={escaped(source)}"


def source_of_scope(scope: str) -> str | None:
    """The source that `scope_of_source` was given; None for the id of a scope."""
    name, _, value = scope.partition("=")
    return unescaped(value) if name == SOURCE else None


def tidy_key(key: bytes) -> bytes:
    """The key of a record, trimmed and in NFC; one that is not UTF-8 stays as it is."""
    if key.isascii():
        return key.strip(b" ")
    try:
        return tidy(key.decode("utf-8")).encode()
    except UnicodeDecodeError:
        return key
