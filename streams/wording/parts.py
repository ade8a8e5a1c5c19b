"""Parts of sentences: the numbers in a milestone's identity, lengths of time, ordinals."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schemas.outputs import MilestoneData


def ordinal(number: int) -> str:
    """`3rd`, `1,012th`."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number:,}{ending}"


def length_of(after_s: float) -> list[tuple[int, str]]:
    """How long after the start of a campaign something happened, as people say it: the two largest nonzero units, rounded down.

    Returns:
        Pairs such as (26, "minute"), (43, "second"); seconds only within the first hour.
    """
    seconds = int(after_s)
    sizes = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))
    parts = []
    for unit, size in sizes:
        number, seconds = divmod(seconds, size)
        parts.append((number, unit))
    first = next((place for place, (number, _) in enumerate(parts) if number), len(parts) - 1)
    return [part for part in parts[first : first + 2] if part[0] or part is parts[first]]


def share_of(data: MilestoneData) -> tuple[int, float]:
    """The target's value and the share, between 0 and 1, of a milestone of kind `share`."""
    value, share = data.milestone_id.rsplit(":", 2)[1:]
    return int(value), float(share)


def every_of(data: MilestoneData) -> int:
    """The number whose multiples are raised, of a milestone of kind `multiple`."""
    return int(data.milestone_id.rsplit(":", 2)[1])
