"""Faust's Kafka driver, moving whole batches.

Three small changes to the driver: a fetch of a partition becomes one message whose value is the list of its records;
positions come from the state of whoever keeps the partition, not from the group's committed offsets; everything is
read `read_committed`. The rest (group membership, heartbeats, fetching, flow control) is Faust's.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import faust
from aiokafka import AIOKafkaConsumer
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import TP, ConsumerMessage
from mode.utils.futures import maybe_async

from streams.errors import ExpectedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping

logger = logging.getLogger(__name__)

#: Fetch size a partition. 4 MiB is slower by a sixth and holds twice the memory, half a MiB is slower by a tenth (measured).
_FETCH_BYTES = 1 << 20
#: One request asks for all partitions, but for those whose records still wait to be taken: these are not asked for until it
#: returns, so this bounds how long their next records go unnoticed.
_FETCH_WAIT_MS = 10


class Batch(NamedTuple):
    """What one fetch of a partition brought."""

    topic: str
    partition: int
    epoch: int  # rises with every seek: a batch fetched before it is stale
    first: int  # position before the fetch
    next: int  # position after it
    end: int  # end of the partition as the broker last said
    records: list[Any]


@dataclass
class _Position:
    epoch: int
    offset: int


class BatchConsumer(driver.Consumer):
    """One message per partition and fetch; seeks where the keepers say."""

    #: Called after every assignment, before the flow resumes, with the partitions now held. Returns the positions
    #: of those that are ready; the others are left out of fetching until `reposition` names theirs.
    assigned: Callable[[set[TP]], Coroutine[Any, Any, Mapping[TP, int]]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._positions: dict[TP, _Position] = {}
        self.assigned = self.app.on_batch_assignment

    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return _ConsumerInLoop(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:  # noqa: ASYNC109 - Faust's signature
        """Yields one message per partition whose value is a `Batch`."""
        before = {tp: position.epoch for tp, position in self._positions.items()}
        fetched, active = await self._wait_next_records(timeout)
        generation = self.app.consumer_generation_id
        if not fetched or self.should_stop:
            return
        if not self.flow_active:
            await self.perform_seek()
            return
        for partition, records in fetched.items():
            if self.app.consumer_generation_id != generation or not self.flow_active:
                return
            tp = TP(partition.topic, partition.partition)
            position = self._positions.get(tp)
            if position is None or (active is not None and tp not in active and tp not in self._buffered_partitions):
                continue
            if before.get(tp) != position.epoch:
                # Sought while the fetch was under way: what it brought is from the old place.
                await self._seek(tp, position.offset)
                continue
            yield tp, self._message(tp, position, records, generation)

    def _message(self, tp: TP, position: _Position, records: list[Any], generation: int) -> ConsumerMessage:
        last = records[-1]
        end = self.highwater(tp) or 0
        batch = Batch(tp.topic, tp.partition, position.epoch, position.offset, last.offset + 1, end, records)
        position.offset = last.offset + 1
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1000.0,
            last.timestamp_type,
            (),
            None,
            batch,
            None,
            0,
            0,
            tp,
            generation_id=generation,
        )

    async def perform_seek(self) -> None:
        """Goes to the positions found in the state; partitions still being opened stay out of fetching."""
        held = set(self.assignment())
        ready = await self.assigned(held)
        for tp in set(self._positions) - held:
            del self._positions[tp]
        waiting = held - set(ready)
        self.pause_partitions(waiting)
        for tp, offset in ready.items():
            await self.reposition(tp, offset)

    async def reposition(self, tp: TP, offset: int) -> int:
        """Goes to `offset` and lets the partition be fetched. Returns the epoch that its batches will carry."""
        known = self._positions.get(tp)
        epoch = known.epoch + 1 if known else 1
        self._positions[tp] = _Position(epoch, offset)
        await self._seek(tp, offset)
        # Faust drops messages below the offset it read last; whether a record is new is the keeper's business.
        self._read_offset[tp] = None
        self.resume_partitions({tp})
        return epoch

    def epoch(self, tp: TP) -> int:
        """The epoch of the last seek, 0 if there was none."""
        position = self._positions.get(tp)
        return position.epoch if position else 0

    def held(self) -> set[TP]:
        """The partitions now assigned."""
        return set(self.assignment())

    async def fetch_position(self, tp: TP) -> tuple[int, int]:
        """Position of the fetcher, past control records, and the end of the partition."""
        return int(await self.position(tp) or 0), int(self.highwater(tp) or 0)


class _ConsumerInLoop(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread, without the thread: the consumer runs in the loop of the app.

    Faust keeps it in a thread of its own so that an agent that computes for long does not hold up the heartbeats. Here
    nothing computes for long (a batch takes some 50 ms, restoring runs in a thread), and two threads that share one
    interpreter lock cost a third of the throughput and milliseconds of latency for each call from one to the other.
    """

    wait_for_shutdown = False

    def __init__(self, consumer: BatchConsumer, *, loop: Any, beacon: Any) -> None:
        super().__init__(consumer, loop=loop, thread_loop=loop, beacon=beacon)

    async def start(self) -> None:
        """Starts the consumer."""
        self._thread_started.set()
        await self._default_start()

    async def on_stop(self) -> None:
        """Stops the consumer."""
        await self.on_thread_stop()

    def _stopped_set(self) -> None:
        self._stopped.set()

    async def _stop_children(self) -> None:
        await self._default_stop_children()

    async def _stop_futures(self) -> None:
        await self._default_stop_futures()

    async def _stop_exit_stacks(self) -> None:
        await self._default_stop_exit_stacks()

    async def call_thread(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Calls the method of the consumer, which is in the same loop."""
        return await maybe_async(fun(*args, **kwargs))

    async def cast_thread(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """The same, for what gives no answer."""
        await maybe_async(fun(*args, **kwargs))

    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:  # noqa: ARG002 - Faust's signature
        """Faust reads uncommitted records unless its own transactions are on; here all is read committed."""
        conf = self.app.conf
        self._assignor = self.app.assignor
        return AIOKafkaConsumer(
            **self.app.client_options(),
            client_id=conf.broker_client_id,
            group_id=conf.id,
            group_instance_id=conf.consumer_group_instance_id,
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_records=conf.broker_max_poll_records,
            max_poll_interval_ms=int(conf.broker_max_poll_interval * 1000.0),
            max_partition_fetch_bytes=_FETCH_BYTES,
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            request_timeout_ms=int(conf.broker_request_timeout * 1000.0),
            check_crcs=conf.broker_check_crcs,
            session_timeout_ms=int(conf.broker_session_timeout * 1000.0),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000.0),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000.0),
            isolation_level="read_committed",
            metadata_max_age_ms=conf.consumer_metadata_max_age_ms,
            connections_max_idle_ms=conf.consumer_connections_max_idle_ms,
        )


class BatchTransport(driver.Transport):
    """The driver with the batching consumer."""

    Consumer = BatchConsumer


class BatchTopic(faust.Topic):
    """A topic whose messages are batches: nothing to decode here."""

    def get_topic_name(self) -> str:
        """The name, or the names of a topic that is several: Faust's own lists agents by it."""
        return ", ".join(self.topics)

    async def decode(self, message: Any, *, propagate: bool = False) -> Any:  # noqa: ARG002 - Faust's signature
        """Wraps the batch as it is."""
        return self._create_event(None, message.value, None, message=message)


def assert_copartitioned(held: set[TP], groups: list[tuple[str, ...]]) -> None:
    """Every topic of a group must be held with the same partitions: one owner keeps them together.

    Raises:
        ExpectedError: They are not; the worker must not go on.
    """
    for topics in groups:
        numbers = {topic: {tp.partition for tp in held if tp.topic == topic} for topic in topics}
        if len({frozenset(value) for value in numbers.values()}) > 1:
            raise ExpectedError(
                f"the group assigned {', '.join(topics)} unevenly ({numbers}): all need the same number of partitions; "
                "check with milestones topics plan",
                exit_code=3,
            )
