"""Publishes the story, in its own pace or as fast as it goes."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streams.outgoing import Outgoing
    from streams.publisher import Publisher
    from streams.story import Story

#: How long the whole story takes at speed 1.
STORY_LENGTH_S = 60.0
_TICK_S = 0.1
_CHUNK = 2000


@dataclass
class Playing:
    """How far the story has been published. `story_s`: its own time, seconds since 1970."""

    story_s: int = 0
    published: int = 0


async def play(
    story: Story,
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
        speed: 1 tells it in a minute; `None` as fast as it goes.
        clock_s: Monotonic time.
    """
    records = story.records()
    if speed is None:
        await _play_at_once(records, publisher, playing)
    else:
        first_s, last_s = story.span_s
        story_s_per_s = (last_s - first_s) / (STORY_LENGTH_S / speed)
        started_s = clock_s()
        await _play_in_time(records, publisher, playing, lambda: first_s + (clock_s() - started_s) * story_s_per_s)


async def _play_at_once(records: Iterator[Outgoing], publisher: Publisher, playing: Playing) -> None:
    while chunk := list(islice(records, _CHUNK)):
        await publisher.send(chunk)
        _note(playing, chunk)
        await asyncio.sleep(0)  # the display wants to move
    await publisher.flush()


async def _play_in_time(
    records: Iterator[Outgoing], publisher: Publisher, playing: Playing, now_s: Callable[[], float]
) -> None:
    """Publishes what is due at `now_s`, the story's own time, again and again."""
    coming = next(records, None)
    while coming is not None:
        due_s = now_s()
        chunk: list[Outgoing] = []
        while coming is not None and coming.story_s <= due_s and len(chunk) < _CHUNK:
            chunk.append(coming)
            coming = next(records, None)
        if chunk:
            await publisher.send(chunk)
            await publisher.flush()
            _note(playing, chunk)
        if len(chunk) < _CHUNK:
            await asyncio.sleep(_TICK_S)


def _note(playing: Playing, chunk: list[Outgoing]) -> None:
    playing.published += len(chunk)
    playing.story_s = chunk[-1].story_s
