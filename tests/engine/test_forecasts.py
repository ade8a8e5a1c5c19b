"""Which forecasts are published, and when."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from schemas.codec import decode_forecast, decode_milestone
from schemas.memory import EXPECTED, name_of
from streams.domain.alerts.early_warnings import EarlyWarnings
from streams.domain.rules import Rule, Target
from streams.domain.time.daytypes import DayTypes
from streams.domain.time.zone import MINUTE_US, BusinessZone
from streams.totals.forecasts import Forecasts, Parts, is_news
from tests.domain.forecast_world import CALENDAR, forecast_of, known

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from schemas.outputs import Forecast
    from streams.kafka.outbox import Outgoing

SECOND_US = 1_000_000
HOUR_US = 3600 * SECOND_US
TODAY = date(2024, 5, 15)
#: Noon of that day in Shanghai.
NOON_US = int(datetime(2024, 5, 15, 4, tzinfo=UTC).timestamp()) * SECOND_US
MAY = Target("may", "deliveries", "all", "month:2024-05", 3000)
YEAR = Target("year", "deliveries", "all", "year:2024", 30_000)
PARTS = Parts("f", "m", "t")
WARNING = Rule("risk", "deliveries", "month", (), None, None, forecast_behind=0.02, forecast_moves_days=3)
KEY = b"deliveries/all/month:2024-05/may"


@dataclass
class Day:
    """The row of a day, its units spread over the hours from 8 to 19."""

    count: int

    @property
    def by_hour(self) -> Sequence[int]:
        return [*([0] * 8), *([self.count // 12] * 12), *([0] * 4)]


@dataclass
class Days:
    """Rows of a hundred a day until yesterday, and those that a test adds."""

    today: int = 50
    units: dict[date, int] = field(default_factory=dict)
    asked: int = 0
    before: int = 0
    loaded: int = 0

    def day(self, metric: str, scope: str, day: date) -> Day | None:
        self.asked += 1
        assert (metric, scope) == ("deliveries", "all")
        if day in self.units:
            return Day(self.units[day])
        if day == TODAY:
            return Day(self.today)
        return Day(100) if date(2024, 1, 1) <= day < TODAY else None

    def backfilled(self, metric: str, scope: str) -> int:
        assert (metric, scope) == ("deliveries", "all")
        return self.loaded

    def balance(self, metric: str, scope: str) -> int:
        assert (metric, scope) == ("deliveries", "all")
        return self.before

    def day_counts(self, metric: str, scope: str) -> Iterable[tuple[date, int]]:
        self.asked += 1
        assert (metric, scope) == ("deliveries", "all")
        first = date(2024, 1, 1)
        units = {first + timedelta(days=number): 100 for number in range((TODAY - first).days)}
        return (units | {TODAY: self.today} | self.units).items()


class World:
    """The forecasts, the days, both clocks, and what has been published."""

    def __init__(self) -> None:
        self.days = Days()
        self.now_us = NOON_US
        self.topic: list[Outgoing] = []
        self.targets: list[Target] = [MAY]
        self.rules: list[Rule] = []
        self.restart()

    def restart(self) -> None:
        warnings = EarlyWarnings(self.rules)
        self.forecasts = Forecasts(PARTS, CALENDAR, BusinessZone("Asia/Shanghai"), DayTypes(), warnings, lambda: 0.0)
        memory: dict[bytes, bytes | None] = {}
        for record in self.topic:
            assert record.key is not None
            if record.topic == PARTS.memory:
                memory[record.key] = record.value
            elif record.topic == PARTS.milestones:
                assert record.value is not None
                self.forecasts.restore_alert(decode_milestone(record.value))
            else:
                self.forecasts.restore(record.key, record.value)
        for key, value in memory.items():
            if value is not None:
                self.forecasts.restore_expected(name_of(key)[1].removeprefix(EXPECTED), value)

    def step(self, seconds: float = 0.0, wall_s: float | None = None) -> list[Forecast | None]:
        """Moves the clock on and judges; both clocks move by as much unless given separately."""
        self.now_us += int(seconds * SECOND_US)
        self.wall_us = getattr(self, "wall_us", NOON_US) + int((seconds if wall_s is None else wall_s) * SECOND_US)
        groups = self.forecasts.records(self.days, self.targets, now_us=self.now_us, wall_us=self.wall_us)
        records = [record for group in groups for record in group]
        self.topic += records
        forecasts = [record for record in records if record.topic == PARTS.forecasts]
        return [decode_forecast(record.value) if record.value is not None else None for record in forecasts]

    def alerts(self) -> list[tuple[str, str, int]]:
        """Alerts so far: kind, what happened, revision."""
        told = [record for record in self.topic if record.topic == PARTS.milestones]
        events = [decode_milestone(record.value) for record in told if record.value is not None]
        assert [event.subject.encode() for event in events] == [record.key for record in told]
        return [(event.data.kind, event.type.split(".")[1], event.data.revision) for event in events]


@pytest.fixture
def world() -> World:
    return World()


def test_each_target_is_forecast_at_once_under_its_key(world: World) -> None:
    world.targets = [MAY, YEAR]
    made = world.step()
    assert [record.key for record in world.topic] == [KEY, b"deliveries/all/year:2024/year"]
    assert {record.topic for record in world.topic} == {"f"}
    first = made[0]
    assert first is not None
    assert (first.count, first.business_date, first.as_of) == (1450, "2024-05-15", "2024-05-15T04:00:00.000Z")
    # By noon a third of the units has usually come, so two thirds of a day remain.
    assert first.projected_total.p50 == 1450 + 67 + 1600


def test_nothing_is_asked_while_nothing_is_due(world: World) -> None:
    world.step()
    asked = world.days.asked
    for _ in range(50):
        assert world.step(1.1) == []
    assert world.days.asked == asked
    world.step(10)
    assert world.days.asked > asked


def test_a_small_change_is_no_news(world: World) -> None:
    world.step()
    world.days.today += 29
    assert world.step(61) == []


def test_one_in_a_hundred_of_the_target_is_news_a_minute_later(world: World) -> None:
    world.step()
    world.days.today += 31
    assert world.step(59) == []
    assert [made and made.count for made in world.step(2)] == [1481]


def test_no_target_is_published_twice_within_a_minute_whatever_happens(world: World) -> None:
    published_at = []
    for _ in range(40):
        world.days.today += 200
        if world.step(13):
            published_at.append(world.now_us)
    assert len(published_at) >= 5
    assert all(after - before >= MINUTE_US for before, after in pairwise(published_at))


def test_reaching_it_is_news_and_then_all_is_said(world: World) -> None:
    world.targets = [Target("may", "deliveries", "all", "month:2024-05", 1451)]
    world.step()
    world.days.today += 1
    made = world.step(61)
    assert [each and each.state for each in made] == ["reached"]
    assert world.step(61) == []


def test_a_new_business_date_is_news(world: World) -> None:
    world.step()
    world.days.units[TODAY] = 100
    assert [each and each.business_date for each in world.step(12 * 3600)] == ["2024-05-16"]


def test_a_period_that_is_over_is_news_once_and_with_every_later_count(world: World) -> None:
    april = Target("april", "deliveries", "all", "month:2024-04", 3001)
    world.targets = [april]
    assert [each and each.state for each in world.step()] == ["missed"]
    world.days.units[TODAY] = 100
    assert world.step(24 * 3600) == []
    world.days.units[date(2024, 4, 30)] = 101
    assert [each and (each.state, each.reached_on) for each in world.step(61)] == [("reached", "2024-04-30")]


def test_a_restart_publishes_nothing_new(world: World) -> None:
    world.targets = [MAY, YEAR]
    world.step()
    world.restart()
    assert world.step() == []
    assert world.step(61) == []


def test_after_a_restart_the_minute_still_counts(world: World) -> None:
    world.step()
    world.days.today += 500
    world.restart()
    assert world.step(30) == []
    assert len(world.step(61)) == 1


def test_a_target_that_is_withdrawn_gets_one_tombstone(world: World) -> None:
    world.targets = [MAY, YEAR]
    world.step()
    world.targets = [YEAR]
    assert world.step(1) == [None]
    assert world.topic[-1].key == KEY
    assert world.step(61) == []
    world.restart()
    assert world.step(61) == []


def test_a_target_withdrawn_while_no_worker_ran_gets_its_tombstone_at_takeover(world: World) -> None:
    world.step()
    world.targets = []
    world.restart()
    assert world.step() == [None]


def test_a_changed_target_is_forecast_at_once(world: World) -> None:
    world.step()
    world.targets = [Target("may", "deliveries", "all", "month:2024-05", 2000)]
    assert [each and each.value for each in world.step(1)] == [2000]


def test_a_forecast_has_the_label_of_its_target_and_another_one_is_news(world: World) -> None:
    assert [each and each.label for each in world.step()] == [None]
    world.targets = [Target("may", "deliveries", "all", "month:2024-05", 3000, "May")]
    assert [each and each.label for each in world.step(61)] == ["May"]


def test_a_target_that_comes_back_is_forecast_again(world: World) -> None:
    world.step()
    world.targets = []
    world.step(1)
    world.targets = [MAY]
    assert [each and each.target_id for each in world.step(1)] == ["may"]


def test_a_target_on_a_holiday_that_no_calendar_gives_has_no_forecast(world: World) -> None:
    world.targets = [Target("x", "deliveries", "all", "holiday:autumn:2031", 10)]
    assert world.step() == []


def test_where_the_clock_runs_fast_forecasts_are_made_once_a_second_at_most(world: World) -> None:
    """While history is loaded, days go by within milliseconds."""
    world.step()
    asked = world.days.asked
    for _ in range(40):
        assert world.step(24 * 3600, wall_s=0.02) == []
    assert world.days.asked == asked
    assert len(world.step(24 * 3600, wall_s=0.5)) == 1


def test_once_the_clock_stands_still_the_last_word_is_said(world: World) -> None:
    """At the end of a story, or of a load of history, the events' clock will not move any more."""
    world.step()
    world.days.today += 500
    assert world.step(20, wall_s=1.1) == []
    assert world.step(0, wall_s=1.0) == []
    assert [made and made.count for made in world.step(0, wall_s=1.1)] == [1950]


def test_what_comes_late_while_the_clock_stands_still_is_news_once_a_minute(world: World) -> None:
    world.step()
    published = []
    for second in range(200):
        world.days.today += 40
        published += [second for _ in world.step(0, wall_s=1.0)]
    assert len(published) in {3, 4}
    assert all(after - before >= 60 for before, after in pairwise(published[1:]))


def test_a_standing_clock_asks_nothing_where_nothing_comes(world: World) -> None:
    world.targets = [Target(str(number), "deliveries", "all", "month:2024-05", 3000 + number) for number in range(10)]
    sizes = [len(world.step(0, wall_s=1.0)) for _ in range(10)]
    assert sum(sizes) == 10
    asked = world.days.asked
    for _ in range(40):
        world.step(0, wall_s=1.0)
    assert world.days.asked == asked


def test_many_targets_are_forecast_a_few_at_a_time(world: World) -> None:
    world.targets = [Target(str(number), "deliveries", "all", "month:2024-05", 3000 + number) for number in range(10)]
    sizes = [len(world.step(0, wall_s=0)) for _ in range(5)]
    assert sizes == [4, 4, 2, 0, 0]


def test_a_published_forecast_of_a_later_clock_holds_nothing_back(world: World) -> None:
    """The clock was the wall clock before, and now follows the events."""
    world.step()
    world.restart()
    world.days.today += 500
    world.now_us -= HOUR_US
    assert len(world.step()) == 1


def test_a_range_that_appears_is_news() -> None:
    before = forecast_of(known([100] * 29, start=TODAY - 29 * timedelta(days=1)), "month:2024-06", 3000)
    after = forecast_of(known([100] * 30, start=TODAY - 30 * timedelta(days=1)), "month:2024-06", 3000)
    assert before.projected_total.p10 is None
    assert after.projected_total.p10 is not None
    assert is_news(before, after)
    assert not is_news(after, after)


def test_a_target_that_is_expected_to_be_missed_is_told_once_whoever_writes(world: World) -> None:
    world.rules = [WARNING]
    world.restart()
    world.step()
    assert world.alerts() == [], "what is met first is where comparing begins"
    world.restart()
    for day in range(5, 15):
        world.days.units[date(2024, 5, day)] = 60
    world.step(61)
    behind = ("forecast_behind", "raised", 1)
    assert world.alerts() == [behind]
    world.restart()
    world.step(61)
    assert world.alerts() == [behind]
    world.days.units.clear()
    world.step(61)
    assert world.alerts() == [behind], "one a day and target"
    world.restart()
    world.days.today = 100
    world.step(24 * 3600)
    assert world.alerts() == [behind, ("forecast_behind", "ended", 2)]


def test_history_that_is_loaded_raises_nothing(world: World) -> None:
    world.rules = [WARNING]
    world.restart()
    world.step()
    for day in range(5, 15):
        world.days.units[date(2024, 5, day)] = 60
    world.days.loaded = 10
    for _ in range(3):
        world.step(61)
        world.restart()
    assert world.alerts() == []


def test_alerts_of_a_target_that_is_withdrawn_or_of_a_rule_that_is_gone_end(world: World) -> None:
    world.rules = [WARNING]
    world.restart()
    world.step()
    for day in range(5, 15):
        world.days.units[date(2024, 5, day)] = 60
    world.step(61)
    ended = [("forecast_behind", "raised", 1), ("forecast_behind", "ended", 2)]
    whole = list(world.topic)
    world.targets = []
    world.step(1)
    assert world.alerts() == ended
    memory = {record.key: record.value for record in world.topic if record.topic == PARTS.memory}
    assert list(memory.values()) == [None]
    world.topic, world.targets, world.rules = whole, [MAY], []
    world.restart()
    world.step(1)
    assert world.alerts() == ended
