"""Publishes the story, at its own pace or as fast as possible."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streams.story import Story

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from streams.kafka.publication import Publication
    from streams.kafka.publisher import Publisher
    from streams.story.nights import Night

_TICK_S = 0.1
_CHUNK = 2000


@dataclass
class Playing:
    """How far the story has been published. `story_s` is the story's own time, seconds since 1970."""

    story_s: int = 0
    published: int = 0


class Halts:
    """Points at which the story waits until everything so far has been counted.

    Args:
        at_s: The points in the story's time, seconds since 1970, in order.
        reached: Waits at a point; everything before it has been published.
    """

    def __init__(self, at_s: Sequence[int] = (), reached: Callable[[int], Awaitable[None]] | None = None) -> None:
        self._at_s = deque(at_s)
        self._reached = reached
        #: How long it has waited so far, seconds.
        self.waited_s = 0.0

    def is_due(self, story_s: int) -> bool:
        """Whether the next stop comes before a record of that time."""
        return bool(self._at_s) and story_s >= self._at_s[0]

    async def wait(self, publisher: Publisher, clock_s: Callable[[], float]) -> None:
        """Waits at the next stop."""
        await publisher.flush()
        began_s, stop_s = clock_s(), self._at_s.popleft()
        if self._reached is not None:
            await self._reached(stop_s)
        self.waited_s += clock_s() - began_s


@dataclass(frozen=True)
class Schedule:
    """When each record is due, as a fraction of the whole from 0 to 1.

    A night is paced by its own time. The year is paced half by that and half by the number of events: by time alone, the night of the
    launch, with a third of all orders, would be over before anyone saw it.
    """

    span_s: tuple[int, int]
    records: int
    by_number: float = 0.5

    def due(self, number: int, story_s: int) -> float:
        """The fraction of the whole at which record `number` (from 0), with the time `story_s`, is due."""
        first_s, last_s = self.span_s
        by_time = (story_s - first_s) / (last_s - first_s)
        return self.by_number * number / self.records + (1 - self.by_number) * by_time


async def play(  # noqa: PLR0913 - what is told, to whom and how
    story: Story | Night,
    publisher: Publisher,
    playing: Playing,
    *,
    speed: float | None,
    clock_s: Callable[[], float] = time.monotonic,
    stops: Halts | None = None,
) -> None:
    """Publishes every record of the story and returns when the brokers have them all.

    Args:
        story: The story.
        publisher: A connected publisher.
        playing: Kept up to date.
        speed: 1 tells a year in a minute, and a night in its own time; `None` is as fast as possible.
        clock_s: A monotonic clock.
        stops: Where to wait.
    """
    records, stops = story.records(), stops or Halts()
    if speed is None:
        await _play_at_once(records, publisher, playing, stops, clock_s)
    else:
        pace = Schedule(story.span_s, story.expected.records, 0.5 if isinstance(story, Story) else 0.0)
        await _play_in_time(records, publisher, playing, pace, stops, clock_s, length_s=story.length_s / speed)


async def _play_at_once(
    records: Iterator[Publication], publisher: Publisher, playing: Playing, stops: Halts, clock_s: Callable[[], float]
) -> None:
    coming = next(records, None)
    while coming is not None:
        if stops.is_due(coming.story_s):
            await stops.wait(publisher, clock_s)
        chunk: list[Publication] = []
        while coming is not None and len(chunk) < _CHUNK and not stops.is_due(coming.story_s):
            chunk.append(coming)
            coming = next(records, None)
        if chunk:
            await publisher.send(chunk)
            # No partition may be minutes of a launch ahead of another: a milestone has the unit that is the N-th of those that are there.
            await publisher.flush()
            _note(playing, chunk)


async def _play_in_time(  # noqa: PLR0913, PLR0917 - what is published, to whom and when
    records: Iterator[Publication],
    publisher: Publisher,
    playing: Playing,
    pace: Schedule,
    stops: Halts,
    clock_s: Callable[[], float],
    *,
    length_s: float,
) -> None:
    """Publishes each record when it is due, over `length_s` seconds plus the time spent at stops."""
    started_s = clock_s()
    coming = next(records, None)
    while coming is not None:
        if stops.is_due(coming.story_s):
            await stops.wait(publisher, clock_s)
        now = (clock_s() - started_s - stops.waited_s) / length_s
        chunk: list[Publication] = []
        while (
            coming is not None
            and len(chunk) < _CHUNK
            and not stops.is_due(coming.story_s)
            and pace.due(playing.published + len(chunk), coming.story_s) <= now
        ):
            chunk.append(coming)
            coming = next(records, None)
        if chunk:
            await publisher.send(chunk)
            await publisher.flush()
            _note(playing, chunk)
        if len(chunk) < _CHUNK:
            await asyncio.sleep(_TICK_S)


def _note(playing: Playing, chunk: list[Publication]) -> None:
    playing.published += len(chunk)
    playing.story_s = chunk[-1].story_s
