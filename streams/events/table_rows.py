"""Reads the rows of a table file one after the other: CSV, also compressed, Excel or Parquet."""

from __future__ import annotations

import codecs
import gzip
import io
import itertools
import zlib
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple, cast

import cramjam

from streams.tables import (
    cell_text,
    clean_cell,
    csv_rows,
    decoded_text,
    separator_of,
    workbook_rows,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

_START_BYTES: Final = 1 << 16
_ZSTD: Final = "zstd"
#: First bytes of compressed files, and the compression they indicate.
_PACKINGS: Final = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", _ZSTD))
_DAMAGED: Final = (EOFError, gzip.BadGzipFile, zlib.error, cramjam.DecompressionError)
_COPY_AGAIN: Final = "is compressed and damaged: copy it again"
_UTF_16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
#: Tabs and the other ASCII control characters that are stripped from cells, except line ends.
_NO_CONTROLS: Final = dict.fromkeys([*range(9), 11, 12, *range(14, 32), 127])
_ROWS_A_REPORT: Final = 1_000
#: Parquet rows processed together.
_ROWS_A_BATCH: Final = 10_000
#: Characters of CSV processed together.
_PIECE_CHARACTERS: Final = 1 << 18


class FileRow(NamedTuple):
    """A row of a table.

    Attributes:
        number: The number of its line or row in the file.
        cells: Its cells.
        is_plain: Whether every cell is known to be ASCII that needs no escaping in JSON.
    """

    number: int
    cells: Sequence[str]
    is_plain: bool = False


class _CsvForm(NamedTuple):
    """How a CSV file is read.

    Attributes:
        encoding: As people call it.
        is_named: Whether it was given, not recognised.
        codec: As Python calls it.
        separator: Between two cells.
        packing: How the file is compressed; empty if it is not.
    """

    encoding: str
    is_named: bool
    codec: str
    separator: str
    packing: str


def rows_of(
    path: Path, encoding: str = "", reached: Callable[[int], None] = lambda _position: None
) -> tuple[Iterable[FileRow], str]:
    """The rows of a table, and how it was read.

    Args:
        path: The file.
        encoding: Of CSV; detected from the content if empty.
        reached: Called with the number of bytes read so far.

    Raises:
        ValueError: The table cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(_START_BYTES)
    if start.startswith(b"PK\x03\x04"):
        content = path.read_bytes()
        rows, form = workbook_rows(content)
        reached(len(content))
        return [FileRow(row.number, row.cells) for row in rows], form
    if start.startswith(b"PAR1"):
        return _parquet_rows(path, reached)
    packing = next((words for magic, words in _PACKINGS if start.startswith(magic)), "")
    if packing:
        try:
            with path.open("rb") as raw:
                start = _unpacked(raw, packing).read(_START_BYTES)
        except _DAMAGED:
            raise ValueError(_COPY_AGAIN) from None
    if len(start) == _START_BYTES and not start.startswith(_UTF_16_MARKS):
        start = start[: start.rfind(b"\n") + 1] or start  # not in the middle of a character
    text, form = (start.decode(encoding, "replace"), encoding) if encoding else decoded_text(start)
    codec = encoding or {"GBK": "gb18030", "UTF-16": "utf-16"}.get(form, "utf-8-sig")
    if codec == "utf-16" and not encoding and not start.startswith(_UTF_16_MARKS):
        codec = "utf-16-be" if start[:1] == b"\0" else "utf-16-le"
    how = _CsvForm(form, bool(encoding), codec, separator_of(text), packing)
    return _csv_rows(path, how, reached), f"{form}{f', {packing}' if packing else ''}"


def _unpacked(raw: IO[bytes], packing: str) -> IO[bytes]:
    """The uncompressed content of a file; zstd is decompressed in memory. A damaged file raises one of `_DAMAGED`, on reading at the latest."""
    if packing != _ZSTD:
        return cast("IO[bytes]", gzip.open(raw)) if packing else raw  # it has all that is used of a file here
    return io.BytesIO(cramjam.zstd.decompress(raw.read()))


def _csv_rows(path: Path, form: _CsvForm, reached: Callable[[int], None]) -> Iterator[FileRow]:
    with path.open("rb") as raw, _unpacked(raw, form.packing) as file:
        # It only reads.
        text = io.TextIOWrapper(cast("io.BufferedReader", file), encoding=form.codec, newline="")
        number, separator = 0, form.separator
        try:
            while lines := text.readlines(_PIECE_CHARACTERS):
                piece = "".join(lines)
                reached(raw.tell())
                if '"' in piece:
                    # From here on, a row may span several lines.
                    rows = csv_rows(itertools.chain(lines, text), separator, number)
                    for place, (line_number, cells) in enumerate(rows):
                        if not place % _ROWS_A_REPORT:
                            reached(raw.tell())
                        yield FileRow(number + line_number, [clean_cell(cell) for cell in cells])
                    return
                is_clean = _is_clean(piece, separator)
                is_plain = is_clean and "\\" not in piece
                for line in lines:
                    number += 1
                    cells = line.rstrip("\r\n").split(separator)
                    yield FileRow(number, cells if is_clean else [clean_cell(cell) for cell in cells], is_plain)
        except UnicodeError:
            raise ValueError(_not_in(path, form)) from None
        except _DAMAGED:
            raise ValueError(_COPY_AGAIN) from None


def _not_in(path: Path, form: _CsvForm) -> str:
    """Which line of a file is not in its encoding, and what to do; to find it, the file is decoded again."""
    decoder, lines = codecs.getincrementaldecoder(form.codec)(), 1
    with path.open("rb") as raw, _unpacked(raw, form.packing) as file:
        try:
            while piece := file.read(_PIECE_CHARACTERS):
                lines += decoder.decode(piece).count("\n")
            decoder.decode(b"", final=True)
        except UnicodeError as error:
            before = error.object[: error.start] if isinstance(error, UnicodeDecodeError) else b""
            lines += before.decode(form.codec, "replace").count("\n")
    if form.is_named:
        return f"line {lines:,} is not in {form.encoding}: name another --encoding"
    return f"line {lines:,} is not in {form.encoding}, as those before it are; name the encoding with --encoding"


def _parquet_rows(path: Path, reached: Callable[[int], None]) -> tuple[Iterable[FileRow], str]:
    """The column names as row 0, then the rows from 1 on."""
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra that only such files need
        import pyarrow.parquet as parquet  # noqa: PLC0415, PLR0402 - the same, and what others call it
    except ImportError:
        raise ValueError(
            "is a Parquet file, which takes an extra to read: pip install 'milestones[files]', or save it as CSV"
        ) from None
    try:
        file = parquet.ParquetFile(path)
    except (pa.ArrowException, OSError):
        raise ValueError("is no Parquet file, or is damaged; export it again") from None

    def rows() -> Iterator[FileRow]:
        yield FileRow(0, [clean_cell(name) for name in file.schema_arrow.names])
        number, size_bytes, count = 0, path.stat().st_size, max(file.metadata.num_rows, 1)
        try:
            for batch in file.iter_batches(_ROWS_A_BATCH):
                columns = [[_column_text(cell) for cell in _values(column, pa)] for column in batch.columns]
                is_plain = all(_are_plain(column) for column in columns)
                if not is_plain:
                    columns = [[clean_cell(cell) for cell in column] for column in columns]
                for cells in zip(*columns, strict=True):
                    number += 1
                    yield FileRow(number, cells, is_plain)
                reached(size_bytes * number // count)
        except (pa.ArrowException, OSError):
            raise ValueError(f"is damaged behind row {number}; export it again") from None

    return rows(), f"Parquet, {file.metadata.num_rows:,} rows"


def _values(column: Any, pa: Any) -> list[Any]:
    """The cells of a column; times lose their nanoseconds."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        column = column.cast(pa.timestamp("us", kind.tz), safe=False)
    found: list[Any] = column.to_pylist()
    return found


def _column_text(cell: object) -> str:
    """A cell as text; unlike in workbooks, integers are exact."""
    return str(cell) if isinstance(cell, int) and not isinstance(cell, bool) else cell_text(cell)


def _are_plain(cells: Sequence[str]) -> bool:
    """Whether cells are as `clean_cell` would return them, and need no escaping in JSON."""
    text = "\n".join(cells)
    if '"' in text or "\\" in text or "\r" in text or text.count("\n") >= max(len(cells), 1):
        return False
    return _is_clean(text, ",")


def _is_clean(piece: str, separator: str) -> bool:
    """Whether cells of lines without quotation marks are certain to be as `clean_cell` would return them."""
    if not piece.isascii() or "'" in piece or (separator != "\t" and "\t" in piece):
        return False
    if piece.translate(_NO_CONTROLS) != piece:
        return False
    if " " not in piece:
        return True
    beside = (f" {separator}", f"{separator} ", "\n ", " \n", " \r")
    return not (any(pair in piece for pair in beside) or piece[0] == " " or piece[-1] == " ")
