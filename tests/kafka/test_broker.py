"""The embedded Kafka as a real process: how it starts, ends, and reports problems."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams.embedded import jars, machine, probe
from streams.embedded.broker import EmbeddedKafka
from streams.embedded.java import SHORT_LIVED
from streams.embedded.lock import DataLock
from streams.errors import ExpectedError
from tests.support.time_limits import deadline, stretched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.shared_kafka import SharedKafka

pytestmark = pytest.mark.kafka

ROOT = Path(__file__).parents[2]

START_AND_WAIT = """
import sys, time
from pathlib import Path
from streams.embedded.broker import EmbeddedKafka
from streams.embedded.java import SHORT_LIVED
kafka = EmbeddedKafka(Path(sys.argv[1]), java_options=SHORT_LIVED)
kafka.start()
print(kafka.pid, kafka.bootstrap, flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def formatted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that has been used and shut down cleanly."""
    folder = tmp_path_factory.mktemp("formatted")
    with EmbeddedKafka(folder, java_options=SHORT_LIVED):
        pass
    return folder


@pytest.fixture
def used(formatted: Path, tmp_path: Path) -> Path:
    """A copy of such a directory: it starts faster than a new one."""
    return shutil.copytree(formatted, tmp_path / "used")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Runs a program until the test is over; its stderr goes to the file `stderr`."""
    running: list[subprocess.Popen[str]] = []

    def start(*command: str, **variables: str) -> subprocess.Popen[str]:
        with (tmp_path / "stderr").open("w") as stderr:
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env={**os.environ, **variables},
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=True,
            )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def eventually(condition: Callable[[], bool], timeout_s: float = 15.0) -> bool:
    give_up_s = deadline(timeout_s)
    while time.monotonic() < give_up_s:
        if condition():
            return True
        time.sleep(0.05)
    return False


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def committed(bootstrap: str, topic: str) -> list[bytes]:
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        batches = await consumer.getmany(timeout_ms=5000)
        return [record.value for records in batches.values() for record in records]
    finally:
        await consumer.stop()


async def test_transactions_work_and_data_outlives_a_restart(used: Path) -> None:
    """A read_committed consumer reads committed records and no aborted ones, also after a restart."""
    async with EmbeddedKafka(used, java_options=SHORT_LIVED) as kafka:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic("kept", 1, 1)])
        await admin.close()
        producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id="t", compression_type="lz4")
        await producer.start()
        await producer.begin_transaction()
        await producer.send("kept", b"aborted")
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send("kept", b"committed")
        await producer.stop()
        assert await committed(kafka.bootstrap, "kept") == [b"committed"]

        before = kafka.bootstrap
        kafka.stop()
        assert not kafka.alive
        assert is_gone(kafka.pid)
        kafka.stop()  # a second stop is harmless
        assert kafka.start() == before
        assert await committed(kafka.bootstrap, "kept") == [b"committed"]


def test_a_kill_9_of_the_starting_process_ends_the_broker(
    used: Path, run: Callable[..., subprocess.Popen[str]]
) -> None:
    """Within seconds, and cleanly; another start waits for it and does not report a conflict."""
    parent = run("-c", START_AND_WAIT, str(used))
    pid = int(first_line(parent).split()[0])
    log_size = (used / "broker.log").stat().st_size
    parent.kill()

    DataLock(used, patience_s=15.0).close()
    assert eventually(lambda: is_gone(pid), timeout_s=1)
    assert "shutting down" in (used / "broker.log").read_text()[log_size:].lower()


def test_it_depends_on_the_process_and_the_supervisor_but_not_on_the_thread_that_started_it(used: Path) -> None:
    """The thread may belong to a pool, and no broker is left unsupervised."""
    kafka = EmbeddedKafka(used, java_options=SHORT_LIVED)
    starter = threading.Thread(target=kafka.start)
    starter.start()
    starter.join()
    try:
        time.sleep(1)
        assert kafka.alive
        assert probe.answers(*address(kafka))
        assert kafka._process is not None
        os.kill(kafka._process.pid, signal.SIGKILL)
        assert eventually(lambda: is_gone(kafka.pid))
        assert not kafka.alive
    finally:
        kafka.stop()


def test_a_killed_broker_is_noticed_and_can_be_started_again(used: Path) -> None:
    with EmbeddedKafka(used, java_options=SHORT_LIVED) as kafka:
        os.kill(kafka.pid, signal.SIGKILL)
        assert kafka.wait(stretched(5))
        assert "killed" in str(kafka.failure())
        assert str(kafka.log_path) in str(kafka.failure())
        kafka.start()
        assert probe.answers(*address(kafka))


def test_a_taken_port_is_named_with_the_cure(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ExpectedError, match=rf"port {port} .*is taken.*--port"):
            EmbeddedKafka(tmp_path / "data", port=port).start()
    assert not (tmp_path / "data").exists()


def test_a_port_taken_at_the_last_moment_is_replaced_where_the_choice_was_ours(
    used: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port may be taken between its choice and its use."""
    with socket.create_server(("127.0.0.1", machine.free_port())) as other:
        taken = other.getsockname()[1]
        free_port, offered = machine.free_port, iter([taken])
        monkeypatch.setattr(machine, "free_port", lambda besides=(): next(offered, None) or free_port(besides))
        lies, port_is_free = iter([True]), machine.port_is_free
        monkeypatch.setattr(machine, "port_is_free", lambda port: next(lies, False) or port_is_free(port))
        with EmbeddedKafka(used, java_options=SHORT_LIVED) as kafka:
            assert kafka.bootstrap != f"127.0.0.1:{taken}"


def test_a_second_broker_on_the_same_data_is_refused(kafka: SharedKafka) -> None:
    with pytest.raises(
        ExpectedError, match=rf"in use by another broker, started by process {kafka.owner}; .*--data-dir"
    ):
        EmbeddedKafka(kafka.data_dir).start()
    assert kafka.alive


def test_a_folder_with_other_things_is_not_taken_for_data(tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    (tmp_path / "kafka" / "holiday.jpg").touch()
    with pytest.raises(ExpectedError, match="is not the data of a Kafka node"):
        EmbeddedKafka(tmp_path).start()


def test_a_corrupted_jar_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one flipped bit in one jar, none of it is run."""
    folder = tmp_path / "jars"
    folder.mkdir()
    for path in jars.ensure_jars(print):
        os.link(path, folder / path.name) if path.stat().st_dev == folder.stat().st_dev else shutil.copy(path, folder)
    victim = folder / jars.locked_jars()[7].file_name
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.unlink()
    victim.write_bytes(content)
    monkeypatch.setenv("MILESTONES_JARS", str(folder))

    with pytest.raises(ExpectedError, match=rf"{victim.name} is not the .* that the lock names.*remove the file"):
        EmbeddedKafka(tmp_path / "data").start()
    assert not (tmp_path / "data" / "broker.log").exists()


def test_a_full_disk_is_told_before_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free_disk_mb", lambda _path: 100)
    with pytest.raises(ExpectedError, match=r"100 MiB free, .* needs 512 MiB; free some space"):
        EmbeddedKafka(tmp_path).start()


def test_short_memory_is_told_before_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "available_memory_mb", lambda: 200)
    with pytest.raises(ExpectedError, match=r"needs about 378 MiB of memory and 200 MiB are available; close"):
        EmbeddedKafka(tmp_path).start()


def test_a_heap_that_cannot_be_had_is_explained_from_the_log(used: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Java's own complaint becomes one line with the cure and the place of the log."""
    monkeypatch.setattr(machine, "available_memory_mb", lambda: None)
    with pytest.raises(ExpectedError, match=r"memory is short.*log: .*broker\.log"):
        EmbeddedKafka(used, heap_mb=1_000_000_000).start()


def test_stop_ends_a_start_that_is_under_way(used: Path) -> None:
    kafka = EmbeddedKafka(used)
    failures: list[ExpectedError] = []

    def start() -> None:
        try:
            kafka.start()
        except ExpectedError as error:
            failures.append(error)

    starter = threading.Thread(target=start)
    starter.start()
    assert eventually(lambda: kafka.alive)
    kafka.stop()
    starter.join()
    assert not kafka.alive
    assert "stopped while it was starting" in str(failures[0])


def test_the_command_says_ready_and_ends_with_130_on_ctrl_c(
    used: Path, run: Callable[..., subprocess.Popen[str]]
) -> None:
    command = run("-m", "streams", "broker", "--data-dir", str(used), "--port", str(machine.free_port()))
    word, bootstrap = first_line(command).split()
    assert word == "ready"
    host, port = bootstrap.split(":")
    assert probe.answers(host, int(port))

    command.send_signal(signal.SIGINT)
    assert command.wait(stretched(20)) == 130
    assert not probe.answers(host, int(port))
    assert command.stdout is not None
    assert command.stdout.read() == ""


def test_the_command_ends_with_0_on_sigterm_and_leaves_no_temporary_data(
    tmp_path: Path, run: Callable[..., subprocess.Popen[str]]
) -> None:
    command = run("-m", "streams", "broker", TMPDIR=str(tmp_path))
    assert first_line(command).startswith("ready 127.0.0.1:")
    assert len(list(tmp_path.glob("milestones-kafka-*"))) == 1
    command.terminate()
    assert command.wait(stretched(20)) == 0
    assert not list(tmp_path.glob("milestones-kafka-*"))


def test_the_command_tells_when_the_broker_has_died(
    used: Path, tmp_path: Path, run: Callable[..., subprocess.Popen[str]]
) -> None:
    command = run("-m", "streams", "broker", "--data-dir", str(used), "--port", str(machine.free_port()))
    assert first_line(command).startswith("ready")
    supervisor = psutil.Process(command.pid).children()[0]
    supervisor.children()[0].kill()
    assert command.wait(stretched(20)) == 3
    last = (tmp_path / "stderr").read_text().splitlines()[-1]
    assert last.startswith("milestones: the embedded Kafka failed: it was killed")


def test_ctrl_c_at_the_terminal_does_not_reach_the_broker(kafka: SharedKafka) -> None:
    """It goes to the foreground process group, where the clients must close before their broker."""
    assert os.getpgid(kafka.pid) != os.getpgrp()


def test_it_listens_on_the_loopback_address_only(kafka: SharedKafka) -> None:
    """For clients and for its own controller, and nowhere else."""
    listening = [
        connection.laddr.ip
        for connection in psutil.Process(kafka.pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) == 2
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}


def address(kafka: EmbeddedKafka) -> tuple[str, int]:
    host, port = kafka.bootstrap.split(":")
    return host, int(port)
