"""Properties of the forecast of any series."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from streams.domain.forecasts.pace import PaceModel
from streams.domain.time.daytypes import DayTypes
from tests.domain.forecast_world import AUTUMN, DAY, NO_HOLIDAYS, START, forecast_of, known

if TYPE_CHECKING:
    from schemas.outputs import Forecast

#: At most from 1 January to mid-July, so that month:2024-08 has not begun and year:2024 is current.
counts = st.one_of(
    st.lists(st.integers(0, 400), max_size=200),
    st.lists(st.integers(0, 2), max_size=200),
    st.lists(st.sampled_from([0, 0, 0, 90, 100, 110, 5000]), max_size=200),
    st.builds(
        lambda length, level, slope, noise: [
            max(0, round(level + slope * number + noise[number % len(noise)])) for number in range(length)
        ],
        st.integers(1, 200),
        st.floats(0, 500),
        st.floats(-5, 5),
        st.lists(st.floats(-50, 50), min_size=1, max_size=30),
    ),
)
periods = st.sampled_from(["year:2024", "month:2024-08", "month:2024-07", "month:2024-05", "month:2024-03"])
shares = st.floats(0, 1)
values = st.integers(1, 100_000)
MANY = settings(max_examples=150)
TYPES = DayTypes((AUTUMN,))


def is_over(made: Forecast) -> bool:
    return made.business_date > made.end


def late(day: str | None) -> str:
    """A comparable date: None is later than all others."""
    return day or "9999"


@MANY
@given(counts, st.integers(0, 500), shares, periods, values)
def test_ranges_are_in_order_and_nothing_counted_is_lost(
    days: list[int], today: int, share: float, period: str, value: int
) -> None:
    made = forecast_of(known(days, today=today, share=share, day_types=TYPES), period, value)
    total, dates = made.projected_total, made.projected_date
    if total.p10 is not None:
        assert total.p50 is not None
        assert total.p90 is not None
        assert made.count <= total.p10 <= total.p50 <= total.p90
        assert late(dates.p10) <= late(dates.p50) <= late(dates.p90)
    elif made.state != "reached":
        assert dates.p10 is None
        assert dates.p90 is None
    assert total.p50 is None or made.count <= total.p50


@MANY
@given(counts, st.integers(0, 500), shares, periods, values)
def test_totals_and_dates_say_the_same(days: list[int], today: int, share: float, period: str, value: int) -> None:
    made = forecast_of(known(days, today=today, share=share), period, value)
    assume(not is_over(made))
    total, dates = made.projected_total, made.projected_date
    for units, day in ((total.p10, dates.p90), (total.p50, dates.p50), (total.p90, dates.p10)):
        if units is not None:
            assert (units >= value) is (late(day) <= made.end)
    assert (made.state == "reached") is (made.count >= value)


@MANY
@given(counts, st.tuples(st.integers(0, 500), st.integers(0, 500)), shares, periods, values)
def test_more_units_today_never_lower_a_total_or_delay_a_date(
    days: list[int], units: tuple[int, int], share: float, period: str, value: int
) -> None:
    fewer, greater = (forecast_of(known(days, today=today, share=share), period, value) for today in sorted(units))
    for end in ("p10", "p50", "p90"):
        assert (getattr(greater.projected_total, end) or 0) >= (getattr(fewer.projected_total, end) or 0)
        if greater.state != "reached" or fewer.state == "reached":
            assert late(getattr(greater.projected_date, end)) <= late(getattr(fewer.projected_date, end))
    assert greater.ahead_units >= fewer.ahead_units
    assert (greater.pace_needed or 0) <= (fewer.pace_needed or 0)


@st.composite
def shifted(draw: st.DrawFn) -> list[int]:
    """Weeks of one level with some noise, and one to five of another."""
    before, after = draw(st.integers(57, 100)), draw(st.integers(5, 36))
    level, factor = draw(st.integers(5, 500)), draw(st.sampled_from([0.3, 0.6, 0.8, 1.2, 1.6, 3.0]))
    noise = draw(st.lists(st.floats(0.8, 1.2), min_size=1, max_size=60))
    return [
        round(level * (factor if number >= before else 1) * noise[number % len(noise)])
        for number in range(before + after)
    ]


@MANY
@given(counts.filter(any) | shifted().filter(any), st.integers(1, 300), st.integers(1, 7), st.integers(1, 30))
def test_more_units_of_late_never_lower_what_is_projected_for_whole_weeks(
    days: list[int], more: int, ago: int, weeks: int
) -> None:
    """Over parts of weeks a busier Monday can make the other weekdays look less busy."""
    assume(ago <= len(days))
    later = [*days]
    later[-ago] += more
    to_come = [number % 7 for number in range(len(days), len(days) + 7 * weeks)]
    fewer, greater = (PaceModel(START, each, NO_HOLIDAYS).at(len(days)) for each in (days, later))
    assert greater.level > fewer.level
    # Where days before are no longer lower, what looked like a shift downwards may be a fall again, with a trend.
    assert greater.rate >= fewer.rate or greater.slope < 0 == fewer.slope
    if greater.slope == 0 == fewer.slope:
        assert sum(greater.expected(to_come)) >= sum(fewer.expected(to_come)) * (1 - 1e-12)


@MANY
@given(counts.filter(any), st.integers(2, 9), periods)
def test_times_as_many_units_are_projected_to_as_many_times(days: list[int], times: int, period: str) -> None:
    once = forecast_of(known(days), period, 1000).projected_total.p50
    often = forecast_of(known([times * count for count in days]), period, 1000).projected_total.p50
    assert once is not None
    assert often is not None
    assert abs(often - times * once) <= times


@MANY
@given(counts, st.lists(st.integers(0, 300), max_size=20), values)
def test_what_was_reached_stays_reached_on_that_day(days: list[int], later: list[int], value: int) -> None:
    before = forecast_of(known(days), "year:2024", value)
    after = forecast_of(known([*days, *later]), "year:2024", value)
    if before.state == "reached":
        assert after.state == "reached"
        assert after.reached_on == before.reached_on
        assert set(after.projected_date.model_dump().values()) == {before.reached_on}


@MANY
@given(counts, values, st.integers(1, 100_000))
def test_a_greater_target_is_never_expected_sooner(days: list[int], value: int, more: int) -> None:
    smaller, greater = (forecast_of(known(days), "year:2024", each) for each in (value, value + more))
    for end in ("p10", "p50", "p90"):
        assert late(getattr(smaller.projected_date, end)) <= late(getattr(greater.projected_date, end))
    assert smaller.projected_total == greater.projected_total


@MANY
@given(counts.filter(lambda days: len(days) > 1) | shifted(), st.data())
def test_an_estimate_knows_nothing_of_what_came_after_it(days: list[int], data: st.DataObject) -> None:
    """Past errors are those of the model as it would have been then."""
    length = data.draw(st.integers(1, len(days)))
    assert PaceModel(START, days, TYPES).at(length) == PaceModel(START, days[:length], TYPES).at(length)


def test_not_even_of_holidays_that_had_just_begun() -> None:
    days = [100 + (number * 37) % 61 for number in range(120)]
    whole = PaceModel(START, days, TYPES)
    for length in range(1, len(days)):
        assert whole.at(length) == PaceModel(START, days[:length], TYPES).at(length), length


@MANY
@given(counts.filter(any), st.integers(1, 100))
def test_the_same_weekdays_at_another_time_give_the_same_pace(days: list[int], weeks: int) -> None:
    there = PaceModel(START + 7 * weeks * DAY, days, NO_HOLIDAYS)
    assert there.at(len(days)) == PaceModel(START, days, NO_HOLIDAYS).at(len(days))


@MANY
@given(counts.filter(any), st.integers(1, 60))
def test_days_before_the_first_unit_are_no_history(days: list[int], empty: int) -> None:
    assume(days[0])
    start = date(2024, 1, 1) - empty * DAY
    with_empty = forecast_of(known([0] * empty + days, start=start), "year:2024", 1000)
    assert with_empty == forecast_of(known(days), "year:2024", 1000)


@MANY
@given(counts, st.integers(0, 500), shares)
@example(
    [50 + number % 11 for number in range(27)], 0, 0.0
)  # a range to the day's end, and none to the last date it may take
def test_the_ranges_of_periods_that_lie_in_each_other_agree(days: list[int], today: int, share: float) -> None:
    """The lower bound of a year is not below its months', and the upper bound of a month not above its year's."""
    world = known(days, today=today, share=share, day_types=TYPES)
    on = world.business_date
    following = (on.replace(day=1) + 32 * DAY).replace(day=1)
    inner = [f"day:{on}", f"month:{on:%Y-%m}"]
    inner += [f"month:{following:%Y-%m}", f"day:{following}"] * (following.year == on.year)
    year = forecast_of(world, f"year:{on:%Y}", 1)
    for each in inner:
        made = forecast_of(world, each, 1)
        low, high = made.projected_total.p10, made.projected_total.p90
        least, most = year.projected_total.p10, year.projected_total.p90
        if low is None or high is None or most is None or least is None:
            continue
        assert least - year.count >= low - made.count - 1, f"rounding apart, {each}"
        assert most - year.count >= high - made.count - 1, f"rounding apart, {each}"
