"""The SU7's 2024 as events: SIMULATED from published totals, from a fixed seed, as messy as life."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import random
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from streams.kafka.publication import Publication
from streams.story.events import EventWriter
from streams.story.figures import StoryFacts, load_facts
from streams.story.lives import Lives, Rates
from streams.story.mess import Mess, Transport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.story.expected import Expected

__all__ = ["Publication", "Story", "StoryFacts", "load_facts", "tell"]

FACTORY = "BJ1"


@dataclass(frozen=True)
class Story:
    """A told story: its facts, what must come of it, and its records in the order of publishing."""

    facts: StoryFacts
    expected: Expected
    _mess: Mess

    @property
    def span_s(self) -> tuple[int, int]:
        """When the first and the last event are published, in the story's time, seconds since 1970."""
        return self._mess.span_s

    def fingerprint(self) -> str:
        """The same for the same story only: a digest of what must come of it and of its first records."""
        first = "\n".join(map(repr, islice(self.records(), 1000)))
        return hashlib.sha256(f"{self.expected}\n{first}".encode()).hexdigest()

    def records(self) -> Iterator[Publication]:
        """Every record, each time from the start; written while you iterate."""
        return self._mess.records()


def tell(facts: StoryFacts, rates: Rates | None = None, transport: Transport | None = None) -> Story:
    """Simulates the whole story; the same facts give the same records.

    Raises:
        ValueError: The data file cannot be simulated.
    """
    rng = random.Random(facts.seed)  # noqa: S311 - a story to be told again, not a secret
    with _no_cyclic_garbage():
        lives = Lives(facts, rates or Rates(), rng)
        writer = EventWriter(facts.model, FACTORY, facts.utc_offset_s())
        mess = Mess(lives.events, lives.expected, writer, transport or Transport(), rng)
    return Story(facts, lives.expected, mess)


@contextlib.contextmanager
def _no_cyclic_garbage() -> Iterator[None]:
    """Hundreds of thousands of tuples are made and kept: looking for cycles among them takes a third of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
