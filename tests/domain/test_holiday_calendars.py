"""Holiday calendars: China's, another country's, a company's, or none."""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from streams.domain.time.daytypes import HOLIDAY, DayTypes
from streams.domain.time.zone import BusinessZone
from streams.errors import ExpectedError
from streams.holidays import calendar_of, holiday_years, load_calendar
from streams.installation import check_installation
from streams.settings import Settings
from streams.settings_file import read_settings

if TYPE_CHECKING:
    from pathlib import Path

NATIONAL_DAY, UNITY_DAY, WOMEN_S_DAY = date(2024, 10, 2), date(2024, 10, 3), date(2024, 3, 8)


@pytest.mark.parametrize(
    ("settings", "calendar", "holidays"),
    [
        ({}, "CN", ("national-day",)),
        ({"timezone": "Asia/Urumqi"}, "CN", ("national-day",)),
        ({"timezone": "Europe/Berlin"}, "none", ()),
        ({"timezone": "Asia/Hong_Kong"}, "none", ()),
        ({"timezone": "Europe/Berlin", "holiday_calendar": "DE"}, "DE", ()),
        ({"timezone": "Europe/Berlin", "holiday_calendar": "CN"}, "CN", ("national-day",)),
        ({"holiday_calendar": "none"}, "none", ()),
        ({"holidays": []}, "CN", ()),
        (
            {"timezone": "Europe/Berlin", "holiday_calendar": "DE", "holidays": ["christmas-day"]},
            "DE",
            ("christmas-day",),
        ),
    ],
)
def test_the_calendar_is_the_one_that_is_set_else_that_of_a_chinese_zone(
    settings: dict[str, Any], calendar: str, holidays: tuple[str, ...]
) -> None:
    made = Settings(**settings)
    assert (made.calendar_name, made.holidays) == (calendar, holidays)
    check_installation(made)


def test_in_berlin_no_chinese_holiday_is_a_holiday() -> None:
    sorts = DayTypes(holiday_years(Settings(timezone="Europe/Berlin", holidays=()).calendar_name))
    assert [sorts.of(day) for day in (date(2026, 9, 25), date(2026, 10, 2), date(2026, 2, 14))] == [4, 4, 5]
    german = DayTypes(holiday_years("DE"))
    assert (german.of(UNITY_DAY), german.of(NATIONAL_DAY)) == (HOLIDAY, 2)
    assert [DayTypes(holiday_years(name)).of(WOMEN_S_DAY) for name in ("DE", "DE-BE")] == [4, HOLIDAY]


def test_a_holiday_of_a_country_is_counted_by_its_english_name() -> None:
    calendar = load_calendar(("christmas-day", "new-years-day"), BusinessZone("Europe/Berlin"), "DE")
    assert calendar.period("holiday:christmas-day:2024").start == date(2024, 12, 25)
    found = calendar.period("holiday:new-years-day:2025")
    assert found.calendar is not None
    assert found.calendar.startswith("DE-2025 holidays-")


def test_days_in_a_row_with_one_name_are_one_holiday_and_what_comes_twice_a_year_has_a_number() -> None:
    calendar = load_calendar(("eid-al-adha", "eid-al-fitr", "eid-al-fitr-2"), BusinessZone("Europe/Istanbul"), "TR")
    found = calendar.period("holiday:eid-al-adha:2024")
    assert (found.start, found.end) == (date(2024, 6, 16), date(2024, 6, 19))
    assert calendar.period("holiday:eid-al-fitr-2:2000").start > calendar.period("holiday:eid-al-fitr:2000").end


def test_every_year_that_events_can_have_is_known_of_a_country() -> None:
    assert [entry.year for entry in holiday_years("US")] == list(range(1999, 2101))


@pytest.mark.parametrize("name", ["XX", "de", "DE-XX", "Germany", "work.json", "../.."])
def test_a_calendar_that_there_is_not_is_told_in_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ExpectedError, match="holiday_calendar") as caught:
        check_installation(Settings(holiday_calendar=name))
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[1]", "{}", json.dumps({"country": "XX", "year": 1}), "null"])
def test_a_file_that_is_no_calendar_is_told_in_one_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "works.json"
    file.write_text(text)
    with pytest.raises(ExpectedError, match=r"holiday_calendar: .*works\.json") as caught:
        check_installation(Settings(holiday_calendar=str(file)))
    assert "\n" not in str(caught.value)


def test_without_a_file_there_is_no_target_and_no_rule_about_a_holiday_that_is_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_settings().target == ()
    assert [rule.name for rule in read_settings().rule] == ["daily-1000", "national-day-6000", "daily-record"]
    berlin = read_settings(overrides={"timezone": "Europe/Berlin"})
    assert [rule.name for rule in berlin.rule] == ["daily-1000", "daily-record"]
    assert calendar_of(berlin).years == ()
