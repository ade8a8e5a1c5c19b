"""The targets, opening balances and campaigns in force, from an independent fold over their topic."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from schemas.codec import decode_target
from schemas.events import BalanceSet, CampaignSet, CampaignWithdrawn, TargetSet, TargetWithdrawn
from schemas.facts import DIMENSIONS, MOST_MINUTES, Rejection
from schemas.rows import RowKey
from streams.audit.expected_milestones import TargetInForce
from streams.audit.sources import future_limit_us
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import partition_counts, read_to_end, reader
from streams.settings_sections import CampaignSettings

if TYPE_CHECKING:
    from datetime import datetime

    from aiokafka import AIOKafkaConsumer

    from schemas.events import CampaignSetData, PlanEvent
    from streams.audit.sums import Business
    from streams.settings import Settings


#: For a campaign that applies to none of the counted scopes.
_NO_SCOPES: Final = (("none of them",),)


@dataclass(frozen=True)
class TargetEvents:
    """All valid events of the targets topic, each identity once, in the order of (time, id, source).

    Attributes:
        events: The events.
        appended_us: When each event's record was appended, microseconds since 1970.
    """

    events: tuple[PlanEvent, ...]
    appended_us: tuple[int, ...] = ()

    def in_force(self, settings: Settings, business: Business, now_us: int) -> list[TargetInForce]:
        """The targets in force at a time.

        Args:
            settings: The initial targets.
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
            elif isinstance(event, TargetWithdrawn):
                found.pop(event.data.target_id, None)
        return [target for target in found.values() if business.is_counted(target.period)]

    def counted_by(self, settings: Settings, appended_us: int | None = None) -> Settings:
        """The settings with the campaigns that are counted, which events may have announced, changed or withdrawn.

        Args:
            settings: The initial campaigns.
            appended_us: Events appended later are not known yet; None if all are.
        """
        service = {frozenset(template) for template in settings.scopes}
        announced: dict[str, CampaignSettings | None] = {}
        latest = None
        for number, event in enumerate(self.events):
            if appended_us is not None and self.appended_us[number] > appended_us:
                continue
            if isinstance(event, CampaignWithdrawn):
                announced[event.data.campaign] = None
            elif isinstance(event, CampaignSet):
                announced[event.data.campaign] = _announced(event.data, service)
            else:
                continue
            latest = event.time  # they come in the order of their times
        if latest is None:
            return settings
        in_order = sorted(filter(None, announced.values()), key=lambda each: each.name)
        over = [each for each in in_order if _end_of(each) <= latest]
        over.sort(key=lambda each: each.start, reverse=True)
        others = [each for each in in_order if _end_of(each) > latest]
        others.sort(key=lambda each: each.start)
        counted = [*others, *over][: settings.limits.announced_campaigns]
        kept = [each for each in settings.campaign if each.name not in announced]
        return settings.model_copy(
            update={"campaign": (*kept, *(each for each in counted if each.scopes != _NO_SCOPES))}
        )

    def balances(self, business: Business, now_us: int, appended_us: int | None = None) -> dict[RowKey, int]:
        """Row → its opening balance in force at a time.

        Args:
            business: Scopes that it does not count have no rows.
            now_us: Events with a later time have no effect yet; microseconds since 1970.
            appended_us: Events appended later are not known yet; None if all are.
        """
        last: dict[RowKey, int] = {}
        for number, event in enumerate(self.events):
            if not isinstance(event, BalanceSet) or event.time_us > now_us:
                continue
            if appended_us is None or self.appended_us[number] <= appended_us:
                last[RowKey.of(event.data)] = event.data.count
        return {row: units for row, units in last.items() if units and business.has_rows_of(row)}


async def counted_now(settings: Settings) -> Settings:
    """The settings with the campaigns in force: those that events announce replace those given there.

    Raises:
        ExpectedError: The cluster is unreachable.
    """
    async with reader(settings) as consumer:
        return (await read_targets(settings, consumer)).counted_by(settings)


async def read_targets(settings: Settings, consumer: AIOKafkaConsumer) -> TargetEvents:
    """Reads the targets topic to its end."""
    topic = catalogue_of(settings).targets.name
    if not (await partition_counts(consumer, [topic]))[topic]:
        return TargetEvents(())
    events: dict[tuple[str, str, str], tuple[PlanEvent, int]] = {}
    async for records in read_to_end(settings, [(topic, 0)], consumer=consumer):
        for record in records:
            event = decode_target(record, future_limit_us=future_limit_us(record, settings))
            if not isinstance(event, Rejection):
                events.setdefault((_subject_of(event), event.source, event.id), (event, record.timestamp * 1000))
    ordered = sorted(events.values(), key=lambda one: (one[0].time_us, one[0].id, one[0].source))
    return TargetEvents(tuple(event for event, _ in ordered), tuple(appended_us for _, appended_us in ordered))


def _announced(data: CampaignSetData, service: set[frozenset[str]]) -> CampaignSettings:
    """The campaign that an event announces, in the form of the settings; for those of its scopes that the service counts."""
    listed = service if data.scopes is None else {frozenset(each) for each in data.scopes} & service
    scopes = tuple(sorted(tuple(name for name in DIMENSIONS if name in each) for each in listed))
    return CampaignSettings(name=data.campaign, start=data.start, end=data.end, scopes=scopes or _NO_SCOPES)


def _end_of(campaign: CampaignSettings) -> datetime:
    """The first instant after an announced campaign."""
    return campaign.end if campaign.end is not None else campaign.start + timedelta(minutes=MOST_MINUTES)


def _subject_of(event: PlanEvent) -> str:
    """What an event is about; distinguishes a target from a balance or a campaign of the same name."""
    if isinstance(event, BalanceSet):
        return f"balance {RowKey.of(event.data)}"
    if isinstance(event, CampaignSet | CampaignWithdrawn):
        return f"campaign {event.data.campaign}"
    return f"target {event.data.target_id}"
