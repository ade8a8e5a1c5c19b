"""Scopes, searched for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from schemas.texts import scope_names
from streams.web.views.common import LISTED_SCOPES, Parameters, Text, View, words_of

if TYPE_CHECKING:
    from streams.web.views.common import Ask


class ScopesParameters(Parameters):
    """`search`: words that each have to be a part of a scope's id or names, in any case, such as `su7 cn-1`."""

    search: Text = ""
    limit: Annotated[int, Field(ge=1, le=1000)] = LISTED_SCOPES


class FoundScope(View):
    """A scope and the names in it, in its order; none of `all`."""

    scope: str
    names: list[str]


class ScopesView(View):
    """The scopes that were found, those with the fewest dimensions first; `total` is how many there are, found or not."""

    parameters: ScopesParameters
    total: int
    scopes: list[FoundScope]


def scopes(ask: Ask, parameters: ScopesParameters) -> ScopesView:
    """Scopes that fit a search; without one those to begin with."""
    words, windows = words_of(parameters.search), ask.view.windows
    found = windows.scopes(words=words, limit=parameters.limit) if words else ask.scopes()[: parameters.limit]
    return ScopesView(
        parameters=parameters,
        total=windows.scope_count(),
        scopes=[FoundScope(scope=scope, names=scope_names(scope)) for scope in found],
    )
