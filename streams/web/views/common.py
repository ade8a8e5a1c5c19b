"""What several views have in common."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Final
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from schemas.facts import METRICS
from schemas.instants import micros_of, parse_instant
from schemas.outputs import CivilDate, Forecast, Instant, MilestoneEvent, Operator, WindowRow
from streams.domain.daytypes import DayTypes
from streams.domain.nearest import period_fault, unknown
from streams.headline import sentence

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.domain.calendar import HolidayYear
    from streams.settings import Settings
    from streams.web.readmodel import Snapshot
    from streams.web.status import ServiceStatus

DELIVERIES: Final = "deliveries"
ORDERS_PLACED: Final = "orders_placed"
ALL: Final = "all"
#: The usual curve of a day is the mean of this many earlier days of the same type, from at most `_USUAL_REACH_DAYS` back.
USUAL_DAYS: Final = 8
_USUAL_REACH_DAYS: Final = 120

Text = Annotated[str, Field(max_length=256)]


class View(BaseModel):
    """Base of all answers; those of a single page are in its module."""

    model_config = ConfigDict(frozen=True)


class Parameters(BaseModel):
    """What is asked in the address; names that are not known are refused by `streams.web.routes`, for pages have more."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def _repaired(text: object) -> object:
    # A plus sign that was not escaped arrives as a space.
    return text.strip().replace(" ", "+") if isinstance(text, str) else text


def _checked(text: str) -> str:
    if text:
        parse_instant(text)
    return text


#: RFC 3339 with an offset, or nothing.
AsOf = Annotated[str, BeforeValidator(lambda value: _checked(_repaired(value)) if isinstance(value, str) else value)]


def _known_metric(text: str) -> str:
    if text and text not in METRICS:
        raise ValueError(unknown("metric", text, METRICS))
    return text


def _possible_period(text: str) -> str:
    if text and (fault := period_fault(text)) is not None:
        raise ValueError(fault)
    return text


MetricName = Annotated[Text, AfterValidator(_known_metric)]
#: How the id of a period begins, or nothing.
PeriodStart = Annotated[Text, AfterValidator(_possible_period)]


class UnknownNameError(Exception):
    """What was asked for by a name does not exist; the message says what does."""


def micros(instant: str) -> int | None:
    """Microseconds since 1970 of an instant that has been checked; `None` of nothing."""
    return micros_of(parse_instant(instant)) if instant else None


class MilestoneLine(View):
    """A milestone event and its plain English sentence; `stands` unless it is a retraction."""

    event: MilestoneEvent
    sentence: str
    stands: bool


def milestone_line(event: MilestoneEvent) -> MilestoneLine:
    """The line of an event."""
    return MilestoneLine(event=event, sentence=sentence(event.data), stands=event.type != "milestone.retracted.v1")


class Goal(View):
    """What is wanted of a day: a target in force for it (`target_id`), else what a rule (`rule`) has it pass."""

    rule: str
    operator: Operator
    value: int
    target_id: str | None = None


class Aim(View):
    """A target in force on a window, with its forecast."""

    target_id: str
    value: int
    reached: bool
    forecast: Forecast | None


class UsualDay(View):
    """The mean of the latest days of the same sort before a date: `days` of them, units by local hour.

    `sort` is 0 Monday to 6 Sunday, 7 a holiday, 8 a weekend day that is worked.
    """

    sort: int
    days: list[CivilDate]
    by_hour: list[float]
    count: float


class DateCount(View):
    """The count of a date."""

    date: CivilDate
    count: int

    @property
    def month(self) -> str:
        """Such as `2024-10`."""
        return self.date[:7]


class Restated(View):
    """A count that changed after its period was closed."""

    metric: str
    scope: str
    period: str
    before: int
    after: int
    version: int
    at: Instant


@dataclass(frozen=True)
class Ask:
    """What a view is made of.

    Attributes:
        view: A snapshot of the read model.
        status: How the service is.
        settings: For rules and what may be shown.
        holidays: What is known of them.
    """

    view: Snapshot
    status: ServiceStatus
    settings: Settings
    holidays: tuple[HolidayYear, ...]

    @property
    def today(self) -> date:
        """The business date, by the clock of the service."""
        return date.fromisoformat(self.status.business_date)

    def hours_of(self, day: date) -> int:
        """How many hours a date has in the business time zone: 24, or where clocks change 23 or 25."""
        zone = ZoneInfo(self.settings.timezone)
        begin, end = (datetime.combine(each, time.min, zone).timestamp() for each in (day, day + timedelta(days=1)))
        return round((end - begin) / 3600)

    def scope(self, wanted: str) -> str:
        """The scope to show: the wanted one, else that of most targets, else the first with a model, else all."""
        if wanted:
            self.check_scopes((wanted,))
            return wanted
        aims = Counter(each.scope for each in self.view.forecasts.current())
        aims.update(target.scope for target in self.settings.target)
        scopes = self.view.windows.scopes()
        for scope, _ in aims.most_common():
            if scope in scopes:
                return scope
        return next((scope for scope in scopes if scope.startswith("model=") and "," not in scope), ALL)

    def aims(self, metric: str, scope: str, period: str, row: WindowRow | None) -> list[Aim]:
        """The targets in force on a window, the greatest last."""
        targets = sorted(row.targets if row is not None else [], key=lambda target: target.value)
        return [
            Aim(
                target_id=target.target_id,
                value=target.value,
                reached=target.reached,
                forecast=self.view.forecasts.get(metric, scope, period, target.target_id),
            )
            for target in targets
        ]

    def goal_of(self, metric: str, scope: str, row: WindowRow | None) -> Goal | None:
        """What is wanted of a day: its next target, the greatest once all are reached; without any, what a rule wants."""
        targets = sorted(row.targets if row is not None else [], key=lambda target: (target.reached, target.value))
        if not targets:
            return self.goal(metric, scope)
        wanted = targets[-1] if targets[0].reached else targets[0]
        return Goal(rule="", operator="reaches", value=wanted.value, target_id=wanted.target_id)

    def check_scopes(self, wanted: Iterable[str]) -> None:
        """Checks that there are rows of each scope.

        Raises:
            UnknownNameError: There are none of one.
        """
        for scope in wanted:
            if scope and not self.view.windows.has_scope(scope):
                raise UnknownNameError(unknown("scope", scope, self.view.windows.scopes()))

    def goal(self, metric: str, scope: str) -> Goal | None:
        """The greatest number that a rule wants a day of this scope to pass."""
        dimensions = {part.partition("=")[0] for part in scope.split(",") if "=" in part}
        found = [
            Goal(rule=rule.name, operator="exceeds" if rule.exceeds is not None else "reaches", value=value)
            for rule in self.settings.rule
            if rule.metric == metric and rule.window == "day" and set(rule.scope) == dimensions
            if (value := rule.exceeds if rule.exceeds is not None else rule.reaches) is not None
        ]
        return max(found, key=lambda goal: goal.value, default=None)

    def usual(self, metric: str, scope: str, day: date) -> UsualDay | None:
        """The usual curve of a date; `None` where no earlier day of its sort has a row."""
        sorts = DayTypes(self.holidays)
        sort = sorts.of(day)
        first = day - timedelta(days=_USUAL_REACH_DAYS)
        rows = self.view.windows.days(metric, scope, first.isoformat(), (day - timedelta(days=1)).isoformat())
        alike = [row for row in rows if row.by_hour and sorts.of(date.fromisoformat(row.start)) == sort][-USUAL_DAYS:]
        if not alike:
            return None
        hours = [sum(row.by_hour[hour] for row in alike if row.by_hour) / len(alike) for hour in range(24)]
        return UsualDay(
            sort=sort,
            days=[row.start for row in alike],
            by_hour=[round(count, 1) for count in hours],
            count=round(sum(hours), 1),
        )

    def restated(self, metric: str, scope: str, period: str) -> list[Restated]:
        """Changes of a count after its period was closed, oldest first."""
        return [
            Restated(
                metric=metric,
                scope=scope,
                period=period,
                before=before.count,
                after=after.count,
                version=after.version,
                at=after.updated_at,
            )
            for before, after in self.view.windows.restatements(metric, scope, period)
        ]


def counts_of(rows: list[WindowRow]) -> dict[str, int]:
    """Metric → count."""
    return {row.metric: row.count for row in rows}
