"""Ends a running worker that the cluster rejects, since waiting would not help.

A removed user, a revoked right and an expired certificate cause the same errors as brokers that are down, for which the
worker waits; so after an error the cluster is asked which it is.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from streams.errors import ExpectedError
from streams.kafka.admin import check_rights
from streams.kafka.refusals import RefusedError
from streams.kafka.rights import rights_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from streams.settings import Settings

#: A refusal must last this long: a broker that has just started accepts clients a moment before it knows of users and rights.
_CERTAIN_S = 2.0
_AGAIN_S = 5.0


class Watch:
    """Asks the cluster when something has failed; callers that come meanwhile share the answer.

    Args:
        settings: Of the worker.
        fatal: Ends the worker.
    """

    def __init__(self, settings: Settings, fatal: Callable[[BaseException], Awaitable[None]]) -> None:
        self._settings = settings
        self._fatal = fatal
        self._looking: asyncio.Task[None] | None = None
        self._looked_s = -_AGAIN_S

    def begin(self) -> None:
        """Starts a check, unless one is running or has just finished."""
        if self._looking is None and time.monotonic() - self._looked_s >= _AGAIN_S:
            self._looking = asyncio.create_task(self._look(), name="watch")

    async def look(self) -> None:
        """Ends the worker if the cluster rejects it."""
        self.begin()
        if self._looking is not None:
            await asyncio.shield(self._looking)

    async def _look(self) -> None:
        try:
            if await self._refusal() is None:
                return
            await asyncio.sleep(_CERTAIN_S)
            refusal = await self._refusal()
            if refusal is not None:
                await self._fatal(refusal)
        finally:
            self._looked_s = time.monotonic()
            self._looking = None

    async def _refusal(self) -> RefusedError | None:
        try:
            await check_rights(self._settings, rights_of("worker", self._settings))
        except RefusedError as refusal:
            return refusal
        except ExpectedError:
            return None
        return None
