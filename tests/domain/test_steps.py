"""The compiled steps of the ledger give the same bytes as those in Python."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.changelog import encode_entries
from schemas.codec import decode_events
from schemas.facts import DELIVERIES, METRICS, NO_DIMS, ORDERS, PRODUCTION, Fact, Kind, Rejection, topic_number
from schemas.hotpath import compiled_records
from schemas.questions import Question
from streams.domain import hotpath
from streams.domain.ledger import Ledger
from streams.domain.orders.packing import pack
from streams.domain.pauses import whole
from streams.domain.scopes.scopes import Scopes
from streams.domain.time.zone import BusinessZone
from streams.kafka.records import FetchedRecord
from tests.contract.builders import APPENDED_MS, document
from tests.domain.facts import SU7, VIN, YU7, orders_in, us
from tests.support.batches import Layout, Sent, batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.facts import Metric
    from schemas.outputs import HotPath

pytestmark = pytest.mark.skipif(bool(hotpath.WHY_PYTHON), reason=f"not compiled: {hotpath.WHY_PYTHON}")

#: Days of 23, 24 and 25 hours, and a quarter-hour within which the clocks change.
ZONE: Final = BusinessZone("Australia/Lord_Howe")
MOST_EVENTS: Final = 4
TIMES: Final = [us("2024-10-05T15:29:59Z") + step * 450_000_000 for step in range(8)]
CELL: Final = ZONE.cell_of(TIMES[0])
#: Common prefixes, other scripts, and texts too long for the compiled way.
IDS: Final = ["a", "ab", "b", "é", "红米", "x" * 256, "🚗" * 256, "\x7fa"]
EXTRAS: Final = ["", "app", "店", "e" * 1100]
TOPICS: Final = [
    ORDERS,
    DELIVERIES,
    topic_number(PRODUCTION, 0),
    topic_number(PRODUCTION, 63),
    topic_number(DELIVERIES, 63),
]

#: As they are read: only those that are of the kind void others.
facts: Final = st.builds(
    Fact,
    kind=st.sampled_from([int(kind) for kind in Kind] + [int(Kind.PLACED), int(Kind.DELIVERED)] * 3),
    order_id=st.sampled_from(["SO-1", "SO-2", "订单"]),
    source=st.sampled_from(["/a", "/b"]),
    id=st.sampled_from(IDS),
    time_us=st.sampled_from(TIMES),
    vin=st.sampled_from(["", VIN]),
    dims=st.sampled_from([NO_DIMS, SU7, YU7]),
    extra=st.sampled_from(EXTRAS),
    voids=st.sampled_from([None, None, ("/a", "a"), ("/b", "红米")]),
    backfill=st.booleans(),
    topic=st.sampled_from(TOPICS),
    partition=st.sampled_from([0, 2, 65_535]),
    offset=st.sampled_from([0, 48_211, 2**40, 2**63 - 1]),
).map(lambda fact: fact if fact.kind == Kind.VOIDED else msgspec.structs.replace(fact, voids=None))


def outcome(way: HotPath, batches: Sequence[Sequence[Fact]], *, orders_known: bool) -> list[Any]:
    """Everything observable of a ledger while it takes batches, in order."""
    hotpath.take(way)
    try:
        ledger = Ledger(ZONE, Scopes(), MOST_EVENTS, orders_known=orders_known)
        seen: list[Any] = []
        for number, batch in enumerate(batches):
            seen += [ledger.apply(batch), ledger.step_size]
            if number % 2:
                size = ledger.step_size
                changes = ledger.drain()
                assert len(changes.counts) + len(changes.violations) <= size.records
                assert ledger.step_size.records == 0
                seen += [list(changes.orders.items()), changes.vocabulary, list(changes.counts.items())]
                seen.append(list(changes.violations.items()))
            seen += [ledger.state_bytes, ledger.clock_us, list(ledger.last_by_source.items()), ledger.backfilled]
        words, steps = ledger._vocabulary, [encode_entries([(of, ledger.blob(of))]) for of in ledger.order_ids()]
        again = Ledger(ZONE, Scopes(), MOST_EVENTS, orders_known=orders_known)
        again.restore(enumerate(words.words), [*steps[::-1], *steps])
        seen += [list(again.order_ids()), again.counts(), again.violations(), again.last_by_source]
        seen += [again.state_bytes, again.clock_us, again.backfilled]
        seen += [sorted(orders_in(again, metric, CELL, CELL + 3)) for metric in METRICS]
        seen += [whole(each.answering(questions(metric))) for each in (ledger, again) for metric in METRICS]
    finally:
        hotpath.take(hotpath.HOT_PATH)
    return seen


def questions(metric: Metric) -> list[Question]:
    """About several scopes and the same hours."""
    return [
        Question(id=scope, metric=metric, scope=scope, first_day=CELL // 24, first_cell=CELL, last_cell=CELL + 3)
        for scope in ("all", "model=SU7", "model=unknown")
    ]


@settings(max_examples=max(200, settings().max_examples))
@given(st.lists(st.lists(facts, max_size=8), max_size=6), st.booleans())
def test_both_ways_store_refuse_and_count_alike(batches: list[list[Fact]], orders_known: bool) -> None:
    batches = [*batches, *batches[:1], []]  # with duplicates
    assert outcome("compiled", batches, orders_known=orders_known) == outcome(
        "python", batches, orders_known=orders_known
    )


def ordinary(**more: Any) -> Fact:
    fields: dict[str, Any] = {
        "kind": 1,
        "order_id": "SO-1",
        "source": "/a",
        "id": "1",
        "time_us": TIMES[0],
        "vin": "",
        "dims": SU7,
    }
    fields |= {"extra": "", "voids": None, "backfill": False, "topic": 0, "partition": 0, "offset": 0}
    return Fact(**(fields | more))


@pytest.mark.parametrize(
    "odd",
    [
        {"vin": "SHORT"},
        {"partition": 65_536},
        {"partition": -1},
        {"offset": -1},
        {"id": "x" * 70_000},
        {"id": "\ud800"},
        {"order_id": ["no text"]},
        {"source": ["no text"]},
    ],
    ids=str,
)
def test_what_the_contract_does_not_allow_raises_alike(odd: dict[str, Any]) -> None:
    raised = []
    for way in ("compiled", "python"):
        with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is compared
            outcome(way, [[ordinary(), ordinary(**odd)]], orders_known=True)
        raised.append(caught.type)
    assert raised[0] is raised[1]


def test_a_packed_event_of_a_topic_with_any_number_is_the_same() -> None:
    for topic in range(192):
        for way in ("compiled", "python"):
            hotpath.take(way)
            ledger = Ledger(ZONE, Scopes())
            ledger.apply([ordinary(), ordinary(order_id="SO-2", topic=topic, kind=7)])
            assert ledger.blob("SO-2") == pack(ordinary(order_id="SO-2", topic=topic, kind=7), ledger._vocabulary)
    hotpath.take(hotpath.HOT_PATH)


ORDINARY_EVENTS: Final[list[tuple[str, dict[str, Any]]]] = [
    ("order.placed.v1", {}),
    ("order.placed.v1", {"model": "YU7", "channel": "app"}),
    ("order.cancelled.v1", {"reason": "changed my mind"}),
    ("event.voided.v1", {"voids": {"source": "/s", "id": "1"}}),
    ("order.placed.v1", {"model": ""}),
]


def fetched(drawn: Sequence[tuple[int, int, int]]) -> Any:
    """Records of a topic of orders in the bytes of a batch: which event, of which order, with which id."""
    sent = []
    for place, (which, order, identity) in enumerate(drawn):
        kind, more = ORDINARY_EVENTS[which]
        event = document(kind) | {"id": str(identity)}
        event["data"] |= {"order_id": f"SO-{order}", **more}
        sent.append(Sent(place, f"SO-{order}".encode(), json.dumps(event).encode(), (), APPENDED_MS))
    found = compiled_records("topic", 2, FetchedRecord)
    body = batch(sent, 0).data[Layout.BODY_AT :]
    found.add(body, count=len(sent), base_offset=0, first_timestamp=0, append_timestamp=APPENDED_MS, since=0)
    return found


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=8), max_size=6
    )
)
def test_events_stored_as_they_were_packed_from_their_bytes_are_those_of_their_facts(
    drawn: list[list[tuple[int, int, int]]],
) -> None:
    batches = []
    for some in drawn:
        events, rejected = decode_events(fetched(some), topic=ORDERS, future_limit_us=0)
        valid: Any = events.picked([place for place in range(len(events)) if place not in rejected])
        facts: list[Any] = list(valid)
        assert list(valid[1:-1]) == facts[1:-1]
        assert [valid[place] for place in range(-len(facts), 0)] == facts
        assert [isinstance(each, Rejection) for each in events] == [place in rejected for place in range(len(events))]
        batches.append((valid, facts))
    packed = outcome("compiled", [valid for valid, _ in batches], orders_known=True)
    assert packed == outcome("compiled", [facts for _, facts in batches], orders_known=True)
    assert packed == outcome("python", [facts for _, facts in batches], orders_known=True)
