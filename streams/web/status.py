"""The health of the service, for people: the header of each page, and the heartbeat of the stream."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict

from schemas.instants import format_instant
from schemas.outputs import Books, PartitionStatus, SourceStatus, WorkerStatus
from streams.domain.scopes.limit_usage import limit_uses
from streams.settings import installation_digest
from streams.web.times import text_of, text_of_ms

if TYPE_CHECKING:
    from streams.settings import Settings
    from streams.web.readmodel import Snapshot
    from streams.web.topic_follower import FollowState

#: A worker reports every 1.5 s.
WORKER_SILENT_S: Final = 4.0
#: A silent worker whose partitions others have taken over is forgotten after this time.
_FORGOTTEN_S: Final = 3600.0
#: A broker is asked every second, with 2.5 s to answer.
BROKER_SILENT_S: Final = 3.0

StaleReason = Literal["rebuilding", "broker", "topics", "lag", "workers", "worker"]


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True)


class Progress(_Said):
    """How far the read model is with a feed: offsets read of offsets to read."""

    feed: str
    done: int
    total: int


class BrokerState(_Said):
    """Whether a broker answers; `age_s` is the time since it last did, null before the first time."""

    reachable: bool
    age_s: float | None
    problem: str


class ReaderState(_Said):
    """How far this process is behind the topics; `behind_s` is the time since it last had everything, in seconds."""

    rebuilt: bool
    progress: list[Progress]
    missing_topics: list[str]
    lag_records: int
    behind_s: float | None
    unreadable: int


class StandbyState(_Said):
    """A standby copy of a ledger partition: how many records of its changelog it is behind, null while it is read for the first time."""

    partition: int
    behind: int | None


class WorkerState(_Said):
    """A worker; `silent` if it has not reported for 4 s without saying that it stopped.

    `hot_path` is `compiled` or `python`, and `hot_path_reason` says why it is the latter.
    One that has been silent for an hour, and whose partitions others have taken over, is no longer reported.
    """

    name: str
    health: str
    silent: bool
    partitions: list[int]
    standbys: list[StandbyState]
    hot_path: str | None
    hot_path_reason: str | None
    started_at: str
    age_s: float


class PartitionState(_Said):
    """A ledger partition: its waiting events (`lag`), and its books by source topic."""

    partition: int
    lag: int
    caught_up: bool
    rebuilding: bool
    orders: int
    age_s: float
    books: dict[str, Books]


class SourceState(_Said):
    """An event source and the time of its last event."""

    source: str
    last_event_at: str


class TopicState(_Said):
    """A topic that is read in full (targets, control totals): its waiting records (`lag`), and its books."""

    topic: str
    lag: int
    age_s: float
    books: Books


class StaleCause(_Said):
    """What a reason is about (a topic, an address, workers; empty if there is nothing to name), and a command that helps."""

    reason: StaleReason
    what: str
    command: str


class LimitState(_Said):
    """A limit that is at least 80 % used: of `rows`, `scopes`, or the distinct values of a dimension."""

    what: str
    used: int
    limit: int


class ServiceStatus(_Said):
    """The status of the service.

    `installation` distinguishes installations without naming their brokers. `stale` means that the numbers may be old; `reasons` say why,
    the most serious first, and `causes` what each is about. `business_now` and `business_date` are by the service's clock: the wall clock,
    or the greatest event time; `day_clock` is the business date and how long it has lasted by local clocks, written as a date and time.
    Ages are by this process's clock, whatever the brokers' clocks say. `data_as_of` is the oldest of the partitions' last reports; `lag`
    is the number of waiting events over all partitions, null if unknown: before the first report, and when the last one is outdated.
    """

    installation: str
    now: str
    business_now: str
    business_date: str
    day_clock: str
    timezone: str
    clock: str
    stale: bool
    reasons: list[StaleReason]
    causes: list[StaleCause]
    data_as_of: str | None
    last_event_at: str | None
    lag: int | None
    broker: BrokerState
    reader: ReaderState
    workers: list[WorkerState]
    partitions: list[PartitionState]
    sources: list[SourceState]
    topics: list[TopicState]
    limits: list[LimitState]


def service_status(view: Snapshot, state: FollowState, settings: Settings) -> ServiceStatus:
    """The current status of the service."""
    now_s, now = time.monotonic(), datetime.now(UTC)
    now_ms = now.timestamp() * 1000
    workers, partitions, sources, topics, reported_ms = [], [], [], [], []
    # If this process is behind, it reads reports late, which says nothing about the workers.
    broker = _broker(state, now_s)
    hears = broker.reachable and state.caught_up_s is not None and now_s - state.caught_up_s <= WORKER_SILENT_S
    for status, recorded_ms, heard_ms in view.statuses():
        age_s = round(max(now_ms - heard_ms, 0) / 1000, 1)
        if isinstance(status, WorkerStatus):
            workers.append(_worker(status, age_s, hears=hears))
        elif isinstance(status, PartitionStatus):
            partitions.append(_partition(status, age_s))
            reported_ms.append(recorded_ms)
        elif isinstance(status, SourceStatus):
            sources.append(SourceState(source=status.source, last_event_at=status.last_event_at))
        else:
            topics.append(TopicState(topic=status.topic, lag=status.lag, age_s=age_s, books=status.books))
    partitions.sort(key=lambda each: each.partition)
    sources.sort(key=lambda each: each.last_event_at, reverse=True)
    last_event_at = sources[0].last_event_at if sources else None
    business = _business_now(settings, now, last_event_at)
    reader = _reader(view, state, now_s)
    lost = _lost(workers)
    workers = [each for each in workers if not each.silent or each.age_s < _FORGOTTEN_S or lost & set(each.partitions)]
    reasons = _reasons(settings, state, broker, reader, workers, lost if hears else None)
    return ServiceStatus(
        installation=installation_digest(settings),
        now=text_of(now),
        business_now=format_instant(business.replace(microsecond=0)),
        **day_of(settings, business),
        timezone=settings.timezone,
        clock=settings.clock,
        stale=bool(reasons),
        reasons=reasons,
        causes=[_cause(reason, settings, state, workers) for reason in reasons],
        data_as_of=text_of_ms(min(reported_ms)) if reported_ms else None,
        last_event_at=last_event_at,
        lag=sum(each.lag for each in partitions) if partitions and not reasons else None,
        broker=broker,
        reader=reader,
        workers=workers,
        partitions=partitions,
        sources=sources,
        topics=topics,
        limits=_limits(view, settings) if state.rebuilt else [],
    )


def _limits(view: Snapshot, settings: Settings) -> list[LimitState]:
    windows = view.windows
    uses = limit_uses(settings.limits.bounds, windows.value_counts(), windows.scope_count(), windows.row_number())
    return [LimitState(what=use.what, used=use.used, limit=use.limit) for use in uses if use.is_near]


def _worker(status: WorkerStatus, age_s: float, *, hears: bool) -> WorkerState:
    return WorkerState(
        name=status.name,
        health=status.health,
        silent=hears and status.health != "stopped" and age_s > WORKER_SILENT_S,
        partitions=status.partitions,
        standbys=[StandbyState(partition=each.partition, behind=each.behind) for each in status.standbys],
        hot_path=status.hot_path,
        hot_path_reason=status.hot_path_reason,
        started_at=status.started_at,
        age_s=age_s,
    )


def _partition(status: PartitionStatus, age_s: float) -> PartitionState:
    return PartitionState(
        partition=status.partition,
        lag=sum(status.lag.values()),
        caught_up=status.caught_up,
        rebuilding=status.rebuilding,
        orders=status.orders,
        age_s=age_s,
        books=status.books,
    )


def _broker(state: FollowState, now_s: float) -> BrokerState:
    seen_s = state.broker_seen_s
    age_s = None if seen_s is None else round(now_s - seen_s, 1)
    return BrokerState(
        reachable=age_s is not None and age_s <= BROKER_SILENT_S and not state.problem,
        age_s=age_s,
        problem=state.problem,
    )


def _reader(view: Snapshot, state: FollowState, now_s: float) -> ReaderState:
    return ReaderState(
        rebuilt=state.rebuilt,
        progress=[Progress(feed=feed, done=done, total=total) for feed, done, total in state.progress()],
        missing_topics=list(state.missing),
        lag_records=state.lag(),
        behind_s=None if state.caught_up_s is None else round(now_s - state.caught_up_s, 1),
        unreadable=view.unreadable_count(),
    )


def _reasons(  # noqa: PLR0913, PLR0917 - one argument per cause
    settings: Settings,
    state: FollowState,
    broker: BrokerState,
    reader: ReaderState,
    workers: list[WorkerState],
    lost: set[int] | None,
) -> list[StaleReason]:
    reasons: list[StaleReason] = []
    if not broker.reachable:
        reasons.append("broker")
    if state.missing:
        reasons.append("topics")
    if not reader.rebuilt:
        reasons.append("rebuilding")
    elif reader.behind_s is not None and reader.behind_s > settings.web_lag_limit_s:
        reasons.append("lag")
    if lost is None:
        return reasons
    if not any(_reports(worker) for worker in workers):
        reasons.append("workers")
    elif lost:
        reasons.append("worker")
    return reasons


def _cause(reason: StaleReason, settings: Settings, state: FollowState, workers: list[WorkerState]) -> StaleCause:
    silent = ", ".join(worker.name for worker in workers if worker.silent)
    what, command = {
        "broker": (settings.bootstrap_servers, "milestones doctor"),
        "topics": (", ".join(state.missing), "milestones topics apply"),
        "rebuilding": ("", ""),
        "lag": ("", "milestones doctor"),
        "workers": (silent, "milestones worker"),
        "worker": (silent, "milestones worker"),
    }[reason]
    return StaleCause(reason=reason, what=what, command=command)


def _reports(worker: WorkerState) -> bool:
    return worker.health != "stopped" and not worker.silent


def _lost(workers: list[WorkerState]) -> set[int]:
    """The partitions of silent workers, unless others have taken them over."""
    kept = {number for worker in workers if _reports(worker) for number in worker.partitions}
    return {number for worker in workers if worker.silent for number in worker.partitions} - kept


def day_of(settings: Settings, moment: datetime) -> dict[str, str]:
    """The fields that say to which business date an instant in the business time zone belongs, and how much of it is over."""
    since_begin = moment.replace(tzinfo=None, microsecond=0) - timedelta(hours=settings.day_starts_hour)
    return {"business_date": since_begin.date().isoformat(), "day_clock": since_begin.isoformat()}


def _business_now(settings: Settings, now: datetime, last_event_at: str | None) -> datetime:
    moment = now
    if settings.clock == "events" and last_event_at is not None:
        moment = datetime.fromisoformat(last_event_at)
    return moment.astimezone(ZoneInfo(settings.timezone))
