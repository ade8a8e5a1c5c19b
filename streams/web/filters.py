"""How templates write numbers, dates and instants in a language.

The filters are remembered by value: a page of a thousand rows asks for the same few thousand texts again and again, and
formatting one with Babel takes longer than rendering its cell.
"""

from __future__ import annotations

from datetime import date, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from babel.dates import format_date, format_datetime
from babel.numbers import format_decimal, format_percent

if TYPE_CHECKING:
    from collections.abc import Callable

_REMEMBERED: Final = 50_000
_NOTHING: Final = "\u2013"


def of_locale(locale: str, gettext: Callable[..., str]) -> dict[str, Callable[..., Any]]:  # noqa: ARG001 - for names of things
    """The filters of a language.

    Args:
        locale: Such as `en`.
        gettext: Translates a text of ours.
    """

    @lru_cache(maxsize=_REMEMBERED)
    def number(value: float | None) -> str:
        """`1234.5 | number`: 1,234.5."""
        return _NOTHING if value is None else format_decimal(value, locale=locale)

    @lru_cache(maxsize=_REMEMBERED)
    def percent(value: float | None) -> str:
        """`0.25 | percent`: 25%."""
        return _NOTHING if value is None else format_percent(value, locale=locale)

    @lru_cache(maxsize=_REMEMBERED)
    def day(value: str | date | None, form: str = "medium") -> str:
        """`"2024-10-07" | day`: Oct 7, 2024; the form is one of Babel's or a pattern such as `EEE d MMM`."""
        if value is None:
            return _NOTHING
        return format_date(value if isinstance(value, date) else date.fromisoformat(value), form, locale=locale)

    @lru_cache(maxsize=_REMEMBERED)
    def instant(value: str | float | None, timezone: str, form: str = "medium") -> str:
        """In a template `row.updated_at | instant(status.timezone)`: Oct 7, 2024, 9:10:44 PM; also of milliseconds."""
        if value is None:
            return _NOTHING
        zone = ZoneInfo(timezone)
        moment = datetime.fromisoformat(value) if isinstance(value, str) else datetime.fromtimestamp(value / 1000, zone)
        return format_datetime(moment.astimezone(zone), form, locale=locale)

    return {"number": number, "percent": percent, "day": day, "instant": instant}
