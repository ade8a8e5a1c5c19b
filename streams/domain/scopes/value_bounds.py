"""Limits the values of a dimension, and the scopes, that the units of one ledger partition may add."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.facts import DIMENSIONS
from schemas.texts import ALL
from streams.domain.scopes.scopes import named_values

if TYPE_CHECKING:
    from schemas.facts import Dims
    from streams.domain.scopes.scopes import Scopes


class ValueBounds:
    """Refuses dimensions that would add a value or a scope for which there is no room.

    Args:
        scopes: The scopes that are counted.
        values: Most distinct values of a dimension, as they are counted.
        most_scopes: Most scopes.
    """

    def __init__(self, scopes: Scopes, values: int, most_scopes: int) -> None:
        self._of = scopes
        self._values_limit, self._scopes_limit = values, most_scopes
        self._known: set[Dims] = set()
        self._scopes: set[str] = set()
        self._values: dict[str, set[str]] = {name: set() for name in DIMENSIONS}

    def refusal(self, dims: Dims) -> str:
        """Why dimensions are refused, in one line; empty if they are accepted, which also makes them known."""
        if dims in self._known:
            return ""
        scopes = self._new_scopes(dims)
        for name, values in _values_of(scopes).items():
            new = values - self._values[name]
            if len(self._values[name]) + len(new) > self._values_limit and new:
                return (
                    f"{name} {', '.join(sorted(new))} would be beyond the {self._values_limit:,} values of {name} that a "
                    "partition may have by [limits] values"
                )
        if len(self._scopes) + len(scopes) > self._scopes_limit and scopes:
            return (
                f"{', '.join(sorted(scopes))} would be beyond the {self._scopes_limit:,} scopes that a partition may have by "
                "[limits] scopes"
            )
        self._keep(dims, scopes)
        return ""

    def keep(self, dims: Dims) -> None:
        """Adds the dimensions of units that already count, whatever the limits."""
        if dims not in self._known:
            self._keep(dims, self._new_scopes(dims))

    def _new_scopes(self, dims: Dims) -> set[str]:
        found = {scope for scopes in self._of.scopes_by_era(dims) for scope in scopes}
        return found - self._scopes - {ALL}

    def _keep(self, dims: Dims, scopes: set[str]) -> None:
        self._known.add(dims)
        self._scopes |= scopes
        for name, values in _values_of(scopes).items():
            self._values[name] |= values


def _values_of(scopes: set[str]) -> dict[str, set[str]]:
    """Dimension → the values that scopes name."""
    found: dict[str, set[str]] = {}
    for scope in scopes:
        for name, value in named_values(scope):
            found.setdefault(name, set()).add(value)
    return found
