"""Reads the checked-in holiday calendars; the rules about them are in `streams.domain.calendar`."""

from __future__ import annotations

import json
from datetime import date
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from streams.domain.calendar import Calendar, Grade, Holiday, HolidayYear

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.domain.zone import BusinessZone


@cache
def holiday_years() -> tuple[HolidayYear, ...]:
    """Every checked-in calendar, in order of years."""
    folder = resources.files("streams").joinpath("data", "holidays")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".json")), key=lambda file: file.name)
    years = [_year(json.loads(file.read_text(encoding="utf-8"))) for file in files]
    return tuple(sorted(years, key=lambda entry: entry.year))


def load_calendar(holidays: Sequence[str], zone: BusinessZone) -> Calendar:
    """The business calendar with the named holidays.

    Args:
        holidays: Names of the holidays to count, such as `national-day`.
        zone: The business time zone.

    Raises:
        ValueError: No calendar has a holiday of that name; the line lists those there are.
    """
    return Calendar(years=holiday_years(), holidays=tuple(holidays), timezone=zone.name)


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
        work_days=tuple(date.fromisoformat(day) for day in entry["work_days"]),
    )
