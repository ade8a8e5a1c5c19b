"""The name of the operator who runs a command, for the notes that operators leave."""

from __future__ import annotations

import getpass
import os
import socket

from streams.errors import ExpectedError

_LONGEST_LINE = 256


def one_line(text: str, option: str) -> str:
    """Checks a text from the command line that goes into a header.

    Raises:
        ExpectedError: It is empty, too long, or not one line of printable text.
    """
    if not (0 < len(text) <= _LONGEST_LINE and text.isprintable()):
        raise ExpectedError(f"{option}: give one line of 1 to {_LONGEST_LINE} printable characters")
    return text


def operator(given: str | None = None) -> str:
    """The name given with `--by`, else user and host name, if known.

    Raises:
        ExpectedError: The name cannot go into a header.
    """
    if given is not None:
        return one_line(given, "--by")
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
