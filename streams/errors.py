"""Failures that a person can act on."""


class ExpectedError(Exception):
    """A failure reported in one line: what happened, where, and what to do.

    Args:
        message: The line; no full stop after a command.
        exit_code: 1 if a check found a difference, 2 for wrong use or settings, 3 if the cluster is unreachable or refuses.
    """

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class UnreachableError(ExpectedError):
    """The cluster, or a leader, does not answer; it may later, so a worker tries again. Exit code 3."""

    def __init__(self, message: str) -> None:
        super().__init__(message, exit_code=3)


class GapError(ExpectedError):
    """Records were removed from a source before they were read; the ledger partition stops until an operator accepts that."""


class FaultyRecordError(Exception):
    """A record makes the program raise. The message names it and how to skip it; the exception's cause is the fault itself."""


class ReopenError(Exception):
    """A state must be reopened at once because something it has to know from the start has changed; the message says what."""
