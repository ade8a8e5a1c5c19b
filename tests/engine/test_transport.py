"""Fetched records are handed over or fetched again; no position moves past records that were not handed over."""

from __future__ import annotations

import logging
import time
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from aiokafka.consumer.fetcher import FetchResult, PartitionRecords
from aiokafka.errors import (
    CorruptRecordException,
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
)
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from faust.types.tuples import TP

from schemas import hotpath
from streams.kafka.coordinator import _MissingCoordinator
from streams.kafka.log_ends import LogEnd, LogEnds
from streams.kafka.records import FetchedRecord
from streams.kafka.transport import Batch, BatchConsumer, NothingRead, _ConsumerInLoop, _DatingConsumer, _Position
from tests.support import batches

ONE, OTHER = TP("orders", 0), TP("deliveries", 0)


def dating_consumer() -> Any:
    """A consumer whose fetches a test answers."""
    consumer = object.__new__(_DatingConsumer)
    consumer._now_us, consumer._log_ends, consumer._answers = (lambda: 0), LogEnds(), {}
    consumer._fetcher = SimpleNamespace(_records={})
    return consumer


class Record(NamedTuple):
    """What matters of a record here."""

    offset: int
    timestamp: int = 0
    timestamp_type: int = 0


class Consumer(BatchConsumer):
    """The consumer over a fetcher that the test controls."""

    def __init__(self) -> None:  # Faust's own wants an app and a broker
        self.app = SimpleNamespace(consumer_generation_id=1)
        self.flow_active = True
        self._buffered_partitions: set[TP] = set()
        self._read_offset = NothingRead()
        self._undelivered = set()
        self._positions = {tp: _Position(1, 0, is_sought=True) for tp in (ONE, OTHER)}
        self.fetcher: dict[TP, int] = {ONE: 0, OTHER: 0}
        self.fetched: dict[TP, list[Record]] = {}
        self.active = {ONE, OTHER}
        self.seeks: list[tuple[TP, int]] = []
        self._thread = SimpleNamespace(fetcher_position=self.fetcher.get)

    should_stop = False

    async def _wait_next_records(self, _timeout_s: float) -> tuple[dict[TP, list[Record]], set[TP]]:
        given, self.fetched = self.fetched, {}
        return given, self.active

    async def _seek(self, partition: TP, offset: int) -> None:
        self.seeks.append((partition, offset))
        self.fetcher[partition] = offset

    def assignment(self) -> set[TP]:
        return {ONE, OTHER}

    def highwater(self, tp: TP) -> int:
        del tp
        return 100

    def resume_partitions(self, partitions: Any) -> None:
        """Nothing is paused here."""

    def give(self, tp: TP, *offsets: int, upto: int | None = None) -> None:
        """The fetcher returns records, and moves past them, or further past invisible records."""
        if offsets:
            self.fetched[tp] = [Record(offset) for offset in offsets]
        self.fetcher[tp] = upto if upto is not None else offsets[-1] + 1

    async def take(self, most: int = 9) -> list[tuple[str, int, int, list[int]]]:
        """Up to `most` batches: topic, first, next, offsets."""
        taken = []
        async for _, message in self.getmany(1.0):
            batch: Batch = message.value
            taken.append((batch.topic, batch.first, batch.next, [record.offset for record in batch.records]))
            if len(taken) == most:
                self.app.consumer_generation_id += 1  # a rebalance begins
        return taken


async def test_a_batch_says_from_where_to_where_it_was_read() -> None:
    consumer = Consumer()
    consumer.give(ONE, 0, 1, 2)
    assert await consumer.take() == [("orders", 0, 3, [0, 1, 2])]
    consumer.give(ONE, 5, upto=7)
    assert await consumer.take() == [("orders", 3, 7, [5])]


async def test_what_no_reader_sees_is_passed_by_an_empty_batch() -> None:
    consumer = Consumer()
    consumer.give(ONE, upto=4)
    assert await consumer.take() == [("orders", 0, 4, [])]
    assert await consumer.take() == []


async def test_records_that_a_rebalance_kept_from_being_handed_over_are_fetched_again() -> None:
    consumer = Consumer()
    consumer.give(ONE, 0, 1)
    consumer.give(OTHER, 0, 1, 2)
    assert await consumer.take(most=1) == [("orders", 0, 2, [0, 1])]
    consumer.app.consumer_generation_id = 1
    assert await consumer.take() == []
    assert consumer.seeks == [(OTHER, 0)]
    consumer.give(OTHER, 0, 1, 2)
    assert await consumer.take() == [("deliveries", 0, 3, [0, 1, 2])]


async def test_records_of_a_partition_that_was_paused_meanwhile_are_fetched_again() -> None:
    consumer = Consumer()
    consumer.active = {OTHER}
    consumer.give(ONE, 0, 1)
    assert await consumer.take() == []
    consumer.active = {ONE, OTHER}
    assert await consumer.take() == []
    assert consumer.seeks == [(ONE, 0)]


async def test_what_was_fetched_before_a_seek_moves_nothing() -> None:
    """The fetcher is at the old position until the seek is complete."""
    consumer = Consumer()

    async def sought_meanwhile(timeout_s: float) -> Any:
        consumer._positions[ONE] = _Position(2, 50)
        return await Consumer._wait_next_records(consumer, timeout_s)

    consumer.__dict__["_wait_next_records"] = sought_meanwhile
    consumer.give(ONE, 70, 71)
    assert await consumer.take() == []
    del consumer.__dict__["_wait_next_records"]
    assert await consumer.take() == []
    assert consumer._positions[ONE].offset == 50


async def test_after_a_seek_batches_begin_there_with_a_new_epoch() -> None:
    consumer = Consumer()
    assert await consumer.reposition(ONE, 40) == 2
    consumer.give(ONE, 40)
    assert await consumer.take() == [("orders", 40, 41, [40])]


async def test_a_seek_while_batches_are_handed_over_makes_the_rest_of_the_fetch_stale() -> None:
    consumer = Consumer()
    consumer.give(ONE, 0)
    consumer.give(OTHER, 0, 1)
    taken = []
    async for _, message in consumer.getmany(1.0):
        taken.append(message.value.topic)
        await consumer.reposition(OTHER, 30)
    assert taken == ["orders"]
    assert consumer._positions[OTHER].offset == 30


def test_an_offset_noted_after_a_seek_back_drops_nothing() -> None:
    """Faust notes the offset once a message has found space, and drops everything below it."""
    read = NothingRead()
    read[ONE] = 13
    assert read[ONE] is None
    assert read.pop(ONE, None) is None


async def test_an_end_is_as_old_as_the_question_that_was_answered() -> None:
    """Records may have come while the answer was in transit."""
    clock_us = [100_000_000]
    ends = LogEnds()
    ends.answered(ONE, 1, 0, asked_us=0, asked_s=-1000.0)
    consumer = dating_consumer()
    consumer._now_us, consumer._log_ends = (lambda: clock_us[0]), ends
    state = SimpleNamespace(timestamp=None, highwater=None, awaiting_reset=False)
    assignment = SimpleNamespace(state_value=lambda tp: {ONE: state}[tp], active=True)
    request = SimpleNamespace(topics=[(ONE.topic, [(ONE.partition, 0, 0)])])

    async def answered(_assignment: Any, _node_id: int, _request: Any) -> bool:
        clock_us[0] += 5_000_000
        if clock_us[0] < 110_000_000:
            state.timestamp, state.highwater = clock_us[0] // 1000, 7
        return False

    consumer._process = answered
    await consumer._process_and_note(assignment, 1, request)
    assert ends == {ONE: LogEnd(7, 99_000_000)}  # a second is for followers that are behind
    # An answer that is discarded because of a seek says nothing.
    await consumer._process_and_note(assignment, 1, request)
    assert ends == {ONE: LogEnd(7, 99_000_000)}


@pytest.mark.parametrize("form", [None, hotpath.compiled_records] if hotpath.compiled_records else [None])
async def test_fetched_records_are_given_out_in_the_form_of_the_hot_path_with_all_that_they_had(
    form: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hotpath, "records", form)
    batch = DefaultRecordBatchBuilder(2, 0, 1, 1, 1, 0, 1 << 16)
    sent = [(b"k", b"v", [("h", b"1"), ("h", None)]), (None, b"v", []), (b"k", None, [])]
    for offset, (key, value, headers) in enumerate(sent):
        batch.append(offset, 1000 + offset, key, value, headers)
    data = bytes(batch.build())
    fetched = PartitionRecords(ONE, MemoryRecords(data), None, 0, None, None, check_crcs=False, isolation_level=1)
    consumer = dating_consumer()
    state = SimpleNamespace(timestamp=None, highwater=3, awaiting_reset=False, paused=False, position=0)
    state.consumed_to = lambda position: setattr(state, "position", position)
    assignment = SimpleNamespace(state_value=lambda _tp: state, active=True)
    request = SimpleNamespace(topics=[(ONE.topic, [(ONE.partition, 0, 0)])])

    async def answered(_assignment: Any, _node_id: int, request: Any) -> bool:
        consumer._hear(request, SimpleNamespace(topics=[(ONE.topic, [(ONE.partition, 0, 3, 3, [], data)])]))
        result = FetchResult(ONE, assignment=assignment, partition_records=fetched, backoff=0)
        consumer._fetcher._records.setdefault(ONE, result)
        return True

    consumer._process = answered
    await consumer._process_and_note(assignment, 1, request)
    result = consumer._fetcher._records[ONE]
    # Waiting records are not taken for the answer to a later fetch.
    chosen = result._partition_records
    request.topics[0][1][0] = (ONE.partition, 7, 0)
    await consumer._process_and_note(assignment, 1, request)
    assert result._partition_records is chosen
    found = result.getall()
    assert type(found) is (form or list)
    assert list(found) == [
        FetchedRecord(ONE.topic, ONE.partition, offset, 1000 + offset, 0, key, value, tuple(headers))
        for offset, (key, value, headers) in enumerate(sent)
    ]
    assert state.position == len(sent)
    assert not consumer._answers


@pytest.mark.parametrize("form", [None, hotpath.compiled_records] if hotpath.compiled_records else [None])
async def test_a_fetch_with_a_batch_out_of_order_is_refused_and_asked_for_again(
    form: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a changed base offset, which no checksum covers, the second batch's records would be taken as read and left out."""
    monkeypatch.setattr(hotpath, "records", form)
    two = [batches.Sent(place, b"k", b"v") for place in (0, 1)]
    data = b"".join(batches.batch(two, base).data for base in (4, 0))
    fetched = PartitionRecords(ONE, MemoryRecords(data), None, 4, None, None, check_crcs=True, isolation_level=1)
    consumer = dating_consumer()
    state = SimpleNamespace(timestamp=None, highwater=8, awaiting_reset=False, paused=False, position=4)
    assignment = SimpleNamespace(state_value=lambda _tp: state, active=True)
    request = SimpleNamespace(topics=[(ONE.topic, [(ONE.partition, 4, 0)])])

    async def answered(_assignment: Any, _node_id: int, request: Any) -> bool:
        consumer._hear(request, SimpleNamespace(topics=[(ONE.topic, [(ONE.partition, 0, 8, 8, [], data)])]))
        consumer._fetcher._records[ONE] = FetchResult(ONE, assignment=assignment, partition_records=fetched, backoff=0)
        return True

    consumer._process = answered
    await consumer._process_and_note(assignment, 1, request)
    with pytest.raises(
        CorruptRecordException, match="orders-0: a batch said to be at offset 0 is out of order in what was"
    ):
        consumer._fetcher._records[ONE].check_raise()
    assert state.position == 4


async def test_a_position_at_which_there_is_nothing_is_told() -> None:
    """The topic was recreated or trimmed: aiokafka silently looks for another position to continue from."""
    lost: list[tuple[TP, int]] = []
    consumer = dating_consumer()
    consumer._lost = lambda *what: lost.append(what)
    states = {tp: SimpleNamespace(timestamp=None, highwater=None, awaiting_reset=False) for tp in (ONE, OTHER)}
    assignment = SimpleNamespace(state_value=states.get, active=True)
    request = SimpleNamespace(topics=[(ONE.topic, [(ONE.partition, 7, 0)]), (OTHER.topic, [(OTHER.partition, 5, 0)])])

    async def refused(_assignment: Any, _node_id: int, _request: Any) -> bool:
        states[ONE].awaiting_reset = True
        return False

    consumer._process = refused
    await consumer._process_and_note(assignment, 1, request)
    assert lost == [(ONE, 7)]
    assignment.active = False  # a rebalance: the position is sought anyway
    await consumer._process_and_note(assignment, 1, request)
    assert lost == [(ONE, 7)]


async def test_what_the_coordinator_fails_with_between_two_fetches_is_raised_by_the_next() -> None:
    """Otherwise a revoked right on the group would never be noticed."""
    thread = object.__new__(_ConsumerInLoop)

    def failed() -> None:
        raise GroupAuthorizationFailedError("milestones")

    consumer = SimpleNamespace(_coordinator=SimpleNamespace(check_errors=failed))
    with pytest.raises(GroupAuthorizationFailedError, match="milestones"):
        await thread._fetch_records(consumer, {ONE}, timeout=1.0)


def test_a_leader_is_believed_once_it_has_answered_for_a_second() -> None:
    """At first it may show an earlier end than the previous leader, however long ago the records were appended."""
    ends = LogEnds()
    ends.answered(ONE, 1, 6, asked_us=99_000_000, asked_s=49.0)
    assert not ends  # after the first answer it is unknown how long the leader has been leading
    ends.answered(ONE, 1, 7, asked_us=100_000_000, asked_s=50.0)
    assert ends[ONE] == LogEnd(7, 99_000_000)
    ends.answered(ONE, 2, 5, asked_us=109_000_000, asked_s=59.0)
    ends.answered(ONE, 2, 5, asked_us=109_900_000, asked_s=59.9)
    assert ends[ONE] == LogEnd(7, 99_000_000)
    ends.answered(ONE, 2, 8, asked_us=110_000_000, asked_s=60.0)
    assert ends[ONE] == LogEnd(8, 109_000_000)


def test_the_same_leader_may_be_a_new_one_after_it_has_not_answered() -> None:
    ends = LogEnds()
    ends.answered(ONE, 1, 7, asked_us=99_000_000, asked_s=49.0)
    ends.answered(ONE, 1, 7, asked_us=100_000_000, asked_s=50.0)
    ends.missed(ONE)
    ends.answered(ONE, 1, 6, asked_us=103_000_000, asked_s=53.0)
    assert ends[ONE] == LogEnd(7, 99_000_000)
    ends.answered(ONE, 1, 9, asked_us=104_000_000, asked_s=54.0)
    assert ends[ONE] == LogEnd(9, 103_000_000)


def test_a_coordinator_that_is_only_being_made_is_no_error_and_one_that_stays_away_is_said_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now_s = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    missing = _MissingCoordinator()

    def passes(error: Exception) -> bool:
        record = logging.LogRecord(
            "aiokafka", logging.ERROR, "", 0, "Group Coordinator Request failed: %s", (error,), None
        )
        return missing.filter(record)

    assert not passes(GroupCoordinatorNotAvailableError())
    assert passes(ConnectionError())
    given_up = "Marking the coordinator dead (node %s)for group %s."
    record = logging.LogRecord("aiokafka", logging.WARNING, "", 0, given_up, (1, "milestones"), None)
    assert not missing.filter(record)
    said_at = []
    while now_s < 300:
        now_s += 0.5
        assert not passes(GroupCoordinatorNotAvailableError())
        if caplog.messages:
            assert "has had no coordinator for the group of the workers" in caplog.text
            said_at.append(now_s - 100)
            caplog.clear()
    assert said_at == [10.5, 70.5, 130.5, 190.5]
    assert missing.filter(record)
    now_s += 3600  # there was one meanwhile: it may be missed for a moment again
    assert not passes(GroupCoordinatorNotAvailableError())
    assert not caplog.messages
