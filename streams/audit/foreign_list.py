"""Reads another system's list of what it has counted, as people have it: CSV of any kind, or Excel.

The format is detected from the content: encoding, separator, the row with the column names, the columns of order numbers and VINs.
`Theirs.how` says what was detected, so that a wrong guess can be noticed.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from streams.tables import (
    DATE,
    KNOWN_COLUMNS,
    ORDER_ID,
    VIN,
    TableRow,
    decoded_text,
    plain_name,
    rows_of_text,
    workbook_rows,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: A column whose kind the list does not tell: each cell is taken as an order number or a VIN, whichever matches.
EITHER: Final = "either"

_TOTALS: Final = re.compile(
    r"(grand)?(sub)?(total|sum|count)s?|合计|总计|小计|共计|总数|汇总|(合计|总计|小计|共计|共).*", re.IGNORECASE
)
_SHORTENED: Final = re.compile(r"[0-9](?:[.,][0-9]+)?[eE]\+?[0-9]{1,3}")
_VIN: Final = re.compile(r"[A-HJ-NPR-Z0-9]{17}", re.IGNORECASE)
_LOOKED_AT: Final = 60
_HEADER_WITHIN: Final = 10


class Entry(NamedTuple):
    """A unit that the other system has counted: its order number, its VIN, or both.

    If a line has one of them and columns are not named, it may be either, so both fields hold it.
    """

    order_id: str
    vin: str

    @property
    def text(self) -> str:
        """How it is shown: by the order number, if there is one."""
        return self.order_id or self.vin


@dataclass(frozen=True)
class HowRead:
    """How a list was read, for people to check.

    Attributes:
        form: Encoding and separator, or the sheet.
        header: Number of the row with the column names; 0 if there is none.
        columns: Name of each used column → what it holds.
        used: Number of rows that were taken.
        rows: Number of non-empty rows below the header.
        skipped: Why rows were skipped → their numbers.
    """

    form: str
    header: int = 0
    columns: Mapping[str, str] = field(default_factory=dict)
    used: int = 0
    rows: int = 0
    skipped: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def line(self) -> str:
        """All of this in one line."""
        where = f"header in row {self.header}" if self.header else "no header"
        columns = ", ".join(f"{_HOLDS[kind]} from {name}" for name, kind in self.columns.items())
        passed = "".join(f"; {_rows(numbers)} {why}" for why, numbers in self.skipped.items())
        return f"{self.form}, {where}, {columns or 'no columns'}; {self.used:,} of {self.rows:,} rows{passed}"


_HOLDS: Final = {ORDER_ID: "order number", VIN: "VIN", DATE: "date", EITHER: "order number or VIN"}


@dataclass(frozen=True)
class Theirs:
    """Another system's list.

    Attributes:
        entries: Each entry once, in the order of the list.
        repeated: Entry that occurs more than once → how often.
        damaged: Row → the unreadable text in place of an order number or VIN.
        dates: Entry → its date in the list.
        how: How it was read.
    """

    entries: tuple[Entry, ...]
    repeated: dict[str, int]
    damaged: dict[int, str] = field(default_factory=dict)
    dates: dict[Entry, str] = field(default_factory=dict, compare=False)
    how: HowRead = field(default=HowRead(""), compare=False)

    @property
    def names(self) -> frozenset[str]:
        """All its order numbers and VINs, also in lower case: a list may write order numbers in another case."""
        return frozenset(form for entry in self.entries for name in entry if name for form in (name, name.casefold()))


def read_theirs(lines: Iterable[str], wanted: Mapping[str, str] | None = None) -> Theirs:
    """Reads a list from text, as `read_list` does."""
    return _read(*rows_of_text("".join(_with_end(line) for line in lines), "text"), wanted or {})


def read_list(content: bytes, wanted: Mapping[str, str] | None = None, encoding: str = "") -> Theirs:
    """Reads a list.

    A row within the first ten that names a column of order numbers or VINs, in English or Chinese, is the header; rows above it are
    titles. Without one, the column that holds VINs is taken, and the first column, as order numbers or VINs. Blank rows, rows that
    begin with `#`, and totals are skipped.

    Args:
        content: CSV, or an Excel workbook (`.xlsx`).
        wanted: `order_id`, `vin`, `date` or `either` → name or number of the column to use, whatever the list says.
        encoding: Of CSV; detected from the content if empty, see `decoded_text`.

    Raises:
        ValueError: It cannot be read; the message says why, and which row.
    """
    if content.startswith(b"PK\x03\x04"):
        return _read(*workbook_rows(content), wanted or {})
    if content.startswith(b"\xd0\xcf\x11\xe0"):
        raise ValueError("is an old Excel file (.xls); save it as .xlsx or CSV")
    if content.startswith(b"PAR1"):
        raise ValueError("is a Parquet file; save it as CSV")
    text, encoding = decoded_text(content, encoding)
    return _read(*rows_of_text(text, encoding), wanted or {})


# From bytes to rows --------------------------------------------------------------------------------------------------


def _with_end(line: str) -> str:
    return line if line.endswith("\n") else f"{line}\n"


# From rows to entries ------------------------------------------------------------------------------------------------


def _read(rows: Sequence[TableRow], form: str, wanted: Mapping[str, str]) -> Theirs:
    header, columns = _columns(rows, wanted)
    below = [row for row in rows[rows.index(header) + 1 if header else 0 :] if any(row.cells)]
    if not columns:
        columns = _columns_by_content(below)
    counted: Counter[Entry] = Counter()
    damaged: dict[int, str] = {}
    dates: dict[Entry, str] = {}
    skipped: dict[str, list[int]] = {}
    if header and (above := [row.number for row in rows[: rows.index(header)]]):
        skipped["above the header"] = above
    for row in below:
        if _is_total(row, columns):
            skipped.setdefault("with totals passed over", []).append(row.number)
            continue
        entry = _entry(row, columns)
        if spoilt := next((text for text in entry if _SHORTENED.fullmatch(text)), ""):
            other = next((text for text in entry if text and not _SHORTENED.fullmatch(text)), "")
            if not other:
                damaged[row.number] = spoilt
                continue
            entry = Entry("", other) if entry.vin == other else Entry(other, "")
        counted[entry] += 1
        if DATE in columns and (when := _cell(row, columns[DATE])):
            dates.setdefault(entry, when)
    if damaged:
        skipped["with numbers that Excel has shortened"] = list(damaged)
    names = {_name_of(header, at): kind for kind, at in columns.items()}
    how = HowRead(form, header.number if header else 0, names, counted.total(), len(below), skipped)
    repeated = {entry.text: times for entry, times in counted.items() if times > 1}
    return Theirs(tuple(counted), repeated, damaged, dates, how)


def _columns(rows: Sequence[TableRow], wanted: Mapping[str, str]) -> tuple[TableRow | None, dict[str, int]]:
    """The header row, and which column holds what; neither if there is no such row."""
    if wanted:
        return _columns_as_told(rows, wanted)
    for row in rows[:_HEADER_WITHIN]:
        found: dict[str, int] = {}
        for at, cell in enumerate(row.cells):
            kind = KNOWN_COLUMNS.get(plain_name(cell))
            if kind is not None:
                found.setdefault(kind, at)
        if found.keys() & {ORDER_ID, VIN}:
            return row, found
    return None, {}


def _columns_as_told(rows: Sequence[TableRow], wanted: Mapping[str, str]) -> tuple[TableRow | None, dict[str, int]]:
    numbers = {kind: int(name) - 1 for kind, name in wanted.items() if name.isdigit()}
    widest = max((len(row.cells) for row in rows), default=0)
    beyond = next((at + 1 for at in numbers.values() if not 0 <= at < widest), None)
    if beyond is not None:
        raise ValueError(f"there is no column {beyond}: they are numbered from 1 to {widest}")
    names = {kind: plain_name(name) for kind, name in wanted.items() if not name.isdigit()}
    if not names:
        known, _ = _columns(rows, {})
        return known, numbers
    for row in rows[:_HEADER_WITHIN]:
        cells = [plain_name(cell) for cell in row.cells]
        if all(name in cells for name in names.values()):
            return row, numbers | {kind: cells.index(name) for kind, name in names.items()}
    first = ", ".join(filter(None, rows[0].cells)) if rows else "nothing"
    raise ValueError(f"no column is called {' and '.join(wanted.values())}; the first row has {first}")


def _columns_by_content(rows: Sequence[TableRow]) -> dict[str, int]:
    """The column of VINs, if there is one, and the first column, unless it numbers the rows."""
    some = rows[:_LOOKED_AT]
    width = max((len(row.cells) for row in some), default=1)
    vins = [at for at in range(width) if 2 * sum(bool(_VIN.fullmatch(_cell(row, at))) for row in some) > len(some)]
    if not vins or vins[0] == 0:
        return {EITHER: 0}
    firsts = [_cell(row, 0) for row in some]
    is_numbering = all(text.isdigit() for text in firsts) and len(set(firsts)) == len(firsts)
    consecutive = is_numbering and [int(text) for text in firsts] == list(
        range(int(firsts[0]), int(firsts[0]) + len(firsts))
    )
    return {VIN: vins[0]} if consecutive else {ORDER_ID: 0, VIN: vins[0]}


def _entry(row: TableRow, columns: Mapping[str, int]) -> Entry:
    if EITHER in columns:
        text = _cell(row, columns[EITHER])
        if not text:
            raise ValueError(f"row {row.number} has neither an order number nor a VIN in its column")
        return Entry(text, text.upper() if _VIN.fullmatch(text) else text)
    order_id, vin = (_cell(row, columns[kind]) if kind in columns else "" for kind in (ORDER_ID, VIN))
    if not order_id and not vin:
        raise ValueError(f"row {row.number} has neither an order number nor a VIN in its columns")
    return Entry(order_id, vin.upper() if vin.isascii() else vin)


def _is_total(row: TableRow, columns: Mapping[str, int]) -> bool:
    """Whether a row is a total of others, according to its first words."""
    texts = [text for text in row.cells if text]
    keys = [_cell(row, at) for kind, at in columns.items() if kind != DATE]
    says_so = any(_TOTALS.fullmatch(plain_name(text)) for text in texts[:2])
    return says_so and not any(_VIN.fullmatch(key) for key in keys)


def _cell(row: TableRow, at: int) -> str:
    return row.cells[at] if at < len(row.cells) else ""


def _name_of(header: TableRow | None, at: int) -> str:
    name = _cell(header, at) if header is not None else ""
    return name or f"column {at + 1}"


def _rows(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"row {numbers[0]}"
    return f"{len(numbers):,} rows ({numbers[0]}{' …' if len(numbers) > 2 else ','} {numbers[-1]})"
