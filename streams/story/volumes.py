"""Spreads monthly totals over days: exact sums, a plausible shape, reproducible from a seed."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

from streams.story.figures import Volume, month_days

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

#: From Monday to Sunday.
_WEEKDAY_WEIGHTS = (0.93, 0.92, 0.94, 0.97, 1.03, 1.14, 1.07)
_NOISE = 0.10
#: A metric starts at this share of the first month's rate.
_FIRST_DAY_SHARE = 0.15


def per_day(volume: Volume, rng: random.Random) -> dict[date, int]:
    """Date → units, in order of date; every month adds up to its total.

    Raises:
        ValueError: A month's total cannot be reached with its fixed days and cap.
    """
    days: dict[date, int] = {}
    rates = _month_rates(volume)
    for month, total in sorted(volume.months.items()):
        days |= _spread_month(volume, month, total, rates, rng)
    return days


def _spread_month(
    volume: Volume, month: str, total: int, rates: Sequence[tuple[date, float]], rng: random.Random
) -> dict[date, int]:
    dates = [day for day in month_days(month) if day >= volume.first]
    fixed = {day: volume.fixed_days[day] for day in dates if day in volume.fixed_days}
    free = [day for day in dates if day not in fixed]
    weights = [
        _rate(rates, day) * _WEEKDAY_WEIGHTS[day.weekday()] * (1 + _NOISE * (2 * rng.random() - 1)) for day in free
    ]
    caps = [_cap(volume, day, total) for day in free]
    rest = total - sum(fixed.values())
    if rest < 0 or rest > sum(caps):
        raise ValueError(f"{month}: the fixed days and the cap per day leave no way to a total of {total}")
    spread = dict(zip(free, spread_total(rest, weights, caps), strict=True))
    return {day: fixed.get(day, spread.get(day, 0)) for day in dates}


def _cap(volume: Volume, day: date, otherwise: int) -> int:
    if volume.cap is None or volume.cap_before is None or day >= volume.cap_before:
        return otherwise
    return volume.cap


def spread_total(total: int, weights: Sequence[float], caps: Sequence[int]) -> list[int]:
    """Integers proportional to `weights` that add up to `total`, none above its cap."""
    shares = [0] * len(weights)
    open_at = list(range(len(weights)))
    rest = total
    while rest:
        scale = rest / sum(weights[at] for at in open_at)
        exact = {at: weights[at] * scale for at in open_at}
        whole = {at: min(int(exact[at]), caps[at] - shares[at]) for at in open_at}
        if not any(whole.values()):
            # What remains is less than one unit each: the largest remainders get it.
            largest = sorted((at for at in open_at if shares[at] < caps[at]), key=lambda at: (-exact[at], at))
            whole = dict.fromkeys(largest[:rest], 1)
        for at, units in whole.items():
            shares[at] += units
            rest -= units
        open_at = [at for at in open_at if shares[at] < caps[at]]
    return shares


def _month_rates(volume: Volume) -> list[tuple[date, float]]:
    """Units per day at the middle of each month without fixed days; in between, the rate is interpolated linearly."""
    rates = []
    for month, total in sorted(volume.months.items()):
        dates = [day for day in month_days(month) if day >= volume.first]
        free = [day for day in dates if day not in volume.fixed_days]
        if free:
            units = total - sum(volume.fixed_days.get(day, 0) for day in dates)
            rates.append((free[len(free) // 2], units / len(free)))
    if not volume.fixed_days.get(volume.first):
        rates.insert(0, (volume.first, rates[0][1] * _FIRST_DAY_SHARE))
    return rates


def _rate(rates: Sequence[tuple[date, float]], day: date) -> float:
    before, after = rates[0], rates[-1]
    for point in rates:
        if point[0] <= day:
            before = point
        else:
            after = point
            break
    span = (after[0] - before[0]) / timedelta(days=1)
    if span <= 0:
        return before[1]
    progress = min(max((day - before[0]) / timedelta(days=1) / span, 0.0), 1.0)
    return before[1] + (after[1] - before[1]) * progress
