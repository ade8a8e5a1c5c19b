"""Random draws made up front: orders with their times, and the times of deliveries."""

from __future__ import annotations

from bisect import bisect
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from streams.story.events import midnight_s
from streams.story.volumes import per_day

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence

    from streams.story.figures import StoryFacts
    from streams.story.launches import Launch

HOUR_S = 3600
DAY_S = 86_400

#: The region in which the partner delivers the cars.
PARTNER_REGION = "CN-35"

#: Orders are delivered roughly in the order placed; standard deviation as a fraction of the queue.
_QUEUE_JITTER = 0.01

_REGION_WEIGHTS = {
    "CN-11": 13,
    "CN-12": 4,
    "CN-31": 14,
    "CN-32": 11,
    "CN-33": 12,
    PARTNER_REGION: 3,
    "CN-37": 6,
    "CN-42": 6,
    "CN-44": 17,
    "CN-50": 2,
    "CN-51": 8,
    "CN-61": 4,
}
_VARIANT_WEIGHTS = {"Standard": 46, "Pro": 19, "Max": 35}
#: By local hour: cars are delivered in the daytime, orders peak in the evening.
_DELIVERY_HOURS = (0, 0, 0, 0, 0, 0, 0, 1, 58, 85, 93, 81, 68, 88, 99, 106, 95, 92, 72, 43, 16, 5, 1, 0)
_ORDER_HOURS = (20, 9, 5, 3, 2, 3, 6, 14, 30, 46, 55, 52, 48, 50, 54, 56, 58, 60, 66, 78, 88, 90, 72, 42)


class Order(NamedTuple):
    """An order as placed."""

    id: str
    time_s: int
    region: str
    variant: str


class Draw:
    """A weighted choice; each draw uses one uniform random number."""

    def __init__(self, weights: Iterable[float]) -> None:
        self._limits = list(accumulate(weights))

    def index(self, rng: random.Random) -> int:
        """The index drawn."""
        return bisect(self._limits, rng.random() * self._limits[-1])


_REGIONS, _VARIANTS = list(_REGION_WEIGHTS), list(_VARIANT_WEIGHTS)
_REGION, _VARIANT = Draw(_REGION_WEIGHTS.values()), Draw(_VARIANT_WEIGHTS.values())


def random_region(rng: random.Random) -> str:
    """A random region for an order."""
    return _REGIONS[_REGION.index(rng)]


def random_variant(rng: random.Random) -> str:
    """A random variant for an order."""
    return _VARIANTS[_VARIANT.index(rng)]


def draw_launch(launch: Launch, rng: random.Random) -> list[Order]:
    """The orders of a launch, by time; their numbers run through all of it."""
    return [
        Order(f"SO-{launch.start:%Y%m%d}-{number:06d}", time_s, random_region(rng), random_variant(rng))
        for number, time_s in enumerate(launch.times(rng), start=1)
    ]


def draw_orders(facts: StoryFacts, rng: random.Random) -> list[Order]:
    """The orders after the launch, by time."""
    region, regions = Draw(_REGION_WEIGHTS.values()), list(_REGION_WEIGHTS)
    variant, variants = Draw(_VARIANT_WEIGHTS.values()), list(_VARIANT_WEIGHTS)
    start_s = facts.launch.end_s
    orders: list[Order] = []
    for day, count in per_day(facts.orders, rng).items():
        midnight = midnight_s(day, facts.utc_offset_s())
        hours = [weight if midnight + hour * HOUR_S >= start_s else 0 for hour, weight in enumerate(_ORDER_HOURS)]
        orders += [
            Order(f"SO-{day:%Y%m%d}-{number:06d}", time_s, regions[region.index(rng)], variants[variant.index(rng)])
            for number, time_s in enumerate(_times(midnight, count, Draw(hours), rng), start=1)
        ]
    return orders


def draw_deliveries(facts: StoryFacts, rng: random.Random) -> list[int]:
    """Times of the deliveries that stand in the end, sorted, seconds since 1970."""
    hours = Draw(_DELIVERY_HOURS)
    times: list[int] = []
    for day, count in per_day(facts.deliveries, rng).items():
        times += _times(midnight_s(day, facts.utc_offset_s()), count, hours, rng)
    return times


def _times(midnight: int, count: int, hours: Draw, rng: random.Random) -> list[int]:
    return sorted(midnight + hours.index(rng) * HOUR_S + int(rng.random() * HOUR_S) for _ in range(count))


def delivery_queue(orders: Sequence[Order], rng: random.Random) -> list[Order]:
    """The orders in the sequence of their delivery."""
    jitter = _QUEUE_JITTER * len(orders)
    ranked = sorted((place + rng.gauss(0, jitter), place) for place in range(len(orders)))
    return [orders[place] for _, place in ranked]
