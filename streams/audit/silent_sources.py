"""Checks alerts about silent event sources: while one stands, no event of its source may be dated since the silence began."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schemas.facts import FAMILIES, FAMILY_OF_METRIC, Kind
from schemas.instants import micros_of, parse_instant
from schemas.texts import source_of_scope
from streams.audit.sources import coordinates_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from schemas.facts import Fact
    from schemas.outputs import MilestoneEvent
    from streams.audit.report import Check
    from streams.audit.sources import Stops

#: Family → the kinds of events it publishes; without voids, which may be an operator's.
_KINDS: Final = dict(
    zip(
        FAMILIES,
        ((Kind.PLACED, Kind.CANCELLED), (Kind.DELIVERED, Kind.REVERSED), (Kind.PRODUCED, Kind.SCRAPPED)),
        strict=True,
    )
)


class SilentSources:
    """Collects the events of the sources that alerts call silent.

    Args:
        events: The events of alerts, in order.
    """

    def __init__(self, events: Iterable[MilestoneEvent]) -> None:
        last = {event.subject: event for event in events if event.data.silence is not None}
        #: (kind, source) of events → event of a standing alert → when the silence began, microseconds since 1970.
        self._since: dict[tuple[int, str], dict[str, int]] = {}
        #: Event of an alert → the events since then; and when the alert's silence was known, microseconds since 1970.
        self._found: dict[str, list[Fact]] = {}
        self._until_us: dict[str, int] = {}
        for event in last.values():
            source, silence = source_of_scope(event.data.scope), event.data.silence
            if not event.stands or source is None or silence is None:
                continue
            self._until_us[event.id] = micros_of(parse_instant(silence.until))
            for kind in _KINDS[FAMILY_OF_METRIC[event.data.metric]]:
                self._since.setdefault((kind, source), {})[event.id] = micros_of(parse_instant(silence.since))

    def __bool__(self) -> bool:
        return bool(self._since)

    def note(self, events: Iterable[Fact]) -> None:
        """Takes accepted events."""
        for event in events:
            for alert, since_us in self._since.get((event.kind, event.source), {}).items():
                if event.time_us >= since_us and not event.backfill:
                    self._found.setdefault(alert, []).append(event)

    async def compare(
        self, check: Check, standing: Mapping[str, str], stops_at: Callable[[int], Awaitable[Stops]], known_us: int
    ) -> None:
        """Adds what contradicts the alerts that are still standing.

        Args:
            check: Gets the differences.
            standing: Event of a standing alert → the alert's id.
            stops_at: Gives the ends of the source partitions at an instant, microseconds since 1970.
            known_us: Whatever was appended by then, or by the end of the silence, must have ended the alert.
        """
        for alert, events in self._found.items():
            if alert not in standing:
                continue
            known = await stops_at(max(known_us, self._until_us[alert]))
            came = [event for event in events if event.offset < known.get(coordinates_of(event)[:2], 0)]
            if came:
                check.differ(
                    f"{alert}: stands, and its source has sent {len(came):,} events dated since then",
                    milestone_id=standing[alert],
                )
