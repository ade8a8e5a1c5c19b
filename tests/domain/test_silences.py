"""Silences: what is usual, when a scope is silent, and which alerts follow, against a recount over whole hours."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import decode_milestone, encode_milestone
from streams.domain.alerts.silences import REACH_DAYS, SPAN_DAYS, Look, ScopeHours, SilenceAlerts
from streams.domain.rules import Rule
from streams.domain.time.daytypes import DayTypes
from streams.domain.time.zone import BusinessZone
from tests.domain.forecast_world import AUTUMN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.outputs import MilestoneEvent

ZONE = BusinessZone("Asia/Shanghai")
TYPES = DayTypes((AUTUMN,))
#: Five units in each hour from 8 to 17, from Monday to Friday.
SHIFT = range(8, 18)
UNITS = 5
RULE = Rule("silent", "deliveries", "day", ("factory",), None, None, stalled_hours=3)
LITTLE = Rule("little", "deliveries", "day", ("factory",), None, None, stalled_hours=4, stalled_below=0.2)
SCOPE = "factory=BJ1"
NAME = "deliveries/factory=BJ1/hours/stalled:3"
#: A Wednesday, after nine ordinary weeks.
TODAY = date(2024, 5, 15)


@dataclass
class Day:
    """The counts of a day."""

    hours: list[int]
    backfilled: int = 0

    @property
    def count(self) -> int:
        return sum(self.hours)

    @property
    def by_hour(self) -> Sequence[int]:
        return self.hours


@dataclass
class World:
    """A factory that works from Monday to Friday; hours that differ, by date and hour; and who writes the alerts."""

    rules: list[Rule] = field(default_factory=lambda: [RULE])
    changed: dict[tuple[date, int], int] = field(default_factory=dict)
    until: datetime = datetime(2024, 5, 15, 8)  # noqa: DTZ001 - local
    loaded: bool = False
    events: list[MilestoneEvent] = field(default_factory=list)
    quiet: set[str] = field(default_factory=set)
    judged: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.take_over()

    def take_over(self) -> None:
        self.alerts = SilenceAlerts(self.rules, TYPES, ZONE)
        for event in self.events:
            self.alerts.restore(decode_milestone(encode_milestone(event)))
        for name in self.quiet:
            self.alerts.restore_quiet(name)
        for name in self.judged:
            self.alerts.restore_judged(name)

    def day(self, metric: str, scope: str, day: date) -> Day | None:
        assert (metric, scope) == ("deliveries", SCOPE)
        if day < date(2024, 3, 1) or TYPES.of(day) >= 5:
            return None if not any(key[0] == day for key in self.changed) else Day(self._hours(day, works=False))
        hours = self._hours(day, works=True)
        return Day(hours, sum(hours) if self.loaded and day < TODAY else 0)

    def _hours(self, day: date, *, works: bool) -> list[int]:
        usual = [UNITS if works and hour in SHIFT and self._has_come(day, hour) else 0 for hour in range(24)]
        return [self.changed.get((day, hour), units) for hour, units in enumerate(usual)]

    def _has_come(self, day: date, hour: int) -> bool:
        return datetime(day.year, day.month, day.day, hour) < self.until  # noqa: DTZ001 - local

    def look(self, day: date, hour: int, minute: int = 0) -> list[tuple[str, str | None]]:
        """Judges as of a local time, with everything before its hour read; returns the alerts."""
        now = datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC) - timedelta(hours=8)
        now_us = int(now.timestamp()) * 1_000_000
        before = len(self.events)
        for rule in self.rules:
            heard = self.alerts.judge(self, rule, SCOPE, ZONE.cell_of(now_us), now_us)
            self.events += [heard.event] if heard.event is not None else []
            if heard.quiet is not None:
                (self.quiet.add if heard.quiet[1] else self.quiet.discard)(heard.quiet[0])
        self.judged += self.alerts.first_judged()
        return [(event.type.split(".")[1], event.data.ended) for event in self.events[before:]]


@pytest.fixture
def world() -> World:
    made = World()
    assert made.look(date(2024, 5, 15), 8) == []
    return made


def test_three_usual_hours_without_a_unit_are_a_silence_that_ends_with_the_next_one(world: World) -> None:
    assert world.look(TODAY, 10, 59) == []
    assert world.look(TODAY, 11) == [("raised", None)]
    silence = world.events[0].data.silence
    assert silence is not None
    assert (silence.since, silence.until) == ("2024-05-15T08:00:00+08:00", "2024-05-15T11:00:00+08:00")
    assert (silence.hours, silence.usual, world.events[0].data.count) == (3, 15.0, 0)
    world.take_over()
    assert world.look(TODAY, 12) == []
    world.changed[TODAY, 12] = 1
    assert world.look(TODAY, 12, 5) == [("ended", "back")]
    assert [event.data.milestone_id for event in world.events] == [NAME, NAME]
    assert [event.data.revision for event in world.events] == [1, 2]


def test_hours_in_which_nothing_usually_comes_are_passed_over(world: World) -> None:
    world.until = datetime(2024, 5, 17, 17)  # noqa: DTZ001 - local
    assert world.look(date(2024, 5, 18), 3) == []
    assert world.look(date(2024, 5, 19), 23) == [], "a weekend"
    assert world.look(date(2024, 5, 20), 9) == [], "one hour on Friday and one on Monday"
    assert world.look(date(2024, 5, 20), 10) == [("raised", None)]


def test_on_a_holiday_nothing_is_usual() -> None:
    world = World(until=datetime(2024, 9, 30, 18))  # noqa: DTZ001 - local
    assert world.look(date(2024, 9, 30), 18) == []
    for day in range(1, 8):
        assert world.look(date(2024, 10, day), 20) == []
    assert world.look(date(2024, 10, 8), 11) == [("raised", None)]


def test_a_silence_that_was_there_before_its_rule_is_no_news_and_the_next_one_is() -> None:
    world = World()
    assert world.look(TODAY, 14) == []
    world.take_over()
    assert world.look(TODAY, 15) == []
    world.changed[TODAY, 15] = 2
    assert world.look(TODAY, 16) == []
    assert world.look(date(2024, 5, 16), 9) == [("raised", None)], "16 and 17, and 8 of the next day"


def test_days_that_were_loaded_as_history_make_nothing_usual() -> None:
    world = World(loaded=True)
    assert world.look(TODAY, 8) == []
    assert world.look(TODAY, 18) == []


def test_an_alert_of_what_is_not_usual_any_more_or_of_a_rule_that_is_gone_ends(world: World) -> None:
    assert world.look(TODAY, 11) == [("raised", None)]
    assert world.look(date(2024, 9, 3), 12) == [("ended", "gone")]
    again = World(rules=[LITTLE], events=world.events[:1])
    assert [event.data.ended for event in again.alerts.end_others(0)] == ["gone"]


def test_little_is_told_too_and_ends_with_twice_as_much() -> None:
    world = World(rules=[LITTLE])
    assert world.look(TODAY, 8) == []
    world.changed[TODAY, 8] = 3
    assert world.look(TODAY, 12) == [("raised", None)], "3 of 20 are less than a fifth"
    world.changed[TODAY, 12] = 4
    assert world.look(TODAY, 12, 30) == [], "7 of 20 are less than two fifths"
    world.changed[TODAY, 12] = 5
    assert world.look(TODAY, 12, 45) == [("ended", "back")]


gaps = st.dictionaries(st.integers(0, 5 * 24 - 1), st.sampled_from([0, 0, 0, 1, 9]), max_size=40)


@given(gaps, st.lists(st.booleans(), min_size=5 * 24, max_size=5 * 24))
def test_any_hours_are_told_as_a_recount_says_whoever_writes(changes: dict[int, int], takes_over: list[bool]) -> None:
    world = World(until=datetime(2024, 5, 20, 18))  # noqa: DTZ001 - local
    first = date(2024, 5, 13)
    for hour, units in changes.items():
        if units or hour % 24 in SHIFT:
            world.changed[first + timedelta(days=hour // 24), hour % 24] = units
    assert world.look(first, 0) == []
    told = []
    for hour in range(1, 5 * 24):
        if takes_over[hour]:
            world.take_over()
        told += [(hour, what) for what, _ in world.look(first + timedelta(days=hour // 24), hour % 24)]
    counted = [changes.get(hour, UNITS if hour % 24 in SHIFT else 0) for hour in range(5 * 24)]
    expected, stands = [], False
    for now in range(1, 5 * 24):
        # Only the hours of shifts are usual: in earlier weeks there were no others, and all came on the Friday before.
        usual = [hour for hour in range(now) if hour % 24 in SHIFT]
        is_silent = len(usual) >= 3 and not any(counted[usual[-3] : now + 1])
        if is_silent is not stands:
            stands = is_silent
            expected.append((now, "raised" if stands else "ended"))
    assert told == expected


class Scattered:
    """Days with any hours; some sorts are so rare that their days are found only at the end of the reach."""

    def __init__(self, dice: Random) -> None:
        some, part = dice.choice((0.1, 0.4, 1.0)), dice.choice((0.1, 0.5, 1.0))
        rest = dice.choice((0, 0, 5, 20))
        self.days: dict[date, Day] = {}
        for back in range(-1, SPAN_DAYS + REACH_DAYS + 3):
            if dice.random() < some and not 0 <= back < rest:
                hours = [dice.randrange(1, 4) if dice.random() < part else 0 for _ in range(24)]
                self.days[TODAY - timedelta(days=back)] = Day(hours, dice.choice((0, 0, sum(hours))))

    def day(self, metric: str, scope: str, day: date) -> Day | None:
        assert (metric, scope) == ("deliveries", SCOPE)
        return self.days.get(day)

    def units(self, cell: int) -> int:
        counted = self.days.get(date.fromordinal(cell // 24))
        return counted.hours[cell % 24] if counted is not None else 0

    def usual(self, cell: int) -> float:
        """Of one hour, from all days in its reach."""
        day = date.fromordinal(cell // 24)
        before = [day - timedelta(days=back) for back in range(1, REACH_DAYS + 1)]
        alike = [each for each in before if each in self.days and TYPES.of(each) == TYPES.of(day)]
        live = [each for each in alike if self.days[each].count > self.days[each].backfilled]
        units = [self.days[each].hours[cell % 24] for each in live[:4]]
        return sum(units) / len(units) if sum(map(bool, units)) >= 3 else 0.0

    def look(self, at: int, now: int, hours: int, *, until_any: bool) -> Look:
        """Hour by hour."""
        units, usual, found = sum(map(self.units, range(at, max(at, now) + 1))), 0.0, 0
        for cell in range(at - 1, at - SPAN_DAYS * 24, -1):
            if units and until_any:
                break
            units += self.units(cell)
            here = self.usual(cell)
            usual += here
            found += here > 0
            if found == hours:
                return Look(cell, units, usual)
        return Look(None, units, usual)


@settings(max_examples=150)
@given(st.integers(0, 2**32))
def test_looking_back_day_by_day_finds_what_hour_by_hour_does(seed: int) -> None:
    dice = Random(seed)
    days = Scattered(dice)
    at = TODAY.toordinal() * 24 + dice.randrange(24)
    asked = at, at + dice.choice((-2, 0, 1, 30)), dice.choice((1, 3, 10, 40))
    until_any = dice.random() < 0.5
    found = ScopeHours(days, TYPES, ZONE, "deliveries", SCOPE).look(*asked, until_any=until_any)
    assert found == days.look(*asked, until_any=until_any)


class Nights:
    """Units at two and at four o'clock of every Sunday, until the night in which the clocks skip two o'clock."""

    def day(self, metric: str, scope: str, day: date) -> Day | None:
        assert (metric, scope) == ("deliveries", SCOPE)
        is_sunday = day.weekday() == 6 and day < date(2025, 3, 30)
        return Day([int(hour in {2, 4}) for hour in range(24)]) if is_sunday else None


@pytest.mark.parametrize("day_starts", [0, 2])
def test_an_hour_that_the_clocks_skip_is_not_missed(day_starts: int) -> None:
    zone = BusinessZone("Europe/Berlin", day_starts)
    hours = ScopeHours(Nights(), DayTypes(), zone, "deliveries", SCOPE)
    midnight = date(2025, 3, 30).toordinal() * 24
    skipped = 2 - day_starts
    if not day_starts:
        found = hours.look(midnight + 4, midnight + 4, 1, until_any=True)
        assert found == Look(midnight - 7 * 24 + 4, 1, 1.0), "the last usual hour was a week ago, and had its unit"
    assert zone.skips(midnight + skipped)
    assert not zone.skips(midnight + skipped + 1)
    assert hours.look(midnight + 5, midnight + 5, 1, until_any=True) == Look(midnight + 4, 0, 1.0)
