"""The languages that people are addressed in, and their catalogues."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations

if TYPE_CHECKING:
    from pathlib import Path

#: The first one is that of the texts in the code.
LANGUAGES: Final = ("en", "zh")


def translations_in(folder: Path, language: str) -> NullTranslations:
    """The catalogue of a language; if there is none, texts stay as in the code.

    Args:
        folder: The folder with `LANGUAGE/LC_MESSAGES/messages.po`.
        language: One of `LANGUAGES`.
    """
    path = folder / language / "LC_MESSAGES" / "messages.po"
    if not path.exists():
        return NullTranslations()
    compiled = io.BytesIO()
    with path.open("rb") as source:
        write_mo(compiled, read_po(source, locale=language))
    compiled.seek(0)
    return Translations(compiled)
