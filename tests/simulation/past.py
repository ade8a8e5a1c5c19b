"""What was published of earlier periods before a schedule begins, and the rules that need such a history.

A history is of one kind: periods of some windows, for rules that compare them, or the same hours of earlier weeks, for rules
about silences.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from streams.settings_sections import RuleSettings

if TYPE_CHECKING:
    from random import Random

_DAY: Final = timedelta(days=1)
_WEEK: Final = timedelta(days=7)


class _Kind(NamedTuple):
    """The windows whose periods are compared, others that are counted, and how many days before the schedule units are dated."""

    compared: tuple[str, ...]
    others: tuple[str, ...]
    days_before: tuple[int, ...]


HOURS: Final = "hours"
#: What there may be a history of. Its units come in several periods in a row, the first of which may be counted only in part.
KINDS: Final = {
    "weeks": _Kind(("week",), ("day", "month"), (7, 7, 14, 14, 21, 28)),
    "months": _Kind(("month", "quarter"), ("day",), (31, 31, 61, 61, 92, 122, 183)),
    "years": _Kind(("half", "year", "holiday"), ("day", "month"), (183, 365, 365, 372, 550, 730)),
    "last year": _Kind(("month", "quarter"), ("day",), (30, 91, 365, 365, 365, 372, 395, 456)),
    HOURS: _Kind((), ("day", "month"), ()),
}
#: The windows whose periods are compared.
WINDOWS: Final = ("week", "month", "quarter", "half", "year", "holiday")
_EACH: Final = ("passed", "grown", "yearly", "yearly-passed", "in-a-row", "among", "best")
_SILENCES: Final = ("little", "both-hours")
#: Names of the rules.
RULES: Final = (*(f"{window}-{each}" for window in WINDOWS for each in _EACH), *_SILENCES)
#: How many units there are of earlier periods, and the share of later records that are dated there too.
_UNITS: Final = range(6, 12)
LATE_SHARE: Final = 0.3
#: The weeks before, and the hours after midnight, in which units are usual.
_WEEKS: Final = range(1, 7)
_HOURS: Final = (0, 1, 2, 24, 26)
#: Share of these units that did not come.
_MISSING: Final = 0.06


def instants_of(kind: str, dice: Random, start: datetime) -> list[datetime]:
    """When the units of a history are dated, in the order of their publication.

    Args:
        kind: One of `KINDS`.
        dice: Decides.
        start: When the schedule begins, in the business time zone, shortly before the end of an hour.
    """
    if kind != HOURS:
        days = KINDS[kind].days_before
        found = [start - dice.choice(days) * _DAY for _ in range(dice.choice(_UNITS))]
        return [
            (one + timedelta(days=dice.choice([0, 0, 0, 1, 3]), hours=dice.randrange(3))).astimezone(UTC)
            for one in found
        ]
    # Local times, so that clock changes in between do not move them to another hour.
    next_hour = start.replace(minute=0, second=0) + timedelta(hours=1)
    hours = dice.sample(_HOURS, dice.choice([1, 2, 2]))
    weeks = _WEEKS[: dice.choice([4, 5, 6])]
    usual = [
        next_hour + timedelta(hours=hour, seconds=dice.randrange(1, 3600)) - week * _WEEK
        for week in weeks
        for hour in hours
    ]
    return [one.astimezone(UTC) for one in usual if dice.random() > _MISSING]


def rules_of(kind: str, *, held_s: int, compares_scopes: bool) -> tuple[RuleSettings, ...]:
    """The rules of an installation with a history.

    Args:
        kind: One of `KINDS`.
        held_s: How long those about periods hold a retraction back.
        compares_scopes: Whether rules may compare scopes.
    """
    if kind == HOURS:
        silent: dict[str, Any] = {"metric": "deliveries", "window": "day"}
        return _made(
            {"name": "little", "scope": [], "stalled_hours": 2, "stalled_below": 0.6} | silent,
            {"name": "both-hours", "scope": [], "stalled_hours": 2} | silent,
        )
    found: list[RuleSettings] = []
    for window in KINDS[kind].compared:
        models: dict[str, Any] = {"window": window, "scope": ["model"], "retract_after_s": held_s}
        every: dict[str, Any] = {"window": window, "scope": [], "retract_after_s": held_s}
        found += _made(
            every | {"name": f"{window}-passed", "metric": "orders_placed", "factor": 1.5, "as": "passed"},
            models | {"name": f"{window}-grown", "metric": "deliveries", "factor": 1},
            models | {"name": f"{window}-yearly", "metric": "orders_placed", "factor": 1, "than": "last-year"},
            every
            | {
                "name": f"{window}-yearly-passed",
                "metric": "deliveries",
                "factor": 2,
                "than": "last-year",
                "as": "passed",
            },
            models
            | {"name": f"{window}-in-a-row", "metric": "orders_placed", "reaches": 2, "streak": 2, "first": True},
            models | {"name": f"{window}-best", "metric": "orders_placed", "record": True, "as": "passed"},
            *(
                [models | {"name": f"{window}-among", "metric": "orders_placed", "share": 0.6, "leader": True}]
                * compares_scopes
            ),
        )
    return tuple(found)


def _made(*rules: dict[str, Any]) -> tuple[RuleSettings, ...]:
    return tuple(RuleSettings.model_validate(rule) for rule in rules)
