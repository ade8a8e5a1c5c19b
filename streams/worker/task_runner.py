"""Keeps one state with its transactional producer: opens it, feeds it batches, reopens it when in doubt.

A runner outlives rebalances. Opening is a separate task with a deadline, because Faust silently gives up on a slow seek.
When the outcome of a transaction is in doubt, the state is dropped and restored from what is committed; broker outages are
survived the same way. Any other error is a bug or a wrong setting, and ends the worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import deque
from typing import TYPE_CHECKING, Protocol

from aiokafka.errors import KafkaError

from streams.errors import ExpectedError, GapError, ReopenError, UnreachableError
from streams.kafka.log import Partition
from streams.kafka.pacing import pause
from streams.kafka.transactions import FencedError, InDoubtError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from streams.kafka.transport import Batch

logger = logging.getLogger(__name__)

_TICK_S = 1.0
#: Limit of the queue in records, not batches: a fetch from a live topic brings a few records, one from a backlog thousands.
_WAITING_RECORDS = 8_000
#: Records per transaction; bounds how long one occupies the event loop, and what is repeated when it is in doubt.
_MAX_RECORDS = 8_000
_FIRST_BACKOFF_S = 0.2
_LAST_BACKOFF_S = 10.0
_RELEASE_TIMEOUT_S = 3.0
#: How often to check whether a gap was accepted; each check restores the state.
_GAP_BACKOFF_S = 20.0


class State(Protocol):
    """What a runner manages: memory that corresponds to the last committed positions."""

    async def open(self) -> Mapping[Partition, int]:
        """Fences the former owner, restores, and returns the offsets from which to continue."""

    async def process(self, batches: Sequence[Batch]) -> None:
        """Applies the batches and commits the result in one transaction; called without batches when the timer ticks."""

    @property
    def unfinished(self) -> bool:
        """Whether there is more to commit of what was taken in: `process` is then called at once."""

    @property
    def takes_more(self) -> bool:
        """Whether `process` takes batches now; else it is called without any."""

    def positions(self) -> Mapping[Partition, int]:
        """The offsets from which to continue, after the last commit."""

    async def close(self) -> None:
        """Closes the producer; idempotent."""


class Fetching(Protocol):
    """What a runner needs of the consumer."""

    async def reposition(self, tp: Partition, offset: int) -> int:
        """Seeks in a partition and resumes it."""

    def epoch(self, tp: Partition) -> int:
        """The number of the partition's last seek."""

    def held(self) -> set[Partition]:
        """The partitions assigned now."""


class TaskRunner:
    """Runs one state, from its assignment to its release.

    Args:
        name: For log lines, such as `ledger 2`.
        make: A new, unopened state.
        consumer: Gives access to seeks and epochs.
        now_us: The clock, microseconds since 1970.
        beat_s: Number of records in a step, and the most that the broker still has of a partition → the minimum time from its start
            to that of the next step, unless the queue is full before.
        open_timeout_s: The worker ends if opening takes longer.
        fenced_backoff_s: How long to wait after another owner has taken over the state, unless the group decides sooner.
        fatal: Ends the worker.
        wanted: Whether the state reads a partition that is held.
        look: Called after an error of the cluster; ends the worker if the cluster rejects it.
        urgent: Topic whose batches do not wait for the next commit.
    """

    def __init__(  # noqa: PLR0913 - what a runner depends on, by name
        self,
        name: str,
        make: Callable[[], State],
        consumer: Callable[[], Fetching],
        *,
        now_us: Callable[[], int],
        beat_s: Callable[[int, int], float],
        open_timeout_s: float,
        fenced_backoff_s: float,
        fatal: Callable[[BaseException], Awaitable[None]],
        wanted: Callable[[Partition], bool],
        look: Callable[[], Awaitable[None]],
        urgent: str = "",
    ) -> None:
        self.name = name
        self._make = make
        self._consumer = consumer
        self._now_us = now_us
        self._beat_s = beat_s
        self._open_timeout_s = open_timeout_s
        self._fenced_backoff_s = fenced_backoff_s
        self._fatal = fatal
        self._wanted = wanted
        self._look = look
        self._urgent = urgent
        self._hurry = asyncio.Event()
        self._queue: deque[Batch] = deque()
        self._waiting_records = 0
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._state: State | None = None
        #: Why the state has stopped, if it takes an operator to continue; else empty.
        self.stopped_by = ""
        self._doubt = ""
        #: Whether the state has work once it is open, even if no batch comes.
        self._has_work = False
        self._stopping = asyncio.Event()
        self._assigned_again = asyncio.Event()
        self._busy = asyncio.Lock()
        self._task = asyncio.create_task(self._run(), name=name)

    @property
    def positions(self) -> Mapping[Partition, int]:
        """The offsets from which to continue; empty while the state is not open."""
        return self._state.positions() if self._state is not None else {}

    @property
    def is_open(self) -> bool:
        """Whether the state is restored and writable."""
        return self._state is not None

    async def submit(self, batch: Batch) -> None:
        """Queues a batch; blocks while the queue is full. Drops it if the state is not open: it will be fetched again."""
        if self._state is None:
            return
        await self._room.wait()
        self._queue.append(batch)
        self._waiting_records += len(batch.records)
        if batch.topic == self._urgent:
            self._hurry.set()
        if self._waiting_records >= _WAITING_RECORDS:
            self._room.clear()
            # Nothing more can come.
            self._hurry.set()
        self._arrived.set()

    def doubt(self, reason: str) -> None:
        """Has the state reopened before it applies anything else; opening checks what was read before."""
        self._doubt = reason
        self._arrived.set()

    def assign_again(self) -> None:
        """The group has confirmed this worker as the owner, so no other worker has the state any longer."""
        self._assigned_again.set()

    async def quiesce(self, timeout_s: float) -> None:
        """Waits up to `timeout_s` for the running transaction to end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self._busy:
                pass

    async def release(self) -> None:
        """Ends the runner: the running transaction may finish, but no other starts."""
        self._stopping.set()
        self._assigned_again.set()
        self._arrived.set()
        done, _ = await asyncio.wait([self._task], timeout=_RELEASE_TIMEOUT_S)
        if not done:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=_RELEASE_TIMEOUT_S)
        self._drain_queue()

    async def _run(self) -> None:
        backoff_s = _FIRST_BACKOFF_S
        while not self._stopping.is_set():
            try:
                state = self._make()
            except Exception as error:  # noqa: BLE001 - nobody waits for this task, so nobody would hear of it
                await self._fatal(error)
                return
            wait_s = backoff_s
            self._assigned_again.clear()
            try:
                await self._open(state)
                backoff_s = _FIRST_BACKOFF_S
                await self._serve(state)
            except FencedError as error:
                wait_s = self._fenced_backoff_s
                logger.warning("%s: taken over by another worker (%s); left to it for %.0f s", self.name, error, wait_s)
            except ReopenError as error:
                wait_s, self._has_work = 0.0, True
                logger.info("%s: %s; opened again", self.name, error)
            except GapError as error:
                # The other partitions are not affected.
                self.stopped_by, wait_s = str(error), _GAP_BACKOFF_S
                logger.error("%s stands still: %s", self.name, error)  # noqa: TRY400 - the line says all
            except (InDoubtError, KafkaError, OSError, TimeoutError, UnreachableError) as error:
                await self._look()
                backoff_s = min(backoff_s * 2, _LAST_BACKOFF_S)
                # A mere timeout leaves nothing after the colon.
                reason = str(error).rstrip(": ") or "no answer in time"
                logger.warning("%s: %s; opened again in %.1f s", self.name, reason, wait_s)
            except asyncio.CancelledError:
                return
            except BaseException as error:  # noqa: BLE001 - a fault must end the worker, whatever it is
                self._state = None
                await state.close()
                await self._fatal(error)
                return
            finally:
                self._state = None
                await state.close()
            await _set_within(self._assigned_again, wait_s)

    async def _open(self, state: State) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with asyncio.timeout(self._open_timeout_s):
                positions = await self._until_stopped(state.open())
        except TimeoutError:
            raise ExpectedError(
                f"{self.name}: not restored within open_timeout_s = {self._open_timeout_s:.0f} s; raise it, or look at the brokers",
                exit_code=3,
            ) from None
        if positions is None:
            return
        consumer = self._consumer()
        added = {tp for tp in consumer.held() if self._wanted(tp)} - positions.keys()
        if added:
            raise InDoubtError(f"{_readable(dict.fromkeys(added, 0))} was added meanwhile")
        self._drain_queue()
        self._state, self.stopped_by, self._doubt = state, "", ""
        logger.info("%s: open after %.2f s at %s", self.name, loop.time() - started, _readable(positions))
        for tp in positions.keys() & consumer.held():
            await consumer.reposition(tp, positions[tp])

    async def _until_stopped(self, opening: Awaitable[Mapping[Partition, int]]) -> Mapping[Partition, int] | None:
        task = asyncio.ensure_future(opening)
        stop = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            stop.cancel()
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _serve(self, state: State) -> None:
        due = beat_s = 0.0
        while True:
            # The next step begins with what has come by its beat; what is left of the one before is written meanwhile.
            is_early = state.unfinished or self._has_work
            self._has_work = False
            if is_early:
                await asyncio.sleep(0)
                is_early = self._left_s(due, beat_s) > 0 and not self._hurry.is_set()
            else:
                await self._wait_for_work()
                if self._queue and (left_s := self._left_s(due, beat_s)) > 0:
                    await _set_within(self._hurry, left_s)
            if self._stopping.is_set():
                return
            if is_early or not state.takes_more:
                await self._process(state, [])
                continue
            self._hurry.clear()
            if self._doubt:
                raise InDoubtError(self._doubt)
            batches = self._take()
            left = {(batch.topic, batch.partition): batch.end - batch.next for batch in batches}
            beat_s = self._beat_s(sum(len(batch.records) for batch in batches), max(left.values(), default=0))
            due = next_commit(self._now_us() / 1e6, beat_s)
            await self._process(state, batches)

    def _left_s(self, due_s: float, beat_s: float) -> float:
        """The time to the next beat: at most one and a half of them, in case the machine's clock has jumped."""
        return min(due_s - self._now_us() / 1e6, 1.5 * beat_s)

    async def _process(self, state: State, batches: list[Batch]) -> None:
        async with self._busy:
            # Several runners may have been woken in the same turn of the loop.
            await pause()
            await state.process(batches)

    async def _wait_for_work(self) -> None:
        """Waits for a batch, the timer or the end; returns at once if something came while the runner was busy."""
        if not (self._queue or self._doubt or self._stopping.is_set()):
            self._arrived.clear()
            await _set_within(self._arrived, _TICK_S)

    def _take(self) -> list[Batch]:
        """The queued batches, up to the size of a transaction, without those fetched before a seek."""
        taken: list[Batch] = []
        count = 0
        consumer = self._consumer()
        while self._queue and count < _MAX_RECORDS:
            batch = self._queue.popleft()
            self._waiting_records -= len(batch.records)
            if batch.epoch == consumer.epoch(Partition(batch.topic, batch.partition)):
                count += len(batch.records)
                taken.append(batch)
        if self._waiting_records < _WAITING_RECORDS:
            self._room.set()
        return taken

    def _drain_queue(self) -> None:
        self._queue.clear()
        self._waiting_records = 0
        self._room.set()


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    """Waits until an event is set, and sets it after so long: a timeout would cancel the task, at several times the cost."""
    if not event.is_set():
        timer = asyncio.get_running_loop().call_later(seconds, event.set)
        try:
            await event.wait()
        finally:
            timer.cancel()


def next_commit(now_s: float, interval_s: float) -> float:
    """When to commit next under load: at the next multiple of the interval that is at least half of it away.

    This makes all runners commit together: a reader of the counts sees a transaction only after all those that were open at
    the same time have ended, so commits at different moments would delay each other.
    """
    return math.ceil(now_s / interval_s + 0.5) * interval_s


def _readable(positions: Mapping[Partition, int]) -> str:
    return ", ".join(f"{tp.topic}-{tp.partition}@{offset}" for tp, offset in sorted(positions.items()))
