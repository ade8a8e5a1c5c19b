"""Allows one broker at a time in a data directory."""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING

from streams.errors import ExpectedError

if TYPE_CHECKING:
    from pathlib import Path

_POLL_INTERVAL_S = 0.03
#: Longer than the supervisor takes to notice that the owner has ended.
_CERTAIN_AFTER_S = 1.0


class DataLock:
    """Keeps a second broker from a data directory.

    The lock is on an open file whose descriptor the broker inherits: it lasts exactly as long as the data is in use.

    Args:
        data_dir: The directory; created if missing.
        patience_s: How long to wait for a broker that is about to end because the program that started it has died.

    Raises:
        ExpectedError: Another broker uses the directory, or it cannot be created.
    """

    def __init__(self, data_dir: Path, *, patience_s: float) -> None:
        self._path = data_dir / "broker.lock"
        self._data_dir = data_dir
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            self.fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ExpectedError(
                f"{data_dir}: cannot keep data there: {error.strerror or error}; name another --data-dir"
            ) from None
        try:
            self._acquire(time.monotonic() + patience_s)
        except BaseException:
            self.close()
            raise
        os.truncate(self.fd, 0)
        os.pwrite(self.fd, str(os.getpid()).encode(), 0)

    def close(self) -> None:
        """Releases this process's share of the lock."""
        os.close(self.fd)

    def _acquire(self, deadline: float) -> None:
        refuse_at = time.monotonic() + _CERTAIN_AFTER_S
        while True:
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner, now = self._owner(), time.monotonic()
                if now > deadline or (owner is not None and _runs(owner) and now > refuse_at):
                    raise ExpectedError(
                        f"{self._data_dir} is in use by another broker, started by process {owner or 'unknown'}; stop "
                        "that one, or name another --data-dir"
                    ) from None
                time.sleep(_POLL_INTERVAL_S)
            else:
                return

    def _owner(self) -> int | None:
        """The process that started the broker; None once the supervisor has noticed its end."""
        text = os.pread(self.fd, 20, 0).decode("ascii", errors="replace")
        return int(text) if text.isdigit() else None


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
