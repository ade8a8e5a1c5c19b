"""The routes of the pages: each renders the same view that its JSON twin under `/api/v1` returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Protocol

from fastapi import APIRouter, Depends, HTTPException, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from schemas.messages import Message
from streams.web.rendering import Visitor
from streams.web.routes import (
    CampaignPath,
    DayPath,
    MilestonePath,
    OrderPath,
    asking,
    date_of,
    known_only,
    replaced,
    tidied,
)
from streams.web.views import calendar, campaigns, compare, milestones, now, orders, rejected, search, targets, windows
from streams.web.views.common import LISTED_SCOPES, Ask, DatedParameters, UnknownScopeError

if TYPE_CHECKING:
    from streams.web.context import Web


class Render(Protocol):
    """Renders a page."""

    def __call__(
        self, name: str, request: Request, make: Callable[[Ask], object], as_of: str | None = None
    ) -> Response:
        """The response; `as_of` is the moment to show, `None` for pages that always show now."""


def router(web: Web) -> APIRouter:
    """The routes."""
    routes = APIRouter(include_in_schema=False, dependencies=[Depends(known_only)])

    def render(name: str, request: Request, make: Callable[[Ask], object], as_of: str | None = None) -> Response:
        if (address := tidied(request, web.settings.timezone)) is not None:
            return RedirectResponse(address, 303)
        with asking(web, as_of or "") as ask:
            try:
                data = make(ask)
            except UnknownScopeError as unknown:
                return choose(request, unknown, ask)
        if data is None:
            raise HTTPException(404, Message("there is no such page"))
        context = {"data": data, "status": ask.status, "past": ask.past, "dated": as_of is not None}
        return web.pages.render(name, Visitor(request), context)

    def choose(request: Request, unknown: UnknownScopeError, ask: Ask) -> Response:
        """After a search for scopes: redirects to the only match, or offers a choice among several."""
        if ask.view.windows.scope_count() <= LISTED_SCOPES:
            raise unknown
        links = [(scope, replaced(request, unknown.wanted, scope)) for scope in unknown.alike]
        if not links:
            raise unknown
        if len(links) == 1:
            return RedirectResponse(links[0][1], 303)
        context = {"wanted": unknown.wanted, "links": links, "listed": LISTED_SCOPES, "status": ask.status}
        return web.pages.render("scopes.html", Visitor(request), context)

    _add_rows(routes, render)
    _add_campaign(routes, render)
    _add_news(routes, render)
    _add_rejected(routes, render, web)
    _add_orders(routes, render, web)
    return routes


def _add_rows(routes: APIRouter, render: Render) -> None:
    @routes.get("/")
    def get_now(request: Request, parameters: Annotated[now.NowParameters, Query()]) -> Response:
        return render("now.html", request, lambda ask: now.now(ask, parameters), parameters.as_of)

    @routes.get("/calendar")
    def get_calendar(request: Request, parameters: Annotated[calendar.CalendarParameters, Query()]) -> Response:
        return render("calendar.html", request, lambda ask: calendar.calendar(ask, parameters), parameters.as_of)

    @routes.get("/calendar/{day}")
    def get_day(
        request: Request, day: DayPath, parameters: Annotated[calendar.CalendarParameters, Query()]
    ) -> Response:
        def make(ask: Ask) -> object:
            return calendar.day_view(ask, date_of(day), parameters)

        return render("day.html", request, make, parameters.as_of)

    @routes.get("/compare")
    def get_compare(request: Request, parameters: Annotated[compare.CompareParameters, Query()]) -> Response:
        return render("compare.html", request, lambda ask: compare.compare(ask, parameters), parameters.as_of)

    @routes.get("/windows")
    def get_windows(request: Request, parameters: Annotated[windows.WindowsParameters, Query()]) -> Response:
        return render("windows.html", request, lambda ask: windows.windows_table(ask, parameters), parameters.as_of)

    @routes.get("/windows/side-by-side")
    def get_side_by_side(request: Request, parameters: Annotated[windows.SideParameters, Query()]) -> Response:
        def make(ask: Ask) -> object:
            return windows.side_by_side(ask, parameters)

        return render("side-by-side.html", request, make, parameters.as_of)


def _add_campaign(routes: APIRouter, render: Render) -> None:
    @routes.get("/campaigns/{name}")
    def get_campaign(
        request: Request, name: CampaignPath, parameters: Annotated[campaigns.CampaignParameters, Query()]
    ) -> Response:
        def make(ask: Ask) -> object:
            return campaigns.campaign_view(ask, name, parameters)

        return render("campaign.html", request, make, parameters.as_of)


def _add_news(routes: APIRouter, render: Render) -> None:
    @routes.get("/milestones")
    def get_milestones(request: Request, parameters: Annotated[milestones.MilestonesParameters, Query()]) -> Response:
        def make(ask: Ask) -> object:
            return milestones.milestones(ask, parameters)

        return render("milestones.html", request, make, parameters.as_of)

    @routes.get("/milestones/{milestone_id:path}")
    def get_milestone(
        request: Request, milestone_id: MilestonePath, parameters: Annotated[DatedParameters, Query()]
    ) -> Response:
        def make(ask: Ask) -> object:
            return milestones.milestone(ask, milestone_id)

        return render("milestone.html", request, make, parameters.as_of)

    @routes.get("/targets")
    def get_targets(request: Request, parameters: Annotated[targets.TargetsParameters, Query()]) -> Response:
        return render("targets.html", request, lambda ask: targets.targets(ask, parameters), parameters.as_of)


def _add_rejected(routes: APIRouter, render: Render, web: Web) -> None:
    @routes.get("/dead-letters")
    def get_dead_letters(request: Request, parameters: Annotated[rejected.DeadLettersParameters, Query()]) -> Response:
        return render("dead-letters.html", request, lambda ask: rejected.dead_letters(ask, parameters))

    @routes.get("/violations")
    def get_violations(request: Request, parameters: Annotated[rejected.ViolationsParameters, Query()]) -> Response:
        return render("violations.html", request, lambda ask: rejected.violations(ask, web.orders, parameters))

    @routes.get("/reconciliation")
    def get_reconciliation(
        request: Request, parameters: Annotated[rejected.ReconciliationParameters, Query()]
    ) -> Response:
        def make(ask: Ask) -> object:
            return rejected.reconciliation(ask, parameters)

        return render("reconciliation.html", request, make, parameters.as_of)


def _add_orders(routes: APIRouter, render: Render, web: Web) -> None:
    @routes.get("/orders/{order_id:path}")
    def get_order(request: Request, order_id: OrderPath, parameters: Annotated[DatedParameters, Query()]) -> Response:
        def make(ask: Ask) -> object:
            return orders.order_view(ask, web.orders, order_id)

        return render("order.html", request, make, parameters.as_of)

    @routes.get("/units")
    def get_units(request: Request, parameters: Annotated[orders.UnitsParameters, Query()]) -> Response:
        def make(ask: Ask) -> object:
            return orders.units_view(ask, web.orders, parameters)

        return render("units.html", request, make, parameters.as_of)

    @routes.get("/search")
    def get_search(request: Request, parameters: Annotated[search.SearchParameters, Query()]) -> Response:
        visitor = Visitor(request)
        with asking(web) as ask:
            data = search.search(ask, web.orders, parameters, web.pages.names)
        if (address := search.only(data)) is not None:
            return RedirectResponse(visitor.found(address), 303)
        return web.pages.render("search.html", visitor, {"data": data, "status": ask.status})
