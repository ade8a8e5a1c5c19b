"""How processes reach the cluster: requests take time, get lost before or after they arrive, or arrive when no one waits for them."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

from aiokafka.errors import KafkaConnectionError

from streams.kafka.log import Bounds, Partition
from streams.kafka.transactions import FencedError, InDoubtError
from tests.simulation.cluster import FencedRequestError, NotLeaderError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence

    from streams.kafka.log import LogReader, LogWriter
    from streams.kafka.outbox import Outgoing
    from tests.simulation.cluster import Cluster, Entry
    from tests.simulation.loop import Process
    from tests.simulation.world import World

_READ_MOST = 40
_LONG_POLL_S = 0.5
#: Share of lost requests for writers that the faults of a plan are aimed at.
_AIMED_LOSS_SHARE = 0.08


class Network:
    """The network between processes and the cluster."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._dice = world.dice
        self._loop = world.loop
        self._slow_share, self._loss_share = world.plan.slow_share, world.plan.loss_share

    def travel(self) -> Awaitable[None]:
        """One way: usually takes a moment, sometimes seconds."""
        roll = self._dice.random()
        if roll < self._slow_share and self._world.faults_on:
            return self._loop.pause(self._dice.uniform(0.5, 6.0))
        return self._loop.pause(roll * 0.004)

    def is_lost(self, *, is_aimed_at: bool = False) -> bool:
        """Whether this message gets lost."""
        share = _AIMED_LOSS_SHARE if is_aimed_at and self._loss_share else self._loss_share
        return share > 0 and self._world.faults_on and self._dice.random() < share

    def later(self, fault: str, action: Callable[[], object]) -> None:
        """Delivers a request whose sender no longer waits, or is dead."""

        def arrive() -> None:
            self._world.coverage_of(fault)
            with contextlib.suppress(FencedRequestError, NotLeaderError):
                action()

        self._loop.call_later(self._dice.uniform(0.0, 12.0), arrive, context=self._world.nobody)


class SimulatedLog:
    """The log as seen by one process."""

    def __init__(self, world: World, process: Process) -> None:
        self._world = world
        self._process = process

    @contextlib.asynccontextmanager
    async def reader(self) -> AsyncIterator[LogReader]:
        """A reader, as a context manager."""
        await self._world.network.travel()
        if self._world.network.is_lost():
            raise KafkaConnectionError("simulated: no connection")
        readers = self._world.cluster.readers
        reader = _Reader(self._world)
        readers[reader] = self._process
        try:
            yield reader
        finally:
            del readers[reader]

    def writer(self, transactional_id: str) -> LogWriter:
        """A writer that has not been started."""
        return _Writer(self._world, self._process, transactional_id)


class _Reader:
    def __init__(self, world: World) -> None:
        self._world = world
        self._cluster: Cluster = world.cluster
        self._positions: dict[Partition, int] = {}

    async def read(
        self,
        partitions: Iterable[tuple[str, int]],
        *,
        since: Mapping[tuple[str, int], int] | None = None,
        complete: bool = False,
    ) -> AsyncIterator[Sequence[Any]]:
        tps = [Partition(*partition) for partition in partitions]
        await self._world.network.travel()
        await self._cluster.led(tps, caught_up=True)
        ends = {tp: self._cluster.high_water(tp) if complete else self._cluster.bounds(tp).end for tp in tps}
        self._positions = {tp: (since or {}).get(tp, self._cluster.bounds(tp).first) for tp in tps}
        while True:
            waiting = [tp for tp in tps if self._positions[tp] < ends[tp]]
            if not waiting:
                return
            await self._world.network.travel()
            if self._world.network.is_lost():
                raise KafkaConnectionError("simulated: connection lost while reading")
            await self._cluster.led(waiting, caught_up=True)
            moved = False
            for tp in waiting:
                most = self._world.dice.randint(1, _READ_MOST)
                before = self._positions[tp]
                records, self._positions[tp] = self._cluster.fetch(tp, before, most)
                moved = moved or self._positions[tp] > before
                if records:
                    yield records
            if not moved:  # the rest is behind an open transaction
                await self._cluster.change({*waiting}, _LONG_POLL_S)

    async def position(self, partition: tuple[str, int]) -> int:
        return self._positions[Partition(*partition)]

    async def bounds(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Bounds]:
        await self._world.network.travel()
        tps = [Partition(*tp) for tp in partitions]
        await self._cluster.led(tps, caught_up=True)  # a new leader does not give its end before it knows it
        return {tp: self._cluster.bounds(tp) for tp in tps}

    async def record_at(self, partition: tuple[str, int], offset: int) -> Entry | None:
        await self._world.network.travel()
        await self._cluster.led([Partition(*partition)], caught_up=True)
        records, _ = self._cluster.fetch(Partition(*partition), offset, 1)
        return records[0] if records and records[0].offset == offset else None

    async def partition_counts(self, topics: Iterable[str]) -> dict[str, int]:
        await self._world.network.travel()
        return {topic: self._cluster.partition_count(topic) for topic in topics}

    async def cluster_id(self) -> str:
        await self._world.network.travel()
        return "simulated"

    async def topic_ids(self, topics: Iterable[str]) -> dict[str, str]:
        return {topic: self._cluster.topic_id(topic) for topic in topics}


class _Writer:
    """A producer that requests the end of a transaction only once."""

    def __init__(self, world: World, process: Process, transactional_id: str) -> None:
        self._world = world
        self._process = process
        self.transactional_id = transactional_id
        self._role = transactional_id.rpartition("milestones-")[2].partition("-")[0]
        if process.name.startswith("quarantine"):
            self._role = "quarantine"  # it takes the ids of ledger partitions
        self._kind = "command" if process.is_command else self._role
        self._is_aimed_at = world.plan.aim == self._kind
        self._epoch: int | None = None
        self._failed = False

    async def start(self) -> None:
        network, cluster = self._world.network, self._world.cluster
        await self._at("before the takeover")
        await network.travel()
        if network.is_lost(is_aimed_at=self._is_aimed_at):
            raise KafkaConnectionError("simulated: InitProducerId lost")
        self._epoch = await cluster.init(self.transactional_id)
        self._world.took_over(self._role, self._epoch)
        await self._at("after the takeover")
        await network.travel()
        if network.is_lost(is_aimed_at=self._is_aimed_at):
            raise KafkaConnectionError("simulated: no answer to InitProducerId")

    async def commit(self, records: Collection[Outgoing]) -> None:
        if self._epoch is None or self._failed:
            raise InDoubtError("simulated: the producer is not started, or has failed")
        try:
            async with asyncio.timeout(self._world.settings.transaction_timeout_s):
                await self._commit(records)
        except FencedRequestError:
            self._failed = True
            raise FencedError("simulated: another producer has the transactional id") from None
        except TimeoutError:
            self._failed = True
            raise InDoubtError("simulated: the transaction took too long") from None
        except InDoubtError:
            self._failed = True
            raise

    async def _commit(self, records: Collection[Outgoing]) -> None:
        network, cluster, epoch = self._world.network, self._world.cluster, self._epoch
        assert epoch is not None
        meta = self._world.meta_of(self.transactional_id, self._process)
        await self._at("before the first record")
        await cluster.may_begin(self.transactional_id)
        for piece in self._pieces(records):
            await network.travel()
            if network.is_lost(is_aimed_at=self._is_aimed_at):
                self._world.happened("records lost")
                if self._world.dice.random() < 0.5:
                    self._world.seen["records that arrive late"] += 1
                    network.later(
                        "records arrive late", partial(cluster.produce, self.transactional_id, epoch, piece, meta)
                    )
                raise InDoubtError("simulated: records lost on their way")
            await cluster.led({(record.topic, record.partition) for record in piece})
            cluster.produce(self.transactional_id, epoch, piece, meta)
            await self._at("between records")
        await network.travel()
        if network.is_lost(is_aimed_at=self._is_aimed_at):
            self._world.happened("EndTxn lost")
            if self._world.dice.random() < 0.5:
                self._world.seen["EndTxn that arrives late"] += 1
                network.later("EndTxn arrives late", lambda: cluster.end(self.transactional_id, epoch, commit=True))
            raise InDoubtError("simulated: EndTxn lost on its way")
        await self._at("before the end")
        following = cluster.end(self.transactional_id, epoch, commit=True)
        await self._at("after the end")
        await network.travel()
        if network.is_lost(is_aimed_at=self._is_aimed_at):
            self._world.happened("answer to EndTxn lost")
            raise InDoubtError("simulated: no answer to EndTxn")
        self._epoch = following

    def _pieces(self, records: Collection[Outgoing]) -> list[list[Outgoing]]:
        """Batches by partition, in some order of the partitions."""
        by_partition: dict[tuple[str, int], list[Outgoing]] = {}
        for record in records:
            by_partition.setdefault((record.topic, record.partition), []).append(record)
        pieces = [by_partition[tp] for tp in sorted(by_partition)]
        self._world.dice.shuffle(pieces)
        # Several partitions are often in one request.
        while len(pieces) > 1 and self._world.dice.random() < 0.7:
            pieces[0:2] = [pieces[0] + pieces[1]]
        return pieces

    async def _at(self, boundary: str) -> None:
        if self._is_aimed_at:
            self._world.faults.reached(boundary)
        if self._world.is_killed_at(self._role, boundary, self._process):
            await asyncio.sleep(0)  # never comes back

    async def stop(self) -> None:
        self._failed = True
