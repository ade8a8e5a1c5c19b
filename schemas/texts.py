"""Normalises text as people write it: surrounding spaces and the two ways to write an accent do not matter.

A name (of a model, a factory, a region) has up to 64 letters, digits, marks, signs and inner spaces of any script. In the id of a
scope, `model=SU7,region=CN-11`, the characters that separate names are escaped, so that ids can be keys, addresses and parts of
other ids; a name without them stays as it is.

Spaces are trimmed (U+0020 and Unicode's other space separators, such as the ideographic one); tabs, line ends and other control
characters are not spaces, and stay refused. Composed characters are normalised to Unicode's NFC, so that an `é` is the same text
whichever keyboard it came from.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The space separators of Unicode (category Zs).
SPACES: Final = " \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"

LONGEST_NAME: Final = 64
#: The value under which all values count that are not listed in the settings.
OTHER: Final = "other"
#: The scope without dimensions, and the name of the set that consists of it.
ALL: Final = "all"

#: What rules about silent event sources name instead of dimensions. No unit has it.
SOURCE: Final = "source"

#: Characters that separate names in ids: of rows, scopes, milestones and day counts.
_TO_ESCAPE: Final = re.compile("[%/=,|]")
_ESCAPES: Final = re.compile("%(25|2F|3D|2C|7C)", re.IGNORECASE)
_OTHER_SPACES: Final = re.compile(f"[{SPACES[1:]}]")


def tidy(text: str) -> str:
    """The text trimmed of spaces and in NFC."""
    trimmed = text.strip(SPACES)
    return trimmed if trimmed.isascii() else unicodedata.normalize("NFC", trimmed)


def tidy_name(text: str) -> str:
    """The name trimmed and in NFC, with all inner spaces replaced by plain ones."""
    tidied = tidy(text)
    return tidied if tidied.isascii() else _OTHER_SPACES.sub(" ", tidied)


def is_name(text: str) -> bool:
    """Whether a tidied text is a name: 1 to 64 characters, all visible except for inner spaces."""
    if not 0 < len(text) <= LONGEST_NAME or text[0] == " " or text[-1] == " ":
        return False
    if text.isascii():
        return text.isprintable()
    return all(character == " " or unicodedata.category(character)[0] in "LMNPS" for character in text)


def escaped(name: str) -> str:
    """The name as written in the id of a scope."""
    return _TO_ESCAPE.sub(lambda found: f"%{ord(found[0]):02X}", name)


def unescaped(part: str) -> str:
    """The name written in the id of a scope; a `%` that does not begin an escape stands for itself."""
    return _ESCAPES.sub(lambda found: chr(int(found[1], 16)), part) if "%" in part else part


def scope_names(scope: str) -> list[str]:
    """The names in the id of a scope, in order; none for `all`."""
    return [unescaped(part.partition("=")[2]) for part in scope.split(",") if "=" in part]


def template_of(scope: str) -> tuple[str, ...]:
    """The dimensions in the id of a scope: `("model",)` of `model=SU7`, none of `all`."""
    return tuple(part.partition("=")[0] for part in scope.split(",") if "=" in part)


def template_name(template: Iterable[str]) -> str:
    """The name of the set of scopes with these dimensions: `model,region`, or `all`."""
    return ",".join(template) or ALL


def scope_of_source(source: str) -> str:
    """The pseudo-scope of an event source, for use in place of a scope id: `source=%2Ffactories%2Fbj1%2Fdispatch`."""
    return f"{SOURCE}={escaped(source)}"


def source_of_scope(scope: str) -> str | None:
    """The source of a pseudo-scope made by `scope_of_source`; None for the id of a scope."""
    name, _, value = scope.partition("=")
    return unescaped(value) if name == SOURCE else None


def tidy_key(key: bytes) -> bytes:
    """The key of a record, trimmed and in NFC; a key that is not UTF-8 is unchanged."""
    if key.isascii():
        return key.strip(b" ")
    try:
        return tidy(key.decode("utf-8")).encode()
    except UnicodeDecodeError:
        return key
