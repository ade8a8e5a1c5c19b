"""The consumer group: which member has which partitions, as members join, fall silent and come back."""

from __future__ import annotations

import asyncio
import contextlib
from random import Random
from typing import TYPE_CHECKING

from faust.types.tuples import TP

if TYPE_CHECKING:
    from tests.simulation.worker import Worker
    from tests.simulation.world import World

_HEARTBEAT_S = 2.0
#: Shares of the standby copies whose keepers get the partition, and that move without need.
_KEEPERS_SHARE, _MOVED_SHARE = 0.6, 0.1


class Group:
    """The coordinator of the group."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._members: dict[str, Worker] = {}
        self._silent_since: dict[str, float] = {}
        self._generation = 0
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        #: Partitions of each topic as last seen by the group's leader, which checks from time to time.
        self._known: dict[str, int] = {}
        self.rebalances = 0
        #: Ledger partition → who keeps a standby copy of it; thrown with dice of their own.
        self._keepers: dict[int, str] = {}
        self._dice = Random(f"{world.plan.seed} standbys")

    def start(self) -> None:
        """Starts coordinating."""
        self.look()
        self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        """Stops coordinating."""
        if self._task is not None:
            self._task.cancel()

    def join(self, worker: Worker) -> None:
        """Lets a worker join; one with the name of a previous member takes its place."""
        self._members[worker.instance] = worker
        self._silent_since.pop(worker.instance, None)
        self._wanted.set()

    def rebalance(self) -> None:
        """Triggers a rebalance."""
        self._wanted.set()

    def look(self) -> None:
        """The leader checks how many partitions there are."""
        topics = self._world.context.ledger_topics
        known = {topic: self._world.cluster.partition_count(topic) for topic in topics}
        if known != self._known:
            self._known = known
            self._wanted.set()

    async def _run(self) -> None:
        session_s = self._world.settings.session_timeout_s
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_HEARTBEAT_S):
                    await self._wanted.wait()
            for name, worker in sorted(self._world.workers.items()):
                if self._members.get(name) is not worker and worker.alive and not worker.process.paused:
                    self.join(worker)  # its heartbeat was refused
            for name, worker in list(self._members.items()):
                if worker.alive and not worker.process.paused:
                    self._silent_since.pop(name, None)
                    continue
                since_s = self._silent_since.setdefault(name, loop.time())
                if loop.time() - since_s >= session_s:
                    # Fenced from the group; if it wakes up it still believes in its assignment until its next heartbeat.
                    del self._members[name]
                    del self._silent_since[name]
                    self._world.expelled(worker)
                    self._wanted.set()
            if self._wanted.is_set():
                self._wanted.clear()
                await self._rebalance()

    async def _rebalance(self) -> None:
        if not self._members:
            return
        self.rebalances += 1
        self._generation += 1
        generation = self._generation
        members = dict(self._members)
        revoking = {name: worker.process.spawn(worker.on_revoked()) for name, worker in members.items()}
        await asyncio.wait(revoking.values(), timeout=self._world.settings.session_timeout_s)
        joined = [name for name, task in revoking.items() if task.done() and members[name] is self._members.get(name)]
        for name in set(members) - set(joined):
            if self._members.get(name) is members[name]:
                del self._members[name]
                self._silent_since.pop(name, None)
                self._world.expelled(members[name])
        if not joined:
            return
        joined.sort()
        self._world.dice.shuffle(joined)
        owners = self._owners(joined)
        self._place_copies(owners, joined)
        for name, held in self._assignment(owners, joined).items():
            worker = members[name]
            copies = {number for number, keeper in self._keepers.items() if keeper == name}
            worker.process.spawn(self._tell(worker, held, copies, generation))

    async def _tell(self, worker: Worker, held: set[TP], copies: set[int], generation: int) -> None:
        await self._world.network.travel()
        if self._generation == generation:
            await worker.on_assigned(held, copies, generation)

    def _owners(self, names: list[str]) -> list[str]:
        """The owner of each ledger partition, often the one who keeps a copy of it."""
        owners = [names[number % len(names)] for number in range(self._world.settings.partitions)]
        for number, keeper in self._keepers.items():
            if keeper in names and self._dice.random() < _KEEPERS_SHARE:
                owners[number] = keeper
        return owners

    def _place_copies(self, owners: list[str], names: list[str]) -> None:
        """Has copies kept by others, mostly by those who keep them already."""
        if not self._world.settings.standby_copies:
            return
        for number, owner in enumerate(owners):
            others = [name for name in names if name != owner]
            if self._keepers.get(number) not in others or self._dice.random() < _MOVED_SHARE:
                self._keepers[number] = self._dice.choice([*others, ""])

    def _assignment(self, owners: list[str], names: list[str]) -> dict[str, set[TP]]:
        """Assigns each ledger partition to its owner, and each totals partition to one member."""
        world, context = self._world, self._world.context
        held: dict[str, set[TP]] = {name: set() for name in names}
        for number, owner in enumerate(owners):
            held[owner] |= {
                TP(topic, of)
                for topic in context.ledger_topics
                for of in range(number, self._known[topic], world.settings.partitions)
            }
        for reads in context.read_by_totals:
            held[world.dice.choice(names)] |= {TP(*tp) for tp in reads}
        return held
