"""A backlog is read in the order of its append times; nothing waits for long, and nothing is left out."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.fetcher import Fetcher
from faust.types.tuples import TP
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import hotpath
from streams.kafka.reading_order import MOST_FETCH_S, MOST_WAIT_S, RECENT_MS, OnTheirWay, Patience, reading_order
from streams.kafka.transport import _ConsumerInLoop
from streams.kafka.whole_batches import _LEAST_RECORDS
from tests.engine.test_whole_batches import position, result_of
from tests.support.batches import Sent, batch

needs_extension = pytest.mark.skipif(
    hotpath.compiled_records is None, reason="no extension was built (deploy/test builds it)"
)
NOW_MS = 1_728_300_000_000
places = st.tuples(st.sampled_from(("orders", "more-orders", "deliveries")), st.integers(0, 3))


@given(st.dictionaries(places, st.integers(NOW_MS - 3 * RECENT_MS, NOW_MS + 10)), st.integers(1, 4))
def test_what_comes_first_is_read_up_to_what_waits(heads_ms: dict[tuple[str, int], int], homes: int) -> None:
    order = reading_order(heads_ms, homes, NOW_MS)
    for home in range(homes):
        group = {place: head for place, head in heads_ms.items() if place[1] % homes == home}
        later = group.keys() & order.later
        if group:
            # Something is always read, so that nothing waits for ever.
            assert min(group, key=group.__getitem__) not in later
        for place, head_ms in group.items():
            is_recent = head_ms >= NOW_MS - RECENT_MS
            assert (place in later) is (not is_recent and head_ms > min(group.values()))
            limit_ms = min((group[other] for other in later), default=None)
            assert order.until_ms.get(place) == (None if place in later else limit_ms)


def test_no_partition_waits_for_ever_whatever_times_another_ones_records_have() -> None:
    heads_ms = {("orders", 0): 5, ("deliveries", 0): NOW_MS - 10 * RECENT_MS, ("more-orders", 0): NOW_MS}
    patience = Patience()
    order = reading_order(heads_ms, 1, NOW_MS)
    assert order.later == {("deliveries", 0)}
    assert patience.is_over_for(order.later, 100.0) == frozenset()
    assert patience.is_over_for(order.later, 100.0 + MOST_WAIT_S - 1) == frozenset()
    impatient = patience.is_over_for(order.later, 100.0 + MOST_WAIT_S)
    assert reading_order(heads_ms, 1, NOW_MS, impatient).later == frozenset()
    # While it is behind, the others are read without waiting for it; once it is not, they wait again.
    assert patience.is_over_for(order.later, 100.0 + MOST_WAIT_S + 1) == impatient
    assert patience.is_over_for((), 100.0 + MOST_WAIT_S + 2) == frozenset()
    assert patience.is_over_for(order.later, 100.0 + MOST_WAIT_S + 3) == frozenset()


def test_partitions_of_different_ledger_partitions_do_not_wait_for_each_other() -> None:
    assert reading_order({("orders", 0): 5, ("deliveries", 1): 7}, 4, NOW_MS) == ({}, frozenset())
    order = reading_order({("orders", 0): 5, ("deliveries", 4): 7}, 4, NOW_MS)
    assert order == ({("orders", 0): 7}, frozenset([("deliveries", 4)]))


def test_what_is_still_being_fetched_is_not_before_what_was_seen_last() -> None:
    here, missing = ("orders", 0), ("deliveries", 0)
    on_their_way = OnTheirWay()
    assert on_their_way.heads_ms({missing: 7}, [], 100.0) == {}
    assert on_their_way.heads_ms({here: 9}, [missing], 101.0) == {missing: 7}
    assert reading_order({here: 9, missing: 7}, 1, NOW_MS).later == {here}
    # Nothing was seen of one that was never here.
    assert on_their_way.heads_ms({here: 9}, [missing, ("new", 0)], 101.5) == {missing: 7, ("new", 0): 0}
    # It is not waited for any longer, until something has come.
    assert on_their_way.heads_ms({here: 9}, [missing], 101.0 + MOST_FETCH_S) == {}
    assert on_their_way.heads_ms({missing: 8}, [], 103.0) == {}
    assert on_their_way.heads_ms({here: 9}, [missing], 104.0) == {missing: 8}


def backlog(first_ms: int, step_ms: int, batches: int, size: int, end: int) -> bytes:
    """Batches appended one after another; the last one may be cut off."""
    data = b""
    for number in range(batches):
        sent = [Sent(place, b"%d" % number, b"v") for place in range(size)]
        data += batch(sent, number * size, appended_ms=first_ms + number * step_ms).data
    return data[:end] if end else data


def reader_of(results: dict[TP, Any], ends: dict[TP, int] | None = None) -> tuple[Any, Any]:
    """The reading order, and a consumer with fetched records; all partitions are sources of one home."""
    subscriptions = SimpleNamespace(reassignment_in_progress=False, is_assigned=lambda _tp: True)
    fetcher = SimpleNamespace(
        _records=dict(results), _subscriptions=subscriptions, _notify=lambda _: None, _wait_consume_future=None
    )
    context = SimpleNamespace(
        source_topics=SimpleNamespace(numbers={tp.topic for tp in (*results, *(ends or ()))}),
        settings=SimpleNamespace(partitions=1),
        now_us=lambda: NOW_MS * 1000,
    )
    thread: Any = object.__new__(_ConsumerInLoop)
    thread._patience, thread._on_their_way = Patience(), OnTheirWay()
    # As far as the broker has told the ends of partitions.
    states = {tp: SimpleNamespace(position=0, has_valid_position=True, lso=end) for tp, end in (ends or {}).items()}
    assignment = SimpleNamespace(tps=states, state_value=states.get)
    subscription = SimpleNamespace(subscription=SimpleNamespace(assignment=assignment))
    thread._ensure_consumer = lambda: SimpleNamespace(_subscription=subscription)
    thread.consumer = SimpleNamespace(app=SimpleNamespace(context=context))
    return thread, SimpleNamespace(_fetcher=fetcher)


@needs_extension
def test_the_reader_waits_no_longer_than_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = TP("orders", 0), TP("deliveries", 0)
    thread, consumer = reader_of({tp: result_of(tp, backlog(at, 1, 3, 2, 0), 0) for tp, at in ((old, 5), (new, 99))})
    now_s = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    assert thread._put_in_order(consumer, {old, new}) == {new}
    now_s += MOST_WAIT_S - 1
    assert thread._put_in_order(consumer, {old, new}) == {new}
    now_s += 1
    assert thread._put_in_order(consumer, {old, new}) == frozenset()


@needs_extension
def test_the_reader_waits_for_what_is_being_fetched_but_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    here, missing, read = TP("orders", 0), TP("deliveries", 0), TP("more-orders", 0)
    ends = {here: 6, missing: 3, read: 0}
    thread, consumer = reader_of({here: result_of(here, backlog(99, 1, 3, 2, 0), 0)}, ends)
    now_s = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    assert thread._put_in_order(consumer, {here, missing, read}) == {here}
    now_s += MOST_FETCH_S
    assert thread._put_in_order(consumer, {here, missing, read}) == frozenset()


@needs_extension
@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 20), st.integers(1, 5), st.sampled_from((1, 3, 300, 600))),
        min_size=2,
        max_size=4,
    ),
    st.integers(100, 2000),
)
async def test_all_of_a_backlog_is_read_and_none_far_ahead_of_another(
    parts: list[tuple[int, int, int, int]], most: int
) -> None:
    names = {f"topic-{number}": number for number in range(len(parts))}
    results = {}
    for name, (first_ms, step_ms, batches, size) in zip(names, parts, strict=True):
        tp = TP(name, 0)
        results[tp] = result_of(tp, backlog(first_ms, step_ms, batches, size, 0), 0)
    active = set(results)
    thread, consumer = reader_of(results)
    fetcher = consumer._fetcher
    read: list[tuple[str, int, int]] = []
    for _ in range(1000):
        heads = {tp: found._partition_records.head_ms for tp, found in fetcher._records.items()}
        later = thread._put_in_order(consumer, active)
        assert not (heads.keys() and later >= heads.keys())
        found = await Fetcher.fetched_records(fetcher, active - later, timeout=0, max_records=most)
        for tp, records in found.items():
            assert tp not in later
            beyond = [each for each in records if any(each.timestamp > heads[other] for other in later)]
            # Small batches are taken together, and never cut.
            assert len(beyond) <= _LEAST_RECORDS + 600
            read += [(tp.topic, each.offset, each.timestamp) for each in records]
        if not fetcher._records:
            break
    assert sorted((topic, offset) for topic, offset, _ in read) == sorted(
        (name, offset)
        for name, (_, _, batches, size) in zip(names, parts, strict=True)
        for offset in range(batches * size)
    )
    assert all(
        position(found) == batches * size for found, (_, _, batches, size) in zip(results.values(), parts, strict=True)
    )
