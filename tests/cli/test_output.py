"""Output that cannot be written, or not as it is, and arguments that are no values: one line, and no traceback."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from streams.cli import COMMANDS, SECTIONS, dead_letters, demo, group, order, publish, scopes
from streams.cli.options import IDENTIFIER, VIN, Number

#: Prints something without asking a cluster.
PRINTS = ("topics", "acls", "--role", "reader", "--principal")
CANNOT_WRITE = "milestones: cannot write: No space left on device; make room where the output goes, and run it again"


def run(principal: str, **options: object) -> subprocess.CompletedProcess[str]:
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [sys.executable, "-m", "streams", *PRINTS, principal],
        stderr=subprocess.PIPE,
        encoding="latin-1",
        check=False,
        timeout=60,
        **options,  # type: ignore[call-overload]
    )
    return done


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_full_disk_is_told_in_one_line() -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = run("User:x", stdout=full)
    assert (done.returncode, done.stderr.splitlines()) == (2, [CANNOT_WRITE])


def test_without_an_output_nothing_is_printed() -> None:
    done = run("User:x", preexec_fn=lambda: os.close(1))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("variables", "is_coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_gets_colours_unless_it_or_the_environment_asks_for_none(
    variables: dict[str, str], is_coloured: bool
) -> None:
    ours, theirs = pty.openpty()
    doctor = [sys.executable, "-m", "streams", "doctor", "--bootstrap-servers", "127.0.0.1:1", "--timeout", "1"]
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm"}
    with subprocess.Popen(doctor, stdout=theirs, stderr=theirs, env=environment | variables) as running:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # at the end
            while part := os.read(ours, 4096):
                shown += part
        os.close(ours)
        assert running.wait(60) == 1
    assert b"nothing listens there" in shown
    assert (b"\x1b[" in shown) is is_coloured


def test_a_name_that_a_terminal_cannot_show_is_escaped() -> None:
    done = run("User:小ß", stdout=subprocess.PIPE, env=os.environ | {"PYTHONIOENCODING": "latin-1"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "User:\\u5c0fß" in done.stdout


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999", "0", "x"])
def test_what_is_no_number_within_the_bounds_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Number(1).convert(text, None, None)
    done = CliRunner().invoke(publish.command, ["/dev/null", "--rate", text])
    assert (done.exit_code, done.output.splitlines()[-1].partition(":")[0]) == (2, "Error")


def test_an_order_number_and_a_vin_are_taken_as_they_are_counted() -> None:
    assert IDENTIFIER.convert(" SO-cafe\u0301 ", None, None) == "SO-caf\u00e9"
    assert VIN.convert(" lnbsu7a10r1000123 ", None, None) == "LNBSU7A10R1000123"
    assert IDENTIFIER.convert("so-1", None, None) == "so-1"


@pytest.mark.parametrize("arguments", [[""], [" "], ["--vin", ""], ["--event", " "]])
def test_an_empty_order_number_is_refused(arguments: list[str]) -> None:
    done = CliRunner().invoke(order.command, arguments)
    assert (done.exit_code, "it is empty: give a value" in done.output) == (2, True)


@pytest.mark.parametrize(
    ("option", "name", "meant"),
    [("--reason", "malformed_jsn", "malformed_json"), ("--topic", "vehicle.order.v1", "vehicle.orders.v1")],
)
@pytest.mark.parametrize("command", ["list", "replay"])
def test_a_misspelt_reason_or_topic_is_not_taken_for_one_without_dead_letters(
    command: str, option: str, name: str, meant: str
) -> None:
    done = CliRunner().invoke(dead_letters.command, [command, option, name])
    assert str(done.exception).startswith(f"{option}: there is no {option[2:]} '{name}'; did you mean {meant}?")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["list", "--until", "9999-12-31"],
            "--until 9999-12-31: no date from 2000 to 2100; write one such as 2024-10-07, or ",
        ),
        (["list", "--since", "0001-01-01"], "--since 0001-01-01: no date from 2000 to 2100"),
        (["list", "--since", "2024-02-30"], "--since 2024-02-30: no date from 2000 to 2100"),
        (["list", "--since", "yesterday"], "--since yesterday: not a date and time with an offset"),
        (["replay", "--set", "data.=x"], "--set data.: a name between two dots is empty"),
        (["replay", "--time-offset", "8"], "--time-offset 8 is no offset"),
    ],
)
def test_what_no_date_or_field_can_be_is_refused(arguments: list[str], words: str) -> None:
    done = CliRunner().invoke(dead_letters.command, arguments)
    assert (done.exit_code, words in done.output) == (2, True), done.output


def test_days_beyond_the_calendar_are_refused() -> None:
    assert CliRunner().invoke(scopes.command, ["--keep-days", "99999999999"]).exit_code == 2


def test_a_folder_that_cannot_be_made_for_the_demo_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = CliRunner().invoke(demo.command, ["--exit", "--data-dir", str(tmp_path / "file" / "demo")])
    assert str(done.exception) == (
        f"{tmp_path}/file/demo: cannot keep data there: Not a directory; name another --data-dir"
    )


def test_a_table_without_a_mapping_is_not_reported_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "orders.CSV"
    file.write_text("order_id,vin\n1,2\n", encoding="utf-8")
    done = CliRunner().invoke(publish.command, ["--dry-run", str(file)])
    assert str(done.exception) == f"{file}: a table is published with --map; publish --propose {file} drafts a mapping"


@pytest.mark.parametrize("words", [(), *[(name,) for name in COMMANDS]], ids=" ".join)
def test_a_list_of_commands_has_whole_sentences(words: tuple[str, ...]) -> None:
    """In a terminal of 80 characters."""
    done = CliRunner().invoke(group, [*words, "--help"])
    cut = [line for line in done.stdout.splitlines() if line.endswith("...") and not line.endswith("[ARGS]...")]
    assert (done.exit_code, cut) == (0, [])


def test_the_help_lists_each_command_once() -> None:
    listed = [name for names in SECTIONS.values() for name in names]
    assert sorted(listed) == sorted(set(listed)) == sorted(COMMANDS)
    text = CliRunner().invoke(group, ["--help"]).stdout
    assert [name for name in listed if text.count(f"  {name} ") != 1] == []


@pytest.mark.parametrize(
    ("name", "proposed"),
    [("window", "; did you mean windows?"), ("deadletters", "; did you mean dead-letters?"), ("xyzzy", ".")],
)
def test_a_command_that_there_is_not_is_told_with_the_one_that_was_meant(name: str, proposed: str) -> None:
    done = CliRunner().invoke(group, [name])
    assert done.exit_code == 2
    assert f"No such command '{name}'{proposed}\n" in done.stderr


@pytest.mark.parametrize("arguments", [(*PRINTS, "User:x"), ("--help",), ("topics", "acls", "--help")], ids=" ".join)
def test_a_reader_that_has_ended_is_no_failure(arguments: tuple[str, ...]) -> None:
    """As in `milestones windows --json | head -1`, where 1 would say that a check has found something."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "streams", *arguments],
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_without_a_place_for_messages_the_results_are_printed_all_the_same() -> None:
    """As in `milestones windows 2>&-`."""
    done = subprocess.run(
        [sys.executable, "-m", "streams", "windows", "--bootstrap-servers", "127.0.0.1:1", "--no-web"],
        stdout=subprocess.PIPE,
        preexec_fn=lambda: os.close(2),
        check=False,
        timeout=60,
    )
    assert done.returncode == 3, "the cluster is not there, which cannot be said"
    shown = subprocess.run(
        [sys.executable, "-m", "streams", *PRINTS, "User:x"],
        stdout=subprocess.PIPE,
        preexec_fn=lambda: os.close(2),
        check=False,
        timeout=60,
    )
    assert (shown.returncode, b"User:x" in shown.stdout) == (0, True)
