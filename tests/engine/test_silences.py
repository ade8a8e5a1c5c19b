"""When scopes are checked for silences, and what a new writer continues with."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from schemas.codec import decode_milestone
from schemas.memory import JUDGED, QUIET, SOURCE_HOURS, name_of
from schemas.outputs import ALERT_ENDED, ALERT_RAISED
from schemas.source_hours import SourceKey
from streams.domain.alerts.silences import SilenceAlerts
from streams.domain.counts.source_hours import SourceHours
from streams.domain.rules import Rule
from streams.domain.time.daytypes import DayTypes
from streams.domain.time.zone import BusinessZone
from streams.totals.silences import Silences
from tests.domain.test_silences import UNITS, Day

if TYPE_CHECKING:
    from streams.kafka.outbox import Outgoing

ZONE = BusinessZone("Asia/Shanghai")
RULE = Rule("silent", "deliveries", "day", ("factory",), None, None, stalled_hours=3)
PUBLISHER = Rule("publisher", "deliveries", "day", ("source",), None, None, stalled_hours=2)
HOUR_US = 3_600_000_000
#: Eight o'clock on a Wednesday in Shanghai.
EIGHT_US = int(datetime(2024, 5, 15, tzinfo=UTC).timestamp()) * 1_000_000
FACTORIES = 130


class World:
    """Factories that deliver from 8 to 17, the first of them silent today, and what has been published."""

    def __init__(self) -> None:
        self.topic: list[Outgoing] = []
        self.silent = {"factory=F0"}
        self.read_us = 0
        self.now_us = EIGHT_US
        self.tells_hours = False
        self.take_over()

    def take_over(self) -> None:
        self.sources = SourceHours()
        alerts = SilenceAlerts([RULE, PUBLISHER], DayTypes(), ZONE)
        self.silences = Silences(alerts, ZONE, self, ("m", 0), ("t", 0), self.sources)
        memory: dict[str, bytes | None] = {}
        for record in self.topic:
            if record.topic == "m" and record.value is not None:
                self.silences.restore_alert(decode_milestone(record.value))
            elif record.key is not None:
                memory[name_of(record.key)[1]] = record.value
        for name, value in memory.items():
            if value is not None and name.startswith(SOURCE_HOURS):
                self.silences.restore_hours(name.removeprefix(SOURCE_HOURS), value)
            elif value is not None:
                self.silences.restore_memory(name)

    @property
    def sizes(self) -> tuple[int, int, int]:
        return 0, 2 * FACTORIES, 0

    def series_names(self, first: int, end: int) -> list[tuple[str, str]]:
        names = [(metric, f"factory=F{number}") for number in range(FACTORIES) for metric in ("orders", "deliveries")]
        return names[first:end]

    def day(self, metric: str, scope: str, day: date) -> Day | None:
        assert metric == "deliveries"
        today = ZONE.date_of(self.now_us)
        if day > today or (day == today and scope in self.silent):
            return None
        until = ZONE.time_of_day(self.now_us).hour if day == today else 24
        return Day([UNITS if 8 <= hour < min(18, until + 1) else 0 for hour in range(24)])

    def step(self) -> list[Outgoing]:
        groups = self.silences.records(
            self.now_us, lambda instant_us: self.read_us >= instant_us, tell_hours=self.tells_hours
        )
        records = [record for group in groups for record in group]
        self.topic += records
        return records

    def steps(self) -> list[str]:
        """Runs what is due; returns the names of what was published."""
        records = [record for _ in range(20) for record in self.step()]
        return [(record.key or b"").decode() for record in records]


def test_nothing_is_concluded_before_everything_up_to_the_hour_was_read() -> None:
    world = World()
    world.read_us = EIGHT_US
    assert world.steps() == [f"side|{JUDGED}deliveries/factory/hours/stalled:3"]
    world.now_us = EIGHT_US + 5 * HOUR_US
    assert world.steps() == [], "a worker that is behind"
    world.read_us = world.now_us
    assert world.steps() == ["deliveries/factory=F0/hours/stalled:3"]
    assert world.steps() == []
    world.take_over()
    assert world.steps() == []
    world.silent.clear()
    assert world.steps() == [], "not within the same minute"
    world.now_us += 60_000_000
    assert world.steps() == ["deliveries/factory=F0/hours/stalled:3"]


def test_all_alerts_that_stand_are_looked_at_once_a_minute() -> None:
    world = World()
    world.read_us = EIGHT_US
    world.steps()
    world.silent = {f"factory=F{number}" for number in range(50)}
    world.now_us = world.read_us = EIGHT_US + 5 * HOUR_US
    assert len(world.steps()) == 50
    world.steps()
    world.silent.clear()
    world.now_us += 60_000_000
    assert 0 < len(world.step()) < 50, "a few in a step"
    assert len(world.steps()) > 0
    assert not world.silences._alerts.standing
    assert sum(ALERT_ENDED.encode() in (record.value or b"") for record in world.topic) == 50


def test_sources_are_looked_at_once_all_ledger_partitions_say_when_their_events_came() -> None:
    world = World()
    of, gone = SourceKey("deliveries", "/factories/bj1"), SourceKey("orders", "/shops/online")
    today = ZONE.cell_of(EIGHT_US) // 24
    for each in (of, gone):
        world.sources.note(
            each, [(today - 7 * week) * 24 + hour for week in range(1, 5) for hour in range(8, 18)] + [today * 24 + 8]
        )
    name = "deliveries/source=%2Ffactories%2Fbj1/hours/stalled:2"
    judged = [f"side|{JUDGED}deliveries/factory/hours/stalled:3"]
    world.silent.clear()
    world.now_us = world.read_us = EIGHT_US + HOUR_US
    hours = [(record.key or b"").decode() for record in world.silences.hours()]
    assert hours == [f"side|{SOURCE_HOURS}deliveries|/factories/bj1", f"side|{SOURCE_HOURS}orders|/shops/online"]
    assert world.steps() == judged
    world.now_us = world.read_us = EIGHT_US + 4 * HOUR_US
    assert world.steps() == [], "a partition does not say it"
    world.tells_hours = True
    world.now_us = world.read_us = EIGHT_US + 5 * HOUR_US
    # It was silent at the first check.
    assert world.steps() == [f"side|{QUIET}{name}", f"side|{JUDGED}deliveries/source/hours/stalled:2"]
    world.sources.note(of, [today * 24 + 12])
    world.take_over()
    assert world.sources.names() == [], "of what was not committed nothing is left"
    world.sources.unite(of, {today - 7 * week: 0x3FF00 for week in range(1, 5)} | {today: 1 << 12})
    world.now_us = world.read_us = EIGHT_US + 6 * HOUR_US
    assert world.steps() == [f"side|{QUIET}{name}"]
    world.now_us = world.read_us = EIGHT_US + 7 * HOUR_US
    assert world.steps() == [name]
    assert ALERT_RAISED.encode() in (world.topic[-1].value or b"")
    world.take_over()
    world.sources.unite(of, {today - 7 * week: 0x3FF00 for week in range(1, 5)} | {today: 1 << 12 | 1 << 15})
    world.now_us += 60_000_000
    assert world.steps() == [name]
    assert ALERT_ENDED.encode() in (world.topic[-1].value or b"")


def test_a_writer_that_dies_while_scopes_are_looked_at_for_the_first_time_makes_no_news_of_any() -> None:
    world = World()
    world.now_us = world.read_us = EIGHT_US + 5 * HOUR_US
    world.silent |= {f"factory=F{FACTORIES - 1}"}
    assert [(record.key or b"").decode() for record in world.step()] == [
        f"side|{QUIET}deliveries/factory=F0/hours/stalled:3"
    ]
    world.take_over()
    world.now_us = world.read_us = EIGHT_US + 6 * HOUR_US
    assert world.steps() == [
        f"side|{QUIET}deliveries/factory=F{FACTORIES - 1}/hours/stalled:3",
        f"side|{JUDGED}deliveries/factory/hours/stalled:3",
    ]
    world.silent.discard("factory=F0")
    world.now_us = world.read_us = EIGHT_US + 7 * HOUR_US
    assert world.steps() == [f"side|{QUIET}deliveries/factory=F0/hours/stalled:3"]
