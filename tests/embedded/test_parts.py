"""Parts of the embedded Kafka that need no broker."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from streams.embedded import diagnosis, java, machine, probe, supervisor
from streams.embedded.formatted import FormattedData
from streams.errors import ExpectedError
from tests.support.time_limits import stretched

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(60)
"""


def supervise(tmp_path: Path, *command: str, grace_s: float) -> subprocess.Popen[bytes]:
    """The supervisor of a Python program, with the lock file `lock` and the program's output in `out`."""
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    try:
        with (tmp_path / "out").open("wb") as out:
            return subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", supervisor.__file__, str(os.getpid()), str(grace_s), str(lock)),
                    *(sys.executable, *command),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=out,
                pass_fds=[lock],
                start_new_session=True,
            )
    finally:
        os.close(lock)


def test_the_supervisor_kills_a_child_that_does_not_end_when_asked(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("4711")
    with supervise(tmp_path, "-c", STUBBORN, grace_s=0.3) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        child = int(process.stdout.readline())
        while not (tmp_path / "out").read_bytes():
            pass
        process.stdin.close()
        assert process.wait(stretched(5)) == 128 + 9
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)
    assert (tmp_path / "lock").read_text() == "", "the lock still names an owner"


@pytest.mark.parametrize(("end", "code"), [("sys.exit(7)", 7), ("os.kill(os.getpid(), 15)", 143)])
def test_the_supervisor_ends_as_its_child_ends(tmp_path: Path, end: str, code: int) -> None:
    with supervise(tmp_path, "-c", f"import os, sys; {end}", grace_s=1) as process:
        assert process.wait(stretched(5)) == code


def test_the_supervisor_stops_its_child_when_it_is_told_to_stop(tmp_path: Path) -> None:
    with supervise(tmp_path, "-c", "import time; time.sleep(60)", grace_s=5) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        assert process.wait(stretched(5)) == 143


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("2026-01-01T00:00:00.000Z ERROR LogDirFailureChannel: No space left on device", "the disk is full"),
        ("OpenJDK 64-Bit Server VM warning: Cannot allocate memory", "memory is short"),
        ("java.net.BindException: Address already in use", "a port it needs is taken"),
        ("KafkaException: Failed to acquire lock on file .lock in kafka", "another broker uses the data directory"),
        ("java.nio.file.AccessDeniedException: kafka/meta.properties", "cannot be read or written"),
        ("2026-01-01T00:00:00.000Z ERROR Kafka$: something new", "exit code 1, saying: Kafka$: something new"),
        ("nothing of note", "exit code 1 (log:"),
    ],
)
def test_the_log_is_turned_into_one_line_with_the_place_of_the_log(tmp_path: Path, line: str, said: str) -> None:
    log = tmp_path / "broker.log"
    log.write_text(f"an earlier run: No space left on device\n{line}\n")
    told = str(diagnosis.explain(log, offset=41, exit_code=1))
    assert said in told
    assert str(log) in told
    assert "\n" not in told


def test_a_broker_that_was_killed_or_does_not_answer_is_told_apart(tmp_path: Path) -> None:
    log = tmp_path / "broker.log"
    assert "was killed" in str(diagnosis.explain(log, 0, 137))
    assert "does not answer in time" in str(diagnosis.explain(log, 0, None))


def test_a_log_that_was_rolled_is_read_from_its_beginning(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("Address already in use")
    assert diagnosis.port_was_taken(tmp_path / "log", offset=10_000)


def cgroup(tmp_path: Path, limit: str) -> int | None:
    group = tmp_path / "root" / "box"
    group.mkdir(parents=True)
    (tmp_path / "own").write_text("1:cpu:/old\n0::/box\n")
    (group / "memory.max").write_text(f"{limit}\n")
    (group / "memory.current").write_text(f"{300 * 1024 * 1024}\n")
    (group / "memory.stat").write_text(f"anon 1\ninactive_file {50 * 1024 * 1024}\n")
    return machine._cgroup_available_mb(tmp_path / "root", tmp_path / "own")


def test_a_container_has_what_its_limit_leaves_and_the_file_cache_gives_back(tmp_path: Path) -> None:
    assert cgroup(tmp_path, str(512 * 1024 * 1024)) == 512 - 300 + 50


def test_a_container_without_a_limit_has_what_the_machine_has(tmp_path: Path) -> None:
    assert cgroup(tmp_path, "max") is None


@pytest.mark.parametrize(
    ("xdg", "home", "expected"),
    [
        ("/x", "/h", "/x/milestones"),
        ("", "/h", "/h/.cache/milestones"),
        ("relative", "/h", "/h/.cache/milestones"),
        ("", "", None),
    ],
)
def test_the_cache_is_where_the_xdg_specification_has_it(
    monkeypatch: pytest.MonkeyPatch, xdg: str, home: str, expected: str | None
) -> None:
    """Without a home in the environment, it is in the user's home directory."""
    monkeypatch.setenv("XDG_CACHE_HOME", xdg)
    monkeypatch.setenv("HOME", home)
    found = machine.cache_root()
    assert found == Path(expected) if expected else found.is_absolute() and found.parts[-2:] == (".cache", "milestones")


def test_variables_that_would_change_the_jvm_do_not_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xmx1m")
    assert "JAVA_TOOL_OPTIONS" not in java.environment()
    assert java.java_version().startswith("openjdk")


def test_arguments_with_spaces_and_quotation_marks_reach_java_whole(tmp_path: Path) -> None:
    (tmp_path / "args").write_text(java.argument_file(['-Dmine=a b\\c"d', "-XshowSettings:properties", "-version"]))
    done = subprocess.run([java.java(), f"@{tmp_path / 'args'}"], capture_output=True, text=True, check=True)
    assert 'mine = a b\\c"d' in done.stderr


def test_the_archived_classes_are_used_with_the_options_of_all_our_programs(tmp_path: Path) -> None:
    """The JVM says so and does without part of them if modules are set up otherwise than when they were archived."""
    (tmp_path / "args").write_text(java.argument_file(java.common_options([])))
    archive = java.ClassArchive([])
    command = [str(java.java()), *archive.options(), f"@{tmp_path / 'args'}", "-version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert any("SharedArchiveFile" in option for option in archive.options())
    assert "[error]" not in done.stdout + done.stderr


def test_a_directory_that_was_formatted_once_is_copied_with_other_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    properties, first, copy = tmp_path / "format.properties", tmp_path / "first", tmp_path / "copy"
    properties.write_text("node.id=1\n")
    known = FormattedData([], properties)
    assert not known.copy_to(copy, "a", "b")
    first.mkdir()
    (first / "meta.properties").write_text("#\ncluster.id=one\ndirectory.id=two\nnode.id=1\n")
    (first / "metadata").write_bytes(b"\0")
    known.keep(first)
    known.keep(first)
    assert known.copy_to(copy, "a", "b")
    assert (copy / "meta.properties").read_text() == "#\ncluster.id=a\ndirectory.id=b\nnode.id=1\n"
    assert (copy / "metadata").read_bytes() == b"\0"
    properties.write_text("node.id=2\n")
    assert not FormattedData([], properties).copy_to(tmp_path / "other", "a", "b"), "of other settings"


def test_what_is_no_formatted_directory_is_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    properties, broken = tmp_path / "format.properties", tmp_path / "broken"
    properties.write_text("")
    broken.mkdir()
    (broken / "meta.properties").write_text("cluster.id=one\n")
    known = FormattedData([], properties)
    known.keep(broken)
    assert not known.copy_to(tmp_path / "copy", "a", "b")
    assert not (tmp_path / "copy").exists()


def serve_once(answer: bytes) -> int:
    """A server that gives every first comer the same answer; returns its port."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with server, server.accept()[0] as connection:
            connection.recv(1000)
            connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return int(server.getsockname()[1])


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (struct.pack(">iih", 6, 0x6D696C65, 0), True),
        (struct.pack(">iih", 6, 1, 0), False),
        (struct.pack(">iih", 6, 0x6D696C65, 35), False),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False),
        (b"", False),
    ],
)
def test_only_the_answer_of_a_broker_counts_as_one(answer: bytes, expected: bool) -> None:
    assert probe.answers("127.0.0.1", serve_once(answer), timeout_s=2) is expected


def test_a_connection_to_itself_is_not_taken_for_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """TCP may connect a socket to its own port, which then echoes the request."""
    itself = socket.socket()
    itself.bind(("127.0.0.1", 0))
    address = itself.getsockname()
    itself.connect(address)
    monkeypatch.setattr(socket, "create_connection", lambda *_: itself)
    assert not probe.answers(*address)
    assert machine.port_is_free(address[1])


def test_a_free_port_is_none_that_is_meant_for_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_PORTS", [20001, 20002])
    monkeypatch.setattr("streams.embedded.machine.random.sample", lambda ports, _count: list(ports))
    assert machine.free_port({20001}) == 20002


def test_a_data_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    from streams.embedded.lock import DataLock  # noqa: PLC0415 - used here only

    (tmp_path / "file").touch()
    with pytest.raises(ExpectedError, match=r"cannot keep data there: .*; name another --data-dir"):
        DataLock(tmp_path / "file" / "data", patience_s=0)
