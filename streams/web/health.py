"""Probes and metrics.

`/healthz`: the process answers. `/readyz`: the read model is complete, or was less than `web_lag_limit_s` ago. Use the latter as an
orchestrator's start-up probe, to wait until a new process has read everything. As a readiness probe it would take the pages down
while the brokers are down, when they are still useful, marked stale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter
from starlette.responses import JSONResponse, PlainTextResponse, Response

from streams.web import business_metrics
from streams.web.metrics import MEDIA_TYPE

if TYPE_CHECKING:
    from streams.web.context import Web


def router(web: Web) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["service"])

    @routes.get("/healthz", summary="The process answers", response_class=PlainTextResponse)
    def healthz() -> Response:
        return PlainTextResponse("ok\n", headers={"cache-control": "no-store"})

    @routes.get(
        "/readyz",
        summary="The read model is whole and not far behind",
        responses={503: {"description": "It is being rebuilt, or farther behind than `web_lag_limit_s`."}},
    )
    def readyz() -> Response:
        reader = web.status().reader
        ready = reader.behind_s is not None and reader.behind_s <= web.settings.web_lag_limit_s
        answer = {"ready": ready, "rebuilt": reader.rebuilt, "behind_s": reader.behind_s}
        return JSONResponse(answer, 200 if ready else 503, {"cache-control": "no-store"})

    @routes.get("/metrics", summary="For Prometheus", response_class=PlainTextResponse)
    def metrics() -> Response:
        status = web.status()
        with web.model.snapshot() as view:
            found = business_metrics.families(view, status, web.settings.reckoning)
        return Response(web.metrics.text(status, web.hub, found), media_type=MEDIA_TYPE)

    return routes
