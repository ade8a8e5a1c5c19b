"""The name of a worker in its group.

With static membership, a killed worker comes back without a rebalance, but two workers with the same name evict each
other. The default name is the host name and the first number that no other process on this machine has locked.
"""

from __future__ import annotations

import fcntl
import re
import socket
from typing import IO, TYPE_CHECKING

from streams.errors import ExpectedError
from streams.settings import state_dir

if TYPE_CHECKING:
    from pathlib import Path

    from streams.settings import Settings

_LAST_SLOT = 1000
_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")

#: Lock files stay open, and thus locked, as long as the process lives.
_locks: list[IO[bytes]] = []


def claim_instance(settings: Settings, wanted: str | None) -> str:
    """Claims an instance name until the process ends.

    Raises:
        ExpectedError: The name is invalid, or another process on this machine has it.
    """
    # Names only have to differ within a group of a cluster.
    cluster = re.sub(r"[^A-Za-z0-9.:-]", "-", settings.bootstrap_servers)[:200]
    folder = state_dir(settings) / "instances" / cluster / settings.group_id
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ExpectedError(
            f"{folder} cannot be created: {error.strerror}; name a writable folder with state_dir"
        ) from None
    if wanted:
        if not _NAME.fullmatch(wanted):
            raise ExpectedError(f"instance name {wanted!r}: use 1 to 200 of A-Z a-z 0-9 . _ -")
        if not _lock(folder / wanted):
            raise ExpectedError(
                f"instance name {wanted!r} is in use by another worker on this machine: give each its own"
            )
        return wanted
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()) or "host"
    for slot in range(1, _LAST_SLOT):
        name = f"{host}-{slot}"
        if _lock(folder / name):
            return name
    raise ExpectedError(f"{_LAST_SLOT} workers run on this machine already: give this one a name with --instance")


def _lock(path: Path) -> bool:
    handle = path.open("ab")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        return False
    _locks.append(handle)
    return True
