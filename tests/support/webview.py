"""A `milestones web` process, and clients of its stream."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import time
from typing import TYPE_CHECKING, Any, Self

import httpx

from tests.support import warm
from tests.support.time_limits import deadline, stretched

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

_LISTENS = re.compile(r"^web view at (http://\S+?)/$", re.MULTILINE)


class WebView:
    """The process; a context manager. `url` has no slash at its end."""

    def __init__(self, environment: dict[str, str], log: Path, *arguments: str, bind: str = "127.0.0.1:0") -> None:
        self.log = log
        self.url = ""
        with log.open("wb") as handle:
            self.process = warm.start(
                "streams", "web", "--bind", bind, *arguments, environment=environment, out=handle, err=handle
            )

    def __enter__(self) -> Self:
        give_up_s = deadline(30)
        while time.monotonic() < give_up_s:
            found = _LISTENS.search(self.log.read_text())
            if found:
                self.url = found[1]
                return self
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(f"the web view does not listen: {self.log.read_text()}")

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(stretched(10))

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Asks it to end; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(stretched(10))

    def client(self) -> httpx.AsyncClient:
        """A client of it."""
        return httpx.AsyncClient(base_url=self.url, timeout=stretched(10), limits=httpx.Limits(max_connections=None))

    async def until(self, path: str, condition: Callable[[Any], bool], timeout_s: float = 30.0) -> Any:
        """Asks for JSON until the condition holds; the answer."""
        give_up_s = deadline(timeout_s)
        async with self.client() as asked:
            while True:
                response = await asked.get(path)
                answer = response.json()
                # 503: not everything has been read yet.
                if response.status_code != 503 and condition(answer):
                    return answer
                assert time.monotonic() < give_up_s, f"{path}: {str(answer)[:2000]}\n{self.log.read_text()[-3000:]}"
                await asyncio.sleep(0.1)

    async def rebuilt(self) -> Any:
        """Waits until everything has been read; the status."""
        return await self.until("/api/v1/status", lambda status: status["reader"]["rebuilt"])


@contextlib.asynccontextmanager
async def listening(client: httpx.AsyncClient, query: str = "", **headers: str) -> AsyncIterator[AsyncIterator[Any]]:
    """The events of the stream as (name, data, id)."""
    async with client.stream("GET", f"/api/v1/stream{query}", headers=headers) as answer:
        assert answer.status_code == 200
        yield _events(answer)


async def _events(answer: httpx.Response) -> AsyncIterator[tuple[str, Any, str]]:
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield fields["event"], json.loads(fields["data"]), fields.get("id", "")
            fields = {}
