"""Reads tables as people have them, CSV in any encoding and with any separator, or Excel, and knows their column names."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections import Counter
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from schemas.texts import decoded_gbk, tidy_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ORDER_ID: Final = "order_id"
VIN: Final = "vin"
DATE: Final = "date"
#: Column name in lower case, without spaces and punctuation → what the column holds.
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
_EXCEL_TEXT: Final = re.compile(r'="(.*)"', re.DOTALL)
_SIGNS: Final = re.compile(r"[\s_\-.#:：/\\()（）\[\]【】*＊\"'“”]+")  # noqa: RUF001 - as they are written in Chinese
_SEPARATORS: Final[dict[str, str]] = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_LOOKED_AT: Final = 60
_UTF_32_MARKS: Final = (b"\xff\xfe\0\0", b"\0\0\xfe\xff")
#: First bytes of files compressed with gzip, zstd, bzip2 and xz.
_PACKED: Final = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ")
_EXACT_DIGITS: Final = 15  # what Excel keeps of a number


class TableRow(NamedTuple):
    """A row and its number, from 1."""

    number: int
    cells: list[str]


def decoded_text(content: bytes, encoding: str = "") -> tuple[str, str]:
    """The text of a file and the name of its encoding.

    Args:
        content: The bytes.
        encoding: Its encoding, by any name that Python knows; recognised from the content if empty.

    Raises:
        ValueError: It is not in that encoding, or in none that is recognised.
    """
    if not encoding:
        return _recognised_text(content)
    try:
        return content.decode(encoding), encoding
    except UnicodeError:
        raise ValueError(f"is not in {encoding}: name another --encoding") from None


def _recognised_text(content: bytes) -> tuple[str, str]:
    """The text and its encoding, if that is Unicode or clearly GBK: a wrong guess would change names without anybody noticing."""
    if content.startswith(_UTF_32_MARKS):
        raise ValueError("is in UTF-32; save it as CSV UTF-8")
    if content.startswith(_PACKED):
        raise ValueError("is compressed; unpack it first")
    for mark, codec, name in (
        (b"\xef\xbb\xbf", "utf-8-sig", "UTF-8 with a byte order mark"),
        (b"\xff\xfe", "utf-16", "UTF-16"),
        (b"\xfe\xff", "utf-16", "UTF-16"),
    ):
        if content.startswith(mark):
            try:
                return content.decode(codec), name
            except UnicodeDecodeError:
                raise ValueError(f"is in {name} and damaged") from None
    start = content[:64]
    zeros = start[0::2].count(0), start[1::2].count(0)
    if len(start) >= 4 and max(zeros) > len(start) // 4 and min(zeros) == 0:
        return content.decode("utf-16-be" if zeros[0] else "utf-16-le", "replace"), "UTF-16"
    try:
        return content.decode(), "UTF-8"
    except UnicodeDecodeError:
        pass
    if (text := decoded_gbk(content)) is not None:
        return text, "GBK"
    raise ValueError(
        "is not in Unicode, nor clearly Chinese in GBK; name its encoding with --encoding, such as windows-1252"
    )


def rows_of_text(text: str, encoding: str) -> tuple[list[TableRow], str]:
    """The rows of CSV text, and a note on how it was read; a first line such as `sep=;` gives the separator.

    Raises:
        ValueError: It is not CSV; the message names the row.
    """
    text = text.lstrip("\ufeff")
    first, _, rest = text.partition("\n")
    skipped, separator = 0, None
    if first.strip().lower().startswith("sep=") and len(first.strip()) == 5:
        separator, text, skipped = first.strip()[4], rest, 1
    separator = separator or separator_of(text)
    rows = [
        TableRow(number + skipped, [clean_cell(cell) for cell in cells])
        for number, cells in csv_rows(io.StringIO(text, newline=""), separator, skipped)
        if cells and not cells[0].startswith("#")
    ]
    parted = (
        f", {_SEPARATORS.get(separator, 'parted by ' + separator)}" if any(len(row.cells) > 1 for row in rows) else ""
    )
    return rows, f"{encoding}{parted}"


def csv_rows(lines: Iterable[str], separator: str, skipped: int = 0) -> Iterator[tuple[int, list[str]]]:
    """The rows of CSV lines, each with the number of its last line, from 1 on.

    Args:
        lines: Where a row begins, with their ends.
        separator: Between cells.
        skipped: Lines before them, for messages.

    Raises:
        ValueError: A quotation mark is never closed; the message names the line.
    """
    read: list[str] = []

    def remembered() -> Iterator[str]:
        for line in lines:
            read.append(line)
            yield line

    reader = csv.reader(remembered(), delimiter=separator)
    own: list[str] = []
    try:
        for cells in reader:
            own = read.copy()
            read.clear()
            yield reader.line_num, cells
    except csv.Error:
        # It refuses nothing but a cell that does not end for very long.
        raise ValueError(_never_closed(skipped + reader.line_num - len(read) + 1)) from None
    try:
        # It takes the end of the file for that of a quoted cell; a strict reader also refuses what is only unusual.
        list(csv.reader(own, delimiter=separator, strict=True))
    except csv.Error as error:
        if "unexpected end" in str(error):
            raise ValueError(_never_closed(skipped + reader.line_num - len(own) + 1)) from None


def _never_closed(row: int) -> str:
    return f"row {row} has a quotation mark that is never closed: it is missing, or the file is cut off"


def separator_of(text: str) -> str:
    """The separator that splits most of the first lines into equally many cells."""
    lines = [line for line in text.splitlines()[:_LOOKED_AT] if line.strip() and not line.startswith("#")]

    def score(separator: str) -> tuple[int, int]:
        widths = Counter(line.count(separator) for line in lines if separator in line)
        return max(widths.values(), default=0), max(widths, default=0)

    return max(_SEPARATORS, key=score)


def workbook_rows(content: bytes) -> tuple[list[TableRow], str]:
    """The rows of the first sheet that has any, and a note on how it was read.

    Raises:
        ValueError: It is not a workbook, or the library that reads workbooks is not installed.
    """
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
            TableRow(number, [clean_cell(cell_text(cell)) for cell in cells])
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


def cell_text(cell: Any) -> str:
    """A cell of a workbook or column as text; empty if there is no value."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "replace")
    if isinstance(cell, datetime | date):
        return cell.isoformat().removesuffix("T00:00:00")
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 10**_EXACT_DIGITS:
        return str(int(cell))
    if isinstance(cell, int | float) and abs(cell) >= 10**_EXACT_DIGITS:
        return f"{cell:.14E}"  # Excel has lost the digits after the fifteenth
    return str(cell)


def clean_cell(cell: str) -> str:
    """A cell without surrounding spaces and without what keeps Excel from taking it for a number."""
    text = tidy_name(cell.strip().strip("\ufeff\u200b"))
    if match := _EXCEL_TEXT.fullmatch(text):
        text = tidy_name(match[1])
    return text.removeprefix("'")


def plain_name(name: str) -> str:
    """A column name in lower case, without spaces and punctuation."""
    return _SIGNS.sub("", name).casefold()
