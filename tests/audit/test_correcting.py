"""`milestones correct` without Kafka: which event is meant, what its correction consists of, and what that would change."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from schemas.codec import decode_batch, decode_row
from schemas.facts import DELIVERIES, ORDERS, Fact
from schemas.instants import micros_of, parse_instant
from schemas.rows import RowKey
from streams.audit.consequences import ScopeState, consequences
from streams.audit.correcting import FoundOrders, Judged, OrderEvents, choose, placed, vin_of
from streams.audit.judging import read_order
from streams.audit.sums import Business
from streams.errors import ExpectedError
from streams.operations.corrections import Corrected, Correction, Note, last_correction, moved_time, taken_back
from streams.settings import Settings
from streams.settings_sections import RuleSettings
from tests.contract.document import codes, rows_of

if TYPE_CHECKING:
    from collections.abc import Sequence

VIN, OTHER_VIN = "LNBSU7A10R1000001", "LNBSU7A10R1000002"
RULE = RuleSettings(name="daily-3", metric="deliveries", window="day", scope=("model",), reaches=3)
SETTINGS = Settings(rule=(RULE,))
BUSINESS = Business(SETTINGS)
NOTE = Note("Li Wei", "by mistake", micros_of(parse_instant("2024-11-01T00:00:00Z")))


@dataclass
class Record:
    """A record as the log returns it."""

    topic: str
    key: bytes
    value: bytes
    offset: int
    partition: int = 0
    timestamp: int = 1_900_000_000_000
    timestamp_type: int = 1
    headers: tuple[tuple[str, bytes], ...] = ()


def event(kind: str, identity: str, at: str, order: str = "SO-1", **data: Any) -> dict[str, Any]:
    time = f"2024-10-{at}T10:00:00+08:00"
    given = {"order_id": order, **data}
    return {"specversion": "1.0", "id": identity, "source": "/s", "type": kind, "time": time, "data": given}


def was_placed(at: str = "01", identity: str = "p") -> dict[str, Any]:
    return event("order.placed.v1", identity, at, model="SU7", variant="Max", channel="web")


def was_delivered(at: str = "05", identity: str = "d", vin: str = VIN, order: str = "SO-1") -> dict[str, Any]:
    return event("vehicle.delivered.v1", identity, at, order, vin=vin, model="SU7", region="CN-11")


def was_cancelled(at: str = "03") -> dict[str, Any]:
    return event("order.cancelled.v1", "c", at)


def taken(events: Sequence[dict[str, Any]], at: int = 0) -> list[Corrected]:
    """The events as a worker decodes them, appended in this order."""
    found = []
    for offset, one in enumerate(events, at):
        topic = ORDERS if one["type"].startswith("order.") else DELIVERIES
        name = ("vehicle.orders.v1", "vehicle.deliveries.v1")[topic]
        record = Record(name, one["data"]["order_id"].encode(), json.dumps(one).encode(), offset)
        record.timestamp += offset
        (fact,) = decode_batch([record], topic=topic, future_limit_us=0)
        assert isinstance(fact, Fact), fact
        found.append(Corrected(fact, record))
    return found


def found(events: Sequence[Corrected], text: str = "SO-1") -> FoundOrders:
    orders: dict[str, OrderEvents] = {}
    for order_id in {given.event.order_id for given in events}:
        mine = {(given.event.source, given.event.id): given for given in events if given.event.order_id == order_id}
        effects = read_order([given.event for given in mine.values()]).effects
        judged = [Judged(fact, mine[fact.source, fact.id].record, effect) for fact, effect in effects]
        orders[order_id] = OrderEvents(order_id, judged)
    return FoundOrders(text, vin_of(text), orders, {("vehicle.orders.v1", 0): 0})


def correction(events: Sequence[Corrected], action: str = "void", *about: str) -> Correction:
    return Correction(action, "SO-1", [(given.event.source, given.event.id) for given in events], NOTE, about)


ORDER = (was_placed(), was_delivered())
TWICE = (was_placed(), was_delivered(), was_delivered("06", "d2", OTHER_VIN))
BACK = (was_delivered(), event("delivery.reversed.v1", "r", "09", vin=VIN), was_delivered("20", "d2", OTHER_VIN))
TWO_ORDERS = (was_delivered(), was_delivered("07", "d2", order="SO-2"))


@pytest.mark.parametrize(
    ("events", "text", "options", "expected"),
    [
        (ORDER, VIN, {}, "d"),
        (ORDER, "SO-1", {"moves": True}, "d"),
        (ORDER, "SO-1", {"what": "order"}, "p"),
        (ORDER, VIN, {"what": "order"}, "p"),
        (ORDER, "SO-1", {"event_id": "p"}, "p"),
        ((was_placed(),), "SO-1", {}, "p"),
        ((was_placed(),), "SO-1", {"moves": True}, "p"),
        (TWICE, OTHER_VIN, {"event_id": "d2"}, "d2"),
        (BACK, "SO-1", {"moves": True}, "d2"),
        (TWO_ORDERS, "SO-2", {}, "d2"),
    ],
)
def test_an_event_is_meant_by_what_names_it(
    events: Sequence[dict[str, Any]], text: str, options: dict[str, Any], expected: str
) -> None:
    given = found([one for one in taken(events) if one.event.order_id == text or vin_of(text)], text)
    arguments: dict[str, Any] = {"moves": False, "what": None, "event_id": None} | options
    assert choose(given, BUSINESS, **arguments).judged.event.id == expected


@pytest.mark.parametrize(
    ("events", "text", "options", "line"),
    [
        ((), "SO-9", {}, "there is no order SO-9 in vehicle.orders.v1"),
        ((), VIN, {}, f"there is no order {VIN}, and no delivery of such a VIN in vehicle.orders.v1"),
        (
            ORDER,
            "SO-1",
            {},
            "SO-1 is ambiguous: say which event with --event: p (order placed at 2024-10-01 10:00:00+08:00, order SO-1); d (del",
        ),
        (TWO_ORDERS, VIN, {}, f"{VIN} is ambiguous"),
        (TWICE, OTHER_VIN, {}, "no delivery that counts; there is order placed at 2024-10-01"),
        (ORDER, "SO-1", {"what": "cancellation"}, "no cancellation that counts"),
        (ORDER, "SO-1", {"event_id": "x"}, "no event with the id x"),
    ],
)
def test_what_is_not_clear_is_said_in_one_line(
    events: Sequence[dict[str, Any]], text: str, options: dict[str, Any], line: str
) -> None:
    arguments: dict[str, Any] = {"moves": False, "what": None, "event_id": None} | options
    with pytest.raises(ExpectedError) as raised:
        choose(found(taken(events), text), BUSINESS, **arguments)
    assert line in str(raised.value)
    assert raised.value.exit_code == 2


def test_an_order_of_dead_letters_only_is_not_unknown() -> None:
    order = OrderEvents("SO-1", [], ["invalid_field: data.model: nothing"])
    with pytest.raises(ExpectedError, match=r"none of its 1 records is a valid event, the first is invalid_field"):
        placed(FoundOrders("SO-1", "", {"SO-1": order}, {}), BUSINESS)


def test_a_cancelled_order_is_not_cancelled_again() -> None:
    with pytest.raises(ExpectedError, match="order SO-1 is cancelled already, at 2024-10-03 10:00:00"):
        placed(found(taken((was_placed(), was_cancelled()))), BUSINESS)


def test_a_voided_event_is_not_voided_again_and_a_void_not_at_all() -> None:
    events = taken(ORDER)
    made = correction(events)
    made.void(events[1])
    events += taken([draft.event for draft in made.drafts], 2)
    with pytest.raises(ExpectedError, match=f"is voided already, by /milestones/corrections {made.id}-1"):
        choose(found(events, VIN), BUSINESS, moves=False, what=None, event_id=None)
    with pytest.raises(ExpectedError, match="is a void, which cannot be voided"):
        choose(found(events), BUSINESS, moves=False, what=None, event_id=f"{made.id}-1")


def test_a_move_is_a_void_and_the_same_event_at_another_time() -> None:
    events = taken(ORDER)
    made = correction(events, "move")
    made.void(events[0])
    made.again(events[0], moved_time(events[0].event, "2024-10-02", "Asia/Shanghai"))
    void, again = (draft.event for draft in made.drafts)
    assert void["data"] == {"order_id": "SO-1", "voids": {"source": "/s", "id": "p"}, "reason": "by mistake"}
    assert again["time"] == "2024-10-02T10:00:00+08:00"
    assert again["data"] == {"order_id": "SO-1", "model": "SU7", "variant": "Max", "channel": "web"}
    assert [one["operator"] for one in (void, again)] == ["Li Wei", "Li Wei"]
    assert [draft.topic for draft in made.drafts] == ["vehicle.orders.v1"] * 2
    assert len(made.facts(SETTINGS)) == 2


def test_the_same_correction_of_the_same_order_has_the_same_ids_and_after_its_undoing_others() -> None:
    events = taken(ORDER)
    assert correction(events).id == correction(list(reversed(events))).id
    assert correction(events).id != correction(events, "void", "other").id
    made = correction(events)
    made.void(events[1])
    assert correction([*events, *taken([draft.event for draft in made.drafts], 2)]).id != made.id


def test_history_that_is_corrected_stays_history() -> None:
    (given,) = taken([was_placed() | {"backfill": True}])
    made = correction([given])
    made.again(given)
    assert made.drafts[0].event["backfill"] is True


@pytest.mark.parametrize(("correcting", "events"), rows_of("corrections"))
def test_a_correction_consists_of_the_events_that_the_contract_says(correcting: str, events: str) -> None:
    *undo, action = codes(correcting)
    given = taken(ORDER if action != "cancel" else ORDER[:1])
    made = correction(given, action)
    if action == "cancel":
        made.cancel(given[0], "2024-10-03T10:00:00+08:00")
    else:
        made.void(given[1])
    if action == "move":
        made.again(given[1], "2024-10-30T10:00:00+08:00")
    if undo:
        given += taken([draft.event for draft in made.drafts], len(given))
        made = correction(given, "undo")
        taken_back(given, made)
    wanted = [part.strip("`").replace("the type of the event", "vehicle.delivered.v1") for part in events.split(", ")]
    assert [draft.event["type"] for draft in made.drafts] == wanted
    assert len(made.facts(SETTINGS)) == len(wanted)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_undoing_takes_the_last_correction_back_and_undoing_that_brings_it_again(steps: int) -> None:
    events = taken(ORDER)
    before = {unit.event.time_us for unit in read_order([one.event for one in events]).units}
    made = correction(events, "move")
    made.void(events[1])
    made.again(events[1], "2024-10-30T10:00:00+08:00")
    events += taken([draft.event for draft in made.drafts], len(events))
    moved = {unit.event.time_us for unit in read_order([one.event for one in events]).units}
    for step in range(steps):
        undone = correction(events, "undo")
        taken_back(events, undone)
        assert last_correction(events)[0].event.id.startswith("undo" if step else "move")
        events += taken([draft.event for draft in undone.drafts], len(events))
    now = {unit.event.time_us for unit in read_order([one.event for one in events]).units}
    assert now == (before if steps % 2 else moved)


@pytest.mark.parametrize(
    ("to", "time"),
    [
        ("2024-10-30", "2024-10-30T10:00:00+08:00"),
        ("2024-10-30T00:30+08:00", "2024-10-30T00:30:00+08:00"),
        ("2024-10-30T00:30", "2024-10-30T00:30:00+08:00"),
        ("2024-10-30 14:00:01", "2024-10-30T14:00:01+08:00"),
        ("2024-10-29T16:30:00Z", "2024-10-30T00:30:00+08:00"),
    ],
)
def test_a_date_keeps_the_time_of_day_and_a_time_without_an_offset_is_business_time(to: str, time: str) -> None:
    (given,) = taken([was_placed()])
    assert moved_time(given.event, to, "Asia/Shanghai") == time


def test_a_date_is_a_business_date_where_days_begin_later() -> None:
    (given,) = taken([was_placed()])  # at 10:00
    assert moved_time(given.event, "2024-10-30", "Asia/Shanghai", 6) == "2024-10-30T10:00:00+08:00"
    assert moved_time(given.event, "2024-10-30", "Asia/Shanghai", 11) == "2024-10-31T10:00:00+08:00"


@pytest.mark.parametrize("to", ["soon", "2024-13-01", "20241030", "2024-10-30T24:00+08:00", "", "1999-01-01T00:00Z"])
def test_what_is_no_date_is_refused(to: str) -> None:
    (given,) = taken([was_placed()])
    with pytest.raises(ValueError, match="not a date"):
        moved_time(given.event, to, "Asia/Shanghai")


def test_rows_and_milestones_that_would_change_are_named() -> None:
    events = taken(ORDER)
    made = correction(events, "move")
    made.void(events[1])
    made.again(events[1], "2024-10-30T10:00:00+08:00")
    row = {
        "metric": "deliveries", "scope": "model=SU7", "period": "day:2024-10-05", "start": "2024-10-05",
        "end": "2024-10-05", "timezone": "Asia/Shanghai", "count": 3, "by_hour": [0] * 24, "targets": [],
        "status": "closed", "restated": 0, "version": 1, "updated_at": "2024-10-05T13:10:44.120Z",
    }  # fmt: skip
    five = decode_row(json.dumps(row).encode())
    thirty = decode_row(json.dumps(row | {"period": "day:2024-10-30", "count": 2, "status": "open"}).encode())
    state = ScopeState({RowKey.of(one): one for one in (five, thirty)}, ())
    would = consequences(SETTINGS, BUSINESS, [one.event for one in events], made.facts(SETTINGS), state)
    by_row = {str(change.key): change[1:] for change in would.rows}
    assert by_row["deliveries/model=SU7/day:2024-10-05"] == (3, 2, True)
    assert by_row["deliveries/model=SU7/day:2024-10-30"] == (2, 3, False)
    assert not any("month" in key for key in by_row)
    assert [(one.milestone_id, one.becomes) for one in would.milestones] == [
        ("deliveries/model=SU7/day:2024-10-30/reaches:3", "raised")
    ]
    assert ("d", "no effect: voided, it counts as never sent") in {
        (event.id, after) for event, _, after in would.effects
    }
