"""Keeps the read model between two runs, so that after a restart it shows what was known last and reads only what is new.

One process at a time uses the folder of an installation. Another one on the same machine works with a temporary file, as does one
that may not write there. Files of other versions or with other settings are not used; the follower finds out whether the topics are
still the same.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import stat
from importlib import resources
from typing import IO, TYPE_CHECKING, Final

from streams.domain.time.zone import BusinessZone
from streams.settings import state_dir

if TYPE_CHECKING:
    from pathlib import Path

    from streams.settings import Settings

#: The code on which the content of the file depends.
_WRITERS: Final = (
    ("schemas", "outputs.py"),
    ("schemas", "rows.py"),
    ("schemas", "codec.py"),
    ("streams.web.readmodel", "database.py"),
    ("streams.web.readmodel", "writing.py"),
    ("streams.web.readmodel", "loading.py"),
)


class KeptFolder:
    """A folder that this process holds exclusively until it closes it.

    Attributes:
        folder: The folder for the file.
        version: The version of what will be written there; a file of another version is unusable.
    """

    def __init__(self, folder: Path, lock: IO[bytes], version: str) -> None:
        self.folder = folder
        self.version = version
        self._lock = lock

    def close(self) -> None:
        """Releases the folder for the next process."""
        self._lock.close()


def kept_folder(settings: Settings) -> KeptFolder | None:
    """The folder of an installation; `None` if another process holds it, or if it may not be used."""
    cluster = re.sub(r"[^A-Za-z0-9.:-]", "-", settings.bootstrap_servers)[:200]
    folder = state_dir(settings) / "web" / cluster / f"{settings.output_prefix}milestones"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = folder.stat()
        # In a world-writable folder, someone else could have created it first.
        if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return None
        lock = (folder / "lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            return None
        return KeptFolder(folder, lock, _version(settings))
    return None


def _version(settings: Settings) -> str:
    zone = BusinessZone(settings.timezone, settings.day_starts_hour)
    digest = hashlib.sha256(f"{zone.key} {settings.web_show_payloads} {settings.web_show_vins}".encode())
    for package, name in _WRITERS:
        digest.update(resources.files(package).joinpath(name).read_bytes())
    return digest.hexdigest()
