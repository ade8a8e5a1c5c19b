"""One partition of the ledger: open, apply and commit, close.

Memory, outputs and source offsets are committed in one transaction of the partition's own producer. Nothing is undone after a
failure: the runner drops the object and opens a new one from the log.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from streams.errors import ExpectedError
from streams.kafka.log import Partition
from streams.kafka.outbox import Outbox
from streams.kafka.pacing import in_turns, pause
from streams.ledger.application import Application, LogStart
from streams.ledger.commit import CommitRecords
from streams.ledger.poison_record import INFRASTRUCTURE, blamed
from streams.ledger.questions import Questions
from streams.ledger.replica import DoubtfulReplicaError, Replica
from streams.ledger.restore import restore
from streams.ledger.step_bounds import StepBounds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streams.context import Context
    from streams.kafka.log_ends import LogEnd
    from streams.kafka.outbox import Outgoing
    from streams.kafka.transport import Batch

logger = logging.getLogger(__name__)

#: Takes this worker's standby copy of a ledger partition, if it has one; the caller owns it from then on.
TakeStandby = Callable[[int], Awaitable[Replica | None]]
#: Asks for the end of a source partition, by the broker's last answer.
AskLogEnd = Callable[[Partition], "LogEnd | None"]


class LedgerPartition:
    """The state of ledger partition `number`."""

    def __init__(
        self,
        context: Context,
        number: int,
        *,
        log_end: AskLogEnd,
        log_start: LogStart,
        standby: TakeStandby | None = None,
    ) -> None:
        self._context = context
        self._number = number
        self._standby = standby
        self._log_end = log_end
        self._log_start = log_start
        self._writer = context.log.writer(context.transactional_id(f"ledger-{number}"))
        self._asked_at = Partition(context.catalogue.questions.name, number)
        self._questions = Questions()
        #: Batches that later steps take: all that a step writes must fit into one transaction.
        self._left: deque[Batch] = deque()
        self._begin_with(Replica(context, number))

    def _begin_with(self, replica: Replica) -> None:
        self._replica, self._memory = replica, replica.memory
        self._application = Application(self._memory, self._context, self._log_start)
        self._commit = CommitRecords(self._memory, self._context)
        self._bounds = StepBounds(self._memory, self._context)

    async def open(self) -> Mapping[Partition, int]:
        """Fences the former owner, restores what is committed, and checks that the sources still belong to it.

        Raises:
            ExpectedError: The settings or the sources are not those of the state.
        """
        await self._writer.start()
        # Only now is the end of the changelog final. What a standby copy has read is committed, so it stands.
        if await self._begin_with_a_copy():
            try:
                return await self.restore()
            except DoubtfulReplicaError as error:
                logger.warning("ledger %d: the standby copy is not used: %s", self._number, error)
            self._begin_with(Replica(self._context, self._number))
        return await self.restore()

    async def _begin_with_a_copy(self) -> bool:
        """Begins with this worker's standby copy, and returns whether there is one."""
        copy = await self._standby(self._number) if self._standby is not None else None
        if copy is None:
            return False
        logger.info("ledger %d: there is a standby copy, read up to %s", self._number, copy.next)
        self._begin_with(copy)
        return True

    async def restore(self) -> Mapping[Partition, int]:
        """The reading part of opening, without fencing."""
        async with self._context.log.reader() as reader:
            self._application.start(await restore(self._replica, self._context, reader))
            # Start at the end: unanswered questions will be asked again.
            self._questions.next = (await reader.bounds([self._asked_at]))[self._asked_at].end
        return self.positions()

    @property
    def unfinished(self) -> bool:
        """Whether batches are left that were too much for one transaction, or something else must be finished first."""
        return bool(self._left) or self._must_finish

    @property
    def _must_finish(self) -> bool:
        """Whether questions await answers, or results of a rebuild await publication: these come first."""
        return self._questions.has_more or self._memory.is_unfinished

    @property
    def takes_more(self) -> bool:
        """Whether `process` takes batches: not before it has finished with what it has."""
        return not self.unfinished

    def positions(self) -> Mapping[Partition, int]:
        """Where to continue reading the sources, the questions, and what other partitions tell of vehicles."""
        positions = {**self._memory.positions(), self._asked_at: self._questions.next}
        if self._memory.vehicles is not None:
            positions[self._memory.vehicles.at] = self._memory.vehicles.next
        return positions

    async def process(self, batches: Sequence[Batch]) -> None:
        """Applies the batches and commits state, outputs and positions together; a tick commits only what is due.

        If that is too much for one transaction, it applies only some of them, and `unfinished` is true.

        The step numbers are those of ARCHITECTURE.md, which says what a crash after each leaves behind: up to 5 the last
        commit; after 6 an open transaction, which the next owner aborts; after 7 the old or the new commit, as the log says.
        """
        must_finish = self._must_finish
        self._questions.take([batch for batch in batches if batch.topic == self._asked_at.topic])
        self._left.extend(batch for batch in batches if batch.topic != self._asked_at.topic)
        batches = []
        if not must_finish:
            batches, self._left = [*self._left], deque()
        try:
            records = await self._step(batches)
        except (ExpectedError, *INFRASTRUCTURE):
            raise
        except Exception as error:
            raise await self._blame(error, batches) from error
        if records:
            # 6: begin, add partitions, send; 7: end, asked once
            await self._writer.commit(records)
            # 8: continue
            self._commit.committed()

    async def rehearse(self, batches: Sequence[Batch]) -> None:
        """Applies the batches and commits nothing."""
        self._left.extend(batches)
        while True:
            batches, self._left = [*self._left], deque()
            await self._step(batches)
            if not self._left:
                return

    async def close(self) -> None:
        """Closes the producer; an open transaction is left for the next owner to abort."""
        await self._writer.stop()

    async def _step(self, batches: Sequence[Batch]) -> Outbox:
        """Applies the batches, or some of them, and returns the records to commit; none if no commit is due."""
        memory = self._memory
        # 1: take in, 2: apply to memory
        out, has_taken = await self._take(batches)
        # The broker's answers say how much there is to read; only batches say how far was read.
        for tp, source in memory.sources.items():
            source.hear(self._log_end(tp))
        # 3: judge and count
        changes = await in_turns(memory.ledger.draining())
        # What is held back leaves in the room that the rest of the transaction has left.
        most = max(0, min(self._context.part_rows, self._context.step_records) - len(out))
        announced = self._questions.take_announcement()
        if announced is not None and announced != memory.announcement:
            await memory.announce_now(announced, changes, most)
            self._commit.say_so()
        if await memory.hold_back(changes, most):
            self._commit.say_so()
        if memory.recovery is not None:
            self._questions.drop()  # the totals, which ask, do not know the counts that are held back
        answers = await self._questions.answers(memory.ledger, self._context.totals_homes.of)
        now_us = self._context.now_us()
        is_idle = (
            not has_taken and not answers and not changes.counts and not changes.violations and not memory.is_unfinished
        )
        if is_idle and not self._commit.is_due(now_us):
            return Outbox()
        # 4: gather, 5: the marker last
        return await self._commit.records(changes, out, answers, now_us)

    async def _take(self, batches: Sequence[Batch]) -> tuple[list[Outgoing], bool]:
        """Applies batches as long as what they change fits into one transaction; the others are left for the next step.

        Returns:
            Dead letters and forwarded records, and whether anything was applied.
        """
        memory, bounds = self._memory, self._bounds
        out: list[Outgoing] = []
        has_taken = False
        waiting = deque(batches)
        bounds.begin()
        while waiting:
            batch, left = bounds.next(waiting.popleft())
            if left is not None:
                waiting.appendleft(left)
            if batch is None:
                self._left = waiting
                break
            if memory.vehicles is not None and batch.topic == memory.vehicles.at.topic:
                await memory.vehicles.take(batch)
                has_taken |= bool(batch.records)  # a new position alone can wait
                continue
            has_taken = True
            applied = await self._application.apply(batch)
            bounds.note(applied)
            out += applied
            if not batch.records:
                self._commit.say_so()
            await pause()
        return out, has_taken

    async def _blame(self, error: Exception, batches: Sequence[Batch]) -> Exception:
        """The error, or one that names the record that caused it. This object must not be used afterwards."""
        self._begin_with(Replica(self._context, self._number))  # do not hold two ledgers in memory

        def fresh() -> LedgerPartition:
            return LedgerPartition(self._context, self._number, log_end=self._log_end, log_start=self._log_start)

        return await blamed(error, batches, fresh, self._context)
