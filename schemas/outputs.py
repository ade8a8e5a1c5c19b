"""What goes out to other systems, as frozen models, and the ledger's own marker record.

Fields are in the order of the keys on the topic. Instants are RFC 3339 text: the domain formats them once, everyone else passes
them on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self, get_args

import msgspec
from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.facts import INVENTORY, MOST_MINUTES, Metric, RowMetric
from schemas.questions import Answer  # noqa: TC001 - msgspec reads annotations at run time

PeriodKind = Literal["day", "week", "month", "quarter", "half", "year", "total", "holiday", "rolling", "campaign"]
PERIOD_KINDS: Final[tuple[str, ...]] = get_args(PeriodKind)
WindowStatus = Literal["open", "provisional", "closed"]
MilestoneKind = Literal[
    "threshold",
    "multiple",
    "first",
    "streak",
    "factor",
    "scope_share",
    "leader",
    "share",
    "target",
    "record_passed",
    "record",
    "forecast_behind",
    "forecast_moved",
    "stalled",
]
#: Kinds that say what is expected, or how something is, for as long as that holds: they are raised and ended, never retracted.
ALERT_KINDS: Final[frozenset[MilestoneKind]] = frozenset(("forecast_behind", "forecast_moved", "stalled"))
#: Why an alert has ended.
AlertEnd = Literal["back", "reached", "over", "gone"]
ForecastState = Literal["upcoming", "ahead", "behind", "reached", "missed"]
ForecastQuality = Literal["none", "little", "fair", "good"]
Operator = Literal["exceeds", "reaches"]
Health = Literal["starting", "running", "degraded", "stopped"]
HotPath = Literal["compiled", "python"]
MilestoneType = Literal[
    "milestone.raised.v1",
    "milestone.recorded.v1",
    "milestone.retracted.v1",
    "milestone.reinstated.v1",
    "alert.raised.v1",
    "alert.ended.v1",
]

RETRACTED: Final = "milestone.retracted.v1"
ALERT_RAISED: Final = "alert.raised.v1"
ALERT_ENDED: Final = "alert.ended.v1"
#: Types of events after which their milestone or alert no longer stands.
ENDS: Final[frozenset[MilestoneType]] = frozenset((RETRACTED, ALERT_ENDED))

DATE_PATTERN: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
INSTANT_PATTERN: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$"
CivilDate = Annotated[str, Field(pattern=DATE_PATTERN, json_schema_extra={"format": "date"})]
Instant = Annotated[
    str,
    Field(
        pattern=INSTANT_PATTERN,
        json_schema_extra={"format": "date-time"},
    ),
]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]


class ControlHeaders:
    """Headers that a dead letter has besides those of the rejected record; a replay strips them."""

    TOPIC: Final = "__dlq.errors.topic"
    PARTITION: Final = "__dlq.errors.partition"
    OFFSET: Final = "__dlq.errors.offset"
    MESSAGE: Final = "__dlq.errors.message"
    REASON: Final = "milestones.reason"
    ALL: Final = frozenset((TOPIC, PARTITION, OFFSET, MESSAGE, REASON))

    @classmethod
    def of(cls, topic: str, partition: int, offset: int, message: str, reason: str) -> tuple[tuple[str, bytes], ...]:
        """The headers for a record published at this place and rejected for this reason, with a line for people."""
        return (
            (cls.TOPIC, topic.encode()),
            (cls.PARTITION, b"%d" % partition),
            (cls.OFFSET, b"%d" % offset),
            (cls.MESSAGE, message.encode()),
            (cls.REASON, reason.encode()),
        )


#: Headers of a milestone event, for CloudEvents structured mode.
MILESTONE_HEADERS: Final[tuple[tuple[str, bytes], ...]] = (("content-type", b"application/cloudevents+json"),)

#: Kind of violation → its meaning in words.
VIOLATION_MESSAGES: Final[dict[str, str]] = {
    "second_placed": "the order was placed before: this event changes nothing",
    "cancelled_without_order": "cancelled, but no order was placed before: this event has no effect",
    "cancelled_twice": "cancelled before: this event has no effect",
    "cancelled_while_delivered": "cancelled while a delivery stands: this event has no effect",
    "delivered_without_order": "delivered and counted, although no order was placed before",
    "delivered_after_cancellation": "delivered and counted, although the order is cancelled",
    "delivered_twice": "delivered while a delivery of this order stands: this event has no effect",
    "reversed_without_delivery": "reversed, but no delivery stands: this event has no effect",
    "reversed_other_vin": "reversed with another VIN than the delivery that stands: this event has no effect",
    "void_of_unknown_event": "voids an event that is not known: no effect until that event arrives",
    "void_of_void": "voids an event that is itself a void: a void cannot be voided",
    "produced_twice": "produced before, and not scrapped since: this event has no effect",
    "scrapped_without_production": "scrapped, but no production stands: this event has no effect",
    "delivered_without_production": "delivered and counted, although the vehicle was not produced before",
}

#: Code → the effect of an event of an order in words; events with a violation have its kind as their code.
EVENT_EFFECTS: Final[dict[str, str]] = {
    "placed": "places the order",
    "cancelled": "cancels the order",
    "delivered": "delivers the vehicle",
    "delivered_without_order": "delivers the vehicle, although no order was placed before",
    "delivered_after_cancellation": "delivers the vehicle, although the order is cancelled",
    "delivered_without_production": "delivers the vehicle, although it was not produced before",
    "placed_cancelled": "places the order, which is cancelled later",
    "delivered_reversed": "delivers the vehicle, which comes back later",
    "reversed": "takes the delivery back",
    "voids": "voids another event, which counts as never sent",
    "voided": "no effect: voided, it counts as never sent",
    "second_placed": "no effect: the order was placed before",
    "cancelled_without_order": "no effect: no order was placed before",
    "cancelled_twice": "no effect: the order was cancelled before",
    "cancelled_while_delivered": "no effect: a delivery stands",
    "delivered_twice": "no effect: a delivery of this order stands",
    "reversed_without_delivery": "no effect: no delivery stands",
    "reversed_other_vin": "no effect: the delivery that stands has another VIN",
    "void_of_unknown_event": "no effect: the event it voids is not known",
    "void_of_void": "no effect: a void cannot be voided",
    "produced": "produces the vehicle",
    "produced_scrapped": "produces the vehicle, which is scrapped later",
    "scrapped": "takes the vehicle out of production",
    "produced_twice": "no effect: the vehicle was produced before",
    "scrapped_without_production": "no effect: no production stands",
}


def _is_none(value: object) -> bool:
    return value is None


def _is_zero(value: int) -> bool:
    return value == 0


def _is_empty(value: list[object] | str) -> bool:
    return not value


class _Output(BaseModel):
    # Readers ignore unknown fields, so that fields can be added.
    # A command uses few of the models, and would otherwise wait at its start for all of them to be built.
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", defer_build=True)


class RowTarget(_Output):
    """A target in force on a window, and whether the window has reached it."""

    target_id: str
    value: Positive
    reached: bool


class RowControl(_Output):
    """What another system counts in a window, and how far it is from ours.

    `count` is theirs and `difference` ours less theirs, 0 when both agree; `as_of` is when theirs was counted, and
    `differs_since` since when the two have differed without a break, left out while they agree.
    """

    source: str
    count: Count
    difference: int
    as_of: Instant
    differs_since: Instant | None = Field(default=None, exclude_if=_is_none)


class WindowRow(_Output):
    """One version of a window's row: `vehicle.windows.v1` and `vehicle.window-history.v1`.

    `start` and `end` are inclusive dates; `by_hour` is on day rows only; `starts_at`, `ends_at` (exclusive) and `by_minute`, counts
    by minute from the first one on and up to the last one with any, are on rows of campaigns only; `calendar` (the version of the calendar) on
    holiday rows only; `backfilled`, the part of `count` that was loaded as history, is left out when 0, and so is `balance`, the
    part that is an opening balance, which only `total` can have; `controls`, the latest total of each system that counts this
    window itself, is omitted if there is none. `count` of an `inventory` may be below 0; of everything else it is at least 0.
    """

    metric: RowMetric
    scope: str
    period: str
    start: CivilDate
    end: CivilDate
    starts_at: Instant | None = Field(default=None, exclude_if=_is_none)
    ends_at: Instant | None = Field(default=None, exclude_if=_is_none)
    timezone: str
    count: int
    by_hour: Annotated[list[Count], Field(min_length=24, max_length=24)] | None = Field(
        default=None, exclude_if=_is_none
    )
    by_minute: Annotated[list[Count], Field(max_length=MOST_MINUTES)] | None = Field(default=None, exclude_if=_is_none)
    targets: list[RowTarget]
    status: WindowStatus
    restated: Count
    version: Positive
    updated_at: Instant
    calendar: str | None = Field(default=None, exclude_if=_is_none)
    backfilled: Count = Field(default=0, exclude_if=_is_zero)
    balance: Count = Field(default=0, exclude_if=_is_zero)
    controls: list[RowControl] = Field(default_factory=list, exclude_if=_is_empty)

    @model_validator(mode="after")
    def _no_units_below_none(self) -> Self:
        if self.count < 0 and self.metric != INVENTORY:
            raise ValueError("count: less than 0")
        return self


class Cause(_Output):
    """The input event of the unit that passed a number, and where its record is."""

    topic: str
    partition: Count
    offset: Count
    event_source: str
    event_id: str


class ProjectedTotal(_Output):
    """Units at the end of a period: the middle projection, and the range that held in 8 of 10 cases of the past.

    `p10` and `p90` are null where there is too little history for a range, all three where there is none at all.
    """

    p10: Count | None
    p50: Count | None
    p90: Count | None


class AlertForecast(_Output):
    """The forecast that raised or ended an alert: that of `as_of`, on `vehicle.forecasts.v1` in the same transaction.

    An alert that ends because its target or rule is gone repeats the one that raised it. `projected_date` is null if the target is
    not in sight. `former_date`, of kind `forecast_moved` only, is the projected date before the alert; likewise.
    """

    as_of: Instant
    business_date: CivilDate
    projected_total: ProjectedTotal
    projected_date: CivilDate | None
    former_date: CivilDate | None = Field(default=None, exclude_if=_is_none)


class AlertSilence(_Output):
    """The hours in which nothing, or little, has come although it usually does.

    `since` is the beginning of the first of the `hours` and `until` the end of the last; `usual` is how many units usually come in
    these hours, and `below` the share of them that was not reached, left out where nothing came at all.
    """

    since: Instant
    until: Instant
    hours: Positive
    usual: Annotated[float, Field(ge=0)]
    below: float | None = Field(default=None, exclude_if=_is_none)


class MilestoneData(_Output):
    """What was passed, when, by what.

    `rule` is null for a target, whose `target_id` is then given; `operator` and `threshold` are null for a record.
    `streak` is how many periods in a row have passed, of that kind only; so are `factor`, `compared_with`, the period that had
    `compared_count`, of which that many times are the `threshold`; and `share` and `compared_scope`, the scope that had
    `compared_count` in the same period. `position` says which unit of the window passed the number, by (time, id, source) and from 1; `achieved_at`, `achieved_on`
    and `cause` are of that unit. Events from before there was a `position` have those of the latest unit of a step. `count` is
    the count after the step in which it was found. `balance` is the opening balance that `count` and `position` include, left
    out when 0: the unit is the one at `position` less `balance` among those that are counted. `starts_at` and `ends_at` are the
    instants of a campaign, and `after_s` how many seconds after its start the number was passed.

    Alerts have `rule` and no unit. Those about forecasts also have `target_id`, the target's value as `threshold`, and `forecast`;
    those about what does not come have `silence`, and `count` is what has come since; `ended` says why an alert has ended.
    """

    milestone_id: str
    revision: Positive
    kind: MilestoneKind
    rule: str | None
    target_id: str | None = Field(default=None, exclude_if=_is_none)
    metric: Metric
    scope: str
    period: str
    start: CivilDate
    end: CivilDate
    starts_at: Instant | None = Field(default=None, exclude_if=_is_none)
    ends_at: Instant | None = Field(default=None, exclude_if=_is_none)
    timezone: str
    operator: Operator | None
    threshold: Count | None
    count: Count
    balance: Count = Field(default=0, exclude_if=_is_zero)
    first: bool
    streak: Positive | None = Field(default=None, exclude_if=_is_none)
    factor: float | None = Field(default=None, exclude_if=_is_none)
    compared_with: str | None = Field(default=None, exclude_if=_is_none)
    share: float | None = Field(default=None, exclude_if=_is_none)
    compared_scope: str | None = Field(default=None, exclude_if=_is_none)
    compared_count: Count | None = Field(default=None, exclude_if=_is_none)
    forecast: AlertForecast | None = Field(default=None, exclude_if=_is_none)
    silence: AlertSilence | None = Field(default=None, exclude_if=_is_none)
    ended: AlertEnd | None = Field(default=None, exclude_if=_is_none)
    position: Positive | None = Field(default=None, exclude_if=_is_none)
    achieved_at: Instant | None
    achieved_on: CivilDate | None = Field(default=None, exclude_if=_is_none)
    after_s: Annotated[float, Field(ge=0)] | None = Field(default=None, exclude_if=_is_none)
    detected_at: Instant
    cause: Cause | None


class MilestoneEvent(_Output):
    """A CloudEvent of `vehicle.milestones.v1`; `id` is `milestone_id@revision`, `subject` the `milestone_id`.

    `source` names the installation.
    """

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str
    type: MilestoneType
    time: Instant
    subject: str
    datacontenttype: Literal["application/json"] = "application/json"
    data: MilestoneData

    @property
    def stands(self) -> bool:
        """Whether its milestone or alert stands after this event."""
        return self.type not in ENDS


class ProjectedDate(_Output):
    """Business dates of reaching a target: `p10` the early end of the range, `p90` the late one.

    A date that is null is not expected up to the forecast's `horizon`, or there is no range (see `projected_total`). A
    date after the period's `end` is when the pace would have reached the target if the window went on.
    """

    p10: CivilDate | None
    p50: CivilDate | None
    p90: CivilDate | None


class Forecast(_Output):
    """The forecast of one target in force: `vehicle.forecasts.v1`; a tombstone once it is no longer in force.

    `state`: `upcoming` (the period has not begun), `ahead` of or `behind` the plan line (straight from 0 to `value` over
    the days of the period), `reached`, `missed` (over, not reached). `plan_count` is the plan line at `as_of`;
    `ahead_units` and `ahead_days` say how far `count` is ahead of it, negative when behind. `remaining_days` counts the
    rest of today as the part of a day's units that usually comes in it; `pace_needed` (units per remaining day) is null
    once the target is reached or the period over; `pace_recent` (units a day) is what the projection starts from.
    `quality` says how far the `history_days` (complete days) carry: `none`, `little` (no range), `fair`, `good`. `note`
    is a line for a person. `label`, what the target is called, is left out if it has none.

    `total` has no end: `projected_total` is that at the `horizon`, a year from `business_date`; there is no plan line, so
    `plan_count` is `count`, and it is `ahead` if the value is expected by the horizon, else `behind`. `reached_on` is null too
    where an opening balance has reached the value.
    """

    metric: Metric
    scope: str
    period: str
    target_id: str
    label: str | None = Field(default=None, exclude_if=_is_none)
    value: Positive
    start: CivilDate
    end: CivilDate
    timezone: str
    state: ForecastState
    count: Count
    business_date: CivilDate
    as_of: Instant
    projected_total: ProjectedTotal
    projected_date: ProjectedDate
    horizon: CivilDate
    reached_on: CivilDate | None
    remaining_days: Annotated[float, Field(ge=0)]
    pace_needed: Annotated[float, Field(ge=0)] | None
    pace_recent: Annotated[float, Field(ge=0)] | None
    plan_count: Count
    ahead_units: int
    ahead_days: float
    history_days: Count
    quality: ForecastQuality
    note: str
    model: str
    model_version: str


class Violation(_Output):
    """One event of an order that contradicts the others, or a delivery that contradicts the production of its vehicle.

    `order_id` is the order of such a delivery, left out where it is the key's.
    """

    kind: str
    source: str
    id: str
    message: str
    order_id: str = Field(default="", exclude_if=_is_empty)


class ViolationRecord(_Output):
    """Everything that is contradictory in one order's events, or about one vehicle: `vehicle.violations.v1`.

    Of a vehicle, `order_id` is its VIN.
    """

    order_id: str
    violations: list[Violation]


@dataclass(frozen=True, slots=True)
class Books:
    """Records of one source partition since its beginning: read = applied + duplicates + dead letters + rerouted."""

    read: int
    applied: int
    duplicates: int
    dead_letters: int
    rerouted: int


class PartitionStatus(_Output):
    """`partition/N` of `vehicle.status.v1`: offsets, lag and books by source topic."""

    partition: Count
    applied: dict[str, Count]
    lag: dict[str, Count]
    books: dict[str, Books]
    orders: Count
    rebuilding: bool
    caught_up: bool
    updated_at: Instant
    lost: dict[str, Count] = Field(default_factory=dict, exclude_if=_is_empty)


class StandbyStatus(_Output):
    """A standby copy that a worker keeps of a ledger partition: how many records of its changelog it has not applied yet.

    `behind` is null until it has been read once, for which a takeover would not wait.
    """

    partition: Count
    behind: Count | None


class WorkerStatus(_Output):
    """`worker/NAME` of `vehicle.status.v1`.

    `hot_path_reason` says why the hot path runs in Python.
    """

    name: str
    health: Health
    partitions: list[Count]
    started_at: Instant
    updated_at: Instant
    hot_path: HotPath | None = Field(default=None, exclude_if=_is_none)
    hot_path_reason: str | None = Field(default=None, exclude_if=_is_none)
    standbys: list[StandbyStatus] = Field(default_factory=list, exclude_if=_is_empty)


class SourceStatus(_Output):
    """`source/NAME` of `vehicle.status.v1`: the greatest event time of one event source."""

    source: str
    last_event_at: Instant
    updated_at: Instant


class TopicStatus(_Output):
    """`topic/NAME` of `vehicle.status.v1`: progress of a topic that the totals read in full.

    `applied` is the first offset that has not been taken; `books` balance like those of a partition.
    """

    topic: str
    applied: Count
    lag: Count
    books: Books
    updated_at: Instant


Status = PartitionStatus | WorkerStatus | SourceStatus | TopicStatus


def source_name(topic: str, partition: int, ledger: int) -> str:
    """A source partition's name in records of ledger partition `ledger`: the topic, or `TOPIC:N` if N is not the ledger's number."""
    return topic if partition == ledger else f"{topic}:{partition}"


def source_of(name: str, ledger: int) -> tuple[str, int]:
    """The topic and partition in a `source_name`; topic names contain no colon."""
    topic, _, partition = name.partition(":")
    return topic, int(partition) if partition else ledger


class ToldState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far a ledger partition and the others have told each other about deliveries; see `schemas.told`.

    Attributes:
        next: Where to continue reading what it is told.
        read: Number of such records it has taken.
        written: Home of vehicles → number of records written to it.
        is_all: Whether it has told about all standing deliveries.
        all_of: Partitions that have told it about all of theirs.
        withheld: Whether contradictions have been found that are not published yet.
        since: The business date from which deliveries are judged by production.
    """

    next: int = 0
    read: int = 0
    written: dict[int, int] = {}
    is_all: bool = False
    all_of: list[int] = []
    withheld: bool = False
    since: str = ""

    def elsewhere(self) -> ToldState:
        """The same state for a cluster whose topic holds nothing of what was told."""
        return msgspec.structs.replace(self, next=0, read=0, written={})


class Marker(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The last record of every ledger transaction: a summary of the partition's state.

    Attributes:
        positions: Source by `source_name` → (next offset, digest of the last applied record).
        books: Source by `source_name` → its books.
        fingerprint: The settings that the counts depend on.
        rebuilding: Whether the partition is reading history without publishing; its counts must not be used yet.
        caught_up: Whether everything that was there has been applied.
        caught_up_us: Everything appended before this instant has been applied, microseconds since 1970.
        clock_us: The greatest event time accepted so far, microseconds since 1970.
        sources: Event source → its greatest event time, microseconds since 1970.
        backfilled: Number of events applied so far that were loaded as history.
        partitions: Number of ledger partitions.
        forwarded: Home partition → number of records forwarded there; after a rebuild including those whose originals are gone,
            which still arrive at their homes.
        arrived: Partition → number of forwarded records read that it had forwarded.
        lost: Source by `source_name` → number of offsets that were removed before they were read, and whose loss was accepted.
        topics: Source topic → the number by which events and forwarded records refer to it.
        cluster: Id of the cluster that the offsets belong to.
        aliases: The aliases by which names are counted.
        campaigns: The campaigns that are counted.
        announced: The announcement of campaigns by which it counts, besides those of the settings.
        moved: Number of events applied on another cluster: their records' places are those they had there.
        topic_ids: Source topic → the id that the cluster gave it on creation.
        repeating: Whether a lost state is being rebuilt: what it had taken is taken again.
        tells_hours: Whether the hours in which events of each source came are published, for rules that watch sources.
        answers: Answers to the totals' questions, from the counts up to this marker; only in the counts topic.
        told: The state of telling, if deliveries are judged by production; `None` also in states from before they were.
    """

    positions: dict[str, tuple[int, str]]
    books: dict[str, Books]
    fingerprint: str
    rebuilding: bool
    caught_up: bool
    caught_up_us: int
    clock_us: int
    sources: dict[str, int]
    backfilled: int
    partitions: int
    forwarded: dict[int, int] = {}
    arrived: dict[int, int] = {}
    lost: dict[str, int] = {}
    topics: dict[str, int] = {}
    cluster: str = ""
    aliases: str = ""
    campaigns: str = ""
    announced: str = ""
    moved: int = 0
    topic_ids: dict[str, str] = {}
    repeating: bool = False
    tells_hours: bool = False
    answers: list[Answer] = []
    told: ToldState | None = None

    def with_answers(self, answers: list[Answer]) -> Marker:
        """The marker with these answers."""
        return msgspec.structs.replace(self, answers=answers)
