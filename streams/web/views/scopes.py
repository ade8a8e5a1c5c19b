"""Search for scopes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from schemas.texts import scope_names
from streams.web.views.common import LISTED_SCOPES, Parameters, Text, View, words_of

if TYPE_CHECKING:
    from streams.web.views.common import Ask


class ScopesParameters(Parameters):
    """`search`: words that a scope's id or names must all contain, in any case, such as `su7 cn-1`."""

    search: Text = ""
    limit: Annotated[int, Field(ge=1, le=1000)] = LISTED_SCOPES


class FoundScope(View):
    """A scope and the names in it, in order; none for `all`."""

    scope: str
    names: list[str]


class ScopesView(View):
    """The scopes found, those with the fewest dimensions first; `total` is the number of all scopes, found or not."""

    parameters: ScopesParameters
    total: int
    scopes: list[FoundScope]


def scopes(ask: Ask, parameters: ScopesParameters) -> ScopesView:
    """The scopes that match a search; without one, those to start with."""
    words, windows = words_of(parameters.search), ask.view.windows
    found = windows.scopes(words=words, limit=parameters.limit) if words else ask.scopes()[: parameters.limit]
    return ScopesView(
        parameters=parameters,
        total=windows.scope_count(),
        scopes=[FoundScope(scope=scope, names=scope_names(scope)) for scope in found],
    )
