"""Writes for spreadsheets, without a library: an Excel workbook of one sheet, five small files in a ZIP archive; text for CSV."""

from __future__ import annotations

import io
import re
import zipfile
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Cell = str | int | None

MEDIA_TYPE: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
#: The limits of a sheet.
MAX_ROWS: Final = 1_048_576
MAX_COLUMNS: Final = 16_384

_XML: Final = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_NAMES: Final = "http://schemas.openxmlformats.org"
_PARTS: Final = {
    "[Content_Types].xml": f"""<Types xmlns="{_NAMES}/package/2006/content-types">
<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
<Default Extension="xml" ContentType="application/xml"/>
<Override PartName="/xl/workbook.xml" ContentType="{MEDIA_TYPE}.main+xml"/>
<Override PartName="/xl/worksheets/sheet1.xml"
 ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/></Types>""",
    "_rels/.rels": f"""<Relationships xmlns="{_NAMES}/package/2006/relationships"><Relationship Id="r1"
 Type="{_NAMES}/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>""",
    "xl/_rels/workbook.xml.rels": f"""<Relationships xmlns="{_NAMES}/package/2006/relationships"><Relationship Id="r1"
 Type="{_NAMES}/officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.xml"/></Relationships>""",
    "xl/workbook.xml": f"""<workbook xmlns="{_NAMES}/spreadsheetml/2006/main"
 xmlns:r="{_NAMES}/officeDocument/2006/relationships"><sheets><sheet name="{{name}}" sheetId="1" r:id="r1"/></sheets></workbook>""",
}
#: Characters that begin a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
#: Characters that XML cannot represent.
_UNWRITABLE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")


def defused(text: str) -> str:
    """Text that a spreadsheet does not take for a formula: an apostrophe is put in front if it looks like one."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def workbook(rows: Iterable[Iterable[Cell]], *, name: str = "milestones", widths: Sequence[int] = ()) -> bytes:
    """The bytes of the file; text stays text, whatever it begins with, and the first row is frozen.

    Args:
        rows: The cells of each row, headings first.
        name: Name of the sheet.
        widths: Widths of the first columns, in characters.

    Raises:
        ValueError: There is more than a sheet can hold.
    """
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for part, content in _PARTS.items():
            archive.writestr(part, _XML + content.replace("{name}", escape(name, {'"': "&quot;"})))
        with archive.open("xl/worksheets/sheet1.xml", "w") as sheet:
            sheet.write(
                f'{_XML}<worksheet xmlns="{_NAMES}/spreadsheetml/2006/main"><sheetViews><sheetView workbookViewId="0">'
                f'<pane ySplit="1" topLeftCell="A2" state="frozen"/></sheetView></sheetViews>{_columns(widths)}<sheetData>'.encode()
            )
            for number, row in enumerate(rows):
                cells = [_cell(value) for value in row]
                if number >= MAX_ROWS or len(cells) > MAX_COLUMNS:
                    raise ValueError(f"a sheet has {MAX_ROWS:,} rows of {MAX_COLUMNS:,} columns at most")
                sheet.write(f"<row>{''.join(cells)}</row>".encode())
            sheet.write(b"</sheetData></worksheet>")
    return file.getvalue()


def _columns(widths: Sequence[int]) -> str:
    columns = "".join(
        f'<col min="{number}" max="{number}" width="{width}" customWidth="1"/>'
        for number, width in enumerate(widths, 1)
    )
    return f"<cols>{columns}</cols>" if columns else ""


def _cell(value: Cell) -> str:
    if value is None:
        return "<c/>"
    if isinstance(value, int):
        return f"<c><v>{value}</v></c>"
    return f'<c t="inlineStr"><is><t xml:space="preserve">{escape(_UNWRITABLE.sub("", value))}</t></is></c>'
