"""Long work in pieces: a generator that yields where its caller may do something else for a moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Generator

Result = TypeVar("Result")


def whole(pieces: Generator[None, None, Result]) -> Result:
    """What all of it comes to, without pauses."""
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            made: Result = end.value
            return made
