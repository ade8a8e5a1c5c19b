"""Routes of the pages: each renders the same view that its JSON twin under `/api/v1` answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter
from starlette.requests import Request  # noqa: TC002 - FastAPI reads the annotations
from starlette.responses import Response  # noqa: TC002

from streams.web.rendering import Visitor

if TYPE_CHECKING:
    from streams.web.context import Web


def router(web: Web) -> APIRouter:
    """The routes."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/")
    def now(request: Request) -> Response:
        return web.pages.render("now.html", Visitor(request), {"status": web.status()})

    return routes
