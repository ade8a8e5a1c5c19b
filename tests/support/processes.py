"""Runs a command to its end, and with it everything that it has started when it takes too long."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

from tests.support.patience import stretched

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def run(
    arguments: Sequence[str], *, cwd: Path, timeout_s: float, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """What the command has said as text, and its exit code.

    A child that outlives the command would keep its pipes open, and `subprocess.run` would wait for them for ever.

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
