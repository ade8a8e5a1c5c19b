"""Finds in a broker's log the one line that helps: what happened, where, what to do."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

from streams.errors import ExpectedError

if TYPE_CHECKING:
    from pathlib import Path

_TAIL_BYTES = 256 * 1024

#: Pattern of a log line → what it means and its cure. The first match counts.
_KNOWN = (
    (
        r"No space left on device|Disk quota exceeded",
        "the disk is full: free some space, or name another --data-dir, and start again",
    ),
    (
        r"insufficient memory for the Java|Could not reserve enough space|Cannot allocate memory|OutOfMemoryError",
        "memory is short: close other programs or give the container more memory, and start again",
    ),
    (r"Address already in use", "a port it needs is taken: name another one with --port"),
    (
        r"Failed to acquire lock on file",
        "another broker uses the data directory: stop it, or name another --data-dir",
    ),
    (
        r"Permission denied|Read-only file system|AccessDeniedException",
        "a file of the data directory cannot be read or written: correct its owner, or name another --data-dir",
    ),
)
_ERROR_LINE = re.compile(r"^\S+ (?:FATAL|ERROR) (?P<message>.*)$", re.MULTILINE)


def explain(log_path: Path, offset: int, exit_code: int | None) -> ExpectedError:
    """Why a broker ended, or did not become ready.

    Args:
        log_path: Its log.
        offset: Where in the log, in bytes, this run began.
        exit_code: 128 + signal if a signal ended it; None if it is still running.
    """
    text = _tail(log_path, offset)
    for pattern, meaning in _KNOWN:
        if re.search(pattern, text):
            return _failure(meaning, log_path)
    if exit_code == 128 + signal.SIGKILL:
        return _failure("it was killed, perhaps by the system because memory is short: give it more memory", log_path)
    if exit_code is None:
        return _failure("it does not answer in time: the machine may be too busy, try again", log_path)
    errors = _ERROR_LINE.findall(text)
    said = f", saying: {errors[-1].strip()[:200]}" if errors else ""
    return _failure(f"it ended with exit code {exit_code}{said}", log_path)


def port_was_taken(log_path: Path, offset: int) -> bool:
    """Whether this run failed because a port was already in use."""
    return "Address already in use" in _tail(log_path, offset)


def _failure(meaning: str, log_path: Path) -> ExpectedError:
    return ExpectedError(f"the embedded Kafka failed: {meaning} (log: {log_path})", exit_code=3)


def _tail(path: Path, offset: int) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            # A log that has been rolled since is shorter than the offset: then all of it is from this run.
            file.seek(max(offset if offset <= size else 0, size - _TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
