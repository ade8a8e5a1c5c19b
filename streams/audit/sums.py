"""Adds up units to days, and days to other periods, using only `zoneinfo`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple
from zoneinfo import ZoneInfo

from schemas.counts import CampaignHour
from schemas.facts import DIMENSIONS, Dims, Metric
from schemas.rows import RowKey
from schemas.texts import ALL, escaped, template_of
from streams.audit.judging import read_order
from streams.domain.time.periods import WEEK_DAYS, Period
from streams.holidays import calendar_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from schemas.counts import CountKey
    from schemas.facts import Fact
    from streams.audit.judging import Reading, RecountedUnit
    from streams.domain.time.calendar import Calendar
    from streams.settings import Settings


_MINUTE: Final = timedelta(minutes=1)
_LONGEST: Final = timedelta(days=7)


class CampaignSpan(NamedTuple):
    """A campaign: its period, its start, its end (exclusive), and the sets of dimensions for which it is counted."""

    period: Period
    start: datetime
    end: datetime
    templates: frozenset[frozenset[str]]

    def minute_of(self, time_us: int) -> int | None:
        """The number of the minute that contains an instant, from 0; None if it lies outside."""
        instant = datetime.fromtimestamp(time_us // 1_000_000, UTC)
        return (instant - self.start) // _MINUTE if self.start <= instant < self.end else None

    def has(self, scope: str) -> bool:
        """Whether the campaign is counted for a scope."""
        return frozenset(template_of(scope)) in self.templates


@dataclass(frozen=True)
class Business:
    """Everything besides the events that counts depend on: time zone, scopes, holidays.

    Attributes:
        settings: The settings of the installation.
        with_rows: The scopes that have rows, if units of others count in another scope; see `streams.audit.scopes`. By default every
            unit counts in its own scope.
    """

    settings: Settings
    with_rows: frozenset[str] | None = None

    @cached_property
    def zone(self) -> ZoneInfo:
        """The business time zone."""
        return ZoneInfo(self.settings.timezone)

    @cached_property
    def calendar(self) -> Calendar:
        """The calendar: which holidays are counted, and what period ids mean."""
        return calendar_of(self.settings)

    def read_order(self, events: Sequence[Fact]) -> Reading:
        """Judges an order, given one event per identity."""
        return read_order(events, orders_known="orders" in self.settings.families)

    def is_counted(self, period_id: str) -> bool:
        """Whether the settings still count a period; rows of other periods stay as last published."""
        found = self._counted.get(period_id)
        if found is None:
            try:
                self.calendar.period(period_id)
            except ValueError:
                found = False
            else:
                found = True
            self._counted[period_id] = found
        return found

    def has_rows_of(self, row: RowKey) -> bool:
        """Whether the settings count the scope and the period of a row."""
        templates = [tuple(name for name in DIMENSIONS if name in template) for template in self.settings.scopes]
        of_campaigns = [span.has(row.scope) for span in self.campaigns if span.period.id == row.period]
        return template_of(row.scope) in templates and self.is_counted(row.period) and all(of_campaigns)

    @cached_property
    def campaigns(self) -> tuple[CampaignSpan, ...]:
        """The campaigns of the settings."""
        found = []
        for one in self.settings.campaign:
            length = timedelta(hours=one.hours) if one.hours is not None else _LONGEST
            end = one.end if one.end is not None else one.start + length
            scopes = one.scopes or self.settings.scopes
            period = self.calendar.period(f"campaign:{one.name}")
            found.append(CampaignSpan(period, one.start, end, frozenset(map(frozenset, scopes))))
        return tuple(found)

    def campaigns_at(self, time_us: int, scope: str) -> tuple[Period, ...]:
        """The campaigns counted for a scope that contain an instant."""
        return tuple(span.period for span in self.campaigns if span.has(scope) and span.minute_of(time_us) is not None)

    def is_in(self, period: Period, time_us: int) -> bool:
        """Whether a period contains an instant."""
        if period.instants is not None:
            return any(span.period == period and span.minute_of(time_us) is not None for span in self.campaigns)
        return period.start <= self.local(time_us).date() <= period.end

    @cached_property
    def _counted(self) -> dict[str, bool]:
        return {}

    def local(self, time_us: int) -> datetime:
        """The business date of an instant, and how long after the start of that day it is by local clocks, to the second."""
        civil = datetime.fromtimestamp(time_us // 1_000_000, self.zone).replace(tzinfo=None)
        return civil - timedelta(hours=int(self.settings.day_starts.partition(":")[0]))

    def exact(self, time_us: int) -> datetime:
        """The civil date and time of an instant, to the microsecond."""
        return datetime.fromtimestamp(time_us // 1_000_000, self.zone).replace(microsecond=time_us % 1_000_000)

    def scopes_of(self, dims: Dims, on: date) -> tuple[str, ...]:
        """All scopes in which a unit with these dimensions and this date counts."""
        if self._has_aliases:
            dims = self._named(dims, on)
        scopes = self._scopes.get(dims)
        if scopes is None:
            scopes = self._scopes[dims] = tuple(self._expand_scopes(dims))
        return scopes

    @cached_property
    def _scopes(self) -> dict[Dims, tuple[str, ...]]:
        return {}

    @cached_property
    def _has_aliases(self) -> bool:
        return any(getattr(self.settings.alias, dimension) for dimension in DIMENSIONS)

    def _named(self, dims: Dims, on: date) -> Dims:
        """The dimensions with names replaced by what aliases say."""
        model, variant, factory, region = (
            known[name].name if name in known and known[name].since <= on else name
            for name, known in (
                (value, getattr(self.settings.alias, dimension))
                for dimension, value in zip(DIMENSIONS, dims, strict=True)
            )
        )
        return model, variant, factory, region

    def _expand_scopes(self, dims: Dims) -> list[str]:
        scopes = []
        for template in self.settings.scopes:
            named = [(name, value) for name, value in zip(DIMENSIONS, dims, strict=True) if name in template]
            if all(value for _, value in named):
                counted = [(name, self._counted_as(name, value)) for name, value in named]
                scope = ",".join(f"{name}={escaped(value)}" for name, value in counted) or ALL
                scopes.append(scope if self.with_rows is None else within_limits(scope, self.with_rows, self.settings))
        return scopes

    def _counted_as(self, dimension: str, value: str) -> str:
        listed = getattr(self.settings.values, dimension)
        return "other" if listed and value not in listed else value

    def scopes_at(self, dims: Dims, event: Fact) -> tuple[str, ...]:
        """All scopes in which a unit with these dimensions, dated by an event, counts."""
        return self.scopes_of(dims, self.local(event.time_us).date())

    def periods_of(self, day: date) -> tuple[Period, ...]:
        """The counted periods that contain a day."""
        periods = self._periods.get(day)
        if periods is None:
            periods = self._periods[day] = tuple(self._find_periods(day))
        return periods

    def periods_at(self, day: date, scope: str) -> tuple[Period, ...]:
        """The periods counted for a scope that contain a day: those of `periods_of`, and its rolling windows."""
        if not self.settings.rolling:
            return self.periods_of(day)
        key = day, frozenset(template_of(scope))
        periods = self._periods_at.get(key)
        if periods is None:
            rolling = [
                Period(f"rolling:{window.days}d:{end}", "rolling", end - timedelta(days=window.days - 1), end)
                for window in self.settings.rolling
                if key[1] in map(frozenset, window.scopes)
                for end in (day + timedelta(days=ahead) for ahead in range(window.days))
            ]
            periods = self._periods_at[key] = (*self.periods_of(day), *rolling)
        return periods

    @cached_property
    def _periods_at(self) -> dict[tuple[date, frozenset[str]], tuple[Period, ...]]:
        return {}

    @cached_property
    def _periods(self) -> dict[date, tuple[Period, ...]]:
        return {}

    def _find_periods(self, day: date) -> list[Period]:
        month = day.replace(day=1)
        month_end = (month + timedelta(days=32)).replace(day=1) - timedelta(days=1)
        found = [
            Period(f"day:{day.isoformat()}", "day", day, day),
            self._week(day),
            Period(f"month:{day.isoformat()[:7]}", "month", month, month_end),
            *self._parts_of_year(day),
            Period("total", "total", date(1999, 12, 31), date(2101, 1, 1)),
        ]
        holidays = (period for period in self.calendar.periods_of(day) if period.kind == "holiday")
        return [*(period for period in found if period.kind in self.settings.windows), *holidays]

    def _week(self, day: date) -> Period:
        """The week of a day; it belongs to the year that contains most of its days, whose first such week is number 1."""
        begins = WEEK_DAYS.index(self.settings.week_starts)
        while day.weekday() != begins:
            day -= timedelta(days=1)
        year, number, before = _year_of_most(day), 1, day - timedelta(days=7)
        while _year_of_most(before) == year:
            number, before = number + 1, before - timedelta(days=7)
        return Period(f"week:{year}-W{number:02}", "week", day, day + timedelta(days=6))

    def _parts_of_year(self, day: date) -> list[Period]:
        """Quarter, half and year of a day: a quarter begins every three months from the start of the year."""
        month, on = (int(part) for part in self.settings.fiscal_year_start.split("-"))
        first = max(each for year in (day.year - 1, day.year) if (each := date(year, month, on)) <= day)
        starts = [first]
        while len(starts) <= 4:
            ahead = starts[-1].replace(day=1) + timedelta(days=100)  # in the month three months later
            starts.append(ahead.replace(day=on))
        name = str(first.year) if (month, on) == (1, 1) else f"FY{(starts[4] - timedelta(days=1)).year}"
        quarter = max(number for number in range(4) if starts[number] <= day)
        half = quarter // 2
        return [
            Period(f"{kind}:{name}{part}", kind, starts[begin], starts[end] - timedelta(days=1))
            for kind, part, begin, end in (
                ("quarter", f"-Q{quarter + 1}", quarter, quarter + 1),
                ("half", f"-H{half + 1}", 2 * half, 2 * half + 2),
                ("year", "", 0, 4),
            )
        ]


def _year_of_most(monday: date) -> int:
    years = Counter((monday + timedelta(days=number)).year for number in range(7))
    return years.most_common(1)[0][0]


@dataclass
class Day:
    """Units of one metric, scope and business date; `by_hour` has 24 counts by local hour.

    Likewise for an hour of a campaign, with 60 counts by minute.
    """

    count: int = 0
    by_hour: list[int] = field(default_factory=lambda: [0] * 24)


@dataclass
class Window:
    """Units of one metric, scope and period; only days have `by_hour`, only campaigns `by_minute`."""

    period: Period
    count: int = 0
    by_hour: list[int] | None = None
    by_minute: list[int] | None = None


class Tally:
    """Collects units by metric, scope, local date and hour, and by minute of campaigns."""

    def __init__(self, business: Business) -> None:
        self._business = business
        self._counter: Counter[tuple[Metric, tuple[str, ...], date, int]] = Counter()
        self._minutes: Counter[tuple[Metric, tuple[str, ...], int, int]] = Counter()

    def add(self, unit: RecountedUnit) -> None:
        """Counts a unit."""
        local = self._business.local(unit.event.time_us)
        scopes = self._business.scopes_of(unit.dims, local.date())
        self._counter[unit.metric, scopes, local.date(), local.hour] += 1
        for number, campaign in enumerate(self._business.campaigns):
            minute = campaign.minute_of(unit.event.time_us)
            if minute is not None:
                self._minutes[unit.metric, scopes, number, minute] += 1

    def days(self) -> dict[CountKey, Day]:
        """The days and the hours of campaigns that have units."""
        days: dict[CountKey, Day] = {}
        for (metric, scopes, on, hour), count in self._counter.items():
            for scope in scopes:
                day = days.setdefault((metric, scope, on), Day())
                day.count += count
                day.by_hour[hour] += count
        for (metric, scopes, number, minute), count in self._minutes.items():
            campaign = self._business.campaigns[number]
            name = campaign.period.id.removeprefix("campaign:")
            for scope in filter(campaign.has, scopes):
                hour_of_campaign = days.setdefault((metric, scope, CampaignHour(name, minute // 60)), _empty_hour())
                hour_of_campaign.count += count
                hour_of_campaign.by_hour[minute % 60] += count
        return days


def _empty_hour() -> Day:
    return Day(0, [0] * 60)


def add_days(all_days: Iterable[Mapping[CountKey, Day]]) -> dict[CountKey, Day]:
    """The sum over several shards."""
    total: dict[CountKey, Day] = {}
    for days in all_days:
        for key, day in days.items():
            whole = total.setdefault(key, _empty_hour() if isinstance(key[2], CampaignHour) else Day())
            whole.count += day.count
            whole.by_hour = [one + other for one, other in zip(whole.by_hour, day.by_hour, strict=True)]
    return total


def within_limits(scope: str, with_rows: Collection[str], settings: Settings) -> str:
    """The scope in whose rows a scope's units count: itself or, if the limits keep it out, that of `other`.

    Args:
        scope: The scope's id.
        with_rows: The scopes that have rows.
        settings: The settings of the installation.
    """
    if settings.limits.beyond != "other" or scope in with_rows or scope == ALL:
        return scope
    return ",".join(f"{part.split('=')[0]}=other" for part in scope.split(","))


def limited(days: Mapping[CountKey, Day], with_rows: Collection[str], settings: Settings) -> Mapping[CountKey, Day]:
    """The days of scopes that have rows, including units of scopes that the limits keep out."""
    if settings.limits.beyond != "other":
        return days
    return add_days(
        {(metric, within_limits(scope, with_rows, settings), on): day} for (metric, scope, on), day in days.items()
    )


def without_later(windows: Mapping[RowKey, Window], last: date, rows: Collection[RowKey] = ()) -> dict[RowKey, Window]:
    """The windows except rolling ones that end on or after a date and have no row: they may not have one yet."""
    return {
        key: window
        for key, window in windows.items()
        if window.period.kind != "rolling" or window.period.end < last or key in rows
    }


def windows_of(
    days: Mapping[CountKey, Day], business: Business, balances: Mapping[RowKey, int] = MappingProxyType({})
) -> dict[RowKey, Window]:
    """All periods from days, and campaigns from their hours, plus opening balances."""
    windows: dict[RowKey, Window] = {}
    for (metric, scope, on), day in days.items():
        if isinstance(on, CampaignHour):
            _add_hour(windows, RowKey(metric, scope, f"campaign:{on.campaign}"), on.hour, day, business)
            continue
        for period in business.periods_at(on, scope):
            window = windows.setdefault(RowKey(metric, scope, period.id), Window(period))
            window.count += day.count
            if period.kind == "day":
                window.by_hour = list(day.by_hour)
    for row, units in balances.items():
        windows.setdefault(row, Window(business.calendar.period(row.period))).count += units
    return windows | _inventories(windows, business)


def _add_hour(windows: dict[RowKey, Window], key: RowKey, hour: int, counted: Day, business: Business) -> None:
    span = next((span for span in business.campaigns if span.period.id == key.period), None)
    if span is None:
        return  # an earlier campaign, which is no longer counted
    window = windows.setdefault(key, Window(span.period))
    window.count += counted.count
    minutes = window.by_minute = window.by_minute or []
    minutes += [0] * ((hour + 1) * 60 - len(minutes))
    for minute, units in enumerate(counted.by_hour):
        minutes[hour * 60 + minute] += units


def _inventories(windows: Mapping[RowKey, Window], business: Business) -> dict[RowKey, Window]:
    """For each scope with produced vehicles: those not delivered."""
    families = business.settings.families
    if "production" not in families or "deliveries" not in families:
        return {}
    found = {}
    for row, produced in windows.items():
        if row.metric == "produced" and row.period == "total":
            delivered = windows.get(RowKey("deliveries", row.scope, "total"), Window(produced.period))
            found[RowKey("inventory", row.scope, "total")] = Window(produced.period, produced.count - delivered.count)
    return found
