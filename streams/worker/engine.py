"""Starts and releases the runners of this worker as the group assigns partitions."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from streams.errors import ExpectedError
from streams.kafka.log import Partition
from streams.ledger.partition import LedgerPartition
from streams.totals.window_tables import WindowTables
from streams.worker.standbys import Standbys
from streams.worker.task_runner import State, TaskRunner

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from collections.abc import Set as AbstractSet

    from schemas.outputs import StandbyStatus
    from streams.context import Context
    from streams.kafka.transport import Batch, BatchConsumer

logger = logging.getLogger(__name__)

_QUIESCE_S = 3.0
#: Commits of the totals per commit interval: they follow the commits of every ledger partition.
_TOTALS_COMMITS = 3
#: A step of up to this many records costs less than its transaction; with up to this many ledger partitions, doubling the rate of a
#: worker's transactions costs a tenth of a core.
_FEW_RECORDS = 100
#: More records of a partition than one transaction has, and the shortest beat while so many are left.
_MANY_LEFT = 8_000
_BEHIND_BEAT_S = 0.3
_FEW_LEDGERS = 4
_RIVAL_WINDOW_S = 30.0
_RIVAL_ASSIGNMENTS = 12


class Engine:
    """The runners of one worker."""

    runner_type: type[TaskRunner] = TaskRunner
    standbys_type: type[Standbys] = Standbys
    ledger_type: type[LedgerPartition] = LedgerPartition

    def __init__(
        self,
        context: Context,
        instance: str,
        fatal: Callable[[BaseException], Awaitable[None]],
        look: Callable[[], Awaitable[None]],
    ) -> None:
        self.context = context
        self.instance = instance
        self._fatal = fatal
        self._look = look
        self._ledgers: dict[int, TaskRunner] = {}
        self._had: dict[int, set[Partition]] = {}
        self._topic_ids: dict[str, str] = {}
        self._totals: dict[int, TaskRunner] = {}
        self._consumer: BatchConsumer | None = None
        self._lock = asyncio.Lock()
        self._assignments: deque[float] = deque(maxlen=_RIVAL_ASSIGNMENTS)
        self._stopped = False
        self._standbys = self.standbys_type(context, lambda: self._is_free, fatal)

    def attach(self, consumer: BatchConsumer) -> None:
        """Sets the consumer that feeds this worker."""
        self._consumer = consumer

    @property
    def partitions(self) -> list[int]:
        """Ledger partitions held now, sorted."""
        return sorted(self._ledgers)

    @property
    def standbys(self) -> list[StandbyStatus]:
        """The standby copies kept of other workers' ledger partitions."""
        return self._standbys.status

    @property
    def _is_free(self) -> bool:
        """Whether nothing that this worker owns is being opened."""
        return all(runner.is_open or runner.stopped_by for runner in self._runners())

    @property
    def settled(self) -> bool:
        """Whether the group has assigned this worker its share, even an empty one, and all of it is open."""
        return bool(self._assignments) and (self.ready or not self.partitions)

    @property
    def ready(self) -> bool:
        """Whether everything assigned is open."""
        runners = self._runners()
        return bool(runners) and all(runner.is_open for runner in runners)

    @property
    def stopped(self) -> list[str]:
        """The reasons of those runners that have stopped until an operator acts."""
        return [runner.stopped_by for runner in self._runners() if runner.stopped_by]

    async def assigned(self, held: set[Partition], copies: AbstractSet[int] = frozenset()) -> Mapping[Partition, int]:
        """Starts and releases runners to match an assignment.

        Args:
            held: The partitions of topics that are assigned.
            copies: The ledger partitions of which a standby copy is to be kept.

        Returns:
            Positions of the states that are open; the others are positioned once they have opened.
        """
        async with self._lock:
            if self._stopped:
                return {}
            self._watch_for_a_rival()
            ledgers, totals = self._held_by_ledger(held), self._held_totals(held)
            # A ledger partition is reopened if it has gained or lost a source partition: opening finds out what there is to
            # read, and whether each topic is still the one that was read before.
            changed = {
                number
                for number, runner in self._ledgers.items()
                if runner.is_open
                and number in ledgers
                and not self._sources(ledgers[number])
                == self._sources(runner.positions)
                == self._sources(self._had.get(number, ()))
            }
            self._had = ledgers
            leaving = (set(self._ledgers) - set(ledgers)) | changed
            await self._release(leaving, set(self._totals) - totals)
            for runner in self._runners():
                runner.assign_again()
            self._standbys.assign(copies if self.context.settings.standby_copies else frozenset(), ledgers.keys())
            for number in set(ledgers) - set(self._ledgers):
                self._ledgers[number] = self._runner(
                    f"ledger {number}",
                    partial(self._ledger, number),
                    partial(self._belongs, number),
                    self._ledger_beat_s,
                    urgent=self.context.catalogue.questions.name,
                )
            for number in totals - set(self._totals):
                self._totals[number] = self._runner(
                    self.context.totals_role(number).replace("-", " "),
                    partial(WindowTables, self.context, number),
                    lambda _: False,
                    lambda *_: self._commit_interval_s / _TOTALS_COMMITS,
                )
            positions: dict[Partition, int] = {}
            for runner in self._runners():
                positions.update(runner.positions)
            return {tp: offset for tp, offset in positions.items() if tp in held}

    def _held_by_ledger(self, held: set[Partition]) -> dict[int, set[Partition]]:
        """Ledger partition → the source partitions that came with it.

        Raises:
            ExpectedError: Part of a ledger partition's share was given to another worker.
        """
        topics, homes = self.context.source_topics, self.context.settings.partitions
        ledgers: dict[int, set[Partition]] = {tp.partition: set() for tp in held if tp.topic == topics.rerouted}
        for tp in held:
            if tp.topic in self.context.ledger_topics:
                ledgers.setdefault(tp.partition % homes, set()).add(tp)
        # The questions topic may be missing, since earlier versions do not assign it: the ledger then just does not answer.
        incomplete = [number for number, of in ledgers.items() if Partition(topics.rerouted, number) not in of]
        if incomplete:
            raise _parted(f"ledger partitions {incomplete}")
        return ledgers

    def _held_totals(self, held: set[Partition]) -> set[int]:
        """The totals partitions that are held.

        Raises:
            ExpectedError: Part of one's share was given to another worker.
        """
        totals = {number: reads & held for number, reads in enumerate(self.context.read_by_totals)}
        for number, came in totals.items():
            if came and len(came) < len(self.context.read_by_totals[number]):
                raise _parted(f"totals {number}, of which came {sorted(topic for topic, _ in came)}")
        return {number for number, came in totals.items() if came}

    def _sources(self, partitions: Iterable[Partition]) -> set[Partition]:
        return {tp for tp in partitions if tp[0] in self.context.source_topics}

    def _belongs(self, number: int, tp: Partition) -> bool:
        return tp[0] in self.context.ledger_topics and tp[1] % self.context.settings.partitions == number

    async def submit_ledger(self, batch: Batch) -> None:
        """Hands a batch of a source topic to the runner of its partition."""
        runner = self._ledgers.get(batch.partition % self.context.settings.partitions)
        if runner is not None:
            await runner.submit(batch)

    async def submit_totals(self, batch: Batch) -> None:
        """Hands a batch of day counts or of a side topic to the totals of its partition."""
        runner = self._totals.get(batch.partition)
        if runner is not None:
            await runner.submit(batch)

    def doubt(self, tp: Partition, offset: int) -> None:
        """Has the state that reads a partition reopened, which finds out why the partition has nothing at `offset`."""
        is_source = tp.topic in self.context.ledger_topics
        homes = self.context.settings.partitions
        runner = self._ledgers.get(tp.partition % homes) if is_source else self._totals.get(tp.partition)
        if runner is not None:
            runner.doubt(f"{tp.topic}-{tp.partition} has no offset {offset}")

    async def look_at_topics(self) -> None:
        """Detects recreated source topics by their ids; offsets do not show it once the new topic is as long as the old one.

        Raises:
            KafkaError: The cluster does not answer.
        """
        found = await self._fetching().topic_ids(self.context.source_topics.published)
        for name, identity in found.items():
            if self._topic_ids.setdefault(name, identity) != identity:
                self._topic_ids[name] = identity
                for runner in self._ledgers.values():
                    runner.doubt(f"{name} was made again")

    async def quiesce(self) -> None:
        """Called before partitions move: waits, within bounds, for running transactions to end."""
        await asyncio.gather(*(runner.quiesce(_QUIESCE_S) for runner in self._runners()))

    async def stop(self) -> None:
        """Releases everything."""
        self._stopped = True
        async with self._lock:
            await self._release(set(self._ledgers), set(self._totals))
        await self._standbys.stop()

    async def _release(self, ledgers: set[int], totals: set[int]) -> None:
        leaving = [*map(self._ledgers.pop, ledgers), *map(self._totals.pop, totals)]
        await asyncio.gather(*(runner.release() for runner in leaving))

    def _runners(self) -> list[TaskRunner]:
        return [*self._ledgers.values(), *self._totals.values()]

    def _runner(
        self,
        name: str,
        make: Callable[[], State],
        wanted: Callable[[Partition], bool],
        beat_s: Callable[[int, int], float],
        *,
        urgent: str = "",
    ) -> TaskRunner:
        settings = self.context.settings
        return self.runner_type(
            name,
            make,
            self._fetching,
            now_us=self.context.now_us,
            beat_s=beat_s,
            open_timeout_s=settings.open_timeout_s,
            fenced_backoff_s=2 * settings.session_timeout_s,
            fatal=self._fatal,
            wanted=wanted,
            look=self._look,
            urgent=urgent,
        )

    @property
    def _commit_interval_s(self) -> float:
        return self.context.settings.commit_interval_ms / 1000

    def _ledger_beat_s(self, records: int, left: int) -> float:
        """Half the commit interval while few records come: results are out sooner, and there is CPU to spare.

        Longer while many are left at the broker: they are late anyway, and each transaction costs the same.
        """
        if left > _MANY_LEFT:
            return max(self._commit_interval_s, _BEHIND_BEAT_S)
        is_quiet = records <= _FEW_RECORDS and len(self._ledgers) <= _FEW_LEDGERS
        return self._commit_interval_s / 2 if is_quiet else self._commit_interval_s

    def _ledger(self, number: int) -> LedgerPartition:
        consumer = self._fetching()

        async def log_start(tp: Partition) -> int:
            starts = await consumer.earliest_offsets(tp)
            return int(next(iter(starts.values())))

        return self.ledger_type(
            self.context, number, log_end=consumer.log_end, log_start=log_start, standby=self._standbys.take
        )

    def _fetching(self) -> BatchConsumer:
        if self._consumer is None:
            raise RuntimeError("the engine has no consumer yet")
        return self._consumer

    def _watch_for_a_rival(self) -> None:
        """Fails if assignments come too fast: workers with the same instance name keep evicting each other from the group.

        Unnoticed, they would go on for ever.
        """
        now = asyncio.get_running_loop().time()
        self._assignments.append(now)
        if len(self._assignments) == _RIVAL_ASSIGNMENTS and now - self._assignments[0] < _RIVAL_WINDOW_S:
            raise ExpectedError(
                f"joined the group {_RIVAL_ASSIGNMENTS} times within {_RIVAL_WINDOW_S:.0f} s: another worker seems to use the "
                f"instance name {self.instance!r}; give each its own (--instance)"
            )


def _parted(what: str) -> ExpectedError:
    return ExpectedError(
        f"the group has parted what belongs together ({what}): do all workers have the same version and settings? check "
        "with milestones topics plan",
        exit_code=3,
    )
