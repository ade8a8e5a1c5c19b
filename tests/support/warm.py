"""Commands and services as processes forked from one that has loaded their modules, because tests start hundreds of them.

A process differs from one that a user starts only in that its imports are done: it has its own arguments, environment,
directory and output, its signals and exit code, and ends as the interpreter ends. Variables that Python or a library reads
before that (`_READ_EARLY`) cannot be set for it; if one of these differs, coverage is measured, or a test asks for it, a
process is started from scratch. Each command and service is started that way by some test.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).parents[2]
#: Modules that take time to import, and bring nearly everything else that commands and services import.
_LOADED = ("streams.app", "streams.web.app", "streams.web.server")
_READ_EARLY = re.compile(r"PYTHON|LC_|LANG|TZ$|LD_|COVERAGE|FAUST|F_|MALLOC|OPENSSL|SSL|MILESTONES_HOT_PATH")
_MEASURED = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")
_LONGEST = 1 << 20


# The process that has loaded the modules. -----------------------------------------------------------------------------


def _load() -> None:
    from streams.cli import COMMANDS  # noqa: PLC0415 - not where processes are only started

    for name in (*_LOADED, *COMMANDS.values()):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # so that collections do not copy the pages that processes share


def _serve(asked: socket.socket) -> dict[str, Any] | None:
    """Forks on request and reports how children end; returns in each child, with the request, and at the end."""
    heard, hear = os.pipe()
    for end in (heard, hear):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(hear)
    before = signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        waiting: list[Any] = [asked, heard]
        ready, _, _ = select.select(waiting, [], [])
        if heard in ready:
            os.read(heard, 4096)
            _tell_ends(asked)
        if asked not in ready:
            continue
        text, files, _, _ = socket.recv_fds(asked, _LONGEST, 3)
        if not text:
            return None
        child = os.fork()
        if not child:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, before)
            for end in (heard, hear):
                os.close(end)
            asked.close()
            for number, file in enumerate(files):
                os.dup2(file, number)
                os.close(file)
            wanted: dict[str, Any] = json.loads(text)
            return wanted
        for file in files:
            os.close(file)
        asked.send(json.dumps({"started": child}).encode())


def _tell_ends(asked: socket.socket) -> None:
    while True:
        try:
            child, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not child:
            return
        asked.send(json.dumps({"ended": child, "code": os.waitstatus_to_exitcode(status)}).encode())


def _become(wanted: dict[str, Any]) -> None:
    """Sets up everything specific to this process, as `python -m MODULE` would."""
    import runpy  # noqa: PLC0415 - see `_load`

    if wanted["alone"]:
        os.setsid()
    os.chdir(wanted["cwd"])
    os.environ.clear()
    os.environ.update(wanted["env"])
    sys.path[0] = wanted["cwd"]
    sys.argv = ["", *wanted["arguments"]]
    runpy.run_module(wanted["module"], run_name="__main__", alter_sys=True)


# The processes that have others started. ------------------------------------------------------------------------------


class Process:
    """A process that was forked; like a `subprocess.Popen` as far as tests use one."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = threading.Event()

    def end(self, code: int) -> None:
        """Notes that it has ended."""
        self.returncode = code
        self._ended.set()

    def poll(self) -> int | None:
        """Its exit code, if it has ended."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits until it has ended; returns its exit code.

        Raises:
            subprocess.TimeoutExpired: It is still running.
        """
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Sends a signal, unless it has ended."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it has, and its end has not been told yet
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Sends SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Sends SIGKILL."""
        self.send_signal(signal.SIGKILL)


class _Forking:
    """The process that has loaded the modules, as seen from this one, with which it ends."""

    def __init__(self) -> None:
        self.read_early = _read_early(os.environ)
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.warm", str(its.fileno())],
                cwd=ROOT,
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._socket = ours
        self._asking = threading.Lock()
        self._answered = threading.Condition()
        self._started: list[Process] = []
        self._running: dict[int, Process] = {}
        self._is_over = False
        threading.Thread(target=self._listen, name="forking", daemon=True).start()

    def start(self, wanted: dict[str, Any], files: Sequence[int]) -> Process:
        """Requests a forked process."""
        with self._asking:
            socket.send_fds(self._socket, [json.dumps(wanted).encode()], list(files))
            with self._answered:
                self._answered.wait_for(lambda: self._started or self._is_over)
                assert self._started, "the process that forks others has ended"
                return self._started.pop()

    def close(self) -> None:
        """Ends it; processes that it has started keep running."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._process.wait()

    def _listen(self) -> None:
        while True:
            try:
                text = self._socket.recv(_LONGEST)
            except OSError:
                text = b""
            with self._answered:
                if not text:
                    self._is_over = True
                    self._answered.notify_all()
                    return
                said = json.loads(text)
                if "started" in said:
                    process = self._running[said["started"]] = Process(said["started"])
                    self._started.append(process)
                    self._answered.notify_all()
                else:
                    self._running.pop(said["ended"]).end(said["code"])


_guard = threading.Lock()
_forking: _Forking | None = None


def _the_forking() -> _Forking:
    global _forking  # noqa: PLW0603 - one for this process
    with _guard:
        if _forking is None:
            _forking = _Forking()
            atexit.register(_forking.close)
        return _forking


def _read_early(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if _READ_EARLY.match(name)}


def start(  # what a process is made of
    module: str,
    *arguments: str,
    environment: Mapping[str, str],
    out: IO[Any],
    err: IO[Any],
    cwd: Path = ROOT,
    alone: bool = False,
    cold: bool = False,
) -> Process | subprocess.Popen[Any]:
    """Starts `python -m MODULE ARGUMENTS`.

    Args:
        module: A module of this tree.
        arguments: Its command line arguments.
        environment: The whole environment.
        out: Its standard output.
        err: Its standard error.
        cwd: Where it runs.
        alone: Whether it leads a session, so that it can be killed with its children.
        cold: Whether it imports everything itself, as a user's process does.
    """
    is_measured = any(name in environment for name in _MEASURED)
    if cold or is_measured or _read_early(environment) != _the_forking().read_early:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=alone,
        )
    wanted = {"module": module, "arguments": arguments, "env": dict(environment), "cwd": str(cwd), "alone": alone}
    with Path(os.devnull).open("rb") as nothing:
        return _the_forking().start(wanted, [nothing.fileno(), out.fileno(), err.fileno()])


if __name__ == "__main__":
    _asked = socket.socket(fileno=int(sys.argv[1]))
    _load()
    _wanted = _serve(_asked)
    if _wanted is not None:
        _become(_wanted)
