"""The key of a window row, on its topics and in memory, and a row class that is fast to read."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, NamedTuple, Protocol, Self

import msgspec

from schemas.facts import MOST_MINUTES, RowMetric
from schemas.outputs import DATE_PATTERN, INSTANT_PATTERN, WindowRow, WindowStatus


class _NamesRow(Protocol):
    """A row, or something else that names one: a target, or the data of a control total."""

    @property
    def metric(self) -> str:
        """The metric."""

    @property
    def scope(self) -> str:
        """The scope, such as `model=SU7` or `all`."""

    @property
    def period(self) -> str:
        """The id of the period, such as `month:2024-10`."""


class RowKey(NamedTuple):
    """The key of a window row; its text is the key of the record."""

    metric: str
    scope: str
    period: str

    @classmethod
    def of(cls, named: _NamesRow) -> Self:
        """The key of a row, or of the row that a target or a control total names."""
        return cls(named.metric, named.scope, named.period)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `metric/scope/period`.

        Raises:
            ValueError: The text has fewer than three parts.
        """
        metric, scope, period = text.split("/", 2)
        return cls(metric, scope, period)

    def __str__(self) -> str:
        return f"{self.metric}/{self.scope}/{self.period}"


def date_of_day(period_id: str) -> date | None:
    """The date of a day from the id of its period; None for another kind of period."""
    kind, _, day = period_id.partition(":")
    return date.fromisoformat(day) if kind == "day" else None


class PlainRow(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The fields of a `WindowRow` without targets, control totals or opening balance: read and written in a tenth of the time."""

    metric: RowMetric
    scope: str
    period: str
    start: str
    end: str
    starts_at: str | None = None
    ends_at: str | None = None
    timezone: str
    count: int
    by_hour: list[int] | None = None
    by_minute: list[int] | None = None
    targets: list[Any]
    status: WindowStatus
    restated: int
    version: int
    updated_at: str
    calendar: str | None = None
    backfilled: int = 0
    balance: int = 0
    controls: list[Any] = []


#: A version of a row, in either form.
PublishedRow = WindowRow | PlainRow

_Date = Annotated[str, msgspec.Meta(pattern=DATE_PATTERN)]
_Instant = Annotated[str, msgspec.Meta(pattern=INSTANT_PATTERN)]
_Count = Annotated[int, msgspec.Meta(ge=0)]


class CheckedRow(PlainRow, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A plain row checked as `WindowRow` would check it, for values that may come from elsewhere."""

    start: _Date
    end: _Date
    starts_at: _Instant | None = None
    ends_at: _Instant | None = None
    by_hour: Annotated[list[_Count], msgspec.Meta(min_length=24, max_length=24)] | None = None
    by_minute: Annotated[list[_Count], msgspec.Meta(max_length=MOST_MINUTES)] | None = None
    restated: _Count
    version: Annotated[int, msgspec.Meta(ge=1)]
    updated_at: _Instant
    backfilled: _Count = 0
    balance: _Count = 0


def of_campaign(row: PlainRow, starts_at: str | None, ends_at: str | None, by_minute: list[int] | None) -> PlainRow:
    """The row with what only rows of campaigns have: their instants, and their counts by minute."""
    return msgspec.structs.replace(row, starts_at=starts_at, ends_at=ends_at, by_minute=by_minute)


def full_fields(row: PlainRow) -> dict[str, Any]:
    """The fields of a row by name."""
    return msgspec.structs.asdict(row)
