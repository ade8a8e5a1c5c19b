"""Settings that events change as of a time: which change is in force at an instant, whatever the order of arrival.

Of the changes of one key, the one with the greatest (time, id, source) among those whose time has come decides.
"""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from schemas.facts import ID_CONFLICT
from streams.domain.announced.disposition import APPLIED, DUPLICATE

if TYPE_CHECKING:
    from collections.abc import Hashable

    from streams.domain.announced.disposition import Disposition


class DatedChange(Protocol):
    """What one event says."""

    # fmt: off
    @property
    def time_us(self) -> int: ...  # noqa: D102 - from when on, microseconds since 1970
    @property
    def id(self) -> str: ...  # noqa: D102 - the event's own; unique within its source and key
    @property
    def source(self) -> str: ...  # noqa: D102 - the CloudEvents source
    # fmt: on


K = TypeVar("K", bound="Hashable")
C = TypeVar("C", bound=DatedChange)


class DatedChanges(Generic[K, C]):
    """Every change of every key."""

    def __init__(self) -> None:
        self._seen: dict[tuple[K, str, str], C] = {}
        self._changes: dict[K, list[C]] = {}
        self._in_force: dict[K, C] = {}
        #: The answer is valid from the first of these instants up to, but not including, the second.
        self._holds = (1, 0)

    def take(self, key: K, change: C) -> Disposition:
        """Takes one event; if one identity comes with several contents, the first counts."""
        known = self._seen.setdefault((key, change.source, change.id), change)
        if known is not change:
            return DUPLICATE if known == change else ID_CONFLICT
        insort(self._changes.setdefault(key, []), change, key=_order)
        self._holds = (1, 0)
        return APPLIED

    def in_force(self, now_us: int) -> dict[K, C]:
        """The change of each key that is in force at an instant; the same object as long as nothing has changed."""
        since_us, until_us = self._holds
        if not since_us <= now_us < until_us:
            self._judge(now_us)
        return self._in_force

    def _judge(self, now_us: int) -> None:
        found: dict[K, C] = {}
        since_us, until_us = -(1 << 63), 1 << 63
        for key, changes in self._changes.items():
            for change in changes:
                if change.time_us > now_us:
                    until_us = min(until_us, change.time_us)
                    break
                since_us = max(since_us, change.time_us)
                found[key] = change
        if found != self._in_force:
            self._in_force = found
        self._holds = (since_us, until_us)


def _order(change: DatedChange) -> tuple[int, str, str]:
    return change.time_us, change.id, change.source
