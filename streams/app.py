"""The composition root: settings → Faust app with the batch transport, the engine and its agents.

Both `faust -A streams.app worker` and `milestones worker` use it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Any
from zlib import crc32

import faust
from aiokafka.errors import KafkaError
from faust.app.base import BootStrategy
from faust.tables.manager import TableManager
from faust.worker import Worker

from schemas.facts import USUAL_FAMILIES
from streams.context import Context
from streams.domain.hotpath import WHY_PYTHON
from streams.errors import ExpectedError, FaultyRecordError
from streams.installation import load_settings
from streams.kafka.admin import check_rights, plan_topics, refuse
from streams.kafka.client_options import client_options, servers_of
from streams.kafka.connection import tell_refusals
from streams.kafka.coordinator import quiet_coordinator
from streams.kafka.log import Partition
from streams.kafka.permissions import denial
from streams.kafka.refusals import group_refusal, refusal
from streams.kafka.rights import Operation, rights_of
from streams.kafka.transactions import quiet_abandoned_futures
from streams.kafka.transport import BatchConsumer, BatchTopic, BatchTransport
from streams.settings import state_dir
from streams.worker import agents
from streams.worker.assignor import SharesAssignor
from streams.worker.engine import Engine
from streams.worker.heartbeat import Heartbeat
from streams.worker.identity import claim_instance
from streams.worker.reporter import WorkerReporter
from streams.worker.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from faust.types.tuples import TP

    from streams.settings import Settings

logger = logging.getLogger(__name__)

#: After a signal, the process exits after this time even if not everything is closed.
_SHUTDOWN_S = 4.5
#: How often to check whether all partitions are open, before which the clients that are asked for topic ids may not exist.
_FIRST_LOOK_S = 0.5
#: A worker hears of a rebalance, as when another one is lost, from the answer to its next heartbeat.
_HEARTBEAT_S = 1.0
#: Records per fetch call; bounds how long one batch occupies the event loop (about 30 ms).
_POLL_RECORDS = 6000
#: Batches that wait between fetching and the runner.
_BUFFERED_BATCHES = 2


class _Boot(BootStrategy):
    """Starts no web server: Faust's binds every interface and serves table data to anyone."""

    def web_server(self) -> Iterable[Any]:
        return []


class _NoTables(TableManager):
    """The table manager of an app without tables: does not wait a second for agents to register theirs."""

    async def on_start(self) -> None:
        """Called at start."""
        await self._update_channels()
        await self.recovery.start()


class MilestonesWorker(Worker):
    """Faust's worker with a bounded shutdown time."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # A spinner would write escape sequences into logs.
        self.spinner = None

    async def on_startup_finished(self) -> None:
        """Prints that the worker has joined its group."""
        await super().on_startup_finished()
        line = f"milestones: worker {self.app.instance} has joined group {self.app.conf.id}"
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - for the operator

    async def _sentinel_task(self) -> None:
        """Runs last in the event loop; Faust's own sleeps for a second."""
        await asyncio.sleep(0)

    def _on_sigint(self) -> None:
        _end_within(_SHUTDOWN_S, 130)
        super()._on_sigint()

    def _on_sigterm(self) -> None:
        _end_within(_SHUTDOWN_S, 0)
        super()._on_sigterm()


def _end_within(seconds: float, code: int) -> None:
    """Ends the process if a clean shutdown takes too long, which is safe: committed state is always complete."""
    timer = threading.Timer(seconds, os._exit, args=(code,))
    timer.daemon = True
    timer.start()


def member_name(instance: str, context: Context) -> str:
    """A worker's member name in its group, which changes whenever the topics it reads change, or it may keep standby copies.

    A group gives a member that returns under its name what it had before, without asking what it reads now: an added topic would
    stay unread until the next rebalance.
    """
    settings, catalogue = context.settings, context.catalogue
    more = [f"totals={settings.totals_partitions}"] if settings.totals_partitions > 1 else []
    more += [f"standbys={settings.standby_copies}"] if settings.standby_copies else []
    # Topics that a later version has added: in a rolling upgrade, workers return under their names to a group of the earlier one.
    sources, others = context.source_topics, (catalogue.questions, catalogue.counts, catalogue.sides)
    known = {*sources.published, sources.rerouted, *context.side_topics, *(topic.name for topic in others)}
    more += sorted({*context.ledger_topics, *context.totals_topics} - known)
    if not settings.topics.model_fields_set and settings.families == USUAL_FAMILIES and not more:
        return instance
    return f"{instance}-{crc32(','.join([*context.source_topics.published, *more]).encode()):08x}"


class MilestonesApp(faust.App):
    """The Faust app: consumer group, agents and life cycle; the state is the engine's."""

    BootStrategy = _Boot

    def __init__(self, context: Context, instance: str) -> None:
        settings = context.settings
        datadir = state_dir(settings) / "faust" / instance
        datadir.mkdir(parents=True, exist_ok=True)
        super().__init__(
            settings.group_id,
            broker=[f"kafka://{server}" for server in servers_of(settings)],
            datadir=str(datadir),
            consumer_group_instance_id=member_name(instance, context),
            topic_partitions=settings.partitions,
            topic_disable_leader=True,
            topic_allow_declare=False,
            web_enabled=False,
            stream_wait_empty=False,
            stream_buffer_maxsize=_BUFFERED_BATCHES,
            consumer_auto_offset_reset="earliest",
            broker_max_poll_records=_POLL_RECORDS,
            broker_session_timeout=settings.session_timeout_s,
            broker_heartbeat_interval=min(settings.session_timeout_s / 5, _HEARTBEAT_S),
            broker_rebalance_timeout=60.0,
            broker_check_crcs=False,
            agent_supervisor="mode.CrashingSupervisor",
            worker_redirect_stdouts=False,
            Worker=MilestonesWorker,
            PartitionAssignor=SharesAssignor,
            TableManager=_NoTables,
            consumer_metadata_max_age_ms=int(settings.metadata_max_age_s * 1000),
            Topic=BatchTopic,
        )
        self.transport = BatchTransport(self.conf.broker_consumer, self)
        self.context = context
        self.instance = instance
        self.failure: BaseException | None = None
        self._watch = Watch(settings, self._fail)
        self.engine = Engine(context, instance, self._fail, self._watch.look)
        self._reporter = WorkerReporter(context, instance, self.engine, self._watch.look)
        self._heartbeat = Heartbeat(state_dir(settings) / "health" / instance, lambda: self.engine.settled)
        self.on_partitions_revoked.connect(self._before_rebalance)
        agents.register(self, self.engine)

    def client_options(self) -> dict[str, Any]:
        """Connection options for the driver's consumer."""
        return client_options(self.context.settings)

    async def on_trouble(self, error: BaseException) -> None:
        """Called by the driver when its consumer gets an error; ends the worker if the cluster rejects it."""
        denied = denial(error, Operation.READ)
        if denied is not None:
            await self._fail(denied)
        await self._watch.look()

    def on_position_lost(self, tp: TP, offset: int) -> None:
        """Called by the driver when a partition has nothing at a position: it was recreated or trimmed, and the state can tell."""
        self.engine.doubt(Partition(tp.topic, tp.partition), offset)

    async def on_failed_start(self, error: BaseException) -> None:
        """Called by the driver when one of its clients cannot be started: ends the worker with the reason."""
        settings = self.context.settings
        await self._fail(denial(error) or await refusal(settings, client_options(settings), error))

    async def on_batch_assignment(self, held: set[TP]) -> Mapping[TP, int]:
        """Called by the consumer after every assignment."""
        try:
            return await self.engine.assigned(held, self.assignor.standbys())
        except Exception as error:  # noqa: BLE001 - inside a rebalance Faust would only log it and idle on
            await self._fail(error)
            return {}

    async def on_start(self) -> None:
        """Checks what can be checked before joining the group."""
        try:
            await check_rights(self.context.settings, rights_of("worker", self.context.settings))
            await _check_topics(self.context.settings)
        except ExpectedError as error:
            _say_and_exit(error)
        consumer: BatchConsumer = self.consumer
        self.engine.attach(consumer)
        tell_refusals(self._watch.begin)
        _tune_interpreter()
        if WHY_PYTHON:
            logger.warning(
                "the hot path runs in Python, %s: the results are the same, at a fraction of the speed", WHY_PYTHON
            )
            if self.context.settings.orders_in == "file":
                logger.warning('orders_in = "file" needs the compiled hot path: orders are kept in memory')
        await super().on_start()
        self._reporter.start()
        self.add_future(self._look_at_topics())
        self._heartbeat.start()

    async def _look_at_topics(self) -> None:
        """Checks from time to time whether the source topics are still the same."""
        while not self.should_stop and not self.engine.settled:
            await self.sleep(_FIRST_LOOK_S)
            # Before the first assignment nothing is fetched, and no fetch would tell why there is none.
            consumer: BatchConsumer = self.consumer
            error = consumer.group_error()
            if error is not None:
                await self._fail(denial(error) or group_refusal(self.context.settings, error))
        while not self.should_stop:
            with contextlib.suppress(KafkaError):
                await self.engine.look_at_topics()
            await self.sleep(self.context.settings.metadata_max_age_s)

    async def on_stop(self) -> None:
        """Closes every state before the consumer leaves."""
        self._heartbeat.stop()
        await asyncio.gather(self.engine.stop(), self._reporter.stop())
        await super().on_stop()

    async def _before_rebalance(self, app: Any, revoked: set[TP], **_: Any) -> None:
        del app, revoked
        await self.engine.quiesce()

    async def _fail(self, error: BaseException) -> None:
        """Ends the worker: one line for an expected failure, a traceback for a bug."""
        if self.failure is not None:
            return
        self.failure = error
        if isinstance(error, ExpectedError):
            _say_and_exit(error)
        logger.critical("the worker ends: %r", error, exc_info=error)
        if isinstance(error, FaultyRecordError):
            _say_and_exit(ExpectedError(str(error), exit_code=1))
        _end_within(_SHUTDOWN_S, 1)
        await self.crash(error)


def _tune_interpreter() -> None:
    """Makes garbage collection rare, and exempts long-lived objects.

    Batches create hundreds of thousands of short-lived objects without cycles: at the default threshold the collector would walk
    them, and the orders in memory, again and again for nothing.
    """
    gc.collect()
    gc.freeze()
    # A full collection takes a fifth of a second even with few orders, so it has to be very rare. One of the youngest generation
    # takes 5 to 20 ms when all of it is still alive, as counts are during opening.
    gc.set_threshold(25_000, 400, 1000)
    # While threads restore orders, let the event loop, which fetches them, run ten times as often: at the default of 5 ms it would
    # wait that long for every piece.
    sys.setswitchinterval(0.0005)


async def _check_topics(settings: Settings) -> None:
    plan = await plan_topics(settings)
    refuse(plan)
    if plan.create:
        more = f" (and {len(plan.create) - 1} more)" if len(plan.create) > 1 else ""
        raise ExpectedError(
            f"{plan.create[0].name} does not exist{more}: run milestones topics apply",
            exit_code=3,
        )
    for name, changes in plan.alter.items():
        was, wanted = changes.get("message.timestamp.type", ("", ""))
        if wanted:
            raise ExpectedError(
                f"{name} has message.timestamp.type={was or 'CreateTime'}, {wanted} is needed: run milestones topics apply",
                exit_code=3,
            )


def _say_and_exit(error: ExpectedError) -> None:
    sys.stdout.flush()
    print(f"milestones: {error}", file=sys.stderr, flush=True)  # noqa: T201 - the last words of the process
    # Exiting at once cannot hang; anything uncommitted is in a transaction and will be aborted.
    os._exit(error.exit_code)


def create_app(settings: Settings, instance: str | None = None) -> MilestonesApp:
    """Builds the app of one worker.

    Args:
        settings: As loaded.
        instance: The worker's name in the group; by default the host's name and the first free number on this machine.
    """
    quiet_abandoned_futures()
    quiet_coordinator()
    context = Context(settings)
    return MilestonesApp(context, claim_instance(settings, instance))


def worker_log_level() -> str:
    """Log level of workers: `MILESTONES_LOG_LEVEL`, by default WARNING."""
    return os.environ.get("MILESTONES_LOG_LEVEL", "WARNING").upper()


def _app_of_the_environment() -> MilestonesApp:
    try:
        return create_app(load_settings(), os.environ.get("MILESTONES_INSTANCE"))
    except ExpectedError as error:
        print(f"milestones: {error}", file=sys.stderr)  # noqa: T201 - Faust would show a traceback
        sys.exit(error.exit_code)


def __getattr__(name: str) -> Any:
    # Faust looks up `app` for `-A streams.app`; importing the module must not read the environment.
    if name == "app":
        application = _app_of_the_environment()
        globals()["app"] = application
        return application
    raise AttributeError(name)


__all__ = ["MilestonesApp", "create_app", "worker_log_level"]
