"""Tables of text: numbers are never cut; where a terminal is too narrow, names are shortened in their middle."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

import click

from streams.cli.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_GAP: Final = "  "
#: A name keeps so many characters at least.
_LEAST: Final = 9


def print_columns(
    headers: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[str], names: Sequence[str]
) -> None:
    """Prints a table; what is piped is for other programs and keeps its lines whole.

    Args:
        headers: Of the columns, each once.
        rows: Cells.
        numbers: Columns that are set to the right.
        names: Columns that may be shortened, the first of them first.
    """
    limit = shutil.get_terminal_size().columns if click.get_text_stream("stdout").isatty() else None
    click.echo("\n".join(lines_of(headers, rows, numbers=numbers, names=names, limit=limit)))


def lines_of(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numbers: Sequence[str],
    names: Sequence[str],
    limit: int | None,
) -> Iterator[str]:
    """The lines of a table; longer than `limit` characters only where no name can be shortened any further."""
    rows = [tuple(map(printable, row)) for row in rows]
    widths = [max([len(header), *(len(row[at]) for row in rows)]) for at, header in enumerate(headers)]
    too_much = sum(widths) + len(_GAP) * (len(widths) - 1) - limit if limit is not None else 0
    for name in names:
        at = headers.index(name)
        less = min(max(too_much, 0), max(widths[at] - max(_LEAST, len(name)), 0))
        widths[at] -= less
        too_much -= less
    right = {headers.index(name) for name in numbers}
    for row in (headers, *rows):
        cells = (shortened(cell, width) for cell, width in zip(row, widths, strict=True))
        placed = (
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        yield _GAP.join(placed).rstrip()


def shortened(text: str, width: int) -> str:
    """A text of at most so many characters: what is left out is of its middle, for beginnings and ends tell names apart."""
    if len(text) <= width:
        return text
    end = (width - 1) // 2
    return f"{text[: width - 1 - end]}\u2026{text[len(text) - end :]}"
