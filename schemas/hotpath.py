"""Which way the hot path takes: compiled, or in Python. Both give the same, and the authority has the last word in both.

Compiled is the default. Python runs where no extension was built, or only from another version of its source, and where
`MILESTONES_HOT_PATH=python` asks for it.
"""

from __future__ import annotations

import hashlib
import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from schemas import fast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.authority import SourceRecord
    from schemas.facts import Fact
    from schemas.outputs import HotPath

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


def _compiled() -> Any:
    try:
        return import_module("schemas._scanner")
    except ImportError:
        return None


_scanner: Final = _compiled()


def _why_python() -> str:
    if os.environ.get(VARIABLE) == "python":
        return f"as {VARIABLE} says"
    if _scanner is None:
        return "no extension was built"
    return "" if is_current(_scanner) else "the extension was built from another version of its source"


#: Empty where it is compiled.
WHY_PYTHON: Final = _why_python()
HOT_PATH: Final[HotPath] = "python" if WHY_PYTHON else "compiled"

plain_facts: PlainFacts = fast.plain_facts if WHY_PYTHON else _scanner.plain_facts
