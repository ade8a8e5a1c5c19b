"""Long work in short stretches: after a number of items the event loop may do something else.

Items are counted, not time, so that runs on a simulated clock are reproducible.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

Item = TypeVar("Item")

#: Items between two pauses: a few milliseconds for the dearest of them.
ITEMS: Final = 200


async def paced(items: Iterable[Item]) -> AsyncIterator[Item]:
    """The items, with a pause now and then."""
    for number, item in enumerate(items, 1):
        yield item
        if number % ITEMS == 0:
            await asyncio.sleep(0)
