"""How long-running commands show progress: a bar on a terminal, only warnings in a pipe."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

import click

from streams.cli.printable import printable
from streams.listener import Listener

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def watched() -> Iterator[Listener]:
    """A listener that shows what it hears on standard error."""
    if not sys.stderr.isatty():
        yield Listener(warn=warn)
        return
    # Imported only here: most commands run in pipes and scripts, and this would be a tenth of their start-up time.
    from rich.console import Console  # noqa: PLC0415 - see above
    from rich.progress import (  # noqa: PLC0415 - see above
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)
        yield Listener(
            plan=lambda records: progress.update(task, total=records),
            progress=lambda records: progress.advance(task, records),
            say=lambda line: progress.update(task, description=line),
            warn=lambda line: progress.console.print(printable(line), markup=False, highlight=False),
        )


def warn(line: str) -> None:
    """Prints a line that a person must read, on standard error."""
    click.echo(printable(line), err=True)
