"""When scopes are checked for silences: all of them once an hour, those of standing alerts once a minute.

It is certain that nothing came in an hour once everything appended before its end has been read, including forwarded records at
their homes, as for the end of a day: neither a worker that was stopped nor one that is behind raises anything. A few scopes are
checked per step. Alerts and what is remembered of them are in the transaction of their step; a new writer continues from there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from schemas.codec import encode_memory
from schemas.facts import FAMILY_OF_METRIC
from schemas.memory import JUDGED, QUIET, SIDE, SOURCE_HOURS, Held, key_of
from schemas.source_hours import SourceKey, decode_hours, encode_hours
from schemas.texts import scope_of_source
from streams.domain.alerts.silences import Days, SilenceAlerts
from streams.domain.time.zone import MINUTE_US
from streams.holidays import day_types_of
from streams.installation import rules_of
from streams.kafka.outbox import Outgoing
from streams.totals.milestone_records import milestone_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from schemas.outputs import MilestoneEvent
    from streams.context import Context
    from streams.domain.counts.source_hours import SourceHours
    from streams.domain.rows.windows import Windows
    from streams.domain.rules import Rule
    from streams.domain.time.zone import BusinessZone

#: Scopes to check, and names to skip, in one step.
_MOST_AT_ONCE: Final = 20
_MOST_NAMES: Final = 500
#: Most sources whose hours are written in one transaction.
_MOST_HOURS: Final = 50


class SeriesOfDays(Days, Protocol):
    """The counts of days of all metrics and scopes, each of which has a number."""

    def series_names(self, first: int, end: int) -> list[tuple[str, str]]:
        """Metric and scope of the series with numbers from `first` up to, but not including, `end`."""

    @property
    def sizes(self) -> tuple[int, int, int]:
        """The numbers of rows, series and periods."""


class Silences:
    """The silences of a totals partition: restore first, then collect records at every commit.

    Args:
        alerts: Judges scopes.
        zone: The business time zone.
        days: Counts of days.
        milestones: The topic of alerts, and the partition to write.
        memory: The topic of what is remembered, and the partition to write.
        sources: The hours in which each source has sent events; None if sources are not watched here.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what is looked at, and where it is written
        self,
        alerts: SilenceAlerts,
        zone: BusinessZone,
        days: SeriesOfDays,
        milestones: tuple[str, int],
        memory: tuple[str, int],
        sources: SourceHours | None = None,
    ) -> None:
        self._sources = sources
        #: The sources to check in this hour, after the scopes.
        self._source_names: list[SourceKey] = []
        self._with_sources = False
        self._alerts, self._zone, self._days = alerts, zone, days
        self._milestones, self._memory = milestones, memory
        self._judged_us = 0
        #: The beginning of the hour that is being judged, and the number of the next series.
        self._hour_us = 0
        self._next: int | None = None
        self._again_us = 0
        #: The standing alerts that are still to be checked in this minute.
        self._standing: list[tuple[Rule, str]] = []
        self._begun = False

    def restore_alert(self, event: MilestoneEvent) -> None:
        """Restores a published alert about a silence, in the order of its topic, before the first call of `records`."""
        self._alerts.restore(event)

    def restore_memory(self, name: str) -> None:
        """Restores what is remembered under a name, likewise."""
        if name.startswith(QUIET):
            self._alerts.restore_quiet(name.removeprefix(QUIET))
        else:
            self._alerts.restore_judged(name.removeprefix(JUDGED))

    def restore_hours(self, name: str, value: bytes) -> None:
        """Restores the hours in which a source has sent events, likewise."""
        if self._sources is not None:
            self._sources.unite(SourceKey.parse(name), decode_hours(value))
            self._sources.drain()

    def hours(self) -> list[Outgoing]:
        """Records of the sources' new hours since the last call, for the current transaction."""
        changed = self._sources.drain(_MOST_HOURS) if self._sources is not None else {}
        return [
            Outgoing(*self._memory, key_of(SIDE, SOURCE_HOURS + str(of)), encode_hours(days) if days else None)
            for of, days in changed.items()
        ]

    @property
    def owes_hours(self) -> bool:
        """Whether there are more such records."""
        return self._sources is not None and self._sources.is_changed

    def publish_as(self, source: str) -> None:
        """Sets the `source` of the alerts from now on, a URI reference."""
        self._alerts.source = source

    def records(
        self, now_us: int, read_up_to: Callable[[int], bool], *, tell_hours: bool = False
    ) -> list[list[Outgoing]]:
        """Groups of records for the current transaction and the next ones, in order; cheap if nothing is due.

        Args:
            now_us: The service's clock, microseconds since 1970.
            read_up_to: Whether everything before an instant has been counted.
            tell_hours: Whether all ledger partitions publish the hours in which each source has sent events.
        """
        records: list[Outgoing] = []
        if not self._begun:
            self._begun = True
            records += map(self._event, self._alerts.end_others(now_us))
        if not self._alerts.rules:
            return [[record] for record in records]
        if self._next is None:
            hour_us = self._beginning_us(now_us)
            if hour_us > self._judged_us and read_up_to(hour_us):
                self._hour_us, self._next = hour_us, 0
                self._with_sources = self._sources is not None and tell_hours
                self._source_names = self._sources.names() if self._sources is not None and tell_hours else []
        if self._next is not None:
            records += self._look_on(now_us)
        elif now_us >= self._again_us or now_us < self._again_us - MINUTE_US:
            self._again_us = now_us + MINUTE_US
            self._standing = self._alerts.standing
        some, self._standing = self._standing[:_MOST_AT_ONCE], self._standing[_MOST_AT_ONCE:]
        records += self._look(some, now_us)
        return [[record] for record in records]

    def _look_on(self, now_us: int) -> list[Outgoing]:
        """Checks the next scopes for the hour that is being judged."""
        first = self._next or 0
        names = self._days.series_names(first, first + _MOST_NAMES)
        watched: list[tuple[Rule, str]] = []
        for metric, scope in names:
            first += 1
            watched += ((rule, scope) for rule in self._alerts.rules_of(metric, scope))
            if len(watched) >= _MOST_AT_ONCE:
                break
        while first >= self._days.sizes[1] and self._source_names and len(watched) < _MOST_AT_ONCE:
            of = self._source_names.pop()
            rules = (rule for rule in self._alerts.rules if rule.watches_sources)
            watched += (
                (rule, scope_of_source(of.source)) for rule in rules if FAMILY_OF_METRIC[rule.metric] == of.family
            )
        records = self._look(watched, now_us)
        self._next = first
        if first >= self._days.sizes[1] and not self._source_names:
            self._next, self._judged_us = None, self._hour_us
            body = encode_memory(Held(self._hour_us))
            records += [
                Outgoing(*self._memory, key_of(SIDE, JUDGED + name), body)
                for name in self._alerts.first_judged(sources=self._with_sources)
            ]
        return records

    def _look(self, watched: Iterable[tuple[Rule, str]], now_us: int) -> list[Outgoing]:
        records: list[Outgoing] = []
        at = self._zone.cell_of(self._hour_us or now_us)
        for rule, scope in watched:
            days = self._sources if rule.watches_sources and self._sources is not None else self._days
            heard = self._alerts.judge(days, rule, scope, at, now_us)
            if heard.event is not None:
                records.append(self._event(heard.event))
            if heard.quiet is not None:
                name, is_quiet = heard.quiet
                body = encode_memory(Held(now_us)) if is_quiet else None
                records.append(Outgoing(*self._memory, key_of(SIDE, QUIET + name), body))
        return records

    def _event(self, event: MilestoneEvent) -> Outgoing:
        return milestone_record(*self._milestones, event)

    def _beginning_us(self, now_us: int) -> int:
        """The first instant of the current hour."""
        past = self._zone.time_of_day(now_us)
        return now_us - (past.minute * 60 + past.second) * 1_000_000 - past.microsecond


def make_silences(context: Context, windows: Windows, number: int = 0, sources: SourceHours | None = None) -> Silences:
    """The silences of a totals partition, without any state.

    Args:
        context: As built by the composition root.
        windows: The counts of days.
        number: The partition.
        sources: The hours in which each source has sent events; only the first partition watches them.

    Raises:
        ValueError: A configured holiday is in no calendar.
    """
    day_types = day_types_of(context.settings.calendar_name)
    rules = [rule for rule in rules_of(context.settings) if sources is not None or not rule.watches_sources]
    alerts = SilenceAlerts(rules, day_types, context.zone)
    catalogue = context.catalogue
    places = (catalogue.milestones.name, number), (catalogue.totals.name, number)
    return Silences(alerts, context.zone, windows, *places, sources)
