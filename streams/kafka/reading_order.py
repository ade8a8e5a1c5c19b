"""Reads a backlog of the partitions that belong to one ledger partition in the order in which the records were appended.

Read one after the other, a deliveries topic could get tens of thousands of records ahead of the orders they belong to. The final
counts would be the same; but each of these orders would contradict itself for a moment, which is published, and be judged twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

#: Records appended more recently than this never wait, so that differences between the brokers' clocks do not matter.
RECENT_MS: Final = 2_000
#: The longest time that a partition waits for others, whatever timestamps publishers give their records.
MOST_WAIT_S: Final = 60.0
#: The longest time that others wait for records that are being fetched: nearly always they come within milliseconds.
MOST_FETCH_S: Final = 1.0


class ReadingOrder(NamedTuple):
    """Which partitions are read first.

    Attributes:
        until_ms: Partition → the append time up to which it is read now; those not listed have no limit.
        later: Partitions that wait.
    """

    until_ms: Mapping[tuple[str, int], int]
    later: frozenset[tuple[str, int]]


class Patience:
    """Tracks how long partitions have waited for others; those that have waited too long are read alongside until they catch up."""

    def __init__(self) -> None:
        self._since_s: dict[tuple[str, int], float] = {}

    def is_over_for(self, behind: Iterable[tuple[str, int]], now_s: float) -> frozenset[tuple[str, int]]:
        """The partitions that have waited long enough.

        Args:
            behind: All partitions that would have to wait now; to be passed every time an order is determined.
            now_s: Seconds of a monotonic clock.
        """
        self._since_s = {place: self._since_s.get(place, now_s) for place in behind}
        return frozenset(place for place, since_s in self._since_s.items() if now_s - since_s >= MOST_WAIT_S)


class OnTheirWay:
    """Tracks partitions whose next records are not here yet, so that those of others do not get ahead of them meanwhile."""

    def __init__(self) -> None:
        self._last_ms: dict[tuple[str, int], int] = {}
        self._since_s: dict[tuple[str, int], float] = {}

    def heads_ms(
        self, here: Mapping[tuple[str, int], int], missing: Iterable[tuple[str, int]], now_s: float
    ) -> dict[tuple[str, int], int]:
        """The earliest possible append times of the next records of partitions that are worth waiting for.

        Args:
            here: Partitions with records waiting → when their next record was appended, milliseconds since 1970.
            missing: Partitions without any, although there are more at the broker.
            now_s: Seconds of a monotonic clock.
        """
        self._last_ms.update(here)
        # Append times never decrease within a partition, so none is before the last one seen.
        self._since_s = {place: self._since_s.get(place, now_s) for place in missing}
        return {
            place: self._last_ms.get(place, 0)
            for place, since_s in self._since_s.items()
            if now_s - since_s < MOST_FETCH_S
        }


def reading_order(
    heads_ms: Mapping[tuple[str, int], int],
    homes: int,
    now_ms: int,
    impatient: Container[tuple[str, int]] = frozenset(),
) -> ReadingOrder:
    """The reading order of partitions that have records waiting, or coming.

    Args:
        heads_ms: Topic and number of each partition → when its next record was appended, milliseconds since 1970; of one that is
            still being fetched, the earliest time at which it can have been.
        homes: Number of ledger partitions; a source partition's number modulo this one is its ledger partition.
        now_ms: The clock, milliseconds since 1970.
        impatient: Partitions that do not wait for others.
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
