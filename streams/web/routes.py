"""What pages and API have in common: a view is made from one snapshot, by one function, for both."""

from __future__ import annotations

import contextlib
from datetime import date
from typing import TYPE_CHECKING, Annotated

from fastapi import HTTPException, Path

from streams.web.status import service_status
from streams.web.views.common import Ask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.web.context import Web

_YEARS = range(1999, 2102)

DayPath = Annotated[str, Path(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", examples=["2024-10-07"])]
MilestonePath = Annotated[str, Path(max_length=1024, examples=["deliveries/model=SU7/first:day/exceeds:1000"])]


@contextlib.contextmanager
def asking(web: Web) -> Iterator[Ask]:
    """One moment of everything."""
    with web.model.snapshot() as view:
        yield Ask(view, service_status(view, web.state, web.settings), web.settings, web.holidays)


def date_of(text: str) -> date:
    """The date of an address.

    Raises:
        HTTPException: There is no such date: 404.
    """
    try:
        found = date.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.year not in _YEARS:
        raise HTTPException(404, f"{text} is no date")
    return found
