"""Runs one child process that must not outlive another: `supervisor.py PARENT_PID GRACE_S LOCK_FD COMMAND...`.

A killed process cannot stop its children, and kernels differ in their help: Linux can signal a child when the *thread* that
started it ends, macOS cannot at all. So this small process stands in between: its standard input is the read end of a pipe whose
other end only the parent has. When the parent ends, however it ends, the pipe closes, and the child is asked to stop (SIGTERM) and
after `GRACE_S` seconds forced to (SIGKILL). If a fork of the parent still holds the pipe, the changed parent id tells the same.

The descriptor `LOCK_FD` is passed on, so that a file lock taken on it holds until the child, too, has ended. The first line on
standard output is the child's process id. The supervisor exits as the child did: with its exit code, or 128 + signal. It runs by
path under `python -I -S` and imports only the standard library, so that it starts in a few hundredths of a second whatever the
environment.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time

_PR_SET_PDEATHSIG = 1
_CHECK_INTERVAL_S = 0.5
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(arguments: list[str]) -> int:
    """Runs the command until it ends or is no longer wanted; returns the exit code."""
    parent_pid, grace_s, lock_fd, command = int(arguments[0]), float(arguments[1]), int(arguments[2]), arguments[3:]
    wake = _wake_on_signals()
    child = _start(command, lock_fd)
    with contextlib.suppress(BrokenPipeError):  # the parent ended at once: the loop below sees it
        print(child.pid, flush=True)  # noqa: T201 - the protocol with the parent
    _await_reason_to_stop(child, parent_pid, wake)
    os.ftruncate(lock_fd, 0)  # the lock no longer has an owner: others need only wait, not give up
    return _stop(child, grace_s)


def _wake_on_signals() -> int:
    """Makes the returned descriptor readable on signals, and when the child ends."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in (*_STOP_SIGNALS, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    return reading


def _start(command: list[str], lock_fd: int) -> subprocess.Popen[bytes]:
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def die_with_the_supervisor() -> None:
        # Tied to the thread that starts the child; this process has only one.
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return subprocess.Popen(  # noqa: S603 - the command is the caller's
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        pass_fds=[lock_fd],
        preexec_fn=die_with_the_supervisor,  # noqa: PLW1509 - safe: there is one thread
    )


def _await_reason_to_stop(child: subprocess.Popen[bytes], parent_pid: int, wake: int) -> None:
    while child.poll() is None and os.getppid() == parent_pid:
        readable, _, _ = select.select([sys.stdin.fileno(), wake], [], [], _CHECK_INTERVAL_S)
        if sys.stdin.fileno() in readable and not os.read(sys.stdin.fileno(), 1024):
            return
        if wake in readable and not {*_STOP_SIGNALS}.isdisjoint(os.read(wake, 1024)):
            return


def _stop(child: subprocess.Popen[bytes], grace_s: float) -> int:
    if child.poll() is None:
        child.terminate()
    deadline = time.monotonic() + grace_s
    try:
        code = child.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        child.kill()
        code = child.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
