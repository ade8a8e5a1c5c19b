"""New dimensions are refused if a ledger partition has no room for another value or scope."""

from __future__ import annotations

from schemas.facts import NO_DIMS, Dims
from streams.domain.scopes.scopes import Scopes
from streams.domain.scopes.value_bounds import ValueBounds
from streams.settings_sections import AliasSettings


def of(model: str, region: str = "") -> Dims:
    return (model, "", "", region)


def test_as_many_values_are_taken_as_there_may_be_and_those_again_and_again() -> None:
    bounds = ValueBounds(Scopes(), 2, 100)
    assert [bounds.refusal(of(model)) for model in ("SU7", "YU7", "SU7")] == ["", "", ""]
    line = "model X9 would be beyond the 2 values of model that a partition may have by [limits] values"
    assert bounds.refusal(of("X9")) == line
    assert bounds.refusal(of("X9")) == line
    assert bounds.refusal(of("YU7", "CN-11")) == ""  # no scope asks for the region
    assert bounds.refusal(NO_DIMS) == ""


def test_scopes_are_limited_too() -> None:
    bounds = ValueBounds(Scopes([["model", "region"], []]), 100, 2)
    assert [bounds.refusal(of("SU7", region)) for region in ("CN-11", "CN-31")] == ["", ""]
    assert bounds.refusal(of("SU7", "CN-44")) == (
        "model=SU7,region=CN-44 would be beyond the 2 scopes that a partition may have by [limits] scopes"
    )


def test_what_counts_already_is_taken_whatever_the_limits() -> None:
    bounds = ValueBounds(Scopes(), 1, 1)
    for model in ("SU7", "YU7", "X9"):
        bounds.keep(of(model))
    assert bounds.refusal(of("YU7")) == ""
    assert bounds.refusal(of("N1"))


def test_values_are_those_that_are_counted() -> None:
    listed = ValueBounds(Scopes(values={"model": ["SU7"]}), 2, 100)
    assert [listed.refusal(of(model)) for model in ("SU7", "YU7", "X9")] == ["", "", ""]  # SU7 and other
    aliases = AliasSettings.model_validate({"model": {"SU7 Max": "SU7"}})
    assert ValueBounds(Scopes(aliases=aliases.all()), 1, 100).refusal(of("SU7 Max")) == ""
