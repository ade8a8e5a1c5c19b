"""Targets and corrections in any order, with restarts and a moving clock: rows and milestones equal a naive recount."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, timedelta, timezone
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.domain.totals_world import METRIC, SCOPE, World, target
from tests.domain.totals_world import rule as rule_of

if TYPE_CHECKING:
    from streams.domain.rules import Target

DAYS = tuple(date(2024, 9, day) for day in (29, 30)) + tuple(date(2024, 10, day) for day in (1, 2, 5))
PERIODS = ("day:2024-10-01", "month:2024-09", "month:2024-10", "year:2024", "holiday:national-day:2024")
START_VALUES = (target(6, "aim", "month:2024-10"), target(9, "year", "year:2024"))
WAIT_S = 7200
RULES = (
    rule_of("day", exceeds=3, first=True),
    rule_of("patient", reaches=5, first=True, retract_after_s=WAIT_S),
    rule_of("record", record=True),
)
START = datetime(2024, 9, 29, 12, tzinfo=timezone(timedelta(hours=8)))
CLOSED_AFTER_S = 36 * 3600

ids = st.sampled_from(("aim", "year", "other"))
hours = st.integers(-48, 24 * 14)


def us_of(hour: int) -> int:
    """Hours after the start, as microseconds since 1970."""
    return int((START + timedelta(hours=hour)).timestamp()) * 1_000_000


class Targets(RuleBasedStateMachine):
    """A world whose clock only moves forward, and everything that was ever put into it."""

    @initialize()
    def begin(self) -> None:
        self.world = World(*RULES, targets=START_VALUES, closed_after_s=CLOSED_AFTER_S)
        self.hour = 0
        #: target_id → (time, id, source, target or None), as published.
        self.told: dict[str, list[tuple[int, str, str, Target | None]]] = {}
        #: Row → its versions since it was first closed.
        self.after_closing: Counter[str] = Counter()
        self.closed: set[str] = set()

    @rule(day=st.sampled_from(DAYS), shard=st.integers(0, 1), count=st.integers(0, 6))
    def count(self, day: date, shard: int, count: int) -> None:
        """Units come and go, late or not."""
        self.world.put(day, count, shard=shard)

    @rule(
        target_id=ids,
        hour=hours,
        value=st.integers(1, 12),
        period=st.sampled_from(PERIODS),
        source=st.sampled_from("ab"),
    )
    def set_target(self, target_id: str, hour: int, value: int, period: str, source: str) -> None:
        self.tell(target_id, hour, target(value, target_id, period), source)

    @rule(target_id=ids, hour=hours, source=st.sampled_from("ab"))
    def withdraw(self, target_id: str, hour: int, source: str) -> None:
        self.tell(target_id, hour, None, source)

    def tell(self, target_id: str, hour: int, aim: Target | None, source: str) -> None:
        name = f"c{len(self.world.changes)}"
        assert self.world.change(us_of(hour), aim or target_id, name, source) == "applied"
        self.told.setdefault(target_id, []).append((us_of(hour), name, source, aim))

    @rule(forward=st.integers(0, 30), caught_up=st.booleans(), restart=st.booleans())
    def step(self, forward: int, *, caught_up: bool, restart: bool) -> None:
        """The clock moves, and the writer, or a successor, evaluates."""
        self.hour += forward
        if restart:
            self.world.restart()
        before = {key: row.status for key, row in self.world.rows.items()}
        stood = self.world.standing().keys()
        step = self.world.step(us_of(self.hour), caught_up=caught_up)
        for row in step.rows:
            key = f"{row.metric}/{row.scope}/{row.period}"
            self.after_closing[key] += before.get(key) == "closed"
        self.check(caught_up=caught_up)
        judged = {f"{one.target_id}:{one.value}" for one in self.in_force(us_of(self.hour))}
        achieved = {name for name in stood if "/target:" in name and name.partition("/target:")[2] not in judged}
        assert achieved <= self.world.standing().keys()

    def check(self, *, caught_up: bool) -> None:
        now_us = us_of(self.hour)
        counts = self.counts()
        in_force = self.in_force(now_us)
        for key, row in self.world.rows.items():
            assert row.count == counts[row.period], key
            assert row.restated == self.after_closing[key], key
            shown = [(one.value, one.target_id, one.reached) for one in row.targets]
            mine = sorted((one.value, one.target_id) for one in in_force if one.period == row.period)
            assert shown == [(value, name, counts[row.period] >= value) for value, name in mine], key
            if caught_up:
                assert row.status == self.status(row.end, now_us), key
        assert {one.period for one in in_force} <= {row.period for row in self.world.rows.values()}
        self.check_milestones(counts, in_force)

    def check_milestones(self, counts: Counter[str], in_force: list[Target]) -> None:
        standing = self.world.standing()
        for one in in_force:
            name = f"{METRIC}/{SCOPE}/{one.period}/target:{one.target_id}:{one.value}"
            assert (name in standing) == (counts[one.period] >= one.value), name
        days = sorted(period for period in counts if period.startswith("day:"))
        passed = [day for day in days if counts[day] > 3]
        assert [day for day in days if f"{METRIC}/{SCOPE}/{day}/exceeds:3" in standing] == passed
        assert standing.get(f"{METRIC}/{SCOPE}/first:day/exceeds:3") == (passed[0] if passed else None)
        patient = [day for day in days if f"{METRIC}/{SCOPE}/{day}/reaches:5" in standing]
        held = [day for day in days if f"{METRIC}/{SCOPE}/{day}/reaches:5" in self.world.held]
        assert [day for day in days if counts[day] >= 5] == [day for day in patient if day not in held]
        assert set(held) <= set(patient)
        assert standing.get(f"{METRIC}/{SCOPE}/first:day/reaches:5") == (patient[0] if patient else None)
        assert all(us_of(self.hour) < since + WAIT_S * 1_000_000 for since in self.world.held.values())
        peak = 0
        for day in days:
            row = self.world.rows.get(f"{METRIC}/{SCOPE}/{day}")
            if row is None or row.status == "open":
                continue
            assert (f"{METRIC}/{SCOPE}/record:{day}" in standing) == (0 < peak < row.count), day
            peak = max(peak, row.count)

    def counts(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for (_, _, _, day), count in self.world.counts.items():
            for period in (f"day:{day}", f"month:{day:%Y-%m}", "year:2024"):
                found[period] += count.count
            if day.month == 10:
                found["holiday:national-day:2024"] += count.count
        return found

    def in_force(self, now_us: int) -> list[Target]:
        found: dict[str, Target | None] = {one.target_id: one for one in START_VALUES}
        for target_id, events in self.told.items():
            due = [event for event in events if event[0] <= now_us]
            if due:
                found[target_id] = max(due, key=lambda event: event[:3])[3]
        return [one for one in found.values() if one is not None]

    def status(self, end: str, now_us: int) -> str:
        midnight = datetime.fromisoformat(f"{end}T00:00:00+08:00") + timedelta(days=1)
        over_us = now_us - int(midnight.timestamp()) * 1_000_000
        return "open" if over_us < 0 else "closed" if over_us >= CLOSED_AFTER_S * 1_000_000 else "provisional"

    def teardown(self) -> None:
        if hasattr(self, "world"):
            for _ in range(2):
                self.step(24 * 30, caught_up=True, restart=True)
            assert self.world.held == {}


TestTargets = Targets.TestCase
TestTargets.settings = settings(max_examples=60, stateful_step_count=30)
