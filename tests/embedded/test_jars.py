"""Fetching and verifying the jars, against a local Maven repository."""

from __future__ import annotations

import hashlib
import os
import pty
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from streams.embedded import jars, machine
from streams.embedded.jars import Jar
from streams.errors import ExpectedError
from tests.support.time_limits import stretched

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


#: A process with its own lock.
FETCH = """
from streams.embedded import jars
from streams.embedded.jars import Jar
jars.locked_jars = lambda: {jars!r}
jars.ensure_jars(lambda line: None)
"""


class _Handler(SimpleHTTPRequestHandler):
    requested: list[str]

    def log_message(self, *_arguments: object) -> None:
        """Suppresses the log."""

    def do_GET(self) -> None:
        self.requested.append(self.path)
        super().do_GET()


@pytest.fixture
def lock(monkeypatch: pytest.MonkeyPatch) -> tuple[Jar, ...]:
    """A lock of three small jars."""
    made = tuple(_jar(f"part-{number}", bytes([number]) * 10_000) for number in (1, 2, 3))
    monkeypatch.setattr(jars, "locked_jars", lambda: made)
    return made


def _jar(artifact: str, content: bytes) -> Jar:
    return Jar("org.example.parts", artifact, "1.0", hashlib.sha256(content).hexdigest(), len(content))


@pytest.fixture
def repository(tmp_path: Path, lock: tuple[Jar, ...]) -> Path:
    """A folder laid out as a Maven repository, with the jars of the lock."""
    folder = tmp_path / "repository"
    for number, jar in enumerate(lock, 1):
        place = path_in(folder, jar)
        place.parent.mkdir(parents=True)
        place.write_bytes(bytes([number]) * 10_000)
    return folder


def path_in(repository: Path, jar: Jar) -> Path:
    return repository / "org/example/parts" / jar.artifact / jar.version / jar.file_name


@pytest.fixture
def requested() -> list[str]:
    """The paths that were asked for at `url`."""
    return []


@pytest.fixture
def url(repository: Path, requested: list[str]) -> Iterator[str]:
    """The repository, served on this machine."""
    handler = type("Handler", (_Handler,), {"requested": requested})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(repository))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no settings of the person who runs the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for variable in (jars.JARS_VARIABLE, jars.REPOSITORY_VARIABLE, "HTTP_PROXY", "http_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path / "cache" / "milestones" / "jars"


def ensure(said: list[str] | None = None) -> list[Path]:
    return jars.ensure_jars((said if said is not None else []).append)


def test_the_lock_names_kafka_and_each_jar_once() -> None:
    lock = jars.locked_jars()
    assert f"org.apache.kafka:kafka_2.13:{jars.KAFKA_VERSION}" in {jar.coordinate for jar in lock}
    assert len({jar.file_name for jar in lock}) == len(lock) == 45
    assert all(len(jar.sha256) == 64 and jar.size > 0 for jar in lock)


def test_jars_are_fetched_once_and_come_in_the_order_of_the_lock(
    url: str, lock: tuple[Jar, ...], cache: Path, requested: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(jars.REPOSITORY_VARIABLE, url)
    said: list[str] = []
    assert ensure(said) == [cache / jar.file_name for jar in lock]
    assert len(said) == 1
    assert "fetching Apache Kafka" in said[0]
    assert url in said[0]
    requested.clear()
    assert len(ensure(said)) == 3
    assert requested == []
    assert len(said) == 1


def test_only_what_is_missing_is_fetched(
    url: str, lock: tuple[Jar, ...], cache: Path, requested: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(jars.REPOSITORY_VARIABLE, url)
    ensure()
    (cache / lock[1].file_name).unlink()
    requested.clear()
    ensure()
    assert {path for path in requested if path.endswith(".jar")} == {
        f"/org/example/parts/part-2/1.0/{lock[1].file_name}"
    }


def test_a_folder_can_be_the_repository_and_stays_as_it_is(
    repository: Path, lock: tuple[Jar, ...], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(jars.REPOSITORY_VARIABLE, str(repository))
    assert len(ensure()) == 3
    assert all(path_in(repository, jar).exists() for jar in lock)
    assert all((cache / jar.file_name).exists() for jar in lock)


def test_a_repository_that_gives_another_file_is_refused_and_the_file_not_kept(
    url: str, repository: Path, lock: tuple[Jar, ...], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(jars.REPOSITORY_VARIABLE, url)
    path_in(repository, lock[2]).write_bytes(b"not what was locked")
    with pytest.raises(
        ExpectedError, match=r"gave for org.example.parts:part-3:1.0 is not what the lock names"
    ) as told:
        ensure()
    assert url in str(told.value)
    assert not (cache / lock[2].file_name).exists()
    assert not list(cache.glob(".fetch-*"))


def test_a_jar_altered_in_the_cache_is_refused(
    url: str, lock: tuple[Jar, ...], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if its size and time are unchanged."""
    monkeypatch.setenv(jars.REPOSITORY_VARIABLE, url)
    ensure()
    victim = cache / lock[0].file_name
    before = victim.stat()
    victim.write_bytes(b"\x07" * before.st_size)
    os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(ExpectedError, match=rf"{victim.name} is not the .*; remove the file, it is downloaded again"):
        ensure()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://someone:secret@127.0.0.1:1/maven", "it cannot be reached"),
        ("no/such/folder", "that is neither a URL nor a folder"),
    ],
)
def test_a_repository_out_of_reach_is_one_line_with_the_cure_and_no_password(
    address: str, reason: str, lock: tuple[Jar, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(jars.REPOSITORY_VARIABLE, address)
    for attempt in (ensure, partial(jars.refuse_unreachable, lock[0])):
        with pytest.raises(ExpectedError, match=rf"cannot fetch .*{reason}.*{jars.JARS_VARIABLE}") as told:
            attempt()
        assert "secret" not in str(told.value)
        assert "\n" not in str(told.value)


def test_a_repository_without_the_file_is_told_apart(
    url: str, repository: Path, lock: tuple[Jar, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(jars.REPOSITORY_VARIABLE, url)
    jars.refuse_unreachable(lock[0])
    path_in(repository, lock[0]).unlink()
    with pytest.raises(ExpectedError, match="it has no such file"):
        ensure()
    with pytest.raises(ExpectedError, match="HTTP 404"):
        jars.refuse_unreachable(lock[0])


def test_a_folder_of_jars_is_used_as_it_is_or_what_it_lacks_is_told(
    tmp_path: Path, lock: tuple[Jar, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(jars.JARS_VARIABLE, str(tmp_path))
    for number, jar in enumerate(lock[:2], 1):
        (tmp_path / jar.file_name).write_bytes(bytes([number]) * 10_000)
    with pytest.raises(ExpectedError, match=rf"lacks 1 of 3 jars, {lock[2].file_name} among them"):
        ensure()
    (tmp_path / lock[2].file_name).write_bytes(b"\x03" * 10_000)
    (tmp_path / "another.jar").touch()
    assert ensure() == [tmp_path / jar.file_name for jar in lock]


def test_a_full_disk_is_told_before_anything_is_fetched(
    url: str, requested: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(jars.REPOSITORY_VARIABLE, url)
    monkeypatch.setattr(machine, "free_disk_mb", lambda _path: 1)
    with pytest.raises(ExpectedError, match=r"1 MiB free, fetching Apache Kafka needs 2 MiB"):
        ensure()
    assert requested == []


@pytest.mark.usefixtures("lock")
def test_a_cache_that_cannot_be_made_is_told_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(ExpectedError, match=r"cannot store the jars .*; make it writable, or set XDG_CACHE_HOME"):
        ensure()


def test_processes_that_start_at_once_fetch_each_jar_once(
    url: str, lock: tuple[Jar, ...], requested: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(jars.REPOSITORY_VARIABLE, url)
    command = [sys.executable, "-c", FETCH.format(jars=lock)]
    processes = [subprocess.Popen(command, cwd=ROOT) for _ in range(3)]
    assert [process.wait(stretched(20)) for process in processes] == [0, 0, 0]
    assert len([path for path in requested if path.endswith(".jar")]) == 3


def test_what_a_killed_process_left_half_fetched_is_removed(
    url: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(jars.REPOSITORY_VARIABLE, url)
    (cache / ".fetch-left").mkdir(parents=True)
    ensure()
    assert not list(cache.glob(".fetch-*"))


def test_progress_is_shown_on_a_terminal_only(
    url: str, lock: tuple[Jar, ...], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(jars.REPOSITORY_VARIABLE, url)
    command = [sys.executable, "-c", FETCH.format(jars=lock[:1])]
    piped = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, env={**os.environ, "HOME": ""})
    assert piped.stdout + piped.stderr == b""

    (cache / lock[0].file_name).unlink()
    terminal, side = pty.openpty()
    subprocess.run(command, cwd=ROOT, stderr=side, check=True, env={**os.environ, "TERM": "xterm"})
    os.close(side)
    assert b"Apache Kafka" in os.read(terminal, 10_000)
    os.close(terminal)
