"""When scopes are looked at for silences: all of them once an hour, those of standing alerts once a minute.

That nothing came in an hour is known once everything appended before its end has been read, forwarded records at their homes
included, as for the end of a day: neither a worker that was stopped nor one that is behind raises anything. Scopes are looked at a few in a
step. Alerts and what is remembered of them are in the transaction of their step; what a new writer finds is where it goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from schemas.codec import encode_memory
from schemas.memory import JUDGED, QUIET, SIDE, Held, key_of
from streams.domain.daytypes import DayTypes
from streams.domain.silences import Days, SilenceAlerts
from streams.holidays import holiday_years
from streams.installation import rules_of
from streams.kafka.transactions import Outgoing
from streams.totals.milestone_records import milestone_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from schemas.outputs import MilestoneEvent
    from streams.context import Context
    from streams.domain.rules import Rule
    from streams.domain.windows import Windows
    from streams.domain.zone import BusinessZone

MINUTE_US: Final = 60_000_000
#: Scopes that are looked at, and names that are passed over, in one step.
_MOST_AT_ONCE: Final = 20
_MOST_NAMES: Final = 500


class SeriesOfDays(Days, Protocol):
    """The counts of days of all metrics and scopes, each of which has a number."""

    def series_names(self, first: int, end: int) -> list[tuple[str, str]]:
        """Metric and scope of those from one number to before another."""

    @property
    def sizes(self) -> tuple[int, int, int]:
        """How many rows, series and periods there are."""


class Silences:
    """The silences of a partition of the totals: restore first, then ask for records at every commit.

    Args:
        alerts: Judges scopes.
        zone: The business time zone.
        days: Counts of days.
        milestones: The topic of alerts and the partition that is written.
        memory: Likewise, of what is remembered.
    """

    def __init__(
        self,
        alerts: SilenceAlerts,
        zone: BusinessZone,
        days: SeriesOfDays,
        milestones: tuple[str, int],
        memory: tuple[str, int],
    ) -> None:
        self._alerts, self._zone, self._days = alerts, zone, days
        self._milestones, self._memory = milestones, memory
        self._judged_us = 0
        #: Of the hour that is being judged: its beginning, and the number of the next series.
        self._hour_us = 0
        self._next: int | None = None
        self._again_us = 0
        self._begun = False

    def restore_alert(self, event: MilestoneEvent) -> None:
        """Takes over a published alert about a silence, in the order of its topic, before the first call of `records`."""
        self._alerts.restore(event)

    def restore_memory(self, name: str) -> None:
        """Takes over what is remembered under a name, likewise."""
        if name.startswith(QUIET):
            self._alerts.restore_quiet(name.removeprefix(QUIET))
        else:
            self._alerts.restore_judged(name.removeprefix(JUDGED))

    def publish_as(self, source: str) -> None:
        """Sets the `source` of the alerts from now on, a URI reference."""
        self._alerts.source = source

    def records(self, now_us: int, read_up_to: Callable[[int], bool]) -> list[list[Outgoing]]:
        """Records for the current transaction and the next ones, in their order, one by one; cheap if nothing is due.

        Args:
            now_us: The service's clock, microseconds since 1970.
            read_up_to: Whether everything before an instant has been counted.
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
        if self._next is not None:
            records += self._look_on(now_us)
        elif now_us >= self._again_us or now_us < self._again_us - MINUTE_US:
            self._again_us = now_us + MINUTE_US
            records += self._look(self._alerts.standing[:_MOST_AT_ONCE], now_us)
        return [[record] for record in records]

    def _look_on(self, now_us: int) -> list[Outgoing]:
        """Looks at the next scopes of the hour that is being judged."""
        first = self._next or 0
        names = self._days.series_names(first, first + _MOST_NAMES)
        watched: list[tuple[Rule, str]] = []
        for metric, scope in names:
            first += 1
            watched += ((rule, scope) for rule in self._alerts.rules_of(metric, scope))
            if len(watched) >= _MOST_AT_ONCE:
                break
        records = self._look(watched, now_us)
        self._next = first
        if first >= self._days.sizes[1]:
            self._next, self._judged_us = None, self._hour_us
            body = encode_memory(Held(self._hour_us))
            records += [
                Outgoing(*self._memory, key_of(SIDE, JUDGED + name), body) for name in self._alerts.first_judged()
            ]
        return records

    def _look(self, watched: Iterable[tuple[Rule, str]], now_us: int) -> list[Outgoing]:
        records: list[Outgoing] = []
        at = self._zone.cell_of(self._hour_us or now_us)
        for rule, scope in watched:
            heard = self._alerts.judge(self._days, rule, scope, at, now_us)
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
        """The first instant of the hour that is on."""
        past = self._zone.time_of_day(now_us)
        return now_us - (past.minute * 60 + past.second) * 1_000_000 - past.microsecond


def make_silences(context: Context, windows: Windows, number: int = 0) -> Silences:
    """The silences of a partition of the totals, without any state.

    Raises:
        ValueError: A configured holiday is in no calendar.
    """
    day_types = DayTypes(holiday_years(context.settings.calendar_name))
    alerts = SilenceAlerts(rules_of(context.settings), day_types, context.zone)
    catalogue = context.catalogue
    return Silences(alerts, context.zone, windows, (catalogue.milestones.name, number), (catalogue.totals.name, number))
