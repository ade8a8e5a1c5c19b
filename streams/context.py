"""What all parts of the engine share: settings, names, calendar, the log and the clock."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from schemas.facts import DIMENSIONS, FAMILIES, USUAL_FAMILIES, family_of, place_of
from schemas.texts import template_name
from streams.domain.scopes.scopes import Scopes
from streams.domain.scopes.totals_homes import TotalsHomes
from streams.domain.time.campaigns import Campaigns
from streams.domain.time.zone import BusinessZone
from streams.errors import ExpectedError
from streams.kafka.admin import catalogue_of
from streams.kafka.log import KafkaLog, Log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from schemas.topics import Catalogue
    from streams.settings import Settings

#: Incremented when the format of the ledger's changelog or of the day counts changes.
STATE_FORMAT = 1
#: A transaction, with its other records, then has at most 5,000 records and 2 MB.
PART_ROWS = 4_000
#: A transaction of a ledger partition, with its chunks, what it tells and its markers, then has at most 5,000 records.
STEP_RECORDS = 4_500
#: A few tenths of a second of the totals' work.
MANY_LEFT = 8_000
#: Reading this many takes half a second.
SNAPSHOT_AFTER = 50_000
#: Half a megabyte; a fifth of that compressed.
BLOCK_ROWS = 4_096

#: What to do about a topic whose offsets are not those that were counted.
NOT_THE_SAME_TOPIC: Final = (
    "the topic was recreated, or mirrored with other offsets: go on with milestones move, or count again, as "
    "deploy/OPERATIONS.md says under Moves"
)
_AS_BEFORE: Final = (
    "list the topics as before and new ones at the end, or count everything again under another output_prefix"
)


def wall_clock_us() -> int:
    """Now, in microseconds since 1970."""
    return time.time_ns() // 1000


class SourceTopics:
    """The topics that a ledger partition reads.

    Attributes:
        names: `Fact.topic` → the topic, for those that publishers write to.
        numbers: The inverse: topic → number.
        rerouted: The topic of records forwarded to their home.
    """

    def __init__(self, names: Mapping[int, str], rerouted: str) -> None:
        self.names = dict(names)
        self.numbers = {name: number for number, name in names.items()}
        self.rerouted = rerouted

    def __iter__(self) -> Iterator[str]:
        yield from self.names.values()
        yield self.rerouted

    def __contains__(self, name: object) -> bool:
        return name in self.numbers or name == self.rerouted

    @property
    def published(self) -> tuple[str, ...]:
        """The topics that publishers write to."""
        return tuple(self.names.values())

    def name(self, number: int) -> str:
        """The topic with a number.

        Raises:
            ExpectedError: The settings no longer list it.
        """
        if number not in self.names:
            raise ExpectedError(
                f"topics: records of topic {place_of(number) + 1} of the {FAMILIES[family_of(number)]} were counted, and the settings list only "
                f"{sum(family_of(other) == family_of(number) for other in self.names)}: {_AS_BEFORE}"
            )
        return self.names[number]

    def check_same(self, before: Mapping[str, int]) -> None:
        """Checks that all topics that were counted still have the same numbers.

        Args:
            before: Topic → its number when it was counted.

        Raises:
            ExpectedError: One has a different number, or none.
        """
        for name, number in before.items():
            if self.numbers.get(name) != number:
                raise ExpectedError(
                    f"topics: {name} was counted, and is not in its place of the settings: {_AS_BEFORE}"
                )


@dataclass(frozen=True)
class Context:
    """Built once by the composition root and handed down; holds no state.

    Attributes:
        settings: As loaded.
        now_us: The clock, microseconds since 1970.
        cpu_s: CPU seconds since some moment; for work that paces itself by its own cost.
        other_log: A log to use instead of the cluster in the settings.
        part_rows: Most rows and milestones that the totals publish in one transaction; a step with more takes several. Likewise
            for counts at the end of a ledger partition's rebuild.
        step_records: Most counts, violations, dead letters and forwarded records that a ledger partition writes in one transaction: a
            step takes no more events.
        many_left: While more counts than this are left at the broker, the totals take several times as many before they publish: rows
            that many of them change are then published once.
        snapshot_after: Minimum number of records that the totals take or write between two snapshots of their rows.
        block_rows: Rows per record of a snapshot.
    """

    settings: Settings
    now_us: Callable[[], int] = wall_clock_us
    cpu_s: Callable[[], float] = time.perf_counter
    other_log: Log | None = None
    part_rows: int = PART_ROWS
    step_records: int = STEP_RECORDS
    many_left: int = MANY_LEFT
    snapshot_after: int = SNAPSHOT_AFTER
    block_rows: int = BLOCK_ROWS

    @cached_property
    def log(self) -> Log:
        """The log to read from and write to."""
        return self.other_log or KafkaLog(self.settings)

    @cached_property
    def catalogue(self) -> Catalogue:
        """The topics of this installation."""
        return catalogue_of(self.settings)

    @cached_property
    def zone(self) -> BusinessZone:
        """The business time zone."""
        return BusinessZone(self.settings.timezone, self.settings.day_starts_hour)

    @cached_property
    def scopes(self) -> Scopes:
        """The scopes that are counted."""
        return Scopes(self.settings.scopes, self.settings.values.listed(), self.settings.aliases)

    @cached_property
    def campaigns(self) -> Campaigns:
        """The campaigns of the settings."""
        return Campaigns(self.settings.campaigns)

    @cached_property
    def templates(self) -> tuple[tuple[str, ...], ...]:
        """The sets of dimensions whose scopes are counted, each in the order of scope ids."""
        return tuple(tuple(name for name in DIMENSIONS if name in each) for each in self.settings.scopes)

    def last_end_us(self, now_us: int, campaigns: Campaigns | None = None) -> int:
        """The latest end of a day or campaign up to `now_us`; both in microseconds since 1970.

        Args:
            now_us: The instant.
            campaigns: The campaigns; by default those of the settings.
        """
        return max(
            self.zone.start_of_day_us(now_us), (self.campaigns if campaigns is None else campaigns).last_end_us(now_us)
        )

    @cached_property
    def produced_since_us(self) -> int | None:
        """Deliveries from this time on are judged by production, microseconds since 1970; `None` if none are."""
        return self.settings.produced_since_us(self.zone)

    @cached_property
    def totals_homes(self) -> TotalsHomes:
        """Maps scopes to the totals partitions they belong to."""
        return TotalsHomes(self.settings.totals_partitions, by_dimensions=self.settings.limits.beyond == "other")

    @cached_property
    def source_topics(self) -> SourceTopics:
        """The source topics of a ledger partition."""
        return SourceTopics(self.catalogue.names(), self.catalogue.rerouted.name)

    @cached_property
    def ledger_topics(self) -> tuple[str, ...]:
        """The topics that ledger partitions read: the sources, the totals' questions, and what they tell each other."""
        told = (self.catalogue.told.name,) if self.catalogue.judges_production else ()
        return *self.source_topics, self.catalogue.questions.name, *told

    @cached_property
    def side_topics(self) -> tuple[str, ...]:
        """Single-partition topics that totals partition 0 reads besides the counts; read in full on every takeover."""
        return self.catalogue.targets.name, self.catalogue.controls.name

    @cached_property
    def read_by_totals(self) -> tuple[frozenset[tuple[str, int]], ...]:
        """What each totals partition reads: (topic, partition) pairs that have to stay together."""
        counts, sides = self.catalogue.counts.whole, self.catalogue.sides.whole
        first = frozenset({counts[0], *((name, 0) for name in self.side_topics)})
        return first, *(frozenset(pair) for pair in zip(counts[1:], sides[1:], strict=True))

    @cached_property
    def totals_topics(self) -> tuple[str, ...]:
        """The topics that the totals partitions read."""
        several = (self.catalogue.sides.name,) if self.settings.totals_partitions > 1 else ()
        return self.catalogue.counts.name, *self.side_topics, *several

    @cached_property
    def fingerprint(self) -> str:
        """What counts depend on besides events; in readable form, so that a person can see what has changed."""
        scopes = "|".join(template_name(template) for template in self.settings.scopes)
        told = f"format={STATE_FORMAT} timezone={self.zone.key} scopes={scopes} partitions={self.settings.partitions}"
        # States from before this could be chosen do not mention it.
        told += "".join(
            f" {name}={len(values)}:{_digest(sorted(values))}" for name, values in self.settings.values.listed().items()
        )
        if self.settings.totals_partitions > 1:
            told += f" totals={self.settings.totals_partitions}"
            told += "-by-dimensions" * self.totals_homes.by_dimensions
        # Production is judged separately from everything else, so that it can be added to an installation that has counted.
        families = tuple(family for family in self.settings.families if family in USUAL_FAMILIES)
        return told if families == USUAL_FAMILIES else f"{told} families={','.join(families)}"

    def totals_role(self, number: int) -> str:
        """The role of a totals partition."""
        return f"totals-{number}" if number else "totals"

    def transactional_id(self, role: str) -> str:
        """The transactional id of a role such as `ledger-2` or `totals`."""
        return f"{self.settings.output_prefix}milestones-{role}"


def _digest(values: list[str]) -> str:
    return hashlib.sha256(json.dumps(values, ensure_ascii=False).encode()).hexdigest()[:8]
