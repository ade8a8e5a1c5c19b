from __future__ import annotations

import tomllib

import pytest

from streams.domain.hints.likely_slips import LikelySlip, alike, likely_slips


@pytest.mark.parametrize(
    ("units", "slips"),
    [
        ({"model=SU7": 100, "model=su7": 3, "all": 103}, [("model", "su7", "SU7", 3, 100)]),
        ({"model=SU7": 100, "model=\uff33\uff35\uff17": 1}, [("model", "\uff33\uff35\uff17", "SU7", 1, 100)]),
        ({"model=Modell-ß": 9, "model=MODELL-ß": 1}, [("model", "MODELL-ß", "Modell-ß", 1, 9)]),
        ({"model=A%2FB": 5, "model=a%2Fb": 6}, [("model", "A/B", "a/b", 5, 6)]),
        ({"model=SU7": 100, "model=SU7 Max": 50, "model=SU8": 1}, []),
        ({"model=SU7": 100, "region=su7": 3}, []),
        ({"model=SU7": 100, "model=su7": 0}, []),  # a row in which nothing is counted any longer
        (
            {"model=SU7,region=CN-11": 60, "model=SU7,region=cn-11": 1, "model=SU7": 61},
            [("region", "cn-11", "CN-11", 1, 60)],
        ),
        (
            {"model=su7": 2, "model=Su7": 1, "model=SU7": 9},
            [("model", "Su7", "SU7", 1, 9), ("model", "su7", "SU7", 2, 9)],
        ),
    ],
)
def test_names_that_differ_only_in_case_or_width_are_likely_slips(
    units: dict[str, int], slips: list[tuple[str, str, str, int, int]]
) -> None:
    found = likely_slips(units)
    assert found == [LikelySlip(*slip) for slip in slips]
    assert {scope for scope in units if any(slip.name in scope.replace("%2F", "/") for slip in found)} <= alike(units)


def test_what_the_settings_unite_is_no_slip_and_the_line_for_them_is_toml() -> None:
    units = {'model=a"b': 1, 'model=A"B': 2}
    (slip,) = likely_slips(units)
    assert tomllib.loads(f"[alias.model]\n{slip.alias}") == {"alias": {"model": {'a"b': 'A"B'}}}
    assert likely_slips(units, {("model", 'a"b')}) == []
