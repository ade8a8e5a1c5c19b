from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.facts import DIMENSIONS
from streams.audit.sums import Business
from streams.context import Context
from streams.domain.scopes.aliases import Alias, Aliases
from streams.domain.scopes.scopes import Scopes
from streams.settings import Settings
from streams.settings_sections import ValueSettings
from tests.domain.facts import SU7, YU7


@pytest.mark.parametrize(
    ("templates", "dims", "scopes"),
    [
        ([["model"], []], SU7, ("model=SU7", "all")),
        ([[]], SU7, ("all",)),
        ([["region", "model"]], SU7, ("model=SU7,region=CN-11",)),
        ([["region", "factory", "variant", "model"]], SU7, ("model=SU7,variant=Max,factory=BJ1,region=CN-11",)),
        ([["model"], ["model", "region"], []], YU7, ("model=YU7", "all")),
        ([["region"]], YU7, ()),
    ],
)
def test_a_unit_counts_in_each_scope_whose_dimensions_it_has(
    templates: list[list[str]], dims: tuple[str, str, str, str], scopes: tuple[str, ...]
) -> None:
    kept = Scopes(templates)
    assert kept.scopes_of(dims) == scopes
    assert kept.scopes_of(dims) == scopes  # remembered


def test_an_alias_unites_names_from_the_beginning_or_from_a_day_on() -> None:
    aliases = Aliases([Alias("model", "YU7", "SU7", date(2024, 10, 7)), Alias("region", "cn-11", "CN-11")])
    scopes = Scopes([["model"], ["region"], []], aliases=aliases)
    dims = ("YU7", "", "", "cn-11")
    assert scopes.scopes_on(dims, date(2024, 10, 6)) == ("model=YU7", "region=CN-11", "all")
    assert scopes.scopes_on(dims, date(2024, 10, 7)) == ("model=SU7", "region=CN-11", "all")
    assert aliases.text == "model:YU7=SU7@2024-10-07|region:cn-11=CN-11"


def test_the_default_is_each_model_and_all() -> None:
    assert Scopes().scopes_of(SU7) == ("model=SU7", "all")


@pytest.mark.parametrize(
    ("templates", "line"),
    [
        ([["colour"]], "'colour' is no dimension; there are model, variant, factory, region"),
        ([["model", "model"]], r"\[model, model\] names a dimension twice"),
        ([["model", "region"], ["region", "model"]], "a template occurs twice"),
        ([], "at least one template"),
    ],
)
def test_templates_that_cannot_be_meant_are_refused(templates: list[list[str]], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        Scopes(templates)


@pytest.mark.parametrize(
    ("scope", "has"),
    [
        ("all", True),
        ("model=SU7", True),
        ("model=anything", True),
        ("model=SU7,region=CN-11", True),
        ("region=CN-11", False),
        ("model=SU7,factory=BJ1", False),
    ],
)
def test_a_scope_can_have_units_when_its_dimensions_are_those_of_a_template(scope: str, has: bool) -> None:
    assert Scopes([["region", "model"], [], ["model"]]).has(scope) is has
    assert not Scopes([["variant"]]).has(scope)


@pytest.mark.parametrize(
    ("dims", "scopes"),
    [
        (("SU7", "", "", "CN-11"), ("model=SU7,region=CN-11", "region=CN-11", "all")),
        (("SU7", "", "", "CN-12"), ("model=SU7,region=other", "region=other", "all")),
        (("SU7", "", "", "other"), ("model=SU7,region=other", "region=other", "all")),
        (("SU7", "", "", ""), ("all",)),
    ],
)
def test_values_that_are_not_listed_count_together(dims: tuple[str, str, str, str], scopes: tuple[str, ...]) -> None:
    listed = Scopes([["model", "region"], ["region"], []], {"region": ["CN-11", "A/B"]})
    assert listed.scopes_of(dims) == scopes
    assert all(listed.has(scope) for scope in scopes)


@pytest.mark.parametrize(
    ("scope", "has"),
    [
        ("region=CN-11", True),
        ("region=A%2FB", True),
        ("region=CN-12", False),
        ("region=other", True),
        ("model=anything,region=CN-11", True),
        ("model=SU7,region=CN-12", False),
    ],
)
def test_a_scope_of_a_value_that_is_not_listed_has_no_units(scope: str, has: bool) -> None:
    assert Scopes([["model", "region"], ["region"]], {"region": ["CN-11", "A/B"]}).has(scope) is has


_NAME = st.sampled_from(["", "SU7", "YU7", "A/B", "other", "星辰", "CN-11"])
_TEMPLATES = st.sampled_from([[["model"], []], [["model", "region"], ["region"]], [["factory", "model"], ["variant"]]])


@given(
    st.tuples(_NAME, _NAME, _NAME, _NAME),
    _TEMPLATES,
    st.fixed_dictionaries({}, optional={name: st.sets(_NAME.filter(bool), min_size=1) for name in DIMENSIONS}),
)
def test_the_independent_recount_counts_in_the_same_scopes(
    dims: tuple[str, str, str, str], templates: list[list[str]], values: dict[str, set[str]]
) -> None:
    settings = Settings(
        scopes=tuple(map(tuple, templates)),
        values=ValueSettings(**{name: tuple(each) for name, each in values.items()}),
    )
    found = Context(settings).scopes.scopes_of(dims)
    assert found == Business(settings).scopes_of(dims, date(2024, 10, 7))
    assert all(Context(settings).scopes.has(scope) for scope in found)


def test_a_state_belongs_to_the_values_that_were_listed() -> None:
    def fingerprint(*models: str) -> str:
        return Context(Settings(values=ValueSettings(model=models))).fingerprint

    assert fingerprint() == Context(Settings()).fingerprint
    assert fingerprint("SU7", "YU7") == fingerprint("YU7", "SU7"), "their order says nothing"
    assert len({fingerprint(), fingerprint("SU7"), fingerprint("YU7"), fingerprint("SU7", "YU7")}) == 4
    assert "model=2:" in fingerprint("SU7", "YU7")
