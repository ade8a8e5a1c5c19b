"""Event times: dates and times with an offset; as instants, microseconds since 1970-01-01T00:00Z.

Accepted are RFC 3339 and equivalent forms that programming languages print: a space or `t` for the `T`, no seconds (Java), an
offset without a colon or without minutes, a space before it, and after it the zone's name in brackets (Java) or its abbreviation
(Go). Digits beyond microseconds are cut. Refused are leap seconds (`:60`), 24:00, the unknown offset `-00:00`, and years outside
2000-2100 (of the date as written), which can only be mistakes.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TIME: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]+))?)?"
    r"(?: ?([Zz]|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?)(?:\[[A-Za-z0-9_+/-]{1,40}\]| [A-Z]{1,5}| [+-][0-9]{2,4})?)?"
)
_RFC3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)

FIRST_YEAR: Final = 2000
LAST_YEAR: Final = 2100

_POOL_SIZE: Final = 65_536


class MissingOffsetError(ValueError):
    """The text is a local date and time without an offset, which is not an instant."""


def parse_instant(text: str) -> datetime:
    """The instant that a text names, with the offset as written.

    Raises:
        MissingOffsetError: There is no offset.
        ValueError: The text is anything other than such an instant.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError("not a date and time with an offset, such as 2024-10-07T14:03:11+08:00")
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    if not FIRST_YEAR <= int(year) <= LAST_YEAR:
        raise ValueError(f"the year is not within {FIRST_YEAR}-{LAST_YEAR}")
    if second == "60":
        raise ValueError("leap seconds are not accepted")
    microsecond = int((fraction or "0")[:6].ljust(6, "0"))
    try:
        local = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second or 0), microsecond)  # noqa: DTZ001 - the offset follows
    except ValueError:
        raise ValueError("there is no such date or time of day") from None
    if offset is None:
        raise MissingOffsetError("a date and time without an offset names no instant; append one, such as +08:00")
    return local.replace(tzinfo=_zone(offset))


def is_rfc3339(text: str) -> bool:
    """Whether the text has the form of RFC 3339, as a publisher should write it."""
    return _RFC3339.fullmatch(text) is not None


@lru_cache(maxsize=256)
def _zone(offset: str) -> timezone:
    if offset[0] not in "+-":
        return UTC
    hours, minutes = int(offset[1:3]), int(offset[-2:] if len(offset) > 3 else "0")
    if offset[0] == "-" and not hours and not minutes:
        raise ValueError("-00:00 says that the offset is unknown")
    if hours > 23 or minutes > 59:
        raise ValueError("there is no such offset")
    ahead = timedelta(hours=hours, minutes=minutes)
    return timezone(-ahead if offset[0] == "-" else ahead)


def micros_of(instant: datetime) -> int:
    """Microseconds since 1970, exactly.

    Raises:
        TypeError: The datetime has no offset.
    """
    since = instant - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def format_instant(instant: datetime) -> str:
    """RFC 3339 text with the datetime's own offset; `Z` for UTC, no fraction if it is zero."""
    return instant.isoformat().replace("+00:00", "Z")


def utc_text(time_us: int) -> str:
    """RFC 3339 text in UTC with milliseconds, such as `2024-10-07T11:42:09.310Z`.

    Args:
        time_us: Microseconds since 1970-01-01T00:00Z; digits beyond milliseconds are cut.
    """
    instant = (_EPOCH + timedelta(microseconds=time_us)).replace(tzinfo=None)
    return f"{instant.isoformat(timespec='milliseconds')}Z"


# Many instants, quickly ---------------------------------------------------------------------------------------------
# An instant consists of the hour it starts with, `2024-10-07T14:`, and the rest, `03:11+08:00`. Both repeat often and are cached.
# Each is parsed as above, completed to a whole instant, so a combination of two valid parts is valid as well.

#: Part of a text → microseconds; the sum of both parts is the instant since 1970. Public for readers that cannot afford a call per event.
known_hours: dict[str, int] = {}
known_rests: dict[str, int] = {}
_SOME_HOUR: Final = "2000-01-02T00:"
_SOME_HOUR_US: Final = micros_of(parse_instant("2000-01-02T00:00:00Z"))


def micros_of_text(text: str) -> int | None:
    """Microseconds since 1970 of a text, as `parse_instant` reads it; `None` if that would raise.

    Also `None` if a fraction is followed by a rare form of an offset: `parse_instant` decides.
    """
    try:
        return known_hours[text[:14]] + known_rests[text[14:]]
    except KeyError:
        return _micros_of_new(text)


def _micros_of_new(text: str) -> int | None:
    hour, rest = text[:14], text[14:]
    fraction_us = 0
    if rest[5:6] == ".":
        # There are too many fractions to cache, so they are cut out.
        end = len(rest) - (1 if rest[-1] in "Zz" else 6)
        if end < len(rest) - 1 and rest[end] not in "+-":
            return None
        fraction = rest[6:end]
        if not (fraction.isascii() and fraction.isdigit()):
            return None
        fraction_us = int(fraction[:6].ljust(6, "0"))
        rest = rest[:5] + rest[end:]
    try:
        hour_us = _remembered(known_hours, hour, hour + "00:00Z", 0)
        rest_us = _remembered(known_rests, rest, _SOME_HOUR + rest, _SOME_HOUR_US)
    except ValueError:
        return None
    return hour_us + rest_us + fraction_us


def _remembered(known: dict[str, int], part: str, whole: str, minus_us: int) -> int:
    micros = known.get(part)
    if micros is None:
        if len(known) >= _POOL_SIZE:
            known.clear()
        micros = known[part] = micros_of(parse_instant(whole)) - minus_us
    return micros
