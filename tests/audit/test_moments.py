"""`verify` on the unit that a milestone names: the right one, a wrong one, and one that was right when it was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from schemas.facts import DELIVERIES, Fact, Kind
from schemas.instants import micros_of, parse_instant
from schemas.memory import FoundAt
from schemas.outputs import Books, Cause, Marker, MilestoneData, MilestoneEvent
from streams.audit.forwarded import Arrival, Arrivals
from streams.audit.moments import UnitCheck, UnitsThen
from streams.audit.sums import Business, Tally
from streams.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.audit.report import Check

BUSINESS = Business(Settings(partitions=1, families=("deliveries",)))
NAMES = {1: "vehicle.deliveries.v1"}
TOPIC, REROUTED = "vehicle.deliveries.v1", "milestones.internal.rerouted"


def delivery(number: int, at: str, offset: int, partition: int = 0) -> Fact:
    """The delivery of the order with that number."""
    time_us = micros_of(parse_instant(at))
    dims = ("SU7", "", "", "")
    return Fact(
        Kind.DELIVERED, f"SO-{number}", "/bj1", f"e{number}", time_us, "LNBSU7A10R1000123", dims, "", None, False,
        DELIVERIES, partition, offset,
    )  # fmt: skip


def milestone(position: int, at: str, number: int, **more: Any) -> MilestoneEvent:
    """A milestone of SU7 deliveries in October, passed by the delivery of the order with that number."""
    data = MilestoneData(
        milestone_id=f"deliveries/model=SU7/month:2024-10/reaches:{position}", revision=1, kind="threshold", rule="r",
        metric="deliveries", scope="model=SU7", period="month:2024-10", start="2024-10-01", end="2024-10-31",
        timezone="Asia/Shanghai", operator="reaches", threshold=position, count=9, first=False, position=position,
        achieved_at=at, achieved_on=at[:10], detected_at="2024-10-07T11:42:09.310Z",
        cause=Cause(topic=TOPIC, partition=0, offset=0, event_source="/bj1", event_id=f"e{number}"),
    )  # fmt: skip
    data = data.model_copy(update=more)
    return MilestoneEvent(
        id=f"{data.milestone_id}@1", source="/m", type="milestone.raised.v1", time=data.detected_at,
        subject=data.milestone_id, data=data,
    )  # fmt: skip


def checked(
    events: Sequence[Fact], said: MilestoneEvent, taken: dict[str, int] | None = None, aliases: str = ""
) -> Check:
    """The differences if the ledger partition had read up to an offset when the unit was found; None: it is no longer known."""
    cuts = {said.data.milestone_id: FoundAt(1, {0: taken}, aliases)} if taken is not None else {}
    units = UnitCheck(BUSINESS, [said], cuts)
    tally = Tally(BUSINESS)
    for event in events:
        for unit in BUSINESS.read_order([event]).units:
            tally.add(unit)
            units.note(unit)
    nothing = Books(0, 0, 0, 0, 0)
    marker = Marker(
        positions={TOPIC: (99, ""), f"{TOPIC}:1": (99, ""), REROUTED: (99, "")}, books={TOPIC: nothing}, fingerprint="",
        rebuilding=False, caught_up=True, caught_up_us=0, clock_us=0, sources={}, backfilled=0, partitions=1,
    )  # fmt: skip
    claims = units.moved(tally.days(), {0: marker})
    if claims:
        arrivals = Arrivals({}, {})
        then = UnitsThen(units.check, BUSINESS, NAMES, claims, cuts, arrivals)
        for event in events:
            then.take(0, [event], {})
        then.compare()
    return units.check


EVENTS = [
    delivery(1, "2024-10-01T10:00:00+08:00", 0),
    delivery(2, "2024-10-03T10:00:00+08:00", 1),
    delivery(3, "2024-10-03T10:00:00+08:00", 2),
    delivery(4, "2024-10-05T10:00:00+08:00", 3),
]


def test_the_unit_that_passed_is_right_and_any_other_is_not() -> None:
    right = checked(EVENTS, milestone(3, "2024-10-03T10:00:00+08:00", 3), {TOPIC: 4})
    assert (right.compared, right.differences) == (1, [])
    wrong = checked(EVENTS, milestone(3, "2024-10-05T10:00:00+08:00", 4), {TOPIC: 4})
    assert wrong.compared == 1
    assert [difference.details["recounted"] for difference in wrong.differences] == [4]
    strange = checked(EVENTS, milestone(3, "2024-10-03T10:00:00+08:00", 9), {TOPIC: 4})
    assert [difference.details["recounted"] for difference in strange.differences] == [None]


def test_units_of_one_time_id_and_source_may_each_be_the_one_that_passed() -> None:
    """As where a system numbers the events of each order, and dates all by the day."""
    same = [
        msgspec.structs.replace(delivery(number, "2024-10-03T10:00:00+08:00", number), id="d", order_id=f"SO-{number}")
        for number in range(1, 6)
    ]
    events = [EVENTS[0], *same, EVENTS[3]]
    late = delivery(9, "2024-10-02T10:00:00+08:00", 9)
    for position, is_right in ((1, False), (2, True), (4, True), (6, True), (7, False)):
        said = milestone(
            position,
            "2024-10-03T10:00:00+08:00",
            3,
            cause=Cause(topic=TOPIC, partition=0, offset=3, event_source="/bj1", event_id="d"),
        )
        assert (checked(events, said, {TOPIC: 9}).differences == []) == is_right, position
        then = checked([*events, late], said, {TOPIC: 9})
        assert (then.compared, then.differences == []) == (1, is_right or position == 7), position


def test_a_unit_is_counted_from_an_opening_balance_on() -> None:
    right = checked(EVENTS, milestone(103, "2024-10-03T10:00:00+08:00", 3, balance=100), {TOPIC: 4})
    assert (right.compared, right.differences) == (1, [])
    wrong = checked(EVENTS, milestone(103, "2024-10-05T10:00:00+08:00", 4, balance=100), {TOPIC: 4})
    assert [difference.details["recounted"] for difference in wrong.differences] == [104]


def test_a_unit_that_later_events_have_moved_is_compared_with_what_there_was() -> None:
    late = delivery(5, "2024-10-02T10:00:00+08:00", 4)
    said = milestone(3, "2024-10-03T10:00:00+08:00", 3)
    assert checked([*EVENTS, late], said, {TOPIC: 4}).differences == []
    assert len(checked([*EVENTS, late], said, {TOPIC: 5}).differences) == 1
    assert len(checked([*EVENTS, late], milestone(3, "2024-10-05T10:00:00+08:00", 4), {TOPIC: 4}).differences) == 1


def test_what_nobody_remembers_or_the_recount_does_not_reach_is_not_compared() -> None:
    late = delivery(5, "2024-10-02T10:00:00+08:00", 4)
    said = milestone(3, "2024-10-03T10:00:00+08:00", 3)
    for taken in (None, {TOPIC: 100}):
        check = checked([*EVENTS, late], said, taken)
        assert (check.compared, check.differences) == (0, [])


def test_what_was_counted_by_other_names_is_not_compared() -> None:
    late = delivery(5, "2024-10-02T10:00:00+08:00", 4)
    said = milestone(3, "2024-10-03T10:00:00+08:00", 3)
    check = checked([*EVENTS, late], said, {TOPIC: 5}, "model:su7=SU7")
    assert (check.compared, check.differences) == (0, [])


def test_a_date_or_a_number_that_cannot_be_is_a_difference() -> None:
    for more in ({"achieved_on": "2024-10-04"}, {"threshold": 4}):
        check = checked(EVENTS, milestone(3, "2024-10-03T10:00:00+08:00", 3, **more), {TOPIC: 4})
        assert len(check.differences) == 1, more


def test_a_forwarded_record_was_there_from_its_arrival_on() -> None:
    business = Business(Settings(partitions=2, families=("deliveries",)))
    said = milestone(1, "2024-10-01T10:00:00+08:00", 1)
    cuts = {said.data.milestone_id: FoundAt(1, {0: {TOPIC: 0, REROUTED: 7}})}
    event = delivery(1, "2024-10-01T10:00:00+08:00", 50, partition=1)
    for arrived, is_there in ((6, True), (7, False)):
        units = UnitCheck(business, [said], cuts)
        arrivals = Arrivals({(DELIVERIES, 1, 50): Arrival(0, arrived, event)}, {})
        then = UnitsThen(units.check, business, NAMES, units._claims, cuts, arrivals)
        then.take(0, [event], {})
        then.compare()
        assert (not units.check.differences) is is_there


def test_history_before_there_was_a_position_is_left_alone() -> None:
    old = milestone(3, "2024-10-05T10:00:00+08:00", 4)
    old = old.model_copy(update={"data": old.data.model_copy(update={"position": None})})
    check = checked(EVENTS, old, {TOPIC: 4})
    assert (check.compared, check.differences) == (0, [])
