"""The night of a start of sale as events: SIMULATED from published totals with a fixed seed, by the second."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from schemas.facts import ORDERS
from streams.story.draws import random_region, random_variant
from streams.story.events import PLACED, VOIDED, EventWriter, StoryEvent, local_date
from streams.story.expected import Expected
from streams.story.figures import data_file, read_facts
from streams.story.launches import Launch, launch_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from streams.kafka.publication import Publication

#: The available nights; each has a file of facts and one of rules.
NIGHTS: Final = ("yu7-launch",)
FACTORY: Final = "BJ1"
SHOP: Final = "/simulated/sales/app"
_METRICS: Final = ("orders_placed", "orders")
#: Range of seconds by which a late event is published after its time, a copy after the original, and a void after its event.
_LATE_S: Final = (60, 900)
_AGAIN_S: Final = (1, 30)
_VOIDED_S: Final = (5, 120)


@dataclass(frozen=True)
class Faults:
    """Shares of all orders: published twice, published late, placed by mistake and voided, and invalid records."""

    twice: float
    late: float
    voided: float
    rejected: float


@dataclass(frozen=True)
class NightFacts:
    """The validated data file of a night."""

    title: str
    label: str
    model: str
    seed: int
    launch: Launch
    faults: Faults

    def utc_offset_s(self) -> int:
        """Offset of local time in seconds, the same for the whole night."""
        return self.launch.utc_offset_s()


@dataclass(frozen=True)
class Night:
    """A simulated night: its facts, the expected results, and its records in order of publication."""

    facts: NightFacts
    expected: Expected
    _events: tuple[tuple[int, StoryEvent, bool], ...]
    _writer: EventWriter

    @property
    def span_s(self) -> tuple[int, int]:
        """When the night begins, and when the last event is published, in its own time, seconds since 1970."""
        return self.facts.launch.start_s, self._events[-1][0]

    @property
    def length_s(self) -> float:
        """How long it takes at speed 1, seconds: as long as the real night."""
        first_s, last_s = self.span_s
        return float(last_s - first_s)

    def fingerprint(self) -> str:
        """A digest of the expected results and the first records, which distinguishes stories."""
        first = "\n".join(map(repr, islice(self.records(), 1000)))
        return hashlib.sha256(f"{self.expected}\n{first}".encode()).hexdigest()

    def balances(self) -> list[Publication]:
        """None: there is nothing before the night."""
        return []

    def records(self) -> Iterator[Publication]:
        """Yields all records from the start; each is built when needed."""
        writer = self._writer
        for published_s, event, is_valid in self._events:
            if is_valid:
                yield writer.record(event, binary=False, crc32_partitioner=False, story_s=published_s)
            else:
                value = writer.structured(event).replace(writer.local_time(event.time_s), "2024-03-28T22:00:00", 1)
                yield writer.rejected(event.topic, event.order_id.encode(), value.encode(), published_s)


def load_night(name: str, path: Path | None = None) -> NightFacts:
    """Reads the data file of a night.

    Args:
        name: One of `NIGHTS`.
        path: The file; by default the one in a checkout (`deploy/demo/`), else the copy in the installed package.

    Raises:
        ExpectedError: It cannot be read or is invalid; one line that names the file.
    """
    return read_facts(path or data_file(f"{name}.toml"), _facts)


def _facts(data: dict[str, Any]) -> NightFacts:
    return NightFacts(
        title=data["title"],
        label=data["label"],
        model=data["model"],
        seed=data["seed"],
        launch=launch_of(data["launch"]),
        faults=Faults(**data["simulation"]["faults"]),
    )


def tell_night(facts: NightFacts) -> Night:
    """Simulates a night; the same facts give the same records."""
    rng = random.Random(facts.seed)  # noqa: S311 - must be reproducible, not secret
    launch, offset_s = facts.launch, facts.utc_offset_s()
    writer = EventWriter(facts.model, FACTORY, offset_s)
    expected = Expected()
    events: list[tuple[int, StoryEvent, bool]] = []
    times = launch.times(rng)
    for number, time_s in enumerate(times, 1):
        event = _placed(facts, number, time_s, rng)
        late_s = rng.randint(*_LATE_S) if rng.random() < facts.faults.late else 0
        events.append((event.time_s + late_s, event, True))
        expected.events += 1
        for metric in _METRICS:
            expected.count(metric, local_date(event.time_s, offset_s))
        if rng.random() < facts.faults.twice:
            events.append((event.time_s + late_s + rng.randint(*_AGAIN_S), event, True))
            expected.duplicates += 1
    _add_mistakes(facts, len(times), events, expected, rng)
    expected.campaigns[launch.period] = Counter(dict.fromkeys(_METRICS, len(times)))
    expected.minutes[launch.period] = launch.by_minute(times)
    events.sort(key=lambda one: (one[0], one[1].order_id, one[1].kind))
    return Night(facts, expected, tuple(events), writer)


def _add_mistakes(
    facts: NightFacts,
    orders: int,
    events: list[tuple[int, StoryEvent, bool]],
    expected: Expected,
    rng: random.Random,
) -> None:
    """Adds orders placed by mistake, which are voided, and invalid records; none of them counts."""
    launch = facts.launch
    for number in range(orders + 1, orders + 1 + round(facts.faults.voided * orders)):
        placed = _placed(facts, number, rng.randrange(launch.start_s, launch.end_s), rng)
        voided_s = placed.time_s + rng.randint(*_VOIDED_S)
        voids = (placed.source, placed.id)
        void = StoryEvent(VOIDED, ORDERS, voided_s, placed.order_id, SHOP, _new_id(rng), extra="mistake", voids=voids)
        events += [(placed.time_s, placed, True), (voided_s, void, True)]
        expected.events += 2
    for number in range(round(facts.faults.rejected * orders)):
        wrong = _placed(facts, 9_000_000 + number, rng.randrange(launch.start_s, launch.end_s), rng)
        events.append((wrong.time_s, wrong, False))
        expected.dead_letters["missing_offset"] += 1


def _placed(facts: NightFacts, number: int, time_s: int, rng: random.Random) -> StoryEvent:
    order_id = f"{facts.model}-{facts.launch.start:%Y%m%d}-{number:07d}"
    return StoryEvent(
        PLACED, ORDERS, time_s, order_id, SHOP, _new_id(rng), "", random_variant(rng), random_region(rng), "app"
    )


def _new_id(rng: random.Random) -> str:
    return f"{rng.getrandbits(64):016x}"
