"""Lists as plants keep them: the same six vehicles in many kinds of files, and files that cannot be read."""

from __future__ import annotations

import asyncio
import gzip
import io
from datetime import datetime
from typing import TYPE_CHECKING, Any

import openpyxl
import pytest
from click.testing import CliRunner

import streams.cli.reconcile
from schemas.rows import RowKey
from streams.audit.differences import HEAD, WRITERS, differences
from streams.audit.foreign_list import read_list
from streams.audit.judging import read_order
from streams.audit.reconciling import Counted, Recounted, match
from streams.audit.sums import Business
from streams.cli.reconcile import command
from streams.errors import ExpectedError
from streams.settings import Settings
from streams.tables import decoded_text, rows_of_text
from tests.domain.facts import delivered

if TYPE_CHECKING:
    from pathlib import Path

    from streams.audit.foreign_list import Theirs

ORDERS = [f"D-10{number}" for number in range(6)]
VINS = [f"LNBSU7A10R100010{number}" for number in range(6)]
KEY = RowKey("deliveries", "model=SU7", "day:2024-10-07")
PAIRS = list(zip(ORDERS, VINS, strict=True))


def lines(head: str, row: str, *, end: str = "\n", tail: str = "", title: str = "") -> str:
    """A list: title, head, one row a vehicle (`{o}`, `{v}`, `{n}`), tail."""
    rows = [row.format(o=order, v=vin, n=number) for number, (order, vin) in enumerate(PAIRS, start=1)]
    return end.join(filter(None, [title, head, *rows, tail])) + end


def workbook(*rows: list[Any], sheet: str = "交付", before: str | None = None) -> bytes:
    book = openpyxl.Workbook()
    page = book.active
    assert page is not None
    if before is not None:
        page.title = before
        page = book.create_sheet(sheet)
    else:
        page.title = sheet
    for row in rows:
        page.append(row)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


BOM = "\ufeff"
TABLE = [list(pair) for pair in PAIRS]
#: Each contains the same six vehicles.
FILES: dict[str, bytes] = {
    "orders alone": lines("", "{o}").encode(),
    "VINs alone": lines("", "{v}").encode(),
    "orders, CRLF, no end of line": "\r\n".join(ORDERS).encode(),
    "comment first": ("# 3 March\n" + lines("", "{o}")).encode(),
    "commas, English head": lines("order_id,vin", "{o},{v}").encode(),
    "semicolons": lines("Order No.;VIN;Day", "{o};{v};7").encode(),
    "tabs": lines("Order ID\tVIN", "{o}\t{v}").encode(),
    "bars": lines("order|vin", "{o}|{v}").encode(),
    "order of columns": lines("Model,VIN,Order Number", "SU7,{v},{o}").encode(),
    "VIN in small letters": lines("vin", "{v}").lower().encode(),
    "all in small letters": lines("ORDER,VIN", "{o},{v}").lower().encode(),
    "orders in small letters": lines("", "{o}").lower().encode(),
    "spaces around": lines("order_id , vin", " {o} , {v} ").encode(),
    "ideographic spaces": lines("订单号", "\u3000{o}\u3000").encode(),
    "no-break spaces": lines("vin", "\u00a0{v}\u00a0").encode(),
    "zero-width mark in cells": lines("vin", "\ufeff{v}").encode(),
    "quoted": lines('"order_id","vin","note"', '"{o}","{v}","a, ""b"""').encode(),
    "line feed in a cell": lines("order_id,note", '{o},"a\nb"').encode(),
    "sep=;": ("sep=;\r\n" + lines("order_id;vin", "{o};{v}", end="\r\n")).encode(),
    "sep=, and semicolons in notes": ("sep=,\n" + lines("order_id,note", "{o},a;b;c;d")).encode(),
    'cells ="..."': lines("order_id,vin", '="{o}",="{v}"').encode(),
    'cells "=""..."""': lines("order_id,vin", '"=""{o}""","=""{v}"""').encode(),
    "apostrophes": lines("order_id,vin", "'{o},'{v}").encode(),
    "both": lines("order_id,vin", '="{o}",\'{v}').encode(),
    'cells ="..." and quoted apostrophes': lines("order_id,vin", '="{o}","\'{v}"').rstrip("\n").encode(),
    "VINs in small letters, CRLF, no end of line": "\r\n".join(["vin", *VINS]).lower().encode(),
    "Chinese head, mark, CRLF, no end of line": (BOM + "\r\n".join(["订单号,车架号", *map(",".join, PAIRS)])).encode(),
    "English head, GBK": lines("order_id,vin,customer", "{o},{v},张三").encode("gbk"),
    "Chinese head, UTF-8": lines("订单号,车架号,交付日期", "{o},{v},2024-10-07").encode(),
    "Chinese head, mark": (BOM + lines("订单号,车架号", "{o},{v}", end="\r\n")).encode(),
    "Chinese head, GBK": lines("订单号,车架号,备注", "{o},{v},北京", end="\r\n").encode("gbk"),
    "Chinese head, GB18030": lines("订单编号;车辆识别代号(VIN);备注", "{o};{v};𠀀").encode("gb18030"),
    "GBK without a head": lines("", "{o},{v},已交付").encode("gbk"),
    "UTF-16 of Excel's 'Unicode text'": lines("订单号\t车架号", "{o}\t{v}", end="\r\n").encode("utf-16"),
    "UTF-16, big end first": (BOM + lines("order_id\tvin", "{o}\t{v}")).encode("utf-16-be"),
    "UTF-16 without a mark": lines("order_id,vin", "{o},{v}").encode("utf-16-le"),
    "title above the head": lines("order_id,vin", "{o},{v}", title="Deliveries of 7 October,").encode(),
    "Chinese title, two rows": lines("订单号,车架号", "{o},{v}", title="2024年10月交付清单\n\n制表:张三,").encode(),
    "totals at the end": lines("order_id,vin,count", "{o},{v},1", tail="Total,,6").encode(),
    "totals in Chinese": lines("订单号,车架号", "{o},{v}", tail="合计,6").encode("gbk"),
    "totals with their number": lines("订单号,车架号", "{o},{v}", tail="共6台,").encode(),
    "totals beside the key": lines("no,order_id,vin", "{n},{o},{v}", tail="合计:,,").encode(),
    "empty rows at the end": lines("order_id,vin", "{o},{v}", tail=",\n,\n,").encode(),
    "numbered rows without a head": lines("", "{n},{v}").encode(),
    "orders and VINs without a head": lines("", "{o};{v}").encode(),
    "head of another wording": lines("Sales Order No.,Chassis No.", "{o},{v}").encode(),
    "head with units": lines("序号,销售订单号*,车架号（VIN）,交车日期", "{n},{o},{v},2024/10/7").encode(),  # noqa: RUF001 - as Chinese is written
    "workbook": workbook(["订单号", "车架号"], *TABLE),
    "workbook, title and totals": workbook(["十月交付"], [], ["Order", "VIN"], *TABLE, ["合计", 6]),
    "workbook, second sheet": workbook(["VIN"], *[[vin] for vin in VINS], before="说明"),
    "workbook without a head": workbook(*TABLE),
    "workbook with dates": workbook(["vin", "交付日期"], *[[vin, datetime(2024, 10, 7)] for vin in VINS]),  # noqa: DTZ001 - cells have no zone
    "workbook with numbered rows": workbook(*[[number, vin] for number, vin in enumerate(VINS, start=1)]),
}


def compared(content: bytes, wanted: dict[str, str] | None = None) -> tuple[Theirs, Any, Recounted]:
    """The list as read, and its comparison with the six vehicles."""
    theirs = read_list(content, wanted)
    business = Business(Settings())
    window = Counted(KEY, business.calendar.period(KEY.period))
    found = Recounted(business, {0: "orders", 1: "deliveries"}, {KEY: window}, theirs.names)
    for order, vin in PAIRS:
        found.take(order, read_order([delivered("2024-10-07T12:00:00", order=order, vin=vin)]))
    found.sort()
    return theirs, match(found, KEY, theirs), found


@pytest.mark.parametrize("name", FILES)
def test_the_six_vehicles_are_found_whatever_the_list_looks_like(name: str) -> None:
    theirs, matched, _ = compared(FILES[name])
    assert (matched.matched, matched.differs) == (6, False), (theirs, theirs.how.line())
    assert theirs.how.used == 6


def test_there_are_enough_of_them() -> None:
    assert len(FILES) >= 40


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Chinese head, GBK", "GBK, commas, header in row 1, order number from 订单号, VIN from 车架号; 6 of 6 rows"),
        ("VINs alone", "UTF-8, no header, order number or VIN from column 1; 6 of 6 rows"),
        ("Chinese title, two rows", "header in row 4, order number from 订单号"),
        ("totals at the end", "6 of 7 rows; row 8 with totals passed over"),
        ("UTF-16 of Excel's 'Unicode text'", "UTF-16, tabs, header in row 1"),
        ("numbered rows without a head", "no header, VIN from column 2"),
        ("workbook, second sheet", "Excel, sheet 交付, header in row 1, VIN from VIN"),
    ],
)
def test_how_a_list_was_read_is_said(name: str, words: str) -> None:
    assert words in read_list(FILES[name]).how.line()


#: Headings and names that other encodings than GBK have, most of which can be decoded as GBK too.
IN_OTHER_ENCODINGS = [
    ("windows-1252", "order_id,city", "München, Köln, Zürich, créée"),
    ("windows-1250", "order_id,miasto", "Łódź, Kraków"),
    ("windows-1251", "ЗАКАЗ,ГОРОД", "МОСКВА, Казань"),  # noqa: RUF001 - Russian
    ("koi8-r", "заказ,город", "Москва, Сочи"),
    ("windows-1253", "order_id,πόλη", "Αθήνα"),
    ("big5", "訂單,城市", "臺北, 高雄"),
    ("shift_jis", "order_id,都市", "東京, カタカナ"),
    ("euc-jp", "order_id,都市", "大阪市, カタカナ"),
    ("euc-kr", "order_id,도시", "김철수, 서울, 부산"),
]


@pytest.mark.parametrize(("encoding", "head", "names"), IN_OTHER_ENCODINGS)
def test_another_encoding_is_asked_for_and_not_guessed(encoding: str, head: str, names: str) -> None:
    text = f"{head}\nD-100,{names.replace(', ', '/')}\n"
    content = text.encode(encoding)
    with pytest.raises(ValueError, match="name its encoding with --encoding"):
        decoded_text(content)
    assert decoded_text(content, encoding) == (text, encoding)


@pytest.mark.parametrize("text", ["王喆,赵镕基,欧阳娜娜", "订单号;客户:张三", "北京", "已交付£5"])
def test_chinese_in_gbk_is_recognised(text: str) -> None:
    assert decoded_text(text.encode("gb18030")) == (text, "GBK")


def test_an_encoding_that_the_list_is_not_in_is_said() -> None:
    with pytest.raises(ValueError, match="is not in utf-8: name another --encoding"):
        read_list("order_id\nMünchen-1\n".encode("windows-1252"), encoding="utf-8")
    theirs = read_list("order_id\nMünchen-1\n".encode("windows-1252"), encoding="windows-1252")
    assert [entry.order_id for entry in theirs.entries] == ["München-1"]
    assert theirs.how.form == "windows-1252"


def test_columns_can_be_named() -> None:
    content = lines("客户单号,底盘,日", "{o},{v},7").encode()
    for wanted in ({"order_id": "客户单号"}, {"vin": "底盘"}, {"either": "客户单号"}, {"order_id": "1", "vin": "底盘"}):
        assert compared(content, wanted)[1].matched == 6
    with pytest.raises(ValueError, match="no column is called 订单; the first row has 客户单号, 底盘, 日"):
        read_list(content, {"order_id": "订单"})
    for number in ("0", "4", "99"):
        with pytest.raises(ValueError, match=f"there is no column {number}: they are numbered from 1 to 3"):
            read_list(content, {"order_id": number})


def test_a_number_that_excel_has_shortened_is_said_and_not_guessed() -> None:
    theirs, matched, _ = compared(lines("order_id", "{o}", tail="1.23E+15\n4.56789E+14").encode())
    assert theirs.damaged == {8: "1.23E+15", 9: "4.56789E+14"}
    assert (matched.matched, matched.differs) == (6, True)
    assert "with numbers that Excel has shortened" in theirs.how.line()
    large = workbook(["order_id"], [1234567890123456789])
    assert read_list(large).damaged == {2: "1.23456789012346E+18"}
    assert read_list(workbook(["order_id"], [123456789012345])).entries[0].order_id == "123456789012345"


def test_where_one_of_two_is_shortened_the_other_is_taken() -> None:
    content = lines("order_id,vin", "1.23E+15,{v}").encode()
    assert compared(content)[1].matched == 6


def test_what_a_list_has_twice_is_said() -> None:
    matched = compared(lines("order_id", "{o}", tail="D-100\nD-100").encode())[1]
    assert matched.repeated == {"D-100": 3}
    assert matched.differs


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xd0\xcf\x11\xe0old", "old Excel file"),
        (b"PK\x03\x04zip", "no Excel workbook"),
        (b"PAR1", "Parquet"),
        ("order_id\nSO-1\n".encode("utf-32"), "is in UTF-32; save it as CSV UTF-8"),
        (gzip.compress(b"order_id\nSO-1\n", mtime=0), "is compressed; unpack it first"),
        (b"\xff\xff\xff\x80\x81", "is not in Unicode, nor clearly Chinese in GBK; name its encoding with --encoding"),
        (b"order_id,vin,day\nSO-1,,7\n,,8\n", "row 3 has neither"),
        (b'order_id,vin,day\nSO-1,,"7', "row 2 has a quotation mark that is never closed"),
        (b'order_id\nSO-1\n"SO-2\nSO-3\n', "row 3 has a quotation mark that is never closed"),
        (b'order_id\n"' + 200_000 * b"SO-1\n", "row 2 has a quotation mark that is never closed"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_what_cannot_be_read_is_said(content: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_list(content)


def test_unusual_quotation_marks_are_read_as_they_always_were() -> None:
    rows, _ = rows_of_text('order_id,vin\n"SO-1"x,5"\n"SO-2\n",""\n', "UTF-8")
    assert [row.cells for row in rows] == [["order_id", "vin"], ["SO-1x", '5"'], ["SO-2", ""]]


def test_an_empty_list_is_one() -> None:
    assert read_list(b"").entries == ()


def test_the_list_itself_is_not_replaced_by_its_differences(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text("order_id\nD-1\n", encoding="utf-8")
    (tmp_path / "link.csv").symlink_to(file)
    for out in (file, tmp_path / "link.csv"):
        done = CliRunner().invoke(command, ["--against", str(file), "--out", str(out)])
        assert (done.exit_code, "is the list itself: name another file" in done.output) == (2, True)
    assert file.read_text(encoding="utf-8") == "order_id\nD-1\n"


@pytest.mark.parametrize("ending", WRITERS)
def test_the_differences_are_a_file_to_work_with(tmp_path: Path, ending: str) -> None:
    content = lines("订单号,车架号,交付日期", "{o},{v},2024-10-08", tail="=D-9,LNBSU7A10R1000999,2024-10-08")
    without = content.replace(f"D-105,{VINS[5]},2024-10-08\n", "")
    theirs, matched, found = compared(without.encode())
    path = tmp_path / f"differences{ending}"
    WRITERS[ending](path, differences(found, theirs, matched))
    if ending == ".csv":
        text = path.read_text(encoding="utf-8")
        assert text.startswith("\ufeff")
        rows = [line.split(",") for line in text.lstrip("\ufeff").splitlines()]
    else:
        sheet = openpyxl.load_workbook(path).active
        rows = [[cell or "" for cell in row] for row in sheet.iter_rows(values_only=True)]
        assert (sheet.title, sheet.freeze_panes, sheet.column_dimensions["A"].width) == ("differences", "A2", 26)
    head, ours, other = rows
    assert tuple(head) == HEAD
    assert ours[:6] == ["D-105", VINS[5], "here", "2024-10-07", "", "not in the list"]
    assert ours[6].startswith("deliveries-")
    assert other[:6] == ["'=D-9", "LNBSU7A10R1000999", "there", "", "2024-10-08", "not known here"]


def test_a_list_that_cannot_be_read_is_told_before_a_cluster_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # When the command fails it leaves its loop open, as the process ends; a test continues.
    monkeypatch.setattr(streams.cli.reconcile, "run", lambda _settings, work: asyncio.run(work))
    path = tmp_path / "list.csv"
    path.write_bytes("order_id,city\nD-100,München\n".encode("windows-1252"))
    given = ["--against", str(path), "--bootstrap-servers", "127.0.0.1:1"]
    refused = CliRunner().invoke(command, given)
    assert isinstance(refused.exception, ExpectedError)
    assert f"{path}: is not in Unicode, nor clearly Chinese in GBK" in str(refused.exception)
    read = CliRunner().invoke(command, [*given, "--encoding", "windows-1252"])
    assert read.stderr.startswith(
        f"{path}: windows-1252, commas, header in row 1, order number from order_id; 1 of 1 rows"
    )
