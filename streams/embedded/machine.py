"""What the machine provides: cache folder, memory, disk, ports."""

from __future__ import annotations

import os
import pwd
import random
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from streams.errors import ExpectedError

if TYPE_CHECKING:
    from collections.abc import Collection

LOOPBACK = "127.0.0.1"

#: Ports are taken from below the ranges that Linux (32768 up) and macOS (49152 up) use for outgoing connections. A port in those
#: ranges may be given to any connection between choosing and binding it, and a connection attempt before the server listens may
#: be connected to itself.
_PORTS = range(20_000, 32_768)
_MIB = 1024 * 1024


def cache_root() -> Path:
    """The folder for what can be fetched or computed again: `$XDG_CACHE_HOME/milestones`, else one in the home folder."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):  # noqa: PTH117 - a string; XDG says to ignore relative paths
        return Path(base) / "milestones"
    home = os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir
    return Path(home) / ".cache" / "milestones"


def free_port(besides: Collection[int | None] = ()) -> int:
    """A free port on the loopback address, other than those in `besides`, which are meant for something else.

    Raises:
        ExpectedError: A thousand ports were tried, and all are taken.
    """
    for port in random.sample(_PORTS, 1000):
        if port not in besides and port_is_free(port):
            return port
    raise ExpectedError(f"no free port found between {_PORTS.start} and {_PORTS.stop - 1}; name one with --port")


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback address now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the broker does: connections of an earlier server that linger in TIME_WAIT are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
        return True


def free_disk_mb(path: Path) -> int:
    """Free disk space, in MiB, where `path` is or would be."""
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    return shutil.disk_usage(existing).free // _MIB


def is_in_memory(path: Path) -> bool:
    """Whether files where `path` is or would be take memory, as far as the system tells."""
    try:
        mounts = [
            line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
        ]
    except OSError:
        return False
    where = path.absolute()
    # The last one of equal names counts: it was mounted over the others.
    of = {Path(mount[1]): mount[2] for mount in mounts}
    return next((of[each] for each in (where, *where.parents) if each in of), "") in {"tmpfs", "ramfs", "devtmpfs"}


def refuse_full_disk(path: Path, needed_mb: int, purpose: str) -> None:
    """Fails early if the disk has less than `needed_mb` MiB free.

    Raises:
        ExpectedError: There is too little space.
    """
    free_mb = free_disk_mb(path)
    if free_mb < needed_mb:
        raise ExpectedError(
            f"{path}: {free_mb} MiB free, {purpose} needs {needed_mb} MiB; free some space or choose another folder"
        )


def available_memory_mb() -> int | None:
    """Memory, in MiB, that a new process can get without swapping; None if the system does not tell."""
    limits = [value for value in (_meminfo_available_mb(), _cgroup_available_mb()) if value is not None]
    return min(limits, default=None)


def refuse_short_memory(heap_mb: int) -> None:
    """Fails early if a broker with a heap of at most `heap_mb` MiB could not even start.

    Raises:
        ExpectedError: There is too little memory.
    """
    needed_mb, available_mb = memory_needed_mb(heap_mb), available_memory_mb()
    if available_mb is not None and available_mb < needed_mb:
        raise ExpectedError(
            f"the embedded Kafka needs about {needed_mb} MiB of memory and {available_mb} MiB are available; close "
            "other programs or give the container more memory"
        )


def memory_needed_mb(heap_mb: int) -> int:
    """Memory, in MiB, of a broker that has just started: its heap grows from a small part of `heap_mb`."""
    return 250 + heap_mb // 8


def _meminfo_available_mb() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _cgroup_available_mb(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int | None:
    """What the container's memory limit (cgroup v2) leaves; reclaimable file cache counts as free."""
    try:
        path = next(line[3:] for line in own.read_text(encoding="utf-8").splitlines() if line.startswith("0::"))
        group = root / path.lstrip("/")
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        used = int((group / "memory.current").read_text(encoding="ascii"))
        stat = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
    except (OSError, StopIteration, ValueError):  # no such group, or "max": no limit
        return None
    return (limit - used + int(stat.get("inactive_file", 0))) // _MIB
