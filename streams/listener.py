"""How a long command reports what it is doing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def ignore(_told: object) -> None:
    """Does nothing."""


@dataclass(frozen=True)
class Listener:
    """Callbacks of a long command; those that are not given do nothing.

    Attributes:
        plan: How many records there are to read in all, as far as is known; may be called again as more arrive.
        progress: How many more have been read since the last call.
        say: What is being done now.
        warn: A line that a person must read.
    """

    plan: Callable[[int], None] = ignore
    progress: Callable[[int], None] = ignore
    say: Callable[[str], None] = ignore
    warn: Callable[[str], None] = ignore
