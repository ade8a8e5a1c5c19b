"""Warns the operator of limits that are nearly reached: once each, and once more when a limit is exceeded."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from schemas.texts import OTHER
from streams.domain.pauses import whole
from streams.domain.scopes.limit_usage import limit_uses
from streams.domain.scopes.scopes import named_values

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from streams.domain.rows.windows import Windows


#: Names of series to look at between two pauses.
_AT_ONCE: Final = 2_000


class LimitWatch:
    """Watches the limits by looking only at the series added since the last look.

    Args:
        limits: The limits by name: `values` (of one dimension), `scopes`, `rows`.
    """

    def __init__(self, limits: Mapping[str, int]) -> None:
        self._limits = limits
        self._series = 0
        self._scopes: set[str] = set()
        self._values: defaultdict[str, set[str]] = defaultdict(set)
        self._said: set[tuple[str, bool]] = set()
        #: The number of scopes without rows at which the next warning is due.
        self._kept_out = 1

    def looking(self, rows: Windows) -> Generator[None, None, None]:
        """Looks at what has been added, with pauses: all scopes at once, after opening, would take long."""
        while self._series < rows.sizes[1]:
            names = rows.series_names(self._series, self._series + _AT_ONCE)
            self._series += len(names)
            for _, scope in names:
                if scope not in self._scopes:
                    self._scopes.add(scope)
                    for name, value in named_values(scope):
                        self._values[name].add(value)
            yield

    def lines(self, rows: Windows, kept_out: int = 0) -> list[str]:
        """The warnings that are due now.

        Args:
            rows: All rows; a metric and scope that has had a row keeps its place among their names.
            kept_out: Number of scopes that have counts but no rows.
        """
        whole(self.looking(rows))
        values = {name: len(found) for name, found in self._values.items()}
        lines = []
        for use in limit_uses(self._limits, values, len(self._scopes), len(rows)):
            level = (use.what, use.used > use.limit)
            if use.is_near and level not in self._said:
                self._said.add(level)
                lines.append(f"{use.line()}; milestones scopes says what they cost, [values] bounds them")
        if kept_out >= self._kept_out:
            self._kept_out = 2 * kept_out
            what = "1 scope is" if kept_out == 1 else f"{kept_out:,} scopes are"
            lines.append(
                f"{what} beyond the limits and counted under {OTHER}: raise [limits] and start again to give them rows"
            )
        return lines
