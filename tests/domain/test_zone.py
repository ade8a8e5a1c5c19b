from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.domain.time.zone import DAY_US, EPOCH_CELL, HOUR_US, MINUTE_US, BusinessZone, day_of_cell, hour_of_cell
from streams.holidays import load_calendar
from tests.domain.facts import us

# Whole hours, halves and quarters; changes at midnight, at 00:01, by half an hour, by a whole day.
ZONES = (
    "Asia/Shanghai",
    "America/New_York",
    "America/St_Johns",
    "America/Sao_Paulo",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Chatham",
    "Pacific/Apia",
    "Africa/Casablanca",
    "Asia/Tehran",
    "America/Scoresbysund",
    "UTC",
)
_KEPT = {name: BusinessZone(name) for name in ZONES}

instants = st.integers(us("2000-01-01T00:00:00Z"), us("2100-01-01T00:00:00Z"))
#: Around the changes of 2010 and 2011, minute by minute, where the odd ones are.
odd_instants = st.integers(us("2010-01-01T00:00:00Z") // 60_000_000, us("2012-01-02T00:00:00Z") // 60_000_000).map(
    lambda minute: minute * 60_000_000
)


@given(st.sampled_from(ZONES), st.one_of(instants, odd_instants), st.sampled_from((0, 5)))
def test_the_offset_of_a_day_gives_the_cells_of_all_its_instants(name: str, instant: int, day_starts: int) -> None:
    zone = BusinessZone(name, day_starts)
    offset_us = zone.offset_us(instant // DAY_US)
    day_us = instant // DAY_US * DAY_US
    minutes = [*range(day_us, day_us + DAY_US, 3 * MINUTE_US), instant, day_us + DAY_US - 1]
    if offset_us is None:
        assert len({zone.datetime_of(at_us).utcoffset() for at_us in minutes}) > 1
    else:
        for at_us in minutes:
            assert (at_us + offset_us) // HOUR_US + EPOCH_CELL == zone.cell_of(at_us)


@pytest.mark.parametrize(
    ("zone", "instant", "day", "hour"),
    [
        ("Asia/Shanghai", "2024-09-30T23:59:59.999999+08:00", "2024-09-30", 23),
        ("Asia/Shanghai", "2024-10-01T00:00:00+08:00", "2024-10-01", 0),
        ("Asia/Shanghai", "2024-10-01T07:59:00+08:00", "2024-10-01", 7),
        ("Asia/Shanghai", "2024-02-28T16:00:00Z", "2024-02-29", 0),
        ("Asia/Shanghai", "2023-02-28T16:00:00Z", "2023-03-01", 0),
        ("Asia/Shanghai", "2024-12-31T15:59:59Z", "2024-12-31", 23),
        ("America/New_York", "2024-11-03T05:30:00Z", "2024-11-03", 1),
        ("America/New_York", "2024-11-03T06:30:00Z", "2024-11-03", 1),
        ("America/New_York", "2024-03-10T06:59:59Z", "2024-03-10", 1),
        ("America/New_York", "2024-03-10T07:00:00Z", "2024-03-10", 3),
        ("America/St_Johns", "2010-11-07T02:30:59Z", "2010-11-07", 0),
        ("America/St_Johns", "2010-11-07T02:31:00Z", "2010-11-06", 23),
        ("Asia/Kathmandu", "2024-10-06T18:14:59Z", "2024-10-06", 23),
        ("Asia/Kathmandu", "2024-10-06T18:15:00Z", "2024-10-07", 0),
        ("Africa/Monrovia", "1971-06-01T00:44:29Z", "1971-05-31", 23),
        ("Africa/Monrovia", "1971-06-01T00:44:30Z", "1971-06-01", 0),
        ("Pacific/Apia", "2011-12-30T09:59:59Z", "2011-12-29", 23),
        ("Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-31", 0),
    ],
)
def test_an_instant_belongs_to_the_civil_date_and_hour_of_the_zone(
    zone: str, instant: str, day: str, hour: int
) -> None:
    cell = BusinessZone(zone).cell_of(us(instant))
    assert (day_of_cell(cell), hour_of_cell(cell)) == (date.fromisoformat(day), hour)


@given(st.sampled_from(ZONES), instants | odd_instants)
def test_cells_agree_with_the_time_zone_database_at_any_instant(name: str, time_us: int) -> None:
    local = datetime.fromtimestamp(time_us // 1_000_000, ZoneInfo(name))
    assert _KEPT[name].cell_of(time_us) == local.toordinal() * 24 + local.hour
    assert _KEPT[name].date_of(time_us) == local.date()


@pytest.mark.parametrize(("day", "hours"), [("2024-03-10", 23), ("2024-07-01", 24), ("2024-11-03", 25)])
def test_a_day_has_as_many_hours_as_the_clocks_make_it(day: str, hours: int) -> None:
    zone = BusinessZone("America/New_York")
    start = us(f"{day}T12:00:00Z") - 12 * 3_600_000_000
    found = [zone.cell_of(start + minute * 60_000_000) for minute in range(36 * 60)]
    assert sum(day_of_cell(cell) == date.fromisoformat(day) for cell in found) == hours * 60


@given(st.sampled_from(ZONES), instants | odd_instants)
def test_a_day_starts_at_its_first_instant(name: str, time_us: int) -> None:
    zone = _KEPT[name]
    start = zone.start_of_day_us(time_us)
    assert start <= time_us
    assert zone.date_of(start) == zone.date_of(time_us)
    assert zone.date_of(start - 1) < zone.date_of(time_us)


def test_a_day_whose_midnight_is_skipped_starts_at_the_change() -> None:
    zone = BusinessZone("America/Sao_Paulo")
    assert zone.start_of_day_us(us("2018-11-04T12:00:00Z")) == us("2018-11-04T03:00:00Z")


def test_an_instant_keeps_its_microseconds_as_a_datetime() -> None:
    local = BusinessZone("Asia/Shanghai").datetime_of(us("2024-10-07T11:42:08.000001Z"))
    assert local.isoformat() == "2024-10-07T19:42:08.000001+08:00"


def test_old_quarter_hours_are_forgotten_and_come_out_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.domain.time.zone._REMEMBERED_QUARTERS", 2)
    zone = BusinessZone("America/New_York")
    times = [us("2024-11-03T00:00:00Z") + quarter * 900_000_000 for quarter in range(100)]
    assert [zone.cell_of(time) for time in times] == [_KEPT["America/New_York"].cell_of(time) for time in times]
    assert len(zone._cells) <= 2


@pytest.mark.parametrize("name", ["Asia/Beijing", "", "../../etc/passwd", "America"])
def test_an_unknown_zone_is_refused_with_its_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"no IANA time zone is called '{name}'"):
        BusinessZone(name)


@given(st.sampled_from(ZONES), st.integers(1, 23), st.one_of(instants, odd_instants))
def test_a_business_day_that_begins_later_is_by_the_clocks_so_much_behind(name: str, starts: int, time_us: int) -> None:
    zone = BusinessZone(name, starts)
    local = datetime.fromtimestamp(time_us // 1_000_000, ZoneInfo(name)).replace(tzinfo=None) - timedelta(hours=starts)
    cell = zone.cell_of(time_us)
    assert (day_of_cell(cell), hour_of_cell(cell)) == (local.date(), local.hour)
    assert zone.date_of(time_us) == local.date()
    assert zone.time_of_day(time_us).replace(microsecond=0) == local.time()


@pytest.mark.parametrize(
    ("name", "starts", "day", "instant"),
    [
        ("Asia/Shanghai", 6, "2024-10-07", "2024-10-07T06:00:00+08:00"),
        ("Europe/Berlin", 6, "2024-10-27", "2024-10-27T06:00:00+01:00"),
        ("Europe/Berlin", 6, "2024-03-31", "2024-03-31T06:00:00+02:00"),
        # An hour that the clocks leave out: the day begins at the change.
        ("Europe/Berlin", 2, "2024-03-31", "2024-03-31T03:00:00+02:00"),
    ],
)
def test_the_first_instant_of_a_day_that_begins_later(name: str, starts: int, day: str, instant: str) -> None:
    zone = BusinessZone(name, starts)
    assert zone.first_us(date.fromisoformat(day)) == us(instant)
    assert zone.date_of(us(instant)).isoformat() == day
    assert zone.date_of(us(instant) - 1) == date.fromisoformat(day) - timedelta(days=1)
    assert zone.key == f"{name} {starts:02}:00"
    calendar = load_calendar((), zone, windows=("day",))
    assert calendar.ends_at_us(calendar.period(f"day:{date.fromisoformat(day) - timedelta(days=1)}")) == us(instant)
