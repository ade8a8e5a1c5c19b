"""The forecast of one target, for series that can be judged by eye."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from datetime import date, time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from streams.domain.forecasts.forecast import forecast, project, usual_share
from streams.domain.forecasts.forecast_range import measure
from streams.domain.forecasts.pace import PaceModel
from streams.domain.rules import Target
from streams.domain.time.daytypes import HOLIDAY, WORK_DAY, DayTypes
from streams.domain.time.periods import total_period
from tests.domain.forecast_world import AS_OF, AUTUMN, DAY, NO_HOLIDAYS, START, forecast_of, known, of
from tests.domain.forecast_world import period as period_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from schemas.outputs import Forecast
    from streams.domain.forecasts.forecast import Known

#: Complete days before 15 May 2024.
MID_MAY = (date(2024, 5, 15) - START).days
WEEKEND = (5, 6)


def test_a_constant_series_goes_on_as_it_is_with_no_range_to_speak_of() -> None:
    made = forecast_of(known([100] * MID_MAY), "month:2024-05", 3000)
    assert made.count == 1400
    assert made.projected_total.model_dump() == {"p10": 3100, "p50": 3100, "p90": 3100}
    assert made.projected_date.model_dump() == {"p10": "2024-05-30", "p50": "2024-05-30", "p90": "2024-05-30"}
    assert (made.state, made.quality, made.history_days) == ("ahead", "good", MID_MAY)
    assert made.note == "expected on 2024-05-30"


def test_the_plan_line_is_straight_and_says_units_and_days() -> None:
    made = forecast_of(known([100] * MID_MAY), "month:2024-05", 3410)
    assert made.plan_count == 1540  # 14 of 31 days of 110 a day
    assert (made.ahead_units, made.ahead_days, made.state) == (-140, -1.3, "behind")
    assert made.remaining_days == 17
    assert made.pace_needed == round((3410 - 1400) / 17, 1)
    assert made.pace_recent == 100.0


@pytest.mark.parametrize(
    ("value", "state", "ahead"), [(3099, "ahead", 0), (3100, "ahead", 0), (3101, "behind", 0), (3200, "behind", -45)]
)
def test_just_on_the_plan_line_is_not_behind(value: int, state: str, ahead: int) -> None:
    made = forecast_of(known([100] * MID_MAY), "month:2024-05", value)
    assert (made.state, made.ahead_units) == (state, ahead)


@pytest.mark.parametrize(("value", "state"), [(1399, "reached"), (1400, "reached"), (1401, "ahead")])
def test_a_target_is_reached_with_its_last_unit_and_then_says_when(value: int, state: str) -> None:
    made = forecast_of(known([100] * MID_MAY), "month:2024-05", value)
    assert made.state == state
    reached = state == "reached"
    assert made.reached_on == ("2024-05-14" if reached else None)
    assert (made.pace_needed is None) is reached
    if reached:
        assert set(made.projected_date.model_dump().values()) == {"2024-05-14"}
        assert made.note == "reached on 2024-05-14"


def test_units_of_today_can_reach_it() -> None:
    made = forecast_of(known([100] * MID_MAY, today=70, share=0.5), "month:2024-05", 1470)
    assert (made.state, made.reached_on, made.count) == ("reached", "2024-05-15", 1470)


def test_of_today_what_came_counts_as_it_is_and_the_rest_as_usual() -> None:
    world = known([100] * MID_MAY, today=70, share=0.75)
    made = forecast_of(world, "month:2024-05", 3000)
    assert made.projected_total.p50 == 1400 + 70 + 25 + 16 * 100
    assert made.remaining_days == 16.25
    assert made.plan_count == round(3000 * 14.75 / 31)


def test_a_day_target_counts_on_today() -> None:
    made = forecast_of(known([100] * MID_MAY, today=70, share=0.75), "day:2024-05-15", 100)
    assert made.projected_total.p50 == 95
    assert made.projected_date.p50 is None, "tomorrow its window is over"
    assert (made.horizon, made.pace_needed, made.note) == ("2024-05-15", None, "not expected today")


def test_in_the_evening_a_day_target_needs_no_pace_a_day() -> None:
    made = forecast_of(known([100] * MID_MAY, today=90, share=0.999), "day:2024-05-15", 150)
    assert (made.pace_needed, made.note) == (None, "not expected today")
    assert forecast_of(known([100] * MID_MAY), "day:2024-05-15", 90).note == "expected today"
    assert forecast_of(known([100] * MID_MAY), "day:2024-05-17", 90).note == "expected on 2024-05-17"


def test_a_period_that_is_over_before_anything_was_counted_rests_on_nothing() -> None:
    made = forecast_of(known([0] * MID_MAY), "month:2024-04", 3000)
    assert (made.state, made.quality, made.history_days) == ("missed", "none", 0)


def test_a_period_to_come_is_projected_from_its_first_day() -> None:
    made = forecast_of(known([100] * MID_MAY, today=30), "month:2024-06", 2950)
    assert (made.state, made.count, made.plan_count, made.ahead_units, made.ahead_days) == ("upcoming", 0, 0, 0, 0.0)
    assert made.projected_total.p50 == 3000
    assert made.projected_date.p50 == "2024-06-30"
    assert (made.remaining_days, made.pace_needed) == (30, 98.3)


@pytest.mark.parametrize(("value", "state"), [(3000, "reached"), (3001, "missed")])
def test_after_its_end_a_period_is_counted_and_not_projected(value: int, state: str) -> None:
    made = forecast_of(known([100] * MID_MAY), "month:2024-04", value)
    assert (made.state, made.quality, made.remaining_days, made.pace_needed) == (state, "good", 0, None)
    assert made.projected_total.model_dump() == {"p10": 3000, "p50": 3000, "p90": 3000}
    assert made.projected_date.p50 == ("2024-04-30" if state == "reached" else None)
    if state == "missed":
        assert made.note == "not reached: 1 short at the end of the period"


def test_a_target_out_of_sight_has_no_date_and_says_how_far_was_looked() -> None:
    made = forecast_of(known([100] * MID_MAY), "month:2024-05", 1_000_000)
    assert made.projected_date.model_dump() == {"p10": None, "p50": None, "p90": None}
    assert made.horizon == "2024-07-01"
    assert made.note == "not expected by 2024-07-01 at this pace"
    assert forecast_of(known([100] * MID_MAY), "year:2024", 10**6).horizon == "2025-04-02"


def test_a_date_after_the_end_of_the_period_says_so() -> None:
    made = forecast_of(known([100] * MID_MAY), "month:2024-05", 3300)
    assert made.projected_date.p50 == "2024-06-02"
    assert made.projected_total.p50 == 3100
    assert "expected on 2024-06-02, after the end of the period" in made.note


# Little data --------------------------------------------------------------------------------------------------------


def test_without_a_unit_in_a_complete_day_nothing_is_projected() -> None:
    for world in (known([]), known([0] * 40), known([0] * 40, today=5)):
        made = forecast_of(world, "year:2024", 1000)
        assert (made.quality, made.history_days, made.pace_recent) == ("none", 0, None)
        assert made.projected_total.p50 is None
        assert made.projected_date.p50 is None
        assert made.note == "no complete day of history yet: nothing can be projected"


def test_three_days_give_a_projection_and_no_range() -> None:
    made = forecast_of(known([90, 110, 100]), "month:2024-01", 2500)
    assert made.quality == "little"
    assert (made.projected_total.p10, made.projected_total.p90) == (None, None)
    assert (made.projected_date.p10, made.projected_date.p90) == (None, None)
    assert made.projected_total.p50 is not None
    assert 2900 < made.projected_total.p50 < 3300
    assert made.note.endswith("; 3 days of history are too little for a range")


def test_one_day_is_no_plural() -> None:
    assert forecast_of(known([90]), "month:2024-01", 2500).note.endswith("1 day of history is too little for a range")


@pytest.mark.parametrize(("days", "quality"), [(1, "little"), (29, "little"), (30, "fair"), (55, "fair"), (56, "good")])
def test_the_quality_rises_with_the_days_of_history(days: int, quality: str) -> None:
    start = date(2024, 3, 1) - days * DAY
    made = forecast_of(known([100] * days, start=start), "month:2024-03", 10**6)
    assert (made.quality, made.history_days) == (quality, days)
    assert (made.projected_total.p10 is None) is (quality == "little")


def test_for_the_day_itself_less_past_is_enough_for_a_range() -> None:
    for days, quality in ((23, "little"), (24, "fair")):
        start = date(2024, 3, 1) - days * DAY
        assert forecast_of(known([100] * days, start=start), "day:2024-03-01", 10).quality == quality


def test_a_range_that_is_stretched_far_is_called_fair() -> None:
    assert forecast_of(known([100] * 60), "year:2024", 30_000).quality == "fair"
    assert forecast_of(known([100] * 60), "month:2024-03", 3000).quality == "good"


# Shapes -------------------------------------------------------------------------------------------------------------


def test_weekdays_are_told_apart() -> None:
    """A month whose rest has more weekends than usual must not be projected at the mean pace."""
    counts = of(MID_MAY, lambda _, day: 10 if day.weekday() in WEEKEND else 100)
    rest = [START + number * DAY for number in range(MID_MAY, MID_MAY + 17)]
    truth = sum(counts[-14:]) + sum(10 if day.weekday() in WEEKEND else 100 for day in rest)
    made = forecast_of(known(counts), "month:2024-05", 2000)
    assert made.projected_total.p50 == pytest.approx(truth, rel=0.02)


def test_only_mondays_stays_only_mondays() -> None:
    counts = of(MID_MAY, lambda _, day: 70 if day.weekday() == 0 else 0)
    projection = project(known(counts), period_of("month:2024-05"))
    assert projection is not None
    by_day = [after - before for before, after in zip([140, *projection.middle], projection.middle, strict=False)]
    mondays = [units for number, units in enumerate(by_day) if (projection.first + number * DAY).weekday() == 0]
    assert sum(mondays) > 0.7 * sum(by_day)


def rising(number: int, _: date) -> int:
    return 100 + 2 * number


def test_a_rise_that_has_just_begun_is_followed_half_way() -> None:
    """Nothing is known yet of how the series goes on where it rises."""
    days = 49
    counts = of(days, rising)
    to_come = 30
    as_before = to_come * counts[-1]
    truth = sum(rising(number, START) for number in range(days, days + to_come))
    model = known(counts).history.model
    assert model is not None
    expected = sum(model.at(days).expected([0] * to_come))
    assert to_come * sum(counts[-28:]) / 28 < expected < truth
    assert expected == pytest.approx(as_before, rel=0.02)


def test_a_rise_that_went_on_before_is_followed_nearly_all_the_way() -> None:
    counts = of(MID_MAY, rising)
    truth = sum(counts[-14:]) + sum(100 + 2 * number for number in range(MID_MAY, MID_MAY + 17))
    made = forecast_of(known(counts), "month:2024-05", 2000)
    assert made.projected_total.p50 is not None
    assert 0.98 * truth < made.projected_total.p50 < truth


def test_rises_that_did_not_go_on_are_not_followed() -> None:
    """Five times it has risen for nine weeks, and fallen back for the next one."""
    counts = of(5 * 70 + 63, lambda number, _: 100 + 2 * min(number % 70, 9 * (70 - number % 70)))
    model = known(counts).history.model
    assert model is not None
    pace = model.at(len(model.counts))
    assert 0 < pace.slope < 0.8, "less than half of two units a day per day"


def test_late_units_of_the_last_week_do_not_change_how_much_of_a_trend_is_believed() -> None:
    counts = of(MID_MAY, rising)
    late = [*counts[:-7], *(count + 50 for count in counts[-7:])]
    fewer, greater = (PaceModel(START, each, NO_HOLIDAYS).trend_share(MID_MAY) for each in (counts, late))
    assert fewer == greater > 0.9


def test_a_trend_fades_with_the_weeks_ahead() -> None:
    model = known(of(MID_MAY, rising)).history.model
    assert model is not None
    pace = model.at(MID_MAY)
    assert pace.slope == pytest.approx(2, rel=0.01), "all of two units a day per day"
    ahead = [(units - pace.rate) / 2 for units in pace.expected([0] * 730)]
    assert ahead[:7] == pytest.approx([1, 2, 3, 4, 5, 6, 7], rel=0.1)
    assert ahead[-1] == pytest.approx(1 / (1 - 0.95 ** (1 / 7)), rel=0.01), "136 days of it, however far ahead"


def test_a_fall_is_followed_too_and_never_below_zero() -> None:
    counts = of(MID_MAY, lambda number, _: max(0, 270 - 2 * number))
    made = forecast_of(known(counts), "year:2024", 50_000)
    assert made.projected_total.p50 is not None
    assert made.count <= made.projected_total.p50 < made.count + 231 * 20


def test_noise_alone_seldom_makes_a_trend() -> None:
    """Noise passes the test for a trend at most one time in twenty."""
    rng = random.Random(7)
    trends = 0
    for _ in range(200):
        model = known([round(rng.gauss(100, 15)) for _ in range(MID_MAY)]).history.model
        assert model is not None
        trends += model.at(MID_MAY).slope != 0
    assert trends <= 14


def test_zeros_after_units_come_down_to_nothing() -> None:
    made = forecast_of(known([100] * 60 + [0] * (MID_MAY - 60)), "month:2024-05", 10)
    assert made.projected_total.p50 in {0, 1}
    assert made.projected_date.p50 is None


def test_a_sparse_series_keeps_its_mean() -> None:
    made = forecast_of(known(of(MID_MAY, lambda number, _: number % 5 == 0)), "year:2024", 100)
    assert made.projected_total.p50 is not None
    assert 60 <= made.projected_total.p50 <= 85, "one unit in five days is 73 a year"


def test_an_outage_lowers_the_projection_and_its_catch_up_restores_it() -> None:
    full = [100] * MID_MAY
    gap = [*full[:-3], 0, 0, 0]
    before, during = (forecast_of(known(days), "month:2024-05", 3000).projected_total.p50 for days in (full, gap))
    assert before is not None
    assert during is not None
    assert 0.5 * before < during < before
    # Two weeks later the three days are recognized as an exception; the weekday effects never changed.
    later = known(gap + [100] * 14)
    assert later.history.model is not None
    pace = later.history.model.at(MID_MAY + 14)
    assert pace.rate == pytest.approx(100, rel=0.15)
    assert pace.weights[:7] == pytest.approx((1,) * 7, abs=0.05)


def test_a_day_of_fifty_times_the_units_does_not_run_away() -> None:
    """A month after a launch day, the forecast is near the usual again."""
    spike = [100] * (MID_MAY - 30) + [5000] + [100] * 29
    made = forecast_of(known(spike), "month:2024-05", 3000)
    assert made.projected_total.p50 is not None
    assert made.projected_total.p50 == pytest.approx(3100, rel=0.17)


def test_a_jump_to_another_level_is_taken_up_within_weeks() -> None:
    jump = [100] * (MID_MAY - 14) + [300] * 14
    made = forecast_of(known(jump), "month:2024-05", 3000)
    assert made.projected_total.p50 is not None
    assert made.projected_total.p50 > 14 * 300 + 17 * 230


@pytest.mark.parametrize("to", [60, 130])
@pytest.mark.parametrize("weeks", [1, 2, 3, 4, 5])
def test_a_shift_of_a_week_or_more_is_the_new_level_and_no_trend(to: int, weeks: int) -> None:
    counts = of(MID_MAY, lambda number, _: (to if number >= MID_MAY - 7 * weeks else 100) + number * 5 % 7 - 3)
    model = known(counts).history.model
    assert model is not None
    pace = model.at(MID_MAY)
    assert pace.level == pytest.approx(to, rel=0.01)
    assert pace.slope == 0


def level_after(after: Callable[[int], int], days: int) -> float:
    """The level after so many days of other units than the hundred or so of each day before, units by number of the day."""
    counts = of(MID_MAY, lambda number, _: after(number) if number >= MID_MAY - days else 97 + number * 5 % 7)
    model = known(counts).history.model
    assert model is not None
    return model.at(MID_MAY).level


def test_a_shift_is_seen_after_a_week_and_survives_two_exceptions_on_either_side() -> None:
    assert level_after(lambda _: 120, 7) == 120
    assert level_after(lambda _: 120, 10) == 120, "the last whole week"
    assert level_after(lambda number: 0 if number in {MID_MAY - 2, MID_MAY - 5} else 140, 7) == pytest.approx(100), (
        "5/7 of 140"
    )
    assert level_after(lambda number: 1 if number in {MID_MAY - 2, MID_MAY - 5} else 60, 7) == pytest.approx(302 / 7)
    busy = of(MID_MAY, lambda number, _: 120 if number >= MID_MAY - 7 else 125 if number in {90, 91} else 100)
    model = known(busy).history.model
    assert model is not None
    assert model.at(MID_MAY).level == 120


def test_four_days_or_days_within_what_is_usual_are_no_shift() -> None:
    assert level_after(lambda _: 120, 5) == pytest.approx((5 * 120 + 2 * 100) / 7, rel=0.01), (
        "five of the last seven days"
    )
    assert level_after(lambda _: 120, 4) < 106
    rng = random.Random(3)
    model = known([round(rng.gauss(100, 5)) for _ in range(MID_MAY - 7)] + [105] * 7).history.model
    assert model is not None
    assert model.at(MID_MAY).level < 104


def test_days_without_units_are_an_outage_and_not_another_level() -> None:
    """Until late events fill them, the weeks before still count."""
    assert level_after(lambda _: 0, 7) > 40
    assert level_after(lambda _: 1, 7) == 1


def test_a_rise_is_no_series_of_shifts() -> None:
    model = known(of(MID_MAY, lambda number, _: 100 + 2 * number)).history.model
    assert model is not None
    assert model.at(MID_MAY).slope > 1.9


def test_holidays_are_no_shift() -> None:
    types = DayTypes((AUTUMN,))
    days = (date(2024, 10, 8) - START).days
    counts = of(days, lambda _, day: 20 if day >= date(2024, 10, 1) else 100)
    ordinary, holidays = (known(counts, day_types=each).history.model for each in (NO_HOLIDAYS, types))
    assert ordinary is not None
    assert holidays is not None
    assert ordinary.at(days).level == 20
    assert holidays.at(days).level > 60


# Holidays -----------------------------------------------------------------------------------------------------------


def test_day_types_come_from_the_calendar() -> None:
    types = DayTypes((AUTUMN,))
    assert [types.of(date(2024, 3, day)) for day in (1, 2, 3, 4, 8, 9)] == [4, WORK_DAY, 6, HOLIDAY, HOLIDAY, 5]
    assert types.from_date(date(2024, 9, 30), 2) == [0, HOLIDAY]


def test_holidays_seen_before_lower_those_to_come() -> None:
    types = DayTypes((AUTUMN,))
    days = (date(2024, 9, 20) - START).days
    counts = of(days, lambda _, day: 20 if types.of(day) == HOLIDAY else 100)
    seen = forecast_of(known(counts, day_types=types), "holiday:autumn:2024", 500)
    unseen = forecast_of(known(counts), "holiday:autumn:2024", 500)
    assert unseen.projected_total.p50 == pytest.approx(700, rel=0.01)
    assert seen.projected_total.p50 is not None
    assert 140 < seen.projected_total.p50 < 560, "five days of it were seen: taken for more than half"


def test_a_holiday_that_is_no_different_changes_nothing() -> None:
    types = DayTypes((AUTUMN,))
    days = (date(2024, 9, 20) - START).days
    made = forecast_of(known([100] * days, day_types=types), "holiday:autumn:2024", 500)
    assert made.projected_total.p50 == 700


def test_a_weekend_day_that_is_worked_is_a_working_day() -> None:
    types = DayTypes((AUTUMN,))
    days = (date(2024, 3, 2) - START).days
    counts = of(days, lambda _, day: 10 if day.weekday() in WEEKEND else 100)
    saturday = forecast_of(known(counts), "day:2024-03-02", 1).projected_total.p50
    worked = forecast_of(known(counts, day_types=types), "day:2024-03-02", 1).projected_total.p50
    assert saturday is not None
    assert worked is not None
    assert saturday < 30
    assert worked > 80


# Parts --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "share"),
    [
        (time(0, 0), 0.0),
        (time(9, 0), 0.0),
        (time(9, 30), 0.25),
        (time(10, 0), 0.5),
        (time(10, 15), 0.625),
        (time(23, 59), 1.0),
    ],
)
def test_the_share_of_a_day_follows_the_usual_hours(moment: time, share: float) -> None:
    hours = [0] * 24
    hours[9] = hours[10] = 500
    assert usual_share(hours, moment) == pytest.approx(share)


def test_without_hours_a_day_is_even() -> None:
    assert usual_share([0] * 24, time(6, 0)) == 0.25
    assert usual_share([], time(18, 0)) == 0.75


def test_errors_are_measured_only_over_as_many_days_as_there_is_past_for() -> None:
    world = known([100 + number % 3 for number in range(60)])
    model = world.history.model
    assert model is not None
    near, far = measure(model, 5), measure(model, 200)
    assert near is not None
    assert far is not None
    assert near.measured_days == 5
    assert (far.measured_days, far.errors) == (23, 24)
    assert far.units(1000, 4 * 23) == pytest.approx(2 * far.units(1000, 23)), "stretched with the root of time"


def test_the_range_holds_eight_of_ten_past_errors_and_not_many_more() -> None:
    rng = random.Random(11)
    model = known([round(rng.gauss(100, 20)) for _ in range(MID_MAY)]).history.model
    assert model is not None
    spread = measure(model, 7)
    assert spread is not None
    held, weights, origins = 0.0, 0.0, range(MID_MAY - 8, (MID_MAY - 32) // 2 - 1, -2)
    assert len(origins) == spread.errors
    for origin in origins:
        forecast = sum(model.at(origin).expected(model.types[origin : origin + 7]))
        came = model.units(origin, origin + 7)
        weight = 0.5 ** ((MID_MAY - 7 - origin) / 120)
        weights += weight
        error = abs(came - forecast) / max(forecast, (forecast + came) / 2)
        held += weight * (error <= spread.relative * (1 + 1e-9))
    # With this many weeks, the correction for few errors is only a few percent.
    assert 0.8 <= held / weights <= 0.9


def test_in_a_trend_errors_at_points_without_one_count_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restless weeks, and then a steady rise: the range is that of the rise."""
    rng = random.Random(2)
    counts = [*(round(rng.gauss(100, 40)) for _ in range(150)), *(100 + 2 * number for number in range(110))]

    def relative() -> float:
        spread = measure(PaceModel(START, counts, NO_HOLIDAYS), 14)
        assert spread is not None
        return spread.relative

    narrow = relative()
    monkeypatch.setattr("streams.domain.forecasts.forecast_range.WEIGHT_IF_UNLIKE", 1.0)
    assert 0 < narrow < 0.8 * relative()


def test_a_range_measured_on_noise_holds_what_comes_eight_times_of_ten() -> None:
    rng = random.Random(5)
    held = 0
    for _ in range(150):
        days = [round(rng.gauss(100, 20)) for _ in range(MID_MAY + 17)]
        total = forecast_of(known(days[:MID_MAY]), "month:2024-05", 3000).projected_total
        assert total.p10 is not None
        assert total.p90 is not None
        held += total.p10 <= sum(days[-31:]) <= total.p90
    assert 0.68 <= held / 150 <= 0.92


def test_the_lower_end_of_a_range_never_falls_with_time() -> None:
    """With wild errors the stretched range grows faster than the forecast, but what was certain stays certain."""
    wild = of(60, lambda number, _: 400 if number % 9 == 0 else 20 + number % 5)
    projection = project(known(wild), period_of("year:2024"))
    assert projection is not None
    assert projection.low is not None
    assert projection.spread is not None
    assert projection.spread.relative * math.sqrt(400 / projection.spread.measured_days) > 1
    assert max(projection.low) > 0
    assert all(before <= after for before, after in pairwise(projection.low))


def test_the_range_of_a_period_to_come_is_as_wide_as_its_distance() -> None:
    counts = of(60, lambda number, _: 100 + (number * number * 7) % 41)
    near, far = (project(known(counts), period_of(f"month:2024-{month}")) for month in ("03", "10"))
    assert near is not None
    assert far is not None
    assert near.high is not None
    assert far.high is not None
    assert far.high[30] / far.middle[30] - 1 > 1.8 * (near.high[30] / near.middle[30] - 1)


# A window without an end ---------------------------------------------------------------------------------------------


def of_total(world: Known, value: int) -> Forecast:
    """The forecast of a target of all time."""
    target = Target("aim", "deliveries", "all", "total", value)
    return forecast(target, total_period(START), world, as_of=AS_OF, timezone="Asia/Shanghai")


def test_a_target_of_all_time_has_a_date_and_no_plan_line() -> None:
    world = replace(known([10] * 100), balance=480_000)
    made = of_total(world, 481_100)
    assert (made.count, made.state, made.projected_date.p50) == (481_000, "ahead", "2024-04-19")
    assert (made.plan_count, made.ahead_units, made.ahead_days, made.pace_needed) == (481_000, 0, 0.0, None)
    assert (made.start, made.end, made.horizon) == ("1999-12-31", "2101-01-01", "2025-04-10")
    assert made.projected_total.p50 == 481_000 + 366 * 10
    assert made.note.startswith("expected on 2024-04-19")


def test_a_target_of_all_time_that_is_not_reached_within_a_year_is_behind() -> None:
    made = of_total(known([10] * 100), 1000 + 366 * 10 + 1)
    assert (made.state, made.projected_date.p50) == ("behind", None)
    assert made.note.startswith("not expected by 2025-04-10")


def test_a_target_of_all_time_is_reached_by_the_unit_that_the_balance_leaves_to_be_counted() -> None:
    world = replace(known([10] * 100), balance=480_000)
    assert (of_total(world, 480_995).reached_on, of_total(world, 480_995).state) == ("2024-04-09", "reached")
    before = of_total(world, 480_000)
    assert (before.state, before.reached_on, before.projected_date.p50) == ("reached", None, None)
    assert before.note == "reached before the days that are counted here"


def test_nothing_is_projected_of_all_time_without_a_complete_day() -> None:
    made = of_total(known([], today=3), 100)
    assert (made.state, made.projected_total.p50, made.quality) == ("behind", None, "none")
