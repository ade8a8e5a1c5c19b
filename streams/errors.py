"""Failures a person can act on."""


class ExpectedError(Exception):
    """A failure to be told in one line: what happened, where, what to do.

    Args:
        message: The line, without a trailing full stop where a command follows.
        exit_code: 1 a check found a difference, 2 wrong use or settings, 3 the cluster is unreachable or refuses.
    """

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class GapError(ExpectedError):
    """Records were removed from a source before they were read: one ledger partition stops until an operator accepts it."""


class FaultyRecordError(Exception):
    """A record makes the program raise. The message names it and the way past it; the cause is the fault."""


class ReopenError(Exception):
    """A state is to be opened again at once: what it has to know from the start has changed. The message says what."""
