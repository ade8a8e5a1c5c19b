"""Whether a cluster that fails a running worker has rejected it: then waiting is useless and the worker ends.

A user that was removed, a right that was taken, an expired certificate: the brokers close a connection, and requests
fail in many ways. Brokers that are away fail in the same ways and are waited for. So the cluster is asked.
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

#: A refusal must last so long: users and rights reach a broker that has just started a moment after its clients.
_CERTAIN_S = 2.0
_AGAIN_S = 5.0


class Watch:
    """Asks when something has failed; all that fail at once wait for one answer.

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
        """Ends the worker if the cluster has rejected it; otherwise returns."""
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
