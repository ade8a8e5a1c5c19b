"""Publishes the story, at its own pace or as fast as possible."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from streams.story import Story

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streams.kafka.publication import Publication
    from streams.kafka.publisher import Publisher
    from streams.story.nights import Night

_TICK_S = 0.1
_CHUNK = 2000


@dataclass
class Playing:
    """How far the story has been published. `story_s`: its own time, seconds since 1970."""

    story_s: int = 0
    published: int = 0


@dataclass(frozen=True)
class Schedule:
    """When each record is due, as a fraction of the whole from 0 to 1.

    A night goes by its own time. The year goes half by that and half by the number of events: at the former alone the night of
    the launch, with a tenth of all orders, would be over before anyone saw it.
    """

    span_s: tuple[int, int]
    records: int
    by_number: float = 0.5

    def due(self, number: int, story_s: int) -> float:
        """The part of the whole at which record `number` (from 0) of the time `story_s` is published."""
        first_s, last_s = self.span_s
        by_time = (story_s - first_s) / (last_s - first_s)
        return self.by_number * number / self.records + (1 - self.by_number) * by_time


async def play(
    story: Story | Night,
    publisher: Publisher,
    playing: Playing,
    *,
    speed: float | None,
    clock_s: Callable[[], float] = time.monotonic,
) -> None:
    """Publishes every record of the story and returns when the brokers have them all.

    Args:
        story: To be told.
        publisher: Connected.
        playing: Kept up to date.
        speed: 1 tells a year in a minute, and a night in its own time; `None` is as fast as possible.
        clock_s: Monotonic time.
    """
    records = story.records()
    if speed is None:
        await _play_at_once(records, publisher, playing)
    else:
        started_s = clock_s()
        pace = Schedule(story.span_s, story.expected.records, 0.5 if isinstance(story, Story) else 0.0)
        length_s = story.length_s
        await _play_in_time(records, publisher, playing, pace, lambda: (clock_s() - started_s) * speed / length_s)


async def _play_at_once(records: Iterator[Publication], publisher: Publisher, playing: Playing) -> None:
    while chunk := list(islice(records, _CHUNK)):
        await publisher.send(chunk)
        _note(playing, chunk)
        await asyncio.sleep(0)  # lets the display update
    await publisher.flush()


async def _play_in_time(
    records: Iterator[Publication],
    publisher: Publisher,
    playing: Playing,
    pace: Schedule,
    progress: Callable[[], float],
) -> None:
    """Publishes what is due at `progress`, from 0 to 1 and beyond, repeatedly."""
    coming = next(records, None)
    while coming is not None:
        now = progress()
        chunk: list[Publication] = []
        while (
            coming is not None
            and len(chunk) < _CHUNK
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
