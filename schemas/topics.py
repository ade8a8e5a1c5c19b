"""The catalogue of topics: names, keys, models, partitions, settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from schemas import events, notes, outputs
from schemas.facts import DELIVERIES, ORDERS, PRODUCTION, topic_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import BaseModel

DAY_MS: Final = 86_400_000

#: The largest batch of a source topic, in bytes: well above the largest valid record, so that an oversized one can be read and become
#: a dead letter.
SOURCE_MAX_BYTES: Final = 1024 * 1024
#: Bytes reserved for the headers that this service adds to records it passes on.
HEADROOM_BYTES: Final = 64 * 1024
#: How long versions of rows and of forecasts are kept.
HISTORY_DAYS: Final = 400
LEDGER_MAX_BYTES: Final = 8 * 1024 * 1024

_KEEP_ALL: Final = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
_COMPACT: Final = {
    "cleanup.policy": "compact",
    # Only closed segments are compacted; small, young ones keep short what a reader has to go through.
    "segment.ms": str(3_600_000),
    "segment.bytes": str(64 * 1024 * 1024),
    "min.cleanable.dirty.ratio": "0.2",
    # A slow reader must still see the tombstones of what was deleted while it was reading.
    "delete.retention.ms": str(7 * DAY_MS),
}

#: The greatest session timeout that can be set.
_LONGEST_SESSION_MS: Final = 300_000

#: Settings that determine the number of partitions of topics.
_HOMES: Final = "partitions"
_TOTALS: Final = "totals_partitions"

#: For what this service writes: its batches fit, whatever the brokers' default limit.
_WRITTEN: Final = {"max.message.bytes": str(SOURCE_MAX_BYTES)}
#: For what others read: gzip is the only codec that every client has without a further library. The broker compresses.
_FOR_EVERYONE: Final = _WRITTEN | {"compression.type": "gzip"}


@dataclass(frozen=True)
class Topic:
    """One topic as the contract needs it.

    Attributes:
        name: Its name, with the prefix.
        partitions: Number of partitions.
        configs: Topic settings that must have these values.
        key: What the key is, in words.
        models: The models of its values; empty if they are not models (a record forwarded unchanged, an internal format).
        internal: Whether it is not an interface for others.
        is_sized_by_others: Whether its owners choose the number of partitions; `partitions` is only used to create it.
        is_named_by_others: Whether its owners also choose how long records are kept; `configs` is only used to create it.
        sized_by: The setting with its number of partitions; empty if it always has one.
    """

    name: str
    partitions: int
    configs: Mapping[str, str] = field(hash=False)
    key: str
    models: tuple[type[BaseModel], ...] = ()
    internal: bool = False
    is_sized_by_others: bool = False
    is_named_by_others: bool = False
    sized_by: str = ""

    @property
    def whole(self) -> list[tuple[str, int]]:
        """All its partitions as (topic, number) pairs."""
        return [(self.name, number) for number in range(self.partitions)]


class Catalogue:
    """The topics of one installation.

    Args:
        source_prefix: Prefix of the names of topics that are read.
        output_prefix: Prefix of the names of topics that are written; also part of internal topics' names.
        partitions: Number of partitions of topics keyed by order.
        totals_partitions: Number of partitions of topics keyed by window.
        orders: Names of the topics of orders; if empty, there is one with the default name; `None` if none are published.
        deliveries: Likewise for deliveries.
        production: Likewise for production, but by default none.

    Attributes:
        published: Number → topic of orders, deliveries or production, in the order of the numbers (`schemas.facts.topic_number`).
        judges_production: Whether deliveries and production are both published, and the former judged by the latter.
    """

    def __init__(  # noqa: PLR0913 - what an installation's names and sizes come from
        self,
        source_prefix: str = "",
        output_prefix: str = "",
        partitions: int = 4,
        *,
        totals_partitions: int = 1,
        orders: Sequence[str] | None = (),
        deliveries: Sequence[str] | None = (),
        production: Sequence[str] | None = None,
    ) -> None:
        self.partitions = partitions
        self.totals_partitions = totals_partitions
        source = _KEEP_ALL | {"message.timestamp.type": "LogAppendTime", "max.message.bytes": str(SOURCE_MAX_BYTES)}
        passed_on = _KEEP_ALL | {"max.message.bytes": str(SOURCE_MAX_BYTES + HEADROOM_BYTES)}
        written = _FOR_EVERYONE | _COMPACT
        internal = f"milestones.internal.{output_prefix}"
        row_key = "metric/scope/period"

        families = (
            (ORDERS, orders, f"{source_prefix}vehicle.orders.v1", "order_id", events.ORDER_EVENTS),
            (DELIVERIES, deliveries, f"{source_prefix}vehicle.deliveries.v1", "order_id", events.DELIVERY_EVENTS),
            (PRODUCTION, production, f"{source_prefix}vehicle.production.v1", "vin", events.PRODUCTION_EVENTS),
        )
        numbered = {
            topic_number(family, place): Topic(
                name,
                partitions,
                source,
                key,
                models,
                is_sized_by_others=True,
                is_named_by_others=bool(named),
            )
            for family, named, own_name, key, models in families
            for place, name in enumerate(() if named is None else named or (own_name,))
        }
        self.published: Mapping[int, Topic] = dict(sorted(numbered.items()))
        self.targets = Topic(
            f"{source_prefix}vehicle.targets.v1",
            1,
            source,
            "target_id, metric/scope/total or campaign:NAME",
            events.TARGET_EVENTS,
        )
        self.controls = Topic(
            f"{source_prefix}vehicle.controls.v1", 1, source, "metric/scope/period", events.CONTROL_EVENTS
        )

        self.windows = Topic(
            f"{output_prefix}vehicle.windows.v1",
            totals_partitions,
            written,
            row_key,
            (outputs.WindowRow,),
            sized_by=_TOTALS,
        )
        self.history = Topic(
            f"{output_prefix}vehicle.window-history.v1",
            totals_partitions,
            _FOR_EVERYONE
            | {"cleanup.policy": "delete", "retention.ms": str(HISTORY_DAYS * DAY_MS), "retention.bytes": "-1"},
            row_key,
            (outputs.WindowRow,),
            sized_by=_TOTALS,
        )
        self.milestones = Topic(
            f"{output_prefix}vehicle.milestones.v1",
            totals_partitions,
            _FOR_EVERYONE | _KEEP_ALL,
            "milestone_id",
            (outputs.MilestoneEvent,),
            sized_by=_TOTALS,
        )
        self.forecasts = Topic(
            f"{output_prefix}vehicle.forecasts.v1",
            totals_partitions,
            # Kept as long as the history of rows, so that forecasts can be compared with the outcome.
            written | {"min.compaction.lag.ms": str(HISTORY_DAYS * DAY_MS)},
            "metric/scope/period/target_id",
            (outputs.Forecast,),
            sized_by=_TOTALS,
        )
        self.violations = Topic(
            f"{output_prefix}vehicle.violations.v1",
            partitions,
            written,
            "order_id",
            (outputs.ViolationRecord,),
            sized_by=_HOMES,
        )
        self.status = Topic(
            f"{output_prefix}vehicle.status.v1",
            1,
            written,
            "partition/N, worker/NAME, source/NAME or topic/NAME",
            (outputs.PartitionStatus, outputs.WorkerStatus, outputs.SourceStatus, outputs.TopicStatus),
        )
        self.dead_letters = Topic(
            f"{output_prefix}vehicle.dead-letters.v1",
            partitions,
            _FOR_EVERYONE | passed_on,
            "the rejected record's own key",
            sized_by=_HOMES,
        )

        self.counts = Topic(
            f"{internal}counts",
            totals_partitions,
            # A reader that sums the counts must see each transaction whole: otherwise a unit that moves to another day would be
            # missing from both until it reads a later transaction. One that lags more than its session timeout has left the group.
            _WRITTEN | _COMPACT | {"min.compaction.lag.ms": str(_LONGEST_SESSION_MS)},
            "partition|metric|scope|date",
            internal=True,
            sized_by=_TOTALS,
        )
        self.ledger = Topic(
            f"{internal}ledger",
            partitions,
            _COMPACT | {"max.message.bytes": str(LEDGER_MAX_BYTES)},
            "kind of record and number",
            internal=True,
            sized_by=_HOMES,
        )
        self.rerouted = Topic(f"{internal}rerouted", partitions, passed_on, "order_id", internal=True, sized_by=_HOMES)
        self.totals = Topic(
            f"{internal}totals",
            totals_partitions,
            _WRITTEN | _COMPACT,
            "kind of record and name",
            internal=True,
            sized_by=_TOTALS,
        )
        #: Which deliveries stand, for the homes of the vehicles; not created unless they are judged by production.
        self.told = Topic(f"{internal}told", partitions, passed_on, "who tells", internal=True, sized_by=_HOMES)
        self.judges_production = deliveries is not None and production is not None
        #: Accepted events of targets and controls, for totals partitions that do not read these topics; not created if there is only one.
        self.sides = Topic(
            f"{internal}sides",
            totals_partitions,
            passed_on,
            "target_id or metric/scope/period",
            internal=True,
            sized_by=_TOTALS,
        )
        # Lost questions are asked again, so nothing needs to be kept.
        self.questions = Topic(
            f"{internal}questions",
            partitions,
            _WRITTEN | {"cleanup.policy": "delete", "retention.ms": str(DAY_MS), "segment.ms": str(DAY_MS // 2)},
            "who asks",
            internal=True,
            sized_by=_HOMES,
        )
        # Operators' decisions, which cannot be derived from anything else: they are not deleted with the ledger's state.
        self.quarantine = Topic(
            f"{internal}quarantine",
            1,
            _WRITTEN | _COMPACT,
            "topic partition offset",
            (notes.Quarantine,),
            internal=True,
        )
        self.replayed = Topic(
            f"{internal}replayed", 1, _WRITTEN | _COMPACT, "topic partition offset", (notes.Replayed,), internal=True
        )

    @property
    def orders(self) -> Topic:
        """The first topic of orders.

        Raises:
            KeyError: This installation counts no orders.
        """
        return self.published[ORDERS]

    @property
    def deliveries(self) -> Topic:
        """The first topic of deliveries.

        Raises:
            KeyError: This installation counts no deliveries.
        """
        return self.published[DELIVERIES]

    def all(self) -> tuple[Topic, ...]:
        """All topics: those that are read, those that are written, and the internal ones."""
        return (
            *self.sources(),
            self.windows,
            self.history,
            self.milestones,
            self.forecasts,
            self.violations,
            self.status,
            self.dead_letters,
            self.counts,
            self.ledger,
            self.rerouted,
            *((self.told,) if self.judges_production else ()),
            self.totals,
            *((self.sides,) if self.totals_partitions > 1 else ()),
            self.questions,
            self.quarantine,
            self.replayed,
        )

    def sources(self) -> tuple[Topic, ...]:
        """The topics that others publish to."""
        return *self.published.values(), self.targets, self.controls

    def names(self) -> dict[int, str]:
        """Number → name of each topic of orders, deliveries or production, in the order of the numbers."""
        return {number: topic.name for number, topic in self.published.items()}

    def public(self) -> tuple[Topic, ...]:
        """The topics that are interfaces for others."""
        return tuple(topic for topic in self.all() if not topic.internal)
