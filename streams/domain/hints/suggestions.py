"""Suggests what an unknown name may have meant, for the line that refuses it."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import MAXYEAR, MINYEAR
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from schemas.messages import Message, message_of
from streams.domain.time.calendar import WINDOWS
from streams.domain.time.campaigns import CAMPAIGN
from streams.domain.time.periods import ROLLING, TOTAL

if TYPE_CHECKING:
    from collections.abc import Collection

    from streams.domain.time.calendar import Calendar

#: How many known names a line lists.
_LISTED: Final = 8
_CLOSE: Final = 0.5
#: What may be unknown.
_THINGS: Final = {
    str(each): each
    for each in (
        Message("campaign"),
        Message("kind"),
        Message("kind of period"),
        Message("metric"),
        Message("parameter"),
        Message("reason"),
        Message("scope"),
        Message("topic"),
    )
}
#: What follows the kind in the id of a period.
_FORMS: Final = {
    "year": r"(FY)?[0-9]{4}",
    "half": r"(FY)?[0-9]{4}-H[12]",
    "quarter": r"(FY)?[0-9]{4}-Q[1-4]",
    "month": r"[0-9]{4}-[0-9]{2}",
    "week": r"[0-9]{4}-W[0-9]{2}",
    "day": r"[0-9]{4}-[0-9]{2}-[0-9]{2}",
}
#: What follows the year in an example.
_PARTS: Final = {"year": "", "half": "-H2", "quarter": "-Q4", "month": "-10", "week": "-W41", "day": "-10-07"}
#: How the parts of a year are written, and how many there are at most.
_NUMBERED: Final = {"half": ("-H{}", 2), "quarter": ("-Q{}", 4), "month": ("-{:02}", 12), "week": ("-W{:02}", 53)}
#: The kinds whose years may be financial ones.
_OF_YEARS: Final = ("year", "half", "quarter")


def nearest(name: str, known: Collection[str]) -> str | None:
    """The known name that was probably meant: one that contains it (`SU7`: `model=SU7`), else one spelt like it."""
    wanted = name.casefold()
    by_folded = {each.casefold(): each for each in sorted(known, key=lambda each: (len(each), each), reverse=True)}
    parts = [each for folded, each in by_folded.items() if wanted and wanted in re.split("[=,:/]", folded)]
    if parts:
        return parts[-1]
    ending = [each for folded, each in by_folded.items() if wanted and folded.endswith(f":{wanted}")]
    if ending:
        return ending[-1]
    found = get_close_matches(wanted, by_folded, 1, _CLOSE)
    return by_folded[found[0]] if found else None


def unknown(what: str, name: str, known: Collection[str], count: int | None = None) -> Message:
    """One line: there is no such thing, what was probably meant, and what is known.

    Args:
        what: Such as `scope`.
        name: The unknown name.
        known: All names, or if there are very many, those that were most likely meant.
        count: The number of all names; by default that of `known`.
    """
    thing = _THINGS.get(what, what)
    if not known:
        return Message("there is no %(thing)s %(name)r: none is known yet", thing=thing, name=name)
    near = nearest(name, known)
    listed = sorted(known)[:_LISTED]
    left = (len(known) if count is None else count) - len(listed)
    names: str = ", ".join(listed)
    if left > 0:
        names = Message("%(names)s and %(left)s more", names=names, left=f"{left:,}")
    if near is None:
        return Message("there is no %(thing)s %(name)r; known are %(names)s", thing=thing, name=name, names=names)
    return Message(
        "there is no %(thing)s %(name)r; did you mean %(near)s? Known are %(names)s",
        thing=thing,
        name=name,
        near=near,
        names=names,
    )


def period_fault(start: str) -> Message | None:
    """Why no period id can start like this, in one line; `None` if one can."""
    kind, colon, rest = start.partition(":")
    kinds = (*WINDOWS, ROLLING, CAMPAIGN)
    if not colon:
        if start and any(each.startswith(kind) for each in kinds):
            return None
        return _no_period(start, kinds)
    if kind == TOTAL:
        return Message("there is one total only: write total")
    if kind not in kinds:
        return unknown("kind of period", kind, kinds)
    if kind == CAMPAIGN:
        is_one = re.fullmatch(r"[a-z0-9-]*", rest)
        return None if is_one else Message("no campaign begins with %(start)r: write campaign:su7-launch", start=rest)
    if kind == "holiday":
        is_one = re.fullmatch(r"[a-z0-9-]*(:[0-9]{0,4})?", rest)
        return (
            None if is_one else Message("no holiday begins with %(start)r: write holiday:national-day:2024", start=rest)
        )
    if kind == ROLLING:
        length, colon, last = rest.partition(":")
        is_length = re.fullmatch(r"[1-9][0-9]?d" if colon else r"([1-9][0-9]?d?)?", length)
        return (
            None
            if is_length and _begins_one("day", last)
            else Message("no rolling window begins with %(start)r: write rolling:7d:2024-10-07", start=rest)
        )
    if not _begins_one(kind, rest):
        example = f"{kind}:2024{_PARTS[kind]}"
        return Message("no %(kind)s begins with %(start)r: write %(example)s", kind=kind, start=rest, example=example)
    return None


def _no_period(start: str, kinds: Collection[str]) -> Message:
    """What to write for a text without a kind, which may be what follows one."""
    meant = next(
        (name for name, form in _FORMS.items() if re.fullmatch(form, start) and _begins_one(name, start)), None
    )
    near = nearest(start, kinds) if meant is None else f"{meant}:{start}"
    if near is None:
        return Message(
            "no period begins with %(start)r: write day:2024-10-07, month:2024-10, year:2024 or holiday:national-day:2024",
            start=start,
        )
    return Message(
        "no period begins with %(start)r; did you mean %(near)s? "
        "Write day:2024-10-07, month:2024-10, year:2024 or holiday:national-day:2024",
        start=start,
        near=near,
    )


def not_counted(start: str, calendar: Calendar, campaigns: Collection[str]) -> str | None:
    """Why no periods that start like this are counted, in one line; `None` if some are.

    To be asked if nothing was found, not before: rows of what is no longer counted stay.

    Args:
        start: The beginning of a period's id, of which `period_fault` says nothing.
        calendar: The counted periods.
        campaigns: The names of the campaigns of the settings, and of the announced ones.
    """
    kind, colon, rest = start.partition(":")
    if kind == CAMPAIGN and colon:
        if any(name.startswith(rest) for name in campaigns):
            return None
        if campaigns:
            return unknown("campaign", rest, campaigns)
        return Message("there is no campaign %(name)r, neither in the settings nor announced", name=rest)
    if colon and not calendar.counts(kind):
        return Message(
            "%(kind)s is not among the windows of the settings; write %(forms)s", kind=kind, forms=calendar.forms
        )
    if is_whole(start):
        try:
            calendar.period(start)
        except ValueError as error:
            return message_of(error)
    return None


def is_whole(period: str) -> bool:
    """Whether a text has the form of the id of one period, not of the beginning of some; there need be no such period."""
    kind, _, rest = period.partition(":")
    if kind in _FORMS:
        return re.fullmatch(_FORMS[kind], rest) is not None
    return (
        period == TOTAL
        or re.fullmatch(r"holiday:.*:[0-9]{4}|rolling:[0-9]+d:[0-9]{4}-[0-9]{2}-[0-9]{2}", period) is not None
    )


def _begins_one(kind: str, start: str) -> bool:
    """Whether what follows the kind in the id of a period of the calendar can begin like this, whenever weeks and years begin."""
    match = re.fullmatch(r"((?:FY)?[0-9]{4})(.*)", start)
    if match is None:
        return re.fullmatch("(F|FY)?" * (kind in _OF_YEARS) + "[0-9]{0,3}", start) is not None
    year, rest = int(match[1][-4:]), match[2]
    if not MINYEAR <= year <= MAXYEAR or (match[1].startswith("FY") and kind not in _OF_YEARS):
        return False
    if kind == "day":
        months = range(1, 13)
        parts = [f"-{month:02}-{day:02}" for month in months for day in range(1, monthrange(year, month)[1] + 1)]
    else:
        form, most = _NUMBERED.get(kind, ("", 1))
        parts = [form.format(number) for number in range(1, most + 1)]
    return any(part.startswith(rest) for part in parts)
