"""The SU7's year 2024 as events: SIMULATED from published totals with a fixed seed, as messy as real data."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import random
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING

from streams.kafka.publication import TARGETS, Publication
from streams.story.delivery_faults import Mess, Transport
from streams.story.events import EventWriter
from streams.story.figures import StoryFacts, load_facts
from streams.story.lives import Lives, Rates

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.story.expected import Expected

__all__ = ["Publication", "Story", "StoryFacts", "load_facts", "tell"]

FACTORY = "BJ1"


@dataclass(frozen=True)
class Story:
    """A simulated story: its facts, the expected results, and its records in order of publication."""

    facts: StoryFacts
    expected: Expected
    _mess: Mess

    @property
    def length_s(self) -> float:
        """How long it takes at speed 1, seconds."""
        return 60.0

    @property
    def span_s(self) -> tuple[int, int]:
        """When the first and the last event are published, in the story's own time, seconds since 1970."""
        return self._mess.span_s

    def fingerprint(self) -> str:
        """A digest of the expected results and the first records, which distinguishes stories."""
        first = "\n".join(map(repr, islice(self.records(), 1000)))
        return hashlib.sha256(f"{self.expected}\n{first}".encode()).hexdigest()

    def balances(self) -> list[Publication]:
        """The opening balances: units from before a metric's records begin, one event each for the model and for all."""
        facts = self.facts
        if facts.plant is None:
            return []
        time = f"{facts.plant.first - timedelta(days=1)}T23:59:59{facts.launch.start.isoformat()[-6:]}"
        return [
            Publication(TARGETS, f"{metric}/{scope}/total".encode(), _balance(metric, scope, units, time))
            for metric, units in self.expected.openings.items()
            for scope in ("all", f"model={facts.model}")
        ]

    def records(self) -> Iterator[Publication]:
        """Yields all records from the start; each is built when needed."""
        return self._mess.records()


def _balance(metric: str, scope: str, units: int, time: str) -> bytes:
    event = {
        "specversion": "1.0",
        "id": f"{metric}-{scope}",
        "source": "/simulated/factories/planning",
        "type": "balance.set.v1",
        "time": time,
        "subject": f"{metric}/{scope}/total",
        "data": {"metric": metric, "scope": scope, "count": units, "label": "before the first report of the line"},
    }
    return json.dumps(event, separators=(",", ":")).encode()


def tell(facts: StoryFacts, rates: Rates | None = None, transport: Transport | None = None) -> Story:
    """Simulates the whole story; the same facts give the same records.

    Raises:
        ValueError: The data file cannot be simulated.
    """
    rng, plant_rng, launch_rng = (random.Random(facts.seed + number) for number in range(3))  # noqa: S311 - must be reproducible, not secret
    with _no_cyclic_garbage():
        lives = Lives(facts, rates or Rates(), rng, plant_rng, launch_rng)
        writer = EventWriter(facts.model, FACTORY, facts.utc_offset_s())
        mess = Mess(lives.events, lives.expected, writer, transport or Transport(), rng, facts.launch.end_s)
    return Story(facts, lives.expected, mess)


@contextlib.contextmanager
def _no_cyclic_garbage() -> Iterator[None]:
    """Pauses garbage collection: searching hundreds of thousands of tuples for cycles would take a third of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
