"""The start of sale of a model: what was published about its first hours, and how its orders are spread over them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence

_MINUTE_S: Final = 60


@dataclass(frozen=True)
class LaunchFigure:
    """A published figure: the number of orders placed within some minutes of the start stands in `relation` to `value`."""

    id: str
    what: str
    minutes: int
    relation: Literal["exactly", "more_than", "at_least"]
    value: int
    grade: Literal["official", "reported"]
    source: str

    def counted(self, by_minute: Sequence[int]) -> int:
        """The number of orders in these minutes."""
        return sum(by_minute[: self.minutes])

    def holds(self, by_minute: Sequence[int]) -> bool:
        """Whether the minutes agree with what was published."""
        counted = self.counted(by_minute)
        if self.relation == "exactly":
            return counted == self.value
        return counted > self.value if self.relation == "more_than" else counted >= self.value


@dataclass(frozen=True)
class Launch:
    """A start of sale; `curve` has pairs of seconds since the start and orders placed by then."""

    campaign: str
    start: datetime
    figures: tuple[LaunchFigure, ...]
    curve: tuple[tuple[int, int], ...]

    @property
    def period(self) -> str:
        """The period id of its campaign."""
        return f"campaign:{self.campaign}"

    @cached_property
    def start_s(self) -> int:
        """When it begins, seconds since 1970."""
        return int(self.start.timestamp())

    @property
    def end(self) -> datetime:
        """The first instant after its curve."""
        return self.start + timedelta(seconds=self.curve[-1][0])

    @cached_property
    def end_s(self) -> int:
        """The first second after its curve, since 1970."""
        return int(self.end.timestamp())

    def utc_offset_s(self) -> int:
        """Offset of local time in seconds, the same for the whole story."""
        offset = self.start.utcoffset()
        return int((offset or timedelta()).total_seconds())

    def times(self, rng: random.Random) -> list[int]:
        """When each order is placed, seconds since 1970, sorted."""
        times: list[int] = []
        before_s, before = 0, 0
        for seconds, orders in self.curve:
            times += sorted(self.start_s + rng.randrange(before_s, seconds) for _ in range(orders - before))
            before_s, before = seconds, orders
        return times

    def by_minute(self, times: Iterable[int]) -> list[int]:
        """The number of orders placed in each minute.

        Args:
            times: When they are placed, from `start_s` to before `end_s`.
        """
        minutes = [0] * (self.curve[-1][0] // _MINUTE_S)
        for time_s in times:
            minutes[(time_s - self.start_s) // _MINUTE_S] += 1
        return minutes


def launch_of(data: dict[str, Any]) -> Launch:
    """The launch in a story's data file.

    Raises:
        KeyError: Something is missing.
        TypeError: A figure has something that no figure has.
        ValueError: The start has no offset, or the curve falls or does not end at a full minute.
    """
    start: datetime = data["start"]
    if start.tzinfo is None:
        raise ValueError("launch.start needs an offset, such as +08:00")
    curve = tuple((point["seconds"], point["orders"]) for point in data["curve"])
    steps = pairwise(((0, 0), *curve))
    if any(seconds <= before_s or orders < before for (before_s, before), (seconds, orders) in steps):
        raise ValueError("launch.curve: seconds must rise, and orders must not fall")
    if not curve or curve[-1][0] % _MINUTE_S:
        raise ValueError("launch.curve: its last seconds must be full minutes")
    return Launch(data["campaign"], start, tuple(LaunchFigure(**figure) for figure in data["figure"]), curve)
