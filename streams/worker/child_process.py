"""A service as a child process that does not outlive its parent, for the demo and for rebuilds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

import streams
from streams.embedded import children, supervisor
from streams.errors import ExpectedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

#: A service closes itself within 5 s of a SIGTERM.
_GRACE_S = 6.0
_TERMINAL_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class ServiceProcess:
    """A `milestones` service that logs to a file; a context manager.

    Args:
        arguments: The command line: the service's name and its options.
        directory: Where the log file goes.
        environment: The service's complete environment.
        working_directory: Where the service looks for a settings file.
    """

    def __init__(
        self, arguments: Sequence[str], directory: Path, environment: Mapping[str, str], working_directory: Path
    ) -> None:
        self._arguments = arguments
        self.log_path = directory / f"{arguments[0]}.log"
        self._lock_path = directory / f"{arguments[0]}.lock"
        # Do not mistake lines of an earlier run for those of this one.
        self._log_begins = self.log_path.stat().st_size if self.log_path.exists() else 0
        # A checkout that is not installed must be found from any directory.
        path = os.pathsep.join(filter(None, (str(Path(streams.__file__).parents[1]), environment.get("PYTHONPATH"))))
        self._environment = {**environment, "PYTHONPATH": path}
        self._working_directory = working_directory
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "streams", *self._arguments]
        with self._lock_path.open("ab") as lock, self.log_path.open("ab") as log:
            supervised = [
                *(sys.executable, "-I", "-S", supervisor.__file__),
                *(str(os.getpid()), str(_GRACE_S), str(lock.fileno())),
                *command,
            ]
            self._process = subprocess.Popen(  # noqa: S603 - our own service
                supervised,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self._working_directory,
                env=self._environment,
                pass_fds=[lock.fileno()],
                start_new_session=True,  # Ctrl-C reaches only the demo, which ends its services in order
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            children.end(self._process, _GRACE_S + 2)

    def check(self) -> None:
        """Does nothing while the service runs.

        Raises:
            ExpectedError: The service has exited; the message quotes its last line and the path of the log.
        """
        code = None if self._process is None else self._process.poll()
        if code is None:
            return
        last = _last_words(self._said())
        # Exit code 2 (wrong settings or usage) is passed on.
        exit_code = 2 if code == 2 else 3
        raise ExpectedError(f"{self._name} has ended: {last} (log: {self.log_path})", exit_code=exit_code)

    @property
    def _name(self) -> str:
        return "the web view" if self._arguments[0] == "web" else f"the {self._arguments[0]}"

    def said(self, beginning: str) -> str | None:
        """The rest of the last log line with this beginning; `None` until there is one."""
        found = [line for line in self._said().split("\n")[:-1] if line.startswith(beginning)]
        return found[-1].removeprefix(beginning) if found else None

    def _said(self) -> str:
        with self.log_path.open("rb") as log:
            log.seek(self._log_begins)
            return log.read().decode("utf-8", errors="replace")


class WorkerProcess(ServiceProcess):
    """A `milestones worker`; `instance` is its name in the group."""

    def __init__(
        self, directory: Path, environment: Mapping[str, str], working_directory: Path, *, instance: str = "demo"
    ) -> None:
        super().__init__(("worker", "--instance", instance), directory, environment, working_directory)


def _last_words(log: str) -> str:
    """The log line that says why a service ended, else its last line."""
    lines = [line for line in (_TERMINAL_CODES.sub("", each).strip() for each in log.split("\n")) if line]
    said = [line for line in lines if line.startswith("milestones: ") or " the worker ends: " in line]
    return (said or lines or ["it said nothing"])[-1].removeprefix("milestones: ")
