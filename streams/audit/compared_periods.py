"""The unit that passes a milestone's threshold, by its number, and the earlier periods that the number depends on."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from math import ceil
from typing import TYPE_CHECKING, Final

from streams.audit.expected_milestones import follows, passes
from streams.domain.time.periods import window_of

if TYPE_CHECKING:
    from datetime import date

    from schemas.outputs import MilestoneData
    from streams.audit.sums import Business
    from streams.domain.time.periods import Period

#: Kinds that exceed the best earlier period.
_RECORDS: Final = ("record", "record_passed")
#: Kinds that also depend on other periods.
COMPARED: Final = (*_RECORDS, "streak", "factor")


def position(data: MilestoneData, best: tuple[Period, int] | None, compared: tuple[Period, int] | None) -> int:
    """Which unit passes the threshold."""
    if data.kind in _RECORDS:
        return (best[1] if best is not None else 0) + 1
    if compared is not None and data.factor is not None:
        return ceil(Decimal(str(data.factor)) * compared[1])
    return (data.threshold or 0) + (1 if data.operator == "exceeds" else 0)


def compared(data: MilestoneData, days: Counter[date], business: Business) -> tuple[Period, int] | None:
    """The period with which a milestone's own is compared, and its count now."""
    if data.compared_with is None or not business.is_counted(data.compared_with):
        return None
    period = business.calendar.period(data.compared_with)
    return period, sum(count for day, count in days.items() if period.start <= day <= period.end)


def earlier_best(
    data: MilestoneData, days: Counter[date], campaigns: Counter[Period], business: Business
) -> tuple[Period, int] | None:
    """The earlier period with the highest count; among equals the first."""
    if data.kind not in _RECORDS:
        return None
    counts = _earlier(data, days, business) if data.starts_at is None else _earlier_campaigns(data, campaigns)
    if not counts:
        return None
    most = max(counts.values())
    return min((period for period, count in counts.items() if count == most), key=lambda period: period.ordering), most


def _earlier_campaigns(data: MilestoneData, campaigns: Counter[Period]) -> Counter[Period]:
    """The campaigns that began before a milestone's campaign, and their counts."""
    of_milestone = data.starts_at or "", data.period
    return Counter(
        {
            period: count
            for period, count in campaigns.items()
            if period.instants is not None and (period.instants.starts_at, period.id) < of_milestone
        }
    )


def in_a_row(data: MilestoneData, days: Counter[date], business: Business) -> list[tuple[Period, int]]:
    """The periods directly before a streak's last one that pass its number without interruption."""
    found: list[tuple[Period, int]] = []
    if data.kind != "streak":
        return found
    following = business.calendar.period(data.period) if business.is_counted(data.period) else None
    for period, count in sorted(_earlier(data, days, business).items(), key=lambda one: one[0].start, reverse=True):
        if following is None or not follows(period, following) or not passes(data.operator, data.threshold, count):
            break
        found.append((period, count))
        following = period
    return found[::-1]


def _earlier(data: MilestoneData, days: Counter[date], business: Business) -> Counter[Period]:
    """Earlier periods of a milestone's window, and their counts."""
    window = window_of(data.period)
    counts: Counter[Period] = Counter()
    for day, count in days.items():
        for period in business.periods_at(day, data.scope):
            if period.window == window and period.start.isoformat() < data.start:
                counts[period] += count
    return counts
