"""The targets in force, from an independent fold of their topic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas.codec import decode_target
from schemas.events import TargetSet
from schemas.facts import Rejection
from streams.audit.expected_milestones import TargetInForce
from streams.audit.sources import future_limit_us
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import partition_counts, read_to_end

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer

    from schemas.events import TargetEvent
    from streams.audit.sums import Business
    from streams.settings import Settings


@dataclass(frozen=True)
class TargetEvents:
    """Every valid event of the targets' topic, each identity once, in the order of (time, id, source)."""

    events: tuple[TargetEvent, ...]

    def in_force(self, settings: Settings, business: Business, now_us: int) -> list[TargetInForce]:
        """The targets at a time.

        Args:
            settings: The start values.
            business: Targets for periods that it does not know are ignored.
            now_us: Events with a later time have no effect yet; microseconds since 1970.
        """
        found = {
            target.target_id: TargetInForce(
                target.target_id, target.metric, target.scope, target.period, target.value, target.at
            )
            for target in settings.target
        }
        for event in self.events:
            if event.time_us > now_us:
                continue
            if isinstance(event, TargetSet):
                data = event.data
                found[data.target_id] = TargetInForce(
                    data.target_id, data.metric, data.scope, data.period, data.value, tuple(data.at or ())
                )
            else:
                found.pop(event.data.target_id, None)
        return [target for target in found.values() if business.is_counted(target.period)]


async def read_targets(settings: Settings, consumer: AIOKafkaConsumer) -> TargetEvents:
    """Reads the targets' topic to its end."""
    topic = catalogue_of(settings).targets.name
    if not (await partition_counts(consumer, [topic]))[topic]:
        return TargetEvents(())
    events: dict[tuple[str, str, str], TargetEvent] = {}
    async for records in read_to_end(settings, [(topic, 0)], consumer=consumer):
        for record in records:
            event = decode_target(record, future_limit_us=future_limit_us(record, settings))
            if not isinstance(event, Rejection):
                events.setdefault((event.data.target_id, event.source, event.id), event)
    return TargetEvents(tuple(sorted(events.values(), key=lambda one: (one.time_us, one.id, one.source))))
