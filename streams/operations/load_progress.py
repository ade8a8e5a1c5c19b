"""Remembers how far file loads have come, so that an interrupted one resumes where it was.

There is one note per load in the state directory, named by a digest of the file and of everything that determines its events.
What was published between the last note and the interruption is published again, but counts once, since its ids are the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from streams.settings import state_dir

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from streams.settings import Settings

_FOLDER: Final = "loads"
_SAMPLE_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class LoadNote:
    """How far a load has come.

    Attributes:
        events: Events of the file that are done: published and confirmed, or refused.
        published: How many of them were published.
        refused: How many were invalid.
    """

    events: int = 0
    published: int = 0
    refused: int = 0


class LoadJournal:
    """The note of one load.

    Args:
        settings: The settings of the installation to load into.
        file: The file that is loaded.
        options: What else determines the events: mapping, topics, whether they are history.
    """

    def __init__(self, settings: Settings, file: Path, options: Sequence[str]) -> None:
        size = file.stat().st_size
        digest = hashlib.blake2b(digest_size=16)
        names = sorted(settings.catalogue.names().values())
        digest.update(json.dumps([settings.bootstrap_servers, names, size, *options]).encode())
        with file.open("rb") as content:
            digest.update(content.read(_SAMPLE_BYTES))
            content.seek(max(0, size - _SAMPLE_BYTES))
            digest.update(content.read(_SAMPLE_BYTES))
        self._path = state_dir(settings) / _FOLDER / f"{digest.hexdigest()}.json"

    def read(self) -> LoadNote:
        """How far an interrupted load had come; the beginning if there was none."""
        try:
            return LoadNote(**json.loads(self._path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return LoadNote()

    def write(self, note: LoadNote) -> None:
        """Notes how far the load has come. A folder that cannot be written to does not stop the load."""
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            scratch = self._path.with_suffix(f".{os.getpid()}")
            scratch.write_text(json.dumps(asdict(note)), encoding="utf-8")
            scratch.replace(self._path)

    def end(self) -> None:
        """Removes the note: the load is complete."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
