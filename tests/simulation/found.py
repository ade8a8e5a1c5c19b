"""Plans that have failed, each by the behaviour that it found missing; they hold since.

A plan stands for the schedule that failed only as long as neither the service nor the simulation changes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tests.simulation.world import Plan

#: Publishers without mischief and an undisturbed network: what is left of a plan that was shrunk.
QUIET = Plan(
    0,
    mischief=0.0,
    foreign=0.0,
    transactions=0.0,
    loss_share=0.0,
    slow_share=0.0,
    slow_leader_share=0.0,
    slow_hand_over_share=0.0,
)

FOUND: Final = {
    "days are published before their months": Plan(3, partitions=1, workers=1, records=15, part_rows=1, rebuilds=True),
    "retention removes records while they are counted again": Plan(
        1, rebuilds=True, faults=((2.0, "trim"), (4.0, "trim"), (5.0, "trim"))
    ),
    "the first leader that a worker meets is a new one": replace(
        QUIET,
        seed=3,
        several=True,
        partitions=1,
        workers=1,
        records=3,
        most_fetched=200,
        pace_s=0.05,
        faults=((0.576, "move leaders"), (1.438, "next day")),
        part_rows=40,
        snapshot_after=20,
        block_rows=10,
    ),
    "a multiple comes with its row": replace(
        QUIET,
        seed=4,
        partitions=1,
        orders=4,
        deliveries=2,
        workers=1,
        records=15,
        most_fetched=3,
        part_rows=1,
        snapshot_after=60,
    ),
    "a snapshot is not made of rows that differ from what is published": replace(
        QUIET,
        seed=2,
        partitions=1,
        orders=3,
        records=15,
        slow_hand_over_share=0.05,
        most_fetched=3,
        faults=((4.316, "forget"), (5.939, "quarantine")),
        part_rows=6,
        snapshot_after=20,
        block_rows=3,
        bounded=True,
        crash_at=115,
    ),
    "a record that was forwarded to be skipped has one dead letter after a rebuild without the order": replace(
        QUIET,
        seed=814,
        orders=3,
        several=True,
        workers=1,
        records=11,
        mischief=0.5,
        transactions=0.3,
        loss_share=0.005,
        slow_share=0.03,
        slow_hand_over_share=0.05,
        most_fetched=20,
        pace_s=0.6,
        faults=((5.943, "quarantine"), (5.965, "replay"), (8.6, "forget")),
        part_rows=6,
        block_rows=10,
        windows=("day", "month", "total"),
    ),
    "rows of events that retention has removed are withdrawn where the clock is that of the events": replace(
        QUIET,
        seed=1,
        partitions=1,
        workers=1,
        records=1,
        most_fetched=1,
        pace_s=0.6,
        clock="events",
        faults=((5.621, "trim"), (7.2, "forget")),
        part_rows=1,
        snapshot_after=20,
        block_rows=3,
        windows=("day", "week", "month"),
    ),
    "a retraction does not wait again when its writer dies before it is decided": replace(
        QUIET,
        seed=2005867,
        partitions=1,
        deliveries=5,
        records=20,
        mischief=0.5,
        foreign=0.1,
        loss_share=0.005,
        most_fetched=1,
        pace_s=0.6,
        faults=((2.856, "compact"), (3.588, "compact"), (6.532, "next day"), (13.0, "next day")),
        part_rows=1,
        snapshot_after=20,
        block_rows=3,
        held_s=6,
        windows=("day", "week", "month"),
    ),
    "what was forwarded and is applied again is not said to be skipped, where who forwards it is behind": replace(
        QUIET,
        partitions=3,
        deliveries=2,
        workers=1,
        records=8,
        slow_share=0.03,
        most_fetched=20,
        pace_s=0.05,
        targets=4,
        faults=((3.342, "forget"), (3.809, "quarantine")),
        snapshot_after=60,
        block_rows=10,
        windows=("day", "month"),
    ),
}
