"""Says what is wrong with a value in a file or an address, without the words of the library that found it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_LIST: Final = "a list is needed, in square brackets"
_TABLE: Final = "a table is needed: keys with values"
_WHOLE: Final = "a whole number is needed"
_NUMBER: Final = "a number is needed"
_YES_OR_NO: Final = "true or false is needed"
_TEXT: Final = "a text is needed, in quotes"
_DATE: Final = "a date is needed, such as 2024-11-01"
_INSTANT: Final = "a date and time with an offset is needed, such as 2025-06-26T22:00:00+08:00"
_DATE_AND_TIME: Final = frozenset(("datetime_type", "datetime_parsing", "datetime_from_date_parsing", "timezone_aware"))

#: The library's name for what is wrong → the words for it, in which its details are filled in.
_WORDS: Final = {
    "missing": "it is missing",
    "extra_forbidden": "there is no such key",
    "tuple_type": _LIST,
    "list_type": _LIST,
    "too_short": "at least {min_length} must be listed",
    "too_long": "at most {max_length} can be listed",
    "dict_type": _TABLE,
    "model_type": _TABLE,
    "model_attributes_type": _TABLE,
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "a finite number is needed",
    "greater_than": "more than {gt} is needed",
    "greater_than_equal": "at least {ge} is needed",
    "less_than": "less than {lt} is needed",
    "less_than_equal": "at most {le} is possible",
    "bool_type": _YES_OR_NO,
    "bool_parsing": _YES_OR_NO,
    "string_type": _TEXT,
    "string_unicode": "it is not in UTF-8",
    "string_too_short": "at least {min_length} characters are needed",
    "string_too_long": "at most {max_length} characters are possible",
    "string_pattern_mismatch": "it does not match {pattern}",
    "literal_error": "choose {expected}",
    "enum": "choose {expected}",
    "date_type": _DATE,
    "date_parsing": _DATE,
    "date_from_datetime_parsing": _DATE,
    "date_from_datetime_inexact": "a date without a time is needed, such as 2024-11-01",
    **dict.fromkeys(_DATE_AND_TIME, _INSTANT),
}
_OTHER: Final = "this value is not possible"
_OURS: Final = "value_error"


def in_words(fault: ErrorDetails) -> str:
    """What is wrong with a value, as part of a line that has named its place: not a sentence, and without the value."""
    if fault["type"] == _OURS:
        return fault["msg"].removeprefix("Value error, ")
    details = {
        name: f"{value:g}" if isinstance(value, float) else value for name, value in fault.get("ctx", {}).items()
    }
    return _WORDS.get(fault["type"], _OTHER).format_map(details)
