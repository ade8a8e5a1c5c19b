"""Rehearses a load without a cluster: what would be rejected, and what the events alone would count; and paces real loads."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from streams.domain.ledger import Ledger
from streams.domain.scopes.scopes import Scopes
from streams.domain.time.zone import BusinessZone

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from schemas.facts import Fact
    from streams.events.ndjson import RejectedLine
    from streams.kafka.publication import Publication
    from streams.settings import Settings

_FIRST_LINES: Final = 5
#: Portions per second into which a load with a rate limit is cut.
_PORTIONS: Final = 10


class Rehearsal:
    """Collects what would be published.

    Attributes:
        accepted: Number of valid events.
        duplicates: Number of events that repeat earlier ones in the file.
        rejected: Reason → how many, the first line numbers, and the message of the first.
    """

    def __init__(self, settings: Settings) -> None:
        self._ledger = Ledger(BusinessZone(settings.timezone), Scopes([[]]))
        self.accepted = 0
        self.duplicates = 0
        self.rejected: dict[str, tuple[int, list[int], str]] = {}

    def take(self, records: Sequence[Publication], rejected: Sequence[RejectedLine], facts: Sequence[Fact]) -> None:
        """Takes a piece of a file with its verdicts."""
        self.accepted += len(records)
        applied = self._ledger.apply(facts)
        self.duplicates += applied.duplicates
        for line in rejected:
            self._reject(line.rejection.reason, line.number, line.rejection.message)
        for _, reason, message in applied.refused:
            self._reject(reason, 0, message)

    def _reject(self, reason: str, number: int, message: str) -> None:
        count, numbers, said = self.rejected.get(reason, (0, [], message))
        if number and len(numbers) < _FIRST_LINES:
            numbers = [*numbers, number]
        self.rejected[reason] = (count + 1, numbers, said)

    def months(self) -> dict[tuple[str, str], int]:
        """(metric, month such as `2024-10`) → the count that these events alone would yield."""
        self._ledger.drain()
        found: Counter[tuple[str, str]] = Counter()
        for (metric, _, day), count in self._ledger.counts().items():
            found[metric, f"{day:%Y-%m}"] += count.count
        return {key: count for key, count in found.items() if count}


class LoadRate:
    """Spreads records over time.

    Args:
        per_second: Maximum records per second; `None` for no limit.
    """

    def __init__(self, per_second: float | None) -> None:
        self._per_second = per_second
        self._began_s = time.monotonic()
        self._sent = 0

    def portions(self, records: Sequence[Publication]) -> Iterator[Sequence[Publication]]:
        """The records in portions, each to be sent after `wait_s`."""
        if self._per_second is None:
            yield records
            return
        size = max(1, int(self._per_second / _PORTIONS))
        for start in range(0, len(records), size):
            yield records[start : start + size]
            self._sent += len(records[start : start + size])

    def wait_s(self) -> float:
        """How long to wait before the next portion."""
        if self._per_second is None:
            return 0.0
        return max(0.0, self._began_s + self._sent / self._per_second - time.monotonic())
