"""Long work in pieces: a generator that yields whenever its caller may do something else for a moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Generator

Result = TypeVar("Result")
Pause = TypeVar("Pause")


def whole(pieces: Generator[None, None, Result]) -> Result:
    """Runs all of it without pauses, and returns its result."""
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            made: Result = end.value
            return made


def telling_pauses(pieces: Generator[None, None, Result], pause: Pause) -> Generator[Pause, None, Result]:
    """Runs work in pieces within a generator whose own pauses have another value; returns the result."""
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            made: Result = end.value
            return made
        yield pause
