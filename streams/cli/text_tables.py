"""Text tables: numbers are never cut; if the terminal is too narrow, names are shortened in the middle."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

import click

from streams.cli.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_GAP: Final = "  "
#: The least number of characters that a name keeps.
_LEAST: Final = 9


def print_columns(
    headers: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[str], names: Sequence[str]
) -> None:
    """Prints a table; piped output is for other programs and keeps its lines whole.

    Args:
        headers: The column headers, each once.
        rows: The cells.
        numbers: Columns to align right.
        names: Columns that may be shortened, in this order.
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
    """The lines of a table; longer than `limit` characters only if no name can be shortened any further."""
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
    """A text shortened to at most `width` characters in its middle, since names differ at their beginnings and ends."""
    if len(text) <= width:
        return text
    end = (width - 1) // 2
    return f"{text[: width - 1 - end]}\u2026{text[len(text) - end :]}"
