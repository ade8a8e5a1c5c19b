"""The standby copies of a worker: memories of ledger partitions that other workers own, kept up to date from their changelogs.

A takeover then reads only what was committed since the last reading, a second ago. A copy is read on in turn with the others, with
one reader for all, and rests in between: it must not delay the partitions that this worker owns. A copy in doubt is thrown away.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError

from schemas.outputs import StandbyStatus
from streams.errors import ExpectedError, UnreachableError
from streams.kafka.pacing import Rests
from streams.ledger.replica import DoubtfulReplicaError, Replica

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from collections.abc import Set as AbstractSet

    from streams.context import Context
    from streams.kafka.log import LogReader

logger = logging.getLogger(__name__)


class _Copy:
    """A copy of a ledger partition.

    Attributes:
        behind: Records that the changelog had beyond what is applied, when this was last known; None before the first reading.
        work: The reading that is under way.
    """

    def __init__(self, context: Context, number: int) -> None:
        self.replica = Replica(context, number, is_standby=True)
        self.rests = Rests(context.cpu_s)
        self.behind: int | None = None
        self.work: asyncio.Task[None] | None = None


class Standbys:
    """The copies that this worker keeps.

    Args:
        context: Settings, topics, the log.
        is_free: Whether everything that this worker owns is open; copies are not read before.
        fatal: Ends the worker.
    """

    #: Each reading costs some requests, and a takeover has at most so much left to read.
    every_s = 1.0
    after_an_error_s = 5.0
    #: Whatever has caused a doubt may be there the next time too, and reading everything costs a second per million orders.
    after_a_doubt_s = 60.0

    def __init__(
        self, context: Context, is_free: Callable[[], bool], fatal: Callable[[BaseException], Awaitable[None]]
    ) -> None:
        self._context = context
        self._is_free = is_free
        self._fatal = fatal
        self._copies: dict[int, _Copy] = {}
        self._wanted: frozenset[int] = frozenset()
        #: Partition → when another copy may be begun, by the loop's clock.
        self._not_before_s: dict[int, float] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def status(self) -> list[StandbyStatus]:
        """Each wanted copy, and how far it is behind."""
        return [
            StandbyStatus(
                partition=number, behind=copy.behind if (copy := self._copies.get(number)) is not None else None
            )
            for number in sorted(self._wanted)
        ]

    def assign(self, wanted: AbstractSet[int], owned: AbstractSet[int]) -> None:
        """Keeps copies of some partitions from now on, and those of partitions that this worker owns until they are taken."""
        self._wanted = frozenset(wanted - owned)
        for number in set(self._copies) - wanted - owned:
            self._drop(number)
        if self._wanted and self._task is None:
            self._task = asyncio.create_task(self._run(), name="standby copies")

    async def take(self, number: int) -> Replica | None:
        """Gives a copy away; None if there is none, or it has not been read yet."""
        copy = self._copies.pop(number, None)
        if copy is None:
            return None
        if copy.work is not None:
            if copy.replica.is_whole or copy.replica.next is None:
                # Reading may be interrupted. A first one is of no use: whoever takes over does not rest.
                copy.work.cancel()
            copy.rests.hurry()
            await asyncio.wait([copy.work])
        return copy.replica if copy.replica.is_whole else None

    async def stop(self) -> None:
        """Drops all copies."""
        self._wanted = frozenset()
        for number in list(self._copies):
            self._drop(number)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _drop(self, number: int) -> None:
        copy = self._copies.pop(number, None)
        if copy is not None and copy.work is not None:
            copy.work.cancel()

    async def _run(self) -> None:
        try:
            while True:
                if self._wanted and self._is_free():
                    try:
                        await self._read_all_the_time()
                    except (ExpectedError, KafkaError, OSError, TimeoutError) as error:
                        # What this worker owns is reopened on such errors, or ends it.
                        logger.info("standby copies: %s; read on in %.0f s", error, self.after_an_error_s)
                        await asyncio.sleep(self.after_an_error_s)
                await asyncio.sleep(self.every_s)
        except Exception as error:  # noqa: BLE001 - a fault must end the worker, whatever it is
            await self._fatal(error)

    async def _read_all_the_time(self) -> None:
        async with self._context.log.reader() as reader:
            while self._wanted:
                await self._read_each(reader)
                await asyncio.sleep(self.every_s)

    async def _read_each(self, reader: LogReader) -> None:
        """Reads on each copy that the changelog has more for."""
        now_s = asyncio.get_running_loop().time()
        for number in self._wanted - self._copies.keys():
            if now_s >= self._not_before_s.get(number, now_s):
                self._copies[number] = _Copy(self._context, number)
        if not self._copies:
            return
        topic = self._context.catalogue.ledger.name
        bounds = await reader.bounds([(topic, number) for number in self._copies])
        for number, copy in list(self._copies.items()):
            end = bounds[topic, number].end
            if copy.replica.next is not None:
                copy.behind = max(end - copy.replica.next, 0)
            if copy.replica.next != end:
                await self._read(number, copy, reader)

    async def _read(self, number: int, copy: _Copy, reader: LogReader) -> None:
        if self._copies.get(number) is not copy or not self._is_free():
            return
        copy.work = asyncio.create_task(copy.replica.read(reader, copy.rests.pause), name=f"standby copy {number}")
        try:
            await asyncio.wait([copy.work])
            if not copy.work.cancelled():
                copy.work.result()
                copy.behind = 0
        except UnreachableError:
            raise
        except (DoubtfulReplicaError, ExpectedError) as error:
            # What also concerns the partition itself is said by the worker that owns it.
            logger.warning("standby copy of ledger %d: %s; read again later", number, error)
            self._not_before_s[number] = asyncio.get_running_loop().time() + self.after_a_doubt_s
            if self._copies.get(number) is copy:
                self._drop(number)
        finally:
            copy.work.cancel()
            copy.work = None
