"""Of a backlog, the partitions that one ledger partition reads are read in the order in which their records were appended.

Read one after the other, a topic of deliveries would be tens of thousands of records ahead of the orders that they belong to. No
count would differ in the end; but each of these orders would contradict itself for a moment, which is published, and be judged twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

#: What was appended later than so long ago waits for nothing, whatever the clocks of the brokers say.
RECENT_MS: Final = 2_000
#: Whatever times publishers give their records: longer than so does no partition wait for another.
MOST_WAIT_S: Final = 60.0


class ReadingOrder(NamedTuple):
    """Which partitions come first.

    Attributes:
        until_ms: Partition → the append time up to which it is read now; those that are not listed have no such limit.
        later: Partitions that wait.
    """

    until_ms: Mapping[tuple[str, int], int]
    later: frozenset[tuple[str, int]]


class Patience:
    """Since when partitions have waited for others; at some time they are read beside these until they have caught up."""

    def __init__(self) -> None:
        self._since_s: dict[tuple[str, int], float] = {}

    def is_over_for(self, behind: Iterable[tuple[str, int]], now_s: float) -> frozenset[tuple[str, int]]:
        """Those that have waited long enough.

        Args:
            behind: All that others come before, each time that an order is made.
            now_s: Seconds of a steady clock.
        """
        self._since_s = {place: self._since_s.get(place, now_s) for place in behind}
        return frozenset(place for place, since_s in self._since_s.items() if now_s - since_s >= MOST_WAIT_S)


def reading_order(
    heads_ms: Mapping[tuple[str, int], int],
    homes: int,
    now_ms: int,
    impatient: Container[tuple[str, int]] = frozenset(),
) -> ReadingOrder:
    """The order of partitions of which records wait to be read.

    Args:
        heads_ms: Topic and number of each partition → when its next record was appended, milliseconds since 1970.
        homes: How many ledger partitions there are; that of a partition is its number modulo theirs.
        now_ms: The clock.
        impatient: Partitions that wait for no others.
    """
    groups: dict[int, dict[tuple[str, int], int]] = {}
    for place, head_ms in heads_ms.items():
        groups.setdefault(place[1] % homes, {})[place] = head_ms
    until_ms: dict[tuple[str, int], int] = {}
    later: set[tuple[str, int]] = set()
    for group in groups.values():
        first_ms = min(group.values())
        waiting = {
            place: head_ms
            for place, head_ms in group.items()
            if first_ms < head_ms < now_ms - RECENT_MS and place not in impatient
        }
        if waiting:
            later.update(waiting)
            until_ms.update(dict.fromkeys(group.keys() - waiting.keys(), min(waiting.values())))
    return ReadingOrder(until_ms, frozenset(later))
