"""`milestones broker`: runs only the embedded Kafka, in the foreground."""

from __future__ import annotations

import shutil
import signal
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streams.cli.options import FilePath, WholeNumber
from streams.embedded.broker import EmbeddedKafka
from streams.embedded.machine import port_is_free
from streams.settings_file import refuse_impossible_variables

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

#: The port that clients use by default.
_USUAL_PORT = 9092


class _TerminatedError(BaseException):
    """SIGTERM has arrived. Not an Exception, so that no error handler catches it."""


@click.command()
@click.option(
    "--data-dir",
    type=FilePath(file_okay=False),
    help="Where the data is kept for the next start (default: a temporary directory that is removed at the end).",
)
@click.option(
    "--port",
    type=WholeNumber(1, 65535),
    help=f"Port to listen on (default: {_USUAL_PORT}, where the other commands look for Kafka, else a free one).",
)
def command(data_dir: Path | None, port: int | None) -> int:
    """Run Apache Kafka on this machine until Ctrl-C or SIGTERM.

    Prints `ready HOST:PORT` on stdout when it answers. It listens on 127.0.0.1 only.
    """
    refuse_impossible_variables()
    try:
        with _sigterm_raises(), _directory(data_dir) as directory:
            _serve(EmbeddedKafka(directory, port=port or _usual_port(), log=_say))
    except _TerminatedError:
        return 0
    return 0


def _usual_port() -> int | None:
    return _USUAL_PORT if port_is_free(_USUAL_PORT) else None


def _serve(kafka: EmbeddedKafka) -> None:
    """Runs the broker until a signal arrives.

    Raises:
        ExpectedError: It cannot start, or has exited by itself.
    """
    with kafka:
        click.echo(f"ready {kafka.bootstrap}")
        _say(f"data and log are in {kafka.data_dir}; Ctrl-C stops the broker")
        kafka.wait()
        raise kafka.failure()


@contextmanager
def _directory(given: Path | None) -> Iterator[Path]:
    """The directory given, else a temporary one, which is kept after a failure because it holds the log."""
    if given is not None:
        yield given
        return
    directory = Path(tempfile.mkdtemp(prefix="milestones-kafka-"))
    try:
        yield directory
    except (KeyboardInterrupt, _TerminatedError):
        shutil.rmtree(directory, ignore_errors=True)
        raise


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    def terminate(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second signal must not interrupt the shutdown
        raise _TerminatedError

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _say(line: str) -> None:
    click.echo(line, err=True)
