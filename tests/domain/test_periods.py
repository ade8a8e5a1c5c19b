"""Weeks, months, quarters, halves and years, civil and fiscal: ids, bounds, and the way back from an id."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.audit.sums import Business
from streams.domain.time.calendar import Calendar
from streams.domain.time.periods import PERIOD_OF, WEEK_DAYS, Reckoning, parse_period
from streams.settings import Settings

WINDOWS = ("day", "week", "month", "quarter", "half", "year", "total")
APRIL = Reckoning(year_starts=(4, 1))
DATES = st.dates(date(1999, 12, 31), date(2101, 1, 1))
RECKONINGS = st.builds(Reckoning, st.integers(0, 6), st.tuples(st.integers(1, 12), st.integers(1, 28)))


@pytest.mark.parametrize(
    ("kind", "day", "reckoning", "period_id", "start", "end"),
    [
        ("week", "2024-10-07", Reckoning(), "week:2024-W41", "2024-10-07", "2024-10-13"),
        ("week", "2024-12-30", Reckoning(), "week:2025-W01", "2024-12-30", "2025-01-05"),
        ("week", "2027-01-03", Reckoning(), "week:2026-W53", "2026-12-28", "2027-01-03"),
        ("week", "2024-10-06", Reckoning(6), "week:2024-W41", "2024-10-06", "2024-10-12"),
        ("week", "2024-10-05", Reckoning(6), "week:2024-W40", "2024-09-29", "2024-10-05"),
        ("quarter", "2024-09-30", Reckoning(), "quarter:2024-Q3", "2024-07-01", "2024-09-30"),
        ("quarter", "2024-02-29", Reckoning(), "quarter:2024-Q1", "2024-01-01", "2024-03-31"),
        ("half", "2024-07-01", Reckoning(), "half:2024-H2", "2024-07-01", "2024-12-31"),
        ("year", "2024-07-01", APRIL, "year:FY2025", "2024-04-01", "2025-03-31"),
        ("year", "2024-03-31", APRIL, "year:FY2024", "2023-04-01", "2024-03-31"),
        ("quarter", "2025-01-01", APRIL, "quarter:FY2025-Q4", "2025-01-01", "2025-03-31"),
        ("half", "2024-10-01", APRIL, "half:FY2025-H2", "2024-10-01", "2025-03-31"),
        ("quarter", "2024-04-05", Reckoning(year_starts=(4, 6)), "quarter:FY2024-Q4", "2024-01-06", "2024-04-05"),
        ("total", "2024-04-05", APRIL, "total", "1999-12-31", "2101-01-01"),
        ("month", "2024-04-05", APRIL, "month:2024-04", "2024-04-01", "2024-04-30"),
    ],
)
def test_the_period_of_a_date(  # noqa: PLR0917 - the columns of the table
    kind: str, day: str, reckoning: Reckoning, period_id: str, start: str, end: str
) -> None:
    found = PERIOD_OF[kind](date.fromisoformat(day), reckoning)
    assert (found.id, found.start.isoformat(), found.end.isoformat()) == (period_id, start, end)


@given(DATES, RECKONINGS, st.sampled_from(WINDOWS))
def test_periods_follow_each_other_and_are_found_by_their_ids(day: date, reckoning: Reckoning, kind: str) -> None:
    made = PERIOD_OF[kind]
    period = made(day, reckoning)
    assert period.start <= day <= period.end
    assert {made(period.start, reckoning), made(period.end, reckoning)} == {period}
    assert parse_period(period.id, reckoning) == period
    if kind == "total":
        return
    following = made(period.end + timedelta(days=1), reckoning)
    assert following.start == period.end + timedelta(days=1)
    assert following.id > period.id


@given(st.integers(2000, 2099), RECKONINGS)
def test_parts_make_up_their_year(year: int, reckoning: Reckoning) -> None:
    whole = PERIOD_OF["year"](date(year, 6, 15), reckoning)
    dates = [whole.start + timedelta(days=number) for number in range((whole.end - whole.start).days + 1)]
    for kind, parts in (("quarter", 4), ("half", 2)):
        found = list(dict.fromkeys(PERIOD_OF[kind](day, reckoning) for day in dates))
        assert len(found) == parts
        assert (found[0].start, found[-1].end) == (whole.start, whole.end)
        assert all(one.end + timedelta(days=1) == other.start for one, other in pairwise(found))


@given(DATES, RECKONINGS)
def test_the_audit_reckons_the_same_by_other_code(day: date, reckoning: Reckoning) -> None:
    month, first = reckoning.year_starts
    settings = Settings(
        windows=WINDOWS,
        week_starts=WEEK_DAYS[reckoning.week_starts],
        fiscal_year_start=f"{month:02}-{first:02}",
        holidays=(),
    )
    assert settings.reckoning == reckoning
    calendar = Calendar((), (), "UTC", WINDOWS, reckoning)
    assert tuple(Business(settings).periods_of(day)) == calendar.periods_of(day)


@pytest.mark.parametrize(
    "period_id",
    ["week:2024-W00", "week:2024-W53", "week:2024-W54", "week:2024-41", "quarter:2024-Q5", "quarter:FY2024-Q1", "half:2024-H3", "half:2024",
     "total:", "total:2024", "year:FY2024", "year:2024-Q1", "quarter:2024-W41", "quarter:2024-H1"],
)  # fmt: skip
def test_what_is_no_period_of_the_civil_year_is_refused(period_id: str) -> None:
    calendar = Calendar((), (), "UTC", WINDOWS)
    with pytest.raises(
        ValueError, match="is no period; write day:2024-10-07, week:2024-W41, month:2024-10, quarter:2024-Q4, half"
    ):
        calendar.period(period_id)


def test_where_years_are_fiscal_civil_ones_are_refused_with_the_forms_there_are() -> None:
    calendar = Calendar((), (), "UTC", ("day", "quarter", "year"), APRIL)
    with pytest.raises(
        ValueError, match="'year:2024' is no period; write day:2024-10-07, quarter:FY2025-Q3 or year:FY2025"
    ):
        calendar.period("year:2024")


@pytest.mark.parametrize(
    "period_id", ["month:9999-12", "week:9999-W52", "year:9999", "quarter:9999-Q4", "rolling:7d:0001-01-01"]
)
def test_a_period_that_ends_after_the_last_date_or_begins_before_the_first_is_none(period_id: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_period(period_id)
