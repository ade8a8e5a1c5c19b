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

#: The largest batch of a source topic, bytes. Well above the largest valid record, so that one that is too large can
#: be read and put among the dead letters.
SOURCE_MAX_BYTES: Final = 1024 * 1024
#: Room for the headers that this service adds to a record that it passes on, bytes.
HEADROOM_BYTES: Final = 64 * 1024
#: How long versions of rows and of forecasts are kept.
HISTORY_DAYS: Final = 400
LEDGER_MAX_BYTES: Final = 8 * 1024 * 1024

_KEEP_ALL: Final = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
_COMPACT: Final = {
    "cleanup.policy": "compact",
    # Only closed segments are compacted: small and young ones keep what a reader has to go through short.
    "segment.ms": str(3_600_000),
    "segment.bytes": str(64 * 1024 * 1024),
    "min.cleanable.dirty.ratio": "0.2",
    # A reader that was slow to start must still see what was deleted while it read.
    "delete.retention.ms": str(7 * DAY_MS),
}

#: The greatest session timeout that can be set.
_LONGEST_SESSION_MS: Final = 300_000

#: The settings that give topics their partitions.
_HOMES: Final = "partitions"
_TOTALS: Final = "totals_partitions"

#: Of what this service writes: whatever the brokers take otherwise, its batches fit.
_WRITTEN: Final = {"max.message.bytes": str(SOURCE_MAX_BYTES)}
#: Of what others read: every client has gzip built in, and none of the others without a further library. The broker does it.
_FOR_EVERYONE: Final = _WRITTEN | {"compression.type": "gzip"}


@dataclass(frozen=True)
class Topic:
    """One topic as the contract needs it.

    Attributes:
        name: With its prefix.
        partitions: How many.
        configs: Settings of the topic that must have these values.
        key: What the key is, for a person.
        models: What a value is; empty where it is not a model (a record forwarded unchanged, an internal format).
        internal: Not an interface for others.
        is_sized_by_others: Its owners give it as many partitions as they want; `partitions` is for creating it.
        is_named_by_others: How long its records are kept is its owners' affair too; `configs` is for creating it.
        sized_by: The setting that says how many partitions it has; empty if it has one in any case.
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
        """All its partitions, as a reader names them."""
        return [(self.name, number) for number in range(self.partitions)]


class Catalogue:
    """The topics of one installation.

    Args:
        source_prefix: Before the names of the topics that are read.
        output_prefix: Before the names of the topics that are written, and in those of the internal ones.
        partitions: Partitions of the topics that are keyed by order.
        totals_partitions: Partitions of the topics that are keyed by window.
        orders: Names of the topics of orders; if empty there is one, named by the prefix; `None` if none are published.
        deliveries: Likewise, of deliveries.
        production: Likewise, of production; unlike those, none unless it is asked for.

    Attributes:
        published: Number → topic of orders, deliveries or production, in the order of their numbers (`schemas.facts.topic_number`).
        judges_production: Whether both deliveries and production are published, and the former judged by the latter.
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
            # Kept as long as the history of rows, so that forecasts can be compared with what happened.
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
            # Who sums the counts must see each transaction whole: a unit that moves to another day would else be missing in
            # both until a later transaction. A reader that is further behind than its session timeout has left the group.
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
        #: Which deliveries stand, told to the homes of the vehicles; none where they are not judged by production.
        self.told = Topic(f"{internal}told", partitions, passed_on, "who tells", internal=True, sized_by=_HOMES)
        self.judges_production = deliveries is not None and production is not None
        #: Accepted events of the targets and controls for the totals that do not read these topics; none where one reads all.
        self.sides = Topic(
            f"{internal}sides",
            totals_partitions,
            passed_on,
            "target_id or metric/scope/period",
            internal=True,
            sized_by=_TOTALS,
        )
        # What is lost of it is asked again, so nothing of it needs to be kept.
        self.questions = Topic(
            f"{internal}questions",
            partitions,
            _WRITTEN | {"cleanup.policy": "delete", "retention.ms": str(DAY_MS), "segment.ms": str(DAY_MS // 2)},
            "who asks",
            internal=True,
            sized_by=_HOMES,
        )
        # Decisions of operators, not derived from anything: they are not deleted with the state of the ledger.
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
            KeyError: This installation counts none.
        """
        return self.published[ORDERS]

    @property
    def deliveries(self) -> Topic:
        """The first topic of deliveries.

        Raises:
            KeyError: This installation counts none.
        """
        return self.published[DELIVERIES]

    def all(self) -> tuple[Topic, ...]:
        """Every topic: those that are read, those that are written, the internal ones."""
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
        """Number → name of a topic of orders, deliveries or production, in the order of their numbers."""
        return {number: topic.name for number, topic in self.published.items()}

    def public(self) -> tuple[Topic, ...]:
        """The topics that others rely on."""
        return tuple(topic for topic in self.all() if not topic.internal)
