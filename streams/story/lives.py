"""The lives of the story's orders: placed, cancelled, delivered, returned, corrected.

Each step records its expected result in `Expected`. The standing deliveries are drawn first and match the published totals; nothing
else that happens to an order adds to them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas.facts import DELIVERIES, ORDERS
from streams.story.draws import (
    DAY_S,
    HOUR_S,
    PARTNER_REGION,
    Order,
    delivery_queue,
    draw_deliveries,
    draw_launch,
    draw_orders,
)
from streams.story.events import (
    CANCELLED,
    DELIVERED,
    PLACED,
    REVERSED,
    SCRAPPED,
    VOIDED,
    StoryEvent,
    local_date,
    midnight_s,
)
from streams.story.expected import Expected
from streams.story.production import ProductionLine

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from streams.story.figures import StoryFacts

DISPATCH = "/simulated/factories/bj1/dispatch"
PARTNER = "/simulated/partners/fujian/handover"
SHOP = "/simulated/sales/app"
STORES = "/simulated/sales/stores"
SERVICE = "/simulated/service/returns"

_STORE_SHARE = 0.2
_MIN_LEAD_S = 2 * DAY_S
_VIN_LETTERS = {"Standard": "A", "Pro": "B", "Max": "C"}
#: Unusual steps need time between an order and its delivery, and before the end of the story.
_ROOM_S = 26 * DAY_S
_TAIL_S = 8 * DAY_S


@dataclass(frozen=True)
class Rates:
    """How many orders are affected by each unusual case; `cancelled_share` is a share of all orders that are not refunded."""

    cancelled_share: float = 0.035
    placed_twice: int = 40
    cancelled_twice: int = 25
    cancelled_unknown: int = 20
    cancelled_then_delivered: int = 15
    cancelled_after_delivery: int = 20
    delivered_unknown: int = 24
    delivered_twice: int = 30
    returned_and_replaced: int = 130
    returned: int = 50
    returned_other_vin: int = 12
    returned_undelivered: int = 8
    order_voided: int = 25
    cancellation_voided: int = 20
    delivery_voided: int = 60
    void_of_unknown: int = 6


class Lives:
    """Simulates every order of the story.

    Attributes:
        events: Each event once, in no particular order.
        expected: The expected results; transport adds to them later.

    Raises:
        ValueError: The data file has deliveries without an order placed early enough.
    """

    def __init__(
        self,
        facts: StoryFacts,
        rates: Rates,
        rng: random.Random,
        plant_rng: random.Random,
        launch_rng: random.Random,
    ) -> None:
        self.events: list[StoryEvent] = []
        self.expected = Expected()
        self._facts = facts
        self._rates = rates
        self._rng = rng
        self._offset_s = facts.utc_offset_s()
        self._serial = 0
        self._lost = 0
        self._launch_end_s = facts.launch.end_s
        self._in_launch = self.expected.campaigns[facts.launch.period] = Counter()
        launched = draw_launch(facts.launch, launch_rng)
        orders = draw_orders(facts, rng)
        times = draw_deliveries(facts, rng)
        self._first_s = times[0]
        self._last_s = times[-1]
        self._simulate(self._locked(launched, launch_rng), orders, times)
        if facts.plant is not None:
            self._report_production(ProductionLine(facts.plant, self.events, self._offset_s, plant_rng))

    def _locked(self, launched: list[Order], rng: random.Random) -> list[Order]:
        """Places the orders of the launch; those that stand once no deposit can be returned any more."""
        launch, refunds = self._facts.launch, self._facts.refunds
        self.expected.minutes[launch.period] = launch.by_minute(order.time_s for order in launched)
        refunded = set(rng.sample(range(len(launched)), round(refunds.share * len(launched))))
        locked = []
        for at, order in enumerate(launched):
            self._place(order, source=SHOP)
            if at in refunded:
                # Most do so late: by noon of the next day 469 had asked, as published.
                self._cancel(order, order.time_s + int(max(rng.random(), rng.random()) * refunds.days * DAY_S))
            else:
                locked.append(order)
        return locked

    def _simulate(self, locked: list[Order], later: list[Order], times: list[int]) -> None:
        for order in later:
            self._place(order)
        orders = locked + later
        cancelled, apart, others = self._part(orders)
        for order in cancelled:
            self._cancel(order, self._between(order.time_s + HOUR_S, order.time_s + 25 * DAY_S))
        for order in self._rng.sample(cancelled, self._rates.cancelled_twice):
            self._cancel_without_effect(order.id, order.time_s + _ROOM_S)
        self._lives_without_delivery(apart)
        self._lives_without_order()
        self._lives_with_delivery(self._matched(others, times))
        self._unexplained()

    def _report_production(self, line: ProductionLine) -> None:
        self.expected.openings["produced"] = line.before
        scrapped = {event.vin: event for event in line.events if event.kind == SCRAPPED}
        for event in line.events:
            self._add(event)
            if event.kind == SCRAPPED:
                self._count("scrapped", event.time_s)
            elif event.vin not in scrapped:
                self._count("produced", event.time_s)

    def _part(self, orders: Sequence[Order]) -> tuple[list[Order], list[Order], list[Order]]:
        """Splits orders into cancelled ones, those to which something other than a delivery happens, and all others."""
        rates, rng = self._rates, self._rng
        roomy = [
            at for at, order in enumerate(orders) if self._first_s < order.time_s < self._last_s - _ROOM_S - _TAIL_S
        ]
        cancelled_count = round(rates.cancelled_share * len(orders))
        chosen = rng.sample(roomy, cancelled_count + sum(count for count, _ in self._undelivered_lives()))
        set_apart = set(chosen)
        return (
            [orders[at] for at in chosen[:cancelled_count]],
            [orders[at] for at in chosen[cancelled_count:]],
            [order for at, order in enumerate(orders) if at not in set_apart],
        )

    def _matched(self, orders: Sequence[Order], times: Sequence[int]) -> list[tuple[Order, int]]:
        """Pairs deliveries with orders; orders that were never placed are made here."""
        late = range(len(times) // 4, len(times))
        unknown = set(self._rng.sample(late, self._rates.delivered_unknown))
        for at in sorted(unknown):
            self._deliver(self._unknown_order(times[at], times[at] - 40 * DAY_S), times[at])
            self._violate()
        known = [time_s for at, time_s in enumerate(times) if at not in unknown]
        pairs = list(zip(delivery_queue(orders, self._rng), known, strict=False))
        if len(pairs) < len(known) or any(order.time_s + _MIN_LEAD_S > time_s for order, time_s in pairs):
            raise ValueError("simulation.orders: too few, some deliveries have no order placed two days before them")
        return pairs

    # Orders that are delivered and stay delivered.

    def _lives_with_delivery(self, pairs: list[tuple[Order, int]]) -> None:
        rates = self._rates
        lives: tuple[tuple[int, Callable[[Order, int], None]], ...] = (
            (rates.placed_twice, self._placed_twice),
            (rates.cancelled_then_delivered, self._cancelled_then_delivered),
            (rates.cancelled_after_delivery, self._cancelled_after_delivery),
            (rates.delivered_twice, self._delivered_twice),
            (rates.returned_and_replaced, self._returned_and_replaced),
            (rates.returned_other_vin, self._returned_other_vin),
        )
        roomy = [
            at for at, (order, time_s) in enumerate(pairs) if order.time_s + _ROOM_S < time_s < self._last_s - _TAIL_S
        ]
        chosen = self._rng.sample(roomy, sum(count for count, _ in lives))
        unusual = set(chosen)
        for count, live in lives:
            for _ in range(count):
                live(*pairs[chosen.pop()])
        for at, (order, time_s) in enumerate(pairs):
            if at not in unusual:
                self._deliver(order, time_s)

    def _placed_twice(self, order: Order, time_s: int) -> None:
        self._placed_event(order, self._between(order.time_s + 10, order.time_s + HOUR_S))
        self._violate()
        self._deliver(order, time_s)

    def _cancelled_then_delivered(self, order: Order, time_s: int) -> None:
        self._cancel(order, self._between(order.time_s + HOUR_S, time_s - HOUR_S))
        self._violate()
        self._deliver(order, time_s)

    def _cancelled_after_delivery(self, order: Order, time_s: int) -> None:
        self._deliver(order, time_s)
        self._cancel_without_effect(order.id, self._between(time_s + 60, time_s + 3 * DAY_S))

    def _delivered_twice(self, order: Order, time_s: int) -> None:
        vin = self._deliver(order, time_s)
        self._delivered_event(order, self._between(time_s + 60, time_s + 2 * DAY_S), vin)
        self._violate()

    def _returned_and_replaced(self, order: Order, time_s: int) -> None:
        first_s = time_s - self._between(5 * DAY_S, 10 * DAY_S)
        self._deliver_and_reverse(order, first_s)
        self._deliver(order, time_s)

    def _returned_other_vin(self, order: Order, time_s: int) -> None:
        self._deliver(order, time_s)
        self._reverse_without_effect(order, time_s + DAY_S)

    # Orders that are not delivered in the end.

    def _undelivered_lives(self) -> tuple[tuple[int, Callable[[Order], None]], ...]:
        rates = self._rates
        return (
            (rates.returned, self._returned),
            (rates.returned_undelivered, self._returned_undelivered),
            (rates.delivery_voided, self._delivery_voided),
            (rates.cancellation_voided, self._cancellation_voided),
            (rates.void_of_unknown, self._void_of_unknown),
        )

    def _lives_without_delivery(self, orders: Sequence[Order]) -> None:
        remaining = list(orders)
        for count, live in self._undelivered_lives():
            for _ in range(count):
                live(remaining.pop())

    def _returned(self, order: Order) -> None:
        self._deliver_and_reverse(order, self._between(order.time_s + _MIN_LEAD_S, order.time_s + 10 * DAY_S))

    def _returned_undelivered(self, order: Order) -> None:
        self._reverse_without_effect(order, order.time_s + 10 * DAY_S)

    def _delivery_voided(self, order: Order) -> None:
        mistake_s = self._between(order.time_s + _MIN_LEAD_S, order.time_s + 10 * DAY_S)
        mistake = self._delivered_event(order, mistake_s, self._next_vin(order))
        self._void(mistake, self._between(mistake_s + 60, mistake_s + DAY_S))

    def _cancellation_voided(self, order: Order) -> None:
        mistake = self._cancelled_event(order.id, order.time_s + 5 * DAY_S)
        self._void(mistake, self._between(mistake.time_s + 60, mistake.time_s + DAY_S))

    def _void_of_unknown(self, order: Order) -> None:
        never_sent = StoryEvent(DELIVERED, DELIVERIES, 0, order.id, DISPATCH, self._new_id())
        self._void(never_sent, order.time_s + 9 * DAY_S)
        self._violate()

    def _lives_without_order(self) -> None:
        for _ in range(self._rates.cancelled_unknown):
            time_s = self._between(self._first_s, self._last_s - _TAIL_S)
            self._cancel_without_effect(self._unknown_order(time_s, time_s).id, time_s)
        for _ in range(self._rates.order_voided):
            time_s = self._between(self._first_s, self._last_s - _TAIL_S)
            mistake = self._placed_event(self._unknown_order(time_s, time_s), time_s)
            self._void(mistake, self._between(time_s + 60, time_s + HOUR_S))

    def _unexplained(self) -> None:
        """Adds deliveries that a total has but its parts lack: they count, but no orders are invented for them."""
        unexplained = self._facts.unexplained
        morning_s = midnight_s(unexplained.day, self._offset_s) + 9 * HOUR_S
        for number in range(1, unexplained.count + 1):
            time_s = morning_s + number * 300
            order = Order(f"UNEXPLAINED-{unexplained.day:%Y%m%d}-{number:06d}", time_s, "CN-11", "Standard")
            self._delivered_event(order, time_s, self._next_vin(order), unexplained.source)
            self._count("deliveries", time_s)
            self._violate()

    # Steps that count.

    def _place(self, order: Order, source: str | None = None) -> None:
        self._placed_event(order, order.time_s, source)
        self._count("orders_placed", order.time_s)
        self._count("orders", order.time_s)

    def _deliver(self, order: Order, time_s: int) -> str:
        vin = self._next_vin(order)
        self._delivered_event(order, time_s, vin)
        self._count("deliveries", time_s)
        return vin

    def _cancel(self, order: Order, time_s: int) -> None:
        self._cancelled_event(order.id, time_s)
        self._count("cancellations", time_s)
        self._count("orders", order.time_s, -1)

    def _deliver_and_reverse(self, order: Order, time_s: int) -> None:
        vin = self._next_vin(order)
        self._delivered_event(order, time_s, vin)
        back_s = self._between(time_s + HOUR_S, time_s + 4 * DAY_S)
        self._add(StoryEvent(REVERSED, DELIVERIES, back_s, order.id, SERVICE, self._new_id(), vin, extra="returned"))
        self._count("reversals", back_s)

    # Steps that do not count.

    def _cancel_without_effect(self, order_id: str, time_s: int) -> None:
        self._cancelled_event(order_id, time_s)
        self._violate()

    def _reverse_without_effect(self, order: Order, time_s: int) -> None:
        vin = self._next_vin(order)
        self._add(StoryEvent(REVERSED, DELIVERIES, time_s, order.id, SERVICE, self._new_id(), vin, extra="returned"))
        self._violate()

    def _void(self, mistake: StoryEvent, time_s: int) -> None:
        voids = (mistake.source, mistake.id)
        self._add(
            StoryEvent(
                VOIDED,
                mistake.topic,
                time_s,
                mistake.order_id,
                mistake.source,
                self._new_id(),
                extra="sent-by-mistake",
                voids=voids,
            )
        )

    def _count(self, metric: str, time_s: int, units: int = 1) -> None:
        self.expected.count(metric, local_date(time_s, self._offset_s), units)
        if time_s < self._launch_end_s:  # nothing is counted before it begins
            self._in_launch[metric] += units

    def _violate(self) -> None:
        self.expected.violating_orders += 1

    # Events.

    def _placed_event(self, order: Order, time_s: int, source: str | None = None) -> StoryEvent:
        source = source or (STORES if self._rng.random() < _STORE_SHARE else SHOP)
        channel = "store" if source == STORES else "app"
        return self._add(
            StoryEvent(
                PLACED, ORDERS, time_s, order.id, source, self._new_id(), "", order.variant, order.region, channel
            )
        )

    def _delivered_event(self, order: Order, time_s: int, vin: str, source: str | None = None) -> StoryEvent:
        source = source or (PARTNER if order.region == PARTNER_REGION else DISPATCH)
        return self._add(
            StoryEvent(
                DELIVERED, DELIVERIES, time_s, order.id, source, self._new_id(), vin, order.variant, order.region
            )
        )

    def _cancelled_event(self, order_id: str, time_s: int) -> StoryEvent:
        return self._add(StoryEvent(CANCELLED, ORDERS, time_s, order_id, SHOP, self._new_id(), extra="customer"))

    def _add(self, event: StoryEvent) -> StoryEvent:
        self.events.append(event)
        self.expected.events += 1
        return event

    def _next_vin(self, order: Order) -> str:
        self._serial += 1
        return f"LNBSU7{_VIN_LETTERS[order.variant]}10R1{self._serial:06d}"

    def _new_id(self) -> str:
        text = f"{self._rng.getrandbits(128):032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def _unknown_order(self, time_s: int, placed_s: int) -> Order:
        """An order that was never placed; its number is unused on the day of `placed_s`."""
        self._lost += 1
        day = local_date(placed_s, self._offset_s)
        return Order(f"SO-{day:%Y%m%d}-9{self._lost:05d}", time_s, "CN-44", "Max")

    def _between(self, first_s: int, last_s: int) -> int:
        return first_s + int(self._rng.random() * (last_s - first_s))
