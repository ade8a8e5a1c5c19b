"""Which totals partition a scope belongs to, with all its metrics and windows and everything decided about them.

Every rule, target, forecast and control total looks at one metric and scope, so no other scope has to be in the same partition. If
scopes beyond the limits count under `other`, all scopes of the same dimensions are together, including that `other`.
"""

from __future__ import annotations

from schemas.partitioner import totals_partition


class TotalsHomes:
    """The home of every scope.

    Args:
        partitions: Number of totals partitions.
        by_dimensions: Whether scopes with the same dimensions have the same home.

    Attributes:
        partitions: As given.
        by_dimensions: As given.
    """

    def __init__(self, partitions: int, *, by_dimensions: bool = False) -> None:
        self.partitions = partitions
        self.by_dimensions = by_dimensions
        self._homes: dict[str, int] = {}

    def of(self, scope: str) -> int:
        """The partition that a scope belongs to."""
        if self.partitions == 1:
            return 0
        home = self._homes.get(scope)
        if home is None:
            home = totals_partition(scope, self.partitions, by_dimensions=self.by_dimensions)
            self._homes[scope] = home
        return home
