"""The web view in the test's own process, without brokers: it has read what the test gives it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from typing import TYPE_CHECKING, Any, Self

import httpx
import uvicorn

from streams.settings import Settings
from streams.web.app import create_app
from streams.web.readmodel import Feed
from streams.web.security import access_of
from tests.support.outputs import Record, row_record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from streams.web.context import Web


class _Server(uvicorn.Server):
    on_started: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.on_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Site:
    """Pages and API by address; a context manager.

    Args:
        folder: For what is kept between two runs.
        settings: Any settings.
    """

    def __init__(self, folder: Path, **settings: Any) -> None:
        given: dict[str, Any] = {"state_dir": str(folder), "web_rate_per_s": 1000.0}
        chosen = Settings(**(given | settings))
        self.app = create_app(chosen, access_of(chosen))
        self.web: Web = self.app.web
        self._works = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.web.model.close()

    def read(self, feed: Feed, *records: Record) -> None:
        """Makes the site read these records."""
        self.web.model.apply([(feed, records)])

    def at(self, instant: str) -> None:
        """Moves the clock to an instant, if events are the clock: a source has sent an event then."""
        text = f'{{"source":"/s","last_event_at":"{instant}","updated_at":"{instant}"}}'
        self.read(Feed.STATUS, Record(b"source/%2Fs", text.encode(), 99))

    def rows(self, *documents: dict[str, Any]) -> None:
        """Makes the site read these rows, after which everything has been read."""
        self.read(Feed.WINDOWS, *(row_record(each, place) for place, each in enumerate(documents)))
        self.complete()

    def complete(self, *, age_s: float = 0.0) -> None:
        """Makes the site complete: everything was read `age_s` seconds ago, and the brokers answer now."""
        self.web.model.loaded()
        now_s = time.monotonic()
        self.web.state.broker_seen_s, self.web.state.caught_up_s, self.web.state.problem = now_s, now_s - age_s, ""

    def worker(self, *, partition_lag: int = 0, ago_s: float = 0.0) -> None:
        """Reports a worker of one partition; while the site is served, it keeps reporting."""
        self._works = True
        at = "2024-10-07T10:00:00.000Z"
        books = {"vehicle.deliveries.v1": {"read": 1, "applied": 1, "duplicates": 0, "dead_letters": 0, "rerouted": 0}}
        worker = {"name": "w1", "health": "running", "partitions": [0], "started_at": at, "updated_at": at}
        partition: dict[str, Any] = {
            "partition": 0,
            "instance": "w1",
            "applied": {"vehicle.deliveries.v1": 1},
            "lag": {"vehicle.deliveries.v1": partition_lag},
            "caught_up": True,
            "rebuilding": False,
            "orders": 1,
            "books": books,
            "updated_at": at,
        }
        sent_ms = int((time.time() - ago_s) * 1000)
        self.read(
            Feed.STATUS,
            Record(b"worker/w1", json.dumps(worker).encode(), timestamp=sent_ms),
            Record(b"partition/0", json.dumps(partition).encode(), offset=1, timestamp=sent_ms),
        )

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        """Listens for browsers, with a clock that runs as if brokers answered; yields the address, without a trailing slash."""
        config = uvicorn.Config(self.app.asgi, lifespan="off", http="h11", ws="none", log_config=None, port=0)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            server, started = _Server(config), asyncio.Event()
            server.on_started = started.set
            tasks = [
                asyncio.create_task(server.serve(sockets=[listener])),
                asyncio.create_task(self.app.hub.run()),
                asyncio.create_task(self._stay_complete()),
            ]
            try:
                await started.wait()
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                self.app.hub.close()
                server.should_exit = server.force_exit = True
                await tasks[0]
                for task in tasks[1:]:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _stay_complete(self) -> None:
        while True:
            if self.web.state.rebuilt:
                self.complete()
                if self._works:
                    self.worker()
            await asyncio.sleep(0.5)

    async def get(self, path: str, **headers: str) -> httpx.Response:
        """The response to a request."""
        transport = httpx.ASGITransport(self.app.asgi, client=("127.0.0.1", 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as asked:
            return await asked.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})
