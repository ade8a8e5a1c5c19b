"""Readers that must know everything do not miss what is committed behind another writer's open transaction."""

from __future__ import annotations

import asyncio
from datetime import date
from random import Random
from typing import TYPE_CHECKING, TypeVar

from schemas.codec import encode_day_count, encode_note
from schemas.facts import DayCount
from schemas.notes import Place, Quarantine
from schemas.outputs import ControlHeaders
from streams.kafka.forwarding import ORIGIN_HEADER
from streams.kafka.outbox import Outgoing
from streams.ledger.quarantine import read_orders
from streams.ledger.recovery import prepare
from tests.simulation.client import SimulatedLog
from tests.simulation.loop import Process, SimulatedLoop
from tests.simulation.plan import Plan
from tests.simulation.world import World
from tests.support.count_keys import encode_day_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from schemas.counts import DayKey
    from streams.kafka.log import LogReader

T = TypeVar("T")

NUMBER = 1
PLAN = Plan(0, partitions=2, loss_share=0.0, slow_share=0.0)


def read_behind(records: Callable[[World], Sequence[Outgoing]], read: Callable[[World, LogReader], Awaitable[T]]) -> T:
    """The records read that were committed while another writer's transaction was open in the same partition."""
    dice = Random(0)
    loop = SimulatedLoop(dice)

    async def main() -> T:
        world = World(PLAN, loop, dice)
        cluster, committed = world.cluster, records(world)
        hanging = [Outgoing(record.topic, record.partition, b"", b"") for record in committed]
        cluster.produce("milestones-ledger-0", await cluster.init("milestones-ledger-0"), hanging)
        epoch = await cluster.init("milestones-ledger-1")
        cluster.produce("milestones-ledger-1", epoch, committed)
        cluster.end("milestones-ledger-1", epoch, commit=True)
        async with SimulatedLog(world, Process("opening", loop)).reader() as reader:
            return await read(world, reader)

    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(main())
    finally:
        loop.bury()
        asyncio.set_event_loop(None)


def test_an_order_to_skip_of_another_command() -> None:
    place = Place("vehicle.orders.v1", NUMBER, 5)
    note = encode_note(Quarantine(reason="bad", by="somebody", at="2024-10-07T00:00:00Z"))
    found = read_behind(
        lambda world: [Outgoing(world.context.catalogue.quarantine.name, 0, place.key, note)],
        lambda world, reader: read_orders(world.context, reader),
    )
    assert [*found] == [place]


def test_what_a_ledger_has_published_itself_before_it_counts_everything_again() -> None:
    place, forwarded = Place("vehicle.orders.v1", NUMBER, 5), Place("vehicle.orders.v1", NUMBER, 6)
    day: DayKey = "deliveries", "all", date(2024, 10, 7)

    def published(world: World) -> list[Outgoing]:
        catalogue = world.context.catalogue
        letter = ControlHeaders.of(*place, "no JSON", "not_json")
        origin = ((ORIGIN_HEADER, b"0 %d %d 0" % forwarded[1:]),)
        counted = encode_day_count(DayCount(1, 0, [0] * 24, None))
        return [
            Outgoing(catalogue.dead_letters.name, NUMBER, b"", b"", letter),
            Outgoing(catalogue.counts.name, 0, encode_day_key(NUMBER, *day), counted),
            Outgoing(world.context.source_topics.rerouted, 0, b"", b"", origin),
        ]

    recovery = read_behind(published, lambda world, reader: prepare(world.context, NUMBER, {}, reader))
    assert (recovery.dead, recovery.forwarded, [key for key, _ in recovery.counts.items()]) == (
        {place},
        {forwarded: 0},
        [b"deliveries|all|2024-10-07"],
    )
