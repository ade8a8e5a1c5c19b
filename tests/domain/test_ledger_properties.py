"""Counts and violations are a function of the set of events, however they came, and they are correct."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.changelog import encode_entries
from schemas.facts import DELIVERIES, NO_DIMS, ORDERS, PRODUCTION, Fact, Kind, topic_number
from streams.domain import hotpath
from streams.domain import ledger as ledger_module
from streams.domain.counts.daycounts import GROUP_OF_METRIC, DayCounts
from streams.domain.ledger import Ledger
from streams.domain.orders.orders import judge
from streams.domain.orders.packing import unpack
from streams.domain.pauses import whole
from streams.domain.scopes.aliases import Alias, Aliases
from streams.domain.scopes.scopes import Scopes
from streams.domain.time.zone import BusinessZone
from tests.domain.facts import OTHER_VIN, SU7, VIN, YU7, chunks_of, orders_in, placed, read_counts, us

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.counts import CampaignHour, CountKey
    from streams.domain.orders.steps import PackedOrders

ZONE = "America/New_York"  # so that the days have 23, 24 and 25 hours
SCOPES = [["model"], ["model", "region"], []]
KEPT_ZONE = BusinessZone(ZONE)

#: Few instants, so that they collide; around midnight and the change of the clocks.
TIMES = [us("2024-11-03T03:59:59Z") + step * 1_800_000_000 for step in range(6)]
HAVE_VIN = (Kind.DELIVERED, Kind.REVERSED, Kind.PRODUCED, Kind.SCRAPPED)
HAVE_DIMS = (Kind.PLACED, Kind.DELIVERED, Kind.PRODUCED)
_TOPICS = {
    Kind.DELIVERED: DELIVERIES,
    Kind.REVERSED: DELIVERIES,
    Kind.PRODUCED: topic_number(PRODUCTION, 0),
    Kind.SCRAPPED: topic_number(PRODUCTION, 1),
}

#: Few orders, ids and sources, so that voids hit; each identity has one content, as there are no conflicts here.
identities = st.tuples(
    st.sampled_from(["SO-1", "SO-2", "SO-3"]), st.sampled_from(["/a", "/b"]), st.sampled_from("uvwxy")
)


@st.composite
def event_sets(draw: st.DrawFn, max_size: int = 14) -> list[Fact]:
    """Distinct events of a few orders."""
    return [draw(_facts(identity)) for identity in draw(st.lists(identities, unique=True, max_size=max_size))]


@st.composite
def _facts(draw: st.DrawFn, identity: tuple[str, str, str]) -> Fact:
    order_id, source, id_ = identity
    kind = draw(st.sampled_from(Kind))
    return Fact(
        int(kind),
        order_id,
        source,
        id_,
        draw(st.sampled_from(TIMES)),
        draw(st.sampled_from([VIN, VIN, OTHER_VIN])) if kind in HAVE_VIN else "",
        draw(st.sampled_from([SU7, YU7])) if kind in HAVE_DIMS else NO_DIMS,
        draw(st.sampled_from(["", "channel=app"])) if kind is Kind.PLACED else "",
        draw(st.tuples(st.sampled_from(["/a", "/b"]), st.sampled_from("uvwxy"))) if kind is Kind.VOIDED else None,
        draw(st.booleans()),
        _TOPICS.get(kind, ORDERS),
        draw(st.integers(0, 3)),
        draw(st.integers(0, 1000)),
    )


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[list[Fact], list[list[list[Fact]]]]:
    """A set of events, and one way for them to come: permuted, some twice, in steps of batches."""
    events = draw(event_sets())
    again = draw(st.lists(st.sampled_from(events), max_size=4)) if events else []
    order = draw(st.permutations([*events, *again]))
    cuts = sorted(draw(st.lists(st.integers(0, len(order)), max_size=6)))
    batches = [order[start:end] for start, end in pairwise([0, *cuts, len(order)])]
    drains = sorted(draw(st.lists(st.integers(0, len(batches)), max_size=4)))
    return events, [batches[start:end] for start, end in pairwise([0, *drains, len(batches)])]


def new_ledger() -> Ledger:
    return Ledger(KEPT_ZONE, Scopes(SCOPES))


def take(ledger: Ledger, steps: Sequence[Sequence[Sequence[Fact]]]) -> list[Any]:
    """Applies the batches of each step and drains; returns what the drains reported."""
    told = []
    for batches in steps:
        for batch in batches:
            assert ledger.apply(batch).refused == []
        told.append(ledger.drain())
    return told


Counted = dict[tuple[str, str, "date | CampaignHour"], tuple[int, int, list[int]]]


def counted(ledger: Ledger) -> Counted:
    return {key: (day.count, day.backfilled, day.by_hour) for key, day in ledger.counts().items() if day.count}


# A naive recount that shares nothing with the service: the contract's table as code.


def recount(events: Sequence[Fact]) -> tuple[Counted, dict[str, list[str]]]:
    """Counts, and the violating (kind, source, id) of each order."""
    counts: dict[tuple[str, str, date], list[tuple[int, bool]]] = {}
    violations = {}
    for order_id in {event.order_id for event in events}:
        units, wrong = recount_order([event for event in events if event.order_id == order_id])
        if wrong:
            violations[order_id] = wrong
        for metric, event, dims in units:
            moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=event.time_us)
            local = moment.astimezone(ZoneInfo(ZONE))
            model, _, _, region = dims
            scopes = ["all", f"model={model}"] + ([f"model={model},region={region}"] if region else [])
            for scope in scopes:
                counts.setdefault((metric, scope, local.date()), []).append((local.hour, event.backfill))
    return {key: _summed(hours) for key, hours in counts.items()}, violations


def _summed(units: list[tuple[int, bool]]) -> tuple[int, int, list[int]]:
    hours = Counter(hour for hour, _ in units)
    return len(units), sum(backfill for _, backfill in units), [hours[hour] for hour in range(24)]


def recount_order(events: Sequence[Fact]) -> tuple[list[Any], list[str]]:  # noqa: C901, PLR0912 - as the table is written
    """The units of one order as (metric, event, dims), and its violating events."""
    never_sent = {event.voids for event in events if event.kind == Kind.VOIDED}
    order = delivery = cancellation = built = None
    units: list[Any] = []
    wrong: list[str] = []
    for event in sorted(events, key=lambda event: (event.time_us, event.id, event.source)):
        me = (event.source, event.id)
        if event.kind == Kind.VOIDED:
            targets = [other for other in events if (other.source, other.id) == event.voids]
            if not targets or targets[0].kind == Kind.VOIDED:
                wrong.append(f"{event.source} {event.id}")
            continue
        if me in never_sent:
            continue
        effect = True
        if event.kind == Kind.PLACED:
            effect = order is None
            order = order or event
        elif event.kind == Kind.CANCELLED:
            effect = order is not None and cancellation is None and delivery is None
            cancellation = event if effect else cancellation
        elif event.kind == Kind.DELIVERED:
            if delivery is None:
                delivery = event
                units.append(("deliveries", event, event.dims))
                effect = order is not None and cancellation is None
            else:
                effect = False
        elif event.kind == Kind.PRODUCED:
            effect = built is None
            built = built or event
        elif event.kind == Kind.SCRAPPED:
            effect = built is not None
            if built is not None:
                units.append(("scrapped", event, built.dims))
            built = None
        elif delivery is not None and delivery.vin == event.vin:
            units = [unit for unit in units if unit[1] is not delivery]
            units.append(("reversals", event, delivery.dims))
            delivery = None
        else:
            effect = False
        if not effect:
            wrong.append(f"{event.source} {event.id}")
    if built is not None:
        units.append(("produced", built, built.dims))
    if order is not None:
        units.append(("orders_placed", order, order.dims))
        units.append(
            ("orders", order, order.dims) if cancellation is None else ("cancellations", cancellation, order.dims)
        )
    return units, wrong


@settings(max_examples=200)
@given(arrivals())
def test_counts_and_violations_equal_a_naive_recount_however_the_events_arrive(
    arrival: tuple[list[Fact], list[list[list[Fact]]]],
) -> None:
    events, steps = arrival
    ledger = new_ledger()
    told = take(ledger, steps)
    counts, violations = recount(events)
    assert counted(ledger) == counts
    found = {order_id: [f"{of.source} {of.id}" for of in several] for order_id, several in ledger.violations().items()}
    assert found == violations
    # What the steps reported adds up to the same.
    heard_counts: dict[CountKey, Any] = {}
    heard_violations: dict[str, Any] = {}
    for changes in told:
        heard_counts.update(read_counts(changes.counts))
        heard_violations.update(changes.violations)
    assert heard_counts == ledger.counts()
    assert {order_id: several for order_id, several in heard_violations.items() if several} == ledger.violations()


@settings(max_examples=80)
@given(arrivals())
def test_a_ledger_restored_from_what_the_steps_told_is_equal(
    arrival: tuple[list[Fact], list[list[list[Fact]]]],
) -> None:
    events, steps = arrival
    ledger, restored = new_ledger(), new_ledger()
    told = take(ledger, steps)
    restored.restore([entry for changes in told for entry in changes.vocabulary], chunks_of(told))
    assert counted(restored) == counted(ledger)
    assert restored.violations() == ledger.violations()
    for name in ("clock_us", "last_by_source", "backfilled", "state_bytes"):
        assert getattr(restored, name) == getattr(ledger, name)
    assert restored.apply(events).duplicates == len(events)
    for key, day in restored.counts().items():
        latest = max(
            _units_of(events, key), key=lambda of: (of.time_us, of.id, of.source, of.topic, of.partition, of.offset)
        )
        assert day.latest is not None
        assert (day.latest.time_us, day.latest.id, day.latest.source) == (latest.time_us, latest.id, latest.source)


@settings(max_examples=80)
@given(arrivals(), st.data())
def test_a_ledger_that_follows_what_the_steps_told_is_equal_in_whatever_portions(
    arrival: tuple[list[Fact], list[list[list[Fact]]]], data: st.DataObject
) -> None:
    events, steps = arrival
    ledger, following = new_ledger(), new_ledger()
    told = take(ledger, steps)
    words = [entry for changes in told for entry in changes.vocabulary]
    chunks = chunks_of(told)[::-1]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(chunks)), min_size=1, max_size=3)))
    following.restore(words, chunks[: cuts[0]][::-1])
    for start, end in pairwise([*cuts, len(chunks)]):
        # Chunks may come again, as those that are written when others are merged.
        again = chunks[max(end - 1, 0) : end] if data.draw(st.booleans()) else []
        whole(following.following(words, [*chunks[start:end], *again]))
    assert counted(following) == counted(ledger)
    assert following.violations() == ledger.violations()
    for name in ("clock_us", "last_by_source", "backfilled", "state_bytes"):
        assert getattr(following, name) == getattr(ledger, name)
    assert following.drain().counts == {}, "what it has followed is nothing to report"
    assert following.apply(events).duplicates == len(events)


@pytest.mark.parametrize("chosen", sorted({"python", hotpath.HOT_PATH}))
@pytest.mark.parametrize(
    "chunk",
    [
        b"\x91\xa1",
        encode_entries([("SO-1", b"")]),
        encode_entries([("SO-1", b"0" * 60)]),
        encode_entries([("SO-2", b"")]),
        encode_entries([("SO-2", b"0" * 20)]),
    ],
)
def test_a_chunk_that_does_not_continue_what_is_known_is_refused(chunk: bytes, chosen: Any) -> None:
    hotpath.take(chosen)
    try:
        ledger = new_ledger()
        ledger.apply([placed("2024-11-03T10:00:00", order="SO-1")])
        ledger.drain()
        with pytest.raises(ValueError, match=r"changelog is damaged|in a later chunk"):
            whole(ledger.following([], [chunk]))
    finally:
        hotpath.take(hotpath.HOT_PATH)


@settings(max_examples=80)
@given(arrivals(), st.integers(1, 3), st.booleans())
def test_what_is_restored_is_counted_alike_in_whatever_portions_and_under_aliases_from_a_day_on(
    arrival: tuple[list[Fact], list[list[list[Fact]]]], portion: int, orders_known: bool
) -> None:
    _, steps = arrival
    aliases = Aliases([Alias("model", "YU7", "SU7", date(2024, 11, 3)), Alias("region", "CN-11", "BJ")])
    ledger, restored = (Ledger(KEPT_ZONE, Scopes(SCOPES, aliases=aliases), orders_known=orders_known) for _ in range(2))
    told = take(ledger, steps)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ledger_module, "_RESTORED_AT_ONCE", portion)
        restored.restore([entry for changes in told for entry in changes.vocabulary], chunks_of(told))
    assert counted(restored) == counted(ledger)
    assert restored.violations() == ledger.violations()
    for order_id in restored.order_ids():
        events = unpack(order_id, restored.blob(order_id), restored._vocabulary.words)
        for unit in judge(events, orders_known=orders_known).units:
            cell = KEPT_ZONE.cell_of(unit.cause.time_us)
            assert order_id in orders_in(restored, unit.metric, cell, cell)


@settings(max_examples=80)
@given(arrivals())
def test_where_no_orders_are_published_a_delivery_without_one_is_no_contradiction_and_nothing_else_changes(
    arrival: tuple[list[Fact], list[list[list[Fact]]]],
) -> None:
    _, steps = arrival
    known = new_ledger()
    partial, restored = (Ledger(KEPT_ZONE, Scopes(SCOPES), orders_known=False) for _ in range(2))
    take(known, steps)
    told = take(partial, steps)
    restored.restore([entry for changes in told for entry in changes.vocabulary], chunks_of(told))
    expected = {
        order_id: others
        for order_id, several in known.violations().items()
        if (others := tuple(one for one in several if one.kind != "delivered_without_order"))
    }
    for ledger in (partial, restored):
        assert counted(ledger) == counted(known)
        assert ledger.violations() == expected


def _units_of(events: Sequence[Fact], key: CountKey) -> list[Fact]:
    """The events whose units a day counts."""
    found = []
    for order_id in {event.order_id for event in events}:
        for metric, event, dims in recount_order([event for event in events if event.order_id == order_id])[0]:
            if (
                metric == key[0]
                and key[1] in Scopes(SCOPES).scopes_of(dims)
                and KEPT_ZONE.date_of(event.time_us) == key[2]
            ):
                found.append(event)
    return found


@settings(max_examples=60)
@given(arrivals(), st.randoms(use_true_random=False))
def test_the_sum_of_shards_is_the_ledger_that_has_all_orders(
    arrival: tuple[Any, list[list[list[Fact]]]], dice: Any
) -> None:
    _, steps = arrival
    home = {order_id: dice.randrange(3) for order_id in ("SO-1", "SO-2", "SO-3")}
    whole = new_ledger()
    take(whole, steps)
    total: Counted = {}
    violations: dict[str, Any] = {}
    for shard in range(3):
        ledger = new_ledger()
        take(ledger, [[[fact for fact in batch if home[fact.order_id] == shard] for batch in step] for step in steps])
        violations |= ledger.violations()
        for key, (count, backfilled, by_hour) in counted(ledger).items():
            before = total.get(key, (0, 0, [0] * 24))
            hours = [one + other for one, other in zip(before[2], by_hour, strict=True)]
            total[key] = (before[0] + count, before[1] + backfilled, hours)
    assert total == counted(whole)
    assert violations == whole.violations()


@settings(max_examples=200)
@given(arrivals())
def test_what_a_step_tells_is_the_difference_of_two_judgements_from_scratch(
    arrival: tuple[Any, list[list[list[Fact]]]],
) -> None:
    """The ledger's shortcuts for ordinary orders agree with judging every order from scratch, `latest` included."""
    _, steps = arrival
    ledger, plain = new_ledger(), _PlainLedger()
    for batches in steps:
        changes = take(ledger, [batches])[0]
        assert (changes.counts, changes.violations) == plain.step([fact for batch in batches for fact in batch])


class _PlainLedger:
    """The general way, for every event."""

    def __init__(self) -> None:
        self.stored: PackedOrders = hotpath.way.PackedOrders()
        self.days = DayCounts(KEPT_ZONE, Scopes(SCOPES), self.stored)
        self.orders: dict[str, dict[tuple[str, str], Fact]] = {}

    def step(self, facts: Sequence[Fact]) -> tuple[Any, dict[str, Any]]:
        before = {order_id: judge(list(events.values())) for order_id, events in self.orders.items()}
        for fact in facts:
            self.stored[fact.order_id] = b""
            self.orders.setdefault(fact.order_id, {}).setdefault((fact.source, fact.id), fact)
        violations = {}
        for order_id, events in self.orders.items():
            old, new = before.get(order_id, judge([])), judge(list(events.values()))
            if old.violations != new.violations:
                violations[order_id] = new.violations or None
            for unit in old.units:
                if unit not in new.units:
                    self.days.remove(GROUP_OF_METRIC[unit.metric], unit.dims, unit.cause)
            for unit in new.units:
                if unit not in old.units:
                    self.days.add(GROUP_OF_METRIC[unit.metric], unit.dims, unit.cause)
        return whole(self.days.ending_step()), violations


@settings(max_examples=100)
@given(event_sets(), st.data())
def test_of_two_contents_under_one_identity_the_first_applied_counts(events: list[Fact], data: st.DataObject) -> None:
    ledger, expected = new_ledger(), new_ledger()
    take(expected, [[events]])
    take(ledger, [[events]])
    if events:
        one = data.draw(st.sampled_from(events))
        other = data.draw(_facts((one.order_id, one.source, one.id)))
        same = all(
            getattr(one, name) == getattr(other, name) for name in ("kind", "time_us", "vin", "dims", "extra", "voids")
        )
        outcome = ledger.apply([other])
        assert (outcome.duplicates, [reason for _, reason, _ in outcome.refused]) == (
            (1, []) if same else (0, ["id_conflict"])
        )
        assert ledger.drain().orders == {}
    assert ledger.counts() == expected.counts()
    assert ledger.violations() == expected.violations()
