"""Processes that the tests run: a command that takes too long ends with its children, a paused process stops."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.support import processes
from tests.support.time_limits import stretched

if TYPE_CHECKING:
    from pathlib import Path

#: Prints the pid of a child that keeps stdout open, and waits.
WITH_CHILD = """
import subprocess, sys, time
print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid, flush=True)
time.sleep(600)
"""
BUSY = """
import threading, time
for _ in range(8):
    threading.Thread(target=lambda: [time.sleep(0.001) for _ in range(600_000)], daemon=True).start()
print("busy", flush=True)
time.sleep(600)
"""


def is_running(number: int) -> bool:
    """Whether a process is running; a zombie, whose exit code nobody has read, is not."""
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_command_that_takes_too_long_ends_with_what_it_has_started(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(AssertionError, match="did not end within") as given_up:
        processes.run([sys.executable, "-c", WITH_CHILD], cwd=tmp_path, timeout_s=2)
    assert time.monotonic() - started < 300
    child = int(str(given_up.value).splitlines()[-2])
    # The signal has been sent; the kernel takes a moment to end the process.
    until_s = time.monotonic() + stretched(10)
    while is_running(child):
        assert time.monotonic() < until_s, f"process {child} goes on"
        time.sleep(0.02)


def test_no_thread_of_a_paused_process_runs(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", BUSY], cwd=tmp_path, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            asyncio.run(processes.pause(process.pid))
            threads = psutil.Process(process.pid).threads()
            assert len(threads) > 8
            assert {psutil.Process(thread.id).status() for thread in threads} == {psutil.STATUS_STOPPED}
        finally:
            process.kill()
