"""The expected results of the story, known from how it was generated, not from counting it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import date, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

from schemas.facts import METRICS
from schemas.partitioner import homes
from streams.kafka.publication import foreign_partition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from streams.settings import Settings
    from streams.story.figures import CountsByDate


@dataclass
class Expected:
    """Expected numbers.

    Attributes:
        events: Number of distinct valid events; each is applied once.
        duplicates: Number of further copies of them.
        dead_letters: Reason → number of rejected records.
        violating_orders: Orders whose events are contradictory at the end.
        counts: Metric → business date → units at the end, for the story's only model.
        openings: Metric → units from before its records begin.
        campaigns: Period of a campaign → metric → units at the end, for that model.
        minutes: Period of a campaign → orders placed in each of its minutes, for that model.
        elsewhere: Keys of all valid records from the publisher with the other partitioner.
    """

    events: int = 0
    duplicates: int = 0
    dead_letters: Counter[str] = field(default_factory=Counter)
    violating_orders: int = 0
    counts: dict[str, Counter[date]] = field(default_factory=lambda: {metric: Counter() for metric in METRICS})
    openings: dict[str, int] = field(default_factory=dict)
    campaigns: dict[str, Counter[str]] = field(default_factory=dict)
    minutes: dict[str, list[int]] = field(default_factory=dict)
    elsewhere: list[bytes] = field(default_factory=list)

    @property
    def records(self) -> int:
        """The number of records published to the topics of orders, deliveries and production."""
        return self.events + self.duplicates + self.dead_letters.total()

    @property
    def last_day(self) -> date:
        """The date of the last units; late events are still published for some days after it."""
        return max(max(days) for days in self.counts.values() if days)

    def count(self, metric: str, day: date, units: int = 1) -> None:
        """Adds units of a metric on a business date."""
        self.counts[metric][day] += units

    def rerouted(self, partitions: int) -> int:
        """How many valid records are published away from their home if source topics have this many partitions."""
        if not self.elsewhere:
            return 0
        at_home = homes(self.elsewhere, partitions)
        return sum(
            int(home) != foreign_partition(key, partitions) for key, home in zip(self.elsewhere, at_home, strict=True)
        )


def standing_milestones(  # noqa: PLR0913, PLR0917 - what is simulated, by name
    settings: Settings,
    model: str,
    counts: Mapping[str, CountsByDate],
    clock: date,
    openings: Mapping[str, int] = MappingProxyType({}),
    campaigns: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
) -> set[str]:
    """Ids of the milestones that stand once everything is counted, for rules on `["model"]` and targets of the model.

    Evaluates each rule plainly over the day counts.

    Args:
        settings: Rules, targets and holidays.
        model: The story's only model.
        counts: Metric → date → units.
        clock: Date of the latest event: days before it are over.
        openings: Metric → opening balance.
        campaigns: Period → metric → units.
    """
    scope = f"model={model}"
    standing: set[str] = set()
    for rule in settings.rule:
        days = counts.get(rule.metric, {})
        prefix = f"{rule.metric}/{scope}"
        periods = _periods(rule.window, days, openings.get(rule.metric, 0)) or {
            period: units.get(rule.metric, 0)
            for period, units in campaigns.items()
            if f"{period}:".startswith(f"{rule.window}:")
        }
        if rule.record:
            standing |= {f"{prefix}/record:day:{day}" for day in _record_days(days, clock)}
        if rule.every is not None:
            standing |= {
                f"{prefix}/{period}/every:{rule.every}:{number}"
                for period, count in periods.items()
                for number in range(rule.every, count + 1, rule.every)
            }
        if rule.exceeds is None and rule.reaches is None:
            continue
        operator, least = ("exceeds", rule.exceeds + 1) if rule.exceeds is not None else ("reaches", rule.reaches or 1)
        number = least - 1 if operator == "exceeds" else least
        passed = [period for period, count in periods.items() if count >= least]
        standing |= {f"{prefix}/{period}/{operator}:{number}" for period in passed}
        if rule.first and passed:
            standing.add(f"{prefix}/first:{rule.window}/{operator}:{number}")
        if rule.streak is not None:
            standing |= {
                f"{prefix}/{period}/streak:{operator}:{number}:{length}"
                for period, length in _months_in_a_row(passed)
                if length >= rule.streak
            }
    for target in settings.target:
        kind = target.period.split(":")[0]
        reached = _periods(kind, counts.get(target.metric, {})).get(target.period, 0)
        if target.scope == scope and reached >= target.value:
            standing.add(f"{target.metric}/{scope}/{target.period}/target:{target.target_id}:{target.value}")
    return standing


def _months_in_a_row(passed: Iterable[str]) -> Iterable[tuple[str, int]]:
    """Each month, such as `month:2024-10`, with the length of the run of consecutive months that ends with it."""
    before, length = 0, 0
    for month in sorted(passed):
        year, number = map(int, month.removeprefix("month:").split("-"))
        length = length + 1 if year * 12 + number == before + 1 else 1
        before = year * 12 + number
        yield month, length


def _periods(window: str, days: CountsByDate, opening: int = 0) -> Mapping[str, int]:
    counts: Counter[str] = Counter({"total": opening} if window == "total" else {})
    for day, units in days.items():
        if window == "day":
            counts[f"day:{day}"] += units
        elif window == "month":
            counts[f"month:{day:%Y-%m}"] += units
        elif window == "year":
            counts[f"year:{day.year}"] += units
        elif window == "total":
            counts[window] += units
        elif window == "holiday:national-day" and day in _national_day(day.year):
            counts[f"{window}:{day.year}"] += units
    return counts


def _national_day(year: int) -> Sequence[date]:
    """The seven days of the holiday in the story's year; other years have different dates, but no events in the story."""
    return [date(year, 10, 1) + timedelta(days=number) for number in range(7)]


def _record_days(days: CountsByDate, clock: date) -> Iterable[date]:
    best = 0
    for day in sorted(days):
        if day < clock and days[day] > best:
            if best:
                yield day
            best = days[day]
