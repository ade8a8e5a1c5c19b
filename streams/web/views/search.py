"""One search field for everything: what a text may mean, each with the address of its page."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Annotated, Final, Literal
from urllib.parse import quote, urlencode

from pydantic import Field

from schemas.texts import scope_names, tidy
from streams.domain.hints.suggestions import period_fault
from streams.domain.time.periods import parse_period
from streams.web.orders import OrdersNotKnownError
from streams.web.readmodel import LetterQuery
from streams.web.spoken_dates import spoken
from streams.web.vehicles import shown
from streams.web.views.common import Ask, Parameters, View, words_of
from streams.web.views.orders import NotKnown, not_known

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from streams.web.names import Names
    from streams.web.orders import Orders

_MOST: Final = 20
_DATE: Final = re.compile(r"([0-9]{4})(?:[-/.\u5e74]([0-9]{1,2})[-/.\u6708]([0-9]{1,2})\u65e5?|([0-9]{2})([0-9]{2}))")
_MONTH: Final = re.compile(r"([0-9]{4})[-/.\u5e74]([0-9]{1,2})\u6708?")
_YEAR: Final = re.compile(r"([0-9]{4})\u5e74?")
_VIN: Final = re.compile(r"[A-HJ-NPR-Z0-9]{17}", re.IGNORECASE)

HitKind = Literal["order", "day", "period", "milestone", "scope", "target", "vehicle"]


class SearchParameters(Parameters):
    """`q`: an order number, a VIN, the id of an event, a milestone, a date, a period, a model or region, a target."""

    q: Annotated[str, Field(max_length=256)] = ""


class Hit(View):
    """Something that the text may mean; `exact` if the text is exactly its name."""

    kind: HitKind
    text: str
    address: str
    exact: bool


class SearchView(View):
    """What was found; `problem` says why orders could not be looked up, so that none is included."""

    q: str
    hits: list[Hit]
    problem: NotKnown | None


def search(ask: Ask, orders: Orders, parameters: SearchParameters, names: Sequence[Names]) -> SearchView:
    """Everything that a text may mean, exact matches first; `names` has the names of holidays in each language."""
    q = tidy(parameters.q)
    hits, problem = [], None
    if q:
        hits = [
            *(_periods(ask, q) or _holidays(ask, q, names)),
            *_scopes(ask, q),
            *_targets(ask, q),
            *_milestones(ask, q),
        ]
        try:
            hits += _orders(ask, orders, q)
        except OrdersNotKnownError as error:
            problem = not_known(error)
    known = {hit.address: hit for hit in sorted(hits, key=lambda hit: hit.exact)}
    return SearchView(q=q, hits=sorted(known.values(), key=lambda hit: not hit.exact)[: 3 * _MOST], problem=problem)


def only(view: SearchView) -> str | None:
    """The address to go to at once: that of the only exact match, or of the only hit."""
    exact = [hit for hit in view.hits if hit.exact]
    found = exact if len(exact) == 1 else view.hits if len(view.hits) == 1 and view.problem is None else []
    return found[0].address if found else None


def _periods(ask: Ask, q: str) -> list[Hit]:
    if match := _DATE.fullmatch(q.removeprefix("day:")):
        year, month, day = (int(part) for part in match.groups() if part)
        try:
            text = date(year, month, day).isoformat()
        except ValueError:
            return []
        return [_day(text)]
    period = q
    if (dates := spoken(q, ask.today)) is not None:
        if dates[0] == dates[1]:
            return [_day(dates[0].isoformat())]
        period = f"month:{dates[0]:%Y-%m}"
    if match := _MONTH.fullmatch(q):
        period = f"month:{match[1]}-{int(match[2]):02d}"
    elif match := _YEAR.fullmatch(q):
        period = f"year:{match[1]}"
    try:
        found = parse_period(period, ask.settings.reckoning) if period_fault(period) is None else None
    except ValueError:
        return []
    if found is not None and ask.view.windows.has_period(found.id, found.start.isoformat()):
        return [_period(found.id, exact=True)]
    return []


def _holidays(ask: Ask, q: str, names: Sequence[Names]) -> Iterator[Hit]:
    words = q.casefold().replace(" ", "-")
    for entry in ask.holidays:
        for holiday in entry.holidays:
            name = f"holiday:{holiday.name}:{entry.year}"
            said = {each.holiday(holiday.name).casefold() for each in names}
            if (words in name or any(q.casefold() in each for each in said)) and ask.view.windows.has_period(
                name, holiday.start.isoformat()
            ):
                yield _period(name, exact=words == name)


def _day(text: str) -> Hit:
    return Hit(kind="day", text=f"day:{text}", address=f"/calendar/{text}", exact=True)


def _period(period: str, *, exact: bool) -> Hit:
    return Hit(kind="period", text=period, address=_address("/windows", period=period), exact=exact)


def _scopes(ask: Ask, q: str) -> list[Hit]:
    wanted = q.casefold()
    found = []
    for scope in ask.view.windows.scopes(words=words_of(q), limit=_MOST) if words_of(q) else ():
        exact = wanted in {scope.casefold(), ", ".join(scope_names(scope)).casefold()}
        found.append(Hit(kind="scope", text=scope, address=_address("/", scope=scope), exact=exact))
    return sorted(found, key=lambda hit: not hit.exact)


def _targets(ask: Ask, q: str) -> list[Hit]:
    wanted = q.casefold()
    found = []
    for forecast in ask.view.forecasts.current():
        label = ask.label(forecast.target_id, forecast)
        if wanted in forecast.target_id.casefold() or (label and wanted in label.casefold()):
            exact = wanted in {forecast.target_id.casefold(), label.casefold()}
            text = f"{label} ({forecast.target_id})" if label else forecast.target_id
            found.append(
                Hit(kind="target", text=text, address=_address("/targets", target=forecast.target_id), exact=exact)
            )
    return found[:_MOST]


def _milestones(ask: Ask, q: str) -> list[Hit]:
    return [
        Hit(
            kind="milestone",
            text=milestone_id,
            address=f"/milestones/{quote(milestone_id)}",
            exact=milestone_id == q,
        )
        for milestone_id in ask.view.milestones.ids_like(q, _MOST)
    ]


def _orders(ask: Ask, orders: Orders, q: str) -> list[Hit]:
    if ask.view.dead_letters.page(LetterQuery(order_id=q, limit=1)).total or orders.has(q):
        return [_order(q)]
    found = [_order(order_id) for order_id in orders.with_event(q)[:_MOST] if shown(order_id, ask.settings)]
    if _VIN.fullmatch(q) and orders.vins_shown:
        found += [
            Hit(kind="vehicle", text=order_id, address=_order_address(order_id), exact=True)
            for order_id in orders.with_vin(q.upper())[:_MOST]
        ]
    return found


def _order(order_id: str) -> Hit:
    return Hit(kind="order", text=order_id, address=_order_address(order_id), exact=True)


def _order_address(order_id: str) -> str:
    return f"/orders/{quote(order_id, safe='')}"


def _address(path: str, **query: str) -> str:
    return f"{path}?{urlencode(query)}"
