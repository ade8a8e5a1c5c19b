"""Does not resend answers that a client already has: `If-None-Match` and 304."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Conditional:
    """Sends 304 without a body if the client already has the answer with this `ETag`; an ASGI application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on the request."""
        had = b"".join(value for name, value in scope.get("headers", ()) if name == b"if-none-match")
        if scope["type"] != "http" or not had:
            await self._app(scope, receive, send)
            return
        is_known = False

        async def unless_known(message: Message) -> None:
            nonlocal is_known
            if message["type"] == "http.response.start" and message["status"] == 200:
                headers = dict(message["headers"])
                is_known = b"etag" in headers and (had == b"*" or headers[b"etag"] in had)
                if is_known:
                    kept = [pair for pair in message["headers"] if pair[0] not in {b"content-length", b"content-type"}]
                    message = {**message, "status": 304, "headers": kept}
            elif message["type"] == "http.response.body" and is_known:
                message = {**message, "body": b""}
            await send(message)

        await self._app(scope, receive, unless_known)
