"""A standing alert about an event source that has sent events is found, by either clock, unless it cannot be known."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from schemas.facts import DELIVERIES, Kind
from schemas.outputs import ALERT_ENDED
from schemas.partitioner import homes
from streams.audit.report import Check
from streams.audit.silent_sources import SaidAt, SilentSources, surely_judged
from tests.bench.totals import marker_of
from tests.contract.goldens import milestone_sample
from tests.domain.facts import delivered, us

if TYPE_CHECKING:
    from schemas.facts import Fact
    from schemas.outputs import Marker, MilestoneEvent
    from streams.audit.sources import Stops

SOURCE = "/factories/bj1/dispatch"
TOPIC = "vehicle.deliveries.v1"
MINUTE_US = 60_000_000
SINCE = "2024-10-17T08:00:00+08:00"
PARTITIONS = 2


def alert() -> MilestoneEvent:
    """The source has been silent since eight."""
    event = milestone_sample("stalled")
    data = event.data.model_copy(
        update={"metric": "deliveries", "scope": "source=%2Ffactories%2Fbj1%2Fdispatch", "milestone_id": "m"}
    )
    return event.model_copy(update={"data": data, "subject": "m"})


def event(
    order: str = "SO-1", *, at: str = SINCE, offset: int = 5, partition: int | None = None, **more: object
) -> Fact:
    """A delivery of the source, on its home partition unless another is given."""
    (home,) = homes([order.encode()], PARTITIONS)
    made = delivered(us(at), order=order, source=SOURCE, offset=offset)
    return structs.replace(made, partition=home if partition is None else partition, **more)


def marker(position: int, clock_us: int, **more: object) -> Marker:
    positions = {TOPIC: (position, "")}
    return structs.replace(marker_of(clock_us), positions=positions, tells_hours=True, **more)


def compared(events: list[Fact], seen: Stops) -> list[str]:
    silent = SilentSources([alert()])
    assert silent
    silent.note(events)
    check = Check("alerts", 0, "")
    silent.compare_by_events(check, {alert().id: "m"}, seen, PARTITIONS)
    return [each.line for each in check.differences]


@pytest.mark.parametrize(
    ("events", "reach", "number"),
    [
        ([event()], 6, 1),
        ([event(), event("SO-2"), event("SO-3", at="2024-10-17T09:00:00+08:00")], 6, 3),
        ([event()], 5, 0),
        ([event(at="2024-10-17T07:59:00+08:00")], 6, 0),
        ([event(backfill=True)], 6, 0),
        ([event(kind=int(Kind.VOIDED))], 6, 0),
        ([event(source="/other")], 6, 0),
    ],
)
def test_events_that_were_surely_judged_contradict_an_alert(events: list[Fact], reach: int, number: int) -> None:
    seen = dict.fromkeys([(DELIVERIES, 0), (DELIVERIES, 1)], reach)
    told = f"{alert().id}: stands, and its source has sent {number} events dated since then"
    assert compared(events, seen) == [told] * bool(number)


def test_an_event_that_was_forwarded_and_an_alert_that_has_ended_are_not_compared() -> None:
    (home,) = homes([b"SO-1"], PARTITIONS)
    seen = dict.fromkeys([(DELIVERIES, 0), (DELIVERIES, 1)], 6)
    assert compared([event(partition=1 - home)], seen) == []
    assert len(compared([event(partition=home + PARTITIONS)], {**seen, (DELIVERIES, home + PARTITIONS): 6})) == 1
    ended = alert().model_copy(update={"type": ALERT_ENDED})
    assert not SilentSources([alert(), ended])


def judged(*said: tuple[int, int, int, Marker], known_us: int = 100, partitions: int = PARTITIONS) -> Stops:
    """By markers, each with its ledger partition, offset and append time."""
    found: dict[int, list[SaidAt]] = {}
    for shard, offset, appended_us, each in said:
        found.setdefault(shard, []).append(SaidAt(offset, appended_us, each))
    return surely_judged(found, partitions, {TOPIC: DELIVERIES}, known_us)


def test_what_was_applied_a_minute_before_the_clock_of_the_events_was_surely_judged() -> None:
    before, clock = 10 * MINUTE_US, 11 * MINUTE_US
    said = [(0, 1, 1, marker(7, before)), (1, 2, 2, marker(8, before)), (0, 3, 3, marker(9, clock))]
    assert judged(*said) == {(DELIVERIES, 0): 7}, (
        "when the other partition said so its clock may have been that of its next marker"
    )
    between = (0, 2, 2, marker(7, before))
    assert judged(said[0], (1, 1, 1, marker(8, before)), between, said[2]) == {(DELIVERIES, 0): 7, (DELIVERIES, 1): 8}
    assert judged((0, 1, 1, marker(7, before)), (1, 2, 2, marker(8, clock - 1)), (0, 3, 3, marker(9, clock))) == {}
    assert judged(*said, known_us=2) == {}, "the totals may not have summed the last one"


def test_nothing_is_known_while_a_partition_tells_no_hours_or_offsets_are_others() -> None:
    before, clock = 10 * MINUTE_US, 20 * MINUTE_US
    good = [
        (0, 1, 1, marker(7, before)),
        (1, 2, 2, marker(8, before)),
        (0, 3, 3, marker(9, clock)),
        (1, 4, 4, marker(8, before)),
    ]
    assert judged(*good)
    assert judged(*good, partitions=3) == {}
    for fault in ({"rebuilding": True}, {"moved": 5}, {"tells_hours": False}):
        for place in range(4):
            bad = [
                (*each[:3], structs.replace(each[3], **fault)) if n == place else each for n, each in enumerate(good)
            ]
            assert judged(*bad) == {}, fault


def test_by_the_clock_of_the_machines_what_was_there_some_minutes_ago_contradicts() -> None:
    silent = SilentSources([alert()])
    silent.note([event()])
    asked = []

    async def stops_at(instant_us: int) -> Stops:
        asked.append(instant_us)
        return dict.fromkeys([(DELIVERIES, 0), (DELIVERIES, 1)], 6)

    check = Check("alerts", 0, "")
    asyncio.run(silent.compare(check, {alert().id: "m"}, stops_at, us("2024-10-17T12:00:00+08:00")))
    assert len(check.differences) == 1
    assert asked == [us("2024-10-17T12:00:00+08:00")]
