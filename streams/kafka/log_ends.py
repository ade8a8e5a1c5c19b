"""The ends of partitions, each as of the moment at which a leader's answer makes it certain."""

from __future__ import annotations

from typing import NamedTuple

#: A leader exposes records to readers once its followers have them, which takes less than this.
_REPLICATION_US = 1_000_000


class LogEnd(NamedTuple):
    """The end of a partition at some moment.

    Attributes:
        offset: Everything appended before that moment is below this offset.
        as_of_us: The moment, microseconds since 1970.
    """

    offset: int
    as_of_us: int


class LogEnds(dict[tuple[str, int], LogEnd]):
    """The ends of partitions, by the answers of their leaders.

    A new leader may at first report an earlier end than its predecessor, since it does not know yet what its followers have. So
    its answers only count from a second after the first one.
    """

    def __init__(self) -> None:
        super().__init__()
        #: Partition → its leader, `None` if there may be a new one, and when it was first asked: seconds of a monotonic clock.
        self._leaders: dict[tuple[str, int], tuple[int | None, float]] = {}

    def answered(self, tp: tuple[str, int], leader: int, offset: int, *, asked_us: int, asked_s: float) -> None:
        """Takes an answer.

        Args:
            tp: The partition.
            leader: Id of the broker.
            offset: The end of the partition according to it.
            asked_us: When it was asked, microseconds since 1970.
            asked_s: The same, seconds of a monotonic clock.
        """
        # The first leader we see may be as new as any other.
        known, since_s = self._leaders.get(tp, (None, 0.0))
        if known != leader:
            since_s = asked_s
        self._leaders[tp] = leader, since_s
        if asked_s - since_s >= _REPLICATION_US / 1e6:
            self[tp] = LogEnd(offset, asked_us - _REPLICATION_US)

    def missed(self, tp: tuple[str, int]) -> None:
        """Notes that an answer left out the partition: its next leader may be new, even if it is the same broker."""
        if tp in self._leaders:
            self._leaders[tp] = None, 0.0
