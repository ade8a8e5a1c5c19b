"""An inverted index, hash → offsets of records, in sorted arrays that are merged when there are many of similar size.

An entry only says where to look: two texts may have the same hash, so the records found are checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

#: New entries are gathered up to this many before they become an array.
_GATHERED: Final = 200_000
#: This many arrays of similar size are merged into one.
_MERGED: Final = 6
_FACTOR: Final = 4


class _Run(NamedTuple):
    hashes: NDArray[np.uint32]
    offsets: NDArray[np.int64]
    name: str


class Postings:
    """Hashes and the offsets at which to look for them."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []
        self._hashes: list[int] = []
        self._offsets: list[int] = []
        self._count = 0
        #: Names of arrays known to be in the folder; that a file of that name exists proves nothing, it may hold something else.
        self._kept: set[str] = set()

    def __len__(self) -> int:
        return sum(len(run.hashes) for run in self._runs) + len(self._hashes)

    def add(self, hashes: Sequence[int], offset: int, live: Collection[int]) -> None:
        """Indexes a record.

        Args:
            hashes: The hashes of everything in it.
            offset: Its offset.
            live: Offsets of the records still in use; entries of others are dropped when arrays are merged.
        """
        self._hashes += hashes
        self._offsets += [offset] * len(hashes)
        if len(self._hashes) >= _GATHERED:
            self.gather(live)

    def gather(self, live: Collection[int]) -> None:
        """Sorts the new entries into an array, and merges arrays if there are many of similar size."""
        if self._hashes:
            hashes, offsets = np.array(self._hashes, np.uint32), np.array(self._offsets, np.int64)
            # The arrays are added before the lists are dropped: a concurrent search finds everything, perhaps twice.
            self._runs = [*self._runs, self._made(hashes, offsets)]
            self._hashes, self._offsets = [], []
        while (group := self._alike()) is not None:
            hashes = np.concatenate([run.hashes for run in group])
            offsets = np.concatenate([run.offsets for run in group])
            kept = np.isin(offsets, np.fromiter(live, np.int64, len(live)))
            merged = self._made(hashes[kept], offsets[kept])
            names = {run.name for run in group}
            self._runs = [*(run for run in self._runs if run.name not in names), merged]

    def _made(self, hashes: NDArray[np.uint32], offsets: NDArray[np.int64]) -> _Run:
        order = np.argsort(hashes, kind="stable")
        self._count += 1
        return _Run(hashes[order], offsets[order], f"{self._count:08d}-{int(offsets.max(initial=0)):012d}")

    def _alike(self) -> list[_Run] | None:
        sizes: dict[int, list[_Run]] = {}
        for run in self._runs:
            tier, limit = 0, 1024
            while len(run.hashes) >= limit:
                tier, limit = tier + 1, limit * _FACTOR
            alike = sizes.setdefault(tier, [])
            alike.append(run)
            if len(alike) == _MERGED:
                return alike
        return None

    def find(self, wanted: int) -> set[int]:
        """The offsets at which to look for a hash; some may no longer be in use."""
        found = {offset for each, offset in zip(self._hashes, self._offsets, strict=False) if each == wanted}
        key = np.uint32(wanted)
        for run in self._runs:
            first, last = np.searchsorted(run.hashes, key, "left"), np.searchsorted(run.hashes, key, "right")
            found.update(run.offsets[first:last].tolist())
        return found

    def save(self, folder: Path, live: Collection[int]) -> list[str]:
        """Writes the arrays that are not in the folder yet, and returns the names of all."""
        self.gather(live)
        for run in self._runs:
            for suffix, values in (("h", run.hashes), ("o", run.offsets)):
                if run.name not in self._kept:
                    draft = folder / f"{run.name}.{suffix}.new"
                    with draft.open("wb") as file:
                        np.save(file, values, allow_pickle=False)
                    draft.replace(folder / f"{run.name}.{suffix}.npy")
        names = [run.name for run in self._runs]
        # Maps the arrays from the files, so that the system can reclaim the memory: ten million events are 240 MB.
        self.load(folder, names)
        return names

    def load(self, folder: Path, names: Iterable[str]) -> None:
        """Loads arrays from a folder.

        Raises:
            OSError, ValueError: They are missing, or are not valid arrays.
        """
        self._runs = [
            _Run(_mapped(folder / f"{name}.h.npy"), _mapped(folder / f"{name}.o.npy"), name) for name in names
        ]
        self._count = max((self._count, *(int(run.name[:8]) for run in self._runs)))
        if any(len(run.hashes) != len(run.offsets) for run in self._runs):
            raise ValueError("arrays that do not fit each other")
        self._kept = {run.name for run in self._runs}


def _mapped(path: Path) -> NDArray[Any]:
    found: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return found
