"""The source topics of a ledger partition: how far each has been applied, and whether it is still the same topic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas.outputs import Books
from streams.context import NOT_THE_SAME_TOPIC
from streams.errors import ExpectedError, GapError
from streams.kafka.digest import digest_of
from streams.kafka.log import Bounds, Partition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schemas.notes import Gap
    from streams.context import SourceTopics
    from streams.kafka.log import LogReader
    from streams.kafka.log_ends import LogEnd


@dataclass
class Source:
    """How far one source topic of the partition has been applied, and its books.

    Attributes:
        next: The offset from which to continue.
        end: The greatest known end offset.
        is_heard_of: Whether the partition's leader has answered since opening; before that, records of open transactions
            may lie beyond `end`.
        seen_us: Everything appended before this moment is below `end`; microseconds since 1970.
        digest: Digest of the last applied record.
        append_us: When that record was appended; microseconds since 1970.
        read: Records up to `next`; the sum of the following four.
        lost: Number of offsets up to `next` that were removed before they were read.
    """

    next: int = 0
    end: int = 0
    is_heard_of: bool = False
    seen_us: int = 0
    digest: str = ""
    append_us: int = 0
    read: int = 0
    applied: int = 0
    duplicates: int = 0
    dead_letters: int = 0
    rerouted: int = 0
    lost: int = 0

    @property
    def lag(self) -> int:
        """Records between the applied position and the known end."""
        return self.end - self.next if self.end > self.next else 0

    @property
    def applied_up_to_us(self) -> int:
        """Everything appended before this moment has been applied; microseconds since 1970."""
        if self.end > self.next or self.seen_us < self.append_us:
            return self.append_us
        return self.seen_us

    def hear(self, end: LogEnd | None) -> None:
        """Takes the end of the partition from the broker's last answer, if there is one."""
        if end is not None:
            self.is_heard_of = True
            self.end = max(self.end, end.offset)
            self.seen_us = max(self.seen_us, end.as_of_us)

    def lose(self, first: int) -> None:
        """Continues at `first`, although earlier records were not read."""
        self.lost += first - self.next
        self.next, self.digest = first, ""

    def books(self) -> Books:
        """The books to publish; read = applied + duplicates + dead letters + rerouted."""
        return Books(
            read=self.read,
            applied=self.applied,
            duplicates=self.duplicates,
            dead_letters=self.dead_letters,
            rerouted=self.rerouted,
        )

    def adopt(self, offset: int, digest: str, books: Books) -> None:
        """Resumes from a marker."""
        self.next, self.digest = offset, digest
        self.read, self.applied, self.duplicates = books.read, books.applied, books.duplicates
        self.dead_letters, self.rerouted = books.dead_letters, books.rerouted


async def bounds(reader: LogReader, topics: SourceTopics, number: int, homes: int) -> dict[Partition, Bounds]:
    """Start and end offset of each source partition that ledger partition `number` reads.

    Partition N of a topic is read by ledger partition N modulo the number of homes. That is the home of all its records if
    publishers use Kafka's own partitioner and the topic's number of partitions is a multiple of the number of homes, or vice
    versa.

    Raises:
        ExpectedError: A topic does not exist, or the topic of forwarded records does not have one partition per home.
    """
    found = await reader.partition_counts(topics)
    for topic in topics:
        if not found[topic] or (topic == topics.rerouted and found[topic] != homes):
            what = f"has {found[topic]} partitions, the settings say {homes}" if found[topic] else "does not exist"
            raise ExpectedError(f"{topic} {what}: milestones topics plan tells what to do", exit_code=3)
    own = [Partition(topic, of) for topic in topics for of in range(number, found[topic], homes)]
    return {Partition(*tp): span for tp, span in (await reader.bounds(own)).items()}


def is_another_cluster(before: str, now: str) -> bool:
    """Whether two cluster ids are known, i.e. not empty, and differ."""
    return bool(before and now) and before != now


async def check(
    sources: Mapping[Partition, Source],
    found: Mapping[Partition, Bounds],
    gaps: Mapping[tuple[str, int], Gap],
    reader: LogReader,
    *,
    is_elsewhere: bool = False,
) -> None:
    """Checks that the sources are those that were applied before, and moves them past accepted gaps.

    Args:
        sources: How far each has been applied.
        found: The offsets that the partitions hold now.
        gaps: The gaps that operators have accepted.
        reader: For looking at records.
        is_elsewhere: Whether they were applied on another cluster, so that only a record can prove an offset the same.

    Raises:
        ExpectedError: A topic was recreated.
        GapError: Records were removed before they were read, and no operator has accepted that.
    """
    for tp, source in sources.items():
        name = f"{tp.topic}-{tp.partition}"
        first, end = found.get(tp, Bounds(0, 0))
        if source.next > end:
            raise ExpectedError(
                f"{name} holds offsets {first} to {end}, the ledger has applied up to {source.next}: {NOT_THE_SAME_TOPIC}"
            )
        if source.next < first:
            gap = gaps.get(tp)
            if gap is None or gap.until < first:
                raise gap_error(tp, source.next, first)
            source.lose(first)
        elif source.digest and source.next - 1 >= first:
            last = await reader.record_at(tp, source.next - 1)
            if last is None and (await reader.bounds([tp]))[tp].first >= source.next:
                continue  # retention has removed it since the bounds were read; all of it had been applied
            if last is None or digest_of(last) != source.digest:
                raise ExpectedError(
                    f"{name} has another record at offset {source.next - 1} than the one the ledger applied: "
                    f"{NOT_THE_SAME_TOPIC}"
                )
        elif is_elsewhere and source.next:
            raise ExpectedError(
                f"{name} was applied up to {source.next} on another cluster, and no record tells whether that is the same here: "
                f"{NOT_THE_SAME_TOPIC}"
            )


def check_ids(before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Checks the ids of topics: a recreated topic may be as long as the one that was read before, and begin with the same records.

    Raises:
        ExpectedError: A topic was recreated.
    """
    for name, was in before.items():
        if now.get(name, was) != was:
            raise ExpectedError(
                f"{name} is not the topic that the ledger applied, but one made again: {NOT_THE_SAME_TOPIC}"
            )


def gap_error(tp: Partition, following: int, first: int) -> GapError:
    """The error for records removed before they were read; it says how to continue."""
    return GapError(
        f"{tp.topic}-{tp.partition} begins at offset {first}, read was up to {following}: what lay between was removed "
        f"(retention) and is counted nowhere; publish it again, then go on with: milestones gaps accept {tp.topic} {tp.partition}"
        " --reason TEXT"
    )
