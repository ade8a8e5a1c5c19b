"""Reads holiday calendars; the rules about them are in `streams.domain.time.calendar`.

China's is checked in, since its make-up work days are announced year by year. Other countries' come from the library
`holidays`, and a company's own from a file in the format of the checked-in one.
"""

from __future__ import annotations

import contextlib
import json
import re
import unicodedata
from datetime import date, timedelta
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol

from streams.domain.time.calendar import CHINA, DEFAULT_WINDOWS, NO_CALENDAR, Calendar, Grade, Holiday, HolidayYear
from streams.domain.time.daytypes import DayTypes
from streams.domain.time.periods import CIVIL
from streams.domain.time.zone import BusinessZone

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from streams.domain.time.campaigns import Campaign
    from streams.domain.time.periods import Reckoning

#: Extension of a calendar file.
FILE_ENDING: Final = ".json"
#: Events have times from 2000 to 2100 UTC; a business date can lie a day outside.
_YEARS: Final = range(1999, 2102)
_COUNTRY = re.compile(r"([A-Z]{2})(?:-([A-Za-z0-9]{1,3}))?")
_REMARK = re.compile(r"\s*\([^)]*\)")
_DAY = timedelta(days=1)


@cache
def holiday_years(calendar: str = CHINA) -> tuple[HolidayYear, ...]:
    """The years of a calendar, in order.

    Args:
        calendar: `CN`, `none`, an ISO 3166 country such as `DE`, or with a subdivision `DE-BE`, or a file that ends in `.json`.

    Raises:
        ValueError: There is no such calendar; the message says what is allowed.
    """
    if calendar == NO_CALENDAR:
        return ()
    if calendar == CHINA:
        folder = resources.files("streams").joinpath("data", "holidays")
        texts = [file.read_text(encoding="utf-8") for file in folder.iterdir() if file.name.endswith(FILE_ENDING)]
        years = [_year(json.loads(text)) for text in texts]
    elif calendar.endswith(FILE_ENDING):
        years = _of_file(Path(calendar))
    else:
        years = list(_of_country(calendar))
    return tuple(sorted(years, key=lambda entry: entry.year))


@cache
def day_types_of(calendar: str = CHINA) -> DayTypes:
    """The types of dates in a calendar; arguments and errors as for `holiday_years`."""
    return DayTypes(holiday_years(calendar))


def load_calendar(  # noqa: PLR0913 - the parts of a calendar, by name
    holidays: Sequence[str],
    zone: BusinessZone,
    calendar: str = CHINA,
    *,
    windows: Sequence[str] = DEFAULT_WINDOWS,
    reckoning: Reckoning = CIVIL,
    rolling: Mapping[int, Collection[tuple[str, ...]]] = MappingProxyType({}),
    campaigns: Sequence[Campaign] = (),
) -> Calendar:
    """The business calendar with the named holidays.

    Args:
        holidays: Names of the holidays to count, such as `national-day`.
        zone: The business time zone.
        calendar: As for `holiday_years`.
        windows: The kinds of window to count.
        reckoning: When weeks and years begin.
        rolling: As in `Calendar`.
        campaigns: As in `Calendar`.

    Raises:
        ValueError: The calendar has no holiday with one of the names; the message lists those it has.
    """
    return Calendar(
        years=holiday_years(calendar),
        holidays=tuple(holidays),
        timezone=zone.name,
        day_starts=zone.day_starts,
        windows=tuple(windows),
        reckoning=reckoning,
        rolling=rolling,
        campaigns=tuple(campaigns),
    )


class CalendarSettings(Protocol):
    """The settings that define a calendar."""

    @property
    def counted_holidays(self) -> tuple[str, ...]: ...  # noqa: D102 - as in `Settings`, all of these
    @property
    def timezone(self) -> str: ...  # noqa: D102 - likewise
    @property
    def day_starts_hour(self) -> int: ...  # noqa: D102 - likewise
    @property
    def calendar_name(self) -> str: ...  # noqa: D102 - likewise
    @property
    def windows(self) -> tuple[str, ...]: ...  # noqa: D102 - likewise
    @property
    def reckoning(self) -> Reckoning: ...  # noqa: D102 - likewise
    @property
    def rolling_windows(self) -> Mapping[int, Collection[tuple[str, ...]]]: ...  # noqa: D102 - likewise
    @property
    def campaigns(self) -> Sequence[Campaign]: ...  # noqa: D102 - likewise


def calendar_of(settings: CalendarSettings) -> Calendar:
    """The business calendar of an installation.

    Raises:
        ValueError: A holiday is unknown.
    """
    return load_calendar(
        settings.counted_holidays,
        BusinessZone(settings.timezone, settings.day_starts_hour),
        settings.calendar_name,
        windows=settings.windows,
        reckoning=settings.reckoning,
        rolling=settings.rolling_windows,
        campaigns=settings.campaigns,
    )


def _of_file(path: Path) -> list[HolidayYear]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        entries = document if isinstance(document, list) else [document]
        years = [_year(entry) for entry in entries]
    except OSError as error:
        raise ValueError(f"holiday_calendar: {path}: {error.strerror}; name a file that can be read") from None
    except KeyError as error:
        raise ValueError(f"holiday_calendar: {path}: {error.args[0]} is missing") from None
    except (TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"holiday_calendar: {path}: no list of years with their holidays: {error}") from None
    return years


def _of_country(name: str) -> Iterator[HolidayYear]:
    # Imported only where needed: it takes a third of a second, and China's calendar does without.
    import holidays as library  # noqa: PLC0415 - see above

    found = _COUNTRY.fullmatch(name)
    dates = None
    if found is not None:
        with contextlib.suppress(NotImplementedError):
            dates = library.country_holidays(found[1], subdiv=found[2], years=_YEARS, language="en_US")
    if dates is None:
        raise ValueError(
            f"holiday_calendar: {name!r} is no calendar; write CN, none, a country such as DE or DE-BE, "
            f"or the name of a file that ends in {FILE_ENDING}"
        )
    by_year: dict[int, dict[date, str]] = {}
    for day in sorted(dates):
        by_year.setdefault(day.year, {})[day] = dates.get_list(day)[0]
    release = metadata.version("holidays")
    for year, days in by_year.items():
        grade = Grade.PROVISIONAL if any("estimated" in text for text in days.values()) else Grade.OFFICIAL
        source = f"the library holidays {release}"
        yield HolidayYear(name, year, f"{name}-{year} holidays-{release}", grade, source, tuple(_runs(days)))


def _runs(days: Mapping[date, str]) -> Iterator[Holiday]:
    """Merges consecutive days with one name into a holiday; if a name occurs again in a year, it gets a number."""
    runs: list[tuple[str, date, date]] = []
    for day, text in days.items():
        name = _slug(text)
        if runs and runs[-1][0] == name and runs[-1][2] + _DAY == day:
            runs[-1] = (name, runs[-1][1], day)
        else:
            runs.append((name, day, day))
    seen: dict[str, int] = {}
    for name, start, end in runs:
        seen[name] = seen.get(name, 0) + 1
        yield Holiday(f"{name}-{seen[name]}" if seen[name] > 1 else name, start, end)


def _slug(text: str) -> str:
    """A name as used in period ids: New Year's Day (observed) becomes `new-years-day`."""
    bare = unicodedata.normalize("NFKD", _REMARK.sub("", text).replace("'", "").replace("\u2019", ""))
    words = re.findall(r"[a-z0-9]+", bare.encode("ascii", "ignore").decode().lower())
    return "-".join(words) or "holiday"


def _year(document: dict[str, Any]) -> HolidayYear:
    return HolidayYear(
        country=document["country"],
        year=document["year"],
        version=document["version"],
        grade=Grade(document["grade"]),
        source=f"{document['source']} ({document['published']})",
        holidays=tuple(_holiday(entry) for entry in document["holidays"]),
        notes=tuple(document["notes"]),
    )


def _holiday(entry: dict[str, Any]) -> Holiday:
    return Holiday(
        name=entry["name"],
        start=date.fromisoformat(entry["start"]),
        end=date.fromisoformat(entry["end"]),
        work_days=tuple(date.fromisoformat(day) for day in entry.get("work_days", ())),
    )
