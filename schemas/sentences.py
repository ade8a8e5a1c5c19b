"""Says what is wrong with a field, in a sentence for people who have never seen the schema.

It names the field, what was found, what is wanted, and an example. What was found is described by its kind, its length or the shape
of its characters, never quoted: the sentence is published with the dead letter.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any, Final

from schemas.facts import METRICS
from schemas.texts import LONGEST_NAME

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_NAME: Final = f"a name of 1 to {LONGEST_NAME} characters"
_ID: Final = "a text of 1 to 256 characters"
_SENTENCE: Final = "a text"
_METRICS: Final = f"one of {', '.join(METRICS)}"

#: Field → what is wanted, and an example.
WANTED: Final[dict[str, tuple[str, str]]] = {
    "specversion": ("the text 1.0", '"specversion":"1.0"'),
    "id": (f"{_ID}, another one for each event of the source", "8f14e45f-ea3c-4d2b"),
    "source": (f"{_ID} that names the system", "/factories/bj1/dispatch"),
    "type": ("the name of an event", "vehicle.delivered.v1"),
    "time": ("a date and time with an offset", "2024-10-07T14:03:11+08:00"),
    "subject": (_SENTENCE, "SO-20241007-000123"),
    "datacontenttype": ("application/json, or nothing", ""),
    "dataschema": (_SENTENCE, "https://example.com/delivered.json"),
    "backfill": ("true or false", "true"),
    "data": ("a JSON object", '{"order_id":"SO-20241007-000123"}'),
    "data.order_id": (f"the number of the order, {_ID}", "SO-20241007-000123"),
    "data.vin": ("17 of the letters A-Z without I, O and Q and the digits", "LNBSU7A10R1000123"),
    "data.model": (_NAME, "SU7"),
    "data.variant": (_NAME, "Max"),
    "data.factory": (_NAME, "BJ1"),
    "data.region": (_NAME, "CN-11"),
    "data.channel": (_NAME, "web"),
    "data.reason": (_SENTENCE, "paint"),
    "data.label": (_SENTENCE, "October"),
    "data.voids": ("source and id of the event that was a mistake", '{"source":"/shops/online","id":"77d3a7c2"}'),
    "data.voids.source": (f"the source of the event that was a mistake, {_ID}", "/shops/online"),
    "data.voids.id": (f"the id of the event that was a mistake, {_ID}", "77d3a7c2"),
    "data.target_id": (f"{_ID} that names the target", "su7-2024-10"),
    "data.metric": (_METRICS, "deliveries"),
    "data.scope": ("all, or dimensions", "model=SU7,region=CN-11"),
    "data.period": ("a day, week, month, quarter, half, year or holiday", "month:2024-10"),
    "data.at": ("shares between 0 and 1, each once", "[0.5, 0.8]"),
    "data.campaign": ("lower-case words joined by hyphens, 64 characters at most", "yu7-launch"),
    "data.start": ("a date and time with an offset, at a full minute", "2025-06-26T22:00:00+08:00"),
    "data.end": ("a date and time with an offset, at a full minute", "2025-06-27T22:00:00+08:00"),
    "data.scopes": ("sets of dimensions, each once", '[["model"]]'),
    "data.value": ("a whole number from 1 on", "20000"),
    "data.count": ("a whole number from 0 on", "1045"),
}

_SHOWN_SHAPE: Final = 40
_VIN_LENGTH: Final = 17
_LONGEST_ID: Final = 256
_SECONDS: Final = range(946_684_800, 4_133_980_800)  # of the years 2000 to 2100
_OWN_WORDS: Final = frozenset({"missing_offset", "value_error"})


def sentence(problem: ErrorDetails) -> str:
    """One line about one error that a model reports."""
    where = ".".join(str(part) for part in problem["loc"])
    wanted, example = WANTED.get(where, ("another value", ""))
    if where not in WANTED:
        # An element of a list is reported as the list itself.
        where = ".".join(part for part in map(str, problem["loc"]) if not part.isdecimal())
        wanted, example = WANTED.get(where, (wanted, example))
    such_as = f", such as {example}" if example else ""
    return f"{where}: {_found(where, problem)}; wanted: {wanted}{such_as}"


def kind_of(value: Any) -> str:
    """The kind of a JSON value, in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a text" if value else "an empty text"
    return "a list" if isinstance(value, list) else "an object"


def _found(where: str, problem: ErrorDetails) -> str:
    if problem["type"] == "missing":
        return "missing"
    value = problem["input"]
    if where == "time" and (epoch := _epoch(value)):
        return f"{kind_of(value)}; epoch {epoch}?"
    if problem["type"] in _OWN_WORDS:
        said = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "missing_offset":
            said = "which has no offset"
        elif where == "time" and said.startswith("not a date and time"):
            return _shape(value) if isinstance(value, str) else kind_of(value)  # what is wanted follows anyway
        return f"{_shape(value)}, {said}" if where == "time" and isinstance(value, str) else said
    if not isinstance(value, str) or not value:
        return _number(value) if problem["type"] in {"greater_than_equal", "less_than_equal"} else kind_of(value)
    if where == "data.vin":
        return _of_vin(value)
    if where in {"data.value", "data.count", "data.voids", "data", "backfill", "data.metric"}:
        return "a text" if where != "data.metric" else "another text"
    return _of_characters(value, LONGEST_NAME if WANTED.get(where, ("", ""))[0] == _NAME else _LONGEST_ID)


def _number(value: Any) -> str:
    return "a negative number" if isinstance(value, int | float) and value < 0 else "0" if value == 0 else "a number"


def _epoch(value: Any) -> str:
    """The unit, if a number or a string of digits looks like a time since 1970; "" for anything else."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{10,19}(\.[0-9]+)?", value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    for unit, in_one in (("seconds", 1), ("milliseconds", 10**3), ("microseconds", 10**6), ("nanoseconds", 10**9)):
        if int(value / in_one) in _SECONDS:
            return unit
    return ""


def _of_vin(value: str) -> str:
    for place, character in enumerate(value, start=1):
        if character in "IOQ":
            return f"the letter {character} as the {_ordinal(place)} character, where a VIN has 1 or 0"
        if not (character.isascii() and character.isalnum()):
            return f"{_named(character)} as the {_ordinal(place)} of {len(value)} characters"
    return (
        f"{len(value)} characters, as no VIN has had since 1981"
        if len(value) < _VIN_LENGTH
        else f"{len(value)} characters"
    )


def _of_characters(value: str, longest: int) -> str:
    if len(value) > longest:
        return f"{len(value)} characters"
    for place, character in enumerate(value, start=1):
        if unicodedata.category(character)[0] in "CZ" and character != " ":
            return f"{_named(character)} as the {_ordinal(place)} character"
    return "a text"


def _named(character: str) -> str:
    """A character described by its kind; signs, which reveal nothing, are quoted."""
    if character == " ":
        return "a space"
    category = unicodedata.category(character)
    if category[0] == "C" or category in {"Zl", "Zp"}:
        return f"an invisible character (U+{ord(character):04X})"
    if category[0] in "LMN":
        return "a letter or digit other than A-Z and 0-9"
    return "a space of another kind" if category[0] == "Z" else f"the sign {character}"


def _shape(text: str) -> str:
    """The text with 9 for digits and a for letters, except letters that occur in times."""
    masked = re.sub(r"[^\W\d_]", lambda found: found[0] if found[0] in "TZ" else "a", text[:_SHOWN_SHAPE])
    masked = re.sub(r"\d", "9", masked)
    return "an empty text" if not text else f"a text like {''.join(c if c.isprintable() else '?' for c in masked)}"


def _ordinal(place: int) -> str:
    if place % 100 in {11, 12, 13}:
        return f"{place}th"
    return f"{place}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(place % 10, 'th') }".replace(" ", "")
