"""What pages and API share: both make each view from one snapshot with the same function."""

from __future__ import annotations

import contextlib
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import parse_qsl, urlencode
from zoneinfo import ZoneInfo

from fastapi import HTTPException, Path
from starlette.requests import Request

from schemas.instants import format_instant, parse_instant
from schemas.messages import Message
from schemas.outputs import DATE_PATTERN
from streams.domain.hints.suggestions import unknown
from streams.web.status import day_of, service_status
from streams.web.times import text_of_us
from streams.web.views.common import Ask, EarlierMoment, is_date, micros

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.web.context import Web
    from streams.web.readmodel import Snapshot

_YEARS = range(1999, 2102)

# What is wrong with them is said in our own words, so the document alone has their patterns.
DayPath = Annotated[str, Path(json_schema_extra={"pattern": DATE_PATTERN}, examples=["2024-10-07"])]
CampaignPath = Annotated[
    str, Path(max_length=256, json_schema_extra={"pattern": r"^[a-z0-9]+(-[a-z0-9]+)*$"}, examples=["yu7-launch"])
]
MilestonePath = Annotated[str, Path(max_length=1024, examples=["deliveries/model=SU7/first:day/exceeds:1000"])]


OrderPath = Annotated[str, Path(max_length=256, examples=["SO-20241007-000123"])]


#: Seconds after which to retry while everything is being read for the first time.
RETRY_AFTER_S: Final = 2


class NotReadYetError(Exception):
    """Not everything has been read yet, so any answer would be wrong."""


@contextlib.contextmanager
def asking(web: Web, as_of: str = "") -> Iterator[Ask]:
    """A consistent state of everything, for one view.

    Args:
        web: The parts of the web view.
        as_of: An instant with an offset, for what was known then; empty is now.

    Raises:
        NotReadYetError: Not everything has been read yet.
    """
    with web.model.snapshot(micros(as_of)) as view:
        if not web.state.rebuilt:
            raise NotReadYetError
        status, past = service_status(view, web.state, web.settings), None
        if as_of:
            past = past_of(view, as_of)
            then = parse_instant(as_of).astimezone(ZoneInfo(web.settings.timezone))
            clock = {
                "business_now": format_instant(then.replace(microsecond=0)),
                **day_of(web.settings, then),
            }
            status = status.model_copy(update=clock)
        orders = web.orders
        yield Ask(view, status, orders.counted_by, web.holidays, past, knows_campaigns=orders.knows_campaigns)


def past_of(view: Snapshot, as_of: str) -> EarlierMoment:
    """An earlier moment, and whether the history reaches back that far."""
    as_of_us, since_us = micros(as_of) or 0, view.windows.history_since_us()
    return EarlierMoment(
        at=as_of,
        known=since_us is not None and since_us <= as_of_us,
        known_since=None if since_us is None else text_of_us(since_us),
    )


#: Parameters that every page takes.
_OF_PAGES: Final = frozenset(("lang", "theme", "kiosk", "at", "as_of"))


def known_only(request: Request) -> None:
    """Refuses parameters that the route does not know, since it would answer a different question.

    Raises:
        HTTPException: There is such a parameter: 422.
    """
    route = request.scope["route"]
    fields = [each.field_info.annotation for each in route.dependant.query_params]
    known = {name for model in fields if isinstance(model, type) for name in getattr(model, "model_fields", ())}
    if not request.url.path.startswith("/api/"):
        known |= _OF_PAGES
    for name in request.query_params:
        if name not in known:
            raise HTTPException(422, unknown("parameter", name, known))


def tidied(request: Request, timezone: str) -> str | None:
    """The canonical address for a form's request; `None` if it already is.

    A form also sends empty fields, and a moment in business time (`at`). The canonical address has only what was chosen, with the
    exact moment (`as_of`), so that it can be kept and shared.

    Raises:
        HTTPException: The moment is invalid: 422.
    """
    given = parse_qsl(request.url.query, keep_blank_values=True)
    meant = [(name, value) for name, value in given if value and name != "at"]
    if at := dict(given).get("at"):
        meant = [pair for pair in meant if pair[0] != "as_of"] + [("as_of", _instant(at, timezone))]
    if meant == given:
        return None
    return f"{request.url.path}?{urlencode(meant)}" if meant else request.url.path


def replaced(request: Request, wanted: str, scope: str) -> str:
    """The same address with a scope instead of the search text."""
    given = parse_qsl(request.url.query, keep_blank_values=True)
    named = ("scope", "within")
    meant = [(name, scope if name in named and value == wanted else value) for name, value in given]
    return f"{request.url.path}?{urlencode(meant)}"


def _instant(local: str, timezone: str) -> str:
    try:
        moment = datetime.fromisoformat(local)
    except ValueError:
        raise HTTPException(422, Message("at: %(text)r is no date and time", text=local)) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(timezone))).isoformat()


def date_of(text: str) -> date:
    """The date in an address.

    Raises:
        HTTPException: There is no such date: 404.
    """
    found = date.fromisoformat(text) if is_date(text) else None
    if found is None or found.year not in _YEARS:
        raise HTTPException(404, Message("%(text)r is no date; write YYYY-MM-DD, such as 2024-10-07", text=text))
    return found
