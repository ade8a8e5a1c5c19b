"""Periods of a civil date, holidays from the checked-in calendars, and when a period is over."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import chinese_calendar
import pytest

from streams.domain.time.calendar import Calendar, Grade, Holiday, HolidayYear
from streams.domain.time.zone import BusinessZone
from streams.holidays import holiday_years, load_calendar

ALL = ("new-year", "spring-festival", "qingming", "labour-day", "dragon-boat", "mid-autumn", "national-day")
LIBRARY_NAMES = {
    "new-year": "New Year's Day",
    "spring-festival": "Spring Festival",
    "qingming": "Tomb-sweeping Day",
    "labour-day": "Labour Day",
    "dragon-boat": "Dragon Boat Festival",
    "mid-autumn": "Mid-autumn Festival",
    "national-day": "National Day",
}
YEARS = (2023, 2024, 2025, 2026)


def calendar(*holidays: str, zone: str = "Asia/Shanghai") -> Calendar:
    return load_calendar(holidays, BusinessZone(zone))


def dates(start: date, end: date) -> list[date]:
    return [start + timedelta(days=n) for n in range((end - start).days + 1)]


def year(number: int = 2030, *holidays: Holiday, grade: Grade = Grade.OFFICIAL) -> HolidayYear:
    return HolidayYear("XX", number, f"XX-{number}.1", grade, "a notice", holidays)


# --- periods ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("2024-10-07", ["day:2024-10-07", "month:2024-10", "year:2024", "holiday:national-day:2024"]),
        ("2024-10-08", ["day:2024-10-08", "month:2024-10", "year:2024"]),
        ("2024-02-29", ["day:2024-02-29", "month:2024-02", "year:2024"]),
        ("2023-12-31", ["day:2023-12-31", "month:2023-12", "year:2023", "holiday:new-year:2024"]),
        ("2022-12-31", ["day:2022-12-31", "month:2022-12", "year:2022", "holiday:new-year:2023"]),
    ],
)
def test_a_date_lies_in_its_day_month_year_and_holidays(day: str, expected: list[str]) -> None:
    """A holiday that crosses the year end bears the year it belongs to."""
    found = calendar("new-year", "national-day").periods_of(date.fromisoformat(day))
    assert [period.id for period in found] == expected


def test_a_day_can_lie_in_two_holidays() -> None:
    """In 2023 the break of Mid-Autumn and National Day is one; the festival day counts in both."""
    found = calendar("mid-autumn", "national-day").periods_of(date(2023, 9, 29))
    assert {period.id for period in found[3:]} == {"holiday:mid-autumn:2023", "holiday:national-day:2023"}


@pytest.mark.parametrize(
    ("period_id", "window", "start", "end"),
    [
        ("day:2024-02-29", "day", "2024-02-29", "2024-02-29"),
        ("month:2024-02", "month", "2024-02-01", "2024-02-29"),
        ("month:2023-02", "month", "2023-02-01", "2023-02-28"),
        ("month:2024-12", "month", "2024-12-01", "2024-12-31"),
        ("year:2024", "year", "2024-01-01", "2024-12-31"),
        ("holiday:national-day:2024", "holiday:national-day", "2024-10-01", "2024-10-07"),
        ("holiday:national-day:2023", "holiday:national-day", "2023-09-29", "2023-10-06"),
        ("holiday:new-year:2024", "holiday:new-year", "2023-12-30", "2024-01-01"),
    ],
)
def test_a_period_id_gives_its_dates_and_window(period_id: str, window: str, start: str, end: str) -> None:
    found = calendar("new-year", "national-day").period(period_id)
    assert (found.id, found.window, found.start.isoformat(), found.end.isoformat()) == (period_id, window, start, end)


@pytest.mark.parametrize(
    "period_id",
    [
        "",
        "day",
        "fortnight:2024-41",
        "day:2023-02-29",
        "day:20241007",
        "day:2024-W41-1",
        "day:1998-12-31",
        "month:2024-13",
        "month:2024-1",
        "month:2024-10-07",
        "year:24",
        "year:2024-10",
        "year:9999",
        "holiday:national-day",
        "holiday:national-day:24",
        "holiday::2024",
    ],
)
def test_what_is_no_period_is_refused_with_the_forms_there_are(period_id: str) -> None:
    with pytest.raises(ValueError, match=r"is no period; write day:2024-10-07, month:2024-10") as caught:
        calendar("national-day").period(period_id)
    assert repr(period_id) in str(caught.value)


@pytest.mark.parametrize(
    ("period_id", "reason"),
    [
        ("holiday:qingming:2024", "qingming is not among the holidays of the settings"),
        ("week:2024-W41", "week is not among the windows of the settings"),
        ("holiday:national-day:2031", "no holiday calendar for 2031: national-day of that year is not counted"),
    ],
)
def test_a_holiday_that_is_not_counted_is_refused_with_the_reason(period_id: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        calendar("national-day").period(period_id)


def test_a_holiday_that_its_year_does_not_have_is_refused_with_the_calendar() -> None:
    jubilee = Holiday("jubilee", date(2030, 5, 1), date(2030, 5, 1))
    years = (year(2030, jubilee), year(2031))
    with pytest.raises(ValueError, match=r"XX-2031.1 has no jubilee in 2031"):
        Calendar(years, ("jubilee",), "UTC").period("holiday:jubilee:2031")


# --- calendars ----------------------------------------------------------------------------------------------------


def test_a_holiday_no_calendar_knows_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="called 'golden-week'; known are dragon-boat, labour-day, mid-autumn"):
        calendar("golden-week")


@pytest.mark.parametrize(
    ("holidays", "message"),
    [
        ([Holiday("a b", date(2030, 1, 1), date(2030, 1, 1))], "a b: a holiday's name is lower-case words"),
        ([Holiday("x", date(2030, 1, 2), date(2030, 1, 1))], "x: ends on 2030-01-01 before it starts on 2030-01-02"),
        ([Holiday("x", date(2031, 1, 1), date(2031, 1, 2))], "x: 2031-01-01 to 2031-01-02 has no day in 2030"),
        ([Holiday("x", date(2030, 1, 1), date(2030, 1, 1))] * 2, "x: listed twice"),
    ],
)
def test_a_calendar_that_contradicts_itself_is_refused(holidays: list[Holiday], message: str) -> None:
    with pytest.raises(ValueError, match=f"holiday calendar XX-2030.1: {message}"):
        year(2030, *holidays)


def test_two_calendars_of_one_year_are_refused() -> None:
    with pytest.raises(ValueError, match=r"XX-2030.1 and XX-2030.1: the same year"):
        Calendar((year(), year()), (), "UTC")


def test_a_provisional_calendar_says_so_on_its_periods() -> None:
    jubilee = Holiday("jubilee", date(2030, 5, 1), date(2030, 5, 1))
    made = Calendar((year(2030, jubilee, grade=Grade.PROVISIONAL),), ("jubilee",), "UTC")
    assert made.period("holiday:jubilee:2030").calendar == "XX-2030.1 provisional"


def test_an_unknown_year_is_a_warning_and_never_silent() -> None:
    made = calendar("national-day")
    assert made.known(2024)
    assert not made.known(2031)
    assert made.warnings([date(2024, 10, 7), date(2026, 12, 31)]) == ()
    assert [line[:28] for line in made.warnings([date(2032, 1, 1), date(2031, 1, 1), date(2031, 5, 1)])] == [
        "no holiday calendar for 2031",
        "no holiday calendar for 2032",
    ]


def test_a_december_is_warned_of_when_a_counted_holiday_can_begin_in_it() -> None:
    """New Year may begin in the last days of the year before."""
    assert len(calendar("new-year").warnings([date(2026, 12, 31)])) == 1
    assert calendar("new-year").warnings([date(2026, 11, 30)]) == ()


def test_no_holidays_configured_need_no_calendar() -> None:
    assert calendar().warnings([date(2050, 1, 1)]) == ()


def test_every_year_of_china_has_all_its_holidays_with_source_and_grade() -> None:
    assert tuple(entry.year for entry in holiday_years()) == YEARS
    for entry in holiday_years():
        assert sorted(holiday.name for holiday in entry.holidays) == sorted(ALL)
        assert (entry.country, entry.version, entry.grade) == ("CN", f"CN-{entry.year}.1", Grade.OFFICIAL)
        assert f"some holidays in {entry.year}" in entry.source


def test_a_holiday_that_crosses_a_year_end_and_a_merged_break_are_explained_in_the_file() -> None:
    for entry in holiday_years():
        notes = " ".join(entry.notes)
        for holiday in entry.holidays:
            if holiday.start.year != entry.year:
                assert f"{holiday.name}:{entry.year} begins on" in notes
        breaks = {holiday.name: holiday for holiday in entry.holidays}
        if breaks["national-day"].start <= breaks["mid-autumn"].start <= breaks["national-day"].end:
            assert f"national-day:{entry.year} is the whole break" in notes


@pytest.mark.parametrize("number", YEARS)
def test_our_holidays_are_those_of_chinesecalendar(number: int) -> None:
    """Each day it names is in our period of that name or the break it merged into; each of our days is off."""
    ours = {holiday.name: set(dates(holiday.start, holiday.end)) for holiday in _year_of(number).holidays}
    # New Year's Day is compared from the December before: that is where it can begin.
    for day in dates(date(number - 1, 12, 25), date(number, 12, 24)):
        if day > max(chinese_calendar.constants.holidays):
            break
        off, name = chinese_calendar.get_holiday_detail(day)
        held = {LIBRARY_NAMES[one] for one, period in ours.items() if day in period}
        if off and name is not None:
            assert name in held, day
        if held:
            assert off, day
            assert name in held or day.weekday() >= 5, day


@pytest.mark.parametrize("number", YEARS)
def test_our_make_up_work_days_are_those_of_chinesecalendar(number: int) -> None:
    ours = {day: LIBRARY_NAMES[holiday.name] for holiday in _year_of(number).holidays for day in holiday.work_days}
    theirs = {day: name for day, name in chinese_calendar.constants.workdays.items() if day.year == number}
    assert ours == theirs


def _year_of(number: int) -> HolidayYear:
    return next(entry for entry in holiday_years() if entry.year == number)


# --- the end of a period ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "period_id", "ends_at"),
    [
        ("Asia/Shanghai", "day:2024-10-07", "2024-10-07T16:00:00Z"),
        ("Asia/Shanghai", "month:2024-02", "2024-02-29T16:00:00Z"),
        ("Asia/Shanghai", "year:2024", "2024-12-31T16:00:00Z"),
        ("UTC", "day:2024-10-07", "2024-10-08T00:00:00Z"),
        ("America/New_York", "day:2024-03-10", "2024-03-11T04:00:00Z"),
        ("America/New_York", "day:2024-11-03", "2024-11-04T05:00:00Z"),
        # Midnight is skipped: the following date begins at 01:00 local time.
        ("America/Sao_Paulo", "day:2018-11-03", "2018-11-04T03:00:00Z"),
        # Clocks go back at 00:01 to 23:01: the old date returns, and ends an hour later for good.
        ("America/St_Johns", "day:2010-11-06", "2010-11-07T03:30:00Z"),
    ],
)
def test_a_period_ends_at_the_last_local_midnight(zone: str, period_id: str, ends_at: str) -> None:
    made = calendar(zone=zone)
    expected = datetime.fromisoformat(ends_at)
    found = datetime.fromtimestamp(made.ends_at_us(made.period(period_id)) / 1e6, UTC)
    assert found == expected


@pytest.mark.parametrize(
    "zone", ["Asia/Shanghai", "America/New_York", "America/St_Johns", "Australia/Lord_Howe", "America/Sao_Paulo"]
)
def test_no_instant_after_the_end_has_a_date_of_the_period(zone: str) -> None:
    """The microsecond before the end is the last one of the date, in every zone and on every day of ten years."""
    made, business = calendar(zone=zone), BusinessZone(zone)
    for day in dates(date(2008, 1, 1), date(2018, 12, 31)):
        end_us = made.ends_at_us(made.periods_of(day)[0])
        assert business.date_of(end_us - 1) == day
        assert business.date_of(end_us) == day + timedelta(days=1)
