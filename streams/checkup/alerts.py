"""Checks of early warnings and silences: what their rules watch, and which alerts stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.codec import decode_forecast, decode_milestone
from schemas.facts import FAMILY_OF_METRIC
from schemas.memory import SIDE, SOURCE_HOURS, key_of
from schemas.source_hours import SourceKey
from schemas.texts import template_of
from streams.checkup import Finding, note, ok
from streams.domain.rules import stalled_id
from streams.domain.time.calendar import NO_CALENDAR
from streams.holidays import holiday_years
from streams.installation import rules_of, targets_of
from streams.kafka.clients import partition_counts, read_latest
from streams.settings_sections import as_written
from streams.wording.headline import headline

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from aiokafka import AIOKafkaConsumer

    from schemas.outputs import Forecast, MilestoneData, MilestoneEvent
    from streams.domain.rules import Rule, Target
    from streams.settings import Settings

NAME: Final = "alerts"
#: Number of alerts listed one by one.
_MOST_LINES: Final = 20
_SOURCE_HOURS: Final = key_of(SIDE, SOURCE_HOURS)
#: Parts of ids that only alerts have.
_IN_IDS: Final = (b"/forecast-behind:", b"/forecast-moved:", b"/hours/stalled:")
#: States of forecasts whose outcome is known.
_DECIDED: Final = frozenset(("reached", "missed"))


class AlertBasis(NamedTuple):
    """What a cluster has published that alerts are about.

    Attributes:
        counted: (metric, scope) pairs that have units.
        sources: Event sources whose hours are known.
        forecasts: The last forecast of each target in force.
        alerts: The last event of each alert.
    """

    counted: Collection[tuple[str, str]] = ()
    sources: Collection[SourceKey] = ()
    forecasts: tuple[Forecast, ...] = ()
    alerts: tuple[MilestoneEvent, ...] = ()


async def read_published(
    settings: Settings, consumer: AIOKafkaConsumer, counted: Collection[tuple[str, str]]
) -> AlertBasis:
    """Reads forecasts and alerts; none from topics that do not exist.

    Args:
        settings: The settings of the installation.
        consumer: The consumer to read with.
        counted: (metric, scope) pairs that have units.
    """
    forecasts, milestones = settings.catalogue.forecasts, settings.catalogue.milestones
    memory = settings.catalogue.totals
    there = await partition_counts(consumer, [forecasts.name, milestones.name, memory.name])
    made, told, hours = {}, {}, {}
    if there[memory.name] and settings.watches_sources:
        hours = await read_latest(settings, [(memory.name, 0)], consumer=consumer, wanted=_is_of_source)
    if there[forecasts.name]:
        made = await read_latest(settings, forecasts.whole, consumer=consumer)
    if there[milestones.name]:
        told = await read_latest(settings, milestones.whole, consumer=consumer, wanted=_is_alert)
    sources = {SourceKey.parse(key.removeprefix(_SOURCE_HOURS).decode()) for key in hours}
    return AlertBasis(
        counted, sources, tuple(map(decode_forecast, made.values())), tuple(map(decode_milestone, told.values()))
    )


def alert_findings(settings: Settings, published: AlertBasis, year: int) -> Iterator[Finding]:
    """What each rule about forecasts and silences watches, then each standing alert, the oldest first.

    Args:
        settings: The settings of the installation.
        published: What the cluster has.
        year: The current year.
    """
    rules = rules_of(settings)
    for rule in rules:
        if rule.watches_forecasts:
            yield _of_forecasts(rule, published.forecasts, targets_of(settings))
        if rule.stalled_hours is not None:
            yield (
                _of_sources(rule, published.sources) if rule.watches_sources else _of_silences(rule, published.counted)
            )
    if any(rule.stalled_hours is not None for rule in rules):
        yield from _of_holidays(settings.calendar_name, year)
    standing = sorted((event for event in published.alerts if event.stands), key=lambda event: event.time)
    for event in standing[:_MOST_LINES]:
        is_watched = any(_watches(rule, event.data) for rule in rules)
        end = "" if is_watched else "; no rule of these settings watches it: it ends when a worker starts with them"
        yield note(NAME, f"stands: {headline(event)}{end}")
    if len(standing) > _MOST_LINES:
        yield note(NAME, f"{len(standing) - _MOST_LINES:,} more stand: `milestones list` has them")
    if not standing:
        watched = any(rule.watches_forecasts or rule.stalled_hours is not None for rule in rules)
        yield ok(NAME, f"none stands{'' if watched else ', and no rule warns early or watches for silences'}")


def _is_alert(key: bytes) -> bool:
    return any(each in key for each in _IN_IDS)


def _is_of_source(key: bytes) -> bool:
    return key.startswith(_SOURCE_HOURS)


def _of_sources(rule: Rule, sources: Iterable[SourceKey]) -> Finding:
    """How many event sources a rule watches."""
    family = FAMILY_OF_METRIC[rule.metric]
    number = sum(of.family == family for of in sources)
    if not number:
        return note(
            NAME, f"rule {rule.name!r} watches nothing yet: no events of {family} have come that were not history"
        )
    return ok(
        NAME,
        f"rule {rule.name!r} watches {_number(number, 'source')} for {_number(rule.stalled_hours or 1, 'silent hour')}",
    )


def _of_forecasts(rule: Rule, forecasts: Iterable[Forecast], start_values: Iterable[Target]) -> Finding:
    """How many targets a rule watches, and how many of them have no forecast."""
    made: Mapping[tuple[str, str, str, str], Forecast | None] = {
        **{(each.metric, each.scope, each.period, each.target_id): None for each in start_values},
        **{(each.metric, each.scope, each.period, each.target_id): each for each in forecasts},
    }
    watched = [
        each for (metric, scope, period, _), each in made.items() if rule.is_about(metric, template_of(scope), period)
    ]
    about = f"rule {rule.name!r}"
    if not watched:
        what = f"{rule.metric} with window {rule.window} and scope {as_written([rule.template])}"
        return note(
            NAME, f"{about} warns of nothing: no target is one of {what}; list one under [[target]], or publish it"
        )
    known = [each for each in watched if each is not None]
    going = [each for each in known if each.state not in _DECIDED]
    silent = sum(each.projected_total.p50 is None for each in going)
    new, over = len(watched) - len(known), len(known) - len(going)
    parts = [
        f"{new:,} {'has' if new == 1 else 'have'} no forecast yet" if new else "",
        f"{over:,} {'is' if over == 1 else 'are'} reached or over" if over else "",
        f"of {silent:,} too little has been counted for a forecast" if silent else "",
    ]
    detail = f"{about} watches the forecasts of {_number(len(watched), 'target')}"
    detail += "".join(f", {part}" for part in parts if part)
    return ok(NAME, detail) if len(going) > silent else note(NAME, detail)


def _of_silences(rule: Rule, counted: Iterable[tuple[str, str]]) -> Finding:
    """How many scopes a rule watches."""
    number = sum(metric == rule.metric and template_of(scope) == rule.template for metric, scope in counted)
    if not number:
        return note(
            NAME,
            f"rule {rule.name!r} watches nothing yet: no {rule.metric} have been counted for scope {as_written([rule.template])}",
        )
    hours = _number(rule.stalled_hours or 1, "silent hour")
    return ok(NAME, f"rule {rule.name!r} watches {_number(number, 'scope')} for {hours}")


def _of_holidays(calendar: str, year: int) -> Iterator[Finding]:
    """Warns if the calendar lacks a year's holidays: silence on a holiday that it does not have raises an alert."""
    if all(each.year != year for each in holiday_years(calendar)):
        which = (
            f"holiday_calendar {calendar} has no holidays of {year}"
            if calendar != NO_CALENDAR
            else "holiday_calendar is none"
        )
        yield note(NAME, f"{which}: what rests on a holiday is told as a silence")


def _watches(rule: Rule, data: MilestoneData) -> bool:
    """Whether a rule watches what an alert is about."""
    if data.kind == "stalled":
        is_of = rule.metric == data.metric and rule.template == template_of(data.scope)
        return is_of and rule.stalled_hours is not None and stalled_id(rule, data.scope) == data.milestone_id
    setting = rule.forecast_behind if data.kind == "forecast_behind" else rule.forecast_moves_days
    return setting is not None and rule.is_about(data.metric, template_of(data.scope), data.period)


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
