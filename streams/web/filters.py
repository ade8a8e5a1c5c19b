"""Template filters that write numbers, dates and instants in a language.

Results are cached: a page of a thousand rows needs the same few thousand texts repeatedly, and formatting one with Babel takes longer
than rendering its cell.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, Protocol
from zoneinfo import ZoneInfo

from babel.dates import format_date, format_datetime
from babel.numbers import format_compact_decimal, format_decimal, format_percent

from streams.web import terms
from streams.web.names import Names
from streams.wording.dates import DateForm, date_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from streams.web.views.common import Aim

_REMEMBERED: Final = 50_000
_FEW_AIMS: Final = 2
_COMPACT_FROM: Final = 100_000
_NOTHING: Final = "\u2013"
#: Forms with digits only, the same in all our languages; Python writes them five times as fast as Babel.
_DIGITS: Final = {
    "yyyy-MM-dd HH:mm:ss": "%Y-%m-%d %H:%M:%S",
    "yyyy-MM-dd HH:mm": "%Y-%m-%d %H:%M",
    "HH:mm:ss": "%H:%M:%S",
    "yyyy-MM-dd": "%Y-%m-%d",
}


def of_locale(locale: str, gettext: Callable[[str], str]) -> dict[str, Callable[..., Any]]:
    """The filters for a language: those here, and the names of things in `names.py`.

    Args:
        locale: Such as `en`.
        gettext: Translates one of our texts.
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
    def day(value: str | date | None, form: DateForm = "date") -> str:
        """`"2024-10-07" | day`: 7 Oct 2024."""
        return _NOTHING if value is None else date_text(value, locale, form)

    @lru_cache(maxsize=_REMEMBERED)
    def part_of_date(value: str, field: str) -> str:
        """One field of a date by its letters in CLDR: for `LLL`, Oct."""
        return str(format_date(date.fromisoformat(value), field, locale=locale))

    @lru_cache(maxsize=_REMEMBERED)
    def instant(value: str | float | None, timezone: str, form: str) -> str:
        """A time in a time zone, given as RFC 3339 text or milliseconds since 1970.

        Times in digits include their offset, as on the command line: 2024-10-07 21:10:44+08:00.
        """
        if value is None:
            return _NOTHING
        local = _local(value, timezone)
        return _digits(local, form) if form in _DIGITS else format_datetime(local, form, locale=locale)

    @lru_cache(maxsize=_REMEMBERED)
    def signed(value: float | None) -> str:
        """`12 | signed`: +12; 0 has no sign."""
        return _NOTHING if value is None else format_decimal(value, "+#,##0.###;-#" if value else None, locale=locale)

    filters: dict[str, Callable[..., Any]] = {
        "number": number,
        "sum_of": sum_of,
        "compact": lru_cache(maxsize=_REMEMBERED)(partial(_compact, locale=locale)),
        "percent": percent,
        "share": lru_cache(maxsize=_REMEMBERED)(partial(_share, locale=locale)),
        "by_name": _by_name,
        "day": day,
        "part_of_date": part_of_date,
        "instant": instant,
        "signed": signed,
        "seconds_until": _seconds_until,
        "telling_aims": _telling_aims,
    }
    for name, function in Names(locale, gettext).filters().items():
        filters[name] = lru_cache(maxsize=_REMEMBERED)(function)
    return filters | terms.of_language(gettext)


def _local(value: str | float, timezone: str) -> datetime:
    zone = ZoneInfo(timezone)
    moment = datetime.fromisoformat(value) if isinstance(value, str) else datetime.fromtimestamp(value / 1000, zone)
    return moment.astimezone(zone)


def _digits(moment: datetime, form: str) -> str:
    """A time in digits with its offset; dates have none."""
    offset = f"{moment:%z}"
    return moment.strftime(_DIGITS[form]) + (f"{offset[:3]}:{offset[3:5]}" if "HH" in form else "")


def _share(value: float, *, locale: str) -> str:
    """`0.0042 | share`: 0.4%."""
    return str(format_percent(value, "#,##0.0%", locale=locale))


def _compact(value: float, *, locale: str) -> str:
    """`1034567 | compact`: 1.03M, 103\u4e07; numbers that fit into a calendar cell stay whole."""
    if value < _COMPACT_FROM:
        return str(format_decimal(value, locale=locale))
    digits = 0 if value < 10 * _COMPACT_FROM or locale == "zh" else 2
    return str(format_compact_decimal(value, format_type="short", locale=locale, fraction_digits=digits))


def sum_of(counts: Iterable[int | None]) -> int | None:
    """The sum; `None` if one of the counts is unknown."""
    known = list(counts)
    return None if None in known else sum(count or 0 for count in known)


def natural(scope: str) -> list[tuple[int, str]]:
    """A key that sorts ids as people do: `CN-2` before `CN-11`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", scope) if part]


class _OfScope(Protocol):
    @property
    def scope(self) -> str: ...


def _by_name(rows: Iterable[_OfScope]) -> list[_OfScope]:
    """Sorted by name, with numbers in names by value."""
    return sorted(rows, key=lambda row: natural(row.scope))


def _telling_aims(aims: Sequence[Aim]) -> list[Aim]:
    """The targets to show: all or, if there are more than two, by value the last one reached and the next."""
    if len(aims) <= _FEW_AIMS:
        return list(aims)
    reached, open_ = [aim for aim in aims if aim.reached], [aim for aim in aims if not aim.reached]
    return [*reached[-1:], *open_[:1]]


def _seconds_until(value: str, end: str) -> float:
    """Seconds from one instant to a later one, such as `status.business_now`."""
    return (datetime.fromisoformat(end) - datetime.fromisoformat(value)).total_seconds()
