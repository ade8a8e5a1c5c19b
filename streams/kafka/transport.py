"""Faust's Kafka driver with three changes.

Each fetch of a partition becomes one message, whose value is a `Batch`. Positions come from the state that reads the partition,
not from the group's committed offsets. Everything is read with `read_committed`. Group membership, heartbeats, fetching and
flow control are Faust's.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import faust
from aiokafka.consumer.fetcher import FetchError, PartitionRecords
from aiokafka.errors import CorruptRecordException, KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import TP, ConsumerMessage
from mode.utils.futures import maybe_async

from schemas import hotpath
from streams.kafka.log_ends import LogEnd, LogEnds
from streams.kafka.long_poll import LongPollConsumer
from streams.kafka.reading_order import OnTheirWay, Patience, reading_order
from streams.kafka.records import FetchedRecord
from streams.kafka.topic_ids import topic_ids
from streams.kafka.whole_batches import WholeBatches, misplaced, take_whole

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence

    from aiokafka import AIOKafkaConsumer

    from streams.kafka.records import LogRecord

#: Fetch size per partition. Measured: 4 MiB is a sixth slower and needs twice the memory, half a MiB is a tenth slower.
_FETCH_BYTES = 1 << 20


class Batch(NamedTuple):
    """What one fetch of a partition brought.

    If there are no records, only transaction markers and aborted records lie between `first` and `next`. Batches are delivered
    in order: once one has been taken, so has everything before it.
    """

    topic: str
    partition: int
    epoch: int  # rises with every seek: a batch with an older one is stale
    first: int  # position before the fetch
    next: int  # position after it
    end: int  # end of the partition by the broker's last answer
    records: Sequence[LogRecord]


@dataclass
class _Position:
    """How far batches of a partition have been handed over since the last seek."""

    epoch: int
    offset: int
    is_sought: bool = False


class NothingRead(dict[TP, None]):
    """Replaces Faust's memory of the last offset read, and remembers nothing.

    Faust drops messages below that offset, which it records only once a message has found room, possibly long after a seek back:
    refetched records would be dropped. The runner knows which records are new.
    """

    def __missing__(self, key: TP) -> None:
        """No offset was read."""

    def __setitem__(self, key: TP, value: Any) -> None:
        """Ignores the offset."""


class BatchConsumer(driver.Consumer):
    """Yields one message per partition and fetch; seeks to where the runners say."""

    #: Called after every assignment, before the flow resumes, with the partitions now held. Returns the positions of those that
    #: are ready; the others are not fetched until `reposition` is called for them.
    assigned: Callable[[set[TP]], Coroutine[Any, Any, Mapping[TP, int]]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._read_offset = NothingRead()
        self._positions: dict[TP, _Position] = {}
        self._undelivered: set[TP] = set()
        self.assigned = self.app.on_batch_assignment

    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return _ConsumerInLoop(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:  # noqa: ASYNC109 - Faust's signature
        """Yields one message per partition whose value is a `Batch`.

        The fetcher counts records as consumed once it has returned them, so whatever is not yielded here is fetched again: a
        batch lost in between must not be skipped.
        """
        await self._fetch_undelivered_again()
        before = {tp: position.epoch for tp, position in self._positions.items()}
        try:
            fetched, active = await self._wait_next_records(timeout)
        except KafkaError as error:
            await self.app.on_trouble(error)
            raise
        generation = self.app.consumer_generation_id
        reached = self._reached(before, active)
        records = {TP(tp.topic, tp.partition): found for tp, found in (fetched or {}).items()}
        self._undelivered.update(records)
        if self.should_stop:
            return
        if not self.flow_active:
            if fetched:
                await self.perform_seek()
            return
        for tp, following in reached.items():
            if self.app.consumer_generation_id != generation or not self.flow_active:
                return
            position = self._positions.get(tp)
            if position is not None and before[tp] == position.epoch:
                # Otherwise there was a seek in the meantime, and the records are from the old position.
                self._undelivered.discard(tp)
                yield tp, self._message(tp, position, following, records.get(tp, []), generation)

    async def _fetch_undelivered_again(self) -> None:
        """Seeks back to the first record that was fetched but not yielded."""
        held = self.held() if self._undelivered else set()
        for tp in list(self._undelivered):
            self._undelivered.discard(tp)
            position = self._positions.get(tp)
            if position is not None and position.is_sought and tp in held:
                await self._go_to(tp, position)

    def _reached(self, before: Mapping[TP, int], active: set[TP] | None) -> dict[TP, int]:
        """The fetcher's positions in the partitions where it has advanced.

        To be called as soon as it has returned: later it may be ahead of what it returned.
        """
        reached = {}
        for tp, position in self._positions.items():
            if active is not None and tp not in active and tp not in self._buffered_partitions:
                continue
            if not position.is_sought or before.get(tp) != position.epoch:
                continue
            offset = self._thread.fetcher_position(tp)
            if offset is not None and offset > position.offset:
                reached[tp] = offset
        return reached

    def _message(
        self, tp: TP, position: _Position, following: int, records: Sequence[LogRecord], generation: int
    ) -> ConsumerMessage:
        batch = Batch(tp.topic, tp.partition, position.epoch, position.offset, following, self.end(tp), records)
        position.offset = following
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            following - 1,
            records[-1].timestamp / 1000.0 if records else time.time(),
            records[-1].timestamp_type if records else 0,
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
        """Seeks to the positions of the states; partitions that are still being opened stay paused."""
        held = set(self.assignment())
        ready = await self.assigned(held)
        for tp in set(self._positions) - held:
            del self._positions[tp]
        waiting = held - set(ready)
        self.pause_partitions(waiting)
        for tp, offset in ready.items():
            await self.reposition(tp, offset)

    async def reposition(self, partition: tuple[str, int], offset: int) -> int:
        """Seeks to `offset` and resumes the partition. Returns the epoch that its batches will carry."""
        tp = TP(*partition)  # Faust asserts its own class
        known = self._positions.get(tp)
        epoch = known.epoch + 1 if known else 1
        position = self._positions[tp] = _Position(epoch, offset)
        await self._go_to(tp, position)
        self.resume_partitions({tp})
        return epoch

    async def _go_to(self, tp: TP, position: _Position) -> None:
        position.is_sought = False
        self._undelivered.discard(tp)
        await self._seek(tp, position.offset)
        position.is_sought = True

    def epoch(self, tp: TP) -> int:
        """The epoch of the last seek, 0 before the first."""
        position = self._positions.get(tp)
        return position.epoch if position else 0

    async def topic_ids(self, topics: Iterable[str]) -> dict[str, str]:
        """The id of each topic; see `streams.kafka.topic_ids`.

        Raises:
            KafkaError: The cluster does not answer.
        """
        return await topic_ids(self._thread._ensure_consumer()._client, topics)  # noqa: SLF001 - aiokafka has no request for it

    def group_error(self) -> KafkaError | None:
        """Why the group does not take this member, if it will not."""
        consumer = self._thread._consumer if self._thread is not None else None  # noqa: SLF001 - it may not have started yet
        error = getattr(
            getattr(consumer, "_coordinator", None), "_pending_exception", None
        )  # else the next fetch raises it
        return error if isinstance(error, KafkaError) else None

    def held(self) -> set[TP]:
        """The partitions assigned now."""
        return set(self.assignment())

    def end(self, tp: tuple[str, int]) -> int:
        """The end of a partition by the broker's last answer, 0 before the first; says nothing about what has been read."""
        return int(self.highwater(tp) or 0)

    def log_end(self, tp: tuple[str, int]) -> LogEnd | None:
        """The end with the moment for which it holds; `None` before the first answer that counts."""
        found: LogEnd | None = self._thread.log_ends.get(tp)
        return found

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Checks nothing: Faust would look for its own commits here, and take a fetch that waits for a fetch that is missing."""


class _DatingConsumer(LongPollConsumer):
    """Notes for every fetch answer when the fetch was sent.

    The answer is at least as recent as that. Its arrival time proves nothing: records may have been appended since it was made,
    while the leader was away or this process slept.
    """

    def __init__(
        self, now_us: Callable[[], int], log_ends: LogEnds, lost: Callable[[TP, int], None], **options: Any
    ) -> None:
        super().__init__(**options)
        self._now_us = now_us
        self._log_ends = log_ends
        self._lost = lost
        #: Answers being processed, by the identity of their request.
        self._answers: dict[int, Any] = {}

    def _hear(self, request: Any, answer: Any) -> None:
        self._answers[id(request)] = answer

    async def start(self) -> None:
        """Starts the consumer."""
        await super().start()
        self._process = self._fetcher._proc_fetch_request  # noqa: SLF001 - aiokafka says when an answer came, not when it was asked for
        self._fetcher._proc_fetch_request = self._process_and_note  # noqa: SLF001 - the same

    async def _process_and_note(self, assignment: Any, node_id: int, request: Any) -> bool:
        asked_us, asked_s = self._now_us(), time.monotonic()
        offsets = {
            TP(topic, number): offset for topic, partitions in request.topics for number, offset, *_ in partitions
        }
        states = {tp: assignment.state_value(tp) for tp in offsets}
        before = {tp: state.timestamp for tp, state in states.items()}
        for state in states.values():
            state.timestamp = None  # it is in milliseconds, so two answers could have the same
        try:
            has_records: bool = await self._process(assignment, node_id, request)
        finally:
            answer = self._answers.pop(id(request), None)
        data = _data_of(answer) if answer is not None else {}
        for tp, offset in offsets.items():
            self._choose_form(tp, offset, data.get(tp, b""))
        if assignment.active:
            self._tell_lost(offsets, states)
        for tp, state in states.items():
            if state.timestamp is None:
                state.timestamp = before[tp]
                self._log_ends.missed(tp)
            else:
                self._log_ends.answered(tp, node_id, state.highwater, asked_us=asked_us, asked_s=asked_s)
        return has_records

    def _choose_form(self, tp: TP, offset: int, data: bytes) -> None:
        """Makes the fetcher return what was fetched from an offset in the form that the hot path takes."""
        result = self._fetcher._records.get(tp)  # noqa: SLF001 - what waits to be taken
        fetched = getattr(result, "_partition_records", None)
        if not isinstance(fetched, PartitionRecords):
            return
        fetched._consumer_record = _fetched_record  # noqa: SLF001 - a consumer cannot choose what it makes of a record
        # If the answer was no longer wanted, the waiting records are from another one.
        if fetched.next_fetch_offset != offset:
            return
        wrong = misplaced(data, offset)
        if wrong is not None:
            reason = f"{tp.topic}-{tp.partition}: a batch said to be at offset {wrong} is out of order in what was fetched from {offset}"
            self._fetcher._records[tp] = FetchError(error=CorruptRecordException(reason), backoff=0)  # noqa: SLF001 - as for other answers that are refused
        elif hotpath.records is not None and WholeBatches.can_read(data):
            aborted = fetched._aborted_transactions  # noqa: SLF001 - as the broker has listed them
            take_whole(result, WholeBatches(tp.topic, tp.partition, data, offset, aborted, hotpath.records))

    def _tell_lost(self, offsets: Mapping[TP, int], states: Mapping[TP, Any]) -> None:
        """Reports positions at which the broker has nothing: it was asked for them, and aiokafka now resets its position."""
        for tp, offset in offsets.items():
            if states[tp].awaiting_reset:
                self._lost(tp, offset)


def _data_of(answer: Any) -> dict[tuple[str, int], bytes]:
    """Partition → the bytes of the batches that a fetch has brought."""
    return {
        (topic, number): bytes(data[-1] or b"")
        for topic, partitions in answer.topics
        for number, _, _, *data in partitions
    }


def _fetched_record(tp: Any, record: Any) -> FetchedRecord:
    return FetchedRecord(
        tp.topic,
        tp.partition,
        record.offset,
        record.timestamp,
        record.timestamp_type,
        record.key,
        record.value,
        tuple(record.headers),
    )


class _ConsumerInLoop(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread without the thread: the consumer runs in the event loop of the app.

    Faust's thread keeps agents' long computations from delaying heartbeats. Here a batch takes some 50 ms and restoring runs in a
    thread, while a second thread on the same interpreter lock costs a third of the throughput.
    """

    wait_for_shutdown = False

    def __init__(self, consumer: BatchConsumer, *, loop: Any, beacon: Any) -> None:
        super().__init__(consumer, loop=loop, thread_loop=loop, beacon=beacon)
        self.log_ends = LogEnds()
        self._patience = Patience()
        self._on_their_way = OnTheirWay()

    async def start(self) -> None:
        """Starts the consumer."""
        self._thread_started.set()
        try:
            await self._default_start()
        except KafkaError as error:
            await self.consumer.app.on_failed_start(error)
            raise

    async def on_stop(self) -> None:
        """Stops the consumer."""
        await self.on_thread_stop()

    def fetcher_position(self, tp: TP) -> int | None:
        """The fetcher's position; `None` while it has none."""
        state = self._state(tp)
        return int(state.position) if state is not None and state.has_valid_position else None

    def _has_more(self, tp: TP) -> bool:
        """Whether the broker's last answer says that there are records behind the fetcher's position."""
        state, position = self._state(tp), self.fetcher_position(tp)
        return state is not None and position is not None and state.lso is not None and position < state.lso

    def _state(self, tp: TP) -> Any:
        assignment = self._ensure_consumer()._subscription.subscription.assignment  # noqa: SLF001 - aiokafka has no other way to ask without waiting
        return assignment.state_value(tp) if assignment is not None and tp in assignment.tps else None

    def _stopped_set(self) -> None:
        self._stopped.set()

    async def _stop_children(self) -> None:
        await self._default_stop_children()

    async def _stop_futures(self) -> None:
        await self._default_stop_futures()

    async def _stop_exit_stacks(self) -> None:
        await self._default_stop_exit_stacks()

    async def call_thread(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Calls the method directly: the consumer is in the same event loop."""
        return await maybe_async(fun(*args, **kwargs))

    async def cast_thread(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """As `call_thread`, for methods without a result."""
        await maybe_async(fun(*args, **kwargs))

    async def _fetch_records(
        self,
        consumer: AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,  # noqa: ASYNC109 - Faust's signature
        max_records: int | None = None,
    ) -> Any:
        """Fetches, but first raises any error of the group coordination, as aiokafka's own methods do.

        Else an error between two fetches would be lost, and the coordination would wait for ever for it to be handled.
        """
        consumer._coordinator.check_errors()  # noqa: SLF001 - Faust fetches past the methods that look
        later = self._put_in_order(consumer, active_partitions)
        if later:
            active_partitions = active_partitions - later
            if not consumer._fetcher._records.keys().isdisjoint(active_partitions):  # noqa: SLF001 - what waits to be taken
                timeout = 0
        return await super()._fetch_records(consumer, active_partitions, timeout=timeout, max_records=max_records)

    def _put_in_order(self, consumer: AIOKafkaConsumer, active: set[TP]) -> frozenset[tuple[str, int]]:
        """Sets how far each source partition is read now. Returns those that wait for others."""
        context = self.consumer.app.context
        waiting, missing = {}, []
        for tp in active if len(active) > 1 else ():
            batches = getattr(consumer._fetcher._records.get(tp), "_partition_records", None)  # noqa: SLF001 - what waits to be taken
            if tp.topic in context.source_topics.numbers:
                if isinstance(batches, WholeBatches):
                    waiting[tp.topic, tp.partition] = batches
                elif self._has_more(tp):
                    missing.append((tp.topic, tp.partition))
        heads_ms = {place: batches.head_ms for place, batches in waiting.items()}
        if heads_ms:
            heads_ms |= self._on_their_way.heads_ms(heads_ms, missing, time.monotonic())
        homes, now_ms = context.settings.partitions, context.now_us() // 1000
        order = reading_order(heads_ms, homes, now_ms)
        impatient = self._patience.is_over_for(order.later, time.monotonic())
        if impatient:
            order = reading_order(heads_ms, homes, now_ms, impatient)
        for place, batches in waiting.items():
            batches.until_ms = order.until_ms.get(place)
        return frozenset(TP(*place) for place in order.later)

    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:  # noqa: ARG002 - Faust's signature
        """A consumer that reads committed records only, which Faust's does only if Faust itself uses transactions."""
        conf = self.app.conf
        self._assignor = self.app.assignor
        return _DatingConsumer(
            self.app.context.now_us,
            self.log_ends,
            self.app.on_position_lost,
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
            request_timeout_ms=int(conf.broker_request_timeout * 1000.0),
            check_crcs=conf.broker_check_crcs,
            session_timeout_ms=int(conf.broker_session_timeout * 1000.0),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000.0),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000.0),
            isolation_level="read_committed",
            metadata_max_age_ms=conf.consumer_metadata_max_age_ms,
            connections_max_idle_ms=conf.consumer_connections_max_idle_ms,
        )


class _SettingsProducer(driver.Producer):
    """Faust's own producer, connected according to our settings: Faust starts it although nothing is sent with it."""

    def _settings_auth(self) -> Mapping[str, Any]:
        options: Mapping[str, Any] = self.app.client_options()
        return options

    async def on_start(self) -> None:
        """Starts the producer."""
        try:
            await super().on_start()
        except KafkaError as error:
            await self.app.on_failed_start(error)
            raise


class BatchTransport(driver.Transport):
    """The driver with the batching consumer."""

    Consumer = BatchConsumer
    Producer = _SettingsProducer


class BatchTopic(faust.Topic):
    """A topic whose messages are batches, which need no decoding."""

    def get_topic_name(self) -> str:
        """The names of all its topics: Faust's own method accepts only one; the result is used to list agents."""
        return ", ".join(self.topics)

    async def decode(self, message: Any, *, propagate: bool = False) -> Any:  # noqa: ARG002 - Faust's signature
        """Wraps the batch unchanged."""
        return self._create_event(None, message.value, None, message=message)
