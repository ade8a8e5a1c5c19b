"""`/api/v1`: everything the pages show, as JSON, and the stream of changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Header, Query
from starlette.requests import Request  # noqa: TC002 - FastAPI reads the annotations
from starlette.responses import Response

from streams.web.sse import Filter, Stream
from streams.web.status import ServiceStatus

if TYPE_CHECKING:
    from streams.web.context import Web


def router(web: Web) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/api/v1")

    @routes.get("/status", summary="How the service is", tags=["service"])
    def status() -> ServiceStatus:
        return web.status()

    @routes.get(
        "/stream",
        summary="Changes as server-sent events",
        tags=["service"],
        response_class=Response,
        responses={200: {"content": {"text/event-stream": {}}, "description": "Events; see below."}},
    )
    async def stream(
        request: Request,
        metric: Annotated[list[str] | None, Query(max_length=10)] = None,
        scope: Annotated[list[str] | None, Query(max_length=50)] = None,
        period: Annotated[list[str] | None, Query(max_length=50)] = None,
        rows: Annotated[bool, Query()] = True,
        last_event_id: Annotated[str | None, Header()] = None,
    ) -> Response:
        wanted = Filter(frozenset(metric or ()), frozenset(scope or ()), tuple(period or ()), rows)
        if request.scope.get("milestones.head_only"):
            return Response(media_type="text/event-stream")
        if web.hub.clients >= web.settings.web_max_streams:
            return Response("too many streams are open\n", 503, {"retry-after": "5"}, "text/plain")
        return Stream(web.hub.subscribe(wanted, last_event_id), dropped=web.hub.note_dropped)

    return routes
