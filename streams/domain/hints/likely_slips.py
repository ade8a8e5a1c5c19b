"""Names that are likely typos: they differ from another name only in case, or in the width of their characters."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from schemas.texts import unescaped

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping


class LikelySlip(NamedTuple):
    """A name that is probably meant to be another one.

    Attributes:
        dimension: model, variant, factory or region.
        name: As it is counted.
        like: The more common name that it resembles.
        units: Counted under `name`.
        units_alike: Counted under `like`.
    """

    dimension: str
    name: str
    like: str
    units: int
    units_alike: int

    @property
    def alias(self) -> str:
        """The line of the settings that merges the two, under the heading `[alias.DIMENSION]`."""
        quoted = [text.replace("\\", "\\\\").replace('"', '\\"') for text in (self.name, self.like)]
        return f'"{quoted[0]}" = "{quoted[1]}"'


def longest(windows: Collection[str]) -> str:
    """The kind of period with the fewest rows among those that are counted; days always are."""
    return next(kind for kind in ("year", "month", "day") if kind in {*windows, "day"})


def alike(scopes: Iterable[str]) -> set[str]:
    """The scopes with a name that resembles another one; if there are any, look up their counts."""
    names: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    several: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for scope in scopes:
        for dimension, name in _named(scope):
            key = dimension, _folded(name)
            names[key].add(name)
            several[key].add(scope)
    return {scope for key, found in names.items() if len(found) > 1 for scope in several[key]}


def likely_slips(units: Mapping[str, int], aliased: Collection[tuple[str, str]] = ()) -> list[LikelySlip]:
    """The names that are likely typos, by dimension and name.

    Args:
        units: Units of each scope; scopes with the same dimensions are added up.
        aliased: (dimension, name) of those already in the settings.
    """
    sums: defaultdict[tuple[str, str], defaultdict[tuple[str, ...], int]] = defaultdict(lambda: defaultdict(int))
    for scope, count in units.items():
        named = _named(scope)
        template = tuple(dimension for dimension, _ in named)
        for dimension, name in named:
            sums[dimension, name][template] += count
    groups: defaultdict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    for (dimension, name), by_template in sums.items():
        count = max(by_template.values())
        if count:
            groups[dimension, _folded(name)].append((count, name))
    found = []
    for (dimension, _), alike_names in groups.items():
        most, like = max(alike_names)
        found += [
            LikelySlip(dimension, name, like, count, most)
            for count, name in alike_names
            if name != like and (dimension, name) not in aliased
        ]
    return sorted(found)


def _named(scope: str) -> list[tuple[str, str]]:
    parts = [part.partition("=") for part in scope.split(",") if "=" in part]
    return [(dimension, unescaped(name)) for dimension, _, name in parts]


def _folded(name: str) -> str:
    if not name.isascii():
        name = "".join(map(_of_usual_width, name))
    return name.casefold()


def _of_usual_width(character: str) -> str:
    is_other = unicodedata.decomposition(character).startswith(("<wide>", "<narrow>"))
    return unicodedata.normalize("NFKC", character) if is_other else character
