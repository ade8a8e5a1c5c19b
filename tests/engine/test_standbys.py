"""A standby copy, read on in any steps, is what one is that has read everything at once; one in doubt is thrown away."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.errors import KafkaConnectionError
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.changelog import chunk_key, encode_entries
from schemas.facts import FAMILIES
from schemas.outputs import StandbyStatus
from schemas.told import VehicleDelivery
from streams.context import Context
from streams.domain import hotpath
from streams.domain.announced.announcements import Announcement
from streams.domain.time.campaigns import Campaign
from streams.domain.time.zone import MINUTE_US
from streams.errors import ExpectedError, UnreachableError
from streams.kafka.log import Bounds, Partition
from streams.ledger import changelog
from streams.ledger.commit import CommitRecords
from streams.ledger.memory import Memory
from streams.ledger.replica import DoubtfulReplicaError, Replica
from streams.ledger.sources import Source
from streams.settings import Settings
from streams.worker.standbys import Standbys
from tests.domain.facts import OTHER_VIN, VIN, delivered, placed
from tests.domain.test_ledger_properties import TIMES, arrivals
from tests.support.outputs import Record
from tests.support.replicas import differences

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence

    from schemas.facts import Fact
    from streams.kafka.outbox import Outgoing

CONTEXT = Context(Settings(partitions=1, scopes=(("model",), ()), families=FAMILIES))
TOPIC = CONTEXT.catalogue.ledger.name
AT = Partition(TOPIC, 0)
NIGHTS = [
    Campaign(name, TIMES[first] // MINUTE_US * MINUTE_US, TIMES[first] // MINUTE_US * MINUTE_US + 90 * MINUTE_US, ((),))
    for name, first in (("first", 0), ("second", 2))
]


class Log:
    """The changelog of a ledger partition, in memory."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.end = 0
        self.id = "one"
        #: How many records are given before the connection is lost.
        self.gives: int | None = None
        self.at_once = 3
        self.opened = 0
        #: Is waited for before the records are given.
        self.is_there = asyncio.Event()
        self.is_there.set()

    @property
    def given(self) -> Any:
        """As a reader, of which it has what is used."""
        return self

    def commit(self, records: Iterable[Outgoing], *, aborts: bool = False) -> None:
        """Appends a transaction; an aborted one only takes offsets."""
        for record in records:
            if record.topic == TOPIC:
                if not aborts:
                    self.records.append(Record(record.key, record.value, self.end, topic=TOPIC))
                self.end += 1
        self.end += 1

    def compact(self, read_to: int) -> None:
        """Removes what later records replace, and tombstones that everyone has read."""
        latest = {record.key: record.offset for record in self.records}
        self.records = [
            record
            for record in self.records
            if latest[record.key] == record.offset and (record.value is not None or record.offset >= read_to)
        ]

    @contextlib.asynccontextmanager
    async def reader(self) -> AsyncIterator[Any]:
        self.opened += 1
        yield self

    async def read(
        self, partitions: Iterable[tuple[str, int]], *, since: Mapping[Any, int] | None = None, complete: bool = False
    ) -> AsyncIterator[Sequence[Record]]:
        assert list(partitions) == [AT]
        assert not complete, "only its owner writes to it"
        found = [record for record in self.records if record.offset >= (since or {}).get(AT, 0)]
        await self.is_there.wait()
        for first in range(0, len(found), self.at_once):
            some = found[first : first + self.at_once]
            if self.gives is not None:
                self.gives -= len(some)
                if self.gives < 0:
                    raise KafkaConnectionError("lost")
            yield some

    async def position(self, _: Any) -> int:
        return self.end

    async def bounds(self, partitions: Iterable[Any]) -> dict[Any, Bounds]:
        return dict.fromkeys(partitions, Bounds(0, self.end))

    async def topic_ids(self, topics: Iterable[str]) -> dict[str, str]:
        return {topic: self.id for topic in topics if self.id}


class Owner:
    """Writes the changelog."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.begin_with(Memory(CONTEXT, 0))

    def begin_with(self, memory: Memory) -> None:
        self.memory = memory
        memory.sources.update({Partition(topic, 0): Source() for topic in CONTEXT.source_topics})
        self._commit = CommitRecords(memory, CONTEXT)

    async def restart(self) -> None:
        fresh = await everything(self.log)
        self.begin_with(fresh.memory)

    async def step(
        self,
        facts: Sequence[Fact],
        *,
        told: Iterable[VehicleDelivery] = (),
        announced: Announcement | None = None,
        aborts: bool = False,
    ) -> None:
        memory = self.memory
        memory.ledger.apply(facts)
        memory.ledger.hear(told)
        changes = memory.ledger.drain()
        if announced is not None:
            await memory.announce_now(announced, changes, 1000)
        self.log.commit(await self._commit.records(changes, [], {}, 0), aborts=aborts)
        if aborts:
            await self.restart()


async def everything(log: Log) -> Replica:
    """A replica that reads all of it at once."""
    fresh, log.gives = Replica(CONTEXT, 0), None
    await fresh.read(log.given)
    return fresh


@contextlib.contextmanager
def small_chunks() -> Iterator[None]:
    """Chunks are closed, merged and swept with little in them."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in (
            ("FULL_BYTES", 300),
            ("_SETTLED_BYTES", 250),
            ("_TIER_CHUNKS", 2),
            ("_SWEEP_SLACK_BYTES", 100),
        ):
            patched.setattr(changelog, name, value)
        yield


@contextlib.contextmanager
def way(chosen: Any) -> Iterator[None]:
    hotpath.take(chosen)
    try:
        yield
    finally:
        hotpath.take(hotpath.HOT_PATH)


told = st.builds(
    VehicleDelivery,
    st.sampled_from([VIN, OTHER_VIN]),
    st.sampled_from(["SO-1", "SO-2"]),
    st.sampled_from([None, *TIMES]),
    st.just("/a"),
    st.sampled_from("uv"),
)


class Histories:
    """An owner and a copy to which things happen."""

    def __init__(self, facts: Sequence[Fact], draw: Callable[[Any], Any]) -> None:
        self.log = Log()
        self.facts = list(facts)
        self._draw = draw
        self._owner, self.copy = Owner(self.log), Replica(CONTEXT, 0, is_standby=True)
        self._number = 0

    def _some(self) -> list[Fact]:
        return [self.facts.pop() for _ in range(min(len(self.facts), self._draw(st.integers(0, 3))))]

    async def step(self) -> None:
        await self._owner.step(self._some())

    async def abort(self) -> None:
        some = self._some()
        await self._owner.step(some, aborts=True)
        self.facts.extend(some)  # they come again

    async def announce(self) -> None:
        self._number += 1
        nights = self._draw(st.lists(st.sampled_from(NIGHTS), unique=True))
        decided = tuple(sorted((night.name, night) for night in nights))
        await self._owner.step(self._some(), announced=Announcement(self._number, decided))

    async def tell(self) -> None:
        await self._owner.step(self._some(), told=self._draw(st.lists(told, max_size=3)))

    async def read(self) -> None:
        await self.copy.read(self.log.given)

    async def read_in_vain(self) -> None:
        self.log.gives = self._draw(st.integers(0, 5))
        with contextlib.suppress(KafkaConnectionError):
            await self.copy.read(self.log.given)
        self.log.gives = None

    async def compact(self) -> None:
        self.log.compact(self.copy.next or 0)

    async def restart(self) -> None:
        await self._owner.restart()


actions = st.sampled_from(
    [
        Histories.step,
        Histories.step,
        Histories.step,
        Histories.abort,
        Histories.announce,
        Histories.tell,
        Histories.read,
        Histories.read,
        Histories.read_in_vain,
        Histories.compact,
        Histories.restart,
    ]
)


@settings(max_examples=120, deadline=None)
@given(arrivals(), st.lists(actions, max_size=30), st.data(), st.sampled_from(sorted({"python", hotpath.HOT_PATH})))
def test_a_copy_read_on_in_any_steps_is_one_that_has_read_everything(
    arrival: tuple[list[Fact], Any], to_do: list[Any], data: st.DataObject, chosen: str
) -> None:
    async def run() -> None:
        made = Histories(arrival[0], data.draw)
        for action in (*to_do, Histories.step, Histories.read):
            await action(made)
        assert differences(made.copy, await everything(made.log)) == []
        assert made.copy.memory.ledger.apply(arrival[0]).applied == len(made.facts), "it goes on like any other"

    with way(chosen), small_chunks():
        asyncio.run(run())


async def read_copy(log: Log, *facts: Fact) -> tuple[Owner, Replica]:
    """An owner that has committed some facts, and a copy that has read them."""
    owner, copy = Owner(log), Replica(CONTEXT, 0, is_standby=True)
    await owner.step(facts)
    await copy.read(log.given)
    return owner, copy


async def recreated(log: Log) -> None:
    log.id = "two"


async def shortened(log: Log) -> None:
    log.records.clear()
    log.end = 1


async def contradicted(log: Log) -> None:
    log.records.append(Record(chunk_key(7), encode_entries([("SO-1", b"another event")]), log.end))
    log.end += 1


async def without_id(log: Log) -> None:
    log.id = ""


@pytest.mark.parametrize("happening", [recreated, shortened, contradicted, without_id])
async def test_a_copy_whose_changelog_does_not_continue_it_is_in_doubt(happening: Callable[[Log], Any]) -> None:
    log = Log()
    _, copy = await read_copy(log, placed("2024-10-07T10:00:00"))
    await happening(log)
    with pytest.raises(DoubtfulReplicaError):
        await copy.read(log.given)


async def test_a_copy_whose_application_was_interrupted_is_in_doubt() -> None:
    log = Log()
    owner, copy = await read_copy(log, placed("2024-10-07T10:00:00"))
    await owner.step([delivered("2024-10-08T10:00:00")])

    async def interrupted() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await copy.read(log.given, interrupted)
    assert not copy.is_whole
    with pytest.raises(DoubtfulReplicaError, match="in part only"):
        await copy.read(log.given)


async def test_a_copy_that_was_read_long_ago_is_in_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    _, copy = await read_copy(log, placed("2024-10-07T10:00:00"))
    later_s = asyncio.get_running_loop().time() + 2 * 86_400
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: later_s)
    with pytest.raises(DoubtfulReplicaError, match="too long ago"):
        await copy.read(log.given)


# The copies of a worker ---------------------------------------------------------------------------------------------


class Site:
    """A worker's copies, without waiting."""

    def __init__(self, log: Log) -> None:
        self.is_free = True
        self.failures: list[BaseException] = []
        context = Context(CONTEXT.settings, other_log=log.given)
        self.standbys = Standbys(context, lambda: self.is_free, self._fail)
        self.standbys.every_s = self.standbys.after_an_error_s = self.standbys.after_a_doubt_s = 0.0

    async def _fail(self, error: BaseException) -> None:
        self.failures.append(error)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0)

    async def behind(self, records: int | None) -> None:
        """Waits until its copy is said to be so far behind."""
        await self.until(lambda: self.standbys.status == [StandbyStatus(partition=0, behind=records)])


@contextlib.asynccontextmanager
async def site(log: Log) -> AsyncIterator[Site]:
    made = Site(log)
    made.standbys.assign({0}, set())
    try:
        yield made
    finally:
        await made.standbys.stop()
        assert made.failures == []


async def test_a_copy_is_kept_up_to_date_and_given_away_once() -> None:
    log = Log()
    owner = Owner(log)
    await owner.step([placed("2024-10-07T10:00:00")])
    async with site(log) as made:
        await made.behind(0)
        await owner.step([delivered("2024-10-08T10:00:00")])
        await made.until(lambda: made.standbys.status[0].behind == 0)
        made.standbys.assign(set(), {0})
        assert made.standbys.status == []
        copy = await made.standbys.take(0)
        assert copy is not None
        await copy.read(log.given)
        assert differences(copy, await everything(log)) == []
        assert await made.standbys.take(0) is None


async def test_nothing_is_read_while_what_the_worker_owns_is_opened() -> None:
    log = Log()
    await Owner(log).step([placed("2024-10-07T10:00:00")])
    async with site(log) as made:
        made.is_free = False
        for _ in range(20):
            await asyncio.sleep(0)
        assert log.opened == 0
        assert made.standbys.status == [StandbyStatus(partition=0, behind=None)]
        made.is_free = True
        await made.behind(0)


async def test_a_copy_that_is_no_longer_wanted_is_dropped_unless_its_partition_comes() -> None:
    log = Log()
    await Owner(log).step([placed("2024-10-07T10:00:00")])
    async with site(log) as made:
        await made.behind(0)
        made.standbys.assign(set(), set())
        assert await made.standbys.take(0) is None


async def test_a_copy_that_has_not_been_read_once_is_no_help() -> None:
    log = Log()
    await Owner(log).step([placed("2024-10-07T10:00:00")])
    log.is_there.clear()
    async with site(log) as made:
        await made.until(lambda: log.opened == 1)
        for _ in range(20):
            await asyncio.sleep(0)
        assert await made.standbys.take(0) is None


async def test_a_reading_that_is_under_way_does_not_hold_up_a_takeover() -> None:
    log = Log()
    owner = Owner(log)
    await owner.step([placed("2024-10-07T10:00:00")])
    async with site(log) as made:
        await made.behind(0)
        log.is_there.clear()
        await owner.step([delivered("2024-10-08T10:00:00")])
        await made.until(lambda: made.standbys.status[0].behind != 0)
        made.standbys.assign(set(), {0})
        copy = await made.standbys.take(0)
        assert copy is not None
        log.is_there.set()
        await copy.read(log.given)
        assert differences(copy, await everything(log)) == []


@pytest.mark.parametrize(
    "error", [KafkaConnectionError("lost"), UnreachableError("nothing comes"), ExpectedError("no")]
)
async def test_an_error_of_the_cluster_is_waited_out(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    await Owner(log).step([placed("2024-10-07T10:00:00")])
    bounds = log.bounds
    errors = [error, error]

    async def failing(partitions: Iterable[Any]) -> dict[Any, Bounds]:
        if errors:
            raise errors.pop()
        return await bounds(partitions)

    monkeypatch.setattr(log, "bounds", failing)
    async with site(log) as made:
        await made.behind(0)
        assert log.opened == 3


async def test_a_copy_in_doubt_is_thrown_away_and_read_again() -> None:
    log = Log()
    owner = Owner(log)
    await owner.step([placed("2024-10-07T10:00:00")])
    async with site(log) as made:
        await made.behind(0)
        first = made.standbys._copies[0]
        await recreated(log)
        await owner.step([delivered("2024-10-08T10:00:00")])
        await made.until(lambda: made.standbys._copies.get(0) not in (None, first))
        await made.behind(0)
        assert differences(made.standbys._copies[0].replica, await everything(log)) == []


async def test_a_fault_of_the_program_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()

    async def faulty(*_: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(log, "position", faulty)
    made = Site(log)
    await Owner(log).step([placed("2024-10-07T10:00:00")])
    made.standbys.assign({0}, set())
    await made.until(lambda: bool(made.failures))
    assert str(made.failures[0]) == "a fault"
    await made.standbys.stop()
