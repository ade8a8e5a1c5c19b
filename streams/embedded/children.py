"""Child processes under a supervisor that ends them when the pipe to it closes."""

from __future__ import annotations

import contextlib
import subprocess


def end(process: subprocess.Popen[bytes] | subprocess.Popen[str], grace_s: float) -> int:
    """Ends a supervised child and its supervisor; kills the supervisor when that takes longer than `grace_s`.

    Returns:
        The supervisor's exit code; negative when it was killed.
    """
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    try:
        return process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
