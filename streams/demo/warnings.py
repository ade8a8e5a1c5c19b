"""Which early warnings the year must raise, however fast it is read: those about targets whose expected date moves far between two stops.

At each stop everything is counted and a forecast of that date is made, so the last date that the service alerted about a target is
within its rule's tolerance of the expected one. If a target's expected dates at two stops are more than twice the tolerance apart, it
must have raised an alert in between. How many, and with which dates, depends on what it happened to read at once.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

from schemas.instants import utc_text
from schemas.texts import template_of
from streams.domain.forecasts.forecast import HISTORY_DAYS, DailyHistory, Known, forecast
from streams.domain.rules import forecast_behind_id, forecast_moved_id
from streams.domain.time.daytypes import DayTypes
from streams.holidays import calendar_of, holiday_years
from streams.installation import rules_of, targets_of
from streams.story.events import midnight_s

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streams.domain.rules import Target
    from streams.settings import Settings
    from streams.story import Story
    from streams.story.figures import CountsByDate

_NOON_S: Final = 43_200
#: How far a few late events and the hour of a stop may shift a date.
_SLACK_DAYS: Final = 7


def stops_of(story: Story) -> tuple[date, ...]:
    """Two dates of the year, before summer shows in the counts and after autumn does; only those within the story."""
    year, last = story.expected.last_day.year, story.expected.last_day
    return tuple(day for day in (date(year, 6, 5), date(year, 10, 25)) if day <= last)


def noon_s(day: date, offset_s: int) -> int:
    """Noon of a date, seconds since 1970, where clocks are `offset_s` seconds ahead of UTC."""
    return midnight_s(day, offset_s) + _NOON_S


def told_warnings(
    settings: Settings, model: str, counts: Mapping[str, CountsByDate], stops: Sequence[date]
) -> tuple[set[str], set[str]]:
    """Ids of the alerts about forecasts that must have been raised once everything is counted, and of all that may have been.

    Args:
        settings: Rules, targets and holidays.
        model: The story's only model.
        counts: Metric → date → units at the end.
        stops: The dates on which everything had been counted and forecasts were made.
    """
    must, may = set(), set()
    for target in targets_of(settings):
        for rule in rules_of(settings):
            if not rule.is_about(target.metric, template_of(target.scope), target.period):
                continue
            may |= {forecast_behind_id(target)} if rule.forecast_behind is not None else set()
            if rule.forecast_moves_days is None:
                continue
            may.add(forecast_moved_id(target))
            if target.scope != f"model={model}":
                continue
            expected = [_expected_on(settings, target, counts[target.metric], stop) for stop in stops]
            known = [day for day in expected if day is not None]
            far = max(known) - min(known) if known else timedelta()
            if far.days > 2 * rule.forecast_moves_days + _SLACK_DAYS:
                must.add(forecast_moved_id(target))
    return must, may


def _expected_on(settings: Settings, target: Target, counts: CountsByDate, today: date) -> date | None:
    """When a target was expected to be reached, as of a date by which nothing was late; None if not in sight."""
    start = today - timedelta(days=HISTORY_DAYS)
    days = tuple(counts.get(start + timedelta(days=number), 0) for number in range(HISTORY_DAYS))
    history = DailyHistory(start, days, DayTypes(holiday_years(settings.calendar_name)))
    made = forecast(
        target, calendar_of(settings).period(target.period), Known(history, 0, 0.0),
        as_of=utc_text(0), timezone=settings.timezone,
    )  # fmt: skip
    if made.reached_on is not None or made.state in {"reached", "missed"}:
        return None
    return None if made.projected_date.p50 is None else date.fromisoformat(made.projected_date.p50)
