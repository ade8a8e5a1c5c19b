"""Dates in words, written alike in sentences and on pages: 7 Oct 2024; 2024年10月7日."""

from __future__ import annotations

from datetime import date
from typing import Final, Literal

from babel.dates import format_date

#: A date, with the short or the long name of its weekday, and without its year.
DateForm = Literal["date", "weekday", "full", "of_year", "weekday_of_year"]

_PATTERNS: Final[dict[str, dict[DateForm, str]]] = {
    "en": {
        "date": "d MMM y",
        "weekday": "EEE, d MMM y",
        "full": "EEEE, d MMMM y",
        "of_year": "d MMM",
        "weekday_of_year": "EEE, d MMM",
    },
    "zh": {
        "date": "y年M月d日",
        "weekday": "y年M月d日EEE",
        "full": "y年M月d日EEEE",
        "of_year": "M月d日",
        "weekday_of_year": "M月d日EEE",
    },
}


def date_text(day: str | date, language: str, form: DateForm = "date") -> str:
    """A date in a language.

    Args:
        day: The date, as such or as `2024-10-07`.
        language: One of `LANGUAGES`.
        form: What is said of it.

    Raises:
        ValueError: A text is no date.
    """
    moment = day if isinstance(day, date) else date.fromisoformat(day)
    return str(format_date(moment, _PATTERNS[language][form], locale=language))
