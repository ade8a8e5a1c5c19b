"""What is wrong, as a line in English that can also be said in another language."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Message(str):
    """A line in English that remembers its text and what was filled in, some of which may be messages again.

    Args:
        text: The text, as catalogues of translations have it. If there are parts, it has a place such as `%(name)s` for each.
        parts: What is filled in.
    """

    __slots__ = ("_parts", "_text")

    _text: str
    _parts: dict[str, object]

    def __new__(cls, text: str, /, **parts: object) -> Self:
        """Fills in the parts."""
        made = super().__new__(cls, text % parts if parts else text)
        made._text, made._parts = text, parts
        return made

    def __reduce__(self) -> tuple[Callable[..., Message], tuple[str, dict[str, object]]]:
        """Copies keep what they were made from."""
        return _made, (self._text, self._parts)

    def translated(self, gettext: Callable[[str], str]) -> str:
        """The line in another language; what has no translation stays in English.

        Args:
            gettext: Translates a text.
        """
        text = gettext(self._text)
        return text % {name: said(part, gettext) for name, part in self._parts.items()} if self._parts else text


def any_of(names: Sequence[str]) -> str:
    """The names of some things, of which one is to be chosen; "" of none."""
    if len(names) < 2:
        return "".join(names)
    return Message("%(first)s or %(last)s", first=", ".join(names[:-1]), last=names[-1])


def said(value: object, gettext: Callable[[str], str]) -> object:
    """A message in another language; anything else as it is."""
    return value.translated(gettext) if isinstance(value, Message) else value


def message_of(error: Exception) -> str:
    """What an error says: the `Message` that it was raised with, or else its text."""
    said_first = error.args[0] if error.args else None
    return said_first if isinstance(said_first, Message) else str(error)


def first_line(error: Exception) -> str:
    """What an error says in one line: the `Message` that it was raised with, or else the first line of its text, or its name."""
    told = message_of(error)
    return told if isinstance(told, Message) else (told or type(error).__name__).splitlines()[0]


def _made(text: str, parts: dict[str, object]) -> Message:
    return Message(text, **parts)
