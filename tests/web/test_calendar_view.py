"""What the calendar page shows of a year."""

from __future__ import annotations

import time
from datetime import date
from typing import TYPE_CHECKING

from streams.holidays import holiday_years
from streams.settings import Settings
from streams.web.readmodel import Feed
from streams.web.status import service_status
from streams.web.topic_follower import FollowState
from streams.web.views.calendar import CalendarParameters, calendar, day_view
from streams.web.views.common import Ask
from tests.support.outputs import row, row_record

if TYPE_CHECKING:
    from streams.web.readmodel import ReadModel


def test_a_holiday_has_the_count_of_its_row_else_the_sum_of_its_days(model: ReadModel) -> None:
    days = [row(f"day:2024-05-0{day}", 10 * day) for day in (1, 2, 5, 6)]
    national = [row(f"day:2024-10-0{day}", 1) for day in range(1, 8)]
    holiday = row("holiday:national-day:2024", 6001) | {"start": "2024-10-01", "end": "2024-10-07"}
    model.apply([(Feed.WINDOWS, [row_record(each, place) for place, each in enumerate([*days, *national, holiday])])])
    state = FollowState(broker_seen_s=time.monotonic(), caught_up_s=time.monotonic(), problem="")
    with model.snapshot() as view:
        ask = Ask(view, service_status(view, state, Settings()), Settings(), holiday_years())
        shown = calendar(ask, CalendarParameters(year=2024, metric="deliveries", scope="model=SU7"))
    counts = {each.name: each.count for each in shown.holidays}
    assert counts["labour-day"] == 10 + 20 + 50, "1 to 5 May; the 6th is none of it"
    assert counts["national-day"] == 6001
    assert counts["qingming"] is None


def test_a_day_that_is_no_longer_kept_is_not_zero(model: ReadModel) -> None:
    rows = [
        row("day:2024-05-05", 50),
        row("day:2024-05-05", 50, scope="all"),
        row("year:2024", 80) | {"start": "2024-01-01", "end": "2024-12-31"},
    ]
    model.apply([(Feed.WINDOWS, [row_record(each, place) for place, each in enumerate(rows)])])
    state = FollowState(broker_seen_s=time.monotonic(), caught_up_s=time.monotonic(), problem="")
    with model.snapshot() as view:
        today = date.fromisoformat(service_status(view, state, Settings()).business_date)
        settings = Settings(keep_days={"model": (today - date(2024, 5, 3)).days})
        ask = Ask(view, service_status(view, state, settings), settings, holiday_years())
        parameters = CalendarParameters(year=2024, metric="deliveries", scope="model=SU7")
        shown, then = calendar(ask, parameters), day_view(ask, date(2024, 5, 2), parameters)
        later = day_view(ask, date(2024, 5, 4), parameters)
        everything = calendar(ask, CalendarParameters(year=2024, metric="deliveries", scope="all"))
    days = {each.date: (each.count, each.known) for each in shown.days}
    assert [days[f"2024-05-0{day}"] for day in (2, 3, 4, 5)] == [(None, False), (None, True), (None, True), (50, True)]
    assert shown.kept_since == "2024-05-03"
    assert shown.total == 80, "the row of the year has what its days have no rows for"
    assert (then.count, then.kept_since, later.count) == (None, "2024-05-03", 0)
    assert everything.kept_since is None
    assert all(each.known for each in everything.days)
