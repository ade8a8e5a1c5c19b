"""The transactional producer against a coordinator and leaders that lose, delay and refuse its requests."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import AddPartitionsToTxnRequest, InitProducerIdRequest
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from streams.kafka import transactions
from streams.kafka.outbox import Outgoing
from streams.kafka.transaction_requests import CommitRequest, ImplicitProduceRequest, transaction_version
from streams.kafka.transactions import FencedError, InDoubtError, TransactionalWriter
from streams.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiokafka.structs import TopicPartition

TOPICS, PARTITIONS, BROKERS = ("a", "b"), 2, 2
_CONCURRENT, _NOT_LEADER, _NOT_COORDINATOR, _OUT_OF_ORDER, _DUPLICATE, _FENCED, _STATE = 51, 6, 16, 45, 46, 47, 48
_VERSIONS = {0: (3, 12), 22: (0, 4), 24: (0, 4), 26: (0, 5)}
#: What may happen to a request: nothing, refused for a while, lost, answer lost, or arriving after it was given up.
HAPPENS = ("", "", "", "", "later", "moved", "lost", "unanswered", "late")


class Answer:
    """A response with these fields."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


class Brokers:
    """The state of one transactional id and of the partitions, and the faults of the requests."""

    def __init__(self, version: int, happens: list[str]) -> None:
        self.version = version
        self.happens = happens
        self.producer = [1, -1]
        self.added: set[tuple[str, int]] = set()
        self.sequences: dict[tuple[int, int, str, int], list[tuple[int, int]]] = defaultdict(list)
        self.open: list[tuple[str, int, bytes, bytes | None]] = []
        self.committed: list[list[tuple[str, int, bytes, bytes | None]]] = []
        self.late: list[tuple[int, Any]] = []
        self.requests: list[str] = []

    async def answer(self, request: Any) -> Any:
        """The answer to a request, after its fault."""
        self.requests.append(type(request).__name__)
        for due, late in [*self.late]:
            if due <= len(self.requests):
                self.late.remove((due, late))
                self.decide(late)
        happens = self.happens.pop() if self.happens else ""
        if happens == "later":
            return self.refused(request, _CONCURRENT)
        if happens == "moved":
            return self.refused(request, _NOT_LEADER if is_produce(request) else _NOT_COORDINATOR)
        if happens == "lost":
            raise KafkaConnectionError
        if happens == "late":
            self.late.append((len(self.requests) + 1 + len(self.happens) % 4, request))
            raise KafkaConnectionError
        answer = self.decide(request)
        if happens == "unanswered":
            raise KafkaConnectionError
        return answer

    def refused(self, request: Any, code: int) -> Answer:
        """An answer that refuses the request."""
        topics = []
        if is_produce(request):
            topics = [(topic, [(number, code) for number, _ in batches]) for topic, batches in produced(request)]
        elif isinstance(request, AddPartitionsToTxnRequest):
            topics = [(topic, [(number, code) for number in numbers]) for topic, numbers in request._topics]
        return Answer(error_code=code, topics=topics, errors=topics)

    def decide(self, request: Any) -> Answer:
        """Carries out a request."""
        if isinstance(request, InitProducerIdRequest):
            self.open.clear()
            self.added.clear()
            self.producer[1] += 1
            return Answer(error_code=0, producer_id=self.producer[0], producer_epoch=self.producer[1])
        if isinstance(request, AddPartitionsToTxnRequest):
            asked = [request._producer_id, request._producer_epoch]
            if asked != self.producer:
                return self.refused(request, _FENCED)
            self.added |= {(topic, number) for topic, numbers in request._topics for number in numbers}
            return self.refused(request, 0)
        if is_produce(request):
            return Answer(
                topics=[
                    (topic, [(number, self.append(topic, number, batch)) for number, batch in batches])
                    for topic, batches in produced(request)
                ]
            )
        asked = (
            list(request._fields[1:])
            if isinstance(request, CommitRequest)
            else [request._producer_id, request._producer_epoch]
        )
        if asked != self.producer:
            return Answer(error_code=_FENCED)
        if not self.open:
            return Answer(error_code=_STATE)
        self.committed.append([*self.open])
        self.open.clear()
        self.added.clear()
        if isinstance(request, CommitRequest):
            # The epochs of a producer id run out eventually.
            self.producer[:] = (
                [self.producer[0] + 1, 0] if self.producer[1] == 2 else [self.producer[0], self.producer[1] + 1]
            )
        return Answer(error_code=0, producer_id=self.producer[0], producer_epoch=self.producer[1])

    def append(self, topic: str, number: int, data: bytes) -> int:
        """Appends a batch if its producer and sequence number are the expected ones."""
        batch = MemoryRecords(data).next_batch()
        assert batch is not None
        assert batch.validate_crc()
        assert batch.is_transactional
        if [batch.producer_id, batch.producer_epoch] != self.producer:
            return _FENCED
        if self.version < 2 and (topic, number) not in self.added:
            return _STATE
        records = [(topic, number, record.key, record.value) for record in batch]
        known = self.sequences[self.producer[0], self.producer[1], topic, number]
        if (batch.base_sequence, len(records)) in known:
            return _DUPLICATE
        if batch.base_sequence != (sum(known[-1]) if known else 0):
            return _OUT_OF_ORDER
        known.append((batch.base_sequence, len(records)))
        self.open += records
        return 0


def is_produce(request: Any) -> bool:
    """Whether it appends batches."""
    return isinstance(request, (ProduceRequest, ImplicitProduceRequest))


def produced(request: Any) -> Iterator[tuple[str, list[tuple[int, bytes]]]]:
    """Topic and batches by partition."""
    for topic, batches in request._topics.items() if isinstance(request, ImplicitProduceRequest) else request._topics:
        yield topic, list(dict(batches).items())


class Client:
    """aiokafka's client, as far as a producer needs it."""

    def __init__(self, brokers: Brokers) -> None:
        self.brokers = brokers
        self.cluster = self
        self.leaders = 0

    async def bootstrap(self) -> None: ...
    async def close(self) -> None: ...
    async def _wait_on_metadata(self, topic: str) -> None: ...

    async def force_metadata_update(self) -> None:
        self.leaders += 1

    async def coordinator_lookup(self, _kind: int, _key: str) -> int:
        return 0

    async def ready(self, _node_id: int, *, group: int) -> bool:
        return group == 1

    def leader_for_partition(self, tp: TopicPartition) -> int:
        return (int(tp.partition) + self.leaders) % BROKERS

    async def send(self, _node_id: int, request: Any, *, group: int = 0) -> Any:
        # Encoded as for the network: a field that does not fit its schema is an error.
        struct = request.prepare(_VERSIONS)
        assert struct.encode()
        assert group == (0 if is_produce(request) else 1)
        await asyncio.sleep(0)
        return await self.brokers.answer(request)


def writer_for(brokers: Brokers, monkeypatch: pytest.MonkeyPatch) -> TransactionalWriter:
    """A writer whose requests the simulated brokers answer."""

    async def version(_client: object, _node_id: int) -> int:
        return brokers.version

    monkeypatch.setattr(transactions, "AIOKafkaClient", lambda **_: Client(brokers))
    monkeypatch.setattr(transactions, "transaction_version", version)
    monkeypatch.setattr(transactions, "_BATCH_BYTES", 2_000)
    for name in ("_BACKOFF_S", "_CONCURRENT_BACKOFF_S"):
        monkeypatch.setattr(transactions, name, 0.0)
    return TransactionalWriter(Settings(), "t")


def records_of(sizes: list[int], first: int) -> list[Outgoing]:
    """Records over partitions; large ones do not fit into one batch."""
    return [
        Outgoing(TOPICS[number % 2], number // 2 % PARTITIONS, b"%d" % (first + number), bytes(size))
        for number, size in enumerate(sizes)
    ]


def by_partition(records: list[Any]) -> dict[tuple[str, int], list[Any]]:
    """The records of each partition, in order."""
    found: dict[tuple[str, int], list[Any]] = defaultdict(list)
    for topic, number, key, value, *_ in records:
        found[topic, number].append((key, value))
    return found


SIZES = st.lists(st.sampled_from([0, 10, 1_500]), min_size=1, max_size=9)


@given(
    st.sampled_from([1, 2]), st.lists(SIZES, min_size=1, max_size=6), st.lists(st.sampled_from(HAPPENS), max_size=40)
)
def test_a_transaction_is_committed_once_and_whole_or_its_end_is_in_doubt(
    version: int, steps: list[list[int]], happens: list[str]
) -> None:
    brokers = Brokers(version, happens)

    async def run(monkeypatch: pytest.MonkeyPatch) -> None:
        writer = writer_for(brokers, monkeypatch)
        await writer.start()
        for number, sizes in enumerate(steps):
            records = records_of(sizes, 100 * number)
            before = len(brokers.committed)
            try:
                await writer.commit(records)
            except InDoubtError:
                with pytest.raises(InDoubtError):  # it is of no more use
                    await writer.commit(records)
                writer = writer_for(brokers, monkeypatch)
                await writer.start()
                # From here on only the log tells the outcome.
                assert len(brokers.committed) <= before + 1
            else:
                assert len(brokers.committed) == before + 1
            if len(brokers.committed) > before:
                assert by_partition(brokers.committed[before]) == by_partition(records)
        told = len(brokers.committed)
        for _, late in brokers.late:
            brokers.decide(late)
        assert len(brokers.committed) == told, "a late request has ended a transaction"

    with pytest.MonkeyPatch.context() as monkeypatch:
        asyncio.run(run(monkeypatch))


async def test_the_second_version_needs_two_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    for version, wanted in (
        (1, ["AddPartitionsToTxnRequest", "ProduceRequest", "EndTxnRequest"]),
        (2, ["ImplicitProduceRequest", "CommitRequest"]),
    ):
        brokers = Brokers(version, [])
        writer = writer_for(brokers, monkeypatch)
        await writer.start()
        for _ in range(4):
            brokers.requests.clear()
            await writer.commit([Outgoing("a", 0, b"k", b"v"), Outgoing("b", 0, b"k", b"v")])
            assert brokers.requests == wanted
        await writer.commit([])
        assert brokers.requests == wanted


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("happens", ["lost", "late", "unanswered"])
async def test_the_end_is_asked_for_once(version: int, happens: str, monkeypatch: pytest.MonkeyPatch) -> None:
    brokers = Brokers(version, [])
    writer = writer_for(brokers, monkeypatch)
    await writer.start()
    brokers.requests.clear()
    brokers.happens = [happens, "", ""][: 4 - version]
    with pytest.raises(InDoubtError, match="no answer to EndTxn"):
        await writer.commit([Outgoing("a", 0, b"k", b"v")])
    assert len(brokers.requests) == 4 - version
    assert len(brokers.committed) == (happens == "unanswered")


@pytest.mark.parametrize("version", [1, 2])
async def test_a_writer_whose_id_was_taken_over_writes_nothing(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    brokers = Brokers(version, [])
    writer, successor = writer_for(brokers, monkeypatch), writer_for(brokers, monkeypatch)
    await writer.start()
    await successor.start()
    with pytest.raises(FencedError):
        await writer.commit([Outgoing("a", 0, b"k", b"v")])
    assert not brokers.open
    await successor.commit([Outgoing("a", 0, b"k", b"v")])


async def test_a_leader_that_stays_away_leaves_the_transaction_in_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    brokers = Brokers(2, [])
    writer = writer_for(brokers, monkeypatch)
    await writer.start()
    writer._timeout_s = 0.05
    brokers.happens = ["moved"] * 1_000_000
    with pytest.raises(InDoubtError, match="TimeoutError"):
        await writer.commit([Outgoing("a", 0, b"k", b"v")])
    assert not brokers.committed


async def test_features_that_the_cluster_has_agreed_on_tell_the_version() -> None:
    agreed = b"\x03\x11metadata.version\x00\x1d\x00\x1d\x00\x14transaction.version\x00\x02\x00\x02\x00"

    class Told:
        async def send(self, _node_id: int, request: Any) -> Any:
            struct = request.prepare({18: (0, 4)})
            head = b"\x00\x00" + b"\x01" + b"\x00\x00\x00\x00"
            return struct.RESPONSE_TYPE.decode(BytesIO(head + b"\x01\x02" + bytes([len(agreed)]) + agreed))

    class Old:
        async def send(self, _node_id: int, request: Any) -> Any:
            request.prepare({18: (0, 2)})

    assert await transaction_version(Told(), 0) == 2
    assert await transaction_version(Old(), 0) == 0
