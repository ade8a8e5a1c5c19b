"""Runs the web view: binds, serves until a signal, and closes within seconds."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
from typing import TYPE_CHECKING, Final

import uvicorn

from streams.errors import ExpectedError
from streams.web.app import create_app
from streams.web.security import Access, access_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streams.settings import Settings

#: Requests still running after this are cut off; streams end at once.
_GRACE_S: Final = 2
_KEEP_ALIVE_S: Final = 15
_TICK_S: Final = 1.0
_EXIT_CODES: Final = {signal.SIGINT: 130, signal.SIGTERM: 0}
_MAX_HEAD_BYTES: Final = 16 * 1024


class _Server(uvicorn.Server):
    """uvicorn's server with our own signal handling: uvicorn would raise the signal again at the end.

    Attributes:
        on_started: Called once it listens.
        broken: Polled every second; whether the server must end.
        ending: Set to make it check `should_exit`.
    """

    on_started: Callable[[], None]
    broken: Callable[[], bool]
    ending: asyncio.Event

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals alone."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts listening, and says so."""
        await super().startup(sockets)
        self.on_started()

    async def main_loop(self) -> None:
        """Serves until it is asked to end; uvicorn's own version polls ten times a second."""
        # At each multiple of ten, uvicorn updates the date of its responses.
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ending.wait(), _TICK_S)

    async def on_tick(self, counter: int) -> bool:
        """Whether to end, on request or because a background task has failed."""
        return await super().on_tick(counter) or self.broken()


def serve(settings: Settings, say: Callable[[str], None], *, fresh: bool = False) -> int:
    """Serves until a signal; returns the exit code.

    Args:
        settings: The settings of the cluster and of the web view.
        say: Called with the address once it listens.
        fresh: Whether to reload templates and static files on each request, for development.

    Raises:
        ExpectedError: The address must not be bound, or cannot be.
    """
    access = access_of(settings)
    with _bound(access) as listener:
        return asyncio.run(_serve(settings, access, listener, say, fresh=fresh))


async def _serve(
    settings: Settings, access: Access, listener: socket.socket, say: Callable[[str], None], *, fresh: bool
) -> int:
    web = create_app(settings, access, fresh=fresh)
    config = uvicorn.Config(
        web.asgi,
        lifespan="on",
        http="h11",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=settings.web_max_connections,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,
        h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
    )
    server = _Server(config)
    server.ending = asyncio.Event()
    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        web.hub.close()
        server.should_exit = True
        server.force_exit = len(codes) > 1
        server.ending.set()

    loop = asyncio.get_running_loop()
    for number, code in _EXIT_CODES.items():
        loop.add_signal_handler(number, end, code)

    def started() -> None:
        # Otherwise garbage collections during requests would scan all loaded modules, a tenth of a second each.
        gc.collect()
        gc.freeze()
        say(f"web view at {_url(listener)}")

    server.on_started = started
    server.broken = lambda: bool(web.failures)
    await server.serve(sockets=[listener])
    # If it ends during its start, or by a second signal, uvicorn does not shut down the application, whose tasks would then end with the
    # event loop and a traceback. A second shutdown does nothing.
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(server.lifespan.shutdown(), _GRACE_S)
    return codes[0] if codes else int(bool(web.failures))


@contextlib.contextmanager
def _bound(access: Access) -> Iterator[socket.socket]:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            access.host, access.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ExpectedError(f"web_bind: {access.host} is no address of this machine: {error.strerror}") from None
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(1024)
        except OSError as error:
            raise ExpectedError(
                f"web_bind: {access.host}:{access.port} cannot be bound: {os.strerror(error.errno or 0)}; "
                "name another with --bind HOST:PORT, or port 0 for a free one"
            ) from None
        listener.setblocking(False)  # noqa: FBT003 - its only argument
        yield listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
