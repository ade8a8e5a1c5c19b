"""What several views have in common."""

from __future__ import annotations

import csv
import io
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from schemas.facts import DIMENSIONS, METRICS, ROW_METRICS
from schemas.instants import micros_of, parse_instant
from schemas.messages import Message
from schemas.outputs import DATE_PATTERN, CivilDate, Forecast, Instant, MilestoneEvent, Operator, WindowRow
from schemas.rows import date_of_day
from schemas.texts import ALL, template_of
from streams.domain.hints.suggestions import not_counted, period_fault, unknown
from streams.domain.time.daytypes import DayTypes
from streams.domain.time.zone import BusinessZone
from streams.holidays import calendar_of
from streams.web.readmodel import MilestoneQuery, WindowQuery
from streams.wording.sentences import sentences

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streams.domain.time.calendar import HolidayYear
    from streams.settings import Settings
    from streams.web.readmodel import Snapshot
    from streams.web.readmodel.keyset_pages import LinePlace
    from streams.web.status import ServiceStatus

DELIVERIES: Final = "deliveries"
ORDERS_PLACED: Final = "orders_placed"
#: The largest number of scopes to offer as a list; beyond it there is a search field.
LISTED_SCOPES: Final = 60
#: Number of scopes to compare with a misspelt name for suggestions.
_NEAR_SCOPES: Final = 500
#: Number of campaign rows to look at, the latest first.
_MOST_CAMPAIGN_ROWS: Final = 400
_MOST_WORDS: Final = 8
_DATE: Final = re.compile(DATE_PATTERN)
_LEVELS: Final = 6
#: Number of recent milestones among which to find the most frequent scope.
_RECENT_MILESTONES: Final = 200
#: The usual curve of a day is the mean of this many earlier days of the same type, from at most `_USUAL_REACH_DAYS` back.
USUAL_DAYS: Final = 8
_USUAL_REACH_DAYS: Final = 120

Text = Annotated[str, Field(max_length=256)]


class View(BaseModel):
    """Base of all views; the models of a single page are in its module."""

    model_config = ConfigDict(frozen=True)


class Parameters(BaseModel):
    """The parameters in an address; unknown ones are refused by `streams.web.routes`, since pages have some more."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def _repaired(text: object) -> object:
    # An unescaped plus sign arrives as a space.
    return text.strip().replace(" ", "+") if isinstance(text, str) else text


#: What `parse_instant` may say.
_OF_INSTANTS: Final = {
    str(each): each
    for each in (
        Message("not a date and time with an offset, such as 2024-10-07T14:03:11+08:00"),
        Message("the year is not within 2000-2100"),
        Message("leap seconds are not accepted"),
        Message("there is no such date or time of day"),
        Message("a date and time without an offset names no instant; append one, such as +08:00"),
        Message("-00:00 says that the offset is unknown"),
        Message("there is no such offset"),
    )
}


def _checked(text: str) -> str:
    if text:
        try:
            parse_instant(text)
        except ValueError as error:
            raise ValueError(_OF_INSTANTS.get(str(error), str(error))) from None
    return text


def _date(text: str) -> str:
    if text and not is_date(text):
        raise ValueError(Message("%(text)r is no date; write YYYY-MM-DD, such as 2024-10-07", text=text))
    return text


def is_date(text: str) -> bool:
    """Whether a text is a date that exists, as in `2024-10-07`."""
    try:
        return bool(_DATE.fullmatch(text)) and bool(date.fromisoformat(text))
    except ValueError:
        return False


#: A date in an address, or nothing. What is wrong is said in our own words, so the document alone has the pattern.
GivenDate = Annotated[
    str,
    AfterValidator(_date),
    Field(json_schema_extra={"pattern": f"^({DATE_PATTERN.strip('^$')})?$"}),
]
#: RFC 3339 with an offset, or nothing.
AsOf = Annotated[str, BeforeValidator(lambda value: _checked(_repaired(value)) if isinstance(value, str) else value)]


def _known_metric(text: str, among: Sequence[str] = METRICS) -> str:
    if text and text not in among:
        raise ValueError(unknown("metric", text, among))
    return text


def _possible_period(text: str) -> str:
    if text and (fault := period_fault(text)) is not None:
        raise ValueError(fault)
    return text


def _chosen(values: object) -> object:
    # A form sends an empty value if nothing is chosen.
    return tuple(value for value in values if value != "") if isinstance(values, list | tuple) else values


#: For parameters of which any number may be chosen.
Chosen = BeforeValidator(_chosen)


class DatedParameters(Parameters):
    """`as_of` is an RFC 3339 instant with an offset, for what had been published by then."""

    as_of: AsOf = ""


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Rows as CSV."""
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue()


def _place(text: str) -> tuple[str | int, ...] | None:
    return tuple(json.loads(urlsafe_b64decode(text))) if text else None


def text_of_place(place: LinePlace | None) -> str | None:
    """A place as written in an address."""
    return None if place is None else urlsafe_b64encode(json.dumps(place).encode()).decode()


def place_of(text: str) -> LinePlace | None:
    """The place in a checked text from an address, at which a page began or ended."""
    return _place(text)


def checked_place(size: Callable[[Mapping[str, Any]], int]) -> AfterValidator:
    """Refuses what is not a place in the sort order; `size` returns how many values one has, given the preceding parameters."""

    def checked(text: str, info: ValidationInfo) -> str:
        try:
            place = _place(text)
        except (ValueError, TypeError, RecursionError):
            place = ()
        fits = place is None or (len(place) == size(info.data) and all(type(each) in {str, int} for each in place))
        if not fits:
            raise ValueError(Message("no place in this order; take the next or previous of a page"))
        return text

    return AfterValidator(checked)


MetricName = Annotated[Text, AfterValidator(_known_metric)]
#: A metric, or the inventory, which has rows but no units.
RowMetricName = Annotated[Text, AfterValidator(lambda text: _known_metric(text, ROW_METRICS))]
#: A prefix of a period's id, or nothing.
PeriodStart = Annotated[Text, AfterValidator(_possible_period)]


class UnknownNameError(Exception):
    """Something requested by name does not exist.

    Attributes:
        message: What does not, and what does.
        parameter: The parameter that asked for it; empty if it was the path.
    """

    def __init__(self, message: str, parameter: str = "") -> None:
        super().__init__(message)
        self.message, self.parameter = message, parameter


class UnknownScopeError(UnknownNameError):
    """There are no rows of a requested scope.

    Attributes:
        wanted: The requested scope.
        alike: Scopes that contain all of its words, at most a list's worth.
    """

    def __init__(self, parameter: str, wanted: str, alike: list[str], known: list[str], count: int) -> None:
        super().__init__(unknown("scope", wanted, alike or known, count), parameter)
        self.wanted = wanted
        self.alike = alike


def levels(counts: list[int]) -> Callable[[int], int]:
    """A function that returns the level of a count, by how many of the counts are below it; the middle one if all are equal."""
    ordered = sorted(count for count in counts if count > 0)

    def level(count: int) -> int:
        if count <= 0:
            return 0
        place = (bisect_left(ordered, count) + bisect_right(ordered, count) - 1) / 2
        return 1 + min(_LEVELS - 1, int(_LEVELS * place / max(len(ordered) - 1, 1)))

    return level


def words_of(text: str) -> list[str]:
    """The words of a search, separated by spaces or the punctuation of ids: `SU7, CN-11` as well as `model=SU7,region=CN-11`."""
    return [word for word in re.split("[\\s,\uff0c\u3001\u00b7]+", text) if word][:_MOST_WORDS]


def micros(instant: str) -> int | None:
    """Microseconds since 1970 of a checked instant; `None` if empty."""
    return micros_of(parse_instant(instant)) if instant else None


class MilestoneLine(View):
    """A milestone event with its sentence in plain English; `stands` unless it is a retraction or the end of an alert."""

    event: MilestoneEvent
    sentence: str
    stands: bool


def milestone_line(event: MilestoneEvent) -> MilestoneLine:
    """The line for an event."""
    return MilestoneLine(event=event, sentence=sentences().sentence(event.data), stands=event.stands)


class Goal(View):
    """The goal for a day: a target in force for it (`target_id`), else the number of a rule (`rule`)."""

    rule: str
    operator: Operator
    value: int
    target_id: str | None = None


class Aim(View):
    """A target in force on a window, with its forecast; `label` is its name, empty if it has none.

    `outdated` says that the forecast is of an earlier date: not everything up to today has been counted since.
    """

    target_id: str
    label: str
    value: int
    reached: bool
    forecast: Forecast | None
    outdated: bool


class UsualDay(View):
    """The mean of the latest days of the same type before a date: `days` of them, units by local hour.

    `sort` is the type: 0 for Monday to 6 for Sunday, 7 for a holiday, 8 for a working weekend day.
    """

    sort: int
    days: list[CivilDate]
    by_hour: list[float]
    count: float


class EarlierMoment(View):
    """An earlier moment that is shown instead of now.

    What was in force at `at` comes from the history of published versions, which goes back to `known_since`; before that, `known` is
    false and rows are missing. Versions in force for less than a minute may be missing too. If the service's clock is that of the events,
    a minute of real time may be months: unknown counts are null.
    """

    at: Instant
    known: bool
    known_since: Instant | None


class DateCount(View):
    """The count of a date; null if its value at the earlier moment is unknown."""

    date: CivilDate
    count: int | None

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


class KnownCampaign(NamedTuple):
    """A campaign: its start, its end (exclusive), and its name."""

    start: datetime
    end: datetime
    name: str


@dataclass(frozen=True)
class Ask:
    """What a view is made from.

    Attributes:
        view: A snapshot of the read model.
        status: The status of the service; for an earlier moment with the business clock of then.
        settings: For rules, and for what may be shown.
        holidays: The known holidays.
        past: The requested earlier moment; `None` is now.
        knows_campaigns: Whether the campaigns in `settings` are known to be those counted now: events may have announced others.
    """

    view: Snapshot
    status: ServiceStatus
    settings: Settings
    holidays: tuple[HolidayYear, ...]
    past: EarlierMoment | None = None
    knows_campaigns: bool = False

    def is_left_out(self, campaign: str) -> bool:
        """Whether a campaign is known to be no longer counted."""
        is_counted = any(each.name == campaign for each in self.settings.campaigns)
        return self.knows_campaigns and self.past is None and not is_counted

    @property
    def today(self) -> date:
        """The business date by the service's clock."""
        return date.fromisoformat(self.status.business_date)

    def campaigns(self, scope: str) -> list[KnownCampaign]:
        """The campaigns of the settings, and those of a scope's rows, which events may have announced; by start."""
        zone = BusinessZone(self.settings.timezone)
        found = {
            each.name: KnownCampaign(zone.datetime_of(each.start_us), zone.datetime_of(each.end_us), each.name)
            for each in self.settings.campaigns
        }
        query = WindowQuery(scopes=[scope], kinds=["campaign"], limit=_MOST_CAMPAIGN_ROWS)
        for row in self.view.windows.page(query).rows:
            if row.starts_at is not None and row.ends_at is not None:
                name = row.period.partition(":")[2]
                instants = datetime.fromisoformat(row.starts_at), datetime.fromisoformat(row.ends_at)
                found[name] = KnownCampaign(*instants, name)
        return sorted(found.values())

    def hours_of(self, day: date) -> int:
        """How many hours a date has in the business time zone: 24, or 23 or 25 when clocks change."""
        zone, starts = ZoneInfo(self.settings.timezone), time(self.settings.day_starts_hour)
        begin, end = (datetime.combine(each, starts, zone).timestamp() for each in (day, day + timedelta(days=1)))
        return round((end - begin) / 3600)

    def scope(self, wanted: str) -> str:
        """The scope to show: the requested one, else the first that targets or rules are about, else `all`, or any that exists."""
        if wanted:
            self.check_scopes((wanted,))
            return wanted
        windows = self.view.windows
        there = [] if self.spoken_of or windows.has_scope(ALL) else windows.scopes(limit=1)
        return next(iter((*self.spoken_of, *there)), ALL)

    def metric(self, wanted: str) -> str:
        """The metric to show: the requested one, else deliveries, or if these are not counted, orders placed or vehicles produced."""
        known = self.view.windows.metrics() if not wanted else []
        return wanted or next(
            (each for each in (DELIVERIES, ORDERS_PLACED, *known) if each in known), self._usual_metric
        )

    @property
    def _usual_metric(self) -> str:
        """The default metric while there are no rows."""
        families = self.settings.families
        return DELIVERIES if "deliveries" in families else ORDERS_PLACED if "orders" in families else "produced"

    @cached_property
    def spoken_of(self) -> list[str]:
        """The scopes of interest: by number of targets, then the greatest scope of each rule, then those with recent milestones."""
        windows = self.view.windows
        aims = Counter(each.scope for each in self.view.forecasts.current())
        aims.update(target.scope for target in self.settings.target)
        named = [scope for scope, _ in aims.most_common(LISTED_SCOPES)]
        for rule in self.settings.rule:
            dimensions = ",".join(name for name in DIMENSIONS if name in rule.scope)
            named.append((windows.greatest_scope(rule.metric, dimensions) if dimensions else ALL) or "")
        recent = self.view.milestones.page(MilestoneQuery(limit=_RECENT_MILESTONES)).events
        named += [scope for scope, _ in Counter(event.data.scope for event in recent).most_common(LISTED_SCOPES)]
        return [scope for scope in dict.fromkeys(named) if scope and windows.has_scope(scope)]

    def scopes(self, *chosen: str) -> list[str]:
        """The scopes to choose from, at most a list's worth.

        The chosen ones and those that targets and rules are about come first, then `all`, then those with the fewest dimensions. If all
        fit, they are sorted by dimensions and names.
        """
        windows = self.view.windows
        found = windows.scopes(limit=LISTED_SCOPES + 1)
        if len(found) <= LISTED_SCOPES:
            return found
        whole = [ALL] if windows.has_scope(ALL) else []
        return list(dict.fromkeys((*filter(None, chosen), *self.spoken_of, *whole, *found)))[:LISTED_SCOPES]

    def aims(self, metric: str, scope: str, period: str, row: WindowRow | None) -> list[Aim]:
        """The targets in force on a window, the greatest last."""
        targets = sorted(row.targets if row is not None else [], key=lambda target: target.value)
        forecasts = [self.view.forecasts.get(metric, scope, period, target.target_id) for target in targets]
        today = self.today.isoformat()
        return [
            Aim(
                target_id=target.target_id,
                label=self.label(target.target_id, forecast),
                value=target.value,
                reached=target.reached,
                forecast=forecast,
                outdated=forecast is not None
                and forecast.business_date < today
                and forecast.business_date <= forecast.end,
            )
            for target, forecast in zip(targets, forecasts, strict=True)
        ]

    def label(self, target_id: str, forecast: Forecast | None) -> str:
        """The name of a target, from its event or the settings; empty if it has none."""
        told = None if forecast is None else forecast.label
        return told or next((each.label or "" for each in self.settings.target if each.target_id == target_id), "")

    def goal_of(self, metric: str, scope: str, row: WindowRow | None) -> Goal | None:
        """The goal for a day: its next target, or the greatest once all are reached; without targets, that of a rule."""
        targets = sorted(row.targets if row is not None else [], key=lambda target: (target.reached, target.value))
        if not targets:
            return self.goal(metric, scope)
        wanted = targets[-1] if targets[0].reached else targets[0]
        return Goal(rule="", operator="reaches", value=wanted.value, target_id=wanted.target_id)

    def count_of(self, metric: str, scope: str, period: str, row: WindowRow | None) -> int | None:
        """The count of a window: 0 without a row; `None` if its day is no longer kept, or if its value at the earlier moment is unknown."""
        if row is not None:
            return row.count
        since, day = self.kept_since(scope), date_of_day(period)
        if since is not None and day is not None and day < since:
            return None
        return None if self.view.windows.is_unknown(metric, scope, period) else 0

    def kept_since(self, scope: str) -> date | None:
        """The first day for which a scope has rows, if it does not keep all."""
        days = self.settings.kept_days.get(template_of(scope))
        return None if days is None else self.today - timedelta(days=days)

    def day_counts(self, metric: str, scope: str, first: str, last: str) -> dict[str, int | None]:
        """Date → count, for days that have rows; `None` if a day is no longer kept, or if its value at the earlier moment is unknown."""
        counts = self.view.windows.day_counts(metric, scope, first, last)
        since = self.kept_since(scope)
        if since is not None:
            day, end = date.fromisoformat(first), min(date.fromisoformat(last), since - timedelta(days=1))
            while day <= end:
                counts.setdefault(day.isoformat(), None)
                day += timedelta(days=1)
        return counts

    def check_period(self, start: str, parameter: str = "period") -> None:
        """Checks that periods whose id starts like this are counted, or were; to be asked if nothing was found.

        Raises:
            UnknownNameError: They are not, nor is there a row of one.
        """
        if not start or (start.startswith("campaign:") and not self.knows_campaigns):
            return
        fault = not_counted(start, calendar_of(self.settings), [each.name for each in self.settings.campaigns])
        if fault is not None and not self.view.windows.page(WindowQuery(period=start, limit=1)).rows:
            raise UnknownNameError(fault, parameter)

    def check_scopes(self, wanted: Iterable[str], parameter: str = "scope") -> None:
        """Checks that there are rows of each scope.

        Raises:
            UnknownScopeError: There are none for one of them.
        """
        for scope in wanted:
            if scope and not self.view.windows.has_scope(scope):
                windows = self.view.windows
                alike = windows.scopes(words=words_of(scope), limit=LISTED_SCOPES)
                raise UnknownScopeError(
                    parameter, scope, alike, windows.scopes(limit=_NEAR_SCOPES), windows.scope_count()
                )

    def goal(self, metric: str, scope: str) -> Goal | None:
        """The greatest number that a rule has for days of this scope."""
        dimensions = set(template_of(scope))
        found = [
            Goal(rule=rule.name, operator="exceeds" if rule.exceeds is not None else "reaches", value=value)
            for rule in self.settings.rule
            if rule.metric == metric and rule.window == "day" and set(rule.scope) == dimensions
            if (value := rule.exceeds if rule.exceeds is not None else rule.reaches) is not None
        ]
        return max(found, key=lambda goal: goal.value, default=None)

    def usual(self, metric: str, scope: str, day: date) -> UsualDay | None:
        """The usual curve of a date; `None` if no earlier day of its type has a row."""
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
        """The changes of a count after its period was closed, oldest first."""
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
