"""The periods that window rows have: their numbers, dates and ends, and their status by the clock."""

from __future__ import annotations

import heapq
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from schemas.codec import encode_document
from streams.domain.rows.row_columns import CLOSED, OPEN, PROVISIONAL
from streams.domain.time.campaigns import CAMPAIGN
from streams.domain.time.periods import ROLLING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date

    from streams.domain.time.calendar import Calendar
    from streams.domain.time.periods import Period

_MICROSECONDS = 1_000_000


class Dates(NamedTuple):
    """The dates of a row's period, as in the published row."""

    start: str
    end: str
    calendar: str | None = None
    starts_at: str | None = None
    ends_at: str | None = None


class KnownPeriods:
    """All periods that rows have, each with a number, from 0 in the order in which they became known.

    Args:
        calendar: Which periods a date belongs to, and when they end.
        closed_after_s: Seconds after the end of a period until it is closed.
    """

    def __init__(self, calendar: Calendar, closed_after_s: int) -> None:
        self._calendar = calendar
        self._closed_after_us = closed_after_s * _MICROSECONDS
        #: By number: the period, the first instant after it, and its first one, microseconds since 1970.
        self.periods: list[Period] = []
        self.ends_us: list[int] = []
        self.begins_us: list[int] = []
        #: By number: its dates as published in rows, and whether it is a day.
        self.dates: list[Dates] = []
        self.is_day: list[bool] = []
        #: By number: what the compiled way writes and reads of it; see `_texts_of`.
        self.texts: list[tuple[bytes, bytes, bytes, bool, bool]] = []
        #: By number: the least status of its rows.
        self.levels = bytearray()
        #: Numbers of campaigns.
        self.campaigns: set[int] = set()
        #: Id → number, and date → the numbers of its periods, its own first.
        self.numbers: dict[str, int] = {}
        self.numbers_of_day: dict[date, tuple[int, ...]] = {}
        #: The same by the date as in keys of counts.
        self.days_by_text: dict[bytes, tuple[date, tuple[int, ...]]] = {}
        #: Date and rolling windows → the numbers of these periods, after the others.
        self._numbers_with_rolling: dict[tuple[date, tuple[int, ...]], tuple[int, ...]] = {}
        #: (instant, period) of each future change of its status.
        self._due: list[tuple[int, int]] = []

    def number_of(self, period: Period) -> int:
        """The number of a period, which is known from now on."""
        number = self.numbers.get(period.id)
        if number is None:
            number = self.numbers[period.id] = len(self.periods)
            self.periods.append(period)
            self.dates.append(_dates_of(period))
            self.is_day.append(period.kind == "day")
            self.texts.append(_texts_of(period, self.dates[number], self._calendar.timezone))
            if period.kind == CAMPAIGN:
                self.campaigns.add(number)
            self.levels.append(OPEN)
            self.ends_us.append(self._calendar.ends_at_us(period))
            self.begins_us.append(self._calendar.begins_at_us(period))
            heapq.heappush(self._due, (self.ends_us[number], number))
        return number

    def learn(self, day: date) -> tuple[int, ...]:
        """Numbers the periods of a date."""
        numbers = self.numbers_of_day[day] = tuple(map(self.number_of, self._calendar.periods_of(day)))
        self.days_by_text[day.isoformat().encode()] = day, numbers
        for period in self.rolling_of(day):
            self.number_of(period)
        return numbers

    def of_day(self, day: date) -> tuple[int, ...]:
        """The numbers of the periods of a date: all that a series whose days leave can have."""
        return self.numbers_of_day.get(day) or self.learn(day)

    def rolling_of(self, day: date) -> Iterator[Period]:
        """The periods of all rolling windows that a date is in."""
        return chain.from_iterable(self._calendar.rolling_of(day, days) for days in self._calendar.rolling)

    def of_series(self, day: date, rolling: tuple[int, ...]) -> tuple[int, ...]:
        """The numbers of those periods of a date that a series with these rolling windows has."""
        key = day, rolling
        found = self._numbers_with_rolling.get(key)
        if found is None:
            found = self._numbers_with_rolling[key] = (
                *self.numbers_of_day.get(day, ()),
                *(self.number_of(period) for days in rolling for period in self._calendar.rolling_of(day, days)),
            )
        return found

    def month_among(self, numbers: Sequence[int]) -> int:
        """The number of the month among the periods of a day."""
        return next(at for at, number in enumerate(numbers) if self.periods[number].kind == "month")

    def advance(self, now_us: int) -> bool:
        """Sets the status of the periods by the clock; returns whether one has ended or is closed."""
        is_due = bool(self._due and self._due[0][0] <= now_us)
        while self._due and self._due[0][0] <= now_us:
            _, number = heapq.heappop(self._due)
            closes_us = self.ends_us[number] + self._closed_after_us
            if closes_us <= now_us:
                self.levels[number] = CLOSED
            else:
                self.levels[number] = PROVISIONAL
                heapq.heappush(self._due, (closes_us, number))
        return is_due


def _dates_of(period: Period) -> Dates:
    """The dates of a period as published in a row."""
    start, end = period.start.isoformat(), period.end.isoformat()
    if period.instants is None:
        return Dates(start, end, period.calendar)
    return Dates(start, end, None, period.instants.starts_at, period.instants.ends_at)


def _texts_of(period: Period, dates: Dates, timezone: str) -> tuple[bytes, bytes, bytes, bool, bool]:
    """Of a period's rows as they are published: the id, the fields from the period to the count, those of the calendar.

    And whether it is a day, and whether its rows can be plain whoever wrote them: the rolling windows of a scope are a setting.
    """
    fields = {"period": period.id, "start": dates.start, "end": dates.end, "timezone": timezone}
    calendar = b',"calendar":' + encode_document(dates.calendar) if dates.calendar is not None else b""
    return (
        period.id.encode(),
        b"," + encode_document(fields)[1:-1] + b',"count":',
        calendar,
        period.kind == "day",
        period.kind not in {CAMPAIGN, ROLLING},
    )
