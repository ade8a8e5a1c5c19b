"""The contract's document as data: its blocks of code by their info strings, its tables by the checks that mark them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import schemas

DOCUMENT: Final = Path(schemas.__file__).parent / "CONTRACT.md"

_FENCE: Final = re.compile(r"^(`{3,}|~{3,})(.*)$")
_CHECK: Final = re.compile(r"^<!-- check: ([a-z-]+) -->$")
_CODE: Final = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Block:
    """A block of code; `info` is the text after the opening fence, `line` the line number of the fence."""

    info: str
    text: str
    line: int

    def __str__(self) -> str:
        return f"line {self.line}: {self.info}"


@dataclass(frozen=True)
class Table:
    """A table without its head; `check` is the name in the comment before it, "" if there is none."""

    check: str
    rows: tuple[tuple[str, ...], ...]
    line: int


def text() -> str:
    """The whole document."""
    return DOCUMENT.read_text(encoding="utf-8")


@cache
def blocks() -> tuple[Block, ...]:
    """Every block of code, in order."""
    found: list[Block] = []
    opened: tuple[str, str, int] | None = None
    inside: list[str] = []
    for number, line in enumerate(text().splitlines(), start=1):
        match = _FENCE.match(line)
        if opened is None and match:
            opened, inside = (match[1], match[2].strip(), number), []
        elif opened is not None and line.strip() == opened[0]:
            found.append(Block(opened[1], "\n".join(inside), opened[2]))
            opened = None
        elif opened is not None:
            inside.append(line)
    if opened is not None:
        raise AssertionError(f"the block that begins in line {opened[2]} does not end")
    return tuple(found)


def blocks_of(*words: str) -> list[Block]:
    """The blocks whose info string begins with these words."""
    found = [block for block in blocks() if tuple(block.info.split()[: len(words)]) == words]
    assert found, f"the document has no block {' '.join(words)}"
    return found


@cache
def tables() -> tuple[Table, ...]:
    """Every table outside blocks of code, in order."""
    found: list[Table] = []
    lines = _outside_blocks()
    for index, (number, line) in enumerate(lines):
        if not line.startswith("|") or (index and lines[index - 1][1].startswith("|")):
            continue
        before = lines[index - 1][1] if index else ""
        match = _CHECK.match(before)
        rows = []
        for _, row in lines[index + 2 :]:
            if not row.startswith("|"):
                break
            rows.append(tuple(cell.strip() for cell in row.strip().strip("|").split("|")))
        found.append(Table(match[1] if match else "", tuple(rows), number))
    return tuple(found)


def rows_of(check: str) -> tuple[tuple[str, ...], ...]:
    """The rows of the table with a check."""
    (table,) = [table for table in tables() if table.check == check]
    return table.rows


def codes(cell: str) -> list[str]:
    """The parts of a cell in backticks."""
    return _CODE.findall(cell)


def _outside_blocks() -> list[tuple[int, str]]:
    lines = text().splitlines()
    inside = {
        number for block in blocks() for number in range(block.line, block.line + len(block.text.splitlines()) + 2)
    }
    return [(number, line) for number, line in enumerate(lines, start=1) if number not in inside]
