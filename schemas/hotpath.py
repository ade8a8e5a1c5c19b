"""Which way decoding takes: compiled, or in Python. Both give the same, and the authority has the last word in both.

Compiled is the default. Python runs where no extension was built, or only from another version of its source, and where
`MILESTONES_HOT_PATH=python` asks for it.
"""

from __future__ import annotations

import hashlib
import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from schemas import fast, partitioner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.authority import SourceRecord
    from schemas.facts import Fact

VARIABLE: Final = "MILESTONES_HOT_PATH"


class PlainFacts(Protocol):
    """`schemas.fast.plain_facts`, or the same compiled."""

    def __call__(  # noqa: D102 - what it does stands above
        self, records: Sequence[SourceRecord], *, topic: int, future_limit_us: int, max_bytes: int
    ) -> Sequence[Fact | None]: ...


def is_current(module: Any) -> bool:
    """Whether a compiled module was built from the source beside it; true where there is no source any more."""
    source = Path(module.__file__).parent / f"{module.__name__.rpartition('.')[2]}.pyx"
    try:
        return bool(hashlib.sha256(source.read_bytes()).hexdigest() == module.SOURCE)
    except OSError:
        return True


def extension(name: str) -> tuple[Any, str]:
    """A compiled module, or why Python must do.

    Args:
        name: The module with its package.
    """
    if os.environ.get(VARIABLE) == "python":
        return None, f"as {VARIABLE} says"
    try:
        module = import_module(name)
    except ImportError:
        return None, "no extension was built"
    return module, "" if is_current(module) else "the extension was built from another version of its source"


_scanner, _why = extension("schemas._scanner")
#: Empty where it is compiled.
WHY_PYTHON: Final = _why

compiled_facts: Final[PlainFacts] = fast.plain_facts if WHY_PYTHON else _scanner.plain_facts
compiled_records: Final[Any] = None if WHY_PYTHON else _scanner.Records
#: The way that is taken.
plain_facts: PlainFacts = compiled_facts
#: What keeps fetched records in the bytes in which they came; None where each is an object.
records: Any = compiled_records


def homes(fetched: Sequence[SourceRecord], partitions: int) -> list[int]:
    """The home partition of the order of each record, by its key; of one that is missing, as of an empty one."""
    if is_whole(fetched):
        found: list[int] = _scanner.homes(fetched, partitions)
        return found
    return partitioner.homes([record.key or b"" for record in fetched], partitions)


def is_whole(fetched: Any) -> bool:
    """Whether these are records in the bytes in which they came."""
    return compiled_records is not None and type(fetched) is compiled_records
