"""What the domain works on: the decoded input event, its rejection, and a day's count.

These are the structures of the hot path, hence msgspec structs without garbage-collector overhead; what goes out to other systems
is in `schemas.outputs`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Final, Literal, get_args

import msgspec

from schemas.wrappers import WRAPPERS

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The longest campaign: a week.
MOST_MINUTES: Final = 7 * 24 * 60

Metric = Literal["orders_placed", "orders", "cancellations", "deliveries", "reversals", "produced", "scrapped"]
#: Metrics in the order used everywhere.
METRICS: Final[tuple[Metric, ...]] = get_args(Metric)

#: The metric of the only rows that do not count units: vehicles produced but not delivered.
INVENTORY: Final = "inventory"
#: The metrics that rows can have.
RowMetric = Literal[Metric, "inventory"]
#: All metrics of rows in the order used everywhere.
ROW_METRICS: Final[tuple[RowMetric, ...]] = (*METRICS, INVENTORY)

Dimension = Literal["model", "variant", "factory", "region"]
#: Dimensions of a unit, in the order of `Dims`.
DIMENSIONS: Final[tuple[str, ...]] = get_args(Dimension)

#: (model, variant, factory, region); "" if absent. Equal tuples are the same object as far as possible.
Dims = tuple[str, str, str, str]

NO_DIMS: Final[Dims] = ("", "", "", "")

#: The families of source topics.
ORDERS: Final = 0
DELIVERIES: Final = 1
PRODUCTION: Final = 2

#: Maximum number of topics per family: those of orders and of deliveries share seven bits in the ledger.
MAX_TOPICS: Final = 64
#: The first number of a production topic; below, numbers alternate between topics of orders and of deliveries.
FIRST_OF_PRODUCTION: Final = 2 * MAX_TOPICS

#: Names of the families, by number.
FAMILIES: Final = ("orders", "deliveries", "production")
EventFamily = Literal["orders", "deliveries", "production"]
#: The families that an installation counts unless its settings say otherwise.
USUAL_FAMILIES: Final[tuple[EventFamily, ...]] = ("orders", "deliveries")
#: Family → the metrics whose units its events make.
METRICS_OF: Final[Mapping[EventFamily, tuple[Metric, ...]]] = {
    "orders": METRICS[:3],
    "deliveries": METRICS[3:5],
    "production": METRICS[5:],
}
#: Metric → the family whose events make its units.
FAMILY_OF_METRIC: Final[Mapping[Metric, EventFamily]] = {
    metric: family for family, metrics in METRICS_OF.items() for metric in metrics
}


def topic_number(family: int, place: int) -> int:
    """`Fact.topic` of a source topic, from its family, such as `ORDERS`, and its place in that family's list, from 0."""
    return FIRST_OF_PRODUCTION + place if family == PRODUCTION else 2 * place + family


def family_of(topic: int) -> int:
    """The family of the source topic with this number: `ORDERS`, `DELIVERIES` or `PRODUCTION`."""
    return topic % 2 if topic < FIRST_OF_PRODUCTION else PRODUCTION


def place_of(topic: int) -> int:
    """The place of a source topic in its family's list, from 0."""
    return topic // 2 if topic < FIRST_OF_PRODUCTION else topic - FIRST_OF_PRODUCTION


TOO_MANY_EVENTS: Final = "too_many_events"
ID_CONFLICT: Final = "id_conflict"
FUTURE_TIME: Final = "future_time"
BEYOND_LIMITS: Final = "beyond_limits"
QUARANTINED: Final = "quarantined"
#: Reasons that do not lie in the record: decided by what came before it, or by an operator.
BY_STATE: Final = frozenset((ID_CONFLICT, TOO_MANY_EVENTS, BEYOND_LIMITS, QUARANTINED))
#: Why a record becomes a dead letter; the last four depend on state, the others are up to the codec.
REASONS: Final[tuple[str, ...]] = (
    "malformed_json",
    "duplicate_key",
    "not_an_event",
    "unknown_type",
    "invalid_field",
    "wrong_topic",
    "missing_offset",
    "future_time",
    "too_large",
    "too_deep",
    "wrong_key",
    *WRAPPERS,
    TOO_MANY_EVENTS,
    ID_CONFLICT,
    BEYOND_LIMITS,
    QUARANTINED,
)


class Kind(IntEnum):
    """What happened to an order or a vehicle. The numbers are stored in the ledger, in three bits, and never change."""

    PLACED = 1
    CANCELLED = 2
    DELIVERED = 3
    REVERSED = 4
    VOIDED = 5
    PRODUCED = 6
    SCRAPPED = 7


#: Kind → the type of its events; on topics of production, voids have another one.
TYPES: Final[dict[int, str]] = {
    Kind.PLACED: "order.placed.v1",
    Kind.CANCELLED: "order.cancelled.v1",
    Kind.DELIVERED: "vehicle.delivered.v1",
    Kind.REVERSED: "delivery.reversed.v1",
    Kind.VOIDED: "event.voided.v1",
    Kind.PRODUCED: "vehicle.produced.v1",
    Kind.SCRAPPED: "production.reversed.v1",
}
_VOIDED_PRODUCTION: Final = "production.voided.v1"
#: The types of the events of vehicles rather than orders.
TYPES_OF_VEHICLES: Final = frozenset({TYPES[Kind.PRODUCED], TYPES[Kind.SCRAPPED], _VOIDED_PRODUCTION})


class Fact(msgspec.Struct, gc=False):
    """One valid input event, with the coordinates of the record that brought it.

    Attributes:
        kind: A `Kind` as plain int.
        order_id: The order, which is for one vehicle; for production the VIN, since a vehicle may be built without an order.
        source: CloudEvents source.
        id: CloudEvents id.
        time_us: Event time, microseconds since 1970-01-01T00:00Z.
        vin: "" if the type has none.
        dims: All "" if the type has none.
        extra: Stands for the other known data fields (`channel`, `reason`); "" if none. Only compared for equality: for free text
            it is a digest, so that what people write neither fills the ledger nor leaves the service.
        voids: (source, id) of the voided event.
        backfill: Whether the event is history being loaded.
        topic: `topic_number` of the source topic that the event was first published to.
        partition: Partition of the record there.
        offset: Offset of the record there.
    """

    kind: int
    order_id: str
    source: str
    id: str
    time_us: int
    vin: str
    dims: Dims
    extra: str
    voids: tuple[str, str] | None
    backfill: bool
    topic: int
    partition: int
    offset: int


def type_of(fact: Fact) -> str:
    """The type of the event."""
    is_of_production = family_of(fact.topic) == PRODUCTION
    return _VOIDED_PRODUCTION if fact.kind == Kind.VOIDED and is_of_production else TYPES[fact.kind]


class Rejection(msgspec.Struct, frozen=True):
    """Why a record is not a valid event.

    Attributes:
        reason: One of `REASONS`.
        message: One line for people, without anything from the payload.
    """

    reason: str
    message: str


class LatestUnit(msgspec.Struct, frozen=True):
    """The unit with the greatest (time, id) among those that a step added to a day, with its event's coordinates."""

    time_us: int
    id: str
    source: str
    topic: int
    partition: int
    offset: int


_Units = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class DayCount(msgspec.Struct, frozen=True, omit_defaults=True):
    """The absolute count of one metric, scope and business date, or hour of a campaign, in one ledger partition.

    Attributes:
        count: Number of units that count.
        backfilled: How many of them were loaded as history.
        by_hour: 24 counts by local hour; an hour that a clock change repeats is summed. For an hour of a campaign, 60 counts by
            minute.
        latest: The latest unit of the last step that added any.
        is_newest: Whether `latest` is the latest of all units that count.
    """

    count: _Units
    backfilled: _Units
    by_hour: list[_Units]
    latest: LatestUnit | None
    is_newest: bool = False
