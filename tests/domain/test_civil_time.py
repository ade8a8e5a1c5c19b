"""Counts in civil time: days of 23 and 25 hours, month ends, leap days, holidays across a year end, working weekends."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

from schemas.codec import full_row
from streams.domain.ledger import Ledger
from streams.domain.scopes.scopes import Scopes
from streams.domain.time.calendar import Calendar, Grade, Holiday, HolidayYear
from streams.domain.time.daytypes import HOLIDAY, WORK_DAY, DayTypes
from streams.domain.time.zone import BusinessZone, day_of_cell, hour_of_cell
from streams.domain.totals import Totals
from streams.holidays import holiday_years, load_calendar
from tests.domain.facts import delivered, read_counts, us, void

if TYPE_CHECKING:
    from schemas.counts import DayKey
    from schemas.facts import DayCount
    from schemas.outputs import WindowRow

HOUR_US = 3_600_000_000
MINUTE_US = 60_000_000
NEW_YORK, SHANGHAI = "America/New_York", "Asia/Shanghai"

#: First days of China's summer time, at 02:00 an hour forward, and its last days, at 02:00 an hour back.
FORWARD = ("1986-05-04", "1987-04-12", "1988-04-17", "1989-04-16", "1990-04-15", "1991-04-14")
BACK = ("1986-09-14", "1987-09-13", "1988-09-11", "1989-09-17", "1990-09-16", "1991-09-15")


def midnight_us(zone: str, day: str) -> int:
    """The first instant of a date, from the time zone database alone."""
    local = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone))
    return (local.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def deliveries_of_every_hour(zone: str, day: str, before: int = 2, after: int = 28) -> dict[date, DayCount]:
    """The days of deliveries at half past each elapsed hour, from before a midnight until long after it."""
    start = midnight_us(zone, day) + HOUR_US // 2
    ledger = Ledger(BusinessZone(zone), Scopes([[]]))
    ledger.apply([delivered(start + number * HOUR_US, order=f"SO-{number}") for number in range(-before, after)])
    ledger.drain()
    return {on: count for (_, _, on), count in ledger.counts().items() if isinstance(on, date)}


# Changes of the clocks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "day", "hours", "by_hour"),
    [
        (NEW_YORK, "2024-03-09", 24, [1] * 24),
        (NEW_YORK, "2024-03-10", 23, [1, 1, 0] + [1] * 21),
        (NEW_YORK, "2024-03-11", 24, [1] * 24),
        (NEW_YORK, "2024-11-02", 24, [1] * 24),
        (NEW_YORK, "2024-11-03", 25, [1, 2] + [1] * 22),
        (NEW_YORK, "2024-11-04", 24, [1] * 24),
        (NEW_YORK, "2006-04-02", 23, [1, 1, 0] + [1] * 21),  # before the law of 2005 took effect
        (NEW_YORK, "2007-03-11", 23, [1, 1, 0] + [1] * 21),
        (SHANGHAI, "2024-03-10", 24, [1] * 24),
        *((SHANGHAI, day, 23, [1, 1, 0] + [1] * 21) for day in FORWARD),
        *((SHANGHAI, day, 25, [1, 2] + [1] * 22) for day in BACK),
        (SHANGHAI, "1985-09-15", 24, [1] * 24),
        (SHANGHAI, "1988-07-01", 24, [1] * 24),
        (SHANGHAI, "1992-04-12", 24, [1] * 24),
    ],
)
def test_a_unit_an_hour_makes_a_day_of_as_many_units_as_it_has_hours(
    zone: str, day: str, hours: int, by_hour: list[int]
) -> None:
    found = deliveries_of_every_hour(zone, day)[date.fromisoformat(day)]
    assert (found.count, found.by_hour) == (hours, by_hour)


@pytest.mark.parametrize("day", [*FORWARD, *BACK])
def test_shanghais_summer_time_moves_the_hour_and_neither_midnight(day: str) -> None:
    """Every minute of the day is in the cell that the time zone database gives, and every day begins when it says."""
    zone, tz = BusinessZone(SHANGHAI), ZoneInfo(SHANGHAI)
    start = midnight_us(SHANGHAI, day)
    seen = []
    for time_us in range(start - 60 * MINUTE_US, start + 26 * HOUR_US, MINUTE_US):
        local = datetime.fromtimestamp(time_us // 1_000_000, tz)
        cell = zone.cell_of(time_us)
        assert (day_of_cell(cell), hour_of_cell(cell)) == (local.date(), local.hour)
        seen.append(cell)
        if local.date().isoformat() == day:
            assert zone.start_of_day_us(time_us) == start
    hours = {hour_of_cell(cell): seen.count(cell) // 60 for cell in seen if day_of_cell(cell).isoformat() == day}
    assert hours == {hour: 2 if day in BACK and hour == 1 else 1 for hour in range(24) if day in BACK or hour != 2}


@pytest.mark.parametrize(
    ("day", "ends_at"),
    [
        ("day:1988-04-16", "1988-04-16T16:00:00+00:00"),
        ("day:1988-04-17", "1988-04-17T15:00:00+00:00"),  # 23 hours later
        ("day:1988-09-10", "1988-09-10T15:00:00+00:00"),
        ("day:1988-09-11", "1988-09-11T16:00:00+00:00"),  # 25 hours later
    ],
)
def test_a_day_of_shanghais_summer_time_ends_where_the_next_begins(day: str, ends_at: str) -> None:
    """Periods begin in 1999, so the first instant of the next date comes from the zone."""
    following = date.fromisoformat(day.removeprefix("day:")) + timedelta(days=1)
    noon = midnight_us(SHANGHAI, following.isoformat()) + 12 * HOUR_US
    assert BusinessZone(SHANGHAI).start_of_day_us(noon) == us(ends_at)


@pytest.mark.parametrize(
    ("instant", "day", "hour"),
    [
        ("2024-11-03T01:59:59-04:00", "2024-11-03", 1),
        ("2024-11-03T01:00:00-05:00", "2024-11-03", 1),
        ("2024-11-03T23:59:59.999999-05:00", "2024-11-03", 23),
        ("2024-11-04T00:00:00-05:00", "2024-11-04", 0),
        ("2024-11-02T23:59:59.999999-04:00", "2024-11-02", 23),
        ("2024-03-10T01:59:59.999999-05:00", "2024-03-10", 1),
        ("2024-03-10T03:00:00-04:00", "2024-03-10", 3),
        ("2024-03-31T23:59:59.999999-04:00", "2024-03-31", 23),
        ("2024-12-31T23:59:59.999999-05:00", "2024-12-31", 23),
    ],
)
def test_an_instant_of_new_york_counts_on_its_civil_date_and_hour(instant: str, day: str, hour: int) -> None:
    ledger = Ledger(BusinessZone(NEW_YORK), Scopes([[]]))
    ledger.apply([delivered(instant)])
    ledger.drain()
    assert {key[2]: count.by_hour for key, count in ledger.counts().items()} == {
        date.fromisoformat(day): [int(number == hour) for number in range(24)]
    }


def test_the_repeated_hour_is_counted_once_each_time_and_taken_back_where_it_was() -> None:
    """The second 01:30 was sent by mistake, and the first one stays."""
    ledger = Ledger(BusinessZone(NEW_YORK), Scopes([[]]))
    first, second = "2024-11-03T01:30:00-04:00", "2024-11-03T01:30:00-05:00"
    ledger.apply([delivered(first, "a", order="SO-1"), delivered(second, "b", order="SO-2")])
    ledger.drain()
    key: DayKey = ("deliveries", "all", date(2024, 11, 3))
    assert ledger.counts()[key].by_hour[1] == 2
    ledger.apply([void("2024-11-05T12:00:00Z", "b", order="SO-2")])
    ledger.drain()
    assert (ledger.counts()[key].count, ledger.counts()[key].by_hour[1]) == (1, 1)


# Months, years, leap days -------------------------------------------------------------------------------------------


def rows_after(
    calendar: Calendar, times: dict[str, str], zone: str = SHANGHAI, now: str = "2024-06-01T00:00:00Z"
) -> dict[str, WindowRow]:
    """Rows by period of deliveries at these times, through the ledger and the totals."""
    ledger = Ledger(BusinessZone(zone), Scopes([[]]))
    ledger.apply([delivered(at, order=order) for order, at in times.items()])
    totals = Totals(calendar=calendar, rules=(), targets=(), timezone=zone)
    for (metric, scope, day), count in read_counts(ledger.drain().counts).items():
        totals.update(0, metric, scope, day, count)
    return {row.period: full_row(row) for row in totals.evaluate(now_us=us(now), caught_up=True).rows}


@pytest.mark.parametrize(
    ("last", "first", "month", "following", "days"),
    [
        ("2024-01-31T23:59:59.999999", "2024-02-01T00:00:00", "2024-01", "2024-02", 31),
        ("2024-02-29T23:59:59.999999", "2024-03-01T00:00:00", "2024-02", "2024-03", 29),
        ("2023-02-28T23:59:59.999999", "2023-03-01T00:00:00", "2023-02", "2023-03", 28),
        ("2000-02-29T23:59:59.999999", "2000-03-01T00:00:00", "2000-02", "2000-03", 29),
        ("2100-02-28T23:59:59.999999", "2100-03-01T00:00:00", "2100-02", "2100-03", 28),
        ("2024-04-30T23:59:59.999999", "2024-05-01T00:00:00", "2024-04", "2024-05", 30),
        ("2023-12-31T23:59:59.999999", "2024-01-01T00:00:00", "2023-12", "2024-01", 31),
    ],
)
def test_the_last_microsecond_of_a_month_is_in_it_and_the_next_is_not(
    last: str, first: str, month: str, following: str, days: int
) -> None:
    rows = rows_after(load_calendar((), BusinessZone(SHANGHAI)), {"SO-1": last, "SO-2": first})
    assert rows[f"month:{month}"].count == rows[f"month:{following}"].count == 1
    assert (rows[f"month:{month}"].start, rows[f"month:{month}"].end) == (f"{month}-01", f"{month}-{days}")
    years = {month[:4], following[:4]}
    assert {year: rows[f"year:{year}"].count for year in years} == dict.fromkeys(years, 3 - len(years))


def test_a_leap_day_is_a_day_of_its_month_and_year_and_closes_like_others() -> None:
    times = {"SO-1": "2024-02-28T12:00:00", "SO-2": "2024-02-29T12:00:00"}
    calendar = load_calendar((), BusinessZone(SHANGHAI))
    during = rows_after(calendar, times, now="2024-02-29T15:59:59Z")
    after = rows_after(calendar, times, now="2024-02-29T16:00:00Z")
    assert (during["day:2024-02-29"].count, during["month:2024-02"].count, during["year:2024"].count) == (1, 2, 2)
    assert (during["day:2024-02-29"].status, during["month:2024-02"].status) == ("open", "open")
    assert (after["day:2024-02-29"].status, after["month:2024-02"].status) == ("provisional", "provisional")


@pytest.mark.parametrize(
    ("day", "ends_at"),
    [("2024-03-10", "2024-03-11T04:00:00Z"), ("2024-11-03", "2024-11-04T05:00:00Z")],
)
def test_a_day_of_23_or_25_hours_is_over_at_its_own_midnight_and_not_after_24_hours(day: str, ends_at: str) -> None:
    calendar = load_calendar((), BusinessZone(NEW_YORK))
    noon = f"{day}T16:00:00Z"
    before, after = (
        rows_after(
            calendar, {"SO-1": noon}, NEW_YORK, datetime.fromtimestamp((us(ends_at) + plus) / 1e6, UTC).isoformat()
        )
        for plus in (-1_000_000, 0)
    )
    assert (before[f"day:{day}"].status, after[f"day:{day}"].status) == ("open", "provisional")


# Holidays -----------------------------------------------------------------------------------------------------------

#: Eleven days over a year end, with two weekends that are worked for it; and one of a single day inside it.
TURN = HolidayYear(
    country="XX",
    year=2029,
    version="XX-2029.2",
    grade=Grade.OFFICIAL,
    source="made up",
    holidays=(
        Holiday("turn", date(2028, 12, 25), date(2029, 1, 4), (date(2028, 12, 23), date(2029, 1, 6))),
        Holiday("bells", date(2029, 1, 1), date(2029, 1, 1)),
    ),
)
BEFORE = HolidayYear("XX", 2028, "XX-2028.1", Grade.OFFICIAL, "made up", ())


def turn_of_the_year(*counted: str, zone: str = SHANGHAI) -> Calendar:
    return Calendar((BEFORE, TURN), counted, zone)


def test_a_holiday_across_a_year_end_counts_on_both_sides_and_each_year_its_own_days() -> None:
    days = ["2028-12-24", "2028-12-25", "2028-12-31", "2029-01-01", "2029-01-04", "2029-01-05"]
    times = {f"SO-{day}": f"{day}T12:00:00" for day in days}
    rows = rows_after(turn_of_the_year("turn", "bells"), times, now="2029-01-04T15:59:59Z")
    holiday = rows["holiday:turn:2029"]
    assert (holiday.count, holiday.start, holiday.end, holiday.calendar) == (4, "2028-12-25", "2029-01-04", "XX-2029.2")
    assert (holiday.status, holiday.by_hour) == ("open", None)
    assert {period: row.count for period, row in rows.items() if not period.startswith("day:")} == {
        "holiday:turn:2029": 4,
        "holiday:bells:2029": 1,
        "month:2028-12": 3,
        "month:2029-01": 3,
        "year:2028": 3,
        "year:2029": 3,
    }
    assert (rows["year:2028"].status, rows["holiday:bells:2029"].status) == ("closed", "provisional")


@pytest.mark.parametrize(
    ("instant", "counts"),
    [
        ("2028-12-24T23:59:59.999999", 0),
        ("2028-12-25T00:00:00", 1),
        ("2028-12-31T23:59:59.999999", 1),
        ("2029-01-01T00:00:00", 1),
        ("2029-01-04T23:59:59.999999", 1),
        ("2029-01-05T00:00:00", 0),
        ("2029-01-04T16:00:00Z", 0),  # already the 5th in Shanghai
    ],
)
def test_the_edges_of_a_holiday_across_a_year_end_are_local_midnights(instant: str, counts: int) -> None:
    rows = rows_after(turn_of_the_year("turn"), {"SO-1": instant})
    assert ("holiday:turn:2029" in rows) == bool(counts)


def test_the_year_of_the_notice_and_not_of_the_first_day_names_the_holiday() -> None:
    assert "holiday:new-year:2024" in [
        period.id for period in load_calendar(("new-year",), BusinessZone(SHANGHAI)).periods_of(date(2023, 12, 30))
    ]
    rows = rows_after(
        load_calendar(("new-year",), BusinessZone(SHANGHAI)),
        {"SO-1": "2023-12-30T00:00:00", "SO-2": "2023-12-31T23:59:59", "SO-3": "2024-01-01T23:59:59"},
        now="2024-01-01T16:00:00Z",
    )
    assert (rows["holiday:new-year:2024"].count, rows["holiday:new-year:2024"].status) == (3, "provisional")
    assert (rows["year:2023"].count, rows["year:2024"].count) == (2, 1)


def test_a_year_end_holiday_in_new_york_ends_at_new_yorks_midnight() -> None:
    at = {"SO-1": "2029-01-05T04:59:59.999999Z", "SO-2": "2029-01-05T05:00:00Z"}
    rows = rows_after(turn_of_the_year("turn", zone=NEW_YORK), at, NEW_YORK)
    assert (rows["holiday:turn:2029"].count, rows["day:2029-01-05"].count) == (1, 1)


@pytest.mark.parametrize("day", ["2024-09-29", "2024-10-12", "2024-02-04", "2024-02-18", "2024-05-11"])
def test_a_weekend_that_is_worked_for_a_holiday_is_no_day_of_it_and_counts_as_any_other(day: str) -> None:
    calendar = load_calendar(("national-day", "spring-festival", "labour-day"), BusinessZone(SHANGHAI))
    on = date.fromisoformat(day)
    assert on.weekday() >= 5
    assert [period.kind for period in calendar.periods_of(on)] == ["day", "month", "year"]
    assert DayTypes(holiday_years()).of(on) == WORK_DAY
    rows = rows_after(calendar, {"SO-1": f"{day}T12:00:00"})
    assert sorted(rows) == sorted([f"day:{day}", f"month:{day[:7]}", "year:2024"])


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("2028-12-22", 4),  # a Friday
        ("2028-12-23", WORK_DAY),
        ("2028-12-24", 6),
        ("2028-12-25", HOLIDAY),
        ("2028-12-31", HOLIDAY),
        ("2029-01-01", HOLIDAY),
        ("2029-01-04", HOLIDAY),
        ("2029-01-05", 4),
        ("2029-01-06", WORK_DAY),
        ("2029-01-07", 6),
    ],
)
def test_the_days_around_a_year_end_holiday_are_of_the_sort_that_its_notice_makes_them(day: str, expected: int) -> None:
    """Make-up days may be in the year before the notice's."""
    assert DayTypes((BEFORE, TURN)).of(date.fromisoformat(day)) == expected
