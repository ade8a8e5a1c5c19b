"""The data directory of a new cluster, as Kafka's own tool formats it, kept in the user's cache.

Formatting takes a JVM and a second. What comes of it depends on Kafka's version and the settings alone, except for two ids, so
one of another cluster will do with ids of its own.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from typing import TYPE_CHECKING

from streams.embedded.java import files_identity
from streams.embedded.machine import cache_root

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_IDENTITY = "meta.properties"


class FormattedData:
    """The directory that was formatted with these jars and settings.

    A failure here costs no more than a second, so it is not reported.

    Args:
        class_path: Kafka's jars.
        properties: The file with the settings that formatting reads.
    """

    def __init__(self, class_path: Sequence[Path], properties: Path) -> None:
        identity = hashlib.sha256(files_identity(class_path) + properties.read_bytes())
        self._path = cache_root() / "jvm" / f"formatted-{identity.hexdigest()[:16]}"

    def copy_to(self, folder: Path, cluster_id: str, directory_id: str) -> bool:
        """Copies it to a folder that does not exist yet, with ids of its own; returns False if there is none."""
        try:
            shutil.copytree(self._path, folder)
            text = (folder / _IDENTITY).read_text(encoding="utf-8")
            text, clusters = re.subn(r"(?m)^cluster\.id=.*$", f"cluster.id={cluster_id}", text)
            text, directories = re.subn(r"(?m)^directory\.id=.*$", f"directory.id={directory_id}", text)
            (folder / _IDENTITY).write_text(text, encoding="utf-8")
        except OSError:
            clusters = directories = 0
        if clusters == directories == 1:
            return True
        shutil.rmtree(folder, ignore_errors=True)
        return False

    def keep(self, folder: Path) -> None:
        """Keeps a copy of a folder that was formatted."""
        new = self._path.with_suffix(f".{os.getpid()}")
        try:
            shutil.copytree(folder, new)
            new.rename(self._path)
        except OSError:  # or another process has kept its own meanwhile
            shutil.rmtree(new, ignore_errors=True)
