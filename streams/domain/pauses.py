"""Long work in pieces: a generator that yields whenever its caller may do something else for a moment.

What may run in another thread meanwhile is yielded too, as a function. One is called at a time, and has returned before the generator
is continued from its next one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    #: Something to be called, or None for a pause.
    Piece = Callable[[], None] | None

Result = TypeVar("Result")
Pause = TypeVar("Pause")


def whole(pieces: Generator[Piece, None, Result]) -> Result:
    """Runs all of it in this thread, without pauses, and returns its result."""
    while True:
        try:
            piece = next(pieces)
        except StopIteration as end:
            made: Result = end.value
            return made
        if piece is not None:
            piece()


def nothing() -> None:
    """Does nothing: yielded to wait for what was yielded before."""


def telling_pauses(pieces: Generator[None, None, Result], pause: Pause) -> Generator[Pause, None, Result]:
    """Runs work in pieces within a generator whose own pauses have another value; returns the result."""
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            made: Result = end.value
            return made
        yield pause
