"""Business calendar: civil dates grouped into the periods that are counted, named holidays included.

Dates are civil dates of the business time zone. The dates of a holiday are data (one file per country and year,
with version, source and grade); this module only applies it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from schemas.messages import Message, any_of
from streams.domain.time.campaigns import CAMPAIGN
from streams.domain.time.periods import (
    CIVIL,
    PERIOD_OF,
    ROLLING,
    TOTAL,
    Instants,
    Period,
    Reckoning,
    parse_period,
    rolling_period,
)
from streams.domain.time.zone import BusinessZone

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from streams.domain.time.campaigns import Campaign

#: Values of the setting `holiday_calendar`: the calendar of China, or none.
CHINA: Final = "CN"
NO_CALENDAR: Final = "none"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_HOLIDAY_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_YEAR = re.compile(r"[0-9]{4}")
#: Events have times from 2000 to 2100 UTC; a business date can be a day beyond.
_YEARS = range(1999, 2102)
#: Kinds of window that are counted by default.
DEFAULT_WINDOWS: Final = ("day", "month", "year", "holiday")
#: All kinds of window.
WINDOWS: Final = (*PERIOD_OF, "holiday")
#: A date whose period ids serve as examples.
_EXAMPLE = date(2024, 10, 7)


class Grade(StrEnum):
    """How reliable a holiday calendar is."""

    OFFICIAL = "official"
    PROVISIONAL = "provisional"


@dataclass(frozen=True, slots=True)
class Holiday:
    """One named holiday of one year: first and last day off, and the working days that make up for it."""

    name: str
    start: date
    end: date
    work_days: tuple[date, ...] = ()


@dataclass(frozen=True, slots=True)
class HolidayYear:
    """One calendar file: the holidays of one year.

    A holiday that crosses the end of a year is in the file of the year it belongs to, whatever year its first day is in.

    Raises:
        ValueError: The file contradicts itself; the message names its version and the holiday.
    """

    country: str
    year: int
    version: str
    grade: Grade
    source: str
    holidays: tuple[Holiday, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for holiday in self.holidays:
            where = f"holiday calendar {self.version}: {holiday.name}"
            if not _HOLIDAY_NAME.fullmatch(holiday.name):
                raise ValueError(f"{where}: a holiday's name is lower-case words joined by hyphens")
            if holiday.name in seen:
                raise ValueError(f"{where}: listed twice")
            if holiday.end < holiday.start:
                raise ValueError(f"{where}: ends on {holiday.end} before it starts on {holiday.start}")
            if self.year not in (holiday.start.year, holiday.end.year):
                raise ValueError(f"{where}: {holiday.start} to {holiday.end} has no day in {self.year}")
            seen.add(holiday.name)

    @property
    def label(self) -> str:
        """The version as shown on holiday rows; provisional ones are marked."""
        return self.version if self.grade is Grade.OFFICIAL else f"{self.version} {self.grade}"


@dataclass(frozen=True)
class Calendar:
    """The periods that are counted.

    Args:
        years: The known holiday calendars, at most one a year.
        holidays: Names of the holidays to count, such as `national-day`.
        timezone: IANA name of the business time zone.
        windows: Kinds of window that are counted, from `WINDOWS`; days always are.
        reckoning: When weeks and years begin.
        rolling: Length of each rolling window in days → the sets of dimensions, in order, whose scopes have it.
        day_starts: Local hour at which a business day begins.
        campaigns: Named windows between two instants; a campaign that a rule names must be among these.

    Raises:
        ValueError: A year is given twice, or no year has a holiday of a configured name.
    """

    years: Sequence[HolidayYear]
    holidays: Sequence[str]
    timezone: str
    windows: Sequence[str] = DEFAULT_WINDOWS
    reckoning: Reckoning = CIVIL
    rolling: Mapping[int, Collection[tuple[str, ...]]] = field(default_factory=dict)
    day_starts: int = 0
    campaigns: Sequence[Campaign] = ()
    _known: dict[int, HolidayYear] = field(init=False, repr=False, default_factory=dict)
    _holiday_periods: dict[str, Period] = field(init=False, repr=False, default_factory=dict)
    _campaigns: dict[str, Campaign] = field(init=False, repr=False, default_factory=dict)
    _campaign_periods: dict[str, Period] = field(init=False, repr=False, default_factory=dict)
    _by_date: dict[date, tuple[Period, ...]] = field(init=False, repr=False, default_factory=dict)
    _cache: dict[date, tuple[Period, ...]] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        for entry in self.years:
            if entry.year in self._known:
                raise ValueError(
                    f"holiday calendars {self._known[entry.year].version} and {entry.version}: the same year"
                )
            self._known[entry.year] = entry
        names = {holiday.name for entry in self.years for holiday in entry.holidays}
        for name in self.holidays:
            if name not in names:
                known = ", ".join(sorted(names)) or "none"
                raise ValueError(f"holidays: no calendar has a holiday called {name!r}; known are {known}")
        for entry in sorted(self.years, key=lambda entry: entry.year):
            for holiday in entry.holidays:
                if holiday.name in self.holidays:
                    self._add(entry, holiday)
        self.count_campaigns(self.campaigns)

    def count_campaigns(self, campaigns: Iterable[Campaign]) -> None:
        """Counts these campaigns instead of those given to the constructor: events may announce others."""
        self._campaigns.clear()
        self._campaign_periods.clear()
        for campaign in campaigns:
            self._campaigns[campaign.period_id] = campaign
            self._campaign_periods[campaign.period_id] = self._period_of(campaign)

    @property
    def counted_campaigns(self) -> tuple[Campaign, ...]:
        """The campaigns that are counted."""
        return tuple(self._campaigns.values())

    def _period_of(self, campaign: Campaign) -> Period:
        zone = BusinessZone(self.timezone, self.day_starts)
        texts = (zone.datetime_of(instant_us).isoformat() for instant_us in (campaign.start_us, campaign.end_us))
        first, last = zone.date_of(campaign.start_us), zone.date_of(campaign.end_us - 1)
        instants = Instants(campaign.start_us, campaign.end_us, *texts)
        return Period(campaign.period_id, CAMPAIGN, first, last, instants=instants)

    def _add(self, entry: HolidayYear, holiday: Holiday) -> None:
        period = Period(f"holiday:{holiday.name}:{entry.year}", "holiday", holiday.start, holiday.end, entry.label)
        self._holiday_periods[period.id] = period
        day = holiday.start
        while day <= holiday.end:
            self._by_date[day] = (*self._by_date.get(day, ()), period)
            day += timedelta(days=1)

    def periods_of(self, day: date) -> tuple[Period, ...]:
        """The counted periods of a date, from its day to its year, then each holiday that contains it."""
        found = self._cache.get(day)
        if found is None:
            ordinary = [made(day, self.reckoning) for kind, made in PERIOD_OF.items() if self.counts(kind)]
            found = self._cache[day] = (*ordinary, *self._by_date.get(day, ()))
        return found

    @staticmethod
    def rolling_of(day: date, days: int) -> tuple[Period, ...]:
        """The periods of a rolling window that contain a date, earliest first: they end on it and on the dates after it."""
        return tuple(rolling_period(day + timedelta(days=number), days) for number in range(days))

    def rolling_for(self, template: tuple[str, ...]) -> tuple[int, ...]:
        """The lengths, in days, of the rolling windows that scopes of these dimensions have."""
        return tuple(days for days, templates in self.rolling.items() if template in templates)

    def campaigns_at(self, time_us: int) -> tuple[Period, ...]:
        """The campaigns that are on at an instant."""
        return tuple(
            self._campaign_periods[campaign.period_id]
            for campaign in self._campaigns.values()
            if campaign.minute_of(time_us) is not None
        )

    def has(self, period: Period, template: tuple[str, ...]) -> bool:
        """Whether scopes of these dimensions have a period; only campaigns differ by dimensions."""
        if period.kind != CAMPAIGN:
            return True
        campaign = self._campaigns.get(period.id)
        return campaign is not None and template in campaign.templates

    def begins_at_us(self, period: Period) -> int:
        """First instant at which a period has a row: for a rolling window the start of its last date; otherwise 0."""
        if period.kind != ROLLING:
            return 0
        before = period.end - timedelta(days=1)
        return self.ends_at_us(Period("", "day", before, before))

    def counts(self, kind: str) -> bool:
        """Whether periods of a kind are counted."""
        if kind == CAMPAIGN:
            return bool(self._campaigns)
        return kind == "day" or kind in self.windows or (kind == ROLLING and bool(self.rolling))

    @property
    def forms(self) -> str:
        """How the ids of the counted periods are written, with an example of each."""
        ids = [made(_EXAMPLE, self.reckoning).id for kind, made in PERIOD_OF.items() if self.counts(kind)]
        ids += ["holiday:national-day:2024"] if self.counts("holiday") else []
        ids += [rolling_period(_EXAMPLE, days).id for days in self.rolling]
        ids += list(self._campaigns)[:1]
        return any_of(ids)

    def period(self, period_id: str) -> Period:
        """The period with an id.

        Raises:
            ValueError: The id is malformed, of a kind that is not counted, or names a holiday that is not configured or not
                known for its year.
        """
        kind, _, rest = period_id.partition(":")
        if kind in WINDOWS and not self.counts(kind):
            raise ValueError(
                Message(
                    "%(period)r: %(kind)s is not among the windows of the settings; list it there",
                    period=period_id,
                    kind=kind,
                )
            )
        if kind == "holiday":
            return self._holiday(period_id, rest)
        if kind == CAMPAIGN:
            if period_id not in self._campaign_periods:
                raise ValueError(
                    Message(
                        "%(period)r: there is no such campaign; list it in the settings, or announce it",
                        period=period_id,
                    )
                )
            return self._campaign_periods[period_id]
        try:
            found = parse_period(period_id, self.reckoning)
        except ValueError:
            found = None
        if found is not None and kind == ROLLING and (found.end - found.start).days + 1 not in self.rolling:
            raise ValueError(
                Message(
                    "%(period)r: there is no such rolling window in the settings; list it under rolling",
                    period=period_id,
                )
            )
        if found is None or found.start.year not in _YEARS:
            raise ValueError(self._no_period(period_id))
        return found

    def _holiday(self, period_id: str, rest: str) -> Period:
        found = self._holiday_periods.get(period_id)
        if found is not None:
            return found
        name, _, year = rest.rpartition(":")
        if not _HOLIDAY_NAME.fullmatch(name) or not re.fullmatch(r"[0-9]{4}", year):
            raise ValueError(self._no_period(period_id))
        if name not in self.holidays:
            raise ValueError(
                Message("%(period)r: %(name)s is not among the holidays of the settings", period=period_id, name=name)
            )
        if not self.known(int(year)):
            raise ValueError(Message("%(period)r: %(why)s", period=period_id, why=self._unknown(int(year))))
        version = self._known[int(year)].version
        raise ValueError(
            Message(
                "%(period)r: %(version)s has no %(name)s in %(year)s",
                period=period_id,
                version=version,
                name=name,
                year=year,
            )
        )

    def _no_period(self, period_id: str) -> Message:
        return Message("%(period)r is no period; write %(forms)s", period=period_id, forms=self.forms)

    def before(self, period: Period) -> Period | None:
        """The previous period of its window, for a holiday that of the year before; None if it is unknown."""
        return self._beside(period, -1)

    def after(self, period: Period) -> Period | None:
        """The next period of its window; None as above."""
        return self._beside(period, 1)

    def year_before(self, period: Period) -> Period | None:
        """The same period of the year before; None if there is none, as for 29 February or a week 53."""
        return self._years_later(period, -1)

    def year_after(self, period: Period) -> Period | None:
        """The same period of the year after; None as above."""
        return self._years_later(period, 1)

    def _years_later(self, period: Period, years: int) -> Period | None:
        if period.kind in (TOTAL, "holiday", CAMPAIGN):
            return self._beside(period, years)
        year = _YEAR.search(period.id)
        if year is None:
            return None
        name = f"{period.id[: year.start()]}{int(year[0]) + years:04}{period.id[year.end() :]}"
        try:
            return parse_period(name, self.reckoning)
        except ValueError:
            return None

    def _beside(self, period: Period, step: int) -> Period | None:
        if period.kind == "holiday":
            name, _, year = period.id.rpartition(":")
            return self._holiday_periods.get(f"{name}:{int(year) + step}")
        if period.kind in (TOTAL, CAMPAIGN):
            return None
        if period.kind == ROLLING:
            return rolling_period(period.end + timedelta(days=step), (period.end - period.start).days + 1)
        day = period.start - timedelta(days=1) if step < 0 else period.end + timedelta(days=1)
        return PERIOD_OF[period.kind](day, self.reckoning)

    def known(self, year: int) -> bool:
        """Whether there is a holiday calendar for a year."""
        return year in self._known

    def warnings(self, days: Iterable[date]) -> tuple[str, ...]:
        """One line for each year whose holidays these dates need and no calendar has, in order of years."""
        if not self.holidays:
            return ()
        needed = {day.year for day in days}
        if self._has_early_start():
            needed |= {day.year + 1 for day in days if day.month == 12}
        return tuple(self._unknown(year) for year in sorted(needed) if not self.known(year))

    def ends_at_us(self, period: Period) -> int:
        """First instant after a period in the business time zone, in microseconds since 1970.

        If the hour at which days begin comes twice on the following date (the clocks are set back across it), it is the later
        one: between the two the old date returns.
        """
        if period.instants is not None:
            return period.instants.end_us
        following = period.end + timedelta(days=1)
        midnight = datetime(
            following.year, following.month, following.day, self.day_starts, tzinfo=ZoneInfo(self.timezone)
        )
        # In a gap the earlier reading is the later instant, in an overlap the later reading is.
        return max((midnight.replace(fold=fold) - _EPOCH) // _MICROSECOND for fold in (0, 1))

    def _has_early_start(self) -> bool:
        return any(period.start.year < int(period_id[-4:]) for period_id, period in self._holiday_periods.items())

    def _unknown(self, year: int) -> Message:
        names = ", ".join(self.holidays)
        return Message(
            "no holiday calendar for %(year)s: %(names)s of that year is not counted until one is added",
            year=year,
            names=names,
        )
