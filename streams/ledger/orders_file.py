"""Memory for orders in a mapped file: the system keeps in memory what is used, and on disk what is not."""

from __future__ import annotations

import mmap
import os
import sys
import tempfile
import weakref
from typing import TYPE_CHECKING, Final

from streams.errors import ExpectedError
from streams.settings import state_dir

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from streams.settings import Settings

_FOLDER: Final = "ledger"
#: What a file has from its first order on, and by what it grows on disk.
EXTENT_BYTES: Final = 16 << 20
#: What an order takes there that was placed and delivered; the rest of what it takes is always in memory.
ORDER_BYTES: Final = 125


def orders_room(settings: Settings) -> Callable[[int], memoryview] | None:
    """Where a ledger partition gets memory for its orders; None for the memory of the process.

    Raises:
        ExpectedError: The file cannot be created.
    """
    return OrdersFile(orders_folder(settings)).room if settings.orders_in == "file" else None


def orders_folder(settings: Settings) -> Path:
    """Where the files of orders are, none of which has a name."""
    return state_dir(settings) / _FOLDER


class OrdersFile:
    """A file without a name, which ends with the process or with the last reference to its memory.

    It is no state: a ledger partition is restored from its changelog, wherever its orders are kept.

    Args:
        folder: Where; created if need be.

    Raises:
        ExpectedError: The file cannot be created.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - open for as long as this is
        except OSError as error:
            raise ExpectedError(
                f"{folder}: no file for orders can be created: {error.strerror}; name a writable folder with state_dir, "
                'or set orders_in = "memory"'
            ) from None
        weakref.finalize(self, file.close)
        self._descriptor = file.fileno()
        #: Bytes of the file that are mapped, that are on disk, and that are taken.
        self._mapped = self._on_disk = self._taken = 0
        #: Of the last mapping, what is not taken.
        self._free = memoryview(b"")

    def room(self, size: int) -> memoryview:
        """So many bytes of memory, which nobody else has.

        Raises:
            ExpectedError: The disk is full.
        """
        try:
            if len(self._free) < size:
                self._map_more(size)
            if self._on_disk < self._taken + size:
                self._occupy(self._taken + size)
        except OSError as error:
            raise ExpectedError(
                f"{self._folder}: the file of orders cannot grow beyond {self._on_disk >> 20} MiB: {error.strerror}; free space "
                'there, name another folder with state_dir, or set orders_in = "memory"'
            ) from None
        taken, self._free = self._free[:size], self._free[size:]
        self._taken += size
        return taken

    def _map_more(self, size: int) -> None:
        """Maps as much again as there is: each mapping takes a descriptor. What is not occupied yet is a hole in the file."""
        more = max(self._mapped, _extents(size))
        os.truncate(self._descriptor, self._mapped + more)
        mapped = mmap.mmap(self._descriptor, more, offset=self._mapped)
        # Otherwise the system reads megabytes around each order that is not in memory.
        mapped.madvise(mmap.MADV_RANDOM)
        self._free = memoryview(mapped)
        self._taken = self._mapped
        self._mapped += more

    def _occupy(self, end: int) -> None:
        """Takes space on the disk: where it lacks only as a page is written, the kernel can do nothing but end the process."""
        end = _extents(end)
        if sys.platform != "darwin":
            os.posix_fallocate(self._descriptor, self._on_disk, end - self._on_disk)
        self._on_disk = end


def _extents(size: int) -> int:
    return -(-size // EXTENT_BYTES) * EXTENT_BYTES
