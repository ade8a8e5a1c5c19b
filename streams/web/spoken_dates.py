"""Parses dates and months as people write them, in English and Chinese, and as pages show them: `Mon, 7 Oct 2024`."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Final

_DAYS: Final = {"today": 0, "\u4eca\u5929": 0, "\u4eca\u65e5": 0, "yesterday": 1, "\u6628\u5929": 1, "\u6628\u65e5": 1}
#: Year, month and day, optionally followed by the weekday.
_CHINESE: Final = re.compile(
    r"(?:([0-9]{4})\s*\u5e74\s*)?([0-9]{1,2})\s*\u6708(?:\u4efd|\s*([0-9]{1,2})\s*[\u65e5\u53f7]?)?"
    r"(?:\s*(?:\u661f\u671f|\u5468|\u793c\u62dc)[\u4e00\u4e8c\u4e09\u56db\u4e94\u516d\u65e5\u5929])?"
)
_MONTHS: Final = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_SHORTEST: Final = 3


def spoken(text: str, today: date) -> tuple[date, date] | None:
    """The first and last date of the day or month that a text names; `None` for any other text.

    Args:
        text: Such as `October 7`, `7 Oct 2024`, `October`, `yesterday`, and the same in Chinese.
        today: A text without a year means the latest such day or month that has begun by today.
    """
    said = text.strip().casefold()
    if said in _DAYS:
        day = today - timedelta(days=_DAYS[said])
        return day, day
    if match := _CHINESE.fullmatch(said):
        parts = [int(part) if part else None for part in match.groups()]
    else:
        parts = _english(said) or [None, None, None]
    year, month, day_of_month = parts
    if month is None:
        return None
    for tried in (year,) if year is not None else (today.year, *range(today.year - 1, today.year - 9, -1)):
        try:
            first = date(tried, month, day_of_month or 1)
        except ValueError:
            continue
        if year is not None or first <= today:
            break
    else:
        return None
    after = date(first.year + first.month // 12, first.month % 12 + 1, 1)
    return first, first if day_of_month else after - timedelta(days=1)


def _english(said: str) -> list[int | None] | None:
    """Year, month and day from words in any order; `None` if there is another word, no month, or one of them twice."""
    year = month = day = None
    for word in re.split(r"[\s,.]+", re.sub(r"(?<=[0-9])(st|nd|rd|th)\b", "", said).strip(" ,.")):
        named = _place(word, _MONTHS)
        if named is not None and month is None:
            month = named + 1
        elif re.fullmatch("[0-9]{4}", word) and year is None:
            year = int(word)
        elif re.fullmatch("[0-9]{1,2}", word) and day is None:
            day = int(word)
        elif _place(word, _WEEKDAYS) is None:
            return None
    return [year, month, day]


def _place(word: str, names: tuple[str, ...]) -> int | None:
    found = [number for number, name in enumerate(names) if len(word) >= _SHORTEST and name.startswith(word)]
    return found[0] if found else None
