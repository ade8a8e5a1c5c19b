"""The production of the story's vehicles: each was built some days before it was first delivered.

The plant's system reports from some date on; what was built before is an opening balance. Vehicles built at the end of the story are
still in stock. The plant has its own random numbers, so that orders and deliveries do not depend on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.facts import PRODUCTION
from streams.story.draws import DAY_S, HOUR_S
from streams.story.events import DELIVERED, PRODUCED, SCRAPPED, VOIDED, StoryEvent, midnight_s

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence

    from streams.story.figures import Plant

LINE = "/simulated/factories/bj1/line"


class ProductionLine:
    """What the plant's system reports.

    Attributes:
        events: Each event once, in no particular order.
        before: Number of vehicles built before the first report.
    """

    def __init__(self, plant: Plant, story: Sequence[StoryEvent], offset_s: int, rng: random.Random) -> None:
        self.events: list[StoryEvent] = []
        self.before = 0
        self._plant = plant
        self._rng = rng
        self._first_s = midnight_s(plant.first, offset_s)
        self._last_s = max(event.time_s for event in story if event.kind == DELIVERED)
        for event in _first_deliveries(story):
            self._build(event.vin, event.variant, event.time_s - self._lead_s())
        for number in range(1, plant.stock + 1):
            # A vehicle is still in stock at the end if its lead time is longer than what remains of the story.
            self._build(f"LNBSU7A10R9{number:06d}", "Standard", self._last_s - int(rng.random() * self._lead_s()))
        for number in range(1, plant.scrapped + 1):
            self._scrap(f"LNBSU7A10R8{number:06d}")

    def _lead_s(self) -> int:
        least, most = self._plant.days
        return int(self._rng.uniform(least, most) * DAY_S)

    def _build(self, vin: str, variant: str, time_s: int) -> None:
        if time_s < self._first_s:
            self.before += 1
        else:
            self.events.append(StoryEvent(PRODUCED, PRODUCTION, time_s, vin, LINE, self._new_id(), vin, variant))

    def _scrap(self, vin: str) -> None:
        built_s = self._first_s + int(self._rng.random() * (self._last_s - self._first_s - 2 * DAY_S))
        scrapped_s = built_s + HOUR_S + int(self._rng.random() * DAY_S)
        self._build(vin, "Standard", built_s)
        self.events.append(
            StoryEvent(SCRAPPED, PRODUCTION, scrapped_s, vin, LINE, self._new_id(), vin, extra="crash-test")
        )

    def _new_id(self) -> str:
        text = f"{self._rng.getrandbits(128):032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _first_deliveries(story: Sequence[StoryEvent]) -> Iterator[StoryEvent]:
    """The first delivery of each vehicle, except deliveries sent by mistake."""
    mistakes = {event.voids for event in story if event.kind == VOIDED}
    first: dict[str, StoryEvent] = {}
    for event in story:
        if event.kind == DELIVERED and (event.source, event.id) not in mistakes:
            known = first.setdefault(event.vin, event)
            if event.time_s < known.time_s:
                first[event.vin] = event
    yield from first.values()
