"""Which scopes a unit is counted in: `all`, `model=SU7`, `model=SU7,region=CN-11`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schemas.facts import DIMENSIONS, Dims
from schemas.texts import ALL, OTHER, escaped, unescaped
from streams.domain.scopes.aliases import NO_ALIASES, Aliases

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import date

DEFAULT_TEMPLATES: Final[tuple[tuple[str, ...], ...]] = (("model",), ())


class Scopes:
    """The scope templates of an installation.

    Args:
        templates: Each a list of dimension names in any order; the empty one is `all`.
        values: Dimension → the values that have their own scopes; the others count together in that of `OTHER`. A
            dimension without an entry has a scope for each value.
        aliases: The values that other values are counted as.

    Attributes:
        aliases: As given.

    Raises:
        ValueError: A dimension is unknown or named twice in a template, a template occurs twice, or there is none.
    """

    def __init__(
        self,
        templates: Sequence[Sequence[str]] = DEFAULT_TEMPLATES,
        values: Mapping[str, Collection[str]] | None = None,
        aliases: Aliases = NO_ALIASES,
    ) -> None:
        if not templates:
            raise ValueError("scopes: at least one template is needed, else nothing is counted; [] is the scope `all`")
        self._templates = [_positions(template) for template in templates]
        if len(set(self._templates)) < len(self._templates):
            raise ValueError("scopes: a template occurs twice, its units would be counted twice")
        self._values = [frozenset(each) if (each := (values or {}).get(name)) else None for name in DIMENSIONS]
        self.aliases = aliases
        self._scopes: dict[Dims, tuple[str, ...]] = {}

    @property
    def most(self) -> int:
        """How many scopes a unit counts in at most."""
        return len(self._templates)

    def has(self, scope: str) -> bool:
        """Whether units can count in a scope with this id."""
        named = {} if scope == ALL else dict(part.split("=", 1) for part in scope.split(",") if "=" in part)
        positions = tuple(at for at, name in enumerate(DIMENSIONS) if name in named)
        names = [(at, unescaped(named[DIMENSIONS[at]])) for at in positions]
        return positions in self._templates and all(self._counted(at, name) == name for at, name in names)

    def scopes_of(self, dims: Dims) -> tuple[str, ...]:
        """The ids of the scopes in which a unit with these dimensions counts, in the order of the templates; no aliases.

        A unit that lacks a dimension of a template has no scope of it.
        """
        try:
            return self._scopes[dims]
        except KeyError:
            pass
        ids = self._scopes[dims] = tuple(
            ",".join(f"{DIMENSIONS[at]}={escaped(self._counted(at, dims[at]))}" for at in positions) or ALL
            for positions in self._templates
            if all(dims[at] for at in positions)
        )
        return ids

    def _counted(self, at: int, value: str) -> str:
        """The value under which a dimension's value is counted."""
        known = self._values[at]
        return value if known is None or value in known else OTHER

    def scopes_by_era(self, dims: Dims) -> tuple[tuple[str, ...], ...]:
        """The same with aliases, for each era of `aliases`."""
        return tuple(self.scopes_of(self.aliases.applied(dims, first)) for first in self.aliases.first_days)

    def scopes_on(self, dims: Dims, day: date) -> tuple[str, ...]:
        """The same for a unit of a business date, with the aliases of that day."""
        return self.scopes_of(self.aliases.applied(dims, day))


def named_values(scope: str) -> list[tuple[str, str]]:
    """The dimensions of a scope id with their values as written there, in its order; none for `all`."""
    parts = (part.partition("=") for part in scope.split(","))
    return [(name, value) for name, is_value, value in parts if is_value]


def _positions(template: Sequence[str]) -> tuple[int, ...]:
    for name in template:
        if name not in DIMENSIONS:
            raise ValueError(f"scopes: {name!r} is no dimension; there are {', '.join(DIMENSIONS)}")
    if len(set(template)) < len(template):
        raise ValueError(f"scopes: [{', '.join(template)}] names a dimension twice")
    return tuple(at for at, name in enumerate(DIMENSIONS) if name in template)
