"""Says what is wrong with a value in a file or an address, without the words of the library that found it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from schemas.messages import Message, any_of

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_LIST: Final = Message("a list is needed, in square brackets")
_TABLE: Final = Message("a table is needed: keys with values")
_WHOLE: Final = Message("a whole number is needed")
_NUMBER: Final = Message("a number is needed")
_YES_OR_NO: Final = Message("true or false is needed")
_TEXT: Final = Message("a text is needed, in quotes")
_DATE: Final = Message("a date is needed, such as 2024-11-01")
_INSTANT: Final = Message("a date and time with an offset is needed, such as 2025-06-26T22:00:00+08:00")
_DATE_AND_TIME: Final = frozenset(("datetime_type", "datetime_parsing", "datetime_from_date_parsing", "timezone_aware"))

#: The library's name for what is wrong → the words for it.
_WORDS: Final = {
    "missing": Message("it is missing"),
    "extra_forbidden": Message("there is no such key"),
    "tuple_type": _LIST,
    "list_type": _LIST,
    "dict_type": _TABLE,
    "model_type": _TABLE,
    "model_attributes_type": _TABLE,
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": Message("a finite number is needed"),
    "bool_type": _YES_OR_NO,
    "bool_parsing": _YES_OR_NO,
    "string_type": _TEXT,
    "string_unicode": Message("it is not in UTF-8"),
    "date_type": _DATE,
    "date_parsing": _DATE,
    "date_from_datetime_parsing": _DATE,
    "date_from_datetime_inexact": Message("a date without a time is needed, such as 2024-11-01"),
    **dict.fromkeys(_DATE_AND_TIME, _INSTANT),
}
_OTHER: Final = Message("this value is not possible")
_OURS: Final = "value_error"
_CHOICES: Final = ("literal_error", "enum")


def in_words(fault: ErrorDetails) -> str:
    """What is wrong with a value, as part of a line that has named its place: not a sentence, and without the value.

    It is a `Message`, unless a validator of ours has raised something else.
    """
    kind, details = fault["type"], fault.get("ctx", {})
    if kind == _OURS:
        raised = details["error"].args[0]
        return raised if isinstance(raised, Message) else fault["msg"].removeprefix("Value error, ")
    if kind in _CHOICES:
        return _chosen_from(details["expected"])
    return _bound(kind, {name: f"{value:g}" if isinstance(value, float) else value for name, value in details.items()})


def _bound(kind: str, details: dict[str, object]) -> Message:
    match kind:
        case "too_short":
            return Message("at least %(least)s must be listed", least=details["min_length"])
        case "too_long":
            return Message("at most %(most)s can be listed", most=details["max_length"])
        case "greater_than":
            return Message("more than %(bound)s is needed", bound=details["gt"])
        case "greater_than_equal":
            return Message("at least %(least)s is needed", least=details["ge"])
        case "less_than":
            return Message("less than %(bound)s is needed", bound=details["lt"])
        case "less_than_equal":
            return Message("at most %(most)s is possible", most=details["le"])
        case "string_too_short":
            return Message("at least %(least)s characters are needed", least=details["min_length"])
        case "string_too_long":
            return Message("at most %(most)s characters are possible", most=details["max_length"])
    return _WORDS.get(kind, _OTHER)


def _chosen_from(expected: str) -> Message:
    """The values to choose from, which the library lists in quotes; nothing is not among them, since it is left out instead."""
    named = [name for name in re.findall(r"'[^']*'", expected) if name != "''"]
    return Message("choose %(names)s", names=any_of(named))
