"""A worker: the real engine, runners and states, behind the real hand-over, driven as by Faust.

Faust itself does not run: its fetcher loop, its agents' streams and the order of calls in a rebalance are reimplemented here as
plainly as possible.
"""

from __future__ import annotations

import asyncio
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING

from schemas import hotpath
from streams.errors import ExpectedError
from streams.kafka.log import Partition
from streams.kafka.log_ends import LogEnds
from streams.kafka.transport import BatchConsumer, NothingRead
from streams.worker.engine import Engine
from tests.simulation.client import SimulatedLog
from tests.simulation.copies import ShortlyRead, WatchedLedger
from tests.simulation.coverage import WatchedRunner
from tests.simulation.installation import as_seen_by_another
from tests.simulation.loop import Process
from tests.support.batches import fetched_whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from faust.types.tuples import TP

    from streams.kafka.records import LogRecord
    from streams.kafka.transport import Batch
    from tests.simulation.world import World

_BUFFERED_BATCHES = 2


class SimulatedConsumer(BatchConsumer):
    """The real hand-over on a simulated fetcher."""

    def __init__(self, world: World, worker: Worker) -> None:  # Faust's own needs an app and a broker
        self.app = SimpleNamespace(consumer_generation_id=0)
        self._world = world
        self._context = worker.context
        self._positions = {}
        self._undelivered = set()
        self._read_offset = NothingRead()
        self._buffered_partitions: set[TP] = set()
        self._paused_partitions: set[TP] = set()
        self._active_partitions: set[TP] = set()
        self._held: set[TP] = set()
        self._fetcher: dict[TP, int] = {}
        self._high_water: dict[TP, int] = {}
        self._ready_s: dict[TP, float] = {}
        self._log_ends = LogEnds()
        self._thread = SimpleNamespace(fetcher_position=self._fetcher.get, log_ends=self._log_ends)
        self.assigned = worker.assigned
        self.flow_active = False
        self.can_resume_flow = asyncio.Event()
        self.suspend_flow = asyncio.Event()
        self.suspend_flow.set()

    should_stop = False

    def assignment(self) -> set[TP]:
        return set(self._held)

    def assign(self, held: set[TP]) -> None:
        """Takes an assignment; like aiokafka after a rebalance, no partition keeps its position."""
        self._held = set(held)
        self._fetcher.clear()
        self._paused_partitions &= held
        self._active_partitions = set(held)

    def highwater(self, tp: TP) -> int:
        return self._high_water.get(tp, 0)

    async def earliest_offsets(self, *tps: TP) -> Mapping[TP, int]:
        await self._world.network.travel()
        return {tp: self._world.cluster.bounds(Partition(*tp)).first for tp in tps}

    async def _seek(self, partition: TP, offset: int) -> None:
        await asyncio.sleep(0)
        if partition in self._held:
            self._fetcher[partition] = offset

    async def _wait_next_records(self, timeout: float) -> tuple[dict[TP, Sequence[LogRecord]], set[TP]]:  # noqa: ASYNC109 - Faust's signature
        if not self.flow_active:
            await self.can_resume_flow.wait()
        active = set(self._active_partitions)
        if not active:
            await asyncio.sleep(1.0)
            return {}, active
        return await self._fetched(active, timeout), active

    async def _fetched(self, active: set[TP], timeout_s: float) -> dict[TP, Sequence[LogRecord]]:
        """The fetched records: of some partitions only, cut anywhere, and late if a leader is slow."""
        world = self._world
        cluster, loop, positions, ready_s = world.cluster, world.loop, self._fetcher, self._ready_s
        until_s = loop.now_s + timeout_s
        in_order = sorted(active)
        slow_leaders = world.plan.slow_leader_share > 0
        answered, high_water = self._log_ends.answered, self._high_water
        while True:
            asked_us, asked_s = world.now_us(), loop.now_s
            await world.network.travel()
            now_s = loop.now_s
            found: dict[TP, Sequence[LogRecord]] = {}
            next_ready_s = until_s
            moved = False
            still_active = self._active_partitions
            is_plain = not (slow_leaders and world.faults_on)
            for tp in in_order:
                position = positions.get(tp)
                if position is None or tp not in still_active:
                    continue
                if ready_s and now_s < ready_s.get(tp, 0.0):
                    pass
                elif is_plain and cluster.stands_at(tp, position):
                    # The common case; same result as asking.
                    high_water[tp] = position
                    answered(tp, 0, position, asked_us=asked_us, asked_s=asked_s)
                else:
                    following, records = self._ask(tp, position, asked_us, asked_s)
                    if following > position:
                        moved = True
                        positions[tp] = following
                        if records:
                            found[tp] = records
                if ready_s and tp in ready_s and now_s < ready_s[tp] < next_ready_s:
                    next_ready_s = ready_s[tp]
            if moved or now_s >= until_s or not self.flow_active:
                return found
            await cluster.change(active, max(next_ready_s - now_s, 0.001))

    def _ask(self, tp: TP, position: int, asked_us: int, asked_s: float) -> tuple[int, Sequence[LogRecord]]:
        """The position of a partition after asking its leader, and the records. Without a leader the position stays."""
        world, dice = self._world, self._world.dice
        now_s = world.loop.now_s
        away_until_s, leader, end = world.cluster.answer(tp)
        if now_s < away_until_s:
            world.seen["asked without a leader"] += 1
            self._log_ends.missed(tp)
            # It is asked again once the metadata names another leader.
            self._ready_s[tp] = away_until_s + dice.uniform(0.0, 0.2)
            return position, []
        slow_share = world.plan.slow_leader_share
        if slow_share and world.faults_on and dice.random() < slow_share:
            self._ready_s[tp] = now_s + dice.uniform(0.5, 8.0)
        self._high_water[tp] = end
        self._log_ends.answered(tp, leader, end, asked_us=asked_us, asked_s=asked_s)
        if end <= position:
            if end < position:
                world.seen["less shown than before"] += 1
            return position, []
        records, following = world.cluster.fetch(tp, position, dice.randint(1, world.plan.most_fetched))
        if records and hotpath.records is not None and tp.topic in self._context.ledger_topics:
            return following, fetched_whole(records, hotpath.records)
        return following, records


class _Engine(Engine):
    """The real engine with runners that report their states."""

    runner_type = WatchedRunner
    standbys_type = ShortlyRead
    ledger_type = WatchedLedger


async def _look() -> None:
    """Everything is permitted here."""


class Worker:
    """One life of a worker."""

    def __init__(self, world: World, instance: str) -> None:
        self.world = world
        self.instance = instance
        self.process = Process(f"{instance}.{world.next_number()}", world.loop)
        self.context = as_seen_by_another(
            world.context,
            now_us=world.now_us,
            cpu_s=lambda: 0.0,
            other_log=SimulatedLog(world, self.process),
            part_rows=world.plan.part_rows,
            step_records=world.plan.step_records,
            many_left=world.plan.many_left,
            snapshot_after=world.plan.snapshot_after,
            block_rows=world.plan.block_rows,
        )
        self.failure: BaseException | None = None
        self.generation = -1
        #: The ledger partitions of which it is to keep a standby copy.
        self.copies: set[int] = set()
        self._ledger_topics = set(self.context.ledger_topics)
        self._queues: dict[TP, asyncio.Queue[Batch]] = {}
        self._actors: dict[TP, asyncio.Task[None]] = {}
        self._flow = asyncio.Event()
        self.process.runner_changed = world.coverage.changed
        self.process.copy_used = partial(world.compare, self.context)
        self.engine = _Engine(self.context, instance, self._fail, _look)
        self.consumer = SimulatedConsumer(world, self)
        self.engine.attach(self.consumer)
        self._fetching: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        """Whether it has not been killed."""
        return self.process.alive

    def tell_runners(self, end: str) -> None:
        """Counts the states in which its runners are paused or killed."""
        if self.process.alive and not self.process.paused:
            for runner in self.engine._runners():
                if isinstance(runner, WatchedRunner) and runner.at != "new":
                    self.world.coverage.changed(runner.at, end)

    async def assigned(self, held: set[TP]) -> Mapping[TP, int]:
        """As `MilestonesApp.on_batch_assignment`."""
        try:
            return await self.engine.assigned(held, self.copies)
        except Exception as error:  # noqa: BLE001 - as the app does
            await self._fail(error)
            return {}

    async def _fail(self, error: BaseException) -> None:
        if not self.process.alive:
            return
        self.failure = error
        self.world.worker_ended(self, error)
        self.process.kill()
        await asyncio.sleep(0)  # never comes back

    # A rebalance, in the order in which Faust performs one ----------------------------------------------------------

    async def on_revoked(self) -> None:
        """Stops the flow and empties the buffers; running transactions may end."""
        consumer = self.consumer
        if consumer.assignment():
            consumer.flow_active = False
            consumer.can_resume_flow.clear()
            consumer.suspend_flow.set()
            self._flow.clear()
            consumer.pause_partitions(consumer.assignment())
            for queue in self._queues.values():
                queue._queue.clear()  # type: ignore[attr-defined] # part of asyncio, unknown to typeshed
        await self.engine.quiesce()

    async def on_assigned(self, held: set[TP], copies: set[int], generation: int) -> None:
        """Ends the agents of lost partitions and starts those of new ones; then seeks and resumes the flow."""
        consumer = self.consumer
        self.copies = copies
        self.generation = consumer.app.consumer_generation_id = generation
        consumer.assign(held)
        await asyncio.sleep(0)
        for tp in sorted(set(self._actors) - held):
            self._actors.pop(tp).cancel()
            del self._queues[tp]
        for tp in sorted(held - set(self._actors)):
            self._queues[tp] = asyncio.Queue(_BUFFERED_BATCHES)
            self._actors[tp] = self.process.spawn(self._act(tp))
        consumer.pause_partitions(held)
        await asyncio.sleep(0)
        await consumer.perform_seek()
        if generation != self.generation:
            return
        consumer.flow_active = True
        consumer.can_resume_flow.set()
        consumer.suspend_flow.clear()
        for queue in self._queues.values():
            queue._queue.clear()  # type: ignore[attr-defined] # part of asyncio, unknown to typeshed
        self._flow.set()
        if self._fetching is None:
            self._fetching = self.process.spawn(self._drain())

    async def _act(self, tp: TP) -> None:
        queue = self._queues[tp]
        submit = self.engine.submit_ledger if tp.topic in self._ledger_topics else self.engine.submit_totals
        while True:
            batch = await queue.get()
            delay_s = self.world.hand_over_delay_s()
            if delay_s:
                await asyncio.sleep(delay_s)
            await submit(batch)

    async def _drain(self) -> None:
        """Like Faust's `_drain_messages`: a message that waits for space when the flow stops is dropped."""
        consumer = self.consumer
        while True:
            async for tp, message in consumer.getmany(1.0):
                read_offset: int | None = consumer._read_offset[tp]
                if read_offset is None or message.offset >= read_offset:
                    await self._put_or_drop(tp, message.value)
                    consumer._read_offset[tp] = message.offset

    async def _put_or_drop(self, tp: TP, batch: Batch) -> None:
        if self._flow.is_set() and tp in self._queues and not self._queues[tp].full():
            self._queues[tp].put_nowait(batch)
            return
        putting = asyncio.ensure_future(self._put(tp, batch))
        suspended = asyncio.ensure_future(self.consumer.suspend_flow.wait())
        await asyncio.wait({putting, suspended}, return_when=asyncio.FIRST_COMPLETED)
        for task in (putting, suspended):
            if not task.done():
                task.cancel()

    async def _put(self, tp: TP, batch: Batch) -> None:
        await self._flow.wait()
        if tp in self._queues:
            await self._queues[tp].put(batch)

    def is_program_fault(self) -> bool:
        """Whether it ended with an error that must never happen."""
        return self.failure is not None and not isinstance(self.failure, ExpectedError)
