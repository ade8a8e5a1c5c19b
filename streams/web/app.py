"""Composition root of the web view: read model, follower, hub, pages, API."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from schemas.messages import Message
from streams.domain.time.zone import BusinessZone
from streams.web import api, health, pages
from streams.web.assets import Assets
from streams.web.bounded_waits import ended
from streams.web.conditional import Conditional
from streams.web.context import Web
from streams.web.orders import Orders
from streams.web.readmodel import ReadModel
from streams.web.readmodel.persistence import kept_folder
from streams.web.rendering import Pages, Visitor
from streams.web.routes import RETRY_AFTER_S, NotReadYetError
from streams.web.security import Access, Guard
from streams.web.sse import Hub
from streams.web.topic_follower import Follower
from streams.web.views.common import UnknownNameError
from streams.wrong_values import in_words

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp, Receive, Scope, Send
    from starlette.types import Message as Sent

    from streams.settings import Settings
    from streams.web.metrics import Metrics
    from streams.web.status import ServiceStatus

logger = logging.getLogger(__name__)

FOLDER: Final = Path(__file__).parent
#: What the framework says, in our words.
_OF_FRAMEWORK: Final = {
    "Not Found": Message("there is no such page"),
    "Method Not Allowed": Message("this can only be read"),
}
#: Pages are compressed on each request; level 4 would take twice as long and save three percent.
_GZIP_LEVEL: Final = 1


@dataclass(frozen=True)
class WebApplication:
    """The web view.

    Attributes:
        asgi: The ASGI application to serve.
        hub: To be closed before the server is asked to end.
        web: Its parts.
        failures: Background tasks that have ended; then the server must end, too.
    """

    asgi: ASGIApp
    hub: Hub
    web: Web
    failures: list[str]


def create_app(settings: Settings, access: Access, *, fresh: bool = False) -> WebApplication:
    """Creates the web view; it starts following the topics when it is served.

    Args:
        settings: The settings of the cluster and of the web view.
        access: Who has access.
        fresh: Whether to reload templates and static files on each request, for development.
    """
    zone, payloads = BusinessZone(settings.timezone, settings.day_starts_hour), settings.web_show_payloads
    vins, place = settings.web_show_vins, kept_folder(settings)
    model = ReadModel(
        zone, keep_payloads=payloads, keep_vins=vins, place=place, bulk=True, events=settings.clock == "events"
    )
    follower = Follower(settings, model)
    hub = Hub(lambda: web.status().model_dump_json())
    follower.changed = hub.changed
    assets = Assets(FOLDER / "static", fresh=fresh)
    renderer = Pages(
        FOLDER, assets, fresh=fresh, period_kinds=settings.period_kinds, day_starts=settings.day_starts_hour
    )
    web = Web(settings, model, follower.state, hub, renderer, Orders(settings))
    failures: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(follower.run(), name="follower"), asyncio.create_task(hub.run(), name="hub")]
        tasks.append(asyncio.create_task(web.orders.run(), name="orders"))
        preparing = asyncio.create_task(asyncio.to_thread(web.pages.prepare), name="templates")
        closing = False

        def note_end(task: asyncio.Task[None]) -> None:
            # If a background task fails, the server ends: no page is better than a page that never changes.
            if not closing:
                error = asyncio.CancelledError() if task.cancelled() else task.exception()
                logger.error("the %s has ended", task.get_name(), exc_info=error)
                failures.append(task.get_name())

        for task in tasks:
            task.add_done_callback(note_end)
        try:
            yield
        finally:
            closing = True
            hub.close()
            await ended([*tasks, preparing])
            model.close()

    app = FastAPI(
        title="Milestones",
        version="1",
        description="Window rows, milestones, forecasts and the state of the service, from its output topics.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.include_router(health.router(web))
    app.include_router(api.router(web))
    app.include_router(pages.router(web))
    _add_documents(app, web, assets)
    _add_errors(app, web)
    inner = _Timed(GZipMiddleware(Conditional(app), compresslevel=_GZIP_LEVEL), web.metrics)
    return WebApplication(
        Guard(inner, access, rate_per_s=settings.web_rate_per_s, words=web.pages.words, login=web.pages.login),
        hub,
        web,
        failures,
    )


def _add_documents(app: FastAPI, web: Web, assets: Assets) -> None:
    @cache
    def document() -> dict[str, Any]:
        made = app.openapi()
        # Without a token in the settings, clients need none.
        bearer = {"type": "http", "scheme": "bearer", "description": "web_token, where one is set"}
        made.setdefault("components", {})["securitySchemes"] = {"token": bearer}
        return {**made, "servers": [{"url": "/"}], "security": [{}, {"token": []}]}

    @app.get("/static/{name:path}", include_in_schema=False)
    def static(name: str, request: Request) -> Response:
        return assets.respond(name, request)

    @app.get("/favicon.ico", include_in_schema=False)
    def favicon(request: Request) -> Response:
        return assets.respond("favicon.ico", request)

    @app.get("/api/v1/openapi.json", include_in_schema=False)
    def openapi() -> Response:
        return JSONResponse(document(), headers={"cache-control": "no-cache"})

    @app.get("/api", include_in_schema=False)
    def documentation(request: Request) -> Response:
        return web.pages.render("api.html", Visitor(request), {"document": document(), "status": web.status()})


def _add_errors(app: FastAPI, web: Web) -> None:
    def answer(
        request: Request, code: int, message: str, headers: dict[str, str] | None = None, *, parameter: str = ""
    ) -> Response:
        path = request.url.path
        if path.startswith(("/api/", "/healthz", "/readyz", "/metrics")):
            named = {"parameter": parameter} if parameter else {}
            return JSONResponse({"detail": message, **named}, code, headers)
        if path.startswith("/static/"):
            return PlainTextResponse(f"{message}\n", code, headers)
        context = {"code": code, "message": message, "status": web.status()}
        response = web.pages.render("error.html", Visitor(request), context, status=code)
        response.headers.update(headers or {})
        return response

    @app.exception_handler(HTTPException)
    def refused(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers) if error.headers else None
        detail = _OF_FRAMEWORK.get(error.detail, error.detail)
        return answer(request, error.status_code, detail, headers)

    @app.exception_handler(NotReadYetError)
    def reading(request: Request, _error: NotReadYetError) -> Response:
        status, again = web.status(), {"retry-after": str(RETRY_AFTER_S)}
        if request.url.path.startswith("/api/"):
            return JSONResponse({"detail": _reading_line(status)}, 503, again)
        response = web.pages.render("reading.html", Visitor(request), {"status": status})
        response.headers.update(again | {"cache-control": "no-store"})
        return response

    @app.exception_handler(UnknownNameError)
    def unknown(request: Request, error: UnknownNameError) -> Response:
        return answer(request, 404, error.message, parameter=error.parameter)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        # What follows is the place in a list, or a name of the library's.
        where = str(first["loc"][1])
        message = Message("%(where)s: %(what)s", where=where, what=in_words(first))
        return answer(request, 422, message, parameter=where)

    @app.exception_handler(Exception)
    def broken(request: Request, _error: Exception) -> Response:
        # The framework logs the error; the error page itself must not fail.
        message = Message("%(path)s could not be answered; the log says why", path=request.url.path)
        return PlainTextResponse(f"{web.pages.words(request.scope, message)}\n", 500)


def _reading_line(status: ServiceStatus) -> str:
    """Why there is no answer yet, in one line."""
    reader = status.reader
    if status.broker.problem:
        return f"nothing has been read yet: there is no connection to Kafka: {status.broker.problem}"
    if reader.missing_topics:
        return (
            f"nothing can be read yet: there is no topic {reader.missing_topics[0]}; milestones topics apply creates it"
        )
    done, total = (sum(getattr(each, name) for each in reader.progress) for name in ("done", "total"))
    return f"not everything has been read yet: {done:,} of {total:,} records"


class _Timed:
    """Measures response times by route, except for streams."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on the request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.perf_counter()
        status = 500

        async def watched(message: Sent) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            if not route.endswith("/stream"):
                self._metrics.request(route, status, time.perf_counter() - started_s)
