"""Another system's own list of what it has counted, as people have it: CSV of any kind, or Excel.

How a list is written is found by its content: encoding, separator, the row that names the columns, the columns of order
numbers and VINs. `Theirs.how` says what was found, so that a wrong guess is seen.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from schemas.texts import tidy_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ORDER_ID: Final = "order_id"
VIN: Final = "vin"
DATE: Final = "date"
#: Where a list names no column of its own kind: order number or VIN, whichever it is.
EITHER: Final = "either"

#: Names of columns without spaces and signs, in small letters → what they hold.
KNOWN_COLUMNS: Final[dict[str, str]] = {
    **dict.fromkeys(
        [
            "orderid",
            "order",
            "orderno",
            "ordernumber",
            "ordernr",
            "orderref",
            "so",
            "sono",
            "sonumber",
            "salesorder",
            "salesorderno",
            "salesordernumber",
            "salesorderid",
            "订单号",
            "订单编号",
            "订单号码",
            "订单id",
            "订单",
            "订单no",
            "销售订单号",
            "销售订单编号",
            "销售订单",
            "单号",
            "订购单号",
            "订车单号",
            "合同号",
            "合同编号",
        ],
        ORDER_ID,
    ),
    **dict.fromkeys(
        [
            "vin",
            "vinno",
            "vincode",
            "vinnumber",
            "vinnr",
            "chassis",
            "chassisno",
            "chassisnumber",
            "frameno",
            "framenumber",
            "vehicleid",
            "vehicleidentificationnumber",
            "车架号",
            "车架号码",
            "车架号vin",
            "vin车架号",
            "车辆识别代号",
            "车辆识别码",
            "车辆识别号",
            "车辆识别代码",
            "底盘号",
            "vin码",
            "vin号",
            "vin编码",
            "车架编号",
        ],
        VIN,
    ),
    **dict.fromkeys(
        [
            "date",
            "day",
            "deliverydate",
            "delivered",
            "deliveredat",
            "deliveredon",
            "handover",
            "handoverdate",
            "handedover",
            "orderdate",
            "placed",
            "placedat",
            "time",
            "日期",
            "交付日期",
            "交付时间",
            "交车日期",
            "交车时间",
            "提车日期",
            "下单日期",
            "下单时间",
            "订单日期",
            "时间",
        ],
        DATE,
    ),
}
_TOTALS: Final = re.compile(
    r"(grand)?(sub)?(total|sum|count)s?|合计|总计|小计|共计|总数|汇总|(合计|总计|小计|共计|共).*", re.IGNORECASE
)
_EXCEL_TEXT: Final = re.compile(r'="(.*)"', re.DOTALL)
_SHORTENED: Final = re.compile(r"[0-9](?:[.,][0-9]+)?[eE]\+?[0-9]{1,3}")
_SIGNS: Final = re.compile(r"[\s_\-.#:：/\\()（）\[\]【】*＊\"'“”]+")  # noqa: RUF001 - as they are written in Chinese
_VIN: Final = re.compile(r"[A-HJ-NPR-Z0-9]{17}", re.IGNORECASE)
_SEPARATORS: Final[dict[str, str]] = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_LOOKED_AT: Final = 60
_HEADER_WITHIN: Final = 10
_EXACT_DIGITS: Final = 15  # what Excel keeps of a number


class Entry(NamedTuple):
    """One unit that the other system has counted: its order number, its VIN, or both.

    Where a line says one of them and no column is named, it may be either: both fields hold it.
    """

    order_id: str
    vin: str

    @property
    def text(self) -> str:
        """As it is shown: the order number where there is one."""
        return self.order_id or self.vin


@dataclass(frozen=True)
class HowRead:
    """How a list was read, for a person.

    Attributes:
        form: Encoding and separator, or the sheet.
        header: Number of the row that names the columns; 0 where none does.
        columns: What each column that was used is called there → what it holds.
        used: Rows that were taken.
        rows: Rows below the header that hold anything.
        skipped: Why rows were passed over → their numbers.
    """

    form: str
    header: int = 0
    columns: Mapping[str, str] = field(default_factory=dict)
    used: int = 0
    rows: int = 0
    skipped: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def line(self) -> str:
        """One line."""
        where = f"header in row {self.header}" if self.header else "no header"
        columns = ", ".join(f"{_HOLDS[kind]} from {name}" for name, kind in self.columns.items())
        passed = "".join(f"; {_rows(numbers)} {why}" for why, numbers in self.skipped.items())
        return f"{self.form}, {where}, {columns or 'no columns'}; {self.used:,} of {self.rows:,} rows{passed}"


_HOLDS: Final = {ORDER_ID: "order number", VIN: "VIN", DATE: "date", EITHER: "order number or VIN"}


@dataclass(frozen=True)
class Theirs:
    """A list.

    Attributes:
        entries: Each once, in the order of the list.
        repeated: Entries that occur more than once, with how often.
        damaged: Row → what stands in place of an order number or a VIN and cannot be read.
        dates: What the list says when.
        how: How it was read.
    """

    entries: tuple[Entry, ...]
    repeated: dict[str, int]
    damaged: dict[int, str] = field(default_factory=dict)
    dates: dict[Entry, str] = field(default_factory=dict, compare=False)
    how: HowRead = field(default=HowRead(""), compare=False)

    @property
    def names(self) -> frozenset[str]:
        """Every order number and VIN in it, also in small letters: a list may write an order in another case than we do."""
        return frozenset(form for entry in self.entries for name in entry if name for form in (name, name.casefold()))


class _Row(NamedTuple):
    number: int
    cells: list[str]


def read_theirs(lines: Iterable[str], wanted: Mapping[str, str] | None = None) -> Theirs:
    """Reads a list from text, as `read_list` does."""
    return _read(*_rows_of_text("".join(_with_end(line) for line in lines), "text"), wanted or {})


def read_list(content: bytes, wanted: Mapping[str, str] | None = None) -> Theirs:
    """Reads a list.

    A row within the first ten that names a column of order numbers or VINs, in English or Chinese, says where they are; rows
    above it are titles. Without one the column that holds VINs is taken, and the first column, as an order number or a VIN.
    Blank rows, rows that begin with `#`, and totals are passed over.

    Args:
        content: CSV in UTF-8, UTF-16 or GBK, or an Excel workbook (`.xlsx`).
        wanted: `order_id`, `vin`, `date` or `either` → the column, by its name or number, whatever the list calls it.

    Raises:
        ValueError: It cannot be read; the text says why, and which row.
    """
    if content.startswith(b"PK\x03\x04"):
        return _read(*_rows_of_workbook(content), wanted or {})
    if content.startswith(b"\xd0\xcf\x11\xe0"):
        raise ValueError("is an old Excel file (.xls); save it as .xlsx or CSV")
    if content.startswith(b"PAR1"):
        raise ValueError("is a Parquet file; save it as CSV")
    text, encoding = _decoded(content)
    return _read(*_rows_of_text(text, encoding), wanted or {})


# From bytes to rows --------------------------------------------------------------------------------------------------


def _with_end(line: str) -> str:
    return line if line.endswith("\n") else f"{line}\n"


def _decoded(content: bytes) -> tuple[str, str]:
    for mark, encoding, name in (
        (b"\xef\xbb\xbf", "utf-8-sig", "UTF-8 with a byte order mark"),
        (b"\xff\xfe", "utf-16", "UTF-16"),
        (b"\xfe\xff", "utf-16", "UTF-16"),
    ):
        if content.startswith(mark):
            try:
                return content.decode(encoding), name
            except UnicodeDecodeError:
                raise ValueError(f"is in {name} and damaged") from None
    start = content[:64]
    zeros = start[0::2].count(0), start[1::2].count(0)
    if len(start) >= 4 and max(zeros) > len(start) // 4 and min(zeros) == 0:
        return content.decode("utf-16-be" if zeros[0] else "utf-16-le", "replace"), "UTF-16"
    for encoding, name in (("utf-8", "UTF-8"), ("gb18030", "GBK")):
        try:
            return content.decode(encoding), name
        except UnicodeDecodeError:
            continue
    raise ValueError("is in none of UTF-8, UTF-16 and GBK; save it as CSV UTF-8")


def _rows_of_text(text: str, encoding: str) -> tuple[list[_Row], str]:
    text = text.lstrip("\ufeff")
    first, _, rest = text.partition("\n")
    skipped, separator = 0, None
    if first.strip().lower().startswith("sep=") and len(first.strip()) == 5:
        separator, text, skipped = first.strip()[4], rest, 1
    separator = separator or _separator(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    rows: list[_Row] = []
    try:
        rows.extend(
            _Row(reader.line_num + skipped, [_clean(cell) for cell in cells])
            for cells in reader
            if cells and not cells[0].startswith("#")
        )
    except csv.Error as error:
        raise ValueError(f"row {reader.line_num + skipped} cannot be read as CSV: {error}") from None
    parted = (
        f", {_SEPARATORS.get(separator, 'parted by ' + separator)}" if any(len(row.cells) > 1 for row in rows) else ""
    )
    return rows, f"{encoding}{parted}"


def _separator(text: str) -> str:
    """The one that parts most of the first lines into equally many cells."""
    lines = [line for line in text.splitlines()[:_LOOKED_AT] if line.strip() and not line.startswith("#")]

    def score(separator: str) -> tuple[int, int]:
        widths = Counter(line.count(separator) for line in lines if separator in line)
        return max(widths.values(), default=0), max(widths, default=0)

    return max(_SEPARATORS, key=score)


def _rows_of_workbook(content: bytes) -> tuple[list[_Row], str]:
    try:
        import openpyxl  # noqa: PLC0415 - an extra that only workbooks need
    except ImportError:
        raise ValueError(
            "is an Excel file, which takes an extra to read: pip install 'milestones[files]', or save it as CSV"
        ) from None
    try:
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    except (zipfile.BadZipFile, KeyError, ValueError, OSError):
        raise ValueError("is no Excel workbook, or is damaged; save it as CSV") from None
    filled = []
    for sheet in book.worksheets:
        rows = [
            _Row(number, [_clean(_text_of(cell)) for cell in cells])
            for number, cells in enumerate(sheet.iter_rows(values_only=True), start=1)
            if any(cell is not None for cell in cells)
        ]
        if rows:
            filled.append((sheet.title, rows))
    if not filled:
        return [], "Excel"
    name, rows = filled[0]
    others = f" (not read: {', '.join(title for title, _ in filled[1:])})" if len(filled) > 1 else ""
    return rows, f"Excel, sheet {name}{others}"


def _text_of(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, datetime | date):
        return cell.isoformat().removesuffix("T00:00:00")
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 10**_EXACT_DIGITS:
        return str(int(cell))
    if isinstance(cell, int | float) and not isinstance(cell, bool) and abs(cell) >= 10**_EXACT_DIGITS:
        return f"{cell:.14E}"  # Excel has lost the digits behind the fifteenth
    return str(cell)


def _clean(cell: str) -> str:
    text = tidy_name(cell.strip().strip("\ufeff\u200b"))
    if match := _EXCEL_TEXT.fullmatch(text):
        text = tidy_name(match[1])
    return text.removeprefix("'")


# From rows to entries ------------------------------------------------------------------------------------------------


def _read(rows: Sequence[_Row], form: str, wanted: Mapping[str, str]) -> Theirs:
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


def _columns(rows: Sequence[_Row], wanted: Mapping[str, str]) -> tuple[_Row | None, dict[str, int]]:
    """The row that names the columns, and which holds what; neither where no row does."""
    if wanted:
        return _columns_as_told(rows, wanted)
    for row in rows[:_HEADER_WITHIN]:
        found: dict[str, int] = {}
        for at, cell in enumerate(row.cells):
            kind = KNOWN_COLUMNS.get(_plain(cell))
            if kind is not None:
                found.setdefault(kind, at)
        if found.keys() & {ORDER_ID, VIN}:
            return row, found
    return None, {}


def _columns_as_told(rows: Sequence[_Row], wanted: Mapping[str, str]) -> tuple[_Row | None, dict[str, int]]:
    numbers = {kind: int(name) - 1 for kind, name in wanted.items() if name.isdigit()}
    names = {kind: _plain(name) for kind, name in wanted.items() if not name.isdigit()}
    if not names:
        known, _ = _columns(rows, {})
        return known, numbers
    for row in rows[:_HEADER_WITHIN]:
        cells = [_plain(cell) for cell in row.cells]
        if all(name in cells for name in names.values()):
            return row, numbers | {kind: cells.index(name) for kind, name in names.items()}
    first = ", ".join(filter(None, rows[0].cells)) if rows else "nothing"
    raise ValueError(f"no column is called {' and '.join(wanted.values())}; the first row has {first}")


def _columns_by_content(rows: Sequence[_Row]) -> dict[str, int]:
    """A column of VINs, if there is one; the first column, unless it numbers the rows."""
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


def _entry(row: _Row, columns: Mapping[str, int]) -> Entry:
    if EITHER in columns:
        text = _cell(row, columns[EITHER])
        if not text:
            raise ValueError(f"row {row.number} has neither an order number nor a VIN in its column")
        return Entry(text, text.upper() if _VIN.fullmatch(text) else text)
    order_id, vin = (_cell(row, columns[kind]) if kind in columns else "" for kind in (ORDER_ID, VIN))
    if not order_id and not vin:
        raise ValueError(f"row {row.number} has neither an order number nor a VIN in its columns")
    return Entry(order_id, vin.upper() if vin.isascii() else vin)


def _is_total(row: _Row, columns: Mapping[str, int]) -> bool:
    """Whether a row sums up others: it says so in its first words."""
    texts = [text for text in row.cells if text]
    keys = [_cell(row, at) for kind, at in columns.items() if kind != DATE]
    says_so = any(_TOTALS.fullmatch(_SIGNS.sub("", text)) for text in texts[:2])
    return says_so and not any(_VIN.fullmatch(key) for key in keys)


def _cell(row: _Row, at: int) -> str:
    return row.cells[at] if at < len(row.cells) else ""


def _name_of(header: _Row | None, at: int) -> str:
    name = _cell(header, at) if header is not None else ""
    return name or f"column {at + 1}"


def _plain(name: str) -> str:
    return _SIGNS.sub("", name).casefold()


def _rows(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"row {numbers[0]}"
    return f"{len(numbers):,} rows ({numbers[0]}{' …' if len(numbers) > 2 else ','} {numbers[-1]})"
