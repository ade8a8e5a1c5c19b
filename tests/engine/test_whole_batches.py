"""Batches kept as bytes return the same records as aiokafka, whatever they contain and wherever a fetch is cut."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.fetcher import FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords
from faust.types.tuples import TP
from hypothesis import given
from hypothesis import strategies as st

from schemas import fast, hotpath
from schemas.authority import MAX_RECORD_BYTES
from schemas.partitioner import homes
from streams.kafka.append_time import with_append_times
from streams.kafka.forwarding import ORIGIN_HEADER, Original, unwrap, unwrapped
from streams.kafka.records import FetchedRecord
from streams.kafka.transport import _fetched_record
from streams.kafka.whole_batches import WholeBatches, misplaced, take_whole
from tests.contract.builders import FUTURE_LIMIT_US, STRUCTURED, TOPICS, binary, plain_record, structured
from tests.support.batches import Layout, Sent, batch, checked, last_delta, marker

pytestmark = pytest.mark.skipif(
    hotpath.compiled_records is None, reason="no extension was built (deploy/test builds it)"
)

ONE = TP("orders", 3)
#: No compression, then each codec.
CODECS = (0, 1, 2, 3, 4)

small = st.binary(max_size=8)
records = st.builds(
    Sent,
    st.just(0),
    st.none() | small,
    st.none() | small | st.just(b"x" * 3000),
    st.lists(st.tuples(st.text(max_size=4), st.none() | small), max_size=3),
    st.integers(1_728_280_000_000, 1_728_290_000_000),
)


def numbered(sent: list[Sent], step: int = 1) -> list[Sent]:
    """Consecutive records, or with gaps that compaction has left."""
    return [each._replace(place=step * number) for number, each in enumerate(sent)]


@st.composite
def fetches(draw: st.DrawFn) -> tuple[bytes, int, list[tuple[int, int]]]:
    """A fetch: batches, the requested offset, and the aborted transactions."""
    base = start = draw(st.integers(0, 1000))
    data, aborted, running = b"", [], dict[int, int]()
    for _ in range(draw(st.integers(1, 6))):
        producer = draw(st.sampled_from((-1, -1, 5, 6)))
        if producer in running and draw(st.booleans()):
            commits = draw(st.booleans())
            if not commits:
                aborted.append((producer, running[producer]))
            del running[producer]
            made = marker(base, producer, commits=commits)
        else:
            if producer >= 0:
                running.setdefault(producer, base)
            made = batch(
                numbered(draw(st.lists(records, min_size=1, max_size=5)), draw(st.integers(1, 3))),
                base,
                codec=draw(st.sampled_from(CODECS)),
                producer=producer,
                appended_ms=draw(st.none() | st.integers(1_728_280_000_000, 1_728_290_000_000)),
                gap=draw(st.sampled_from((0, 0, 0, 2))),
            )
        data += made.data
        base = made.next + draw(st.sampled_from((0, 0, 3)))
    # A broker returns whole batches, starting with the one that contains the offset, and may cut off the last one.
    cut = draw(st.sampled_from((0, 0, 0, 1, 30, 70)))
    offset = draw(st.integers(start, start + last_delta(data)))
    return data[: len(data) - cut] if cut else data, offset, sorted(aborted, key=lambda each: each[1])


def result_of(tp: TP, data: bytes, offset: int, aborted: list[tuple[int, int]] | None = None) -> FetchResult:
    """The records of a fetch by the hot path."""
    own = _result(tp, data, offset, aborted or [])
    listed = own._partition_records._aborted_transactions
    take_whole(own, WholeBatches(tp.topic, tp.partition, data, offset, listed, hotpath.compiled_records))
    return own


def results(data: bytes, offset: int, aborted: list[tuple[int, int]]) -> tuple[FetchResult, FetchResult]:
    """The records of a fetch by aiokafka and by the hot path."""
    return _result(ONE, data, offset, aborted), result_of(ONE, data, offset, aborted)


def _result(tp: TP, data: bytes, offset: int, aborted: list[tuple[int, int]]) -> FetchResult:
    fetched = PartitionRecords(tp, MemoryRecords(data), aborted, offset, None, None, check_crcs=True, isolation_level=1)
    fetched._consumer_record = _fetched_record
    state = SimpleNamespace(paused=False, position=offset)
    state.consumed_to = lambda position: setattr(state, "position", position)
    assignment = SimpleNamespace(active=True, state_value=lambda _tp: state)
    return FetchResult(tp, assignment=assignment, partition_records=fetched, backoff=0)


def position(result: FetchResult) -> int:
    return int(result._assignment.state_value(ONE).position)


@given(fetches(), st.lists(st.integers(1, 7), min_size=1, max_size=8))
def test_the_same_records_and_positions_as_of_aiokafka(
    fetch: tuple[bytes, int, list[tuple[int, int]]], sizes: list[int]
) -> None:
    data, offset, aborted = fetch
    if not WholeBatches.can_read(data):
        return
    theirs, ours = results(data, offset, aborted)
    for most in (*sizes, None):
        wanted, found = theirs.getall(most), ours.getall(most)
        assert list(found) == wanted
        assert [found[index] for index in range(-len(found), 0)] == wanted
        assert list(found[1:-1]) == wanted[1:-1]
        assert bool(found) is bool(wanted)
        assert list(with_append_times(found, 7, lambda _: False)) == with_append_times(wanted, 7, lambda _: False)
        assert position(ours) == position(theirs)
        assert ours.has_more() is theirs.has_more()
        if not theirs.has_more():
            break
    assert position(ours) == position(theirs)
    assert not ours.has_more()
    assert not theirs.has_more()


def test_blocks_of_snappy_that_are_damaged_are_a_damaged_batch() -> None:
    made = bytearray(batch(numbered([Sent(0, b"k", b"v" * 100)] * 5), 41, codec=2).data)
    size_at = Layout.BODY_AT + 16
    for size in (-4, -1, 1 << 30, int.from_bytes(made[size_at : size_at + 4]) - 1):
        damaged = bytearray(made)
        damaged[size_at : size_at + 4] = size.to_bytes(4, signed=True)
        with pytest.raises(CorruptRecordException, match="orders-3: the batch at offset 41: "):
            result_of(ONE, checked(damaged), 41).getall()
    cut = made[: size_at + 2]
    cut[8:12] = (len(cut) - 12).to_bytes(4)
    with pytest.raises(CorruptRecordException, match="a block of Snappy goes beyond its batch"):
        result_of(ONE, checked(cut), 41).getall()


@pytest.mark.parametrize("codec", CODECS[1:])
def test_what_cannot_be_decompressed_is_a_damaged_batch(codec: int) -> None:
    made = bytearray(batch(numbered([Sent(0, b"k", b"v" * 100)] * 5), 41, codec=codec).data)
    made[Layout.BODY_AT + 10 :] = bytes(len(made) - Layout.BODY_AT - 10)
    with pytest.raises(CorruptRecordException, match="orders-3: the batch at offset 41: "):
        result_of(ONE, checked(made), 41).getall()


keys = st.one_of(st.none(), st.binary(max_size=20), st.sampled_from((b" SO-1", b"SO-1 ", "SO-é".encode(), b"")))


@given(st.lists(keys, max_size=30), st.integers(1, 50))
def test_homes_are_those_of_the_keys(given_keys: list[bytes | None], partitions: int) -> None:
    made = batch(numbered([Sent(0, key, b"v") for key in given_keys or [b"k"]]), 0)
    found = results(made.data, 0, [])[1].getall()
    placed = list(enumerate(homes([record.key or b"" for record in found], partitions)))
    for number in range(partitions + 1):
        assert hotpath.strays(found, partitions, number) == [each for each in placed if each[1] != number]


origins = st.tuples(st.sampled_from((0, 1, 128)), st.integers(0, 5), st.integers(0, 2**50), st.integers(0, 2**40))


@given(st.lists(st.tuples(records, origins), min_size=1, max_size=8))
def test_forwarded_records_are_unwrapped_in_their_bytes_as_one_by_one(
    given_records: list[tuple[Sent, tuple[int, int, int, int]]],
) -> None:
    sent = [
        each._replace(headers=[*each.headers, (ORIGIN_HEADER, b"%d %d %d %d" % origin)])
        for each, origin in given_records
    ]
    half = len(sent) // 2
    made = [batch(numbered(part), base) for part, base in ((sent[:half], 0), (sent[half:], half)) if part]
    found = results(b"".join(each.data for each in made), 0, [])[1].getall()
    assert found.unwrapped(ORIGIN_HEADER.encode()) is not None
    seen = []
    for topic, some, partitions in unwrapped(found):
        assert [record.partition for record in some] == partitions
        seen += [(topic, Original(*[getattr(record, name) for name in Original._fields])) for record in some]
    assert seen == [unwrap(record) for record in found]


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("other", b"0 1 2 3")],
        [(ORIGIN_HEADER, b"0 1 2 3"), ("other", b"")],
        [(ORIGIN_HEADER, None)],
        [(ORIGIN_HEADER, b"0 1 2")],
        [(ORIGIN_HEADER, b"0 1 2 3 4")],
        [(ORIGIN_HEADER, b"0 1 -2 3")],
        [(ORIGIN_HEADER, b"0  1 2 3")],
        [(ORIGIN_HEADER, b"0 1 2 9999999999999999999")],
    ],
    ids=str,
)
def test_what_does_not_end_with_an_origin_is_left_to_python(headers: list[tuple[str, bytes | None]]) -> None:
    found = results(batch([Sent(0, b"k", b"v", headers)], 0).data, 0, [])[1].getall()
    assert found.unwrapped(ORIGIN_HEADER.encode()) is None


def events() -> list[Sent]:
    """Plain events in each mode, and others."""
    plain = [plain_record(kind) for kind in TOPICS] + [binary(kind) for kind in TOPICS]
    sent = [Sent(0, record.key, record.value, list(record.headers), record.timestamp) for record in plain]
    odd = plain_record("order.placed.v1")
    value = structured("order.placed.v1")
    sent += [
        Sent(0, odd.key, value, list(STRUCTURED), odd.timestamp),
        Sent(0, odd.key, value, [("trace", b"1"), *STRUCTURED], odd.timestamp),
        Sent(0, odd.key, value, [("trace", b"1" * 3000)], odd.timestamp),
        Sent(0, odd.key, value, [("trace", None)], odd.timestamp),
        Sent(0, odd.key, b" \n" + value + b" ", [], odd.timestamp),
        Sent(0, odd.key, value + b"}", [], odd.timestamp),
        Sent(0, None, value, [], odd.timestamp),
        Sent(0, odd.key, None, [], odd.timestamp),
        Sent(0, b"other", value, [], odd.timestamp),
        Sent(0, odd.key, value, [], 0),
        # Attributes in headers although the value is a whole event.
        Sent(0, odd.key, value, [("ce_backfill", b"true")], odd.timestamp),
        Sent(0, odd.key, value, [("ce_backfill", b"true"), *STRUCTURED], odd.timestamp),
        Sent(0, odd.key, value, [("ce_id", b"other"), ("content-type", b"application/json")], odd.timestamp),
    ]
    attributes = binary("order.placed.v1")
    odd_headers: list[Any] = [
        ("trace", b"1"),
        ("ce_specversion", b"1.0"),
        ("ce_subject", b""),
        ("ce_subject", None),
        ("ce_subject", b" SO-1"),
        ("ce_subject", "SO-é".encode()),
        ("ce_subject", b'"'),
        ("ce_subjéct", b"SO-1"),
        ("ce_data", b"1"),
        ("ce_datacontenttype", b"application/json"),
        ("CE_subject", b"SO-1"),
        ("ce-subject", b"SO-1"),
        ("ce_", b"1"),
        ("ce", b"1"),
        ("content-type", b"application/cloudevents+json"),
        ("ce_backfill", b"true"),
        ("ce_backfill", b"yes"),
    ]
    for header in odd_headers:
        headers = [*attributes.headers, header]
        sent += [
            Sent(0, attributes.key, attributes.value, headers, attributes.timestamp),
            Sent(0, attributes.key, attributes.value, headers[::-1], attributes.timestamp),
            Sent(0, attributes.key, attributes.value, [header], attributes.timestamp),
        ]
    return sent


@pytest.mark.parametrize("topic", [0, 1, 128])
def test_each_of_these_events_is_read_from_bytes_as_by_itself(topic: int) -> None:
    fetched = results(batch(numbered(events()), 0).data, 0, [])[1].getall()
    options: Any = {"topic": topic, "future_limit_us": FUTURE_LIMIT_US, "max_bytes": MAX_RECORD_BYTES}
    found = hotpath.compiled_facts(fetched, **options)
    one_by_one = hotpath.compiled_facts(list(fetched), **options)
    in_python = fast.plain_facts(fetched, **options)
    for record, *facts in zip(fetched, found, one_by_one, in_python, strict=True):
        assert facts[0] == facts[1] == facts[2], record
    assert any(found)
    assert not all(found)


@given(st.lists(st.sampled_from(events()), min_size=1, max_size=12), st.sampled_from((0, 1, 128)), st.data())
def test_facts_are_those_of_the_records_one_by_one(sent: list[Sent], topic: int, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(sent)))
    first, rest = sent[:cut], sent[cut:]
    made = [batch(numbered(part), base, codec=2) for part, base in ((first, 7), (rest, 7 + len(first))) if part]
    fetched = results(b"".join(each.data for each in made), 7, [])[1].getall()
    some = fetched[data.draw(st.integers(0, len(sent))) : data.draw(st.integers(0, len(sent)))]
    options: Any = {"topic": topic, "future_limit_us": FUTURE_LIMIT_US, "max_bytes": MAX_RECORD_BYTES}
    one_by_one = list(some)
    found = hotpath.compiled_facts(some, **options)
    assert found == hotpath.compiled_facts(one_by_one, **options)
    assert found == fast.plain_facts(some, **options)


def test_a_value_ends_where_its_record_does_also_if_the_next_one_would_complete_it() -> None:
    """The bytes after a value belong to another record."""
    value = structured("order.placed.v1")
    key = plain_record("order.placed.v1").key
    for at in range(len(value)):
        made = batch([Sent(0, key, value[:at]), Sent(1, key, value[at:])], 0)
        found = results(made.data, 0, [])[1].getall()
        options: Any = {"topic": 0, "future_limit_us": FUTURE_LIMIT_US, "max_bytes": MAX_RECORD_BYTES}
        assert hotpath.compiled_facts(found, **options) == hotpath.compiled_facts(list(found), **options)


@given(st.data())
def test_bytes_that_are_no_records_are_refused(data: st.DataObject) -> None:
    """Any bytes give records or an error, and nothing beyond them is read."""
    sent = data.draw(st.lists(records, min_size=1, max_size=4))
    good = batch(numbered(sent), 0).data
    body = bytearray(good[Layout.BODY_AT :])
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    count = data.draw(st.sampled_from((len(sent), len(sent) + 1, 0, -1, 1 << 30)))
    found = hotpath.compiled_records(ONE.topic, ONE.partition, FetchedRecord)
    try:
        found.add(bytes(body), count=count, base_offset=0, first_timestamp=0, append_timestamp=None, since=0)
    except (ValueError, OverflowError):
        return
    # Records before the requested offset are left out at the beginning of a batch.
    assert len(found) <= count
    assert not found or found[0].offset >= 0
    hotpath.compiled_facts(found, topic=0, future_limit_us=FUTURE_LIMIT_US, max_bytes=MAX_RECORD_BYTES)


def test_a_batch_that_cannot_be_read_is_told_with_its_offset() -> None:
    made = bytearray(batch([Sent(0, b"k", b"v")], 41).data)
    made[Layout.BODY_AT] = 0x7F
    with pytest.raises(CorruptRecordException, match="orders-3: the batch at offset 41: its checksum is wrong"):
        results(bytes(made), 41, [])[1].getall()
    with pytest.raises(CorruptRecordException, match="orders-3: the batch at offset 41: a record goes beyond"):
        results(checked(made), 41, [])[1].getall()


def base_offset_places(data: bytes) -> set[int]:
    """Where the base offsets of batches are. No checksum covers them: the broker sets them, and either reader takes any."""
    found: set[int] = set()
    at = 0
    while at + Layout.BODY_AT <= len(data):
        found.update(range(at, at + 8))
        at += 12 + int.from_bytes(data[at + 8 : at + 12], "big")
    return found | set(range(at, at + 8))


@given(fetches(), st.data())
def test_a_bit_that_has_changed_on_its_way_is_noticed_as_by_aiokafka(
    fetch: tuple[bytes, int, list[tuple[int, int]]], data: st.DataObject
) -> None:
    good, offset, aborted = fetch
    if len(good) <= Layout.ATTRIBUTES[1]:
        return
    # From the header of the first batch up to the length, by which batches are separated.
    at, bit = data.draw(st.integers(Layout.ATTRIBUTES[1], len(good) - 1)), data.draw(st.integers(0, 7))
    changed = bytearray(good)
    changed[at] ^= 1 << bit
    if at in base_offset_places(good) or not WholeBatches.can_read(bytes(changed)):
        return
    told: list[list[Any] | None] = []
    for result in results(bytes(changed), offset, aborted):
        try:
            told.append(list(result.getall()))
        except CorruptRecordException:
            told.append(None)
    assert told[0] == told[1]


@given(fetches())
def test_batches_as_a_broker_returns_them_are_in_order(fetch: tuple[bytes, int, list[tuple[int, int]]]) -> None:
    assert misplaced(fetch[0], fetch[1]) is None


@given(fetches(), st.data())
def test_a_changed_base_offset_moves_only_its_own_batch_and_leaves_out_only_what_is_then_before_the_requested_offset(
    fetch: tuple[bytes, int, list[tuple[int, int]]], data: st.DataObject
) -> None:
    """Or the fetch is refused. What is left out is of the first batch: of another one, all is read, and once."""
    good, offset, _ = fetch
    starts = sorted(base_offset_places(good))[::8]
    whole = [at for at, end in pairwise(starts) if end <= len(good)]
    if not whole:
        return
    at, bit = data.draw(st.sampled_from(whole)), data.draw(st.integers(0, 63))
    said = int.from_bytes(good[at : at + 8], "big")
    changed = (said ^ (1 << bit)).to_bytes(8, "big")
    _check_moved(good, offset, at, int.from_bytes(changed, "big", signed=True) - said)


def test_of_the_first_of_several_batches_as_many_records_are_left_out_as_it_is_said_to_begin_too_early() -> None:
    """Nothing shows that it is wrong: a requested offset may be within a batch, and offsets may be missing between batches."""
    five = [Sent(place, b"k", b"%d" % place) for place in range(5)]
    good = b"".join(batch(five, base).data for base in (41, 46))
    for moved in range(-6, 3):
        _check_moved(good, 41, 0, moved)
    found = results((37).to_bytes(8, "big") + good[8:], 41, [])[1]
    assert [(record.offset, record.value) for record in found.getall()][:2] == [(41, b"4"), (46, b"0")]
    # Of the only batch nothing is left out for good: one goes on after its last record as it is said to be.
    alone = (37).to_bytes(8, "big") + batch(five, 41).data[8:]
    found = results(alone, 41, [])[1]
    assert [record.value for record in found.getall()] == [b"4"]
    assert position(found) == 42


def _check_moved(good: bytes, offset: int, at: int, moved: int) -> None:
    """Reads a fetch from an offset, one of whose batches, which begins at a place in the bytes, is said to be elsewhere."""
    base = int.from_bytes(good[at : at + 8], "big")
    changed = good[:at] + (base + moved).to_bytes(8, "big", signed=True) + good[at + 8 :]
    if misplaced(changed, offset) is not None:
        return
    first = int.from_bytes(good[:8], "big")
    end = base + last_delta(good[at:]) + 1
    for was, now in zip(results(good, first, []), results(changed, offset, []), strict=True):
        there = list(was.getall())
        places = [record.offset + (moved if base <= record.offset < end else 0) for record in there]
        wanted = [(place, record.value) for place, record in zip(places, there, strict=True) if place >= offset]
        if at:
            assert [value for _, value in wanted] == [record.value for record in there if record.offset >= offset]
        assert [(record.offset, record.value) for record in now.getall()] == wanted
        assert position(now) == position(was) + (moved if position(was) == end else 0)
        assert position(now) > offset


def test_older_formats_are_left_to_aiokafka() -> None:
    made = bytearray(batch([Sent(0, b"k", b"v")], 0).data)
    assert WholeBatches.can_read(bytes(made))
    made[16] = 1
    assert not WholeBatches.can_read(bytes(made))
    assert not WholeBatches.can_read(b"")


def test_a_length_that_is_none_is_left_to_aiokafka() -> None:
    made = batch([Sent(0, b"k", b"v")], 0).data
    for length in (-1, -(1 << 31), 48):
        assert not WholeBatches.can_read(made + made[:8] + length.to_bytes(4, "big", signed=True) + made[12:])
