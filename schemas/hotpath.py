"""Chooses how records are decoded: compiled or in Python. Both give the same results, and the authority has the last word.

Compiled is the default. Python is used if no extension was built, or only one from another version of its source, or if
`MILESTONES_HOT_PATH=python` asks for it.
"""

from __future__ import annotations

import hashlib
import os
import re
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeGuard

from schemas import fast, partitioner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.authority import SourceRecord

VARIABLE: Final = "MILESTONES_HOT_PATH"
#: Why Python is used although nothing is wrong.
AS_CHOSEN: Final = f"as {VARIABLE} says"
NOT_BUILT: Final = "no extension was built"
#: How the files of compiled modules end, here and elsewhere.
_OF_EXTENSIONS: Final = (".so", ".pyd")


class PlainFacts(Protocol):
    """`schemas.fast.plain_facts`, or its compiled version, which makes the facts when they are accessed."""

    def __call__(  # noqa: D102 - see above
        self, records: Sequence[SourceRecord], *, topic: int, future_limit_us: int, max_bytes: int
    ) -> fast.Events: ...


def is_current(module: Any) -> bool:
    """Whether a compiled module was built from the source next to it; true if there is no source."""
    source = Path(module.__file__).parent / f"{module.__name__.rpartition('.')[2]}.pyx"
    try:
        return bool(hashlib.sha256(_source_text(source)).hexdigest() == module.SOURCE)
    except OSError:
        return True


def _source_text(source: Path) -> bytes:
    """A source and the files that it includes, one after the other; as `deploy/extensions.py` reads them."""
    text = source.read_bytes()
    included = re.findall(rb'^include "(.+)"$', text, re.MULTILINE)
    return text + b"".join((source.parent / each.decode()).read_bytes() for each in included)


def extension(name: str) -> tuple[Any, str]:
    """A compiled module, and why Python has to be used instead, else "".

    Args:
        name: The module's qualified name.
    """
    if os.environ.get(VARIABLE) == "python":
        return None, AS_CHOSEN
    try:
        module = import_module(name)
    except ImportError:
        return None, _why_not_there(name)
    return module, "" if is_current(module) else "the extension was built from another version of its source"


def _why_not_there(name: str) -> str:
    """Why a compiled module cannot be imported: there is none, or it is of another Python or another machine."""
    package, _, stem = name.rpartition(".")
    folders = [Path(folder) for folder in import_module(package).__path__]
    built = sorted(
        path.name for folder in folders for path in folder.glob(f"{stem}.*") if path.suffix in _OF_EXTENSIONS
    )
    if not built:
        return NOT_BUILT
    if f"{stem}{EXTENSION_SUFFIXES[0]}" in built:
        return f"the extension {stem}{EXTENSION_SUFFIXES[0]} cannot be loaded"
    return f"the extension was built for another Python: {built[0]}, where this one takes {stem}{EXTENSION_SUFFIXES[0]}"


_scanner, _why = extension("schemas._scanner")
#: Empty if decoding is compiled.
WHY_PYTHON: Final = _why

compiled_facts: Final[PlainFacts] = fast.plain_facts if WHY_PYTHON else _scanner.plain_facts
compiled_records: Final[Any] = None if WHY_PYTHON else _scanner.Records
#: The function in use.
plain_facts: PlainFacts = compiled_facts
#: The class that keeps fetched records in their original bytes; None if each record is an object.
records: Any = compiled_records


def strays(fetched: Sequence[SourceRecord], partitions: int, number: int) -> list[tuple[int, int]]:
    """The records whose orders have another home than partition `number`, by their keys: places and homes.

    A missing key counts as an empty one.
    """
    if is_whole(fetched):
        found: list[tuple[int, int]] = _scanner.strays(fetched, partitions, number)
        return found
    homes = partitioner.homes([record.key or b"" for record in fetched], partitions)
    return [(place, home) for place, home in enumerate(homes) if home != number]


class WholeRecords(Protocol):
    """Records that are still in their original bytes."""

    @property
    def size(self) -> int: ...  # noqa: D102 - as the compiled class says
    @property
    def are_dated(self) -> bool: ...  # noqa: D102 - likewise
    def pairs(self) -> list[tuple[bytes, bytes]]: ...  # noqa: D102 - likewise
    def unwrapped(self, name: bytes) -> list[tuple[int, Sequence[SourceRecord], list[int]]] | None: ...  # noqa: D102 - likewise


def is_whole(fetched: object) -> TypeGuard[WholeRecords]:
    """Whether these records are still in their original bytes."""
    return compiled_records is not None and type(fetched) is compiled_records
