"""One embedded Kafka for all processes of a test run: the process that distributes the tests starts it on first request."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil

from streams.embedded.broker import EmbeddedKafka
from streams.embedded.java import SHORT_LIVED
from streams.errors import ExpectedError

if TYPE_CHECKING:
    from collections.abc import Iterator

_ASKING = 64


class SharedKafka(NamedTuple):
    """A broker that is used by many tests, possibly in several processes.

    Attributes:
        bootstrap: Its `HOST:PORT`.
        data_dir: Its data directory.
        pid: Its process id.
        owner: Id of the process that has started it.
    """

    bootstrap: str
    data_dir: Path
    pid: int
    owner: int

    @classmethod
    def of(cls, broker: EmbeddedKafka) -> SharedKafka:
        """A running broker that was started by this process."""
        return cls(broker.bootstrap, broker.data_dir, broker.pid, os.getpid())

    @property
    def alive(self) -> bool:
        """Whether its process is running."""
        return psutil.pid_exists(self.pid)

    def last_words(self) -> str:
        """The end of its log."""
        return (self.data_dir / "broker.log").read_text(errors="replace")[-3000:]


class Lender:
    """Tells the processes of a run where the broker is; a thread that runs until it is closed."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="milestones-tests-")
        self._broker = EmbeddedKafka(Path(self._folder.name) / "kafka", java_options=SHORT_LIVED)
        self._listener = Listener(str(Path(self._folder.name) / "lender"), "AF_UNIX", backlog=_ASKING)
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="lender", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """The address for `borrowed`."""
        return str(self._listener.address)

    def close(self) -> None:
        """Stops the broker, if one was started, and removes its data."""
        self._closing = True
        with contextlib.suppress(OSError):
            Client(self.address, "AF_UNIX").close()  # wakes the thread
        self._thread.join()
        self._listener.close()
        self._broker.stop()
        self._folder.cleanup()

    def _serve(self) -> None:
        while True:
            with self._listener.accept() as asking:
                if self._closing:
                    return
                with contextlib.suppress(OSError):  # the process that asked has ended
                    asking.send(self._answer())

    def _answer(self) -> SharedKafka | str:
        try:
            self._broker.start()
        except ExpectedError as error:
            return str(error)
        return SharedKafka.of(self._broker)


@contextlib.contextmanager
def borrowed(address: str) -> Iterator[SharedKafka]:
    """The broker of a lender, which starts it on the first request.

    Raises:
        ExpectedError: It cannot be started.
    """
    with Client(address, "AF_UNIX") as lender:
        answer = lender.recv()
    if isinstance(answer, str):
        raise ExpectedError(answer)
    yield answer


@contextlib.contextmanager
def started(folder: Path) -> Iterator[SharedKafka]:
    """A broker for this process alone."""
    with EmbeddedKafka(folder, java_options=SHORT_LIVED) as broker:
        yield SharedKafka.of(broker)


def main() -> None:
    """Starts a broker and stops it: afterwards the machine has its jars, its classes in an archive, and a formatted directory."""
    with tempfile.TemporaryDirectory(prefix="milestones-tests-") as folder, started(Path(folder)):
        pass


if __name__ == "__main__":
    main()
