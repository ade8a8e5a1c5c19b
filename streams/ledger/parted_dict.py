"""Millions of entries by key, which come and go without a pause that grows with them: what a rebuild holds back."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from streams.domain.pauses import whole

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

AnyKey = TypeVar("AnyKey")
AnyValue = TypeVar("AnyValue")

#: One dictionary copies all its entries when it grows: a tenth of a second for a million.
_PARTS: Final = 64
#: Entries between two pauses.
_AT_ONCE: Final = 1000


class PartedDict(Generic[AnyKey, AnyValue]):
    """Entries that replace each other by key, and leave in any order."""

    def __init__(self) -> None:
        self._parts: list[dict[AnyKey, AnyValue]] = [{} for _ in range(_PARTS)]

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def items(self) -> Iterator[tuple[AnyKey, AnyValue]]:
        """All entries."""
        return chain.from_iterable(part.items() for part in self._parts)

    def add(self, entries: Iterable[tuple[AnyKey, AnyValue]]) -> None:
        """Adds entries, or replaces them."""
        whole(self.adding(entries))

    def adding(self, entries: Iterable[tuple[AnyKey, AnyValue]]) -> Generator[None, None, None]:
        """The same with pauses."""
        parts = self._parts
        for number, (key, value) in enumerate(entries, 1):
            parts[hash(key) % _PARTS][key] = value
            if number % _AT_ONCE == 0:
                yield

    def take(self, most: int) -> dict[AnyKey, AnyValue]:
        """Takes out as many entries as there are, up to `most`."""
        taken: dict[AnyKey, AnyValue] = {}
        for part in self._parts:
            # The last one: to find its first, a dictionary looks past all that have left it.
            while part and len(taken) < most:
                key, value = part.popitem()
                taken[key] = value
        return taken
