"""Events from tables; loads that are rehearsed, marked as history and limited to a rate."""

from __future__ import annotations

import gzip
import io
import json
import sys
import tempfile
import tomllib
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock

import cramjam
import openpyxl
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from streams.cli.publish import command
from streams.errors import ExpectedError
from streams.events.event_files import NumberedLine
from streams.events.ndjson import LineChecker
from streams.events.table_files import TableMapping, TableReader, propose, read_mapping
from streams.kafka.publication import Publication
from streams.operations.rehearsal import LoadRate

MAPPING = """
type = "vehicle.delivered.v1"
source = "/archive"
timezone = "Asia/Shanghai"
[columns]
order_id = "订单号"
vin = "车架号"
time = "交付时间"
[constants]
model = "SU7"
"""
HEAD = ("序号", "订单号", "车架号", "交付时间", "备注")
TIMES = ("2024-10-07 14:03:11", "2024/10/7 14:03", "2024年10月7日 14:03", "2024-10-07T14:03:11.5", "2024.10.7")
READ_AS = (
    "2024-10-07T14:03:11+08:00",
    "2024-10-07T14:03:00+08:00",
    "2024-10-07T14:03:00+08:00",
    "2024-10-07T14:03:11.5+08:00",
    "2024-10-07T00:00:00+08:00",
)
ROWS = [(str(n), f"D-{n}", f"LNBSU7A10R100000{n}", time, "a;b") for n, time in enumerate(TIMES)]


def as_csv(separator: str = ",", title: str = "") -> str:
    return title + "\r\n".join(separator.join(row) for row in [HEAD, *ROWS]) + "\r\n"


def workbook() -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in [("十月交付",), HEAD, *ROWS]:
        sheet.append(row)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


TABLES = {
    "utf-8.csv": as_csv().encode(),
    "mark.csv": as_csv("\t").encode("utf-8-sig"),
    "gbk.csv": as_csv(title="2024 交付\r\n").encode("gbk"),
    "utf-16.csv": as_csv("\t").encode("utf-16"),
    "gbk.csv.gz": gzip.compress(as_csv().encode("gbk")),
    "utf-8.csv.zst": bytes(cramjam.zstd.compress(as_csv(";").encode())),
    "book.xlsx": workbook(),
}


def events(path: Path, mapping: str = MAPPING) -> list[dict[str, Any]]:
    return [json.loads(line.text) for line in TableReader(path, read_mapping(mapping.encode())).events()]


@pytest.mark.parametrize("name", TABLES)
def test_each_row_is_an_event_whatever_the_table_looks_like(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(TABLES[name])
    found = events(path)
    assert [event["data"] for event in found] == [
        {"order_id": order, "vin": vin, "model": "SU7"} for _, order, vin, _, _ in ROWS
    ]
    assert tuple(event["time"] for event in found) == READ_AS
    assert {event["source"] for event in found} == {"/archive"}


@pytest.mark.parametrize("name", ["gbk.csv.gz", "utf-8.csv.zst"])
def test_a_compressed_table_that_is_cut_off_is_said_to_be_damaged(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for end in (len(TABLES[name]) // 2, -3):
        path.write_bytes(TABLES[name][:end])
        with pytest.raises(ValueError, match="is compressed and damaged: copy it again"):
            events(path)


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("spoilt", ["1.23457E+15", "1,23457e+15", "1E+15", "9.8E+100"])
def test_a_number_that_a_spreadsheet_has_shortened_identifies_nothing(tmp_path: Path, spoilt: str, at: int) -> None:
    """It would be one order, or one vehicle, of many."""
    rows = [list(row) for row in ROWS[:3]]
    rows[1][at] = spoilt
    rows[2][1] = "D+2E+15"  # somebody's order number
    path = tmp_path / "t.csv"
    path.write_text("\n".join(";".join(row[:4]) for row in [HEAD, *rows]), encoding="utf-8")
    lines = list(TableReader(path, read_mapping(MAPPING.encode())).events())
    accepted, (refused,) = LineChecker(300).check(lines)
    assert [json.loads(record.value or b"")["data"]["order_id"] for record in accepted] == ["D-0", "D+2E+15"]
    assert (refused.number, refused.rejection.reason) == (3, "invalid_field")
    field = ("order_id", "vin")[at - 1]
    assert refused.rejection.message.startswith(f"{field}: a number that a spreadsheet has shortened, like 1.23E+15; ")


def test_the_same_row_is_the_same_event_whatever_else_is_in_the_table(tmp_path: Path) -> None:
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    one.write_text(as_csv(), encoding="utf-8")
    lines = as_csv().splitlines(keepends=True)
    other.write_text("".join([lines[0], *reversed(lines[1:])]), encoding="utf-8")
    ids = [event["id"] for event in events(one)]
    assert ids == [event["id"] for event in reversed(events(other))]
    assert len(set(ids)) == len(ids)
    assert all(identity.startswith("row-") for identity in ids)


def test_a_first_mapping_is_proposed_and_holds_once_the_model_is_said(tmp_path: Path) -> None:
    path = tmp_path / "交付.csv"
    path.write_bytes(TABLES["gbk.csv"])
    proposed = propose(path, "Asia/Shanghai").replace("# model = ...", 'model = "SU7"')
    assert tomllib.loads(proposed)["columns"] == {"order_id": "订单号", "vin": "车架号", "time": "交付时间"}
    assert "# not used: 序号, 备注" in proposed
    assert [event["data"]["model"] for event in events(path, proposed)] == ["SU7"] * len(ROWS)


def test_types_ids_and_numbers_come_from_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("what,no,nr,when\nplaced,D-1,e1,2024-10-07T14:03:11Z\nother,D-2,e2,2024-10-07 14:03\n")
    mapping = """
type = "order.cancelled.v1"
source = "/s"
columns = {type = "what", order_id = "no", id = "nr", time = "when"}
constants = {model = "SU7"}
types = {placed = "order.placed.v1"}
"""
    first, second = events(path, mapping)
    assert (first["type"], first["id"], first["time"]) == ("order.placed.v1", "e1", "2024-10-07T14:03:11Z")
    assert (second["type"], second["time"]) == ("other", "2024-10-07 14:03")


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ("type = ", "not valid TOML"),
        ('type = "x"\nsource = "/s"', "columns: it is missing"),
        ('type = "x"\nsource = "/s"\n[columns]\ncolour = "c"', "no event has a field colour"),
        ('type = "x"\nsource = "/s"\ntimezone = "Mars/X"\n[columns]\n', "timezone: no IANA time zone"),
    ],
)
def test_a_wrong_mapping_is_told_in_a_line(mapping: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_mapping(mapping.encode())


# The command without a cluster --------------------------------------------------------------------------------------


def ran(*arguments: str) -> tuple[str, str]:
    """What the command prints, and the words and the code that it ends with."""
    done = CliRunner().invoke(command, list(arguments))
    if isinstance(done.exception, ExpectedError):
        return done.stdout, f"{done.exception.exit_code}: {done.exception}"
    assert done.exception is None, done.exception
    return done.stdout, f"0: {done.stderr}"


def test_a_rehearsal_says_what_would_be_counted_and_rejected(tmp_path: Path) -> None:
    table, mapping, config = tmp_path / "t.csv", tmp_path / "m.toml", tmp_path / "x.toml"
    wrong = "9,D-9,LNBSU7A10R100000,2024-10-07 14:03,\r\n8,D-8,LNBSU7A10R1000008,yesterday,\r\n"
    table.write_text(as_csv() + as_csv().splitlines(keepends=True)[1] + wrong, encoding="utf-8")
    mapping.write_text(MAPPING, encoding="utf-8")
    config.write_text("", encoding="utf-8")
    out, ended = ran(str(table), "--map", str(mapping), "--dry-run", "--config", str(config))
    assert "deliveries     2024-10          5" in out
    assert "2 invalid_field, lines 8, 9: data.vin: 16 characters" in out
    assert ended.startswith("2: ")
    assert "2 would be rejected" in ended


def test_a_rehearsal_of_events_asks_no_cluster(tmp_path: Path) -> None:
    config = tmp_path / "x.toml"
    config.write_text('bootstrap_servers = "127.0.0.1:1"', encoding="utf-8")
    out, ended = ran("deploy/demo/sample-events.ndjson", "--dry-run", "--config", str(config))
    assert "orders_placed" in out
    assert "would be published, 0 rejected" in ended


def test_a_table_that_is_cut_off_within_quotation_marks_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(as_csv().rstrip() + '\r\n"8,D-8', encoding="utf-8")
    with pytest.raises(ValueError, match=f"row {len(ROWS) + 2} has a quotation mark that is never closed"):
        events(path)


def test_a_table_without_the_columns_is_told(tmp_path: Path) -> None:
    table, mapping = tmp_path / "t.csv", tmp_path / "m.toml"
    table.write_text("a,b\n1,2\n")
    mapping.write_text(MAPPING, encoding="utf-8")
    _, ended = ran(str(table), "--map", str(mapping), "--dry-run")
    assert ended.startswith("2: ")
    assert "has the columns 订单号, 车架号, 交付时间" in ended


EVENT = (
    b'{"specversion":"1.0","id":"1","source":"/s","type":"order.placed.v1","time":"2024-10-07T14:03:11Z",%s"data":%s}'
)


@pytest.mark.parametrize("before", [b"", b'"backfill":false,', b'"backfill":true,'])
def test_events_are_marked_as_history(before: bytes) -> None:
    text = EVENT % (before, b'{"order_id":"D-1","model":"SU7"}')
    (record,), _ = LineChecker(300, backfill=True).check([NumberedLine(1, text)])
    assert json.loads(record.value or b"")["backfill"] is True
    (record,), _ = LineChecker(300).check([NumberedLine(1, text)])
    assert record.value == text


def test_what_is_wrong_stays_wrong_when_it_is_marked() -> None:
    twice = EVENT % (b'"id":"2",', b'{"order_id":"D-1","model":"SU7"}')
    _, (rejected,) = LineChecker(300, backfill=True).check([NumberedLine(1, twice)])
    assert rejected.rejection.reason == "duplicate_key"


def test_a_rate_cuts_a_load_into_portions_and_has_it_wait() -> None:
    records = [Publication(0, b"k", b"v")] * 25
    assert [len(some) for some in LoadRate(None).portions(records)] == [25]
    pace = LoadRate(100)
    waits = []
    for some in pace.portions(records):
        waits.append(pace.wait_s())
        assert len(some) <= 10
    assert len(waits) == 3
    assert waits[2] > 0.1 > waits[0]


@pytest.mark.parametrize("name", ["utf-8.csv", "gbk.csv.gz", "book.xlsx"])
def test_a_table_may_come_through_a_pipe(tmp_path: Path, name: str) -> None:
    mapping = tmp_path / "m.toml"
    proposed = CliRunner().invoke(command, ["-", "--propose"], input=TABLES[name])
    assert proposed.exit_code == 0, proposed.output
    mapping.write_text(proposed.stdout.replace("# model = ...", 'model = "SU7"'), encoding="utf-8")
    done = CliRunner().invoke(command, ["-", "--map", str(mapping), "--dry-run"], input=TABLES[name])
    assert (done.exit_code, done.stdout) == (0, "deliveries     2024-10          5\n"), done.output


def test_a_table_in_another_encoding_takes_the_option(tmp_path: Path) -> None:
    """Also where only a late row shows that it is in another one than was recognised."""
    path, mapping = tmp_path / "big5.csv", tmp_path / "m.toml"
    rows = [f"D-{number},LNBSU7A10R100{number:04},2024-10-07 14:03,a" for number in range(2_000)]
    content = "\n".join(["order_id,vin,time,note", *rows, "D-9999,LNBSU7A10R1009999,2024-10-07 14:03,臺北高雄"])
    path.write_bytes(content.encode("big5"))
    mapping.write_text(
        'type = "vehicle.delivered.v1"\nsource = "/archive"\ntimezone = "Asia/Shanghai"\nconstants = {model = "SU7"}\n'
        'columns = {order_id = "order_id", vin = "vin", time = "time", variant = "note"}\n'
    )
    told = [str(path), "--map", str(mapping), "--dry-run"]
    refused = CliRunner().invoke(command, told)
    assert isinstance(refused.exception, ExpectedError)
    assert str(refused.exception) == (
        f"{path}: line 2,002 is not in UTF-8, as those before it are; name the encoding with --encoding"
    )
    done = CliRunner().invoke(command, [*told, "--encoding", "big5"])
    assert (done.exit_code, done.stdout) == (0, "deliveries     2024-10      2,001\n"), done.output
    last = list(TableReader(path, read_mapping(mapping.read_bytes()), encoding="big5").events())[-1]
    assert json.loads(last.text)["data"]["variant"] == "臺北高雄"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("rows", "line"), [(0, "2"), (3, "5"), (5_000, "5,002")])
def test_a_table_that_is_not_in_the_named_encoding_is_told_by_its_line(
    tmp_path: Path, rows: int, line: str, *, packed: bool
) -> None:
    path, mapping = tmp_path / "t.csv", tmp_path / "m.toml"
    plain = [f"D-{number},LNBSU7A10R100{number:04},2024-10-07 14:03" for number in range(rows)]
    content = "\n".join(["order_id,vin,time", *plain, "D-9999,LNBSU7A10R1009999,2024-10-07 14:03 é"]).encode()
    path.write_bytes(gzip.compress(content) if packed else content)
    mapping.write_text(MAPPING, encoding="utf-8")
    refused = CliRunner().invoke(command, [str(path), "--map", str(mapping), "--dry-run", "--encoding", "ascii"])
    assert isinstance(refused.exception, ExpectedError)
    assert str(refused.exception) == f"{path}: line {line} is not in ascii: name another --encoding"


def test_an_encoding_that_there_is_not_is_said(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(TABLES["utf-8.csv"])
    unknown = CliRunner().invoke(command, [str(path), "--propose", "--encoding", "windows-125"])
    assert unknown.exit_code == 2
    assert "no encoding is called 'windows-125'" in unknown.stderr
    lines = tmp_path / "events.ndjson"
    lines.write_bytes(b"")
    needless = CliRunner().invoke(command, [str(lines), "--encoding", "gbk"])
    assert needless.exit_code == 2
    assert "--encoding is that of a table: name its columns with --map" in needless.stderr


# Parquet -------------------------------------------------------------------------------------------------------------


def parquet(path: Path, columns: dict[str, Any]) -> Path:
    """A Parquet file with these columns, given as values or as typed arrays."""
    arrow = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(arrow.table(columns), path, row_group_size=3)
    return path


def test_parquet_is_read_as_csv_of_the_same_rows_with_the_same_ids(tmp_path: Path) -> None:
    table = parquet(
        tmp_path / "t.parquet",
        {name: list(cells) for name, *cells in zip(HEAD, *ROWS, strict=True)} | {"x": [None] * 5},
    )
    (tmp_path / "t.csv").write_bytes(TABLES["utf-8.csv"])
    assert events(table) == events(tmp_path / "t.csv")
    reader = TableReader(table, read_mapping(MAPPING.encode()))
    assert [line.number for line in reader.events()] == [1, 2, 3, 4, 5]
    assert (reader.form, reader.read_bytes) == ("Parquet, 5 rows", table.stat().st_size)


def test_columns_of_parquet_keep_what_their_types_say(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    local = datetime(2024, 10, 7, 14, 3, 11)  # noqa: DTZ001 - a column without a time zone
    columns = {
        "no": arrow.array([20241007000000017, 20241007000000018]),  # beyond what Excel and doubles can tell apart
        "chassis": arrow.array(["lnbsu7a10r1000001", ' LNB"1']).dictionary_encode(),
        "utc": arrow.array([local, None], arrow.timestamp("ns", "UTC")),
        "local": arrow.array([local, local], arrow.timestamp("ms")),
        "day": arrow.array([local.date(), local.date()]),
        "old": arrow.array([True, False]),
    }
    path = parquet(tmp_path / "t.parquet", columns)

    def read(time: str) -> list[dict[str, Any]]:
        mapping = (
            'type = "vehicle.delivered.v1"\nsource = "/s"\ntimezone = "Asia/Shanghai"\nconstants = {model = "SU7"}\n'
            f'[columns]\norder_id = "no"\nvin = "chassis"\nbackfill = "old"\ntime = "{time}"\n'
        )
        return events(path, mapping)

    first, second = read("utc")
    assert first["data"] == {"model": "SU7", "order_id": "20241007000000017", "vin": "lnbsu7a10r1000001"}
    assert second["data"] == {"model": "SU7", "order_id": "20241007000000018", "vin": 'LNB"1'}
    assert (first["time"], second["time"]) == ("2024-10-07T14:03:11+00:00", "")
    assert (first["backfill"], second["backfill"]) == ("true", "false")
    assert read("local")[0]["time"] == "2024-10-07T14:03:11+08:00"
    assert read("day")[0]["time"] == "2024-10-07T00:00:00+08:00"


def test_a_table_of_vehicles_without_orders_is_one_of_production(tmp_path: Path) -> None:
    path = tmp_path / "built.csv"
    path.write_text("VIN,车型,工厂,下线时间\nlnbsu7a10r1000123,SU7,BJ1,2024-10-07 08:01\n", encoding="utf-8")
    proposed = propose(path, "Asia/Shanghai")
    assert tomllib.loads(proposed)["type"] == "vehicle.produced.v1"
    (event,) = events(path, proposed)
    assert event["data"] == {"vin": "lnbsu7a10r1000123", "model": "SU7", "factory": "BJ1"}
    path.write_text("VIN,车型\nlnbsu7a10r1000123,SU7\n", encoding="utf-8")
    with pytest.raises(ValueError, match="or of VINs and times"):
        propose(path, "Asia/Shanghai")


def test_a_mapping_is_proposed_for_parquet_and_a_rehearsal_counts_its_rows(tmp_path: Path) -> None:
    table = parquet(tmp_path / "t.parquet", {name: list(cells) for name, *cells in zip(HEAD, *ROWS, strict=True)})
    proposed = propose(table, "Asia/Shanghai")
    assert proposed.startswith("# t.parquet: Parquet, 5 rows. Look it through")
    (tmp_path / "m.toml").write_text(proposed.replace("# model = ...", 'model = "SU7"'), encoding="utf-8")
    done = CliRunner().invoke(command, [str(table), "--map", str(tmp_path / "m.toml"), "--dry-run"])
    assert (done.exit_code, done.stdout) == (0, "deliveries     2024-10          5\n"), done.output
    assert "5 would be published, 0 rejected; 0 are duplicates" in done.stderr


def test_parquet_that_is_damaged_or_takes_an_extra_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, mapping = tmp_path / "t.parquet", tmp_path / "m.toml"
    path.write_bytes(b"PAR1 and no more")
    mapping.write_text(MAPPING, encoding="utf-8")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ExpectedError) as refused:
        CliRunner().invoke(command, [str(path), "--map", str(mapping), "--dry-run"], catch_exceptions=False)
    line = str(refused.value)
    assert line.endswith(
        "is a Parquet file, which takes an extra to read: pip install 'milestones[files]', or save it as CSV"
    )
    monkeypatch.undo()
    with pytest.raises(
        ExpectedError, match="is a Parquet file, and not a file of events as JSON; a table is published"
    ):
        CliRunner().invoke(command, [str(path), "--dry-run"], catch_exceptions=False)
    pytest.importorskip("pyarrow")
    with pytest.raises(ExpectedError, match="is no Parquet file, or is damaged; export it again"):
        CliRunner().invoke(command, [str(path), "--map", str(mapping), "--dry-run"], catch_exceptions=False)


# The fast way --------------------------------------------------------------------------------------------------------

CELLS = st.one_of(
    st.sampled_from(["SU7", "", " SU7", "D-1", "a b", "100%", "%s", "'1", "\\", "é", "{", "2024-10-07 14:03:11"]),
    st.text(st.characters(codec="utf-8", exclude_characters=',;|\t\r\n"'), max_size=6),
)
WHENS = st.one_of(
    st.sampled_from([*TIMES, "2024-10-07 14:59:60", "2024-10-07 14:0:011", "2024-10-07T14:03:11Z", "", "later"]),
    st.datetimes(datetime(1980, 1, 1), datetime(2100, 1, 1)).map(lambda when: when.isoformat(" ", "seconds")),  # noqa: DTZ001 - local
)


PLAIN = st.sampled_from(["SU7", "D-1", "", "a b", "100%", "%s", "{", "a/b=c"])


@given(
    st.one_of(
        st.lists(st.tuples(CELLS, WHENS, CELLS, CELLS), min_size=1, max_size=8),
        st.lists(st.tuples(PLAIN, st.sampled_from(TIMES[:2]), PLAIN, PLAIN), min_size=1, max_size=8),
    ),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["/archive", "/100%/s", '/a"b', "/厂"]),
)
def test_rows_that_are_read_fast_are_the_same_events(
    rows: list[tuple[str, ...]], has_id: bool, backfill: bool, source: str
) -> None:
    columns = {"order_id": "no", "time": "when", "model": "m"} | ({"id": "i"} if has_id else {})
    mapping = TableMapping(
        type="order.placed.v1",
        source=source,
        timezone="Europe/Berlin",
        columns=columns,
        constants={"region": "100%", "channel": 'a"b'},
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_text("\n".join(",".join(row) for row in [("no", "when", "m", "i"), *rows]), encoding="utf-8")
        fast = list(TableReader(path, mapping, backfill).events())
        with mock.patch.object(TableReader, "_plain_maker", return_value=None):
            slow = list(TableReader(path, mapping, backfill).events())
    assert fast == slow
