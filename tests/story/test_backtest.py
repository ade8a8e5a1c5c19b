"""The back-test of the story: the model is no worse than a straight line, and the documents show its output."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from streams.domain.forecasts.backtest import Past, complete_periods, score
from streams.domain.time.daytypes import DayTypes
from streams.domain.time.periods import month_period, year_period
from streams.holidays import holiday_years
from tests.support.whole_story import expected

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "deploy" / "demo" / "BACKTEST.md"
DAYS_OF_MONTH = (1, 15)


@pytest.fixture(scope="module")
def past() -> Past:
    return Past(expected().counts["deliveries"], DayTypes(holiday_years()))


def test_the_page_shows_what_the_command_prints() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "streams", "backtest", "--story"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    printed = "\n".join(line.rstrip() for line in done.stdout.splitlines())
    assert printed in PAGE.read_text(encoding="utf-8"), "run: milestones backtest --story, and put its tables there"
    assert "SIMULATED" in done.stderr


def test_the_model_does_not_lose_to_the_same_pace(past: Past) -> None:
    for period_of in (month_period, year_period):
        periods = complete_periods(past, period_of)
        mean = score(past.say(period, day) for period in periods for day in past.dates(period, DAYS_OF_MONTH))
        assert mean.model < mean.same_pace
        assert mean.model < mean.recent_pace


def test_on_all_mornings_of_all_months_it_does_not_lose_either_and_its_ranges_hold(past: Past) -> None:
    months = [period for period in complete_periods(past, month_period) if period.start >= date(2024, 5, 1)]
    mean = score(past.say(month, day) for month in months for day in past.dates(month, range(1, 32)))
    said = re.search(
        r"(\d+) of them.*?([\d.]+) % for the model, ([\d.]+) % for the same pace and\s+([\d.]+) % for the last 28 days; (\d+) %",
        PAGE.read_text(encoding="utf-8"),
        re.DOTALL,
    )
    assert said is not None
    assert mean.model < mean.same_pace
    assert mean.model < mean.recent_pace
    assert mean.held / mean.ranges == pytest.approx(0.8, abs=0.1)
    assert said.groups() == (
        str(mean.ranges),
        *(f"{error:.1%}".removesuffix("%") for error in (mean.model, mean.same_pace, mean.recent_pace)),
        f"{mean.held / mean.ranges:.0%}".removesuffix("%"),
    )


def test_the_hundred_thousand_by_november_were_expected_from_early_october_on(past: Past) -> None:
    year = year_period(date(2024, 1, 1))
    first, since = past.first_expected_by(year, 100_000, date(2024, 11, 30))
    assert (first, since) == (date(2024, 6, 21), date(2024, 10, 6))
    assert past.date_reaching(year, 100_000) == date(2024, 11, 16)
    assert past.first_expected_by(year, 100_000, date(2024, 10, 31)) == (None, None)
