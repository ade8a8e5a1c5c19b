"""Aliases: `su7` is counted as `SU7`, always or for units dated on or after a day."""

from __future__ import annotations

from bisect import bisect_right
from datetime import date
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from schemas.facts import DIMENSIONS, Dims

if TYPE_CHECKING:
    from collections.abc import Iterable


class Alias(NamedTuple):
    """The value that another value of a dimension is counted as, from a business date on."""

    dimension: str
    name: str
    means: str
    since: date = date.min


class Aliases:
    """All aliases of an installation.

    Attributes:
        text: All aliases in one readable text; equal for equal aliases.
        first_days: The first day of each era; all days of an era have the same aliases.
    """

    def __init__(self, aliases: Iterable[Alias] = ()) -> None:
        known = sorted(aliases)
        self.text = "|".join(
            f"{alias.dimension}:{alias.name}={alias.means}{'' if alias.since == date.min else f'@{alias.since}'}"
            for alias in known
        )
        self.first_days = sorted({date.min, *(alias.since for alias in known)})
        self._by_name = {(DIMENSIONS.index(alias.dimension), alias.name): alias for alias in known}
        self._positions = sorted({at for at, _ in self._by_name})

    def __bool__(self) -> bool:
        return bool(self._by_name)

    def era(self, on: date) -> int:
        """The index of a day's era in `first_days`."""
        return bisect_right(self.first_days, on) - 1

    def applied(self, dims: Dims, on: date) -> Dims:
        """The dimensions that a unit of a day is counted with."""
        named = list(dims)
        for at in self._positions:
            alias = self._by_name.get((at, dims[at]))
            if alias is not None and on >= alias.since:
                named[at] = alias.means
        return cast("Dims", tuple(named))  # as many as there were


NO_ALIASES: Final = Aliases()
