"""Lets the event loop run other tasks during long work.

Pauses go by items, not by time, so that runs on a simulated clock are reproducible.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterable

Item = TypeVar("Item")

#: Items between two pauses: a few milliseconds for the most expensive ones.
ITEMS: Final = 200


async def paced(items: Iterable[Item]) -> AsyncIterator[Item]:
    """The items, with a pause after every `ITEMS` of them."""
    for number, item in enumerate(items, 1):
        yield item
        if number % ITEMS == 0:
            await asyncio.sleep(0)


async def in_turns(pieces: Generator[None, None, Item]) -> Item:
    """The result of long work, with a pause at every yield."""
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            made: Item = end.value
            return made
        await asyncio.sleep(0)
