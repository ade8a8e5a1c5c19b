"""Runs a command to its end, or kills it with everything it has started if it takes too long; pauses a process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING

import psutil

from tests.support import warm
from tests.support.time_limits import deadline, stretched

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def run(
    arguments: Sequence[str], *, cwd: Path, timeout_s: float, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a command; returns its output as text, and its exit code.

    A child that outlives the command would keep its pipes open, and `subprocess.run` would wait for them forever.

    Raises:
        AssertionError: It did not end within `timeout_s`, stretched.
    """
    with subprocess.Popen(
        arguments, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        limit_s = stretched(timeout_s)
        try:
            out, err = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            raise AssertionError(f"{arguments} did not end within {limit_s:.0f} s\n{out}\n{err}") from None
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def run_module(
    module: str, *arguments: str, env: Mapping[str, str], timeout_s: float, cold: bool = False
) -> subprocess.CompletedProcess[str]:
    """The same for `python -m MODULE ARGUMENTS`, which is forked or, with `cold`, started from scratch.

    Raises:
        AssertionError: It did not end within `timeout_s`, stretched.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = warm.start(module, *arguments, environment=env, out=out, err=err, alone=True, cold=cold)
        limit_s, is_late = stretched(timeout_s), False
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            is_late = True
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        said = []
        for file in (out, err):
            file.seek(0)
            said.append(file.read())
    assert not is_late, f"{module} {arguments} did not end within {limit_s:.0f} s\n{said[0]}\n{said[1]}"
    return subprocess.CompletedProcess([module, *arguments], process.returncode or 0, *said)


async def pause(process_id: int) -> None:
    """Stops a process with SIGSTOP and waits until none of its threads is running.

    The thread that receives the signal stops the others, which on a busy machine run on for a moment.

    Raises:
        AssertionError: It keeps running.
    """
    os.kill(process_id, signal.SIGSTOP)
    give_up_s = deadline(5)
    threads = psutil.Process(process_id).threads()
    while any(_runs(thread.id) for thread in threads):
        assert time.monotonic() < give_up_s, f"{process_id} does not stop"
        await asyncio.sleep(0.01)


def _runs(thread_id: int) -> bool:
    try:
        return psutil.Process(thread_id).status() != psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False
