"""`/api/v1`: everything that the pages show, as JSON, and the stream of changes."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import APIRouter, Depends, Header, HTTPException, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from schemas.messages import Message
from streams.events.checking import EventChecker
from streams.spreadsheets import MEDIA_TYPE, workbook
from streams.web.orders import OrdersNotKnownError
from streams.web.readmodel import Snapshot
from streams.web.routes import CampaignPath, DayPath, MilestonePath, OrderPath, asking, date_of, known_only
from streams.web.security import MAX_BODY_BYTES
from streams.web.sse import Filter, Stream
from streams.web.status import ServiceStatus
from streams.web.views import (
    calendar,
    campaigns,
    compare,
    milestones,
    now,
    orders,
    rejected,
    scopes,
    search,
    targets,
    windows,
)
from streams.web.views.common import DatedParameters, Parameters, PeriodStart, RowMetricName, Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.web.context import Web

_MOST_CHECKED: Final = 1_000
_NO_STORE: Final = {"cache-control": "no-store"}
_STREAM_TEXT: Final = """Events with one line of JSON each: `hello` (a new client), `row`, `row-gone`, `milestone`,
`forecast`, `forecast-withdrawn`, `status` (every second), `reset` (load everything again). `Last-Event-ID` goes on after
that event. A client that does not keep up is let go and may connect again."""


class StreamParameters(Parameters):
    """Rows with any of these metrics and scopes, and a period id that starts with any of these; `rows=false` for none."""

    metric: Annotated[tuple[RowMetricName, ...], Field(max_length=10)] = ()
    scope: Annotated[tuple[Text, ...], Field(max_length=100)] = ()
    period: Annotated[tuple[PeriodStart, ...], Field(max_length=50)] = ()
    rows: bool = True


class Problem(BaseModel):
    """What is wrong, in one line of English, and the parameter that it is about, if it is about one."""

    detail: str
    parameter: str = ""


def router(web: Web) -> APIRouter:
    """The routes."""
    routes = APIRouter(
        prefix="/api/v1",
        dependencies=[Depends(known_only)],
        responses={
            404: {"model": Problem, "description": "Something that is asked for does not exist, or is not counted."},
            422: {"model": Problem, "description": "A parameter is unknown, or cannot be what it is."},
            503: {"model": Problem, "description": "Not everything has been read yet."},
        },
    )
    _add_service(routes, web)
    _add_rows(routes, web)
    _add_files(routes, web)
    _add_comparison(routes, web)
    _add_news(routes, web)
    _add_rejected(routes, web)
    _add_orders(routes, web)
    if web.settings.web_check:
        _add_check(routes, web)
    return routes


def _answer(view: BaseModel) -> Response:
    # Encoded by the model, since the framework would first convert a thousand rows to dictionaries.
    return _json(view.model_dump_json())


def _json(text: str) -> Response:
    # Weak, since it is the same answer however it is compressed.
    etag = f'W/"{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}"'
    return Response(text, media_type="application/json", headers={"cache-control": "no-cache", "etag": etag})


def _add_service(routes: APIRouter, web: Web) -> None:
    @routes.get("/status", summary="How the service is", tags=["service"], response_model=ServiceStatus)
    def status() -> Response:
        return _answer(web.status())

    @routes.get(
        "/stream",
        summary="Changes as server-sent events",
        description=_STREAM_TEXT,
        tags=["service"],
        response_class=Response,
        responses={200: {"content": {"text/event-stream": {}}, "description": "Events, without an end."}},
    )
    async def stream(
        request: Request,
        parameters: Annotated[StreamParameters, Query()],
        last_event_id: Annotated[str | None, Header()] = None,
    ) -> Response:
        if request.scope.get("milestones.head_only"):
            return Response(media_type="text/event-stream", headers=_NO_STORE)
        if web.hub.clients >= web.settings.web_max_streams:
            raise HTTPException(503, Message("too many streams are open"), {"retry-after": "5"})
        wanted = Filter(frozenset(parameters.metric), frozenset(parameters.scope), parameters.period, parameters.rows)
        return Stream(web.hub.subscribe(wanted, last_event_id), dropped=web.hub.note_dropped)


def _add_rows(routes: APIRouter, web: Web) -> None:
    @routes.get("/now", summary="The first page", tags=["rows"], response_model=now.Now)
    def get_now(parameters: Annotated[now.NowParameters, Query()]) -> Response:
        with asking(web, parameters.as_of) as ask:
            return _answer(now.now(ask, parameters))

    @routes.get("/calendar", summary="A year by day", tags=["rows"], response_model=calendar.CalendarView)
    def get_calendar(parameters: Annotated[calendar.CalendarParameters, Query()]) -> Response:
        with asking(web, parameters.as_of) as ask:
            return _answer(calendar.calendar(ask, parameters))

    @routes.get("/calendar/{day}", summary="A day", tags=["rows"], response_model=calendar.DayView)
    def get_day(day: DayPath, parameters: Annotated[calendar.CalendarParameters, Query()]) -> Response:
        with asking(web, parameters.as_of) as ask:
            return _answer(calendar.day_view(ask, date_of(day), parameters))

    @routes.get("/campaigns/{name}", summary="A campaign", tags=["rows"], response_model=campaigns.CampaignView)
    def get_campaign(name: CampaignPath, parameters: Annotated[campaigns.CampaignParameters, Query()]) -> Response:
        with asking(web, parameters.as_of) as ask:
            return _answer(campaigns.campaign_view(ask, name, parameters))

    @routes.get("/windows", summary="Window rows", tags=["rows"], response_model=windows.WindowsView)
    def get_windows(parameters: Annotated[windows.WindowsParameters, Query()]) -> Response:
        with asking(web, parameters.as_of) as ask:
            return _json(windows.windows_json(ask, parameters))

    @routes.get("/scopes", summary="Scopes that have rows", tags=["rows"], response_model=scopes.ScopesView)
    def get_scopes(parameters: Annotated[scopes.ScopesParameters, Query()]) -> Response:
        with asking(web) as ask:
            return _answer(scopes.scopes(ask, parameters))

    @routes.get(
        "/windows/side-by-side", summary="Counts by a dimension", tags=["rows"], response_model=windows.SideView
    )
    def get_side_by_side(parameters: Annotated[windows.SideParameters, Query()]) -> Response:
        with asking(web, parameters.as_of) as ask:
            return _answer(windows.side_by_side(ask, parameters))


def _add_files(routes: APIRouter, web: Web) -> None:
    @routes.get(
        "/windows/side-by-side.csv",
        summary="Counts by a dimension as a CSV file",
        description="A line a value and a column a period; their sums at the end.",
        tags=["rows"],
        response_class=Response,
        responses={200: {"content": {"text/csv": {}}, "description": "A header and a line a value."}},
    )
    def get_side_csv(parameters: Annotated[windows.SideParameters, Query()]) -> Response:
        with asking(web, parameters.as_of) as ask:
            text = "".join(windows.side_csv(ask, parameters))
        headers = {**_NO_STORE, "content-disposition": 'attachment; filename="side-by-side.csv"'}
        return Response(text, headers=headers, media_type="text/csv; charset=utf-8")

    @routes.get(
        "/windows/side-by-side.xlsx",
        summary="Counts by a dimension as an Excel workbook",
        description="As the CSV file.",
        tags=["rows"],
        response_class=Response,
        responses={
            200: {"content": {MEDIA_TYPE: {}}, "description": "A sheet with a header and a line a value."},
            422: {"description": "More than a sheet has room for."},
        },
    )
    def get_side_workbook(parameters: Annotated[windows.SideParameters, Query()]) -> Response:
        with asking(web, parameters.as_of) as ask:
            try:
                content = workbook(windows.side_table(ask, parameters))
            except ValueError as error:
                raise HTTPException(422, f"{error}; choose fewer periods, or take the CSV file") from None
        headers = {**_NO_STORE, "content-disposition": 'attachment; filename="side-by-side.xlsx"'}
        return Response(content, headers=headers, media_type=MEDIA_TYPE)

    @routes.get(
        "/windows.csv",
        summary="Window rows as a CSV file",
        description="All rows; `limit` is ignored. Text that a spreadsheet would take for a formula begins with an apostrophe.",
        tags=["rows"],
        response_class=Response,
        responses={200: {"content": {"text/csv": {}}, "description": "A header and a line a row."}},
    )
    def get_csv(parameters: Annotated[windows.WindowsParameters, Query()]) -> Response:
        return _download(_from_snapshot(web, windows.csv_lines, parameters), "windows.csv", "text/csv; charset=utf-8")

    @routes.get(
        "/windows.ndjson",
        summary="Window rows as a file of JSON lines",
        description="All rows, each as on the topic; `limit` is ignored.",
        tags=["rows"],
        response_class=Response,
        responses={200: {"content": {"application/x-ndjson": {}}, "description": "A line a row."}},
    )
    def get_ndjson(parameters: Annotated[windows.WindowsParameters, Query()]) -> Response:
        return _download(_from_snapshot(web, windows.json_lines, parameters), "windows.ndjson", "application/x-ndjson")


def _add_comparison(routes: APIRouter, web: Web) -> None:
    @routes.get(
        "/compare", summary="Periods and scopes over each other", tags=["rows"], response_model=compare.CompareView
    )
    def get_compare(parameters: Annotated[compare.CompareParameters, Query()]) -> Response:
        with asking(web, parameters.as_of) as ask:
            return _answer(compare.compare(ask, parameters))

    @routes.get(
        "/compare.csv",
        summary="Periods and scopes over each other as a CSV file",
        description="With `dimension` all of its values.",
        tags=["rows"],
        response_class=Response,
        responses={200: {"content": {"text/csv": {}}, "description": "A header and a line a place or value."}},
    )
    def get_compare_csv(parameters: Annotated[compare.CompareParameters, Query()]) -> Response:
        with asking(web, parameters.as_of) as ask:
            text = "".join(compare.compare_csv(ask, parameters))
        headers = {**_NO_STORE, "content-disposition": 'attachment; filename="compare.csv"'}
        return Response(text, headers=headers, media_type="text/csv; charset=utf-8")


def _add_news(routes: APIRouter, web: Web) -> None:
    @routes.get("/milestones", summary="Milestones", tags=["milestones"], response_model=milestones.MilestonesView)
    def get_milestones(parameters: Annotated[milestones.MilestonesParameters, Query()]) -> Response:
        with asking(web, parameters.as_of) as ask:
            return _answer(milestones.milestones(ask, parameters))

    @routes.get(
        "/milestones/{milestone_id:path}",
        summary="A milestone and its revisions",
        tags=["milestones"],
        response_model=milestones.MilestoneView,
    )
    def get_milestone(milestone_id: MilestonePath, parameters: Annotated[DatedParameters, Query()]) -> Response:
        with asking(web, parameters.as_of) as ask:
            found = milestones.milestone(ask, milestone_id)
        if found is None:
            raise HTTPException(404, Message("there is no such milestone"))
        return _answer(found)

    @routes.get("/targets", summary="Targets and forecasts", tags=["milestones"], response_model=targets.TargetsView)
    def get_targets(parameters: Annotated[targets.TargetsParameters, Query()]) -> Response:
        with asking(web, parameters.as_of) as ask:
            return _answer(targets.targets(ask, parameters))


def _add_rejected(routes: APIRouter, web: Web) -> None:
    @routes.get("/dead-letters", summary="Rejected records", tags=["rejected"], response_model=rejected.DeadLettersView)
    def get_dead_letters(parameters: Annotated[rejected.DeadLettersParameters, Query()]) -> Response:
        with asking(web) as ask:
            return _answer(rejected.dead_letters(ask, parameters))

    @routes.get(
        "/violations", summary="Contradictory events", tags=["rejected"], response_model=rejected.ViolationsView
    )
    def get_violations(parameters: Annotated[rejected.ViolationsParameters, Query()]) -> Response:
        with asking(web) as ask:
            return _answer(rejected.violations(ask, web.orders, parameters))

    @routes.get(
        "/reconciliation",
        summary="Our counts next to those of other systems",
        tags=["rejected"],
        response_model=rejected.ReconciliationView,
    )
    def get_reconciliation(parameters: Annotated[rejected.ReconciliationParameters, Query()]) -> Response:
        with asking(web, parameters.as_of) as ask:
            return _answer(rejected.reconciliation(ask, parameters))


def _add_orders(routes: APIRouter, web: Web) -> None:
    @routes.get(
        "/orders/{order_id:path}",
        summary="An order: what came, what counts, and why not",
        description="503 as long as it cannot be known; 410 where it cannot be told any more as of that moment.",
        tags=["orders"],
        response_model=orders.OrderView,
    )
    def get_order(order_id: OrderPath, parameters: Annotated[DatedParameters, Query()]) -> Response:
        with asking(web, parameters.as_of) as ask:
            found = orders.order_view(ask, web.orders, order_id)
        _require(found.problem)
        return _answer(found)

    @routes.get(
        "/units",
        summary="The units behind a number",
        description="503 as long as they cannot be known; 410 where they cannot be told any more as of that moment, 422 of too long "
        "a period.",
        tags=["orders"],
        response_model=orders.UnitsView,
    )
    def get_units(parameters: Annotated[orders.UnitsParameters, Query()]) -> Response:
        with asking(web, parameters.as_of) as ask:
            found = orders.units_view(ask, web.orders, parameters)
        _require(found.problem)
        return _answer(found)

    @routes.get("/search", summary="What a text may mean", tags=["orders"], response_model=search.SearchView)
    def get_search(parameters: Annotated[search.SearchParameters, Query()]) -> Response:
        with asking(web) as ask:
            return _answer(search.search(ask, web.orders, parameters, web.pages.names))


def _require(problem: orders.NotKnown | None) -> None:
    if problem is not None:
        raise OrdersNotKnownError(problem.why, problem.done, problem.total, problem.reason)


class CheckParameters(Parameters):
    """`topic`: the name of the topic that all events are on; by default each is on that of its type."""

    topic: Text = ""


def _add_check(routes: APIRouter, web: Web) -> None:
    checker = EventChecker(web.settings)

    @routes.post(
        "/check",
        summary="What a worker would make of events",
        description=f"As `milestones schema check`: events a line each, an array, or records; {MAX_BODY_BYTES:,} bytes and "
        f"{_MOST_CHECKED:,} events at most. Nothing is published.",
        tags=["service"],
        response_class=Response,
        responses={
            200: {
                "content": {"application/json": {}},
                "description": "`accepted`, `rejected`, and a verdict an event.",
            },
            413: {"description": "Too much at once."},
            422: {"description": "No events, or no such topic."},
        },
        openapi_extra={"requestBody": {"required": True, "content": {"application/cloudevents+json": {}}}},
    )
    async def check(request: Request, parameters: Annotated[CheckParameters, Query()]) -> Response:
        content = b""
        async for piece in request.stream():
            content += piece
            if len(content) > MAX_BODY_BYTES:
                raise HTTPException(413, f"at most {MAX_BODY_BYTES:,} bytes at once")
        try:
            found = await asyncio.to_thread(_judged, checker, content, parameters.topic)
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
        return _json(found)


def _judged(checker: EventChecker, content: bytes, topic: str) -> str:
    """The verdicts as JSON; raises `ValueError` if there are no events, or no such topic."""
    if not content.strip():
        raise ValueError("no events; send JSON, an event a line or an array")
    # Nothing is decompressed: a small compressed body may expand to a huge one.
    lines = checker.lines(content, unpacks=False)
    if len(lines) > _MOST_CHECKED:
        raise HTTPException(413, f"{len(lines):,} events; at most {_MOST_CHECKED:,} at once")
    verdicts = checker.verdicts(lines, topic or None)
    rejected = sum(verdict.rejection is not None for verdict in verdicts)
    told = [verdict.document() for verdict in verdicts]
    return json.dumps({"accepted": len(told) - rejected, "rejected": rejected, "verdicts": told}, ensure_ascii=False)


def _from_snapshot(
    web: Web,
    lines: Callable[[Snapshot, windows.WindowsParameters], Iterator[str]],
    parameters: windows.WindowsParameters,
) -> Iterator[str]:
    """Lines generated from one snapshot while they are sent.

    Raises:
        NotReadYetError: Not everything has been read yet; raised before the first line.
    """
    made = _lines(web, lines, parameters)
    first = next(made, "")
    return chain((first,), made)


def _lines(
    web: Web,
    lines: Callable[[Snapshot, windows.WindowsParameters], Iterator[str]],
    parameters: windows.WindowsParameters,
) -> Iterator[str]:
    with asking(web, parameters.as_of) as ask:
        windows.check_asked(ask, parameters)
        yield from lines(ask.view, parameters)


def _download(content: Iterator[str], name: str, media_type: str) -> Response:
    headers = {**_NO_STORE, "content-disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(content, headers=headers, media_type=media_type)
