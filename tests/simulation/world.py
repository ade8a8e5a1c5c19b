"""One schedule: a small installation, its publishers, and everything that happens to them, determined by the seed."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import os
import traceback
import warnings
from bisect import bisect_left
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

from aiokafka.errors import KafkaError

from schemas.facts import family_of, topic_number
from schemas.questions import MOST_UNITS
from streams.context import Context
from streams.domain import hotpath
from streams.domain.counts import nth
from streams.errors import ExpectedError
from streams.kafka.log import Partition
from streams.kafka.outbox import Outgoing
from streams.settings import Settings
from tests.simulation import past
from tests.simulation.beside import PREFIX, Beside
from tests.simulation.broken import BrokenError
from tests.simulation.client import Network, SimulatedLog
from tests.simulation.cluster import Cluster, FencedRequestError
from tests.simulation.committed import home_of
from tests.simulation.copies import difference
from tests.simulation.coverage import Coverage
from tests.simulation.faults import Faults
from tests.simulation.group import Group
from tests.simulation.history import DELIVERIES, ORDERS, Announcers, Planners, Publishers, life_of, meaning
from tests.simulation.installation import as_seen_by_another, campaigns_of, settings_of
from tests.simulation.invariants import Invariants
from tests.simulation.loop import Process, SimulatedLoop, current_process
from tests.simulation.plan import PLACES, Plan
from tests.simulation.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from schemas.notes import Place
    from streams.ledger.replica import Replica
    from tests.simulation.cluster import Entry, Transaction
    from tests.simulation.history import Sent

_SETTLE_S = 240.0
_LOOK_S = 0.3
_LOOKS_OF_A_SUPERVISOR = 8
#: Longer than any timer of the service.
_QUIET_S = 1.2
_LAST_STEPS = 40
#: Of the lists of orders with units in an hour, so that those of a few orders are divided by time too.
_STRETCH_BYTES = 4
#: Units in the answer of a ledger partition, so that one of few is looked for as otherwise one of thousands.
_FEW_LISTED = 4
#: Corrections of past days, when these are over, in schedules in which days pass.
_CORRECTIONS = 4
_AFTER_THE_DAYS_S = 3.0
_SILENCE_S = 5.0
#: Mean time between two records of a history.
_PACE_OF_THE_PAST_S = 0.03
#: Share of the commands that may be killed which are.
_KILLED_SHARE = 0.6


#: Faults that come with a share of messages, at boundaries of writes, or from other faults.
MISHAPS = (
    "killed at a write",
    "wake up",
    "expelled",
    "late batch",
    "records lost",
    "records arrive late",
    "EndTxn lost",
    "EndTxn arrives late",
    "answer to EndTxn lost",
)


#: The topic of operators' decisions, without the prefix of an installation.
_DECISIONS = Settings().catalogue.quarantine.name


def kind_of(transaction: Transaction) -> str:
    """The kind of write of a transaction; empty for a publisher's.

    Commands that decide on records or gaps write under the ids of ledger partitions, but to a topic that these never write.
    """
    _, is_own, role = transaction.transactional_id.rpartition("milestones-")
    if not is_own:
        return ""
    kind = role.partition("-")[0]
    is_decision = transaction.records[0].topic.endswith(_DECISIONS)
    return kind if kind in ("ledger", "totals") and not is_decision else "command"


@dataclass
class Result:
    """How a schedule ended."""

    plan: Plan
    broken: str = ""
    invariant: str = ""
    last: tuple[str, ...] = ()
    seen: Counter[str] = field(default_factory=Counter)
    boundaries: int = 0
    steps: int = 0


class World:
    """Everything in one schedule."""

    def __init__(self, plan: Plan, loop: SimulatedLoop, dice: Random) -> None:
        zone, start = PLACES[plan.place]
        # In one schedule of five, days begin at six, and everything is later accordingly.
        day_starts = 6 if Random(plan.seed + 3).random() < 0.2 else 0
        start = (datetime.fromisoformat(start) + timedelta(hours=day_starts)).isoformat()
        self.plan = plan
        self.loop = loop
        self.dice = dice
        self.nobody = contextvars.copy_context()
        #: From when on YU7 is counted as SU7, if ever: in one schedule of five, the day after the first.
        self.aliased_from = (
            datetime.fromisoformat(start).date() + timedelta(days=1) if Random(plan.seed + 1).random() < 0.2 else None
        )
        #: Whether events announce campaigns: in one schedule of six.
        self.announces = Random(plan.seed + 7).random() < 1 / 6
        # In half of the schedules long work pauses wherever it may, in the others nowhere, as where there is little of it.
        loop.turn_s = 0.0 if Random(f"{plan.seed} turns").random() < 0.5 else float("inf")
        self.settings = settings_of(
            plan.partitions,
            plan.totals,
            zone,
            plan.clock,
            several=plan.several,
            aliased_from=self.aliased_from,
            rolling=Random(plan.seed + 2).random() < 0.25 and not plan.keep_days,
            day_starts=day_starts,
            limits=plan.limits.model_copy(
                update={"announced_campaigns": 1 if Random(f"{plan.seed} campaigns").random() < 1 / 3 else 100}
            ),
            held_s=plan.held_s,
            windows=plan.windows,
            produces=plan.produces,
            keep_days=plan.keep_days,
            without=plan.without,
            past_kind=plan.past,
            year_starts=plan.year_starts,
            on_sundays=plan.on_sundays,
            campaigns=campaigns_of(Random(plan.seed + 6), datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(zone))),
            announces=self.announces,
            standbys=plan.standbys,
        )
        self.context = Context(self.settings)
        self._start_us = int(datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1e6)
        self._jumps: list[tuple[float, int]] = [(0.0, 0)]
        #: The clock after the last jump.
        self._jumped_us = 0
        self._zero_us = self._start_us
        self.faults_on = True
        self.is_over = False
        self.seen: Counter[str] = Counter()
        self.coverage = Coverage(self.seen)
        self.last: deque[str] = deque(maxlen=_LAST_STEPS)
        self.boundaries = 0
        #: Asked at each write boundary, besides the plan, whether the process is killed there.
        self.kills_at: Callable[[int], bool] | None = None
        self._numbers = count(1)
        self._meanings: dict[tuple[bytes | None, bytes | None, int], Any] = {}
        self._failed = asyncio.Event()
        self.failure: BrokenError | None = None
        self.network = Network(self)
        self.cluster = Cluster(self.context.catalogue, lambda: self.now_us() // 1000, dice, loop, plan.protocol)
        self.cluster.transaction_timeout_s = self.settings.transaction_timeout_s
        for number, topic in self.context.source_topics.names.items():
            partitions = {ORDERS: plan.orders, DELIVERIES: plan.deliveries}.get(number, plan.partitions + 1)
            if partitions:
                self.cluster.resize(topic, partitions)
        self.invariants = Invariants(self)
        self.cluster.on_commit.append(self._hear)
        self.group = Group(self)
        self.faults = Faults(self)
        self.workers: dict[str, Worker] = {}
        #: The installation of a rebuild, once there is one.
        self.beside: Beside | None = None
        #: All workers that were ever started, to be taken apart.
        self._started: list[Worker] = []
        self.is_forgetting = False

    def take_apart(self) -> None:
        """Frees memory that would otherwise wait for the collector, which is slower than a schedule's own work."""
        for worker in self._started:
            for state in worker.process.states:
                totals = vars(state).get("_totals")
                for part in (totals, totals and vars(totals).get("windows"), state):
                    if part is not None:
                        vars(part).clear()
            for part in (worker.engine, worker.consumer, worker.process, worker):
                vars(part).clear()
        self.cluster.take_apart()
        vars(self.invariants.so_far).clear()
        vars(self).clear()

    # What the parts need ----------------------------------------------------------------------------------------------

    def next_number(self) -> int:
        """An unused number."""
        return next(self._numbers)

    def now_us(self) -> int:
        """The clock of all machines, as set by operators and time servers."""
        return self._zero_us + int(self.loop.now_s * 1e6)

    def clock_reached_s(self, instant_ms: int) -> float:
        """When, on the loop's clock, the machines' clock first showed an instant."""
        for index, (since_s, offset_us) in enumerate(self._jumps):
            until_s = self._jumps[index + 1][0] if index + 1 < len(self._jumps) else float("inf")
            at_s = (instant_ms * 1000 - self._start_us - offset_us) / 1e6
            if at_s < until_s:
                return max(at_s, since_s)
        return float("inf")

    def note(self, what: str) -> None:
        """Logs a step for the report of a failure."""
        self.last.append(f"{self.loop.time():9.3f} s  {what}")

    def hand_over_delay_s(self) -> float:
        """How long a batch waits between Faust and the runner."""
        share = self.plan.slow_hand_over_share
        if share and self.faults_on and self.dice.random() < share:
            self.happened("late batch")
            return self.dice.uniform(0.5, 8.0)
        return 0.0

    def meta_of(self, transactional_id: str, process: Process) -> Any:
        """What a totals writer has summed when it commits: a look into its memory, for the checks."""
        state = process.totals.get(transactional_id)
        return state and (state._next, state._shards.settled, state.between_steps, state._step_us)

    def is_killed_at(self, role: str, boundary: str, process: Process) -> bool:
        """Whether the plan kills the process at this write boundary."""
        self.boundaries += 1
        process.boundaries_left -= 1
        is_killed = self.boundaries == self.plan.crash_at or process.boundaries_left == 0
        if not is_killed and (self.kills_at is None or not self.kills_at(self.boundaries)):
            return False
        self.note(f"{process} is killed {boundary} of {role}")
        self.seen[f"killed: {role} {boundary}"] += 1
        self.coverage_of("killed at a write")
        for worker in self.workers.values():
            if worker.process is process:
                worker.tell_runners("killed")
        process.kill()
        return True

    def coverage_of(self, fault: str) -> None:
        """Counts a fault, wherever the writers are."""
        self.coverage.happened(fault, {kind_of(one) for one in self.cluster.open_transactions()} - {""})

    def happened(self, fault: str) -> None:
        """Counts a fault by its name, and by where it came."""
        self.seen[fault] += 1
        self.coverage_of(fault)

    def took_over(self, role: str, epoch: int) -> None:
        """Notes that a writer has its epoch; with the first epoch it has not replaced anyone."""
        if epoch:
            self.seen[f"takeover: {role}"] += 1
        self.coverage.wrote("takeover")

    async def compare(self, context: Context, copy: Replica) -> None:
        """Compares a standby copy that was read on and is used with the changelog."""
        self.seen["standby copies used"] += 1
        differing = await difference(copy, context, self.cluster)
        if differing:
            what = (
                f"the copy of ledger {copy.memory.number} differs from its changelog up to {copy.next} in {differing}"
            )
            self.fail(BrokenError("a standby copy is what its changelog says", what))

    def worker_ended(self, worker: Worker, error: BaseException) -> None:
        """Notes that a worker has ended on its own."""
        if self.is_over:
            return
        self.note(f"{worker.process} ends: {error!r}")
        self.seen[f"ended: {type(error).__name__}"] += 1
        if "SIMULATION_TRACE" in os.environ:
            traceback.print_exception(error)
        if worker.is_program_fault() or "trimmed" in str(error) or "recreated" in str(error):
            self.fail(BrokenError("no fault of the program", f"{worker.process} ended: {error!r}"))

    def expelled(self, worker: Worker) -> None:
        """Notes that the group continues without a worker."""
        self.note(f"{worker.process} is expelled from the group")
        self.happened("expelled")

    # Records and their meaning ----------------------------------------------------------------------------------------

    def between(self, tp: Partition, first: int, end: int) -> list[Entry]:
        """Entries of a partition between two offsets."""
        log = self.cluster._logs[tp]
        return log.entries[bisect_left(log.offsets, first) : bisect_left(log.offsets, end)]

    def sources(self) -> list[Partition]:
        """All partitions of the orders and deliveries."""
        numbers = self.context.source_topics.numbers
        return [tp for tp in self.cluster.partitions() if tp.topic in numbers]

    def source_entry(self, place: Place) -> Entry:
        """The record at a place of the sources."""
        (entry,) = self.between(Partition(place.topic, place.partition), place.offset, place.offset + 1)
        return entry

    def is_event(self, entry: Entry) -> bool:
        """Whether a source record is a valid event."""
        return self._meaning(entry) is not None

    def event_of(self, entry: Entry) -> dict[str, Any]:
        """The event in a valid record."""
        event: dict[str, Any] = self._meaning(entry)
        return event

    def _meaning(self, entry: Entry) -> Any:
        key = (entry.key, entry.value, family_of(self.context.source_topics.numbers[entry.topic]))
        if key in self._meanings:
            return self._meanings[key]
        # Published by a replay: the record with a repaired key.
        found = meaning(entry.value or b"") if (entry.value or b"").startswith(b'{"') else None
        if found is not None and (
            entry.key != life_of(found["data"]).encode() or "+" not in found["time"] or key[2] != 0
        ):
            found = None
        self._meanings[key] = found
        return found

    def learn(self, sent: Sent) -> None:
        """Remembers what a record means."""
        self._meanings[sent.key, sent.value, sent.topic] = meaning(sent.value or b"") if sent.is_event else None

    # The run ----------------------------------------------------------------------------------------------------------

    def _hear(self, transaction: Transaction) -> None:
        if self.failure is not None:
            return
        self.note(f"{transaction.transactional_id} commits {len(transaction.records)} records")
        kind = kind_of(transaction)
        if kind:
            self.coverage.wrote(kind)
            self.faults.committed(kind)
        beside = self.beside
        is_beside = beside is not None and transaction.transactional_id.startswith(PREFIX)
        try:
            (beside.invariants if beside is not None and is_beside else self.invariants).committed(transaction)
        except BrokenError as error:
            self.fail(error)

    def fail(self, error: BrokenError) -> None:
        if self.failure is None:
            self.failure = error
            self._failed.set()

    async def run(self) -> None:
        """The whole schedule."""
        self.group.start()
        for number in range(self.plan.workers):
            self.start(f"w{number}")
        publishing = self.loop.create_task(self._publish())
        planning = self.loop.create_task(self._plan_targets())
        announcing = self.loop.create_task(self._announce())
        failing = self.loop.create_task(self.faults.make())
        rebuilding = self.loop.create_task(self._count_again())
        ending = self.loop.create_task(self._end(rebuilding, publishing, planning, announcing, failing))
        failed = self.loop.create_task(self._failed.wait())
        await asyncio.wait({ending, failed}, return_when=asyncio.FIRST_COMPLETED)
        if self.failure is None:
            ending.result()

    async def _end(self, rebuilding: asyncio.Task[None], *first: asyncio.Task[None]) -> None:
        for task in first:
            await task
        self.faults_on = False
        self.faults.look()
        for worker in self.workers.values():
            worker.process.resume()
        self.heal()
        await rebuilding
        # The day after tomorrow everything is over and closed.
        await self._until_quiet(0.0)
        # Where hours matter it is the middle of one, so that the last one has been looked at.
        self.jump(2 * 86_400 + 7200 + (1800 if self.plan.past == past.HOURS else 0))
        await self._until_quiet(_QUIET_S)
        try:
            self.invariants.check_end()
        except BrokenError as error:
            self.fail(error)

    async def _until_quiet(self, quiet_s: float) -> None:
        """Waits until everything is read and closed, and nothing has been committed for some seconds."""
        committed, quiet_since_s = -1, 0.0
        for number in range(int(_SETTLE_S / _LOOK_S)):
            await self.loop.pause(_LOOK_S)
            if number % _LOOKS_OF_A_SUPERVISOR == 0:
                self.heal()
                if any(worker.engine.stopped for worker in self.workers.values()):
                    self.faults.look_at_gaps()
            before, committed = committed, self.invariants.commits.total()
            is_quiet = (
                committed == before
                and self._is_idle()
                and not self.invariants.over.still_open()
                and not self.invariants.announced.is_announcing
                and not self._hours_are_open()
            )
            if not is_quiet:
                quiet_since_s = self.loop.time()
            elif self.loop.time() - quiet_since_s >= quiet_s:
                return

    def _is_idle(self) -> bool:
        """Whether everything is open, no transaction waits for markers, and nothing is left to read."""
        engines = [worker.engine for worker in self.workers.values() if worker.alive]
        totals = [part for engine in engines for part in engine._totals.items()]
        kept = sum(len(engine.partitions) for engine in engines if engine.ready)
        reads = self.context.read_by_totals
        return (
            kept == self.plan.partitions
            and sorted(number for number, _ in totals) == list(range(len(reads)))
            and self.cluster.is_at_rest
            and not self._lags()
            and not self.invariants.waits
            and not any(runner._busy.locked() for engine in engines for runner in engine._runners())
            and all(
                runner.positions.get(tp) == self.cluster.bounds(tp).end
                for number, runner in totals
                for tp in (Partition(*each) for each in reads[number])
            )
        )

    def _hours_are_open(self) -> bool:
        """Whether not all ledger partitions have read what came before the clock's last jump: silences are judged after that.

        Only a history has usual hours; otherwise there is nothing to wait for.
        """
        waits = self.plan.past and self.settings.clock != "events"
        return bool(waits) and any(shard.caught_up_us < self._jumped_us for shard in self.invariants.so_far.shards)

    def _lags(self) -> bool:
        topics, position = self.context.source_topics, self.invariants.so_far.position
        return any(end and tp.topic in topics and end > position(tp) for tp, end in self.cluster.ends())

    def heal(self) -> None:
        """A supervisor restarts ended processes."""
        if self.is_forgetting:
            return
        for instance, worker in list(self.workers.items()):
            if not worker.alive:
                self.start(instance)

    def start(self, instance: str) -> None:
        self.note(f"{instance} starts")
        worker = self.workers[instance] = Worker(self, instance)
        self._started.append(worker)
        self.group.join(worker)

    async def _publish(self) -> None:
        start = datetime.fromtimestamp(self._start_us / 1e6, ZoneInfo(self.settings.timezone))
        earlier = past.instants_of(self.plan.past, Random(f"{self.plan.seed} past"), start) if self.plan.past else []
        publishers = Publishers(
            self.dice,
            self.plan.mischief,
            produces=self.plan.produces,
            earlier=earlier,
            are_alike=self.plan.past == past.HOURS,
            loads=self.plan.loads,
            loading=Random(f"{self.plan.seed} loaded"),
        )
        names = self.context.source_topics.names
        open_until = 0
        epoch = -1
        records = len(earlier) + self.plan.records
        is_corrected = bool(earlier) or any(fault == "next day" for _, fault in self.plan.faults)
        for number in range(records + (_CORRECTIONS if is_corrected else 0)):
            pace_s = self.plan.pace_s if number >= len(earlier) else _PACE_OF_THE_PAST_S
            await self.loop.pause(self.dice.uniform(0.0, 2 * pace_s))
            if number == records:
                await self.loop.pause(_AFTER_THE_DAYS_S if self.plan.past != past.HOURS else _SILENCE_S)
            if number < records:
                sent = publishers.next(self.now_us())
            elif self.plan.past == past.HOURS and number % 2:
                sent = publishers.unit(self.now_us())  # a silence ends
            else:
                sent = publishers.correction(self.now_us())
            self.learn(sent)
            # Any topic of the family will do.
            topic = names[topic_number(sent.topic, self.dice.randrange(2) if self.plan.several else 0)]
            partitions = self.cluster.partition_count(topic)
            placed = home_of(sent.key, partitions)
            if self.dice.random() < self.plan.foreign:
                placed = self.dice.randrange(partitions)
            tp = Partition(topic, placed)
            headers = (("traceparent", b"00-%d" % number),) if number % 3 == 0 else ()
            await self.cluster.led([tp])
            if epoch < 0 and self.dice.random() < self.plan.transactions:
                epoch = await self.cluster.init("publisher")
                open_until = number + self.dice.randrange(6)
            if epoch >= 0:
                self._produce_in_transaction(tp, sent, headers, epoch)
                if number >= open_until:
                    await self._end_publishers(epoch)
                    epoch = -1
            else:
                self.cluster.append(tp, sent.key, sent.value, headers)
        if epoch >= 0:
            await self._end_publishers(epoch)

    async def _plan_targets(self) -> None:
        planners = Planners(self.dice)
        for _ in range(self.plan.targets):
            await self.loop.pause(self.dice.uniform(0.0, 2 * self.plan.pace_s * self.plan.records / self.plan.targets))
            sent = planners.next(self.now_us())
            tp = Partition(self.context.side_topics[sent.topic], 0)
            await self.cluster.led([tp])
            entry = self.cluster.append(tp, sent.key, sent.value, ())
            if not sent.is_event:
                self.invariants.expect_dead_letter(entry)

    async def _announce(self) -> None:
        if not self.announces:
            return
        dice = Random(self.plan.seed + 8)
        announcers = Announcers(dice, datetime.fromtimestamp(self._start_us / 1e6, ZoneInfo(self.settings.timezone)))
        several = dice.randrange(2, 6)
        for _ in range(several):
            await self.loop.pause(dice.uniform(0.0, 2 * self.plan.pace_s * self.plan.records / several))
            sent = announcers.next(self.now_us())
            tp = Partition(self.context.side_topics[0], 0)
            await self.cluster.led([tp])
            entry = self.cluster.append(tp, sent.key, sent.value, ())
            if not sent.is_event:
                self.invariants.expect_dead_letter(entry)

    def _produce_in_transaction(
        self, tp: Partition, sent: Sent, headers: tuple[tuple[str, bytes], ...], epoch: int
    ) -> None:
        try:
            self.cluster.produce("publisher", epoch, [Outgoing(tp.topic, tp.partition, sent.key, sent.value, headers)])
        except FencedRequestError:
            self.seen["publisher's transaction expired"] += 1

    async def _end_publishers(self, epoch: int) -> None:
        commit = self.dice.random() < 0.7
        self.seen["publisher commits" if commit else "publisher aborts"] += 1
        try:
            self.cluster.end("publisher", epoch, commit=commit)
        except FencedRequestError:
            self.seen["publisher's transaction expired"] += 1
        await self.cluster.may_begin("publisher")

    async def _count_again(self) -> None:
        """Runs a rebuild that begins at some moment and lasts at most until some time after the last fault."""
        if not self.plan.rebuilds:
            return
        await self.loop.pause(self.dice.uniform(0.5, self.plan.records * self.plan.pace_s))
        self.beside = beside = Beside(self)
        process, running = self.command("rebuild", beside.rebuild())
        until_s = float("inf")
        while not running.done():
            await self.loop.pause(_LOOK_S)
            if not process.alive:  # its worker ends with it, and someone starts again
                beside.kill()
                process, running = self.command("rebuild", beside.rebuild())
            if self.faults_on:
                until_s = self.loop.time() + _SETTLE_S
            elif self.loop.time() > until_s:
                self.fail(BrokenError("rebuild", "it does not come to an end"))
                break
        beside.stop()

    def jump(self, seconds: int) -> None:
        self._jumps.append((self.loop.time(), self._jumps[-1][1] + seconds * 1_000_000))
        self._zero_us = self._start_us + self._jumps[-1][1]
        self._jumped_us = self.now_us()
        self.note(f"the clock jumps by {seconds} s")

    def context_of(self, process: Process) -> Context:
        """The installation as seen by a command."""
        return as_seen_by_another(self.context, now_us=self.now_us, other_log=SimulatedLog(self, process))

    def command(
        self, name: str, coroutine: Coroutine[Any, Any, None], *, most: int = 0
    ) -> tuple[Process, asyncio.Task[None]]:
        """Runs a command in its own process; it may be killed at one of its first `most` write boundaries."""
        process = Process(f"{name}.{self.next_number()}", self.loop)
        process.is_command = True
        task = process.spawn(coroutine)
        task.add_done_callback(self._done)
        process.boundaries_left = self.dice.randrange(most) if most and self.dice.random() < _KILLED_SHARE else 0
        return process, task

    def _done(self, done: asyncio.Task[None]) -> None:
        error = None if done.cancelled() else done.exception()
        if isinstance(error, BrokenError):
            self.fail(error)
        elif error is not None and not self.is_over and not isinstance(error, (ExpectedError, KafkaError)):
            self.fail(BrokenError("no fault of the program", f"a command ended: {error!r}"))


_LOGGER = logging.getLogger("streams")


class _Listener(logging.Handler):
    """Adds the service's warnings to the steps."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.note: Callable[[str], None] = lambda _: None
        self.seen: Counter[str] = Counter()

    def attach(self, world: World) -> None:
        """Listens for one world only; other tests of this process have their own listeners."""
        self.note, self.seen = world.note, world.seen
        _LOGGER.addHandler(self)
        _LOGGER.propagate = False

    def forget(self) -> None:
        """Stops listening: its world has ended."""
        self.note, self.seen = lambda _: None, Counter()
        _LOGGER.removeHandler(self)
        _LOGGER.propagate = True

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        self.note(f"{current_process()}: {message}")
        if "taken over by another worker" in message:
            self.seen["fenced"] += 1
        elif "opened again" in message:
            self.seen["opened again in doubt"] += 1


_LISTENER = _Listener()


def run(plan: Plan, kills_at: Callable[[int], bool] | None = None) -> Result:
    """Runs a schedule to its end or the first violated invariant; odd seeds take the hot path in Python, the others as usual.

    Args:
        plan: The schedule.
        kills_at: Asked at each write boundary, from 1 on, whether the process that reaches it is killed there.
    """
    dice = Random(plan.seed)
    loop = SimulatedLoop(dice)
    result = Result(plan)
    asyncio.set_event_loop(loop)
    world: World | None = None

    async def main() -> None:
        nonlocal world
        world = World(plan, loop, dice)
        world.kills_at = kills_at
        _LISTENER.attach(world)
        await world.run()
        world.is_over = True

    collecting = gc.isenabled()
    if plan.seed % 2:
        hotpath.take("python")
    # The collector would close generators of killed processes in loop steps at unpredictable times.
    gc.disable()
    lists = partial(hotpath.way.OrderLists, stretch_bytes=_STRETCH_BYTES)
    listed = _FEW_LISTED if plan.seed % 3 == 0 else MOST_UNITS
    with (
        warnings.catch_warnings(),
        patch.object(hotpath.way, "OrderLists", lists),
        patch.object(nth, "MOST_UNITS", listed),
    ):
        # Coroutines that a killed process was about to start never start.
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        try:
            loop.run_until_complete(main())
        finally:
            hotpath.take(hotpath.HOT_PATH)
            loop.bury()
            _LISTENER.forget()
            asyncio.set_event_loop(None)
            if collecting:
                gc.enable()
    if world is None or loop.errors:
        raise RuntimeError(f"the simulation itself failed: {loop.errors}")
    if world.failure is not None:
        result.broken, result.invariant = str(world.failure), world.failure.invariant
        result.last = tuple(world.last)
    result.seen, result.boundaries, result.steps = world.seen, world.boundaries, loop.steps
    result.seen["rebalances"] += world.group.rebalances
    result.seen["compactions"] += world.cluster.compactions
    world.take_apart()
    return result
