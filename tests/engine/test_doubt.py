"""A state that has lost its position in a partition is reopened before it takes anything else."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock, Mock

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import CoordinatorNotAvailableError
from faust.types.tuples import TP

from streams.context import Context
from streams.errors import ExpectedError, UnreachableError
from streams.kafka.log import Partition
from streams.kafka.transport import Batch, BatchConsumer
from streams.settings import Settings
from streams.worker.engine import Engine
from streams.worker.task_runner import TaskRunner

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

ORDERS = Partition("vehicle.orders.v1", 0)


class Recreated:
    """A state that finds a recreated topic when it is opened for the second time."""

    def __init__(self) -> None:
        self.opened = 0
        self.taken: list[Batch] = []

    unfinished: Any = False
    takes_more = True

    async def open(self) -> Mapping[Partition, int]:
        """Opens."""
        self.opened += 1
        if self.opened > 1:
            raise ExpectedError("the topic was recreated")
        return self.positions()

    async def process(self, batches: Sequence[Batch]) -> None:
        """Takes."""
        self.taken += batches

    def positions(self) -> Mapping[Partition, int]:
        """Where it is."""
        return {ORDERS: 7}

    async def close(self) -> None:
        """Nothing is open."""


class Consumer:
    """Holds one partition."""

    def __init__(self) -> None:
        self.is_sought = asyncio.Event()

    async def reposition(self, _tp: Partition, _offset: int) -> int:
        """Seeks."""
        self.is_sought.set()
        return 1

    def epoch(self, _tp: Partition) -> int:
        """Never sought again."""
        return 1

    def held(self) -> set[Partition]:
        """The one."""
        return {ORDERS}


def running(
    state: Any,
    consumer: Consumer,
    fatal: Callable[[BaseException], Awaitable[None]],
    now_us: Callable[[], int] = lambda: 0,
    beat_s: Callable[[int, int], float] = lambda _records, _left: 0.01,
) -> TaskRunner:
    """The runner of a state."""
    return TaskRunner(
        "ledger 0",
        lambda: state,
        lambda: consumer,
        now_us=now_us,
        beat_s=beat_s,
        open_timeout_s=10,
        fenced_backoff_s=10,
        fatal=fatal,
        wanted=lambda _: True,
        look=AsyncMock(),
    )


async def test_what_is_fetched_from_another_place_is_not_applied() -> None:
    state, consumer, ended = Recreated(), Consumer(), asyncio.Event()
    failures: list[BaseException] = []

    async def fatal(error: BaseException) -> None:
        failures.append(error)
        ended.set()

    runner = running(state, consumer, fatal)
    await asyncio.wait_for(consumer.is_sought.wait(), 30)
    runner.doubt("vehicle.orders.v1-0 has no offset 7")
    await runner.submit(Batch(*ORDERS, 1, 7, 9, 9, []))
    await asyncio.wait_for(ended.wait(), 30)
    assert [str(failure) for failure in failures] == ["the topic was recreated"]
    assert (state.opened, state.taken) == (2, [])


async def test_a_state_that_cannot_even_be_made_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where there is no room for the file of its orders."""
    ended, failures = asyncio.Event(), list[BaseException]()

    async def fatal(error: BaseException) -> None:
        failures.append(error)
        ended.set()

    def make() -> Any:
        raise ExpectedError("no file for orders can be created")

    runner = running(Recreated(), Consumer(), fatal)
    monkeypatch.setattr(runner, "_make", make)
    await asyncio.wait_for(ended.wait(), 5)
    await runner.release()
    assert [str(failure) for failure in failures] == ["no file for orders can be created"]


class Stepping(Recreated):
    """A state that says when a step has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.has_stepped = asyncio.Event()

    async def process(self, batches: Sequence[Batch]) -> None:
        """Takes."""
        await super().process(batches)
        self.has_stepped.set()


async def test_a_full_queue_does_not_wait_for_the_next_beat() -> None:
    state, consumer, fatal = Stepping(), Consumer(), AsyncMock()
    told: list[tuple[int, int]] = []

    def beat_s(records: int, left: int) -> float:
        told.append((records, left))
        return 3600.0

    runner = running(state, consumer, fatal, beat_s=beat_s)
    await asyncio.wait_for(consumer.is_sought.wait(), 30)
    records: list[Any] = [None] * 4000
    for first, of_one_step in ((0, True), (4000, False), (8000, True)):
        await runner.submit(Batch(*ORDERS, 1, first, first + 4000, 50_000, records))
        if of_one_step:
            await asyncio.wait_for(state.has_stepped.wait(), 30)
            state.has_stepped.clear()
    await runner.release()
    assert told == [(4000, 46_000), (8000, 38_000)]
    fatal.assert_not_awaited()


class Unreachable(Recreated):
    """A state that finds the cluster unreachable when it is opened for the first time."""

    async def open(self) -> Mapping[Partition, int]:
        """Opens."""
        self.opened += 1
        if self.opened == 1:
            raise UnreachableError("no Kafka at 127.0.0.1:1")
        return self.positions()


async def test_a_cluster_that_is_unreachable_just_while_a_state_is_opened_does_not_end_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As one that is unreachable at any other moment."""
    monkeypatch.setattr("streams.worker.task_runner._FIRST_BACKOFF_S", 0.01)
    state, consumer, fatal = Unreachable(), Consumer(), AsyncMock()
    running(state, consumer, fatal)
    await asyncio.wait_for(consumer.is_sought.wait(), 30)
    assert state.opened == 2
    fatal.assert_not_awaited()


class Busy(Recreated):
    """A state whose first step lasts until it may end."""

    def __init__(self) -> None:
        super().__init__()
        self.is_at_it, self.may_end = asyncio.Event(), asyncio.Event()

    async def process(self, batches: Sequence[Batch]) -> None:
        """Lasts."""
        await super().process(batches)
        self.is_at_it.set()
        await self.may_end.wait()


@pytest.mark.parametrize("what", ["its end", "a doubt"])
async def test_what_comes_during_a_step_is_heeded_after_it_and_not_at_the_next_beat_of_the_timer(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr("streams.worker.task_runner._TICK_S", 600.0)
    state, consumer, ended = Busy(), Consumer(), asyncio.Event()

    async def fatal(_error: BaseException) -> None:
        ended.set()

    runner = running(state, consumer, fatal)
    await asyncio.wait_for(consumer.is_sought.wait(), 30)
    await runner.submit(Batch(*ORDERS, 1, 7, 9, 9, []))
    await asyncio.wait_for(state.is_at_it.wait(), 30)
    if what == "a doubt":
        runner.doubt("vehicle.orders.v1-0 has no offset 7")
    else:
        monkeypatch.setattr("streams.worker.task_runner._RELEASE_TIMEOUT_S", 600.0)
        releasing = asyncio.create_task(runner.release())
        releasing.add_done_callback(lambda _: ended.set())
        await asyncio.sleep(0)
    state.may_end.set()
    await asyncio.wait_for(ended.wait(), 30)


class Unfinished(Recreated):
    """A state that has something left to write, for as long as it takes batches."""

    def __init__(self, *, takes_more: bool) -> None:
        super().__init__()
        self.takes_more = takes_more
        self.steps = 0
        self.is_at_it = asyncio.Event()

    @property
    def unfinished(self) -> bool:
        """Until it has taken a batch, or for a hundred steps."""
        return not self.taken and self.steps < 100

    async def process(self, batches: Sequence[Batch]) -> None:
        """Writes some of it."""
        assert self.takes_more or not batches or self.steps >= 100
        self.steps += 1
        await super().process(batches)
        self.is_at_it.set()


@pytest.mark.parametrize("takes_more", [True, False])
async def test_what_comes_while_there_is_something_left_to_write_is_taken_by_a_state_that_takes_more(
    monkeypatch: pytest.MonkeyPatch,
    takes_more: bool,
) -> None:
    monkeypatch.setattr("streams.worker.task_runner._TICK_S", 600.0)
    clock_us = count(0, 1000)  # ten steps a beat
    state, consumer = Unfinished(takes_more=takes_more), Consumer()
    runner = running(state, consumer, AsyncMock(), lambda: next(clock_us))
    await asyncio.wait_for(consumer.is_sought.wait(), 30)
    await runner.submit(Batch(*ORDERS, 1, 7, 9, 9, []))
    async with asyncio.timeout(30):
        while not state.taken and state.steps < 100:
            state.is_at_it.clear()
            await state.is_at_it.wait()
    assert bool(state.taken) == takes_more
    assert takes_more == (state.steps < 100)
    await runner.release()


async def test_a_ledger_is_opened_again_when_one_of_its_topics_is_gone_or_back() -> None:
    context = Context(Settings(partitions=1))
    engine = Engine(context, "w1", AsyncMock(), AsyncMock())
    made: list[Any] = []

    def runner(*_: Any, **__: Any) -> Any:
        made.append(Mock(is_open=True, positions=dict.fromkeys(sources, 7), release=AsyncMock()))
        return made[-1]

    engine._runner = runner  # type: ignore[method-assign]
    sources = {Partition(topic, 0) for topic in context.source_topics}
    lesser = sources - {ORDERS}
    opened = []
    for held in (sources, sources, lesser, lesser, sources):
        await engine.assigned(held)
        opened.append(len(made))
    # If the topic is gone, the state is opened until it raises; here it never does.
    assert opened == [1, 1, 2, 3, 4]
    engine.doubt(ORDERS, 7)
    made[-1].doubt.assert_called_once_with("vehicle.orders.v1-0 has no offset 7")


async def test_every_ledger_is_opened_again_when_a_source_topic_was_made_again() -> None:
    context = Context(Settings(partitions=1))
    engine = Engine(context, "w1", AsyncMock(), AsyncMock())
    runner = Mock(is_open=True, positions={}, release=AsyncMock())
    engine._runner = Mock(return_value=runner)  # type: ignore[method-assign]
    orders, deliveries = context.source_topics.published
    answers = [{orders: "a", deliveries: "b"}, {}, {orders: "a"}, {orders: "c", deliveries: "b"}, {orders: "c"}]
    engine.attach(Mock(topic_ids=AsyncMock(side_effect=answers)))
    await engine.assigned({Partition(topic, 0) for topic in context.source_topics})
    for _ in answers:
        await engine.look_at_topics()
    runner.doubt.assert_called_once_with(f"{orders} was made again")


def test_commits_that_are_not_its_own_are_none_of_fausts_business() -> None:
    """Five minutes after the start, it would begin to report every partition as never fetched, every few seconds."""
    bare = object.__new__(BatchConsumer)  # nothing that it could look at
    assert BatchConsumer.verify_event_path(bare, 1e9, TP(*ORDERS)) is None  # type: ignore[func-returns-value]


async def test_a_cluster_that_names_no_brokers_for_a_moment_is_waited_for() -> None:
    """A cluster whose only broker has just come back may do this; aiokafka reports it as a bug in itself."""
    client = object.__new__(AIOKafkaClient)
    client.cluster = ClusterMetadata(metadata_max_age_ms=1000)
    with pytest.raises(CoordinatorNotAvailableError):
        await client.coordinator_lookup(1, "milestones-ledger-0")
