"""Composition root of the web view: read model, follower, hub, pages, API."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request  # noqa: TC002 - FastAPI reads the annotations
from starlette.responses import Response  # noqa: TC002

from streams.web import api, pages
from streams.web.assets import Assets
from streams.web.context import Web
from streams.web.follow import Follower
from streams.web.readmodel import ReadModel
from streams.web.rendering import Pages
from streams.web.security import Access, Guard
from streams.web.sse import Hub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp

    from streams.settings import Settings

FOLDER: Final = Path(__file__).parent
#: Pages are compressed with each request: the higher levels take longer than they save.
_GZIP_LEVEL: Final = 4


@dataclass(frozen=True)
class Application:
    """The web view: `asgi` to be served, `hub` to be closed before the server is told to end."""

    asgi: ASGIApp
    hub: Hub
    web: Web


def create_app(settings: Settings, access: Access, *, fresh: bool = False) -> Application:
    """Makes the web view; it begins to follow the topics when it is served.

    Args:
        settings: Of the cluster and of the web view.
        access: Who may ask.
        fresh: Read templates and static files anew, for those who work on them.
    """
    model = ReadModel(ZoneInfo(settings.timezone), keep_payloads=settings.web_show_payloads)
    follower = Follower(settings, model)
    hub = Hub(lambda: web.status().model_dump_json())
    follower.changed = hub.changed
    assets = Assets(FOLDER / "static", fresh=fresh)
    web = Web(
        settings=settings,
        model=model,
        state=follower.state,
        hub=hub,
        pages=Pages(FOLDER, assets, fresh=fresh),
    )

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(follower.run(), name="follower"), asyncio.create_task(hub.run(), name="hub")]
        for task in tasks:
            task.add_done_callback(_fail)
        try:
            yield
        finally:
            hub.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
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
    app.include_router(api.router(web))
    app.include_router(pages.router(web))

    @app.get("/static/{name:path}", include_in_schema=False)
    def static(name: str, request: Request) -> Response:
        return assets.respond(name, request)

    guarded = Guard(GZipMiddleware(app, compresslevel=_GZIP_LEVEL), access, rate_per_s=settings.web_rate_per_s)
    return Application(guarded, hub, web)


def _fail(task: asyncio.Task[Any]) -> None:
    """A fault in what runs beside the requests is a fault of the whole: better no page than one that never changes."""
    if not task.cancelled() and (error := task.exception()) is not None:
        asyncio.get_running_loop().call_exception_handler(
            {"message": f"{task.get_name()} has failed", "exception": error}
        )
        raise SystemExit(1)
