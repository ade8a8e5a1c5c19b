"""How the long reads of `verify` and `explain` show that they go on: a bar on a terminal, nothing in a pipe."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from streams.audit.verifying import Listener

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def watched() -> Iterator[Listener]:
    """A listener that shows what it hears."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Listener()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)
        yield Listener(
            plan=lambda records: progress.update(task, total=records),
            progress=lambda records: progress.advance(task, records),
            say=lambda line: progress.update(task, description=line),
        )
