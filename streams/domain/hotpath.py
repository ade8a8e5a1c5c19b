"""Which implementation the hot path (decoding and counting) uses, compiled or Python; see `schemas.hotpath`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from schemas import fast, hotpath
from streams.domain.orders import steps

if TYPE_CHECKING:
    from schemas.outputs import HotPath

_steps, _why = hotpath.extension("streams.domain._steps")
_rows, _why_rows = hotpath.extension("streams.domain._rows")

#: Empty if it is compiled.
WHY_PYTHON: Final = hotpath.WHY_PYTHON or _why or _why_rows
#: Whether there are compiled modules that cannot be used: they were built of another source, or for another Python.
IS_UNUSABLE: Final = WHY_PYTHON not in ("", hotpath.AS_CHOSEN, hotpath.NOT_BUILT)
HOT_PATH: Final[HotPath] = "python" if WHY_PYTHON else "compiled"

#: `streams.domain.orders.steps`, or the same compiled.
way: Any = steps if WHY_PYTHON else _steps
#: What `streams.domain.rows.windows` does for every count and row, compiled; None if it is to do so itself.
rows: Any = None if WHY_PYTHON else _rows


def take(chosen: HotPath) -> None:
    """Switches this process to an implementation: for tests that run both.

    Raises:
        ValueError: The compiled one is not available here.
    """
    global rows, way
    if chosen == "python":
        hotpath.plain_facts, hotpath.records, way, rows = fast.plain_facts, None, steps, None
    elif WHY_PYTHON:
        raise ValueError(WHY_PYTHON)
    else:
        hotpath.plain_facts, hotpath.records = hotpath.compiled_facts, hotpath.compiled_records
        way, rows = _steps, _rows
