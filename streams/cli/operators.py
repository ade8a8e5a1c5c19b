"""Who gives a command, for the notes that operators leave behind."""

from __future__ import annotations

import getpass
import os
import socket


def operator() -> str:
    """User and host, as far as the machine knows."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
