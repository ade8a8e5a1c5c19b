"""The end of the web server: whenever a signal comes, the application shuts down, and the log stays empty."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest
import uvicorn

from streams.settings import Settings
from streams.web.server import _Server, serve

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """The server takes signals for itself; here it shares a process with the tests."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def once() -> None:
    asyncio.get_running_loop().call_later(0.2, os.kill, os.getpid(), signal.SIGTERM)


def twice() -> None:
    once()
    once()


def nothing() -> None:
    pass


async def ended_in_start_up(self: uvicorn.Server, sockets: list[socket.socket] | None = None) -> None:
    await uvicorn.Server.startup(self, sockets)
    self.should_exit = True


@pytest.mark.parametrize("end", [nothing, once, twice])
def test_a_signal_ends_it_without_a_word(
    end: Callable[[], None], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if end is nothing:
        monkeypatch.setattr(_Server, "startup", ended_in_start_up)
    settings = Settings(bootstrap_servers="127.0.0.1:1", web_bind="127.0.0.1:0", state_dir=str(tmp_path))
    assert serve(settings, lambda _: end()) == 0
    assert [record.getMessage() for record in caplog.records if record.name.startswith("uvicorn")] == []
