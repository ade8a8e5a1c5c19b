"""Notes in a data directory which story it holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from streams.errors import ExpectedError

if TYPE_CHECKING:
    from pathlib import Path


class Stamp:
    """Which story a data directory holds, and whether it is complete.

    Args:
        directory: The data directory.
        fingerprint: Fingerprint of the story to play.

    Raises:
        ExpectedError: Another story was begun in the directory: its orders have the same numbers, but different lives.
    """

    def __init__(self, directory: Path, fingerprint: str) -> None:
        self._path = directory / "story.json"
        self._fingerprint = fingerprint
        found = self._read()
        if found and found.get("fingerprint") != fingerprint:
            raise ExpectedError(
                f"{directory} holds the story of another version, which would mix with this one; name another --data-dir, "
                "or remove it"
            )
        self.complete = bool(found and found.get("complete"))

    def begin(self) -> None:
        """Notes that the story is about to be published."""
        self._write(complete=False)

    def finish(self) -> None:
        """Notes that the brokers have all of it."""
        self._write(complete=True)
        self.complete = True

    def _read(self) -> dict[str, object] | None:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ExpectedError(f"{self._path} cannot be read: {error}; name another --data-dir") from None
        return found if isinstance(found, dict) else {}

    def _write(self, *, complete: bool) -> None:
        scratch = self._path.with_suffix(".tmp")
        scratch.write_text(json.dumps({"fingerprint": self._fingerprint, "complete": complete}), encoding="utf-8")
        scratch.replace(self._path)
