"""A second installation with the same sources, and `milestones rebuild`, which recounts everything with it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self, cast

from aiokafka.errors import KafkaError

from streams.context import Context
from streams.errors import ExpectedError
from streams.listener import Listener
from streams.operations.rebuild import caught_up, prepare
from tests.simulation.client import SimulatedLog
from tests.simulation.group import Group
from tests.simulation.installation import as_seen_by_another
from tests.simulation.invariants import Invariants
from tests.simulation.loop import current_process
from tests.simulation.worker import Worker

if TYPE_CHECKING:
    from tests.simulation.world import World

PREFIX = "again."
_PAUSE_S = 1.0
_MOST_BOUNDARIES = 60


class Beside:
    """The other installation; it has its own topics, group and checks, and shares everything else with the live one."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.settings = world.settings.model_copy(update={"output_prefix": PREFIX})
        self.context = Context(self.settings)
        self.workers: dict[str, Worker] = {}
        world.cluster.add(self.context.catalogue)
        self.invariants = Invariants(cast("World", self))
        self.invariants.so_far.side_errors = world.invariants.so_far.side_errors
        self.invariants.so_far.asked = world.invariants.so_far.asked  # what the live one skips is skipped here too
        self.group = Group(cast("World", self))
        world.nobody.run(self.group.start)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.world, name)

    def context_of_command(self) -> Context:
        """The installation as seen by the command."""
        log = SimulatedLog(cast("World", self), current_process())
        return as_seen_by_another(self.context, now_us=self.world.now_us, other_log=log)

    async def rebuild(self) -> None:
        """Runs the command again and again until it completes: it continues what it finds."""
        world = self.world
        while True:
            ends = {tp: world.cluster.bounds(tp).end for tp in world.sources()}
            live, context = world.context_of(current_process()), self.context_of_command()
            try:
                await prepare(live, context, "somebody", Listener(), incomplete_by="somebody")
                async with caught_up(context, Counting(self), Listener(), incomplete_by="somebody") as records:
                    self.invariants.rebuilt.check_counted_again(ends, records)
                    world.seen["rebuilds"] += 1
                    world.note(f"counted again: {records} records")
                    return
            except (ExpectedError, KafkaError) as error:
                world.seen["rebuilds begun again"] += 1
                world.note(f"the rebuild ends: {error}")
                await asyncio.sleep(_PAUSE_S)

    def stop(self) -> None:
        """Ends what runs."""
        self.group.stop()
        self.kill()

    def kill(self) -> None:
        """Kills the worker."""
        for worker in self.workers.values():
            worker.process.kill()


class Counting:
    """The worker of a rebuild: it ends with the rebuild, or on its own at some write boundary."""

    def __init__(self, beside: Beside) -> None:
        self._beside = beside

    def __enter__(self) -> Self:
        beside = self._beside
        self._worker = beside.world.nobody.run(Worker, cast("World", beside), "rebuild")
        if beside.world.faults_on and beside.world.dice.random() < 0.5:
            self._worker.process.boundaries_left = beside.world.dice.randrange(1, _MOST_BOUNDARIES)
        beside.workers["rebuild"] = self._worker
        beside.group.join(self._worker)
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.process.kill()

    def check(self) -> None:
        """Does nothing while it runs."""
        if not self._worker.alive:
            raise ExpectedError("simulated: the worker has ended")
