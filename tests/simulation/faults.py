"""The faults of a schedule, when they come, and the operators' commands that some of them end in."""

from __future__ import annotations

import asyncio
import contextlib
from random import Random
from typing import TYPE_CHECKING

from msgspec import structs

from schemas.changelog import STATE_KEY, VEHICLE_CHUNKS, is_chunk
from schemas.codec import decode_marker, encode_marker
from schemas.notes import Place, Quarantine
from streams.kafka.log import Partition
from streams.operations.dead_letters import Wanted
from streams.operations.gaps import accept_gap, find_gaps
from streams.operations.quarantine import lift, quarantine
from streams.operations.replay import Repair, replay
from tests.simulation.broken import BrokenError
from tests.simulation.coverage import BOUNDARIES
from tests.simulation.loop import Process, current_process
from tests.simulation.past import HOURS
from tests.simulation.plan import COMMANDS

if TYPE_CHECKING:
    from tests.simulation.worker import Worker
    from tests.simulation.world import World

_TRIES_TO_SKIP = 3
#: Share of deletions that delete what is known about judging deliveries, in schedules that judge them.
_EARLIER_SHARE = 0.4
#: How long a fault waits for the boundary that it is aimed at.
_AIM_S = 3.0
_ANOTHER_COMMITS = "another commits"
_ARMED_S = 0.1


class Faults:
    """Makes the faults of a world's plan."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._awaited = ""
        self._armed_until_s = 0.0
        self._is_reached = asyncio.Event()
        #: Running commands that order a record to be skipped.
        self._deciding: list[Process] = []
        self._judging = Random(f"{world.plan.seed} judging")

    async def make(self) -> None:
        """Makes them all; returns when the last command that one of them runs has ended."""
        lasting = []
        for at_s, fault in self._world.plan.faults:
            await asyncio.sleep(max(0.0, at_s - self._world.loop.time()))
            if self._world.plan.aim and fault not in COMMANDS:
                await self._boundary()
            self._world.note(f"fault: {fault}")
            self._world.seen[f"fault: {fault}"] += 1
            self._world.coverage_of(fault)
            coming = getattr(self, "_fault_" + fault.replace(" ", "_"))()
            if fault == "quarantine":  # others may come while its commands run
                lasting.append(self._world.loop.create_task(coming))
            else:
                await coming
        for task in lasting:
            await task
        await asyncio.sleep(0)

    async def _boundary(self) -> None:
        """Waits, not for long, until a writer of the aimed kind reaches a boundary of some kind.

        Or until another writer commits before this one does.
        """
        self._awaited = self._world.dice.choice((*BOUNDARIES, _ANOTHER_COMMITS, _ANOTHER_COMMITS))
        self._armed_until_s = 0.0
        self._is_reached.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_AIM_S):
                await self._is_reached.wait()

    def reached(self, boundary: str) -> None:
        """Notes that a writer of the aimed kind is at a boundary."""
        if boundary == self._awaited:
            self._is_reached.set()
        elif self._awaited == _ANOTHER_COMMITS:
            self._armed_until_s = 0.0 if boundary == "after the end" else self._world.loop.now_s + _ARMED_S

    def committed(self, kind: str) -> None:
        """Notes a commit of some kind of writer."""
        if self._armed_until_s > self._world.loop.now_s and kind != self._world.plan.aim:
            self._is_reached.set()

    def _anyone(self) -> Worker:
        return self._world.dice.choice([worker for _, worker in sorted(self._world.workers.items())])

    async def _fault_crash(self) -> None:
        worker = self._anyone()
        worker.tell_runners("killed")
        worker.process.kill()
        self._world.loop.call_later(self._world.dice.uniform(0.1, 15.0), self._world.heal)

    async def _fault_pause(self) -> None:
        worker = self._anyone()
        worker.tell_runners("paused")
        worker.process.pause()
        self._world.loop.call_later(self._world.dice.choice([0.5, 5.0, 14.0, 30.0]), self._wake, worker)

    def _wake(self, worker: Worker) -> None:
        if not worker.process.paused:
            return
        self._world.note(f"{worker.process} wakes up")
        self._world.coverage_of("wake up")
        worker.process.resume()

    async def _fault_rebalance(self) -> None:
        self._world.group.rebalance()

    async def _fault_join(self) -> None:
        if len(self._world.workers) < 4:
            self._world.start(f"w{len(self._world.workers)}")

    async def _fault_trim(self) -> None:
        """Retention, up to any offset; its operator looks at the gaps a while later."""
        tp = self._world.dice.choice(self._world.sources())
        self._world.cluster.trim(tp, self._world.dice.randint(0, self._world.cluster.high_water(tp)))
        # In time for the fault that waits for the command.
        after_s = self._world.dice.uniform(0.1, _AIM_S if self._world.plan.aim == "command" else 10.0)
        self._world.loop.call_later(after_s, self.look_at_gaps, context=self._world.nobody)

    def look_at_gaps(self) -> None:
        """Has the operator accept the gaps that there are."""
        self._world.command("gaps", self._accept_gaps())

    async def _accept_gaps(self) -> None:
        context = self._world.context_of(current_process())
        for gap in await find_gaps(context):
            if gap.state == "open":
                self._world.seen["gaps accepted"] += 1
                await accept_gap(context, gap.source, reason="retention", by="somebody", at="2024-10-07T00:00:00Z")

    async def _fault_grow(self) -> None:
        topic = self._world.dice.choice(self._world.context.source_topics.published)
        self._world.cluster.grow(topic, self._world.cluster.partition_count(topic) + self._world.dice.randrange(1, 4))
        self._world.loop.call_later(self._world.dice.uniform(0.0, 10.0), self.look)

    def look(self) -> None:
        """The groups' leaders check how many partitions there are."""
        self._world.group.look()
        if self._world.beside is not None:
            self._world.beside.group.look()

    async def _fault_move_leaders(self) -> None:
        """A broker stops: some partitions have no leader for a while, and then one that is briefly behind."""
        share, away_s = self._world.dice.choice([0.2, 0.5, 1.0]), self._world.dice.choice([0.05, 0.5, 3.0, 9.0])
        for tp in self._world.cluster.partitions():
            if self._world.dice.random() < share:
                self._world.cluster.move(tp, away_s=away_s, behind_s=self._world.dice.uniform(0.0, 0.9))

    async def _fault_compact(self) -> None:
        for tp in self._world.cluster.partitions():
            if self._world.dice.random() < 0.7:
                self._world.cluster.compact(tp)

    async def _fault_jump_ahead(self) -> None:
        # Where hours matter, by some of them.
        is_short = self._world.plan.past == HOURS
        choices = (3600, 7200, 10_800, 86_400) if is_short else (10, 7200, 86_400, 86_400)
        self._world.jump(self._world.dice.choice(choices))

    async def _fault_next_day(self) -> None:
        self._world.jump(86_400)

    async def _fault_jump_back(self) -> None:
        self._world.jump(-self._world.dice.choice([1, 30, 120]))

    async def _fault_replay(self) -> None:
        self._world.command("replay", self._replay(), most=8)

    async def _replay(self) -> None:
        await replay(self._world.context_of(current_process()), Wanted(), Repair(by="somebody"), lambda _: None)

    async def _fault_quarantine(self) -> None:
        """An operator orders a record to be skipped, mostly one just published, and sometimes takes that back.

        If it was too late, another record is tried.
        """
        before = self._world.seen["records to be skipped"]
        for _ in range(_TRIES_TO_SKIP):
            await self._skip_one()
            await self._world.loop.pause(0.5)
            if self._world.seen["records to be skipped"] > before:
                return

    async def _skip_one(self) -> None:
        ends = {tp: self._world.cluster.high_water(tp) for tp in self._world.sources()}
        for _ in range(100):
            await self._world.loop.pause(0.01)
            new = [tp for tp in self._world.sources() if self._world.cluster.high_water(tp) > ends.get(tp, 0)]
            if new:
                break
        tp = self._world.dice.choice(new or self._world.sources())
        found = [entry for entry in self._world.cluster.entries(tp) if not entry.is_marker]
        if found:
            entry = found[-1] if new else self._world.dice.choice(found)
            place = Place(entry.topic, entry.partition, entry.offset)
            process, _ = self._world.command("quarantine", self._quarantine(place), most=16)
            self._deciding.append(process)

    async def _quarantine(self, place: Place) -> None:
        context = self._world.context_of(current_process())
        self._world.invariants.accounts.asked_to_skip(place)
        await quarantine(context, place, Quarantine(reason="bad", by="somebody", at="2024-10-07T00:00:00Z"))
        self._world.seen["records to be skipped"] += 1
        self._world.note(f"{place} will be skipped")
        try:
            self._world.invariants.accounts.will_be_skipped(place)
        except BrokenError as error:
            self._world.fail(error)
        if self._world.dice.random() < 0.5:
            await self._world.loop.pause(self._world.dice.uniform(0.0, 0.5))
            self._world.invariants.accounts.asked_to_lift(place)
            await lift(context, place)
            self._world.seen["quarantines lifted"] += 1

    async def _fault_forget(self) -> None:
        """All processes stop, the internal topics or what is known about judging deliveries are deleted, all start again."""
        self._world.is_forgetting = True
        for process in (*(worker.process for worker in self._world.workers.values()), *self._deciding):
            process.kill()
        await asyncio.sleep(self._world.settings.transaction_timeout_s + 13.0)  # messages still under way arrive
        if self._world.plan.produces and self._judging.random() < _EARLIER_SHARE:
            self._forget_judging()
        else:
            self._forget_internals()
        self._world.is_forgetting = False
        self._world.heal()

    def _forget_judging(self) -> None:
        """Turns the states into those of a version that judged no deliveries, with other aliases, so that all is republished."""
        self._world.seen["deliveries judged for the first time"] += 1
        catalogue = self._world.context.catalogue
        self._world.cluster.delete(catalogue.told.name)
        for number in range(self._world.plan.partitions):
            at = Partition(catalogue.ledger.name, number)
            self._world.cluster.drop(at, lambda key: is_chunk(key, VEHICLE_CHUNKS))
            markers = [
                entry for entry in self._world.cluster.entries(at) if entry.is_visible and entry.key == STATE_KEY
            ]
            for last in markers[-1:]:
                marker = structs.replace(decode_marker(last.value or b""), told=None, aliases="others")
                self._world.cluster.append(at, STATE_KEY, encode_marker(marker), ())
        self._world.invariants.contradictions.forget_judging()

    def _forget_internals(self) -> None:
        catalogue = self._world.context.catalogue
        sides = (catalogue.sides,) if self._world.plan.totals > 1 else ()
        for topic in (catalogue.ledger, catalogue.counts, catalogue.totals, *sides):
            self._world.cluster.delete(topic.name)
        told = self._world.plan.produces and self._world.dice.random() < 0.5
        if told:
            self._world.cluster.delete(catalogue.told.name)
            self._world.seen["what was told deleted"] += 1
        self._world.invariants.forget_internals(told=told)
        if self._world.dice.random() < (0.8 if self._deciding else 0.2):
            self._world.cluster.delete(catalogue.quarantine.name)
            self._world.invariants.accounts.forget_decisions()
            self._world.seen["operators' decisions deleted"] += 1
