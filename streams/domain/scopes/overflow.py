"""Scopes beyond the limits: they have no rows, and their units count together in the scope whose values are all `other`.

The rows themselves say which scopes have rows, so nothing else must be remembered: a scope that has any keeps them, and another
is let in while the limits leave room. Day counts are absolute and arrive for each scope separately, so what was kept out is
exact at every moment, and gets rows once a limit is raised.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from schemas.facts import DayCount
from schemas.texts import OTHER
from schemas.vectors import packed as pack
from schemas.vectors import unpacked as unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import date

    from schemas.counts import CampaignHour
    from schemas.facts import LatestUnit, Metric

#: Metric, scope `other`, day or hour of a campaign, ledger partition.
_Cell = tuple["Metric", str, "date | CampaignHour", int]


def scope_of_others(scope: str) -> str:
    """The scope with the same dimensions whose values are all `other`; that of `all` is `all` itself."""
    return ",".join(f"{name}={OTHER}" if is_one else name for name, is_one, _ in _parts(scope))


def counted_in(scope: str, with_rows: Collection[str]) -> str:
    """The scope whose rows count the units of a scope, given the scopes that have rows."""
    return scope if scope in with_rows else scope_of_others(scope)


def _parts(scope: str) -> list[tuple[str, str, str]]:
    return [part.partition("=") for part in scope.split(",")]


class ScopeBounds:
    """Which scopes have rows. First report those that have any with `let_in`; then ask for every count that arrives.

    Args:
        limits: The limits by name: `values` (of one dimension), `scopes`, `rows`.
    """

    def __init__(self, limits: Mapping[str, int]) -> None:
        self._limits = limits
        self._let_in: set[str] = set()
        self._values: defaultdict[str, set[str]] = defaultdict(set)
        self._number = 0
        self._least_rows = 0
        #: Scope that is kept out → its counts: units, those loaded as history, and hours with their units.
        self._kept: defaultdict[str, dict[_Cell, bytes]] = defaultdict(dict)
        #: By cell, the sum of these; `_own`: what the scope `other` itself counts.
        self._sums: dict[_Cell, list[int]] = {}
        self._own: dict[_Cell, list[int]] = {}

    @property
    def keeps_out(self) -> bool:
        """Whether any scope is kept out, and counts under `other`."""
        return bool(self._kept)

    @property
    def kept_out(self) -> int:
        """The number of scopes that have counts but no rows."""
        return len(self._kept)

    def let_in(self, scope: str) -> None:
        """Notes that a scope has rows."""
        if scope in self._let_in:
            return
        self._let_in.add(scope)
        others = True
        for name, is_one, value in _parts(scope):
            if is_one and value != OTHER:
                self._values[name].add(value)
                others = False
        # The scopes `other`, one for each set of dimensions, take no room.
        self._number += not others

    def is_in(self, scope: str) -> bool:
        """Whether a scope has rows."""
        return scope in self._let_in

    def with_rows(self, template: tuple[str, ...]) -> list[str]:
        """The scopes with some dimensions that have rows, sorted."""
        names = list(template)
        return sorted(scope for scope in self._let_in if [name for name, _, _ in _parts(scope)] == names)

    def note_rows(self, rows: int) -> None:
        """Notes that there are at least this many rows, while they are still being read."""
        self._least_rows = rows

    def has_room(self, scope: str, rows: int) -> bool:
        """Whether a scope has rows, or gets them now.

        Args:
            scope: Its id.
            rows: The number of rows.
        """
        if scope in self._let_in:
            return True
        if scope in self._kept:
            return False
        named = [(name, value) for name, is_one, value in _parts(scope) if is_one and value != OTHER]
        if named and (
            max(rows, self._least_rows) >= self._limits["rows"]
            or self._number >= self._limits["scopes"]
            or any(
                value not in self._values[name] and len(self._values[name]) >= self._limits["values"]
                for name, value in named
            )
        ):
            return False
        self.let_in(scope)
        return True

    def keep(  # noqa: PLR0913, PLR0917 - a count and where it is from
        self,
        shard: int,
        metric: Metric,
        scope: str,
        day: date | CampaignHour,
        count: DayCount,
        before: Callable[[], DayCount],
    ) -> tuple[str, DayCount]:
        """Takes the count of a scope that is kept out.

        Args:
            shard: Ledger partition.
            metric: Of the count.
            scope: The one that is kept out.
            day: Business date, or hour of a campaign.
            count: The absolute count.
            before: Returns what the partition itself counts in the scope `other`.

        Returns:
            The scope `other`, and what the partition counts in it now.
        """
        others = scope_of_others(scope)
        self.let_in(others)
        cell = (metric, others, day, shard)
        numbers = _numbers(count)
        if cell not in self._sums:
            self._sums[cell] = [0] * len(numbers)
            self._own.setdefault(cell, _numbers(before()))
        sums = self._sums[cell]
        kept = self._kept[scope]
        earlier = kept.get(cell)
        for place, number in enumerate(numbers):
            sums[place] += number
        if earlier is not None:
            for place, number in enumerate(unpack(earlier)):
                sums[place] -= number
        kept[cell] = pack(numbers)
        return others, self._together(cell, count.latest)

    def release(self, scope: str) -> list[tuple[int, Metric, str, date | CampaignHour, DayCount]]:
        """Lets in a scope that was kept out, whatever the limits say: something else has given it a row.

        Returns:
            Ledger partition, metric, scope, day and count of everything that changes thereby: in the scope, and in `other`.
        """
        self.let_in(scope)
        moved: list[tuple[int, Metric, str, date | CampaignHour, DayCount]] = []
        for cell, packed in self._kept.pop(scope, {}).items():
            metric, others, day, shard = cell
            numbers = unpack(packed)
            self._sums[cell] = [every - one for every, one in zip(self._sums[cell], numbers, strict=True)]
            moved.append((shard, metric, scope, day, _count(numbers)))
            moved.append((shard, metric, others, day, self._together(cell, None)))
        return moved

    def add_kept(self, shard: int, metric: Metric, scope: str, day: date | CampaignHour, count: DayCount) -> DayCount:
        """The count of a scope that has rows, including what was kept out and counts in it."""
        cell = (metric, scope, day, shard)
        if cell not in self._sums:
            return count
        self._own[cell] = _numbers(count)
        return self._together(cell, count.latest)

    def _together(self, cell: _Cell, latest: LatestUnit | None) -> DayCount:
        return _count(list(map(sum, zip(self._own[cell], self._sums[cell], strict=True))), latest)


def _numbers(count: DayCount) -> list[int]:
    return [count.count, count.backfilled, *count.by_hour]


def _count(numbers: list[int], latest: LatestUnit | None = None) -> DayCount:
    return DayCount(numbers[0], numbers[1], numbers[2:], latest)
