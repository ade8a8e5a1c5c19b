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
    """Callbacks of a long command; those not given do nothing.

    Attributes:
        plan: Called with the total number of records to read, as far as known; again if more arrive.
        progress: Called with the number of records read since the last call.
        say: Called with what is being done now.
        warn: Called with a line that a person must read.
    """

    plan: Callable[[int], None] = ignore
    progress: Callable[[int], None] = ignore
    say: Callable[[str], None] = ignore
    warn: Callable[[str], None] = ignore
