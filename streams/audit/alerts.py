"""Checks alerts against what was published: alerts about forecasts against the forecasts, those about silences against the rows.

An alert must say what its forecast said, and follow from it; and a standing alert must not be contradicted by the latest forecast.
Whether some forecast should have raised an alert cannot be determined afterwards: what it was compared with depends on when rules and
targets came into force, and on history being loaded. The rows show whether a silence lasts; but later events may have changed what
they showed when it was noticed, and what was usual then.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from schemas.codec import decode_forecast, decode_milestone, decode_row
from schemas.facts import FAMILY_OF_METRIC
from schemas.instants import micros_of, parse_instant
from schemas.memory import SIDE, SOURCE_HOURS, key_of
from schemas.source_hours import SourceKey, decode_hours
from schemas.texts import source_of_scope
from streams.audit.report import Check
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import read_latest, read_to_end
from streams.kafka.records import record_key, record_value

#: Earlier weeks whose hours are shown next to those of a silence.
_WEEKS: Final = 4
#: Days after a silence was noticed on which to look for units.
_LATER_DAYS: Final = 8
#: The end of a silence is noticed within a minute of the service's clock; with a margin.
ALERT_ENDS_WITHIN_US: Final = 180_000_000
_SOURCE_HOURS: Final = key_of(SIDE, SOURCE_HOURS)
#: Parts of ids that only alerts about forecasts and about silences have.
_IN_IDS: Final = (b"/forecast-", b"/hours/stalled:")

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from aiokafka import AIOKafkaConsumer

    from schemas.facts import Metric
    from schemas.outputs import AlertForecast, Forecast, MilestoneData, MilestoneEvent, WindowRow
    from streams.settings import Settings


@dataclass
class PublishedAlerts:
    """Alerts and forecasts as published.

    Attributes:
        forecasts: Key → its forecasts in order, as far back as the topic goes.
        events: Events of alerts in the order of their topic, read after the forecasts.
        rows: (metric, scope, date) → the row of the day.
        day_starts: The local hour at which days begin.
        source_hours: Event source → date as an ordinal → the hours with events, as bits.
    """

    forecasts: dict[str, list[Forecast]] = field(default_factory=lambda: defaultdict(list))
    events: list[MilestoneEvent] = field(default_factory=list)
    rows: dict[tuple[str, str, str], WindowRow] = field(default_factory=dict)
    day_starts: int = 0
    source_hours: dict[SourceKey, dict[int, int]] = field(default_factory=dict)

    @property
    def standing(self) -> dict[str, str]:
        """Last event of each standing alert → the alert's id."""
        last = {event.subject: event for event in self.events}
        return {event.id: event.subject for event in last.values() if event.stands}

    def hours_of(self, data: MilestoneData) -> list[int]:
        """For a silence: the units in its hours by the current rows, and in the same hours one to four weeks before."""
        if data.silence is None:
            return []
        zone = ZoneInfo(data.timezone)
        since, until = (
            datetime.fromisoformat(each).astimezone(zone).replace(tzinfo=None)
            for each in (data.silence.since, data.silence.until)
        )
        return [
            self.units(data.metric, data.scope, since - timedelta(weeks=weeks), until - timedelta(weeks=weeks))
            for weeks in range(_WEEKS + 1)
        ]

    def units(self, metric: Metric, scope: str, since: datetime, until: datetime) -> int:
        """Units from one local hour to before another; for an event source, the number of hours with events."""
        units, at = 0, since - timedelta(hours=self.day_starts)
        of_source = self.source_hours.get(_source_of(metric, scope))
        while at < until - timedelta(hours=self.day_starts):
            if of_source is not None:
                units += of_source.get(at.toordinal(), 0) >> at.hour & 1
            else:
                row = self.rows.get((metric, scope, at.date().isoformat()))
                units += row.by_hour[at.hour] if row is not None and row.by_hour is not None else 0
            at += timedelta(hours=1)
        return units

    def around(self, data: MilestoneData) -> tuple[Forecast | None, Forecast | None, Forecast | None]:
        """The forecast of an alert, the one before and the one after it, as far as they still exist."""
        found = self.forecasts.get(_forecast_key(data), [])
        as_of = data.forecast.as_of if data.forecast is not None else ""
        at = next((number for number, each in enumerate(found) if each.as_of == as_of), None)
        if at is None:
            return None, None, None
        return found[at], found[at - 1] if at else None, found[at + 1] if at + 1 < len(found) else None


async def read_alerts(
    settings: Settings, consumer: AIOKafkaConsumer, about: Collection[MilestoneData]
) -> PublishedAlerts:
    """Reads what alerts are about: forecasts, then alerts, then rows; nothing if there are no alerts.

    An alert's forecast is in the same transaction, so only alerts published meanwhile can lack theirs.

    Args:
        settings: The settings of the installation.
        consumer: The consumer to read with.
        about: The alerts. Only the forecasts of their targets and the rows of their scopes are decoded.
    """
    catalogue, found = catalogue_of(settings), PublishedAlerts(day_starts=settings.day_starts_hour)
    targets = {_forecast_key(data).encode() for data in about if data.forecast is not None}
    series = {
        f"{data.metric}/{data.scope}".encode()
        for data in about
        if data.silence is not None and source_of_scope(data.scope) is None
    }
    if targets:
        async for records in read_to_end(settings, catalogue.forecasts.whole, consumer=consumer):
            for record in records:
                if record.value is not None and record_key(record) in targets:
                    found.forecasts[record_key(record).decode()].append(decode_forecast(record.value))
    if about:
        places = {_place_of(data.milestone_id.encode()) for data in about}
        async for records in read_to_end(settings, catalogue.milestones.whole, consumer=consumer):
            found.events += (
                decode_milestone(record_value(record))
                for record in records
                if (place := _place_of(record_key(record))) and place in places
            )
    if any(data.silence is not None and source_of_scope(data.scope) is not None for data in about):
        sides = await read_latest(
            settings,
            [(catalogue.totals.name, 0)],
            consumer=consumer,
            wanted=lambda key: key.startswith(_SOURCE_HOURS),
        )
        found.source_hours = {
            SourceKey.parse(key.removeprefix(_SOURCE_HOURS).decode()): decode_hours(value)
            for key, value in sides.items()
        }
    if series:
        rows = await read_latest(
            settings,
            catalogue.windows.whole,
            consumer=consumer,
            wanted=lambda key: b"/day:" in key and key.rpartition(b"/day:")[0] in series,
        )
        decoded = map(decode_row, rows.values())
        found.rows = {(row.metric, row.scope, row.start): row for row in decoded}
    return found


@dataclass
class AlertExplanation:
    """What raised and ended an alert.

    Attributes:
        data: The data of its last event.
        standing: Whether it stands after that event.
        revisions: All its events.
        published: The forecasts and alerts that were read.
    """

    data: MilestoneData
    standing: bool
    revisions: list[MilestoneEvent]
    published: PublishedAlerts

    @property
    def latest(self) -> Forecast | None:
        """The latest forecast of its target, if any still exists."""
        return next(reversed(self.published.forecasts.get(_forecast_key(self.data), [])), None)

    def document(self) -> dict[str, Any]:
        """Everything, as JSON."""

        def described(made: Forecast | None) -> dict[str, Any] | None:
            return None if made is None else made.model_dump(mode="json")

        if self.data.silence is not None:
            return {
                "milestone_id": self.data.milestone_id,
                "kind": self.data.kind,
                "standing": self.standing,
                "period": self.data.period,
                "revisions": [event.model_dump(mode="json") for event in self.revisions],
                "hours": [self.published.hours_of(event.data) for event in self.revisions],
            }
        forecasts = [
            dict(zip(("forecast", "before", "after"), map(described, self.published.around(event.data)), strict=True))
            for event in self.revisions
        ]
        return {
            "milestone_id": self.data.milestone_id,
            "kind": self.data.kind,
            "standing": self.standing,
            "period": self.data.period,
            "latest": described(self.latest),
            "revisions": [event.model_dump(mode="json") for event in self.revisions],
            "forecasts": forecasts,
        }


class _Told(NamedTuple):
    """The last event of any alert about a target."""

    business_date: str
    milestone_id: str


def check_alerts(alerts: PublishedAlerts, is_here: Callable[[str], bool], now_us: int) -> Check:
    """Compares each alert with its forecast, and standing ones with the latest forecast or with the rows.

    Args:
        alerts: The alerts and what they are about.
        is_here: Whether a scope is to be compared.
        now_us: The service's clock, microseconds since 1970.
    """
    check = Check("alerts", 0, "alerts say what forecasts and rows say")
    last: dict[str, MilestoneEvent] = {}
    told: dict[str, _Told] = {}
    for event in alerts.events:
        data = event.data
        if not is_here(data.scope):
            continue
        before = last.get(data.milestone_id)
        if event.stands is False and (before is None or not before.stands):
            check.differ(f"{event.id}: has ended and was not raised", milestone_id=data.milestone_id)
        last[data.milestone_id] = event
        if data.ended == "gone":
            continue
        check.compared += 1
        if data.forecast is None:
            continue
        key = _forecast_key(data)
        former = told.get(key)
        if (
            data.ended not in {"reached", "over"}
            and former is not None
            and former.business_date == data.forecast.business_date
        ):
            check.differ(
                f"{event.id}: on {former.business_date} there was an alert about its target already, {former.milestone_id}",
                milestone_id=data.milestone_id,
            )
        told[key] = _Told(data.forecast.business_date, data.milestone_id)
        fault = _fault(event, alerts, before)
        if fault is not None:
            check.differ(f"{event.id}: {fault}", milestone_id=data.milestone_id)
    for event in last.values():
        if event.stands:
            _check_standing(check, event, alerts, told, now_us)
    return check


def _check_standing(
    check: Check, event: MilestoneEvent, alerts: PublishedAlerts, told: Mapping[str, _Told], now_us: int
) -> None:
    """Checks that a standing alert is not contradicted by the latest forecast, or by the rows."""
    name = event.data.milestone_id
    if came := _units_since(event.data, alerts, now_us):
        check.differ(f"{event.id}: stands, and rows have {came:,} since then", milestone_id=name)
    latest = alerts.forecasts.get(_forecast_key(event.data), [])[-1:]
    fault = _contradicted(event.data, latest[0], told) if latest else None
    if fault is not None:
        check.differ(f"{event.id}: stands, and {fault}", milestone_id=name)


def _units_since(data: MilestoneData, alerts: PublishedAlerts, now_us: int) -> int:
    """Units that rows have had for some minutes in a total silence, which should therefore have ended."""
    if data.silence is None or data.silence.below is not None:
        return 0
    day, units = date.fromisoformat(data.silence.since[:10]) - timedelta(days=1), 0
    since = datetime.fromisoformat(data.silence.since).replace(tzinfo=None)
    for number in range((date.fromisoformat(data.end) - day).days + _LATER_DAYS):
        of_day = day + timedelta(days=number)
        row = alerts.rows.get((data.metric, data.scope, of_day.isoformat()))
        if row is not None and micros_of(parse_instant(row.updated_at)) < now_us - ALERT_ENDS_WITHIN_US:
            begins = max(since, datetime.combine(of_day, time(alerts.day_starts)))
            ends = datetime.combine(of_day, time(alerts.day_starts)) + timedelta(days=1)
            units += alerts.units(data.metric, data.scope, begins, ends)
    return units


def _fault(event: MilestoneEvent, alerts: PublishedAlerts, before: MilestoneEvent | None) -> str | None:
    """How an event contradicts its forecast; None if it does not, or if that no longer exists or has not been read yet."""
    data, told = event.data, event.data.forecast
    known = alerts.forecasts.get(_forecast_key(data), [])
    made, _, _ = alerts.around(data)
    if told is None or not known or not known[0].as_of <= told.as_of <= known[-1].as_of:
        return None
    if made is None:
        return f"there is no forecast of {told.as_of}"
    said = (told.business_date, told.projected_total, told.projected_date, data.count, data.threshold)
    forecast = (made.business_date, made.projected_total, made.projected_date.p50, made.count, made.value)
    if said != forecast:
        return f"does not say what its forecast of {told.as_of} says"
    return _unfounded(event, told, made, before)


def _unfounded(event: MilestoneEvent, told: AlertForecast, made: Forecast, before: MilestoneEvent | None) -> str | None:
    """Why an event does not follow from its forecast."""
    data = event.data
    decided = {"reached": "reached", "over": "missed"}.get(data.ended or "")
    if decided is not None:
        return None if made.state == decided else f"has ended as {data.ended}, and its forecast says {made.state}"
    total = made.projected_total.p50
    if data.kind == "forecast_behind" and total is not None and (total < made.value) is not event.stands:
        return f"was {'raised' if event.stands else 'ended'} by a forecast of {total:,} for {made.value:,}"
    # A standing alert is compared with the last alert, or with an unpublished reference after history was loaded.
    is_first = data.kind == "forecast_moved" and event.stands and (before is None or not before.stands)
    if is_first and told.projected_date == told.former_date:
        return f"the date is {told.former_date}, as it was before"
    return None


def _contradicted(data: MilestoneData, latest: Forecast, told: Mapping[str, _Told]) -> str | None:
    """Why an alert should not stand according to the latest forecast; None if it may."""
    if data.forecast is None or latest.as_of <= data.forecast.as_of or latest.value != data.threshold:
        return None
    if latest.state in {"reached", "missed"}:
        return f"its target is {latest.state} since {latest.business_date}"
    total = latest.projected_total.p50
    is_back = data.kind == "forecast_behind" and total is not None and total >= latest.value
    # There is at most one alert event per target and date, so the end may have to wait.
    if is_back and latest.business_date != told[_forecast_key(data)].business_date:
        return f"the forecast of {latest.as_of} expects {total:,} for {latest.value:,}"
    return None


def _source_of(metric: Metric, scope: str) -> SourceKey:
    """The event source that a silence is about; for the silence of a scope, one that does not exist."""
    return SourceKey(FAMILY_OF_METRIC[metric], source_of_scope(scope) or "")


def _place_of(milestone_id: bytes) -> bytes:
    """What an alert is about, the same for all targets of a period; empty for other milestones."""
    for mark in _IN_IDS:
        place, found, _ = milestone_id.partition(mark)
        if found:
            return place + mark
    return b""


def _forecast_key(data: MilestoneData) -> str:
    return f"{data.metric}/{data.scope}/{data.period}/{data.target_id}"
