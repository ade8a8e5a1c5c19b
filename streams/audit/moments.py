"""Checks that the unit that a milestone names is the one that passed its number, by the recount's units.

Nearly always it still is the N-th of its window. If not, events have come since it was found; then the units are counted as of that
moment, which the totals remember for each ledger partition.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple
from zoneinfo import ZoneInfo

from schemas.codec import decode_cut
from schemas.counts import CampaignHour
from schemas.memory import CUT, SIDE, key_of
from schemas.outputs import source_name
from streams.audit.dead_letters import accepted
from streams.audit.judging import time_order
from streams.audit.report import Check
from streams.audit.sources import coordinates_of
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import partition_counts, read_latest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aiokafka import AIOKafkaConsumer

    from schemas.counts import CountKey
    from schemas.facts import Fact
    from schemas.memory import FoundAt
    from schemas.outputs import Marker, MilestoneData, MilestoneEvent
    from streams.audit.dead_letters import Letter
    from streams.audit.forwarded import Arrivals
    from streams.audit.judging import RecountedUnit
    from streams.audit.sources import Coordinates
    from streams.audit.sums import Business, CampaignSpan, Day
    from streams.settings import Settings

#: At most this many of the milestones whose unit has moved are recounted as of when it was found.
_MOST_RECOUNTED: Final = 100
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=ZoneInfo("UTC"))

#: The order of units: time, id, source. Events of several orders may have the same key.
_Key = tuple[int, str, str]


class NamedUnit(NamedTuple):
    """What a milestone says about its unit; `position` is without an opening balance."""

    data: MilestoneData
    first: date
    last: date
    day: date
    key: _Key
    position: int
    campaign: CampaignSpan | None = None

    def is_within(self, business: Business, time_us: int) -> bool:
        """Whether an instant lies in the window."""
        if self.campaign is not None:
            return self.campaign.minute_of(time_us) is not None
        return self.first <= business.local(time_us).date() <= self.last


async def read_cuts(settings: Settings, consumer: AIOKafkaConsumer) -> dict[str, FoundAt]:
    """Milestone id → what had been taken in when its unit was found."""
    topic = catalogue_of(settings).totals.name
    every = [(topic, number) for number in range((await partition_counts(consumer, [topic]))[topic])]
    beginning = key_of(SIDE, CUT)
    if not every:
        return {}
    latest = await read_latest(settings, every, consumer=consumer, wanted=lambda key: key.startswith(beginning))
    return {key.removeprefix(beginning).decode(): decode_cut(value) for key, value in latest.items()}


class UnitCheck:
    """Checks the units of the standing milestones: call `note` with every unit, then `moved`.

    Args:
        business: Time zone and scopes.
        standing: The last events of the standing milestones.
        cuts: From `read_cuts`.
    """

    def __init__(self, business: Business, standing: Iterable[MilestoneEvent], cuts: Mapping[str, FoundAt]) -> None:
        self.check = Check("moments", 0, "milestones are dated by the unit that passed their number")
        self._business = business
        self._cuts = cuts
        self._claims: list[NamedUnit] = []
        self._units: dict[tuple[str, str, date], list[tuple[_Key, Coordinates]]] = {}
        #: (metric, scope, period of a campaign) → its units.
        self._units_of_campaigns: dict[tuple[str, str, str], list[_Key]] = {}
        self._spans = business.campaigns
        for event in standing:
            claim = self._claim(event.data)
            if claim is not None and not self._is_of_others(claim.data.scope):
                self._claims.append(claim)
                if claim.campaign is not None:
                    self._units_of_campaigns.setdefault((claim.data.metric, claim.data.scope, claim.data.period), [])
                self._units.setdefault((claim.data.metric, claim.data.scope, claim.day), [])

    def note(self, unit: RecountedUnit) -> None:
        """Takes a unit."""
        day = self._business.local(unit.event.time_us).date()
        for scope in self._business.scopes_of(unit.dims, day):
            units = self._units.get((unit.metric, scope, day))
            if units is not None:
                units.append((time_order(unit.event), coordinates_of(unit.event)))
            for span in self._spans:
                of_campaign = self._units_of_campaigns.get((unit.metric, scope, span.period.id))
                if of_campaign is not None and span.minute_of(unit.event.time_us) is not None:
                    of_campaign.append(time_order(unit.event))

    def moved(self, days: Mapping[CountKey, Day], markers: Mapping[int, Marker]) -> list[NamedUnit]:
        """The milestones whose unit is no longer the N-th, and for which the moment of finding it is remembered.

        Args:
            days: The recount of all ledger partitions together.
            markers: How far the recount goes.
        """
        series: defaultdict[tuple[str, str], list[tuple[date, int]]] = defaultdict(list)
        for (metric, scope, on), day in days.items():
            if not isinstance(on, CampaignHour):
                series[metric, scope].append((on, day.count))
        for units in self._units.values():
            units.sort()
        others = [claim for claim in self._claims if claim.position not in self._ranks_now(claim, series)]
        # For others it was not remembered yet, or was on another cluster, by other aliases, or after the recount's end.
        recounted = [claim for claim in others if self._is_within(claim, markers)][:_MOST_RECOUNTED]
        self.check.compared = len(self._claims) - len(others) + len(recounted)
        return recounted

    def _is_within(self, claim: NamedUnit, markers: Mapping[int, Marker]) -> bool:
        """Whether the moment is remembered, lies within the recount, and was counted by the same aliases."""
        cut = self._cuts.get(claim.data.milestone_id)
        return (
            cut is not None
            and cut.revision == claim.data.revision
            and cut.aliases == self._business.settings.aliases.text
            and all(
                home in markers and name in markers[home].positions and offset <= markers[home].positions[name][0]
                for home, positions in cut.positions.items()
                for name, offset in positions.items()
            )
        )

    def _claim(self, data: MilestoneData) -> NamedUnit | None:
        if data.position is None or data.achieved_at is None or data.achieved_on is None or data.cause is None:
            return None
        achieved = datetime.fromisoformat(data.achieved_at)
        time_us = (achieved - _EPOCH) // timedelta(microseconds=1)
        day = self._business.local(time_us).date()
        first, last = date.fromisoformat(data.start), date.fromisoformat(data.end)
        if data.achieved_on != day.isoformat() or not first <= day <= last:
            self.check.differ(f"{data.milestone_id}: achieved at {data.achieved_at}, on {data.achieved_on}")
        wanted = None if data.threshold is None else data.threshold + (data.operator == "exceeds")
        if wanted not in (None, data.position):
            self.check.differ(f"{data.milestone_id}: says unit {data.position:,}, its number is passed by {wanted:,}")
        key = time_us, data.cause.event_id, data.cause.event_source
        span = self._campaign_of(data)
        if span is None and data.period.startswith("campaign:"):
            return None  # the campaign had other instants then, or is no longer counted
        if span is not None and data.after_s != (achieved - span.start).total_seconds():
            self.check.differ(f"{data.milestone_id}: achieved at {data.achieved_at}, after {data.after_s} seconds")
        return NamedUnit(data, first, last, day, key, data.position - data.balance, span)

    def _campaign_of(self, data: MilestoneData) -> CampaignSpan | None:
        if data.starts_at is None or data.ends_at is None:
            return None
        instants = datetime.fromisoformat(data.starts_at), datetime.fromisoformat(data.ends_at)
        spans = (span for span in self._business.campaigns if span.period.id == data.period)
        return next((span for span in spans if (span.start, span.end) == instants), None)

    def _is_of_others(self, scope: str) -> bool:
        """Whether a scope's units depend on which other scopes have rows."""
        return self._business.settings.limits.beyond == "other" and "=other" in scope

    def _ranks_now(self, claim: NamedUnit, series: Mapping[tuple[str, str], list[tuple[date, int]]]) -> range:
        """The unit's position in its window by all events, or those of all units with its key; none if it no longer counts."""
        data = claim.data
        keys = [key for key, _ in self._units[data.metric, data.scope, claim.day]]
        before = 0
        if claim.campaign is not None:
            keys = sorted(self._units_of_campaigns[data.metric, data.scope, data.period])
        else:
            days = series.get((data.metric, data.scope), ())
            before = sum(count for on, count in days if claim.first <= on < claim.day)
        return range(before + bisect_left(keys, claim.key) + 1, before + bisect_right(keys, claim.key) + 1)


class UnitsThen:
    """Checks units of milestones as of when they were found: call `take` with every order, then `compare`.

    Args:
        check: Gets the differences.
        business: Time zone and scopes.
        names: Number → name of a source topic.
        claims: What the milestones say.
        cuts: From `read_cuts`.
        arrivals: The forwarded records.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what it reads, by name
        self,
        check: Check,
        business: Business,
        names: Mapping[int, str],
        claims: Sequence[NamedUnit],
        cuts: Mapping[str, FoundAt],
        arrivals: Arrivals,
    ) -> None:
        self._check = check
        self._business = business
        self._names = names
        self._claims = claims
        self._cuts = cuts
        self._arrivals = arrivals
        self._forwarded_to = catalogue_of(business.settings).rerouted.name
        #: Home → source → the offset up to which it had been read for all of the claims.
        self._safe: dict[int, dict[str, int]] = {}
        for claim in claims:
            for home, positions in cuts[claim.data.milestone_id].positions.items():
                safe = self._safe.setdefault(home, dict(positions))
                self._safe[home] = {name: min(offset, positions.get(name, 0)) for name, offset in safe.items()}
        self._ranks = [0] * len(claims)
        #: How many units have a claim's key: orders may have events of the same time, id and source.
        self._alike = [0] * len(claims)

    def take(self, home: int, records: Sequence[Fact], letters: Mapping[Coordinates, Letter]) -> None:
        """Takes all records of an order in a ledger partition."""
        events = accepted(records, letters).events
        places = [(record, *self._place(home, record)) for record in records]
        everything = self._business.read_order(events).units
        safe = self._safe.get(home, {})
        if all(offset < safe.get(name, 0) for _, name, offset in places):
            for number, claim in enumerate(self._claims):
                self._count(number, claim, everything)
            return
        for number, claim in enumerate(self._claims):
            positions = self._cuts[claim.data.milestone_id].positions.get(home, {})
            there = {(one.source, one.id) for one, name, offset in places if offset < positions.get(name, 0)}
            then = [event for event in events if (event.source, event.id) in there]
            units = everything if len(then) == len(events) else self._business.read_order(then).units
            self._count(number, claim, units)

    def compare(self) -> None:
        """Compares, once all orders have been taken."""
        for claim, rank, alike in zip(self._claims, self._ranks, self._alike, strict=True):
            if not rank - alike < claim.position <= rank:
                data = claim.data
                position, found = claim.position + data.balance, rank + data.balance
                which = f"the {found:,}th" if alike else "none"
                self._check.differ(
                    f"{data.milestone_id}: unit {position:,} is said to be {claim.key[2]} {claim.key[1]} of "
                    f"{data.achieved_at}, which was {which} of its window when the milestone was found",
                    milestone_id=data.milestone_id,
                    position=position,
                    recounted=found if alike else None,
                )

    def _place(self, home: int, record: Fact) -> tuple[str, int]:
        """The source from which a ledger partition got a record, and its offset there."""
        if record.partition % self._business.settings.partitions == home:
            return source_name(self._names[record.topic], record.partition, home), record.offset
        arrival = self._arrivals.by_record.get(coordinates_of(record))
        return self._forwarded_to, arrival.offset if arrival is not None else 1 << 62

    def _count(self, number: int, claim: NamedUnit, units: Iterable[RecountedUnit]) -> None:
        data = claim.data
        for unit in units:
            if unit.metric != data.metric:
                continue
            key = time_order(unit.event)
            if key > claim.key or not (
                claim.is_within(self._business, unit.event.time_us)
                and data.scope in self._business.scopes_at(unit.dims, unit.event)
            ):
                continue
            self._ranks[number] += 1
            self._alike[number] += key == claim.key
