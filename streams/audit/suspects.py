"""Finds the units behind differences; the sources are only reread if there are any."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from streams.audit.dead_letters import Letter, accepted
from streams.audit.judging import EFFECTS
from streams.audit.report import KIND_OF_METRIC, describe_event

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from schemas.facts import Fact
    from streams.audit.report import Suspect
    from streams.audit.sources import Coordinates, Sources, Stops
    from streams.audit.sums import Business

_MOST_UNITS: Final = 1000


class Lineup:
    """The units, and the events without effect, where a difference is."""

    def __init__(self, suspect: Suspect, business: Business, names: Mapping[int, str]) -> None:
        self._suspect = suspect
        self._business = business
        self._names = names
        self.units: list[dict[str, Any]] = []
        self.without_effect: list[dict[str, Any]] = []
        self.count = 0

    def take(self, shard: int, records: Sequence[Fact], letters: Mapping[Coordinates, Letter]) -> None:
        """Looks at an order."""
        suspect = self._suspect
        if suspect.shard not in (None, shard):
            return
        found = accepted(records, letters)
        reading = self._business.read_order(found.events)
        counted = set()
        for unit in reading.units:
            if unit.metric == suspect.metric and suspect.scope in self._business.scopes_at(unit.dims, unit.event):
                counted.add((unit.event.source, unit.event.id))
                if self._is_here(unit.event):
                    self.count += 1
                    self._note(self.units, unit.event, None)
        if suspect.hours or suspect.minutes:
            for event, effect in reading.effects:
                if (event.source, event.id) not in counted and self._could_count(event):
                    self._note(self.without_effect, event, EFFECTS[effect])
            for event in found.duplicates:
                if self._could_count(event):
                    self._note(self.without_effect, event, "no effect: the same event again")

    def _note(self, noted: list[dict[str, Any]], event: Fact, why: str | None) -> None:
        if len(noted) < _MOST_UNITS:
            described = describe_event(event, self._business, self._names)
            noted.append(described if why is None else {**described, "effect": why})

    def _could_count(self, event: Fact) -> bool:
        return event.kind == KIND_OF_METRIC[self._suspect.metric] and self._is_here(event)

    def _is_here(self, event: Fact) -> bool:
        suspect = self._suspect
        if suspect.campaign is not None:
            minute = suspect.campaign.minute_of(event.time_us)
            return minute is not None and (not suspect.minutes or minute in suspect.minutes)
        local = self._business.local(event.time_us)
        return suspect.start <= local.date() <= suspect.end and (not suspect.hours or local.hour in suspect.hours)


async def line_up(  # noqa: PLR0913, PLR0917 - what a recount needs
    suspects: Sequence[Suspect],
    business: Business,
    sources: Sources,
    stops: Stops,
    strangers: Mapping[int, list[Fact]],
    letters: Mapping[Coordinates, Letter],
) -> list[Lineup]:
    """Finds the units of each suspect, at most 1,000 each, in the given order."""
    lineups = [Lineup(suspect, business, sources.names) for suspect in suspects]
    shards = {suspect.shard for suspect in suspects}
    for number in range(business.settings.partitions):
        if shards and None not in shards and number not in shards:
            continue
        home = await sources.home(number, stops, strangers)
        for records in home.orders.values():
            for lineup in lineups:
                lineup.take(number, records, letters)
    for lineup in lineups:
        lineup.units.sort(key=lambda unit: (unit["time"], unit["id"]))
    return lineups
