"""Business calendar: civil dates grouped to days, months, years and named holiday periods.

Dates are civil dates of the business time zone. Which dates a holiday has is data (one file per country and year,
with version, source and grade); this module only judges it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: The calendar of China, and none at all, as the setting `holiday_calendar` calls them.
CHINA: Final = "CN"
NO_CALENDAR: Final = "none"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_HOLIDAY_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
#: Events have times from 2000 to 2100 UTC; a business date can be a day beyond.
_YEARS = range(1999, 2102)
_FORMS = "day:2024-10-07, month:2024-10, year:2024 or holiday:national-day:2024"


class Grade(StrEnum):
    """How far a holiday calendar can be relied on."""

    OFFICIAL = "official"
    PROVISIONAL = "provisional"


@dataclass(frozen=True, slots=True)
class Period:
    """A run of civil dates that is counted as one window.

    Args:
        id: Such as `day:2024-10-07`, `month:2024-10`, `year:2024`, `holiday:national-day:2024`.
        kind: `day`, `month`, `year` or `holiday`.
        start: First date.
        end: Last date, inclusive.
        calendar: Version of the holiday calendar that gives the dates; None for all but holidays.
    """

    id: str
    kind: str
    start: date
    end: date
    calendar: str | None = None

    @property
    def window(self) -> str:
        """What rules call periods of this sort: the kind, for a holiday with its name."""
        return self.id.rpartition(":")[0] if self.kind == "holiday" else self.kind


def day_period(day: date) -> Period:
    """The period of one civil date."""
    return Period(f"day:{day.isoformat()}", "day", day, day)


def month_period(day: date) -> Period:
    """The month of a date."""
    first = day.replace(day=1)
    following = (first + timedelta(days=31)).replace(day=1)
    return Period(f"month:{day.isoformat()[:7]}", "month", first, following - timedelta(days=1))


def year_period(day: date) -> Period:
    """The year of a date."""
    return Period(f"year:{day.isoformat()[:4]}", "year", date(day.year, 1, 1), date(day.year, 12, 31))


def _of_kind(kind: str, rest: str) -> Period | None:
    if kind == "day":
        return day_period(date.fromisoformat(rest))
    if kind == "month":
        return month_period(date.fromisoformat(f"{rest}-01"))
    if kind == "year":
        return year_period(date.fromisoformat(f"{rest}-01-01"))
    return None


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

    A holiday that crosses a year end is in the file of the year it belongs to, whatever year its first day is in.

    Raises:
        ValueError: The file contradicts itself; the line names its version and the holiday.
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
        """The version as shown on holiday rows; marks provisional ones."""
        return self.version if self.grade is Grade.OFFICIAL else f"{self.version} {self.grade}"


@dataclass(frozen=True)
class Calendar:
    """The periods that are counted.

    Args:
        years: What is known of holidays, at most one entry a year.
        holidays: Names of the holidays to count, such as `national-day`.
        timezone: IANA name of the business time zone.

    Raises:
        ValueError: A year is given twice, or no year has a holiday of a configured name.
    """

    years: Sequence[HolidayYear]
    holidays: Sequence[str]
    timezone: str
    _known: dict[int, HolidayYear] = field(init=False, repr=False, default_factory=dict)
    _holiday_periods: dict[str, Period] = field(init=False, repr=False, default_factory=dict)
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

    def _add(self, entry: HolidayYear, holiday: Holiday) -> None:
        period = Period(f"holiday:{holiday.name}:{entry.year}", "holiday", holiday.start, holiday.end, entry.label)
        self._holiday_periods[period.id] = period
        day = holiday.start
        while day <= holiday.end:
            self._by_date[day] = (*self._by_date.get(day, ()), period)
            day += timedelta(days=1)

    def periods_of(self, day: date) -> tuple[Period, ...]:
        """The day, month and year of a date, then each configured holiday that contains it."""
        found = self._cache.get(day)
        if found is None:
            found = (day_period(day), month_period(day), year_period(day), *self._by_date.get(day, ()))
            self._cache[day] = found
        return found

    def period(self, period_id: str) -> Period:
        """The period with an id.

        Raises:
            ValueError: The id is malformed, or names a holiday that is not configured or not known for its year.
        """
        kind, _, rest = period_id.partition(":")
        if kind == "holiday":
            return self._holiday(period_id, rest)
        try:
            found = _of_kind(kind, rest)
        except ValueError:
            found = None
        if found is None or found.id != period_id or found.start.year not in _YEARS:
            raise ValueError(f"{period_id!r} is no period; write {_FORMS}")
        return found

    def _holiday(self, period_id: str, rest: str) -> Period:
        found = self._holiday_periods.get(period_id)
        if found is not None:
            return found
        name, _, year = rest.rpartition(":")
        if not _HOLIDAY_NAME.fullmatch(name) or not re.fullmatch(r"[0-9]{4}", year):
            raise ValueError(f"{period_id!r} is no period; write {_FORMS}")
        if name not in self.holidays:
            raise ValueError(f"{period_id!r}: {name} is not among the holidays of the settings")
        if not self.known(int(year)):
            raise ValueError(f"{period_id!r}: {self._unknown(int(year))}")
        raise ValueError(f"{period_id!r}: {self._known[int(year)].version} has no {name} in {year}")

    def known(self, year: int) -> bool:
        """Whether there is a holiday calendar for a year."""
        return year in self._known

    def warnings(self, days: Iterable[date]) -> tuple[str, ...]:
        """One line for each year whose holidays these dates would need and no calendar gives, in order of years."""
        if not self.holidays:
            return ()
        needed = {day.year for day in days}
        if self._has_early_start():
            needed |= {day.year + 1 for day in days if day.month == 12}
        return tuple(self._unknown(year) for year in sorted(needed) if not self.known(year))

    def ends_at_us(self, period: Period) -> int:
        """First instant after a period in the business time zone, in microseconds since 1970.

        Where midnight comes twice on the following date (clocks set back across it) it is the later one: between them
        the old date returns.
        """
        following = period.end + timedelta(days=1)
        midnight = datetime(following.year, following.month, following.day, tzinfo=ZoneInfo(self.timezone))
        # In a gap the earlier reading is the later instant, in an overlap the later reading is.
        return max((midnight.replace(fold=fold) - _EPOCH) // _MICROSECOND for fold in (0, 1))

    def _has_early_start(self) -> bool:
        return any(period.start.year < int(period_id[-4:]) for period_id, period in self._holiday_periods.items())

    def _unknown(self, year: int) -> str:
        names = ", ".join(self.holidays)
        return f"no holiday calendar for {year}: {names} of that year is not counted until one is added"
